//! Deliveries over HTTPS: to a certificate that is trusted, and to one that is not.
//!
//! `tests/data` holds an authority for tests alone (its key was thrown away) and a certificate of it
//! for `localhost`, valid for a hundred years.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use svix::models::{ApplicationIn, EndpointIn, MessageIn};
use tokio::sync::mpsc;

use crate::child::Child;
use crate::test_stack::{TestStack, sdk, settings, soon};

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// A server that speaks TLS and tells of each request, by its HTTP version.
async fn server() -> (SocketAddr, mpsc::UnboundedReceiver<http::Version>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_file(data("localhost.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(data("localhost.key")).expect("a key");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a configuration");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (send, arrived) = mpsc::unbounded_channel();
    let router = Router::new().fallback(move |request: axum::extract::Request| {
        let _ = send.send(request.version());
        async { http::StatusCode::NO_CONTENT }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = TowerToHyperService::new(router);
                let _ =
                    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (address, arrived)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_trusted_authority_is_delivered_to() {
    let (address, mut arrived) = server().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (_child, api) = Child::start(folder.path(), &[("SSL_CERT_FILE", &data("ca.pem"))]).await;
    let token = local::Stack::start(settings()).await.expect("a stack").org_token(None);
    let svix = sdk(api, &token);
    let app =
        svix.application().create(ApplicationIn::new("x".into()), None).await.expect("an application").id;
    let url = format!("https://localhost:{}/", address.port());
    svix.endpoint().create(app.clone(), EndpointIn::new(url), None).await.expect("an endpoint");
    svix.message().create(app, MessageIn::new("a".into(), json!({})), None).await.expect("a message");
    assert_eq!(soon("a webhook", arrived.recv()).await, Some(http::Version::HTTP_2));
}

/// INV-28
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_nobody_known_is_not() {
    let (address, mut arrived) = server().await;
    let stack = TestStack::with(settings().with("POSTRIDER_RETRY_SCHEDULE", "")).await;
    let app = stack.app().await;
    stack.endpoint(&app, &format!("https://localhost:{}/", address.port())).await;
    let id = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;
    stack.idle().await;
    let attempts = stack.attempts(&app, &id).await;
    assert_eq!(attempts[0].response_status_code, 0);
    assert!(attempts[0].response.contains("certificate"), "{}", attempts[0].response);
    assert!(arrived.try_recv().is_err());
}
