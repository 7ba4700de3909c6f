"""Random load for as long as you like, and what it left behind: `make soak SECONDS=600`.

Clients of all manners (fast, slow, leaving, uploading, pipelining, malformed) use one server at once. All
that they do is drawn from a seed, which is printed, and every answer is compared byte by byte. In the end the
server must hold what it held before: threads, greenlets, descriptors, memory.

`scenarios` is what a client does, `client` its end of one connection, `load` the crowd of them, `holdings`
what a process holds, `run` one server from its start to its judgement.
"""
