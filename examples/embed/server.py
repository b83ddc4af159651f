"""A page of your own product that shows a customer the portal.

usage: TOKEN=… [POSTRIDER_SERVER_URL=http://127.0.0.1:8071] [PORT=8000] server.py     (nothing to install)

Open http://127.0.0.1:8000/?customer=acme. The organisation's token stays on this server: the browser gets a link that
is made for one customer, allows what is asked for here, and expires.
"""

import html
import json
import os
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

server = os.environ.get("POSTRIDER_SERVER_URL", "http://127.0.0.1:8071")
token = os.environ["TOKEN"]

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Webhooks</title>
<style>body { margin: 0 } iframe { border: 0; width: 100%%; min-height: 650px }</style>
<iframe id="portal" title="Webhooks" allow="clipboard-write" src="%s"></iframe>
<script>
// The portal says how high it is, at every change.
addEventListener("message", ({ data, origin }) => {
  if (origin === "%s" && data?.type === "svix.iframe-resizer-height") portal.style.height = `${data.payload.height}px`;
});
</script>
"""


def link(customer):
    """A link for one customer, for an hour, that may not show secrets."""
    wanted = {"expiry": 3600, "capabilities": ["ViewBase", "ManageEndpoint", "CreateAttempts"],
              "application": {"name": customer, "uid": customer}}
    request = urllib.request.Request(
        f"{server}/api/v1/auth/app-portal-access/{urllib.parse.quote(customer, safe='')}", json.dumps(wanted).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        url = json.load(response)["url"]
    # Looks are query parameters, before the fragment.
    page, fragment = url.split("#", 1)
    return f"{page}?primaryColor=0b6e4f&noGutters=true#{fragment}"


class Product(BaseHTTPRequestHandler):
    def do_GET(self):
        address = urllib.parse.urlsplit(self.path)
        # In your product: the customer of the session, never a parameter that anybody can choose.
        customer = urllib.parse.parse_qs(address.query).get("customer", ["acme"])[0]
        if address.path != "/":
            return self.send_error(404)
        page = PAGE % (html.escape(link(customer)), server)
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 8000))), Product).serve_forever()
