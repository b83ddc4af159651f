//! What was sent is sent again by a task, once a run has come to rest, while faults strike anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shared::clock::Timestamp;
use shared::ids::{AttemptId, MessageId, OrgId, TaskId};
use shared::store::attempts::Status;
use shared::store::tasks::{Progress, TaskKind};

use crate::promises::{OnFile, was_disabled};
use crate::random::Dice;
use crate::time::START_MS;
use crate::workload::{Customer, Target, request};
use crate::world::World;

/// A task, and what it has to do.
#[derive(Clone, Debug)]
pub struct Replay {
    org: OrgId,
    task: TaskId,
    target: Target,
    /// The messages that were sent to the endpoint before, and whether it is to send them again.
    messages: BTreeMap<MessageId, bool>,
}

/// Asks for a task, in some runs. None where there is none, or where it was never said that there is.
pub async fn begin(world: &Arc<World>, customers: &[Customer]) -> Option<Replay> {
    // Of their own, so that the rest of a seed's course does not depend on them.
    let dice = Dice::new(world.seed, "replays");
    if world.calm || !dice.chance(300) {
        return None;
    }
    let customer = dice.pick(customers);
    let target = dice.pick(&customer.endpoints).clone();
    if was_disabled(world, &target) {
        return None;
    }
    let kind = *dice.pick(&["recover", "bulk-replay"]);
    let states = OnFile::read(world).states;
    let sent: BTreeSet<MessageId> = states
        .into_iter()
        .filter(|(endpoint, _)| *endpoint == target.id)
        .map(|(_, message)| message)
        .collect();
    let mut messages = BTreeMap::new();
    for message in sent {
        let states = world.store().states(message, &[target.id], true).await.ok()?;
        let failed = states.iter().all(|state| state.outcome() == Status::Fail);
        messages.insert(message, kind == "bulk-replay" || failed);
    }
    world.faults.strike_for(dice.millis(10_000, 300_000));
    let path = format!("/api/v1/app/{}/endpoint/{}/{kind}", customer.app, target.id);
    let body = json!({ "since": Timestamp::from_ms(START_MS - 3_600_000).to_string() }).to_string();
    for _ in 0..8 {
        let request = request("POST", &path, &customer.token, Some("replay"), body.clone());
        match world.ask("endpoints", request).await {
            Some((202, body)) => {
                let task: Value = serde_json::from_slice(&body).expect("JSON");
                let task = task["id"].as_str().expect("an id").parse().expect("a task's id");
                world.sim.trace(|| format!("{task}: {kind} of {} messages at {}", messages.len(), target.id));
                return Some(Replay { org: customer.org, task, target, messages });
            }
            Some((status, body)) if status < 500 && status != 409 => {
                panic!("{kind}: {status} {}", String::from_utf8_lossy(&body))
            }
            _ => world.sim.sleep(dice.millis(500, 40_000)).await,
        }
    }
    // What was begun and not told goes on, until nothing strikes any more.
    world.sim.sleep(Duration::from_secs(1)).await;
    None
}

impl Replay {
    /// How many messages it is to send.
    pub fn len(&self) -> u64 {
        self.messages.values().filter(|chosen| **chosen).count() as u64
    }

    /// Each of them was sent once by it, and no other; and it says that it is done.
    pub async fn check(&self, world: &World) -> Vec<String> {
        let (store, task, endpoint) = (world.store(), self.task, self.target.id);
        let mut broken = Vec::new();
        // Who is disabled in the midst of it is sent what was sent by then, and no more.
        let stopped = was_disabled(world, &self.target);
        let found = match store.find_task(self.org, task).await {
            Ok(Some(found)) if found.finished => found,
            other => return vec![format!("{task} is not done: {other:?}")],
        };
        let mut all = 0;
        for (message, chosen) in &self.messages {
            let attempt = AttemptId::of_task(task, *message, endpoint);
            let states = store.states(*message, &[endpoint], true).await.unwrap_or_default();
            let sent = states.iter().any(|state| state.by_hand.contains(&attempt));
            all += u64::from(sent);
            // A message that was accepted by a clock that was ahead can be behind the end of the task's window.
            let chosen = *chosen && message.time() <= found.until;
            // What failed when its client began to ask for the task may have arrived by then: asking takes a while.
            let arrived = found.kind == TaskKind::Recover
                && states.iter().any(|state| state.outcome() == Status::Success);
            if sent != chosen && !(chosen && (stopped || arrived)) {
                broken.push(format!("{task} sent {message} to {endpoint}: {sent}, and should: {chosen}"));
            }
        }
        let told = match &found.progress {
            Progress::Replay(replay) => Some(replay.sent),
            _ => None,
        };
        if told != Some(all) && !(stopped && told.is_some_and(|told| told <= self.len())) {
            broken.push(format!("{task} has sent {all}, and says: {:?}", found.progress));
        }
        broken
    }
}
