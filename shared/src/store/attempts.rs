//! The log of an endpoint: what became of each message (the delivery state) and each attempt.
//!
//! An attempt is written once, under an id that follows from what it attempts; the state only
//! moves forward. Together with the order attempt, successor, state this is what keeps a retry
//! chain from forking (docs/ARCHITECTURE.md, "Invariants").

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::future::try_join_all;

use super::audit::{ABSENT, Change, What};
use super::item::{Get as _, Item, Put as _, SCHEMA, b, n, s, texts};
use super::messages::log_ttl;
use super::shards::LogQuery;
use super::{BATCH_GET_MAX, Store, Table, Transacted, keys};
use crate::auth::Caller;
use crate::clock::Timestamp;
use crate::error::{Result, corrupt};
use crate::http::Page;
use crate::ids::{AppId, AttemptId, EndpointId, Id as _, Ksuid, MessageId};

/// How a delivery, or one attempt of it, stands. The numbers are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Answered 2xx.
    Success = 0,
    /// Another attempt will follow.
    Pending = 1,
    /// Failed; no other attempt will follow.
    Fail = 2,
    /// On its way.
    Sending = 3,
}

impl Status {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Success, Self::Pending, Self::Fail, Self::Sending];

    /// The status of that number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Success,
            1 => Self::Pending,
            2 => Self::Fail,
            3 => Self::Sending,
            _ => return None,
        })
    }

    /// The contract's word for it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Pending => "pending",
            Self::Fail => "fail",
            Self::Sending => "sending",
        }
    }
}

/// Why an attempt was made. The numbers are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// By the schedule.
    Scheduled = 0,
    /// By hand.
    Manual = 1,
}

/// What became of a message at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The message.
    pub message: MessageId,
    /// How it stands.
    pub status: Status,
    /// When each attempt of the chain so far was due; there are as many as this state counts.
    pub due: Vec<Timestamp>,
    /// When the next one is due.
    pub next: Option<Timestamp>,
    /// The chain ended before its last attempt was made (endpoint disabled or deleted, text gone).
    pub stopped: bool,
    /// Attempts that were made by hand or by a task, besides the chain's own.
    pub by_hand: Vec<AttemptId>,
    /// One of those succeeded: the message is delivered, however the chain stands.
    pub delivered_by_hand: bool,
}

impl State {
    /// The number of the last attempt.
    pub fn number(&self) -> u32 {
        u32::try_from(self.due.len()).unwrap_or(u32::MAX)
    }

    /// How the delivery stands: its chain, or better where an attempt by hand succeeded.
    pub fn outcome(&self) -> Status {
        if self.delivered_by_hand { Status::Success } else { self.status }
    }

    /// When the next attempt is due, if there is to be one.
    pub fn next_attempt(&self) -> Option<Timestamp> {
        self.next.filter(|_| !self.delivered_by_hand)
    }

    /// The ids of the attempts that were made: the chain's, oldest first, then those by hand.
    pub fn attempts(&self) -> impl Iterator<Item = AttemptId> + '_ {
        let made = self.due.len() - usize::from(self.stopped && !self.due.is_empty());
        self.due[..made]
            .iter()
            .zip(1..)
            .map(|(due, number)| AttemptId::scheduled(self.message, self.endpoint, number, *due))
            .chain(self.by_hand.iter().copied())
    }

    pub(super) fn from_item(endpoint: EndpointId, item: &Item) -> Result<Self> {
        item.check_schema()?;
        let message = item.text("sk")?.strip_prefix("MSG#").unwrap_or_default();
        let due = item.get("t").and_then(|list| list.as_l().ok()).map(Vec::as_slice).unwrap_or_default();
        let due = due.iter().map(|at| at.as_n().ok()?.parse().ok().map(Timestamp::from_ms));
        Ok(Self {
            endpoint,
            message: message.parse().map_err(corrupt("a delivery state's key"))?,
            status: status_of(item)?,
            due: due
                .collect::<Option<_>>()
                .ok_or_else(|| corrupt("a delivery state")("its times are none"))?,
            next: item.time_opt("nx"),
            stopped: item.contains_key("st"),
            by_hand: item
                .get("ma")
                .and_then(|set| set.as_bs().ok())
                .map(|set| ids_of_set(set))
                .unwrap_or_default(),
            delivered_by_hand: item.contains_key("ms"),
        })
    }
}

fn ids_of_set(set: &[Blob]) -> Vec<AttemptId> {
    let ids = set.iter().filter_map(|id| <[u8; 20]>::try_from(id.as_ref()).ok());
    let mut ids: Vec<_> = ids.map(|bytes| AttemptId::from_ksuid(Ksuid::from_bytes(bytes))).collect();
    ids.sort();
    ids
}

fn status_of(item: &Item) -> Result<Status> {
    Status::from_number(item.number("s")?).ok_or_else(|| corrupt("an item")("its status is unknown"))
}

/// The body of an endpoint's response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    /// Text; empty where there was no response.
    Text(String),
    /// Bytes that are no UTF-8; shown as base64.
    Bytes(Vec<u8>),
}

/// One attempt as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its id; the time inside is when it was due.
    pub id: AttemptId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The message.
    pub message: MessageId,
    /// Where it was POSTed to.
    pub url: String,
    /// How it ended: [`Status::Success`] or [`Status::Fail`].
    pub status: Status,
    /// The HTTP status code, 0 without an answer.
    pub code: u16,
    /// What came back.
    pub response: ResponseBody,
    /// Why there was no response, or not all of one.
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// When it was made.
    pub at: Timestamp,
    /// Why it was made.
    pub trigger: Trigger,
    /// When the next attempt of the chain is due.
    pub next: Option<Timestamp>,
    /// The endpoint asked to be disabled.
    pub disables: bool,
    /// The message's event type, to filter by.
    pub event_type: String,
    /// The message's channels, to filter by.
    pub channels: Option<Vec<String>>,
    /// The message's tags, to filter by.
    pub tags: Option<Vec<String>>,
}

impl Attempt {
    /// The response as text: the body, and why it ends there; or why there is none. Bytes that are no
    /// text are base64.
    pub fn response_text(&self) -> String {
        match (&self.response, &self.error) {
            (ResponseBody::Bytes(bytes), _) => BASE64.encode(bytes),
            (ResponseBody::Text(body), None) => body.clone(),
            (ResponseBody::Text(body), Some(error)) if body.is_empty() => error.clone(),
            (ResponseBody::Text(body), Some(error)) => format!("{body}\n({error})"),
        }
    }

    fn to_item(&self) -> Item {
        let (text, bytes) = match &self.response {
            ResponseBody::Text(text) => (Some(s(text)), None),
            ResponseBody::Bytes(bytes) => (None, Some(b(bytes.clone()))),
        };
        keys::attempt(self.endpoint, self.message, self.id)
            .with("v", n(SCHEMA))
            .with("m", s(self.message.to_string()))
            .with("u", s(&self.url))
            .with("s", n(self.status as u8))
            .with("c", n(self.code))
            .with_some("r", text)
            .with_some("rb", bytes)
            .with_some("er", self.error.as_ref().map(s))
            .with("d", n(self.duration_ms))
            .with("at", n(self.at.ms()))
            .with("g", n(self.trigger as u8))
            .with_some("nx", self.next.map(|at| n(at.ms())))
            .with_some("di", self.disables.then(|| n(1)))
            .with("et", s(&self.event_type))
            .with_some("ch", texts(self.channels.as_deref()))
            .with_some("tg", texts(self.tags.as_deref()))
            .with("ttl", n(log_ttl(self.message)))
    }

    fn from_item(endpoint: EndpointId, item: &Item) -> Result<Self> {
        item.check_schema()?;
        let id = item.text("sk")?.strip_prefix("ATT#").unwrap_or_default();
        Ok(Self {
            id: id.parse().map_err(corrupt("an attempt's key"))?,
            endpoint,
            message: item.text("m")?.parse().map_err(corrupt("an attempt"))?,
            url: item.text("u")?.to_owned(),
            status: status_of(item)?,
            code: item.number("c")?,
            response: match item.bytes("rb") {
                Some(bytes) => ResponseBody::Bytes(bytes.to_vec()),
                None => ResponseBody::Text(item.text_opt("r").unwrap_or_default().to_owned()),
            },
            error: item.text_opt("er").map(str::to_owned),
            duration_ms: item.number("d")?,
            at: item.time("at")?,
            trigger: if item.number::<u8>("g")? == 1 { Trigger::Manual } else { Trigger::Scheduled },
            next: item.time_opt("nx"),
            disables: item.contains_key("di"),
            event_type: item.text("et")?.to_owned(),
            channels: item.texts("ch"),
            tags: item.texts("tg"),
        })
    }
}

/// The endpoint whose log an item is of.
fn endpoint_of(item: &Item) -> Result<EndpointId> {
    let pk = item.text("pk")?.strip_prefix("EP#").unwrap_or_default();
    pk.split('#').next().unwrap_or_default().parse().map_err(corrupt("a log's key"))
}

impl Store {
    /// Records an attempt. If it is on record already, that record comes back and this one is
    /// dropped: the outcome of an attempt is what was written first.
    ///
    /// # Errors
    /// The store's own.
    pub async fn record_attempt(&self, attempt: &Attempt) -> Result<Option<Attempt>> {
        let first = self.put_log(attempt.to_item(), ABSENT, [], "record an attempt").await?;
        first.map(|first| Attempt::from_item(attempt.endpoint, &first)).transpose()
    }

    /// Moves a delivery's state forward to `state`; `false` if it is there or further already.
    /// That a state counts *n* attempts says that attempt *n + 1*, if there is one, was queued.
    /// What was made by hand is not touched.
    ///
    /// # Errors
    /// The store's own.
    pub async fn advance(&self, state: &State) -> Result<bool> {
        let due = state.due.iter().map(|at| n(at.ms())).collect();
        let mut set = "SET v = :v, s = :s, n = :n, t = :t, #ttl = :ttl".to_owned();
        let mut remove = Vec::new();
        let mut values = vec![
            (":v", n(SCHEMA)),
            (":s", n(state.status as u8)),
            (":n", n(state.number())),
            (":t", AttributeValue::L(due)),
            (":ttl", n(log_ttl(state.message))),
        ];
        for (name, value, present) in
            [("nx", ":nx", state.next.map(|at| n(at.ms()))), ("st", ":st", state.stopped.then(|| n(1)))]
        {
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
        let id = b(attempt.id.ksuid().bytes().to_vec());
        let success = attempt.status == Status::Success;
        let mut set =
            "SET v = if_not_exists(v, :v), s = if_not_exists(s, :fail), n = if_not_exists(n, :zero), \
                       t = if_not_exists(t, :none), #ttl = if_not_exists(#ttl, :ttl)"
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
            (":ttl", n(log_ttl(attempt.message))),
            (":ids", AttributeValue::Bs(vec![Blob::new(attempt.id.ksuid().bytes().to_vec())])),
            (":id", id),
        ];
        if success {
            values.push((":one", n(1)));
        }
        let condition = "attribute_not_exists(ma) OR NOT contains(ma, :id)";
        let key = keys::state(attempt.endpoint, attempt.message);
        self.update_log(key, &set, condition, values, "note an attempt by hand").await
    }

    /// Takes the text of an answer out of an attempt, and leaves an audit event; `false` if there is no
    /// such attempt.
    ///
    /// # Errors
    /// The store's own.
    pub async fn expunge_attempt(
        &self,
        by: &Caller,
        app: AppId,
        endpoint: EndpointId,
        message: MessageId,
        id: AttemptId,
    ) -> Result<bool> {
        let update = Update::builder()
            .table_name(self.table(Table::Log))
            .set_key(Some(keys::attempt(endpoint, message, id)))
            .update_expression("SET r = :empty REMOVE rb")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":empty", s(""))
            .build()
            .map_err(corrupt("a write"))?;
        let writes = vec![
            TransactWriteItem::builder().update(update).build(),
            self.audit(Change::new(by, What::AttemptExpunged, id).within(app))?,
        ];
        Ok(self.transact(writes, "expunge an attempt").await? == Transacted::Done)
    }

    /// The state of a delivery, and one attempt of it if that is on record, read strongly.
    ///
    /// # Errors
    /// The store's own.
    pub async fn delivery(
        &self,
        endpoint: EndpointId,
        message: MessageId,
        attempt: AttemptId,
    ) -> Result<(Option<State>, Option<Attempt>)> {
        let wanted = vec![keys::state(endpoint, message), keys::attempt(endpoint, message, attempt)];
        let (mut state, mut found) = (None, None);
        for item in self.batch_get(Table::Log, wanted, true, "read a delivery").await? {
            if item.text("sk")?.starts_with("ATT#") {
                found = Some(Attempt::from_item(endpoint, &item)?);
            } else {
                state = Some(State::from_item(endpoint, &item)?);
            }
        }
        Ok((state, found))
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
            for item in try_join_all(batches).await?.iter().flatten() {
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
        found.iter().map(|item| State::from_item(endpoint, item)).collect()
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
        items.iter().map(|item| State::from_item(endpoint, item)).collect()
    }

    /// Those of the attempts that are on record, in any order.
    ///
    /// # Errors
    /// The store's own.
    pub async fn attempts(
        &self,
        message: MessageId,
        wanted: &[(EndpointId, AttemptId)],
    ) -> Result<Vec<Attempt>> {
        let wanted = wanted.iter().map(|(endpoint, id)| keys::attempt(*endpoint, message, *id)).collect();
        let found = self.batch_get(Table::Log, wanted, false, "read attempts").await?;
        found.iter().map(|item| Attempt::from_item(endpoint_of(item)?, item)).collect()
    }

    /// Lists an endpoint's attempts. `keep` decides which are shown.
    ///
    /// # Errors
    /// The store's own.
    pub async fn list_attempts(
        &self,
        endpoint: EndpointId,
        query: &LogQuery<AttemptId>,
        keep: impl Fn(&Attempt) -> bool,
    ) -> Result<Page<Attempt>> {
        let pk = |shard| keys::log_pk(endpoint, shard);
        self.list_shards(pk, "ATT#", query, "list attempts", |item| {
            Attempt::from_item(endpoint, item).map(|attempt| keep(&attempt).then_some(attempt))
        })
        .await
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
