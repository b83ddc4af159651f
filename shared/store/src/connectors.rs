//! Connectors, in the partition of their organisation: what endpoints can be made with.

use aws_sdk_dynamodb::types::Delete;

use super::audit::{AuditAction, Change};
use super::item::{FromItem, Get as _, Item, Put as _, SCHEMA, ToItemOf, n, s, texts};
use super::transaction::{Guard, Transacted, Transaction, create, put};
use super::{Store, Table, keys};
use domain::caller::Caller;
use domain::error::{Error, Result, corrupt};
use domain::ids::{ConnectorId, OrgId, Reference};
use domain::page::{ListQuery, Page};
use runtime::clock::Timestamp;

pub use domain::connector::{Connector, ConnectorSettings};

const NOT_FOUND: Error = Error::NotFound("Connector");

impl FromItem for Connector {
    fn from_item(item: &Item) -> Result<Self> {
        item.check_schema()?;
        let id = item.text("sk")?.strip_prefix("CONN#").unwrap_or_default();
        Ok(Self {
            id: id.parse().map_err(corrupt("a connector's key"))?,
            settings: ConnectorSettings {
                name: item.text("name")?.to_owned(),
                uid: item.text_opt("uid").map(str::to_owned),
                logo: item.text_opt("logo").map(str::to_owned),
                description: item.text("description")?.to_owned(),
                kind: item.text("kind")?.to_owned(),
                instructions: item.text("instructions")?.to_owned(),
                allowed_event_types: item.texts("eventTypes"),
                transformation: item.text("code")?.to_owned(),
                feature_flags: item.texts("featureFlags").unwrap_or_default(),
            },
            created_at: item.time("createdAt")?,
            updated_at: item.time("updatedAt")?,
            transformation_updated_at: item.time("codeUpdatedAt")?,
        })
    }
}

impl ToItemOf<OrgId> for Connector {
    fn to_item(&self, org: OrgId) -> Item {
        let settings = &self.settings;
        let flags = (!settings.feature_flags.is_empty()).then_some(settings.feature_flags.as_slice());
        keys::connector(org, self.id)
            .with("v", n(SCHEMA))
            .with("name", s(&settings.name))
            .with_some("uid", settings.uid.as_ref().map(s))
            .with_some("logo", settings.logo.as_ref().map(s))
            .with("description", s(&settings.description))
            .with("kind", s(&settings.kind))
            .with("instructions", s(&settings.instructions))
            .with_some("eventTypes", texts(settings.allowed_event_types.as_deref()))
            .with("code", s(&settings.transformation))
            .with_some("featureFlags", texts(flags))
            .with("createdAt", n(self.created_at.ms()))
            .with("updatedAt", n(self.updated_at.ms()))
            .with("codeUpdatedAt", n(self.transformation_updated_at.ms()))
    }
}

impl Store {
    /// Makes a connector.
    ///
    /// # Errors
    /// `Conflict` if its uid is taken.
    pub async fn create_connector(&self, by: &Caller, settings: ConnectorSettings) -> Result<Connector> {
        let (org, now) = (by.org(), self.clock.now());
        let id = self.new_id::<ConnectorId>(now);
        let new =
            Connector { id, settings, created_at: now, updated_at: now, transformation_updated_at: now };
        let table = self.table(Table::Config);
        let mut tx = Transaction::new("create a connector");
        tx.add(Guard::Fresh, create(table, new.to_item(org)))?;
        tx.add(Guard::Fresh, self.audit(Change::new(by, AuditAction::ConnectorCreated, id).to(&new)))?;
        if let Some(uid) = &new.settings.uid {
            let claim = keys::connector_uid(org, uid).with("v", n(SCHEMA)).with("id", s(id.to_string()));
            tx.add(Guard::Uid, create(table, claim))?;
        }
        match self.transact(tx).await? {
            Transacted::Done => Ok(new),
            Transacted::Refused(_) => {
                Err(Error::Conflict("A connector with this uid exists already.".into()))
            }
        }
    }

    /// The connector that a path means, strongly.
    ///
    /// # Errors
    /// `NotFound`, also for one that `caller` may not see.
    pub async fn connector_for(
        &self,
        caller: &Caller,
        reference: &Reference<ConnectorId>,
    ) -> Result<Connector> {
        let org = caller.org();
        let id = match reference {
            Reference::Id(id) => *id,
            Reference::Uid(uid) => {
                let key = keys::connector_uid(org, uid);
                let item = self.get(Table::Config, key, true, "read a connector's uid").await?;
                item.ok_or(NOT_FOUND)?.text("id")?.parse().map_err(corrupt("a connector's uid"))?
            }
        };
        let item = self.get(Table::Config, keys::connector(org, id), true, "read a connector").await?;
        let found = Connector::from_item(&item.ok_or(NOT_FOUND)?)?;
        if found.visible_to(caller) { Ok(found) } else { Err(NOT_FOUND) }
    }

    /// Lists an organisation's connectors by id, which is by age. `keep` is asked about each that was read.
    ///
    /// # Errors
    /// The store's own.
    pub async fn list_connectors(
        &self,
        org: OrgId,
        query: &ListQuery<ConnectorId>,
        keep: impl Fn(&Connector) -> bool,
    ) -> Result<Page<Connector>> {
        self.list_range(Table::Config, keys::org_pk(org), "CONN#", query, "list connectors", |item| {
            Connector::from_item(item).map(|found| keep(&found).then_some(found))
        })
        .await
    }

    /// Replaces what a connector says, but for its uid, which stays; none where it was changed meanwhile, and the
    /// caller reads again.
    ///
    /// # Errors
    /// The store's own.
    pub async fn update_connector(
        &self,
        by: &Caller,
        old: &Connector,
        settings: ConnectorSettings,
    ) -> Result<Option<Connector>> {
        // Never the same time twice: it is what the condition compares.
        let updated_at = self.clock.now().max(Timestamp::from_ms(old.updated_at.ms() + 1));
        let has_new_code = settings.transformation != old.settings.transformation;
        let transformation_updated_at = if has_new_code { updated_at } else { old.transformation_updated_at };
        let settings = ConnectorSettings { uid: old.settings.uid.clone(), ..settings };
        let new = Connector { settings, updated_at, transformation_updated_at, ..old.clone() };
        let write = put(self.table(Table::Config), new.to_item(by.org()))
            .condition_expression("attribute_exists(pk) AND updatedAt = :old")
            .expression_attribute_values(":old", n(old.updated_at.ms()));
        let change = Change::new(by, AuditAction::ConnectorUpdated, old.id).from(old).to(&new);
        let mut tx = Transaction::new("change a connector");
        tx.add(Guard::Unchanged, write)?;
        tx.add(Guard::Fresh, self.audit(change))?;
        Ok((self.transact(tx).await? == Transacted::Done).then_some(new))
    }

    /// Deletes a connector as it was read; `false` where it was changed meanwhile, and the caller reads again.
    /// Endpoints that were made with it stay as they are.
    ///
    /// # Errors
    /// The store's own.
    pub async fn delete_connector(&self, by: &Caller, old: &Connector) -> Result<bool> {
        let delete = Delete::builder()
            .table_name(self.table(Table::Config))
            .set_key(Some(keys::connector(by.org(), old.id)))
            .condition_expression("attribute_exists(pk) AND updatedAt = :old")
            .expression_attribute_values(":old", n(old.updated_at.ms()));
        let change = Change::new(by, AuditAction::ConnectorDeleted, old.id).from(old);
        let mut tx = Transaction::new("delete a connector");
        tx.add(Guard::Unchanged, delete)?;
        tx.add(Guard::Fresh, self.audit(change))?;
        if let Some(uid) = &old.settings.uid {
            let free = Delete::builder()
                .table_name(self.table(Table::Config))
                .set_key(Some(keys::connector_uid(by.org(), uid)));
            tx.add(Guard::Fresh, free)?;
        }
        Ok(self.transact(tx).await? == Transacted::Done)
    }
}
