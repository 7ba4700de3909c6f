"""The project's one Django app: readings of the tide."""
