use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// The status line's number.
async fn get(address: SocketAddr, path: &str) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_stack_starts_answers_and_stops() {
    let stack = Stack::start(Settings::ephemeral()).await.unwrap();
    assert_eq!(get(stack.address(), "/api/v1/health").await, 204);
    assert_eq!(get(stack.address(), "/api/v1/health/").await, 204);
    assert_eq!(get(stack.address(), "/api/v1/nothing").await, 404);
    assert_eq!(get(stack.address(), "/api/v1/app").await, 401);
    stack.idle().await;
    assert!(stack.table("LogTable").is_some() && stack.queue("RetriesDeadQueue").is_some());
    let again = TcpListener::bind(stack.address()).await.map(drop);
    assert!(again.is_err());
    stack.stop().await;
}

#[tokio::test]
async fn a_folder_is_opened_again_with_its_secrets_and_queues() {
    let folder = tempfile::tempdir().unwrap();
    let settings = || Settings { data: Some(folder.path().into()), poll: false, ..Settings::ephemeral() };
    let first = Stack::start(settings()).await.unwrap();
    let token = first.org_token(None);
    let url = &first.queue("DeliveriesQueue").unwrap().url;
    first.sqs().send_message().queue_url(url).message_body("x").send().await.unwrap();
    assert_eq!(first.ledger().total(|call| call.operation.starts_with("SendMessage")).requests, 1);
    let error = Stack::start(settings()).await.unwrap_err().to_string();
    assert!(error.contains("in use by another local runner"), "{error}");
    first.stop().await;

    let second = Stack::start(settings()).await.unwrap();
    assert_eq!(second.waiting().await, Ok(1));
    assert!(second.tokens.verify(&token).is_ok());
    second.stop().await;
}

#[tokio::test]
async fn what_keeps_a_stack_from_starting_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = taken.local_addr().unwrap();
    let wrong = [
        (Settings { listen, ..Settings::ephemeral() }, "POSTRIDER_LISTEN: "),
        (Settings { aws_listen: Some(listen), ..Settings::ephemeral() }, "POSTRIDER_AWS_LISTEN: "),
        (
            Settings { aws_endpoint: Some("http://127.0.0.1:1".into()), ..Settings::ephemeral() },
            "AWS_ENDPOINT_URL: cannot use DynamoDB at http://127.0.0.1:1: ",
        ),
        (Settings::ephemeral().with("POSTRIDER_RETRY_SCHEDULE", "1m"), "POSTRIDER_RETRY_SCHEDULE: "),
        (Settings::ephemeral().with("POSTRIDER_JWT_SECRET", "short"), "POSTRIDER_JWT_SECRET: "),
        (Settings::ephemeral().with("POSTRIDER_HTTPS_ONLY", "maybe"), "POSTRIDER_HTTPS_ONLY: "),
        (Settings { template: "Resources: 1".into(), ..Settings::ephemeral() }, "template: "),
    ];
    for (settings, begin) in wrong {
        let error = Stack::start(settings).await.unwrap_err().to_string();
        assert!(error.starts_with(begin) && !error.contains('\n'), "{error}");
    }
}
