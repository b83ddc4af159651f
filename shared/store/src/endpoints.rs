//! Endpoints: where an application's messages go. Every change of one raises the application's
//! version in the same transaction, which is what keeps caches honest.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::builders::{DeleteBuilder, PutBuilder};
use aws_sdk_dynamodb::types::{AttributeValue, Delete};

use super::applications::{ENDPOINTS_MAX, metadata, metadata_of, retry_policy, retry_policy_of};
use super::attempts::endpoint_of;
use super::audit::{AuditAction, Change};
use super::copies::Raise;
use super::endpoint_secrets::EndpointHeaders;
use super::health::{probing_fields, probing_of};
use super::item::{Get as _, Item, Put as _, SCHEMA, b, n, s, texts};
use super::transaction::{Guard, Transacted, Transaction, create, put};
use super::{BATCH_GET_MAX, Range, Store, Table, keys};
use domain::aws_place::{AwsPlace, AwsService, FORMATS};
use domain::caller::Caller;
use domain::error::{Error, Result, corrupt};
use domain::http_signature::STYLE;
use domain::ids::{AppId, EndpointId, Reference};
use domain::operational::EndpointEvent;
use domain::page::{ListQuery, Page};
use domain::payload_filter::PayloadFilter;
use domain::signing::SigningKey;
use domain::transformation::TransformationId;
use runtime::clock::Timestamp;

use super::applications::Application;

pub use domain::endpoint::{
    Destination, Endpoint, EndpointKey, EndpointSettings, Filter, Standing, is_type_pattern,
};

/// Endpoints that are looked at at a time for how they stand: nearly always the first one says it.
const STANDING_PAGE: usize = 10;

/// Items of before there were kinds have a URL and no kind.
fn destination_of(item: &Item) -> Result<Destination> {
    match item.text_opt("destination") {
        None | Some("http") => Ok(Destination::Http { url: item.text("url")?.to_owned() }),
        Some("polling") => Ok(Destination::Polling),
        Some(kind) => match AwsService::of_kind(kind) {
            Some(service) => Ok(Destination::Aws(Box::new(AwsPlace {
                service,
                arn: item.text("url")?.to_owned(),
                region: item.text("region")?.to_owned(),
                role_arn: item.text("roleArn")?.to_owned(),
                fifo_key: item.text_opt("fifoKey").map(str::to_owned),
                key_template: item.text_opt("keyTemplate").map(str::to_owned),
                json_lines: match item.text_opt("format") {
                    None => false,
                    Some(format) if format == FORMATS[1] => true,
                    Some(format) => {
                        return Err(corrupt("an endpoint")(format!("its format is {format:?}")));
                    }
                },
            }))),
            None => Err(corrupt("an endpoint")(format!("its destination is {kind:?}"))),
        },
    }
}

/// An item, and where its endpoint's messages go.
fn with_destination(item: Item, destination: &Destination) -> Item {
    let item = item.with("destination", s(destination.kind())).with("url", s(destination.address()));
    let Destination::Aws(place) = destination else { return item };
    item.with("region", s(&place.region))
        .with("roleArn", s(&place.role_arn))
        .with_some("fifoKey", place.fifo_key.as_ref().map(s))
        .with_some("keyTemplate", place.key_template.as_ref().map(s))
        .with_some("format", place.format().map(s))
}

fn filter_of(item: &Item) -> Result<Option<PayloadFilter>> {
    let read =
        |text| PayloadFilter::parse(text).map_err(|invalid| corrupt("an endpoint's filter")(invalid.reason));
    item.text_opt("filter").map(read).transpose()
}

fn http_signatures_of(item: &Item) -> Result<bool> {
    match item.text_opt("headerStyle") {
        None => Ok(false),
        Some(STYLE) => Ok(true),
        Some(style) => Err(corrupt("an endpoint")(format!("its header style is {style:?}"))),
    }
}

const NOT_FOUND: Error = Error::NotFound("Endpoint");

/// Audit events of one transaction, which takes a hundred writes.
const INVALIDATED_AT_ONCE: usize = 50;

impl Store {
    fn endpoint_item(&self, endpoint: &Endpoint) -> Result<Item> {
        let settings = &endpoint.settings;
        let mut item = with_destination(keys::endpoint(endpoint.app, endpoint.id), &settings.destination);
        for (name, value) in endpoint.probing.iter().flat_map(probing_fields) {
            item = item.with(name, value);
        }
        Ok(item
            .with("v", n(SCHEMA))
            .with("description", s(&settings.description))
            .with_some("uid", settings.uid.as_ref().map(s))
            .with_some("eventTypes", texts(settings.event_types.as_deref()))
            .with_some("channels", texts(settings.channels.as_deref()))
            .with_some("filter", settings.filter.as_ref().map(|filter| s(filter.text())))
            .with("disabled", AttributeValue::Bool(settings.disabled))
            .with_some("rateLimit", settings.rate_limit.map(n))
            .with_some("retryPolicy", retry_policy(settings.retry_policy.as_ref()))
            .with_some("autoEnable", settings.auto_enable.then_some(AttributeValue::Bool(true)))
            .with_some("headerStyle", settings.http_signatures.then(|| s(STYLE)))
            .with_some("metadata", metadata(&settings.metadata))
            .with("keys", self.sealed_keys(endpoint))
            .with_some("headers", self.sealed_headers(endpoint)?)
            .with_some("transformation", endpoint.transformation.as_ref().map(|id| s(id.text())))
            .with_some("autoConfig", endpoint.auto_config.as_deref().map(b))
            .with_some("failingSince", endpoint.failing_since.map(|at| n(at.ms())))
            .with_some("failingFrom", endpoint.failing_from.map(|at| n(at.ms())))
            .with_some("failingWarned", endpoint.failing_warned.then_some(AttributeValue::Bool(true)))
            .with("createdAt", n(endpoint.created_at.ms()))
            .with("updatedAt", n(endpoint.updated_at.ms())))
    }

    pub(super) fn endpoint_of(&self, app: AppId, item: &Item) -> Result<Endpoint> {
        item.check_schema()?;
        let id = item.text("sk")?.strip_prefix("EP#").unwrap_or_default();
        let id: EndpointId = id.parse().map_err(corrupt("an endpoint's key"))?;
        Ok(Endpoint {
            app,
            id,
            settings: EndpointSettings {
                destination: destination_of(item)?,
                description: item.text("description")?.to_owned(),
                uid: item.text_opt("uid").map(str::to_owned),
                event_types: item.texts("eventTypes"),
                channels: item.texts("channels"),
                filter: filter_of(item)?,
                disabled: item.get("disabled").and_then(|flag| flag.as_bool().ok()).copied().unwrap_or(false),
                rate_limit: item.number_opt("rateLimit"),
                retry_policy: retry_policy_of(item)?,
                auto_enable: item.get("autoEnable").is_some(),
                http_signatures: http_signatures_of(item)?,
                metadata: metadata_of(item),
            },
            keys: self.opened_keys(id, item)?,
            headers: self.opened_headers(id, item)?,
            transformation: item.text_opt("transformation").map(TransformationId::from_text),
            auto_config: item.bytes("autoConfig").map(<[u8]>::to_vec),
            failing_since: item.time_opt("failingSince"),
            failing_from: item.time_opt("failingFrom"),
            failing_warned: item.get("failingWarned").is_some(),
            probing: probing_of(item)?,
            created_at: item.time("createdAt")?,
            updated_at: item.time("updatedAt")?,
        })
    }

    /// What lists show of an endpoint after it was deleted, for as long as there can be messages that went
    /// to it: no key, no header, nothing of its owner's notes.
    fn deleted_item(&self, endpoint: &Endpoint) -> Item {
        let settings = &endpoint.settings;
        with_destination(keys::deleted_endpoint(endpoint.id), &settings.destination)
            .with("v", n(SCHEMA))
            .with("description", s(&settings.description))
            .with_some("uid", settings.uid.as_ref().map(s))
            .with_some("eventTypes", texts(settings.event_types.as_deref()))
            .with_some("channels", texts(settings.channels.as_deref()))
            .with_some("rateLimit", settings.rate_limit.map(n))
            .with("createdAt", n(endpoint.created_at.ms()))
            .with("updatedAt", n(self.clock.now().ms()))
            .with("ttl", n(self.retention.messages_until(self.clock.now()).seconds()))
    }

    /// Those of the endpoints that were deleted while there was a log of them, as they were then.
    ///
    /// # Errors
    /// The store's own.
    pub async fn deleted_endpoints(&self, app: AppId, ids: &[EndpointId]) -> Result<Vec<Endpoint>> {
        let mut found = Vec::new();
        for ids in ids.chunks(BATCH_GET_MAX) {
            let wanted = ids.iter().map(|id| keys::deleted_endpoint(*id)).collect();
            let items = self.batch_get(Table::Log, wanted, false, "read deleted endpoints").await?;
            for item in items.iter() {
                item.check_schema()?;
                found.push(Endpoint {
                    app,
                    id: endpoint_of(item)?,
                    settings: EndpointSettings {
                        destination: destination_of(item)?,
                        description: item.text("description")?.to_owned(),
                        uid: item.text_opt("uid").map(str::to_owned),
                        event_types: item.texts("eventTypes"),
                        channels: item.texts("channels"),
                        filter: None,
                        // Nothing is sent to it.
                        disabled: true,
                        rate_limit: item.number_opt("rateLimit"),
                        retry_policy: None,
                        auto_enable: false,
                        http_signatures: false,
                        metadata: BTreeMap::new(),
                    },
                    keys: Vec::new(),
                    headers: EndpointHeaders::default(),
                    transformation: None,
                    auto_config: None,
                    failing_since: None,
                    failing_from: None,
                    failing_warned: false,
                    probing: None,
                    created_at: item.time("createdAt")?,
                    updated_at: item.time("updatedAt")?,
                });
            }
        }
        Ok(found)
    }

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
            id: EndpointId::new(now, &*self.random),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_without_a_kind_is_a_url() {
        let url = "https://example.com/";
        let item =
            |kind: Option<&str>| Item::default().with("url", s(url)).with_some("destination", kind.map(s));
        let http = Destination::Http { url: url.into() };
        assert_eq!(destination_of(&item(None)).unwrap(), http);
        assert_eq!(destination_of(&item(Some(http.kind()))).unwrap(), http);
        assert!(destination_of(&item(Some("of another age"))).is_err());
    }

    #[test]
    fn a_place_in_aws_is_kept_as_it_is() {
        for service in AwsService::ALL {
            for optional in [None, Some("x".to_owned())] {
                let place = Destination::Aws(Box::new(AwsPlace {
                    service,
                    arn: "arn".into(),
                    region: "r".into(),
                    role_arn: "role".into(),
                    fifo_key: optional.clone(),
                    json_lines: optional.is_some(),
                    key_template: optional,
                }));
                assert_eq!(destination_of(&with_destination(Item::default(), &place)).unwrap(), place);
            }
        }
    }
}
