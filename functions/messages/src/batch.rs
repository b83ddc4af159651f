//! Many messages in one request: each is accepted, or refused, by itself.
//!
//! What a request costs apart from its message (the API's price, the token, the application) is paid once,
//! and the queue takes ten jobs a request.

use axum::extract::State;
use axum::response::IntoResponse as _;
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, OptionFuture};
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use shared::auth::Organisation;
use shared::clock::Timestamp;
use shared::http::{
    ApiError, ApiResult, AppRef, Body, BodyType, Fields, Idempotent, Json, Path, Query, RequestBody, Rule,
};
use shared::ids::{AppId, Reference};
use shared::intake::{MessageIn, Stored};
use shared::trace::Trace;
use shared::wire::MessageOut;
use shared::{Error, Result};

use crate::{Messages, WithContent};

/// Most messages in one request.
const MESSAGES_MAX: usize = 100;
/// Messages that are stored at the same time.
const STORING_MAX: usize = 16;

/// Messages, each as it was sent.
pub struct BatchIn(Vec<Box<RawValue>>);

impl RequestBody for BatchIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "MessageBatchIn",
        &[(
            "messages",
            "Each as it would be posted by itself, but without `application`: the application must exist.",
        )],
    );

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        const NAME: &str = "messages";
        let messages: Vec<Box<RawValue>> = fields.required(&[NAME]).unwrap_or_default();
        fields.rule(NAME, Rule::Entries(1, MESSAGES_MAX));
        if !fields.has_violation(NAME) && !(1..=MESSAGES_MAX).contains(&messages.len()) {
            fields.violation(NAME, format!("Must have between 1 and {MESSAGES_MAX} entries"));
        }
        Self(messages)
    }
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
    Query(WithContent(with_content)): Query<WithContent>,
    Path((reference,)): Path<(AppRef,)>,
    idempotent: Idempotent,
    headers: HeaderMap,
    body: Body<BatchIn>,
) -> ApiResult<Json<BatchOut>> {
    let key = idempotent.key(&caller)?;
    let BatchIn(texts) = body.read()?;
    let app = state.intake.application(&caller, &reference, None).await?;
    let trace = Trace::of(&headers);

    let intake = &state.intake;
    let mut store: Vec<BoxFuture<'_, Result<Stored<'_>>>> = Vec::with_capacity(texts.len());
    for (nth, text) in texts.iter().enumerate() {
        let (app, key) = (&app, key.as_ref().map(|key| key.of_part(nth)));
        // Here, so that they are listed in the order of the request, whichever is stored first.
        let id = intake.next_id();
        let message = parse(text, &reference, state.api.clock.now());
        store.push(Box::pin(async move {
            let message = message?;
            intake.admit(app, &message).await?;
            let claimed = OptionFuture::from(key.map(|key| intake.claim(key, id))).await.transpose()?;
            intake.store(app, (id, claimed), message, trace).await
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
    Ok(Json(BatchOut { data }))
}

fn parse(text: &RawValue, app: &Reference<AppId>, now: Timestamp) -> Result<MessageIn> {
    let message = MessageIn::parse(text.get().as_bytes(), app, now)?;
    if message.application.is_some() {
        let text = "An application is not made by a message of a batch";
        return Err(Error::violation(["body", "application"], text));
    }
    Ok(message)
}
