//! Sending a message to an endpoint once more, by hand.

use std::time::Duration;

use axum::extract::State;
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::Authenticated;
use shared::http::{Accepted, ApiResult, AppRef, EndpointRef, Idempotent, MessageRef, Once, Path};
use shared::ids::AttemptId;
use shared::queue::{Job, Outgoing, Resend};
use shared::store::applications::Application;
use shared::store::attempts::RESENDS_MAX;
use shared::store::endpoints::Endpoint;
use shared::store::messages::Message;
use shared::trace::Trace;
use shared::{Error, Result};

use crate::Attempts;

/// Empty; clients expect an object.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EmptyOut")]
pub struct ResendOut {}

/// `POST …/msg/{msg_id}/endpoint/{endpoint_id}/resend`
pub async fn resend(
    State(state): State<Attempts>,
    Authenticated(caller): Authenticated,
    Path((app, message, endpoint)): Path<(AppRef, MessageRef, EndpointRef)>,
    idempotent: Idempotent,
    headers: HeaderMap,
) -> ApiResult<Once<Accepted<ResendOut>>> {
    let store = &state.api.store;
    idempotent
        .once(&caller, async || {
            let app = store.application_for(&caller, &app).await?;
            let message = store.message_for(app.id, &message).await?;
            let endpoint = store.endpoint_for(app.id, &endpoint).await?;
            state.send_again(&app, &message, &endpoint, Trace::of(&headers)).await?;
            Ok(Accepted(ResendOut {}))
        })
        .await
}

impl Attempts {
    async fn send_again(
        &self,
        app: &Application,
        message: &Message,
        endpoint: &Endpoint,
        trace: Option<Trace>,
    ) -> Result<()> {
        let (store, now) = (&self.api.store, self.api.clock.now());
        if message.payload_until <= now {
            return Err(Error::Conflict(
                "The message's payload was deleted or has expired: it can no longer be sent.".into(),
            ));
        }
        if endpoint.settings.disabled {
            return Err(Error::Conflict(
                "The endpoint is disabled: enable it, then send the message again.".into(),
            ));
        }
        endpoint.settings.destination.check_sent_to()?;
        let state = store.states(message.id, &[endpoint.id], true).await?.pop();
        if state.is_some_and(|state| state.by_hand.len() >= RESENDS_MAX) {
            let text = format!(
                "The message was sent to this endpoint {RESENDS_MAX} times by resends and replays, which is the limit."
            );
            return Err(Error::Conflict(text));
        }
        store.note_destination(message, endpoint.id).await?;
        let job = Job::Resend(Resend {
            org: app.org,
            app: app.id,
            endpoint: endpoint.id,
            message: message.id,
            attempt: AttemptId::by_hand(message.id, endpoint.id, now, &*self.api.random),
            slot: None,
            trace,
        });
        let job = Outgoing::new(&job, Duration::ZERO, app.id)?;
        self.sqs.send_one(&self.deliveries, job).await
    }
}
