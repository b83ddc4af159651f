//! A server on an ephemeral port and a client for it.

use std::fmt::Debug;
use std::net::SocketAddr;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use local_sqs::{Engine, Options};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const ARN: &str = "arn:aws:sqs:us-east-1:000000000000:";

pub struct Server {
    pub engine: Engine,
    pub client: Client,
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), local_sqs::Error>>,
}

pub fn client(address: SocketAddr) -> Client {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("http://{address}"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .http_client(http)
        .build();
    Client::from_conf(config)
}

impl Server {
    pub async fn start() -> Self {
        Self::open(Options::default()).await
    }

    pub async fn open(options: Options) -> Self {
        let engine = Engine::open(options).expect("the engine opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            let _either = stopped.await;
        };
        let serving = tokio::spawn(local_sqs::serve(listener, engine.clone(), shutdown));
        Self { engine, client: client(address), address, stop, serving }
    }

    /// Stops and lets go of everything.
    pub async fn stop(self) {
        let _gone = self.stop.send(());
        self.serving.await.expect("no panic").expect("served");
        self.engine.close();
    }

    pub async fn queue(&self, name: &str, attributes: &[(QueueAttributeName, &str)]) -> String {
        let mut request = self.client.create_queue().queue_name(name);
        for (key, value) in attributes {
            request = request.attributes(key.clone(), *value);
        }
        request.send().await.expect("created").queue_url.expect("its URL")
    }

    pub async fn send(&self, url: &str, body: &str) -> String {
        let sent = self.client.send_message().queue_url(url).message_body(body).send().await;
        sent.expect("sent").message_id.expect("its id")
    }

    pub async fn send_to_group(&self, url: &str, group: &str, body: &str) {
        let request = self.client.send_message().queue_url(url).message_body(body).message_group_id(group);
        request.send().await.expect("sent");
    }

    /// Up to ten messages, with everything they have, without waiting.
    pub async fn receive(&self, url: &str) -> Vec<Message> {
        let request = self.client.receive_message().queue_url(url).max_number_of_messages(10);
        let request = request
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All");
        request.send().await.expect("received").messages.unwrap_or_default()
    }

    pub async fn attribute(&self, url: &str, name: QueueAttributeName) -> Option<String> {
        let request = self.client.get_queue_attributes().queue_url(url).attribute_names(name.clone());
        request.send().await.expect("read").attributes.and_then(|mut all| all.remove(&name))
    }
}

pub fn policy(target: &str, max: u32) -> String {
    format!(r#"{{"deadLetterTargetArn":"{ARN}{target}","maxReceiveCount":{max}}}"#)
}

/// The code that an operation was refused with.
pub fn code<T: Debug, E: ProvideErrorMetadata + Debug, R: Debug>(
    result: Result<T, SdkError<E, R>>,
) -> String {
    let error = result.expect_err("this must be refused");
    ProvideErrorMetadata::code(&error).unwrap_or_else(|| panic!("no code in {error:?}")).to_owned()
}

pub fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().filter_map(Message::body).collect()
}

pub fn attribute(message: &Message, name: MessageSystemAttributeName) -> Option<&str> {
    message.attributes()?.get(&name).map(String::as_str)
}
