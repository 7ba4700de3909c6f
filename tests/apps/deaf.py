"""An application that nothing gets out of its call."""

import sys
import time
from typing import Any


def application(environ: Any, start_response: Any) -> list[bytes]:
    print("deaf", file=sys.stderr, flush=True)
    while True:
        try:
            time.sleep(0.05)
        except BaseException as error:
            print(f"ignored {type(error).__name__}", file=sys.stderr, flush=True)
