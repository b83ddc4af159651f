"""Endpoints in AWS, with their owner's side in another account: the stack of docs/DESTINATIONS.md as it is there, and a
topic, a bus, a bucket and a function, each with a role that allows what the document's table says and no more. The function
runs. What has to be refused is asked for as well, of IAM."""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import aws

DOCUMENT = pathlib.Path("docs/DESTINATIONS.md")
# Another account than the installation's: the emulator reads it from the key.
ACCOUNT = "111122223333"
# The parameter of the installation's stack.
ROLES = "arn:aws:iam::*:role/postrider-*"
NAME = "postrider-walk"
# A payload as it is posted, and has to arrive byte for byte.
GOLD = json.dumps({"plan": "gold"})
FUNCTION = """
def handler(event, context):
    if '"fail"' in event["body"]:
        raise ValueError("the function was told to fail")
    return {"statusCode": 201, "got": event}
"""


def section(title):
    return DOCUMENT.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def snippet():
    """The template that the document gives to customers."""
    return section("The customer's side").partition("```yaml\n")[2].partition("```")[0]


def command():
    """And the command that deploys it."""
    return section("The customer's side").partition("```sh aws\n")[2].partition("```")[0]


def actions():
    """What the document's table says that a role has to allow, by kinds."""
    return dict(re.findall(r"^\| `(\w+)` \| `(\w+:\w+)` \|", section("The customer's side"), re.MULTILINE))


def others(external_id, trusted):
    """A template with the other four kinds of places, what shows that something arrived, and two roles that are wrong."""
    there = {
        "sns": {"Ref": "Topic"}, "eventbridge": {"Fn::GetAtt": "Bus.Arn"}, "s3": {"Fn::Sub": "${Bucket.Arn}/*"}, "lambda": {"Fn::GetAtt": "Echo.Arn"},
    }
    role = lambda name, statements, condition: {"Type": "AWS::IAM::Role", "Properties": {
        "RoleName": f"{NAME}-{name}",
        "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": trusted}, "Action": "sts:AssumeRole"} | condition]},
        "Policies": [{"PolicyName": "send", "PolicyDocument": {"Version": "2012-10-17", "Statement": statements}}],
    }}
    condition = {"Condition": {"StringEquals": {"sts:ExternalId": external_id}}}
    send = lambda kind: {"Effect": "Allow", "Action": actions()[kind], "Resource": there[kind]}
    roles = {f"Role{kind.title()}": role(kind, [send(kind)], condition) for kind in there}
    # Trusts the installation for whoever asks: the document warns of it. IAM has to hold back Postrider's own role.
    roles["RoleOpen"] = role("open", [send("sns")], {})
    queue = lambda source: {"Effect": "Allow", "Principal": {"Service": source}, "Action": "sqs:SendMessage", "Resource": {"Fn::GetAtt": "Seen.Arn"}}
    resources = roles | {
        "Seen": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": f"{NAME}-seen"}},
        "SeenPolicy": {"Type": "AWS::SQS::QueuePolicy", "Properties": {"Queues": [{"Ref": "Seen"}], "PolicyDocument": {
            "Version": "2012-10-17", "Statement": [queue("sns.amazonaws.com"), queue("events.amazonaws.com")]}}},
        "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": NAME}},
        "Subscription": {"Type": "AWS::SNS::Subscription", "Properties": {
            "TopicArn": {"Ref": "Topic"}, "Protocol": "sqs", "Endpoint": {"Fn::GetAtt": "Seen.Arn"}, "RawMessageDelivery": True}},
        "Bus": {"Type": "AWS::Events::EventBus", "Properties": {"Name": NAME}},
        "Rule": {"Type": "AWS::Events::Rule", "Properties": {
            "EventBusName": {"Ref": "Bus"}, "EventPattern": {"source": ["postrider"], "detail": {"payload": {"plan": ["gold"]}}},
            "Targets": [{"Id": "seen", "Arn": {"Fn::GetAtt": "Seen.Arn"}}]}},
        "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": NAME}},
        "Echo": {"Type": "AWS::Lambda::Function", "Properties": {
            "FunctionName": NAME, "Runtime": "python3.12", "Handler": "index.handler", "Code": {"ZipFile": FUNCTION},
            "Role": {"Fn::GetAtt": "EchoRole.Arn"}}},
        "EchoRole": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}}},
    }
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources, "Outputs": {
        "Queue": {"Value": {"Ref": "Seen"}}, "sns": {"Value": {"Ref": "Topic"}}, "eventbridge": {"Value": {"Fn::GetAtt": "Bus.Arn"}},
        "s3": {"Value": {"Fn::GetAtt": "Bucket.Arn"}}, "lambda": {"Value": {"Fn::GetAtt": "Echo.Arn"}}}}


class Customer:
    """One customer, whose application is in the stack of a walk."""

    def __init__(self, walked):
        self.walked, self.check, self.ask = walked, walked.check, walked.ask
        emulator = walked.stack.emulator
        self.client = lambda name: emulator.session.create_client(
            name, endpoint_url=emulator.url, region_name=aws.REGION, verify=os.environ["AWS_CA_BUNDLE"],
            aws_access_key_id=ACCOUNT, aws_secret_access_key="test")
        self.emulator, self.trusted = emulator, walked.stack.outputs["DeliverRoleArn"]
        self.app = self.application("Customer")
        self.external_id = f"postrider-{self.app}"
        # What IAM has to deny: run.py takes it out of its table.
        self.expected = set()

    def application(self, name):
        return self.ask(201, "POST", "/api/v1/app", {"name": name})["id"]

    def deploy(self, text, stack, parameters):
        """Does what the document says, in the customer's account. The stack's outputs."""
        with tempfile.TemporaryDirectory() as folder:
            words = command().replace("\\\n", " ").split()
            given = {"--template-file": "template.yaml", "--stack-name": stack}
            for name, value in given.items():
                words[words.index(name) + 1] = value
            at = words.index("--parameter-overrides")
            words = words[:at] + (["--parameter-overrides", *[f"{name}={value}" for name, value in parameters.items()]] if parameters else [])
            (pathlib.Path(folder) / "template.yaml").write_text(text)
            words[0] = str(pathlib.Path(sys.executable).with_name(words[0]))
            environment = os.environ | {"AWS_ACCESS_KEY_ID": ACCOUNT}
            done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise aws.Failed(f"`{' '.join(words)}` ended with {done.returncode}:\n{done.stdout + done.stderr}")
        described = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}

    def all(self):
        self.documented()
        self.every_kind()
        self.function_that_fails()
        self.refused()
        self.held_back()

    def endpoint(self, kind, arn, role, app=None, **more):
        destination = {"kind": kind, "arn": arn, "roleArn": role} | more
        made = self.ask(201, "POST", f"/api/v1/app/{app or self.app}/endpoint", {"destination": destination})
        shown = made["destination"]["externalId"]
        if shown != f"postrider-{app or self.app}":
            raise aws.Failed(f"the endpoint has another external ID: {shown}")
        return made["id"]

    def post(self, payload, app=None):
        return self.ask(202, "POST", f"/api/v1/app/{app or self.app}/msg", {"eventType": self.walked.type, "payload": payload})["id"]

    def attempt(self, endpoint, message, app=None):
        """The first attempt, as it is on record."""
        def found():
            answer = self.ask(200, "GET", f"/api/v1/app/{app or self.app}/attempt/endpoint/{endpoint}")
            return next((attempt for attempt in reversed(answer["data"]) if attempt["msgId"] == message), None)

        return aws.until(found, f"an attempt of {message}")

    def signed(self, endpoint, message, headers, body):
        """Whether it carries the message's id, and the signature of its endpoint."""
        secret = self.ask(200, "GET", f"/api/v1/app/{self.app}/endpoint/{endpoint}/secret")["key"]
        key = base64.b64decode(secret.removeprefix("whsec_"))
        text = f"{message}.{headers['webhook-timestamp']}.".encode() + body.encode()
        mac = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
        return headers["webhook-id"] == message and f"v1,{mac}" in headers["webhook-signature"].split()

    def received(self, queue, wanted):
        """A message of a queue that is wanted; the others of it are gone."""
        sqs = self.client("sqs")

        def found():
            answer = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
            for message in answer.get("Messages", []):
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
                if wanted(message):
                    return message
            return None

        return aws.until(found, f"a message in {queue}")

    @staticmethod
    def attributes(message):
        return {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}

    def documented(self):
        """The document's own template, as it is there."""
        outputs = self.deploy(snippet(), "postrider-orders", {"DeliverRoleArn": self.trusted, "ExternalId": self.external_id})
        self.orders, self.role = outputs["Arn"], outputs["RoleArn"]
        holds = f"::{ACCOUNT}:" in self.role and f":{ACCOUNT}:" in self.orders and f":{ACCOUNT}:" not in self.trusted
        self.check("customer: docs/DESTINATIONS.md's stack, in an account of its own", holds, f"{self.role} trusts {self.trusted}")
        endpoint = self.endpoint("sqs", self.orders, self.role)
        message = self.post({"order": 1})
        self.queue = self.client("sqs").get_queue_url(QueueName=self.orders.rsplit(":", 1)[1])["QueueUrl"]
        got = self.received(self.queue, lambda got: self.attributes(got)["webhook-id"] == message)
        holds = json.loads(got["Body"]) == {"order": 1} and self.signed(endpoint, message, self.attributes(got), got["Body"])
        self.check("sqs: the queue of another account gets the message, signed", holds, "" if holds else f"{got}")
        attempt = self.attempt(endpoint, message)
        self.check("sqs: its attempt says what SQS answered", "MessageId" in attempt["response"] and attempt["status"] == 0, "" if attempt["status"] == 0 else f"{attempt}")
        self.first = endpoint

    def every_kind(self):
        template = json.dumps(others(self.external_id, self.trusted))
        places = self.deploy(template, NAME, {})
        more = {"s3": {"region": aws.REGION, "keyTemplate": "in/{message}.json"}}
        role = lambda kind: f"arn:aws:iam::{ACCOUNT}:role/{NAME}-{kind}"
        self.endpoints = {kind: self.endpoint(kind, places[kind], role(kind), **more.get(kind, {})) for kind in ("sns", "eventbridge", "s3", "lambda")}
        message = self.post(json.loads(GOLD))
        queue, seen = places["Queue"], {}

        def sort(got):
            if message in str(got):
                seen["eventbridge" if '"detail-type"' in got["Body"] else "sns"] = got
            return len(seen) == 2

        self.received(queue, sort)
        topic, event = seen["sns"], json.loads(seen["eventbridge"]["Body"])
        holds = topic["Body"] == GOLD and self.signed(self.endpoints["sns"], message, self.attributes(topic), topic["Body"])
        self.check("sns: the topic passes the message on, signed", holds, "" if holds else f"{topic}")
        holds = event["source"] == "postrider" and event["detail"]["payload"] == {"plan": "gold"} and event["detail"]["headers"]["webhook-id"] == message
        self.check("eventbridge: a rule matches what is in the payload", holds, "" if holds else f"{event}")
        self.attempt(self.endpoints["s3"], message)
        stored = self.client("s3").get_object(Bucket=NAME, Key=f"in/{message}.json")
        body = stored["Body"].read().decode()
        holds = body == GOLD and self.signed(self.endpoints["s3"], message, stored["Metadata"], body)
        self.check("s3: the bucket has the object, signed", holds, "" if holds else f"{body} {stored['Metadata']}")
        attempt = self.attempt(self.endpoints["lambda"], message)
        answer = json.loads(attempt["response"]) if attempt["status"] == 0 else {}
        got = answer.get("got", {"headers": {}})
        holds = attempt["responseStatusCode"] == 201 and got.get("body") == GOLD and self.signed(self.endpoints["lambda"], message, got["headers"], got["body"])
        self.check("lambda: the customer's function ran, and returns the event that it got, signed", holds, "" if holds else f"{attempt}")

    def gone(self, endpoint, app=None):
        self.ask(204, "DELETE", f"/api/v1/app/{app or self.app}/endpoint/{endpoint}")

    def fails(self, what, endpoint, app, *words):
        """A message's first attempt fails and says all of these words; its endpoint goes."""
        message = self.post({"never": time.time_ns()}, app)
        attempt = self.attempt(endpoint, message, app)
        told = attempt["response"]
        holds = attempt["status"] in (2, 3) or attempt["responseStatusCode"] >= 300
        self.check(what, holds and all(word in told for word in words), told.strip().rpartition("\n")[2] if holds else f"{attempt}")
        self.gone(endpoint, app)
        return message

    def function_that_fails(self):
        message = self.post({"fail": True, "plan": "none"})
        attempt = self.attempt(self.endpoints["lambda"], message)
        holds = attempt["status"] != 0 and "ended with an error (Unhandled): the function was told to fail" in attempt["response"]
        self.check("lambda: a function that raises is a failed attempt", holds, "" if holds else f"{attempt}")
        for endpoint in self.endpoints.values():
            self.gone(endpoint)

    def refused(self):
        other = self.application("Another customer")
        sentence = "the role {} does not let Postrider take it on: its trust policy has to allow sts:AssumeRole to Postrider's deliver role, with sts:ExternalId postrider-{}"
        self.fails("refused: another application names the customer's role", self.endpoint("sqs", self.orders, self.role, other), other,
                   sentence.format(self.role, other))
        nobody = f"arn:aws:iam::{ACCOUNT}:role/postrider-nobody"
        self.fails("refused: a role that is not there", self.endpoint("sqs", self.orders, nobody), self.app, sentence.format(nobody, self.app))
        wrong = f"{NAME}-s3"
        self.expected.add((wrong, "sqs:SendMessage", self.orders))
        self.fails("refused: a role without the permission", self.endpoint("sqs", self.orders, f"arn:aws:iam::{ACCOUNT}:role/{wrong}"), self.app,
                   f"its policy has to allow sqs:SendMessage on {self.orders}")
        answer = self.ask(422, "POST", f"/api/v1/app/{self.app}/endpoint", {
            "destination": {"kind": "sqs", "arn": self.orders, "roleArn": f"arn:aws:iam::{ACCOUNT}:role/admin"}})
        self.check("refused: a role beside the operator's pattern", ROLES in str(answer), "" if ROLES in str(answer) else f"{answer}")

    def held_back(self):
        """Postrider's own role, at a role that lets everybody take it on: IAM holds it back without an external ID, or with
        one that was not made for an application."""
        sts = self.emulator.client("sts")
        # Only Lambda may take this on; the emulator's root may, too.
        own = sts.assume_role(RoleArn=self.trusted, RoleSessionName="walk")["Credentials"]
        signing_with = lambda secret: self.emulator.session.create_client(
            "sts", endpoint_url=self.emulator.url, region_name=aws.REGION, verify=os.environ["AWS_CA_BUNDLE"],
            aws_access_key_id=own["AccessKeyId"], aws_secret_access_key=secret, aws_session_token=own["SessionToken"])
        as_deliver = signing_with(own["SecretAccessKey"])
        role = f"arn:aws:iam::{ACCOUNT}:role/{NAME}-open"
        name = self.trusted.rsplit("/", 1)[-1]
        self.expected |= {(name, "sts:AssumeRole", role), (name, "sts:GetCallerIdentity", "*")}

        def taken(**external_id):
            try:
                return bool(as_deliver.assume_role(RoleArn=role, RoleSessionName="walk", **external_id))
            except as_deliver.exceptions.ClientError as error:
                if error.response["Error"]["Code"] != "AccessDenied":
                    raise
                return False

        try:
            refusal = f"{signing_with('another secret').get_caller_identity()}"
        except as_deliver.exceptions.ClientError as error:
            refusal = error.response["Error"]["Code"]
        # So what deliver sent above was signed as it has to be.
        self.check("the emulator verifies signatures of roles' credentials", refusal == "SignatureDoesNotMatch", refusal)
        found = [taken(), taken(ExternalId="postrider-somebody"), taken(ExternalId=self.external_id)]
        self.check("IAM: deliver takes on no role without an application's external ID, not even one that is open", found == [False, False, True], f"{found}")
