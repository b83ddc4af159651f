//! Endpoints in AWS: a queue of the embedded SQS; and, where another implementation is at hand, topics, event buses,
//! buckets and functions there.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::types::{Message, QueueAttributeName};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use svix::models::MessageIn;

use crate::test_stack::{Answer, ENDPOINT_VARIABLE, Receiver, TestStack, settings, soon};

const ACCOUNT: &str = "000000000000";
pub(super) const ROLE: &str = "arn:aws:iam::000000000000:role/postrider-test";

fn arn(service: &str, resource: &str) -> String {
    format!("arn:aws:{service}:us-east-1:{ACCOUNT}:{resource}")
}

/// A name that no other test has.
fn unique(name: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NTH: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}-{}", std::process::id(), NTH.fetch_add(1, Ordering::Relaxed))
}

impl TestStack {
    pub(super) async fn place(&self, app: &str, destination: Value) -> Answer {
        let body = json!({ "destination": destination }).to_string();
        self.request("POST", &format!("/api/v1/app/{app}/endpoint"), &self.token, body).await
    }

    /// A queue that is none of the template's: its name, and its URL.
    async fn customers_queue(&self, suffix: &str) -> (String, String) {
        let name = format!("{}{suffix}", unique("customer"));
        let mut create = self.stack.sqs().create_queue().queue_name(&name);
        if suffix == ".fifo" {
            create = create.attributes(QueueAttributeName::FifoQueue, "true");
        }
        let made = create.send().await.expect("a queue");
        (name, made.queue_url.expect("its URL"))
    }

    async fn received(&self, url: &str) -> Message {
        let receive = self.stack.sqs().receive_message().queue_url(url).wait_time_seconds(20);
        let receive = receive.message_attribute_names("All").message_system_attribute_names("All".into());
        let received = soon("a message", receive.send()).await.expect("the queue answers");
        received.messages.and_then(|mut messages| messages.pop()).expect("a message")
    }

    pub(super) async fn secret(&self, app: &str, endpoint: &str) -> String {
        self.svix.endpoint().get_secret(app.into(), endpoint.into()).await.expect("a secret").key
    }
}

/// A message's attributes as headers, which the published libraries verify.
pub(super) fn verify(body: &str, attributes: impl IntoIterator<Item = (String, String)>, secret: &str) {
    let headers: HeaderMap = attributes
        .into_iter()
        .map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            (name, HeaderValue::from_str(&value).expect("a value"))
        })
        .collect();
    let standard = standardwebhooks::Webhook::new(secret).expect("a secret");
    standard.verify(body.as_bytes(), &headers).expect("the specification's library verifies it");
}

fn attributes(message: &Message) -> HashMap<String, String> {
    let attributes = message.message_attributes.clone().unwrap_or_default();
    attributes.into_iter().map(|(name, value)| (name, value.string_value.unwrap_or_default())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_gets_messages_and_its_endpoint_is_one_as_others_are() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let (name, url) = stack.customers_queue("").await;
    let queue = arn("sqs", &name);
    let made = stack.place(&app, json!({"kind": "sqs", "arn": queue, "roleArn": ROLE})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json();
    let destination = json!({
        "kind": "sqs", "arn": queue, "roleArn": ROLE, "region": "us-east-1",
        "externalId": format!("postrider-{app}"),
    });
    assert_eq!((&made["destination"], &made["url"]), (&destination, &json!(queue)));
    let id = made["id"].as_str().expect("an id").to_owned();
    let one = format!("/api/v1/app/{app}/endpoint/{id}");

    // What a GET shows can be put back as it is, also by clients that know only `url`.
    let shown = stack.request("GET", &one, &stack.token, "").await.json();
    let put = stack.request("PUT", &one, &stack.token, shown.to_string()).await;
    assert_eq!((put.status, &put.json()["destination"]), (StatusCode::OK, &destination), "{}", put.text);
    let only_url = json!({"url": queue, "description": "d", "filterTypes": ["a.b"]});
    stack.event_type("a.b").await;
    let put = stack.request("PUT", &one, &stack.token, only_url.to_string()).await;
    assert_eq!((put.status, &put.json()["destination"]), (StatusCode::OK, &destination), "{}", put.text);

    stack.message(&app, MessageIn::new("other".into(), json!({}))).await;
    let payload = json!({"n": 1, "text": "ü <&>"});
    let message = stack.message(&app, MessageIn::new("a.b".into(), payload.clone())).await;
    stack.idle().await;
    let secret = stack.secret(&app, &id).await;
    let received = stack.received(&url).await;
    let body = received.body.clone().expect("a body");
    assert_eq!(serde_json::from_str::<Value>(&body).expect("JSON"), payload);
    let carried = attributes(&received);
    assert_eq!((carried["webhook-id"].as_str(), carried["event-type"].as_str()), (message.as_str(), "a.b"));
    verify(&body, carried.clone(), &secret);
    let attempts = stack.attempts(&app, &message).await;
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].url.as_str(), attempts[0].response_status_code), (queue.as_str(), 200));
    assert!(attempts[0].response.contains("MessageId"), "{}", attempts[0].response);
    // The log shows what it carried.
    let path = format!("/api/v1/app/{app}/msg/{message}/attempt/{}/headers", attempts[0].id);
    let headers = stack.request("GET", &path, &stack.token, "").await.json();
    let sent: HashMap<String, String> =
        serde_json::from_value::<Vec<(String, String)>>(headers["sentHeaders"].clone())
            .expect("pairs")
            .into_iter()
            .collect();
    assert_eq!(sent, carried);

    // Resends and examples go there as well.
    let resend = format!("/api/v1/app/{app}/msg/{message}/endpoint/{id}/resend");
    assert_eq!(stack.request("POST", &resend, &stack.token, "").await.status, StatusCode::ACCEPTED);
    stack.idle().await;
    assert_eq!(attributes(&stack.received(&url).await)["webhook-id"], message);

    // Headers of one's own mean nothing there.
    let headers = json!({"headers": {"x-own": "1"}}).to_string();
    for method in ["PUT", "PATCH"] {
        let answer = stack.request(method, &format!("{one}/headers"), &stack.token, headers.clone()).await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.text);
        assert!(answer.text.contains("an SQS queue carries no headers of your own"), "{}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_cannot_be_is_refused_with_a_sentence() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let queue = arn("sqs", "orders");
    for (destination, place, said) in [
        (json!({"kind": "sqs"}), "arn", "required"),
        (json!({"kind": "sqs", "arn": queue}), "roleArn", "required"),
        (
            json!({"kind": "sqs", "arn": queue, "roleArn": "AKIAIOSFODNN7EXAMPLE"}),
            "roleArn",
            "ARN of an IAM role",
        ),
        (json!({"kind": "sqs", "arn": "https://x", "roleArn": ROLE}), "arn", "ARN of an SQS queue"),
        (json!({"kind": "sns", "arn": queue, "roleArn": ROLE}), "arn", "ARN of an SNS topic"),
        (json!({"kind": "sqs", "arn": queue, "roleArn": ROLE, "url": "https://x"}), "url", "no such field"),
        (json!({"kind": "sqs", "arn": queue, "roleArn": ROLE, "fifoKey": "/a"}), "fifoKey", ".fifo"),
        (json!({"kind": "s3", "arn": "arn:aws:s3:::b-1", "roleArn": ROLE}), "region", "required"),
        (
            json!({"kind": "sqs", "arn": queue, "roleArn": ROLE, "externalId": "mine"}),
            "externalId",
            "made by",
        ),
        (json!({"kind": "http", "url": "https://a.example", "arn": queue}), "arn", "no such field"),
    ] {
        let answer = stack.place(&app, destination.clone()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{destination}");
        let rules = answer.json();
        let rule = rules["detail"].as_array().expect("rules").iter().find(|rule| rule["loc"][2] == place);
        let told = rule.unwrap_or_else(|| panic!("{destination}: {rules}"))["msg"].as_str().expect("text");
        assert!(told.to_lowercase().contains(&said.to_lowercase()), "{destination}: {told}");
    }
    // An endpoint with headers has to lose them first.
    let http = stack.endpoint(&app, "https://example.com/").await.id;
    let one = format!("/api/v1/app/{app}/endpoint/{http}");
    let headers = json!({"headers": {"x-own": "1"}}).to_string();
    stack.request("PUT", &format!("{one}/headers"), &stack.token, headers).await;
    let to_queue = json!({"destination": {"kind": "sqs", "arn": queue, "roleArn": ROLE}}).to_string();
    let refused = stack.request("PATCH", &one, &stack.token, to_queue.clone()).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    stack.request("PUT", &format!("{one}/headers"), &stack.token, json!({"headers": {}}).to_string()).await;
    let changed = stack.request("PATCH", &one, &stack.token, to_queue).await;
    assert_eq!((changed.status, &changed.json()["url"]), (StatusCode::OK, &json!(queue)), "{}", changed.text);

    // As in the cloud, where the operator says which roles.
    let given = settings().with("POSTRIDER_DESTINATION_ROLES", "arn:aws:iam::*:role/hooks-*");
    let picky = TestStack::with(given).await;
    let app = picky.app().await;
    let refused = picky.place(&app, json!({"kind": "sqs", "arn": queue, "roleArn": ROLE})).await;
    assert!(refused.text.contains("arn:aws:iam::*:role/hooks-* only"), "{}", refused.text);
    let none = TestStack::with(settings().with("POSTRIDER_DESTINATION_ROLES", "")).await;
    let app = none.app().await;
    let refused = none.place(&app, json!({"kind": "sqs", "arn": queue, "roleArn": ROLE})).await;
    assert!(refused.text.contains("sends to no places in AWS"), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_gone_is_a_failure_that_says_so() {
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "1")).await;
    let app = stack.app().await;
    let made = stack.place(&app, json!({"kind": "sqs", "arn": arn("sqs", "nowhere"), "roleArn": ROLE})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let message = stack.message(&app, MessageIn::new("a.b".into(), json!({}))).await;
    stack.idle().await;
    let attempts = stack.attempts(&app, &message).await;
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0].response_status_code, 400);
    assert!(attempts[0].response.contains("there is no such SQS queue"), "{}", attempts[0].response);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_does_not_trust_us_is_asked_once_and_named() {
    let refused = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>User: arn:aws:sts::1:x is not authorized</Message></Error></ErrorResponse>";
    let mut sts = Receiver::answering(move |_| (StatusCode::FORBIDDEN, refused.into())).await;
    let given = settings().with("POSTRIDER_RETRY_SCHEDULE", "").with("AWS_ENDPOINT_URL_STS", &sts.url("/"));
    let stack = TestStack::with(given).await;
    let app = stack.app().await;
    let (name, _) = stack.customers_queue("").await;
    stack.place(&app, json!({"kind": "sqs", "arn": arn("sqs", &name), "roleArn": ROLE})).await;
    for nth in 0..3 {
        let message = stack.message(&app, MessageIn::new("a.b".into(), json!({"n": nth}))).await;
        stack.idle().await;
        let attempts = stack.attempts(&app, &message).await;
        assert_eq!((attempts.len(), attempts[0].response_status_code), (1, 403));
        let told = &attempts[0].response;
        assert!(told.contains(&format!("sts:ExternalId postrider-{app}")) && told.contains(ROLE), "{told}");
    }
    let asked = sts.rest();
    assert_eq!(asked.len(), 1, "a refusal is believed for half a minute");
    let form: HashMap<String, String> = url::form_urlencoded::parse(&asked[0].body).into_owned().collect();
    assert_eq!((form["Action"].as_str(), form["RoleArn"].as_str()), ("AssumeRole", ROLE));
    assert_eq!(form["ExternalId"], format!("postrider-{app}"));
    assert!(asked[0].header("authorization").contains("/sts/aws4_request"), "{:?}", asked[0].headers);
}

/// The other implementation, asked for what no SDK of ours can.
struct Emulator(String);

impl Emulator {
    /// None where the embedded services are used: there is but SQS.
    fn find() -> Option<Self> {
        shared::config::Env::process().optional(ENDPOINT_VARIABLE).map(Self)
    }

    async fn ask(
        &self,
        service: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<axum::body::Bytes>,
    ) -> (StatusCode, HeaderMap, String) {
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.0.trim_end_matches('/')))
            .header("authorization", scope);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
            .build_http::<Full<axum::body::Bytes>>();
        let (head, body) = client.request(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a whole answer").to_bytes();
        (head.status, head.headers, String::from_utf8_lossy(&body).into_owned())
    }

    async fn query(&self, service: &str, form: &str) -> String {
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        let (status, _, text) = self.ask(service, "POST", "/", &kind, form.to_owned()).await;
        assert!(status.is_success(), "{form}: {status} {text}");
        text
    }

    async fn json(&self, service: &str, target: &str, body: Value) -> Value {
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
        let (status, _, text) = self.ask(service, "POST", "/", &headers, body.to_string()).await;
        assert!(status.is_success(), "{target}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }
}

async fn delivered(stack: &TestStack, app: &str, destination: Value, payload: Value) -> (String, String) {
    let made = stack.place(app, destination).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let id = made.json()["id"].as_str().expect("an id").to_owned();
    let message = stack.message(app, MessageIn::new("a.b".into(), payload)).await;
    stack.idle().await;
    let attempts = stack.attempts(app, &message).await;
    assert_eq!((attempts.len(), attempts[0].status as i32), (1, 0), "{}", attempts[0].response);
    (id, message)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifo_queue_gets_groups_and_each_message_once() {
    if Emulator::find().is_none() {
        return; // the embedded SQS has no FIFO queues
    }
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let (name, url) = stack.customers_queue(".fifo").await;
    let queue = arn("sqs", &name);
    let destination = json!({"kind": "sqs", "arn": queue, "roleArn": ROLE, "fifoKey": "/customer/id"});
    let (id, message) = delivered(&stack, &app, destination, json!({"customer": {"id": "c-7"}})).await;
    let received = stack.received(&url).await;
    let system = received.attributes.clone().unwrap_or_default();
    let value =
        |name: &str| system.iter().find(|(other, _)| other.as_str() == name).map(|(_, value)| value.as_str());
    assert_eq!(value("MessageGroupId"), Some("c-7"));
    assert_eq!(value("MessageDeduplicationId"), Some(format!("{message}.{id}").as_str()));
    verify(received.body.as_deref().expect("a body"), attributes(&received), &stack.secret(&app, &id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_passes_messages_on() {
    let Some(emulator) = Emulator::find() else { return };
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let topic = unique("topic");
    emulator.query("sns", &format!("Action=CreateTopic&Version=2010-03-31&Name={topic}")).await;
    let (name, url) = stack.customers_queue("").await;
    let (topic, queue) = (arn("sns", &topic), arn("sqs", &name));
    let subscribe = format!(
        "Action=Subscribe&Version=2010-03-31&TopicArn={topic}&Protocol=sqs&Endpoint={queue}&Attributes.entry.1.key=RawMessageDelivery&Attributes.entry.1.value=true"
    );
    emulator.query("sns", &subscribe).await;
    let destination = json!({"kind": "sns", "arn": topic, "roleArn": ROLE});
    let (id, message) = delivered(&stack, &app, destination, json!({"n": 1})).await;
    let received = stack.received(&url).await;
    let carried = attributes(&received);
    assert_eq!(carried["webhook-id"], message);
    verify(received.body.as_deref().expect("a body"), carried, &stack.secret(&app, &id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_gets_events_that_rules_can_match() {
    let Some(emulator) = Emulator::find() else { return };
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let bus = unique("bus");
    emulator.json("events", "AWSEvents.CreateEventBus", json!({"Name": bus})).await;
    let (name, url) = stack.customers_queue("").await;
    let pattern = json!({"source": ["postrider"], "detail": {"payload": {"plan": ["gold"]}}}).to_string();
    let rule = json!({"Name": "gold", "EventBusName": bus, "EventPattern": pattern, "State": "ENABLED"});
    emulator.json("events", "AWSEvents.PutRule", rule).await;
    let targets =
        json!({"Rule": "gold", "EventBusName": bus, "Targets": [{"Id": "q", "Arn": arn("sqs", &name)}]});
    emulator.json("events", "AWSEvents.PutTargets", targets).await;
    let bus = arn("events", &format!("event-bus/{bus}"));
    let destination = json!({"kind": "eventbridge", "arn": bus, "roleArn": ROLE});
    let (_, message) = delivered(&stack, &app, destination, json!({"plan": "gold"})).await;
    let received = stack.received(&url).await;
    let event: Value = serde_json::from_str(received.body.as_deref().expect("a body")).expect("JSON");
    assert_eq!((&event["source"], &event["detail-type"]), (&json!("postrider"), &json!("a.b")));
    assert_eq!(event["detail"]["payload"], json!({"plan": "gold"}));
    assert_eq!(event["detail"]["headers"]["webhook-id"], message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_gets_an_object_for_each_message() {
    let Some(emulator) = Emulator::find() else { return };
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let bucket = unique("bucket");
    let (status, _, text) = emulator.ask("s3", "PUT", &format!("/{bucket}"), &[], "").await;
    assert!(status.is_success(), "{status} {text}");
    let destination = json!({
        "kind": "s3", "arn": format!("arn:aws:s3:::{bucket}"), "roleArn": ROLE, "region": "us-east-1",
        "keyTemplate": "in/{eventType}/{message}.json",
    });
    let (id, message) = delivered(&stack, &app, destination, json!({"n": 1})).await;
    let path = format!("/{bucket}/in/a.b/{message}.json");
    let (status, headers, body) = emulator.ask("s3", "GET", &path, &[], "").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"n":1}"#));
    assert_eq!(headers["content-type"], "application/json");
    let carried = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix("x-amz-meta-")?;
        Some((name.to_owned(), value.to_str().expect("text").to_owned()))
    });
    verify(&body, carried, &stack.secret(&app, &id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_gets_lines_of_json() {
    let Some(emulator) = Emulator::find() else { return };
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let bucket = unique("bucket");
    emulator.ask("s3", "PUT", &format!("/{bucket}"), &[], "").await;
    let destination = json!({
        "kind": "s3", "arn": format!("arn:aws:s3:::{bucket}"), "roleArn": ROLE, "region": "us-east-1",
        "format": "jsonl", "keyTemplate": "in/{eventType}/{message}.jsonl",
    });
    let (id, message) = delivered(&stack, &app, destination, json!({"n": 1})).await;
    let path = format!("/{bucket}/in/a.b/{message}.jsonl");
    let (status, headers, body) = emulator.ask("s3", "GET", &path, &[], "").await;
    assert_eq!(
        (status, &headers["content-type"]),
        (StatusCode::OK, &"application/x-ndjson".parse().unwrap())
    );
    let line: Value = serde_json::from_str(body.strip_suffix('\n').expect("a line")).expect("JSON");
    let carried: HashMap<String, String> = serde_json::from_value(line["headers"].clone()).expect("headers");
    assert_eq!(line["payload"], json!({"n": 1}));
    verify(r#"{"n":1}"#, carried, &stack.secret(&app, &id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_is_invoked_and_one_that_is_not_there_is_named() {
    let Some(_) = Emulator::find() else { return };
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "")).await;
    let app = stack.app().await;
    let function = arn("lambda", &format!("function:{}", unique("nothing")));
    let made = stack.place(&app, json!({"kind": "lambda", "arn": function, "roleArn": ROLE})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let message = stack.message(&app, MessageIn::new("a.b".into(), json!({}))).await;
    stack.idle().await;
    let attempts = stack.attempts(&app, &message).await;
    assert_eq!(attempts[0].response_status_code, 404);
    assert!(attempts[0].response.contains("there is no such Lambda function"), "{}", attempts[0].response);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_functions_own_answer_is_the_attempts() {
    // What Lambda answers, by its reference: the result with 200, and whether it is an error in a header.
    let lambda = Receiver::answering(|invocation| match std::str::from_utf8(&invocation.body) {
        Ok(event) if event.contains("\\\"fail\\\":true") => {
            (StatusCode::OK, r#"{"statusCode":500,"body":"no"}"#.into())
        }
        _ => (StatusCode::OK, r#"{"statusCode":200}"#.into()),
    });
    let mut lambda = lambda.await;
    let given = settings()
        .with("POSTRIDER_RETRY_SCHEDULE", "")
        .with("AWS_ENDPOINT_URL_LAMBDA_DESTINATIONS", &lambda.url(""));
    let stack = TestStack::with(given).await;
    let app = stack.app().await;
    let function = arn("lambda", "function:orders");
    let made = stack.place(&app, json!({"kind": "lambda", "arn": function, "roleArn": ROLE})).await;
    let secret = stack.secret(&app, made.json()["id"].as_str().expect("an id")).await;
    for (payload, code) in [(json!({"fail": false}), 200), (json!({"fail": true}), 500)] {
        let message = stack.message(&app, MessageIn::new("a.b".into(), payload)).await;
        stack.idle().await;
        assert_eq!(stack.attempts(&app, &message).await[0].response_status_code, code);
        let invocation =
            tokio::time::timeout(Duration::from_secs(60), lambda.next()).await.expect("an invocation");
        assert!(invocation.path.ends_with("function%3Aorders/invocations"), "{}", invocation.path);
        let event: Value = serde_json::from_slice(&invocation.body).expect("JSON");
        let headers: HashMap<String, String> =
            serde_json::from_value(event["headers"].clone()).expect("headers");
        verify(event["body"].as_str().expect("a text"), headers, &secret);
    }
}
