"""Starts the runner with a collector, posts a message as a caller that traces does, and reads what is exported with the
messages that OpenTelemetry publishes: the same spans as the receiver saw.

usage: spans.py POSTRIDER
"""

import itertools
import json
import queue
import re
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRET = "/hidden?token=hidden"
exports, webhooks, calls = queue.Queue(), queue.Queue(), itertools.count()


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        is_export = self.path == "/v1/traces"
        (exports if is_export else webhooks).put((dict(self.headers), body))
        # The first webhook fails.
        fails = not is_export and next(calls) == 0
        self.send_response(503 if fails else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
own = f"http://127.0.0.1:{server.server_port}"
words = ["--ephemeral", "--listen", "127.0.0.1:0", "--retry-schedule", "1", "--traceparent", "--otlp-url", own]
runner = subprocess.Popen([sys.argv[1], *words], stdout=subprocess.PIPE, text=True)
try:
    url = token = None
    while not (url and token):
        line = runner.stdout.readline()
        assert line, "the runner has ended"
        url = url or (re.findall(r"http://127\.0\.0\.1:\d+", line) or [None])[0]
        token = token or (re.findall(r"^export TOKEN=(.+)", line) or [None])[0]

    def post(path, body, **headers):
        headers |= {"authorization": f"Bearer {token}", "content-type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url + path, json.dumps(body).encode(), headers)) as answer:
            return json.load(answer)

    app = post("/api/v1/app", {"name": "customer"})["id"]
    post(f"/api/v1/app/{app}/endpoint", {"url": own + SECRET})
    message = {"eventType": "invoice.paid", "payload": {"of": "hidden"}}
    message = post(f"/api/v1/app/{app}/msg", message, traceparent=f"00-{TRACE}-{CALLER}-01")["id"]
    for number, status in ((1, 503), (2, 200)):
        headers, _ = webhooks.get(timeout=60)
        # The header in whatever case.
        seen = {name.lower(): value for name, value in headers.items()}["traceparent"]
        _, body = exports.get(timeout=60)
        assert b"hidden" not in body, body
        request = ExportTraceServiceRequest.FromString(body)
        known = ExportTraceServiceRequest.FromString(body)
        known.DiscardUnknownFields()
        assert known.ByteSize() == len(body), "a field that the published messages do not know"
        (of_resource,) = request.resource_spans
        resource = {pair.key: pair.value.string_value for pair in of_resource.resource.attributes}
        assert resource["service.name"] == "postrider", resource
        (of_scope,) = of_resource.scope_spans
        (span,) = of_scope.spans
        assert seen == f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01", seen
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, CALLER)
        assert (span.name, span.kind) == ("POST", Span.SPAN_KIND_CLIENT)
        assert span.status.code == (Status.STATUS_CODE_ERROR if number == 1 else Status.STATUS_CODE_UNSET)
        assert span.flags == 0x301 and 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        found = {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}
        assert len(found) == len(span.attributes), span.attributes
        wanted = {"http.response.status_code": status, "postrider.attempt.number": number, "messaging.message.id": message,
                  "url.full": f"{own}/REDACTED", "server.port": server.server_port, "cloudevents.event_type": "invoice.paid"}
        assert {name: found[name] for name in wanted} == wanted, found
finally:
    runner.terminate()
    runner.wait()
print("spans: OpenTelemetry's own messages read what is exported")
