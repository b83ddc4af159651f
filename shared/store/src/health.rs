//! How an endpoint fares: noted when a message is given up, forgotten when one arrives, and the end
//! of an endpoint that wants, or gets, nothing any more.
//!
//! The note is on the endpoint's own item, which `deliver` has in its cache: a success costs nothing
//! unless there is something to forget. That an endpoint hangs is in the application's item, which
//! every batch of deliveries reads strongly.

use aws_sdk_dynamodb::types::builders::{PutBuilder, UpdateBuilder};
use aws_sdk_dynamodb::types::{AttributeValue, Update};
use futures_util::future::try_join_all;

use super::audit::{AuditAction, AuditSnapshot, Change};
use super::copies::Raise;
use super::endpoints::Endpoint;
use super::item::{Get as _, Item, n};
use super::transaction::{Guard, Transacted, Transaction};
use super::{Store, Table, keys};
use crate::applications::Application;
use domain::attempt::Attempt;
use domain::caller::{Caller, Who};
use domain::error::{Chain, Result, unavailable};
use domain::ids::{EndpointId, OrgId};
use domain::job::{Job, Operational, Probe};
use domain::operational::{self, Disabled, Enabled, EndpointEvent, Warning};
use domain::probing::Probing;
use runtime::clock::Timestamp;

/// Endpoints of one application that can be known to hang: all of them together cost no more than a
/// read unit. Where more hang, the low-priority queue alone has to do.
const HANGING_MAX: usize = 50;

/// The endpoints of an application's item that hang.
pub(super) fn slow_endpoints_of(item: &Item) -> Vec<EndpointId> {
    let Some(AttributeValue::Ss(ids)) = item.get("hanging") else { return Vec::new() };
    ids.iter().filter_map(|id| id.parse().ok()).collect()
}

/// What an endpoint's item says of its probes.
pub(super) fn probing_of(item: &Item) -> Result<Option<Probing>> {
    let Some(since) = item.time_opt("prSince") else { return Ok(None) };
    Ok(Some(Probing {
        since,
        first_pause: item.number("prPause")?,
        made: item.number("prMade")?,
        next: item.time_opt("prNext"),
    }))
}

/// The same as attributes.
pub(super) fn probing_fields(probing: &Probing) -> Vec<(&'static str, AttributeValue)> {
    let mut fields = vec![
        ("prSince", n(probing.since.ms())),
        ("prPause", n(probing.first_pause)),
        ("prMade", n(probing.made)),
    ];
    fields.extend(probing.next.map(|next| ("prNext", n(next.ms()))));
    fields
}

impl Store {
    /// Notes in its application that an endpoint hangs, or that it does not any more. It is a hint: of two
    /// that contradict each other the later counts, and a copy of the application that was missed is told by who
    /// reads it.
    ///
    /// # Errors
    /// The store's own.
    pub async fn mark_slow(&self, app: &Application, id: EndpointId, hangs: bool) -> Result<()> {
        let items = keys::application_items(app.id, app.copies.count);
        try_join_all(items.map(|key| self.mark_slow_in(key, id, hangs))).await.map(drop)
    }

    async fn mark_slow_in(&self, key: Item, id: EndpointId, hangs: bool) -> Result<()> {
        let of_these = AttributeValue::Ss(vec![id.to_string()]);
        let mut request = self
            .client
            .update_item()
            .table_name(self.table(Table::Config))
            .set_key(Some(key))
            .expression_attribute_values(":these", of_these)
            .expression_attribute_values(":this", AttributeValue::S(id.to_string()))
            .set_return_consumed_capacity(self.return_consumed_capacity.clone());
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
        match Box::pin(request.send()).await {
            Ok(_) => {}
            Err(error) if crate::is_condition(&error) => {}
            Err(error) => return Err(unavailable("note whether an endpoint hangs")(error)),
        }
        Ok(())
    }

    /// Whether somebody is told what happens in an organisation: it has an application for that. Who is in a hurry
    /// takes an answer that is up to a minute old: an organisation's first use may be later than that. Others
    /// read where none is known.
    ///
    /// # Errors
    /// The store's own.
    pub async fn is_told(&self, org: OrgId, hurried: bool) -> Result<bool> {
        // Nobody is told about the endpoints that are told.
        let management = operational::management_org();
        if self.operational_events.is_none() || org == management {
            return Ok(false);
        }
        let now = self.clock.now();
        match self.told.get(&org, now) {
            Some(known) if known || hurried => return Ok(known),
            _ => {}
        }
        let found = self.application_id(management, &org.to_string()).await?.is_some();
        self.told.put(org, found, now);
        Ok(found)
    }

    /// What tells of events about an endpoint; nothing where nobody is told.
    pub(super) async fn operational_events(
        &self,
        app: &Application,
        endpoint: &Endpoint,
        events: &[EndpointEvent<'_>],
    ) -> Result<Vec<Operational>> {
        if !self.is_told(app.org, false).await? {
            return Ok(Vec::new());
        }
        let told = events.iter().map(|event| {
            let message = self.new_id(self.clock.now());
            operational::endpoint_event(app, endpoint, *event, message)
        });
        told.collect()
    }

    /// Keeps what is told, in the transaction that it is about, until the timers function sends it.
    pub(super) fn write_operational_events(
        &self,
        tx: &mut Transaction,
        events: &[Operational],
    ) -> Result<()> {
        for event in events {
            let job = Job::from(event.clone());
            let write = self.outbox(event.message, event.message.time(), &event.org.to_string(), &job)?;
            tx.add(Guard::Fresh, write)?;
        }
        Ok(())
    }

    /// Sends what was written: nobody waits for the timers function, which sends a copy.
    pub(super) async fn enqueue_operational_events(&self, events: &[Operational]) {
        let Some(queue) = &self.operational_events else { return };
        for event in events {
            if let Err(error) = queue.enqueue(event).await {
                tracing::warn!(error = %Chain(&error), "an operational webhook is sent later");
            }
        }
    }

    /// Notes that an endpoint has been failing since then, as a message says that was made at `from`, and tells so;
    /// `false` if that, or more, is noted already, or if the endpoint is disabled.
    ///
    /// # Errors
    /// The store's own.
    pub async fn note_failing(
        &self,
        app: &Application,
        endpoint: &Endpoint,
        warning: Warning<'_>,
        from: Timestamp,
    ) -> Result<bool> {
        let update = Update::builder()
            .update_expression("SET failingSince = :since, failingFrom = :from")
            .expression_attribute_values(":from", n(from.ms()))
            // What ends after it was switched off says nothing new.
            .condition_expression(
                "attribute_exists(pk) AND disabled = :false AND attribute_not_exists(failingSince)",
            )
            .expression_attribute_values(":false", AttributeValue::Bool(false))
            .expression_attribute_values(":since", n(warning.since.ms()));
        self.write_warning(app, endpoint, warning, update).await
    }

    /// Notes that an endpoint that has been failing since then also failed for an older message, which was made at
    /// `from`: what it missed begins there. Nothing where that, or more, is noted, or where it does not fail any more.
    ///
    /// # Errors
    /// The store's own.
    pub async fn note_failing_from(
        &self,
        app: &Application,
        id: EndpointId,
        since: Timestamp,
        from: Timestamp,
    ) -> Result<()> {
        let request = self
            .client
            .update_item()
            .table_name(self.table(Table::Config))
            .set_key(Some(keys::endpoint(app.id, id)))
            .update_expression("SET failingFrom = :from")
            .condition_expression(
                "failingSince = :since AND (attribute_not_exists(failingFrom) OR failingFrom > :from)",
            )
            .expression_attribute_values(":since", n(since.ms()))
            .expression_attribute_values(":from", n(from.ms()))
            .set_return_consumed_capacity(self.return_consumed_capacity.clone());
        match Box::pin(request.send()).await {
            Ok(_) => Ok(()),
            Err(error) if crate::is_condition(&error) => Ok(()),
            Err(error) => Err(unavailable("note since when an endpoint fails")(error)),
        }
    }

    /// Tells once that an endpoint will be disabled soon; `false` if it was told, or if that is no longer so. Nothing
    /// is noted where nobody is told, here or by mail (`mails`).
    ///
    /// # Errors
    /// The store's own.
    pub async fn warn_failing(
        &self,
        app: &Application,
        endpoint: &Endpoint,
        warning: Warning<'_>,
        mails: bool,
    ) -> Result<bool> {
        // An answer of a minute ago does: the next attempt asks again.
        if !mails && !self.is_told(app.org, true).await? {
            return Ok(false);
        }
        let update = Update::builder()
            .update_expression("SET failingWarned = :true")
            .condition_expression(
                "attribute_exists(pk) AND failingSince = :since AND attribute_not_exists(failingWarned)",
            )
            .expression_attribute_values(":since", n(warning.since.ms()))
            .expression_attribute_values(":true", AttributeValue::Bool(true));
        self.write_warning(app, endpoint, warning, update).await
    }

    async fn write_warning(
        &self,
        app: &Application,
        endpoint: &Endpoint,
        warning: Warning<'_>,
        update: UpdateBuilder,
    ) -> Result<bool> {
        let mut tx = Transaction::new("note that an endpoint fails");
        tx.raise(app, Raise::default());
        tx.add(Guard::Unchanged, self.of_endpoint(app, endpoint.id, update))?;
        let events = self.operational_events(app, endpoint, &[EndpointEvent::Failing(warning)]).await?;
        self.write_operational_events(&mut tx, &events)?;
        let done = self.transact(tx).await? == Transacted::Done;
        if done {
            self.enqueue_operational_events(&events).await;
        }
        Ok(done)
    }

    /// Forgets that an endpoint has been failing since then, and tells so; `false` if that is not what is noted.
    ///
    /// # Errors
    /// The store's own.
    pub async fn forget_failing(
        &self,
        app: &Application,
        endpoint: &Endpoint,
        since: Timestamp,
    ) -> Result<bool> {
        let update = Update::builder()
            .update_expression("REMOVE failingSince, failingFrom, failingWarned")
            .condition_expression("attribute_exists(pk) AND failingSince = :since")
            .expression_attribute_values(":since", n(since.ms()));
        let mut tx = Transaction::new("forget that an endpoint failed");
        tx.raise(app, Raise::default());
        tx.add(Guard::Unchanged, self.of_endpoint(app, endpoint.id, update))?;
        let events = self.operational_events(app, endpoint, &[EndpointEvent::Recovered(since)]).await?;
        self.write_operational_events(&mut tx, &events)?;
        let done = self.transact(tx).await? == Transacted::Done;
        if done {
            self.enqueue_operational_events(&events).await;
        }
        Ok(done)
    }

    /// Switches an endpoint off that asked for it by that attempt, or that has been failing since then and so for too
    /// long; `false` if it is off or gone already. One that did not ask, and whose owner wants so, is probed.
    ///
    /// # Errors
    /// The store's own.
    pub async fn disable_endpoint(
        &self,
        app: &Application,
        attempt: &Attempt,
        since: Timestamp,
    ) -> Result<bool> {
        let id = attempt.endpoint;
        let Some(endpoint) = self.find_endpoint(app.id, id).await? else { return Ok(false) };
        // Never the same time twice: it is what the condition of a change compares.
        let now = self.clock.now().max(Timestamp::from_ms(endpoint.updated_at.ms() + 1));
        let missed = endpoint.failing_from.unwrap_or(since).min(attempt.message.time());
        let is_probed = endpoint.settings.auto_enable && !attempt.disables;
        let probing = is_probed.then(|| Probing::begin(endpoint.probing.as_ref(), missed, now));
        let probed = probing.map(|probing| probing_fields(&probing));
        let set = if probed.is_some() {
            ", prSince = :prSince, prPause = :prPause, prMade = :prMade, prNext = :prNext REMOVE "
        } else {
            " REMOVE prSince, prPause, prMade, prNext, "
        };
        let mut update = Update::builder()
            .update_expression(format!(
                "SET disabled = :true, updatedAt = :now{set}failingSince, failingFrom, failingWarned"
            ))
            .condition_expression("attribute_exists(pk) AND disabled = :false AND updatedAt < :now")
            .expression_attribute_values(":now", n(now.ms()))
            .expression_attribute_values(":true", AttributeValue::Bool(true))
            .expression_attribute_values(":false", AttributeValue::Bool(false));
        for (name, value) in probed.into_iter().flatten() {
            update = update.expression_attribute_values(format!(":{name}"), value);
        }
        let by = Caller { request_id: Some(attempt.id.to_string()), ..Who::Postrider(app.org).into() };
        let disabled = |disabled: bool| AuditSnapshot::default().with("disabled", disabled);
        let change = Change::new(&by, AuditAction::EndpointDisabled, id).within(app.id);
        let change = change.from(disabled(false)).to(disabled(true).with("failingSince", since.to_string()));
        let mut tx = Transaction::new("disable an endpoint");
        tx.raise(app, Raise::without(id));
        tx.add(Guard::Unchanged, self.of_endpoint(app, id, update))?;
        tx.add(Guard::Fresh, self.audit(change))?;
        let next_probe = probing.and_then(|probing| probing.next);
        if let Some(due) = next_probe {
            tx.add(Guard::Fresh, self.probe_timer(app, id, due)?)?;
        }
        let asks = if attempt.disables { ", which asks for no more webhooks" } else { "" };
        let reason = format!("{}{asks}", attempt.failure());
        let why = Disabled { since, reason: &reason, next_probe };
        let events = self.operational_events(app, &endpoint, &[EndpointEvent::Disabled(Some(why))]).await?;
        self.write_operational_events(&mut tx, &events)?;
        let done = self.transact(tx).await? == Transacted::Done;
        if done {
            self.enqueue_operational_events(&events).await;
        }
        Ok(done)
    }

    /// The job of a probe, as part of the transaction after which it is due.
    fn probe_timer(&self, app: &Application, endpoint: EndpointId, due: Timestamp) -> Result<PutBuilder> {
        let job = Job::Probe(Probe { org: app.org, app: app.id, endpoint, due });
        self.outbox(endpoint, due, &app.id.to_string(), &job)
    }

    /// Notes a probe that failed, and with it when the next one is due: nothing where another copy of its job did, or
    /// where the endpoint is not probed any more.
    ///
    /// # Errors
    /// The store's own.
    pub async fn note_probe(
        &self,
        app: &Application,
        id: EndpointId,
        before: &Probing,
        after: &Probing,
    ) -> Result<()> {
        let next = if after.next.is_some() { ", prNext = :prNext" } else { " REMOVE prNext" };
        let mut update = Update::builder()
            .update_expression(format!("SET prMade = :prMade{next}"))
            .condition_expression("attribute_exists(pk) AND prNext = :before")
            .expression_attribute_values(":prMade", n(after.made))
            .expression_attribute_values(":before", n(before.next.unwrap_or_default().ms()));
        let mut tx = Transaction::new("note a probe");
        if let Some(due) = after.next {
            update = update.expression_attribute_values(":prNext", n(due.ms()));
            tx.add(Guard::Fresh, self.probe_timer(app, id, due)?)?;
        }
        tx.add(Guard::Unchanged, self.of_endpoint(app, id, update))?;
        self.transact(tx).await.map(drop)
    }

    /// Switches an endpoint on again that answered the probe which it was waiting for, and tells so; `false` if it
    /// waits for it no more.
    ///
    /// # Errors
    /// The store's own.
    pub async fn enable_endpoint(
        &self,
        app: &Application,
        endpoint: &Endpoint,
        probing: &Probing,
        probe: &Attempt,
    ) -> Result<bool> {
        let now = self.clock.now().max(Timestamp::from_ms(endpoint.updated_at.ms() + 1));
        let update = Update::builder()
            .update_expression("SET disabled = :false, updatedAt = :now, prMade = :made REMOVE prNext")
            .condition_expression(
                "attribute_exists(pk) AND disabled = :true AND prNext = :next AND updatedAt < :now",
            )
            .expression_attribute_values(":now", n(now.ms()))
            .expression_attribute_values(":made", n(probing.after_success().made))
            .expression_attribute_values(":next", n(probing.next.unwrap_or_default().ms()))
            .expression_attribute_values(":true", AttributeValue::Bool(true))
            .expression_attribute_values(":false", AttributeValue::Bool(false));
        let by = Caller { request_id: Some(probe.id.to_string()), ..Who::Postrider(app.org).into() };
        let disabled = |disabled: bool| AuditSnapshot::default().with("disabled", disabled);
        let change = Change::new(&by, AuditAction::EndpointEnabled, endpoint.id).within(app.id);
        let after = disabled(false).with("missedSince", probing.since.to_string());
        let mut tx = Transaction::new("enable an endpoint");
        tx.raise(app, Raise::default());
        tx.add(Guard::Unchanged, self.of_endpoint(app, endpoint.id, update))?;
        tx.add(Guard::Fresh, self.audit(change.from(disabled(true)).to(after)))?;
        if self.has_place(endpoint).await? {
            tx.add(Guard::Unchanged, self.force_place(endpoint.id))?;
            self.wake_in(&mut tx, app, endpoint.id)?;
        }
        let reason = format!("{} to a probe", probe.failure());
        let why = Enabled { missed_since: probing.since, reason: &reason };
        let events = self.operational_events(app, endpoint, &[EndpointEvent::Enabled(Some(why))]).await?;
        self.write_operational_events(&mut tx, &events)?;
        let done = self.transact(tx).await? == Transacted::Done;
        if done {
            self.enqueue_operational_events(&events).await;
        }
        Ok(done)
    }

    fn of_endpoint(&self, app: &Application, id: EndpointId, update: UpdateBuilder) -> UpdateBuilder {
        update.table_name(self.table(Table::Config)).set_key(Some(keys::endpoint(app.id, id)))
    }
}
