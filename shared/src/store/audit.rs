//! Audit events: every change of configuration leaves one, in the same transaction.

use aws_sdk_dynamodb::types::{Put as PutRequest, TransactWriteItem};

use super::item::{Put as _, SCHEMA, n, s};
use super::{Store, keys};
use crate::auth::Caller;
use crate::error::{Result, corrupt};
use crate::ids::AuditId;

/// What is changed by whom.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    /// Who changes it.
    pub by: &'a Caller,
    /// Such as `endpoint.created`.
    pub what: &'static str,
    /// The id or name of what is changed.
    pub subject: String,
}

impl Store {
    /// The write of an audit event, to go into the change's own transaction.
    pub(super) fn audit(&self, change: &Change<'_>) -> Result<TransactWriteItem> {
        let now = self.clock.now();
        let item = keys::audit(change.by.org(), AuditId::new(now, &*self.random))
            .with("v", n(SCHEMA))
            .with("by", s(change.by.subject()))
            .with("what", s(change.what))
            .with("subject", s(&change.subject))
            .with("at", n(now.ms()));
        put(&self.tables.config, item, ABSENT)
    }
}

/// The condition of a write that creates.
pub(super) const ABSENT: &str = "attribute_not_exists(pk)";

/// A conditional put as part of a transaction.
pub(super) fn put(table: &str, item: super::Item, condition: &str) -> Result<TransactWriteItem> {
    let put =
        PutRequest::builder().table_name(table).set_item(Some(item)).condition_expression(condition).build();
    Ok(TransactWriteItem::builder().put(put.map_err(corrupt("a write"))?).build())
}
