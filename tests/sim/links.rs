//! A customer opens the portal by its link: tests an endpoint and rotates its key there, while messages are on
//! their way and faults strike.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use shared::auth::{AppAccess, Capabilities, Capability};
use shared::ids::MessageId;
use standardwebhooks::Webhook;

use crate::faults::Service;
use crate::journal::{Events, Post};
use crate::random::Dice;
use crate::workload::{Customer, Target, base64, request};
use crate::world::{CLOCK_STEP_MAX_MS, World, answer};

/// How long an application's token may still work once its session is ended (docs/adr/0010-token-cache-and-revocation.md).
const REVOCATION_MAX: Duration = Duration::from_secs(5);
const SESSION: &str = "the-portal";

/// The session of a run, if it has one.
#[derive(Clone, Debug, Default)]
pub struct Links(Option<Arc<Link>>);

/// One customer's session.
#[derive(Debug)]
struct Link {
    customer: Customer,
    target: Target,
    token: String,
    /// What is sent instead of an example.
    payload: String,
    /// The endpoint's next key.
    key: String,
    done: Mutex<Done>,
}

/// What the session asked for and was told.
#[derive(Clone, Debug, Default)]
struct Done {
    example: Option<MessageId>,
    rotates: bool,
    /// When it was told that the new key counts.
    rotated: Option<Duration>,
}

/// Begins a session in some runs. `open` counts what is not done yet.
pub fn start(world: &Arc<World>, customers: &[Customer], open: &Arc<Mutex<usize>>) -> Links {
    // Of its own, so that the rest of a seed's course does not depend on it.
    let dice = Dice::new(world.seed, "links");
    if !dice.chance(300) {
        return Links::default();
    }
    let customer = dice.pick(customers).clone();
    let target = dice.pick(&customer.endpoints).clone();
    // Everything that these two need, and nothing else.
    let capabilities: Capabilities = [
        Capability::ViewBase,
        Capability::ViewEndpointSecret,
        Capability::ManageEndpointSecret,
        Capability::CreateAttempts,
    ]
    .into_iter()
    .collect();
    let access = AppAccess { capabilities, session: Some(SESSION.into()), ..AppAccess::default() };
    let token = world.tokens().for_app(customer.org, customer.app, access).expect("a token");
    let link = Arc::new(Link {
        payload: format!("{{\"of\": \"a link-{}\", \"n\":1.0}}", world.seed),
        key: format!("whsec_{}", base64(&dice.next().to_le_bytes().repeat(4))),
        token,
        customer,
        target,
        done: Mutex::default(),
    });
    let span = world.faults.until().as_millis() as u64;
    let works: [(u64, bool); 2] =
        [(dice.between(10, span), true), (dice.between(10, span), dice.chance(700))];
    for (nth, (at, does)) in works.into_iter().enumerate() {
        if !does {
            continue;
        }
        *open.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let (world, link, open) = (world.clone(), link.clone(), open.clone());
        world.clone().sim.spawn(async move {
            world.sim.sleep(Duration::from_millis(at)).await;
            match nth {
                0 => link.send_example(&world).await,
                _ => link.rotate(&world).await,
            }
            *open.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        });
    }
    Links(Some(link))
}

impl Link {
    fn done(&self) -> Done {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Done)) {
        change(&mut self.done.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn path(&self, of: &str) -> String {
        format!("/api/v1/app/{}/endpoint/{}/{of}", self.customer.app, self.target.id)
    }

    /// Asks until it is answered, as the page does. None if it never is, or if the endpoint's state forbids it.
    async fn ask(&self, world: &Arc<World>, path: &str, body: String) -> Option<Vec<u8>> {
        for _ in 0..8 {
            let request = request("POST", path, &self.token, Some(path), body.clone());
            match world.ask("endpoints", request).await {
                Some((200..=299, answer)) => return Some(answer),
                // The endpoint is disabled.
                Some((409, _)) => return None,
                Some((status, answer)) if status != 503 => {
                    panic!("{path}: {status} {}", String::from_utf8_lossy(&answer))
                }
                _ => world.sim.sleep(world.dice.millis(500, 20_000)).await,
            }
        }
        None
    }

    async fn send_example(&self, world: &Arc<World>) {
        let body = format!("{{\"eventType\":\"svix.ping\",\"payload\":{}}}", self.payload);
        let Some(answer) = self.ask(world, &self.path("send-example"), body).await else { return };
        let message: Value = serde_json::from_slice(&answer).expect("JSON");
        let id = message["id"].as_str().expect("an id").parse().expect("an id");
        world.sim.trace(|| format!("the portal's test is {id}"));
        self.change(|done| done.example = Some(id));
    }

    async fn rotate(&self, world: &Arc<World>) {
        self.change(|done| done.rotates = true);
        let body = json!({ "key": self.key }).to_string();
        if self.ask(world, &self.path("secret/rotate"), body).await.is_some() {
            let now = world.sim.now();
            world.sim.trace(|| format!("the key of {} is rotated", self.target.id));
            self.change(|done| done.rotated = Some(now));
        }
    }
}

impl Links {
    /// The test that was sent to this server's endpoint, if that is what a webhook is, and whose it is.
    pub fn example_at(&self, receiver: usize) -> Option<&str> {
        let link = self.0.as_ref().filter(|link| link.target.receiver == receiver)?;
        Some(&link.payload)
    }

    /// Promise 4: a webhook has a signature by each key that counts, and by no other.
    pub fn check_signatures(
        &self,
        post: &Post,
        target: &Target,
        at: i64,
        events: &Events,
    ) -> Result<(), String> {
        let sign = |secret: &str| {
            let verifier = Webhook::new(secret).map_err(|error| error.to_string())?;
            verifier.sign(&post.webhook, at, &post.whole).map_err(|error| error.to_string())
        };
        let header = post.headers.get("webhook-signature").and_then(|value| value.to_str().ok());
        let header = header.unwrap_or_default();
        let mine = sign(&target.secret)?;
        let link = self.0.as_ref().filter(|link| link.target.id == target.id);
        let Some((link, done)) = link.map(|link| (link, link.done())).filter(|(_, done)| done.rotates) else {
            return if header == mine { Ok(()) } else { Err("the signature is wrong".into()) };
        };
        let new = sign(&link.key)?;
        // The old key counts for a day, which no run lasts.
        let begun = events.invocations[&post.invocation].from;
        let must_be_new = done.rotated.is_some_and(|rotated| begun > rotated);
        match header.split(' ').collect::<Vec<_>>().as_slice() {
            [one] if *one == mine && !must_be_new => Ok(()),
            [one, other] if [*one, *other] == [&new, &mine] || [*one, *other] == [&mine, &new] => Ok(()),
            _ => Err(format!("rotated at {:?}, and signed {header:?}", done.rotated)),
        }
    }

    /// What was accepted in the portal is on its way, the token can do what it says and no more, and ends with its
    /// session.
    pub async fn check(&self, world: &Arc<World>) -> Vec<String> {
        let mut broken = Vec::new();
        let Some(link) = &self.0 else { return broken };
        // What strikes a client that asks once is no broken promise.
        world.sim.sleep(world.faults.until().saturating_sub(world.sim.now())).await;
        while [Service::DynamoDb, Service::Sqs].into_iter().any(|service| world.faults.is_down(service)) {
            world.sim.sleep(Duration::from_secs(1)).await;
        }
        if let Some(id) = link.done().example {
            let states = world.store().states(id, &[link.target.id], true).await.unwrap_or_default();
            if states.is_empty() {
                broken.push(format!("the portal's test {id} was accepted and never tried"));
            }
        }
        let path = format!("/api/v1/app/{}/endpoint/{}", link.customer.app, link.target.id);
        let token = &link.token;
        let get = || request("GET", &path, token, None, String::new());
        let patch = request("PATCH", &path, token, None, json!({ "description": "mine" }).to_string());
        let expected = [(get(), 200), (patch, 403)];
        for (request, status) in expected {
            let method = request.method().clone();
            match world.ask("endpoints", request).await {
                Some((given, _)) if given == status => {}
                other => broken.push(format!("{method} with the portal's token: {:?}", other.map(|it| it.0))),
            }
        }
        let end = format!("/api/v1/auth/app/{}/expire-all", link.customer.app);
        let body = json!({ "sessionIds": [SESSION], "expiry": 0 }).to_string();
        let end = request("POST", &end, &link.customer.token, None, body);
        let (status, text) = answer(world.undisturbed("auth"), end).await;
        if status >= 300 {
            broken.push(format!("a session is not ended: {status} {}", String::from_utf8_lossy(&text)));
        }
        // By the instances' clocks, which were put right not long ago.
        world.sim.sleep(REVOCATION_MAX + Duration::from_millis(2 * CLOCK_STEP_MAX_MS + 1)).await;
        for _ in 0..crate::world::INSTANCES * 2 {
            match world.ask("endpoints", get()).await {
                Some((401, _)) => {}
                other => broken.push(format!("the session has ended: {:?}", other.map(|it| it.0))),
            }
        }
        broken
    }

    /// Whether a session acted in this run.
    pub fn acted(&self) -> bool {
        self.0.as_ref().is_some_and(|link| link.done().example.is_some() || link.done().rotated.is_some())
    }
}
