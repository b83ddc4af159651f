//! The headers of one attempt: what was sent, computed again, and what is kept of the response's.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use shared::Result;
use shared::auth::Authenticated;
use shared::http::{ApiResult, AppRef, Json, MessageRef, Path};
use shared::ids::AttemptId;
use shared::signing;
use shared::store::attempts::{Attempt, Passage};
use shared::store::endpoint_secrets::EndpointHeaders;
use shared::store::messages::Message;
use shared::webhook::{Webhook, attributes, is_sensitive};
use url::Url;

use crate::Attempts;

/// What callers should know of it.
pub const ABOUT: &str = "\
The request's headers are computed again, with the keys and the headers that the endpoint has now: without the signature \
where the payload or the endpoint is gone or a transformation changed the webhook, whose own headers are not kept, and without `traceparent`, HTTP message signatures and the connection's own (`host`, `content-length`); of what was sent to a place in AWS, they are the attributes. Of the response's, \
up to 2 KB of a failure's are kept, and of a success's what fits its record.";
/// What is shown for a value that is not.
const MASKED: &str = "********";

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttemptHeadersOut {
    /// Names and values of the request's headers.
    #[schemars(with = "Vec<[String; 2]>")]
    sent_headers: Vec<(String, String)>,
    /// Names and values of the response's headers, as far as they are kept.
    #[schemars(with = "Vec<[String; 2]>")]
    response_headers: Vec<(String, String)>,
    /// Names of headers of the request whose values are masked.
    sensitive: Vec<String>,
}

/// `GET …/msg/{msg_id}/attempt/{attempt_id}/headers`
pub async fn read(
    State(state): State<Attempts>,
    Authenticated(caller): Authenticated,
    Path(path): Path<(AppRef, MessageRef, AttemptId)>,
) -> ApiResult<Json<AttemptHeadersOut>> {
    let (message, attempt, _) = state.attempt(&caller, path).await?;
    let mut sent_headers = state.sent(&message, &attempt).await?;
    let mut sensitive = Vec::new();
    for (name, value) in &mut sent_headers {
        if is_sensitive(name) {
            sensitive.push(name.clone());
            MASKED.clone_into(value);
        }
    }
    let response_headers = attempt.response_headers;
    Ok(Json(AttemptHeadersOut { sent_headers, response_headers, sensitive }))
}

impl Attempts {
    /// The headers that the attempt was sent with; none where its URL could not be sent to.
    async fn sent(&self, message: &Message, attempt: &Attempt) -> Result<Vec<(String, String)>> {
        if attempt.passage == Passage::Canceled {
            return Ok(Vec::new());
        }
        let Ok(url) = Url::parse(&attempt.url) else { return Ok(Vec::new()) };
        let store = &self.api.store;
        let endpoint = store.find_endpoint(message.app, attempt.endpoint).await?;
        let payload = store.payload(message).await?;
        let (id, timestamp) = (message.id.to_string(), attempt.at.seconds());
        let signature = match (&endpoint, &payload) {
            // What was sent then is not kept.
            _ if attempt.passage != Passage::Untransformed => None,
            (Some(endpoint), Some(payload)) => {
                let keys = endpoint.valid_keys(attempt.at);
                let signed = endpoint.settings.destination.signed(payload);
                Some(signing::signatures(keys, &id, timestamp, signed.as_bytes())?)
            }
            _ => None,
        };
        // A place in AWS: what it was sent has attributes.
        if url.scheme() == "arn" {
            let content_type = message.stored.content_type.as_deref();
            let event_type = &message.labels.event_type;
            let sent = attributes(self.style, &id, timestamp, signature.as_deref(), content_type, event_type);
            return Ok(sent.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        }
        let none = EndpointHeaders::default();
        let webhook = Webhook {
            style: self.style,
            url: &url,
            headers: endpoint.as_ref().map_or(&none, |endpoint| &endpoint.headers),
            content_type: message.stored.content_type.as_deref(),
            empty: payload.is_some_and(|payload| payload.sent().is_empty()),
            message: &id,
            timestamp,
            signature: signature.as_deref(),
            // The trace that the message came with is not kept.
            traceparent: None,
        };
        let headers = webhook.headers().into_iter();
        Ok(headers.map(|(name, value)| (name.to_owned(), value.into_owned())).collect())
    }
}
