//! What polling reads and keeps: pages of an application's messages from a position on, iterators, and
//! consumers. Why a position never passes a message that is still being stored is in ADR 0029.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::try_join_all;

use super::item::{FromItemOf as _, Get as _, Item, Put as _, SCHEMA, b, n, s};
use super::keys::SHARDS;
use super::messages::{Message, Payload};
use super::{Range, Store, Table, keys};
use domain::error::{Error, Result, corrupt};
use domain::ids::{AppId, EndpointId, Id as _, Ksuid, MessageId};
use domain::page::{EXAMINED_MAX, TEXTS_LENGTH_MAX};
use domain::polling::{CONSUMER_KEPT, CONSUMERS_MAX, Leases, Met, Position, Reading};
use runtime::clock::Timestamp;
use runtime::random;

const PREFIX: &str = "MSG#";

/// A message that is given to a poller, and its payload; none if that was expunged or has expired.
pub type Given = (Message, Option<Payload>);

/// What one poll found.
#[derive(Debug)]
pub struct Polled {
    /// Messages, in the order of their IDs.
    pub given: Vec<Given>,
    /// Where to go on.
    pub position: Position,
    /// There is nothing more for now.
    pub done: bool,
    /// So many messages were looked at.
    pub examined: usize,
}

/// One shard of an application's messages, read ahead.
struct Ahead {
    pk: String,
    buffer: VecDeque<Item>,
    start: Option<Item>,
    exhausted: bool,
    /// How many to read next.
    share: usize,
}

impl Ahead {
    fn new(pk: String, limit: usize) -> Self {
        let share = limit.div_ceil(usize::from(SHARDS)) + 2;
        Self { pk, buffer: VecDeque::new(), start: None, exhausted: false, share }
    }

    fn is_over(&self) -> bool {
        self.buffer.is_empty() && self.exhausted
    }
}

fn head(ahead: &Ahead) -> &str {
    ahead.buffer.front().and_then(|item| item.text_opt("sk")).unwrap_or_default()
}

impl Store {
    /// Up to `limit` of an application's messages that are `wanted` and whose payload `fits`, from where `reading` is. Read strongly: a
    /// position must not pass what is stored and not seen yet.
    ///
    /// # Errors
    /// The store's own.
    pub async fn poll_messages(
        &self,
        app: AppId,
        mut reading: Reading,
        limit: usize,
        wanted: impl Fn(&Message) -> bool,
        fits: impl Fn(&Message, Option<&Payload>) -> bool,
    ) -> Result<Polled> {
        // What sorts just behind an ID is the ID and one character more.
        let from = format!("{PREFIX}{}!", MessageId::from_ksuid(reading.base()));
        let mut shards: Vec<Ahead> =
            (0..SHARDS).map(|shard| Ahead::new(keys::messages_pk(app, shard), limit)).collect();
        let now = self.clock.now().seconds();
        let (mut given, mut length, mut examined, mut full) = (Vec::new(), 0, 0, false);
        while given.len() < limit && examined < EXAMINED_MAX {
            let dry = shards.iter_mut().filter(|ahead| ahead.buffer.is_empty() && !ahead.exhausted);
            try_join_all(dry.map(|ahead| self.read_ahead(ahead, &from))).await?;
            if shards.iter().any(|ahead| ahead.buffer.is_empty() && !ahead.exhausted) {
                continue; // a page may be empty although there is more
            }
            let heads = shards.iter_mut().filter(|ahead| !ahead.buffer.is_empty());
            let Some(next) = heads.min_by(|a, b| head(a).cmp(head(b))) else { break };
            let Some(item) = next.buffer.front() else { break };
            let message = Message::from_item(app, item)?;
            // TTL removes items some time after they have expired; for readers they are gone at once.
            let there = item.number::<u64>("ttl")? > now;
            let met = reading.meet(message.id);
            let mut gives = there && met == Met::Open && wanted(&message);
            if there && met == Met::Full && wanted(&message) {
                full = true;
                break;
            }
            let id = message.id;
            if gives {
                let payload = self.payload(&message).await?;
                gives = fits(&message, payload.as_ref());
                if gives {
                    length += payload.as_ref().map_or(0, Payload::length);
                    if length > TEXTS_LENGTH_MAX && !given.is_empty() {
                        break;
                    }
                    given.push((message, payload));
                }
            }
            reading.pass(id, gives);
            next.buffer.pop_front();
            examined += 1;
        }
        let ended = shards.iter().all(Ahead::is_over);
        // Among what is young, reading again at once would meet the same.
        let stuck = full || (examined >= EXAMINED_MAX && given.is_empty() && reading.is_young());
        Ok(Polled { given, position: reading.end(ended), done: ended || stuck, examined })
    }

    async fn read_ahead(&self, ahead: &mut Ahead, from: &str) -> Result<()> {
        let range = Range {
            pk: ahead.pk.clone(),
            from: from.to_owned(),
            to: format!("{PREFIX}{}", MessageId::from_ksuid(Ksuid::from_bytes([0xff; 20]))),
            ascending: true,
            limit: ahead.share,
            strong: true,
            start: ahead.start.take(),
            operation: "poll messages",
        };
        let page = self.query(Table::Log, range).await?;
        ahead.buffer.extend(page.items);
        ahead.exhausted = page.last.is_none();
        ahead.start = page.last;
        ahead.share = (ahead.share * 2).min(EXAMINED_MAX);
        Ok(())
    }

    /// The messages of these IDs that are still there, in their order, with their payloads, as many as one
    /// response can carry.
    ///
    /// # Errors
    /// The store's own.
    pub async fn messages_again(&self, app: AppId, ids: &[MessageId]) -> Result<Vec<Given>> {
        let wanted = ids.iter().map(|id| keys::message(app, *id)).collect();
        let mut found = Vec::new();
        let now = self.clock.now().seconds();
        for item in self.batch_get(Table::Log, wanted, true, "read leased messages").await? {
            if item.number::<u64>("ttl")? > now {
                found.push(Message::from_item(app, &item)?);
            }
        }
        found.sort_by_key(|message| ids.iter().position(|id| *id == message.id));
        let (mut given, mut length) = (Vec::new(), 0);
        for message in found {
            let payload = self.payload(&message).await?;
            length += payload.as_ref().map_or(0, Payload::length);
            if length > TEXTS_LENGTH_MAX && !given.is_empty() {
                break;
            }
            given.push((message, payload));
        }
        Ok(given)
    }
}

fn iterator_place(app: AppId, endpoint: EndpointId) -> String {
    format!("iterator {app} {endpoint}")
}

impl Store {
    /// A position as an iterator, which counts for this endpoint alone and cannot be changed.
    pub fn seal_iterator(&self, app: AppId, endpoint: EndpointId, position: &Position) -> String {
        URL_SAFE_NO_PAD.encode(self.sealer.seal(&iterator_place(app, endpoint), &position.to_bytes()))
    }

    /// The position of an iterator.
    ///
    /// # Errors
    /// `Invalid` if it is another endpoint's, was changed or invented, or is older than the log.
    pub fn open_iterator(&self, app: AppId, endpoint: EndpointId, iterator: &str) -> Result<Position> {
        let opened = URL_SAFE_NO_PAD.decode(iterator).ok();
        let opened = opened.and_then(|sealed| self.sealer.open(&iterator_place(app, endpoint), &sealed).ok());
        let position = opened.and_then(|bytes| Position::of_bytes(&bytes)).ok_or_else(|| {
            Error::violation(
                ["query", "iterator"],
                "Not an iterator of this endpoint: send the `iterator` of its last response as it is, or begin with `after`",
            )
        })?;
        if position.is_stale(&self.retention, self.clock.now()) {
            return Err(Error::violation(
                ["query", "iterator"],
                format!(
                    "Older than the log, which keeps messages for {} days: begin with `after`",
                    self.retention.message_days()
                ),
            ));
        }
        Ok(position)
    }

    /// Where a consumer is, if it is known.
    ///
    /// # Errors
    /// The store's own.
    pub async fn consumer(&self, endpoint: EndpointId, name: &str) -> Result<Option<Position>> {
        let item = self.consumer_item(keys::consumer(endpoint, name)).await?;
        item.map(|item| position_of(&item)).transpose()
    }

    /// Keeps where a consumer is.
    ///
    /// # Errors
    /// `LimitReached` where the endpoint has as many consumers as it may have; the store's own.
    pub async fn keep_consumer(&self, endpoint: EndpointId, name: &str, position: &Position) -> Result<()> {
        let key = keys::consumer(endpoint, name);
        if self.consumer_item(key.clone()).await?.is_none() {
            self.check_room(endpoint).await?;
        }
        let item = self.consumer_of(key, position);
        self.client
            .put_item()
            .table_name(self.table(Table::Log))
            .set_item(Some(item))
            .set_return_consumed_capacity(self.return_consumed_capacity.clone())
            .send()
            .await
            .map_err(domain::error::unavailable("keep a consumer's position"))?;
        Ok(())
    }

    /// What a consumer with leases has done and holds, and the version of that; none if it is not known.
    ///
    /// # Errors
    /// The store's own.
    pub async fn leases(&self, endpoint: EndpointId, name: &str) -> Result<Option<(Leases, u64)>> {
        let item = self.consumer_item(keys::leasing_consumer(endpoint, name)).await?;
        let Some(item) = item else { return Ok(None) };
        let leases = Leases::of_bytes(position_of(&item)?, item.bytes("l").unwrap_or_default());
        let leases = leases.ok_or_else(|| corrupt("a consumer")("its leases cannot be read"))?;
        Ok(Some((leases, item.number("n")?)))
    }

    /// Keeps what a consumer with leases has done and holds, where it is still as it was read: `false` where
    /// somebody else was faster.
    ///
    /// # Errors
    /// `LimitReached` where the endpoint has as many consumers as it may have; the store's own.
    pub async fn keep_leases(
        &self,
        endpoint: EndpointId,
        name: &str,
        leases: &Leases,
        was: Option<u64>,
    ) -> Result<bool> {
        let key = keys::leasing_consumer(endpoint, name);
        if was.is_none() {
            self.check_room(endpoint).await?;
        }
        // Whose write it was: the SDK repeats a put whose answer was lost, and the first had taken effect.
        let own = u64::from_be_bytes(random::bytes(&*self.random));
        let item = self
            .consumer_of(key, &leases.position)
            .with("l", b(leases.to_bytes()))
            .with("n", n(was.unwrap_or(0) + 1))
            .with("w", n(own));
        let mut values = vec![(":own", n(own))];
        let condition = match was {
            Some(was) => {
                values.push((":was", n(was)));
                "n = :was OR w = :own"
            }
            None => {
                values.push((":now", n(self.clock.now().seconds())));
                "attribute_not_exists(pk) OR #ttl <= :now OR w = :own"
            }
        };
        Ok(self.put_log(item, condition, values, "keep a consumer's leases").await?.is_none())
    }

    async fn consumer_item(&self, key: Item) -> Result<Option<Item>> {
        let item = self.get(Table::Log, key, true, "read a consumer").await?;
        let item = item.filter(|item| item.number_opt::<u64>("ttl") > Some(self.clock.now().seconds()));
        item.map(|item| item.check_schema().map(|()| item)).transpose()
    }

    fn consumer_of(&self, key: Item, position: &Position) -> Item {
        key.with("v", n(SCHEMA))
            .with("p", b(position.to_bytes()))
            .with("ttl", n(self.clock.now().after(CONSUMER_KEPT).seconds()))
    }

    /// Whether one more consumer has room. Two that begin at once may find the same room.
    async fn check_room(&self, endpoint: EndpointId) -> Result<()> {
        let range = Range {
            pk: keys::consumers_pk(endpoint),
            from: "!".to_owned(),
            to: "~".to_owned(),
            ascending: true,
            limit: CONSUMERS_MAX,
            strong: false,
            start: None,
            operation: "count consumers",
        };
        let now = self.clock.now().seconds();
        let page = self.query(Table::Log, range).await?;
        let known = page.items.iter().filter(|item| item.number_opt::<u64>("ttl") > Some(now)).count();
        if known >= CONSUMERS_MAX {
            return Err(Error::LimitReached(format!(
                "The endpoint has {CONSUMERS_MAX} consumers: use one of them again, or wait until one has not polled for 90 days."
            )));
        }
        Ok(())
    }
}

fn position_of(item: &Item) -> Result<Position> {
    let position = Position::of_bytes(item.bytes("p").unwrap_or_default());
    position.ok_or_else(|| corrupt("a consumer")("its position cannot be read"))
}

impl Store {
    /// Sees to it that nothing is stored under the ID of a request that died so long ago that pollers may have
    /// passed it. What is stored under it already, if anything.
    ///
    /// # Errors
    /// The store's own.
    pub async fn void_message(&self, app: AppId, id: MessageId) -> Result<Option<Message>> {
        // It has expired from the beginning: no reader sees it, and TTL takes it away. Until then, and longer
        // than any request lives, nothing else can be put there.
        let item = keys::message(app, id)
            .with("v", n(SCHEMA))
            .with("et", s(""))
            .with("ttl", n(self.clock.now().before(VOID_AGE).seconds()));
        match self.put_log(item, super::transaction::ABSENT, [], "void a message's ID").await? {
            None => Ok(None),
            Some(there) if there.text_opt("et") == Some("") => Ok(None),
            Some(there) => Message::from_item(app, &there).map(Some),
        }
    }
}

/// Long enough that no clock takes it for unexpired.
const VOID_AGE: std::time::Duration = std::time::Duration::from_secs(3600);

/// Whether a message's ID is too old for it to be stored: pollers may have passed it.
pub(super) fn is_too_old(id: MessageId, now: Timestamp) -> bool {
    now.since(id.time()) > domain::polling::STORE_WITHIN
}
