"""A walk through a deployed stack: from an application to a webhook, by every function and queue."""

import base64
import hashlib
import hmac
import json
import time

import aws

ORG = "org_23rb8YdGqMT0qIzpgGwdXfHirMu"
FUNCTIONS = ["applications", "attempts", "auth", "background", "deliver", "endpoints", "event-types", "ingest", "messages", "portal", "timers", "transform"]


class Walk:
    """One walk. Each part says what it saw; the first that does not hold ends it."""

    def __init__(self, stack, receiver, template_alarms):
        self.stack, self.receiver, self.template_alarms = stack, receiver, template_alarms
        self.began = time.monotonic()
        self.since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3600))
        self.sqs = stack.emulator.client("sqs")

    def check(self, what, holds, detail=""):
        if not holds:
            raise aws.Failed(f"{what}: {detail}")
        aws.progress(self.began, what, detail if isinstance(detail, str) else "")

    def ask(self, status, method, path, body=None, **named):
        got, answer = self.stack.request(method, path, body, **named)
        if got != status:
            raise aws.Failed(f"{method} {path} is answered with {got}, not {status}: {str(answer)[:500]}")
        return answer

    def all(self):
        self.api()
        self.deliveries()
        self.own_address()
        self.by_hand()
        self.transformed()
        self.portal()
        self.queues()
        self.schedule()
        self.operations()

    def api(self):
        self.ask(204, "GET", "/api/v1/health", token=False)
        self.ask(200, "GET", "/api/v1/openapi.json", token=False)
        self.ask(200, "GET", "/docs", token=False)
        self.ask(401, "GET", "/api/v1/app", token=False)
        self.check("API: health, document, docs, and 401 without a token", True)
        lost = self.ask(404, "GET", "/api/v1/nowhere/at-all")
        self.check("a path without a route has the contract's 404", lost.get("code") == "not_found", lost)
        suffix = format(time.time_ns() % 10**8, "x")
        self.type = f"invoice.paid.{suffix}"
        self.ask(201, "POST", "/api/v1/event-type", {"name": self.type, "description": "paid"})
        self.app = self.ask(201, "POST", "/api/v1/app", {"name": "Acme", "uid": f"acme-{suffix}"})["id"]
        self.path = f"/api/v1/app/{self.app}"
        self.endpoints = {
            path: self.ask(201, "POST", f"{self.path}/endpoint", {"url": self.receiver.url + path})["id"]
            for path in ("/works", "/third-time", "/never")
        }
        self.check("create: event type, application, three endpoints", True, self.app)

    def attempts(self, path, count):
        answer = self.ask(200, "GET", f"{self.path}/attempt/endpoint/{self.endpoints[path]}")
        found = [attempt["responseStatusCode"] for attempt in answer["data"] if attempt["msgId"] == self.message]
        return found if len(found) >= count else None

    def deliveries(self):
        self.receiver.answer = lambda path, count, headers: 500 if path == "/never" or (path == "/third-time" and count < 3) else 204
        secret = self.ask(200, "GET", f"{self.path}/endpoint/{self.endpoints['/works']}/secret")["key"]
        posted = time.monotonic()
        self.message = self.ask(202, "POST", f"{self.path}/msg", {"eventType": self.type, "payload": {"id": "inv_1"}})["id"]
        headers, body = aws.until(lambda: self.receiver.seen.get("/works"), "the webhook arrives")[0]
        self.check("deliver: the webhook arrives", headers["webhook-id"] == self.message, f"{time.monotonic() - posted:.1f} s after the post")
        signed = f"{self.message}.{headers['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(secret.removeprefix("whsec_"))
        mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        self.check("its signature is its endpoint's", f"v1,{mac}" in headers["webhook-signature"].split(), headers["webhook-signature"])
        statuses = aws.until(lambda: self.attempts("/works", 1), "its attempt is in the log")
        self.check("its attempt is in the log", statuses == [204], f"{statuses}")
        statuses = aws.until(lambda: self.attempts("/third-time", 3), "two retries")
        self.check("retry: through the queue, until it is taken", sorted(statuses) == [204, 500, 500], f"{statuses}")

    def own_address(self):
        """The function's own address, where the stack has one: the same answers, without the API before it."""
        if "MessagesUrl" not in self.stack.outputs:
            return
        api, self.stack.host = self.stack.host, self.stack.host_of("MessagesUrl")
        try:
            body, path = {"eventType": self.type, "payload": {"by": "its own address"}}, f"{self.path}/msg"
            self.ask(401, "POST", path, body, token=False)
            self.ask(422, "POST", path, {"payload": {}})
            lost = self.ask(404, "GET", "/api/v1/app")
            self.check("MessagesUrl: 401 without a token, 422, and 404 of what is not for messages", lost.get("code") == "not_found", lost)
            posted = self.ask(202, "POST", path, body)["id"]
            several = self.ask(200, "POST", f"{path}/batch", {"messages": [body, {"eventType": "not a type"}, body]})
            self.check("MessagesUrl: several messages in one request", [one["status"] for one in several["data"]] == [202, 422, 202], several)
            read = self.ask(200, "GET", f"{path}/{posted}")
        finally:
            self.stack.host = api
        ids = {posted} | {one["message"]["id"] for one in several["data"] if "message" in one}
        arrived = lambda: ids <= {headers["webhook-id"] for headers, _ in self.receiver.seen["/works"]}
        aws.until(arrived, "what was posted there arrives")
        by_api = self.ask(200, "GET", f"{self.path}/msg/{posted}")
        self.check("MessagesUrl: what was posted there arrives, and is read by both", read == by_api, f"{read} {by_api}")

    def by_hand(self):
        before = len(self.receiver.seen["/works"])
        self.ask(202, "POST", f"{self.path}/msg/{self.message}/endpoint/{self.endpoints['/works']}/resend", {})
        aws.until(lambda: len(self.receiver.seen["/works"]) > before, "what is sent again arrives")
        self.receiver.answer = lambda path, count, headers: 204
        task = self.ask(202, "POST", f"{self.path}/endpoint/{self.endpoints['/never']}/recover", {"since": self.since})

        def finished():
            found = self.ask(200, "GET", f"/api/v1/background-task/{task['id']}")
            return found if found["status"] == "finished" else None

        aws.until(finished, "recover is finished")
        statuses = aws.until(lambda: (lambda s: s if s and 204 in s else None)(self.attempts("/never", 2)), "recover sends again")
        self.check("resend, and recover in the background", 204 in statuses, f"{statuses}")

    def transformed(self):
        code = self.ask(201, "POST", f"{self.path}/endpoint", {"url": self.receiver.url + "/code"})["id"]
        path = f"{self.path}/endpoint/{code}/transformation"
        refused = self.ask(422, "PATCH", path, {"code": "const nothing = 1", "enabled": True})
        self.check("transform: code without a handler is refused", "handler" in str(refused), str(refused)[:200])
        program = "function handler(w) { w.payload = { id: w.payload.id, by: w.env.by }; w.headers = { 'x-by': w.env.by }; return w }"
        self.ask(204, "PATCH", path, {"code": program, "enabled": True, "variables": {"by": "code"}})
        self.ask(202, "POST", f"{self.path}/msg", {"eventType": self.type, "payload": {"id": "inv_2", "more": 1}})
        headers, body = aws.until(lambda: self.receiver.seen.get("/code"), "a webhook arrives that passed the code")[0]
        holds = json.loads(body) == {"id": "inv_2", "by": "code"} and headers.get("x-by") == "code"
        self.check("transform: a webhook is what the code made of it", holds, f"{body!r}")
        self.ask(204, "PATCH", path, {"enabled": False})

    def portal(self):
        access = self.ask(200, "POST", f"/api/v1/auth/app-portal-access/{self.app}", {"capabilities": ["ViewBase"]})
        page = self.ask(200, "GET", "/login", token=False)
        self.check("portal: a link, and its page", access["token"] in access["url"] or "key=" in access["url"], "" if "<html" in str(page) else page)
        full, self.stack.token = self.stack.token, access["token"]
        try:
            self.ask(200, "GET", f"{self.path}/endpoint")
            self.ask(403, "DELETE", f"{self.path}/endpoint/{self.endpoints['/works']}")
        finally:
            self.stack.token = full
        self.check("capabilities: ViewBase reads and cannot delete", True)

    def dead(self, queue, text):
        found = self.sqs.receive_message(QueueUrl=self.stack.physical(queue), MaxNumberOfMessages=10, VisibilityTimeout=0)
        return any(text in message["Body"] for message in found.get("Messages", []))

    def queues(self):
        record = {"orgId": ORG, "appId": self.app, "message": {"eventType": self.type, "payload": {"queued": "yes"}}}
        self.sqs.send_message(QueueUrl=self.stack.outputs["IngestQueueUrl"], MessageBody=json.dumps(record))
        queued = lambda: any(b"queued" in body for _, body in self.receiver.seen["/works"])
        aws.until(queued, "a message from the queue is delivered")
        self.check("ingest: a message from the queue is delivered", True)
        for source, letters in (("DeliveriesQueue", "DeliveriesDeadQueue"), ("BackgroundQueue", "BackgroundDeadQueue"), ("IngestQueue", "IngestDeadQueue")):
            self.sqs.send_message(QueueUrl=self.stack.physical(source), MessageBody=f"no job of {source}")
            aws.until(lambda letters=letters, source=source: self.dead(letters, source), f"nonsense gets into {letters}")
        self.check("dead letters: what nobody understands, of three queues", True)

    def schedule(self):
        rule = self.stack.emulator.client("events").describe_rule(Name=self.stack.physical("TimersFunctionEveryMinute"))
        holds = (rule["State"], rule["ScheduleExpression"]) == ("ENABLED", "rate(1 minute)")
        self.check("timers: a rule, each minute", holds, "" if holds else f"{rule}")
        aws.until(lambda: [line for line in self.stack.logged("timers") if "TimerLag" in line], "the timers run")
        self.check("timers: they ran by it", True)

    def operations(self):
        silent = [name for name in FUNCTIONS if not self.stack.logged(name)]
        # Functions that have nothing to say write nothing; those that measure do.
        told = {name for name in FUNCTIONS if name not in silent}
        self.check("log groups: of each function, with lines of those that measure", {"deliver", "ingest", "messages", "timers"} <= told, f"silent: {silent}")
        cloudwatch = self.stack.emulator.client("cloudwatch")
        names = {
            alarm["AlarmName"] for page in cloudwatch.get_paginator("describe_alarms").paginate() for alarm in page["MetricAlarms"]
        }
        made = {physical for nested in ("Errors", "Monitoring", "Objectives") for type_, physical in self.stack.resources(nested).values()
                if type_ == "AWS::CloudWatch::Alarm"}
        self.check("alarms: all of the templates'", made <= names and len(made) == self.template_alarms, f"{len(made)} of {self.template_alarms}")
        boards = [board["DashboardName"] for board in cloudwatch.list_dashboards()["DashboardEntries"]]
        self.check("dashboard", self.stack.outputs["Dashboard"] in boards, f"{self.stack.outputs['Dashboard']}")
        mappings = self.stack.emulator.client("lambda").list_event_source_mappings()["EventSourceMappings"]
        ours = [m for m in mappings if m["FunctionArn"].split(":")[6] in self.stack.functions().values()]
        live = [m["FunctionArn"].endswith(":live") and m["State"] == "Enabled" for m in ours]
        self.check("event sources: four, enabled, of the alias", live == [True] * 4, f"{live}")
