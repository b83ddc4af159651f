use std::sync::Arc;

use shared::aws_place::AwsPlaceIn;
use shared::config::Env;
use shared::ids::{AppId, AttemptId, EndpointId, MessageId};
use shared::store::endpoints::{Endpoint, EndpointSettings};
use shared::store::messages::Payload;

use super::*;

const K: &str = "23rb8YdGqMT0qIzpgGwdXfHirMu";

fn place(service: AwsService, arn: &str, fifo_key: Option<&str>) -> AwsPlace {
    let place = AwsPlaceIn {
        arn: arn.into(),
        role_arn: "arn:aws:iam::123456789012:role/r".into(),
        region: (service == AwsService::S3).then(|| "eu-central-1".into()),
        fifo_key: fifo_key.map(str::to_owned),
        key_template: None,
        format: None,
    };
    let partition = if arn.starts_with("arn:aws-cn:") { "aws-cn" } else { "aws" };
    let role_arn = place.role_arn.replace("arn:aws:", &format!("arn:{partition}:"));
    AwsPlace::read(service, AwsPlaceIn { role_arn, ..place }, "*").unwrap()
}

fn aws(address: Option<&str>) -> OwnAws {
    let address = address.map(str::to_owned);
    let env = Env::new(move |name| match name {
        "AWS_ENDPOINT_URL" => address.clone(),
        name if name.starts_with("AWS_ENDPOINT_URL") => None,
        _ => Some("x".into()),
    });
    OwnAws::read(&env).unwrap()
}

fn call(place: &AwsPlace, payload: &Payload, trigger: Trigger, aws: &OwnAws) -> Result<Call, String> {
    let app: AppId = format!("app_{K}").parse().unwrap();
    let id: EndpointId = format!("ep_{K}").parse().unwrap();
    let endpoint = Endpoint {
        app,
        id,
        settings: EndpointSettings::default(),
        keys: Vec::new(),
        headers: Default::default(),
        auto_config: None,
        failing_since: None,
        failing_from: None,
        failing_warned: false,
        probing: None,
        transformation: None,
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    };
    let message: MessageId = format!("msg_{K}").parse().unwrap();
    let attempt: AttemptId = format!("atmpt_{K}").parse().unwrap();
    let id = message.to_string();
    let webhook = Webhook {
        id: &id,
        attempt,
        trigger,
        message,
        event_type: "a.b",
        endpoint: &endpoint,
        payload,
        at: Timestamp::from_ms(7_000),
        method: &http::Method::POST,
        traceparent: None,
        http_key: None,
    };
    let attributes = vec![
        ("content-type", "application/json".to_owned()),
        ("event-type", "a.b".to_owned()),
        ("webhook-id", message.to_string()),
        ("webhook-signature", "v1,x/+=".to_owned()),
    ];
    to(place, &Outgoing { webhook, attributes }, aws)
}

fn json_of(call: &Call) -> Value {
    serde_json::from_slice(&call.body).unwrap()
}

#[test]
fn a_queue_gets_the_payload_and_attributes() {
    let queue = place(AwsService::Sqs, "arn:aws:sqs:eu-central-1:123456789012:orders", None);
    let payload = Payload::of("{\"n\": 1.0}");
    let made = call(&queue, &payload, Trigger::Scheduled, &aws(None)).unwrap();
    assert_eq!(made.address, "https://sqs.eu-central-1.amazonaws.com");
    let body = json_of(&made);
    assert_eq!(body["QueueUrl"], "https://sqs.eu-central-1.amazonaws.com/123456789012/orders");
    assert_eq!(body["MessageBody"], "{\"n\": 1.0}");
    let signature = json!({"DataType": "String", "StringValue": "v1,x/+="});
    assert_eq!(body["MessageAttributes"]["webhook-signature"], signature);
    assert_eq!(body.get("MessageGroupId"), None);
    let china = place(AwsService::Sqs, "arn:aws-cn:sqs:cn-north-1:123456789012:orders", None);
    let made = call(&china, &payload, Trigger::Scheduled, &aws(None)).unwrap();
    assert_eq!(made.address, "https://sqs.cn-north-1.amazonaws.com.cn");
}

#[test]
fn groups_come_from_the_payload_or_are_the_application() {
    let of = |key: Option<&str>, payload: &str, trigger| {
        let queue = place(AwsService::Sqs, "arn:aws:sqs:eu-central-1:123456789012:o.fifo", key);
        let made = call(&queue, &Payload::of(payload), trigger, &aws(None))?;
        let body = json_of(&made);
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        Ok::<_, String>((text("MessageGroupId"), text("MessageDeduplicationId")))
    };
    let (group, once) = of(None, "{}", Trigger::Scheduled).unwrap();
    assert_eq!((group, once), (format!("app_{K}"), format!("msg_{K}.ep_{K}")));
    let (_, again) = of(None, "{}", Trigger::Manual).unwrap();
    assert_eq!(again, format!("atmpt_{K}"));
    let payload = "{\"a\": {\"s\": \"x-1\", \"n\": 12, \"e\": \"\", \"u\": \"ä b\", \"o\": {}}}";
    for (key, group) in [("/a/s", "x-1"), ("/a/n", "12")] {
        assert_eq!(of(Some(key), payload, Trigger::Scheduled).unwrap().0, group);
    }
    assert_eq!(of(Some("/a/u"), payload, Trigger::Scheduled).unwrap().0.len(), 64);
    for key in ["/a/e", "/a/o", "/b"] {
        assert!(of(Some(key), payload, Trigger::Scheduled).unwrap_err().contains(key));
    }
}

#[test]
fn the_other_services_get_what_they_want() {
    let own = aws(None);
    let payload = Payload::of("{\"n\": 1.0}");
    let of = |service, arn: &str, aws: &OwnAws| {
        call(&place(service, arn, None), &payload, Trigger::Scheduled, aws).unwrap()
    };
    let topic = of(AwsService::Sns, "arn:aws:sns:eu-central-1:123456789012:t", &own);
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&topic.body).into_owned().collect();
    let field = |name: &str| form.iter().find(|(other, _)| other == name).unwrap().1.as_str();
    assert_eq!((field("Action"), field("Message")), ("Publish", "{\"n\": 1.0}"));
    assert_eq!(field("MessageAttributes.entry.4.Name"), "webhook-signature");
    assert_eq!(field("MessageAttributes.entry.4.Value.StringValue"), "v1,x/+=");

    let bus = of(AwsService::EventBridge, "arn:aws:events:eu-central-1:123456789012:event-bus/b", &own);
    assert_eq!(bus.address, "https://events.eu-central-1.amazonaws.com");
    let entry = &json_of(&bus)["Entries"][0];
    assert_eq!((&entry["Source"], &entry["DetailType"]), (&json!("postrider"), &json!("a.b")));
    let detail = entry["Detail"].as_str().unwrap();
    assert!(detail.ends_with("\"payload\":{\"n\": 1.0}}"), "{detail}");
    let detail: Value = serde_json::from_str(detail).unwrap();
    assert_eq!(detail["headers"]["webhook-id"], format!("msg_{K}"));

    let bucket = of(AwsService::S3, "arn:aws:s3:::b-1", &own);
    assert_eq!(bucket.address, "https://b-1.s3.eu-central-1.amazonaws.com");
    assert!(bucket.path.starts_with("/a.b/") && bucket.path.ends_with(&format!("/msg_{K}.json")));
    assert!(bucket.headers.contains(&header("x-amz-meta-webhook-signature", "v1,x/+=")));
    assert_eq!((bucket.method, bucket.body), (Method::PUT, b"{\"n\": 1.0}".to_vec()));
    let dotted = of(AwsService::S3, "arn:aws:s3:::b.1", &own);
    assert_eq!(dotted.address, "https://s3.eu-central-1.amazonaws.com");
    assert!(dotted.path.starts_with("/b.1/a.b/"));
    let emulated = of(AwsService::S3, "arn:aws:s3:::b-1", &aws(Some("http://127.0.0.1:4566/")));
    assert_eq!(emulated.address, "http://127.0.0.1:4566");
    assert!(emulated.path.starts_with("/b-1/a.b/"));

    let function = of(AwsService::Lambda, "arn:aws:lambda:eu-central-1:123456789012:function:f", &own);
    assert!(
        function
            .path
            .ends_with("/arn%3Aaws%3Alambda%3Aeu-central-1%3A123456789012%3Afunction%3Af/invocations")
    );
    let event = json_of(&function);
    assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("{\"n\": 1.0}"), &json!(false)));
    assert_eq!(event["headers"]["webhook-id"], format!("msg_{K}"));
}

#[test]
fn what_is_no_json_goes_as_text() {
    let payload = Payload { raw: Some(Arc::new("<x/>".to_owned())), ..Payload::of("{}") };
    let bus = place(AwsService::EventBridge, "arn:aws:events:eu-central-1:123456789012:event-bus/b", None);
    let made = call(&bus, &payload, Trigger::Scheduled, &aws(None)).unwrap();
    let detail: Value =
        serde_json::from_str(json_of(&made)["Entries"][0]["Detail"].as_str().unwrap()).unwrap();
    assert_eq!((&detail["body"], detail.get("payload")), (&json!("<x/>"), None));
}

#[test]
fn a_request_is_signed_with_all_that_it_says() {
    let queue = place(AwsService::Sqs, "arn:aws:sqs:eu-central-1:123456789012:orders", None);
    let made = call(&queue, &Payload::of("{}"), Trigger::Scheduled, &aws(None)).unwrap();
    let credentials = AwsCredentials::new("AKID", "secret", Some("token".into()), None, "test");
    let request = made.signed(&credentials, Timestamp::from_ms(1_795_607_999_000)).unwrap();
    let header = |name: &str| request.headers()[name].to_str().unwrap();
    let signed = "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target";
    assert!(header("authorization").contains(signed), "{}", header("authorization"));
    assert_eq!(header("x-amz-security-token"), "token");
    assert_eq!(request.uri(), "https://sqs.eu-central-1.amazonaws.com/");
}
