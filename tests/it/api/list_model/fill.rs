//! Fills the tables, and says what is in them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use shared::auth::{Caller, DEFAULT_ORG, Who};
use shared::clock::Timestamp;
use shared::ids::{AppId, AttemptId, EndpointId, Id as _, MessageId, OrgId};
use shared::labels::Labels;
use shared::store::Store;
use shared::store::applications::ApplicationSettings;
use shared::store::attempts::{Attempt, FirstAttempt, Passage, ResponseBody, State, Status, Trigger};
use shared::store::event_types::EventType;
use shared::store::messages::{NewMessage, Payload};

use super::dice::Dice;
use super::model::{Kind, List, Row};
use super::{DAY, HOUR, Hand, START};
use crate::test_stack::TestStack;

const MESSAGES: usize = 1_500;
const ATTEMPTS: usize = 800;

/// Does all of it, a few things at a time.
pub async fn all<F: Future<Output = ()>>(work: impl Iterator<Item = F>) {
    futures_util::stream::iter(work).buffer_unordered(32).collect::<()>().await;
}

pub fn log_end(message: MessageId) -> u64 {
    (message.time().ms() + 90 * DAY) / 1000
}

pub fn channels_of(dice: &mut Dice, nth: usize) -> Vec<String> {
    let mut channels = Vec::new();
    for (channel, chances) in [("often", 2), ("seldom", 30)] {
        if dice.one_in(chances) {
            channels.push(channel.to_owned());
        }
    }
    if nth == 7 {
        channels.push("once".to_owned());
    }
    channels
}

pub fn tags_of(nth: usize) -> Vec<String> {
    if nth.is_multiple_of(5) { vec!["fifth".to_owned()] } else { Vec::new() }
}

pub fn event_type_of(dice: &mut Dice) -> String {
    if dice.one_in(200) { "rare".to_owned() } else { format!("type.{}", dice.below(3)) }
}

fn labels_of(row: &Row) -> Labels {
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    Labels { event_type: row.event_type.clone(), channels: some(&row.channels), tags: some(&row.tags) }
}

/// Stores a message.
pub async fn message(store: &Store, app: AppId, id: MessageId, row: &Row, endpoints: Vec<EndpointId>) {
    let new = NewMessage {
        app,
        id,
        labels: labels_of(row),
        event_id: None,
        payload: Payload::of("{}"),
        deliver_at: None,
        retention_hours: 90 * 24,
        endpoints,
    };
    assert!(store.put_message(&new).await.expect("it is stored"));
}

/// Messages over more than 200 days.
pub async fn messages(dice: &mut Dice, store: &Store, app: AppId) -> List {
    let mut rows = BTreeMap::new();
    for (nth, time) in dice.times(MESSAGES).into_iter().enumerate() {
        let id = MessageId::from_ksuid(dice.ksuid(time));
        let (event_type, channels) = (event_type_of(dice), channels_of(dice, nth));
        let (time, ends) = (id.time().ms(), Some(log_end(id)));
        rows.insert(
            id.to_string(),
            Row { time, ends, event_type, channels, tags: tags_of(nth), ..Row::default() },
        );
    }
    all(rows.iter().map(async |(id, row)| {
        message(store, app, id.parse().expect("an id"), row, Vec::new()).await;
    }))
    .await;
    List { kind: Kind::Messages, path: format!("/app/{app}/msg"), rows, until: START + 220 * DAY }
}

pub fn attempt(
    dice: &mut Dice,
    id: AttemptId,
    message: MessageId,
    endpoint: EndpointId,
    nth: usize,
) -> (Attempt, Row) {
    let success = dice.one_in(3);
    // A few milliseconds late as a rule, sometimes more than lists look back, and by another clock early.
    let late = *dice.pick(&[0, 3, 5, 900, HOUR / 2, HOUR, 2 * HOUR]);
    let made = id.time().ms() + late - dice.below(2) * 5;
    let row = Row {
        time: id.time().ms(),
        ends: Some(log_end(message)),
        event_type: event_type_of(dice),
        channels: channels_of(dice, nth),
        tags: tags_of(nth),
        status: if success { 0 } else { 2 },
        code: if success { 200 + dice.below(5) } else { *dice.pick(&[0, 302, 404, 499, 500, 503]) },
        endpoint: endpoint.to_string(),
        archived: false,
        made,
    };
    let attempt = Attempt {
        id,
        endpoint,
        message,
        url: "http://127.0.0.1/".into(),
        status: if success { Status::Success } else { Status::Fail },
        code: row.code as u16,
        response: ResponseBody::Text("an answer".into()),
        error: None,
        response_headers: Vec::new(),
        duration_ms: 5,
        at: Timestamp::from_ms(made),
        trigger: Trigger::Scheduled,
        next: None,
        disables: false,
        passage: Passage::Untransformed,
        labels: labels_of(&row),
    };
    (attempt, row)
}

/// Records attempts: first ones in states, all others in items of their own.
pub async fn record(store: &Store, attempts: Vec<Attempt>) {
    all(attempts.iter().map(async |attempt| {
        if attempt.is_first() {
            let settled = attempt.status == Status::Success;
            assert!(store.record_first_attempt(attempt, settled).await.expect("it is stored"));
        } else {
            assert!(store.record_attempt(attempt).await.expect("it is stored").is_none());
        }
    }))
    .await;
}

/// What a copy of a first attempt leaves whose long failure was not what counts.
async fn loser(store: &Store, attempt: &Attempt) {
    let other = Attempt { status: Status::Fail, code: 599, ..attempt.clone() };
    assert!(store.record_attempt(&other).await.expect("it is stored").is_none());
}

/// One endpoint's log.
pub async fn by_endpoint(dice: &mut Dice, store: &Store, app: AppId, endpoint: EndpointId) -> List {
    let (mut rows, mut attempts) = (BTreeMap::new(), Vec::new());
    for (nth, time) in dice.times(ATTEMPTS).into_iter().enumerate() {
        // The message's time says how long it is kept, its id in which shard.
        let is_first = dice.one_in(2);
        let message = if is_first { time } else { time.saturating_sub(dice.below(3 * DAY)) };
        let message = MessageId::from_ksuid(dice.ksuid(message));
        let id = if is_first {
            AttemptId::first(message, endpoint)
        } else {
            AttemptId::from_ksuid(dice.ksuid(time))
        };
        let (mut attempt, row) = attempt(dice, id, message, endpoint, nth);
        if is_first && dice.one_in(10) {
            loser(store, &attempt).await;
        } else if is_first && attempt.status == Status::Fail && dice.one_in(10) {
            // Too long for its state.
            attempt.response = ResponseBody::Text("x".repeat(2_000));
        }
        rows.insert(id.to_string(), row);
        attempts.push(attempt);
    }
    record(store, attempts).await;
    let path = format!("/app/{app}/attempt/endpoint/{endpoint}");
    List { kind: Kind::ByEndpoint, path, rows, until: START + 220 * DAY }
}

/// One message that went to many endpoints, some of them again and again.
pub async fn by_message(dice: &mut Dice, store: &Store, app: AppId, endpoints: &[EndpointId]) -> List {
    let id = MessageId::from_ksuid(dice.ksuid(START + 100 * DAY));
    let row = Row { event_type: "type.0".into(), ..Row::default() };
    message(store, app, id, &row, endpoints.to_vec()).await;
    let (mut rows, mut attempts, mut states) = (BTreeMap::new(), Vec::new(), Vec::new());
    for endpoint in endpoints {
        let mut due = Vec::new();
        for _ in 0..=dice.below(8) {
            let last = due.last().map_or(id.time(), |last: &Timestamp| *last);
            due.push(last.after(Duration::from_millis(*dice.pick(&[0, 1, 5000, HOUR, 20 * DAY]) / 4 * 4)));
        }
        let state = State {
            endpoint: *endpoint,
            message: id,
            status: Status::Fail,
            due,
            next: None,
            stopped: false,
            by_hand: Vec::new(),
            delivered_by_hand: false,
            canceled: false,
            // As an earlier version wrote it, or as this one does.
            first: dice.one_in(2).then_some(FirstAttempt::Apart),
        };
        for at in state.attempts() {
            let (mut attempt, row) = attempt(dice, at, id, *endpoint, rows.len());
            if attempt.is_first() {
                // Its state goes on: there was a retry.
                attempt.status = Status::Fail;
            }
            rows.insert(at.to_string(), Row { status: attempt.status as u64, ..row });
            attempts.push(attempt);
        }
        states.push(state);
    }
    record(store, attempts).await;
    all(states.iter().map(async |state| assert!(store.advance(state).await.expect("it is stored")))).await;
    let path = format!("/app/{app}/attempt/msg/{id}");
    List { kind: Kind::ByMessage, path, rows, until: log_end(id) * 1000 - 1 }
}

/// Applications, endpoints and event types, each in several moments.
pub async fn configuration(
    dice: &mut Dice,
    stack: &TestStack,
    store: &Store,
    clock: &Hand,
    [app, other]: [AppId; 2],
) -> [List; 3] {
    let by = Caller::from(Who::Org(DEFAULT_ORG.parse::<OrgId>().expect("an id")));
    let mut applications = BTreeMap::from([app, other].map(|app| (app.to_string(), Row::default())));
    let (mut endpoints, mut types) = (BTreeMap::new(), BTreeMap::new());
    let mut new = EventType {
        name: String::new(),
        description: String::new(),
        schemas: None,
        feature_flags: Vec::new(),
        group_name: None,
        archived: false,
        deprecated: false,
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    };
    for nth in 0..120u64 {
        if nth % 3 == 0 {
            clock.0.fetch_add(dice.below(HOUR), Ordering::SeqCst);
        }
        let settings = ApplicationSettings { name: "customer".into(), ..ApplicationSettings::default() };
        let made = store.create_application(&by, settings).await.expect("an application");
        applications.insert(made.0.id.to_string(), Row::default());
        new.name = format!("{}type.{nth}", dice.pick(&["", "-", "--", ".", "_", "Z"]));
        new.archived = dice.one_in(4);
        store.create_event_type(&by, new.clone()).await.expect("an event type");
        types.insert(new.name.clone(), Row { archived: new.archived, ..Row::default() });
    }
    for _ in 0..40 {
        endpoints.insert(stack.endpoint(&app.to_string(), "http://127.0.0.1/").await.id, Row::default());
    }
    let until = START + 220 * DAY;
    [
        List { kind: Kind::Applications, path: "/app".into(), rows: applications, until },
        List { kind: Kind::Endpoints, path: format!("/app/{app}/endpoint"), rows: endpoints, until },
        List { kind: Kind::EventTypes, path: "/event-type".into(), rows: types, until },
    ]
}
