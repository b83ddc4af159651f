//! Endpoints: where an application's messages go. Every change of one raises the application's
//! version in the same transaction, which is what keeps caches honest.

mod items;

use aws_sdk_dynamodb::types::Delete;
use aws_sdk_dynamodb::types::builders::{DeleteBuilder, PutBuilder};

use super::applications::ENDPOINTS_MAX;
use super::audit::{AuditAction, Change};
use super::copies::Raise;
use super::endpoint_secrets::EndpointHeaders;
use super::item::{Get as _, Put as _, SCHEMA, n, s};
use super::transaction::{Guard, Transacted, Transaction, create, put};
use super::{Range, Store, Table, keys};
use domain::caller::Caller;
use domain::error::{Error, Result, corrupt};
use domain::ids::{AppId, EndpointId, Reference};
use domain::operational::EndpointEvent;
use domain::order::ORDERED_MAX;
use domain::page::{ListQuery, Page};
use domain::signing::SigningKey;
use runtime::clock::Timestamp;

use super::applications::Application;

pub use domain::endpoint::{
    Destination, Endpoint, EndpointKey, EndpointSettings, Filter, Standing, is_type_pattern,
};

/// Endpoints that are looked at at a time for how they stand: nearly always the first one says it.
const STANDING_PAGE: usize = 10;

const NOT_FOUND: Error = Error::NotFound("Endpoint");

/// Audit events of one transaction, which takes a hundred writes.
const INVALIDATED_AT_ONCE: usize = 50;

impl Store {
    /// Tells all caches, and the jobs that carry a text, that something of the application is no
    /// longer what it was: the text of a message, say. `what` and `subject` go into the audit event.
    ///
    /// # Errors
    /// `NotFound` if the application is gone.
    pub async fn invalidate(
        &self,
        by: &Caller,
        app: &Application,
        what: AuditAction,
        subject: String,
    ) -> Result<()> {
        self.invalidate_each(by, app, what, &[subject]).await
    }

    /// The same for several things at once: nothing is there to be changed, so that parts of it may be done.
    ///
    /// # Errors
    /// `NotFound` if the application is gone.
    pub async fn invalidate_each(
        &self,
        by: &Caller,
        app: &Application,
        what: AuditAction,
        subjects: &[String],
    ) -> Result<()> {
        for some in subjects.chunks(INVALIDATED_AT_ONCE) {
            let mut tx = Transaction::new("invalidate caches");
            tx.raise(app, Raise::default());
            for subject in some {
                tx.add(Guard::Fresh, self.audit(Change::new(by, what, subject).within(app.id)))?;
            }
            if self.transact(tx).await? != Transacted::Done {
                return Err(Error::NotFound("Application"));
            }
        }
        Ok(())
    }

    /// The same for what a task does, whose beginning has an audit event. An application that is gone has no
    /// caches to tell.
    ///
    /// # Errors
    /// The store's own.
    pub async fn invalidate_for_task(&self, app: &Application) -> Result<()> {
        let mut tx = Transaction::new("invalidate caches");
        tx.raise(app, Raise::default());
        self.transact(tx).await.map(drop)
    }

    fn claim_endpoint_uid(&self, app: AppId, uid: &str, id: EndpointId) -> PutBuilder {
        let item = keys::endpoint_uid(app, uid).with("v", n(SCHEMA)).with("id", s(id.to_string()));
        create(self.table(Table::Config), item)
    }

    fn free_endpoint_uid(&self, app: AppId, uid: &str, id: EndpointId) -> DeleteBuilder {
        Delete::builder()
            .table_name(&self.tables.config)
            .set_key(Some(keys::endpoint_uid(app, uid)))
            .condition_expression("#id = :id")
            .expression_attribute_names("#id", "id")
            .expression_attribute_values(":id", s(id.to_string()))
    }

    /// Makes an endpoint.
    ///
    /// # Errors
    /// `Conflict` if its uid is taken or the application has as many endpoints as it may have;
    /// `NotFound` if the application was deleted meanwhile.
    pub async fn create_endpoint(
        &self,
        by: &Caller,
        app: &Application,
        settings: EndpointSettings,
        key: SigningKey,
        headers: EndpointHeaders,
    ) -> Result<Endpoint> {
        let now = self.clock.now();
        let endpoint = Endpoint {
            app: app.id,
            id: self.new_id(now),
            settings,
            keys: vec![EndpointKey { key, until: None }],
            headers,
            transformation: None,
            auto_config: None,
            failing_since: None,
            failing_from: None,
            failing_warned: false,
            probing: None,
            created_at: now,
            updated_at: now,
        };
        self.write_new_endpoint(by, app, endpoint).await
    }

    /// Writes an endpoint that was not there before.
    pub(super) async fn write_new_endpoint(
        &self,
        by: &Caller,
        app: &Application,
        endpoint: Endpoint,
    ) -> Result<Endpoint> {
        let change = Change::new(by, AuditAction::EndpointCreated, endpoint.id).within(app.id).to(&endpoint);
        let mut tx = Transaction::new("create an endpoint");
        tx.raise(app, Raise::default().endpoints(1).lowering());
        tx.add(Guard::Fresh, create(self.table(Table::Config), self.endpoint_item(&endpoint)?))?;
        tx.add(Guard::Fresh, self.audit(change))?;
        if let Some(uid) = &endpoint.settings.uid {
            tx.add(Guard::Uid, self.claim_endpoint_uid(app.id, uid, endpoint.id))?;
        }
        if endpoint.settings.fifo.is_some() {
            let ordered = self.ordered_endpoints(app.id, endpoint.id).await?;
            tx.add(Guard::Fresh, self.begin_place(app.id, endpoint.id, &ordered).await?)?;
        }
        let events = self.operational_events(app, &endpoint, &[EndpointEvent::Created]).await?;
        self.write_operational_events(&mut tx, &events)?;
        match self.transact(tx).await? {
            Transacted::Done => {
                self.enqueue_operational_events(&events).await;
                Ok(endpoint)
            }
            Transacted::Refused(Guard::Application) => {
                self.application(app.org, app.id).await?;
                let text = format!("The application has {ENDPOINTS_MAX} endpoints: it cannot have more.");
                Err(Error::Conflict(text))
            }
            Transacted::Refused(_) => Err(uid_taken()),
        }
    }

    /// The ordered endpoints of an application besides `but`, which is to become one.
    async fn ordered_endpoints(&self, app: AppId, but: EndpointId) -> Result<Vec<EndpointId>> {
        let all = self.all_endpoints(app).await?.into_iter();
        let others = all.filter(|endpoint| endpoint.settings.fifo.is_some() && endpoint.id != but);
        let mut ordered: Vec<EndpointId> = others.map(|endpoint| endpoint.id).collect();
        if ordered.len() >= ORDERED_MAX {
            return Err(Error::Conflict(format!(
                "The application has {ORDERED_MAX} ordered endpoints: it cannot have more."
            )));
        }
        ordered.push(but);
        Ok(ordered)
    }

    /// Reads an endpoint strongly.
    ///
    /// # Errors
    /// The store's own.
    pub async fn find_endpoint(&self, app: AppId, id: EndpointId) -> Result<Option<Endpoint>> {
        let item = self.get(Table::Config, keys::endpoint(app, id), true, "read an endpoint").await?;
        item.map(|item| self.endpoint_of(app, &item)).transpose()
    }

    /// Those of an application's endpoints that are there, in any order.
    ///
    /// # Errors
    /// The store's own.
    pub async fn endpoints(&self, app: AppId, ids: &[EndpointId]) -> Result<Vec<Endpoint>> {
        let wanted = ids.iter().map(|id| keys::endpoint(app, *id)).collect();
        let found = self.batch_get(Table::Config, wanted, true, "read endpoints").await?;
        found.iter().map(|item| self.endpoint_of(app, item)).collect()
    }

    /// How the endpoints of an application stand, all in all.
    ///
    /// # Errors
    /// The store's own.
    pub async fn endpoints_standing(&self, app: AppId) -> Result<Standing> {
        let (mut standing, mut start) = (Standing::None, None);
        loop {
            let range = Range {
                pk: keys::application_pk(app),
                from: "EP#".to_owned(),
                to: "EP#~".to_owned(),
                ascending: true,
                limit: STANDING_PAGE,
                strong: false,
                start,
                operation: "look at an application's endpoints",
            };
            let page = self.query(Table::Config, range).await?;
            for item in &page.items {
                match item.get("disabled").and_then(|flag| flag.as_bool().ok()) {
                    Some(true) => standing = Standing::Disabled,
                    _ => return Ok(Standing::Works),
                }
            }
            start = page.last;
            if start.is_none() {
                return Ok(standing);
            }
        }
    }

    /// The endpoint of `app` that a path means.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn endpoint_for(&self, app: AppId, reference: &Reference<EndpointId>) -> Result<Endpoint> {
        let id = match reference {
            Reference::Id(id) => *id,
            Reference::Uid(uid) => {
                let key = keys::endpoint_uid(app, uid);
                let item =
                    self.get(Table::Config, key, true, "read an endpoint's uid").await?.ok_or(NOT_FOUND)?;
                item.text("id")?.parse().map_err(corrupt("an endpoint's uid"))?
            }
        };
        self.find_endpoint(app, id).await?.ok_or(NOT_FOUND)
    }

    /// Lists an application's endpoints by id, which is by age.
    ///
    /// # Errors
    /// The store's own.
    pub async fn list_endpoints(&self, app: AppId, query: &ListQuery<EndpointId>) -> Result<Page<Endpoint>> {
        self.list_range(Table::Config, keys::application_pk(app), "EP#", query, "list endpoints", |item| {
            self.endpoint_of(app, item).map(Some)
        })
        .await
    }

    /// All endpoints of an application, strongly: what a cache is filled with.
    ///
    /// # Errors
    /// The store's own.
    pub async fn all_endpoints(&self, app: AppId) -> Result<Vec<Endpoint>> {
        let mut endpoints = Vec::new();
        let mut start = None;
        loop {
            let range = Range {
                pk: keys::application_pk(app),
                from: "EP#".into(),
                to: "EP#~".into(),
                ascending: true,
                limit: ENDPOINTS_MAX as usize,
                strong: true,
                start,
                operation: "read an application's endpoints",
            };
            let page = self.query(Table::Config, range).await?;
            for item in &page.items {
                endpoints.push(self.endpoint_of(app, item)?);
            }
            start = page.last;
            if start.is_none() {
                return Ok(endpoints);
            }
        }
    }

    /// Replaces the settings of `old` as it was read; none where it was changed meanwhile, and the
    /// caller reads again. `off`: somebody says that it is to be disabled. If it was disabled because it failed, it is
    /// now because somebody wants so, and is not probed any more.
    ///
    /// # Errors
    /// `Conflict` if the uid is another's, `NotFound` if the application is gone.
    pub async fn update_endpoint(
        &self,
        by: &Caller,
        app: &Application,
        old: &Endpoint,
        settings: EndpointSettings,
        off: bool,
    ) -> Result<Option<Endpoint>> {
        let probing = old.probing.filter(|_| !off);
        let new = Endpoint { settings, probing, ..old.clone() };
        self.replace_endpoint(by, app, old, new, AuditAction::EndpointUpdated).await
    }

    /// Writes `new` over `old` as it was read, with what is sealed in it; `what` names the change.
    pub(super) async fn replace_endpoint(
        &self,
        by: &Caller,
        app: &Application,
        old: &Endpoint,
        new: Endpoint,
        what: AuditAction,
    ) -> Result<Option<Endpoint>> {
        self.replace_endpoint_and(by, app, old, new, what, None).await
    }

    /// The same, with another item that is written in the same transaction.
    pub(super) async fn replace_endpoint_and(
        &self,
        by: &Caller,
        app: &Application,
        old: &Endpoint,
        new: Endpoint,
        what: AuditAction,
        beside: Option<PutBuilder>,
    ) -> Result<Option<Endpoint>> {
        // Never the same time twice: it is what the condition compares.
        let updated_at = self.clock.now().max(Timestamp::from_ms(old.updated_at.ms() + 1));
        let enabled = old.settings.disabled && !new.settings.disabled;
        let disabled = !old.settings.disabled && new.settings.disabled;
        // Whoever switches an endpoint on again begins anew.
        let failing_since = old.failing_since.filter(|_| !enabled);
        let failing_from = old.failing_from.filter(|_| !enabled);
        let failing_warned = old.failing_warned && !enabled;
        // So it does with its probes, and whoever switches it off wants it off.
        let keeps_probing = enabled == disabled && (new.settings.auto_enable || !new.settings.disabled);
        let probing = new.probing.filter(|_| keeps_probing);
        let new = Endpoint { failing_since, failing_from, failing_warned, probing, updated_at, ..new };
        let (next_is, next) = next_probe_is(old);
        let put = put(self.table(Table::Config), self.endpoint_item(&new)?)
            .condition_expression(format!(
                "attribute_exists(pk) AND updatedAt = :old AND {} AND {next_is}",
                failing_is(old)
            ))
            .expression_attribute_values(":old", n(old.updated_at.ms()));
        let noted = [
            old.failing_since.map(|since| (":since", since)),
            old.failing_since.and(old.failing_from).map(|from| (":from", from)),
            next.map(|next| (":next", next)),
        ];
        let put = noted
            .into_iter()
            .flatten()
            .fold(put, |put, (name, at)| put.expression_attribute_values(name, n(at.ms())));
        let raise = if disabled { Raise::without(old.id) } else { Raise::default() };
        let mut tx = Transaction::new("update an endpoint");
        if let Some(write) = beside {
            tx.add(Guard::Unchanged, write)?;
        }
        tx.raise(app, raise.lowering());
        tx.add(Guard::Unchanged, put)?;
        tx.add(Guard::Fresh, self.audit(Change::new(by, what, old.id).within(app.id).from(old).to(&new)))?;
        let (uid, old_uid) = (&new.settings.uid, &old.settings.uid);
        if uid != old_uid {
            if let Some(uid) = uid {
                tx.add(Guard::Uid, self.claim_endpoint_uid(app.id, uid, old.id))?;
            }
            if let Some(uid) = old_uid {
                tx.add(Guard::Unchanged, self.free_endpoint_uid(app.id, uid, old.id))?;
            }
        }
        if new.settings.fifo.is_some() && old.settings.fifo.is_none() {
            let ordered = self.ordered_endpoints(app.id, old.id).await?;
            tx.add(Guard::Unchanged, self.begin_place(app.id, old.id, &ordered).await?)?;
            self.wake_in(&mut tx, app, old.id)?;
        } else if enabled && self.has_place(old).await? {
            tx.add(Guard::Unchanged, self.force_place(old.id))?;
            self.wake_in(&mut tx, app, old.id)?;
        }
        if old.settings.fifo.is_some() && new.settings.fifo.is_none() {
            let paused = self.place_in_order(old.id).await?.is_some_and(|place| place.paused);
            if paused || new.settings.disabled {
                return Err(Error::Conflict(
                    "What waits in the endpoint's order would wait for ever: enable it and resume its order first.".into(),
                ));
            }
        }
        let mut happened = vec![EndpointEvent::Updated];
        happened.extend(enabled.then_some(EndpointEvent::Enabled(None)));
        happened.extend(disabled.then_some(EndpointEvent::Disabled(None)));
        let events = self.operational_events(app, &new, &happened).await?;
        self.write_operational_events(&mut tx, &events)?;
        match self.transact(tx).await? {
            Transacted::Done => {
                self.enqueue_operational_events(&events).await;
                Ok(Some(new))
            }
            Transacted::Refused(Guard::Application) => Err(Error::NotFound("Application")),
            Transacted::Refused(Guard::Uid) => Err(uid_taken()),
            Transacted::Refused(_) => Ok(None),
        }
    }

    /// Deletes an endpoint as it was read; jobs that are on their way to it find out before they are sent.
    /// `false` where it was changed meanwhile, and the caller reads again.
    ///
    /// # Errors
    /// The store's own.
    pub async fn delete_endpoint(&self, by: &Caller, app: &Application, endpoint: &Endpoint) -> Result<bool> {
        let delete = Delete::builder()
            .table_name(&self.tables.config)
            .set_key(Some(keys::endpoint(app.id, endpoint.id)))
            .condition_expression("attribute_exists(pk) AND updatedAt = :old")
            .expression_attribute_values(":old", n(endpoint.updated_at.ms()));
        let change = Change::new(by, AuditAction::EndpointDeleted, endpoint.id).within(app.id).from(endpoint);
        let mut tx = Transaction::new("delete an endpoint");
        tx.raise(app, Raise::without(endpoint.id).endpoints(-1).lowering());
        tx.add(Guard::Unchanged, delete)?;
        tx.add(Guard::Fresh, self.audit(change))?;
        tx.add(Guard::Unchanged, create(self.table(Table::Log), self.deleted_item(endpoint)))?;
        if let Some(uid) = &endpoint.settings.uid {
            tx.add(Guard::Unchanged, self.free_endpoint_uid(app.id, uid, endpoint.id))?;
        }
        tx.add(Guard::Fresh, self.without_transformation(app.id, endpoint.id))?;
        if self.has_place(endpoint).await? {
            tx.add(Guard::Fresh, self.without_place(endpoint.id))?;
        }
        if endpoint.settings.destination.is_polled() {
            tx.add(Guard::Fresh, self.without_polling_keys(app.id, endpoint.id))?;
        }
        let events = self.operational_events(app, endpoint, &[EndpointEvent::Deleted]).await?;
        self.write_operational_events(&mut tx, &events)?;
        let done = self.transact(tx).await? == Transacted::Done;
        if done {
            self.enqueue_operational_events(&events).await;
        }
        Ok(done)
    }
}

/// The condition that nobody noted meanwhile that an endpoint fails, for longer than was known, or works again.
fn failing_is(endpoint: &Endpoint) -> String {
    if endpoint.failing_since.is_none() {
        return "attribute_not_exists(failingSince)".into();
    }
    let warned = if endpoint.failing_warned { "attribute_exists" } else { "attribute_not_exists" };
    let from = match endpoint.failing_from {
        Some(_) => "failingFrom = :from",
        None => "attribute_not_exists(failingFrom)",
    };
    format!("failingSince = :since AND {from} AND {warned}(failingWarned)")
}

/// The condition that nobody noted another probe meanwhile.
fn next_probe_is(endpoint: &Endpoint) -> (&'static str, Option<Timestamp>) {
    match endpoint.probing.and_then(|probing| probing.next) {
        Some(next) => ("prNext = :next", Some(next)),
        None => ("attribute_not_exists(prNext)", None),
    }
}

fn uid_taken() -> Error {
    Error::Conflict("An endpoint with this uid exists already.".into())
}
