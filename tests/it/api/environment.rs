//! What an organisation sets for all of its applications, out of one organisation and into another.

use http::StatusCode;
use serde_json::{Value, json};

use crate::test_stack::{Answer, TestStack};

const OTHER_ORG: &str = "org_23rb8YdGqMT0qIzpgGwdXfHirMv";

impl TestStack {
    async fn exported(&self, token: &str) -> Value {
        let answer = self.request("POST", "/api/v1/environment/export", token, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    }

    async fn import(&self, token: &str, body: &Value) -> Answer {
        self.request("POST", "/api/v1/environment/import", token, body.to_string()).await
    }

    async fn imported(&self, token: &str, body: &Value) {
        let answer = self.import(token, body).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::NO_CONTENT, ""), "{body}");
        // All of it was understood.
        assert_eq!(answer.headers.get("postrider-unknown"), None);
    }

    async fn changes(&self, token: &str) -> usize {
        let events = self.request("GET", "/api/v1/audit-event?limit=250", token, "").await.json();
        events["data"].as_array().expect("events").len()
    }
}

/// Without the times, which are each organisation's own.
fn timeless(mut exported: Value) -> Value {
    exported["createdAt"] = Value::Null;
    for event_type in exported["eventTypes"].as_array_mut().expect("event types") {
        (event_type["createdAt"], event_type["updatedAt"]) = (Value::Null, Value::Null);
    }
    for connector in exported["connectors"].as_array_mut().expect("connectors") {
        for own in ["id", "orgId", "createdAt", "updatedAt", "transformationUpdatedAt"] {
            connector[own] = Value::Null;
        }
    }
    exported
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_goes_from_one_organisation_to_another() {
    let stack = TestStack::start().await;
    let other = stack.stack.org_token(Some(OTHER_ORG.parse().expect("an id")));
    let empty = stack.exported(&other).await;
    assert_eq!((&empty["version"], &empty["settings"]), (&json!(1), &json!({})));
    assert_eq!((&empty["eventTypes"], &empty["connectors"]), (&json!([]), &json!([])));

    let full = json!({
        "name": "a.paid", "description": "Paid", "schemas": {"1": {"type": "object", "title": "paid"}},
        "featureFlags": ["beta", "more"], "groupName": "a", "deprecated": true, "archived": false,
    });
    let archived = json!({"name": "b.old", "description": "Old", "archived": true});
    // More than are read at a time.
    let many = (0..120).map(|nth| json!({"name": format!("c.{nth:03}"), "description": ""}));
    let event_types: Vec<Value> = [full, archived].into_iter().chain(many).collect();
    let settings = json!({"displayName": "Acme", "darkMode": "auto", "fontFamily": null});
    // By its uid, by its name, and two of one name.
    let code = "function handler(webhook) { return webhook }";
    let connectors = json!([
        {"name": "Slack", "uid": "slack", "kind": "Slack", "transformation": code, "allowedEventTypes": ["a.paid"]},
        {"name": "Plain", "instructions": "# How", "transformation": code},
        {"name": "Twin", "description": "one", "transformation": code},
        {"name": "Twin", "description": "two", "transformation": code},
    ]);
    let document = json!({"eventTypes": event_types, "settings": settings, "connectors": connectors});
    stack.imported(&stack.token, &document).await;

    let exported = stack.exported(&stack.token).await;
    let shown = exported["eventTypes"].as_array().expect("event types");
    assert_eq!((shown.len(), &shown[0]["schemas"]["1"]["title"]), (122, &json!("paid")));
    assert_eq!((&shown[1]["name"], &shown[1]["archived"]), (&json!("b.old"), &json!(true)));
    assert_eq!(exported["settings"], json!({"displayName": "Acme", "darkMode": "auto"}));
    let shown = exported["connectors"].as_array().expect("connectors");
    assert_eq!(
        (shown.len(), &shown[0]["uid"], &shown[1]["instructions"]),
        (4, &json!("slack"), &json!("# How"))
    );

    // As it is, into another organisation, which then has the same; once more, and nothing changes.
    stack.imported(&other, &exported).await;
    assert_eq!(timeless(stack.exported(&other).await), timeless(exported.clone()));
    let changes = stack.changes(&other).await;
    stack.imported(&other, &exported).await;
    assert_eq!(stack.changes(&other).await, changes);

    // What a document does not name stays as it is.
    let some = json!({
        "eventTypes": [{"name": "b.old", "description": "New"}, {"name": "d", "description": ""}],
        "settings": {"displayName": "Other"},
        "connectors": [
            {"name": "Renamed", "uid": "slack", "transformation": code},
            {"name": "Plain", "description": "now with words", "transformation": code},
            {"name": "Slack", "transformation": code},
        ],
    });
    stack.imported(&other, &some).await;
    let exported = stack.exported(&other).await;
    assert_eq!(exported["settings"], json!({"displayName": "Other", "darkMode": "auto"}));
    let shown = exported["eventTypes"].as_array().expect("event types");
    assert_eq!((shown.len(), &shown[0]["description"]), (123, &json!("Paid")));
    assert_eq!((&shown[1]["description"], &shown[1]["archived"]), (&json!("New"), &json!(false)));
    let shown = exported["connectors"].as_array().expect("connectors");
    let names: Vec<&Value> = shown.iter().map(|connector| &connector["name"]).collect();
    assert_eq!(names, ["Renamed", "Plain", "Twin", "Twin", "Slack"]);
    assert_eq!((&shown[0]["kind"], &shown[1]["description"]), (&json!("Custom"), &json!("now with words")));
    assert_eq!((&shown[2]["description"], &shown[3]["description"]), (&json!("one"), &json!("two")));
    stack.imported(&other, &json!({})).await;
    stack.imported(&other, &json!({"eventTypes": null, "settings": null, "connectors": null})).await;
    assert_eq!(timeless(stack.exported(&other).await), timeless(exported));
    // The first organisation's are its own.
    assert_eq!(stack.exported(&stack.token).await["settings"]["displayName"], "Acme");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_imported_is_refused_as_a_whole() {
    let stack = TestStack::start().await;
    let connector = |fields: Value| {
        let mut all =
            json!({"name": "Slack", "uid": "slack", "transformation": "function handler(w) { return w }"});
        all.as_object_mut().expect("fields").extend(fields.as_object().expect("fields").clone());
        all
    };
    let [fine, broken] =
        [json!({}), json!({"uid": "b", "transformation": "function broken {"})].map(connector);
    let far: Vec<Value> = (0..251).map(|nth| connector(json!({"uid": format!("u{nth}")}))).collect();
    let named = |names: &[&str]| {
        let of = |name: &&str| json!({"name": name, "description": ""});
        json!({"eventTypes": names.iter().map(of).collect::<Vec<_>>()})
    };
    let many: Vec<String> = (0..1_001).map(|nth| format!("n{nth}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (body, loc) in [
        (json!({ "connectors": [fine, fine] }), json!(["body", "connectors", "1", "uid"])),
        (json!({ "connectors": [fine, broken] }), json!(["body", "connectors", "1", "transformation"])),
        (
            json!({ "connectors": [fine, {"name": "x"}] }),
            json!(["body", "connectors", "1", "transformation"]),
        ),
        (
            json!({ "connectors": [connector(json!({"productType": "Stream"}))] }),
            json!(["body", "connectors", "0", "productType"]),
        ),
        (json!({ "connectors": far }), json!(["body", "connectors"])),
        (json!({"version": 2}), json!(["body", "version"])),
        (json!({"eventTypes": [1]}), json!(["body", "eventTypes"])),
        (json!({"eventTypes": {"a": 1}}), json!(["body", "eventTypes"])),
        (named(&["a", "b c"]), json!(["body", "eventTypes", "1", "name"])),
        (named(&["a", "b", "a"]), json!(["body", "eventTypes", "2", "name"])),
        (named(&many), json!(["body", "eventTypes"])),
        (
            json!({"settings": {"displayName": "x", "customCss": "y"}}),
            json!(["body", "settings", "customCss"]),
        ),
        (json!({"settings": {"darkMode": "maybe"}}), json!(["body", "settings", "darkMode"])),
        (json!({"settings": []}), json!(["body", "settings"])),
    ] {
        let mut body = body;
        // What is fine of it is not imported either.
        body["eventTypes"] =
            body.get("eventTypes").cloned().unwrap_or_else(|| named(&["fine"])["eventTypes"].clone());
        let answer = stack.import(&stack.token, &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{loc}: {}", answer.text);
        assert_eq!(answer.json()["detail"][0]["loc"], loc, "{}", answer.text);
    }
    let exported = stack.exported(&stack.token).await;
    assert_eq!((&exported["eventTypes"], &exported["connectors"]), (&json!([]), &json!([])));
    // The most that one document may have; a setting that nobody gave a value is none.
    stack.imported(&stack.token, &named(&many[1..])).await;
    let answer = stack.import(&stack.token, &json!({"settings": {"customCss": null}})).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
    assert_eq!(answer.headers["postrider-unknown"], "settings.customCss");
    assert_eq!(stack.exported(&stack.token).await["eventTypes"].as_array().map(Vec::len), Some(1_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_no_longer_than_can_be_answered() {
    let stack = TestStack::start().await;
    let schemas = json!({"1": {"title": "x".repeat(250_000)}});
    for nth in 0..20 {
        let body = json!({"name": format!("large.{nth}"), "description": "", "schemas": schemas});
        let made = stack.request("POST", "/api/v1/event-type", &stack.token, body.to_string()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    }
    let whole = stack.exported(&stack.token).await;
    assert_eq!(whole["eventTypes"].as_array().map(Vec::len), Some(20));
    let body = json!({"name": "large.more", "description": "", "schemas": schemas}).to_string();
    stack.request("POST", "/api/v1/event-type", &stack.token, body).await;
    let refused = stack.request("POST", "/api/v1/environment/export", &stack.token, "").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        refused.json(),
        json!({"code": "limit_reached", "detail": "An export has at most 5 MiB of event types."})
    );
}
