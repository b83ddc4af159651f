"""Runs what docs/RECEIVING.md shows in Python and JavaScript, with a right signature and with a wrong one.

usage: receiving.py MODULES (the folder whose node_modules has standardwebhooks)
"""

import json
import pathlib
import re
import subprocess
import sys
from datetime import datetime, timezone

from standardwebhooks.webhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"id": "inv_1"}'
AT = datetime.now(tz=timezone.utc)
HEADERS = {
    "webhook-id": "msg_1",
    "webhook-timestamp": str(int(AT.timestamp())),
    "webhook-signature": Webhook(SECRET).sign("msg_1", AT, BODY),
}


def fence(language: str) -> str:
    text = pathlib.Path("docs/RECEIVING.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return found


def python(body: str) -> bool:
    names = {"secret": SECRET, "request_body": body, "request_headers": HEADERS}
    try:
        exec(fence("python"), names)  # noqa: S102
    except Exception as error:  # noqa: BLE001
        print(f"python: {type(error).__name__}: {error}")
        return False
    return names["payload"] == {"id": "inv_1"}


def javascript(body: str, modules: pathlib.Path) -> bool:
    names = {"secret": SECRET, "requestBody": body, "requestHeaders": HEADERS}
    before = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in names.items())
    after = '\nif (payload.id !== "inv_1") throw new Error("another payload");\n'
    file = modules / "receiving.mjs"
    file.write_text(before + fence("js") + after, encoding="utf-8")
    ended = subprocess.run(["node", file.name], cwd=modules, timeout=60, capture_output=True, text=True)
    print(f"javascript: {(ended.stderr.strip().splitlines() or ['well'])[-1]}")
    return ended.returncode == 0


modules = pathlib.Path(sys.argv[1])
for name, run in (("python", python), ("javascript", lambda body: javascript(body, modules))):
    assert run(BODY), f"{name}: the right signature is refused"
    assert not run(BODY + " "), f"{name}: a wrong signature is accepted"
print("docs/RECEIVING.md: Python and JavaScript verify, and refuse what is altered")
