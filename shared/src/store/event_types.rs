//! Event types: the names that an organisation's messages carry.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{AttributeValue, Put as PutRequest, TransactWriteItem};

use super::audit::Change;
use super::item::{Get as _, Item, Put as _, SCHEMA, n, s};
use super::{Store, Table, Transacted, keys};
use crate::auth::Caller;
use crate::clock::Timestamp;
use crate::error::{Error, Result, corrupt};
use crate::http::{Cursor, ListQuery, Page};
use crate::ids::OrgId;

/// An event type as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventType {
    /// Its name, unique in the organisation.
    pub name: String,
    /// For people.
    pub description: String,
    /// JSON text: schemas by version.
    pub schemas: Option<String>,
    /// Only customers with this flag see it.
    pub feature_flag: Option<String>,
    /// No longer offered.
    pub archived: bool,
    /// Still offered, but not to be used in new work.
    pub deprecated: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

impl EventType {
    fn from_item(item: &Item) -> Result<Self> {
        item.check_schema()?;
        let flag = |name: &str| item.get(name).and_then(|flag| flag.as_bool().ok()).copied().unwrap_or(false);
        Ok(Self {
            name: item.text("sk")?.strip_prefix("ET#").unwrap_or_default().to_owned(),
            description: item.text("description")?.to_owned(),
            schemas: item.text_opt("schemas").map(str::to_owned),
            feature_flag: item.text_opt("featureFlag").map(str::to_owned),
            archived: flag("archived"),
            deprecated: flag("deprecated"),
            created_at: item.time("createdAt")?,
            updated_at: item.time("updatedAt")?,
        })
    }

    fn to_item(&self, org: OrgId) -> Item {
        keys::event_type(org, &self.name)
            .with("v", n(SCHEMA))
            .with("description", s(&self.description))
            .with_some("schemas", self.schemas.as_ref().map(s))
            .with_some("featureFlag", self.feature_flag.as_ref().map(s))
            .with("archived", AttributeValue::Bool(self.archived))
            .with("deprecated", AttributeValue::Bool(self.deprecated))
            .with("createdAt", n(self.created_at.ms()))
            .with("updatedAt", n(self.updated_at.ms()))
    }

    /// Whether `caller` may see it.
    pub fn visible_to(&self, caller: &Caller) -> bool {
        match (caller, &self.feature_flag) {
            (Caller::App { feature_flags, .. }, Some(flag)) => feature_flags.contains(flag),
            _ => true,
        }
    }
}

impl Store {
    /// Makes an event type, or brings an archived one of that name back with what is given now.
    ///
    /// # Errors
    /// `Conflict` if there is one that is not archived.
    pub async fn create_event_type(&self, by: &Caller, new: EventType) -> Result<EventType> {
        let now = self.clock.now();
        let new = EventType { created_at: now, updated_at: now, ..new };
        let put = PutRequest::builder()
            .table_name(&self.tables.config)
            .set_item(Some(new.to_item(by.org())))
            .condition_expression("attribute_not_exists(pk) OR archived = :true")
            .expression_attribute_values(":true", AttributeValue::Bool(true))
            .build();
        let writes = vec![
            TransactWriteItem::builder().put(put.map_err(corrupt("a write"))?).build(),
            self.audit(&Change { by, what: "event-type.created", subject: new.name.clone() })?,
        ];
        match self.transact(writes, "create an event type").await? {
            Transacted::Done => Ok(new),
            Transacted::Refused(_) => {
                Err(Error::Conflict("An event type with this name exists already.".into()))
            }
        }
    }

    /// Reads an event type.
    ///
    /// # Errors
    /// `NotFound`, also for one that `caller` may not see.
    pub async fn event_type(&self, caller: &Caller, name: &str) -> Result<EventType> {
        let key = keys::event_type(caller.org(), name);
        let item = self.get(Table::Config, key, true, "read an event type").await?;
        let found = item.map(|item| EventType::from_item(&item)).transpose()?;
        found.filter(|found| found.visible_to(caller)).ok_or(Error::NotFound("Event type"))
    }

    /// Lists an organisation's event types by name. `keep` is asked about each that was read; the
    /// list goes on reading until the page is full.
    ///
    /// # Errors
    /// The store's own.
    pub async fn list_event_types(
        &self,
        org: OrgId,
        query: &ListQuery<String>,
        keep: impl Fn(&EventType) -> bool,
    ) -> Result<Page<EventType>> {
        // Few are left out, so whole pages are read and thinned; the work stays bounded by the tries.
        const PAGES_MAX: usize = 20;
        let mut kept: Vec<EventType> = Vec::new();
        let mut at = query.clone();
        let backward = matches!(query.cursor, Cursor::Before(_));
        for _ in 0..PAGES_MAX {
            let read = |item: &Item| EventType::from_item(item);
            let page = self.list_range(keys::org_pk(org), "ET#", &at, "list event types", read).await?;
            let beyond = if backward { page.entries.first() } else { page.entries.last() };
            let Some(beyond) = beyond.map(|entry| entry.name.clone()) else {
                return Ok(Page { entries: kept, done: true, resume: None });
            };
            let fitting = page.entries.into_iter().filter(&keep);
            if backward {
                let mut more: Vec<_> = fitting.collect();
                more.append(&mut kept);
                kept = more;
            } else {
                kept.extend(fitting);
            }
            if kept.len() > query.limit || page.done {
                let done = page.done && kept.len() <= query.limit;
                let cut = kept.len().saturating_sub(query.limit);
                if backward {
                    kept.drain(..cut);
                } else {
                    kept.truncate(query.limit);
                }
                return Ok(Page { entries: kept, done, resume: None });
            }
            at.cursor = if backward { Cursor::Before(beyond) } else { Cursor::Behind(beyond) };
        }
        let resume = match &at.cursor {
            Cursor::Behind(name) => Some(name.clone()),
            Cursor::Before(name) => Some(format!("-{name}")),
            Cursor::Start => None,
        };
        Ok(Page { entries: kept, done: false, resume })
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
        let usable = |name: &&String| known.get(*name).is_some_and(|found| found.visible_to(caller));
        Ok(names.iter().filter(|name| !usable(name)).cloned().collect())
    }
}
