//! Event types: the names that an organisation's messages carry.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::builders::PutBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, Delete};

use super::audit::{AuditAction, Change};
use super::item::{FromItem, Get as _, Item, Put as _, SCHEMA, ToItemOf, n, s, texts};
use super::transaction::{Guard, Transacted, Transaction, create, put};
use super::{Store, Table, keys};
use domain::caller::Caller;
use domain::error::{Error, Result, unavailable};
use domain::ids::{Name, OrgId};
use domain::operational;
use domain::page::{ListQuery, Page};
use runtime::clock::Timestamp;

pub use domain::event_type::EventType;

const NOT_FOUND: Error = Error::NotFound("Event type");

impl FromItem for EventType {
    fn from_item(item: &Item) -> Result<Self> {
        item.check_schema()?;
        let flag = |name: &str| item.get(name).and_then(|flag| flag.as_bool().ok()).copied().unwrap_or(false);
        Ok(Self {
            name: item.text("sk")?.strip_prefix("ET#").unwrap_or_default().to_owned(),
            description: item.text("description")?.to_owned(),
            schemas: item.text_opt("schemas").map(str::to_owned),
            feature_flags: item.texts("featureFlags").unwrap_or_default(),
            group_name: item.text_opt("groupName").map(str::to_owned),
            archived: flag("archived"),
            deprecated: flag("deprecated"),
            created_at: item.time("createdAt")?,
            updated_at: item.time("updatedAt")?,
        })
    }
}

impl ToItemOf<OrgId> for EventType {
    fn to_item(&self, org: OrgId) -> Item {
        keys::event_type(org, &self.name)
            .with("v", n(SCHEMA))
            .with("description", s(&self.description))
            .with_some("schemas", self.schemas.as_ref().map(s))
            .with_some(
                "featureFlags",
                texts((!self.feature_flags.is_empty()).then_some(self.feature_flags.as_slice())),
            )
            .with_some("groupName", self.group_name.as_ref().map(s))
            .with("archived", AttributeValue::Bool(self.archived))
            .with("deprecated", AttributeValue::Bool(self.deprecated))
            .with("createdAt", n(self.created_at.ms()))
            .with("updatedAt", n(self.updated_at.ms()))
    }
}

impl Store {
    /// Makes an event type, or brings an archived one of that name back with what is given now.
    ///
    /// # Errors
    /// `Conflict` if there is one that is not archived.
    pub async fn create_event_type(&self, by: &Caller, new: EventType) -> Result<EventType> {
        self.retry_on_conflict(async || {
            let old = self.find_event_type(by.org(), &new.name).await?;
            if old.as_ref().is_some_and(|old| !old.archived) {
                return Err(Error::Conflict("An event type with this name exists already.".into()));
            }
            let now = self.clock.now();
            // Never the same time twice: it is what the condition of a change compares.
            let now = old.as_ref().map_or(now, |old| now.max(Timestamp::from_ms(old.updated_at.ms() + 1)));
            let new = EventType { created_at: now, updated_at: now, ..new.clone() };
            let put = self.event_type_put(by.org(), old.as_ref(), &new);
            self.write_event_type(by, AuditAction::EventTypeCreated, old.as_ref(), new, put).await
        })
        .await
    }

    /// The write of `new`, on the condition that there is nothing but `old` as it was read.
    fn event_type_put(&self, org: OrgId, old: Option<&EventType>, new: &EventType) -> PutBuilder {
        let (table, item) = (self.table(Table::Config), new.to_item(org));
        match old {
            None => create(table, item),
            Some(old) => put(table, item)
                .condition_expression("attribute_exists(pk) AND updatedAt = :old")
                .expression_attribute_values(":old", n(old.updated_at.ms())),
        }
    }

    /// Replaces `old` as it was read, or makes what was not there; none where somebody else's change
    /// came first, and the caller reads again. What the change is called depends on what it does.
    ///
    /// # Errors
    /// The store's own.
    pub async fn put_event_type(
        &self,
        by: &Caller,
        old: Option<&EventType>,
        new: EventType,
    ) -> Result<Option<EventType>> {
        let now = self.clock.now();
        // Never the same time twice: it is what the condition compares.
        let updated_at = old.map_or(now, |old| now.max(Timestamp::from_ms(old.updated_at.ms() + 1)));
        let new = EventType { created_at: old.map_or(now, |old| old.created_at), updated_at, ..new };
        let put = self.event_type_put(by.org(), old, &new);
        let what = match old {
            None => AuditAction::EventTypeCreated,
            Some(old) if new.archived && !old.archived => AuditAction::EventTypeArchived,
            Some(_) => AuditAction::EventTypeUpdated,
        };
        self.write_event_type(by, what, old, new, put).await
    }

    async fn write_event_type(
        &self,
        by: &Caller,
        what: AuditAction,
        old: Option<&EventType>,
        new: EventType,
        put: PutBuilder,
    ) -> Result<Option<EventType>> {
        let change = Change::new(by, what, &new.name).to(&new);
        let change = match old {
            Some(old) => change.from(old),
            None => change,
        };
        let mut tx = Transaction::new("change an event type");
        tx.add(Guard::Unchanged, put)?;
        tx.add(Guard::Fresh, self.audit(change))?;
        Ok((self.transact(tx).await? == Transacted::Done).then_some(new))
    }

    /// Removes an event type, as it was read, altogether; `false` where it was changed meanwhile, and the
    /// caller reads again. Endpoints that name it go on naming it.
    ///
    /// # Errors
    /// The store's own.
    pub async fn expunge_event_type(&self, by: &Caller, old: &EventType) -> Result<bool> {
        let delete = Delete::builder()
            .table_name(&self.tables.config)
            .set_key(Some(keys::event_type(by.org(), &old.name)))
            .condition_expression("attribute_exists(pk) AND updatedAt = :old")
            .expression_attribute_values(":old", n(old.updated_at.ms()));
        let mut tx = Transaction::new("expunge an event type");
        tx.add(Guard::Unchanged, delete)?;
        tx.add(
            Guard::Fresh,
            self.audit(Change::new(by, AuditAction::EventTypeDeleted, &old.name).from(old)),
        )?;
        Ok(self.transact(tx).await? == Transacted::Done)
    }

    /// Reads an event type.
    ///
    /// # Errors
    /// `NotFound`, also for one that `caller` may not see.
    pub async fn event_type(&self, caller: &Caller, name: &str) -> Result<EventType> {
        let found = self.find_event_type(caller.org(), name).await?;
        found.filter(|found| found.visible_to(caller)).ok_or(NOT_FOUND)
    }

    async fn find_event_type(&self, org: OrgId, name: &str) -> Result<Option<EventType>> {
        let key = keys::event_type(org, name);
        let mut item = self.get(Table::Config, key.clone(), true, "read an event type").await?;
        if item.is_none() && operational::is_event_type(org, name) {
            self.provide_event_types(org).await?;
            item = self.get(Table::Config, key, true, "read an event type").await?;
        }
        item.map(|item| EventType::from_item(&item)).transpose()
    }

    /// Makes those event types of the management organisation that are not there: it has them from the
    /// beginning, and may change them.
    async fn provide_event_types(&self, org: OrgId) -> Result<()> {
        let now = self.clock.now();
        let mut types = operational::EVENT_TYPES;
        // The one that says that all are there comes last.
        types.sort_by_key(|(name, _)| *name == operational::NEWEST_EVENT_TYPE);
        for (name, description) in types {
            let made = EventType {
                name: name.to_owned(),
                description: description.to_owned(),
                schemas: Some(operational::schemas(name)),
                feature_flags: Vec::new(),
                group_name: None,
                archived: false,
                deprecated: false,
                created_at: now,
                updated_at: now,
            };
            let put =
                self.client.put_item().table_name(&self.tables.config).set_item(Some(made.to_item(org)));
            let put = put.condition_expression("attribute_not_exists(pk)");
            match put.set_return_consumed_capacity(self.return_consumed_capacity.clone()).send().await {
                Ok(_) => {}
                Err(error) if crate::is_condition(&error) => {}
                Err(error) => return Err(unavailable("make an operational event type")(error)),
            }
        }
        Ok(())
    }

    /// Lists an organisation's event types by name. `keep` is asked about each that was read.
    ///
    /// # Errors
    /// The store's own.
    pub async fn list_event_types(
        &self,
        org: OrgId,
        query: &ListQuery<Name>,
        keep: impl Fn(&EventType) -> bool,
    ) -> Result<Page<EventType>> {
        if org == operational::management_org() {
            // Where it is there, all are.
            self.find_event_type(org, operational::NEWEST_EVENT_TYPE).await?;
        }
        self.list_range(Table::Config, keys::org_pk(org), "ET#", query, "list event types", |item| {
            EventType::from_item(item).map(|found| keep(&found).then_some(found))
        })
        .await
    }

    /// Those of `names` that are no event types of the organisation that `caller` may see.
    ///
    /// # Errors
    /// The store's own.
    pub async fn unknown_event_types(&self, caller: &Caller, names: &[String]) -> Result<Vec<String>> {
        let wanted = names.iter().map(|name| keys::event_type(caller.org(), name)).collect();
        let mut known: BTreeMap<String, EventType> = BTreeMap::new();
        for item in self.batch_get(Table::Config, wanted, true, "look event types up").await? {
            let found = EventType::from_item(&item)?;
            known.insert(found.name.clone(), found);
        }
        let usable = |name: &&String| {
            known.get(*name).is_some_and(|found| found.visible_to(caller))
                || operational::is_event_type(caller.org(), name)
        };
        Ok(names.iter().filter(|name| !usable(name)).cloned().collect())
    }
}
