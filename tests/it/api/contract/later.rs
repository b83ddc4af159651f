//! Messages that are delivered later, or as something else than JSON; and lists of applications by how
//! their endpoints stand.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use shared::clock::Clock as _;

use crate::test_stack::{Ahead, Receiver, TestStack, settings};

const AHEAD: Duration = Duration::from_secs(3600);

struct Scene {
    stack: TestStack,
    clock: Arc<Ahead>,
    receiver: Receiver,
    app: String,
}

impl Scene {
    async fn set() -> Self {
        let clock = Arc::new(Ahead::default());
        let mut settings = settings();
        settings.platform.clock = clock.clone();
        let stack = TestStack::with(settings).await;
        let app = stack.app().await;
        Self { stack, clock, receiver: Receiver::start().await, app }
    }

    /// Posts a message that is due after an hour.
    async fn post(&self, also: Value) -> Value {
        let mut body =
            json!({"eventType": "a", "payload": {"n": 1}, "deliverAt": self.clock.now().after(AHEAD)});
        body.as_object_mut().unwrap().extend(also.as_object().unwrap().clone());
        let path = format!("/api/v1/app/{}/msg", self.app);
        let answer = self.stack.request("POST", &path, &self.stack.token, body.to_string()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        assert_eq!(answer.json()["deliverAt"], body["deliverAt"]);
        answer.json()
    }

    async fn get(&self, path: &str) -> Value {
        let path = format!("/api/v1/app/{}{path}", self.app);
        self.stack.request("GET", &path, &self.stack.token, "").await.json()
    }

    /// What arrives once `time` has passed.
    async fn after(&mut self, time: Duration) -> usize {
        self.clock.skip(time);
        self.stack.run_timers().await;
        self.stack.stack.wake();
        self.stack.idle().await;
        self.receiver.rest().len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_delivered_when_its_sender_wants_it() {
    let mut scene = Scene::set().await;
    let endpoint = scene.stack.endpoint(&scene.app, &scene.receiver.url("/")).await.id;
    let made = scene.post(json!({"eventId": "later"})).await;
    let id = made["id"].as_str().expect("an id");
    let destinations = scene.get(&format!("/msg/{id}/endpoint")).await;
    assert_eq!(destinations["data"][0]["nextAttempt"], made["deliverAt"]);
    assert_eq!(destinations["data"][0]["status"], 3);
    assert_eq!(scene.get("/msg/later").await["deliverAt"], made["deliverAt"]);
    assert_eq!(scene.after(Duration::from_secs(3000)).await, 0);
    // Whoever repeats the request does not hurry it.
    let again = json!({"eventType": "a", "payload": {}, "eventId": "later"}).to_string();
    let path = format!("/api/v1/app/{}/msg", scene.app);
    let conflict = scene.stack.request("POST", &path, &scene.stack.token, again).await;
    assert_eq!(conflict.status, StatusCode::CONFLICT);
    assert_eq!(scene.after(Duration::from_secs(60)).await, 0);
    // What is to come is not missing.
    let replay = format!("/api/v1/app/{}/endpoint/{endpoint}/replay-missing", scene.app);
    let since = json!({"since": scene.clock.now().before(AHEAD)}).to_string();
    let replayed = scene.stack.request("POST", &replay, &scene.stack.token, since).await;
    assert_eq!(replayed.status, StatusCode::ACCEPTED, "{}", replayed.text);
    assert_eq!(scene.after(Duration::from_secs(60)).await, 0);

    scene.clock.skip(Duration::from_secs(600));
    scene.stack.run_timers().await;
    scene.stack.stack.wake();
    let webhook = scene.receiver.next().await;
    assert_eq!((webhook.header("webhook-id"), &webhook.body[..]), (id, &br#"{"n":1}"#[..]));
    scene.stack.idle().await;
    assert_eq!(scene.after(AHEAD).await, 0);
    let attempts = scene.get(&format!("/attempt/msg/{id}")).await;
    assert_eq!(attempts["data"].as_array().expect("data").len(), 1);
    let destinations = scene.get(&format!("/msg/{id}/endpoint")).await;
    assert_eq!(
        (&destinations["data"][0]["status"], destinations["data"][0].get("nextAttempt")),
        (&json!(0), None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resend_in_vain_does_not_end_what_is_to_come() {
    let scene = Scene::set().await;
    let endpoint = scene.stack.endpoint(&scene.app, "http://127.0.0.1:9/").await.id;
    let made = scene.post(json!({})).await;
    let id = made["id"].as_str().expect("an id");
    let path = format!("/api/v1/app/{}/msg/{id}/endpoint/{endpoint}/resend", scene.app);
    let resent = scene.stack.request("POST", &path, &scene.stack.token, "").await;
    assert_eq!(resent.status, StatusCode::ACCEPTED, "{}", resent.text);
    scene.stack.idle().await;
    assert_eq!(scene.get(&format!("/attempt/msg/{id}")).await["data"].as_array().map(Vec::len), Some(1));
    let destinations = scene.get(&format!("/msg/{id}/endpoint")).await;
    let shown = &destinations["data"][0];
    assert_eq!((&shown["status"], &shown["nextAttempt"]), (&json!(3), &made["deliverAt"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stopped_meanwhile_is_not_delivered_later() {
    let mut scene = Scene::set().await;
    let kept = scene.stack.endpoint(&scene.app, &scene.receiver.url("/kept")).await.id;
    let deleted = scene.stack.endpoint(&scene.app, &scene.receiver.url("/deleted")).await.id;
    let expunged = scene.post(json!({})).await;
    let id = expunged["id"].as_str().expect("an id").to_owned();
    scene.stack.svix.message().expunge_content(scene.app.clone(), id).await.expect("it is expunged");
    let sent = scene.post(json!({})).await;
    scene.stack.svix.endpoint().delete(scene.app.clone(), deleted).await.expect("it is deleted");
    scene.clock.skip(AHEAD + Duration::from_secs(60));
    scene.stack.run_timers().await;
    scene.stack.stack.wake();
    let webhook = scene.receiver.next().await;
    assert_eq!(
        (webhook.path.as_str(), webhook.header("webhook-id")),
        ("/kept", sent["id"].as_str().unwrap())
    );
    scene.stack.idle().await;
    assert_eq!(scene.receiver.rest().len(), 0);
    scene.stack.svix.endpoint().get(scene.app.clone(), kept).await.expect("it is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fan_out_waits_too() {
    let mut scene = Scene::set().await;
    for nth in 0..55 {
        scene.stack.endpoint(&scene.app, &scene.receiver.url(&format!("/{nth}"))).await;
    }
    scene.post(json!({})).await;
    assert_eq!(scene.after(Duration::from_secs(3000)).await, 0);
    scene.clock.skip(Duration::from_secs(700));
    scene.stack.run_timers().await;
    scene.stack.stack.wake();
    for _ in 0..55 {
        scene.receiver.next().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_of_delivery_have_limits() {
    let scene = Scene::set().await;
    let path = format!("/api/v1/app/{}/msg", scene.app);
    for (seconds, also, status) in [
        (30, json!({}), 422),
        (60, json!({}), 202),
        (24 * 3600 - 60, json!({}), 202),
        (24 * 3600 + 60, json!({}), 422),
        (2 * 3600, json!({"payloadRetentionHours": 1}), 422),
    ] {
        let at = scene.clock.now().after(Duration::from_secs(seconds));
        let mut body = json!({"eventType": "a", "payload": {}, "deliverAt": at});
        body.as_object_mut().unwrap().extend(also.as_object().unwrap().clone());
        let answer = scene.stack.request("POST", &path, &scene.stack.token, body.to_string()).await;
        assert_eq!(answer.status.as_u16(), status, "{seconds} {also}: {}", answer.text);
        if status == 422 {
            assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", "deliverAt"]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_payload_has_its_own_type() {
    let stack = TestStack::start().await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await;
    let path = format!("/api/v1/app/{app}/msg");
    // A large one travels by the message, a small one by its job.
    for text in ["<x/>".to_owned(), "x".repeat(100_000)] {
        // What the SDKs' `messageInRaw` makes.
        let body = json!({
            "eventType": "a", "payload": {},
            "transformationsParams": {"rawPayload": text, "headers": {"content-type": "text/xml; charset=utf-8"}},
        });
        let made = stack.request("POST", &path, &stack.token, body.to_string()).await;
        assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.text);
        let webhook = receiver.next().await;
        webhook.verify(&endpoint.secret);
        let types: Vec<&[u8]> =
            webhook.headers.get_all("content-type").iter().map(|value| value.as_bytes()).collect();
        assert_eq!((&webhook.body[..], types), (text.as_bytes(), vec![&b"text/xml; charset=utf-8"[..]]));
        stack.idle().await;
        // And once more, by hand.
        let id = made.json()["id"].as_str().unwrap().to_owned();
        let resend = format!("{path}/{id}/endpoint/{}/resend", endpoint.id);
        stack.request("POST", &resend, &stack.token, "").await;
        assert_eq!(receiver.next().await.header("content-type"), "text/xml; charset=utf-8");
    }
    let body = r#"{"eventType":"a","payload":{},"transformationsParams":{"headers":{"x-own":"1"}}}"#;
    let refused = stack.request("POST", &path, &stack.token, body).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let loc = json!(["body", "transformationsParams", "headers", "x-own"]);
    assert_eq!(refused.json()["detail"][0]["loc"], loc);
}

#[tokio::test(flavor = "multi_thread")]
async fn applications_are_listed_by_how_their_endpoints_stand() {
    let stack = TestStack::start().await;
    let mut names = Vec::new();
    for endpoints in
        [vec![], vec![true], vec![true, true], vec![true, false], vec![false], vec![], vec![false]]
    {
        let app = stack.app().await;
        for disabled in &endpoints {
            let body = json!({"url": "http://127.0.0.1:9/", "disabled": disabled}).to_string();
            let made =
                stack.request("POST", &format!("/api/v1/app/{app}/endpoint"), &stack.token, body).await;
            assert_eq!(made.status, StatusCode::CREATED);
        }
        names.push((app, endpoints));
    }
    // Ids of the same four milliseconds are in no order.
    names.sort();
    let works = |endpoints: &[bool]| endpoints.iter().any(|disabled| !disabled);
    type Keeps<'a> = &'a dyn Fn(&[bool]) -> bool;
    let kinds: [(&str, Keeps<'_>); 4] = [
        ("exclude_apps_with_no_endpoints=true", &|endpoints| !endpoints.is_empty()),
        ("exclude_apps_with_disabled_endpoints=true", &|endpoints| endpoints.is_empty() || works(endpoints)),
        ("exclude_apps_with_no_endpoints=true&exclude_apps_with_disabled_endpoints=true", &works),
        ("exclude_apps_with_svix_play_endpoints=true", &|_| true),
    ];
    for (query, keeps) in kinds {
        let expected = names.iter().filter(|(_, endpoints)| keeps(endpoints)).map(|(app, _)| app.clone());
        let expected: Vec<String> = expected.collect();
        for limit in [1, 2, 50] {
            for order in ["ascending", "descending"] {
                let (mut found, mut iterator) = (Vec::new(), String::new());
                loop {
                    let path = format!("/api/v1/app?{query}&limit={limit}&order={order}{iterator}");
                    let page = stack.request("GET", &path, &stack.token, "").await.json();
                    let data = page["data"].as_array().expect("data");
                    found.extend(data.iter().map(|app| app["id"].as_str().unwrap().to_owned()));
                    if page["done"] == true {
                        break;
                    }
                    iterator = format!("&iterator={}", page["iterator"].as_str().unwrap());
                }
                if order == "descending" {
                    found.reverse();
                }
                assert_eq!(found, expected, "{query} {limit} {order}");
            }
        }
    }
}
