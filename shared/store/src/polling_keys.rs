//! Keys that one endpoint can be polled with. They are sealed as other secrets are; checking one is one read.

use std::time::Duration;

use aws_sdk_dynamodb::types::Delete;
use aws_sdk_dynamodb::types::builders::DeleteBuilder;

use super::applications::Application;
use super::audit::{AuditAction, Change};
use super::endpoints::Endpoint;
use super::item::{Get as _, Item, Put as _, SCHEMA, b, n, s};
use super::transaction::{Guard, Transacted, Transaction, put};
use super::{Store, Table, keys};
use domain::caller::Caller;
use domain::error::{Error, Result, corrupt};
use domain::ids::{AppId, EndpointId, OrgId};
use domain::polling::{KEY_SECRET_LENGTH, KEYS_MAX, PollingKey};
use runtime::clock::Timestamp;
use runtime::random;

/// A key as it is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeptKey {
    /// What its bearer has.
    pub key: PollingKey,
    /// When it was made.
    pub made: Timestamp,
    /// When it ends; the zero of time if it does not.
    until: Timestamp,
}

impl KeptKey {
    /// When it ends, if it does.
    pub fn until(&self) -> Option<Timestamp> {
        (self.until > Timestamp::default()).then_some(self.until)
    }

    fn is_valid(&self, now: Timestamp) -> bool {
        self.until().is_none_or(|until| until > now)
    }
}

impl std::fmt::Debug for KeptKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptKey")
            .field("made", &self.made)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

const KEPT_LENGTH: usize = KEY_SECRET_LENGTH + 16;

fn place(endpoint: EndpointId) -> String {
    format!("{endpoint} polling keys")
}

/// The keys of an endpoint, the newest first, and the version of their item.
struct Kept {
    org: OrgId,
    keys: Vec<KeptKey>,
    version: u64,
}

impl Store {
    async fn kept_keys(&self, app: AppId, endpoint: EndpointId) -> Result<Option<Kept>> {
        let key = keys::polling_keys(app, endpoint);
        let Some(item) = self.get(Table::Config, key, true, "read polling keys").await? else {
            return Ok(None);
        };
        item.check_schema()?;
        let bytes = self.sealer.open(&place(endpoint), item.bytes("keys").unwrap_or_default())?;
        let keys = bytes.as_chunks::<KEPT_LENGTH>().0.iter().map(|kept| {
            let (secret, times) = kept.split_at(KEY_SECRET_LENGTH);
            let time = |bytes: &[u8]| {
                Timestamp::from_ms(bytes.iter().fold(0, |ms, byte| (ms << 8) | u64::from(*byte)))
            };
            let mut own = [0; KEY_SECRET_LENGTH];
            own.copy_from_slice(secret);
            let key = PollingKey { app, endpoint, secret: own };
            KeptKey { key, made: time(&times[..8]), until: time(&times[8..]) }
        });
        Ok(Some(Kept {
            org: item.text("org")?.parse().map_err(corrupt("a polling key's organisation"))?,
            keys: keys.collect(),
            version: item.number("n")?,
        }))
    }

    /// Whose key that is, if it is valid.
    ///
    /// # Errors
    /// The store's own.
    pub async fn polling_key_owner(&self, key: &PollingKey) -> Result<Option<OrgId>> {
        let now = self.clock.now();
        let digest = |key: &PollingKey| ring::digest::digest(&ring::digest::SHA256, &key.secret);
        let shown = digest(key);
        let kept = self.kept_keys(key.app, key.endpoint).await?;
        // Digests are compared: how long that takes says nothing of the keys.
        let known = |kept: &Kept| {
            kept.keys.iter().any(|one| one.is_valid(now) && digest(&one.key).as_ref() == shown.as_ref())
        };
        Ok(kept.filter(known).map(|kept| kept.org))
    }

    /// The current key of an endpoint.
    ///
    /// # Errors
    /// The store's own.
    pub async fn polling_key(&self, app: AppId, endpoint: EndpointId) -> Result<Option<KeptKey>> {
        let now = self.clock.now();
        let kept = self.kept_keys(app, endpoint).await?;
        Ok(kept.and_then(|kept| kept.keys.into_iter().next()).filter(|key| key.is_valid(now)))
    }

    /// Makes a new key that lasts for `life`, or for good; those before it end after `grace` at the latest. None
    /// where somebody else changed them meanwhile, and the caller reads again.
    ///
    /// # Errors
    /// `LimitReached` where too many old keys would be valid; the store's own.
    pub async fn rotate_polling_key(
        &self,
        by: &Caller,
        app: &Application,
        endpoint: &Endpoint,
        life: Option<Duration>,
        grace: Duration,
    ) -> Result<Option<KeptKey>> {
        let now = self.clock.now();
        let secret = random::bytes(&*self.random);
        let key = PollingKey { app: app.id, endpoint: endpoint.id, secret };
        let until = life.map_or_else(Timestamp::default, |life| now.after(life));
        let new = KeptKey { key, made: now, until };
        let old = self.kept_keys(app.id, endpoint.id).await?;
        let mut all = vec![new];
        for kept in old.iter().flat_map(|old| &old.keys) {
            let until = kept.until().unwrap_or(now.after(grace)).min(now.after(grace));
            let kept = KeptKey { until, ..*kept };
            if kept.is_valid(now) {
                all.push(kept);
            }
        }
        if all.len() > KEYS_MAX {
            return Err(Error::LimitReached(format!(
                "{} old keys are still valid: wait until one of them ends, or rotate with oldTokenExpiry 0.",
                all.len() - 1
            )));
        }
        let done = self.write_keys(by, app, endpoint, &all, old.as_ref(), AuditAction::PollingKeyRotated);
        Ok(done.await?.then_some(new))
    }

    /// Revokes all keys of an endpoint. None where somebody else changed them meanwhile.
    ///
    /// # Errors
    /// The store's own.
    pub async fn revoke_polling_keys(
        &self,
        by: &Caller,
        app: &Application,
        endpoint: &Endpoint,
    ) -> Result<Option<()>> {
        let old = self.kept_keys(app.id, endpoint.id).await?;
        let done = self.write_keys(by, app, endpoint, &[], old.as_ref(), AuditAction::PollingKeysRevoked);
        Ok(done.await?.then_some(()))
    }

    async fn write_keys(
        &self,
        by: &Caller,
        app: &Application,
        endpoint: &Endpoint,
        all: &[KeptKey],
        old: Option<&Kept>,
        action: AuditAction,
    ) -> Result<bool> {
        let bytes: Vec<u8> = all
            .iter()
            .flat_map(|kept| {
                let times = [kept.made.ms().to_be_bytes(), kept.until.ms().to_be_bytes()].concat();
                kept.key.secret.into_iter().chain(times)
            })
            .collect();
        let version = old.map_or(0, |old| old.version);
        let item: Item = keys::polling_keys(app.id, endpoint.id)
            .with("v", n(SCHEMA))
            .with("org", s(app.org.to_string()))
            .with("keys", b(self.sealer.seal(&place(endpoint.id), &bytes)))
            .with("n", n(version + 1));
        let write = put(self.table(Table::Config), item);
        let write = match old {
            None => write.condition_expression("attribute_not_exists(pk)"),
            Some(_) => write.condition_expression("n = :old").expression_attribute_values(":old", n(version)),
        };
        let mut tx = Transaction::new("change polling keys");
        tx.add(Guard::Unchanged, write)?;
        tx.add(Guard::Fresh, self.audit(Change::new(by, action, endpoint.id).within(app.id)))?;
        Ok(self.transact(tx).await? == Transacted::Done)
    }

    /// Deletes the keys of an endpoint that is deleted.
    pub(super) fn without_polling_keys(&self, app: AppId, endpoint: EndpointId) -> DeleteBuilder {
        Delete::builder()
            .table_name(self.table(Table::Config))
            .set_key(Some(keys::polling_keys(app, endpoint)))
    }
}
