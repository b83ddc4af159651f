"""Receives webhooks, verifies each signature and skips duplicates.

usage: WEBHOOK_SECRET=whsec_… [PORT=9000] receiver.py     (pip install standardwebhooks)
"""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
seen = set()  # in a real receiver: a unique column beside what the event changes


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            # The raw body, before anything parses it. Names of headers in lower case, as the library reads them.
            webhook.verify(body, {name.lower(): value for name, value in self.headers.items()})
        except WebhookVerificationError:
            return self.answer(400)
        message = self.headers["webhook-id"]  # the same in every attempt
        if message not in seen:
            seen.add(message)
            event = json.loads(body)
            print("received", event["id"], message, flush=True)
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 9000))), Receiver).serve_forever()
