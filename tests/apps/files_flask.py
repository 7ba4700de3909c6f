"""A Flask application whose files the server sends: `send_file` names them in X-Sendfile."""

from __future__ import annotations

import os

from flask import Flask, Response, send_file

app = Flask(__name__)
app.use_x_sendfile = True


@app.get("/download")
def download() -> Response:
    path = os.path.join(os.environ["FILES"], "report.csv")
    answer = send_file(path, as_attachment=True, download_name="tides.csv", max_age=30)
    answer.set_cookie("fetched", "yes")
    return answer
