//! Bad input: each gets the contract's error, and nothing is changed by it.

use http::StatusCode;
use serde_json::json;
use svix::models::{ApplicationIn, EndpointIn, MessageIn};

use crate::test_stack::{Receiver, TestStack};

#[tokio::test(flavor = "multi_thread")]
async fn broken_rules_are_named_and_nothing_is_changed() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let long = "x".repeat(257);
    let huge = "x".repeat(4097);
    for (path, body, loc) in [
        ("/app", "{".to_owned(), "body"),
        ("/app", "[]".into(), "body"),
        ("/app", "{}".into(), "body.name"),
        ("/app", r#"{"name":""}"#.into(), "body.name"),
        ("/app", r#"{"name":7}"#.into(), "body.name"),
        ("/app", r#"{"name":"x","uid":"a b"}"#.into(), "body.uid"),
        ("/app", r#"{"name":"x","uid":"app_x"}"#.into(), "body.uid"),
        ("/app", format!(r#"{{"name":"x","uid":"{long}"}}"#), "body.uid"),
        ("/app", r#"{"name":"x","throttleRate":0}"#.into(), "body.rateLimit"),
        ("/app", r#"{"name":"x","rateLimit":65536}"#.into(), "body.rateLimit"),
        ("/app", format!(r#"{{"name":"x","metadata":{{"k":"{huge}"}}}}"#), "body.metadata"),
        ("/app", r#"{"name":"x","metadata":{"k":1}}"#.into(), "body.metadata"),
        ("/app", r#"{"name":"x","metadata":{"":"v"}}"#.into(), "body.metadata"),
        ("/event-type", r#"{"name":"a b","description":""}"#.into(), "body.name"),
        ("/event-type", r#"{"name":"a"}"#.into(), "body.description"),
        ("/event-type", r#"{"name":"a","description":"","schemas":{"1":1}}"#.into(), "body.schemas"),
        ("/app/APP/endpoint", "{}".into(), "body.url"),
        ("/app/APP/endpoint", r#"{"url":"no url"}"#.into(), "body.url"),
        ("/app/APP/endpoint", r#"{"url":"ftp://x/"}"#.into(), "body.url"),
        ("/app/APP/endpoint", r#"{"url":"http://x/","eventTypes":[]}"#.into(), "body.filterTypes"),
        ("/app/APP/endpoint", r#"{"url":"http://x/","eventTypes":["unknown"]}"#.into(), "body.filterTypes"),
        ("/app/APP/endpoint", r#"{"url":"http://x/","channels":["a b"]}"#.into(), "body.channels"),
        ("/app/APP/endpoint", r#"{"url":"http://x/","secret":"short"}"#.into(), "body.secret"),
        ("/app/APP/msg", "{}".into(), "body.eventType"),
        ("/app/APP/msg", r#"{"eventType":"a","payload":"text"}"#.into(), "body.payload"),
    ] {
        let path = format!("/api/v1{}", path.replace("APP", &app));
        let answer = stack.request("POST", &path, &stack.token, body.clone()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path} {body}: {}", answer.text);
        let answer = answer.json();
        let first = &answer["detail"][0];
        let found: Vec<_> =
            first["loc"].as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect();
        assert_eq!(found.join("."), loc, "{path} {body}");
        assert!(first["msg"].is_string() && first["type"].is_string());
    }
    assert_eq!(stack.svix.application().list(None).await.unwrap().data.len(), 1);
    assert_eq!(stack.svix.endpoint().list(app.clone(), None).await.unwrap().data.len(), 0);
    assert_eq!(stack.svix.message().list(app, None).await.unwrap().data.len(), 0);
    assert_eq!(stack.svix.event_type().list(None).await.unwrap().data.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_and_paths() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    for (path, status, code) in [
        ("/app?limit=x", 400, "bad_request"),
        ("/app?order=up", 400, "bad_request"),
        ("/app/APP/msg?with_content=maybe", 400, "bad_request"),
        ("/app/APP/msg?before=yesterday", 400, "bad_request"),
        ("/app?limit=251", 422, ""),
        ("/app?iterator=msg_23rb8YdGqMT0qIzpgGwdXfHirMu", 422, ""),
        ("/app/APP/endpoint?iterator=x", 422, ""),
        ("/app/APP/msg?iterator=ep_23rb8YdGqMT0qIzpgGwdXfHirMu", 422, ""),
        ("/app/APP/msg?after=2999-01-01T00:00:00Z", 422, ""),
        ("/app/app_23rb8YdGqMT0qIzpgGwdXfHirMu", 404, "not_found"),
        ("/app/app_nonsense", 404, "not_found"),
        ("/app/none", 404, "not_found"),
        ("/app/%00", 404, "not_found"),
        ("/app/APP/endpoint/ep_23rb8YdGqMT0qIzpgGwdXfHirMu", 404, "not_found"),
        ("/app/APP/msg/msg_23rb8YdGqMT0qIzpgGwdXfHirMu", 404, "not_found"),
        ("/app/APP/msg/of.no.event", 404, "not_found"),
        ("/app/APP/attempt/msg/msg_23rb8YdGqMT0qIzpgGwdXfHirMu", 404, "not_found"),
        ("/event-type/none", 404, "not_found"),
        ("/nothing/here", 404, "not_found"),
    ] {
        let path = format!("/api/v1{}", path.replace("APP", &app));
        let answer = stack.request("GET", &path, &stack.token, "").await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text);
        if !code.is_empty() {
            assert_eq!(answer.json()["code"], code, "{path}: {}", answer.text);
        }
    }
    for (token, status) in [("", 401), ("x.y.z", 401), ("a secret of the tests, long enough", 401)] {
        let answer = stack.request("GET", "/api/v1/app", token, "").await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["code"]),
            (status, &json!("authentication_failed"))
        );
    }
    for method in ["GET", "HEAD"] {
        assert_eq!(stack.request(method, "/api/v1/health", "", "").await.status, StatusCode::NO_CONTENT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_413_and_the_client_sees_it() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    for size in [1024 * 1024, 5 * 1024 * 1024] {
        let body = format!(r#"{{"eventType":"a","payload":{{"x":"{}"}}}}"#, "x".repeat(size));
        let answer = stack.request("POST", &format!("/api/v1/app/{app}/msg"), &stack.token, body).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (413, &json!("payload_too_large")));
    }
    assert_eq!(stack.svix.message().list(app, None).await.unwrap().data.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_used_once_and_so_is_an_event_id() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    stack.endpoint(&app, &receiver.url("/")).await;
    let path = format!("/api/v1/app/{app}/msg");
    let body = r#"{"eventType":"a","payload":{"n":1}}"#;
    let key = [("idempotency-key", "k-1")];

    // Twenty at the same time, then one later, then one with another body.
    let requests = (0..20).map(|_| stack.request_with("POST", &path, &stack.token, &key, body));
    let answers = futures_util::future::join_all(requests).await;
    stack.idle().await;
    let later = stack.request_with("POST", &path, &stack.token, &key, body).await;
    let other =
        stack.request_with("POST", &path, &stack.token, &key, r#"{"eventType":"b","payload":{}}"#).await;
    for answer in answers.iter().chain([&later, &other]) {
        assert_eq!((answer.status, &answer.text), (StatusCode::ACCEPTED, &answers[0].text));
    }
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 1);
    // Another key is another message; a failure keeps nothing.
    let again = [("idempotency-key", "k-2")];
    let failed = stack.request_with("POST", &path, &stack.token, &again, "{}").await;
    assert_eq!(failed.status, StatusCode::UNPROCESSABLE_ENTITY);
    let worked = stack.request_with("POST", &path, &stack.token, &again, body).await;
    assert_eq!(worked.status, StatusCode::ACCEPTED);
    assert_ne!(worked.text, later.text);

    let once = r#"{"eventType":"a","payload":{},"eventId":"order-7"}"#;
    let first = stack.request("POST", &path, &stack.token, once).await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    for _ in 0..2 {
        let second =
            stack.request_with("POST", &path, &stack.token, &[("idempotency-key", "k-3")], once).await;
        assert_eq!((second.status, &second.json()["code"]), (StatusCode::CONFLICT, &json!("conflict")));
    }
    let found = stack.request("GET", &format!("{path}/order-7"), &stack.token, "").await;
    assert_eq!(found.json()["id"], first.json()["id"]);
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_work_on_every_post() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    for (path, body) in [
        ("/app".to_owned(), r#"{"name":"x"}"#),
        ("/event-type".to_owned(), r#"{"name":"x.y","description":"z"}"#),
        (format!("/app/{app}/endpoint"), r#"{"url":"http://127.0.0.1:9/"}"#),
        (format!("/auth/app-portal-access/{app}"), "{}"),
    ] {
        let path = format!("/api/v1{path}");
        let key = [("idempotency-key", "one")];
        let requests = (0..5).map(|_| stack.request_with("POST", &path, &stack.token, &key, body));
        let answers = futures_util::future::join_all(requests).await;
        for answer in &answers {
            assert!(answer.status.is_success(), "{path}: {}", answer.text);
            assert_eq!((answer.status, &answer.text), (answers[0].status, &answers[0].text), "{path}");
        }
    }
    assert_eq!(stack.svix.application().list(None).await.unwrap().data.len(), 2);
    assert_eq!(stack.svix.endpoint().list(app, None).await.unwrap().data.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_changed_as_asked() {
    let stack = TestStack::start().await;
    let uid = |uid: &str| ApplicationIn { uid: Some(uid.into()), ..ApplicationIn::new(uid.into()) };
    let made = stack.svix.application().create(uid("one"), None).await.unwrap();
    let same = stack.svix.application().get_or_create(uid("one"), None).await.unwrap();
    assert_eq!(made.id, same.id);
    let Err(svix::error::Error::Http(conflict)) = stack.svix.application().create(uid("one"), None).await
    else {
        panic!("two applications have one uid")
    };
    assert_eq!(conflict.status.as_u16(), 409);
    // PATCH tells absent, null and a value apart; a freed uid can be had again.
    let path = format!("/api/v1/app/{}", made.id);
    let body = r#"{"metadata":{"k":"v"},"rateLimit":7}"#;
    let patched = stack.request("PATCH", &path, &stack.token, body).await.json();
    assert_eq!(
        (&patched["throttleRate"], &patched["uid"], &patched["metadata"]["k"]),
        (&json!(7), &json!("one"), &json!("v"))
    );
    let patched = stack.request("PATCH", &path, &stack.token, r#"{"uid":null,"name":"eins"}"#).await.json();
    assert_eq!(
        (patched.get("uid"), &patched["rateLimit"], &patched["name"]),
        (None, &json!(7), &json!("eins"))
    );
    // PUT makes what is not there, and replaces what is.
    let put = stack.request("PUT", "/api/v1/app/one", &stack.token, r#"{"name":"uno"}"#).await;
    assert_eq!((put.status, &put.json()["uid"]), (StatusCode::CREATED, &json!("one")));
    for body in [r#"{"name":"un","uid":"one"}"#, r#"{"name":"un"}"#, r#"{"name":"un"}"#] {
        let put = stack.request("PUT", "/api/v1/app/one", &stack.token, body).await;
        let (status, put) = (put.status, put.json());
        assert_eq!((status, &put["name"], &put["uid"]), (StatusCode::OK, &json!("un"), &json!("one")));
    }

    let app = made.id;
    let endpoint = EndpointIn { uid: Some("main".into()), ..EndpointIn::new("http://127.0.0.1:9/a".into()) };
    let endpoint = stack.svix.endpoint().create(app.clone(), endpoint, None).await.unwrap();
    let path = format!("/api/v1/app/{app}/endpoint/main");
    let patched =
        stack.request("PATCH", &path, &stack.token, r#"{"disabled":true,"channels":["x"]}"#).await.json();
    assert_eq!(
        (&patched["id"], &patched["disabled"], &patched["url"]),
        (&json!(endpoint.id), &json!(true), &json!("http://127.0.0.1:9/a"))
    );
    // What names it keeps it, however often it is asked for; what is left out is gone.
    let whole = r#"{"url":"http://127.0.0.1:9/b"}"#;
    for _ in 0..2 {
        let put = stack.request("PUT", &path, &stack.token, whole).await;
        let (status, put) = (put.status, put.json());
        assert_eq!((status, &put["id"], &put["uid"]), (StatusCode::OK, &json!(endpoint.id), &json!("main")));
        assert_eq!((put.get("channels"), &put["disabled"]), (None, &json!(false)));
    }
    let by_id = format!("/api/v1/app/{app}/endpoint/{}", endpoint.id);
    let put = stack.request("PUT", &by_id, &stack.token, whole).await.json();
    assert_eq!(put.get("uid"), None);
    stack.svix.endpoint().delete(app.clone(), endpoint.id.clone()).await.unwrap();
    assert!(stack.svix.endpoint().get(app.clone(), endpoint.id).await.is_err());
    stack.svix.application().delete(app.clone()).await.unwrap();
    assert!(stack.svix.application().get(app).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_obeys_the_change_before_it() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let mut endpoint = stack.endpoint(&app, &receiver.url("/0")).await.id;
    for round in 1..=5 {
        stack.message(&app, MessageIn::new("a".into(), json!({"round": round}))).await;
        let webhook = receiver.next().await;
        assert_eq!(
            (webhook.path, webhook.body),
            (format!("/{}", round - 1), format!("{{\"round\":{round}}}").into())
        );
        stack.svix.endpoint().delete(app.clone(), endpoint).await.unwrap();
        endpoint = stack.endpoint(&app, &receiver.url(&format!("/{round}"))).await.id;
    }
    stack.idle().await;
    assert_eq!(receiver.rest().len(), 0);
}
