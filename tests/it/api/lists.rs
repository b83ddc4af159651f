//! Lists, page by page, forwards and backwards.

use serde_json::{Value, json};
use svix::models::{ApplicationIn, EndpointIn, MessageIn};

use crate::test_stack::{Receiver, TestStack};

fn ids(list: &Value) -> Vec<String> {
    let data = list["data"].as_array().expect("data");
    data.iter()
        .map(|entry| entry["id"].as_str().or(entry["name"].as_str()).expect("an id").to_owned())
        .collect()
}

/// Follows `iterator` to the end, then `prevIterator` back to the beginning.
async fn there_and_back(stack: &TestStack, path: &str, limit: usize) -> (Vec<String>, Vec<String>) {
    let glue = if path.contains('?') { '&' } else { '?' };
    let page = async |iterator: &str| {
        let iterator = if iterator.is_empty() { String::new() } else { format!("&iterator={iterator}") };
        let path = format!("/api/v1{path}{glue}limit={limit}{iterator}");
        stack.request("GET", &path, &stack.token, "").await.json()
    };
    let (mut there, mut back) = (Vec::new(), Vec::new());
    let mut at = page("").await;
    loop {
        assert!(ids(&at).len() <= limit);
        there.extend(ids(&at));
        if at["done"] == json!(true) {
            break;
        }
        at = page(at["iterator"].as_str().expect("an iterator")).await;
    }
    // The iterator of the last page is there to poll with: nothing new yet.
    let beyond = page(at["iterator"].as_str().expect("an iterator")).await;
    assert_eq!((ids(&beyond).len(), &beyond["done"], beyond.get("prevIterator")), (0, &json!(true), None));
    back.extend(ids(&at));
    while let Some(before) = at["prevIterator"].as_str() {
        at = page(before).await;
        let mut entries = ids(&at);
        entries.append(&mut back);
        back = entries;
        if at["done"] == json!(true) {
            break;
        }
    }
    (there, back)
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_join_up_in_both_directions() {
    let stack = TestStack::start().await;
    let receiver = Receiver::start().await;
    let app = stack.app().await;
    let mut apps = vec![app.clone()];
    let (mut endpoints, mut messages, mut types) = (Vec::new(), Vec::new(), Vec::new());
    for nth in 0..12 {
        apps.push(stack.svix.application().create(ApplicationIn::new("x".into()), None).await.unwrap().id);
        let disabled = EndpointIn { disabled: Some(nth > 0), ..EndpointIn::new(receiver.url("/")) };
        endpoints.push(stack.endpoint_with(&app, disabled).await.id);
        types.push(format!("type.{nth:02}"));
        stack.event_type(&types[nth]).await;
    }
    for nth in 0..40 {
        let channels = (nth % 3 == 0).then(|| ["third".to_owned()].into());
        let message = MessageIn { channels, ..MessageIn::new(types[nth % 2].clone(), json!({"nth": nth})) };
        messages.push(stack.message(&app, message).await);
    }
    stack.idle().await;
    // Ids of one moment have no order of their own; the list's order is that of the ids.
    let newest_first = |list: &[String]| {
        let mut list = list.to_vec();
        list.sort_by(|a, b| b.cmp(a));
        list
    };
    apps.sort();
    let thirds: Vec<_> = messages.iter().step_by(3).cloned().collect();
    let evens: Vec<_> = messages.iter().step_by(2).cloned().collect();
    let log = format!("/app/{app}/attempt/endpoint/{}", endpoints[0]);
    let attempts = stack.request("GET", &format!("/api/v1{log}?limit=250"), &stack.token, "").await.json();
    assert_eq!(ids(&attempts).len(), messages.len());
    for (path, expected) in [
        ("/app".to_owned(), apps.clone()),
        ("/app?order=descending".into(), newest_first(&apps)),
        (format!("/app/{app}/endpoint"), newest_first(&endpoints)),
        ("/event-type".into(), types.clone()),
        (format!("/app/{app}/msg"), newest_first(&messages)),
        (format!("/app/{app}/msg?channel=third"), newest_first(&thirds)),
        (format!("/app/{app}/msg?event_types={}", types[0]), newest_first(&evens)),
        (
            format!("/app/{app}/msg?event_types[]={}&event_types[]={}", types[0], types[1]),
            newest_first(&messages),
        ),
        (log.clone(), newest_first(&ids(&attempts))),
        (format!("{log}?status=0&status_code_class=200"), newest_first(&ids(&attempts))),
    ] {
        for limit in [1, 5, 7, 250] {
            let (there, back) = there_and_back(&stack, &path, limit).await;
            assert_eq!(there, expected, "{path}, {limit} at a time");
            assert_eq!(back, expected, "{path}, {limit} at a time, backwards");
        }
    }
    for path in [format!("/app/{app}/msg?channel=none"), format!("{log}?status=2")] {
        let there = ids(&stack.request("GET", &format!("/api/v1{path}"), &stack.token, "").await.json());
        assert_eq!(there, Vec::<String>::new(), "{path}");
    }
}
