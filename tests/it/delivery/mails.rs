//! Mails that warn of failing endpoints, against an SES that checks what it is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use shared::clock::Timestamp;
use shared::signer::{AwsCredentials, Unsigned, sign};
use svix::models::MessageIn;

use super::traces::Lines;
use crate::test_stack::{Ahead, Receiver, TestStack, Webhook, settings};

/// What SES would check: the request is signed by this account, for SES in this region, as it arrived.
fn is_signed(request: &Webhook) -> bool {
    let date = request.header("x-amz-date");
    let at = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &date[..4],
        &date[4..6],
        &date[6..8],
        &date[9..11],
        &date[11..13],
        &date[13..15]
    );
    let content_type = [("content-type", request.header("content-type").to_owned())];
    let unsigned = Unsigned {
        method: request.method.as_str(),
        host: request.header("host"),
        path: &request.path,
        headers: &content_type,
        body: &request.body,
        service: "ses",
        region: "us-east-1",
    };
    let credentials = AwsCredentials::new("test", "test", None, None, "test");
    let signed = sign(unsigned, &credentials, Timestamp::parse(&at).expect("a time")).expect("signed");
    signed.iter().any(|(name, value)| *name == "authorization" && value == request.header("authorization"))
}

fn text(request: &Webhook) -> (Value, String, String) {
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let simple = &body["Content"]["Simple"];
    let of = |part: &Value| part["Data"].as_str().expect("text").to_owned();
    (body.clone(), of(&simple["Subject"]), of(&simple["Body"]["Text"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_endpoint_is_told_by_mail_once_and_once_more_before_it_is_disabled() {
    let clock = Arc::new(Ahead::default());
    let status = Arc::new(AtomicU16::new(200));
    let answers = status.clone();
    let mut ses = Receiver::answering(move |_| {
        let status = StatusCode::from_u16(answers.load(Ordering::Relaxed)).expect("a status");
        (status, json!({"MessageId": "1"}).to_string())
    })
    .await;
    let mut settings = settings()
        .with("POSTRIDER_RETRY_SCHEDULE", "")
        .with("POSTRIDER_WARN_FROM", "postrider@example.org")
        .with("POSTRIDER_PORTAL_URL", "https://portal.example.org")
        .with("POSTRIDER_PAYLOAD_RETENTION_DAYS", "30")
        .with("AWS_ENDPOINT_URL_SESV2", &ses.url(""));
    settings.platform.clock = clock.clone();
    let stack = TestStack::with(settings).await;
    let receiver = Receiver::answering(|_| (StatusCode::SERVICE_UNAVAILABLE, String::new())).await;
    let app = async |body: Value| {
        let made = stack.request("POST", "/api/v1/app", &stack.token, body.to_string()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        let app = made.json()["id"].as_str().expect("an id").to_owned();
        let body = json!({"url": receiver.url("/secret-path"), "description": "Orders\r\nBcc: x"});
        let path = format!("/api/v1/app/{app}/endpoint");
        let made = stack.request("POST", &path, &stack.token, body.to_string()).await.json();
        (app, made["id"].as_str().expect("an id").to_owned())
    };
    let send = async |app: &str| {
        stack.message(app, MessageIn::new("a.b".into(), json!({}))).await;
        stack.idle().await;
    };
    let (told, endpoint) =
        app(json!({"name": "Acme", "metadata": {"postrider.email": "ops@example.com"}})).await;
    let (silent, _) = app(json!({"name": "Silent", "metadata": {"k": "v"}})).await;
    for _ in 0..2 {
        send(&told).await;
        send(&silent).await;
    }
    let mails = ses.rest();
    let [mail] = mails.as_slice() else { panic!("{mails:?}") };
    assert!(is_signed(mail));
    assert_eq!((mail.method.as_str(), &*mail.path), ("POST", "/v2/email/outbound-emails"));
    let (body, subject, words) = text(mail);
    assert_eq!(body["FromEmailAddress"], "postrider@example.org");
    assert_eq!(body["Destination"], json!({"ToAddresses": ["ops@example.com"]}));
    assert_eq!(subject, "Webhooks fail: 127.0.0.1 answered 503");
    for part in [
        "A message to an endpoint was given up, or has failed for a day.\n",
        "Messages are kept for 30 days.",
        "Application: Acme\n",
        &format!("Endpoint: Orders Bcc: x ({endpoint})\n"),
        "Last error: 127.0.0.1 answered 503\n",
        "the endpoint is disabled. Nothing is sent to it from then on, until somebody enables it.",
        "Portal: https://portal.example.org\n",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(!words.contains("secret-path"), "{words}");

    // Less than a day is left: once more. What SES refuses is nobody's dead letter.
    clock.skip(Duration::from_secs((4 * 24 + 2) * 3_600));
    stack.stack.wake();
    status.store(400, Ordering::Relaxed);
    for _ in 0..2 {
        send(&told).await;
    }
    let mails = ses.rest();
    let [mail] = mails.as_slice() else { panic!("{mails:?}") };
    let (_, subject, words) = text(mail);
    assert_eq!(subject, "Webhooks will stop within a day: 127.0.0.1 answered 503");
    assert!(words.contains("none has arrived for four days. It will be disabled within a day.\n"), "{words}");

    // An address that is none is refused where it is set.
    for (method, path) in [("POST", "/api/v1/app".to_owned()), ("PATCH", format!("/api/v1/app/{told}"))] {
        let body = json!({"name": "n", "metadata": {"postrider.email": "ops@example.com\r\nBcc: a@b.c"}});
        let refused = stack.request(method, &path, &stack.token, body.to_string()).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
        assert!(refused.text.contains("Must be an email address"), "{}", refused.text);
    }
}

// On one thread: what is logged on it is what this test reads.
#[tokio::test]
async fn what_ses_refuses_is_in_the_log_without_the_customers_address() {
    let said = json!({"message": "Email address is not verified in US-EAST-1: Ops@example.com"}).to_string();
    let ses = Receiver::answering(move |_| (StatusCode::BAD_REQUEST, said.clone())).await;
    let (lines, _reading) = Lines::of_this_thread();
    let settings = settings()
        .with("POSTRIDER_RETRY_SCHEDULE", "")
        .with("POSTRIDER_WARN_FROM", "postrider@example.org")
        .with("AWS_ENDPOINT_URL_SESV2", &ses.url(""));
    let stack = TestStack::with(settings).await;
    let receiver = Receiver::answering(|_| (StatusCode::SERVICE_UNAVAILABLE, String::new())).await;
    let body = json!({"name": "Acme", "metadata": {"postrider.email": "ops@example.com"}}).to_string();
    let made = stack.request("POST", "/api/v1/app", &stack.token, body).await;
    let app = made.json()["id"].as_str().expect("an id").to_owned();
    stack.endpoint(&app, &receiver.url("/")).await;
    stack.message(&app, MessageIn::new("a.b".into(), json!({}))).await;
    stack.idle().await;
    let [line] = lines.with("a warning could not be mailed").try_into().expect("one line");
    let reason = line["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("SES answered 400: ") && reason.contains("(the recipient)"), "{reason}");
    assert!(!lines.text().to_lowercase().contains("ops@example.com"), "{}", lines.text());
}
