use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::watch;

use super::*;
use crate::wire::shapes::{
    Batch, CancelMove, CreateQueue, ListMoves, Messages, OnQueue, OnReceipt, ReceiveMessage, Received,
    SendMessage, SetQueueAttributes, StartMove,
};

/// A clock that only moves when it is told to.
#[derive(Debug, Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

struct Bench {
    engine: Engine,
    clock: Arc<Hand>,
    _running: watch::Sender<bool>,
    stop: watch::Receiver<bool>,
}

const START: u64 = 1_700_000_000_000;

impl Bench {
    fn new() -> Self {
        Self::on(None, START)
    }

    fn on(path: Option<PathBuf>, now: u64) -> Self {
        let clock = Arc::new(Hand(AtomicU64::new(now)));
        let options = Options { path, clock: clock.clone(), ..Options::default() };
        let engine = Engine::open(options).expect("the engine opens");
        let (running, stop) = watch::channel(false);
        Self { engine, clock, _running: running, stop }
    }

    fn pass(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds * 1_000, Ordering::SeqCst);
        self.engine.wake();
    }

    async fn create(&self, name: &str, attributes: &[(&str, &str)]) {
        let attributes = attributes.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        let request = CreateQueue {
            queue_name: Some(name.to_owned()),
            attributes: Some(attributes),
            ..CreateQueue::default()
        };
        self.engine.create_queue(request, "local").await.expect("created");
    }

    async fn source_and_dead(&self, max: u32) {
        self.create("dead", &[]).await;
        let target = self.engine.core().arn("dead");
        let policy = format!(r#"{{"deadLetterTargetArn":"{target}","maxReceiveCount":{max}}}"#);
        self.create("q", &[("RedrivePolicy", &policy), ("VisibilityTimeout", "30")]).await;
    }

    async fn send(&self, queue: &str, body: &str, delay: Option<i64>) -> String {
        let request = SendMessage {
            queue_url: Some(queue.to_owned()),
            message_body: Some(body.to_owned()),
            delay_seconds: delay,
            ..SendMessage::default()
        };
        self.engine.send_message(request).await.expect("sent").message_id
    }

    fn poll(&self, queue: &str, wait: i64) -> impl Future<Output = Result<Messages, ApiError>> {
        let request = ReceiveMessage {
            queue_url: Some(queue.to_owned()),
            wait_time_seconds: Some(wait),
            max_number_of_messages: Some(10),
            attribute_names: Some(vec!["All".to_owned()]),
            ..ReceiveMessage::default()
        };
        let (engine, stop) = (self.engine.clone(), self.stop.clone());
        async move { engine.receive_message(request, stop).await }
    }

    async fn receive(&self, queue: &str) -> Vec<Received> {
        self.poll(queue, 0).await.expect("received").messages
    }

    fn counts(&self, queue: &str) -> (usize, usize, usize) {
        let Counts { visible, in_flight, delayed } = self.engine.counts(queue).expect("it exists");
        (visible, in_flight, delayed)
    }

    async fn delete(&self, queue: &str, handle: &str) {
        let request = OnReceipt {
            queue_url: Some(queue.to_owned()),
            receipt_handle: Some(handle.to_owned()),
            ..OnReceipt::default()
        };
        self.engine.delete_message(request).await.expect("deleted");
    }
}

fn waits<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
    matches!(future.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
}

/// For what must happen at once, without the clock.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(5), future).await.expect("this must not take long")
}

fn on(queue: &str) -> OnQueue {
    OnQueue { queue_url: Some(queue.to_owned()) }
}

#[tokio::test]
async fn a_long_poll_ends_with_a_send() {
    let bench = Bench::new();
    bench.create("q", &[]).await;
    let mut poll = pin!(bench.poll("q", 20));
    assert!(waits(poll.as_mut()));
    let id = bench.send("q", "hello", None).await;
    let messages = soon(poll).await.expect("received").messages;
    assert_eq!(messages[0].message_id, id);
}

#[tokio::test]
async fn a_long_poll_ends_with_a_delay_and_with_a_visibility_timeout() {
    let bench = Bench::new();
    bench.create("q", &[("VisibilityTimeout", "60")]).await;
    let mut poll = Box::pin(bench.poll("q", 20));
    assert!(waits(poll.as_mut()));
    bench.send("q", "late", Some(15)).await;
    assert!(waits(poll.as_mut()));
    bench.pass(15);
    assert_eq!(soon(poll).await.expect("received").messages.len(), 1);

    bench.pass(50);
    let mut poll = Box::pin(bench.poll("q", 20));
    assert!(waits(poll.as_mut()));
    bench.pass(10);
    let again = soon(poll).await.expect("received").messages;
    assert_eq!(again[0].attributes["ApproximateReceiveCount"], "2");
}

#[tokio::test]
async fn a_long_poll_ends_by_the_clock() {
    let bench = Bench::new();
    bench.create("q", &[("ReceiveMessageWaitTimeSeconds", "20")]).await;
    let mut poll = pin!(bench.poll("q", 20));
    assert!(waits(poll.as_mut()));
    bench.pass(20);
    assert!(soon(poll).await.expect("received").messages.is_empty());
}

#[tokio::test]
async fn a_poll_that_was_given_up_takes_nothing() {
    let bench = Bench::new();
    bench.create("q", &[]).await;
    let mut gone = Box::pin(bench.poll("q", 20));
    assert!(waits(gone.as_mut()));
    let mut other = Box::pin(bench.poll("q", 20));
    assert!(waits(other.as_mut()));
    bench.send("q", "hello", None).await;
    // The first one has been notified by now. It goes, and the other one is next.
    drop(gone);
    assert_eq!(soon(other).await.expect("received").messages.len(), 1);
    assert_eq!(bench.engine.core().waiting.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn deleting_a_queue_ends_its_polls() {
    let bench = Bench::new();
    bench.create("q", &[]).await;
    let mut poll = pin!(bench.poll("q", 20));
    assert!(waits(poll.as_mut()));
    bench.engine.delete_queue(on("q")).await.expect("deleted");
    assert_eq!(soon(poll).await.expect_err("no queue").kind, Kind::QueueDoesNotExist);
}

#[tokio::test]
async fn a_send_that_is_given_up_still_arrives() {
    let bench = Bench::new();
    bench.create("q", &[]).await;
    {
        let mut send = pin!(bench.send("q", "hello", None));
        let _pending = waits(send.as_mut());
    }
    assert_eq!(soon(bench.poll("q", 20)).await.expect("received").messages.len(), 1);
}

#[tokio::test]
async fn too_many_receives_lead_to_the_dead_letter_queue() {
    let bench = Bench::new();
    bench.source_and_dead(2).await;
    let id = bench.send("q", "poison", None).await;
    for _ in 0..2 {
        assert_eq!(bench.receive("q").await.len(), 1);
        bench.pass(30);
    }
    assert!(bench.receive("q").await.is_empty());
    assert_eq!((bench.counts("q"), bench.counts("dead")), ((0, 0, 0), (1, 0, 0)));
    let dead = bench.receive("dead").await;
    assert_eq!((dead[0].message_id.as_str(), dead[0].body.as_str()), (id.as_str(), "poison"));
    assert_eq!(dead[0].attributes["SentTimestamp"], START.to_string());
    assert_eq!(dead[0].attributes["DeadLetterQueueSourceArn"], bench.engine.core().arn("q"));
    assert_eq!(dead[0].attributes["ApproximateReceiveCount"], "3");
}

#[tokio::test]
async fn a_purge_of_the_dead_letter_queue_spares_those_that_come_later() {
    let bench = Bench::new();
    bench.source_and_dead(1).await;
    bench.send("q", "older than the purge", None).await;
    assert_eq!(bench.receive("q").await.len(), 1);
    bench.engine.purge_queue(on("dead")).await.expect("purged");
    bench.pass(30);
    assert!(bench.receive("q").await.is_empty());
    assert_eq!(bench.counts("dead"), (1, 0, 0));
}

#[tokio::test]
async fn without_its_dead_letter_queue_a_message_goes_on() {
    let bench = Bench::new();
    bench.source_and_dead(1).await;
    bench.send("q", "x", None).await;
    bench.engine.delete_queue(on("dead")).await.expect("deleted");
    for _ in 0..3 {
        assert_eq!(bench.receive("q").await.len(), 1);
        bench.pass(30);
    }
}

#[tokio::test]
async fn old_messages_are_swept_and_never_received() {
    let bench = Bench::new();
    bench.create("q", &[("MessageRetentionPeriod", "60")]).await;
    bench.send("q", "x", None).await;
    bench.pass(60);
    bench.engine.sweep();
    assert_eq!(bench.counts("q"), (0, 0, 0));
    bench.send("q", "y", None).await;
    bench.pass(60);
    assert!(bench.receive("q").await.is_empty());
}

#[tokio::test]
async fn a_receive_never_returns_a_message_twice() {
    let bench = Bench::new();
    bench.create("q", &[("VisibilityTimeout", "0")]).await;
    bench.send("q", "x", None).await;
    let first = bench.receive("q").await;
    assert_eq!(first.len(), 1);
    let second = bench.receive("q").await;
    assert_eq!(second.len(), 1);
    assert_ne!(first[0].receipt_handle, second[0].receipt_handle);
}

async fn moved(bench: &Bench, destination: Option<&str>) -> (String, &'static str, u64) {
    let arn = |name: &str| bench.engine.core().arn(name);
    let request = StartMove {
        source_arn: Some(arn("dead")),
        destination_arn: destination.map(arn),
        ..StartMove::default()
    };
    let handle = bench.engine.start_message_move_task(request).expect("started").task_handle;
    loop {
        let request = ListMoves { source_arn: Some(arn("dead")), max_results: None };
        let list = bench.engine.list_message_move_tasks(request).expect("listed").results;
        if list[0].status != "RUNNING" {
            return (handle, list[0].status, list[0].approximate_number_of_messages_moved);
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn moves_go_back_or_elsewhere_as_new_messages() {
    let bench = Bench::new();
    bench.source_and_dead(1).await;
    bench.create("other", &[]).await;
    let mut ids = Vec::new();
    for n in 0..250 {
        ids.push(bench.send("q", &n.to_string(), None).await);
    }
    for _ in 0..25 {
        bench.receive("q").await;
    }
    bench.pass(30);
    assert!(bench.receive("q").await.is_empty());
    assert_eq!(bench.counts("dead"), (250, 0, 0));
    let (handle, status, count) = soon(moved(&bench, None)).await;
    assert_eq!((status, count), ("COMPLETED", 250));
    assert_eq!((bench.counts("q"), bench.counts("dead")), ((250, 0, 0), (0, 0, 0)));
    let back = bench.receive("q").await;
    assert_eq!(back[0].attributes["ApproximateReceiveCount"], "1");
    assert!(!ids.contains(&back[0].message_id));
    assert!(!back[0].attributes.contains_key("DeadLetterQueueSourceArn"));
    let cancel = CancelMove { task_handle: Some(handle) };
    assert_eq!(
        bench.engine.cancel_message_move_task(cancel).map(drop).expect_err("over").kind,
        Kind::UnsupportedOperation
    );

    // A message that was sent to it directly came from nowhere.
    bench.send("dead", "direct", None).await;
    assert_eq!(soon(moved(&bench, None)).await.1, "FAILED");
    assert_eq!(bench.counts("dead"), (1, 0, 0));
    assert_eq!(soon(moved(&bench, Some("other"))).await.1, "COMPLETED");
    assert_eq!((bench.counts("other"), bench.counts("dead")), ((1, 0, 0), (0, 0, 0)));
}

#[tokio::test]
async fn a_new_process_finds_everything_and_nothing_in_flight() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("queues.db");
    let bench = Bench::on(Some(path.clone()), START);
    bench.source_and_dead(3).await;
    for body in ["in flight", "deleted", "kept"] {
        bench.send("q", body, None).await;
    }
    bench.send("q", "delayed", Some(600)).await;
    let received = bench.receive("q").await;
    assert_eq!(received.len(), 3);
    bench.delete("q", &received[1].receipt_handle).await;
    assert_eq!(bench.counts("q"), (0, 2, 1));
    drop(bench);

    let bench = Bench::on(Some(path.clone()), START + 1_000);
    assert_eq!(bench.counts("q"), (2, 0, 1));
    // Not received since: its handle still works.
    bench.delete("q", &received[2].receipt_handle).await;
    let again = bench.receive("q").await;
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].message_id, received[0].message_id);
    assert_eq!(again[0].attributes["ApproximateReceiveCount"], "2");
    assert_ne!(again[0].receipt_handle, received[0].receipt_handle);
    // This one is old now.
    bench.delete("q", &received[0].receipt_handle).await;
    assert_eq!(bench.counts("q"), (0, 1, 1));
    drop(bench);

    let bench = Bench::on(Some(path), START + 700_000);
    assert_eq!(bench.receive("q").await.len(), 2);
    bench.pass(30);
    bench.receive("q").await;
    bench.pass(30);
    // The policy was kept, and so were the counts: the oldest has had its three receives by now.
    bench.receive("q").await;
    assert_eq!(bench.counts("dead"), (1, 0, 0));
}

#[tokio::test]
async fn deleted_and_purged_queues_stay_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("queues.db");
    let bench = Bench::on(Some(path.clone()), START);
    for name in ["gone", "purged"] {
        bench.create(name, &[]).await;
        bench.send(name, "x", None).await;
    }
    bench.engine.delete_queue(on("gone")).await.expect("deleted");
    bench.engine.purge_queue(on("purged")).await.expect("purged");
    bench.create("gone", &[]).await;
    drop(bench);
    let bench = Bench::on(Some(path), START);
    assert_eq!(bench.engine.queue_names(), ["gone", "purged"]);
    assert_eq!((bench.counts("gone"), bench.counts("purged")), ((0, 0, 0), (0, 0, 0)));
    assert_eq!(bench.engine.counts("never"), None);
}

#[tokio::test]
async fn a_file_has_one_owner_and_one_reader() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("queues.db");
    let bench = Bench::on(Some(path.clone()), START);
    bench.create("q", &[]).await;
    let options = Options { path: Some(path.clone()), ..Options::default() };
    let error = Engine::open(options.clone()).map(drop).expect_err("in use");
    assert!(matches!(error, Error::InUse(_)));
    assert_eq!(error.to_string().lines().count(), 1);
    #[cfg(unix)]
    for file in std::fs::read_dir(directory.path()).expect("listed") {
        use std::os::unix::fs::PermissionsExt;
        let file = file.expect("an entry");
        let mode = file.metadata().expect("its metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.path().display());
    }
    let clone = bench.engine.clone();
    clone.close();
    let request = SendMessage {
        queue_url: Some("q".to_owned()),
        message_body: Some("x".to_owned()),
        ..SendMessage::default()
    };
    assert_eq!(soon(bench.engine.send_message(request)).await.expect_err("closed").kind, Kind::Internal);
    drop(Engine::open(options).expect("the file is free again"));
    std::fs::write(&path, b"this is no database, and never was one").expect("written");
    assert!(Engine::open(Options { path: Some(path), ..Options::default() }).is_err());
}

#[test]
fn batches_are_checked() {
    let entry = |id: Option<&str>| SendMessage { id: id.map(str::to_owned), ..SendMessage::default() };
    let kind = |entries: &[SendMessage]| check_batch(entries).expect_err("refused").kind;
    assert!(check_batch(&[entry(Some("a")), entry(Some("A-_1"))]).is_ok());
    assert_eq!(kind(&[]), Kind::EmptyBatchRequest);
    assert_eq!(kind(&(0..11).map(|_| entry(Some("a"))).collect::<Vec<_>>()), Kind::TooManyEntries);
    assert_eq!(kind(&[entry(Some("a")), entry(Some("a"))]), Kind::BatchEntryIdsNotDistinct);
    assert_eq!(kind(&[entry(Some("a b"))]), Kind::InvalidBatchEntryId);
    assert_eq!(kind(&[entry(Some(""))]), Kind::InvalidBatchEntryId);
    assert_eq!(kind(&[entry(None)]), Kind::MissingParameter);
    let batch: Batch<SendMessage> = crate::wire::parse(b"").expect("an empty request is one");
    assert!(batch.entries.is_empty() && batch.queue_url.is_none());
}

#[test]
fn queues_are_named_by_the_end_of_their_url() {
    assert_eq!(name_in_url(Some("http://any:1/000000000000/q")).expect("fine"), "q");
    assert_eq!(name_in_url(Some("q")).expect("fine"), "q");
    assert_eq!(name_in_url(None).expect_err("none").kind, Kind::MissingParameter);
    assert_eq!(name_in_url(Some("///")).expect_err("none").kind, Kind::InvalidAddress);
}

#[tokio::test]
async fn a_redrive_policy_needs_a_target() {
    let bench = Bench::new();
    bench.create("q", &[]).await;
    bench.create("closed", &[("RedriveAllowPolicy", r#"{"redrivePermission":"denyAll"}"#)]).await;
    let core = bench.engine.core();
    for target in [core.arn("none"), core.arn("q"), core.arn("closed"), core.arn("q").replace("east", "west")]
    {
        let policy = format!(r#"{{"deadLetterTargetArn":"{target}","maxReceiveCount":1}}"#);
        let attributes = BTreeMap::from([("RedrivePolicy".to_owned(), policy)]);
        let request = SetQueueAttributes { queue_url: Some("q".to_owned()), attributes: Some(attributes) };
        let error = bench.engine.set_queue_attributes(request).await.map(drop).expect_err("refused");
        assert_eq!(error.kind, Kind::InvalidParameterValue, "{target}");
    }
}
