"""A collector of spans, by OTLP/HTTP in JSON: it reads strictly, and answers as it is told."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from support.server import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self

IDS = ("traceId", "spanId", "parentSpanId")


class Span(NamedTuple):
    """A span, with the attributes of what it was sent for. Ids are hexadecimal; times are in seconds."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    flags: int
    began_s: float
    took_s: float
    is_error: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Reply(NamedTuple):
    status: int = 200
    body: str = "{}"
    headers: Mapping[str, str] = {}


class Collector:
    """Answers with `replies` first, and then takes everything.

    Without `listens` it refuses connections until `listen`; while `answers` is cleared, nobody is answered.
    """

    def __init__(self, *replies: Reply, listens: bool = True) -> None:
        self.replies = list(replies)
        self.requests = 0
        self.faults: list[BaseException] = []
        self.spans: list[Span] = []
        self.answers = threading.Event()
        self.answers.set()
        self._changed = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                document = self.rfile.read(int(self.headers["Content-Length"]))
                reply = collector.take(self.path, self.headers["Content-Type"], document)
                collector.answers.wait(PATIENCE_S)
                body = reply.body.encode()
                try:
                    self.send_response(reply.status)
                    for name, value in {**reply.headers, "Content-Length": str(len(body))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    # Whoever has asked has not waited for it.
                    self.close_connection = True

            def log_message(self, *_what: object) -> None:
                pass

        # Bound, so that nobody else is given the port, it refuses connections until it listens.
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self._server.server_bind()
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        if listens:
            self.listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.answers.set()
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()

    def listen(self) -> None:
        self._server.server_activate()
        self._thread.start()

    def take(self, path: str, content_type: str, document: bytes) -> Reply:
        with self._changed:
            self.requests += 1
            reply = self.replies.pop(0) if self.replies else Reply()
            try:
                assert path == "/v1/traces", path
                assert content_type == "application/json", content_type
                if reply.status == 200:
                    self.spans += read(document)
            except BaseException as fault:  # noqa: BLE001
                self.faults.append(fault)
            self._changed.notify_all()
            return reply

    def wait(self, *, spans: int = 0, requests: int = 0) -> list[Span]:
        """All spans, once there are so many, and so many documents have come."""
        deadline = time.monotonic() + PATIENCE_S
        with self._changed:
            while not self.faults and (len(self.spans) < spans or self.requests < requests):
                assert self._changed.wait(deadline - time.monotonic()), self.spans
            if self.faults:
                raise self.faults[0]
            return list(self.spans)

    def only(self) -> Span:
        """The span, when there is one."""
        [span] = self.wait(spans=1)
        return span


def read(document: bytes) -> list[Span]:
    """The spans of a document: ids are hexadecimal there, where protobuf's own JSON has base64."""
    parsed = json.loads(document)
    for group in parsed["resourceSpans"]:
        for scope in group["scopeSpans"]:
            for span in scope["spans"]:
                for name in IDS:
                    if name in span:
                        span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    request = json_format.ParseDict(parsed, ExportTraceServiceRequest())
    found = []
    for of_resource in request.resource_spans:
        resource = values(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            assert of_scope.scope.name == "tidegate"
            for each in of_scope.spans:
                began_ns, ended_ns = each.start_time_unix_nano, each.end_time_unix_nano
                found.append(
                    Span(
                        each.name,
                        each.kind,
                        each.trace_id.hex(),
                        each.span_id.hex(),
                        each.parent_span_id.hex(),
                        each.flags,
                        began_ns / 1e9,
                        (ended_ns - began_ns) / 1e9,
                        each.status.code == each.status.STATUS_CODE_ERROR,
                        values(each.attributes),
                        resource,
                    )
                )
    return found


def values(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    found = {}
    for attribute in attributes:
        kind = attribute.value.WhichOneof("value")
        assert kind is not None
        assert attribute.key not in found
        found[attribute.key] = getattr(attribute.value, kind)
    return found
