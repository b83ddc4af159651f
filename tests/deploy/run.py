"""Deploys template.yaml as it is into an emulated AWS that enforces IAM, walks through it, changes it, breaks it, deletes it,
and deploys it again out of a release's files.

usage: run.py RUNNER BUILT [--faults]    (in the repository's folder; `sam` in the path; BUILT is what `sam build` made)

--faults plants a missing permission and a missing route instead, and holds that the walk finds each.
"""

import base64
import hmac
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import yaml

import aws
import customer
import released
import walk

STACK = "postrider"
PARAMETERS = {
    "Arch": "x86_64", "HttpsOnly": "false", "AllowedSubnets": "127.0.0.0/8", "RetrySchedule": "1,2" + 15 * ",10",
    "HeaderStyle": "webhook", "LogLevel": "info", "DestinationRoles": customer.ROLES, "MessagesUrl": "true",
}
# Kept when the stack goes: CloudFormation says so of each in an event.
KEPT = {"ConfigTable", "LogTable", "JwtSecret", "EncryptionKey"}
# What preflight cannot ask here: the emulator has no CodeDeploy, and version 1 of the AWS CLI, the one that pip has, looks
# for SQS at an older name.
NOT_ASKED = {"deploy", "sqs"}
BEGAN = time.monotonic()


class Loader(yaml.SafeLoader):
    """CloudFormation's short forms, kept as they are."""


class Form:
    def __init__(self, tag, value):
        self.tag, self.value = tag, value


def form(loader, suffix, node):
    build = {yaml.ScalarNode: loader.construct_scalar, yaml.SequenceNode: lambda n: loader.construct_sequence(n, deep=True),
             yaml.MappingNode: lambda n: loader.construct_mapping(n, deep=True)}
    return Form("!" + suffix, build[type(node)](node))


def written(dumper, form):
    if isinstance(form.value, dict):
        return dumper.represent_mapping(form.tag, form.value)
    if isinstance(form.value, list):
        return dumper.represent_sequence(form.tag, form.value)
    return dumper.represent_scalar(form.tag, str(form.value))


class Dumper(yaml.SafeDumper):
    ignore_aliases = staticmethod(lambda data: True)


Loader.add_multi_constructor("!", form)
Dumper.add_representer(Form, written)


def part(name):
    aws.say(f"{name} ({time.monotonic() - BEGAN:.0f} s)")


def variant(template, name, change):
    """A template with a change, beside it, so that its paths hold."""
    path = template.with_name(name)
    template = yaml.load(template.read_text(), Loader)
    change(template)
    path.write_text(yaml.dump(template, Dumper=Dumper, sort_keys=False, width=10_000))
    return path


def packaged(built):
    """The built template with its functions' code uploaded, so that further deploys upload what changed."""
    original = yaml.load((built / "template.yaml").read_text(), Loader)
    aws.sam_package(built / "template.yaml", built / "packaged.yaml")

    def nested_again(template):
        # An emulator's address is no bucket's: SAM would look for these in a file of that name.
        for name, resource in template["Resources"].items():
            if resource["Type"] == "AWS::CloudFormation::Stack":
                resource["Properties"]["TemplateURL"] = original["Resources"][name]["Properties"]["TemplateURL"]

    return variant(built / "packaged.yaml", "uploaded.yaml", nested_again)


def alarms():
    texts = [pathlib.Path("infra", name).read_text() for name in ("errors.yaml", "monitoring.yaml", "objectives.yaml")]
    return sum(len(re.findall(r"^    Type: AWS::CloudWatch::Alarm$", text, re.MULTILINE)) for text in texts)


class Run:
    def __init__(self, emulator, runner, built, release=None):
        self.emulator, self.runner, self.built, self.release = emulator, runner, built, release
        self.receiver = aws.Receiver()

    def stack(self, name=STACK, environment=None):
        return aws.Stack(self.emulator, name, environment)

    def first(self):
        part("infra/preflight, and packaging")
        env = os.environ | {"PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"}
        preflight = subprocess.Popen(["infra/preflight", STACK], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
        self.template = packaged(self.built)
        aws.progress(BEGAN, "packaged")
        said, _ = preflight.communicate(timeout=240)
        failed = {line.split()[1].strip(":") for line in said.splitlines() if line.startswith("FAIL")}
        holds = failed <= NOT_ASKED and f"no stack is called {STACK}" in said
        self.check("infra/preflight has nothing against it", holds, f"but {sorted(failed)}, which are not to be asked here" if holds else said)
        part("deploy: template.yaml as it is")
        aws.sam_deploy(self.template, STACK, PARAMETERS)
        stack = self.stack()
        aws.progress(BEGAN, "deployed", f"{len(stack.resources())} resources, {stack.described['StackStatus']}")
        self.signs(stack.outputs["FirstToken"])
        part("walk")
        self.walked = walk.Walk(stack, self.receiver, alarms())
        self.walked.all()
        part("postrider ops")
        queues = stack.ops(self.runner, "queues")
        self.check("ops shows the eight queues", queues.count("Queue ") == 8, queues)
        # Only of an empty queue: the emulator's SQS moves no messages.
        empty = stack.ops(self.runner, "redrive", "retries", "--yes")
        self.check("ops has no dead letters of the retries to send back", "is empty" in empty, empty)
        before = stack.concurrency("Deliveries")
        stack.ops(self.runner, "concurrency", "deliveries", "7")
        self.check("ops changes the concurrency", stack.concurrency("Deliveries") == [7], stack.concurrency("Deliveries"))
        stack.ops(self.runner, "concurrency", "deliveries", str(before[0]))
        stack.token, first = stack.ops(self.runner, "token", "--expires", "1h"), stack.token
        status, apps = stack.request("GET", "/api/v1/app")
        self.check("ops makes a token that the API takes", status == 200, apps)
        stack.token = first

    def signs(self, command):
        """What FirstToken does with a list of secrets, as a rotation has it, and with none."""
        signer = command.partition(" | ")[2]
        secrets = ["a new secret of this \"many\" characters", "the one before it, which still verifies"]
        sign = lambda text: subprocess.run(["bash", "-c", signer], input=text, capture_output=True, text=True, timeout=60)
        signed, _, mac = sign(json.dumps(secrets) + "\n").stdout.strip().rpartition(".")
        first = base64.urlsafe_b64encode(hmac.digest(secrets[0].encode(), signed.encode(), "sha256")).decode().rstrip("=")
        none = sign("")
        holds = mac == first and none.returncode and not none.stdout
        self.check("FirstToken signs with the newest of several secrets, and with no empty one", holds, "" if holds else f"{mac} {none}")

    def destinations(self):
        part("endpoints in AWS, of a customer with an account of its own")
        self.customer = customer.Customer(self.walked)
        self.customer.all()

    def second(self):
        part("second deploy: another parameter, another function")
        stack = self.walked.stack
        before = stack.aliases()
        # It takes nothing from the old version, whose headers are without the new parameter's.
        self.receiver.answer = lambda path, count, headers: 500 if path == "/later" and "svix-id" not in headers else 204
        self.walked.ask(201, "POST", f"{self.walked.path}/endpoint", {"url": self.receiver.url + "/later"})
        message = self.walked.ask(202, "POST", f"{self.walked.path}/msg", {"eventType": self.walked.type, "payload": {}})["id"]
        aws.until(lambda: len(self.receiver.seen.get("/later", [])) >= 2, "two attempts, of which none arrives")
        # Behind its end an executable file may have anything.
        changed = next(self.built.glob("[Dd]eliver*/bootstrap"))
        with changed.open("ab") as file:
            file.write(b"another version")

        def other_code(template):
            template["Resources"]["DeliverFunction"]["Properties"]["CodeUri"] = str(changed.parent)

        self.template = variant(self.template, "second.yaml", other_code)
        aws.sam_deploy(self.template, STACK, PARAMETERS | {"HeaderStyle": "both"})
        after = stack.aliases()
        moved = [name for name in after if after[name][0] != before[name][0]]
        self.check("each alias shows a new version, as a parameter changed", len(moved) == len(after), f"{len(moved)} of {len(after)}")
        other = [name for name in after if after[name][1] != before[name][1]]
        self.check("one function's code is another", other == ["DeliverFunction"], f"{other}")
        taken = lambda: [headers for headers, _ in self.receiver.seen["/later"] if "svix-id" in headers]
        aws.until(taken, "the job in flight survives")
        same = {headers["webhook-id"] for headers, _ in self.receiver.seen["/later"]} == {message}
        self.check("the old version's job is done by the new one", same, f"at attempt {len(self.receiver.seen['/later'])}")

    def broken(self):
        part("a deploy that fails")
        stack = self.walked.stack
        before = stack.aliases()

        def breaks(template):
            # Refused when all functions have changed: CodeDeploy has no such application.
            template["Resources"]["Broken"] = {
                "Type": "AWS::CodeDeploy::DeploymentGroup", "DependsOn": [name for name in template["Resources"] if name.endswith("Function")],
                "Properties": {
                    "ApplicationName": "nobody-is-called-so", "ServiceRoleArn": Form("!GetAtt", "RolloutRole.Arn"),
                    "DeploymentConfigName": "CodeDeployDefault.LambdaAllAtOnce",
                },
            }

        path = variant(self.template, "broken.yaml", breaks)
        text = aws.sam_deploy(path, STACK, PARAMETERS | {"HeaderStyle": "svix"}, fails=True)
        self.check("`sam deploy` says what failed", "Broken" in text)
        status = stack.cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"]
        self.check("the stack is back", status == "UPDATE_ROLLBACK_COMPLETE", status)
        same = {name: code for name, (_, code) in before.items()} == {name: code for name, (_, code) in stack.aliases().items()}
        self.check("each alias shows the code that it showed", same)
        seen = len(self.receiver.seen["/works"])
        self.walked.ask(202, "POST", f"{self.walked.path}/msg", {"eventType": self.walked.type, "payload": {}})
        headers = aws.until(lambda: self.receiver.seen["/works"][seen:], "a webhook after the rollback")[0][0]
        both = {"webhook-id", "svix-id"} <= set(headers)
        self.check("webhooks go out, by the settings before", both, "" if both else f"{sorted(headers)}")

    def gone(self, stack):
        """Deletes a stack, and waits until it is."""
        identifier = stack.described["StackId"]
        stack.cloudformation.delete_stack(StackName=stack.name)

        def deleted():
            status = stack.cloudformation.describe_stacks(StackName=identifier)["Stacks"][0]["StackStatus"]
            if status.endswith("FAILED"):
                raise aws.Failed(status)
            return status == "DELETE_COMPLETE"

        aws.until(deleted, "the stack is gone")

    def delete(self):
        part("delete")
        stack = self.walked.stack
        self.kept = {name: stack.physical(name) for name in KEPT}
        functions = stack.functions().values()
        identifier = stack.described["StackId"]
        self.gone(stack)
        pages = stack.cloudformation.get_paginator("describe_stack_events").paginate(StackName=identifier)
        # Versions are kept by themselves, and go with their functions.
        said = {
            event["LogicalResourceId"] for page in pages for event in page["StackEvents"]
            if event["ResourceStatus"] == "DELETE_SKIPPED" and event["ResourceType"] != "AWS::Lambda::Version"
        }
        self.check("gone, and its events say what was kept", said == KEPT, f"{sorted(said)}")
        dynamodb, secrets = self.emulator.client("dynamodb"), self.emulator.client("secretsmanager")
        # That they refuse to be deleted is not emulated (docs/AWS.md).
        for name in ("ConfigTable", "LogTable"):
            self.check(f"{name} is there", dynamodb.describe_table(TableName=self.kept[name])["Table"]["TableStatus"] == "ACTIVE")
        for name in ("JwtSecret", "EncryptionKey"):
            self.check(f"{name} can be read", secrets.get_secret_value(SecretId=self.kept[name])["SecretString"])
        left = {function["FunctionName"] for function in self.emulator.client("lambda").list_functions()["Functions"]} & set(functions)
        self.check("no function is left", not left, f"{left}" if left else "")

    def beside(self):
        part("infra/key.yaml, and a stack of another name out of a release's files, on what was kept, encrypted with that key")
        aws.sam_deploy(pathlib.Path("infra/key.yaml").resolve(), f"{STACK}-key", {})
        outputs = self.emulator.client("cloudformation").describe_stacks(StackName=f"{STACK}-key")["Stacks"][0]["Outputs"]
        aws.progress(BEGAN, "key.yaml")
        # For the processor that this runs on without saying so, as a release is.
        parameters = {name: value for name, value in PARAMETERS.items() if name != "Arch"} | {f"{name}Name": self.kept[name] for name in KEPT}
        what = self.release.unpack()
        self.release.deploy(f"{STACK}-again", parameters | {"KmsKeyArn": outputs[0]["OutputValue"]})
        aws.progress(BEGAN, "deployed from an empty folder, without Rust's tools", what)
        again = self.stack(f"{STACK}-again", self.release.environment)
        status, answer = again.request("GET", self.walked.path)
        self.check("its API knows the old application, and the token that FirstToken prints there", status == 200, "" if status == 200 else f"{answer}")
        seen = len(self.receiver.seen["/works"])
        status, answer = again.request("POST", f"{self.walked.path}/msg", {"eventType": self.walked.type, "payload": {}})
        self.check("it takes a message for it", status == 202, f"{answer['id'] if status == 202 else answer}")
        aws.until(lambda: self.receiver.seen["/works"][seen:], "the old endpoint gets it")
        self.check("the old endpoint gets it, signed with the secret that was kept", True)
        ask = lambda status, path, body: self.asked(again, status, path, body)
        app = ask(201, "/api/v1/app", {"name": "Released"})["id"]
        ask(201, f"/api/v1/app/{app}/endpoint", {"url": self.receiver.url + "/released"})
        message = ask(202, f"/api/v1/app/{app}/msg", {"eventType": self.walked.type, "payload": {"by": "a release"}})["id"]
        headers, body = aws.until(lambda: self.receiver.seen.get("/released"), "a webhook of a new application")[0]
        holds = headers["webhook-id"] == message and json.loads(body) == {"by": "a release"}
        self.check("a new application's webhook arrives", holds, "" if holds else f"{headers} {body}")
        functions = again.functions().values()
        self.gone(again)
        left = {function["FunctionName"] for function in self.emulator.client("lambda").list_functions()["Functions"]} & set(functions)
        there = self.emulator.client("dynamodb").describe_table(TableName=self.kept["LogTable"])["Table"]["TableStatus"]
        self.check("deleted, and what it was given is there", not left and there == "ACTIVE", "" if not left else f"{left} {there}")

    def launched(self):
        part("infra/launch, and what the console makes of its link")
        # As it is without being asked: messages has no address of its own.
        parameters = {name: value for name, value in PARAMETERS.items() if name not in ("Arch", "MessagesUrl")}
        link = self.release.launch(self.emulator, f"{STACK}-link", parameters)
        aws.progress(BEGAN, "created from the template in the bucket", link)
        stack = self.stack(f"{STACK}-link", self.release.environment)
        app = self.asked(stack, 201, "/api/v1/app", {"name": "Linked"})
        self.check("it creates an application", app["name"] == "Linked", app["id"])
        own = [type_ for type_, _ in stack.resources().values() if type_ == "AWS::Lambda::Url"]
        self.check("messages has no address of its own", not own and "MessagesUrl" not in stack.outputs)
        self.gone(stack)

    def asked(self, stack, status, path, body):
        got, answer = stack.request("POST", path, body)
        if got != status:
            raise aws.Failed(f"POST {path} is answered with {got}, not {status}: {str(answer)[:500]}")
        return answer

    def other_stacks(self):
        part("infra/edge.yaml, infra/github.yaml")
        origin = "abcd1234.execute-api.eu-central-1.amazonaws.com"
        aws.sam_deploy(pathlib.Path("infra/edge.yaml").resolve(), f"{STACK}-edge", {"Origin": origin})
        aws.progress(BEGAN, "edge.yaml")
        aws.sam_deploy(pathlib.Path("infra/github.yaml").resolve(), f"{STACK}-github",
                       {"Repository": "acme/postrider", "Environment": "prod", "Stack": STACK})
        aws.progress(BEGAN, "github.yaml")

    def check(self, what, holds, detail=""):
        if not holds:
            raise aws.Failed(f"{what}: {detail}")
        aws.progress(BEGAN, what, detail)


def denied(emulator, expected=()):
    """The table of denied actions, without those that were to be denied. It has to be empty."""
    found = emulator.denied()
    for key in expected:
        if not found.pop(key, 0):
            raise aws.Failed(f"not denied: {key}")
    aws.say(f"denied actions: {sum(found.values())}")
    for (who, action, resource), count in sorted(found.items()):
        aws.say(f"  {count:4} x  {who}  {action}  {resource}")
    return found


def without_permission(template):
    """Deliver may not write to the log of attempts."""
    for statement in template["Resources"]["DeliverRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]:
        if "dynamodb:BatchGetItem" in statement["Action"]:
            statement["Action"] = [action for action in statement["Action"] if action != "dynamodb:PutItem"]


def without_route(template):
    """What begins with /api/v1/background-task leads nowhere."""
    for resource in template["Resources"].values():
        events = resource.get("Properties", {}).get("Events", {})
        for name in [name for name, event in events.items() if "background-task" in str(event["Properties"].get("Path"))]:
            del events[name]


def faults(emulator, runner, built):
    """Each planted fault has to be found: by the walk, or by the table of denied actions."""
    uploaded = packaged(built)
    for number, change in enumerate([without_permission, without_route]):
        run = Run(emulator, runner, built)
        part(f"planted: {change.__doc__}")
        aws.sam_deploy(variant(uploaded, f"fault{number}.yaml", change), f"{STACK}-fault{number}", PARAMETERS)
        aws.PATIENCE_SECONDS = 15
        try:
            walk.Walk(run.stack(f"{STACK}-fault{number}"), run.receiver, alarms()).all()
            found = denied(emulator)
        except aws.Failed as failed:
            found = str(failed)
            denied(emulator)
        if not found:
            raise aws.Failed(f"not found: {change.__doc__}")
        aws.say(f"  found: {found}")


def main():
    runner, built = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        # A copy, since a part changes a function. What is nested is named by whole paths.
        shutil.copytree(built, folder / "built", symlinks=True)
        emulator, release, status = aws.Emulator(sys.executable, folder), None, 0
        try:
            if sys.argv[3:] == ["--faults"]:
                faults(emulator, runner, folder / "built")
            else:
                release = released.Release(built, folder / "release")
                run = Run(emulator, runner, folder / "built", release)
                for step in (run.first, run.destinations, run.second, run.broken, run.delete, run.beside, run.launched, run.other_stacks):
                    step()
                status = bool(denied(emulator, run.customer.expected))
        except aws.Failed as failed:
            aws.say(f"FAILED: {failed}")
            denied(emulator)
            status = 1
        finally:
            emulator.close()
            if release:
                release.close()
            if status:
                aws.say("the emulator's last lines:\n" + emulator.log.read_text(errors="replace")[-4000:])
        aws.say(f"{'failed' if status else 'all of it holds'} ({time.monotonic() - BEGAN:.0f} s)")
        sys.exit(status)


if __name__ == "__main__":
    main()
