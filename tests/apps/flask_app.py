"""A Flask application: JSON, sessions, streams with context, files, errors and the callbacks at the end."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from flask import (
    Flask,
    Response,
    abort,
    jsonify,
    redirect,
    render_template_string,
    request,
    send_file,
    session,
    stream_with_context,
    url_for,
)
from flask.typing import ResponseReturnValue

app = Flask(__name__)
app.secret_key = "neap tide"


@app.get("/")
def index() -> ResponseReturnValue:
    return render_template_string("<h1>{{ title }}</h1>", title="Tides & gates")


@app.post("/json")
def echo_json() -> ResponseReturnValue:
    return jsonify(got=request.get_json(), args=request.args)


@app.post("/body")
def body() -> ResponseReturnValue:
    """The body as Flask reads it, and what it knows of its length."""
    data = request.get_data()
    return jsonify(size=len(data), sha256=hashlib.sha256(data).hexdigest(), length=request.content_length)


@app.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    if request.method == "POST":
        session["name"] = request.form["name"]
        return redirect(url_for("login"))
    return session.get("name", "nobody")


@app.get("/stream")
def stream() -> ResponseReturnValue:
    def lines() -> Iterator[str]:
        for number in range(int(request.args["count"])):
            yield f"{request.path} {number}\n"

    answer = Response(stream_with_context(lines()), content_type="text/plain")
    name = request.args.get("name", "")
    errors = request.environ["wsgi.errors"]
    answer.call_on_close(lambda: errors.write(f"probe: response closed {name}\n"))
    return answer


@app.teardown_request
def torn_down(error: BaseException | None) -> None:
    if name := request.args.get("name"):
        request.environ["wsgi.errors"].write(f"probe: torn down {name} after {type(error).__name__}\n")


@app.post("/upload")
def upload() -> ResponseReturnValue:
    sent = request.files["file"]
    assert sent.filename
    path = Path(os.environ["FLASK_FILES"]) / Path(sent.filename).name
    sent.save(path)
    return jsonify(name=sent.filename, size=path.stat().st_size, note=request.form["note"]), 201


@app.get("/files/<name>")
def download(name: str) -> ResponseReturnValue:
    return send_file(Path(os.environ["FLASK_FILES"]) / name, conditional=True, etag=True, max_age=60)


@app.get("/gone")
def gone() -> ResponseReturnValue:
    abort(410)


@app.errorhandler(410)
def explain(error: Exception) -> ResponseReturnValue:
    return "went out with the tide", 410, {"X-Handled": "yes"}


@app.get("/broken")
def broken() -> ResponseReturnValue:
    raise RuntimeError("probe: flask broke")


@app.get("/breaks-in-stream")
def breaks_in_stream() -> ResponseReturnValue:
    def lines() -> Iterator[bytes]:
        yield b"sent\n"
        raise RuntimeError("probe: stream broke")

    return Response(stream_with_context(lines()))
