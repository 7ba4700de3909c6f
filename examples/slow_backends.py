"""A page that waits for two slow backends, in plain synchronous code.

Run it with `pip install flask urllib3`, `python backend.py &` and one of these; the code is the same for all:

    tidegate slow_backends --threads 1                # one page at a time
    tidegate slow_backends --threads 200              # up to 200 at a time
    tidegate slow_backends --concurrency greenlets    # thousands at a time

    curl http://127.0.0.1:8000/
"""

from __future__ import annotations

import os

import urllib3
from flask import Flask
from flask.typing import ResponseReturnValue

BACKEND = os.environ.get("BACKEND", "http://127.0.0.1:9000")

app = Flask(__name__)

# It keeps as many connections as there may be requests at a time, and opens them when needed. With fewer
# nothing fails, but a request that finds none free opens one of its own and closes it afterwards.
pool = urllib3.PoolManager(maxsize=10_000, timeout=10, retries=False)


def ask(path: str) -> dict[str, str]:
    answer = pool.request("GET", BACKEND + path)
    if answer.status != 200:
        raise urllib3.exceptions.HTTPError(f"{path} answered {answer.status}")
    found: dict[str, str] = answer.json()
    return found


@app.get("/")
def page() -> ResponseReturnValue:
    # Each of these waits a tenth of a second. Its thread, or its greenlet, does; others run meanwhile.
    tide = ask("/tide")
    weather = ask("/weather")
    return {"high_water": tide["high_water"], "port": tide["port"], "wind": weather["wind"]}


@app.errorhandler(urllib3.exceptions.HTTPError)
def no_answer(error: urllib3.exceptions.HTTPError) -> ResponseReturnValue:
    return {"error": f"a backend has not answered: {error}"}, 502
