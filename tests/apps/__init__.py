"""Applications that the tests serve. They are plain WSGI: nothing in them knows the server under test."""
