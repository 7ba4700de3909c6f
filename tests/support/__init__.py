"""What every test needs: a server in a child process, and the client's end of a socket.

`support.server` starts the server under test, reads its address from its start-up banner and collects its
log. `support.wire` is a raw connection that sends bytes as given and reads responses one by one, so that a
test can put several requests on one connection and see exactly what comes back. `support.clients` is a
patient `requests` session, and a crowd of clients that ask at once.

For applications that wait, `support.backend` is a slow service, `support.postgres` a PostgreSQL of the tests'
own, `support.hosts` what their calls can run on, and `support.pywsgi` gevent's server beside it.

The tests can be run against another server's command line, to learn whether a surprise lies in the server or
in the test. `{bind}` and `{app}` are filled in:

    TIDEGATE_TEST_COMMAND='waitress-serve --listen={bind} {app}' pytest tests/frameworks
"""
