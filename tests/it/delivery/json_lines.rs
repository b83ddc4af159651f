//! Buckets whose objects are lines of JSON: what is delivered together is one object, and no object takes away what
//! another one had.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use http::StatusCode;
use local::Settings;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use svix::models::MessageIn;

use super::aws_places::{ROLE, verify};
use crate::test_stack::{Receiver, TestStack, settings};

fn bucket(more: Value) -> Value {
    let mut destination = json!({
        "kind": "s3", "arn": "arn:aws:s3:::lines", "roleArn": ROLE, "region": "us-east-1", "format": "jsonl",
    });
    destination.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    destination
}

/// A line: what it carries, and what is signed.
struct Line {
    headers: HashMap<String, String>,
    signed: String,
}

fn lines(object: &[u8]) -> Vec<Line> {
    let text = std::str::from_utf8(object).expect("text").strip_suffix('\n').expect("a whole line");
    let read = |line: &str| {
        let mut parts: HashMap<String, Box<RawValue>> = serde_json::from_str(line).expect("a line of JSON");
        let headers = serde_json::from_str(parts.remove("headers").expect("headers").get()).expect("texts");
        let body = |body: Box<RawValue>| serde_json::from_str(body.get()).expect("a text");
        let signed = match parts.remove("payload") {
            Some(payload) => payload.get().to_owned(),
            None => parts.remove("body").map(body).expect("a payload or a body"),
        };
        assert!(parts.is_empty(), "{line}");
        Line { headers, signed }
    };
    text.split('\n').map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_one_batch_are_lines_of_one_object() {
    let mut s3 = Receiver::start().await;
    let mut receiver = Receiver::start().await;
    let given = settings().with("AWS_ENDPOINT_URL_S3", &s3.url(""));
    let stack = TestStack::with(Settings { poll: false, ..given }).await;
    let app = stack.app().await;
    let made = stack.place(&app, bucket(json!({}))).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json();
    assert_eq!(made["destination"]["format"], "jsonl", "{made}");
    let id = made["id"].as_str().expect("an id");
    // What a GET shows can be put back as it is.
    let one = format!("/api/v1/app/{app}/endpoint/{id}");
    let put = stack.request("PUT", &one, &stack.token, made.to_string()).await;
    assert_eq!(
        (put.status, &put.json()["destination"]),
        (StatusCode::OK, &made["destination"]),
        "{}",
        put.text
    );
    // Others of the batch hold nothing up, and are not held up.
    stack.endpoint(&app, &receiver.url("/")).await;
    let post = async |body: String| {
        let answer = stack.request("POST", &format!("/api/v1/app/{app}/msg"), &stack.token, body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        answer.json()["id"].as_str().expect("an id").to_owned()
    };
    let mut messages = vec![
        post(r#"{"eventType": "a.b", "payload": {"n": 1}}"#.into()).await,
        post("{\"eventType\": \"a.c\", \"payload\": {\n  \"n\": 2,\r\n  \"text\": \"a\\nb\"\n}}".into()).await,
        post(r#"{"eventType": "a.b", "payload": {}, "transformationsParams": {"rawPayload": "a,b\nc", "headers": {"content-type": "text/csv"}}}"#.into()).await,
    ];
    let event = stack.receive("DeliveriesQueue").await;
    assert_eq!(event.records.len(), 6);
    assert_eq!(stack.deliver(event).await.batch_item_failures.len(), 0);
    assert_eq!(receiver.rest().len(), 3);
    let [object] = &s3.rest()[..] else { panic!("not one object") };
    let bucket_and_key = object.path.strip_prefix("/lines/").expect("in the bucket").to_owned();
    let (secret, found) = (stack.secret(&app, id).await, lines(&object.body));
    assert_eq!(object.header("content-type"), "application/x-ndjson");
    let ids: Vec<&str> = found.iter().map(|line| line.headers["webhook-id"].as_str()).collect();
    let posted = messages.clone();
    messages.sort();
    assert_eq!(ids, messages);
    assert!(bucket_and_key.contains(&format!("/{}-", messages[0])), "{bucket_and_key}");
    for line in &found {
        // What is signed is what is there.
        verify(&line.signed, line.headers.clone(), &secret);
        let nth = posted.iter().position(|id| *id == line.headers["webhook-id"]).expect("one of them");
        let expected = [r#"{"n": 1}"#, r#"{  "n": 2,  "text": "a\nb"}"#, "a,b\nc"][nth];
        assert_eq!(line.signed, expected);
        assert_eq!(line.headers["event-type"], ["a.b", "a.c", "a.b"][nth]);
    }
    for (message, nth) in messages.iter().zip(1..) {
        let attempts = stack.attempts(&app, message).await;
        let attempt = attempts.iter().find(|attempt| attempt.endpoint_id == id).expect("an attempt");
        assert_eq!(attempt.response, format!("line {nth} of 3 in {bucket_and_key}"));
        // The log shows what the line carried.
        let path = format!("/api/v1/app/{app}/msg/{message}/attempt/{}/headers", attempt.id);
        let shown = stack.request("GET", &path, &stack.token, "").await.json()["sentHeaders"].clone();
        let shown: Vec<(String, String)> = serde_json::from_value(shown).expect("pairs");
        assert_eq!(shown.into_iter().collect::<HashMap<_, _>>(), found[nth - 1].headers);
    }
    stack.leaves_jobs();
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_differ_where_their_names_would_and_only_buckets_have_a_format() {
    let mut s3 = Receiver::start().await;
    let given = settings().with("AWS_ENDPOINT_URL_S3", &s3.url(""));
    let stack = TestStack::with(Settings { poll: false, ..given }).await;
    let app = stack.app().await;
    let by_type = bucket(json!({"keyTemplate": "{eventType}/{message}.jsonl"}));
    for destination in [by_type, bucket(json!({}))] {
        assert_eq!(stack.place(&app, destination).await.status, StatusCode::CREATED);
    }
    for kind in ["a", "b", "a"] {
        stack.message(&app, MessageIn::new(kind.into(), json!({}))).await;
    }
    stack.deliver(stack.receive("DeliveriesQueue").await).await;
    let mut found: Vec<(bool, usize)> = s3
        .rest()
        .iter()
        .map(|object| (object.path.starts_with("/lines/20"), lines(&object.body).len()))
        .collect();
    found.sort();
    assert_eq!(found, [(false, 1), (false, 2), (true, 3)]);
    for (destination, place) in [
        (bucket(json!({"format": "csv"})), "format"),
        (
            json!({"kind": "sqs", "arn": "arn:aws:sqs:us-east-1:000000000000:q", "roleArn": ROLE, "format": "jsonl"}),
            "format",
        ),
        (bucket(json!({"batchSize": 100})), "batchSize"),
    ] {
        let answer = stack.place(&app, destination).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text);
        assert_eq!(answer.json()["detail"][0]["loc"][2], place, "{}", answer.text);
    }
    stack.leaves_jobs();
}

/// S3 that answers every third request with an error; of these it has kept every other object all the same, as a service
/// may whose answer is lost. Each message has to be in an object in the end, whatever came together with what again.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_s3_answers_no_line_is_lost() {
    type Objects = Arc<Mutex<(usize, HashMap<String, Vec<u8>>)>>;
    let kept = Objects::default();
    let objects = kept.clone();
    let s3 = Receiver::answering(move |request| {
        let (count, objects) = &mut *objects.lock().expect("nobody panicked");
        *count += 1;
        let fails = *count % 3 == 1;
        if !fails || *count % 2 == 0 {
            objects.insert(request.path.clone(), request.body.to_vec());
        }
        if fails {
            (StatusCode::INTERNAL_SERVER_ERROR, "<Error><Code>InternalError</Code></Error>".into())
        } else {
            (StatusCode::OK, String::new())
        }
    })
    .await;
    let given = settings()
        .with("AWS_ENDPOINT_URL_S3", &s3.url(""))
        .with("POSTRIDER_RETRY_SCHEDULE", "1,1,1,1,1,1,1,1");
    let stack = TestStack::with(given).await;
    let app = stack.app().await;
    assert_eq!(stack.place(&app, bucket(json!({}))).await.status, StatusCode::CREATED);
    let mut messages = Vec::new();
    for nth in 0..40 {
        messages.push(stack.message(&app, MessageIn::new("a.b".into(), json!({"n": nth}))).await);
    }
    stack.idle().await;
    let written: Vec<String> = {
        let objects = &kept.lock().expect("nobody panicked").1;
        objects
            .values()
            .flat_map(|object| lines(object))
            .map(|line| line.headers["webhook-id"].clone())
            .collect()
    };
    for message in &messages {
        assert!(written.contains(message), "{message} is in no object");
        let attempts = stack.attempts(&app, message).await;
        assert_eq!(attempts.iter().filter(|attempt| attempt.status as i32 == 0).count(), 1, "{attempts:?}");
    }
}
