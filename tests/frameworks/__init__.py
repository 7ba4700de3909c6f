"""Real applications, driven by real clients over real sockets."""
