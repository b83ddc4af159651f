//! Audit events: who changed what of the configuration, and how it was before.

use runtime::clock::Timestamp;
use serde_json::{Map, Value};

use crate::caller::Caller;
use crate::ids::{AppId, AuditId, Id as _, Ksuid};
use crate::page::ListQuery;

mod facts;

pub use facts::AuditSnapshot;

macro_rules! audit_actions {
    ($($(#[doc = $doc:literal])* $name:ident $text:literal,)*) => {
        /// What was done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum AuditAction {
            $($(#[doc = $doc])* $name,)*
        }

        impl AuditAction {
            /// All that there is, and their words.
            pub const ALL: &[(&'static str, Self)] = &[$(($text, Self::$name),)*];

            /// The word for it.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

audit_actions! {
    /// An application was made.
    ApplicationCreated "application.created",
    /// Its settings were changed.
    ApplicationUpdated "application.updated",
    /// It was deleted; what it leaves is being erased.
    ApplicationDeleted "application.deleted",
    /// All tokens that it had had by then were given an end.
    TokensExpired "application.tokens-expired",
    /// A token was revoked by its organisation.
    TokenRevoked "token.revoked",
    /// The look of the organisation's portal was changed.
    EnvironmentUpdated "environment.settings-updated",
    /// It got a key, its first or another, by which webhooks are signed as HTTP messages.
    SigningKeyCreated "environment.signing-key-created",
    /// An endpoint was made.
    EndpointCreated "endpoint.created",
    /// Its settings were changed.
    EndpointUpdated "endpoint.updated",
    /// It was deleted.
    EndpointDeleted "endpoint.deleted",
    /// Postrider switched it off.
    EndpointDisabled "endpoint.disabled",
    /// Postrider switched it on again: it answered a probe.
    EndpointEnabled "endpoint.enabled",
    /// Its headers were changed.
    EndpointHeadersUpdated "endpoint.headers-updated",
    /// Its transformation was changed.
    EndpointTransformationUpdated "endpoint.transformation-updated",
    /// It got another key to sign with.
    EndpointSecretRotated "endpoint.secret-rotated",
    /// It got another key with which its receiver configures it.
    EndpointAutoConfigKeyRotated "endpoint.auto-config-key-rotated",
    /// It got another key to be polled with.
    PollingKeyRotated "endpoint.polling-key-rotated",
    /// Its keys to be polled with were revoked.
    PollingKeysRevoked "endpoint.polling-keys-revoked",
    /// What waits in its order is not sent for a while.
    OrderPaused "endpoint.order-paused",
    /// It is sent again.
    OrderResumed "endpoint.order-resumed",
    /// It was asked to be tried at once.
    OrderRetried "endpoint.order-retried",
    /// A message in it was given up.
    OrderSkipped "endpoint.order-skipped",
    /// What failed was asked to be sent again.
    EndpointRecover "endpoint.recover",
    /// What was never sent was asked to be sent.
    EndpointReplay "endpoint.replay",
    /// Everything was asked to be sent again.
    EndpointBulkReplay "endpoint.bulk-replay",
    /// An integration was made.
    IntegrationCreated "integration.created",
    /// It was changed.
    IntegrationUpdated "integration.updated",
    /// It was deleted, and its key with it.
    IntegrationDeleted "integration.deleted",
    /// It got another key; the one before ended.
    IntegrationKeyRotated "integration.key-rotated",
    /// An event type was made, or an archived one brought back.
    EventTypeCreated "event-type.created",
    /// It was changed.
    EventTypeUpdated "event-type.updated",
    /// It is no longer offered.
    EventTypeArchived "event-type.archived",
    /// It was removed altogether.
    EventTypeDeleted "event-type.deleted",
    /// A connector was made.
    ConnectorCreated "connector.created",
    /// It was changed.
    ConnectorUpdated "connector.updated",
    /// It was deleted.
    ConnectorDeleted "connector.deleted",
    /// A message's payload was taken out.
    MessageExpunged "message.expunged",
    /// The payloads of all of an application's messages were asked to be taken out.
    MessagesExpunged "application.messages-expunged",
    /// An answer's text was taken out.
    AttemptExpunged "attempt.expunged",
}

/// What is changed by whom.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    /// Who changes it.
    pub by: &'a Caller,
    /// What is done.
    pub what: AuditAction,
    /// To what: its id or name.
    pub subject: String,
    /// In which application, if in one.
    pub app: Option<AppId>,
    /// How it was.
    pub before: Option<AuditSnapshot>,
    /// How it is from then on.
    pub after: Option<AuditSnapshot>,
}

impl<'a> Change<'a> {
    /// `subject` is the id or the name of what is changed.
    pub fn new(by: &'a Caller, what: AuditAction, subject: impl ToString) -> Self {
        Self { by, what, subject: subject.to_string(), app: None, before: None, after: None }
    }

    /// In that application.
    #[must_use]
    pub fn within(self, app: AppId) -> Self {
        Self { app: Some(app), ..self }
    }

    /// How it was.
    #[must_use]
    pub fn from(self, before: impl Into<AuditSnapshot>) -> Self {
        Self { before: Some(before.into()), ..self }
    }

    /// How it is now.
    #[must_use]
    pub fn to(self, after: impl Into<AuditSnapshot>) -> Self {
        Self { after: Some(after.into()), ..self }
    }
}

/// An audit event as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEvent {
    /// Its id, which holds its time to four milliseconds.
    pub id: AuditId,
    /// When it happened.
    pub at: Timestamp,
    /// What was done.
    pub what: String,
    /// To what: its id or name.
    pub subject: String,
    /// In which application, if in one.
    pub app: Option<AppId>,
    /// By whom: an organisation, an application, or `postrider`.
    pub by: String,
    /// By which token.
    pub token_id: Option<String>,
    /// In which request, or after which attempt.
    pub request_id: Option<String>,
    /// What was changed, as it was.
    pub before: Option<Map<String, Value>>,
    /// And as it was from then on.
    pub after: Option<Map<String, Value>>,
    /// Something in it was too long and is left out.
    pub trimmed: bool,
}

/// Which audit events are wanted.
#[derive(Clone, Debug)]
pub struct AuditQuery {
    /// Limit, iterator and order.
    pub list: ListQuery<AuditId>,
    /// Only older ones.
    pub before: Option<Timestamp>,
    /// Only younger ones.
    pub after: Option<Timestamp>,
    /// Only what was done in or to that application.
    pub app: Option<AppId>,
    /// Only what was done to this.
    pub subject: Option<String>,
    /// Only what was done by it.
    pub by: Option<String>,
    /// Only this.
    pub what: Option<AuditAction>,
}

impl AuditQuery {
    /// Whether an event is one of those.
    pub fn shows(&self, event: &AuditEvent) -> bool {
        self.before.is_none_or(|before| event.at < before)
            && self.after.is_none_or(|after| event.at > after)
            && self.app.is_none_or(|app| event.app == Some(app))
            && self.subject.as_ref().is_none_or(|subject| event.subject == *subject)
            && self.by.as_ref().is_none_or(|by| event.by == *by)
            && self.what.is_none_or(|what| event.what == what.text())
    }

    /// The keys that what is wanted lies between, as far as times say.
    pub fn bounds(&self) -> (String, String) {
        let id = |at: Timestamp, rest: u8| AuditId::from_ksuid(Ksuid::new(at, [rest; 15])).to_string();
        let last = AuditId::from_ksuid(Ksuid::from_bytes([0xff; 20])).to_string();
        (id(self.after.unwrap_or_default(), 0), self.before.map_or(last, |before| id(before, 0xff)))
    }
}
