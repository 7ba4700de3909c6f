"""A list of notes with Flask. Run it with `pip install flask` and `tidegate flask_app`, then:

curl --json '{"text": "spring tide at noon"}' http://127.0.0.1:8000/notes
curl http://127.0.0.1:8000/notes
"""

from __future__ import annotations

from itertools import count

from flask import Flask, abort, jsonify, request
from flask.typing import ResponseReturnValue

app = Flask(__name__)
notes: dict[int, str] = {}
numbers = count(1)


@app.get("/notes")
def show_all() -> ResponseReturnValue:
    return jsonify(notes)


@app.post("/notes")
def add() -> ResponseReturnValue:
    sent = request.get_json()
    if not isinstance(sent, dict) or not isinstance(sent.get("text"), str):
        abort(400, "send an object with a text")
    number = next(numbers)
    notes[number] = sent["text"]
    return {"number": number}, 201, {"Location": f"/notes/{number}"}


@app.get("/notes/<int:number>")
def show(number: int) -> ResponseReturnValue:
    if number not in notes:
        abort(404)
    return {"number": number, "text": notes[number]}


@app.delete("/notes/<int:number>")
def remove(number: int) -> ResponseReturnValue:
    if notes.pop(number, None) is None:
        abort(404)
    return "", 204
