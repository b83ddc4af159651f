//! The first attempt of a message that is sent at once: part of the delivery's state (ADR 0028).
//!
//! Its result is claimed in the state by one conditional update, so that of two copies of a job one counts.
//! A delivery that succeeds at once is this one write.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemInput};
use aws_sdk_dynamodb::types::{ReturnValuesOnConditionCheckFailure, Update};

use super::attempts::{
    Attempt, FirstAttempt, Named, Passage, Status, Trigger, of_details, own_item, read_response, status_in,
    with_response,
};
use super::item::{FromItemOf as _, Get as _, Item, Put as _, SCHEMA, b, n};
use super::messages::size;
use super::shards::{LogQuery, Source};
use super::transaction::{Guard, Transacted, Transaction, create};
use super::{Store, Table, keys, packed};
use domain::error::{Result, corrupt, unavailable};
use domain::ids::{AttemptId, EndpointId, Id as _, MessageId};
use domain::page::{Cursor, Page};

/// A failed attempt is inside its state only up to this size: each later move of the state pays for all of
/// it, and what those add (due times, the next one) has to fit the same kilobyte.
const FAILED_MAX: usize = 1024 - 128;

/// The first attempt, whose presence says that its result is claimed: its bytes ([`packed`]); or its status, a number, where
/// it has an item of its own, or where a version before wrote its parts as attributes.
const FIRST: &str = "fs";
/// When the attempt after it is due, where a version before wrote it.
const NEXT: &str = "fx";

/// What a state has beside its key, about.
const ATTRIBUTES: usize = 10;

/// The state as the first attempt writes it, which expires at `ttl`. `settled`: nothing follows, the delivery is over. When that
/// attempt was due is the message's own time, and not written.
pub(super) fn state_item(attempt: &Attempt, settled: bool, ttl: u64) -> Item {
    let item = begun(attempt, settled, ttl).with(FIRST, b(packed::pack(attempt)));
    let canceled = settled && attempt.passage == Passage::Canceled;
    with_response(item, attempt).with_some("cs", canceled.then(|| n(1)))
}

/// The same where the attempt has an item of its own.
fn bare_item(attempt: &Attempt, ttl: u64) -> Item {
    begun(attempt, false, ttl).with(FIRST, n(attempt.status as u8))
}

fn begun(attempt: &Attempt, settled: bool, ttl: u64) -> Item {
    let status = if settled { attempt.status } else { Status::Pending };
    let mut item = keys::state(attempt.endpoint, attempt.message);
    item.reserve(ATTRIBUTES);
    item.with("v", n(SCHEMA)).with("s", n(status as u8)).with("n", n(u8::from(settled))).with("ttl", n(ttl))
}

/// The first attempt as a state has it.
pub(super) fn of_state(endpoint: EndpointId, item: &Item) -> Result<Option<FirstAttempt>> {
    if !item.contains_key(FIRST) {
        return Ok(None);
    }
    let message = message_of(item)?;
    if let Some(bytes) = item.bytes(FIRST) {
        let mut attempt = packed::unpack(bytes, endpoint, message)?;
        read_response(item, &mut attempt)?;
        return Ok(Some(FirstAttempt::Inside(Box::new(attempt))));
    }
    if !item.contains_key("u") {
        return Ok(Some(FirstAttempt::Apart));
    }
    let named = Named {
        id: AttemptId::first(message, endpoint),
        endpoint,
        message,
        status: status_in(item, FIRST)?,
        trigger: Trigger::Scheduled,
        next: item.time_opt(NEXT),
    };
    Ok(Some(FirstAttempt::Inside(Box::new(of_details(item, named)?))))
}

fn message_of(state: &Item) -> Result<MessageId> {
    let message = state.text("sk")?.strip_prefix("MSG#").unwrap_or_default();
    message.parse().map_err(corrupt("a delivery state's key"))
}

impl Store {
    /// Records the first attempt of a message that is sent at once; `false` if another copy's result is on
    /// record: the outcome of an attempt is what was written first. `settled`: nothing follows from it, and
    /// this write moves the delivery's state as well.
    ///
    /// A failure that is long goes into an item of its own before it is claimed, so that it is not lost
    /// in between.
    ///
    /// # Errors
    /// The store's own.
    pub async fn record_first_attempt(&self, attempt: &Attempt, settled: bool) -> Result<bool> {
        let ttl = self.attempt_ttl(attempt);
        let whole = state_item(attempt, settled, ttl);
        let inside = attempt.status == Status::Success || size(&whole) <= FAILED_MAX;
        if !inside && !self.record_apart(attempt).await? {
            return Ok(false);
        }
        self.mark_counts(attempt.endpoint, attempt.message).await?;
        let Some(there) = self.claim(if inside { whole } else { bare_item(attempt, ttl) }).await? else {
            return Ok(true);
        };
        match of_state(attempt.endpoint, &there)? {
            // Also where it meets itself: the SDK repeats an update whose answer was lost.
            Some(FirstAttempt::Inside(first)) => Ok(*first == *attempt),
            Some(FirstAttempt::Apart) => Ok(!inside),
            // The delivery went past it, stopped by a copy or under a version before: it is still to be seen.
            None => self.record_behind(attempt).await,
        }
    }

    /// Records a first attempt whose delivery was stopped meanwhile, as by a copy of its job that found the endpoint
    /// disabled: in an item of its own, and in the state that it was made. Both or neither, so that what is on record
    /// is what the state says. Where a version before moved the state, that counts the attempt already.
    async fn record_behind(&self, attempt: &Attempt) -> Result<bool> {
        let noted = Update::builder()
            .table_name(self.table(Table::Log))
            .set_key(Some(keys::state(attempt.endpoint, attempt.message)))
            .update_expression("SET #fs = :status")
            .condition_expression("attribute_exists(st) AND n = :one AND attribute_not_exists(#fs)")
            .expression_attribute_names("#fs", FIRST)
            .expression_attribute_values(":status", n(attempt.status as u8))
            .expression_attribute_values(":one", n(1));
        let mut tx = Transaction::new("record a first attempt");
        tx.add(Guard::Absent, create(self.table(Table::Log), own_item(attempt, self.attempt_ttl(attempt))))?;
        tx.add(Guard::Unchanged, noted)?;
        match self.transact(tx).await? {
            Transacted::Done => Ok(true),
            Transacted::Refused(_) => self.record_apart(attempt).await,
        }
    }

    /// Records an attempt in an item of its own; `false` if there is another one.
    async fn record_apart(&self, attempt: &Attempt) -> Result<bool> {
        Ok(self.record_attempt(attempt).await?.is_none_or(|first| first == *attempt))
    }

    /// Writes `state` unless a result is claimed or the delivery went past it; then what is there comes back.
    async fn claim(&self, mut state: Item) -> Result<Option<Item>> {
        const OPERATION: &str = "record a first attempt";
        let key: Item = ["pk", "sk"].iter().filter_map(|name| state.remove_entry(*name)).collect();
        let size = state.len() + 1;
        let (mut sets, mut names, mut values) =
            (Vec::with_capacity(size), HashMap::with_capacity(size), HashMap::with_capacity(size));
        // Every name by an alias: some of them are words of the language of expressions.
        for (name, value) in state {
            sets.push(["#", &name, " = :", &name].concat());
            values.insert([":", &name].concat(), value);
            names.insert(["#", &name].concat(), name);
        }
        sets.sort();
        values.insert(":one".to_owned(), n(1));
        let request = UpdateItemInput::builder()
            .table_name(self.table(Table::Log))
            .set_key(Some(key))
            .update_expression(["SET ", &sets.join(", ")].concat())
            .condition_expression("attribute_not_exists(#fs) AND (attribute_not_exists(#n) OR #n < :one)")
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .set_return_consumed_capacity(self.return_consumed_capacity.clone())
            .build()
            .map_err(unavailable(OPERATION))?;
        let error = match self.calls.update.send(request).await {
            Ok(_) => return Ok(None),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                Ok(Some(refused.item.clone().unwrap_or_default()))
            }
            _ => Err(unavailable(OPERATION)(error)),
        }
    }

    /// Lists an endpoint's attempts. `keep` decides which are shown.
    ///
    /// The first ones are inside states, the others items of their own. Both ranges of a shard are in the order
    /// of the attempts' ids, and are merged.
    ///
    /// # Errors
    /// The store's own.
    pub async fn list_attempts(
        &self,
        endpoint: EndpointId,
        query: &LogQuery<AttemptId>,
        keep: impl Fn(&Attempt) -> bool,
    ) -> Result<Page<Attempt>> {
        let ascending = query.list.reads_ascending();
        let (oldest, newest) = query.window;
        let first = |id: AttemptId| id.messages_of_first();
        let (mut from, mut to) =
            (first(AttemptId::from_ksuid(oldest)).0, first(AttemptId::from_ksuid(newest)).1);
        if let Cursor::Behind(at) | Cursor::Before(at) = query.list.cursor {
            if ascending {
                from = from.max(first(at).0);
            } else {
                to = to.min(first(at).1);
            }
        }
        let id_of = |item: &Item| Ok(AttemptId::first(message_of(item)?, endpoint).to_string());
        // The states before the items: of two records of one attempt, a state's is what counts.
        let states = Source { prefix: "MSG#", bounds: (from.to_string(), to.to_string()), id_of: &id_of };
        let own = Source::of_ids("ATT#", query);
        let sources = if self.blind { vec![own] } else { vec![states, own] };
        let pk = |shard| keys::log_pk(endpoint, shard);
        self.merge_shards(pk, &sources, query, "list attempts", |item| {
            let attempt = if item.text("sk")?.starts_with("ATT#") {
                Attempt::from_item(endpoint, item)?
            } else {
                match of_state(endpoint, item)? {
                    Some(FirstAttempt::Inside(attempt)) => *attempt,
                    Some(FirstAttempt::Apart) | None => return Ok(None),
                }
            };
            Ok((self.is_kept(&attempt) && keep(&attempt)).then_some(attempt))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use domain::attempt::ResponseBody;
    use domain::ids::Ksuid;
    use domain::labels::Labels;
    use runtime::clock::Timestamp;

    use super::*;
    use crate::attempts::{ANY_TIME, State, keep_headers};

    fn first(status: Status, response: usize) -> Attempt {
        let at = Timestamp::from_ms(1_800_000_000_000);
        let (message, endpoint) =
            (MessageId::from_ksuid(Ksuid::new(at, [7; 15])), EndpointId::from_ksuid(Ksuid::new(at, [8; 15])));
        Attempt {
            id: AttemptId::first(message, endpoint),
            endpoint,
            message,
            url: "https://example.com/hooks/of/a/customer".into(),
            status,
            code: 500,
            response: ResponseBody::Text("x".repeat(response)),
            error: Some("cut".into()),
            response_headers: Vec::new(),
            duration_ms: 17,
            at,
            trigger: Trigger::Scheduled,
            next: (status == Status::Fail).then_some(at),
            disables: false,
            passage: Passage::Untransformed,
            labels: Labels {
                event_type: "invoice.paid".into(),
                channels: Some(vec!["a".into()]),
                tags: None,
            },
        }
    }

    #[test]
    fn a_state_says_all_of_its_first_attempt() {
        let day =
            Attempt { response_headers: vec![("server".into(), "nginx".into())], ..first(Status::Fail, 3) };
        let item = state_item(&day, false, ANY_TIME);
        assert_eq!(State::from_item(day.endpoint, &item).unwrap().inside(day.id), Some(&day));
        for (status, settled) in [(Status::Success, true), (Status::Success, false), (Status::Fail, false)] {
            let attempt = first(status, 30);
            let state = State::from_item(attempt.endpoint, &state_item(&attempt, settled, ANY_TIME)).unwrap();
            assert_eq!(state.inside(attempt.id), Some(&attempt));
            assert_eq!(state.attempts().collect::<Vec<_>>(), [attempt.id]);
            assert_eq!(
                (state.number(), state.status),
                match settled {
                    true => (1, Status::Success),
                    false => (0, Status::Pending),
                }
            );
        }
        let attempt = first(Status::Fail, 5_000);
        let state = State::from_item(attempt.endpoint, &bare_item(&attempt, ANY_TIME)).unwrap();
        assert_eq!(state.first, Some(FirstAttempt::Apart));
        assert_eq!(state.attempts().collect::<Vec<_>>(), [attempt.id]);
    }

    #[test]
    fn what_was_cancelled_is_a_success_that_says_so() {
        let canceled = Attempt { passage: Passage::Canceled, ..first(Status::Success, 0) };
        for (attempt, expected) in [(&canceled, true), (&first(Status::Success, 0), false)] {
            let state = State::from_item(attempt.endpoint, &state_item(attempt, true, ANY_TIME)).unwrap();
            assert_eq!((state.status, state.canceled), (Status::Success, expected));
            assert_eq!(state.inside(attempt.id), Some(attempt));
        }
        let state = State::from_item(canceled.endpoint, &state_item(&canceled, false, ANY_TIME)).unwrap();
        assert!(!state.canceled);
    }

    #[test]
    fn headers_of_a_success_cost_no_unit() {
        let headers: Vec<_> = (0..100).map(|nth| (format!("x-{nth}"), "v".repeat(50))).collect();
        for response in (0..2500).step_by(13) {
            let mut attempt = first(Status::Success, response);
            let before = size(&state_item(&attempt, true, ANY_TIME)).div_ceil(1024);
            keep_headers(&mut attempt, headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            assert_eq!(size(&state_item(&attempt, true, ANY_TIME)).div_ceil(1024), before, "{response}");
        }
    }
}
