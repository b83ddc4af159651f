//! Proxies of the environment are not asked: they would connect to where the guard does not permit.

use std::path::Path;

use serde_json::json;
use svix::models::{ApplicationIn, EndpointIn, MessageIn};
use tokio::net::TcpListener;

use crate::child::Child;
use crate::test_stack::{Receiver, TestStack, sdk, settings};

/// INV-28
#[tokio::test(flavor = "multi_thread")]
async fn deliveries_go_past_the_proxies_of_the_environment() {
    let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", proxy.local_addr().expect("an address"));
    let variables = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let mut variables: Vec<(&str, &Path)> = variables.map(|name| (name, Path::new(&url))).into();
    variables.extend([("no_proxy", Path::new("")), ("NO_PROXY", Path::new(""))]);

    let folder = tempfile::tempdir().expect("a folder");
    let (_child, address) = Child::start(folder.path(), &variables).await;
    // The secrets are the same: a token of one is one of the other.
    let token = TestStack::with(settings()).await.token;
    let svix = sdk(address, &token);
    let mut receiver = Receiver::start().await;
    let app = svix.application().create(ApplicationIn::new("x".into()), None).await.expect("made").id;
    let endpoint = EndpointIn::new(receiver.url("/direct"));
    svix.endpoint().create(app.clone(), endpoint, None).await.expect("made");
    let nowhere = EndpointIn::new("https://127.0.0.1:1/".into());
    svix.endpoint().create(app.clone(), nowhere, None).await.expect("made");
    let message = MessageIn::new("a".into(), json!({"n": 1}));
    svix.message().create(app, message, None).await.expect("accepted");

    assert_eq!(receiver.next().await.path, "/direct");
    let proxy = proxy.into_std().expect("a listener");
    let came = proxy.accept().map(|(_, from)| from);
    assert_eq!(came.expect_err("the proxy was asked").kind(), std::io::ErrorKind::WouldBlock);
}
