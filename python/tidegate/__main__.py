"""The command ``tidegate``, also as ``python -m tidegate``."""

import os
import sys

from tidegate import _tidegate

# What is imported here, a server waits for at its start, and greenlets want to patch before it is used.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> "NoReturn":
    """Run the command with the process's arguments and end the process."""
    try:
        code: str | int | None = _tidegate.main(sys.argv[1:])
    except SystemExit as leaving:
        code = leaving.code
    if _tidegate.threads_are_at_work():
        _end(code)
    sys.exit(code)


def _end(code: "str | int | None") -> "NoReturn":
    """End the process as ``sys.exit`` does, but leave the interpreter as it is: calls go on in it.

    :func:`_tidegate.threads_are_at_work` says why.
    """
    import atexit
    import contextlib
    import threading

    # What fails keeps the rest from nothing: the process ends.
    if not isinstance(code, int | None):
        with contextlib.suppress(BaseException):
            print(code, file=sys.stderr)
        code = 1
    for step in (threading._shutdown, atexit._run_exitfuncs):  # type: ignore[attr-defined]
        with contextlib.suppress(BaseException):
            step()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit((code or 0) & 0xFF)


if __name__ == "__main__":
    main()
