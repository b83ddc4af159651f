//! The delivery log: how deliveries stand, by endpoint and by message.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Value, json};
use svix::api::{
    MessageAttemptListAttemptedDestinationsOptions, MessageAttemptListAttemptedMessagesOptions,
    MessageAttemptListByEndpointOptions, MessageAttemptListByMsgOptions, MessageGetOptions,
};
use svix::models::{EndpointIn, MessageIn, MessageStatus, MessageStatusText};

use crate::test_stack::{Receiver, TestStack, settings};

pub fn names(names: &[&str]) -> Option<BTreeSet<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

/// Follows `iterator` to the end and `prevIterator` back; the ids of both ways, and the most on a page.
async fn walk(stack: &TestStack, path: &str, limit: usize) -> (Vec<String>, Vec<String>) {
    let glue = if path.contains('?') { '&' } else { '?' };
    let page = async |iterator: &str| {
        let iterator = if iterator.is_empty() { String::new() } else { format!("&iterator={iterator}") };
        let path = format!("/api/v1{path}{glue}limit={limit}{iterator}");
        let answer = stack.request("GET", &path, &stack.token, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        answer.json()
    };
    let ids = |page: &Value| -> Vec<String> {
        let data = page["data"].as_array().expect("data");
        assert!(data.len() <= limit);
        data.iter().map(|entry| entry["id"].as_str().expect("an id").to_owned()).collect()
    };
    let mut at = page("").await;
    let mut there = ids(&at);
    while at["done"] == json!(false) {
        at = page(at["iterator"].as_str().expect("an iterator")).await;
        there.extend(ids(&at));
    }
    let mut back = ids(&at);
    while let Some(before) = at["prevIterator"].as_str() {
        at = page(before).await;
        back.splice(0..0, ids(&at));
    }
    (there, back)
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_seen_by_endpoint_and_by_message() {
    // The second attempt is a timer that nobody moves.
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "1200,1")).await;
    let receiver = Receiver::answering(|webhook| match webhook.path.as_str() {
        "/well" => (StatusCode::OK, "thanks".into()),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "broken".into()),
    })
    .await;
    let app = stack.app().await;
    let uid = EndpointIn { uid: Some("well".into()), ..EndpointIn::new(receiver.url("/well")) };
    let well = stack.endpoint_with(&app, uid).await.id;
    let ill = EndpointIn {
        channels: names(&["north", "south"]),
        throttle_rate: Some(50_000),
        ..EndpointIn::new(receiver.url("/ill"))
    };
    let ill = stack.endpoint_with(&app, ill).await.id;
    let mut messages = Vec::new();
    for nth in 0..5 {
        let message = MessageIn {
            event_id: Some(format!("order-{nth}")),
            channels: (nth % 2 == 0).then(|| names(&["north"])).flatten(),
            tags: (nth == 1).then(|| names(&["rare/one"])).flatten(),
            ..MessageIn::new(if nth < 3 { "a.b".into() } else { "c".into() }, json!({"nth": nth}))
        };
        messages.push(stack.message(&app, message).await);
    }
    stack.idle().await;
    let log = stack.svix.message_attempt();

    // The messages of an endpoint, newest first.
    let list = async |endpoint: &str, options: MessageAttemptListAttemptedMessagesOptions| {
        log.list_attempted_messages(app.clone(), endpoint.into(), Some(options)).await.unwrap()
    };
    let with_content =
        MessageAttemptListAttemptedMessagesOptions { with_content: Some(true), ..Default::default() };
    let all = list("well", with_content).await;
    // Ids of one moment have no order of their own; the list's order is that of the ids.
    let newest_first = |which: &[usize]| -> Vec<String> {
        let mut ids: Vec<_> = which.iter().map(|nth| messages[*nth].clone()).collect();
        ids.sort_by(|a, b| b.cmp(a));
        ids
    };
    let seen: Vec<_> = all.data.iter().map(|message| message.id.clone()).collect();
    assert_eq!(seen, newest_first(&[0, 1, 2, 3, 4]));
    assert!(all.done && all.iterator.as_ref() == seen.last());
    let of = |nth: usize| all.data.iter().find(|message| message.id == messages[nth]).unwrap();
    let second = of(1);
    assert_eq!((second.status, second.status_text), (MessageStatus::Success, MessageStatusText::Success));
    assert_eq!((second.payload.clone(), second.event_id.as_deref()), (json!({"nth": 1}), Some("order-1")));
    assert_eq!(
        (second.event_type.as_str(), &second.tags, &second.channels),
        ("a.b", &names(&["rare/one"]), &None)
    );
    assert_eq!(second.next_attempt, None);
    let failing = list(&ill, Default::default()).await;
    let seen: Vec<_> = failing.data.iter().map(|message| message.id.clone()).collect();
    assert_eq!(seen, newest_first(&[4, 2, 0]));
    assert_eq!(
        (failing.data[0].status, failing.data[0].status_text),
        (MessageStatus::Sending, MessageStatusText::Sending)
    );
    // This version of the SDK leaves payloads out unless it is asked for them.
    assert_eq!(
        (failing.data[0].payload.clone(), failing.data[0].channels.clone()),
        (json!({}), names(&["north"]))
    );
    assert!(
        failing.data[0].next_attempt.unwrap()
            > failing.data[0].timestamp + std::time::Duration::from_secs(600)
    );

    let path = format!("/app/{app}/endpoint/{well}/msg");
    let ill_path = format!("/app/{app}/endpoint/{ill}/msg");
    let destinations = format!("/app/{app}/msg/order-2/endpoint");
    let time = |nth: usize| of(nth).timestamp;
    let between = |after: Option<usize>, before: usize| {
        let is_between =
            |nth: &usize| after.is_none_or(|after| time(*nth) > time(after)) && time(*nth) < time(before);
        newest_first(&(0..5).filter(is_between).collect::<Vec<_>>())
    };
    for (path, expected) in [
        (path.clone(), newest_first(&[4, 3, 2, 1, 0])),
        (format!("{path}?status=0"), newest_first(&[4, 3, 2, 1, 0])),
        (format!("{path}?status=1"), vec![]),
        (format!("{path}?status=4&expanded_statuses=true"), vec![]),
        (format!("{path}?channel=north"), newest_first(&[4, 2, 0])),
        (format!("{path}?tag=rare/one"), newest_first(&[1])),
        (format!("{path}?event_types=c"), newest_first(&[4, 3])),
        (format!("{path}?event_types[]=c&event_types[]=a.b"), newest_first(&[4, 3, 2, 1, 0])),
        (format!("{path}?channel=north&event_types=a.b"), newest_first(&[2, 0])),
        (format!("{path}?before={}", time(2).to_rfc3339()), between(None, 2)),
        (
            format!("{path}?after={}&before={}", time(1).to_rfc3339(), time(4).to_rfc3339()),
            between(Some(1), 4),
        ),
        (format!("{ill_path}?status=3"), newest_first(&[4, 2, 0])),
        (format!("{path}?status_code_class=200"), newest_first(&[4, 3, 2, 1, 0])),
        (format!("{path}?status_code_class=500"), vec![]),
        (format!("{ill_path}?status_code_class=500&event_types=a.b"), newest_first(&[2, 0])),
        (format!("{ill_path}?status_code_class=0"), vec![]),
        (format!("{ill_path}?status=3&event_types=a.b"), newest_first(&[2, 0])),
        (destinations.clone(), vec![well.clone(), ill.clone()]),
        (format!("{destinations}?order=descending"), vec![ill.clone(), well.clone()]),
    ] {
        for limit in [2, 50] {
            assert_eq!(
                walk(&stack, &path, limit).await,
                (expected.clone(), expected.clone()),
                "{path} {limit}"
            );
        }
    }

    // The endpoints of a message, which is named by its event id.
    let options = MessageAttemptListAttemptedDestinationsOptions { limit: Some(10), iterator: None };
    let to =
        log.list_attempted_destinations(app.clone(), "order-2".into(), Some(options)).await.unwrap().data;
    assert_eq!(
        (to[0].id.as_str(), to[0].uid.as_deref(), to[0].status),
        (well.as_str(), Some("well"), MessageStatus::Success)
    );
    assert_eq!((to[0].next_attempt, to[0].url.as_str()), (None, receiver.url("/well").as_str()));
    assert_eq!(
        (to[1].id.as_str(), to[1].status, to[1].throttle_rate),
        (ill.as_str(), MessageStatus::Sending, Some(50_000))
    );
    assert!(to[1].next_attempt.is_some() && to[1].channels == names(&["north", "south"]));

    // Attempts: with their messages, by endpoint's uid, by event id, and as old SDKs ask for them.
    let options = MessageAttemptListByEndpointOptions {
        with_msg: Some(true),
        tag: Some("rare/one".into()),
        expanded_statuses: Some(true),
        ..Default::default()
    };
    let attempts = log.list_by_endpoint(app.clone(), "well".into(), Some(options)).await.unwrap().data;
    let message = attempts[0].msg.clone().expect("its message");
    assert_eq!((attempts.len(), message.id.as_str(), message.payload), (1, messages[1].as_str(), json!({})));
    let options = MessageAttemptListByMsgOptions { endpoint_id: Some("well".into()), ..Default::default() };
    let attempts = log.list_by_msg(app.clone(), "order-2".into(), Some(options)).await.unwrap().data;
    assert_eq!((attempts.len(), &attempts[0].endpoint_id, &attempts[0].msg_id), (1, &well, &messages[2]));
    let one = log.get(app.clone(), "order-2".into(), attempts[0].id.clone(), None).await.unwrap();
    assert_eq!((one.response.as_str(), one.url), ("thanks", receiver.url("/well")));
    let get =
        async |path: String| stack.request("GET", &format!("/api/v1{path}"), &stack.token, "").await.json();
    let now = get(format!("/app/{app}/attempt/msg/order-2")).await;
    assert_eq!(now["data"].as_array().unwrap().len(), 2);
    assert_eq!(get(format!("/app/{app}/msg/order-2/attempt")).await, now);
    let at = get(format!("/app/{app}/msg/order-2/endpoint/well/attempt/")).await;
    assert_eq!(at, get(format!("/app/{app}/attempt/msg/order-2?endpoint_id={well}")).await);
    assert_eq!(
        at["data"],
        json!([now["data"].as_array().unwrap().iter().find(|a| a["endpointId"] == json!(well)).unwrap()])
    );

    // An endpoint that is gone is still a destination, and what was sent to it was sent.
    stack.svix.endpoint().delete(app.clone(), well.clone()).await.unwrap();
    let to = log.list_attempted_destinations(app.clone(), "order-2".into(), None).await.unwrap().data;
    assert_eq!(to.iter().map(|to| &to.id).collect::<Vec<_>>(), [&well, &ill]);
    assert_eq!(get(format!("/app/{app}/attempt/msg/order-2?endpoint_id={well}")).await, at);
    let options = MessageGetOptions { with_content: Some(false) };
    let message = stack.svix.message().get(app.clone(), "order-2".into(), Some(options)).await.unwrap();
    assert_eq!((message.id, message.payload), (messages[2].clone(), json!({})));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_is_asked_is_checked() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, "http://127.0.0.1:9/").await.id;
    let id = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    let lists = [
        format!("/app/{app}/msg"),
        format!("/app/{app}/endpoint/{endpoint}/msg"),
        format!("/app/{app}/attempt/endpoint/{endpoint}"),
        format!("/app/{app}/attempt/msg/{id}"),
        format!("/app/{app}/msg/{id}/attempt"),
        format!("/app/{app}/msg/{id}/endpoint/{endpoint}/attempt"),
    ];
    let limit = "Must be from 1 to 250";
    let name = "String must match ^[a-zA-Z0-9\\-_.]+$ and have between 1 and";
    let tag = "String must match ^[a-zA-Z0-9\\-_./\\\\#]+$ and have between 1 and 128 characters";
    let long = "x".repeat(129);
    for path in &lists {
        for (query, loc, msg) in [
            ("limit=0".to_owned(), "limit", limit),
            ("limit=251".into(), "limit", limit),
            ("iterator=x".into(), "iterator", "Not an iterator of this list"),
            (format!("iterator={app}"), "iterator", "Not an iterator of this list"),
            ("iterator=-%00".into(), "iterator", "Not an iterator of this list"),
            ("before=2999-01-01T00:00:00Z".into(), "before", "Must not lie more than one hour in the future"),
            ("after=2999-01-01T00:00:00Z".into(), "after", "Must not lie more than one hour in the future"),
            ("channel=a%20b".into(), "channel", name),
            (format!("channel={long}"), "channel", name),
            ("tag=a%20b".into(), "tag", tag),
            ("event_types=a&event_types=b%20c".into(), "event_types", name),
        ] {
            let answer = stack.request("GET", &format!("/api/v1{path}?{query}"), &stack.token, "").await;
            assert_eq!(answer.status.as_u16(), 422, "{path}?{query}: {}", answer.text);
            let rule = &answer.json()["detail"][0];
            assert_eq!(rule["loc"], json!(["query", loc]), "{path}?{query}");
            assert!(rule["msg"].as_str().unwrap().starts_with(msg), "{path}?{query}: {rule}");
        }
        for query in ["limit=x", "before=yesterday", "with_content=maybe"] {
            let answer = stack.request("GET", &format!("/api/v1{path}?{query}"), &stack.token, "").await;
            assert_eq!(
                (answer.status.as_u16(), &answer.json()["code"]),
                (400, &json!("bad_request")),
                "{query}"
            );
        }
    }
    for path in &lists[1..] {
        for query in ["status=5", "status=success", "expanded_statuses=2"] {
            let answer = stack.request("GET", &format!("/api/v1{path}?{query}"), &stack.token, "").await;
            assert_eq!(answer.status.as_u16(), 400, "{path}?{query}");
        }
    }
    let destinations = format!("/app/{app}/msg/{id}/endpoint");
    for (path, status) in [
        (format!("{destinations}?limit=251"), 422),
        (format!("{destinations}?iterator={id}"), 422),
        (format!("{destinations}?order=up"), 400),
        (format!("{}?status_code_class=600", lists[2]), 400),
        (format!("{}?endpoint_id=none", lists[3]), 404),
        (format!("/app/{app}/msg/of.no.event/endpoint"), 404),
        (format!("/app/{app}/endpoint/none/msg"), 404),
        (format!("/app/{app}/msg/{id}/endpoint/none/attempt"), 404),
        (format!("/app/{app}/msg/{id}/attempt/nonsense"), 404),
        (format!("/app/{app}/msg/{id}/content"), 405),
        (format!("/app/{app}/msg/{id}/endpoint/{endpoint}/resend"), 405),
    ] {
        let answer = stack.request("GET", &format!("/api/v1{path}"), &stack.token, "").await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text);
    }
    let path = format!("/api/v1/app/{app}/msg/{id}/endpoint/{endpoint}/resend");
    let answer = stack.request_with("POST", &path, &stack.token, &[("idempotency-key", "")], "").await;
    assert_eq!(answer.json()["detail"][0]["loc"], json!(["header", "idempotency-key"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_no_larger_than_an_answer_can_be() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await.id;
    let mut messages = Vec::new();
    for nth in 0..6 {
        let text = "x".repeat(800_000);
        messages
            .push(stack.message(&app, MessageIn::new("a".into(), json!({"nth": nth, "text": text}))).await);
        receiver.next().await;
    }
    stack.idle().await;
    messages.sort_by(|a, b| b.cmp(a));
    for path in [format!("/app/{app}/msg"), format!("/app/{app}/endpoint/{endpoint}/msg")] {
        let page = stack.request("GET", &format!("/api/v1{path}"), &stack.token, "").await;
        assert!(page.text.len() < 4_000_000 && page.json()["data"].as_array().unwrap().len() == 3);
        assert_eq!(walk(&stack, &path, 5).await, (messages.clone(), messages.clone()), "{path}");
        let page = stack.request("GET", &format!("/api/v1{path}?with_content=false"), &stack.token, "").await;
        assert_eq!(page.json()["data"].as_array().unwrap().len(), 6);
    }
}
