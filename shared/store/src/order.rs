//! Ordered delivery: an application's order, which only grows at its end, and each ordered endpoint's place in it
//! (ADR 0035).

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::builders::{DeleteBuilder, UpdateBuilder};
use aws_sdk_dynamodb::types::{Delete, Update};

use super::attempts::{State, Status};
use super::audit::{AuditAction, Change};
use super::item::{Get as _, Item, Put as _, SCHEMA, b, n, s};
use super::transaction::{Guard, Transacted, Transaction};
use super::{Range, Store, Table, keys};
use domain::application::Application;
use domain::caller::Caller;
use domain::endpoint::Endpoint;
use domain::error::{Error, Result, corrupt, unavailable};
use domain::ids::{AppId, EndpointId};
use domain::job::{Advance, Job};
use domain::order::{
    ENTRY_COUNTS, ENTRY_KEPT, ENTRY_MESSAGES_MAX, Entry, Lease, Ordered, Place, TAIL_TRUSTED, WaitingKeys,
    read_waiting, write_waiting,
};
use runtime::clock::Timestamp;
use runtime::random;

/// Tries of an append: each failure means that somebody else's succeeded.
const TRIES: u32 = 60;
/// Longest pause between two of them, by which those who meet part.
const PAUSE_MAX: Duration = Duration::from_millis(40);

/// What a person asks of an ordered endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderCommand {
    /// Nothing is sent until it is resumed.
    Pause,
    /// It goes on.
    Resume,
    /// What waits is tried at once.
    Retry,
    /// What waits is looked at: one of its messages was given up.
    Look,
}

/// The end of an application's order: the number of its last message, and when that was added.
type Tail = (u64, Option<Timestamp>);

fn entry_of(item: &Item) -> Result<(Entry, Timestamp)> {
    const WHAT: &str = "an entry of an order";
    item.check_schema()?;
    let first = item.text("sk")?.parse().map_err(corrupt(WHAT))?;
    let messages = item.bytes("m").and_then(Ordered::read).filter(|messages| !messages.is_empty());
    let messages = messages.ok_or_else(|| corrupt(WHAT)("its messages cannot be read"))?;
    Ok((Entry { first, messages }, item.time("at")?))
}

fn place_of(item: &Item) -> Result<Place> {
    item.check_schema()?;
    let waiting = read_waiting(item.bytes("k").unwrap_or_default());
    let lease = |token: &str| Ok::<_, Error>(Lease { token: token.to_owned(), until: item.time("lu")? });
    Ok(Place {
        position: item.number("p")?,
        waiting: waiting.ok_or_else(|| corrupt("a place in an order")("its keys cannot be read"))?,
        wake: item.time_opt("wk"),
        paused: item.contains_key("pz"),
        forced: item.number_opt("fc").unwrap_or(0),
        forced_done: item.number_opt("fd").unwrap_or(0),
        looks: item.number_opt("lc").unwrap_or(0),
        looks_done: item.number_opt("ld").unwrap_or(0),
        turn: item.number_opt("n").unwrap_or(0),
        lease: item.text_opt("lt").map(lease).transpose()?,
        awaited: item.contains_key("aw"),
        watched: item.contains_key("wt"),
    })
}

impl Store {
    /// Adds messages at the end of their application's order, in their order. `ordered` are all of its ordered
    /// endpoints. Adding a message twice does no harm: who is past it passes over the second.
    ///
    /// Each entry begins with the number after the last one's, on condition that none does: so numbers have no gaps,
    /// and who reads a number can rely on it that none below it is still to come.
    ///
    /// # Errors
    /// The store's own.
    pub async fn append_to_order(
        &self,
        app: AppId,
        ordered: &[EndpointId],
        messages: &[Ordered],
    ) -> Result<()> {
        for some in messages.chunks(ENTRY_MESSAGES_MAX) {
            self.append_entry(app, ordered, some).await?;
        }
        Ok(())
    }

    async fn append_entry(&self, app: AppId, ordered: &[EndpointId], messages: &[Ordered]) -> Result<()> {
        const OPERATION: &str = "add to an order";
        // Whose write it was: the SDK repeats a put whose answer was lost, and the first had taken effect.
        let own = u64::from_be_bytes(random::bytes(&*self.random));
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| message.write(&mut bytes));
        for _ in 0..TRIES {
            let first = self.order_end(app, ordered).await? + 1;
            let now = self.clock.now();
            let item = keys::order_entry(app, first)
                .with("v", n(SCHEMA))
                .with("m", b(bytes.clone()))
                .with("w", n(own))
                .with("at", n(now.ms()))
                .with("ttl", n(now.after(ENTRY_KEPT).seconds()));
            match self.put_log(item, super::transaction::ABSENT, [], OPERATION).await? {
                None => return Ok(()),
                Some(there) if there.number_opt("w") == Some(own) => return Ok(()),
                Some(_) => {}
            }
            let [share] = random::bytes(&*self.random);
            self.clock.sleep(PAUSE_MAX * u32::from(share) / 255).await;
        }
        Err(unavailable(OPERATION)("others kept adding to it"))
    }

    /// The number of the last message of an application's order. `ordered` are all of its ordered endpoints.
    ///
    /// # Errors
    /// The store's own.
    pub async fn order_end(&self, app: AppId, ordered: &[EndpointId]) -> Result<u64> {
        let (end, at) = self.order_tail(app).await?;
        if at.is_some_and(|at| self.clock.now().since(at) < TAIL_TRUSTED) {
            return Ok(end);
        }
        // Younger entries may have expired before it, or all have: whoever went past them says how far they went.
        let keys = ordered.iter().map(|endpoint| keys::order_place(*endpoint)).collect();
        let places = self.batch_get(Table::Log, keys, true, "read places in an order").await?;
        let mut positions = places.iter().map(|item| item.number::<u64>("p"));
        positions.try_fold(end, |end, position| Ok(end.max(position?)))
    }

    async fn order_tail(&self, app: AppId) -> Result<Tail> {
        let range = Range { ascending: false, limit: 1, ..self.order_range(app, 0) };
        let page = self.query(Table::Log, range).await?;
        let Some(item) = page.items.first() else { return Ok((0, None)) };
        let (entry, at) = entry_of(item)?;
        Ok((entry.last(), Some(at)))
    }

    fn order_range(&self, app: AppId, from: u64) -> Range {
        Range {
            pk: keys::order_pk(app),
            from: keys::order_sk(from),
            to: "~".to_owned(),
            ascending: true,
            limit: 0,
            strong: true,
            start: None,
            operation: "read an order",
        }
    }

    /// Up to `limit` entries of an application's order behind `position`, where one ends, and whether there are more.
    ///
    /// # Errors
    /// The store's own.
    pub async fn order_after(&self, app: AppId, position: u64, limit: usize) -> Result<(Vec<Entry>, bool)> {
        self.order_entries(Range { limit, ..self.order_range(app, position + 1) }).await
    }

    /// The same from the entry on that has that number.
    ///
    /// # Errors
    /// The store's own.
    pub async fn order_from(&self, app: AppId, number: u64, limit: usize) -> Result<(Vec<Entry>, bool)> {
        // Its entry may begin before it.
        let from = number.saturating_sub(ENTRY_MESSAGES_MAX as u64 - 1);
        let limit = limit + ENTRY_MESSAGES_MAX;
        let (mut entries, more) = self.order_entries(Range { limit, ..self.order_range(app, from) }).await?;
        entries.retain(|entry| entry.last() >= number);
        Ok((entries, more))
    }

    async fn order_entries(&self, mut range: Range) -> Result<(Vec<Entry>, bool)> {
        let now = self.clock.now();
        loop {
            let page = self.query(Table::Log, range.clone()).await?;
            let entries: Result<Vec<_>> = page.items.iter().map(entry_of).collect();
            let counted = entries?.into_iter().filter(|(_, at)| now.since(*at) < ENTRY_COUNTS);
            let entries: Vec<Entry> = counted.map(|(entry, _)| entry).collect();
            if !entries.is_empty() || page.last.is_none() {
                return Ok((entries, page.last.is_some()));
            }
            range.start = page.last;
        }
    }

    /// An ordered endpoint's place, read strongly; none if it never was one.
    ///
    /// # Errors
    /// The store's own.
    pub async fn place_in_order(&self, endpoint: EndpointId) -> Result<Option<Place>> {
        let item =
            self.get(Table::Log, keys::order_place(endpoint), true, "read a place in an order").await?;
        item.as_ref().map(place_of).transpose()
    }

    /// Takes the lease of a place that is as it was read; `false` where somebody else was faster.
    ///
    /// # Errors
    /// The store's own.
    pub async fn lease_place(&self, endpoint: EndpointId, was: &Place, lease: &Lease) -> Result<bool> {
        let mut values =
            vec![(":token", s(&lease.token)), (":until", n(lease.until.ms())), (":turn", n(was.turn))];
        let condition = match &was.lease {
            // Also where it meets itself: the SDK repeats an update whose answer was lost.
            None => "n = :turn AND (attribute_not_exists(lt) OR lt = :token)",
            Some(old) => {
                values.push((":old", s(&old.token)));
                "n = :turn AND (lt = :old OR lt = :token)"
            }
        };
        let update = "SET lt = :token, lu = :until REMOVE wt";
        self.update_log(keys::order_place(endpoint), update, condition, values, "lease a place").await
    }

    /// Notes that somebody wants a place that is leased: its holder looks again. `watched`: a job comes when the lease
    /// has run out. `false` if it is not that lease any more.
    ///
    /// # Errors
    /// The store's own.
    pub async fn await_place(&self, endpoint: EndpointId, lease: &Lease, watched: bool) -> Result<bool> {
        let update = if watched { "SET aw = :one, wt = :one" } else { "SET aw = :one" };
        let values = vec![(":one", n(1)), (":token", s(&lease.token))];
        self.update_log(keys::order_place(endpoint), update, "lt = :token", values, "await a place").await
    }

    /// Begins to look again: who wants the place from now on says so anew. Its holder reads the place next: it has another
    /// turn now, unless the lease is lost.
    ///
    /// The turn is what keeps a write that comes late, after its sender repeated it, from taking effect: an earlier release
    /// would end the lease under way, and an earlier look would remove a mark that nobody has seen.
    ///
    /// # Errors
    /// The store's own.
    pub async fn look_again(&self, endpoint: EndpointId, lease: &Lease, turn: u64) -> Result<()> {
        let values = vec![(":token", s(&lease.token)), (":turn", n(turn)), (":next", n(turn + 1))];
        let key = keys::order_place(endpoint);
        let (update, condition) = ("SET n = :next REMOVE aw", "lt = :token AND n = :turn");
        // Where it meets itself it is refused, and was done.
        self.update_log(key, update, condition, values, "look at a place again").await.map(drop)
    }

    /// Keeps how far an endpoint is, and ends the lease, unless somebody wants the place: then, or if the lease is lost,
    /// `false`.
    ///
    /// # Errors
    /// The store's own.
    pub async fn release_place(
        &self,
        endpoint: EndpointId,
        lease: &Lease,
        place: &Place,
        blindly: bool,
    ) -> Result<bool> {
        let mut values = vec![
            (":token", s(&lease.token)),
            (":p", n(place.position)),
            (":turn", n(place.turn)),
            (":next", n(place.turn + 1)),
            (":fd", n(place.forced_done)),
            (":ld", n(place.looks_done)),
        ];
        let (mut set, mut remove) =
            ("SET p = :p, n = :next, fd = :fd, ld = :ld".to_owned(), " REMOVE lt, lu, wt".to_owned());
        for (name, key, value) in [
            ("k", ":k", (!place.waiting.is_empty()).then(|| b(write_waiting(&place.waiting)))),
            ("wk", ":wk", place.wake.map(|at| n(at.ms()))),
        ] {
            match value {
                Some(value) => {
                    set.push_str(&format!(", {name} = {key}"));
                    values.push((key, value));
                }
                None => remove.push_str(&format!(", {name}")),
            }
        }
        let condition = if blindly {
            "lt = :token AND n = :turn"
        } else {
            "lt = :token AND n = :turn AND attribute_not_exists(aw)"
        };
        let key = keys::order_place(endpoint);
        self.update_log(key, &(set + &remove), condition, values, "release a place").await
    }

    /// Begins an endpoint's place at the end of the order, or keeps the one that it had: part of the transaction that
    /// makes it an ordered one.
    pub(super) async fn begin_place(
        &self,
        app: AppId,
        endpoint: EndpointId,
        ordered: &[EndpointId],
    ) -> Result<UpdateBuilder> {
        let end = self.order_end(app, ordered).await?;
        let update = Update::builder()
            .table_name(self.table(Table::Log))
            .set_key(Some(keys::order_place(endpoint)))
            .expression_attribute_values(":v", n(SCHEMA))
            .expression_attribute_values(":zero", n(0));
        Ok(match self.place_in_order(endpoint).await? {
            None => update
                .update_expression("SET v = :v, p = :end, n = :zero")
                .condition_expression("attribute_not_exists(pk)")
                .expression_attribute_values(":end", n(end)),
            // Numbers that it went past have expired, and are given again. What waits there is tried.
            Some(place) => update
                .update_expression(
                    "SET v = :v, p = :end, n = if_not_exists(n, :zero), aw = :one REMOVE wk ADD fc :one",
                )
                .condition_expression("n = :turn")
                .expression_attribute_values(":end", n(place.position.min(end)))
                .expression_attribute_values(":one", n(1))
                .expression_attribute_values(":turn", n(place.turn)),
        })
    }

    /// Whether an endpoint has a place: also one that was an ordered one, where what was accepted until then may wait.
    pub(super) async fn has_place(&self, endpoint: &Endpoint) -> Result<bool> {
        Ok(endpoint.settings.fifo.is_some() || self.place_in_order(endpoint.id).await?.is_some())
    }

    pub(super) fn without_place(&self, endpoint: EndpointId) -> DeleteBuilder {
        Delete::builder().table_name(self.table(Table::Log)).set_key(Some(keys::order_place(endpoint)))
    }

    /// Has an endpoint's place looked at: part of the transaction that gives it something to do.
    pub(super) fn wake_in(
        &self,
        tx: &mut Transaction,
        app: &Application,
        endpoint: EndpointId,
    ) -> Result<()> {
        let job = Job::Advance(Advance::of(app.org, app.id, endpoint));
        tx.add(Guard::Fresh, self.outbox(endpoint, self.clock.now(), &app.id.to_string(), &job)?)
    }

    /// What waits at a place is tried at once, and a new job comes for what is tried later.
    pub(super) fn force_place(&self, endpoint: EndpointId) -> UpdateBuilder {
        self.change_place(endpoint, "SET aw = :one REMOVE wk ADD fc :one")
    }

    fn change_place(&self, endpoint: EndpointId, update: &str) -> UpdateBuilder {
        Update::builder()
            .table_name(self.table(Table::Log))
            .set_key(Some(keys::order_place(endpoint)))
            .update_expression(update)
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":one", n(1))
    }

    /// Pauses an ordered endpoint, resumes it, or has what waits tried or looked at at once.
    ///
    /// # Errors
    /// `NotFound` if it has no place; the store's own.
    pub async fn command_place(
        &self,
        by: &Caller,
        app: &Application,
        endpoint: EndpointId,
        command: OrderCommand,
        what: AuditAction,
    ) -> Result<()> {
        let update = match command {
            OrderCommand::Pause => self.change_place(endpoint, "SET pz = :one, aw = :one"),
            OrderCommand::Resume => self.change_place(endpoint, "SET aw = :one REMOVE wk, pz ADD fc :one"),
            OrderCommand::Retry => self.force_place(endpoint),
            OrderCommand::Look => self.change_place(endpoint, "SET aw = :one REMOVE wk ADD lc :one"),
        };
        let mut tx = Transaction::new("change an ordered endpoint");
        tx.add(Guard::Unchanged, update)?;
        tx.add(Guard::Fresh, self.audit(Change::new(by, what, endpoint).within(app.id)))?;
        if command != OrderCommand::Pause {
            self.wake_in(&mut tx, app, endpoint)?;
        }
        match self.transact(tx).await? {
            Transacted::Done => Ok(()),
            Transacted::Refused(_) => Err(Error::NotFound("Endpoint")),
        }
    }

    /// Gives a message up that holds up its key: the delivery ends as one that was stopped. `false` where it was tried
    /// meanwhile, and the caller reads again.
    ///
    /// # Errors
    /// The store's own.
    pub async fn skip_in_order(&self, held: &State) -> Result<bool> {
        let mut due = held.due.clone();
        due.extend(held.next);
        let state = State { status: Status::Fail, due, next: None, stopped: true, ..held.clone() };
        self.advance(&state).await
    }

    /// The keys of an endpoint that wait with the message at the head of each, in their order, up to `limit`.
    ///
    /// # Errors
    /// The store's own.
    pub async fn heads_of_order(
        &self,
        app: AppId,
        endpoint: EndpointId,
        waiting: &WaitingKeys,
        limit: usize,
    ) -> Result<Vec<(domain::order::OrderKey, domain::ids::MessageId)>> {
        let mut keys: Vec<_> = waiting.iter().collect();
        keys.sort_by_key(|(_, waiting)| waiting.at);
        let mut heads = Vec::new();
        for (key, waiting) in keys.into_iter().take(limit) {
            let (entries, _) = self.order_from(app, waiting.at, 1).await?;
            let numbered = entries.iter().flat_map(|entry| (entry.first..).zip(&entry.messages));
            let mut own =
                numbered.filter(|(number, one)| *number >= waiting.at && one.key_at(endpoint) == Some(*key));
            heads.extend(own.next().map(|(_, one)| (*key, one.message)));
        }
        Ok(heads)
    }
}

/// An attribute that says yes.
pub(super) fn yes(is: bool) -> Option<AttributeValue> {
    is.then_some(AttributeValue::Bool(true))
}
