//! Receivers whose deliveries are not measured: what they do to those that are is.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::Failed;
use crate::client::Api;
use crate::flags::Plan;
use crate::payload::Payloads;

/// Where the receivers are, and the applications that post to them.
pub(crate) struct Beside {
    applications: Vec<String>,
    rate: u32,
    _receiving: JoinSet<()>,
}

impl Beside {
    /// Creates the receivers' endpoints; none where the plan has none.
    pub(crate) async fn set_up(plan: &Plan, api: &Api, measured: &[String]) -> Result<Option<Self>, Failed> {
        let wanted = plan.beside;
        if wanted.receivers == 0 {
            return Ok(None);
        }
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let mut receiving = JoinSet::new();
        receiving.spawn(serve(listener, wanted.takes));
        let mut applications = Vec::new();
        for nth in 0..wanted.receivers {
            let url = format!("{url}/{nth}");
            if wanted.here {
                for app in measured {
                    api.plain_endpoint(app, &url).await?;
                }
            } else {
                let app = api.application(&format!("bench beside {nth}")).await?;
                api.plain_endpoint(&app, &url).await?;
                applications.push(app);
            }
        }
        Ok(Some(Self { applications, rate: wanted.rate, _receiving: receiving }))
    }

    /// The applications that are only for this.
    pub(crate) fn applications(&self) -> &[String] {
        &self.applications
    }

    /// Posts to them, one after the other, until it is dropped; whatever becomes of it.
    pub(crate) async fn post(&self, api: &Api, payloads: &Payloads) {
        if self.applications.is_empty() {
            return std::future::pending().await;
        }
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / self.rate);
        let mut posting = JoinSet::new();
        for nth in 0_u32.. {
            ticks.tick().await;
            let app = &self.applications[nth as usize % self.applications.len()];
            let (api, message) = (api.clone(), api.messages(app, None, &[(None, payloads.text(nth))]));
            posting.spawn(async move { Ok::<_, String>(api.post(message?, 1).await) });
            while posting.try_join_next().is_some() {}
        }
    }
}

/// Responds after a while to whatever comes.
async fn serve(listener: TcpListener, takes: Duration) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let service = service_fn(move |request: http::Request<Incoming>| async move {
            let _read = request.into_body().collect().await;
            tokio::time::sleep(takes).await;
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok::<_, Infallible>(response)
        });
        connections.spawn(async move {
            // A connection that breaks is the sender's to mend.
            let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}
