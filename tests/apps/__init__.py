"""Applications that the tests serve. Each is a real WSGI application: nothing in them knows the server under test."""
