"""Runs what docs/RECEIVING.md shows in each language that is installed, with a right signature, with an altered
body, with an old timestamp and with another secret. (Rust's two lines are part of examples/receivers/rust.)

usage: receiving.py MODULES (the folder whose node_modules has standardwebhooks)
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
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


# What makes a program of a function `verify`: it reads secret, body and headers as JSON from its arguments, and ends
# with 1 where `verify` refuses.
PROGRAMS = {
    "go": ("main.go", ["go", "run"], """package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

%s

func main() {
	var names map[string]string
	json.Unmarshal([]byte(os.Args[3]), &names)
	header := http.Header{}
	for name, value := range names {
		header.Set(name, value)
	}
	if err := verify(os.Args[1], []byte(os.Args[2]), header); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
"""),
    "ruby": ("main.rb", ["ruby"], 'require "json"\n%s\nverify(ARGV[0], ARGV[1], JSON.parse(ARGV[2]))\n'),
    "php": ("main.php", ["php"], "<?php\n%s\nverify($argv[1], $argv[2], json_decode($argv[3], true));\n"),
    # Headers as name, value, name, value: the language reads no JSON by itself.
    "java": ("Main.java", ["java"], """import java.nio.charset.StandardCharsets;
import java.security.*;
import java.time.Instant;
import java.util.*;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

class Main {
%s
    public static void main(String[] words) throws Exception {
        Map<String, String> headers = new HashMap<>();
        for (int at = 3; at < words.length; at += 2) headers.put(words[at], words[at + 1]);
        verify(words[0], words[1].getBytes(StandardCharsets.UTF_8), headers);
    }
}
"""),
}


def program(language: str, secret: str, body: str, headers: dict[str, str]) -> bool:
    name, command, around = PROGRAMS[language]
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / name
        file.write_text(around % fence(language), encoding="utf-8")
        pairs = [word for pair in headers.items() for word in pair] if language == "java" else []
        words = [*command, str(file), secret, body, json.dumps(headers), *pairs]
        ended = subprocess.run(words, timeout=120, capture_output=True, text=True)
    said = [line for line in ended.stderr.strip().splitlines() + ended.stdout.strip().splitlines() if line.strip()]
    print(f"{language}: {(said or ['well'])[0]}")
    assert ended.returncode == 0 or "timestamp" in str(said) or "no signature matches" in str(said), said
    return ended.returncode == 0


modules = pathlib.Path(sys.argv[1])
for name, run in (("python", python), ("javascript", lambda body: javascript(body, modules))):
    assert run(BODY), f"{name}: the right signature is refused"
    assert not run(BODY + " "), f"{name}: a wrong signature is accepted"
verified = ["Python", "JavaScript"]
old = {**HEADERS, "webhook-timestamp": str(int(AT.timestamp()) - 600)}
twice = {**HEADERS, "webhook-signature": f"v1a,xx v1,{'A' * 43}= {HEADERS['webhook-signature']}"}
for language in PROGRAMS:
    if not shutil.which(language):
        print(f"{language} is not installed: not run")
        continue
    for headers in (HEADERS, twice):
        assert program(language, SECRET, BODY, headers), f"{language}: the right signature is refused"
    for secret, body, headers in ((SECRET, BODY + " ", HEADERS), (SECRET, BODY, old), (SECRET[:-4] + "AAAA", BODY, HEADERS)):
        assert not program(language, secret, body, headers), f"{language}: a wrong signature is accepted"
    verified.append(language.capitalize())
print(f"docs/RECEIVING.md: {', '.join(verified)} verify, and refuse what is altered")
