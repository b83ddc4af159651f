//! What outlives a server.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use aws_sdk_sqs::types::{MessageSystemAttributeName as System, QueueAttributeName as Name};
use local_sqs::{Engine, Options};

use crate::support::{Server, attribute, bodies, client};

fn on(path: &Path) -> Options {
    Options { path: Some(path.to_owned()), ..Options::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_messages_and_frees_those_in_flight() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("queues.db");
    let server = Server::open(on(&path)).await;
    let url = server.queue("q", &[(Name::VisibilityTimeout, "600")]).await;
    server.send(&url, "in flight").await;
    assert_eq!(server.receive(&url).await.len(), 1);
    server.send(&url, "waiting").await;
    assert!(Engine::open(on(&path)).is_err(), "one owner at a time");
    server.stop().await;

    let server = Server::open(on(&path)).await;
    let url = server.queue("q", &[(Name::VisibilityTimeout, "600")]).await;
    let messages = server.receive(&url).await;
    assert_eq!(bodies(&messages), ["in flight", "waiting"]);
    assert_eq!(attribute(&messages[0], System::ApproximateReceiveCount), Some("2"));
    server.stop().await;
}

/// The process that the next test kills: run by that test, with the path of the file as its input. Run by
/// anything else, it has no input and nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is run by what_was_answered_survives_a_kill"]
async fn a_server_to_be_killed() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("read");
    if line.is_empty() {
        return;
    }
    let path = PathBuf::from(line.trim_end());
    let server = Server::open(on(&path)).await;
    let (part, whole) = (path.with_extension("part"), path.with_extension("address"));
    std::fs::write(&part, server.address.to_string()).expect("written");
    std::fs::rename(part, whole).expect("renamed");
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("queues.db");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", "durability::a_server_to_be_killed"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("a child");
    writeln!(child.stdin.take().expect("its input"), "{}", path.display()).expect("written");
    let address = loop {
        if let Ok(address) = std::fs::read_to_string(path.with_extension("address")) {
            break address.parse().expect("an address");
        }
        assert!(child.try_wait().expect("its state").is_none(), "the child has ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let client = client(address);
    let url =
        client.create_queue().queue_name("q").send().await.expect("created").queue_url.expect("its URL");
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let (client, url) = (client.clone(), url.clone());
            tokio::spawn(async move {
                let mut answered = Vec::new();
                loop {
                    match client.send_message().queue_url(&url).message_body("x").send().await {
                        Ok(sent) => answered.push(sent.message_id.expect("its id")),
                        Err(_) => return answered,
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    child.kill().expect("killed");
    child.wait().expect("ended");
    let mut answered = Vec::new();
    for sender in senders {
        answered.extend(sender.await.expect("no panic"));
    }
    assert!(!answered.is_empty());

    let server = Server::open(on(&path)).await;
    let mut found = std::collections::HashSet::new();
    loop {
        let messages = server.receive(&url).await;
        if messages.is_empty() {
            break;
        }
        found.extend(messages.into_iter().filter_map(|message| message.message_id));
    }
    let lost = answered.iter().filter(|id| !found.contains(*id)).count();
    assert_eq!(lost, 0, "of {} answered sends", answered.len());
    server.stop().await;
}
