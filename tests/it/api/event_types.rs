//! Event types: made, replaced, patched, archived, brought back, removed, hidden.

use http::StatusCode;
use serde_json::{Value, json};
use svix::api::{EventTypeDeleteOptions, EventTypeListOptions};
use svix::models::{ApplicationIn, EventTypeIn, EventTypePatch, EventTypeUpsertIn, Ordering};

use crate::test_stack::{TestStack, sdk};

const PATH: &str = "/api/v1/event-type";

async fn names(stack: &TestStack, query: &str) -> Vec<String> {
    let list = stack.request("GET", &format!("{PATH}{query}"), &stack.token, "").await.json();
    let names = list["data"].as_array().expect("a list").iter().map(|entry| entry["name"].as_str().unwrap());
    names.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn put_makes_or_replaces_and_patch_changes_what_it_names() {
    let stack = TestStack::start().await;
    let path = format!("{PATH}/invoice.paid");
    let schema = json!({"1": {"title": "Invoice", "type": "object"}});

    let put =
        stack.request("PUT", &path, &stack.token, r#"{"description":"one","featureFlag":"beta"}"#).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text);
    let made = put.json();
    assert_eq!(made["featureFlag"], "beta");
    let sent = EventTypeUpsertIn { schemas: Some(schema.clone()), ..EventTypeUpsertIn::new("two".into()) };
    let replaced = stack.svix.event_type().upsert("invoice.paid".into(), sent).await.unwrap();
    assert_eq!((replaced.description.as_str(), replaced.schemas), ("two", Some(schema.clone())));
    assert_eq!(replaced.feature_flags.unwrap_or_default().len(), 0);
    assert_eq!(json!(replaced.created_at), made["createdAt"]);
    assert_eq!(
        stack.request("PUT", &path, &stack.token, r#"{"description":"two"}"#).await.status,
        StatusCode::OK
    );

    // Absent, null and a value are three things.
    let patch = async |body: Value| {
        let answer = stack.request("PATCH", &path, &stack.token, body.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    };
    patch(json!({"schemas": schema, "featureFlags": ["a", "b"], "groupName": "invoice"})).await;
    let patched = patch(json!({"deprecated": true})).await;
    assert_eq!((&patched["description"], &patched["deprecated"]), (&json!("two"), &json!(true)));
    assert_eq!((&patched["schemas"], &patched["featureFlags"]), (&schema, &json!(["a", "b"])));
    assert_eq!((&patched["featureFlag"], &patched["groupName"]), (&json!("a"), &json!("invoice")));
    let patched = patch(json!({"schemas": null, "featureFlag": null, "groupName": null})).await;
    for name in ["schemas", "featureFlag", "featureFlags", "groupName"] {
        assert_eq!(patched.get(name), None, "{name}");
    }
    let through_the_sdk = EventTypePatch { description: Some("three".into()), ..EventTypePatch::new() };
    let patched = stack.svix.event_type().patch("invoice.paid".into(), through_the_sdk).await.unwrap();
    assert_eq!((patched.description.as_str(), patched.deprecated), ("three", true));
    assert_eq!(patched, stack.svix.event_type().get("invoice.paid".into()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn archived_ones_are_hidden_and_come_back() {
    let stack = TestStack::start().await;
    for name in ["a.one", "b.two", "c.three"] {
        stack.event_type(name).await;
    }
    stack.svix.event_type().delete("b.two".into(), None).await.unwrap();
    // Again: it is what was asked for.
    stack.svix.event_type().delete("b.two".into(), None).await.unwrap();
    assert_eq!(names(&stack, "").await, ["a.one", "c.three"]);
    assert_eq!(names(&stack, "?include_archived=true").await, ["a.one", "b.two", "c.three"]);
    assert_eq!(stack.svix.event_type().get("b.two".into()).await.unwrap().archived, Some(true));

    // In both orders, across pages, the archived one is not counted.
    let options = |iterator, order| EventTypeListOptions {
        limit: Some(1),
        order: Some(order),
        iterator,
        with_content: Some(false),
        ..EventTypeListOptions::default()
    };
    for (order, wanted) in
        [(Ordering::Ascending, ["a.one", "c.three"]), (Ordering::Descending, ["c.three", "a.one"])]
    {
        let first = stack.svix.event_type().list(Some(options(None, order))).await.unwrap();
        assert!(!first.done);
        let second =
            stack.svix.event_type().list(Some(options(first.iterator.clone(), order))).await.unwrap();
        assert_eq!([&first.data[0].name, &second.data[0].name], wanted);
    }

    // Creating it again brings it back; a living one is in the way.
    let again = EventTypeIn { description: "back".into(), ..EventTypeIn::new("b.two".into(), String::new()) };
    let back = stack.svix.event_type().create(again.clone(), None).await.unwrap();
    assert_eq!((back.description.as_str(), back.archived), ("back", Some(false)));
    let Err(svix::error::Error::Http(error)) = stack.svix.event_type().create(again, None).await else {
        panic!("two event types have one name")
    };
    assert_eq!(error.status.as_u16(), 409);
    assert_eq!(names(&stack, "").await, ["a.one", "b.two", "c.three"]);

    // Expunged, it is gone, and PUT makes a new one.
    let expunge = EventTypeDeleteOptions { expunge: Some(true) };
    stack.svix.event_type().delete("b.two".into(), Some(expunge)).await.unwrap();
    assert_eq!(names(&stack, "?include_archived=true").await, ["a.one", "c.three"]);
    for (method, body) in [("GET", ""), ("PATCH", "{}"), ("DELETE", "")] {
        let answer = stack.request(method, &format!("{PATH}/b.two"), &stack.token, body).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_leave_schemas_out_unless_asked() {
    let stack = TestStack::start().await;
    let schemas = json!({"1": {"title": "x"}});
    let made = EventTypeIn { schemas: Some(schemas.clone()), ..EventTypeIn::new("a".into(), String::new()) };
    stack.svix.event_type().create(made, None).await.unwrap();
    for (query, wanted) in [("", None), ("?with_content=false", None), ("?with_content=true", Some(&schemas))]
    {
        let list = stack.request("GET", &format!("{PATH}{query}"), &stack.token, "").await.json();
        assert_eq!(list["data"][0].get("schemas"), wanted, "{query}");
    }
    let one = stack.request("GET", &format!("{PATH}/a"), &stack.token, "").await.json();
    assert_eq!(one["schemas"], schemas);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_hides_it_from_customers_without_the_flag() {
    let stack = TestStack::start().await;
    stack
        .svix
        .application()
        .create(ApplicationIn { uid: Some("acme".into()), ..ApplicationIn::new("Acme".into()) }, None)
        .await
        .unwrap();
    stack.event_type("open").await;
    let flagged = r#"{"name":"flagged","description":"","featureFlags":["beta","gamma"]}"#;
    assert_eq!(stack.request("POST", PATH, &stack.token, flagged).await.status, StatusCode::CREATED);
    let token = async |flags: Value| {
        let body = json!({"featureFlags": flags}).to_string();
        let answer = stack.request("POST", "/api/v1/auth/app-portal-access/acme", &stack.token, body).await;
        answer.json()["token"].as_str().expect("a token").to_owned()
    };
    let (without, with) = (token(json!([])).await, token(json!(["gamma"])).await);
    for (token, seen) in
        [(&without, vec!["open"]), (&with, vec!["flagged", "open"]), (&stack.token, vec!["flagged", "open"])]
    {
        let list = sdk(stack.stack.address(), token).event_type().list(None).await.unwrap();
        assert_eq!(list.data.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), seen);
        let status = stack.request("GET", &format!("{PATH}/flagged"), token, "").await.status;
        assert_eq!(status, if seen.len() == 2 { StatusCode::OK } else { StatusCode::NOT_FOUND });
    }
    // Nor can it be named by an endpoint of theirs.
    let endpoint = r#"{"url":"http://127.0.0.1:9/","eventTypes":["flagged"]}"#;
    let refused = stack.request("POST", "/api/v1/app/acme/endpoint", &without, endpoint).await;
    assert_eq!(refused.json()["detail"][0]["loc"], json!(["body", "filterTypes"]));
    let made = stack.request("POST", "/api/v1/app/acme/endpoint", &with, endpoint).await;
    assert_eq!(made.status, StatusCode::CREATED);
    // Customers read; they change nothing.
    for (method, path, body) in [
        ("POST", PATH.to_owned(), r#"{"name":"mine","description":""}"#),
        ("PUT", format!("{PATH}/open"), r#"{"description":"mine"}"#),
        ("PATCH", format!("{PATH}/open"), r#"{"description":"mine"}"#),
        ("DELETE", format!("{PATH}/open"), ""),
        ("DELETE", format!("{PATH}/open?expunge=true"), ""),
    ] {
        let answer = stack.request(method, &path, &with, body).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (StatusCode::FORBIDDEN, &json!("insufficient_access"))
        );
    }
    assert_eq!(stack.svix.event_type().get("open".into()).await.unwrap().description, "of a test");
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_rules_are_named_and_nothing_is_changed() {
    let stack = TestStack::start().await;
    stack.event_type("known").await;
    let before = stack.request("GET", &format!("{PATH}/known"), &stack.token, "").await.text;
    let long = "x".repeat(4097);
    let huge = format!(r#"{{"description":"","schemas":{{"1":{{"x":"{}"}}}}}}"#, "x".repeat(256 * 1024));
    for (method, name, body, loc, msg) in [
        ("PUT", "known", "{}".to_owned(), "body.description", "Field required"),
        ("PUT", "known", r#"{"description":null}"#.into(), "body.description", "Field required"),
        (
            "PUT",
            "known",
            format!(r#"{{"description":"{long}"}}"#),
            "body.description",
            "Must have at most 4096 bytes",
        ),
        (
            "PUT",
            "known",
            r#"{"description":"","schemas":{"1":"text"}}"#.into(),
            "body.schemas",
            "Invalid type",
        ),
        ("PUT", "known", r#"{"description":"","schemas":[]}"#.into(), "body.schemas", "Invalid type"),
        ("PUT", "known", huge, "body.schemas", "Must have at most 262144 bytes"),
        (
            "PUT",
            "known",
            r#"{"description":"","featureFlag":"a b"}"#.into(),
            "body.featureFlag",
            "String must match",
        ),
        (
            "PUT",
            "known",
            r#"{"description":"","featureFlags":["a","a"]}"#.into(),
            "body.featureFlags",
            "Entries must not repeat",
        ),
        (
            "PUT",
            "known",
            r#"{"description":"","featureFlags":[]}"#.into(),
            "body.featureFlags",
            "Must have between 1 and 32",
        ),
        (
            "PUT",
            "known",
            r#"{"description":"","groupName":""}"#.into(),
            "body.groupName",
            "String must match",
        ),
        ("PUT", "a%20b", r#"{"description":""}"#.into(), "path.event_type_name", "String must match"),
        ("PATCH", "known", r#"{"description":null}"#.into(), "body.description", "Must not be null"),
        ("PATCH", "known", r#"{"archived":null}"#.into(), "body.archived", "Must not be null"),
        ("PATCH", "known", r#"{"deprecated":"yes"}"#.into(), "body.deprecated", "Invalid type"),
        ("PATCH", "known", "[]".into(), "body", "A JSON object is expected"),
    ] {
        let answer = stack.request(method, &format!("{PATH}/{name}"), &stack.token, body.clone()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{method} {body}: {}", answer.text);
        let detail = &answer.json()["detail"][0];
        let found: Vec<_> =
            detail["loc"].as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect();
        assert_eq!(found.join("."), loc, "{method} {body}");
        assert!(detail["msg"].as_str().unwrap().starts_with(msg), "{method} {body}: {detail}");
    }
    for (query, status) in [
        ("?expunge=maybe", 400),
        ("?include_archived=maybe", 400),
        ("?iterator=a%20b", 422),
        ("?limit=0", 422),
    ] {
        let (method, path) = match query {
            "?expunge=maybe" => ("DELETE", format!("{PATH}/known{query}")),
            _ => ("GET", format!("{PATH}{query}")),
        };
        assert_eq!(stack.request(method, &path, &stack.token, "").await.status.as_u16(), status, "{query}");
    }
    assert_eq!(stack.request("GET", &format!("{PATH}/known"), &stack.token, "").await.text, before);
    assert_eq!(names(&stack, "?include_archived=true").await, ["known"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_openapi_document_is_shown_imported_once_and_replaces_what_it_lacks() {
    let stack = TestStack::start().await;
    let import = async |body: Value| {
        stack.request("POST", "/api/v1/event-type/import/openapi", &stack.token, body.to_string()).await
    };
    stack.event_type("old.one").await;
    stack.event_type("pet.gone").await;
    stack.request("DELETE", &format!("{PATH}/pet.gone"), &stack.token, "").await;
    let spec = "\
openapi: 3.1.0
webhooks:
  pet.new:
    post:
      description: A pet was born
      x-svix-group-name: pets
      requestBody:
        content:
          application/json:
            schema: { $ref: '#/components/schemas/Pet' }
  pet.gone: { post: { summary: A pet is gone } }
components:
  schemas:
    Pet: { type: object, properties: { mother: { $ref: '#/components/schemas/Pet' } } }
";
    let would = import(json!({"specRaw": spec, "dryRun": true, "replaceAll": true})).await;
    assert_eq!(would.status, StatusCode::OK, "{}", would.text);
    let would = would.json();
    assert_eq!(would["data"]["modified"], json!(["old.one", "pet.gone", "pet.new"]));
    let [old, back, new] = [0, 1, 2].map(|nth| &would["data"]["to_modify"][nth]);
    assert_eq!(
        (&old["archived"], &back["created"], &new["created"]),
        (&json!(true), &json!(false), &json!(true))
    );
    assert_eq!(names(&stack, "").await, ["old.one"], "a dry run changes nothing");

    let done = import(json!({"specRaw": spec})).await.json();
    assert_eq!(done, json!({"data": {"modified": ["pet.gone", "pet.new"]}}));
    assert_eq!(names(&stack, "").await, ["old.one", "pet.gone", "pet.new"]);
    let new = stack.request("GET", &format!("{PATH}/pet.new"), &stack.token, "").await.json();
    assert_eq!((&new["description"], &new["groupName"]), (&json!("A pet was born"), &json!("pets")));
    let schema = &new["schemas"]["1"];
    assert_eq!(schema["properties"]["mother"], json!({"$ref": "#/$defs/Pet"}));
    assert_eq!(schema["$defs"]["Pet"]["type"], json!("object"));
    // The same again changes nothing; with `replaceAll`, what is not there is archived.
    assert_eq!(import(json!({"specRaw": spec})).await.json()["data"]["modified"], json!([]));
    let all = import(json!({"specRaw": spec, "replaceAll": true})).await.json();
    assert_eq!(all["data"]["modified"], json!(["old.one"]));
    assert_eq!(names(&stack, "").await, ["pet.gone", "pet.new"]);

    // A key is for what is changed: a dry run with the same one is not what the import answers.
    let keyed = async |body: Value| {
        let headers = [("idempotency-key", "one")];
        let path = "/api/v1/event-type/import/openapi";
        stack.request_with("POST", path, &stack.token, &headers, body.to_string()).await.json()
    };
    let spec = json!({"openapi": "3.1.0", "webhooks": {"pet.found": {"post": {}}}});
    let would = keyed(json!({"spec": spec, "dryRun": true})).await;
    assert_eq!(would["data"]["to_modify"][0]["name"], json!("pet.found"));
    for _ in 0..2 {
        let done = keyed(json!({"spec": spec})).await;
        assert_eq!(done, json!({"data": {"modified": ["pet.found"]}}));
    }

    for (body, status, text) in [
        (json!({}), 400, "Send either spec or specRaw."),
        (json!({"spec": {}, "specRaw": ""}), 400, "Send either spec or specRaw."),
        (json!({"spec": {"openapi": "3.1.0"}}), 422, "at least one webhook"),
        (json!({"specRaw": "a: &a [1]\nb: *a"}), 422, "Line 2: aliases"),
        (json!({"spec": []}), 422, "expected a map"),
    ] {
        let answer = import(body.clone()).await;
        assert!(answer.status == status && answer.text.contains(text), "{body}: {}", answer.text);
    }
    let access = format!("/api/v1/auth/app-portal-access/{}", stack.app().await);
    let access = stack.request("POST", &access, &stack.token, "{}").await.json();
    let customer = access["token"].as_str().unwrap();
    let refused = stack.request(
        "POST",
        "/api/v1/event-type/import/openapi",
        customer,
        json!({"specRaw": spec}).to_string(),
    );
    assert_eq!(refused.await.status, StatusCode::FORBIDDEN);
}
