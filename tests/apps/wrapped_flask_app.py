"""The Flask application of `tests/frameworks` behind asgiref's bridge from WSGI to ASGI."""

from __future__ import annotations

from asgiref.wsgi import WsgiToAsgi

from apps.flask_app import app as flask

app = WsgiToAsgi(flask)
