"""Hello in FastAPI, as text and not as JSON, so that the answer is that of the other loads."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

app = FastAPI()


@app.get("/", response_class=PlainTextResponse)
async def hello() -> str:
    """Answer 13 bytes."""
    return "Hello, World!"
