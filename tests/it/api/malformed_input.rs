//! What is too large, and what makes no sense at all: an answer that the client sees, a 4xx in the
//! contract's shape, and nothing changed.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::api::rules::{Shelf, found};
use crate::test_stack::{TestStack, soon};

/// A request in all its bytes, and the answer's head and body.
async fn raw(stack: &TestStack, parts: &[&[u8]]) -> (u16, String) {
    let mut stream = TcpStream::connect(stack.stack.address()).await.expect("a connection");
    for part in parts {
        // The server may have answered and closed; what it said is there to be read.
        if stream.write_all(part).await.is_err() {
            break;
        }
    }
    answer(&mut stream).await
}

async fn answer(stream: &mut TcpStream) -> (u16, String) {
    let mut bytes = Vec::new();
    let read = async {
        let mut chunk = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let text = text.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&text);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .to_lowercase()
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
                if body.len() >= length.unwrap_or(0) {
                    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
                    return (status.expect("a status"), body.to_owned());
                }
            }
            match stream.read(&mut chunk).await.expect("an answer, and no broken connection") {
                0 => panic!("the connection ended without an answer: {text:?}"),
                read => bytes.extend_from_slice(&chunk[..read]),
            }
        }
    };
    soon("an answer", read).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_answered_however_it_is_sent() {
    let shelf = Shelf::fill().await;
    let stack = &shelf.stack;
    let before = shelf.looks().await;
    let large = vec![b' '; 2 * 1024 * 1024];
    let chunk = [b"10000\r\n".as_slice(), &large[..0x10000], b"\r\n"].concat();
    let bearer = format!("authorization: Bearer {}\r\n", stack.token);
    for (authorization, path, expected) in [
        (bearer.as_str(), "/app", (413, "payload_too_large")),
        (&bearer, "/app/acme/msg", (413, "payload_too_large")),
        (&bearer, "/event-type", (413, "payload_too_large")),
        // Refused before the body is looked at: that too is to be seen.
        ("", "/app", (401, "authentication_failed")),
        (&bearer, "/nothing", (404, "not_found")),
    ] {
        let head = format!("POST /api/v1{path} HTTP/1.1\r\nhost: x\r\n{authorization}");
        let check = |(status, body): (u16, String), how: &str| {
            let body: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{how} {path}: {body}"));
            assert_eq!(
                (status, body["code"].as_str()),
                (expected.0, Some(expected.1)),
                "{how} {path}: {body}"
            );
        };
        let length = format!("content-length: {}\r\n", large.len());
        check(raw(stack, &[head.as_bytes(), length.as_bytes(), b"\r\n", &large]).await, "with a length");

        let mut chunked: Vec<&[u8]> = vec![head.as_bytes(), b"transfer-encoding: chunked\r\n\r\n"];
        chunked.extend((0..32).map(|_| chunk.as_slice()));
        chunked.push(b"0\r\n\r\n");
        check(raw(stack, &chunked).await, "in chunks");

        // A client that asks first sends its body when it is told to, and not if it gets an answer.
        let mut stream = TcpStream::connect(stack.stack.address()).await.expect("a connection");
        let asks = format!("{head}{length}expect: 100-continue\r\n\r\n");
        stream.write_all(asks.as_bytes()).await.expect("sent");
        let mut first = [0; 12];
        soon("a word", stream.read_exact(&mut first)).await.expect("a first line");
        if first == *b"HTTP/1.1 100" {
            let mut rest = [0; 13];
            stream.read_exact(&mut rest).await.expect("the end of it");
            let _ = stream.write_all(&large).await;
            check(answer(&mut stream).await, "after asking");
        } else {
            assert_eq!(first[9..], *expected.0.to_string().as_bytes(), "{path}");
        }
    }
    assert_eq!(shelf.looks().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_the_clients_fault_and_never_ours() {
    let shelf = Shelf::fill().await;
    let (stack, app) = (&shelf.stack, &shelf.app);
    let before = shelf.looks().await;
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let huge = "9".repeat(10_000);
    let bodies: Vec<Vec<u8>> = vec![
        deep("[", "]").into(),
        deep("{\"a\":", "}").into(),
        format!("{{\"name\":{}}}", deep("[", "]")).into(),
        format!("{{\"metadata\":{}}}", deep("{\"a\":", "1}")).into(),
        format!("{{\"name\":\"x\",\"description\":\"x\",\"schemas\":{}}}", deep("{\"a\":", "1}")).into(),
        format!("{{\"url\":{huge},\"rateLimit\":{huge},\"payloadRetentionPeriod\":{huge}}}").into(),
        b"{\"name\":1e999999,\"rateLimit\":1e400,\"eventType\":1E400}".into(),
        b"{\"name\":\"a\",\"name\":7,\"eventType\":\"a\",\"eventType\":7,\"url\":\"http://x/\",\"url\":7}"
            .into(),
        b"{\"name\":\"\xff\xfe\"}".into(),
        b"{\"\xff\":1}".into(),
        b"{\"name\":\"\\ud800\"}".into(),
        b"\0".into(),
        b"{\"name\":\"\0\"}".into(),
        b"\xef\xbb\xbf{}".into(),
        vec![0xff; 1000],
    ];
    let operations = [
        ("POST", "/app".to_owned()),
        ("PUT", "/app/acme".into()),
        ("PATCH", "/app/acme".into()),
        ("POST", "/event-type".into()),
        ("PUT", "/event-type/there".into()),
        ("PATCH", "/event-type/there".into()),
        ("POST", format!("/app/{app}/endpoint")),
        ("PUT", format!("/app/{app}/endpoint/main")),
        ("PATCH", format!("/app/{app}/endpoint/main")),
        ("POST", format!("/app/{app}/msg")),
    ];
    for (method, path) in &operations {
        for body in &bodies {
            let path = format!("/api/v1{path}");
            let answer = stack.request(method, &path, &stack.token, body.clone()).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            // A PATCH leaves alone what it does not know.
            if *method == "PATCH" && answer.status == 200 {
                continue;
            }
            assert_eq!(answer.status, 422, "{method} {path} {shown}: {}", answer.text);
            assert!(!found(&answer).is_empty());
        }
    }
    let long = "x".repeat(60_000);
    for path in [
        "/app/%00".to_owned(),
        "/app/%ff".into(),
        "/app/%c3%28".into(),
        "/app/%F0%9F%92%A9".into(),
        "/app/a%2Fb".into(),
        "/app/..%2f..".into(),
        "/app/%2e%2e".into(),
        format!("/app/{long}"),
        format!("/app/acme/endpoint/{long}"),
        format!("/app/acme/msg/{long}"),
        format!("/event-type/{long}"),
        "/app/acme/endpoint/%ff".into(),
        "/app/acme/msg/%ff".into(),
        "/event-type/%ff".into(),
        "/app/acme/attempt/msg/%ff".into(),
        "/app/acme/attempt/endpoint/%ff".into(),
        "/app/acme/msg/x/attempt/%ff".into(),
        format!("/{long}"),
        "/app//msg".into(),
        "/%".into(),
    ] {
        for method in ["GET", "PUT", "PATCH", "DELETE", "POST", "OPTIONS", "BREW"] {
            let path = format!("/api/v1{path}");
            let answer = stack.request(method, &path, &stack.token, "{}").await;
            let shown = &path[..path.len().min(60)];
            assert!(answer.status.is_client_error(), "{method} {shown}: {}", answer.status);
            let answer = answer.json();
            let shaped = answer["code"].is_string() && answer["detail"].is_string();
            assert!(shaped || answer["detail"].is_array(), "{method} {shown}: {answer}");
        }
    }
    for (name, value) in [
        ("authorization", long.clone()),
        ("authorization", "Basic dTpw".into()),
        ("authorization", "Bearer".into()),
        ("authorization", format!("Bearer {long}")),
        ("authorization", "Bearer \u{e9}".into()),
        ("authorization", "Bearer a.b.c".into()),
    ] {
        let answer = stack.request_with("GET", "/api/v1/app", "", &[(name, &value)], "").await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (401, &json!("authentication_failed")));
    }
    // What is no request of HTTP at all ends its connection with a 4xx, and only that.
    let get = "GET /api/v1/app HTTP/1.1\r\nhost: x\r\n";
    let header = format!("{get}x: {}\r\n\r\n", "x".repeat(600_000));
    for bytes in [
        b"\0\0\0\0\r\n\r\n".as_slice(),
        b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /api/v1/app?\x01 HTTP/1.1\r\nhost: x\r\n\r\n",
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(70_000)).as_bytes(),
        format!("{get}{}\r\n", "a: b\r\n".repeat(200)).as_bytes(),
        header.as_bytes(),
        format!("{get}a\x00b: c\r\n\r\n").as_bytes(),
        format!("{get}content-length: 1\r\ncontent-length: 2\r\n\r\n").as_bytes(),
        format!("{get}content-length: -1\r\n\r\n").as_bytes(),
    ] {
        let (status, _) = raw(stack, &[bytes]).await;
        assert!((400..500).contains(&status), "{status} for {:?}", &bytes[..bytes.len().min(80)]);
    }
    let settled = |looks: Vec<String>| -> Vec<String> {
        let cut = |text: &String| text.split("\"updatedAt\"").next().map(str::to_owned).unwrap_or_default();
        looks.iter().map(cut).collect()
    };
    // Only the time of the last change has moved: some of it was a PATCH of nothing.
    assert_eq!(settled(shelf.looks().await), settled(before));
}
