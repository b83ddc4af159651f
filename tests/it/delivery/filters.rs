//! Filters of payloads, and patterns of event types: who gets what, by whichever way it was posted.

use serde_json::{Value, json};
use svix::models::MessageIn;

use crate::test_stack::{Answer, Receiver, TestStack};

impl TestStack {
    /// Creates an endpoint from a body as it is sent.
    async fn made(&self, app: &str, body: Value) -> Answer {
        self.request("POST", &format!("/api/v1/app/{app}/endpoint"), &self.token, body.to_string()).await
    }
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_str(&answer.text).unwrap_or_else(|error| panic!("{error}: {}", answer.text))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_gets_the_payloads_that_its_filter_matches() {
    let stack = TestStack::start().await;
    let (mut gold, mut all) = (Receiver::start().await, Receiver::start().await);
    let app = stack.app().await;
    let pattern =
        json!({"customer": {"plan": ["gold", {"prefix": "plat"}]}, "total": [{"numeric": [">", 100]}]});
    let made = stack.made(&app, json!({"url": gold.url("/"), "filter": pattern})).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(json_of(&made)["filter"], pattern, "it is shown as it was written");
    stack.endpoint(&app, &all.url("/")).await;
    let payloads = [
        json!({"customer": {"plan": "gold"}, "total": 101}),
        json!({"customer": {"plan": "gold"}, "total": 100}),
        json!({"customer": {"plan": "platinum"}, "total": 1e3}),
        json!({"total": 500}),
        json!({}),
    ];
    let mut ids = Vec::new();
    for payload in &payloads {
        ids.push(stack.message(&app, MessageIn::new("a.b".into(), payload.clone())).await);
    }
    // The same by a batch.
    let messages: Vec<_> = payloads.iter().map(|p| json!({"eventType": "a.b", "payload": p})).collect();
    let batch = json!({ "messages": messages }).to_string();
    let posted = stack.request("POST", &format!("/api/v1/app/{app}/msg/batch"), &stack.token, batch).await;
    assert!(posted.status.is_success(), "{}", posted.text);
    stack.idle().await;
    let texts = |webhooks: Vec<crate::test_stack::Webhook>| {
        let mut texts: Vec<Value> =
            webhooks.iter().map(|webhook| serde_json::from_slice(&webhook.body).expect("JSON")).collect();
        texts.sort_by_key(ToString::to_string);
        texts
    };
    let mut wanted = vec![payloads[0].clone(), payloads[0].clone(), payloads[2].clone(), payloads[2].clone()];
    wanted.sort_by_key(ToString::to_string);
    assert_eq!(texts(gold.rest()), wanted);
    assert_eq!(all.rest().len(), 10);
    // A message lists where it went.
    let to = |id: &str| format!("/api/v1/app/{app}/msg/{id}/endpoint");
    let listed = json_of(&stack.request("GET", &to(&ids[1]), &stack.token, "").await);
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_changed_cleared_and_heeded_by_replays() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let made = json_of(&stack.made(&app, json!({"url": receiver.url("/"), "filter": {"n": [0]}})).await);
    let path = format!("/api/v1/app/{app}/endpoint/{}", made["id"].as_str().expect("an id"));
    for n in 1..=3 {
        stack.message(&app, MessageIn::new("a.b".into(), json!({ "n": n }))).await;
    }
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 0);
    // A PATCH that says nothing of it leaves it; one that does changes it.
    let patch = async |body: Value| {
        let answer = stack.request("PATCH", &path, &stack.token, body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        json_of(&answer)
    };
    assert_eq!(patch(json!({"description": "x"})).await["filter"], json!({"n": [0]}));
    assert_eq!(
        patch(json!({"filter": {"n": [{"numeric": [">=", 2]}]}})).await["filter"]["n"][0]["numeric"][0],
        ">="
    );
    // What was never sent and matches now is what a replay of the missing sends.
    let body = json!({"since": made["createdAt"]}).to_string();
    let replay = stack.request("POST", &format!("{path}/replay-missing"), &stack.token, body).await;
    assert!(replay.status.is_success(), "{}", replay.text);
    for n in [2, 3] {
        let webhook = receiver.next().await;
        assert!([r#"{"n":2}"#, r#"{"n":3}"#].contains(&std::str::from_utf8(&webhook.body).unwrap()), "{n}");
    }
    // The task goes on for a while, by the filter as it is at each step.
    stack.idle().await;
    assert!(patch(json!({"filter": null})).await.get("filter").is_none());
    stack.message(&app, MessageIn::new("a.b".into(), json!({"n": -1}))).await;
    assert_eq!(receiver.next().await.body, r#"{"n":-1}"#);
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_filter_is_refused_with_its_place() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    for (filter, loc, says) in [
        (json!([]), json!(["body", "filter"]), "JSON object"),
        (json!({}), json!(["body", "filter"]), "at least one field"),
        (json!({"a": {"b": "c"}}), json!(["body", "filter", "a", "b"]), "list of rules"),
        (json!({"a": [{"regex": ".*"}]}), json!(["body", "filter", "a", "0"]), "no rule \"regex\""),
    ] {
        let refused = stack.made(&app, json!({"url": "https://example.com", "filter": filter})).await;
        assert_eq!(refused.status, 422, "{}", refused.text);
        let detail = &json_of(&refused)["detail"][0];
        assert_eq!(detail["loc"], loc, "{detail}");
        assert!(detail["msg"].as_str().is_some_and(|msg| msg.contains(says)), "{detail}");
    }
    // Of two rules for one field, none is dropped in silence.
    let twice = r#"{"url":"https://example.com","filter":{"plan":{"name":["gold"],"name":["tin"]}}}"#;
    let made = stack.request("POST", &format!("/api/v1/app/{app}/endpoint"), &stack.token, twice).await;
    assert_eq!(made.status, 422, "{}", made.text);
    let detail = &json_of(&made)["detail"][0];
    assert_eq!(detail["loc"], json!(["body", "filter", "plan", "name"]), "{detail}");
    assert!(detail["msg"].as_str().is_some_and(|msg| msg.contains("twice")), "{detail}");
    let path = format!("/api/v1/app/{app}/endpoint/filter/test");
    let body = r#"{"filter":{"a":[1],"a":[2]},"payload":{"a":2}}"#;
    assert_eq!(stack.request("POST", &path, &stack.token, body).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_tried_before_it_is_used() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let path = format!("/api/v1/app/{app}/endpoint/filter/test");
    let test =
        async |body: Value| json_of(&stack.request("POST", &path, &stack.token, body.to_string()).await);
    let filter = json!({"plan": ["gold"]});
    let good = test(json!({"filter": filter, "payload": {"plan": "gold"}})).await;
    assert_eq!(good, json!({"matches": true, "mismatches": []}));
    let bad = test(json!({"filter": filter, "payload": {"plan": "silver"}})).await;
    assert_eq!(
        bad,
        json!({"matches": false, "mismatches": [{"path": "plan", "reason": "is \"silver\", must be \"gold\""}]})
    );
    assert_eq!(test(json!({"payload": {}})).await["matches"], true);
    let wrong = test(json!({"filter": {"plan": "gold"}})).await;
    assert_eq!(wrong["detail"].as_array().map(Vec::len), Some(2), "both rules that are broken: {wrong}");
    // An application's own token may try one, too.
    let token = stack.stack.app_token(None, app.parse().expect("an id"));
    let body = json!({"filter": filter, "payload": {}}).to_string();
    assert_eq!(stack.request("POST", &path, &token, body).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_takes_all_event_types_of_a_group() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let refused = stack.made(&app, json!({"url": receiver.url("/"), "filterTypes": ["invoice.paid"]})).await;
    assert_eq!(refused.status, 422, "a name has to exist: {}", refused.text);
    for wrong in ["*", "in*voice", "*.*", "invoice..*", "invoice.**"] {
        let refused = stack.made(&app, json!({"url": receiver.url("/"), "filterTypes": [wrong]})).await;
        assert_eq!(refused.status, 422, "{wrong}: {}", refused.text);
        assert!(refused.text.contains("invoice.*"), "it says how: {}", refused.text);
    }
    let made = stack.made(&app, json!({"url": receiver.url("/"), "filterTypes": ["invoice.*"]})).await;
    assert_eq!(json_of(&made)["filterTypes"], json!(["invoice.*"]), "{}", made.text);
    for name in ["invoice.paid", "user.created", "invoice.paid.late", "invoice"] {
        stack.message(&app, MessageIn::new(name.into(), json!({ "is": name }))).await;
    }
    stack.idle().await;
    let mut got: Vec<Value> =
        receiver.rest().iter().map(|webhook| serde_json::from_slice(&webhook.body).expect("JSON")).collect();
    got.sort_by_key(ToString::to_string);
    assert_eq!(got, [json!({"is": "invoice.paid"}), json!({"is": "invoice.paid.late"})]);
}
