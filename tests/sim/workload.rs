//! The customers of a run, and their backends: they post messages, lose answers, and repeat.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use serde_json::{Value, json};
use shared::ids::{AppId, EndpointId, OrgId};

use crate::pollers::Polled;
use crate::random::Dice;
use crate::receivers::{Manner, ROLE, queue_arn};
use crate::world::{World, answer};

/// A customer: an application and its endpoints.
#[derive(Clone, Debug)]
pub struct Customer {
    pub org: OrgId,
    pub app: AppId,
    pub token: String,
    pub endpoints: Vec<Target>,
    /// Endpoints that nothing is sent to.
    pub polled: Vec<Polled>,
}

/// An endpoint, and the server behind it.
#[derive(Clone, Debug)]
pub struct Target {
    pub id: EndpointId,
    pub receiver: usize,
    pub secret: String,
    /// Only messages with this channel go to it.
    pub channel: Option<&'static str>,
    /// Only messages whose payload matches go to it.
    pub filter: Option<PayloadFilter>,
    /// How many retries its policy has, or its application's; the installation's if neither has one.
    pub retries: Option<usize>,
    /// The code that its webhooks pass, if they do.
    pub code: Option<Code>,
    /// Its messages arrive in order; with `true` by key.
    pub ordered: Option<bool>,
    /// Its webhooks are lists: of so many messages, which wait so many seconds for others.
    pub batches: Option<(usize, u64)>,
    /// How many messages it takes per second, if there is a limit.
    pub rate: Option<u64>,
}

impl Target {
    /// What a message is in order by at this endpoint.
    pub fn key(&self, wish: &Wish) -> String {
        let payload: Value = serde_json::from_str(&wish.payload).expect("JSON");
        if self.ordered == Some(true) { payload["k"].to_string() } else { String::new() }
    }

    /// Whether a message is for it.
    pub fn wants(&self, wish: &Wish) -> bool {
        let by_channel = self.channel.is_none() || self.channel == wish.channel;
        by_channel && self.filter.is_none_or(|filter| filter.matches(&wish.payload))
    }
}

/// Which payloads an endpoint wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadFilter {
    /// A customer's first message.
    First,
    /// Each.
    Any,
    /// None: a message for nobody else goes nowhere.
    None,
}

impl PayloadFilter {
    /// As the API takes it.
    fn pattern(self) -> Value {
        match self {
            Self::First => json!({ "of": [{ "suffix": "-0" }] }),
            Self::Any => {
                json!({ "n": [{ "numeric": ["=", 1] }], "$or": [{ "no": [1] }, { "of": [{ "wildcard": "*-*" }] }] })
            }
            Self::None => json!({ "of": [{ "exists": false }] }),
        }
    }

    fn matches(self, payload: &str) -> bool {
        match self {
            Self::First => {
                let payload: Value = serde_json::from_str(payload).expect("JSON");
                payload["of"].as_str().is_some_and(|of| of.ends_with("-0"))
            }
            Self::Any => true,
            Self::None => false,
        }
    }
}

/// What an endpoint's transformation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Sets a header, and leaves the payload byte for byte.
    Marks,
    /// Sends a part of the payload.
    Reduces,
}

impl Code {
    const fn text(self) -> &'static str {
        match self {
            Self::Marks => "const handler = (w) => { w.headers = { 'x-code': w.env.mark }; return w }",
            Self::Reduces => {
                "const handler = (w) => ({ payload: { of: w.payload.of }, headers: { 'x-code': w.env.mark } })"
            }
        }
    }

    /// What the code puts into a header.
    pub const MARK: &str = "the simulation's";
}

/// A message that a backend wants to be sent, and what it was told.
#[derive(Clone, Debug)]
pub struct Wish {
    pub customer: usize,
    /// When it is sent first.
    pub at: Duration,
    pub payload: String,
    pub channel: Option<&'static str>,
    pub event_id: Option<String>,
    pub key: Option<String>,
    /// It is put into the queue of producers and not posted: nobody says what became of it.
    pub queued: bool,
    /// The ids of the answers that said yes, and when the first did.
    pub accepted: Vec<String>,
    pub accepted_at: Option<Duration>,
    /// It was told that the message is there already.
    pub conflict: bool,
    /// The endpoints that it was sent to again by hand, as the answers said.
    pub resent: Vec<EndpointId>,
}

/// What clients asked for and got.
#[derive(Clone, Debug, Default)]
pub struct Book(Arc<Mutex<Vec<Wish>>>);

impl Book {
    pub fn wishes(&self) -> Vec<Wish> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, nth: usize, change: impl FnOnce(&mut Wish)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)[nth]);
    }
}

/// Makes the customers of a run, before anything goes wrong.
pub async fn customers(world: &World) -> Vec<Customer> {
    let (applications, endpoints) = (world.undisturbed("applications"), world.undisturbed("endpoints"));
    let tokens = world.tokens();
    let dice = &world.dice;
    // Of their own, so that the rest of a seed's course depends on them as little as can be.
    let polling = Dice::new(world.seed, "pollers");
    let places = Dice::new(world.seed, "places");
    let mut customers = Vec::new();
    let first_org = OrgId::new(shared::clock::Timestamp::from_ms(crate::time::START_MS), dice);
    // One in many runs has a customer with more endpoints than are served at once.
    let many = dice.chance(15);
    // Of their own, so that the rest of a seed's course does not depend on them.
    let policies = Dice::new(world.seed, "policies");
    let codes = Dice::new(world.seed, "transformations");
    let filters = Dice::new(world.seed, "filters");
    let orders = Dice::new(world.seed, "orders");
    let lists = Dice::new(world.seed, "lists");
    for nth in 0..2 + u64::from(dice.chance(200)) {
        let org = if nth == 0 || dice.chance(500) {
            first_org
        } else {
            OrgId::new(shared::clock::Timestamp::from_ms(crate::time::START_MS), dice)
        };
        let token = tokens.for_org(org).expect("a token");
        let ask = async |router: &axum::Router, method: &str, path: &str, body: Value| -> Value {
            let (status, answer) =
                answer(router.clone(), request(method, path, &token, None, body.to_string())).await;
            let answer = serde_json::from_slice(&answer).expect("JSON");
            assert!(status < 300, "{method} {path}: {status} {answer}");
            answer
        };
        let (of_all, retries_of_all) = retry_policy(&policies);
        let app =
            ask(&applications, "POST", "/api/v1/app", json!({ "name": "customer", "retryPolicy": of_all }))
                .await;
        let app = app["id"].as_str().expect("an id").to_owned();
        let mut made = Vec::new();
        let count = if many && nth == 0 { 53 } else { *dice.pick(&[1, 1, 2, 3]) };
        for _ in 0..count {
            let manner = if count > 3 { Manner::Healthy } else { Manner::draw(dice, world.settings.timeout) };
            let ordered = (count <= 3 && orders.chance(250)).then(|| orders.chance(600));
            // What waits in order waits for as long as it fails: such servers work in the end.
            let manner = match manner {
                Manner::Always(status) if ordered.is_some() && status != 410 => Manner::FailsFirst(2),
                Manner::Hangs if ordered.is_some() => Manner::FailsFirst(1),
                manner => manner,
            };
            let channel = dice.chance(200).then_some("a");
            let (receiver, url) = world.receivers.add(manner);
            let path = format!("/api/v1/app/{app}/endpoint");
            let secret = format!("whsec_{}", base64(&dice.next().to_le_bytes().repeat(4)));
            let (policy, retries) = retry_policy(&policies);
            let mut body = json!({ "url": url, "secret": secret, "retryPolicy": policy });
            // A queue means no more by a status than that it failed; what a server may ask for has a promise of its own.
            if !matches!(manner, Manner::Always(_) | Manner::Busy) && places.chance(150) {
                body["url"] = Value::Null;
                body["destination"] = json!({ "kind": "sqs", "arn": queue_arn(receiver), "roleArn": ROLE });
            }
            if let Some(channel) = channel {
                body["channels"] = json!([channel]);
            }
            let filter = filters.chance(150).then(|| {
                *filters.pick(&[
                    PayloadFilter::First,
                    PayloadFilter::First,
                    PayloadFilter::Any,
                    PayloadFilter::None,
                ])
            });
            if let Some(filter) = filter {
                body["filter"] = filter.pattern();
            }
            let rate = dice.chance(150).then(|| dice.between(1, 3));
            if let Some(rate) = rate {
                body["rateLimit"] = json!(rate);
            }
            if let Some(by_key) = ordered {
                body["fifo"] = json!(true);
                body["fifoKey"] = if by_key { json!("/k") } else { Value::Null };
            }
            // A queue takes no lists.
            let lists_there = ordered.is_some() && body.get("destination").is_none() && lists.chance(500);
            let batches = lists_there.then(|| (*lists.pick(&[2, 3, 10]), *lists.pick(&[0, 0, 2, 30])));
            if let Some((size, wait)) = batches {
                (body["batchSize"], body["maxWaitSecs"]) = (json!(size), json!(wait));
            }
            let endpoint = ask(&endpoints, "POST", &path, body).await;
            let id: EndpointId = endpoint["id"].as_str().expect("an id").parse().expect("an id");
            let code = codes.chance(150).then(|| *codes.pick(&[Code::Marks, Code::Reduces]));
            // Transformations are for endpoints with a URL.
            let code = code.filter(|_| endpoint["destination"]["kind"] == "http");
            if let Some(code) = code {
                let path = format!("{path}/{id}/transformation");
                let body =
                    json!({ "code": code.text(), "enabled": true, "variables": { "mark": Code::MARK } });
                let request = request("PATCH", &path, &token, None, body.to_string());
                let (status, answer) = answer(endpoints.clone(), request).await;
                assert_eq!(status, 204, "{path}: {}", String::from_utf8_lossy(&answer));
            }
            let retries = retries.or(retries_of_all);
            made.push(Target {
                id,
                receiver,
                secret,
                channel,
                filter,
                retries,
                code,
                ordered,
                batches,
                rate,
            });
        }
        let mut polled = Vec::new();
        if polling.chance(300) {
            let channel = polling.chance(200).then_some("a");
            let mut body = json!({ "destination": { "kind": "polling" } });
            if let Some(channel) = channel {
                body["channels"] = json!([channel]);
            }
            let endpoint = ask(&endpoints, "POST", &format!("/api/v1/app/{app}/endpoint"), body).await;
            let id = endpoint["id"].as_str().expect("an id").parse().expect("an id");
            polled.push(Polled { id, channel });
        }
        let app = app.parse().expect("an id");
        customers.push(Customer { org, app, token, endpoints: made, polled });
    }
    customers
}

/// A retry policy and how many retries it has; most have none of their own.
fn retry_policy(dice: &Dice) -> (Value, Option<usize>) {
    if !dice.chance(200) {
        return (Value::Null, None);
    }
    match dice.between(0, 3) {
        0 => (json!({ "schedule": [] }), Some(0)),
        1 => (json!({ "schedule": [2, 950, 1], "jitter": 50 }), Some(3)),
        2 => (json!({ "attempts": 6, "minSeconds": 1, "maxSeconds": 10, "jitter": 0 }), Some(5)),
        _ => (json!({ "attempts": 2, "minSeconds": 1000 }), Some(1)),
    }
}

/// In base64, as keys are written.
pub fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A request of a client.
pub fn request(
    method: &str,
    path: &str,
    token: &str,
    key: Option<&str>,
    body: String,
) -> http::Request<Body> {
    let mut request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {token}"));
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    request.body(Body::from(body)).expect("a request")
}

/// JSON as people write it: spaces, escapes, numbers that no float holds, and who it belongs to.
fn payload(world: &World, customer: usize, nth: usize) -> String {
    let dice = &world.dice;
    // Unoptimised code takes long to sign and compress much, so large ones are rare.
    let length = if dice.chance(30) { 50_000 } else { *dice.pick(&[0, 10, 100, 100, 300, 2_000]) };
    let filler = dice.pick(&["x", "é", "\\u00e9", " ", "\\n"]).repeat(length / 2);
    let space = *dice.pick(&["", " ", "\n\t"]);
    let key = Dice::new(world.seed + (1000 * customer + nth) as u64, "keys").below(3);
    format!(
        "{{\"of\":{space}\"{customer}-{nth}\",\"k\":{key},{space}\"n\": 1.0, \"big\":12345678901234567890123.10e0,\"text\":\"{filler}\"{space}}}"
    )
}

/// Starts the backends. Each message is a task of its own; the count of those that are not done.
pub fn start(world: &Arc<World>, customers: &[Customer]) -> (Book, Arc<Mutex<usize>>) {
    let (book, open) = (Book::default(), Arc::new(Mutex::new(0)));
    let dice = &world.dice;
    let busy = dice.chance(100);
    // Of their own, so that the rest of a seed's course does not depend on them.
    let doors = Dice::new(world.seed, "doors");
    let rows = Dice::new(world.seed, "rows");
    for (number, customer) in customers.iter().enumerate() {
        let messages = if customer.endpoints.len() > 3 {
            1
        } else if busy && number == 0 {
            dice.between(6, 14)
        } else {
            dice.between(1, 2)
        };
        let is_ordered = customer.endpoints.iter().any(|target| target.ordered.is_some());
        let messages = if is_ordered { messages + rows.between(2, 8) } else { messages };
        let span = world.faults.until().as_millis() as u64 / *dice.pick(&[2, 8, 1000]);
        for nth in 0..messages {
            let mut wish = Wish {
                customer: number,
                at: Duration::ZERO,
                payload: payload(world, number, nth as usize),
                channel: *dice.pick(&[None, Some("a"), Some("b")]),
                event_id: dice.chance(250).then(|| format!("event-{number}-{nth}")),
                key: dice.chance(700).then(|| format!("key-{number}-{nth}")),
                queued: doors.chance(250),
                accepted: Vec::new(),
                accepted_at: None,
                conflict: false,
                resent: Vec::new(),
            };
            let at = Duration::from_millis(dice.between(10, 10 + span));
            wish.at = at;
            let mut wishes = book.0.lock().unwrap_or_else(PoisonError::into_inner);
            wishes.push(wish.clone());
            let index = wishes.len() - 1;
            drop(wishes);
            *open.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            let (world, customer) = (world.clone(), customer.clone());
            let (book, open) = (book.clone(), open.clone());
            world.clone().sim.spawn(async move {
                world.sim.sleep(at).await;
                if wish.queued {
                    queue(&world, &customer, &wish, index).await;
                } else {
                    send(&world, &customer, &wish, &book, index).await;
                }
                *open.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
            });
        }
    }
    (book, open)
}

/// Disables an endpoint while messages are on their way, and enables it again or not. It is `open` until that is done:
/// what waits in order goes on from there.
pub fn disable(world: &Arc<World>, customers: &[Customer], open: &Arc<Mutex<usize>>) {
    let customer = customers[world.dice.below(customers.len())].clone();
    let target = customer.endpoints[world.dice.below(customer.endpoints.len())].clone();
    let span = world.faults.until().as_millis() as u64;
    let (at, pause) = (world.dice.millis(10, span / 4), world.dice.millis(10, span));
    let back = world.dice.chance(500);
    *open.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    let open = open.clone();
    let world = world.clone();
    world.clone().sim.spawn(async move {
        let endpoints = world.undisturbed("endpoints");
        let patch = async |disabled: bool| {
            let path = format!("/api/v1/app/{}/endpoint/{}", customer.app, target.id);
            let body = json!({ "disabled": disabled }).to_string();
            let request = request("PATCH", &path, &customer.token, None, body);
            let (status, _) = answer(endpoints.clone(), request).await;
            assert_eq!(status, 200, "an endpoint can be changed");
            world.sim.trace(|| format!("endpoint {} is disabled: {disabled}", target.id));
        };
        world.sim.sleep(at).await;
        patch(true).await;
        let nth = {
            let mut events = world.journal.lock();
            events.disabled.push((target.receiver, world.sim.now(), None));
            events.disabled.len() - 1
        };
        if back {
            world.sim.sleep(pause).await;
            world.journal.lock().disabled[nth].2 = Some(world.sim.now());
            patch(false).await;
        }
        *open.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    });
}

/// Sends a message that was accepted to one of its endpoints again, by hand.
async fn resend(world: &Arc<World>, customer: &Customer, wish: &Wish, id: &str, book: &Book, index: usize) {
    world.sim.sleep(world.dice.millis(0, 60_000)).await;
    let targets: Vec<&Target> = customer.endpoints.iter().filter(|target| target.wants(wish)).collect();
    if targets.is_empty() {
        return;
    }
    let endpoint = world.dice.pick(&targets).id;
    let path = format!("/api/v1/app/{}/msg/{id}/endpoint/{endpoint}/resend", customer.app);
    let key = format!("resend-{id}");
    for _ in 0..4 {
        let request = request("POST", &path, &customer.token, Some(&key), String::new());
        match world.ask("attempts", request).await {
            Some((202, _)) => {
                world.sim.trace(|| format!("message {index} is sent again to {endpoint}"));
                return book.change(index, |wish| wish.resent.push(endpoint));
            }
            // The endpoint is disabled.
            Some((409, _)) => return,
            _ => world.sim.sleep(world.dice.millis(500, 40_000)).await,
        }
    }
}

/// Puts a message into the queue; with a key sometimes twice, as a producer does that lost SQS's answer.
async fn queue(world: &Arc<World>, customer: &Customer, wish: &Wish, index: usize) {
    let key = wish.key.as_ref().map_or_else(String::new, |key| format!(",\"idempotencyKey\":\"{key}\""));
    let body = format!(
        "{{\"orgId\":\"{}\",\"appId\":\"{}\",\"message\":{}{key}}}",
        customer.org,
        customer.app,
        body(wish)
    );
    let times = if wish.key.is_some() && world.dice.chance(300) { 2 } else { 1 };
    for _ in 0..times {
        world.queue(&body).await;
        world.sim.trace(|| format!("message {index} is queued"));
        world.sim.sleep(world.dice.millis(0, 20_000)).await;
    }
}

/// The type of what clients send.
pub const EVENT_TYPE: &str = "thing.happened";

/// A message as it is posted.
fn body(wish: &Wish) -> String {
    let mut body = format!("{{\"eventType\":\"{EVENT_TYPE}\",\"payload\":{}", wish.payload);
    if let Some(channel) = wish.channel {
        body.push_str(&format!(",\"channels\":[\"{channel}\"]"));
    }
    if let Some(event_id) = &wish.event_id {
        body.push_str(&format!(",\"eventId\":\"{event_id}\""));
    }
    body.push('}');
    body
}

/// Posts a message until there is an answer; without an idempotency key only sometimes more than once.
async fn send(world: &Arc<World>, customer: &Customer, wish: &Wish, book: &Book, index: usize) {
    let body = body(wish);
    let path = format!("/api/v1/app/{}/msg", customer.app);
    let tries = if wish.key.is_some() { 8 } else { world.dice.between(1, 2) };
    for _ in 0..tries {
        let request = request("POST", &path, &customer.token, wish.key.as_deref(), body.clone());
        let impatient =
            world.faults.strikes(world.faults.rates.impatient_client, "client that does not wait");
        let answer = if impatient {
            // It goes on alone, and its answer reaches nobody.
            let (other, wait) = (world.clone(), world.dice.millis(10, 2_000));
            world.sim.spawn(async move { drop(other.ask("messages", request).await) });
            world.sim.sleep(wait).await;
            None
        } else {
            world.ask("messages", request).await
        };
        match answer {
            Some((202, body)) => {
                let body: Value = serde_json::from_slice(&body).expect("JSON");
                let id = body["id"].as_str().expect("an id").to_owned();
                let now = world.sim.now();
                world.sim.trace(|| format!("message {index} is accepted as {id}"));
                book.change(index, |wish| {
                    wish.accepted.push(id);
                    wish.accepted_at.get_or_insert(now);
                });
                if world.dice.chance(150) {
                    let id = book.wishes()[index].accepted[0].clone();
                    resend(world, customer, wish, &id, book, index).await;
                }
                // Some ask again although they know.
                if !(wish.key.is_some() && world.dice.chance(100)) {
                    return;
                }
            }
            Some((409, _)) if wish.event_id.is_some() => {
                world.sim.trace(|| format!("message {index} is there already"));
                book.change(index, |wish| wish.conflict = true);
                return;
            }
            Some((status, body)) if status != 503 => {
                panic!("message {index}: {status} {}", String::from_utf8_lossy(&body))
            }
            _ => {}
        }
        world.sim.sleep(world.dice.millis(50, 20_000)).await;
    }
}
