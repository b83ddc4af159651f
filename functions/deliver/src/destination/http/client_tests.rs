//! The client against receivers that speak bytes: what they answer need not be HTTP.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn pem(name: &str) -> String {
    format!("{}/testdata/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Reaches this machine, and trusts the tests' authority.
fn client() -> Network {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pem("ca.pem")).unwrap()).unwrap();
    let guard = Guard::new(vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    network_by(guard, tls().with_root_certificates(roots).with_no_client_auth())
}

fn post(url: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(url).body(Full::new(body.into())).unwrap()
}

/// Sends, and gives the status and the whole body; or why there is none.
async fn exchange(client: &Network, url: &str) -> Result<(StatusCode, Bytes), String> {
    let answer = client.send(post(url, "{}")).await.map_err(|error| error.reason)?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
    Ok((status, body.to_bytes()))
}

/// Reads one request of those above; none at the connection's end.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<()> {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n{}") {
        seen.push(stream.read_u8().await.ok()?);
    }
    Some(())
}

/// How a receiver ends a connection.
#[derive(Clone, Copy)]
enum End {
    Close,
    Reset,
}

impl End {
    fn of(self, stream: TcpStream) {
        if matches!(self, Self::Reset) {
            stream.set_zero_linger().unwrap();
        }
        drop(stream);
    }
}

/// A receiver that counts its connections and handles each with `handle`, which gets its number.
async fn receiver<F>(handle: impl Fn(usize, TcpStream) -> F + Send + 'static) -> (String, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(count.fetch_add(1, Ordering::SeqCst), stream));
        }
    });
    (url, connections)
}

#[tokio::test]
async fn a_kept_connection_that_dies_without_a_byte_is_replaced_within_the_attempt() {
    for end in [End::Close, End::Reset] {
        // The first connection ends when its second request has come.
        let (url, connections) = receiver(move |nth, mut stream| async move {
            for served in 0.. {
                if request(&mut stream).await.is_none() || (nth == 0 && served == 1) {
                    break;
                }
                stream.write_all(OK).await.unwrap();
            }
            end.of(stream);
        })
        .await;
        let client = client();
        for _ in 0..2 {
            assert_eq!(exchange(&client, &url).await, Ok((StatusCode::OK, Bytes::from("ok"))));
        }
        assert_eq!(connections.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn the_second_try_is_the_last_and_by_a_new_connection() {
    // Two connections are kept, and both of them end at their second request, as all later ones do at once.
    let (send, arrived) = tokio::sync::mpsc::unbounded_channel();
    let arrived = tokio::sync::Mutex::new(arrived);
    let both = Arc::new(tokio::sync::Barrier::new(2));
    let (url, connections) = receiver(move |nth, mut stream| {
        let (both, send) = (both.clone(), send.clone());
        async move {
            if nth < 2 && request(&mut stream).await.is_some() {
                both.wait().await;
                stream.write_all(OK).await.unwrap();
            }
            if request(&mut stream).await.is_some() {
                send.send(nth).unwrap();
            }
        }
    })
    .await;
    let client = client();
    let (one, other) = tokio::join!(exchange(&client, &url), exchange(&client, &url));
    assert!(one.is_ok() && other.is_ok());
    let refused = exchange(&client, &url).await;
    assert_eq!(refused, Err("the receiver closed the connection without a response".into()));
    let mut arrived = arrived.lock().await;
    assert!(arrived.recv().await.unwrap() < 2);
    assert_eq!(arrived.recv().await, Some(2));
    assert!(arrived.try_recv().is_err());
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

/// INV-17
#[tokio::test]
async fn nothing_is_sent_again_after_a_byte_or_by_a_first_connection() {
    for (first, then) in [(false, &b"H"[..]), (false, b"HTTP/1.1 200 OK\r\n"), (true, b"")] {
        let (url, connections) = receiver(move |_, mut stream| async move {
            if !first && request(&mut stream).await.is_some() {
                stream.write_all(OK).await.unwrap();
            }
            if request(&mut stream).await.is_some() {
                stream.write_all(then).await.unwrap();
            }
        })
        .await;
        let client = client();
        if !first {
            exchange(&client, &url).await.unwrap();
        }
        exchange(&client, &url).await.unwrap_err();
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_before_the_request_was_read_counts() {
    for status in [413u16, 401] {
        for end in [End::Close, End::Reset] {
            let (url, connections) = receiver(move |_, mut stream| async move {
                stream.read_u8().await.unwrap();
                let head =
                    format!("HTTP/1.1 {status} No\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno");
                stream.write_all(head.as_bytes()).await.unwrap();
                end.of(stream);
            })
            .await;
            let client = client();
            for _ in 0..20 {
                let answer = client.send(post(&url, vec![b'x'; 4_000_000])).await;
                assert_eq!(answer.map(|answer| answer.status().as_u16()), Ok(status));
            }
            assert_eq!(connections.load(Ordering::SeqCst), 20);
        }
    }
}

#[tokio::test]
async fn a_head_may_be_large_and_one_that_is_too_large_says_so() {
    let many = |count: usize| {
        format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "a: b\r\n".repeat(count - 1))
    };
    let long =
        |kb: usize| format!("HTTP/1.1 200 OK\r\na: {}\r\ncontent-length: 0\r\n\r\n", "x".repeat(kb * 1024));
    for (head, read) in
        [(many(101), true), (many(1000), true), (many(1001), false), (long(250), true), (long(1024), false)]
    {
        let (url, _) = receiver(move |_, mut stream| {
            let head = head.clone();
            async move {
                if request(&mut stream).await.is_some() {
                    // Nobody may be reading any more.
                    let _ = stream.write_all(head.as_bytes()).await;
                    let _ = stream.read_u8().await;
                }
            }
        })
        .await;
        let expected = if read {
            Ok((StatusCode::OK, Bytes::new()))
        } else {
            Err("the head of the response is too large (1,000 headers and 256 KB are read), or says that the body is".into())
        };
        assert_eq!(exchange(&client(), &url).await, expected);
    }
}

/// A TLS server with one of the tests' certificates; `strict`: it requires one of the client, too.
fn server(certificate: &str, versions: &[&'static SupportedProtocolVersion], strict: bool) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pem("ca.pem")).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let builder = if strict {
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let certificate = CertificateDer::from_pem_file(pem(certificate)).unwrap();
    let key = PrivateKeyDer::from_pem_file(pem("server.key")).unwrap();
    builder.with_single_cert(vec![certificate], key).unwrap()
}

fn acceptor(certificate: &str, protocols: &[&[u8]]) -> TlsAcceptor {
    let mut config = server(certificate, rustls::ALL_VERSIONS, false);
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// What an HTTP/2 receiver does with a request.
#[derive(Clone, Copy)]
enum Turn {
    /// Answers, with so many kilobytes of headers.
    Answer(usize),
    /// Says that it did not process the request.
    Refuse,
    /// Ends the connection.
    Die,
}

/// Serves HTTP/2 over TLS; each request takes the next of `turns`. Gives how many connections and requests
/// there were.
async fn http2(turns: &'static [Turn]) -> (String, Arc<[AtomicUsize; 2]>) {
    let acceptor = acceptor("valid.pem", &[b"h2"]);
    let seen = Arc::new([const { AtomicUsize::new(0) }; 2]);
    let counts = seen.clone();
    let (url, _) = receiver(move |_, stream| {
        let (acceptor, counts) = (acceptor.clone(), counts.clone());
        counts[0].fetch_add(1, Ordering::SeqCst);
        async move {
            let stream = acceptor.accept(stream).await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                match turns[counts[1].fetch_add(1, Ordering::SeqCst)] {
                    Turn::Answer(kb) => {
                        let mut answer = Response::new(());
                        for _ in 0..kb {
                            answer.headers_mut().append("a", "x".repeat(1000).parse().unwrap());
                        }
                        respond.send_response(answer, true).unwrap();
                    }
                    Turn::Refuse => respond.send_reset(h2::Reason::REFUSED_STREAM),
                    Turn::Die => break,
                }
            }
        }
    })
    .await;
    (url.replace("http:", "https:"), seen)
}

#[tokio::test]
async fn http2_answers_may_have_large_heads() {
    let (url, seen) = http2(&[Turn::Answer(17), Turn::Answer(40), Turn::Answer(240)]).await;
    let client = client();
    for _ in 0..3 {
        assert_eq!(exchange(&client, &url).await, Ok((StatusCode::OK, Bytes::new())));
    }
    assert_eq!(seen[0].load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_http2_calls_unprocessed_is_sent_again_on_a_new_connection() {
    let (url, seen) = http2(&[Turn::Refuse, Turn::Answer(0)]).await;
    assert_eq!(exchange(&client(), &url).await, Ok((StatusCode::OK, Bytes::new())));
    assert_eq!(seen[0].load(Ordering::SeqCst), 2);
    // Once.
    let (url, seen) = http2(&[Turn::Refuse, Turn::Refuse]).await;
    let reason = "the receiver refused the request without a response (REFUSED_STREAM)";
    assert_eq!(exchange(&client(), &url).await, Err(reason.into()));
    assert_eq!(seen[1].load(Ordering::SeqCst), 2);
    // A kept connection that dies.
    let (url, seen) = http2(&[Turn::Answer(0), Turn::Die, Turn::Answer(0)]).await;
    let client = client();
    for _ in 0..2 {
        assert_eq!(exchange(&client, &url).await, Ok((StatusCode::OK, Bytes::new())));
    }
    assert_eq!(seen[0].load(Ordering::SeqCst), 2);
    // One that was not kept.
    let (url, seen) = http2(&[Turn::Die]).await;
    assert!(exchange(&self::client(), &url).await.is_err());
    assert_eq!(seen[1].load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_that_goes_away_before_the_request_is_replaced() {
    let acceptor = acceptor("valid.pem", &[b"h2"]);
    let (url, connections) = receiver(move |nth, stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            if nth == 0 {
                // Settings, and GOAWAY with NO_ERROR once a request is here: stream 0 was the last one.
                stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
                let mut seen = Vec::new();
                while !seen.ends_with(b"{}") {
                    seen.push(stream.read_u8().await.unwrap());
                }
                let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                stream.write_all(&goaway).await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
            } else {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    respond.send_response(Response::new(()), true).unwrap();
                }
            }
        }
    })
    .await;
    let url = url.replace("http:", "https:");
    assert_eq!(exchange(&client(), &url).await, Ok((StatusCode::OK, Bytes::new())));
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_tls_refuses_is_said_in_words_of_the_receivers_owner() {
    let unknown = "is self-signed or of an unknown authority";
    let both = rustls::ALL_VERSIONS;
    for (config, part) in [
        (server("valid.pem", both, false), ""),
        (server("expired.pem", both, false), "has expired"),
        (server("early.pem", both, false), "is not valid yet"),
        (server("other.pem", both, false), "is for another host name"),
        (server("self_signed.pem", both, false), "is self-signed"),
        (server("self_signed_leaf.pem", both, false), unknown),
        (server("valid.pem", both, true), "requires a client certificate"),
        (server("valid.pem", &[&rustls::version::TLS12], true), "client certificate"),
    ] {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (url, _) = receiver(move |_, stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                if request(&mut stream).await.is_some() {
                    stream.write_all(OK).await.unwrap();
                }
            }
        })
        .await;
        let answered = exchange(&client(), &url.replace("http:", "https:")).await;
        match answered {
            Ok((status, _)) => assert_eq!((status, part), (StatusCode::OK, "")),
            Err(reason) => {
                assert!(!part.is_empty() && reason.contains(part), "{part}: {reason}");
                let jargon = reason.contains("http") || reason.contains('(') || reason.contains("Error");
                assert!(!jargon, "{reason}");
            }
        }
    }
    // Not TLS at all.
    let (url, _) = receiver(|_, mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let reason = exchange(&client(), &url.replace("http:", "https:")).await.unwrap_err();
    assert!(reason.ends_with("the receiver does not speak TLS on this port"), "{reason}");
    let (url, _) = receiver(|_, stream| async move { drop(stream) }).await;
    let reason = exchange(&client(), &url.replace("http:", "https:")).await.unwrap_err();
    assert!(reason.contains("during the TLS handshake"), "{reason}");
}
