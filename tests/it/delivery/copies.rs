//! Applications that are read more often than one item can serve: through copies of it, which every change reaches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use http::StatusCode;
use shared::auth::{Caller, DEFAULT_ORG, Who};
use shared::config::Env;
use shared::ids::AppId;
use shared::random::{Random, SystemRandom};
use shared::store::Store;

use crate::delivery::cache_consistency::Others;
use crate::test_stack::{Receiver, settings};

/// Draws each copy in its turn: single bytes are drawn for nothing else here. Others are the machine's, those of IDs
/// with a count in front.
#[derive(Debug, Default)]
struct Turns {
    copies: AtomicUsize,
    ids: AtomicU64,
    system: SystemRandom,
}

impl Random for Turns {
    fn fill(&self, bytes: &mut [u8]) {
        self.system.fill(bytes);
        match bytes.len() {
            1 => bytes[0] = self.copies.fetch_add(1, Ordering::Relaxed).to_le_bytes()[0],
            15 => bytes[..8].copy_from_slice(&self.ids.fetch_add(1, Ordering::Relaxed).to_be_bytes()),
            _ => {}
        }
    }
}

/// What a test of copies starts with.
struct Copied {
    others: Others,
    turns: Arc<Turns>,
    store: Store,
    app: AppId,
}

impl Copied {
    async fn start() -> Self {
        let turns = Arc::new(Turns::default());
        let mut settings = settings();
        settings.platform.random = turns.clone();
        let others = Others::with(settings, Receiver::start().await).await;
        let of = others.stack.stack.environment("deliver").expect("its environment").clone();
        let store = others.stack.stack.platform().store(&Env::new(|name| of.get(name).cloned()));
        let app = others.app.parse().expect("an id");
        Self { others, turns, store: store.expect("it connects"), app }
    }

    async fn keep(&self, count: u8) {
        assert!(self.store.keep_copies(self.app, count).await.expect("it is written"), "{count} copies");
    }

    fn table(&self, name: &str) -> &str {
        self.others.stack.stack.table(name).expect("a table of the template")
    }

    /// The application's items in the order of their keys: the version, and how many there are by their own word.
    async fn items(&self) -> BTreeMap<String, (u64, u64)> {
        let dynamodb = self.others.stack.stack.dynamodb();
        let out = dynamodb.scan().table_name(self.table("ConfigTable")).send().await.expect("items");
        assert_eq!(out.last_evaluated_key, None);
        let mut found = BTreeMap::new();
        for item in out.items.unwrap_or_default() {
            let text = |name: &str| item[name].as_s().expect("text").clone();
            let number = |name: &str| item.get(name).and_then(|n| n.as_n().ok()?.parse::<u64>().ok());
            if text("sk") == "APP" && text("pk").contains(&self.app.to_string()) {
                found.insert(
                    text("pk").split('#').nth(2).unwrap_or("").to_owned(),
                    (number("version").expect("a version"), number("copies").unwrap_or(1)),
                );
            }
        }
        found
    }

    /// How many items there are, all of one mind.
    async fn count(&self) -> usize {
        let items = self.items().await;
        let first = items[""];
        assert!(items.values().all(|item| *item == first), "{items:?}");
        assert_eq!(first.1, items.len() as u64, "{items:?}");
        items.len()
    }

    /// Where messages go that are posted now, whichever copies are read.
    async fn go_everywhere(&mut self, expected: &[&str], what: &str) {
        let before = self.turns.copies.load(Ordering::Relaxed);
        // A message is read for twice, so that so many begin with each copy.
        for turn in 0..5 {
            assert_eq!(self.others.go().await, expected, "{what}, turn {turn}");
            self.turns.copies.fetch_add(turn % 2, Ordering::Relaxed);
        }
        assert!(self.turns.copies.load(Ordering::Relaxed) - before >= 8, "the copies are not read");
    }

    async fn change(&self, key: &[(&str, &str)], update: &str, value: u64) {
        let key =
            key.iter().map(|(name, value)| ((*name).to_owned(), AttributeValue::S((*value).to_owned())));
        let table = if update.contains("ADD u") { "LogTable" } else { "ConfigTable" };
        let request = self.others.stack.stack.dynamodb().update_item().table_name(self.table(table));
        let request = request
            .set_key(Some(key.collect()))
            .update_expression(update)
            .expression_attribute_values(":value", AttributeValue::N(value.to_string()));
        request.send().await.expect("it is changed");
    }
}

/// INV-50
#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_seen_at_once_through_every_copy() {
    let mut copied = Copied::start().await;
    let a = copied.others.endpoint("/a").await;
    copied.others.warm().await;
    copied.keep(4).await;
    assert_eq!(copied.count().await, 4);
    // An instance learns of them when it reads the application's own item.
    copied.others.clock.skip(Duration::from_secs(61));
    copied.others.warm().await;
    copied.go_everywhere(&["/a"], "as it was").await;
    let b = copied.others.endpoint("/b").await;
    copied.go_everywhere(&["/a", "/b"], "created").await;
    copied.others.warm().await;
    copied.others.move_to(&b, "/moved").await;
    copied.go_everywhere(&["/a", "/moved"], "moved").await;
    copied.others.warm().await;
    copied.others.disable(&a, true).await;
    copied.go_everywhere(&["/moved"], "disabled").await;
    // More copies while others are read.
    copied.others.warm().await;
    copied.keep(8).await;
    copied.go_everywhere(&["/moved"], "with more copies").await;
    copied.others.disable(&a, false).await;
    copied.go_everywhere(&["/a", "/moved"], "enabled").await;
    assert_eq!(copied.count().await, 8);
    copied.others.warm().await;
    copied.others.remove(&b).await;
    copied.go_everywhere(&["/a"], "deleted").await;
    assert_eq!(copied.count().await, 8);

    // Its tokens end everywhere, and so does what it is called.
    let stack = &copied.others.stack;
    let (app, token) = (&copied.others.app, stack.stack.app_token(None, copied.app));
    let own = format!("/api/v1/app/{app}");
    let path = format!("{own}/endpoint");
    for _ in 0..9 {
        assert_eq!(stack.request("GET", &path, &token, "").await.status, StatusCode::OK);
    }
    let patched = stack.request("PATCH", &own, &stack.token, r#"{"uid":"acme"}"#).await;
    assert_eq!(patched.status, StatusCode::OK, "{}", patched.text);
    copied.others.clock.skip(Duration::from_secs(2));
    let expire = format!("/api/v1/auth/app/{app}/expire-all");
    let expired = stack.request("POST", &expire, &stack.token, r#"{"expiry":0}"#).await;
    assert!(expired.status.is_success(), "{}", expired.text);
    for _ in 0..9 {
        assert_eq!(stack.request("GET", &path, &token, "").await.status, StatusCode::UNAUTHORIZED);
        let named = stack.request("GET", "/api/v1/app/acme/endpoint", &stack.token, "").await;
        assert_eq!(named.status, StatusCode::OK);
    }
    assert_eq!(copied.count().await, 8);

    stack.svix.application().delete(app.clone()).await.expect("it goes");
    for _ in 0..9 {
        assert_eq!(copied.others.post().await, StatusCode::NOT_FOUND);
    }
    assert_eq!(copied.items().await, BTreeMap::new());
    copied.others.stack.leaves_jobs();
}

/// INV-50: whoever changes an application has read it a moment before.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_built_for_other_copies_reaches_all_that_there_are() {
    let copied = Copied::start().await;
    let endpoint = copied.others.endpoint("/a").await.id.parse().expect("an id");
    let org = DEFAULT_ORG.parse().expect("an id");
    let read = async || copied.store.application(org, copied.app).await.expect("it is there");
    let before = read().await;
    copied.keep(4).await;
    copied.store.invalidate_for_task(&before).await.expect("it is written");
    assert_eq!((copied.count().await, read().await.version), (4, before.version + 1));
    // Of many that come at once each one counts, although they exclude each other.
    let many = (0..6).map(|_| copied.store.invalidate_for_task(&before));
    for done in futures_util::future::join_all(many).await {
        done.expect("it is written");
    }
    assert_eq!((copied.count().await, read().await.version), (4, before.version + 7));
    // What is noted of an endpoint is found in each of them, also in new ones, and goes with it.
    for (hangs, count) in [(true, 4), (true, 8), (false, 8), (true, 8)] {
        if usize::from(count) > copied.count().await {
            copied.keep(count).await;
        } else {
            copied.store.mark_slow(&read().await, endpoint, hangs).await.expect("it is written");
        }
        for _ in 0..9 {
            assert_eq!(read().await.slow_endpoints.contains(&endpoint), hangs);
        }
    }
    let stack = &copied.others.stack;
    let path = format!("/api/v1/app/{}/endpoint/{endpoint}", copied.others.app);
    assert_eq!(stack.request("DELETE", &path, &stack.token, "").await.status, StatusCode::NO_CONTENT);
    for _ in 0..9 {
        assert!(read().await.slow_endpoints.is_empty());
    }
    // Deleting takes copies along that came meanwhile.
    let caller = Caller::from(Who::Org(org));
    let profile = copied.store.profile(&before).await.expect("it is there");
    assert!(copied.store.delete_application(&caller, &before, &profile).await.expect("it is deleted"));
    assert_eq!(copied.items().await, BTreeMap::new());
    copied.others.stack.leaves_jobs();
}

/// INV-50
#[tokio::test(flavor = "multi_thread")]
async fn copies_that_are_not_needed_go_and_whoever_believes_in_them_finds_the_application() {
    let mut copied = Copied::start().await;
    let a = copied.others.endpoint("/a").await;
    copied.keep(8).await;
    for left in [4, 2, 1, 1] {
        copied.others.clock.skip(Duration::from_secs(25 * 3600));
        copied.others.warm().await;
        copied.others.move_to(&a, &format!("/{left}")).await;
        assert_eq!(copied.count().await, left);
        for _ in 0..8 {
            assert_eq!(copied.others.go().await, [format!("/{left}")]);
        }
    }
}

/// INV-50: as a version of us does it that knows of no copies.
#[tokio::test(flavor = "multi_thread")]
async fn copies_that_were_left_behind_are_not_read_and_catch_up_with_the_next_change() {
    let mut copied = Copied::start().await;
    let a = copied.others.endpoint("/a").await;
    copied.keep(2).await;
    copied.others.warm().await;
    let pk = format!("APP#{}", copied.app);
    copied.change(&[("pk", &pk), ("sk", "APP")], "ADD version :value", 3).await;
    // Who reads the item itself reads no copy any more.
    for _ in 0..4 {
        copied.others.post().await;
    }
    copied.others.move_to(&a, "/moved").await;
    assert_eq!(copied.count().await, 2);
    let went = copied.others.go().await;
    assert!(went.iter().all(|path| path == "/moved"), "{went:?}");
    // A copy that is missing is made again, too.
    let dynamodb = copied.others.stack.stack.dynamodb();
    let key = [("pk", format!("{pk}#1")), ("sk", "APP".to_owned())];
    let key = key.map(|(name, value)| (name.to_owned(), AttributeValue::S(value)));
    let delete = dynamodb.delete_item().table_name(copied.table("ConfigTable")).set_key(Some(key.into()));
    delete.send().await.expect("it is deleted");
    copied.others.move_to(&a, "/again").await;
    assert_eq!(copied.count().await, 2);
    assert_eq!(copied.others.go().await, ["/again"]);
}

/// Counts and no clock: what other instances counted stands in the table.
#[tokio::test(flavor = "multi_thread")]
async fn copies_follow_the_load() {
    let copied = Copied::start().await;
    // No instance writes about an application that it reads seldom.
    for _ in 0..249 {
        assert_eq!(copied.others.post().await, StatusCode::ACCEPTED);
    }
    let counted = async || {
        let dynamodb = copied.others.stack.stack.dynamodb();
        let out = dynamodb.scan().table_name(copied.table("LogTable")).send().await.expect("items");
        let items = out.items.unwrap_or_default();
        items.iter().filter(|item| item["pk"].as_s().is_ok_and(|pk| pk.starts_with("READS#"))).count()
    };
    assert_eq!((counted().await, copied.count().await), (0, 1));
    let now = copied.others.stack.stack.platform().clock.now().seconds() / 10;
    for window in now..now + 30 {
        let pk = format!("READS#{}#{window}", copied.app);
        copied.change(&[("pk", &pk), ("sk", "-")], "ADD u :value", 44_999).await;
    }
    assert_eq!(copied.others.post().await, StatusCode::ACCEPTED);
    assert_eq!(copied.count().await, 4);
    for _ in 0..8 {
        assert_eq!(copied.others.post().await, StatusCode::ACCEPTED);
    }
    assert_eq!(copied.count().await, 4);
}
