//! Times and lists in every form that clients print them in.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use shared::clock::Timestamp;
use svix::models::MessageIn;

use crate::test_stack::TestStack;

#[tokio::test(flavor = "multi_thread")]
async fn times_are_read_in_every_form() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let first = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    let path = format!("/api/v1/app/{app}/msg");
    let shown = stack.request("GET", &format!("{path}/{first}"), &stack.token, "").await.json();
    let at = Timestamp::parse(shown["timestamp"].as_str().unwrap()).unwrap();
    let before = at.before(Duration::from_secs(3600)).to_string();
    let (date, time) = (&before[..10], &before[11..23]);
    for time in [
        before.clone(),
        before.to_lowercase(),
        format!("{date}%20{time}%20UTC"),
        format!("{date}+{time}+UTC"),
        format!("{date}T{time}"),
        format!("{date}%20{time}"),
        format!("{date}T{time}%2B00:00"),
        // A client that did not encode the plus.
        format!("{date}T{time}+00:00"),
        format!("{date}%20{time}%20%2B0000%20UTC"),
    ] {
        for (parameter, found) in [("after", 1), ("before", 0)] {
            let path = format!("{path}?{parameter}={time}");
            let answer = stack.request("GET", &path, &stack.token, "").await;
            assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.text);
            assert_eq!(answer.json()["data"].as_array().unwrap().len(), found, "{path}");
        }
    }
    let endpoint = stack.endpoint(&app, "http://127.0.0.1:9/").await.id;
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}");
    let body = json!({"since": format!("{date} {time} UTC")}).to_string();
    let task = stack.request("POST", &format!("{path}/recover"), &stack.token, body).await;
    assert_eq!(task.status.as_u16(), 202, "{}", task.text);
    let far = at.before(Duration::from_secs(29 * 24 * 3600));
    let stats = stack.request("GET", &format!("{path}/stats?since={far}"), &stack.token, "").await;
    assert_eq!((stats.status.as_u16(), &stats.json()["code"]), (400, &json!("bad_request")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_in_any_spelling_filters_or_is_refused() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    for event_type in ["a", "b", "c"] {
        stack.message(&app, MessageIn::new(event_type.into(), json!({}))).await;
    }
    for (query, status) in [
        ("event_types=a&event_types=b", 200),
        ("event_types[]=a&event_types[]=b", 200),
        ("event_types=a,b", 200),
        ("event_types[0]=a&event_types[1]=b", 200),
        ("event_types%5B0%5D=a&event_types%5B1%5D=b", 200),
        ("event_types[x]=a", 400),
        ("event_types[0][name]=a", 400),
        ("event_types[=a", 400),
        ("filter[event_types]=a", 400),
    ] {
        let path = format!("/api/v1/app/{app}/msg?{query}");
        let answer = stack.request("GET", &path, &stack.token, "").await;
        assert_eq!(answer.status.as_u16(), status, "{query}: {}", answer.text);
        if status == 200 {
            let answer = answer.json();
            let found =
                answer["data"].as_array().unwrap().iter().map(|entry| entry["eventType"].as_str().unwrap());
            assert_eq!(found.collect::<BTreeSet<_>>(), BTreeSet::from(["a", "b"]), "{query}");
        }
    }
    let many = format!("/api/v1/app/{app}/msg?{}", "tag=a&".repeat(300));
    assert_eq!(stack.request("GET", &many, &stack.token, "").await.status.as_u16(), 400);
}
