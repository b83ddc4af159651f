//! Tokens that no longer count: one by one, and all that an application has had so far.

use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};

use super::applications::Application;
use super::audit::{ABSENT, Change, What, put};
use super::item::{Get as _, Item, Put as _, SCHEMA, n};
use super::{Store, Table, Transacted, keys};
use crate::auth::Caller;
use crate::clock::Timestamp;
use crate::error::{Result, corrupt};
use crate::ids::OrgId;

/// Ends that one application keeps at a time.
const EXPIRIES_MAX: usize = 16;

/// An end of the tokens of one application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// It is of the tokens that were made until then.
    pub made_until: Timestamp,
    /// They count until then.
    pub ends: Timestamp,
}

impl Expiry {
    pub(super) fn all_of(item: &Item) -> Vec<Self> {
        let list =
            item.get("expiries").and_then(|list| list.as_l().ok()).map(Vec::as_slice).unwrap_or_default();
        let read = list.iter().filter_map(|entry| {
            let entry = entry.as_m().ok()?;
            Some(Self { made_until: entry.time_opt("made")?, ends: entry.time_opt("ends")? })
        });
        read.collect()
    }

    /// Whether a token of that age has come to its end.
    pub fn ended(all: &[Self], made: Timestamp, now: Timestamp) -> bool {
        all.iter().any(|expiry| made <= expiry.made_until && expiry.ends <= now)
    }

    /// `all` and one more; what that one makes needless is left out.
    fn with(all: &[Self], mut new: Self) -> Vec<Self> {
        // Each is of more tokens than those before it, so it replaces what ends no sooner.
        let mut kept: Vec<_> = all.iter().filter(|old| old.ends < new.ends).copied().collect();
        if kept.len() >= EXPIRIES_MAX
            && let Some(last) = kept.pop()
        {
            // Sooner than asked for, rather than not at all.
            new.ends = last.ends;
        }
        kept.push(new);
        kept
    }
}

fn attribute(all: &[Expiry]) -> AttributeValue {
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
        let writes = vec![
            put(self.table(Table::Log), item, ABSENT)?,
            self.audit(Change::new(by, What::TokenRevoked, id))?,
        ];
        self.transact(writes, "revoke a token").await.map(drop)
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
        let update = Update::builder()
            .table_name(&self.tables.config)
            .set_key(Some(keys::application(app.id)))
            .update_expression("SET expiries = :new")
            .expression_attribute_values(":new", attribute(&all));
        let update = if app.expiries.is_empty() {
            update.condition_expression("attribute_exists(pk) AND attribute_not_exists(expiries)")
        } else {
            update
                .condition_expression("attribute_exists(pk) AND expiries = :old")
                .expression_attribute_values(":old", attribute(&app.expiries))
        };
        let change = Change::new(by, What::TokensExpired, app.id).within(app.id);
        let change = change.from(app.expiries.as_slice()).to(all.as_slice());
        let writes = vec![
            TransactWriteItem::builder().update(update.build().map_err(corrupt("a write"))?).build(),
            self.audit(change)?,
        ];
        Ok(self.transact(writes, "expire tokens").await? == Transacted::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_never_put_off_by_a_later_one() {
        let at = Timestamp::from_ms;
        let one = |made: u64, ends: u64| Expiry { made_until: at(made), ends: at(ends) };
        let all = Expiry::with(&Expiry::with(&[], one(10, 10)), one(20, 90));
        assert!(Expiry::ended(&all, at(10), at(21)) && !Expiry::ended(&all, at(11), at(89)));
        assert!(Expiry::ended(&all, at(20), at(90)) && !Expiry::ended(&all, at(21), at(90)));
        // Sooner, of more tokens: the others say nothing more.
        assert_eq!(Expiry::with(&all, one(30, 30)), [one(10, 10), one(30, 30)]);
        let mut many = Vec::new();
        for step in 1..100 {
            many = Expiry::with(&many, one(step, 1_000 + step));
        }
        assert_eq!(many.len(), EXPIRIES_MAX);
        assert!(Expiry::ended(&many, at(99), at(1_099)));
    }
}
