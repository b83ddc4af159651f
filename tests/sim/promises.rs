//! The promises, checked when a run has come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shared::http::{Cursor, ListQuery, Order};
use shared::ids::{AppId, AttemptId, EndpointId, Ksuid, MessageId};
use shared::store::Store;
use shared::store::attempts::{State, Status};
use shared::store::shards::LogQuery;

use crate::journal::{Events, Post, Record};
use crate::links::Links;
use crate::orders;
use crate::pollers::Pollers;
use crate::receivers::Manner;
use crate::workload::{Code, Customer, EVENT_TYPE, Target, Wish, request};
use crate::world::{World, answer};

/// How long it takes at most to put an attempt on record where nothing strikes.
const RECORDING_MAX: Duration = Duration::from_millis(100);

/// What is on file, by endpoint and message.
#[derive(Debug, Default)]
pub struct OnFile {
    attempts: BTreeMap<(EndpointId, MessageId), BTreeSet<AttemptId>>,
    pub states: BTreeSet<(EndpointId, MessageId)>,
    /// The messages of each application.
    messages: BTreeSet<(AppId, MessageId)>,
}

impl OnFile {
    pub fn read(world: &World) -> Self {
        let mut file = Self::default();
        let mut start = Value::Null;
        loop {
            let mut scan = json!({ "TableName": world.log_table, "ProjectionExpression": "pk, sk, m, fs" });
            if !start.is_null() {
                scan["ExclusiveStartKey"] = start;
            }
            let mut page = world.aws.dynamodb("Scan", &scan);
            for item in page["Items"].as_array().into_iter().flatten() {
                let text = |name: &str| item[name]["S"].as_str().unwrap_or_default();
                if let (Some(log), Some(message)) =
                    (text("pk").strip_prefix("APP#"), text("sk").strip_prefix("MSG#"))
                {
                    let app =
                        log.split('#').next().unwrap_or_default().parse().expect("an application's key");
                    file.messages.insert((app, message.parse().expect("a message's id")));
                }
                let Some(log) = text("pk").strip_prefix("EP#") else { continue };
                let endpoint = log.split('#').next().unwrap_or_default().parse().expect("an endpoint's key");
                if let Some(attempt) = text("sk").strip_prefix("ATT#") {
                    let message = text("m").parse().expect("a message's id");
                    let attempts = file.attempts.entry((endpoint, message)).or_default();
                    attempts.insert(attempt.parse().expect("an attempt's id"));
                } else if let Some(message) = text("sk").strip_prefix("MSG#") {
                    let message = message.parse().expect("a message's id");
                    file.states.insert((endpoint, message));
                    // The first attempt, all of it: its bytes, which an item of its own stands in for otherwise.
                    if item["fs"]["B"].is_string() {
                        let attempts = file.attempts.entry((endpoint, message)).or_default();
                        attempts.insert(AttemptId::first(message, endpoint));
                    }
                }
            }
            start = page["LastEvaluatedKey"].take();
            if start.is_null() {
                return file;
            }
        }
    }
}

/// What was not kept of what was promised, one line each.
pub async fn check(
    world: &Arc<World>,
    customers: &[Customer],
    wishes: &[Wish],
    pollers: &Pollers,
    links: &Links,
) -> Vec<String> {
    let mut broken = Vec::new();
    if world.dead_letters() > 0 {
        broken.push(format!("{} jobs are dead letters", world.dead_letters()));
    }
    let events = world.journal.lock().clone();
    let course = Course { world, store: world.store(), events, customers, wishes };
    let file = OnFile::read(world);
    let mut promised = course.accepted(&mut broken).await;
    course.queued(&file, &mut promised, &mut broken).await;
    for ((message, customer), wish) in &promised {
        course.delivered(&customers[*customer], *message, wish, &mut broken).await;
    }
    course.chains(&file, &promised, &mut broken).await;
    course.lists(&file, &mut broken).await;
    for post in &course.events.posts {
        if let Err(problem) = course.webhook(post, links) {
            broken.push(format!("a webhook to server {}: {problem}", post.receiver));
        }
    }
    course.stops(&mut broken);
    course.extra_copies(&mut broken);
    crate::copies::check(world, &mut broken);
    broken.extend(orders::check(world, customers, &promised, &course.events).await);
    if world.calm {
        course.waits(&mut broken);
    }
    course.strangers(&promised, &mut broken).await;
    let polled: Vec<_> =
        promised.iter().map(|((message, customer), wish)| (*customer, *message, wish.channel)).collect();
    broken.extend(pollers.check(world, customers, &polled).await);
    broken.extend(links.check(world).await);
    broken
}

/// What there was and what there is.
struct Course<'a> {
    world: &'a World,
    store: Store,
    events: Events,
    customers: &'a [Customer],
    wishes: &'a [Wish],
}

pub type Promised<'a> = BTreeMap<(MessageId, usize), &'a Wish>;

impl<'a> Course<'a> {
    /// What was put into the queue is a message, once.
    async fn queued(&self, file: &OnFile, promised: &mut Promised<'a>, broken: &mut Vec<String>) {
        let mut found: BTreeMap<usize, Vec<MessageId>> = BTreeMap::new();
        for (app, id) in &file.messages {
            let Ok(Some(message)) = self.store.find_message(*app, *id).await else { continue };
            let Ok(Some(payload)) = self.store.payload(&message).await else { continue };
            let is_this = |wish: &Wish| wish.queued && wish.payload == payload.sent().as_str();
            if let Some(nth) = self.wishes.iter().position(is_this) {
                found.entry(nth).or_default().push(*id);
            }
        }
        for (nth, wish) in self.wishes.iter().enumerate().filter(|(_, wish)| wish.queued) {
            match found.remove(&nth).unwrap_or_default().as_slice() {
                [id] => drop(promised.insert((*id, wish.customer), wish)),
                ids => broken.push(format!("message {nth} was queued and is {ids:?}")),
            }
        }
    }
}

impl<'a> Course<'a> {
    /// Which messages exist because somebody was told so.
    async fn accepted(&self, broken: &mut Vec<String>) -> Promised<'a> {
        let mut promised = Promised::new();
        for (nth, wish) in self.wishes.iter().enumerate() {
            let ids: BTreeSet<&String> = wish.accepted.iter().collect();
            if ids.len() > 1 && (wish.key.is_some() || wish.event_id.is_some()) {
                broken.push(format!("message {nth}: one key or event id, and messages {ids:?}"));
            }
            for id in ids {
                promised.insert((id.parse().expect("a message's id"), wish.customer), wish);
            }
            if let (true, Some(event_id)) = (wish.conflict, &wish.event_id) {
                match self.store.message_of_event_id(self.customers[wish.customer].app, event_id).await {
                    Ok(Some(id)) => drop(promised.insert((id, wish.customer), wish)),
                    other => broken.push(format!("message {nth}: its event id is taken by {other:?}")),
                }
            }
        }
        promised
    }

    /// Promises 1 and 3: the message is there as it was posted, and each of its endpoints has a state.
    async fn delivered(&self, customer: &Customer, id: MessageId, wish: &Wish, broken: &mut Vec<String>) {
        let store = &self.store;
        let Ok(Some(message)) = store.find_message(customer.app, id).await else {
            return broken.push(format!("{id} was accepted and is not there"));
        };
        match store.payload(&message).await {
            Ok(Some(payload)) if payload.sent().as_str() == wish.payload => {}
            other => broken.push(format!("{id} holds another payload: {other:?}")),
        }
        let listed = store.message_endpoints(&message).await.unwrap_or_default();
        let states = store.states(id, &listed, true).await.unwrap_or_default();
        for target in &customer.endpoints {
            let (endpoint, is_listed) = (target.id, listed.contains(&target.id));
            let wanted = target.wants(wish);
            // An endpoint that was disabled at some time may or may not have been when the message came.
            if is_listed != wanted && !(wanted && self.was_disabled(target)) {
                broken.push(format!("{id} goes to {endpoint}: {is_listed}, and should: {wanted}"));
            }
            let state = states.iter().find(|state| state.endpoint == endpoint);
            // What comes while an ordered endpoint is disabled waits for as long as it is.
            let waits = target.ordered.is_some() && is_off(self.world, target);
            if is_listed && state.is_none() && !waits {
                broken.push(format!("{id} was accepted and never tried at {endpoint}"));
            }
            // With one key, however often it was asked for.
            let asked = usize::from(wish.resent.contains(&endpoint));
            let made = state.map_or(0, |state| state.by_hand.len());
            if made < asked && !self.was_disabled(target) {
                broken.push(format!("{id} was to be sent to {endpoint} again and was not"));
            }
        }
    }

    fn was_disabled(&self, target: &Target) -> bool {
        was_disabled(self.world, target)
    }

    /// Whether it is what a client asked for, be it that nobody heard of it.
    async fn is_wish(&self, file: &OnFile, message: MessageId) -> bool {
        let Some((app, _)) = file.messages.iter().find(|(_, id)| *id == message) else { return false };
        let found = self.store.find_message(*app, message).await;
        found.is_ok_and(|found| found.is_some_and(|found| found.labels.event_type == EVENT_TYPE))
    }

    /// Promises 1 and 2: every chain that began has come to its end, and nothing stands beside it.
    async fn chains(&self, file: &OnFile, promised: &Promised<'_>, broken: &mut Vec<String>) {
        let begun: BTreeSet<_> = file.states.iter().chain(file.attempts.keys()).copied().collect();
        for (endpoint, message) in begun {
            let made = file.attempts.get(&(endpoint, message)).cloned().unwrap_or_default();
            let states = self.store.states(message, &[endpoint], true).await.unwrap_or_default();
            let Some(state) = states.first() else {
                broken.push(format!("{message} at {endpoint}: attempts {made:?} and no state"));
                continue;
            };
            let expected: BTreeSet<AttemptId> = state.attempts().collect();
            let strange: Vec<_> = made.difference(&expected).collect();
            let missing: Vec<_> = expected.difference(&made).collect();
            // Who made an attempt in order and died left it on record. The state follows when the key goes on, and while
            // its endpoint is disabled it does not.
            let waits = find(self.customers, |target| target.id == endpoint)
                .is_some_and(|target| target.ordered.is_some() && is_off(self.world, target));
            let follows =
                waits && state.status == Status::Pending && strange.len() == 1 && missing.is_empty();
            if expected != made && !follows {
                broken.push(format!(
                "{message} at {endpoint}: the chain forks or has gaps: beside it {strange:?}, missing {missing:?}"
            ));
            }
            let target = find(self.customers, |target| target.id == endpoint);
            let manner = target.map(|target| self.world.receivers.manner(target.receiver));
            let may_stop = target.is_none_or(|target| self.was_disabled(target));
            let retries = target.and_then(|target| target.retries);
            let retries = retries.unwrap_or(self.world.settings.schedule.len());
            // In order, a message is tried until it arrives; an example is in no order.
            let is_ordered = target.is_some_and(|target| target.ordered.is_some())
                && (promised.keys().any(|(id, _)| *id == message) || self.is_wish(file, message).await);
            let is_off = target.is_some_and(|target| is_off(self.world, target));
            let ended = match state.status {
                Status::Pending if is_ordered && is_off => Ok(()),
                // One that was never tried has failed by hand, while the endpoint was disabled.
                Status::Fail if is_ordered && state.number() > 0 && !state.delivered_by_hand => {
                    Err(format!("it was passed over after {} attempts", state.number()))
                }
                _ => ended(state, retries, may_stop),
            };
            if let Err(problem) = ended {
                broken.push(format!("{message} at {endpoint} ({manner:?}): {problem}"));
            }
            let healthy = manner.is_some_and(Manner::is_healthy) && !may_stop;
            if healthy && (state.outcome() != Status::Success || state.number() > 1) {
                broken.push(format!("{message} at {endpoint}, which is healthy: {state:?}"));
            }
        }
    }

    /// An endpoint's list shows each of its attempts once, whether a state has it or an item of its own.
    async fn lists(&self, file: &OnFile, broken: &mut Vec<String>) {
        let mut made: BTreeMap<EndpointId, Vec<AttemptId>> = BTreeMap::new();
        for ((endpoint, _), attempts) in &file.attempts {
            made.entry(*endpoint).or_default().extend(attempts);
        }
        for (endpoint, mut made) in made {
            made.sort_by(|a, b| b.cmp(a));
            let (mut listed, mut cursor) = (Vec::new(), Cursor::Start);
            loop {
                let list = ListQuery { limit: 7, cursor, order: Order::Descending };
                let window = (Ksuid::from_bytes([0; 20]), Ksuid::from_bytes([0xff; 20]));
                let query = LogQuery { list, window };
                let Ok(page) = self.store.list_attempts(endpoint, &query, |_| true).await else {
                    broken.push(format!("the attempts at {endpoint} cannot be listed"));
                    return;
                };
                listed.extend(page.entries.iter().map(|attempt| attempt.id));
                if page.done {
                    break;
                }
                cursor = match (page.resume, listed.last()) {
                    (Some(Cursor::Behind(at)), _) => Cursor::Behind(at.parse().expect("an attempt's id")),
                    (_, Some(last)) => Cursor::Behind(*last),
                    (_, None) => Cursor::Start,
                };
            }
            if listed != made {
                broken.push(format!("{endpoint} lists {listed:?}, and there are {made:?}"));
            }
        }
    }

    /// Promise 1: what begins after an endpoint was disabled sends nothing to it.
    fn stops(&self, broken: &mut Vec<String>) {
        for (receiver, from, to) in &self.events.disabled {
            let late = self.events.posts.iter().filter(|post| {
                let begun = self.events.invocations[&post.invocation].from;
                post.receiver == *receiver && begun > *from && to.is_none_or(|to| post.at < to)
            });
            for post in late {
                broken.push(format!(
                    "{} was sent to server {receiver} at {:?}, which was disabled at {from:?}",
                    post.message, post.at
                ));
            }
        }
    }
}

/// By somebody, or because it said itself that it is gone.
pub fn was_disabled(world: &World, target: &Target) -> bool {
    world.receivers.manner(target.receiver) == Manner::Always(410)
        || world.journal.lock().disabled.iter().any(|(receiver, ..)| *receiver == target.receiver)
}

/// Nothing is sent to it any more.
fn is_off(world: &World, target: &Target) -> bool {
    let disabled = &world.journal.lock().disabled;
    let mut of_target = disabled.iter().filter(|(receiver, ..)| *receiver == target.receiver);
    world.receivers.manner(target.receiver) == Manner::Always(410) || of_target.any(|(.., to)| to.is_none())
}

fn ended(state: &State, retries: usize, may_stop: bool) -> Result<(), String> {
    match state.status {
        _ if state.delivered_by_hand => Ok(()),
        Status::Fail if may_stop => Ok(()),
        Status::Success => Ok(()),
        Status::Fail if !state.stopped && state.due.len() == retries + 1 => Ok(()),
        Status::Fail => Err(format!("the chain was given up after {} attempts", state.number())),
        Status::Pending | Status::Sending => {
            Err(format!("the chain stopped after {} attempts, and nothing will go on", state.number()))
        }
    }
}

fn find(customers: &[Customer], wanted: impl Fn(&Target) -> bool) -> Option<&Target> {
    customers.iter().flat_map(|customer| &customer.endpoints).find(|target| wanted(target))
}

impl Course<'_> {
    /// Promises 3 and 4: what arrives is what this customer posted, signed with this endpoint's key.
    fn webhook(&self, post: &Post, links: &Links) -> Result<(), String> {
        let target = find(self.customers, |target| target.receiver == post.receiver);
        let target = target.ok_or("there is no such endpoint")?;
        // Behind code, a payload is what the code makes of it.
        let sent = |payload: &str| match target.code {
            Some(Code::Reduces) => {
                let posted: Value = serde_json::from_str(payload).expect("JSON");
                json!({ "of": posted["of"] }).to_string()
            }
            _ => payload.to_owned(),
        };
        let size = target.batches.map(|(size, _)| size);
        match (post.listed, size) {
            (None, None) => {}
            (Some((_, count)), Some(size)) if (1..=size).contains(&count) => {}
            (listed, size) => return Err(format!("a list {listed:?} where {size:?} are wanted")),
        }
        let is_test = links.example_at(post.receiver).is_some_and(|test| sent(test).as_bytes() == post.body);
        if !is_test {
            let wish = self.wishes.iter().find(|wish| sent(&wish.payload).as_bytes() == post.body);
            let wish =
                wish.ok_or_else(|| format!("nobody posted {:?}", String::from_utf8_lossy(&post.body)))?;
            if !self.customers[wish.customer].endpoints.iter().any(|theirs| theirs.id == target.id) {
                return Err("the payload is another customer's".into());
            }
            if !target.wants(wish) {
                return Err("the message is not for this endpoint".into());
            }
        }
        let header =
            |name: &str| post.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mark = target.code.map_or("", |_| Code::MARK);
        if header("x-code") != mark {
            return Err(format!("the code {:?} and the header {:?}", target.code, header("x-code")));
        }
        let at = header("webhook-timestamp").parse().map_err(|_| "the timestamp is no number")?;
        links.check_signatures(post, target, at, &self.events)
    }
}

impl Course<'_> {
    /// Promise 2: a receiver sees an extra copy only where a fault fell between its answer and our record,
    /// or where two copies of a job ran at the same time.
    fn extra_copies(&self, broken: &mut Vec<String>) {
        let (events, customers) = (&self.events, self.customers);
        let mut posts: BTreeMap<(usize, &str), Vec<&Post>> = BTreeMap::new();
        for post in &events.posts {
            posts.entry((post.receiver, &post.message)).or_default().push(post);
        }
        for ((receiver, message), posts) in posts {
            let endpoint = find(customers, |target| target.receiver == receiver).map(|t| t.id.to_string());
            let recorded: Vec<&Record> = events
                .records
                .iter()
                .filter(|record| record.message == message && Some(&record.endpoint) == endpoint.as_ref())
                .collect();
            let mut left = recorded.clone();
            for post in &posts {
                // The record of this very post, if there is one.
                let own = left
                    .iter()
                    .position(|record| record.invocation == post.invocation && record.at >= post.at);
                if let Some(own) = own {
                    left.remove(own);
                    continue;
                }
                let invocation = &events.invocations[&post.invocation];
                let struck = invocation.struck.iter().any(|at| *at >= post.at);
                // A copy that began before this one could be on record, and was itself not on record when
                // this one looked.
                let answered = post.answer.map_or(post.at + self.world.settings.timeout, |(at, _)| at);
                let met = |other: u64, until: Option<Duration>| {
                    events.invocations[&other].from <= answered + RECORDING_MAX
                        && until.is_none_or(|until| until >= invocation.from)
                };
                let copies = recorded.iter().any(|record| met(record.invocation, Some(record.at)))
                    || posts.iter().any(|other| {
                        !std::ptr::eq(*other, *post)
                            && recorded.iter().all(|record| record.invocation != other.invocation)
                            && met(other.invocation, events.invocations[&other.invocation].to)
                    });
                if !invocation.broke && !struck && !copies {
                    broken.push(format!(
                        "{message} came to server {receiver} once more at {:?}, in invocation {}, and no fault \
                         is why",
                        post.at, post.invocation
                    ));
                }
            }
        }
    }

    /// Promise 7: what is wrong with one customer does not hold another's healthy endpoint up. Where only
    /// receivers have faults, its first webhook leaves within the time that batches of others can be held.
    fn waits(&self, broken: &mut Vec<String>) {
        let (world, events, customers) = (self.world, &self.events, self.customers);
        let bound = world.settings.timeout * 2 + Duration::from_secs(5);
        for wish in self.wishes {
            let Some(accepted_at) = wish.accepted_at else { continue };
            let targets = &customers[wish.customer].endpoints;
            if targets.iter().any(|target| world.receivers.manner(target.receiver).is_slow()) {
                continue;
            }
            for target in targets {
                // One that was disabled when the message came gets it first by hand, whenever somebody asks for that.
                let healthy =
                    world.receivers.manner(target.receiver).is_healthy() && !was_disabled(world, target);
                let first = events
                    .posts
                    .iter()
                    .find(|post| post.receiver == target.receiver && wish.accepted.contains(&post.message));
                if let (true, Some(first)) = (healthy, first) {
                    let waited = first.at.saturating_sub(accepted_at);
                    world.longest_wait(waited);
                    // What is over a limit takes its turn.
                    let before = self.wishes.iter().filter(|other| other.customer == wish.customer).count();
                    let turns = target.rate.map_or(0, |rate| before as u64 / rate);
                    let gathering = target.batches.map_or(0, |(_, wait)| wait);
                    if waited > bound + Duration::from_secs(turns + gathering) {
                        broken.push(format!(
                            "{} was held up for {waited:?} on its way to a healthy endpoint",
                            first.message
                        ));
                    }
                }
            }
        }
    }

    /// Promise 4: who is not of an organisation or an application cannot tell that its messages exist.
    async fn strangers(&self, promised: &Promised<'_>, broken: &mut Vec<String>) {
        let (world, customers) = (self.world, self.customers);
        let Some((message, owner)) = promised.keys().next().filter(|_| self.world.dice.chance(300)) else {
            return;
        };
        let (messages, attempts) = (world.undisturbed("messages"), world.undisturbed("attempts"));
        let app = customers[*owner].app;
        for stranger in customers.iter().filter(|other| other.app != app) {
            let mut tokens = vec![
                world.tokens().for_app(stranger.org, stranger.app, Default::default()).expect("a token"),
            ];
            if stranger.org != customers[*owner].org {
                tokens.push(stranger.token.clone());
            }
            for token in tokens {
                let paths = [
                    (&messages, format!("/api/v1/app/{app}/msg/{message}")),
                    (&attempts, format!("/api/v1/app/{app}/attempt/msg/{message}")),
                ];
                for (router, path) in paths {
                    let (status, _) =
                        answer(router.clone(), request("GET", &path, &token, None, String::new())).await;
                    if status != 404 {
                        broken.push(format!("a stranger gets {status} for {path}"));
                    }
                }
            }
        }
    }
}
