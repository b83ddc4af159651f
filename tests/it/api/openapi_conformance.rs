//! What the OpenAPI document says of each operation is what happens: asked without a token, with the
//! wrong one, with nonsense in every parameter and in every field of a body.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Map, Value, json};
use svix::models::{EndpointIn, MessageIn};

use crate::test_stack::{Answer, Receiver, TestStack};

/// An operation of the served document.
struct Operation {
    method: String,
    path: String,
    said: Value,
}

/// A stack with one of everything that paths name.
struct Fixture {
    stack: TestStack,
    document: Value,
    names: Vec<(&'static str, String)>,
    /// An operational webhook endpoint.
    told: String,
    app_token: String,
}

impl Fixture {
    async fn start() -> Self {
        let stack = TestStack::start().await;
        let mut receiver = Receiver::start().await;
        let app = stack.app().await;
        let endpoint = EndpointIn { uid: Some("receiver".into()), ..EndpointIn::new(receiver.url("/")) };
        stack.endpoint_with(&app, endpoint).await;
        stack.event_type("thing.made").await;
        let message = stack.message(&app, MessageIn::new("thing.made".into(), json!({}))).await;
        receiver.next().await;
        stack.idle().await;
        let attempt = stack.attempts(&app, &message).await.remove(0).id;
        let recover = json!({ "since": stack.stack.platform().clock.now().to_string() }).to_string();
        let path = format!("/api/v1/app/{app}/endpoint/receiver/recover");
        let task = stack.request("POST", &path, &stack.token, recover).await.json();
        let document = stack.request("GET", "/api/v1/openapi.json", "", "").await;
        assert_eq!(document.status, StatusCode::OK);
        let app_token = stack.stack.app_token(None, app.parse().expect("an id"));
        let polled = stack.polling_endpoint(&app, Value::Null).await;
        let integration = format!("/api/v1/app/{app}/integration");
        let integration = stack.request("POST", &integration, &stack.token, r#"{"name":"i"}"#).await.json();
        let connector = r#"{"name":"c","transformation":"const handler = (w) => w"}"#;
        let connector = stack.request("POST", "/api/v1/connector", &stack.token, connector).await.json();
        let names = vec![
            ("connector_id", connector["id"].as_str().expect("an id").to_owned()),
            ("integ_id", integration["id"].as_str().expect("an id").to_owned()),
            ("app_id", app),
            ("endpoint_id", "receiver".to_owned()),
            ("sink_id", polled),
            ("consumer_id", "c".to_owned()),
            ("msg_id", message),
            ("attempt_id", attempt),
            ("event_type_name", "thing.made".to_owned()),
            ("task_id", task["id"].as_str().expect("an id").to_owned()),
        ];
        let told = json!({ "url": receiver.url("/"), "disabled": true }).to_string();
        let told =
            stack.request("POST", "/api/v1/operational-webhook/endpoint", &stack.token, told).await.json();
        let told = told["id"].as_str().expect("an id").to_owned();
        Self { stack, document: document.json(), names, told, app_token }
    }

    fn operations(&self) -> Vec<Operation> {
        let mut operations = Vec::new();
        for (path, methods) in self.document["paths"].as_object().expect("paths") {
            for (method, said) in methods.as_object().expect("methods") {
                // By its id: an example may replace its uid.
                let own =
                    if path.contains("/operational-webhook/") { self.told.as_str() } else { "{endpoint_id}" };
                let path = path.replace("{endpoint_id}", own);
                let path = self
                    .names
                    .iter()
                    .fold(path, |path, (name, value)| path.replace(&format!("{{{name}}}"), value));
                assert!(!path.contains('{'), "{path} names what this stack does not have");
                operations.push(Operation { method: method.to_uppercase(), path, said: said.clone() });
            }
        }
        assert!(operations.len() > 50);
        operations
    }

    async fn ask(&self, operation: &Operation, query: &str, token: &str, body: &Value) -> Answer {
        let path = format!("{}{query}", operation.path);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.stack.request(&operation.method, &path, token, body).await
    }

    fn schema<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => self.document.pointer(&reference[1..]).expect("a schema"),
            None => schema,
        }
    }

    /// The schema of an operation's body.
    fn body(&self, operation: &Operation) -> Option<&Value> {
        let reference =
            operation.said["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str()?;
        self.document.pointer(&reference[1..])
    }
}

fn security(operation: &Operation) -> Vec<&str> {
    let kinds = operation.said["security"].as_array().expect("security");
    kinds.iter().flat_map(|kind| kind.as_object().expect("a kind").keys()).map(String::as_str).collect()
}

/// The places that a 422 names, of rules of that kind if one is given.
fn places(answer: &Answer, kind: Option<&str>) -> BTreeSet<String> {
    let detail = answer.json()["detail"].as_array().cloned().unwrap_or_default();
    let named = detail.iter().filter(|violation| kind.is_none_or(|kind| violation["type"] == kind));
    named
        .map(|violation| {
            let loc = violation["loc"].as_array().expect("a place");
            loc.iter().map(|part| part.as_str().expect("text")).collect::<Vec<_>>().join(".")
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_call_is_refused() {
    let fixture = Fixture::start().await;
    for operation in fixture.operations() {
        let (method, path, kinds) = (&operation.method, &operation.path, security(&operation));
        let nobody = fixture.ask(&operation, "", "", &Value::Null).await.status;
        assert_eq!(nobody == StatusCode::UNAUTHORIZED, !kinds.is_empty(), "{method} {path}: {nobody}");
        if !kinds.contains(&"application") {
            let status = fixture.ask(&operation, "", &fixture.app_token, &json!([])).await.status;
            assert_eq!(status == StatusCode::FORBIDDEN, !kinds.is_empty(), "{method} {path}: {status}");
        }
        if !kinds.is_empty() && !kinds.contains(&"organisation") {
            let status = fixture.ask(&operation, "", &fixture.stack.token, &Value::Null).await.status;
            assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}");
        }
    }
    // Those that an application may call. Deleting comes late, and logging out last.
    let mut operations = fixture.operations();
    operations.retain(|operation| security(operation).contains(&"application"));
    operations.sort_by_key(|operation| (operation.path.ends_with("/logout"), operation.method == "DELETE"));
    assert!(operations.len() > 20);
    for operation in operations {
        // A body that is none: whoever is let in is told so.
        let body = if operation.said["requestBody"].is_null() { Value::Null } else { json!([]) };
        let answer = fixture.ask(&operation, "", &fixture.app_token, &body).await;
        let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&answer.status);
        assert!(!refused, "{} {}: {}", operation.method, operation.path, answer.text);
    }
}

/// INV-39
#[tokio::test(flavor = "multi_thread")]
async fn every_parameter_that_is_described_is_read() {
    let fixture = Fixture::start().await;
    let token = &fixture.stack.token;
    let mut read = 0;
    for operation in fixture.operations() {
        let (method, path) = (&operation.method, &operation.path);
        let parameters = operation.said["parameters"].as_array().expect("parameters");
        let queries: Vec<&str> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().expect("a name"))
            .collect();
        // Only endpoints that are polled have a key, and only ordered ones a place.
        let others = ["/docs", "/poller/token", "/order"];
        if method == "GET" && !others.iter().any(|end| path.ends_with(end)) {
            let answer = fixture.ask(&operation, "", token, &Value::Null).await;
            assert!(answer.status.is_success(), "{path}: {}", answer.text);
        }
        for name in queries {
            // What is wrong with a query is said before anything of the body is.
            let query = format!("?{name}=%01");
            let body = json!({ "name": "x", "eventType": "thing.made", "payload": {} });
            let answer = fixture.ask(&operation, &query, token, &body).await;
            let names_it = match answer.status.as_u16() {
                400 => answer.text.contains(&format!("`{name}`")),
                422 => places(&answer, None).contains(&format!("query.{name}")),
                404 => name.ends_with("_id") || name.ends_with("Id"),
                _ => false,
            };
            assert!(names_it, "{method} {path}{query}: {} {}", answer.status, answer.text);
            read += 1;
        }
    }
    assert!(read > 60, "{read}");
}

/// INV-39
#[tokio::test(flavor = "multi_thread")]
async fn every_field_that_is_described_is_read_and_required_where_it_says_so() {
    let fixture = Fixture::start().await;
    let token = &fixture.stack.token;
    let mut read = 0;
    for operation in fixture.operations() {
        let Some(body) = fixture.body(&operation) else { continue };
        let at = format!("{} {}", operation.method, operation.path);
        let mut wrong = Map::new();
        for (name, field) in body["properties"].as_object().expect("fields") {
            let field = fixture.schema(field["allOf"].get(0).unwrap_or(field));
            let value = match field["type"].as_str() {
                Some("string" | "array" | "object") => json!(true),
                Some("boolean" | "integer") => json!("x"),
                other => panic!("{at}: {name} is of type {other:?}"),
            };
            wrong.insert(name.clone(), value);
        }
        // One at a time: of two spellings only the first counts.
        for (name, value) in &wrong {
            let answer = fixture.ask(&operation, "", token, &json!({ name: value })).await;
            let found = places(&answer, Some("type_error"));
            assert!(
                found.contains(&format!("body.{name}")),
                "{at} {name}: {} {}",
                answer.status,
                answer.text
            );
            read += 1;
        }
        let required = body["required"].as_array().cloned().unwrap_or_default();
        let required: BTreeSet<String> =
            required.iter().map(|name| format!("body.{}", name.as_str().expect("a name"))).collect();
        if !required.is_empty() {
            let answer = fixture.ask(&operation, "", token, &json!({})).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{at}: {}", answer.text);
            assert_eq!(places(&answer, Some("missing")), required, "{at}");
        }
    }
    assert!(read > 80, "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_and_its_page_are_served_to_everybody() {
    let stack = TestStack::start().await;
    for path in ["/api/v1/openapi.json", "/api/v1/openapi.json/", "/docs", "/docs/"] {
        let answer = stack.request("GET", path, "", "").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        let tag = answer.headers["etag"].to_str().expect("a tag").to_owned();
        let again = stack.request_with("GET", path, "", &[("if-none-match", &tag)], "").await;
        assert_eq!((again.status, again.text.as_str()), (StatusCode::NOT_MODIFIED, ""), "{path}");
    }
    let served = stack.request("GET", "/api/v1/openapi.json", "", "").await;
    assert_eq!(served.text, include_str!("../../../docs/openapi.json"));
    assert_eq!(served.headers["content-type"], "application/json");
    let page = stack.request("GET", "/docs", "", "").await;
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
}

/// What a schema asks of an example, as far as our schemas go: types, fields, lists, choices, lengths.
fn misfits(document: &Value, schema: &Value, example: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        return misfits(document, document.pointer(&reference[1..]).expect("a schema"), example, at, found);
    }
    if example.is_null() && schema["nullable"] == true {
        return;
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        misfits(document, part, example, at, found);
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(example)
    {
        found.push(format!("{at}: {example} is none of {choices:?}"));
    }
    let fits = match schema["type"].as_str() {
        Some("object") => example.is_object(),
        Some("array") => example.is_array(),
        Some("string") => example.is_string(),
        Some("integer") => example.is_i64(),
        Some("boolean") => example.is_boolean(),
        _ => true,
    };
    if !fits {
        found.push(format!("{at}: {example} is no {}", schema["type"]));
    }
    let length = example.as_str().map(|text| text.chars().count() as u64);
    let bounds =
        (schema["minLength"].as_u64().unwrap_or(0), schema["maxLength"].as_u64().unwrap_or(u64::MAX));
    if length.is_some_and(|length| length < bounds.0 || length > bounds.1) {
        found.push(format!("{at}: {example} is too short or too long"));
    }
    for (nth, item) in example.as_array().into_iter().flatten().enumerate() {
        let items = schema["items"].get(nth).unwrap_or(&schema["items"]);
        misfits(document, items, item, &format!("{at}.{nth}"), found);
    }
    let (Some(fields), Some(properties)) = (example.as_object(), schema["properties"].as_object()) else {
        return;
    };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            found.push(format!("{at}: {name} is missing"));
        }
    }
    for (name, value) in fields {
        match properties.get(name) {
            Some(property) => misfits(document, property, value, &format!("{at}.{name}"), found),
            None => found.push(format!("{at}: there is no {name}")),
        }
    }
}

#[test]
fn every_example_fits_its_schema() {
    let document: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).expect("JSON");
    let examples: Map<String, Value> =
        serde_json::from_str(include_str!("../../../shared/http/src/openapi/examples.json")).expect("JSON");
    let mut found = Vec::new();
    for (name, example) in &examples {
        let schema = &document["components"]["schemas"][name];
        assert_eq!(schema["example"], *example, "{name}");
        misfits(&document, schema, example, name, &mut found);
    }
    assert!(found.is_empty(), "{found:#?}");
    // Each body, and each response that is no part of another.
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let responses = operation["responses"].as_object().expect("responses").values();
            for content in responses.chain([&operation["requestBody"]]) {
                let reference = content["content"]["application/json"]["schema"]["$ref"].as_str();
                let name = reference.and_then(|reference| reference.rsplit('/').next()).unwrap_or("EmptyOut");
                assert!(
                    name == "EmptyOut" || examples.contains_key(name),
                    "{method} {path}: no example of {name}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_a_body_is_accepted() {
    let mut fixture = Fixture::start().await;
    // By its id: an example may replace its uid.
    let get = fixture.operations().into_iter().find(|one| one.said["operationId"] == "v1.endpoint.get");
    let endpoint = fixture.ask(&get.expect("an operation"), "", &fixture.stack.token, &Value::Null).await;
    let id = endpoint.json()["id"].as_str().expect("an id").to_owned();
    for (_, value) in fixture.names.iter_mut().filter(|(name, _)| *name == "endpoint_id") {
        value.clone_from(&id);
    }
    // The event type that examples name, with an example of its own.
    let types =
        fixture.operations().into_iter().find(|one| one.said["operationId"] == "v1.event-type.create");
    let types = types.expect("an operation");
    let example = fixture.body(&types).expect("a body")["example"].clone();
    assert_eq!(fixture.ask(&types, "", &fixture.stack.token, &example).await.status, StatusCode::CREATED);
    let mut accepted = 0;
    for operation in fixture.operations() {
        let Some(body) = fixture.body(&operation) else { continue };
        let mut example = body["example"].clone();
        // Messages are counted for as long as they are kept, which is over for the dates of examples.
        if operation.path.ends_with("/stats/usage/app") {
            let now = fixture.stack.stack.platform().clock.now().to_string();
            (example["since"], example["until"]) = (json!(now), json!(now));
        }
        let answer = fixture.ask(&operation, "", &fixture.stack.token, &example).await;
        // Of a one-time token there is no second one; the others are there already, or locked by an earlier task.
        let allowed = match operation.said["operationId"].as_str().expect("an id") {
            "v1.authentication.exchange-one-time-token" => [StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND],
            _ => [StatusCode::CONFLICT; 2],
        };
        let status = answer.status;
        assert!(
            status.is_success() || allowed.contains(&status),
            "{} {}: {status} {}",
            operation.method,
            operation.path,
            answer.text
        );
        accepted += 1;
    }
    assert!(accepted > 20, "{accepted}");
}
