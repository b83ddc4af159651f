//! The keys by which an organisation's webhooks are signed as HTTP messages. Organisations that never asked for it
//! have none.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;

use super::audit::{AuditAction, AuditSnapshot, Change};
use super::item::{Get as _, Item, Put as _, SCHEMA, b, n, s};
use super::transaction::{Guard, Transacted, Transaction, create, put};
use super::{Store, Table, keys};
use domain::caller::Caller;
use domain::error::{Result, corrupt};
use domain::http_signature::{HttpKey, PublicKey, first_key, rotated};
use domain::ids::OrgId;
use runtime::clock::Timestamp;

const WHAT: &str = "an organisation's signing keys";

fn place(org: OrgId) -> String {
    format!("{org} http signing key")
}

fn entries(item: &Item) -> Result<Vec<&Item>> {
    item.check_schema()?;
    let entries = item.get("keys").and_then(|keys| keys.as_l().ok()).map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(|entry| entry.as_m().map_err(|_| corrupt(WHAT)("an entry is no map"))).collect()
}

fn facts(keys: &[HttpKey]) -> Result<AuditSnapshot> {
    let shown: Result<Vec<_>> = keys
        .iter()
        .map(|key| {
            let until = key.until.map(|until| until.to_string());
            Ok(serde_json::json!({ "kid": key.public()?.id(), "until": until }))
        })
        .collect();
    Ok(AuditSnapshot::default().with("keys", shown?))
}

impl Store {
    /// The public keys of an organisation that are valid now, the newest first; none of one that has none, or is not
    /// there. What was written a moment ago may be missing.
    ///
    /// # Errors
    /// The store's own.
    pub async fn published_http_keys(&self, org: OrgId) -> Result<Vec<PublicKey>> {
        let item = self
            .get(Table::Config, keys::http_keys(org), false, "read an organisation's public keys")
            .await?;
        let Some(item) = item else { return Ok(Vec::new()) };
        let now = self.clock.now();
        let mut found = Vec::new();
        for entry in entries(&item)? {
            let public = PublicKey { x: entry.text("public")?.to_owned(), until: entry.time_opt("until") };
            if public.until.is_none_or(|until| until > now) {
                found.push(public);
            }
        }
        Ok(found)
    }

    /// The keys of an organisation, the newest first.
    ///
    /// # Errors
    /// The store's own.
    pub async fn http_keys(&self, org: OrgId) -> Result<Vec<HttpKey>> {
        Ok(self.find_http_keys(org).await?.map(|(keys, _)| keys).unwrap_or_default())
    }

    async fn find_http_keys(&self, org: OrgId) -> Result<Option<(Vec<HttpKey>, Timestamp)>> {
        let item = self
            .get(Table::Config, keys::http_keys(org), true, "read an organisation's signing keys")
            .await?;
        let Some(item) = item else { return Ok(None) };
        let opened = entries(&item)?.into_iter().map(|entry| {
            let seed = self.sealer.open(&place(org), entry.bytes("key").unwrap_or_default())?;
            let seed = seed.try_into().map_err(|_| corrupt(WHAT)("a seed has another length"))?;
            Ok(HttpKey::new(seed, entry.time("from")?, entry.time_opt("until")))
        });
        Ok(Some((opened.collect::<Result<_>>()?, item.time("updatedAt")?)))
    }

    /// Makes the first key of the caller's organisation, if it has none.
    ///
    /// # Errors
    /// The store's own.
    pub async fn ensure_http_key(&self, by: &Caller) -> Result<()> {
        self.change_http_keys(by, |keys, now| {
            Ok(keys.is_empty().then(|| vec![first_key(now, &*self.random)]))
        })
        .await
        .map(drop)
    }

    /// Gives the caller's organisation another key, or its first one, and says which it has then. Those until now
    /// stay published for `grace`.
    ///
    /// # Errors
    /// `LimitReached` where too many old keys would be published.
    pub async fn rotate_http_key(&self, by: &Caller, grace: Duration) -> Result<Vec<HttpKey>> {
        self.change_http_keys(by, |keys, now| rotated(keys, grace, now, &*self.random).map(Some)).await
    }

    /// Changes the keys to what `change` makes of them; nothing is written if it makes nothing.
    async fn change_http_keys(
        &self,
        by: &Caller,
        change: impl Fn(&[HttpKey], Timestamp) -> Result<Option<Vec<HttpKey>>>,
    ) -> Result<Vec<HttpKey>> {
        let org = by.org();
        self.retry_on_conflict(async || {
            let old = self.find_http_keys(org).await?;
            let before = old.as_ref().map(|(keys, _)| keys.as_slice()).unwrap_or_default();
            let now = self.clock.now();
            let Some(new) = change(before, now)? else { return Ok(Some(before.to_vec())) };
            // Never the same time twice: it is what the condition compares.
            let at = old.as_ref().map_or(now, |(_, at)| now.max(Timestamp::from_ms(at.ms() + 1)));
            let sealed = new.iter().map(|key| {
                let entry = Item::new()
                    .with("key", b(self.sealer.seal(&place(org), key.seed())))
                    .with("public", s(key.public()?.x))
                    .with("from", n(key.from.ms()))
                    .with_some("until", key.until.map(|until| n(until.ms())));
                Ok(AttributeValue::M(entry))
            });
            let item = keys::http_keys(org)
                .with("v", n(SCHEMA))
                .with("updatedAt", n(at.ms()))
                .with("keys", AttributeValue::L(sealed.collect::<Result<_>>()?));
            let change = Change::new(by, AuditAction::SigningKeyCreated, org).to(facts(&new)?);
            let table = self.table(Table::Config);
            let (change, write) = match &old {
                None => (change, create(table, item)),
                Some((keys, at)) => {
                    let write = put(table, item)
                        .condition_expression("updatedAt = :old")
                        .expression_attribute_values(":old", n(at.ms()));
                    (change.from(facts(keys)?), write)
                }
            };
            let mut tx = Transaction::new("change an organisation's signing keys");
            tx.add(Guard::Unchanged, write)?;
            tx.add(Guard::Fresh, self.audit(change))?;
            Ok((self.transact(tx).await? == Transacted::Done).then_some(new))
        })
        .await
    }
}
