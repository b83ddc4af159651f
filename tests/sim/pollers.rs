//! Customers who poll: by iterator, and as two workers that share a consumer with leases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use shared::ids::{EndpointId, MessageId};

use crate::random::Dice;
use crate::workload::{Customer, Wish, request};
use crate::world::{CLOCK_STEP_MAX_MS, World, answer};

/// An endpoint of a customer that is polled.
#[derive(Clone, Debug)]
pub struct Polled {
    pub id: EndpointId,
    /// Only messages with this channel are for it.
    pub channel: Option<&'static str>,
}

/// A lease as the worker that has it sees it.
#[derive(Clone, Debug)]
struct Lease {
    from: Duration,
    until: Duration,
    offsets: (u64, u64),
}

/// What was given at one endpoint.
#[derive(Clone, Debug, Default)]
struct Given {
    iterator: Option<String>,
    by_iterator: BTreeSet<String>,
    by_offset: BTreeMap<u64, String>,
    leases: Vec<Lease>,
    /// When a commit of that offset was begun.
    commits: Vec<(Duration, u64)>,
    problems: Vec<String>,
}

/// What pollers got. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Pollers(Arc<Mutex<BTreeMap<EndpointId, Given>>>);

impl Pollers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<EndpointId, Given>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at<T>(&self, endpoint: EndpointId, change: impl FnOnce(&mut Given) -> T) -> T {
        change(self.lock().entry(endpoint).or_default())
    }
}

/// How a request is made: as customers do, or as somebody whom nothing happens to.
#[derive(Clone)]
enum Way {
    Faulty(Arc<World>),
    Undisturbed(axum::Router),
}

#[derive(Clone)]
struct Client {
    way: Way,
    world: Arc<World>,
    customer: Customer,
    endpoint: EndpointId,
    pollers: Pollers,
}

impl Client {
    async fn ask(&self, method: &str, rest: &str, body: Value) -> Option<(u16, Value)> {
        let path =
            format!("/api/v1/app/{}/{}", self.customer.app, rest.replace("{}", &self.endpoint.to_string()));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = request(method, &path, &self.customer.token, None, body);
        let (status, body) = match &self.way {
            Way::Faulty(world) => world.ask("messages", request).await?,
            Way::Undisturbed(router) => answer(router.clone(), request).await,
        };
        let body = serde_json::from_slice(&body).unwrap_or_default();
        if ![200, 204, 409, 503].contains(&status) {
            self.problem(format!("{method} {rest}: {status} {body}"));
        }
        Some((status, body))
    }

    fn problem(&self, problem: String) {
        self.pollers.at(self.endpoint, |given| given.problems.push(problem));
    }

    /// One page from where the poller is. Whether there is more.
    async fn poll(&self, limit: u64) -> bool {
        let at = self.pollers.at(self.endpoint, |given| given.iterator.clone());
        let iterator = at.map_or_else(String::new, |at| format!("&iterator={at}"));
        let page = self.ask("GET", &format!("poller/{{}}?limit={limit}{iterator}"), Value::Null).await;
        let Some((200, page)) = page else { return false };
        let ids: Vec<String> = messages(&page).map(|(id, _)| id).collect();
        self.world.sim.trace(|| format!("{} is polled: {ids:?}", self.endpoint));
        self.pollers.at(self.endpoint, |given| {
            given.by_iterator.extend(ids);
            given.iterator = page["iterator"].as_str().map(str::to_owned);
        });
        page["done"] == false
    }

    /// Leases what comes next. The last offset of it, if there is something.
    async fn lease(&self, worker: usize, limit: u64, ms: u64) -> Option<u64> {
        let started = self.world.sim.now();
        let path = format!("polling-endpoint/{{}}/consumer/c?limit={limit}&lease_duration_ms={ms}");
        let (200, page) = self.ask("GET", &path, Value::Null).await? else { return None };
        let given: Vec<(String, u64)> =
            messages(&page).map(|(id, one)| (id, one["offset"].as_u64().expect("an offset"))).collect();
        self.world.sim.trace(|| format!("{} is leased to worker {worker}: {given:?}", self.endpoint));
        let offsets = (given.first()?.1, given.last()?.1);
        let lease = Lease { from: self.world.sim.now(), until: started + Duration::from_millis(ms), offsets };
        self.pollers.at(self.endpoint, |at| {
            at.leases.push(lease);
            for (id, offset) in given {
                let before = at.by_offset.insert(offset, id.clone());
                if let Some(before) = before.filter(|before| *before != id) {
                    at.problems.push(format!("offset {offset} was {before} and is {id}"));
                }
            }
        });
        Some(offsets.1)
    }

    async fn commit(&self, offset: u64) {
        let now = self.world.sim.now();
        self.pollers.at(self.endpoint, |given| given.commits.push((now, offset)));
        let path = "polling-endpoint/{}/consumer/c/commit";
        // Another worker may have committed more meanwhile: that is said, and no problem.
        let body = json!({ "offset": offset }).to_string();
        let path =
            format!("/api/v1/app/{}/{}", self.customer.app, path.replace("{}", &self.endpoint.to_string()));
        let request = request("POST", &path, &self.customer.token, None, body);
        match &self.way {
            Way::Faulty(world) => drop(world.ask("messages", request).await),
            Way::Undisturbed(router) => drop(answer(router.clone(), request).await),
        }
    }
}

fn messages(page: &Value) -> impl Iterator<Item = (String, &Value)> {
    let data = page["data"].as_array().into_iter().flatten();
    data.map(|one| (one["id"].as_str().expect("an ID").to_owned(), one))
}

/// Starts the pollers: they look around the times at which messages are posted. Each is one more that is open.
pub fn start(
    world: &Arc<World>,
    customers: &[Customer],
    wishes: &[Wish],
    open: &Arc<Mutex<usize>>,
) -> Pollers {
    let pollers = Pollers::default();
    let dice = Dice::new(world.seed, "pollers' times");
    for (number, customer) in customers.iter().enumerate() {
        for polled in &customer.polled {
            for worker in 0..3 {
                let own = wishes.iter().filter(|wish| wish.customer == number);
                let mut times: Vec<Duration> = own
                    .flat_map(|wish| [30, 300, 3_000, 30_000].map(|most| wish.at + dice.millis(1, most)))
                    .collect();
                times.sort_unstable();
                let client = Client {
                    way: Way::Faulty(world.clone()),
                    world: world.clone(),
                    customer: customer.clone(),
                    endpoint: polled.id,
                    pollers: pollers.clone(),
                };
                *open.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                let (open, dice) =
                    (open.clone(), Dice::new(world.seed, &format!("poller {number} {worker}")));
                world.sim.spawn(async move {
                    for at in times {
                        let wait = at.saturating_sub(client.world.sim.now());
                        client.world.sim.sleep(wait).await;
                        if worker == 0 {
                            client.poll(dice.between(1, 4)).await;
                            continue;
                        }
                        let ms = *dice.pick(&[1_000, 60_000, 300_000]);
                        let Some(last) = client.lease(worker, dice.between(1, 4), ms).await else { continue };
                        client.world.sim.sleep(dice.millis(1, *dice.pick(&[20, 2_000, 90_000]))).await;
                        // Some die instead.
                        if dice.chance(700) {
                            client.commit(last).await;
                        }
                    }
                    *open.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
                });
            }
        }
    }
    pollers
}

impl Pollers {
    /// What was not kept of what was promised to pollers; `promised` are the messages of each customer.
    pub async fn check(
        &self,
        world: &Arc<World>,
        customers: &[Customer],
        promised: &[(usize, MessageId, Option<&'static str>)],
    ) -> Vec<String> {
        let router = world.undisturbed("messages");
        for customer in customers {
            for polled in &customer.polled {
                let client = Client {
                    way: Way::Undisturbed(router.clone()),
                    world: world.clone(),
                    customer: customer.clone(),
                    endpoint: polled.id,
                    pollers: self.clone(),
                };
                client.drain().await;
            }
        }
        // Clocks that are stepped differ by so much.
        let tolerated = if world.faults.rates.clock_step > 0 { 2 * CLOCK_STEP_MAX_MS } else { 0 };
        let mut broken = Vec::new();
        for (number, customer) in customers.iter().enumerate() {
            for polled in &customer.polled {
                let given = self.at(polled.id, |given| given.clone());
                let leased: BTreeSet<&String> = given.by_offset.values().collect();
                let wanted = promised.iter().filter(|(of, _, channel)| {
                    *of == number && (polled.channel.is_none() || polled.channel == *channel)
                });
                for (_, message, _) in wanted {
                    let text = message.to_string();
                    if !given.by_iterator.contains(&text) {
                        broken.push(format!("{message} was skipped by the poller of {}", polled.id));
                    }
                    if !leased.contains(&text) {
                        broken.push(format!("{message} was skipped by the consumer of {}", polled.id));
                    }
                }
                broken.extend(given.problems.iter().map(|problem| format!("{}: {problem}", polled.id)));
                broken.extend(given.held_by_two(Duration::from_millis(tolerated)));
            }
        }
        broken
    }
}

impl Client {
    /// Fetches all that is left.
    async fn drain(&self) {
        for _ in 0..200 {
            let before = self.pollers.at(self.endpoint, |given| given.by_iterator.len());
            let more = self.poll(250).await;
            if !more && self.pollers.at(self.endpoint, |given| given.by_iterator.len()) == before {
                break;
            }
        }
        for _ in 0..200 {
            let Some((status, page)) =
                self.ask("GET", "polling-endpoint/{}/consumer/c?limit=250", Value::Null).await
            else {
                continue;
            };
            if status == 409 {
                self.world.sim.sleep(Duration::from_secs(60)).await;
                continue;
            }
            let given: Vec<(String, u64)> =
                messages(&page).map(|(id, one)| (id, one["offset"].as_u64().expect("an offset"))).collect();
            let Some((_, last)) = given.last().cloned() else { break };
            self.pollers.at(self.endpoint, |at| {
                at.by_offset.extend(given.into_iter().map(|(id, offset)| (offset, id)));
            });
            self.commit(last).await;
        }
    }
}

impl Given {
    /// Leases of the same offsets that two workers had at the same time, for longer than clocks can explain.
    fn held_by_two(&self, tolerated: Duration) -> Vec<String> {
        let end = |lease: &Lease| {
            let committed = self.commits.iter().filter(|(_, offset)| *offset >= lease.offsets.1);
            committed.map(|(at, _)| *at).min().map_or(lease.until, |at| at.min(lease.until))
        };
        let mut found = Vec::new();
        for (nth, one) in self.leases.iter().enumerate() {
            for other in &self.leases[nth + 1..] {
                let both = end(one).min(end(other)).saturating_sub(one.from.max(other.from));
                let share = one.offsets.0 <= other.offsets.1 && other.offsets.0 <= one.offsets.1;
                if share && both > tolerated {
                    found.push(format!("a lease that two hold for {both:?}: {one:?} and {other:?}"));
                }
            }
        }
        found
    }
}
