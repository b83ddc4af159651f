//! Consumers, their leases, and who polls: a key of the endpoint, or an application's token.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use shared::clock::Timestamp;
use shared::ids::AppId;

use super::{Fixture, ids, iterator};

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_goes_on_from_the_last_iterator_that_it_used() {
    let fixture = Fixture::start().await;
    let first = fixture.posted(0).await;
    let consumer = "poller/{ep}/consumer/c";
    let page = fixture.get(consumer).await;
    assert_eq!(ids(&page), [&*first]);
    // It did not say that it has it.
    assert_eq!(ids(&fixture.get(consumer).await), [&*first]);
    let page = fixture.get(&format!("{consumer}?iterator={}", iterator(&page))).await;
    assert_eq!(ids(&page), Vec::<&str>::new());
    let second = fixture.posted(1).await;
    assert_eq!(ids(&fixture.get(consumer).await), [&*second]);
    assert_eq!(ids(&fixture.get("poller/{ep}/consumer/another").await), [&*first, &second]);
    let seek = async |after: Timestamp| {
        let body = json!({"after": after.to_string()});
        let answer = fixture.ask("POST", "poller/{ep}/consumer/c/seek", &fixture.stack.token, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    };
    let back = seek(fixture.now().before(Duration::from_secs(60))).await;
    assert_eq!(ids(&fixture.get(consumer).await), [&*first, &second]);
    assert_eq!(
        ids(&fixture.get(&format!("{consumer}?iterator={}", iterator(&back))).await),
        [&*first, &second]
    );
    seek(fixture.now().after(Duration::from_secs(1))).await;
    assert_eq!(ids(&fixture.get(consumer).await), Vec::<&str>::new());
    for body in [json!({}), json!({"after": "x"}), json!({"after": "2222-01-01T00:00:00Z"})] {
        let (status, text) = fixture.refused("POST", "poller/{ep}/consumer/c/seek", body).await;
        assert_eq!(status, 422, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_are_limited() {
    let fixture = Fixture::start().await;
    let (store, endpoint) = (fixture.stack.store(), fixture.endpoint.parse().expect("an id"));
    let position = shared::polling::Position::at(fixture.now());
    for nth in 0..shared::polling::CONSUMERS_MAX {
        store.keep_consumer(endpoint, &format!("c{nth}"), &position).await.expect("there is room");
    }
    store.keep_consumer(endpoint, "c0", &position).await.expect("it is known");
    let (status, text) = fixture.refused("GET", "polling-endpoint/{ep}/consumer/one-more", Value::Null).await;
    assert!((400..500).contains(&status) && text.contains("100 consumers"), "{status} {text}");
}

/// INV-47
#[tokio::test(flavor = "multi_thread")]
async fn what_is_leased_is_given_again_unless_it_is_committed() {
    let fixture = Fixture::start().await;
    let consumer = "polling-endpoint/{ep}/consumer/c";
    let offsets = |page: &Value| -> Vec<(u64, String)> {
        let data = page["data"].as_array().expect("messages").iter();
        data.map(|one| (one["offset"].as_u64().expect("a number"), one["id"].as_str().expect("an id").into()))
            .collect()
    };
    let commit = async |offset: Value| {
        let body = json!({ "offset": offset });
        fixture.refused("POST", "polling-endpoint/{ep}/consumer/c/commit", body).await
    };
    assert_eq!(commit(json!(0)).await.0, 409);
    let posted = [fixture.posted(0).await, fixture.posted(1).await, fixture.posted(2).await];
    let at = |offset: usize| (offset as u64, posted[offset - 1].clone());
    let page = fixture.get(&format!("{consumer}?limit=2&lease_duration_ms=30000")).await;
    assert_eq!(offsets(&page), [at(1), at(2)]);
    assert_eq!((&page["data"][0]["payload"], &page["done"]), (&json!({"nth": 0}), &json!(false)));
    let (status, text) = fixture.refused("GET", consumer, Value::Null).await;
    assert!(status == 409 && text.contains("are leased until"), "{status} {text}");
    // Another consumer has its own.
    assert_eq!(offsets(&fixture.get("polling-endpoint/{ep}/consumer/d").await).len(), 3);
    // The lease runs out: the same again, as far as it was not committed, and nothing new before it.
    assert_eq!(commit(json!(1)).await.0, 204);
    fixture.clock.skip(Duration::from_secs(31));
    assert_eq!(offsets(&fixture.get(&format!("{consumer}?limit=2&lease_duration_ms=30000")).await), [at(2)]);
    for (wrong, expected) in [
        (json!(0), "go back"),
        (json!(3), "at most 2"),
        (json!("x"), "offset"),
        (Value::Null, "offset"),
        (json!(-1), "offset"),
    ] {
        let (status, text) = commit(wrong.clone()).await;
        assert!(status == 422 && text.contains(expected), "{wrong}: {status} {text}");
    }
    assert_eq!(
        (commit(json!(1)).await.0, commit(json!(2)).await.0, commit(json!(2)).await.0),
        (204, 204, 204)
    );
    assert_eq!(offsets(&fixture.get(consumer).await), [at(3)]);
    // Who was late commits what it has all the same.
    fixture.clock.skip(Duration::from_secs(61));
    assert_eq!(offsets(&fixture.get(consumer).await), [at(3)]);
    assert_eq!(commit(json!(3)).await.0, 204);
    let page = fixture.get(consumer).await;
    assert_eq!((offsets(&page).len(), &page["done"]), (0, &json!(true)));
    // An idle poll writes nothing.
    let before = fixture.stack.stack.ledger();
    fixture.get(consumer).await;
    let spent = fixture.stack.stack.ledger().since(&before).total(|_| true);
    assert_eq!(spent.write_units, 0.0);
    // A new consumer may begin with what comes.
    let latest = "polling-endpoint/{ep}/consumer/e?starting_position=latest";
    assert_eq!(offsets(&fixture.get(latest).await), []);
    let last = fixture.posted(3).await;
    assert_eq!(offsets(&fixture.get(latest).await), [(1, last)]);
}

/// INV-47
#[tokio::test(flavor = "multi_thread")]
async fn of_two_polls_of_a_consumer_one_gets_the_lease() {
    let fixture = Fixture::start().await;
    for nth in 0..3 {
        fixture.posted(nth).await;
    }
    for _ in 0..3 {
        let polls = (0..4).map(|_| {
            fixture.ask("GET", "polling-endpoint/{ep}/consumer/c", &fixture.stack.token, Value::Null)
        });
        let mut given: Vec<u16> =
            futures_util::future::join_all(polls).await.iter().map(|answer| answer.status.as_u16()).collect();
        given.sort_unstable();
        assert_eq!(given, [200, 409, 409, 409]);
        fixture.clock.skip(Duration::from_secs(61));
    }
}

/// INV-48
#[tokio::test(flavor = "multi_thread")]
async fn a_polling_key_polls_its_endpoint_and_does_nothing_else() {
    let fixture = Fixture::start().await;
    let token = "endpoint/{ep}/poller/token";
    assert_eq!(fixture.refused("GET", token, Value::Null).await.0, 404);
    let rotate = async |body: Value| {
        let answer = fixture.ask("POST", &format!("{token}/rotate"), &fixture.stack.token, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json()
    };
    let first = rotate(json!({})).await;
    let key = first["token"].as_str().expect("a key").to_owned();
    assert!(key.starts_with("sk_poll_") && first["id"].as_str().expect("an id").starts_with("key_"));
    assert_eq!((&fixture.get(token).await, &first["expiresAt"]), (&first, &Value::Null));
    let message = fixture.posted(0).await;
    let with = async |key: &str, method: &str, rest: &str| {
        fixture.ask(method, rest, key, Value::Null).await.status.as_u16()
    };
    assert_eq!(with(&key, "GET", "poller/{ep}").await, 200);
    assert_eq!(with(&key, "GET", "poller/{ep}/consumer/c").await, 200);
    assert_eq!(with(&key, "GET", "polling-endpoint/{ep}/consumer/c").await, 200);
    let commit =
        fixture.ask("POST", "polling-endpoint/{ep}/consumer/c/commit", &key, json!({"offset": 1})).await;
    assert_eq!(commit.status, StatusCode::NO_CONTENT, "{}", commit.text);
    // Nothing else: neither other operations nor other endpoints nor other applications.
    for (method, rest) in [
        ("GET", "msg"),
        ("GET", "endpoint/{ep}"),
        ("GET", token),
        ("DELETE", token),
        ("DELETE", "endpoint/{ep}"),
        ("GET", &*format!("msg/{message}")),
    ] {
        assert_eq!(with(&key, method, rest).await, 401, "{method} {rest}");
    }
    let other = fixture.stack.polling_endpoint(&fixture.app, Value::Null).await;
    assert_eq!(with(&key, "GET", &format!("poller/{other}")).await, 404);
    let elsewhere = fixture.stack.app().await;
    let path = format!("/api/v1/app/{elsewhere}/poller/{}", fixture.endpoint);
    assert_eq!(fixture.stack.request("GET", &path, &key, "").await.status, StatusCode::NOT_FOUND);
    for forged in
        ["sk_poll_", "sk_poll_AAAA", &key[..key.len() - 4], &format!("{}AAAA", &key[..key.len() - 4])]
    {
        assert_eq!(with(forged, "GET", "poller/{ep}").await, 401, "{forged}");
    }
    // The old key lasts for as long as it is said to, and a new one too.
    let second = rotate(json!({"expiry": 600, "oldTokenExpiry": 60})).await;
    let second_key = second["token"].as_str().expect("a key");
    assert!(second["expiresAt"].is_string());
    assert_eq!(
        (with(&key, "GET", "poller/{ep}").await, with(second_key, "GET", "poller/{ep}").await),
        (200, 200)
    );
    fixture.clock.skip(Duration::from_secs(61));
    assert_eq!(
        (with(&key, "GET", "poller/{ep}").await, with(second_key, "GET", "poller/{ep}").await),
        (401, 200)
    );
    fixture.clock.skip(Duration::from_secs(600));
    assert_eq!(with(second_key, "GET", "poller/{ep}").await, 401);
    assert_eq!(fixture.refused("GET", token, Value::Null).await.0, 404);
    let third = rotate(json!({})).await;
    let third = third["token"].as_str().expect("a key");
    let revoked = fixture.ask("DELETE", token, &fixture.stack.token, Value::Null).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT, "{}", revoked.text);
    assert_eq!(with(third, "GET", "poller/{ep}").await, 401);
    for body in [json!({"expiry": 0}), json!({"expiry": 31_536_001}), json!({"oldTokenExpiry": 86_401})] {
        assert_eq!(fixture.refused("POST", &format!("{token}/rotate"), body).await.0, 422);
    }
    for _ in 0..5 {
        rotate(json!({"oldTokenExpiry": 3600})).await;
    }
    let (status, text) =
        fixture.refused("POST", &format!("{token}/rotate"), json!({"oldTokenExpiry": 3600})).await;
    assert!((400..500).contains(&status) && text.contains("oldTokenExpiry 0"), "{status} {text}");
    let last = rotate(json!({"oldTokenExpiry": 0})).await;
    let last = last["token"].as_str().expect("a key").to_owned();
    assert_eq!(with(&last, "GET", "poller/{ep}").await, 200);
    let deleted = fixture.ask("DELETE", "endpoint/{ep}", &fixture.stack.token, Value::Null).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{}", deleted.text);
    assert_eq!(with(&last, "GET", "poller/{ep}").await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applications_token_polls_by_its_capabilities() {
    let fixture = Fixture::start().await;
    let app: AppId = fixture.app.parse().expect("an id");
    let whole = fixture.stack.stack.app_token(None, app);
    let path = format!("/api/v1/auth/app-portal-access/{app}");
    let answer = fixture.stack.request("POST", &path, &fixture.stack.token, r#"{"readOnly":true}"#).await;
    let reads = answer.json()["token"].as_str().expect("a token").to_owned();
    for (rest, expected) in
        [("poller/{ep}", 200), ("poller/{ep}/consumer/c", 403), ("polling-endpoint/{ep}/consumer/c", 403)]
    {
        assert_eq!(fixture.ask("GET", rest, &whole, Value::Null).await.status.as_u16(), 200, "{rest}");
        assert_eq!(fixture.ask("GET", rest, &reads, Value::Null).await.status.as_u16(), expected, "{rest}");
    }
    let stranger = fixture.stack.app().await;
    let stranger = fixture.stack.stack.app_token(None, stranger.parse().expect("an id"));
    assert_eq!(fixture.ask("GET", "poller/{ep}", &stranger, Value::Null).await.status.as_u16(), 404);
}
