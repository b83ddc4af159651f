"""What Schemathesis has to know about Postrider: things that exist, and things that it may destroy.

Without it nearly every request would be answered 404. Most requests get the ids of things made here;
every fourth keeps what was generated. What a DELETE destroys is made for that request alone; every
fourth of them gets an id that nothing has, as what is generated can be an id seen in an answer.
Endpoints stay on this machine: whatever URL is generated, a delivery goes to a receiver here.

Reads FUZZ_URL and FUZZ_TOKEN; writes the counts of answers to FUZZ_COUNTS when the run ends.
"""

import atexit
import hashlib
import itertools
import json
import os
import sys
import time
import urllib.request
from collections import Counter, defaultdict

import schemathesis

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "sdk", "python"))
from receiver import Receiver  # noqa: E402

URL = os.environ["FUZZ_URL"] + "/api/v1"
TOKEN = os.environ["FUZZ_TOKEN"]
TOKEN_ID = hashlib.sha256(TOKEN.rpartition(".")[0].encode()).hexdigest()
# One in so many requests keeps the path that was generated.
KEEP_EVERY = 4


def ask(method, path, body=None):
    request = urllib.request.Request(
        URL + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or "null")


def wait_for_attempt(app, message):
    for _ in range(600):
        if attempts := ask("GET", f"/app/{app}/attempt/msg/{message}")["data"]:
            return attempts[0]["id"]
        time.sleep(0.05)
    raise RuntimeError("the message of the fixture was not delivered")


receiver = Receiver()
numbers = itertools.count()
PAYLOAD = {"eventType": "fuzz.kept", "payload": {"a": 1}}


def make_app():
    return ask("POST", "/app", {"name": "fuzz"})["id"]


def make_endpoint(app):
    return ask("POST", f"/app/{app}/endpoint", {"url": receiver.url("/")})["id"]


def make_event_type(name):
    schemas = {"1": {"type": "object", "examples": [{"a": 1}]}}
    return ask("POST", "/event-type", {"name": name, "description": "", "schemas": schemas})["name"]


def make_message(app):
    return ask("POST", f"/app/{app}/msg", PAYLOAD)["id"]


def make_connector():
    return ask("POST", "/connector", {"name": "fuzz", "transformation": "const handler = (webhook) => webhook"})["id"]


kept = {"app_id": make_app(), "event_type_name": make_event_type("fuzz.kept"), "connector_id": make_connector()}
kept["endpoint_id"] = make_endpoint(kept["app_id"])
kept["msg_id"] = make_message(kept["app_id"])
kept["attempt_id"] = wait_for_attempt(kept["app_id"], kept["msg_id"])


def ids(method, path):
    """The path parameters of a request that finds something."""
    found = dict(kept)
    if method == "DELETE" and path.endswith("/app/{app_id}"):
        found["app_id"] = make_app()
    elif method == "DELETE" and path.endswith("/endpoint/{endpoint_id}"):
        found["endpoint_id"] = make_endpoint(found["app_id"])
    elif method == "DELETE" and path.endswith("/event-type/{event_type_name}"):
        found["event_type_name"] = make_event_type(f"fuzz.spare.{next(numbers)}")
    elif method == "DELETE" and path.endswith("/connector/{connector_id}"):
        found["connector_id"] = make_connector()
    elif method == "DELETE" and path.endswith("/content"):
        # With an application of its own: what is kept is not to send more and more.
        found["app_id"] = make_app()
        make_endpoint(found["app_id"])
        found["msg_id"] = make_message(found["app_id"])
        if "attempt_id" in path:
            found["attempt_id"] = wait_for_attempt(found["app_id"], found["msg_id"])
    elif path.endswith("/background-task/{task_id}"):
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3600))
        at = f"/app/{found['app_id']}/endpoint/{found['endpoint_id']}"
        found["task_id"] = ask("POST", f"{at}/recover", {"since": since})["id"]
    return found


requests = Counter()
answers = defaultdict(Counter)


@schemathesis.hook
def before_call(ctx, case, kwargs):
    operation = case.operation
    label = f"{operation.method.upper()} {operation.path}"
    requests[label] += 1
    usual = requests[label] % KEEP_EVERY != 0
    destroys = operation.method.upper() == "DELETE"
    if case.path_parameters and (usual or destroys):
        found = ids(operation.method.upper(), operation.path) if usual else dict.fromkeys(case.path_parameters, "none")
        for name in case.path_parameters:
            case.path_parameters[name] = found.get(name, case.path_parameters[name])
    if isinstance(case.body, dict):
        # Audit events show the id of the token that asks. Revoked, it would be the end of the run.
        if label.endswith("/revoke-token") and TOKEN_ID in str(case.body.get("tokenId")).lower():
            case.body["tokenId"] = "0" * 64
        if label.endswith("/send-example") and usual and isinstance(case.body.get("eventType"), str):
            case.body["eventType"] = kept["event_type_name"]
        # AutoConfig has an endpoint inside of its body.
        sink = case.body.get("sink") if isinstance(case.body.get("sink"), dict) else {}
        for endpoint in (case.body, case.body.get("endpoint"), sink.get("config")):
            url = endpoint.get("url") if isinstance(endpoint, dict) else None
            if isinstance(url, str) and url.strip().lower().startswith("http"):
                endpoint["url"] = receiver.url("/")
        # Any text that is none can be the code of a connector; most requests bring some.
        if "/connector" in label and usual and isinstance(case.body.get("transformation"), str):
            case.body["transformation"] = "const handler = (webhook) => webhook"


@schemathesis.hook
def after_call(ctx, case, response):
    operation = case.operation
    answers[f"{operation.method.upper()} {operation.path}"][response.status_code] += 1


@atexit.register
def write_counts():
    with open(os.environ["FUZZ_COUNTS"], "w") as file:
        json.dump(answers, file)
