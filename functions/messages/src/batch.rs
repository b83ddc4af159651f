//! Many messages in one request: each is accepted, or refused, by itself.
//!
//! What a request costs apart from its message (the API's price, the token, the application) is paid once,
//! and the queue takes ten jobs a request.

use axum::extract::{Path, State};
use axum::response::IntoResponse as _;
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, OptionFuture};
use http::{HeaderMap, StatusCode, Uri};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use shared::auth::Organisation;
use shared::clock::Timestamp;
use shared::http::{
    ApiError, ApiResult, Body, BodyType, Fields, RawQuery, Rule, idempotency_key, json, reference,
};
use shared::ids::{AppId, Reference};
use shared::intake::{MessageIn, Stored};
use shared::trace::Trace;
use shared::wire::MessageOut;
use shared::{Error, Result};

use crate::{Messages, with_content};

/// Most messages in one request.
const MESSAGES_MAX: usize = 100;
/// Messages that are stored at the same time.
const STORING_MAX: usize = 16;

/// Messages, as a body.
pub const BATCH_IN: BodyType = BodyType {
    name: "MessageBatchIn",
    read: |fields| drop(messages(fields)),
    optional: false,
    fields: &[(
        "messages",
        "Each as it would be posted by itself, but without `application`: the application must exist.",
    )],
    parts: &[],
};

fn messages(fields: &mut Fields<'_>) -> Vec<Box<RawValue>> {
    const NAME: &str = "messages";
    let messages: Vec<Box<RawValue>> = fields.required(&[NAME]).unwrap_or_default();
    fields.rule(NAME, Rule::Entries(1, MESSAGES_MAX));
    if !fields.has_violation(NAME) && !(1..=MESSAGES_MAX).contains(&messages.len()) {
        fields.violation(NAME, format!("Must have between 1 and {MESSAGES_MAX} entries"), "value_error");
    }
    messages
}

/// The result for each message, in their order.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MessageBatchOut")]
pub struct BatchOut {
    data: Vec<OneOut>,
}

/// The result for one message: what a request of its own would have returned.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MessageBatchEntryOut")]
struct OneOut {
    /// The HTTP status: 202 if it was accepted.
    status: u16,
    /// The message, if it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<MessageOut>,
    /// The body of the error, if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
}

impl OneOut {
    async fn new(outcome: Result<MessageOut>) -> Self {
        match outcome {
            Ok(message) => {
                Self { status: StatusCode::ACCEPTED.as_u16(), message: Some(message), error: None }
            }
            Err(error) => {
                let (parts, body) = ApiError(error).into_response().into_parts();
                // It is in memory: reading it does not fail.
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
                let error = serde_json::from_slice(&body).unwrap_or_default();
                Self { status: parts.status.as_u16(), message: None, error: Some(error) }
            }
        }
    }
}

/// Accepts messages, each by itself.
pub async fn create(
    State(state): State<Messages>,
    Organisation(caller): Organisation,
    Path(app): Path<String>,
    query: RawQuery,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> ApiResult {
    let with_content = with_content(&query)?;
    let reference = reference(&app, "Application")?;
    let key = idempotency_key(&headers, &caller, &uri, &*state.api.random)?;
    let mut fields = Fields::parse(&body.0)?;
    let texts = messages(&mut fields);
    fields.finish()?;
    let app = state.intake.application(&caller, &reference, None).await?;
    let trace = Trace::of(&headers);

    let intake = &state.intake;
    let mut store: Vec<BoxFuture<'_, Result<Stored<'_>>>> = Vec::with_capacity(texts.len());
    for (nth, text) in texts.iter().enumerate() {
        let (app, key) = (&app, key.as_ref().map(|key| key.of_part(nth)));
        let message = parse(text, &reference, state.api.clock.now());
        store.push(Box::pin(async move {
            let message = message?;
            intake.admit(app).await?;
            let claimed = OptionFuture::from(key.map(|key| intake.claim(key))).await.transpose()?;
            intake.store(app, claimed, message, trace).await
        }));
    }
    let outcomes: Vec<Result<Stored<'_>>> =
        futures_util::stream::iter(store).buffered(STORING_MAX).collect().await;
    let mut data = Vec::with_capacity(outcomes.len());
    for accepted in intake.queue_stored(outcomes).await {
        let outcome = match accepted {
            Ok(accepted) => state.answer(&accepted, with_content).await,
            Err(error) => Err(error),
        };
        data.push(OneOut::new(outcome).await);
    }
    Ok(json(StatusCode::OK, &BatchOut { data }))
}

fn parse(text: &RawValue, app: &Reference<AppId>, now: Timestamp) -> Result<MessageIn> {
    let message = MessageIn::parse(text.get().as_bytes(), app, now)?;
    if message.application.is_some() {
        let text = "An application is not made by a message of a batch";
        return Err(Error::violation(["body", "application"], text, "value_error"));
    }
    Ok(message)
}
