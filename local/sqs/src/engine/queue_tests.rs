use super::*;
use crate::engine::content::Attributes;

fn queue() -> Queue {
    Queue::new(1, "q".to_owned(), Arc::from("arn:aws:sqs:us-east-1:000000000000:q"), 0)
}

fn message(seq: u64, group: Option<&str>, place: Place) -> Message {
    let payload = Payload::new("body".to_owned(), Attributes::new(), None, group.map(Arc::from));
    Message {
        seq,
        id: seq.to_string(),
        payload: Arc::new(payload),
        sent_ms: 0,
        receives: 0,
        receives_before: 0,
        first_receive_ms: None,
        receive: 0,
        origin: None,
        place,
    }
}

fn send(queue: &mut Queue, seq: u64, group: Option<&str>) {
    queue.insert(message(seq, group, Place::Visible { since: 0 }));
}

fn take(queue: &mut Queue, now: u64, until: u64) -> Option<Message> {
    queue.advance(now);
    match queue.take(now, until, now + 1, None) {
        Some(Taken::Received(message)) => Some(message),
        Some(Taken::Dead(message)) => panic!("{} is dead", message.id),
        None => None,
    }
}

fn counts(queue: &Queue) -> (usize, usize, usize) {
    let Counts { visible, in_flight, delayed } = queue.counts();
    (visible, in_flight, delayed)
}

#[test]
fn receives_rotate_between_groups() {
    let mut queue = queue();
    for seq in 1..=100 {
        send(&mut queue, seq, Some("noisy"));
    }
    send(&mut queue, 101, Some("quiet"));
    send(&mut queue, 102, None);
    let order: Vec<u64> = (0..5).filter_map(|_| take(&mut queue, 0, 9_000)).map(|m| m.seq).collect();
    assert_eq!(order, [1, 101, 102, 2, 3]);
    send(&mut queue, 103, Some("quiet"));
    let order: Vec<u64> = (0..3).filter_map(|_| take(&mut queue, 0, 9_000)).map(|m| m.seq).collect();
    assert_eq!(order, [4, 103, 5]);
}

#[test]
fn a_group_keeps_its_order() {
    let mut queue = queue();
    for seq in [3, 1, 2] {
        send(&mut queue, seq, None);
    }
    let order: Vec<u64> = (0..4).filter_map(|_| take(&mut queue, 0, 9_000)).map(|m| m.seq).collect();
    assert_eq!(order, [1, 2, 3]);
}

#[test]
fn time_ends_delays_and_visibility_timeouts() {
    let mut queue = queue();
    queue.insert(message(1, None, Place::Delayed { until: 5_000 }));
    assert_eq!(counts(&queue), (0, 0, 1));
    assert_eq!(queue.next_due(), Some(5_000));
    assert!(take(&mut queue, 4_999, 10_000).is_none());
    let first = take(&mut queue, 5_000, 10_000).expect("the delay ended");
    assert_eq!((first.receives, first.first_receive_ms), (1, Some(5_000)));
    assert_eq!(counts(&queue), (0, 1, 0));
    assert_eq!(queue.next_due(), Some(10_000));
    assert!(take(&mut queue, 9_999, 20_000).is_none());
    let second = take(&mut queue, 10_000, 20_000).expect("visible again");
    assert_eq!((second.receives, second.first_receive_ms), (2, Some(5_000)));
    assert_ne!(first.receive, second.receive);
}

#[test]
fn only_the_last_receive_can_delete() {
    let mut queue = queue();
    send(&mut queue, 1, None);
    let old = take(&mut queue, 0, 10).expect("sent");
    let new = take(&mut queue, 10, 20).expect("visible again");
    assert!(!queue.delete(1, old.receive));
    assert_eq!(counts(&queue), (0, 1, 0));
    // Its timeout has passed, but nobody received it since.
    queue.advance(30);
    assert!(queue.delete(1, new.receive));
    assert!(!queue.delete(1, new.receive));
    assert_eq!(counts(&queue), (0, 0, 0));
    assert!(take(&mut queue, 30, 40).is_none());
}

#[test]
fn visibility_changes_only_in_flight_and_up_to_twelve_hours() {
    let mut queue = queue();
    send(&mut queue, 1, None);
    let taken = take(&mut queue, 0, 30_000).expect("sent");
    let kind = |result: Result<(), ApiError>| result.expect_err("refused").kind;
    assert!(queue.change_visibility(1, taken.receive, 0, 43_200).is_ok());
    assert_eq!(kind(queue.change_visibility(1, taken.receive, 1, 43_200)), Kind::InvalidParameterValue);
    assert_eq!(kind(queue.change_visibility(1, 99, 1, 5)), Kind::InvalidParameterValue);
    assert!(queue.change_visibility(1, taken.receive, 1_000, 5).is_ok());
    assert_eq!(queue.next_due(), Some(6_000));
    assert!(queue.change_visibility(1, taken.receive, 1_000, 0).is_ok());
    assert_eq!(counts(&queue), (1, 0, 0));
    assert_eq!(kind(queue.change_visibility(1, taken.receive, 1_000, 5)), Kind::MessageNotInflight);
}

#[test]
fn the_receive_after_the_last_allowed_one_is_dead() {
    let mut queue = queue();
    send(&mut queue, 1, None);
    for now in 0..2 {
        assert!(matches!(queue.take(now, 0, now, Some(2)), Some(Taken::Received(_))));
        assert!(queue.take(now, 0, now, Some(2)).is_none(), "not twice in one step");
        queue.advance(now);
    }
    let Some(Taken::Dead(message)) = queue.take(2, 0, 2, Some(2)) else { panic!("must be dead") };
    assert_eq!(message.receives, 2);
    assert_eq!(counts(&queue), (0, 0, 0));
    assert!(queue.advance(u64::MAX).is_empty(), "nothing of it is left");
}

#[test]
fn a_dead_letter_counts_anew_towards_the_next_queue() {
    let mut queue = queue();
    let mut dead = message(1, None, Place::Visible { since: 0 });
    (dead.receives, dead.receives_before) = (5, 5);
    queue.insert(dead);
    assert!(matches!(queue.take(0, 0, 1, Some(1)), Some(Taken::Received(m)) if m.receives == 6));
    queue.advance(0);
    assert!(matches!(queue.take(0, 0, 2, Some(1)), Some(Taken::Dead(_))));
}

#[test]
fn old_messages_go_wherever_they_are() {
    let mut queue = queue();
    queue.settings.retention = 60;
    send(&mut queue, 1, Some("a"));
    queue.insert(message(2, None, Place::Delayed { until: 900_000 }));
    queue.insert(message(3, None, Place::InFlight { until: 900_000, taken: 0 }));
    let mut late = message(4, None, Place::Visible { since: 30_000 });
    late.sent_ms = 30_000;
    queue.insert(late);
    assert!(queue.advance(59_999).is_empty());
    assert_eq!(queue.advance(60_000), [1, 2, 3]);
    assert_eq!(counts(&queue), (1, 0, 0));
    assert_eq!(take(&mut queue, 60_000, 70_000).map(|m| m.seq), Some(4));
}

#[test]
fn a_purge_also_covers_sends_whose_commit_ends_later() {
    let mut queue = queue();
    send(&mut queue, 1, None);
    queue.purge(3);
    assert_eq!(counts(&queue), (0, 0, 0));
    assert!(queue.purged(2) && !queue.purged(3));
    send(&mut queue, 3, None);
    assert_eq!(take(&mut queue, 0, 1).map(|m| m.seq), Some(3));
}

#[test]
fn emptied_groups_leave_the_ring() {
    let mut queue = queue();
    for seq in 1..=3 {
        send(&mut queue, seq, Some(&format!("g{seq}")));
    }
    send(&mut queue, 4, Some("g1"));
    let taken: Vec<Message> = (0..3).filter_map(|_| take(&mut queue, 0, 9)).collect();
    assert_eq!(taken.len(), 3);
    assert_eq!(queue.pop().map(|m| m.seq), Some(4));
    assert!(queue.pop().is_none());
    assert!(queue.groups.is_empty() && queue.ring.is_empty());
}
