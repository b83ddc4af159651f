//! Integrations, in the partition of their application. Of a key only the digest is stored; checking one is one read.

use aws_sdk_dynamodb::types::Delete;

use super::applications::Application;
use super::audit::{AuditAction, Change};
use super::copies::Raise;
use super::item::{FromItem, Get as _, Item, Put as _, SCHEMA, ToItemOf, b, n, s, texts};
use super::transaction::{Guard, Transacted, Transaction, create, put};
use super::{Store, Table, keys};
use domain::caller::Caller;
use domain::error::{Error, Result, corrupt};
use domain::ids::{AppId, IntegrationId, OrgId};
use domain::page::{ListQuery, Page};
use runtime::clock::Timestamp;
use runtime::random;

pub use domain::integration::{FEATURE_FLAGS_MAX, Integration, IntegrationKey};

const NOT_FOUND: Error = Error::NotFound("Integration");

impl FromItem for Integration {
    fn from_item(item: &Item) -> Result<Self> {
        item.check_schema()?;
        let id = item.text("sk")?.strip_prefix("INTEG#").unwrap_or_default();
        Ok(Self {
            id: id.parse().map_err(corrupt("an integration's key"))?,
            name: item.text("name")?.to_owned(),
            feature_flags: item.texts("featureFlags").unwrap_or_default(),
            key: item.bytes("key").map(<[u8]>::to_vec),
            created_at: item.time("createdAt")?,
            updated_at: item.time("updatedAt")?,
        })
    }
}

impl ToItemOf<(OrgId, AppId)> for Integration {
    fn to_item(&self, (org, app): (OrgId, AppId)) -> Item {
        let flags = (!self.feature_flags.is_empty()).then_some(self.feature_flags.as_slice());
        keys::integration(app, self.id)
            .with("v", n(SCHEMA))
            .with("org", s(org.to_string()))
            .with("name", s(&self.name))
            .with_some("featureFlags", texts(flags))
            .with_some("key", self.key.as_deref().map(b))
            .with("createdAt", n(self.created_at.ms()))
            .with("updatedAt", n(self.updated_at.ms()))
    }
}

impl Store {
    /// Makes an integration, which has no key yet.
    ///
    /// # Errors
    /// `NotFound` if the application was deleted meanwhile.
    pub async fn create_integration(
        &self,
        by: &Caller,
        app: &Application,
        name: String,
        feature_flags: Vec<String>,
    ) -> Result<Integration> {
        let now = self.clock.now();
        let id = self.new_id::<IntegrationId>(now);
        let new = Integration { id, name, feature_flags, key: None, created_at: now, updated_at: now };
        let change = Change::new(by, AuditAction::IntegrationCreated, id).within(app.id).to(&new);
        let mut tx = Transaction::new("create an integration");
        tx.raise(app, Raise::default());
        tx.add(Guard::Fresh, create(self.table(Table::Config), new.to_item((app.org, app.id))))?;
        tx.add(Guard::Fresh, self.audit(change))?;
        match self.transact(tx).await? {
            Transacted::Done => Ok(new),
            Transacted::Refused(_) => Err(Error::NotFound("Application")),
        }
    }

    /// Reads an integration strongly.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn integration(&self, app: AppId, id: IntegrationId) -> Result<Integration> {
        let item = self.get(Table::Config, keys::integration(app, id), true, "read an integration").await?;
        Integration::from_item(&item.ok_or(NOT_FOUND)?)
    }

    /// Lists an application's integrations by id, which is by age.
    ///
    /// # Errors
    /// The store's own.
    pub async fn list_integrations(
        &self,
        app: AppId,
        query: &ListQuery<IntegrationId>,
    ) -> Result<Page<Integration>> {
        let pk = keys::application_pk(app);
        self.list_range(Table::Config, pk, "INTEG#", query, "list integrations", |item| {
            Integration::from_item(item).map(Some)
        })
        .await
    }

    /// Replaces what an integration is called and sees; none where it was changed meanwhile, and the caller reads
    /// again.
    ///
    /// # Errors
    /// The store's own.
    pub async fn update_integration(
        &self,
        by: &Caller,
        app: &Application,
        old: &Integration,
        name: String,
        feature_flags: Vec<String>,
    ) -> Result<Option<Integration>> {
        let change = Change::new(by, AuditAction::IntegrationUpdated, old.id).within(app.id).from(old);
        let new = Integration { name, feature_flags, ..old.clone() };
        let change = change.to(&new);
        self.replace_integration(app, old, new, change).await
    }

    /// Gives an integration a new key; the one before it is invalid from then on. None where the integration was
    /// changed meanwhile, and the caller reads again.
    ///
    /// # Errors
    /// The store's own.
    pub async fn rotate_integration_key(
        &self,
        by: &Caller,
        app: &Application,
        old: &Integration,
    ) -> Result<Option<IntegrationKey>> {
        let secret = random::bytes(&*self.random);
        let key = IntegrationKey { app: app.id, integration: old.id, secret };
        let change = Change::new(by, AuditAction::IntegrationKeyRotated, old.id).within(app.id);
        let new = Integration { key: Some(key.digest()), ..old.clone() };
        Ok(self.replace_integration(app, old, new, change).await?.map(|_| key))
    }

    async fn replace_integration(
        &self,
        app: &Application,
        old: &Integration,
        new: Integration,
        change: Change<'_>,
    ) -> Result<Option<Integration>> {
        // Never the same time twice: it is what the condition compares.
        let updated_at = self.clock.now().max(Timestamp::from_ms(old.updated_at.ms() + 1));
        let new = Integration { updated_at, ..new };
        let write = put(self.table(Table::Config), new.to_item((app.org, app.id)))
            .condition_expression("attribute_exists(pk) AND updatedAt = :old")
            .expression_attribute_values(":old", n(old.updated_at.ms()));
        let mut tx = Transaction::new("change an integration");
        tx.add(Guard::Unchanged, write)?;
        tx.add(Guard::Fresh, self.audit(change))?;
        Ok((self.transact(tx).await? == Transacted::Done).then_some(new))
    }

    /// Deletes an integration as it was read: its key is invalid from then on. `false` where it was changed
    /// meanwhile, and the caller reads again.
    ///
    /// # Errors
    /// The store's own.
    pub async fn delete_integration(
        &self,
        by: &Caller,
        app: &Application,
        old: &Integration,
    ) -> Result<bool> {
        let delete = Delete::builder()
            .table_name(self.table(Table::Config))
            .set_key(Some(keys::integration(app.id, old.id)))
            .condition_expression("attribute_exists(pk) AND updatedAt = :old")
            .expression_attribute_values(":old", n(old.updated_at.ms()));
        let change = Change::new(by, AuditAction::IntegrationDeleted, old.id).within(app.id).from(old);
        let mut tx = Transaction::new("delete an integration");
        tx.add(Guard::Unchanged, delete)?;
        tx.add(Guard::Fresh, self.audit(change))?;
        Ok(self.transact(tx).await? == Transacted::Done)
    }

    /// The organisation and the feature flags of whoever has that key, if it is valid.
    ///
    /// # Errors
    /// The store's own.
    pub async fn integration_of(&self, key: &IntegrationKey) -> Result<Option<(OrgId, Vec<String>)>> {
        let at = keys::integration(key.app, key.integration);
        let Some(item) = self.get(Table::Config, at, true, "look an integration's key up").await? else {
            return Ok(None);
        };
        let found = Integration::from_item(&item)?;
        if found.key != Some(key.digest()) {
            return Ok(None);
        }
        let org = item.text("org")?.parse().map_err(corrupt("an integration's organisation"))?;
        Ok(Some((org, found.feature_flags)))
    }
}
