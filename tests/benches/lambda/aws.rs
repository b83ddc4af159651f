//! DynamoDB and SQS as a function meets them: behind TLS, on the same machine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use local::{Settings, Stack};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How long somebody waited for the emulators: requests that overlap count once.
#[derive(Clone, Default)]
pub struct Waited(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    under_way: usize,
    since: Option<Instant>,
    total: Duration,
    requests: u64,
}

impl Waited {
    fn begin(&self, is_request: bool) {
        let mut waiting = self.0.lock().expect("no panic");
        waiting.under_way += 1;
        waiting.requests += u64::from(is_request);
        waiting.since.get_or_insert_with(Instant::now);
    }

    fn end(&self) {
        let mut waiting = self.0.lock().expect("no panic");
        waiting.under_way -= 1;
        if waiting.under_way == 0 {
            let since = waiting.since.take().expect("it began");
            waiting.total += since.elapsed();
        }
    }

    /// What was waited since this was last asked, and for how many requests.
    pub fn take(&self) -> (Duration, u64) {
        let mut waiting = self.0.lock().expect("no panic");
        (std::mem::take(&mut waiting.total), std::mem::take(&mut waiting.requests))
    }
}

/// The configuration of a server with the tests' certificate.
pub fn tls() -> Arc<ServerConfig> {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_file(data.join("localhost.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(data.join("localhost.key")).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a configuration");
    Arc::new(config)
}

/// Passes connections on to `to` without their TLS.
async fn tls_in_front_of(to: SocketAddr, waited: Waited) -> SocketAddr {
    let acceptor = tokio_rustls::TlsAcceptor::from(tls());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(pass_on(stream, to, acceptor.clone(), waited.clone()));
        }
    });
    address
}

async fn pass_on(stream: TcpStream, to: SocketAddr, acceptor: tokio_rustls::TlsAcceptor, waited: Waited) {
    // Of a handshake the emulators' share is what they compute.
    let mut handshake = pin!(acceptor.accept(stream));
    let stream = std::future::poll_fn(|context| {
        waited.begin(false);
        let polled = handshake.as_mut().poll(context);
        waited.end();
        polled
    });
    let Ok(stream) = stream.await else { return };
    let Ok(behind) = TcpStream::connect(to).await else { return };
    let _ = stream.get_ref().0.set_nodelay(true).and_then(|()| behind.set_nodelay(true));
    let (mut from_function, mut to_function) = tokio::io::split(stream);
    let (mut from_emulator, mut to_emulator) = behind.into_split();
    let asked = Mutex::new(false);
    let begin = |is_asked: bool| std::mem::replace(&mut *asked.lock().expect("no panic"), is_asked);
    let ask = async {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_function.read(&mut bytes).await {
            if !begin(true) {
                waited.begin(true);
            }
            if to_emulator.write_all(&bytes[..length]).await.is_err() {
                break;
            }
        }
    };
    let answer = async {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_emulator.read(&mut bytes).await {
            let sent = to_function.write_all(&bytes[..length]).await;
            if begin(false) {
                waited.end();
            }
            if sent.is_err() || to_function.flush().await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = ask => {}
        () = answer => {}
    }
    if begin(false) {
        waited.end();
    }
}

/// The emulators, the tables and queues in them, and an API to fill them by.
pub struct Aws {
    /// The whole local stack; nobody polls its queues.
    pub stack: Stack,
    /// How long functions waited for it.
    pub waited: Waited,
    address: SocketAddr,
}

impl Aws {
    /// Everything in memory.
    pub async fn start() -> Self {
        let settings = Settings {
            aws_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            poll: false,
            ..Settings::ephemeral()
        };
        let stack = Stack::start(settings).await.expect("the stack starts");
        let waited = Waited::default();
        let address = tls_in_front_of(stack.aws_address().expect("it is served"), waited.clone()).await;
        Self { stack, waited, address }
    }

    /// A function's environment: the template's, with the emulators for AWS, and what our own has beside it:
    /// a build of before asks for variables that are gone.
    pub fn environment(&self, function: &str) -> BTreeMap<String, String> {
        let mut env = self.stack.environment(function).expect("its environment").clone();
        env.retain(|name, _| !name.starts_with("AWS_ENDPOINT_URL"));
        env.insert("AWS_ENDPOINT_URL".into(), format!("https://localhost:{}", self.address.port()));
        let roots = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/ca.pem");
        env.insert("SSL_CERT_FILE".into(), roots.to_string_lossy().into_owned());
        for (name, value) in std::env::vars().filter(|(name, _)| name.starts_with("POSTRIDER_")) {
            env.entry(name).or_insert(value);
        }
        env
    }
}
