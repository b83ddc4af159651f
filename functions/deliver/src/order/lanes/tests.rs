//! What a worker begins, in which order, and what waits for what.

use shared::ids::{Id as _, Ksuid};
use shared::order::{Fifo, Ordered};
use shared::payload_filter::PayloadView;

use super::*;

fn key(text: &str) -> OrderKey {
    let payload = serde_json::json!({ "k": text }).to_string();
    Fifo { key: Some("/k".into()), ..Fifo::default() }.key_of(&PayloadView::new(&payload))
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_ms(1_800_000_000_000 + seconds * 1000)
}

fn message(number: u64) -> MessageId {
    MessageId::from_ksuid(Ksuid::new(at(number), [number as u8; 15]))
}

fn begun(name: &str, number: u64) -> Option<Begun> {
    Some(Begun { key: key(name), messages: vec![message(number)], listed: false, slot: None, forced: false })
}

fn work() -> Work {
    let mut work = Work::of(Place::default(), Batching::default());
    for (number, name) in [(1, "a"), (2, "b"), (3, "a"), (4, "b")] {
        work.add(key(name), number, message(number));
        work.place.position = number;
    }
    work
}

#[test]
fn one_message_of_a_key_is_under_way_and_the_first_first() {
    let mut work = work();
    assert_eq!(work.begin(), begun("a", 1));
    assert_eq!(work.begin(), begun("b", 2));
    assert_eq!(work.begin(), None);
    work.end(key("b"), Stepped::one(Step::Done));
    assert_eq!(work.begin(), begun("b", 4));
    work.end(key("a"), Stepped::one(Step::Done));
    assert_eq!(work.begin(), begun("a", 3));
}

#[test]
fn a_key_that_fails_waits_alone_and_what_comes_of_it_is_found_again() {
    let mut work = work();
    work.begin();
    work.begin();
    work.end(key("a"), Stepped::one(Step::Later { next: at(9), slot: None }));
    work.end(key("b"), Stepped::one(Step::Done));
    work.add(key("a"), 5, message(5));
    assert_eq!(work.begin(), begun("b", 4));
    assert_eq!(work.begin(), None);
    work.end(key("b"), Stepped::one(Step::Done));
    work.at_end = true;
    assert!(!work.settle(at(1)));
    let waiting = Waiting { at: 1, next: at(9), slot: None, forced: false, gathered: 0 };
    assert_eq!(work.place.waiting, [(key("a"), waiting)].into());
}

#[test]
fn what_is_left_is_due_at_once() {
    let mut work = work();
    work.begin();
    work.end(key("a"), Stepped::one(Step::Done));
    work.at_end = true;
    assert!(work.settle(at(7)));
    let left: Vec<_> = work.place.waiting.values().map(|waiting| (waiting.at, waiting.next)).collect();
    assert!(left.contains(&(3, AT_ONCE)) && left.contains(&(2, AT_ONCE)) && left.len() == 2);
    work.stop();
    assert!(!work.settle(at(8)));
}

#[test]
fn a_long_lane_is_read_on_from_where_it_is() {
    let mut work = Work::of(Place::default(), Batching::default());
    for number in 1..=LANE_MAX as u64 + 3 {
        work.add(key("a"), number, message(number % 200));
        work.place.position = number;
    }
    let lane = &work.lanes[&key("a")];
    assert_eq!((lane.queue.len(), lane.level, lane.scanned), (LANE_MAX, false, LANE_MAX as u64));
    for _ in 0..LANE_MAX {
        work.begin().expect("a message");
        work.end(key("a"), Stepped::one(Step::Done));
    }
    work.at_end = true;
    assert!(work.settle(at(1)));
    assert_eq!(work.place.waiting[&key("a")].at, LANE_MAX as u64 + 1);
}

#[test]
fn a_force_makes_what_waits_due_until_it_was_tried() {
    let waits = Waiting { at: 1, next: at(900), slot: None, forced: false, gathered: 0 };
    let waiting = [(key("a"), waits), (key("b"), Waiting { at: 2, ..waits })].into();
    let place = Place { waiting, forced: 3, forced_done: 2, ..Place::default() };
    assert!(place.has_due(at(1)));
    let mut work = Work::of(place, Batching::default());
    assert_eq!((work.place.waiting[&key("a")].next, work.place.forced_done), (AT_ONCE, 3));
    // The rate limit lets "a" wait, and the time is over before "b" is begun.
    for (name, number) in [("a", 1), ("b", 2)] {
        let forced = work.place.waiting.remove(&key(name)).is_some_and(|waiting| waiting.forced);
        work.add(key(name), number, message(number));
        work.lanes.get_mut(&key(name)).unwrap().forced = forced;
    }
    assert_eq!(work.begin(), Some(Begun { forced: true, ..begun("a", 1).unwrap() }));
    work.end(key("a"), Stepped::one(Step::Later { next: at(5), slot: Some(at(5)) }));
    work.settle(at(2));
    assert!(work.place.waiting.values().all(|waiting| waiting.forced));
    // What was tried waits for its time again.
    work.place.waiting.remove(&key("a"));
    work.add(key("a"), 1, message(1));
    work.lanes.get_mut(&key("a")).unwrap().forced = true;
    work.begin();
    work.end(key("a"), Stepped::one(Step::Later { next: at(900), slot: None }));
    assert!(!work.place.waiting[&key("a")].forced);
}

fn listing(size: u16, wait: u16, count: u64) -> Work {
    let mut work = Work::of(Place::default(), Batching { size, wait });
    for number in 1..=count {
        work.add(key("a"), number, message(number));
        work.place.position = number;
    }
    work
}

#[test]
fn messages_of_a_key_are_begun_together_and_are_done_together() {
    let mut work = listing(3, 0, 5);
    work.gather(at(6));
    let begun = work.begin().expect("messages");
    assert_eq!((begun.messages, begun.listed), (vec![message(1), message(2), message(3)], true));
    // The first two are done, and the third waits.
    let step = Step::Later { next: at(9), slot: None };
    work.end(key("a"), Stepped { done: 2, step, tried: false });
    assert_eq!(work.place.waiting[&key("a")].at, 3);
    let mut work = listing(3, 0, 5);
    work.begin();
    work.end(key("a"), Stepped { done: 3, step: Step::Done, tried: false });
    assert_eq!(work.begin().expect("messages").messages, [message(4), message(5)]);
}

#[test]
fn too_few_gather_until_there_are_enough_or_their_time_is_over() {
    let mut work = listing(3, 10, 2);
    work.gather(at(2));
    assert_eq!(work.begin(), None);
    let waiting = work.place.waiting[&key("a")];
    assert_eq!((waiting.at, waiting.next, waiting.gathered), (1, at(11), 2));
    assert!(work.add(key("a"), 3, message(3)));
    assert_eq!(work.place.waiting[&key("a")].next, AT_ONCE);
    // The time of the first is over, somebody asked for it, or it was tried.
    let mut late = listing(3, 10, 2);
    late.gather(at(11));
    assert!(late.begin().is_some());
    for change in [
        |lane: &mut Lane| lane.forced = true,
        |lane: &mut Lane| lane.tried = true,
        |lane: &mut Lane| lane.level = false,
    ] {
        let mut work = listing(3, 10, 2);
        change(work.lanes.get_mut(&key("a")).unwrap());
        work.gather(at(2));
        assert!(work.place.waiting.is_empty());
    }
    // Where many wait, nobody waits for company.
    let mut work = listing(3, 10, 2);
    let failed = Waiting { at: 1, next: at(900), slot: None, forced: false, gathered: 0 };
    work.place.waiting = (0..KEYS_GATHERING_MAX).map(|nth| (key(&nth.to_string()), failed)).collect();
    work.gather(at(2));
    assert!(work.begin().is_some());
}

#[test]
fn what_only_gathers_begins_nothing() {
    let endpoint = EndpointId::from_ksuid(Ksuid::new(at(0), [1; 15]));
    let entry = |first, name: &str| {
        let one = Ordered { message: message(first), endpoints: vec![(endpoint, key(name))] };
        Entry { first, messages: vec![one] }
    };
    let mut work = listing(4, 10, 2);
    work.gather(at(2));
    let batching = work.batching;
    let only = |entries: &[Entry]| only_gather(&work.place, entries, endpoint, batching);
    assert!(only(&[entry(3, "a")]));
    assert!(!only(&[entry(3, "a"), entry(4, "a")]));
    assert!(!only(&[entry(3, "b")]));
    let mut failed = work.place.clone();
    failed.waiting.insert(key("b"), Waiting { at: 1, next: at(9), slot: None, forced: false, gathered: 0 });
    assert!(only_gather(&failed, &[entry(3, "b"), entry(4, "b")], endpoint, batching));
}
