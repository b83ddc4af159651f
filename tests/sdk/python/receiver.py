"""A customer's server on a free port of 127.0.0.1, which keeps what it gets."""

import queue
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Longer than any delivery takes; what hits it is lost, not slow.
PATIENCE_SECONDS = 60

Webhook = namedtuple("Webhook", "path headers body")


class Receiver:
    """`/broken…` answers 500 until it is mended, `/busy…` answers 502 for ever, all else 200."""

    def __init__(self):
        self.mended = False
        self._arrived = {}
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver._queue(self.path).put(Webhook(self.path, dict(self.headers.items()), body))
                answer = b"thanks"
                self.send_response(receiver._status(self.path))
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, path):
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def next(self, path):
        """The next webhook that comes to `path`."""
        try:
            return self._queue(path).get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            raise AssertionError(f"no webhook at {path} after {PATIENCE_SECONDS} s") from None

    def _status(self, path):
        if path.startswith("/broken") and not self.mended:
            return 500
        return 502 if path.startswith("/busy") else 200

    def _queue(self, path):
        with self._lock:
            return self._arrived.setdefault(path, queue.Queue())
