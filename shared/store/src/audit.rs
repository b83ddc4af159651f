//! Audit events: every change of configuration leaves one, in the same transaction. Nothing changes or
//! deletes one.

use aws_sdk_dynamodb::types::builders::PutBuilder;
use serde_json::{Map, Value};

use super::item::{FromItem, Get as _, Item, Put as _, SCHEMA, n, s};
use super::transaction::create;
use super::{Store, Table, keys};
use domain::caller::Who;
use domain::error::{Result, corrupt};
use domain::ids::{AuditId, OrgId};
use domain::page::Page;

pub use domain::audit::{AuditAction, AuditEvent, AuditQuery, AuditSnapshot, Change};

impl FromItem for AuditEvent {
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

impl Store {
    /// The write of an audit event, to go into the change's own transaction.
    pub(super) fn audit(&self, change: Change<'_>) -> PutBuilder {
        let now = self.clock.now();
        let Change { by, what, subject, app, before, after } = change;
        let (before, after) = match (before, after) {
            (Some(before), Some(after)) => {
                let (before, after) = before.differing(after);
                (Some(before), Some(after))
            }
            other => other,
        };
        let texts = [&before, &after].map(|facts| facts.as_ref().map(AuditSnapshot::text));
        let trimmed = texts.iter().flatten().any(|(_, whole)| !whole);
        let [before, after] = texts.map(|text| text.map(|(text, _)| s(text)));
        // Who acts within an application by its own token acts in no other.
        let own = match &by.who {
            Who::App { app, .. } => Some(*app),
            Who::Org(_) | Who::Postrider(_) => None,
        };
        let item = keys::audit(by.org(), self.new_id::<AuditId>(now))
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
        create(&self.tables.config, item)
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
