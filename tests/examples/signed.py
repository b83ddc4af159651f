"""Verifies a webhook of the runner as docs/RECEIVING.md shows it for HTTP message signatures (RFC 9421), in Python by another
library and in JavaScript, with the keys that the runner publishes; and that both refuse what is altered.

usage: signed.py MODULES URL TOKEN
"""

import base64
import json
import pathlib
import queue
import re
import subprocess
import sys
import threading
import types
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

modules, url, token = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
webhooks = queue.Queue()


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        webhooks.put(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def call(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url + path, data, headers)) as answer:
        return json.load(answer)


def fence(language: str) -> str:
    text = pathlib.Path("docs/RECEIVING.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^```{language} rfc9421\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return found


def python(method, target, headers, body) -> bool:
    request = types.SimpleNamespace(method=method, url=target, headers=headers)
    try:
        exec(fence("python"), {"jwks": jwks, "request": request, "request_body": body})  # noqa: S102
    except Exception as error:  # noqa: BLE001
        print(f"python: {type(error).__name__}: {error}")
        return False
    return True


def javascript(method, target, headers, body) -> bool:
    request = json.dumps({"method": method, "url": target, "headers": headers})
    text = base64.b64encode(body).decode()
    file = modules / "signed.mjs"
    call = f'verifyMessage({json.dumps(jwks)}, {{ ...{request}, body: Buffer.from("{text}", "base64") }});\n'
    file.write_text(fence("js") + call, encoding="utf-8")
    ended = subprocess.run(["node", file.name], cwd=modules, timeout=60, capture_output=True, text=True)
    said = [line for line in ended.stderr.splitlines() if line.startswith(("Error", "TypeError"))]
    print(f"javascript: {(said or ['well'])[0]}")
    return ended.returncode == 0


server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
target = f"http://127.0.0.1:{server.server_port}/hooks?of=%20acme"
app = call("/api/v1/app", {"name": "customer"})["id"]
call(f"/api/v1/app/{app}/endpoint", {"url": target, "headerStyle": "rfc9421"})
call(f"/api/v1/app/{app}/msg", {"eventType": "invoice.paid", "payload": {"id": "inv_1"}})
headers, body = webhooks.get(timeout=60)
with urllib.request.urlopen(url + "/.well-known/jwks.json") as answer:
    jwks = json.load(answer)
another = {"keys": [{**jwks["keys"][0], "kid": "another"}]}
for name, run in (("python", python), ("javascript", javascript)):
    assert run("POST", target, headers, body), f"{name}: the right signature is refused"
    assert not run("PUT", target, headers, body), f"{name}: another method is accepted"
    assert not run("POST", target + "&x", headers, body), f"{name}: another URL is accepted"
    assert not run("POST", target, {**headers, "webhook-id": "msg_x"}, body), f"{name}: another message is accepted"
    assert not run("POST", target, headers, body + b" "), f"{name}: another body is accepted"
    jwks, another = another, jwks
    assert not run("POST", target, headers, body), f"{name}: another key is accepted"
    jwks, another = another, jwks
print("docs/RECEIVING.md: Python and JavaScript verify HTTP message signatures, and refuse what is altered")
