//! Audit events: every change of configuration leaves one, in the same transaction. Nothing changes or
//! deletes one.

mod facts;

use aws_sdk_dynamodb::types::{Put as PutRequest, TransactWriteItem};
use serde_json::{Map, Value};

use super::item::{Get as _, Item, Put as _, SCHEMA, n, s};
use super::{Store, Table, keys};
use crate::auth::{Caller, Who};
use crate::clock::Timestamp;
use crate::error::{Result, corrupt};
use crate::http::{ListQuery, Page};
use crate::ids::{AppId, AuditId, Id as _, Ksuid, OrgId};

pub use facts::Facts;

macro_rules! whats {
    ($($(#[doc = $doc:literal])* $name:ident $text:literal,)*) => {
        /// What was done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum What {
            $($(#[doc = $doc])* $name,)*
        }

        impl What {
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

whats! {
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
    /// An endpoint was made.
    EndpointCreated "endpoint.created",
    /// Its settings were changed.
    EndpointUpdated "endpoint.updated",
    /// It was deleted.
    EndpointDeleted "endpoint.deleted",
    /// Postrider switched it off.
    EndpointDisabled "endpoint.disabled",
    /// Its headers were changed.
    EndpointHeadersUpdated "endpoint.headers-updated",
    /// It got another key to sign with.
    EndpointSecretRotated "endpoint.secret-rotated",
    /// What failed was asked to be sent again.
    EndpointRecover "endpoint.recover",
    /// What was never sent was asked to be sent.
    EndpointReplay "endpoint.replay",
    /// Everything was asked to be sent again.
    EndpointBulkReplay "endpoint.bulk-replay",
    /// An event type was made, or an archived one brought back.
    EventTypeCreated "event-type.created",
    /// It was changed.
    EventTypeUpdated "event-type.updated",
    /// It is no longer offered.
    EventTypeArchived "event-type.archived",
    /// It was removed altogether.
    EventTypeDeleted "event-type.deleted",
    /// A message's payload was taken out.
    MessageExpunged "message.expunged",
    /// An answer's text was taken out.
    AttemptExpunged "attempt.expunged",
}

/// What is changed by whom.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    by: &'a Caller,
    what: What,
    subject: String,
    app: Option<AppId>,
    before: Option<Facts>,
    after: Option<Facts>,
}

impl<'a> Change<'a> {
    /// `subject` is the id or the name of what is changed.
    pub(super) fn new(by: &'a Caller, what: What, subject: impl ToString) -> Self {
        Self { by, what, subject: subject.to_string(), app: None, before: None, after: None }
    }

    /// In that application.
    pub(super) fn within(self, app: AppId) -> Self {
        Self { app: Some(app), ..self }
    }

    /// How it was.
    pub(super) fn from(self, before: impl Into<Facts>) -> Self {
        Self { before: Some(before.into()), ..self }
    }

    /// How it is now.
    pub(super) fn to(self, after: impl Into<Facts>) -> Self {
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

impl AuditEvent {
    fn from_item(item: &Item) -> Result<Self> {
        const WHAT: &str = "an audit event";
        item.check_schema()?;
        let facts = |name: &str| -> Result<Option<Map<String, Value>>> {
            item.text_opt(name).map(serde_json::from_str).transpose().map_err(corrupt(WHAT))
        };
        Ok(Self {
            id: item.text("sk")?.parse().map_err(corrupt(WHAT))?,
            at: item.time("at")?,
            what: item.text("what")?.to_owned(),
            subject: item.text("subject")?.to_owned(),
            app: item.text_opt("app").map(str::parse).transpose().map_err(corrupt(WHAT))?,
            by: item.text("by")?.to_owned(),
            token_id: item.text_opt("token").map(str::to_owned),
            request_id: item.text_opt("request").map(str::to_owned),
            before: facts("before")?,
            after: facts("after")?,
            trimmed: item.get("trimmed").is_some(),
        })
    }
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
    pub what: Option<What>,
}

impl AuditQuery {
    fn shows(&self, event: &AuditEvent) -> bool {
        self.before.is_none_or(|before| event.at < before)
            && self.after.is_none_or(|after| event.at > after)
            && self.app.is_none_or(|app| event.app == Some(app))
            && self.subject.as_ref().is_none_or(|subject| event.subject == *subject)
            && self.by.as_ref().is_none_or(|by| event.by == *by)
            && self.what.is_none_or(|what| event.what == what.text())
    }

    /// The keys that what is wanted lies between, as far as times say.
    fn bounds(&self) -> (String, String) {
        let id = |at: Timestamp, rest: u8| AuditId::from_ksuid(Ksuid::new(at, [rest; 15])).to_string();
        let last = AuditId::from_ksuid(Ksuid::from_bytes([0xff; 20])).to_string();
        (id(self.after.unwrap_or_default(), 0), self.before.map_or(last, |before| id(before, 0xff)))
    }
}

impl Store {
    /// The write of an audit event, to go into the change's own transaction.
    pub(super) fn audit(&self, change: Change<'_>) -> Result<TransactWriteItem> {
        let now = self.clock.now();
        let Change { by, what, subject, app, before, after } = change;
        let (before, after) = match (before, after) {
            (Some(before), Some(after)) => {
                let (before, after) = before.differing(after);
                (Some(before), Some(after))
            }
            other => other,
        };
        let texts = [&before, &after].map(|facts| facts.as_ref().map(Facts::text));
        let trimmed = texts.iter().flatten().any(|(_, whole)| !whole);
        let [before, after] = texts.map(|text| text.map(|(text, _)| s(text)));
        // Who acts within an application by its own token acts in no other.
        let own = match &by.who {
            Who::App { app, .. } => Some(*app),
            Who::Org(_) | Who::Postrider(_) => None,
        };
        let item = keys::audit(by.org(), AuditId::new(now, &*self.random))
            .with("v", n(SCHEMA))
            .with("by", s(by.subject()))
            .with_some("token", by.token_id.as_ref().map(s))
            .with_some("request", by.request_id.as_ref().map(s))
            .with("what", s(what.text()))
            .with("subject", s(subject))
            .with_some("app", app.or(own).map(|app| s(app.to_string())))
            .with_some("before", before)
            .with_some("after", after)
            .with_some("trimmed", trimmed.then(|| aws_sdk_dynamodb::types::AttributeValue::Bool(true)))
            .with("at", n(now.ms()));
        put(&self.tables.config, item, ABSENT)
    }

    /// Lists an organisation's audit events by time.
    ///
    /// # Errors
    /// The store's own.
    pub async fn list_audit_events(&self, org: OrgId, query: &AuditQuery) -> Result<Page<AuditEvent>> {
        let bounds = query.bounds();
        self.list_between(
            Table::Config,
            keys::audit_pk(org),
            "",
            bounds,
            &query.list,
            "list audit events",
            |item| AuditEvent::from_item(item).map(|event| query.shows(&event).then_some(event)),
        )
        .await
    }
}

/// The condition of a write that creates.
pub(super) const ABSENT: &str = "attribute_not_exists(pk)";

/// A conditional put as part of a transaction.
pub(super) fn put(table: &str, item: Item, condition: &str) -> Result<TransactWriteItem> {
    let put =
        PutRequest::builder().table_name(table).set_item(Some(item)).condition_expression(condition).build();
    Ok(TransactWriteItem::builder().put(put.map_err(corrupt("a write"))?).build())
}
