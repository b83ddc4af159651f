//! Applications: one for each customer of an organisation.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{AttributeValue, Delete, TransactWriteItem, Update};

use super::audit::{ABSENT, Change, What, put};
use super::item::{Get as _, Item, Put as _, SCHEMA, n, s};
use super::tokens::Expiry;
use super::{Store, Table, Transacted, health, keys};
use crate::auth::Caller;
use crate::clock::Timestamp;
use crate::error::{Error, Result, corrupt};
use crate::http::{ListQuery, Page};
use crate::ids::{AppId, EndpointId, OrgId, Reference};

/// An application as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// The organisation that it belongs to.
    pub org: OrgId,
    /// Its id.
    pub id: AppId,
    /// What its owner may change.
    pub settings: ApplicationSettings,
    /// Raised by each change of its endpoints: tells whether a cache of them still holds.
    pub version: u64,
    /// When `version` was raised last.
    pub version_at: Timestamp,
    /// Its endpoints that are known to hang. Changing them raises no version.
    pub hanging: Vec<EndpointId>,
    /// The ends of tokens that it has had.
    pub expiries: Vec<Expiry>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its settings were changed last.
    pub updated_at: Timestamp,
}

/// What the owner of an application may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplicationSettings {
    /// For people.
    pub name: String,
    /// The owner's own id for it.
    pub uid: Option<String>,
    /// Messages per second that its endpoints take.
    pub rate_limit: Option<u16>,
    /// The owner's notes.
    pub metadata: BTreeMap<String, String>,
}

/// Most endpoints that one application may have: what one fan-out and one cached list must carry.
pub const ENDPOINTS_MAX: u32 = 10_000;

const NOT_FOUND: Error = Error::NotFound("Application");

impl Application {
    fn from_item(org: OrgId, item: &Item) -> Result<Self> {
        item.check_schema()?;
        let id = item.text("sk")?.strip_prefix("APP#").unwrap_or_default();
        Ok(Self {
            org,
            id: id.parse().map_err(corrupt("an application's key"))?,
            settings: ApplicationSettings {
                name: item.text("name")?.to_owned(),
                uid: item.text_opt("uid").map(str::to_owned),
                rate_limit: item.number_opt("rateLimit"),
                metadata: metadata_of(item),
            },
            version: item.number("version")?,
            version_at: item.time("versionAt")?,
            hanging: health::hanging_of(item),
            expiries: Expiry::all_of(item),
            created_at: item.time("createdAt")?,
            updated_at: item.time("updatedAt")?,
        })
    }

    fn to_item(&self) -> Item {
        keys::application(self.org, self.id)
            .with("v", n(SCHEMA))
            .with("name", s(&self.settings.name))
            .with_some("uid", self.settings.uid.as_ref().map(s))
            .with_some("rateLimit", self.settings.rate_limit.map(n))
            .with_some("metadata", metadata(&self.settings.metadata))
            .with("endpoints", n(0))
            .with("version", n(self.version))
            .with("versionAt", n(self.version_at.ms()))
            .with("createdAt", n(self.created_at.ms()))
            .with("updatedAt", n(self.updated_at.ms()))
    }
}

/// A map of texts as an attribute; an empty one leaves none.
pub(super) fn metadata(map: &BTreeMap<String, String>) -> Option<AttributeValue> {
    let entries = map.iter().map(|(key, value)| (key.clone(), s(value)));
    (!map.is_empty()).then(|| AttributeValue::M(entries.collect()))
}

/// The map of texts of an item.
pub(super) fn metadata_of(item: &Item) -> BTreeMap<String, String> {
    let Some(AttributeValue::M(map)) = item.get("metadata") else { return BTreeMap::new() };
    map.iter().filter_map(|(key, value)| Some((key.clone(), value.as_s().ok()?.clone()))).collect()
}

impl Store {
    /// Makes an application.
    ///
    /// # Errors
    /// `Conflict` if another one of the organisation has its uid.
    pub async fn create_application(
        &self,
        by: &Caller,
        settings: ApplicationSettings,
    ) -> Result<Application> {
        let now = self.clock.now();
        let id = AppId::new(now, &*self.random);
        let app = Application {
            org: by.org(),
            id,
            settings,
            version: 1,
            version_at: now,
            hanging: Vec::new(),
            expiries: Vec::new(),
            created_at: now,
            updated_at: now,
        };
        let mut writes = vec![put(&self.tables.config, app.to_item(), ABSENT)?];
        if let Some(uid) = &app.settings.uid {
            writes.push(self.claim_application_uid(app.org, uid, id)?);
        }
        let change = Change::new(by, What::ApplicationCreated, id).within(id).to(&app.settings);
        writes.push(self.audit(change)?);
        match self.transact(writes, "create an application").await? {
            Transacted::Done => Ok(app),
            Transacted::Refused(_) => Err(uid_taken()),
        }
    }

    fn claim_application_uid(&self, org: OrgId, uid: &str, id: AppId) -> Result<TransactWriteItem> {
        let item = keys::application_uid(org, uid).with("v", n(SCHEMA)).with("id", s(id.to_string()));
        put(&self.tables.config, item, ABSENT)
    }

    fn free_application_uid(&self, org: OrgId, uid: &str, id: AppId) -> Result<TransactWriteItem> {
        let delete = Delete::builder()
            .table_name(&self.tables.config)
            .set_key(Some(keys::application_uid(org, uid)))
            .condition_expression("#id = :id")
            .expression_attribute_names("#id", "id")
            .expression_attribute_values(":id", s(id.to_string()))
            .build();
        Ok(TransactWriteItem::builder().delete(delete.map_err(corrupt("a write"))?).build())
    }

    /// Reads an application strongly: its version decides whether caches hold.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn application(&self, org: OrgId, id: AppId) -> Result<Application> {
        self.find_application(org, id).await?.ok_or(NOT_FOUND)
    }

    /// Like [`Store::application`], with none where there is none.
    ///
    /// # Errors
    /// The store's own.
    pub async fn find_application(&self, org: OrgId, id: AppId) -> Result<Option<Application>> {
        let item = self.get(Table::Config, keys::application(org, id), true, "read an application").await?;
        item.map(|item| Application::from_item(org, &item)).transpose()
    }

    /// The id behind an application's uid.
    ///
    /// # Errors
    /// The store's own.
    pub async fn application_id(&self, org: OrgId, uid: &str) -> Result<Option<AppId>> {
        let key = keys::application_uid(org, uid);
        let item = self.get(Table::Config, key, true, "read an application's uid").await?;
        item.map(|item| item.text("id")?.parse().map_err(corrupt("an application's uid"))).transpose()
    }

    /// The application that `caller` means by `reference`.
    ///
    /// # Errors
    /// `NotFound`, also for applications that are not the caller's; `Unauthenticated` for a token that
    /// was expired with all others of the application.
    pub async fn application_for(
        &self,
        caller: &Caller,
        reference: &Reference<AppId>,
    ) -> Result<Application> {
        let id = match caller.narrow(reference.clone())? {
            Reference::Id(id) => id,
            Reference::Uid(uid) => self.application_id(caller.org(), &uid).await?.ok_or(NOT_FOUND)?,
        };
        let app = self.application(caller.org(), id).await?;
        caller.still_admitted(&app.expiries, self.clock.now())?;
        match reference {
            Reference::Uid(uid) if app.settings.uid.as_ref() != Some(uid) => Err(NOT_FOUND),
            _ => Ok(app),
        }
    }

    /// Lists an organisation's applications by id, which is by age.
    ///
    /// # Errors
    /// The store's own.
    pub async fn list_applications(&self, org: OrgId, query: &ListQuery<AppId>) -> Result<Page<Application>> {
        self.list_range(Table::Config, keys::org_pk(org), "APP#", query, "list applications", |item| {
            Application::from_item(org, item).map(Some)
        })
        .await
    }

    /// Replaces the settings of `old` as it was read; the caller reads again where that has changed.
    ///
    /// # Errors
    /// `Conflict` if the uid is another's.
    pub async fn update_application(
        &self,
        by: &Caller,
        old: &Application,
        settings: ApplicationSettings,
    ) -> Result<Option<Application>> {
        // Never the same time twice: it is what the condition compares.
        let updated_at = self.clock.now().max(Timestamp::from_ms(old.updated_at.ms() + 1));
        let new = Application { settings, updated_at, ..old.clone() };
        let (uid, old_uid) = (&new.settings.uid, &old.settings.uid);
        let mut update = Update::builder()
            .table_name(&self.tables.config)
            .set_key(Some(keys::application(old.org, old.id)))
            .condition_expression("attribute_exists(pk) AND updatedAt = :old")
            .expression_attribute_names("#name", "name")
            .expression_attribute_names("#uid", "uid")
            .expression_attribute_names("#rate", "rateLimit")
            .expression_attribute_names("#metadata", "metadata")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":old", n(old.updated_at.ms()))
            .expression_attribute_values(":name", s(&new.settings.name))
            .expression_attribute_values(":now", n(new.updated_at.ms()))
            .expression_attribute_values(":one", n(1));
        let mut set =
            "SET #name = :name, updatedAt = :now, versionAt = :now, #version = #version + :one".to_owned();
        let mut remove = Vec::new();
        for (alias, value) in [
            ("uid", uid.as_ref().map(s)),
            ("rate", new.settings.rate_limit.map(n)),
            ("metadata", metadata(&new.settings.metadata)),
        ] {
            match value {
                Some(value) => {
                    set.push_str(&format!(", #{alias} = :{alias}"));
                    update = update.expression_attribute_values(format!(":{alias}"), value);
                }
                None => remove.push(format!("#{alias}")),
            }
        }
        if !remove.is_empty() {
            set.push_str(&format!(" REMOVE {}", remove.join(", ")));
        }
        let update = update.update_expression(set).build().map_err(corrupt("a write"))?;
        let mut writes = vec![TransactWriteItem::builder().update(update).build()];
        if uid != old_uid {
            if let Some(uid) = uid {
                writes.push(self.claim_application_uid(old.org, uid, old.id)?);
            }
            if let Some(uid) = old_uid {
                writes.push(self.free_application_uid(old.org, uid, old.id)?);
            }
        }
        let change = Change::new(by, What::ApplicationUpdated, old.id).within(old.id);
        writes.push(self.audit(change.from(&old.settings).to(&new.settings))?);
        match self.transact(writes, "update an application").await? {
            Transacted::Done => {
                Ok(Some(Application { version: old.version + 1, version_at: new.updated_at, ..new }))
            }
            Transacted::Refused(which) if which.contains(&0) => Ok(None),
            Transacted::Refused(_) => Err(uid_taken()),
        }
    }

    /// Deletes an application as it was read: from now on nobody finds it, and nothing of it is delivered
    /// any more. A task erases what it leaves. `false` where it was changed meanwhile, and the caller
    /// reads again.
    ///
    /// # Errors
    /// The store's own.
    pub async fn delete_application(&self, by: &Caller, app: &Application) -> Result<bool> {
        let delete = Delete::builder()
            .table_name(&self.tables.config)
            .set_key(Some(keys::application(app.org, app.id)))
            .condition_expression("attribute_exists(pk) AND updatedAt = :old")
            .expression_attribute_values(":old", n(app.updated_at.ms()))
            .build();
        let mut writes =
            vec![TransactWriteItem::builder().delete(delete.map_err(corrupt("a write"))?).build()];
        if let Some(uid) = &app.settings.uid {
            writes.push(self.free_application_uid(app.org, uid, app.id)?);
        }
        let change = Change::new(by, What::ApplicationDeleted, app.id).within(app.id).from(&app.settings);
        writes.push(self.audit(change)?);
        writes.extend(self.erasure(app.org, app.id)?);
        Ok(self.transact(writes, "delete an application").await? == Transacted::Done)
    }
}

fn uid_taken() -> Error {
    Error::Conflict("An application with this uid exists already.".into())
}
