//! The copies of an application's item, over which its readers are spread (ADR 0036).
//!
//! What is true of them: **each copy that exists is written by every change of the application**, in the
//! transaction that raises its version. So a copy that is there may be read, whoever believes in however many of
//! them; one that is not there was given up, and who looked for it reads the item itself. Only that says how many
//! there are. A change names in its condition how many it writes, and is made again where they have become more or
//! fewer.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};

use super::applications::{Application, retry_policy};
use super::item::{FromItem as _, Get as _, Item, SCHEMA, n, s};
use super::tokens;
use super::transaction::{Guard, Once, Transacted, Transaction, built};
use super::{Store, Table, keys};
use domain::application::{ApplicationSettings, ENDPOINTS_MAX};
use domain::copies::{COPIES_MAX, Copies, WINDOW};
use domain::error::{Chain, Result, unavailable};
use domain::ids::{AppId, EndpointId};
use domain::token::Expiry;
use runtime::clock::Timestamp;

/// Reads of one application after which an instance adds them to what all instances counted: an application that
/// is read less often than that within the minute that a cache remembers is never written about.
const COUNTED_AT_ONCE: u32 = 250;
/// How long the count of a window is kept.
const COUNT_KEPT: Duration = Duration::from_secs(3600);

/// What an application's item said of its copies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    count: u8,
    /// Of then: a copy that is older was left behind.
    version: u64,
}

/// The copies of which an application's item speaks; one where it speaks of none.
pub(super) fn copies_of(item: &Item) -> Copies {
    let count = item.number_opt("copies").unwrap_or(1).max(1);
    Copies { count, needed_at: item.time_opt("neededAt").unwrap_or_default() }
}

/// Whether all copies are as new as the item that speaks of them: a version of us that knows of none changes the
/// item alone.
fn is_copied(item: &Item) -> bool {
    item.number_opt::<u64>("copied") == item.number_opt::<u64>("version")
}

/// What a transaction does to an application, whose copies it has to reach all.
#[derive(Clone, Debug)]
pub(super) enum OfApplication {
    Raise(Raise),
    Delete,
}

/// A change of an application or its endpoints, which raises its version.
#[derive(Clone, Debug, Default)]
pub(super) struct Raise {
    endpoints: i32,
    gone: Option<EndpointId>,
    settings: Option<ApplicationSettings>,
    expiries: Option<(Vec<Expiry>, Vec<Expiry>)>,
    lowering: bool,
}

impl Raise {
    /// For an endpoint that nothing is sent to any more, with what is noted of it.
    pub(super) fn without(gone: EndpointId) -> Self {
        Self { gone: Some(gone), ..Self::default() }
    }

    /// With so many endpoints more.
    pub(super) fn endpoints(self, more: i32) -> Self {
        Self { endpoints: more, ..self }
    }

    /// With what deliveries have to know of new settings.
    pub(super) fn settings(self, new: &ApplicationSettings) -> Self {
        Self { settings: Some(new.clone()), ..self }
    }

    /// With other ends of tokens, if those are still `old`.
    pub(super) fn expiries(self, old: &[Expiry], new: &[Expiry]) -> Self {
        Self { expiries: Some((old.to_vec(), new.to_vec())), ..self }
    }

    /// Giving up copies that are not needed any more: for functions that may delete items.
    pub(super) fn lowering(self) -> Self {
        Self { lowering: true, ..self }
    }

    /// What the application becomes by it.
    fn of(&self, app: &Application, now: Timestamp) -> Application {
        let mut new = Application { version: app.version + 1, version_at: now, ..app.clone() };
        if let Some(settings) = &self.settings {
            new.uid.clone_from(&settings.uid);
            new.rate_limit = settings.rate_limit;
            new.retry_policy.clone_from(&settings.retry_policy);
        }
        if let Some((_, expiries)) = &self.expiries {
            new.expiries.clone_from(expiries);
        }
        if self.lowering {
            new.copies = app.copies.after_change(now);
        }
        new
    }
}

/// An update as it comes together; each attribute is named after itself.
struct Changes {
    key: Item,
    set: Vec<String>,
    remove: Vec<String>,
    delete: Vec<String>,
    condition: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Changes {
    fn new(key: Item) -> Self {
        Self {
            key,
            set: Vec::new(),
            remove: Vec::new(),
            delete: Vec::new(),
            condition: Vec::new(),
            names: HashMap::new(),
            values: HashMap::new(),
        }
    }

    fn named(&mut self, name: &str) -> String {
        let alias = format!("#{name}");
        self.names.insert(alias.clone(), name.to_owned());
        alias
    }

    fn value(&mut self, name: &str, value: AttributeValue) {
        self.values.insert(format!(":{name}"), value);
    }

    /// Sets an attribute, or removes it.
    fn set(&mut self, name: &str, value: Option<AttributeValue>) {
        let alias = self.named(name);
        match value {
            Some(value) => {
                self.set.push(format!("{alias} = :{name}"));
                self.value(name, value);
            }
            None => self.remove.push(alias),
        }
    }

    /// An endpoint does not hang any more.
    fn without(&mut self, gone: EndpointId) {
        self.delete.push("hanging :gone".to_owned());
        self.value("gone", AttributeValue::Ss(vec![gone.to_string()]));
    }

    /// What an item and each copy say alike, as `app` has it.
    fn shared(&mut self, app: &Application) {
        self.set("uid", app.uid.as_ref().map(s));
        self.set("rateLimit", app.rate_limit.map(n));
        self.set("retryPolicy", retry_policy(app.retry_policy.as_ref()));
        self.set("expiries", (!app.expiries.is_empty()).then(|| tokens::attribute(&app.expiries)));
    }

    fn copies(&mut self, copies: Copies) {
        let many = copies.count > 1;
        self.set("copies", many.then(|| n(copies.count)));
        self.set("neededAt", many.then(|| n(copies.needed_at.ms())));
    }

    /// Only where the item has just those copies, and, if there are several, that version: what they are to be
    /// follows from it.
    fn only_if_as(&mut self, app: &Application, of_version: bool) {
        self.condition.push("attribute_exists(pk)".to_owned());
        if app.copies.count == 1 {
            self.condition.push("attribute_not_exists(copies)".to_owned());
        } else {
            self.condition.push("copies = :were".to_owned());
            self.value("were", n(app.copies.count));
        }
        if of_version {
            let alias = self.named("version");
            self.condition.push(format!("{alias} = :read"));
            self.value("read", n(app.version));
        }
    }

    fn finish(self, table: &str) -> UpdateBuilder {
        let mut text = String::new();
        for (word, parts) in [("SET", &self.set), ("REMOVE", &self.remove), ("DELETE", &self.delete)] {
            if !parts.is_empty() {
                let _infallible = write!(text, "{word} {} ", parts.join(", "));
            }
        }
        Update::builder()
            .table_name(table)
            .set_key(Some(self.key))
            .update_expression(text.trim_end())
            .set_condition_expression((!self.condition.is_empty()).then(|| self.condition.join(" AND ")))
            .set_expression_attribute_names((!self.names.is_empty()).then_some(self.names))
            .set_expression_attribute_values(Some(self.values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

impl Store {
    /// An application's item, read strongly, or any copy of it.
    pub(super) async fn application_item(&self, id: AppId) -> Result<Option<Item>> {
        if let Some(copy) = self.application_copy(id).await? {
            return Ok(Some(copy));
        }
        let item = self.get(Table::Config, keys::application(id), true, "read an application").await?;
        self.learn_copies(id, item.as_ref());
        Ok(item)
    }

    /// One of the copies, if it is not the item's own turn.
    async fn application_copy(&self, id: AppId) -> Result<Option<Item>> {
        let Some(known) = self.copies.get(&id, self.clock.now()) else { return Ok(None) };
        let [drawn] = runtime::random::bytes(&*self.random);
        let nth = drawn % known.count;
        if nth == 0 {
            return Ok(None);
        }
        let key = keys::application_copy(id, nth);
        let copy = self.get(Table::Config, key, true, "read a copy of an application").await?;
        let is_as_new = |copy: &Item| copy.number_opt("version").is_some_and(|v: u64| v >= known.version);
        let copy = copy.filter(is_as_new);
        if copy.is_none() {
            self.copies.remove(&id);
        }
        Ok(copy)
    }

    /// Learns from an application's item, which was just read, how many copies there are. It holds for as long as a
    /// cache remembers, a minute, and copies do not prolong that.
    pub(super) fn learn_copies(&self, id: AppId, item: Option<&Item>) {
        let known = item.filter(|item| is_copied(item)).and_then(|item| {
            Some(Known { count: copies_of(item).count, version: item.number_opt("version")? })
        });
        match known.filter(|known| known.count > 1) {
            Some(known) => self.copies.put(id, known, self.clock.now()),
            None => self.copies.remove(&id),
        }
    }

    /// The writes of a transaction that changes an application: of its item, which the others wait for, and of its
    /// copies.
    pub(super) fn writes_of(
        &self,
        app: &Application,
        change: &OfApplication,
    ) -> Result<(TransactWriteItem, Vec<TransactWriteItem>)> {
        let table = self.table(Table::Config);
        let mut first = Changes::new(keys::application(app.id));
        let raise = match change {
            OfApplication::Raise(raise) => raise,
            OfApplication::Delete => {
                first.only_if_as(app, false);
                let item = Delete::builder()
                    .table_name(table)
                    .set_key(Some(first.key))
                    .condition_expression(first.condition.join(" AND "))
                    .set_expression_attribute_values((!first.values.is_empty()).then_some(first.values))
                    .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
                return Ok((built(item)?, self.without_copies(app.id, 1, app.copies.count)?));
            }
        };
        let now = self.clock.now();
        let (was, new) = (app.copies, raise.of(app, now));
        let many = was.count > 1;
        first.only_if_as(app, many);
        if raise.endpoints > 0 {
            first.condition.push("endpoints < :max".to_owned());
            first.value("max", n(ENDPOINTS_MAX));
        }
        let version = first.named("version");
        first.set.push(format!("{version} = {version} + :one, versionAt = :now"));
        first.set.push("endpoints = endpoints + :more".to_owned());
        first.value("one", n(1));
        first.value("now", n(now.ms()));
        first.value("more", n(raise.endpoints));
        if let Some(gone) = raise.gone {
            first.without(gone);
        }
        if raise.settings.is_some() {
            first.set("uid", new.uid.as_ref().map(s));
            first.set("rateLimit", new.rate_limit.map(n));
            first.set("retryPolicy", retry_policy(new.retry_policy.as_ref()));
        }
        if let Some((old, expiries)) = &raise.expiries {
            first.set("expiries", Some(tokens::attribute(expiries)));
            if old.is_empty() {
                first.condition.push("attribute_not_exists(expiries)".to_owned());
            } else {
                first.condition.push("expiries = :old".to_owned());
                first.value("old", tokens::attribute(old));
            }
        }
        if !many {
            return Ok((built(first.finish(table))?, Vec::new()));
        }
        first.set("copied", (new.copies.count > 1).then(|| n(new.version)));
        if new.copies != was {
            first.copies(new.copies);
        }
        let mut others = Vec::new();
        for nth in 1..new.copies.count {
            let mut copy = self.copy(&new, nth);
            if let Some(gone) = raise.gone {
                copy.without(gone);
            }
            others.push(built(copy.finish(table))?);
        }
        others.extend(self.without_copies(app.id, new.copies.count, was.count)?);
        Ok((built(first.finish(table))?, others))
    }

    /// The copy as it is to be, whatever it was, but for which endpoints hang.
    fn copy(&self, app: &Application, nth: u8) -> Changes {
        let mut copy = Changes::new(keys::application_copy(app.id, nth));
        copy.set("v", Some(n(SCHEMA)));
        copy.set("org", Some(s(app.org.to_string())));
        copy.set("version", Some(n(app.version)));
        copy.set("versionAt", Some(n(app.version_at.ms())));
        copy.shared(app);
        copy.copies(app.copies);
        copy
    }

    fn without_copies(&self, app: AppId, from: u8, to: u8) -> Result<Vec<TransactWriteItem>> {
        let delete = |nth| {
            let key = keys::application_copy(app, nth);
            built(Delete::builder().table_name(self.table(Table::Config)).set_key(Some(key)))
        };
        (from..to).map(delete).collect()
    }

    /// Counts that an application was just read for messages or deliveries. Now and then that is added to what the
    /// other instances counted, and where it is more than its copies are for, they become more. An error is
    /// logged and no more.
    pub async fn note_reading(&self, app: &Application) {
        if !self.counts(app.id) {
            return;
        }
        let noted = async {
            let reads = self.add_readings(app.id).await?;
            let needed = Copies::needed_for(reads);
            if app.copies.is_news(needed, self.clock.now()) {
                self.keep_copies(app.id, needed).await?;
            }
            Ok::<(), domain::Error>(())
        };
        if let Err(error) = noted.await {
            tracing::warn!(app = %app.id, error = %Chain(&error), "the reads of an application are not counted");
        }
    }

    /// Counts a reading in this instance; whether there are enough of them to be added to the others'.
    fn counts(&self, app: AppId) -> bool {
        let now = self.clock.now();
        let readings = self.readings.get(&app, now).unwrap_or_else(|| {
            let readings = Arc::default();
            self.readings.put(app, Arc::clone(&readings), now);
            readings
        });
        (readings.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(COUNTED_AT_ONCE)
    }

    /// Adds this instance's readings to those of the window; how many those are now.
    async fn add_readings(&self, app: AppId) -> Result<u64> {
        let now = self.clock.now();
        let out = Box::pin(
            self.client
                .update_item()
                .table_name(self.table(Table::Log))
                .set_key(Some(keys::reads(app, now.seconds() / WINDOW.as_secs())))
                .update_expression("SET #ttl = :ttl ADD u :count")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":ttl", n(now.after(COUNT_KEPT).seconds()))
                .expression_attribute_values(":count", n(COUNTED_AT_ONCE))
                .return_values(ReturnValue::UpdatedNew)
                .set_return_consumed_capacity(self.return_consumed_capacity.clone())
                .send(),
        )
        .await
        .map_err(unavailable("count the reads of an application"))?;
        out.attributes.unwrap_or_default().number("u")
    }

    /// Sees to it that an application has so many copies, or notes that it needs them all; `false` where there is
    /// nothing to do, or where somebody else changed it just now.
    ///
    /// # Errors
    /// The store's own.
    pub async fn keep_copies(&self, id: AppId, needed: u8) -> Result<bool> {
        let item = self.get(Table::Config, keys::application(id), true, "read an application").await?;
        self.learn_copies(id, item.as_ref());
        let Some(item) = item else { return Ok(false) };
        let app = Application::from_item(&item)?;
        let (was, now) = (app.copies, self.clock.now());
        if is_copied(&item) && !was.is_news(needed, now) {
            return Ok(false);
        }
        let count = needed.clamp(was.count, COPIES_MAX.max(was.count));
        let new = Application { copies: Copies { count, needed_at: now }, ..app.clone() };
        let table = self.table(Table::Config);
        let mut tx = Transaction::new("make copies of an application");
        let mut first = Changes::new(keys::application(id));
        first.only_if_as(&app, true);
        first.copies(new.copies);
        first.set("copied", (count > 1).then(|| n(new.version)));
        tx.add(Guard::Unchanged, first.finish(table))?;
        let hanging = app.slow_endpoints.iter().map(ToString::to_string).collect::<Vec<_>>();
        for nth in 1..count {
            let mut copy = self.copy(&new, nth);
            copy.set("hanging", (!hanging.is_empty()).then(|| AttributeValue::Ss(hanging.clone())));
            tx.add(Guard::Fresh, copy.finish(table))?;
        }
        // Who comes too late leaves it to the next count: nobody waits for this.
        let done = matches!(self.transact_once(&tx).await?, Once::Ended(Transacted::Done));
        if done {
            self.copies.put(id, Known { count, version: new.version }, now);
            tracing::info!(app = %id, copies = count, "an application is read from so many copies");
        }
        Ok(done)
    }
}
