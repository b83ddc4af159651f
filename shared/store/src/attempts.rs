//! The log of an endpoint: what became of each message (the delivery state) and each attempt.
//!
//! The first attempt of a message that is sent at once is part of its state (`first`); every other one
//! is an item of its own, written once, under an id that follows from what it attempts. The state only
//! moves forward. Together with the order attempt, successor, state this is what keeps a retry
//! chain from forking (docs/INVARIANTS.md, INV-12).

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, Update};
use futures_util::future::try_join_all;

use super::audit::{AuditAction, Change};
use super::item::{FromItemOf, Get as _, Item, Put as _, SCHEMA, b, n, s, texts};
use super::messages::{labels_of, size};
use super::shards::LogQuery;
use super::transaction::{ABSENT, Guard, Transacted, Transaction};
use super::{BATCH_GET_MAX, Store, Table, first, keys, packed};
use domain::caller::Caller;
use domain::error::{Result, corrupt};
use domain::ids::{AppId, AttemptId, EndpointId, Id as _, Ksuid, MessageId};
use domain::page::Page;
use runtime::clock::Timestamp;

pub use domain::attempt::{
    Attempt, CANCELED, FirstAttempt, Passage, RESENDS_MAX, ResponseBody, State, Status, Trigger,
};

/// What is shown in place of an answer that was expunged.
const EXPUNGED: &str = "EXPUNGED";

impl FromItemOf<EndpointId> for State {
    fn from_item(endpoint: EndpointId, item: &Item) -> Result<Self> {
        item.check_schema()?;
        let message = item.text("sk")?.strip_prefix("MSG#").unwrap_or_default();
        let message: MessageId = message.parse().map_err(corrupt("a delivery state's key"))?;
        let due = item.get("t").and_then(|list| list.as_l().ok()).map(Vec::as_slice).unwrap_or_default();
        let due = due.iter().map(|at| at.as_n().ok()?.parse().ok().map(Timestamp::from_ms));
        let mut due: Vec<_> =
            due.collect::<Option<_>>().ok_or_else(|| corrupt("a delivery state")("its times are none"))?;
        if due.is_empty() && item.number_opt("n") == Some(1) {
            // Its first attempt settled it.
            due.push(message.time());
        }
        Ok(Self {
            endpoint,
            message,
            status: status_of(item)?,
            due,
            next: item.time_opt("nx"),
            stopped: item.contains_key("st"),
            by_hand: item
                .get("ma")
                .and_then(|set| set.as_bs().ok())
                .map(|set| ids_of_set(set))
                .unwrap_or_default(),
            delivered_by_hand: item.contains_key("ms"),
            canceled: item.contains_key("cs"),
            first: first::of_state(endpoint, item)?,
        })
    }
}

fn ids_of_set(set: &[Blob]) -> Vec<AttemptId> {
    let ids = set.iter().filter_map(|id| <[u8; 20]>::try_from(id.as_ref()).ok());
    let mut ids: Vec<_> = ids.map(|bytes| AttemptId::from_ksuid(Ksuid::from_bytes(bytes))).collect();
    ids.sort();
    ids
}

/// The message of a delivery state, and how the delivery stands.
pub(super) fn brief_outcome(item: &Item) -> Result<(MessageId, Status)> {
    let message = item.text("sk")?.strip_prefix("MSG#").unwrap_or_default();
    let message = message.parse().map_err(corrupt("a delivery state's key"))?;
    Ok((message, if item.contains_key("ms") { Status::Success } else { status_of(item)? }))
}

fn status_of(item: &Item) -> Result<Status> {
    status_in(item, "s")
}

pub(super) fn status_in(item: &Item, name: &'static str) -> Result<Status> {
    Status::from_number(item.number(name)?).ok_or_else(|| corrupt("an item")("its status is unknown"))
}

/// How long a probe's record is kept.
const PROBE_KEPT: Duration = Duration::from_secs(24 * 3600);
/// A condition that is always met: the probe of an earlier copy of the job is replaced.
const ANY: &str = "attribute_exists(pk) OR attribute_not_exists(pk)";

/// As long as any other time at which something expires.
pub(super) const ANY_TIME: u64 = 2_000_000_000;

/// Most bytes of a failed attempt's response headers that are kept.
const RESPONSE_HEADERS_MAX: usize = 2 * 1024;

/// Keeps headers of the response with an attempt: up to 2 KB of a failure's, which its owner will want to
/// see; of a success's what costs no write unit more. Everything else about the attempt has to be there
/// already.
pub fn keep_headers<'a>(attempt: &mut Attempt, headers: impl IntoIterator<Item = (&'a str, &'a str)>) {
    const OVERHEAD: usize = "rh".len();
    let at = attempt.at;
    let stored = if attempt.is_first() {
        size(&first::state_item(attempt, true, ANY_TIME))
    } else {
        size(&own_item(attempt, ANY_TIME))
    };
    let mut room = match attempt.status {
        Status::Success => stored.next_multiple_of(1024).saturating_sub(stored + OVERHEAD),
        _ => RESPONSE_HEADERS_MAX,
    };
    for (name, value) in headers {
        let length = packed::headers::length(name, value, at);
        if length <= room {
            room -= length;
            attempt.response_headers.push((name.to_owned(), value.to_owned()));
        }
    }
}

/// An attempt's own item, which expires at `ttl`.
pub(super) fn own_item(attempt: &Attempt, ttl: u64) -> Item {
    let item = keys::attempt(attempt.endpoint, attempt.message, attempt.id)
        .with("v", n(SCHEMA))
        .with("m", s(attempt.message.to_string()))
        .with("s", n(attempt.status as u8))
        .with("g", n(attempt.trigger as u8))
        .with_some("nx", attempt.next.map(|at| n(at.ms())))
        .with("ttl", n(ttl));
    with_details(item, attempt)
}

fn with_details(item: Item, attempt: &Attempt) -> Item {
    let item = item
        .with("u", s(&attempt.url))
        .with("c", n(attempt.code))
        .with_some("er", attempt.error.as_ref().map(s))
        .with("d", n(attempt.duration_ms))
        .with("at", n(attempt.at.ms()))
        .with_some("di", attempt.disables.then(|| n(1)))
        .with_some("tf", passage(attempt.passage))
        .with("et", s(&attempt.labels.event_type))
        .with_some("ch", texts(attempt.labels.channels.as_deref()))
        .with_some("tg", texts(attempt.labels.tags.as_deref()));
    with_response(item, attempt)
}

/// Adds the response, which an attempt's own item and a state with an attempt inside have under the same names.
pub(super) fn with_response(item: Item, attempt: &Attempt) -> Item {
    let (text, bytes) = match &attempt.response {
        ResponseBody::Text(text) => (Some(text).filter(|text| !text.is_empty()).map(s), None),
        ResponseBody::Bytes(bytes) => (None, Some(b(bytes.clone()))),
    };
    item.with_some("r", text)
        .with_some("rb", bytes)
        .with_some("rh", packed::headers::pack(&attempt.response_headers, attempt.at).map(b))
}

/// Reads the response of an attempt that has the rest already.
pub(super) fn read_response(item: &Item, attempt: &mut Attempt) -> Result<()> {
    attempt.response = match item.bytes("rb") {
        Some(bytes) => ResponseBody::Bytes(bytes.to_vec()),
        None => ResponseBody::Text(item.text_opt("r").unwrap_or_default().to_owned()),
    };
    attempt.response_headers = match item.bytes("rh") {
        Some(packed) => packed::headers::unpack(packed, attempt.at)
            .ok_or_else(|| corrupt("an attempt")("its response's headers cannot be read"))?,
        // A text, a line each, as versions before wrote it.
        None => item.text_opt("rh").map(headers_of).unwrap_or_default(),
    };
    Ok(())
}

fn passage(passage: Passage) -> Option<AttributeValue> {
    match passage {
        Passage::Untransformed => None,
        Passage::Transformed => Some(n(1)),
        Passage::Canceled => Some(n(2)),
    }
}

/// What of an attempt is in its item or state, and what only one of them has or names differently.
pub(super) struct Named {
    pub(super) id: AttemptId,
    pub(super) endpoint: EndpointId,
    pub(super) message: MessageId,
    pub(super) status: Status,
    pub(super) trigger: Trigger,
    pub(super) next: Option<Timestamp>,
}

pub(super) fn of_details(item: &Item, named: Named) -> Result<Attempt> {
    let Named { id, endpoint, message, status, trigger, next } = named;
    let mut attempt = Attempt {
        id,
        endpoint,
        message,
        url: item.text("u")?.to_owned(),
        status,
        code: item.number("c")?,
        response: ResponseBody::Text(String::new()),
        error: item.text_opt("er").map(str::to_owned),
        response_headers: Vec::new(),
        duration_ms: item.number("d")?,
        at: item.time("at")?,
        trigger,
        next,
        disables: item.contains_key("di"),
        passage: match item.number_opt::<u8>("tf") {
            None => Passage::Untransformed,
            Some(2) => Passage::Canceled,
            Some(_) => Passage::Transformed,
        },
        labels: labels_of(item)?,
    };
    read_response(item, &mut attempt)?;
    Ok(attempt)
}

impl FromItemOf<EndpointId> for Attempt {
    fn from_item(endpoint: EndpointId, item: &Item) -> Result<Self> {
        item.check_schema()?;
        let id = item.text("sk")?.strip_prefix("ATT#").unwrap_or_default();
        let named = Named {
            id: id.parse().map_err(corrupt("an attempt's key"))?,
            endpoint,
            message: item.text("m")?.parse().map_err(corrupt("an attempt"))?,
            status: status_of(item)?,
            trigger: if item.number::<u8>("g")? == 1 { Trigger::Manual } else { Trigger::Scheduled },
            next: item.time_opt("nx"),
        };
        of_details(item, named)
    }
}

fn headers_of(lines: &str) -> Vec<(String, String)> {
    let lines = lines.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The endpoint whose log an item is of.
pub(super) fn endpoint_of(item: &Item) -> Result<EndpointId> {
    let pk = item.text("pk")?.strip_prefix("EP#").unwrap_or_default();
    pk.split('#').next().unwrap_or_default().parse().map_err(corrupt("a log's key"))
}

impl Store {
    /// When an attempt leaves the log, and with it how its delivery stands if nothing follows, in seconds.
    pub(super) fn attempt_ttl(&self, attempt: &Attempt) -> u64 {
        self.retention.attempts_until(attempt.message.time(), attempt.at).seconds()
    }

    /// Whether an attempt is still on record. One inside its delivery's state is stored as long as that, which later attempts
    /// prolong.
    pub fn is_kept(&self, attempt: &Attempt) -> bool {
        self.attempt_ttl(attempt) > self.clock.now().seconds()
    }

    /// Records an attempt in an item of its own. If it is on record already, that record comes back and this
    /// one is dropped: the outcome of an attempt is what was written first.
    ///
    /// # Errors
    /// The store's own.
    pub async fn record_attempt(&self, attempt: &Attempt) -> Result<Option<Attempt>> {
        let item = own_item(attempt, self.attempt_ttl(attempt));
        let first = self.put_log(item, ABSENT, [], "record an attempt").await?;
        first.map(|first| Attempt::from_item(attempt.endpoint, &first)).transpose()
    }

    /// Moves a delivery's state forward to `state`; `false` if it is there or further already.
    /// That a state counts *n* attempts says that attempt *n + 1*, if there is one, was queued.
    /// What was made by hand is not touched.
    ///
    /// # Errors
    /// The store's own.
    pub async fn advance(&self, state: &State) -> Result<bool> {
        self.mark_counts(state.endpoint, state.message).await?;
        let due = state.due.iter().map(|at| n(at.ms())).collect();
        let mut set = "SET v = :v, s = :s, n = :n, t = :t, #ttl = :ttl".to_owned();
        let mut remove = Vec::new();
        let mut values = vec![
            (":v", n(SCHEMA)),
            (":s", n(state.status as u8)),
            (":n", n(state.number())),
            (":t", AttributeValue::L(due)),
            (":ttl", n(self.retention.attempts_until(state.message.time(), self.clock.now()).seconds())),
        ];
        for (name, value, present) in [
            ("nx", ":nx", state.next.map(|at| n(at.ms()))),
            ("st", ":st", state.stopped.then(|| n(1))),
            ("cs", ":cs", state.canceled.then(|| n(1))),
        ] {
            match present {
                Some(present) => {
                    set.push_str(&format!(", {name} = {value}"));
                    values.push((value, present));
                }
                None => remove.push(name),
            }
        }
        if !remove.is_empty() {
            set.push_str(&format!(" REMOVE {}", remove.join(", ")));
        }
        let condition = "attribute_not_exists(pk) OR n < :n";
        self.update_log(
            keys::state(state.endpoint, state.message),
            &set,
            condition,
            values,
            "move a delivery state",
        )
        .await
    }

    /// Notes in a delivery's state that `attempt` was made by hand; once, however often it is noted.
    ///
    /// # Errors
    /// The store's own.
    pub async fn note_by_hand(&self, attempt: &Attempt) -> Result<bool> {
        self.mark_counts(attempt.endpoint, attempt.message).await?;
        let id = b(attempt.id.ksuid().bytes().to_vec());
        let success = attempt.status == Status::Success;
        let mut set =
            "SET v = if_not_exists(v, :v), s = if_not_exists(s, :fail), n = if_not_exists(n, :zero), \
                       t = if_not_exists(t, :none), #ttl = :ttl"
                .to_owned();
        if success {
            set.push_str(", ms = :one");
        }
        set.push_str(" ADD ma :ids");
        let mut values = vec![
            (":v", n(SCHEMA)),
            (":fail", n(Status::Fail as u8)),
            (":zero", n(0)),
            (":none", AttributeValue::L(Vec::new())),
            (":ttl", n(self.attempt_ttl(attempt))),
            (":ids", AttributeValue::Bs(vec![Blob::new(attempt.id.ksuid().bytes().to_vec())])),
            (":id", id),
        ];
        if success {
            values.push((":one", n(1)));
        }
        let condition = "attribute_not_exists(ma) OR NOT contains(ma, :id)";
        let key = keys::state(attempt.endpoint, attempt.message);
        self.update_log(key, &set, condition, values, "note a manual attempt").await
    }

    /// Takes the text of an answer out of an attempt, and leaves an audit event; `false` if there is no
    /// such attempt. `inside`: its delivery's state has it.
    ///
    /// # Errors
    /// The store's own.
    pub async fn expunge_attempt(
        &self,
        by: &Caller,
        app: AppId,
        attempt: &Attempt,
        inside: bool,
    ) -> Result<bool> {
        let Attempt { id, endpoint, message, .. } = *attempt;
        let key = if inside { keys::state(endpoint, message) } else { keys::attempt(endpoint, message, id) };
        let update = Update::builder()
            .table_name(self.table(Table::Log))
            .set_key(Some(key))
            .update_expression("SET r = :gone REMOVE rb, rh")
            .condition_expression("attribute_exists(u) OR attribute_exists(fs)")
            .expression_attribute_values(":gone", s(EXPUNGED));
        let mut tx = Transaction::new("expunge an attempt");
        tx.add(Guard::Unchanged, update)?;
        tx.add(Guard::Fresh, self.audit(Change::new(by, AuditAction::AttemptExpunged, id).within(app)))?;
        Ok(self.transact(tx).await? == Transacted::Done)
    }

    /// Learns whether an attempt could be recorded now, by a write to the same place: a record that says
    /// nothing, is read by nobody and goes after a day.
    ///
    /// # Errors
    /// The store's own.
    pub async fn probe_log(
        &self,
        endpoint: EndpointId,
        message: MessageId,
        attempt: AttemptId,
    ) -> Result<()> {
        let item = keys::probe(endpoint, message, attempt)
            .with("v", n(SCHEMA))
            .with("ttl", n(self.clock.now().after(PROBE_KEPT).seconds()));
        self.put_log(item, ANY, [], "write before an attempt is made again").await?;
        Ok(())
    }

    /// The state of a delivery, and the first of the attempts `ids` that is on record, read strongly.
    ///
    /// # Errors
    /// The store's own.
    pub async fn delivery(
        &self,
        endpoint: EndpointId,
        message: MessageId,
        ids: &[AttemptId],
    ) -> Result<(Option<State>, Option<Attempt>)> {
        let own = ids.iter().map(|id| keys::attempt(endpoint, message, *id));
        let wanted = std::iter::once(keys::state(endpoint, message)).chain(own).collect();
        let (mut state, mut found) = (None, Vec::new());
        for item in self.batch_get(Table::Log, wanted, true, "read a delivery").await? {
            if item.text("sk")?.starts_with("ATT#") {
                found.push(Attempt::from_item(endpoint, &item)?);
            } else {
                state = Some(State::from_item(endpoint, &item)?);
            }
        }
        let found = ids.iter().find_map(|id| {
            let inside = state.as_ref().and_then(|state| state.inside(*id));
            inside.or_else(|| found.iter().find(|attempt| attempt.id == *id)).cloned()
        });
        Ok((state, found))
    }

    /// The same of several deliveries to one endpoint, in their order, with one attempt of each.
    ///
    /// # Errors
    /// The store's own.
    pub async fn deliveries(
        &self,
        endpoint: EndpointId,
        wanted: &[(MessageId, AttemptId)],
    ) -> Result<Vec<(Option<State>, Option<Attempt>)>> {
        let keys = wanted.iter().flat_map(|(message, id)| {
            [keys::state(endpoint, *message), keys::attempt(endpoint, *message, *id)]
        });
        let (mut states, mut attempts) = (HashMap::new(), HashMap::new());
        for item in self.batch_get(Table::Log, keys.collect(), true, "read deliveries").await? {
            if item.text("sk")?.starts_with("ATT#") {
                let attempt = Attempt::from_item(endpoint, &item)?;
                attempts.insert(attempt.id, attempt);
            } else {
                let state = State::from_item(endpoint, &item)?;
                states.insert(state.message, state);
            }
        }
        let all = wanted.iter().map(|(message, id)| {
            let state = states.remove(message);
            let inside = state.as_ref().and_then(|state: &State| state.inside(*id)).cloned();
            (state, inside.or_else(|| attempts.remove(id)))
        });
        Ok(all.collect())
    }

    /// The states of a message at those endpoints that have one.
    ///
    /// # Errors
    /// The store's own.
    pub async fn states(
        &self,
        message: MessageId,
        endpoints: &[EndpointId],
        strong: bool,
    ) -> Result<Vec<State>> {
        const AT_ONCE: usize = 8 * BATCH_GET_MAX;
        let mut states = Vec::with_capacity(endpoints.len());
        for group in endpoints.chunks(AT_ONCE) {
            let keys: Vec<Item> = group.iter().map(|endpoint| keys::state(*endpoint, message)).collect();
            let batches = keys.chunks(BATCH_GET_MAX).map(<[Item]>::to_vec).collect::<Vec<_>>().into_iter();
            let batches =
                batches.map(|batch| self.batch_get(Table::Log, batch, strong, "read delivery states"));
            for item in try_join_all(batches).await?.iter().flatten().filter(|item| self.is_there(item)) {
                states.push(State::from_item(endpoint_of(item)?, item)?);
            }
        }
        Ok(states)
    }

    /// The states at one endpoint of those messages that have one.
    ///
    /// # Errors
    /// The store's own.
    pub async fn states_at(&self, endpoint: EndpointId, messages: &[MessageId]) -> Result<Vec<State>> {
        let wanted = messages.iter().map(|message| keys::state(endpoint, *message)).collect();
        let found = self.batch_get(Table::Log, wanted, true, "read delivery states").await?;
        let there = found.iter().filter(|item| self.is_there(item));
        there.map(|item| State::from_item(endpoint, item)).collect()
    }

    /// A page of one shard of an endpoint's states, oldest message first, read strongly.
    ///
    /// # Errors
    /// The store's own.
    pub async fn shard_states(
        &self,
        endpoint: EndpointId,
        shard: u8,
        query: &LogQuery<MessageId>,
    ) -> Result<Vec<State>> {
        let pk = keys::log_pk(endpoint, shard);
        let items = self.read_shard(pk, "MSG#", query, "go through delivery states").await?;
        let there = items.iter().filter(|item| self.is_there(item));
        there.map(|item| State::from_item(endpoint, item)).collect()
    }

    /// Those of the attempts that are on record in items of their own, in any order.
    ///
    /// # Errors
    /// The store's own.
    pub async fn attempts(
        &self,
        message: MessageId,
        wanted: &[(EndpointId, AttemptId)],
    ) -> Result<Vec<Attempt>> {
        self.attempts_at(wanted.iter().map(|(endpoint, id)| keys::attempt(*endpoint, message, *id))).await
    }

    async fn attempts_at(&self, wanted: impl Iterator<Item = Item>) -> Result<Vec<Attempt>> {
        let found = self.batch_get(Table::Log, wanted.collect(), false, "read attempts").await?;
        let there = found.iter().filter(|item| self.is_there(item));
        there.map(|item| Attempt::from_item(endpoint_of(item)?, item)).collect()
    }

    /// The status code of the last attempt of each of these deliveries, in their order; none where there is none.
    ///
    /// # Errors
    /// The store's own.
    pub async fn last_codes(&self, states: &[State]) -> Result<Vec<Option<u16>>> {
        let last: Vec<Option<AttemptId>> = states.iter().map(|state| state.attempts().last()).collect();
        let apart = |(state, id): (&State, &Option<AttemptId>)| {
            let id = id.filter(|id| state.inside(*id).is_none())?;
            Some(keys::attempt(state.endpoint, state.message, id))
        };
        let found = self.attempts_at(states.iter().zip(&last).filter_map(apart)).await?;
        let key = |attempt: &Attempt| (attempt.endpoint, attempt.message, attempt.id);
        let codes: HashMap<_, _> = found.iter().map(|attempt| (key(attempt), attempt.code)).collect();
        let code = |(state, id): (&State, Option<AttemptId>)| {
            let id = id?;
            let apart = || codes.get(&(state.endpoint, state.message, id)).copied();
            state.inside(id).map(|first| first.code).or_else(apart)
        };
        Ok(states.iter().zip(last).map(code).collect())
    }

    /// Lists the delivery states of an endpoint by their messages. `keep` decides which are shown.
    ///
    /// # Errors
    /// The store's own.
    pub async fn list_states(
        &self,
        endpoint: EndpointId,
        query: &LogQuery<MessageId>,
        keep: impl Fn(&State) -> bool,
    ) -> Result<Page<State>> {
        let pk = |shard| keys::log_pk(endpoint, shard);
        self.list_shards(pk, "MSG#", query, "list delivery states", |item| {
            State::from_item(endpoint, item).map(|state| keep(&state).then_some(state))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use domain::labels::Labels;

    use super::*;

    fn attempt(status: Status, response: usize) -> Attempt {
        let at = Timestamp::from_ms(1_800_000_000_000);
        let ksuid = Ksuid::new(at, [7; 15]);
        Attempt {
            id: AttemptId::from_ksuid(ksuid),
            endpoint: EndpointId::from_ksuid(ksuid),
            message: MessageId::from_ksuid(ksuid),
            url: "https://example.com/hooks".into(),
            status,
            code: 200,
            response: ResponseBody::Text("x".repeat(response)),
            error: None,
            response_headers: Vec::new(),
            duration_ms: 17,
            at,
            trigger: Trigger::Scheduled,
            next: None,
            disables: false,
            passage: Passage::Untransformed,
            labels: Labels::of("invoice.paid"),
        }
    }

    #[test]
    fn headers_of_a_success_cost_no_unit_and_of_a_failure_up_to_two_kilobytes() {
        let value = "v".repeat(50);
        let headers: Vec<_> = (0..100).map(|nth| (format!("x-{nth}"), value.clone())).collect();
        let kept = |status, response| {
            let mut attempt = attempt(status, response);
            let before = size(&own_item(&attempt, ANY_TIME));
            keep_headers(&mut attempt, headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let item = own_item(&attempt, ANY_TIME);
            assert_eq!(Attempt::from_item(attempt.endpoint, &item).unwrap(), attempt);
            (before.div_ceil(1024), size(&item).div_ceil(1024), attempt.response_headers.len())
        };
        for response in (0..2500).step_by(13) {
            let (before, after, _) = kept(Status::Success, response);
            assert_eq!(before, after, "{response}");
        }
        let (before, after, count) = kept(Status::Success, 0);
        assert!((before, after) == (1, 1) && (5..20).contains(&count), "{count}");
        let (before, after, count) = kept(Status::Fail, 0);
        assert!(before == 1 && after <= 3 && (34..40).contains(&count), "{after} {count}");
    }
}
