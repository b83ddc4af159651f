//! Applications: one for each customer of an organisation.
//!
//! An application is two items. The one that deliveries need is small, and its endpoints follow it in its
//! own partition: one query reads them all. What people know of it, its profile, stands with the others of
//! its organisation, where lists read it.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::builders::{DeleteBuilder, PutBuilder};
use aws_sdk_dynamodb::types::{AttributeValue, Delete};

use super::audit::{AuditAction, Change};
use super::copies::{OfApplication, Raise, copies_of};
use super::endpoints::Endpoint;
use super::item::{FromItem, Get as _, Item, Put as _, SCHEMA, ToItem, ToItemOf, n, s};
use super::tokens::expiries_of;
use super::transaction::{Guard, Transacted, Transaction, create, put};
use super::{Range, Store, Table, health, keys};
use domain::caller::Caller;
use domain::copies::Copies;
use domain::error::{Error, Result, corrupt};
use domain::ids::{AppId, OrgId, Reference};
use domain::page::{ListQuery, Page};
use domain::retry::OwnRetryPolicy;
use runtime::clock::Timestamp;
use serde_json::Value;

/// Applications that one instance knows by their uid.
pub(super) const UIDS_MAX: usize = 10_000;

pub use domain::application::{Application, ApplicationSettings, ENDPOINTS_MAX, Profile};

const NOT_FOUND: Error = Error::NotFound("Application");

/// Endpoints that are read along with their application at most: with ten of usual size it is one read unit.
const ENDPOINTS_ALONG_MAX: usize = 10;

/// An application, and all its endpoints if they came along.
pub type Along = (Application, Option<Vec<Endpoint>>);

impl FromItem for Application {
    fn from_item(item: &Item) -> Result<Self> {
        item.check_schema()?;
        Ok(Self {
            org: item.text("org")?.parse().map_err(corrupt("an application's organisation"))?,
            id: keys::application_of(item)?,
            uid: item.text_opt("uid").map(str::to_owned),
            rate_limit: item.number_opt("rateLimit"),
            retry_policy: retry_policy_of(item)?,
            version: item.number("version")?,
            version_at: item.time("versionAt")?,
            slow_endpoints: health::slow_endpoints_of(item),
            expiries: expiries_of(item),
            copies: copies_of(item),
        })
    }
}

impl ToItem for Application {
    /// The item of an application that has no endpoints yet.
    fn to_item(&self) -> Item {
        keys::application(self.id)
            .with("v", n(SCHEMA))
            .with("org", s(self.org.to_string()))
            .with_some("uid", self.uid.as_ref().map(s))
            .with_some("rateLimit", self.rate_limit.map(n))
            .with_some("retryPolicy", retry_policy(self.retry_policy.as_ref()))
            .with("endpoints", n(0))
            .with("version", n(self.version))
            .with("versionAt", n(self.version_at.ms()))
    }
}

impl FromItem for Profile {
    fn from_item(item: &Item) -> Result<Self> {
        item.check_schema()?;
        let id = item.text("sk")?.strip_prefix("APP#").unwrap_or_default();
        Ok(Self {
            id: id.parse().map_err(corrupt("an application's key"))?,
            settings: ApplicationSettings {
                name: item.text("name")?.to_owned(),
                uid: item.text_opt("uid").map(str::to_owned),
                rate_limit: item.number_opt("rateLimit"),
                retry_policy: retry_policy_of(item)?,
                metadata: metadata_of(item),
            },
            created_at: item.time("createdAt")?,
            updated_at: item.time("updatedAt")?,
        })
    }
}

impl ToItemOf<OrgId> for Profile {
    fn to_item(&self, org: OrgId) -> Item {
        keys::profile(org, self.id)
            .with("v", n(SCHEMA))
            .with("name", s(&self.settings.name))
            .with_some("uid", self.settings.uid.as_ref().map(s))
            .with_some("rateLimit", self.settings.rate_limit.map(n))
            .with_some("retryPolicy", retry_policy(self.settings.retry_policy.as_ref()))
            .with_some("metadata", metadata(&self.settings.metadata))
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

/// A retry policy as an attribute.
pub(super) fn retry_policy(policy: Option<&OwnRetryPolicy>) -> Option<AttributeValue> {
    policy.map(|policy| s(Value::from(policy).to_string()))
}

/// The retry policy of an item.
pub(super) fn retry_policy_of(item: &Item) -> Result<Option<OwnRetryPolicy>> {
    let policy = item.text_opt("retryPolicy").map(serde_json::from_str);
    policy.transpose().map_err(corrupt("a retry policy"))
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
    ) -> Result<(Application, Profile)> {
        let now = self.clock.now();
        let id = self.new_id::<AppId>(now);
        let app = Application {
            org: by.org(),
            id,
            uid: settings.uid.clone(),
            rate_limit: settings.rate_limit,
            retry_policy: settings.retry_policy.clone(),
            version: 1,
            version_at: now,
            slow_endpoints: Vec::new(),
            expiries: Vec::new(),
            copies: Copies::default(),
        };
        let profile = Profile { id, settings, created_at: now, updated_at: now };
        let table = self.table(Table::Config);
        let mut tx = Transaction::new("create an application");
        tx.add(Guard::Fresh, create(table, app.to_item()))?;
        tx.add(Guard::Fresh, create(table, profile.to_item(app.org)))?;
        if let Some(uid) = &app.uid {
            tx.add(Guard::Uid, self.claim_application_uid(app.org, uid, id))?;
        }
        let change = Change::new(by, AuditAction::ApplicationCreated, id).within(id).to(&profile.settings);
        tx.add(Guard::Fresh, self.audit(change))?;
        match self.transact(tx).await? {
            Transacted::Done => Ok((app, profile)),
            Transacted::Refused(_) => Err(uid_taken()),
        }
    }

    fn claim_application_uid(&self, org: OrgId, uid: &str, id: AppId) -> PutBuilder {
        let item = keys::application_uid(org, uid).with("v", n(SCHEMA)).with("id", s(id.to_string()));
        create(self.table(Table::Config), item)
    }

    fn free_application_uid(&self, org: OrgId, uid: &str, id: AppId) -> DeleteBuilder {
        Delete::builder()
            .table_name(&self.tables.config)
            .set_key(Some(keys::application_uid(org, uid)))
            .condition_expression("#id = :id")
            .expression_attribute_names("#id", "id")
            .expression_attribute_values(":id", s(id.to_string()))
    }

    /// Reads an application strongly, from its item or any copy: its version decides whether caches hold.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn application(&self, org: OrgId, id: AppId) -> Result<Application> {
        self.find_application(org, id).await?.ok_or(NOT_FOUND)
    }

    /// Like [`Store::application`], with none where there is none, or where it is another organisation's.
    ///
    /// # Errors
    /// The store's own.
    pub async fn find_application(&self, org: OrgId, id: AppId) -> Result<Option<Application>> {
        let item = self.application_item(id).await?;
        let app = item.map(|item| Application::from_item(&item)).transpose()?;
        Ok(app.filter(|app| app.org == org))
    }

    /// Like [`Store::find_application`], with its first endpoints, and whether those are all: for who has
    /// none of them in a cache. Where they are few, it costs no more than the application alone.
    ///
    /// # Errors
    /// The store's own.
    pub async fn find_application_and_endpoints(
        &self,
        org: OrgId,
        id: AppId,
    ) -> Result<Option<(Application, Vec<Endpoint>, bool)>> {
        let (from, to) = keys::application_and_endpoints();
        let range = Range {
            pk: keys::application_pk(id),
            from,
            to,
            ascending: true,
            limit: 1 + ENDPOINTS_ALONG_MAX,
            strong: true,
            start: None,
            operation: "read an application and its endpoints",
        };
        let page = self.query(Table::Config, range).await?;
        let there = page.items.split_first();
        // Of a deleted application endpoints may be left for a while.
        let gone = there.map_or(Ok(true), |(first, _)| keys::is_endpoint(first))?;
        let Some((first, others)) = there.filter(|_| !gone) else {
            self.learn_copies(id, None);
            return Ok(None);
        };
        self.learn_copies(id, Some(first));
        let app = Application::from_item(first)?;
        if app.org != org {
            return Ok(None);
        }
        let endpoints: Result<Vec<_>> = others.iter().map(|item| self.endpoint_of(id, item)).collect();
        Ok(Some((app, endpoints?, page.last.is_none())))
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
        Ok(self.application_along_for(caller, reference, |_| false).await?.0)
    }

    /// The same, with all its endpoints if `along` says so of its id and they are few.
    ///
    /// # Errors
    /// As [`Store::application_for`].
    pub async fn application_along_for(
        &self,
        caller: &Caller,
        reference: &Reference<AppId>,
        along: impl Fn(AppId) -> bool + Send + Sync,
    ) -> Result<Along> {
        let org = caller.org();
        let found = match caller.narrow(reference.clone())? {
            Reference::Id(id) => self.application_along(org, id, along(id)).await?,
            Reference::Uid(uid) => self.application_called(org, uid, along).await?,
        };
        let (app, endpoints) = found.ok_or(NOT_FOUND)?;
        caller.still_admitted(&app.expiries, self.clock.now())?;
        match reference {
            Reference::Uid(uid) if app.uid.as_ref() != Some(uid) => Err(NOT_FOUND),
            _ => Ok((app, endpoints)),
        }
    }

    async fn application_along(&self, org: OrgId, id: AppId, along: bool) -> Result<Option<Along>> {
        if !along {
            return Ok(self.find_application(org, id).await?.map(|app| (app, None)));
        }
        let found = self.find_application_and_endpoints(org, id).await?;
        Ok(found.map(|(app, endpoints, all)| (app, all.then_some(endpoints))))
    }

    /// The application that has that uid. Whose it was a moment ago is remembered; whether it still is, the
    /// application itself says.
    async fn application_called(
        &self,
        org: OrgId,
        uid: String,
        along: impl Fn(AppId) -> bool + Send + Sync,
    ) -> Result<Option<Along>> {
        let key = (org, uid);
        if let Some(id) = self.uids.get(&key, self.clock.now()) {
            let found = self.application_along(org, id, along(id)).await?;
            let found = found.filter(|(app, _)| app.uid.as_ref() == Some(&key.1));
            if found.is_some() {
                return Ok(found);
            }
        }
        let Some(id) = self.application_id(org, &key.1).await? else { return Ok(None) };
        self.uids.put(key, id, self.clock.now());
        self.application_along(org, id, along(id)).await
    }

    /// What people know of an application that was just read.
    ///
    /// # Errors
    /// `NotFound` if it was deleted meanwhile.
    pub async fn profile(&self, app: &Application) -> Result<Profile> {
        let key = keys::profile(app.org, app.id);
        let item = self.get(Table::Config, key, true, "read an application's profile").await?;
        Profile::from_item(&item.ok_or(NOT_FOUND)?)
    }

    /// The profiles of those applications of an organisation that are there, in any order.
    ///
    /// # Errors
    /// The store's own.
    pub async fn profiles(&self, org: OrgId, ids: impl IntoIterator<Item = AppId>) -> Result<Vec<Profile>> {
        let wanted = ids.into_iter().map(|id| keys::profile(org, id)).collect();
        let found = self.batch_get(Table::Config, wanted, false, "read applications' profiles").await?;
        found.iter().map(Profile::from_item).collect()
    }

    /// Lists an organisation's applications by id, which is by age.
    ///
    /// # Errors
    /// The store's own.
    pub async fn list_applications(&self, org: OrgId, query: &ListQuery<AppId>) -> Result<Page<Profile>> {
        self.list_range(Table::Config, keys::org_pk(org), "APP#", query, "list applications", |item| {
            Profile::from_item(item).map(Some)
        })
        .await
    }

    /// Replaces the settings of `old`, the profile of `app`, as it was read; the caller reads both again
    /// where that has changed.
    ///
    /// # Errors
    /// `Conflict` if the uid is another's.
    pub async fn update_application(
        &self,
        by: &Caller,
        app: &Application,
        old: &Profile,
        settings: ApplicationSettings,
    ) -> Result<Option<Profile>> {
        // Never the same time twice: it is what the condition compares.
        let updated_at = self.clock.now().max(Timestamp::from_ms(old.updated_at.ms() + 1));
        let new = Profile { settings, updated_at, ..old.clone() };
        let (uid, old_uid) = (&new.settings.uid, &old.settings.uid);
        let profile = put(self.table(Table::Config), new.to_item(app.org))
            .condition_expression("updatedAt = :old")
            .expression_attribute_values(":old", n(old.updated_at.ms()));
        let mut tx = Transaction::new("update an application");
        tx.add(Guard::Unchanged, profile)?;
        tx.of_application(app, OfApplication::Raise(Raise::default().settings(&new.settings).lowering()));
        if uid != old_uid {
            if let Some(uid) = uid {
                tx.add(Guard::Uid, self.claim_application_uid(app.org, uid, app.id))?;
            }
            if let Some(uid) = old_uid {
                tx.add(Guard::Unchanged, self.free_application_uid(app.org, uid, app.id))?;
            }
        }
        let change = Change::new(by, AuditAction::ApplicationUpdated, app.id).within(app.id);
        tx.add(Guard::Fresh, self.audit(change.from(&old.settings).to(&new.settings)))?;
        match self.transact(tx).await? {
            Transacted::Done => Ok(Some(new)),
            Transacted::Refused(Guard::Uid) => Err(uid_taken()),
            Transacted::Refused(_) => Ok(None),
        }
    }

    /// Deletes an application, whose profile is as it was read: from now on nobody finds it, and nothing of
    /// it is delivered any more. A task erases what it leaves. `false` where it was changed meanwhile, and
    /// the caller reads again.
    ///
    /// # Errors
    /// The store's own.
    pub async fn delete_application(
        &self,
        by: &Caller,
        app: &Application,
        profile: &Profile,
    ) -> Result<bool> {
        let delete = |key| Delete::builder().table_name(&self.tables.config).set_key(Some(key));
        let of_profile = delete(keys::profile(app.org, app.id))
            .condition_expression("updatedAt = :old")
            .expression_attribute_values(":old", n(profile.updated_at.ms()));
        let mut tx = Transaction::new("delete an application");
        tx.add(Guard::Unchanged, of_profile)?;
        tx.of_application(app, OfApplication::Delete);
        if let Some(uid) = &profile.settings.uid {
            tx.add(Guard::Unchanged, self.free_application_uid(app.org, uid, app.id))?;
        }
        let change = Change::new(by, AuditAction::ApplicationDeleted, app.id).within(app.id);
        tx.add(Guard::Fresh, self.audit(change.from(&profile.settings)))?;
        self.begin_erasure(&mut tx, app.org, app.id)?;
        Ok(self.transact(tx).await? == Transacted::Done)
    }
}

fn uid_taken() -> Error {
    Error::Conflict("An application with this uid exists already.".into())
}
