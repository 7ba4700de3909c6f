"""The extension module."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextvars import ContextVar
from os import PathLike
from typing import Any, Final, Protocol, TypeAlias, TypeVar, final

from _typeshed.wsgi import WSGIApplication

__all__ = [
    "Cancelled",
    "ClientDisconnected",
    "ClientLeft",
    "FileWrapper",
    "RequestTimeout",
    "__version__",
    "await_",
    "main",
    "serve",
    "set_request_ids_in",
    "threads_are_at_work",
]

_T = TypeVar("_T")

__version__: Final[str]

_Message: TypeAlias = MutableMapping[str, Any]
_ASGIApplication: TypeAlias = Callable[
    [_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]
]

class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...

@final
class Cancelled:
    """Whether the client has left: ``environ["tidegate.cancelled"]``.

    A client may close its side of the connection and still wait for the response; here it counts as one that
    has left. What is set once stays set. Usable from any thread or greenlet, until the request is over.
    """

    def is_set(self) -> bool:
        """Tell whether the client has closed its side or is lost, as far as the system knows now."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the client has left, for ``timeout`` seconds at the longest, and tell whether it has.

        :raises ValueError: for a timeout that is no number of seconds.
        """

    def add_callback(self, callback: Callable[[], object], /) -> None:
        """Have ``callback()`` called once when the client leaves, or at once if it has left.

        It is called on another thread, or in another greenlet, than the request's while that goes on, and not
        when it is over: a place to cancel a query, not to work in. What it raises is logged.
        """

class ClientDisconnected(ConnectionResetError):
    """Raised by an ASGI application's ``send()`` when the client has left."""

class ClientLeft(BaseException):
    """Raised in the greenlet of a request whose client has left, under ``--cancel-on-disconnect``."""

class RequestTimeout(BaseException):
    """Raised in a request that has taken longer than it may, whose client was answered for it.

    In a greenlet and in a task it is raised where the request waits; in a thread, at its next step in Python.
    """

@final
class FileWrapper(Iterator[bytes]):
    """A file as an iterable of blocks: ``environ["wsgi.file_wrapper"]`` (PEP 3333).

    Returned as it is from an application, a regular file is sent by the kernel, from its current position to
    its end or to Content-Length, whichever comes first. Any other object with ``read`` is read in blocks of
    ``block_size`` bytes.

    :raises ValueError: when ``block_size`` is less than 1.
    """

    def __new__(cls, file: _Readable, block_size: int = 8192, /) -> FileWrapper: ...
    def __iter__(self) -> FileWrapper: ...
    def __next__(self) -> bytes: ...
    def close(self) -> None:
        """Close the file, if it can be closed."""

def await_(awaitable: Awaitable[_T], /) -> _T:
    """Wait in a WSGI application under ``--concurrency asyncio`` for asynchronous code, and give its result.

    The loop runs it as a task, with a copy of the caller's context, and goes on with all else meanwhile. What
    it raises is raised here. When something is raised in the waiting greenlet, it is cancelled.

    :raises RuntimeError: anywhere else, also in code that an event loop runs, which can await for itself.
    """

def main(arguments: list[str]) -> int:
    """Run the command with these arguments (without the program's name) and give the exit status.

    :raises SystemExit: when that is what has ended the server.
    """

def serve(
    application: WSGIApplication | _ASGIApplication,
    /,
    *,
    on_ready: Callable[[list[Any]], object] | None = None,
    **settings: bool | float | str | PathLike[str] | Iterable[str] | None,
) -> None:
    """Run a WSGI or ASGI application in this process until SIGTERM or SIGINT stops it.

    :param application: the application object. Which of the two it is follows from how it can be called,
        unless ``interface`` says it.
    :param on_ready: called once with the bound addresses, when connections are accepted: ``(host, port)`` for
        TCP, the path for a unix socket, in the order of ``bind``.
    :param settings: settings by their names in ``docs/settings.md``, ``_`` for ``-``; times in seconds, sizes
        in bytes; ``None`` stands for the default. Nothing is read from the environment or from files.
    :raises TypeError: for something that is neither a WSGI nor an ASGI application, or does not tell which.
    :raises ValueError: for a setting that does not exist or a value that it cannot have.
    :raises OSError: when an address cannot be bound.
    :raises RuntimeError: when the start-up or shutdown of an ASGI application fails.
    """

def set_request_ids_in(variable: ContextVar[str | None]) -> None:
    """Have the id of each request set in ``variable``, in the context that the request has."""

def threads_are_at_work() -> bool:
    """Whether calls go on, in threads, that have outlived their server.

    Before Python 3.14 the process may then abort when the interpreter is finalised.
    """
