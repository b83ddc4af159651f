//! The promise of ordered endpoints: within a key nothing overtakes what was accepted before it was posted, and
//! a key that fails holds up itself alone. That nothing is skipped is what the other promises say.

use std::time::Duration;

use crate::journal::{Events, Post};
use crate::promises::was_disabled;
use crate::workload::{Customer, Fifo, Target, Wish};
use crate::world::World;

/// What is not kept of it.
pub fn check(world: &World, events: &Events, customers: &[Customer], wishes: &[Wish]) -> Vec<String> {
    let mut broken = Vec::new();
    for (number, customer) in customers.iter().enumerate() {
        for target in customer.endpoints.iter().filter(|target| !was_disabled(world, target)) {
            let Some(fifo) = target.fifo else { continue };
            // Nobody says when what was queued is accepted, and what was sent by hand was to go at once.
            let seen: Vec<&Wish> = wishes
                .iter()
                .filter(|wish| wish.customer == number && !wish.queued && !wish.resent.contains(&target.id))
                .filter(|wish| target.channel.is_none() || target.channel == wish.channel)
                .collect();
            for second in &seen {
                for first in seen.iter().filter(|first| fifo == Fifo::All || first.key_of == second.key_of) {
                    broken.extend(overtaken(events, target, first, second));
                }
            }
            if world.calm && fifo == Fifo::ByKey && !world.receivers.manner(target.receiver).is_slow() {
                let all = wishes.iter().filter(|wish| wish.customer == number);
                let alone: Vec<&Wish> = seen
                    .iter()
                    .filter(|wish| all.clone().filter(|other| other.key_of == wish.key_of).count() == 1)
                    .copied()
                    .collect();
                broken.extend(alone.into_iter().filter_map(|wish| held_up(world, events, target, wish)));
            }
        }
    }
    broken
}

fn posts<'a>(events: &'a Events, target: &Target, message: &str) -> impl Iterator<Item = &'a Post> + Clone {
    events.posts.iter().filter(move |post| post.receiver == target.receiver && post.message == message)
}

/// When the delivery of a message ended: with the first webhook that was answered well, or the last attempt.
fn ended(events: &Events, target: &Target, message: &str) -> Option<Duration> {
    let well = |post: &&Post| post.answer.is_some_and(|(_, status)| (200..300).contains(&status));
    let endpoint = target.id.to_string();
    posts(events, target, message).filter(well).map(|post| post.at).min().or_else(|| {
        let records = events.records.iter().filter(|it| it.message == message && it.endpoint == endpoint);
        records.map(|record| record.at).max()
    })
}

/// Whether `second`, which was posted after `first` was accepted, arrived before that had ended.
fn overtaken(events: &Events, target: &Target, first: &Wish, second: &Wish) -> Option<String> {
    if first.accepted_at? >= second.begun_at? {
        return None;
    }
    let (first, second) = (first.accepted.first()?, second.accepted.first()?);
    let ended = ended(events, target, first)?;
    let arrived = posts(events, target, second).map(|post| post.at).min()?;
    (arrived < ended).then(|| {
        format!(
            "{second} came to ordered server {} at {arrived:?}, and {first} before it ended at {ended:?}",
            target.receiver
        )
    })
}

/// Whether a message with a key of its own waited for others.
fn held_up(world: &World, events: &Events, target: &Target, wish: &Wish) -> Option<String> {
    let id = wish.accepted.first()?;
    let waited = posts(events, target, id).map(|post| post.at).min()?.saturating_sub(wish.accepted_at?);
    let bound = world.settings.timeout * 2 + Duration::from_secs(5);
    (waited > bound).then(|| format!("{id} has a key of its own and was held up for {waited:?}"))
}
