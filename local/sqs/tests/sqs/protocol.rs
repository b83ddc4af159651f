//! What no SDK would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::Server;

async fn write(address: SocketAddr, path: &str, target: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: queues.local\r\nconnection: close\r\n{target}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    // A refusal may come before all of a large body was read.
    let _early = stream.write_all(body.as_bytes()).await;
    stream
}

async fn exchange(address: SocketAddr, path: &str, operation: &str, body: &str) -> String {
    let target = format!("x-amz-target: AmazonSQS.{operation}\r\n");
    let mut stream = write(address, path, &target, body).await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused_clearly() {
    let server = Server::start().await;
    let address = server.address;
    let unknown = exchange(address, "/", "MakeCoffee", "{}").await;
    assert!(
        unknown.starts_with("HTTP/1.1 400") && unknown.contains("UnknownOperationException"),
        "{unknown}"
    );
    assert!(unknown.contains("MakeCoffee") && unknown.contains("x-amzn-requestid"), "{unknown}");
    for bad in ["{", "[]", r#"{"QueueName":1}"#, "\u{fffd}"] {
        let answer = exchange(address, "/", "CreateQueue", bad).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("SerializationException"), "{answer}");
    }
    let mut stream = write(address, "/", "", "Action=ListQueues").await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("X-Amz-Target"), "{answer}");
    let missing = exchange(address, "/", "DeleteQueue", r#"{"QueueUrl":"http://x/0/none"}"#).await;
    assert!(
        missing.contains("x-amzn-query-error: AWS.SimpleQueueService.NonExistentQueue;Sender"),
        "{missing}"
    );
    assert!(missing.contains(r#""__type":"com.amazonaws.sqs#QueueDoesNotExist""#), "{missing}");
    let large = exchange(address, "/", "SendMessage", &" ".repeat(2 * 1_024 * 1_024 + 1)).await;
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urls_have_the_host_of_the_request_and_can_be_posted_to() {
    let server = Server::start().await;
    let created = exchange(server.address, "/", "CreateQueue", r#"{"QueueName":"q"}"#).await;
    assert!(created.contains(r#"{"QueueUrl":"http://queues.local/000000000000/q"}"#), "{created}");
    assert!(created.contains("content-type: application/x-amz-json-1.0"), "{created}");
    let body = r#"{"QueueUrl":"http://elsewhere:1/000000000000/q","MessageBody":"x"}"#;
    let sent = exchange(server.address, "/000000000000/q", "SendMessage", body).await;
    assert!(sent.starts_with("HTTP/1.1 200") && sent.contains("9dd4e461268c8034f5c8564e155c67a6"), "{sent}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_whose_client_went_away_takes_nothing() {
    let server = Server::start().await;
    let url = server.queue("q", &[]).await;
    let body = format!(r#"{{"QueueUrl":"{url}","WaitTimeSeconds":20}}"#);
    let polls =
        [0; 5].map(|_| write(server.address, "/", "x-amz-target: AmazonSQS.ReceiveMessage\r\n", &body));
    let mut streams = Vec::new();
    for poll in polls {
        streams.push(poll.await);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(streams);
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.send(&url, "x").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.receive(&url).await.len(), 1);
    server.stop().await;
}
