//! How an endpoint fares: noted when a message is given up, forgotten when one arrives, and the end
//! of an endpoint that wants, or gets, nothing any more.
//!
//! The note is on the endpoint's own item, which `deliver` has in its cache: a success costs nothing
//! unless there is something to forget. That an endpoint hangs is in the application's item, which
//! every batch of deliveries reads strongly.

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};

use super::audit::{Change, Facts, What};
use super::endpoints::Endpoint;
use super::item::{Item, n};
use super::{Store, Table, Transacted, keys};
use crate::applications::Application;
use domain::caller::{Caller, Who};
use domain::error::{Chain, Result, corrupt, unavailable};
use domain::ids::{AttemptId, EndpointId, MessageId};
use domain::job::{Job, Operational};
use domain::operational::{self, EndpointEvent};
use runtime::clock::Timestamp;

/// Endpoints of one application that can be known to hang: all of them together cost no more than a
/// read unit. Where more hang, the lanes alone have to do.
const HANGING_MAX: usize = 50;

/// The endpoints of an application's item that hang.
pub(super) fn hanging_of(item: &Item) -> Vec<EndpointId> {
    let Some(AttributeValue::Ss(ids)) = item.get("hanging") else { return Vec::new() };
    ids.iter().filter_map(|id| id.parse().ok()).collect()
}

impl Store {
    /// Notes in its application that an endpoint hangs, or that it does not any more. It is a hint: of two
    /// that contradict each other the later counts.
    ///
    /// # Errors
    /// The store's own.
    pub async fn note_hanging(&self, app: &Application, id: EndpointId, hangs: bool) -> Result<()> {
        let of_these = AttributeValue::Ss(vec![id.to_string()]);
        let mut request = self
            .client
            .update_item()
            .table_name(self.table(Table::Config))
            .set_key(Some(keys::application(app.id)))
            .expression_attribute_values(":these", of_these)
            .expression_attribute_values(":this", AttributeValue::S(id.to_string()))
            .set_return_consumed_capacity(self.told.clone());
        request = if hangs {
            request
                .update_expression("ADD hanging :these")
                .condition_expression(
                    "attribute_exists(pk) AND (attribute_not_exists(hanging) OR \
                     (NOT contains(hanging, :this) AND size(hanging) < :max))",
                )
                .expression_attribute_values(":max", n(HANGING_MAX))
        } else {
            request
                .update_expression("DELETE hanging :these")
                .condition_expression("contains(hanging, :this)")
        };
        match request.send().await {
            Ok(_) => {}
            Err(error) if crate::is_condition(&error) => {}
            Err(error) => return Err(unavailable("note whether an endpoint hangs")(error)),
        }
        Ok(())
    }

    /// What tells an event about an endpoint; nothing if this store does not tell.
    pub(super) fn announce(
        &self,
        app: &Application,
        endpoint: &Endpoint,
        event: EndpointEvent,
    ) -> Result<Option<Operational>> {
        // Nobody is told about the endpoints that are told.
        if self.telling.is_none() || app.org == operational::management_org() {
            return Ok(None);
        }
        let message = MessageId::new(self.clock.now(), &*self.random);
        operational::endpoint_event(app, endpoint, event, message).map(Some)
    }

    /// The writes that keep what is told until the timers function sends it.
    pub(super) fn outbox_of(&self, told: &[Operational]) -> Result<Vec<TransactWriteItem>> {
        let write = |told: &Operational| {
            let job = Job::from(told.clone());
            self.outbox(told.message, told.message.time(), &told.org.to_string(), &job)
        };
        told.iter().map(write).collect()
    }

    /// Sends what was written: nobody waits for the timers function, which sends a copy.
    pub(super) async fn tell_now(&self, told: &[Operational]) {
        let Some(telling) = &self.telling else { return };
        for told in told {
            if let Err(error) = telling.tell(told).await {
                tracing::warn!(error = %Chain(&error), "an operational webhook is sent later");
            }
        }
    }

    /// Notes that an endpoint has been failing since then; `false` if that, or more, is noted already.
    ///
    /// # Errors
    /// The store's own.
    pub async fn note_failing(&self, app: &Application, id: EndpointId, since: Timestamp) -> Result<bool> {
        let update = Update::builder()
            .update_expression("SET failingSince = :since")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(failingSince)")
            .expression_attribute_values(":since", n(since.ms()));
        let raise = self.raise_version(app, 0)?;
        self.change_health(raise, app, id, update, Vec::new(), "note that an endpoint fails").await
    }

    /// Forgets that an endpoint has been failing since then; `false` if that is not what is noted.
    ///
    /// # Errors
    /// The store's own.
    pub async fn forget_failing(&self, app: &Application, id: EndpointId, since: Timestamp) -> Result<bool> {
        let update = Update::builder()
            .update_expression("REMOVE failingSince")
            .condition_expression("attribute_exists(pk) AND failingSince = :since")
            .expression_attribute_values(":since", n(since.ms()));
        let raise = self.raise_version(app, 0)?;
        self.change_health(raise, app, id, update, Vec::new(), "forget that an endpoint failed").await
    }

    /// Switches an endpoint off that asked for it, or that has been failing for too long, after that
    /// attempt; `false` if it is off or gone already.
    ///
    /// # Errors
    /// The store's own.
    pub async fn disable_endpoint(
        &self,
        app: &Application,
        id: EndpointId,
        since: Timestamp,
        attempt: AttemptId,
    ) -> Result<bool> {
        let Some(endpoint) = self.find_endpoint(app.id, id).await? else { return Ok(false) };
        // Never the same time twice: it is what the condition of a change compares.
        let now = self.clock.now().max(Timestamp::from_ms(endpoint.updated_at.ms() + 1));
        let update = Update::builder()
            .update_expression("SET disabled = :true, updatedAt = :now REMOVE failingSince")
            .condition_expression("attribute_exists(pk) AND disabled = :false AND updatedAt < :now")
            .expression_attribute_values(":now", n(now.ms()))
            .expression_attribute_values(":true", AttributeValue::Bool(true))
            .expression_attribute_values(":false", AttributeValue::Bool(false));
        let by = Caller { request_id: Some(attempt.to_string()), ..Who::Postrider(app.org).into() };
        let disabled = |disabled: bool| Facts::default().with("disabled", disabled);
        let change = Change::new(&by, What::EndpointDisabled, id).within(app.id);
        let change = change.from(disabled(false)).to(disabled(true).with("failingSince", since.to_string()));
        let mut also = vec![self.audit(change)?];
        let told = Vec::from_iter(self.announce(app, &endpoint, EndpointEvent::Disabled(Some(since)))?);
        also.extend(self.outbox_of(&told)?);
        let raise = self.raise_version_without(app, 0, id)?;
        let done = self.change_health(raise, app, id, update, also, "disable an endpoint").await?;
        if done {
            self.tell_now(&told).await;
        }
        Ok(done)
    }

    async fn change_health(
        &self,
        raise: TransactWriteItem,
        app: &Application,
        id: EndpointId,
        update: aws_sdk_dynamodb::types::builders::UpdateBuilder,
        also: Vec<TransactWriteItem>,
        operation: &'static str,
    ) -> Result<bool> {
        let update = update.table_name(&self.tables.config).set_key(Some(keys::endpoint(app.id, id)));
        let update = update.build().map_err(corrupt("a write"))?;
        let mut writes = vec![raise, TransactWriteItem::builder().update(update).build()];
        writes.extend(also);
        Ok(self.transact(writes, operation).await? == Transacted::Done)
    }
}
