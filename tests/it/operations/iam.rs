//! What each function's role allows is what its code does. That it does no more is seen to in every test:
//! the runner refuses what the template does not allow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use sam_template::{Grant, Template};
use serde_json::{Value, json};
use shared::auth::DEFAULT_ORG;
use shared::operational::MANAGEMENT_ORG;

use crate::api::all_operations::Walk;
use crate::faults::outage::Outage;
use crate::test_stack::{Ahead, ENDPOINT_VARIABLE, Receiver, TestStack, sdk, settings, soon};

/// What Lambda does to a queue with the role of the function that it feeds.
const OF_THE_SOURCE: [&str; 3] = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"];

type Table = BTreeMap<String, BTreeSet<Grant>>;

/// What the roles allow of the SDK's services, by function.
fn granted(template: &Template) -> Table {
    let grants = |function| template.grants(function).into_iter().filter(Grant::is_of_the_sdk).collect();
    template.functions.iter().map(|function| (function.name.clone(), grants(function))).collect()
}

/// What seldom happens: failures, waits, limits, large things.
struct Rare {
    stack: TestStack,
    receiver: Receiver,
    clock: Arc<Ahead>,
    outage: Outage,
    app: String,
    endpoint: String,
}

impl Rare {
    async fn start() -> Self {
        let clock = Arc::new(Ahead::default());
        let mut settings =
            settings().with("POSTRIDER_RETRY_SCHEDULE", "1,1200").with("POSTRIDER_MESSAGE_QUOTA", "1000");
        settings.platform.clock = clock.clone();
        let outage = Outage::default();
        // In between is where sockets are.
        settings.sockets = true;
        settings.platform.http = outage.before(settings.platform.http.clone());
        let stack = TestStack::with(settings).await;
        stack.leaves_dead_letters();
        let receiver = Receiver::answering(|webhook| match webhook.path.as_str() {
            "/fails" => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
            _ => (StatusCode::OK, "an answer".into()),
        });
        let receiver = receiver.await;
        let app = stack.app().await;
        let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
        Self { stack, receiver, clock, outage, app, endpoint }
    }

    async fn ask(&self, method: &str, path: &str, body: Value, key: &str) -> (StatusCode, Value) {
        let path = format!("/api/v1{}", path.replace("{app}", &self.app).replace("{ep}", &self.endpoint));
        let headers = [("idempotency-key", key)];
        let headers = if key.is_empty() { &[] } else { &headers[..] };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.stack.request_with(method, &path, &self.stack.token, headers, body).await;
        (answer.status, if answer.text.is_empty() { Value::Null } else { answer.json() })
    }

    async fn post(&self, path: &str, body: Value, key: &str) -> Value {
        let (status, answer) = self.ask("POST", path, body, key).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// Keys of requests that fail are free again.
    async fn failing_requests(&self) {
        for (path, body) in [
            ("/app", json!({})),
            ("/app/{app}/endpoint", json!({})),
            ("/event-type", json!({})),
            ("/app/{app}/msg", json!({})),
            ("/app/{app}/msg/unknown/endpoint/{ep}/resend", Value::Null),
            ("/auth/app/unknown/expire-all", json!({})),
        ] {
            let (status, answer) = self.ask("POST", path, body, "failing").await;
            assert!(status.is_client_error(), "{path}: {status} {answer}");
        }
    }

    /// Everything that is listed, counted and looked up.
    async fn reading(&self) {
        let schemas = json!({"1": {"example": {"a": 1}}});
        self.post("/event-type", json!({"name": "a.b", "description": "", "schemas": schemas}), "").await;
        let body = json!({"eventType": "a.b", "payload": {"n": 1}});
        let message = self.post("/app/{app}/msg", body.clone(), "twice").await;
        self.stack.idle().await;
        // A repetition makes sure of the deliveries.
        assert_eq!(self.post("/app/{app}/msg", body, "twice").await["id"], message["id"]);
        let message = message["id"].as_str().expect("an id");
        for path in [
            "/app",
            "/app/{app}/endpoint",
            "/event-type",
            "/app/{app}/msg",
            "/app/{app}/attempt/endpoint/{ep}",
            "/app/{app}/endpoint/{ep}/msg",
            "/app/{app}/endpoint/{ep}/stats",
            "/app/{app}/endpoint/{ep}/stats/series",
            "/app/{app}/stats/series",
            "/app/{app}/failing-endpoint",
            "/app/{app}/undelivered",
            "/failing-endpoint",
            "/undelivered",
            "/environment/settings",
            &format!("/app/{{app}}/msg/{message}/endpoint"),
            &format!("/app/{{app}}/attempt/msg/{message}"),
        ] {
            let (status, answer) = self.ask("GET", path, Value::Null, "").await;
            assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        }
        let resend = format!("/app/{{app}}/msg/{message}/endpoint/{{ep}}/resend");
        self.post(&resend, Value::Null, "").await;
        let patch = json!({"filterTypes": ["a.b"]});
        assert_eq!(self.ask("PATCH", "/app/{app}/endpoint/{ep}", patch, "").await.0, StatusCode::OK);
        self.post("/app/{app}/endpoint/{ep}/send-example", json!({"eventType": "a.b"}), "").await;
        let path = "/app/{app}/endpoint/{ep}/transformation";
        let code = json!({"code": "const handler = (webhook) => webhook", "enabled": true});
        assert_eq!(self.ask("PATCH", path, code, "").await.0, StatusCode::NO_CONTENT);
        self.post("/app/{app}/msg", json!({"eventType": "a.b", "payload": {}}), "").await;
        self.stack.idle().await;
        assert_eq!(self.ask("PATCH", path, json!({"code": null}), "").await.0, StatusCode::NO_CONTENT);
        // Longer than one item can be, and no text that is shorter when it is compressed.
        let bytes: Vec<u8> = (0..40_000)
            .flat_map(|_| shared::random::bytes::<16>(&*self.stack.stack.platform().random))
            .collect();
        let body = json!({"eventType": "a.b", "payload": {"text": STANDARD.encode(bytes)}});
        let large = self.post("/app/{app}/msg", body, "").await;
        self.stack.idle().await;
        let path = format!("/app/{{app}}/msg/{}/content", large["id"].as_str().expect("an id"));
        assert_eq!(self.ask("DELETE", &path, Value::Null, "").await.0, StatusCode::NO_CONTENT);
    }

    /// What goes through applications, and takes payloads out of large messages.
    async fn tasks(&self) {
        let bytes: Vec<u8> = (0..40_000)
            .flat_map(|_| shared::random::bytes::<16>(&*self.stack.stack.platform().random))
            .collect();
        let body = json!({"eventType": "a.b", "payload": {"text": STANDARD.encode(bytes)}});
        self.post("/app/{app}/msg", body, "").await;
        self.stack.idle().await;
        let now = self.stack.stack.platform().clock.now();
        let window =
            json!({"since": now.before(Duration::from_secs(3_600)).to_string(), "until": now.to_string()});
        for (method, path, body) in [
            ("POST", "/stats/usage/app", window),
            ("PUT", "/stats/usage/event-types", Value::Null),
            ("POST", "/app/{app}/msg/expunge-all-contents", Value::Null),
        ] {
            let (status, begun) = self.ask(method, path, body, "").await;
            assert_eq!(status, StatusCode::ACCEPTED, "{path}: {begun}");
            self.stack.idle().await;
            let path = format!("/background-task/{}", begun["id"].as_str().expect("an id"));
            assert_eq!(self.ask("GET", &path, Value::Null, "").await.1["status"], "finished");
        }
    }

    /// More endpoints than a request serves by itself.
    async fn many_endpoints(&self) {
        for nth in 0..50 {
            let body = json!({"url": self.receiver.url("/"), "uid": format!("ep-{nth}")});
            self.post("/app/{app}/endpoint", body, "").await;
        }
        self.post("/app/{app}/msg", json!({"eventType": "a.b", "payload": {}}), "").await;
        self.stack.idle().await;
    }

    /// What producers queue: for an application that is not there yet, for one of many endpoints, twice,
    /// and what is refused.
    async fn queued_messages(&self) {
        let body =
            |app: &str, message: Value| json!({"orgId": DEFAULT_ORG, "appId": app, "message": message});
        let mut twice = body(&self.app, json!({"eventType": "a.b", "eventId": "queued", "payload": {}}));
        let makes = json!({"eventType": "a", "payload": {}, "application": {"name": "x", "uid": "queued"}});
        self.stack.put(&[twice.clone(), body("queued", makes)]).await;
        self.stack.idle().await;
        // In order.
        let ordered = json!({"url": self.receiver.url("/"), "fifo": true});
        self.post("/app/queued/endpoint", ordered, "").await;
        self.stack.put(&[body("queued", json!({"eventType": "a", "payload": {}}))]).await;
        self.stack.idle().await;
        // Its event id is taken.
        self.stack.put(&[twice.clone()]).await;
        self.stack.idle().await;
        twice["message"]["eventId"] = Value::Null;
        twice["idempotencyKey"] = json!("queued");
        for _ in 0..2 {
            self.stack.put(&[twice.clone()]).await;
            self.stack.idle().await;
        }
    }

    /// One endpoint that may not be sent so much, and one that fails.
    async fn slow_endpoints(&self) -> String {
        let app = self.stack.app().await;
        let path = |last: &str| format!("/app/{app}/{last}");
        let limited = json!({"url": self.receiver.url("/"), "rateLimit": 1});
        self.post(&path("endpoint"), limited, "").await;
        self.post(&path("endpoint"), json!({"url": self.receiver.url("/fails")}), "").await;
        let waits =
            || self.stack.stack.used()["deliver"].contains(&Grant::new("sqs:SendMessage", "DeliveriesQueue"));
        // Until two come so soon after each other that one has to wait for its turn.
        let mut nth = 0;
        while nth < 3 || !waits() {
            assert!(nth < 100, "no limit ever made a message wait");
            self.post(&path("msg"), json!({"eventType": "a.b", "payload": {"n": nth}}), "").await;
            nth += 1;
        }
        self.stack.idle().await;
        // The third attempts are timers.
        self.clock.skip(Duration::from_secs(1_500));
        // Or the runner's own minute, which has come as well.
        self.stack.run_timers().await;
        self.stack.stack.wake();
        self.stack.idle().await;
        let (status, answer) = self.ask("GET", "/undelivered", Value::Null, "").await;
        assert_eq!((status, answer["data"].as_array().is_some_and(Vec::is_empty)), (StatusCode::OK, false));
        app
    }

    /// What cannot be understood, and what cannot be done for now.
    async fn jobs_that_fail(&self) {
        for queue in ["DeliveriesQueue", "RetriesQueue", "BackgroundQueue", "IngestQueue"] {
            self.stack.send(queue, "no job").await;
        }
        self.stack.idle().await;
        const K: &str = "23rb8YdGqMT0qIzpgGwdXfHirMu";
        let resend = json!({"job": "resend.v1", "with": {
            "org": DEFAULT_ORG, "app": format!("app_{K}"), "endpoint": format!("ep_{K}"),
            "message": format!("msg_{K}"), "attempt": format!("atmpt_{K}"),
        }});
        let fan_out = json!({"job": "fan-out.v1", "with": {
            "org": DEFAULT_ORG, "app": format!("app_{K}"), "version": 1, "message": format!("msg_{K}"),
            "from": 0, "check": true,
        }});
        let message =
            json!({"orgId": DEFAULT_ORG, "appId": self.app, "message": {"eventType": "a", "payload": {}}});
        self.outage.down.store(true, Ordering::SeqCst);
        for (queue, body) in [
            ("DeliveriesQueue", &resend),
            ("RetriesQueue", &resend),
            ("BackgroundQueue", &fan_out),
            ("IngestQueue", &message),
        ] {
            self.stack.send(queue, &body.to_string()).await;
        }
        let put_off = |function: &str, queue: &str| {
            self.stack.stack.used()[function].contains(&Grant::new("sqs:ChangeMessageVisibility", queue))
        };
        soon("the jobs put off", async {
            while !(put_off("deliver", "DeliveriesQueue")
                && put_off("deliver", "RetriesQueue")
                && put_off("background", "BackgroundQueue")
                && put_off("ingest", "IngestQueue"))
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        self.outage.down.store(false, Ordering::SeqCst);
        // They come back, and find that there is no such application.
        self.clock.skip(Duration::from_secs(60));
        self.stack.stack.wake();
        self.stack.idle().await;
    }

    /// What happens is told to the operator, and what is deleted is erased.
    async fn operator_and_end(&self, small: &str) {
        let management = self.stack.stack.org_token(Some(MANAGEMENT_ORG.parse().expect("an id")));
        let svix = sdk(self.stack.stack.address(), &management);
        let about_us = svix::models::ApplicationIn {
            uid: Some(DEFAULT_ORG.into()),
            ..svix::models::ApplicationIn::new("operations".into())
        };
        let operations = svix.application().create(about_us, None).await.expect("an application").id;
        let sink = svix::models::EndpointIn::new(self.receiver.url("/operator"));
        svix.endpoint().create(operations, sink, None).await.expect("an endpoint");
        assert_eq!(
            self.ask("DELETE", "/app/{app}/endpoint/{ep}", Value::Null, "").await.0,
            StatusCode::NO_CONTENT
        );
        let path = format!("/app/{small}");
        assert_eq!(self.ask("DELETE", &path, Value::Null, "").await.0, StatusCode::NO_CONTENT);
        self.stack.run_timers().await;
        // An erasure waits for what may still be under way.
        soon("the erasure", async {
            while self.stack.stack.waiting().await.expect("the queues answer") > 0 {
                if self.stack.only_delayed("BackgroundQueue").await {
                    self.clock.skip(Duration::from_secs(130));
                    self.stack.stack.wake();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    async fn all() -> Table {
        let rare = Self::start().await;
        rare.failing_requests().await;
        rare.reading().await;
        rare.tasks().await;
        rare.many_endpoints().await;
        rare.queued_messages().await;
        let app = rare.slow_endpoints().await;
        rare.jobs_that_fail().await;
        rare.operator_and_end(&app).await;
        rare.stack.stack.used()
    }
}

/// INV-26
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the table is shown")]
async fn each_role_allows_what_its_function_does_and_nothing_else() {
    if shared::config::Env::process().optional(ENDPOINT_VARIABLE).is_some() {
        return; // what a function asks for does not depend on who answers
    }
    let template = Template::parse(local::TEMPLATE).expect("the template is read");
    let mut walk = Walk::start().await;
    walk.all().await;
    let mut used = walk.stack.stack.used();
    for (function, grants) in Rare::all().await {
        used.entry(function).or_default().extend(grants);
    }
    for function in &template.functions {
        let of = used.entry(function.name.clone()).or_default();
        for source in &function.queues {
            of.extend(OF_THE_SOURCE.map(|action| Grant::new(action, &source.queue)));
        }
    }
    let granted = granted(&template);
    for (function, grants) in &granted {
        println!("{function}");
        let mut resources: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for grant in grants {
            resources.entry(&grant.resource).or_default().push(&grant.action);
        }
        for (resource, actions) in resources {
            println!("    {resource}: {}", actions.join(" "));
        }
    }
    let mut problems = Vec::new();
    for (function, grants) in &granted {
        let used = &used[function];
        for grant in grants.difference(used) {
            problems.push(format!(
                "{function}: {} on {} is allowed and never used",
                grant.action, grant.resource
            ));
        }
        for grant in used.difference(grants) {
            problems
                .push(format!("{function}: {} on {} is used and not allowed", grant.action, grant.resource));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// INV-26
#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_does_not_allow_is_refused_here_too() {
    let mut settings = settings();
    let all = "[dynamodb:GetItem, dynamodb:Query, dynamodb:PutItem, dynamodb:UpdateItem]";
    let less = "[dynamodb:GetItem, dynamodb:PutItem, dynamodb:UpdateItem]";
    assert!(settings.template.contains(all));
    settings.template = settings.template.replace(all, less);
    let stack = TestStack::with(settings).await;
    stack.app().await;
    let answer = stack.request("GET", "/api/v1/audit-event", &stack.token, "").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    let query = Grant::new("dynamodb:Query", "ConfigTable");
    assert!(!stack.stack.used()["auth"].contains(&query));
}
