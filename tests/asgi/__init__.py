"""ASGI: the specification over raw sockets, and real applications with real clients."""
