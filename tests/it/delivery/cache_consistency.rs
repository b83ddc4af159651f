//! Caches never lie: what another instance of a function changed is obeyed by the very next message,
//! and by what is on its way.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use deliver::Deliver;
use http::{Request, StatusCode};
use local::Settings;
use shared::config::Env;
use svix::models::{EndpointHeadersIn, EndpointPatch, EndpointSecretRotateIn};
use tower::ServiceExt as _;

use crate::test_stack::{Ahead, Endpoint, Receiver, TestStack, Webhook, settings, soon};

/// Beyond the second for which what was changed just now is not cached.
const SETTLING: Duration = Duration::from_secs(2);

/// Instances of `messages` and `deliver` besides the stack's own, with caches of their own. The stack's
/// instances make the changes.
pub struct Others {
    pub stack: TestStack,
    pub clock: Arc<Ahead>,
    messages: Router,
    deliver: Deliver,
    receiver: Receiver,
    pub app: String,
}

impl Others {
    async fn start(receiver: Receiver) -> Self {
        Self::with(settings(), receiver).await
    }

    pub async fn with(mut settings: Settings, receiver: Receiver) -> Self {
        let clock = Arc::new(Ahead::default());
        settings.platform.clock = clock.clone();
        settings.poll = false;
        let stack = TestStack::with(settings).await;
        let of = |name: &str| stack.stack.environment(name).expect("its environment").clone();
        let (of_messages, of_deliver) = (of("messages"), of("deliver"));
        let platform = stack.stack.platform();
        let messages = messages::router(&Env::new(|name| of_messages.get(name).cloned()), platform);
        let deliver = Deliver::connect(&Env::new(|name| of_deliver.get(name).cloned()), platform);
        let app = stack.app().await;
        let (messages, deliver) = (messages.expect("it connects"), deliver.expect("it connects"));
        Self { stack, clock, messages, deliver, receiver, app }
    }

    pub async fn post(&self) -> StatusCode {
        let request = Request::post(format!("/api/v1/app/{}/msg", self.app))
            .header("authorization", format!("Bearer {}", self.stack.token))
            .body(Body::from(r#"{"eventType":"a","payload":{"n":1}}"#))
            .expect("a request");
        self.messages.clone().oneshot(request).await.expect("an answer").status()
    }

    /// Works on all that is queued; the webhooks that it led to, by path.
    async fn work(&mut self, queue: &str) -> Vec<Webhook> {
        while self.stack.stack.waiting().await.expect("the queues answer") > 0 {
            let event = self.stack.receive(queue).await;
            let handles: Vec<_> = event.records.iter().filter_map(|r| r.receipt_handle.clone()).collect();
            let done = soon("a batch", self.deliver.handle(event)).await;
            assert_eq!(done.batch_item_failures.len(), 0);
            for handle in handles {
                self.stack.delete(queue, &handle).await;
            }
        }
        let mut arrived = self.receiver.rest();
        arrived.sort_by(|a, b| a.path.cmp(&b.path));
        arrived
    }

    /// Where a message goes that is posted now.
    pub async fn go(&mut self) -> Vec<String> {
        assert_eq!(self.post().await, StatusCode::ACCEPTED);
        paths(&self.work("DeliveriesQueue").await)
    }

    /// Fills the caches, and makes sure of it: a message of a warm instance reads less.
    pub async fn warm(&mut self) {
        self.clock.skip(SETTLING);
        let mut used = Vec::new();
        for _ in 0..2 {
            let before = self.stack.stack.usage().requests;
            self.go().await;
            used.push(self.stack.stack.usage().requests - before);
        }
        assert!(used[1] < used[0], "{used:?}");
    }

    pub async fn endpoint(&self, path: &str) -> Endpoint {
        self.stack.endpoint(&self.app, &self.receiver.url(path)).await
    }

    async fn patch(&self, endpoint: &Endpoint, patch: EndpointPatch) {
        let endpoints = self.stack.svix.endpoint();
        endpoints.patch(self.app.clone(), endpoint.id.clone(), patch).await.expect("it is changed");
    }

    /// Changes the URL to that path.
    pub async fn move_to(&self, endpoint: &Endpoint, path: &str) {
        let url = Some(self.receiver.url(path));
        self.patch(endpoint, EndpointPatch { url, ..EndpointPatch::default() }).await;
    }

    pub async fn disable(&self, endpoint: &Endpoint, disabled: bool) {
        self.patch(endpoint, EndpointPatch { disabled: Some(disabled), ..EndpointPatch::default() }).await;
    }

    /// A new key, at once and alone.
    async fn rekey(&self, endpoint: &Endpoint) -> Endpoint {
        let rotate = EndpointSecretRotateIn { key: None, grace_period_seconds: Some(0) };
        let (app, id) = (self.app.clone(), endpoint.id.clone());
        let rotated = self.stack.svix.endpoint().rotate_secret(app, id.clone(), rotate, None).await;
        Endpoint { id, secret: rotated.expect("it is rotated").key }
    }

    pub async fn remove(&self, endpoint: &Endpoint) {
        let removed = self.stack.svix.endpoint().delete(self.app.clone(), endpoint.id.clone()).await;
        removed.expect("it is deleted");
    }
}

fn paths(arrived: &[Webhook]) -> Vec<String> {
    arrived.iter().map(|webhook| webhook.path.clone()).collect()
}

/// Signed with that secret's key, and not with the old one's.
fn is_signed_anew(webhook: &Webhook, new: &Endpoint, old: &Endpoint) {
    webhook.verify(&new.secret);
    let old = standardwebhooks::Webhook::new(&old.secret).expect("a secret");
    assert!(old.verify(&webhook.body, &webhook.headers).is_err());
}

/// INV-35
#[tokio::test(flavor = "multi_thread")]
async fn the_next_message_obeys_what_another_instance_changed() {
    let mut others = Others::start(Receiver::start().await).await;
    let a = others.endpoint("/a").await;
    others.warm().await;
    let b = others.endpoint("/b").await;
    assert_eq!(others.go().await, ["/a", "/b"], "created");

    others.warm().await;
    others.move_to(&b, "/moved").await;
    assert_eq!(others.go().await, ["/a", "/moved"], "moved");

    others.warm().await;
    let path = format!("/api/v1/app/{}/endpoint/{}", others.app, b.id);
    for (body, expected) in
        [(r#"{"channels":["x"]}"#, vec!["/a"]), (r#"{"channels":null}"#, vec!["/a", "/moved"])]
    {
        let patched = others.stack.request("PATCH", &path, &others.stack.token, body).await;
        assert_eq!(patched.status, StatusCode::OK);
        assert_eq!(others.go().await, expected, "{body}");
        others.warm().await;
    }

    for (disabled, expected) in [(true, vec!["/moved"]), (false, vec!["/a", "/moved"])] {
        others.disable(&a, disabled).await;
        assert_eq!(others.go().await, expected, "disabled: {disabled}");
        others.warm().await;
    }

    let rekeyed = others.rekey(&a).await;
    others.post().await;
    is_signed_anew(&others.work("DeliveriesQueue").await[0], &rekeyed, &a);

    others.warm().await;
    let headers = EndpointHeadersIn::new([("x-own".to_owned(), "7".to_owned())].into());
    let (app, id) = (others.app.clone(), a.id.clone());
    others.stack.svix.endpoint().set_headers(app, id, headers).await.unwrap();
    others.post().await;
    assert_eq!(others.work("DeliveriesQueue").await[0].header("x-own"), "7");

    others.warm().await;
    others.remove(&a).await;
    assert_eq!(others.go().await, ["/moved"], "deleted");

    others.warm().await;
    others.stack.svix.application().delete(others.app.clone()).await.unwrap();
    assert_eq!(others.post().await, StatusCode::NOT_FOUND);
}

/// INV-35
#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_obeys_too() {
    let mut others = Others::start(Receiver::start().await).await;
    let (a, b) = (others.endpoint("/a").await, others.endpoint("/b").await);

    // Each time the job is queued, with the text in it, before the change.
    others.warm().await;
    others.post().await;
    others.move_to(&a, "/moved").await;
    assert_eq!(paths(&others.work("DeliveriesQueue").await), ["/b", "/moved"]);

    others.warm().await;
    others.post().await;
    let rekeyed = others.rekey(&b).await;
    is_signed_anew(&others.work("DeliveriesQueue").await[0], &rekeyed, &b);

    others.warm().await;
    others.post().await;
    others.disable(&a, true).await;
    assert_eq!(paths(&others.work("DeliveriesQueue").await), ["/b"]);

    others.disable(&a, false).await;
    others.warm().await;
    others.post().await;
    others.remove(&b).await;
    assert_eq!(paths(&others.work("DeliveriesQueue").await), ["/moved"]);

    others.warm().await;
    others.post().await;
    others.stack.svix.application().delete(others.app.clone()).await.unwrap();
    assert_eq!(paths(&others.work("DeliveriesQueue").await), Vec::<String>::new());
}

/// INV-35
#[tokio::test(flavor = "multi_thread")]
async fn no_retry_of_what_was_deleted() {
    let failing = Receiver::answering(|_| (StatusCode::INTERNAL_SERVER_ERROR, String::new())).await;
    let mut others = Others::start(failing).await;
    let a = others.endpoint("/a").await;
    for nth in 0..2 {
        others.clock.skip(SETTLING);
        others.post().await;
        let event = others.stack.receive("DeliveriesQueue").await;
        let handle = event.records[0].receipt_handle.clone().unwrap();
        assert_eq!(others.deliver.handle(event).await.batch_item_failures.len(), 0);
        others.stack.delete("DeliveriesQueue", &handle).await;
        assert_eq!(paths(&others.receiver.rest()).len(), 1);
        if nth == 0 {
            others.remove(&a).await;
            assert_eq!(others.work("RetriesQueue").await.len(), 0);
            others.endpoint("/again").await;
        } else {
            others.stack.svix.application().delete(others.app.clone()).await.unwrap();
            assert_eq!(others.work("RetriesQueue").await.len(), 0);
        }
    }
}
