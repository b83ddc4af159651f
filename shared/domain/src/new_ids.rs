//! The IDs that one instance makes: ascending, also within the four milliseconds that an ID holds.

use std::sync::Mutex;

use runtime::clock::Timestamp;
use runtime::random::{self, Random};

use crate::ids::{Id, Ksuid};

/// Where the counted part of an ID ends. Positions of pollers tell messages apart by the first ten bytes of their
/// IDs ([`crate::polling`]), so that two that one instance makes have to differ there.
const COUNTED: std::ops::Range<usize> = 5..10;
/// What is left of a drawn byte, so that there is room to count up: half of 2^40 numbers, in steps of at most 2^16,
/// is enough for eight million IDs in four milliseconds.
const LOWER_HALF: u8 = 0x7f;

/// Makes IDs, each greater than the one before it of the same four milliseconds.
///
/// So what clients create one after the other by one instance, and the messages of one request, are listed in that
/// order. Of two instances within four milliseconds, either can come first.
#[derive(Debug, Default)]
pub struct NewIds {
    last: Mutex<Option<Ksuid>>,
}

impl NewIds {
    /// A new ID of that time. It is drawn but for a number of 40 bits, which begins with a drawn one in every four
    /// milliseconds and goes on by drawn steps.
    pub fn next<I: Id>(&self, at: Timestamp, random: &dyn Random) -> I {
        let mut drawn = random::bytes(random);
        drawn[0] &= LOWER_HALF;
        let mut id = Ksuid::new(at, drawn);
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(last) = *last
            && last.bytes()[..COUNTED.start] == id.bytes()[..COUNTED.start]
        {
            let step = 1 + u64::from(u16::from_be_bytes([drawn[1], drawn[2]]));
            let mut bytes = *id.bytes();
            bytes[COUNTED].copy_from_slice(&(counted(&last) + step).to_be_bytes()[3..]);
            id = Ksuid::from_bytes(bytes);
        }
        *last = Some(id);
        I::from_ksuid(id)
    }
}

fn counted(id: &Ksuid) -> u64 {
    id.bytes()[COUNTED].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use runtime::random::SystemRandom;

    use super::*;
    use crate::ids::MessageId;

    /// All bits set: the largest numbers and steps that can be drawn.
    #[derive(Debug)]
    struct Highest;

    impl Random for Highest {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0xff);
        }
    }

    #[test]
    fn ids_of_one_instance_ascend_and_differ_where_pollers_look() {
        let at = Timestamp::from_ms(1_800_000_000_000);
        for random in [&SystemRandom::new() as &dyn Random, &Highest] {
            let ids = NewIds::default();
            let made: Vec<MessageId> = (0..10_000).map(|_| ids.next(at, random)).collect();
            for pair in made.windows(2) {
                assert!(pair[0] < pair[1], "{pair:?}");
                assert!(pair[0].to_string() < pair[1].to_string(), "{pair:?}");
                assert_ne!(pair[0].ksuid().bytes()[..10], pair[1].ksuid().bytes()[..10]);
            }
            assert!(made.iter().all(|id| id.time() == at));
            assert!(
                ids.next::<MessageId>(at.after(std::time::Duration::from_millis(4)), random) > made[9_999]
            );
        }
    }

    #[test]
    fn instances_draw_numbers_of_their_own() {
        let at = Timestamp::from_ms(1_800_000_000_000);
        let random = SystemRandom::new();
        let [one, other] = [(); 2].map(|()| NewIds::default().next::<MessageId>(at, &random));
        assert_ne!(one, other);
    }
}
