//! How fast it is, through the SDK and on a file. To be run alone and optimised:
//! `cargo test -p local-sqs --profile bench-local --test sqs -- --ignored --nocapture throughput`.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry as Delete, SendMessageBatchRequestEntry as Entry};
use local_sqs::{Clock, Options, SystemClock};

use crate::support::Server;

const WORKERS: usize = 16;
const BODY: &str = "{\"type\":\"invoice.paid\",\"data\":{\"id\":\"inv_0123456789\",\"amount\":4200}}";

async fn batched(client: &Client, url: &str) -> usize {
    let entries =
        (0..10).map(|n| Entry::builder().id(n.to_string()).message_body(BODY).build().expect("one"));
    let request = client.send_message_batch().queue_url(url).set_entries(Some(entries.collect()));
    request.send().await.expect("sent");
    let received = client.receive_message().queue_url(url).max_number_of_messages(10).send().await;
    let received = received.expect("received").messages.unwrap_or_default();
    if received.is_empty() {
        return 0;
    }
    let handles = received.iter().filter_map(|message| message.receipt_handle()).enumerate();
    let entries: Vec<_> = handles
        .map(|(n, handle)| Delete::builder().id(n.to_string()).receipt_handle(handle).build().expect("one"))
        .collect();
    let request = client.delete_message_batch().queue_url(url).set_entries(Some(entries));
    request.send().await.expect("deleted").successful().len()
}

async fn single(client: &Client, url: &str) -> usize {
    client.send_message().queue_url(url).message_body(BODY).send().await.expect("sent");
    let received = client.receive_message().queue_url(url).send().await.expect("received");
    let Some(message) = received.messages.unwrap_or_default().pop() else { return 0 };
    let handle = message.receipt_handle().expect("its handle");
    client.delete_message().queue_url(url).receipt_handle(handle).send().await.expect("deleted");
    1
}

#[expect(clippy::print_stdout, reason = "the numbers are all that this is for")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = Some(directory.path().join("queues.db"));
    let server = Server::open(Options { path, ..Options::default() }).await;
    let url = server.queue("q", &[]).await;
    for (name, in_batches, rounds) in [("batches of 10", true, 200), ("single", false, 500)] {
        let started = SystemClock.now_ms();
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (client, url) = (server.client.clone(), url.clone());
                tokio::spawn(async move {
                    let mut done = 0;
                    for _ in 0..rounds {
                        done += if in_batches {
                            batched(&client, &url).await
                        } else {
                            single(&client, &url).await
                        };
                    }
                    done
                })
            })
            .collect();
        let mut done = 0;
        for worker in workers {
            done += worker.await.expect("no panic");
        }
        let took = SystemClock.now_ms() - started;
        println!(
            "{name}: {done} messages sent, received and deleted in {took} ms: {:.0}/s",
            done as f64 * 1e3 / took as f64
        );
    }
    server.stop().await;
}
