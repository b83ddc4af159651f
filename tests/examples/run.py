"""Runs each example of examples/ whose language is installed, against a running stack.

usage: run.py NODE_MODULES RUST_RECEIVER URL TOKEN
"""

import json
import os
import pathlib
import queue
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

MODULES, RUST, URL, TOKEN = sys.argv[1:5]
EXAMPLES = pathlib.Path("examples").resolve()
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WAIT_SECONDS = 30


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Program:
    """A server of examples/, its port, and the lines that it prints."""

    def __init__(self, command, **variables):
        self.port = free_port()
        self.lines = queue.Queue()
        environment = {**os.environ, "PORT": str(self.port), "WEBHOOK_SECRET": SECRET, **variables}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=lambda: [self.lines.put(line.strip()) for line in self.process.stdout], daemon=True).start()
        end = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < end, f"{command} does not listen"
                time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Lambda:
    """examples/aws-lambda behind an address, called as a function URL calls it."""

    CODE = """
import base64, http.server, os, sys
sys.path.insert(0, sys.argv[1])
import handler
class Url(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        event = {"headers": {k.lower(): v for k, v in self.headers.items()}, "body": base64.b64encode(body).decode(), "isBase64Encoded": True}
        self.send_response(handler.handle(event, None)["statusCode"]); self.end_headers(); sys.stdout.flush()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Url).serve_forever()
"""


def call(method, path, body=None, token=TOKEN):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{URL}/api/v1{path}", data, headers, method=method)) as response:
        return json.load(response) if response.status != 204 else None


def forged(port):
    """What a receiver answers to a webhook that nobody signed."""
    headers = {"webhook-id": "msg_x", "webhook-timestamp": str(int(time.time())), "webhook-signature": "v1,c2lnbmF0dXJl"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", b'{"id": "forged"}', headers)
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as refused:
        return refused.code


receivers = {
    "receivers/receiver.py": [sys.executable, str(EXAMPLES / "receivers/receiver.py")],
    "receivers/rust": [RUST],
    "aws-lambda/handler.py": [sys.executable, "-c", Lambda.CODE, str(EXAMPLES / "aws-lambda")],
}
senders = {
    "senders/send.py": [sys.executable, str(EXAMPLES / "senders/send.py")],
    "senders/send.sh": ["sh", str(EXAMPLES / "senders/send.sh")],
}
# Node finds packages beside a script: it runs as a copy beside them.
for kind, name, into in (("receivers", "receiver.mjs", receivers), ("senders", "send.mjs", senders)):
    into[f"{kind}/{name}"] = ["node", shutil.copy(EXAMPLES / kind / name, MODULES)]
if shutil.which("go"):
    receivers["receivers/receiver.go"] = ["go", "run", str(EXAMPLES / "receivers/receiver.go")]
else:
    print("Go is not installed: receivers/receiver.go was not run")

for receiver, command in receivers.items():
    for sender, post in senders.items():
        with Program(command) as server:
            target = f"http://127.0.0.1:{server.port}/"
            variables = {**os.environ, "TOKEN": TOKEN, "POSTRIDER_SERVER_URL": URL, "WEBHOOK_SECRET": SECRET}
            said = []
            for _ in range(2):
                done = subprocess.run([*post, target], env=variables, capture_output=True, text=True)
                assert done.returncode == 0, (sender, done.stdout, done.stderr)
                said.append(done.stdout.split()[:2])
            assert said[0][0] == "posted" and said[1] == ["posted", "earlier"], (sender, said)
            line = server.lines.get(timeout=WAIT_SECONDS)
            assert line.startswith("received inv_1 msg_"), (receiver, line)
            # A message that is sent again is the same message: it is answered and not used twice.
            message = line.split()[2]
            call("POST", f"/app/acme/msg/{message}/endpoint/main/resend", {})
            end = time.monotonic() + WAIT_SECONDS
            while len(call("GET", f"/app/acme/attempt/msg/{message}?status=0")["data"]) < 2:
                assert time.monotonic() < end, f"{receiver}: the second delivery did not succeed"
                time.sleep(0.05)
            assert forged(server.port) == 400, receiver
            # The function keeps duplicates out by a table, which it has not here.
            again = [line] if receiver.startswith("aws-lambda") else []
            assert list(server.lines.queue) == again, (receiver, "a duplicate or a forged webhook was used")
        call("DELETE", "/app/acme")
        skipped = "" if again else "the duplicate skipped, "
        print(f"{sender} to {receiver}: delivered, verified, {skipped}the forged one refused")

page = [sys.executable, str(EXAMPLES / "embed/server.py")]
with Program(page, TOKEN=TOKEN, POSTRIDER_SERVER_URL=URL) as server:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/?customer=globex") as response:
        text = response.read().decode()
    shown = text.split('src="', 1)[1].split('"', 1)[0].replace("&amp;", "&")
    with urllib.request.urlopen(shown.split("#", 1)[0]) as response:
        assert response.status == 200 and b"<html" in response.read()
    assert TOKEN not in text and "#key=" in shown, text
    assert call("GET", "/app/globex")["name"] == "globex"
print("embed/server.py: a page with a link for one customer, and the portal behind it")
