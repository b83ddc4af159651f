//! How many copies an application has of what each message and each delivery reads of it.
//!
//! One item serves 3,000 strong reads a second (DynamoDB's limit of a partition). An application that is read more
//! often has further copies of its item, in partitions of their own; each reader takes any of them. A copy costs
//! nothing but two write units with each change of the application or its endpoints. The rule is in ADR 0036.

use std::time::Duration;

use runtime::clock::Timestamp;

/// Most copies of an application, its item included: with a change's other writes far below the hundred that one
/// transaction takes, and 48,000 reads a second.
pub const COPIES_MAX: u8 = 16;
/// Reads a second that one copy is to serve: half of what it can, because who reads, reads any.
const READS_A_COPY: u64 = 1_500;
/// The time whose reads are counted together.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Copies that were not needed for so long become fewer with the next change.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// That all are needed is noted again after so long.
const NOTED: Duration = Duration::from_secs(6 * 3600);

/// The copies of an application's item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies {
    /// How many there are, the item itself included: 1 for nearly all applications, otherwise a power of two.
    pub count: u8,
    /// When so many were needed last, as far as that was noted.
    pub needed_at: Timestamp,
}

impl Default for Copies {
    fn default() -> Self {
        Self { count: 1, needed_at: Timestamp::default() }
    }
}

impl Copies {
    /// How many copies an application needs that is read so often within a [`WINDOW`].
    pub fn needed_for(reads: u64) -> u8 {
        let of_one = READS_A_COPY * WINDOW.as_secs();
        let mut count = 1;
        while count < COPIES_MAX && reads > of_one * u64::from(count) {
            count *= 2;
        }
        count
    }

    /// Whether there is something to note where `needed` copies are needed: more than there are, or, once in a
    /// while, that all of them are.
    pub fn is_news(self, needed: u8, now: Timestamp) -> bool {
        needed > self.count || (self.count > 1 && needed == self.count && now.since(self.needed_at) > NOTED)
    }

    /// What is left of them with a change: half, if not all of them were needed for a day.
    #[must_use]
    pub fn after_change(self, now: Timestamp) -> Self {
        if self.count == 1 || now.since(self.needed_at) <= KEPT {
            return self;
        }
        Self { count: self.count / 2, needed_at: now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_follow_the_rate_and_nearly_all_have_one() {
        for (a_second, count) in [
            (0, 1),
            (1, 1),
            (1_500, 1),
            (1_501, 2),
            (3_000, 2),
            (3_001, 4),
            (6_001, 8),
            // 8,000 messages to one endpoint, delivered in full batches and one by one.
            (8_800, 8),
            (16_000, 16),
            (1_000_000, 16),
        ] {
            assert_eq!(Copies::needed_for(a_second * WINDOW.as_secs()), count, "{a_second} a second");
        }
    }

    #[test]
    fn what_is_needed_is_noted_when_it_grows_and_once_in_a_while() {
        let at = |hours: u64| Timestamp::from_ms(hours * 3_600_000);
        let copies = Copies { count: 4, needed_at: at(100) };
        assert!(copies.is_news(8, at(100)) && Copies::default().is_news(2, at(0)));
        for (needed, hours) in [(4, 101), (4, 106), (2, 200), (1, 200)] {
            assert!(!copies.is_news(needed, at(hours)), "{needed} after {hours} hours");
        }
        assert!(copies.is_news(4, at(107)));
        // Nothing is ever noted of an application that needs one.
        assert!(!Copies::default().is_news(1, at(1_000_000)));
    }

    #[test]
    fn what_was_not_needed_for_a_day_goes_by_halves() {
        let at = |hours: u64| Timestamp::from_ms(hours * 3_600_000);
        let mut copies = Copies { count: 16, needed_at: at(0) };
        assert_eq!(copies.after_change(at(24)), copies);
        let mut counts = Vec::new();
        for day in 1..6 {
            copies = copies.after_change(at(25 * day));
            assert_eq!(copies.after_change(at(25 * day)), copies, "once a day");
            counts.push(copies.count);
        }
        assert_eq!(counts, [8, 4, 2, 1, 1]);
    }
}
