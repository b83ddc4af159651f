//! Webhooks of several messages: what they look like, when they leave, and what becomes of one that fails.

use std::sync::Mutex;

use super::*;

/// The numbers of a list's messages.
fn numbers(webhook: &Webhook) -> Vec<u64> {
    let body: Value = serde_json::from_slice(&webhook.body).expect("JSON");
    let list = body.as_array().unwrap_or_else(|| panic!("no list: {body}"));
    list.iter().map(|one| one["payload"]["n"].as_u64().expect("a number")).collect()
}

fn id(webhook: &Webhook) -> String {
    webhook.header("webhook-id").to_owned()
}

impl Ordered {
    /// What was accepted while nothing is sent is sent together.
    async fn post_together(&self, numbers: std::ops::Range<u32>) -> Vec<String> {
        assert_eq!(self.ask("POST", "/order/pause", Value::Null).await.0, 204);
        let mut ids = Vec::new();
        for n in numbers {
            ids.push(self.post("a", n).await);
        }
        assert_eq!(self.ask("POST", "/order/resume", Value::Null).await.0, 204);
        ids
    }

    /// How the attempts of a message ended, the first one first.
    async fn attempts(&self, message: &str) -> Vec<(u64, u64)> {
        let path = format!("/api/v1/app/{}/attempt/msg/{message}", self.app);
        let answer = self.stack.request("GET", &path, &self.stack.token, "").await.json();
        let list = answer["data"].as_array().expect("a list");
        let number = |one: &Value, name: &str| one[name].as_u64().expect("a number");
        list.iter().rev().map(|one| (number(one, "status"), number(one, "responseStatusCode"))).collect()
    }
}

/// INV-54
#[tokio::test(flavor = "multi_thread")]
async fn consecutive_messages_are_one_signed_list() {
    let mut receiver = Receiver::start().await;
    let body = json!({ "url": receiver.url("/"), "fifo": true, "batchSize": 3 });
    let ordered = Ordered::of("1", body).await;
    let ids = ordered.post_together(0..7).await;
    let secret = ordered.ask("GET", "/secret", Value::Null).await.1;
    let secret = svix::webhooks::Webhook::new(secret["key"].as_str().expect("a key")).expect("a key");
    let mut all = Vec::new();
    for _ in 0..3 {
        let webhook = receiver.next().await;
        secret.verify(&webhook.body, &webhook.headers).expect("a signature over the whole body");
        let list: Value = serde_json::from_slice(&webhook.body).expect("JSON");
        for one in list.as_array().expect("a list") {
            assert_eq!(one["eventType"], "a.b");
            assert!(one["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')), "{one}");
            all.push(one["id"].as_str().expect("an id").to_owned());
        }
        let several = list.as_array().map(Vec::len) != Some(1);
        assert_eq!(id(&webhook).starts_with("batch_"), several, "{}", id(&webhook));
    }
    assert_eq!(all, ids);
    ordered.stack.jobs_are_done().await;
    for message in &ids {
        assert_eq!(ordered.attempts(message).await, [(0, 204)], "{message}");
    }
    // By hand it is a list of one, which has the message's own ID.
    let path = format!("/api/v1/app/{}/msg/{}/endpoint/{}/resend", ordered.app, ids[4], ordered.endpoint);
    assert_eq!(ordered.stack.request("POST", &path, &ordered.stack.token, "").await.status, 202);
    let webhook = receiver.next().await;
    assert_eq!((numbers(&webhook), id(&webhook)), (vec![4], ids[4].clone()));
}

/// INV-54
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_fails_comes_once_more_and_then_one_by_one() {
    let fails = AtomicU32::new(2);
    let mut receiver = Receiver::answering(move |_| {
        let fails = fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        if fails { BROKEN } else { OK }
    })
    .await;
    let ordered =
        Ordered::of("1,1,1", json!({ "url": receiver.url("/"), "fifo": true, "batchSize": 3 })).await;
    let ids = ordered.post_together(0..5).await;
    let (first, again) = (receiver.next().await, receiver.next().await);
    assert_eq!((numbers(&first), numbers(&again)), (vec![0, 1, 2], vec![0, 1, 2]));
    assert_eq!(id(&first), id(&again));
    let mut rest = Vec::new();
    for _ in 0..4 {
        rest.push(numbers(&receiver.next().await));
    }
    assert_eq!(rest, [vec![0], vec![1], vec![2], vec![3, 4]]);
    ordered.stack.jobs_are_done().await;
    assert!(receiver.rest().is_empty());
    assert_eq!(ordered.attempts(&ids[1]).await, [(2, 500), (2, 500), (0, 200)]);
}

/// INV-54
#[tokio::test(flavor = "multi_thread")]
async fn of_a_list_that_is_refused_what_is_good_arrives_and_what_is_not_can_be_skipped() {
    let refused = (StatusCode::UNPROCESSABLE_ENTITY, String::new());
    let mut receiver =
        Receiver::answering(move |webhook| if numbers(webhook).contains(&1) { refused.clone() } else { OK })
            .await;
    let ordered =
        Ordered::of("1,3600", json!({ "url": receiver.url("/"), "fifo": true, "batchSize": 10 })).await;
    let ids = ordered.post_together(0..4).await;
    let mut came = Vec::new();
    for _ in 0..3 {
        came.push(numbers(&receiver.next().await));
    }
    assert_eq!(came, [vec![0, 1, 2, 3], vec![0], vec![1]]);
    ordered.stack.jobs_are_done().await;
    assert_eq!(ordered.status().await["waiting"][0]["msgId"], json!(ids[1]));
    let (skipped, answer) = ordered.ask("POST", "/order/skip", json!({ "msgId": ids[1] })).await;
    assert_eq!(skipped, 204, "{answer}");
    assert_eq!(numbers(&receiver.next().await), [2]);
    assert_eq!(numbers(&receiver.next().await), [3]);
    ordered.stack.jobs_are_done().await;
    assert_eq!(ordered.attempts(&ids[1]).await, [(2, 422), (2, 422)]);
    assert_eq!(ordered.attempts(&ids[3]).await, [(2, 422), (0, 200)]);
    ordered.stack.leaves_jobs();
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_wait_for_others_or_for_their_time() {
    let mut receiver = Receiver::start().await;
    let body = json!({ "url": receiver.url("/"), "fifo": true, "fifoKey": "/k", "batchSize": 3, "maxWaitSecs": 300 });
    let ordered = Ordered::of("1", body).await;
    for n in 0..2 {
        ordered.post("a", n).await;
    }
    ordered.post("b", 7).await;
    ordered.stack.jobs_are_done().await;
    assert!(receiver.rest().is_empty());
    let status = ordered.status().await;
    assert_eq!((&status["status"], &status["waitingKeys"]), (&json!("enabled"), &json!(2)), "{status}");
    ordered.post("a", 2).await;
    assert_eq!(numbers(&receiver.next().await), [0, 1, 2]);
    // Who asks for what waits gets it, and whoever changes the time changes it for what comes.
    assert_eq!(ordered.ask("POST", "/order/retry", Value::Null).await.0, 204);
    assert_eq!(numbers(&receiver.next().await), [7]);
    assert_eq!(ordered.ask("PATCH", "", json!({ "maxWaitSecs": 1 })).await.0, 200);
    ordered.post("c", 8).await;
    ordered.post("c", 9).await;
    let mut came = numbers(&receiver.next().await);
    if came.len() == 1 {
        came.extend(numbers(&receiver.next().await));
    }
    assert_eq!(came, [8, 9]);
    ordered.stack.leaves_jobs();
}

#[tokio::test(flavor = "multi_thread")]
async fn transformations_expunged_messages_and_rate_limits_are_of_each_message() {
    let mut receiver = Receiver::start().await;
    let body = json!({ "url": receiver.url("/"), "fifo": true, "batchSize": 10 });
    let ordered = Ordered::of("1", body).await;
    let code = "function handler(w) {
        if (w.payload.n === 2) { w.cancel = true }
        if (w.payload.n === 4) { w.headers = { 'x-own': 'four' } }
        w.payload = { n: w.payload.n, own: true };
        return w;
    }";
    let (status, answer) =
        ordered.ask("PATCH", "/transformation", json!({ "code": code, "enabled": true })).await;
    assert_eq!(status, 204, "{answer}");
    assert_eq!(ordered.ask("POST", "/order/pause", Value::Null).await.0, 204);
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(ordered.post("a", n).await);
    }
    let path = format!("/api/v1/app/{}/msg/{}/content", ordered.app, ids[1]);
    assert_eq!(ordered.stack.request("DELETE", &path, &ordered.stack.token, "").await.status, 204);
    assert_eq!(ordered.ask("POST", "/order/resume", Value::Null).await.0, 204);
    // One is gone, one is cancelled, and one goes with another header.
    let [first, four, last] = [receiver.next().await, receiver.next().await, receiver.next().await];
    assert_eq!([numbers(&first), numbers(&four), numbers(&last)], [vec![0, 3], vec![4], vec![5]]);
    assert_eq!(four.header("x-own"), "four");
    assert!(first.headers.get("x-own").is_none() && last.headers.get("x-own").is_none());
    ordered.stack.jobs_are_done().await;
    assert_eq!(ordered.attempts(&ids[3]).await, [(0, 204)]);
    // Two a second: a list has no more.
    assert_eq!(ordered.ask("PATCH", "/transformation", json!({ "enabled": false })).await.0, 204);
    assert_eq!(ordered.ask("PATCH", "", json!({ "rateLimit": 2 })).await.0, 200);
    ordered.post_together(10..14).await;
    let mut came = Vec::new();
    while came.len() < 4 {
        let some = numbers(&receiver.next().await);
        assert!(some.len() <= 2, "{some:?}");
        came.extend(some);
    }
    assert_eq!(came, [10, 11, 12, 13]);
}

/// INV-54
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_gives_a_list_up_or_wants_no_more_says_so_of_all_of_it() {
    let says = Arc::new(Mutex::new(StatusCode::GONE));
    let said = says.clone();
    let mut receiver = Receiver::answering(move |_| (*said.lock().expect("no panic"), String::new())).await;
    let ordered =
        Ordered::of("1800", json!({ "url": receiver.url("/"), "fifo": true, "batchSize": 5 })).await;
    let ids = ordered.post_together(0..4).await;
    let gone = receiver.next().await;
    assert_eq!(numbers(&gone), [0, 1, 2, 3]);
    ordered.stack.jobs_are_done().await;
    assert_eq!(ordered.status().await["status"], "disabled");
    *says.lock().expect("no panic") = StatusCode::OK;
    assert_eq!(ordered.ask("PATCH", "", json!({ "disabled": false })).await.0, 200);
    ordered.stack.run_timers().await;
    // Nothing is lost, and it is the same list.
    let again = receiver.next().await;
    assert_eq!((numbers(&again), id(&again)), (vec![0, 1, 2, 3], id(&gone)));
    ordered.stack.jobs_are_done().await;
    for message in &ids {
        assert_eq!(ordered.attempts(message).await, [(2, 410), (0, 200)]);
    }
}
