//! Messages: what was posted, kept byte for byte, and the endpoints that it goes to.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::item::{FromItemOf, Get as _, Item, Put as _, SCHEMA, b, n, s, texts};
use super::polling::is_too_old;
use super::shards::LogQuery;
use super::transaction::ABSENT;
use super::{Store, Table, keys, short};
use domain::error::{Error, Result, corrupt, unavailable};
use domain::ids::{AppId, EndpointId, Id as _, Ksuid, MessageId, Reference};
use domain::labels::Labels;
use domain::limits::BODY_LENGTH_MAX;
use domain::page::Page;
use domain::retention::Retention;
use runtime::clock::Timestamp;

/// Largest payload that goes into the message's own item; an item may have 400 KB.
const INLINE_MAX: usize = 300 * 1024;
const PART_LENGTH: usize = 350 * 1024;
/// Most endpoints that are named in the message's own item, 20 bytes each.
const ENDPOINTS_INLINE_MAX: usize = 500;
const ENDPOINTS_PER_PART: usize = 10_000;
const ID_LENGTH: usize = 20;
/// What one write unit holds.
const UNIT: usize = 1024;

pub use domain::message::{Message, NewMessage, Packing, Payload, PayloadLocation};

/// Who has an event id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventIdClaim {
    /// The message that asked for it, now or in an earlier run.
    Ours,
    /// Another message.
    Taken(MessageId),
}

fn deflate(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).map_err(corrupt("a payload"))
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    // Twice the largest body: JSON and raw text.
    let limit = 2 * BODY_LENGTH_MAX as u64;
    DeflateDecoder::new(bytes).take(limit).read_to_end(&mut plain).map_err(corrupt("a payload"))?;
    Ok(plain)
}

/// A text as it is stored: each byte of it is paid for as long as messages are kept, which is worth the work where it saves a
/// sixteenth. What fits into `room` bytes is one write unit.
fn packed(plain: Vec<u8>, room: usize) -> Result<(Vec<u8>, Packing)> {
    let most = plain.len() - plain.len() / 16;
    let pays = |packed: &Vec<u8>| packed.len() < most;
    let short = short::pack(&plain).filter(pays);
    match short {
        Some(short) if short.len() <= room => return Ok((short, Packing::Short)),
        // For what DEFLATE would save of it, it takes too long.
        None if plain.len() <= room => return Ok((plain, Packing::Plain)),
        _ => {}
    }
    let deflated = Some(deflate(&plain)?).filter(pays);
    Ok(match (short, deflated) {
        (Some(short), Some(deflated)) if deflated.len() < short.len() => (deflated, Packing::Deflated),
        (Some(short), _) => (short, Packing::Short),
        (None, Some(deflated)) => (deflated, Packing::Deflated),
        (None, None) => (plain, Packing::Plain),
    })
}

/// The size of an item as DynamoDB counts it, near enough to place the kilobyte's edge.
pub(super) fn size(item: &Item) -> usize {
    fn of(value: &AttributeValue) -> usize {
        match value {
            AttributeValue::S(text) => text.len(),
            AttributeValue::N(digits) => digits.len() / 2 + 2,
            AttributeValue::B(bytes) => bytes.as_ref().len(),
            AttributeValue::L(list) => 3 + list.iter().map(|entry| 1 + of(entry)).sum::<usize>(),
            _ => 1,
        }
    }
    item.iter().map(|(name, value)| name.len() + of(value)).sum()
}

/// What tells the parts of one body from those of another.
fn tag(whole: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, whole);
    digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ids_to_bytes(ids: &[EndpointId]) -> Vec<u8> {
    ids.iter().flat_map(|id| *id.ksuid().bytes()).collect()
}

fn ids_of_bytes(bytes: &[u8]) -> Vec<EndpointId> {
    let ids = bytes.as_chunks::<ID_LENGTH>().0.iter();
    ids.map(|bytes| EndpointId::from_ksuid(Ksuid::from_bytes(*bytes))).collect()
}

/// The message's item, and the items of its parts.
pub(super) fn items(new: &NewMessage, retention: &Retention) -> Result<(Item, Vec<Item>)> {
    let raw = new.payload.raw.as_ref().map_or("", |raw| raw.as_str());
    let plain = [new.payload.json.as_bytes(), raw.as_bytes()].concat();
    let ttl = retention.messages_until(new.id.time()).seconds();
    let until = new.payload_until();
    let own_life = new.retention_hours < 24 * retention.message_days();
    let mut item = keys::message(new.app, new.id);
    // What it has beside its key, about.
    item.reserve(12);
    let mut item = item
        .with("v", n(SCHEMA))
        .with("et", s(&new.labels.event_type))
        .with_some("ei", new.event_id.as_ref().map(s))
        .with_some("ch", texts(new.labels.channels.as_deref()))
        .with_some("tg", texts(new.labels.tags.as_deref()))
        .with_some("jl", new.payload.raw.is_some().then(|| n(new.payload.json.len())))
        .with_some("ct", new.payload.content_type.as_ref().map(s))
        .with_some("da", new.deliver_at.map(|at| n(at.ms())))
        .with_some("x", own_life.then(|| n(until.seconds())))
        .with("ttl", n(ttl));
    let mut parts = Vec::new();
    if new.endpoints.len() <= ENDPOINTS_INLINE_MAX {
        item.insert("e".into(), b(ids_to_bytes(&new.endpoints)));
    } else {
        let tag = tag(&ids_to_bytes(&new.endpoints));
        for (at, ids) in new.endpoints.chunks(ENDPOINTS_PER_PART).enumerate() {
            let key = keys::fan_out_part(new.app, new.id, &tag, at);
            parts.push(key.with("v", n(SCHEMA)).with("e", b(ids_to_bytes(ids))).with("ttl", n(ttl)));
        }
        item.insert("en".into(), n(parts.len()));
        item.insert("eg".into(), s(tag));
    }
    let room = UNIT.saturating_sub(size(&item) + "p".len() + "z".len() + 2);
    let (body, packing) = packed(plain, room)?;
    if let Some(packing) = match packing {
        Packing::Plain => None,
        Packing::Deflated => Some(1),
        Packing::Short => Some(2),
    } {
        item.insert("z".into(), n(packing));
    }
    if body.len() <= INLINE_MAX && !own_life {
        item.insert("p".into(), b(body));
    } else {
        let tag = tag(&body);
        let chunks: Vec<&[u8]> = body.chunks(PART_LENGTH).collect();
        for (at, chunk) in chunks.iter().enumerate() {
            let key = keys::payload_part(new.app, new.id, &tag, at);
            let ttl = until.seconds().min(ttl);
            parts.push(key.with("v", n(SCHEMA)).with("p", b(*chunk)).with("ttl", n(ttl)));
        }
        item.insert("pn".into(), n(chunks.len()));
        item.insert("pg".into(), s(tag));
    }
    Ok((item, parts))
}

/// The labels of a message, in its own item and in those of its attempts.
pub(super) fn labels_of(item: &Item) -> Result<Labels> {
    Ok(Labels { event_type: item.text("et")?.to_owned(), channels: item.texts("ch"), tags: item.texts("tg") })
}

impl FromItemOf<AppId> for Message {
    fn from_item(app: AppId, item: &Item) -> Result<Self> {
        item.check_schema()?;
        let id = item.text("sk")?.strip_prefix("MSG#").unwrap_or_default();
        let id: MessageId = id.parse().map_err(corrupt("a message's key"))?;
        let ttl: u64 = item.number("ttl")?;
        Ok(Self {
            app,
            id,
            labels: labels_of(item)?,
            event_id: item.text_opt("ei").map(str::to_owned),
            payload_until: Timestamp::from_ms(item.number_opt("x").unwrap_or(ttl) * 1000),
            deliver_at: item.time_opt("da"),
            stored: PayloadLocation {
                inline: item.bytes("p").map(<[u8]>::to_vec),
                parts: item.number_opt("pn").unwrap_or(0),
                parts_tag: item.text_opt("pg").unwrap_or_default().to_owned(),
                packing: match item.number_opt("z") {
                    None => Packing::Plain,
                    Some(1) => Packing::Deflated,
                    Some(2) => Packing::Short,
                    Some(other) => return Err(corrupt("a message")(format!("its packing is {other}"))),
                },
                json_length: item.number_opt("jl"),
                content_type: item.text_opt("ct").map(str::to_owned),
                endpoints: item.bytes("e").map(ids_of_bytes).unwrap_or_default(),
                endpoint_parts: item.number_opt("en").unwrap_or(0),
                endpoint_tag: item.text_opt("eg").unwrap_or_default().to_owned(),
            },
        })
    }
}

impl Store {
    /// When what belongs to a message leaves the log, in seconds, as TTL has it.
    pub(super) fn message_ttl(&self, message: MessageId) -> u64 {
        self.retention.messages_until(message.time()).seconds()
    }

    /// Stores a message; `false` if there is one of that id already.
    ///
    /// # Errors
    /// The store's own; then nothing of it can be read.
    pub async fn put_message(&self, new: &NewMessage) -> Result<bool> {
        self.put_message_while(new, |_| true).await
    }

    /// The same as long as its ID is young: a position of a poller may have passed an older one (ADR 0029).
    ///
    /// # Errors
    /// `Unavailable` if its ID is too old; the store's own.
    pub async fn put_message_in_time(&self, new: &NewMessage) -> Result<bool> {
        self.put_message_while(new, |now| !is_too_old(new.id, now)).await
    }

    async fn put_message_while(
        &self,
        new: &NewMessage,
        in_time: impl FnOnce(Timestamp) -> bool,
    ) -> Result<bool> {
        const OPERATION: &str = "store a message";
        let (item, parts) = items(new, &self.retention)?;
        // The parts first: a message that can be read is whole. Their keys hold a digest of the whole,
        // so that two callers who post different bodies under one key do not mix theirs.
        for part in parts {
            self.put_if_absent(part, OPERATION).await?;
        }
        if !in_time(self.clock.now()) {
            return Err(unavailable(OPERATION)("it took so long that its ID is too old"));
        }
        self.put_if_absent(item, OPERATION).await
    }

    /// Puts an item into the log; `false` if it is there already.
    pub(super) async fn put_if_absent(&self, item: Item, operation: &'static str) -> Result<bool> {
        Ok(self.put_log(item, ABSENT, [], operation).await?.is_none())
    }

    /// Takes a message back that could not be queued: its caller is told that it was not accepted. Not if another
    /// request holds it meanwhile: whether this one's delete comes late, it cannot know. `holder` is what this request
    /// gave to [`Store::hold_message`], if it did.
    ///
    /// # Errors
    /// The store's own.
    pub async fn remove_message(&self, app: AppId, id: MessageId, holder: Option<&str>) -> Result<()> {
        let condition = if holder.is_some() { "w = :holder" } else { "attribute_not_exists(w)" };
        let out = Box::pin(
            self.client
                .delete_item()
                .table_name(self.table(Table::Log))
                .set_key(Some(keys::message(app, id)))
                .condition_expression(condition)
                .set_expression_attribute_values(
                    holder.map(|holder| HashMap::from([(":holder".to_owned(), s(holder))])),
                )
                .set_return_consumed_capacity(self.return_consumed_capacity.clone())
                .send(),
        )
        .await;
        match out {
            Ok(_) => Ok(()),
            Err(error) if crate::is_condition(&error) => Ok(()),
            Err(error) => Err(unavailable("take a message back")(error)),
        }
    }

    /// Holds a message that an earlier request stored, so that this one can no longer take it back; `false` if it
    /// has. `holder` is the name of who asks, another for each request.
    ///
    /// # Errors
    /// The store's own.
    pub async fn hold_message(&self, app: AppId, id: MessageId, holder: &str) -> Result<bool> {
        let values = vec![(":holder", s(holder)), (":now", n(self.clock.now().seconds()))];
        let condition = "attribute_exists(pk) AND #ttl > :now";
        self.update_log(keys::message(app, id), "SET w = :holder", condition, values, "hold a message").await
    }

    /// Takes a message's text out of it: from now on it is neither shown nor sent. The parts of a
    /// large one go first, so that none is left behind when the message says that it has none.
    ///
    /// # Errors
    /// The store's own.
    pub async fn expunge_message(&self, message: &Message) -> Result<()> {
        let stored = &message.stored;
        for part in 0..stored.parts {
            let key = keys::payload_part(message.app, message.id, &stored.parts_tag, part);
            let out = Box::pin(
                self.client
                    .delete_item()
                    .table_name(self.table(Table::Log))
                    .set_key(Some(key))
                    .condition_expression("attribute_exists(pk)")
                    .set_return_consumed_capacity(self.return_consumed_capacity.clone())
                    .send(),
            )
            .await;
            match out {
                Ok(_) => {}
                Err(error) if crate::is_condition(&error) => {}
                Err(error) => return Err(unavailable("expunge a payload")(error)),
            }
        }
        let key = keys::message(message.app, message.id);
        let values = vec![(":gone", n(0))];
        // A time in the past: whoever reads the message sees that its text has expired.
        let update = "SET x = :gone REMOVE p, pn, pg, jl, z";
        self.update_log(key, update, "attribute_exists(pk)", values, "expunge a message").await.map(drop)
    }

    /// Reads a message; strongly where it may have been written a moment ago.
    ///
    /// # Errors
    /// The store's own.
    pub async fn find_message(&self, app: AppId, id: MessageId) -> Result<Option<Message>> {
        let item = self.get(Table::Log, keys::message(app, id), true, "read a message").await?;
        // TTL removes items some time after they have expired; for readers they are gone at once.
        let item = item.filter(|item| item.number_opt::<u64>("ttl") > Some(self.clock.now().seconds()));
        item.map(|item| Message::from_item(app, &item)).transpose()
    }

    /// The message of `app` that a path means, by its id or by its event id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn message_for(&self, app: AppId, reference: &Reference<MessageId>) -> Result<Message> {
        const NOT_FOUND: Error = Error::NotFound("Message");
        let id = match reference {
            Reference::Id(id) => *id,
            Reference::Uid(event_id) => self.message_of_event_id(app, event_id).await?.ok_or(NOT_FOUND)?,
        };
        self.find_message(app, id).await?.ok_or(NOT_FOUND)
    }

    /// Those of an application's messages that are there, in any order.
    ///
    /// # Errors
    /// The store's own.
    pub async fn messages(&self, app: AppId, ids: &[MessageId]) -> Result<Vec<Message>> {
        self.several(app, ids, false).await
    }

    /// The same, read strongly: they may have been written a moment ago.
    ///
    /// # Errors
    /// The store's own.
    pub async fn messages_now(&self, app: AppId, ids: &[MessageId]) -> Result<Vec<Message>> {
        self.several(app, ids, true).await
    }

    async fn several(&self, app: AppId, ids: &[MessageId], strong: bool) -> Result<Vec<Message>> {
        let wanted = ids.iter().map(|id| keys::message(app, *id)).collect();
        let found = self.batch_get(Table::Log, wanted, strong, "read messages").await?;
        let now = self.clock.now().seconds();
        let there = found.iter().filter(|item| item.number_opt::<u64>("ttl") > Some(now));
        there.map(|item| Message::from_item(app, item)).collect()
    }

    /// A page of one shard of an application's messages, oldest first, read strongly.
    ///
    /// # Errors
    /// The store's own.
    pub async fn shard_messages(
        &self,
        app: AppId,
        shard: u8,
        query: &LogQuery<MessageId>,
    ) -> Result<Vec<Message>> {
        let items =
            self.read_shard(keys::messages_pk(app, shard), "MSG#", query, "go through messages").await?;
        items.iter().map(|item| Message::from_item(app, item)).collect()
    }

    /// A message's text; none once its time has passed.
    ///
    /// # Errors
    /// The store's own, and `Corrupt` if a part is missing before its time.
    pub async fn payload(&self, message: &Message) -> Result<Option<Payload>> {
        if message.payload_until <= self.clock.now() {
            return Ok(None);
        }
        let stored = &message.stored;
        let bytes = match &stored.inline {
            Some(bytes) => bytes.clone(),
            None => {
                let mut bytes = Vec::new();
                for part in 0..stored.parts {
                    let key = keys::payload_part(message.app, message.id, &stored.parts_tag, part);
                    let item = self.get(Table::Log, key, true, "read a payload").await?;
                    let Some(item) = item else { return Ok(None) };
                    bytes.extend_from_slice(item.bytes("p").unwrap_or_default());
                }
                bytes
            }
        };
        let bytes = match stored.packing {
            Packing::Plain => bytes,
            Packing::Deflated => inflate(&bytes)?,
            Packing::Short => {
                short::unpack(&bytes).ok_or_else(|| corrupt("a payload")("its bytes are no short text"))?
            }
        };
        let mut json = String::from_utf8(bytes).map_err(corrupt("a payload"))?;
        let raw = stored.json_length.filter(|length| json.is_char_boundary(*length));
        let raw = raw.map(|length| json.split_off(length));
        let content_type = stored.content_type.clone();
        Ok(Some(Payload { raw: raw.map(Arc::new), content_type, ..Payload::of(json) }))
    }

    /// The endpoints that a message goes to.
    ///
    /// # Errors
    /// The store's own, and `Corrupt` if a part is missing.
    pub async fn message_endpoints(&self, message: &Message) -> Result<Vec<EndpointId>> {
        let mut ids = message.stored.endpoints.clone();
        for part in 0..message.stored.endpoint_parts {
            let key = keys::fan_out_part(message.app, message.id, &message.stored.endpoint_tag, part);
            let item = self.get(Table::Log, key, true, "read a fan-out").await?;
            let item = item.ok_or_else(|| corrupt("a fan-out")("a part of its endpoints is missing"))?;
            ids.extend(ids_of_bytes(item.bytes("e").unwrap_or_default()));
        }
        Ok(ids)
    }

    /// Lists an application's messages. `keep` decides which are shown.
    ///
    /// # Errors
    /// The store's own.
    pub async fn list_messages(
        &self,
        app: AppId,
        query: &LogQuery<MessageId>,
        keep: impl Fn(&Message) -> bool,
    ) -> Result<Page<Message>> {
        let pk = |shard| keys::messages_pk(app, shard);
        self.list_shards(pk, "MSG#", query, "list messages", |item| {
            Message::from_item(app, item).map(|message| keep(&message).then_some(message))
        })
        .await
    }

    /// Claims an event id for a message. A claim that has expired counts as absent; one for `stale` is taken over.
    ///
    /// # Errors
    /// The store's own.
    pub async fn claim_event_id(
        &self,
        app: AppId,
        event_id: &str,
        message: MessageId,
        stale: Option<MessageId>,
    ) -> Result<EventIdClaim> {
        let item = keys::event_id(app, event_id)
            .with("v", n(SCHEMA))
            .with("m", s(message.to_string()))
            .with("ttl", n(self.message_ttl(message)));
        let mut condition = "attribute_not_exists(pk) OR m = :message OR #ttl <= :now".to_owned();
        let mut values = vec![(":message", s(message.to_string())), (":now", n(self.clock.now().seconds()))];
        if let Some(stale) = stale {
            condition.push_str(" OR m = :stale");
            values.push((":stale", s(stale.to_string())));
        }
        match self.put_log(item, &condition, values, "claim an event id").await? {
            None => Ok(EventIdClaim::Ours),
            Some(old) => Ok(EventIdClaim::Taken(old.text("m")?.parse().map_err(corrupt("an event id"))?)),
        }
    }

    /// The message that has an event id.
    ///
    /// # Errors
    /// The store's own.
    pub async fn message_of_event_id(&self, app: AppId, event_id: &str) -> Result<Option<MessageId>> {
        let item = self.get(Table::Log, keys::event_id(app, event_id), true, "read an event id").await?;
        let item = item.filter(|item| item.number_opt::<u64>("ttl") > Some(self.clock.now().seconds()));
        item.map(|item| item.text("m")?.parse().map_err(corrupt("an event id"))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str, days: u64, endpoints: usize) -> NewMessage {
        let id = |byte| Ksuid::new(Timestamp::from_ms(1_800_000_000_000), [byte; 15]);
        NewMessage {
            app: AppId::from_ksuid(id(1)),
            id: MessageId::from_ksuid(id(2)),
            labels: Labels::of("invoice.paid"),
            event_id: None,
            payload: Payload::of(json),
            deliver_at: None,
            retention_hours: days * 24,
            endpoints: vec![EndpointId::from_ksuid(id(3)); endpoints],
        }
    }

    #[test]
    fn a_kilobyte_of_json_with_one_endpoint_is_one_write_unit() {
        let words: String =
            (0..31).map(|at| format!(r#""field_{at}":"value number {}","#, at * 7919)).collect();
        let json = format!("{{{}\"end\":true}}", words);
        assert!((900..1100).contains(&json.len()), "{}", json.len());
        let (item, parts) = items(&message(&json, 90, 1), &Retention::default()).unwrap();
        assert!(parts.is_empty());
        assert!(size(&item) <= 1024, "{}", size(&item));
        assert_eq!(item.number_opt::<u8>("z"), Some(2));
        // Packing that saves nothing is not done.
        assert!(!items(&message("{}", 90, 1), &Retention::default()).unwrap().0.contains_key("z"));
    }

    #[test]
    fn large_payloads_and_shorter_lives_are_items_of_their_own() {
        use std::fmt::Write as _;
        let mut state = 1u64;
        let mut noise = String::new();
        while noise.len() < 1_000_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            write!(noise, "{state:016x}").unwrap();
        }
        let (item, parts) = items(&message(&format!("\"{noise}\""), 90, 1), &Retention::default()).unwrap();
        assert!(size(&item) < 1024 && (1..=3).contains(&parts.len()));
        assert!(parts.iter().all(|part| size(part) < 400 * 1024));
        let (item, parts) = items(&message("{}", 5, 1), &Retention::default()).unwrap();
        assert!(!item.contains_key("p") && parts.len() == 1);
        assert!(parts[0].number::<u64>("ttl").unwrap() < item.number::<u64>("ttl").unwrap());
    }

    #[test]
    fn texts_are_packed_by_what_makes_them_least() {
        let words =
            |count: usize| (0..count).map(|at| format!(r#""field_{at}":{},"#, at * 7919)).collect::<String>();
        let noise =
            |at: u32| char::from(b'!' + (at.wrapping_mul(at).wrapping_mul(0x9e37_79b1) >> 16) as u8 % 90);
        let noise: String = (0..900).map(noise).collect();
        let text = "Wszystkie zażółcone gęślą jaźnie, ".repeat(2);
        for (plain, room, expected) in [
            (words(10), 700, Packing::Short),
            (words(1_000), 700, Packing::Deflated),
            (noise.clone(), 900, Packing::Plain),
            (noise.repeat(3), 700, Packing::Deflated),
            (text, 700, Packing::Short),
            (String::new(), 700, Packing::Plain),
        ] {
            let (stored, packing) = packed(plain.clone().into_bytes(), room).unwrap();
            assert_eq!(packing, expected, "{plain}");
            assert!(packing == Packing::Plain || stored.len() * 16 < plain.len() * 15 + 16);
            let again = match packing {
                Packing::Plain => stored,
                Packing::Deflated => inflate(&stored).unwrap(),
                Packing::Short => short::unpack(&stored).unwrap(),
            };
            assert_eq!(again, plain.into_bytes());
        }
    }

    #[test]
    fn very_many_endpoints_are_named_in_parts() {
        let (item, parts) = items(&message("{}", 90, 10_001), &Retention::default()).unwrap();
        assert!(size(&item) < 1024 && parts.len() == 2);
        assert_eq!(ids_of_bytes(parts[1].bytes("e").unwrap()).len(), 1);
    }
}
