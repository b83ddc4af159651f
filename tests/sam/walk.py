"""Runs every built function in Lambda's base image by `sam local`, against the local runner's services.

usage: walk.py RUNNER    (in the repository's folder, after `sam build`; DOCKER_HOST names a daemon)
"""

import base64
import io
import ipaddress
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer

ORG = "org_23rb8YdGqMT0qIzpgGwdXfHirMu"
SAM = ["--skip-pull-image", "--parameter-overrides", "Arch=x86_64"]
PATIENCE_SECONDS = 180
BUILT = pathlib.Path(".aws-sam/build")
# What each function says to its event, in this order: the messages function makes the application.
ANSWERS = {
    "messages": 202, "applications": 201, "attempts": 404, "auth": 204, "endpoints": 404, "event-types": 201,
    "portal": 200, "deliver": [], "background": [], "ingest": [], "timers": None,
}


def bridge():
    """The network of containers, and the address by which they reach this machine."""
    out = subprocess.check_output(["docker", "network", "inspect", "bridge"])
    config = json.loads(out)[0]["IPAM"]["Config"][0]
    network = ipaddress.ip_network(config["Subnet"])
    return str(network), config.get("Gateway") or str(network[1])


class Receiver(HTTPServer):
    """Keeps the webhooks that it gets."""

    def __init__(self, host):
        self.webhooks = []
        super().__init__((host, 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://{host}:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.server.webhooks.append((dict(self.headers), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def request(method, url, token, body=None):
    """Status and JSON of an answer."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = json.dumps(body).encode() if body is not None else None
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=60) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or "null")


def eventually(what, condition):
    """What `condition` answers once it answers something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.2)
    sys.exit(f"{what}: not within {PATIENCE_SECONDS} s")


def invoke(function, event, folder, env_vars):
    """The answer of one invocation, and what SAM's emulator reports of it."""
    path = folder / f"{function}.json"
    path.write_text(event)
    name = "".join(part.capitalize() for part in function.split("-")) + "Function"
    command = ["sam", "local", "invoke", name, "--event", path, "--env-vars", env_vars, *SAM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    # SAM does not always wait for the emulator's last line.
    report = re.search(r"\tDuration: [\d.]+ ms", done.stderr)
    if done.returncode:
        sys.exit(f"{function}: sam local invoke ended with {done.returncode}\n{done.stdout}\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.strip() or "null"), report[0].strip() if report else "-"


def check(function, answer, expected):
    """Holds an answer against what it should be; returns how the table shows it."""
    if isinstance(expected, int):
        shown = got = answer["statusCode"]
    elif expected is None:
        shown, got = json.dumps(answer), None if not isinstance(answer, dict) or "errorMessage" not in answer else answer
    else:
        shown, got = json.dumps(answer), answer["batchItemFailures"]
    if got != expected:
        sys.exit(f"{function}: expected {expected}, got {json.dumps(answer)}")
    return shown


def sizes():
    """Of each function's program: as it is, and as Lambda stores it."""
    for folder in sorted(BUILT.iterdir()):
        program = folder / "bootstrap"
        if program.exists():
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.write(program, "bootstrap")
            yield folder.name.removesuffix("Function"), program.stat().st_size, packed.tell()


def invocations(token, api, host, folder, env_vars):
    print(f"\n{'function':14} {'answer':28} {'what the emulator reports'}")
    for function, expected in ANSWERS.items():
        event = pathlib.Path("events", f"{function}.json").read_text().replace("${TOKEN}", token)
        answer, report = invoke(function, event, folder, env_vars)
        print(f"{function:14} {check(function, answer, expected)!s:28} {report}", flush=True)

    # A delivery that is really made from within a container. The endpoint comes after its message, so that the
    # one job there is of it is this one.
    receiver = Receiver(host)
    _, app = request("POST", f"{api}/app", token, {"name": "In a container"})
    message = {"eventType": "invoice.paid", "payload": {"id": "inv_2"}}
    _, message = request("POST", f"{api}/app/{app['id']}/msg", token, message)
    _, endpoint = request("POST", f"{api}/app/{app['id']}/endpoint", token, {"url": receiver.url})
    event = json.loads(pathlib.Path("events/deliver.json").read_text())
    job = json.loads(event["Records"][0]["body"])
    job["with"] |= {"org": org_of(token), "app": app["id"], "endpoint": endpoint["id"], "message": message["id"]}
    job["with"] |= {"version": 2, "due": [int(time.time() * 1000)], "payload": {"id": "inv_2"}}
    event["Records"][0]["body"] = json.dumps(job)
    answer, report = invoke("deliver", json.dumps(event), folder, env_vars)
    shown = check("deliver", answer, [])
    _, attempts = request("GET", f"{api}/app/{app['id']}/attempt/endpoint/{endpoint['id']}", token)
    [(headers, body)] = receiver.webhooks
    if json.loads(body) != {"id": "inv_2"} or headers["webhook-id"] != message["id"]:
        sys.exit(f"deliver: a webhook arrived that is not the message: {headers} {body}")
    if [attempt["responseStatusCode"] for attempt in attempts["data"]] != [204]:
        sys.exit(f"deliver: the log does not show the attempt: {attempts}")
    print(f"{'deliver':14} {shown + ', one webhook':28} {report}", flush=True)


def refusals(env_vars):
    """A function that lacks a variable, or has one that makes no sense, ends at once and says which."""
    lambdas = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    tried = 0
    for name, variables in json.loads(env_vars.read_text()).items():
        bad = [("POSTRIDER_LOG", {**variables, "POSTRIDER_LOG": "loud"})]
        # All but the portal have tables.
        if "POSTRIDER_CONFIG_TABLE" in variables:
            bad.append(("POSTRIDER_CONFIG_TABLE", {**variables, "POSTRIDER_CONFIG_TABLE": ""}))
        for variable, given in bad:
            done = subprocess.run(
                [BUILT / name / "bootstrap"], env=given | lambdas, capture_output=True, text=True, timeout=30
            )
            lines = done.stderr.strip().splitlines()
            if done.returncode == 0 or len(lines) != 1 or f"{variable}: " not in lines[0]:
                sys.exit(f"{name} with a bad {variable}: it ended with {done.returncode} and said {done.stderr!r}")
            tried += 1
    print(f"{tried} starts with a missing or senseless variable: each ended with one line that names it")


def org_of(token):
    """The organisation that a token is for."""
    claims = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"]


def walk(token, folder, env_vars):
    """From an application to a delivery, through `sam local start-api`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["sam", "local", "start-api", "--host", "127.0.0.1", "--port", str(port), "--env-vars", env_vars]
    with open(folder / "start-api.log", "w") as log:
        server = subprocess.Popen([*command, *SAM], stdout=log, stderr=log)
    try:
        def answers():
            if server.poll() is not None:
                sys.exit(f"sam local start-api has ended\n{(folder / 'start-api.log').read_text()[-4000:]}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                return False
            return True

        eventually("sam local start-api", answers)
        api, receiver = f"http://127.0.0.1:{port}/api/v1", Receiver("127.0.0.1")
        steps = []

        def step(method, path, expected, body=None):
            status, answer = request(method, api + path, token, body)
            if status != expected:
                log = (folder / "start-api.log").read_text()[-4000:]
                sys.exit(f"{method} {path}: expected {expected}, got {status} {answer}\n{log}")
            steps.append(f"{method} {path} {status}")
            return answer

        step("GET", "/health/", 204)
        app = step("POST", "/app/", 201, {"name": "Walk", "uid": "walk"})
        step("POST", "/event-type", 201, {"name": "user.created", "description": "A user is there"})
        step("POST", "/app/walk/endpoint/", 201, {"url": receiver.url, "uid": "receiver"})
        message = step("POST", "/app/walk/msg", 202, {"eventType": "user.created", "payload": {"hello": "world"}})
        eventually("the webhook", lambda: receiver.webhooks)
        eventually(
            "the attempt in the log",
            lambda: [a["status"] for a in step("GET", "/app/walk/attempt/endpoint/receiver", 200)["data"]] == [0],
        )
        [(headers, body)] = receiver.webhooks
        if headers["webhook-id"] != message["id"] or json.loads(body) != {"hello": "world"}:
            sys.exit(f"another webhook arrived: {headers} {body}")
        step("DELETE", f"/app/{app['id']}", 204)
        print("\nsam local start-api: " + "; ".join(dict.fromkeys(steps)) + "; one webhook, as posted")
    finally:
        server.terminate()
        server.wait(60)


def main(runner):
    print(f"{'function':14} {'bootstrap':>10} {'zipped':>10}")
    for name, size, packed in sizes():
        print(f"{name:14} {size:>10,} {packed:>10,}")
    network, host = bridge()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        env_vars = folder / "env.json"
        flags = ["--ephemeral", "--listen", "127.0.0.1:0", "--aws-listen", f"{host}:0", "--env-vars", env_vars]
        with open(folder / "log", "w") as log:
            stack = subprocess.Popen(
                [runner, *flags, "--allowed-subnets", network], stdout=subprocess.PIPE, stderr=log, text=True
            )
        try:
            url = token = None
            for line in stack.stdout:
                url = url or (re.match(r"Postrider listens on (\S+)", line) or [None, None])[1]
                if line.startswith("export TOKEN="):
                    token = line.strip().removeprefix("export TOKEN=")
                    break
            if not token:
                sys.exit(f"the runner did not start\n{(folder / 'log').read_text()}")
            threading.Thread(target=stack.stdout.read, daemon=True).start()
            invocations(token, f"{url}/api/v1", host, folder, env_vars)
            refusals(env_vars)
            walk(token, folder, env_vars)
        finally:
            stack.terminate()
            stack.wait(60)


if __name__ == "__main__":
    os.environ.setdefault("SAM_CLI_TELEMETRY", "0")
    main(sys.argv[1])
