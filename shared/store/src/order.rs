//! Ordered delivery: which message comes before which, and which deliveries wait for another one.
//!
//! An item for each lane of an endpoint names the messages that claimed a place last. To claim one is a single
//! write, which gives the place and says which messages are before it. A delivery that has to wait is noted in
//! the state of the delivery that it waits for, on condition that this has not ended.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};

use super::item::{Get as _, Item, SCHEMA, b, n};
use super::messages::log_ttl;
use super::{Store, Table, keys};
use domain::attempt::Status;
use domain::error::{Result, corrupt, unavailable};
use domain::ids::{EndpointId, Id as _, Ksuid, MessageId};
use runtime::trace::Trace;

pub use domain::order::{Fifo, Lane, PREDECESSORS_MAX, Place};

/// Messages that a lane's item names, the latest first, in attributes of their own: an update can shift them,
/// and it could not shorten a list that it appends to.
const NAMES: [&str; 12] = ["p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "pa", "pb", "pc"];
/// Among so many of the latest a message that claims a place again keeps the one that it has. Behind those
/// enough others are named.
const RECOGNISED: usize = NAMES.len() - PREDECESSORS_MAX;
/// Tries of a claim: each failure means that the lane changed between two requests.
const TRIES: u32 = 5;
const ID_LENGTH: usize = 20;

/// How a delivery stands, for those that come after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// An attempt was made, or the delivery ended without one.
    pub begun: bool,
    /// It ended: nothing more is sent by the schedule. A resend that arrives before the delivery's turn does
    /// not end it: what comes after it would overtake those before it.
    pub ended: bool,
    /// The messages that wait for it.
    pub waiting: Vec<Waiting>,
}

/// A message whose delivery waits for another's, with the trace that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The message.
    pub message: MessageId,
    /// The trace of the request that it follows from.
    pub trace: Option<Trace>,
}

impl Waiting {
    fn to_bytes(self) -> Vec<u8> {
        let trace = self.trace.map(|trace| trace.to_string()).unwrap_or_default();
        [self.message.ksuid().bytes(), trace.as_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, trace) = bytes.split_at_checked(ID_LENGTH)?;
        let trace = std::str::from_utf8(trace).ok().and_then(Trace::parse);
        Some(Self { message: id_of(id)?, trace })
    }
}

fn id_of(bytes: &[u8]) -> Option<MessageId> {
    Some(MessageId::from_ksuid(Ksuid::from_bytes(bytes.try_into().ok()?)))
}

fn bytes_of(message: MessageId) -> AttributeValue {
    b(message.ksuid().bytes().to_vec())
}

/// The messages before `message` in its lane's item, the nearest first and each once; none if the item does
/// not name `message`.
fn before(item: &Item, message: MessageId) -> Option<Vec<MessageId>> {
    let named: Vec<MessageId> = NAMES.iter().filter_map(|name| id_of(item.bytes(name)?)).collect();
    let own = named.iter().position(|id| *id == message)?;
    let mut before = Vec::new();
    for id in &named[own + 1..] {
        if *id != message && !before.contains(id) && before.len() < PREDECESSORS_MAX {
            before.push(*id);
        }
    }
    Some(before)
}

fn standing(item: &Item) -> Standing {
    let counted = item.number_opt::<u32>("n").unwrap_or(0) > 0;
    let begun = counted || super::first::is_claimed(item);
    let status = item.number_opt("s").and_then(Status::from_number);
    let ended =
        counted && (item.contains_key("ms") || matches!(status, Some(Status::Success | Status::Fail)));
    let waiting = item.get("w").and_then(|set| set.as_bs().ok()).map(Vec::as_slice).unwrap_or_default();
    let waiting = waiting.iter().filter_map(|bytes| Waiting::from_bytes(bytes.as_ref())).collect();
    Standing { begun, ended, waiting }
}

impl Store {
    /// Claims the next place in a lane of an endpoint for a message that is stored already; the messages
    /// before it, the nearest first. A message that claims again soon keeps its place.
    ///
    /// # Errors
    /// The store's own. The place may have been taken then: who comes later finds out whether the message is
    /// there.
    pub async fn claim_place(
        &self,
        endpoint: EndpointId,
        lane: Lane,
        message: MessageId,
    ) -> Result<Vec<MessageId>> {
        const OPERATION: &str = "claim a place";
        let shifted: String = NAMES
            .windows(2)
            .map(|pair| format!(", {} = if_not_exists({}, :none)", pair[1], pair[0]))
            .collect();
        let update = format!("SET v = :v, #ttl = :ttl, {} = :m{shifted}", NAMES[0]);
        let named: Vec<String> = NAMES[..RECOGNISED].iter().map(|name| format!("{name} = :m")).collect();
        let condition = format!("NOT ({})", named.join(" OR "));
        let key = keys::lane(endpoint, lane);
        for _ in 0..TRIES {
            let sent = self
                .client
                .update_item()
                .table_name(self.table(Table::Log))
                .set_key(Some(key.clone()))
                .update_expression(&update)
                .condition_expression(&condition)
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":v", n(SCHEMA))
                .expression_attribute_values(":ttl", n(log_ttl(message)))
                .expression_attribute_values(":m", bytes_of(message))
                .expression_attribute_values(":none", b([0]))
                .return_values(ReturnValue::AllNew)
                .set_return_consumed_capacity(self.return_consumed_capacity.clone())
                .send()
                .await;
            let item = match sent {
                Ok(out) => out.attributes.unwrap_or_default(),
                Err(error) if crate::is_condition(&error) => {
                    self.get(Table::Log, key.clone(), true, OPERATION).await?.unwrap_or_default()
                }
                Err(error) => return Err(unavailable(OPERATION)(error)),
            };
            if let Some(before) = before(&item, message) {
                return Ok(before);
            }
        }
        Err(unavailable(OPERATION)("others kept claiming places at the same moment"))
    }

    /// How the deliveries of these messages at an endpoint stand, read strongly; those that have no state
    /// are not there.
    ///
    /// # Errors
    /// The store's own.
    pub async fn standings(
        &self,
        endpoint: EndpointId,
        messages: &[MessageId],
    ) -> Result<Vec<(MessageId, Standing)>> {
        let wanted = messages.iter().map(|message| keys::state(endpoint, *message)).collect();
        let found = self.batch_get(Table::Log, wanted, true, "read what comes before a delivery").await?;
        let named = found.iter().map(|item| {
            let message = item.text("sk")?.strip_prefix("MSG#").unwrap_or_default();
            Ok((message.parse().map_err(corrupt("a delivery state's key"))?, standing(item)))
        });
        named.collect()
    }

    /// Notes that a delivery waits for that of the message `first`; `false` if that has ended.
    ///
    /// # Errors
    /// The store's own.
    pub async fn wait_for(&self, endpoint: EndpointId, first: MessageId, waiting: Waiting) -> Result<bool> {
        self.mark_counts(endpoint, first).await?;
        let update = "SET v = if_not_exists(v, :v), s = if_not_exists(s, :pending), n = if_not_exists(n, :zero), \
                      t = if_not_exists(t, :none), #ttl = if_not_exists(#ttl, :ttl) ADD w :w";
        let condition = "attribute_not_exists(n) OR n = :zero OR (attribute_not_exists(ms) AND s = :pending)";
        let values = vec![
            (":v", n(SCHEMA)),
            (":pending", n(Status::Pending as u8)),
            (":zero", n(0)),
            (":none", AttributeValue::L(Vec::new())),
            (":ttl", n(log_ttl(first))),
            (":w", AttributeValue::Bs(vec![Blob::new(waiting.to_bytes())])),
        ];
        self.update_log(keys::state(endpoint, first), update, condition, values, "wait for a delivery").await
    }

    /// How a delivery stands, read strongly: after it has ended, nothing is added to what waits for it.
    ///
    /// # Errors
    /// The store's own.
    pub async fn standing(&self, endpoint: EndpointId, message: MessageId) -> Result<Standing> {
        let item = self.get(Table::Log, keys::state(endpoint, message), true, "read what waits").await?;
        Ok(item.map(|item| standing(&item)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::clock::Timestamp;

    fn message(byte: u8) -> MessageId {
        MessageId::from_ksuid(Ksuid::new(Timestamp::from_ms(1_800_000_000_000), [byte; 15]))
    }

    #[test]
    fn a_lanes_item_says_what_was_before() {
        let item = |ids: &[u8]| -> Item {
            NAMES.iter().zip(ids).map(|(name, id)| ((*name).to_owned(), bytes_of(message(*id)))).collect()
        };
        let before = |ids: &[u8], of: u8| before(&item(ids), message(of));
        assert_eq!(before(&[3, 2, 1], 3), Some(vec![message(2), message(1)]));
        assert_eq!(before(&[3, 2, 1], 1), Some(vec![]));
        assert_eq!(before(&[3, 2, 1], 4), None);
        // What claimed a place twice is named once, and never before itself.
        assert_eq!(before(&[3, 2, 3, 2, 1], 3), Some(vec![message(2), message(1)]));
        let many: Vec<u8> = (1..=12).rev().collect();
        assert_eq!(before(&many, 12).map(|before| before.len()), Some(PREDECESSORS_MAX));
        assert_eq!(before(&many, 9).map(|before| before.len()), Some(PREDECESSORS_MAX));
        // A lane that begins is filled up with what is no id.
        let mut young = item(&[2, 1]);
        young.insert("p3".into(), b([0]));
        assert_eq!(super::before(&young, message(2)), Some(vec![message(1)]));
    }

    #[test]
    fn what_waits_keeps_its_trace() {
        for trace in [None, Trace::parse("Root=1-00000001-bd862e3fe1be46a994272793;Sampled=1")] {
            let waiting = Waiting { message: message(1), trace };
            assert_eq!(Waiting::from_bytes(&waiting.to_bytes()), Some(waiting));
        }
        assert_eq!(Waiting::from_bytes(&[1; 19]), None);
    }

    #[test]
    fn a_delivery_has_ended_once_nothing_more_is_sent() {
        let state = |s: Status, number: u32, by_hand: bool| {
            let mut item = Item::from([("s".to_owned(), n(s as u8)), ("n".to_owned(), n(number))]);
            if by_hand {
                item.insert("ms".into(), n(1));
            }
            (standing(&item).begun, standing(&item).ended)
        };
        assert_eq!(state(Status::Success, 1, false), (true, true));
        assert_eq!(state(Status::Fail, 3, false), (true, true));
        assert_eq!(state(Status::Pending, 3, false), (true, false));
        assert_eq!(state(Status::Pending, 0, false), (false, false));
        // A resend that failed says nothing about the schedule; one that arrived does.
        assert_eq!(state(Status::Fail, 0, false), (false, false));
        assert_eq!(state(Status::Pending, 0, true), (false, false));
        assert_eq!(state(Status::Pending, 2, true), (true, true));
    }
}
