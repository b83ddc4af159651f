"""The emulated AWS as the parts of this check use it: a server, clients, `sam deploy`, a stack."""

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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import botocore.session

REGION = "us-east-1"
CERTIFICATES = pathlib.Path("tests/data").resolve()
PATIENCE_SECONDS = 120


class Failed(Exception):
    """What does not hold."""


class Emulator:
    """One server with one account, and what it said."""

    def __init__(self, python, folder):
        self.log = folder / "emulator.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"https://127.0.0.1:{port}"
        self.port = port
        bundle = str(CERTIFICATES / "ca.pem")
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            os.environ.pop(name, None)
        os.environ.update(
            AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION=REGION, AWS_REGION=REGION,
            AWS_ENDPOINT_URL=self.url, AWS_CA_BUNDLE=bundle, SSL_CERT_FILE=bundle, SAM_CLI_TELEMETRY="0",
        )
        env = os.environ | {
            "AUTH": "true", "USE_SSL": "1", "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "TMPDIR": str(folder),
            "MINISTACK_SSL_CERT": str(CERTIFICATES / "localhost.pem"), "MINISTACK_SSL_KEY": str(CERTIFICATES / "localhost.key"),
        }
        with self.log.open("w") as log:
            script = pathlib.Path(__file__).with_name("emulator.py")
            self.server = subprocess.Popen([python, script], env=env, stdout=log, stderr=log, start_new_session=True, cwd=folder)
        self.session = botocore.session.get_session()
        until(lambda: self.server.poll() is not None or self.answers(), "the emulator answers")
        if self.server.poll() is not None:
            raise Failed(f"the emulator ended: {self.log.read_text()[-2000:]}")

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def client(self, name):
        return self.session.create_client(name, endpoint_url=self.url, region_name=REGION, verify=os.environ["AWS_CA_BUNDLE"])

    def denied(self):
        """Who was denied what, and how often."""
        counts = {}
        for line in re.findall(r"^DENIED (.*)$", self.log.read_text(errors="replace"), re.MULTILINE):
            denied = json.loads(line)
            key = (denied["who"].rsplit("/", 2)[-2] if "/" in denied["who"] else denied["who"], denied["action"], denied["resource"])
            counts[key] = counts.get(key, 0) + 1
        return counts

    def close(self):
        """Ends it with the functions that it started, which are of its own group."""
        import signal

        try:
            os.killpg(self.server.pid, signal.SIGTERM)
            self.server.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self.server.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def until(condition, what, patience=None):
    """What the condition answers once it answers something."""
    patience = patience or PATIENCE_SECONDS
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if answer := condition():
            return answer
        time.sleep(0.2)
    raise Failed(f"not within {patience} s: {what}")


def sam_package(template, packaged):
    """`sam package`: the functions' code is where the template that this writes says, and needs no further upload."""
    command = ["sam", "package", "--template-file", str(template), "--resolve-s3", "--output-template-file", str(packaged), "--no-progressbar"]
    done = subprocess.run(command, cwd=packaged.parent, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise Failed(f"`{' '.join(command)}` ended with {done.returncode}:\n{(done.stdout + done.stderr)[-6000:]}")


def sam_deploy(template, stack, parameters, fails=False):
    """`sam deploy`, as README says it, with nobody to ask. Its output, whether it failed as it should."""
    with tempfile.TemporaryDirectory() as folder:
        # Without samconfig.toml beside it: what is meant is said here.
        command = ["sam", "deploy", "--template-file", str(template), "--stack-name", stack, "--resolve-s3", "--no-confirm-changeset",
                   "--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND", "--no-progressbar"]
        if parameters:
            command += ["--parameter-overrides", *[f"{name}={value}" for name, value in parameters.items()]]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    text = done.stdout + done.stderr
    if (done.returncode != 0) != fails:
        raise Failed(f"`{' '.join(command)}` ended with {done.returncode}:\n{text[-6000:]}")
    return text


class Receiver:
    """Keeps the webhooks that it gets, by their paths, and answers what `answer` says."""

    def __init__(self):
        seen = self.seen = {}
        self.answer = lambda path, count, headers: 204
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                hooks = seen.setdefault(self.path, [])
                headers = {name.lower(): value for name, value in self.headers.items()}
                hooks.append((headers, body))
                self.send_response(receiver.answer(self.path, len(hooks), headers))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"


class Stack:
    """A deployed stack."""

    def __init__(self, emulator, name, environment=None):
        self.emulator, self.name = emulator, name
        self.cloudformation = emulator.client("cloudformation")
        self.described = self.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in self.described["Outputs"]}
        # The emulator's environment has the AWS CLI.
        path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
        self.token = self.first_token(environment or os.environ | {"PATH": path})
        self.host = self.host_of("ApiUrl")

    def host_of(self, output):
        """The name by which the emulator knows an output's address: it looks at its first label and at the service."""
        name, service = self.outputs[output].split("//")[1].split(".")[:2]
        region = f".{REGION}" if service == "lambda-url" else ""
        return f"{name}.{service}{region}.localhost:{self.emulator.port}"

    def first_token(self, environment):
        """What the output FirstToken prints, started as DEPLOYING.md says."""
        command = ["bash", "-o", "pipefail", "-c", self.outputs["FirstToken"]]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise Failed(f"FirstToken ended with {done.returncode}: {done.stderr}\n{self.outputs['FirstToken']}")
        return done.stdout.strip()

    def ops(self, runner, *words):
        """What `postrider ops` prints about this stack."""
        done = subprocess.run([runner, "ops", *words, "--stack", self.name], capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise Failed(f"postrider ops {' '.join(words)}: {done.returncode}: {done.stderr}")
        return done.stdout.strip()

    def concurrency(self, queue):
        """How many invocations may take jobs from a queue at a time."""
        url = self.emulator.client("sqs").get_queue_url(QueueName=self.outputs[f"{queue}QueueName"])["QueueUrl"]
        arn = self.emulator.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        mappings = self.emulator.client("lambda").list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"]
        return [mapping["ScalingConfig"]["MaximumConcurrency"] for mapping in mappings]

    def resources(self, nested=None):
        """Types and physical ids of what it consists of, by logical ids."""
        name = self.physical(nested) if nested else self.name
        pages = self.cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
        return {
            found["LogicalResourceId"]: (found["ResourceType"], found.get("PhysicalResourceId"))
            for page in pages for found in page["StackResourceSummaries"]
        }

    def physical(self, logical):
        detail = self.cloudformation.describe_stack_resource(StackName=self.name, LogicalResourceId=logical)
        return detail["StackResourceDetail"]["PhysicalResourceId"]

    def functions(self):
        """Physical names, by the template's names."""
        return {logical: physical for logical, (type_, physical) in self.resources().items() if type_ == "AWS::Lambda::Function"}

    def aliases(self):
        """Which version each function's alias `live` shows, and the digest of that version's code."""
        client, live = self.emulator.client("lambda"), {}
        for logical, physical in self.functions().items():
            version = client.get_alias(FunctionName=physical, Name="live")["FunctionVersion"]
            code = client.get_function_configuration(FunctionName=physical, Qualifier=version)["CodeSha256"]
            live[logical] = (version, code)
        return live

    def request(self, method, path, body=None, token=True):
        """Status and body of an answer of the API, read as JSON where it is JSON."""
        headers = {"Host": self.host, "Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.emulator.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60, context=tls()) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            return status, json.loads(text or "null")
        except ValueError:
            return status, text.decode(errors="replace")

    def logged(self, function):
        """The lines in a function's log."""
        logs, group, lines = self.emulator.client("logs"), f"/postrider/{self.name}/{function}", []
        for stream in logs.describe_log_streams(logGroupName=group)["logStreams"]:
            events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True)
            lines += [event["message"] for event in events["events"]]
        return lines


def tls():
    import ssl

    return ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])


def say(text):
    print(text, flush=True)


def progress(began, what, detail=""):
    say(f"  ok {time.monotonic() - began:6.1f} s  {what}{'  ' + str(detail) if detail else ''}")


if __name__ == "__main__":
    sys.exit("started by run.py")
