//! Tokens that no longer count: one by one, and all that an application has had so far.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;

use super::applications::Application;
use super::audit::{AuditAction, Change};
use super::copies::Raise;
use super::item::{Get as _, Item, Put as _, SCHEMA, n};
use super::transaction::{ABSENT, Guard, Transacted, Transaction, create};
use super::{Store, Table, keys};
use domain::caller::Caller;
use domain::error::Result;
use domain::ids::OrgId;
use runtime::clock::Timestamp;

pub use domain::token::Expiry;

pub(super) fn expiries_of(item: &Item) -> Vec<Expiry> {
    let list = item.get("expiries").and_then(|list| list.as_l().ok()).map(Vec::as_slice).unwrap_or_default();
    let read = list.iter().filter_map(|entry| {
        let entry = entry.as_m().ok()?;
        Some(Expiry { made_until: entry.time_opt("made")?, ends: entry.time_opt("ends")? })
    });
    read.collect()
}

pub(super) fn attribute(all: &[Expiry]) -> AttributeValue {
    let entry = |expiry: &Expiry| {
        let item = Item::new().with("made", n(expiry.made_until.ms())).with("ends", n(expiry.ends.ms()));
        AttributeValue::M(item)
    };
    AttributeValue::L(all.iter().map(entry).collect())
}

impl Store {
    /// Notes that a token of that id no longer counts: its bearer gives it back. `until` is when it
    /// would end.
    ///
    /// # Errors
    /// The store's own.
    pub async fn log_token_out(&self, org: OrgId, id: &str, until: Timestamp) -> Result<()> {
        let item = keys::token(org, id).with("v", n(SCHEMA)).with("ttl", n(until.seconds()));
        // Where it is there already, it says the same.
        self.put_log(item, ABSENT, [], "log a token out").await.map(drop)
    }

    /// Notes that a token of that id no longer counts, because its organisation says so. Of one that
    /// counts no longer already there is no second event.
    ///
    /// # Errors
    /// The store's own.
    pub async fn revoke_token(&self, by: &Caller, id: &str, until: Timestamp) -> Result<()> {
        let item = keys::token(by.org(), id).with("v", n(SCHEMA)).with("ttl", n(until.seconds()));
        let mut tx = Transaction::new("revoke a token");
        tx.add(Guard::Absent, create(self.table(Table::Log), item))?;
        tx.add(Guard::Fresh, self.audit(Change::new(by, AuditAction::TokenRevoked, id)))?;
        self.transact(tx).await.map(drop)
    }

    /// Whether a token no longer counts. Read eventually: a moment later is soon enough.
    ///
    /// # Errors
    /// The store's own.
    pub async fn is_token_revoked(&self, org: OrgId, id: &str) -> Result<bool> {
        Ok(self.get(Table::Log, keys::token(org, id), false, "look a token up").await?.is_some())
    }

    /// Ends, after `grace`, all tokens that `app` has had so far; `false` where somebody else did so
    /// meanwhile, and the caller reads again.
    ///
    /// # Errors
    /// The store's own.
    pub async fn expire_tokens(&self, by: &Caller, app: &Application, grace: Duration) -> Result<bool> {
        let now = self.clock.now();
        let all = Expiry::with(&app.expiries, Expiry { made_until: now, ends: now.after(grace) });
        let change = Change::new(by, AuditAction::TokensExpired, app.id).within(app.id);
        let mut tx = Transaction::new("expire tokens");
        tx.raise(app, Raise::default().expiries(&app.expiries, &all));
        tx.add(Guard::Fresh, self.audit(change.from(app.expiries.as_slice()).to(all.as_slice())))?;
        Ok(self.transact(tx).await? == Transacted::Done)
    }
}
