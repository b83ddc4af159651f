//! Audit events: every change of configuration has one, they say what was changed and no secret, and
//! they are listed as everything is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use shared::store::audit::AuditAction;

use crate::api::all_operations::{SECRETS, Walk};
use crate::test_stack::{Ahead, TestStack, settings};

/// Operations that change something, and no configuration.
const OTHERS: [(&str, &str); 17] = [
    ("POST", "/app/{app_id}/msg"),
    ("POST", "/app/{app_id}/msg/batch"),
    ("POST", "/app/{app_id}/msg/precheck/active"),
    ("POST", "/app/{app_id}/endpoint/{endpoint_id}/send-example"),
    ("POST", "/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/resend"),
    ("POST", "/app/{app_id}/endpoint/{endpoint_id}/recover/count"),
    ("POST", "/app/{app_id}/endpoint/{endpoint_id}/replay-missing/count"),
    ("POST", "/app/{app_id}/endpoint/{endpoint_id}/bulk-replay/count"),
    ("POST", "/app/{app_id}/poller/{sink_id}/consumer/{consumer_id}/seek"),
    ("POST", "/app/{app_id}/polling-endpoint/{sink_id}/consumer/{consumer_id}/commit"),
    // It makes a token, which is kept nowhere.
    ("POST", "/auth/app-portal-access/{app_id}"),
    ("POST", "/auth/dashboard-access/{app_id}"),
    // It only reads.
    ("POST", "/environment/export"),
    // They store nothing.
    ("POST", "/app/{app_id}/endpoint/filter/test"),
    ("POST", "/app/{app_id}/endpoint/{endpoint_id}/transformation/simulate"),
    // It hands out a token that was made before.
    ("POST", "/auth/one-time-token"),
    // Its bearer gives it back.
    ("POST", "/auth/logout"),
];

impl TestStack {
    async fn events(&self, query: &str) -> Value {
        let answer = self.request("GET", &format!("/api/v1/audit-event{query}"), &self.token, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text);
        answer.json()
    }

    /// All that is stored of audit events, as it is.
    async fn stored_events(&self) -> Vec<String> {
        let table = self.stack.table("ConfigTable").expect("a table of the template");
        let mut pages = self.stack.dynamodb().scan().table_name(table).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.expect("a page");
            let events = page.items().iter().filter(|item| item["pk"].as_s().unwrap().starts_with("AUDIT#"));
            // In one order, so that they can be compared.
            found.extend(events.map(|item| format!("{:?}", item.iter().collect::<BTreeMap<_, _>>())));
        }
        found
    }
}

/// INV-23
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the counts are shown")]
async fn every_change_leaves_one_event_and_no_secret() {
    let mut walk = Walk::start().await;
    walk.all().await;

    let document = walk.stack.request("GET", "/api/v1/openapi.json", "", "").await.json();
    let mut operations = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let path = path.strip_prefix("/api/v1").unwrap_or(path);
        let methods = methods.as_object().expect("methods").keys().map(|method| method.to_uppercase());
        operations.extend(methods.map(|method| (method, path.to_owned())));
    }
    operations.retain(|(method, _)| ["POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str()));
    let known = |(method, path): &(String, String)| {
        walk.walked.contains(&(method.clone(), path.clone()))
            || OTHERS.contains(&(method.as_str(), path.as_str()))
    };
    let missing: Vec<_> = operations.iter().filter(|operation| !known(operation)).collect();
    assert!(missing.is_empty(), "neither walked nor said to change no configuration: {missing:?}");
    let words: BTreeSet<String> = AuditAction::ALL.iter().map(|(word, _)| (*word).to_owned()).collect();
    assert_eq!(walk.seen, words);

    let stored = walk.stack.stored_events().await;
    let (token, mut searched) = (walk.stack.token.clone(), SECRETS.to_vec());
    // Those of the tests' own settings, and the token itself.
    searched.extend(["a secret of the tests", token.as_str()]);
    for event in &stored {
        for secret in &searched {
            assert!(!event.contains(secret), "{secret}: {event}");
        }
    }
    // The erasure of the application, a task, and all that goes on by itself touch none of them.
    walk.stack.run_timers().await;
    walk.stack.app().await;
    let later: BTreeSet<String> = walk.stack.stored_events().await.into_iter().collect();
    assert!(stored.iter().all(|event| later.contains(event)) && later.len() == stored.len() + 1);
    println!(
        "audit: {} operations that change configuration walked, {} others; {} events of {} kinds, none with a secret",
        operations.len() - OTHERS.len(),
        OTHERS.len(),
        stored.len(),
        words.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_listed_by_time_and_filtered() {
    let clock = Arc::new(Ahead::default());
    let mut settings = settings();
    settings.platform.clock = clock.clone();
    let stack = TestStack::with(settings).await;
    let (mut apps, mut times) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        times.push(stack.stack.platform().clock.now());
        clock.skip(Duration::from_secs(1));
        apps.push(stack.app().await);
    }
    let path = format!("/api/v1/app/{}", apps[0]);
    let patched = stack.request("PATCH", &path, &stack.token, r#"{"name":"n"}"#).await;
    assert_eq!(patched.status, StatusCode::OK);
    let subjects = |page: &Value| -> Vec<usize> {
        let events = page["data"].as_array().expect("events").iter();
        events
            .map(|event| apps.iter().position(|app| event["subject"] == **app).expect("one of them"))
            .collect()
    };
    let listed = async |query: &str| subjects(&stack.events(query).await);
    assert_eq!(listed("").await, [0, 2, 1, 0]);
    assert_eq!(listed("?order=ascending").await, [0, 1, 2, 0]);
    assert_eq!(listed("?what=application.updated").await, [0]);
    assert_eq!(listed(&format!("?subject={}", apps[1])).await, [1]);
    assert_eq!(listed(&format!("?app_id={}", apps[0])).await, [0, 0]);
    assert_eq!(listed(&format!("?by={}", shared::auth::DEFAULT_ORG)).await, [0, 2, 1, 0]);
    assert_eq!(listed("?by=postrider").await, Vec::<usize>::new());
    assert_eq!(listed(&format!("?before={}", times[2])).await, [1, 0]);
    assert_eq!(listed(&format!("?after={}", times[1])).await, [0, 2, 1]);
    assert_eq!(listed(&format!("?after={}&before={}", times[1], times[2])).await, [1]);
    assert_eq!(listed(&format!("?after={}&before={}", times[2], times[1])).await, Vec::<usize>::new());
    // An event's own time is neither before nor after itself.
    let at = stack.events("?limit=1").await["data"][0]["timestamp"].as_str().expect("a time").to_owned();
    assert_eq!(listed(&format!("?before={at}")).await, [2, 1, 0]);
    assert_eq!(listed(&format!("?after={at}")).await, Vec::<usize>::new());

    // Page by page, there and back.
    let mut pages = Vec::new();
    let mut query = "?limit=2".to_owned();
    let last = loop {
        let page = stack.events(&query).await;
        pages.push(subjects(&page));
        if page["done"] == true {
            break page;
        }
        query = format!("?limit=2&iterator={}", page["iterator"].as_str().expect("an iterator"));
    };
    assert_eq!(pages, [[0, 2], [1, 0]]);
    let back = format!("?limit=2&iterator={}", last["prevIterator"].as_str().expect("an iterator"));
    assert_eq!(listed(&back).await, [0, 2]);
    // An iterator from outside of the window leads to nothing, and not to an error.
    let outside = last["iterator"].as_str().expect("an iterator");
    assert_eq!(listed(&format!("?after={}&iterator={outside}", times[1])).await, Vec::<usize>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_the_organisations_own() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let customer = stack.stack.app_token(None, app.parse().expect("an id"));
    let refused = stack.request("GET", "/api/v1/audit-event", &customer, "").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let other = stack.stack.org_token(Some("org_000000000000000000000000000".parse().expect("an id")));
    let page = stack.request("GET", "/api/v1/audit-event/", &other, "").await.json();
    assert_eq!(page, json!({"data": [], "iterator": null, "done": true}));
    for (method, path) in [("DELETE", "/api/v1/audit-event"), ("POST", "/api/v1/audit-event")] {
        let answer = stack.request(method, path, &stack.token, "{}").await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    }
    for query in ["?what=x", "?app_id=acme", "?before=now", "?limit=0", "?iterator=app_1"] {
        let answer = stack.request("GET", &format!("/api/v1/audit-event{query}"), &stack.token, "").await;
        assert!([400, 422].contains(&answer.status.as_u16()), "{query}: {}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_exported_page_by_page_and_from_where_an_export_ended() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let path = format!("/api/v1/app/{app}");
    for nth in 0..260 {
        let body = json!({ "name": format!("name {nth}") }).to_string();
        let answer = stack.request("PATCH", &path, &stack.token, body).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let all = local::Export {
        url: format!("{}/", stack.stack.url()),
        token: stack.token.clone(),
        after: None,
        behind: None,
    };
    let exported = async |export: &local::Export| {
        let mut out = Vec::new();
        local::export(export, &mut out).await.map(|count| {
            let lines = String::from_utf8(out).expect("text");
            let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines.len(), count);
            lines
        })
    };
    let events = exported(&all).await.unwrap();
    let mut names: Vec<_> = events.iter().map(|event| event["after"]["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 261);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 261);
    assert!(events.is_sorted_by_key(|event| event["id"].as_str().unwrap()));
    let behind = events[258]["id"].as_str().map(str::to_owned);
    assert_eq!(exported(&local::Export { behind, ..all.clone() }).await.unwrap(), events[259..]);
    let after = events[260]["timestamp"].as_str().map(str::to_owned);
    assert_eq!(exported(&local::Export { after, ..all.clone() }).await.unwrap(), Vec::<Value>::new());

    let customer = stack.stack.app_token(None, app.parse().expect("an id"));
    let refused = exported(&local::Export { token: customer, ..all.clone() }).await.unwrap_err();
    assert!(matches!(refused, local::ExportError::Refused(_)), "{refused:?}");
    assert_eq!(refused.to_string(), "403 Forbidden: An organisation's token is needed for this operation.");
    let url = "http://127.0.0.1:1".to_owned();
    let unreached = exported(&local::Export { url, ..all }).await.unwrap_err();
    assert!(matches!(unreached, local::ExportError::Unreachable(_)), "{unreached:?}");
    let unreached = unreached.to_string();
    assert!(!unreached.contains('\n') && unreached.contains("onnect"), "{unreached}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_is_left_out() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let url = format!("http://127.0.0.1:9/{}", "x".repeat(20_000));
    let endpoint = stack.endpoint(&app, &url).await;
    let event = &stack.events("?limit=1").await["data"][0];
    assert_eq!((&event["subject"], &event["trimmed"]), (&json!(endpoint.id), &json!(true)));
    assert_eq!(event["after"]["url"], format!("({} bytes left out)", url.len() + 2));
    assert_eq!(event["after"]["disabled"], false);
    let stored = stack.stored_events().await;
    assert!(stored.iter().all(|event| event.len() < 20_000));
}
