//! The embedded STS: every role trusts everybody who passes an external ID. It is there so that endpoints in AWS
//! reach the embedded queues; what it gives out is checked nowhere.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Form;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Deserialize;
use shared::clock::SharedClock;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::error::StartError;

/// How long credentials are said to be good.
const SESSION: Duration = Duration::from_secs(3600);

/// A running server. Dropping it ends the server.
pub(crate) struct Sts {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Sts {
    /// Serves on a loopback socket.
    pub(crate) async fn start(clock: SharedClock) -> Result<Self, StartError> {
        let failed =
            |error: std::io::Error| StartError::Embedded { service: "STS", problem: error.to_string() };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let router = Router::new().fallback(answer).with_state(clock);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the embedded STS has ended");
            }
        });
        Ok(Self { address, task })
    }
}

impl Drop for Sts {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Asked {
    action: String,
    role_arn: Option<String>,
    external_id: Option<String>,
}

async fn answer(State(clock): State<SharedClock>, Form(asked): Form<Asked>) -> Response {
    let refused = |code: &str, said: &str| {
        let text = format!(
            "<ErrorResponse><Error><Code>{code}</Code><Message>{said}</Message></Error></ErrorResponse>"
        );
        (StatusCode::FORBIDDEN, text).into_response()
    };
    match asked {
        Asked { action, role_arn: Some(_), external_id: Some(_) } if action == "AssumeRole" => {
            let until = clock.now().after(SESSION);
            format!(
                "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>test</AccessKeyId>\
                 <SecretAccessKey>test</SecretAccessKey><SessionToken>test</SessionToken>\
                 <Expiration>{until}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
            )
            .into_response()
        }
        Asked { action, .. } if action == "AssumeRole" => {
            refused("AccessDenied", "The role demands an external ID.")
        }
        _ => refused("InvalidAction", "Only AssumeRole is served here."),
    }
}
