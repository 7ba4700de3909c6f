"""Hello in Flask, as its first page of documentation has it."""

from __future__ import annotations

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """Answer 13 bytes; Flask says the length and the type."""
    return "Hello, World!"
