//! Ordered endpoints: what arrived there, against the order of their application.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::ids::MessageId;
use shared::store::attempts::Status;

use crate::journal::{Events, Post};
use crate::promises::Promised;
use crate::workload::{Customer, Target, Wish};
use crate::world::World;

/// A message of an ordered endpoint: its numbers in the order, and what was sent of it.
struct Sent<'a> {
    id: MessageId,
    wish: &'a Wish,
    numbers: BTreeSet<u64>,
    posts: Vec<&'a Post>,
    /// It was given up because the endpoint is disabled, or somebody sent it by hand.
    apart: bool,
}

impl Sent<'_> {
    /// Whether it stands before another, however often it is in the order.
    fn is_before(&self, other: &Self) -> bool {
        match (self.numbers.last(), other.numbers.first()) {
            (Some(last), Some(first)) => last < first,
            _ => false,
        }
    }

    /// Whether it had arrived by then.
    fn has_arrived(&self, by: Duration) -> bool {
        let answers = self.posts.iter().filter_map(|post| post.answer);
        answers.into_iter().any(|(at, status)| at <= by && (200..300).contains(&status))
    }
}

/// Within a key: what was accepted first is first in the order, what is first there arrives first, and nothing is passed
/// over. One line for each time that it is not so.
pub async fn check(
    world: &World,
    customers: &[Customer],
    promised: &Promised<'_>,
    events: &Events,
) -> Vec<String> {
    let mut broken = Vec::new();
    for (nth, customer) in customers.iter().enumerate() {
        for target in customer.endpoints.iter().filter(|target| target.ordered.is_some()) {
            let own = promised.iter().filter(|((_, of), wish)| *of == nth && target.wants(wish));
            let own: Vec<(MessageId, &Wish)> = own.map(|((id, _), wish)| (*id, *wish)).collect();
            for (key, sent) in sent(world, customer, target, &own, events).await {
                pairs(target, &key, &sent, &mut broken);
            }
        }
    }
    broken
}

async fn sent<'a>(
    world: &World,
    customer: &Customer,
    target: &Target,
    own: &[(MessageId, &'a Wish)],
    events: &'a Events,
) -> BTreeMap<String, Vec<Sent<'a>>> {
    let store = world.store();
    let (entries, _) = store.order_after(customer.app, 0, 10_000).await.expect("the order can be read");
    let mut numbers: BTreeMap<MessageId, BTreeSet<u64>> = BTreeMap::new();
    for (number, one) in entries.iter().flat_map(|entry| (entry.first..).zip(&entry.messages)) {
        if one.key_at(target.id).is_some() {
            numbers.entry(one.message).or_default().insert(number);
        }
    }
    let mut keys: BTreeMap<String, Vec<Sent<'a>>> = BTreeMap::new();
    for (id, wish) in own {
        let states = store.states(*id, &[target.id], true).await.unwrap_or_default();
        let apart =
            states.first().is_some_and(|state| state.status == Status::Fail || !state.by_hand.is_empty());
        let text = id.to_string();
        let posts =
            events.posts.iter().filter(|post| post.receiver == target.receiver && post.message == text);
        keys.entry(target.key(wish)).or_default().push(Sent {
            id: *id,
            wish,
            numbers: numbers.get(id).cloned().unwrap_or_default(),
            posts: posts.collect(),
            apart,
        });
    }
    keys
}

fn pairs(target: &Target, key: &str, sent: &[Sent<'_>], broken: &mut Vec<String>) {
    let posted = |wish: &Wish| !wish.queued;
    for a in sent {
        for b in sent {
            let told =
                a.wish.accepted_at.is_some_and(|at| at < b.wish.at) && posted(a.wish) && posted(b.wish);
            if let (true, Some(first), Some(second)) = (told, a.numbers.first(), b.numbers.first())
                && first > second
            {
                broken.push(format!("{} was accepted before {} and is behind it in the order", a.id, b.id));
            }
            if !a.is_before(b) || a.apart || b.apart {
                continue;
            }
            // What comes in one request comes again in one, or what is left of it.
            let with_a = |post: &&&Post| a.posts.iter().any(|other| other.request == post.request);
            for post in b.posts.iter().filter(with_a) {
                let before = a.posts.iter().find(|other| other.request == post.request);
                if before.is_some_and(|before| before.listed > post.listed) {
                    broken.push(format!("{} stands behind {} in a list at {:?}", a.id, b.id, post.at));
                }
            }
            let apart = b.posts.iter().filter(|post| !with_a(post));
            let Some(first) = apart.map(|post| post.at).min() else { continue };
            if let Some(late) = a.posts.iter().map(|post| post.at).filter(|at| *at > first).max() {
                broken.push(format!(
                    "{} of key {key:?} came to {} at {late:?}, after {}, which came at {first:?}",
                    a.id, target.id, b.id
                ));
            } else if !a.has_arrived(first) {
                broken.push(format!(
                    "{} of key {key:?} had not arrived at {} when {} came at {first:?}",
                    a.id, target.id, b.id
                ));
            }
        }
    }
}
