"""Random load for as long as you like, and what it left behind: `make soak SECONDS=600`.

Clients of all manners (fast, slow, leaving, uploading, pipelining, malformed) use one server at once, by
HTTP and, where there is an ASGI application, by WebSockets. All that they do is drawn from a seed, which is
printed, and every answer is compared byte by byte. In the end the server must hold what it held before:
threads, greenlets, tasks, descriptors, memory.

`scenarios` and `websockets` are what a client does, `client` its end of one connection, `load` the crowd of
them, `holdings` what a process holds, `run` one server from its start to its judgement.

`daemon` is another soak: `make soak-daemon SECONDS=7200` has supervised servers under a moderate load while
their workers are replaced and the servers themselves are upgraded, and no request may be lost.
"""
