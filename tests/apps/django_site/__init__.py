"""A small Django project: models on SQLite, forms, files, sessions, the admin and static files."""
