//! Chance that a seed repeats.

use shared::clock::Timestamp;
use shared::ids::Ksuid;

use super::{DAY, START};

/// A generator of which a seed tells everything (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }

    pub fn ksuid(&mut self, at: u64) -> Ksuid {
        let mut payload = [0; 15];
        payload[..8].copy_from_slice(&self.next().to_be_bytes());
        payload[7..].copy_from_slice(&self.next().to_be_bytes());
        Ksuid::new(Timestamp::from_ms(at), payload)
    }

    pub fn ksuid_within(&mut self, length: u64) -> Ksuid {
        let at = START + self.below(length);
        self.ksuid(at)
    }

    /// Times over more than 200 days, most of them in a third of those, several in one millisecond.
    pub fn times(&mut self, count: usize) -> Vec<u64> {
        let mut times: Vec<u64> = Vec::with_capacity(count);
        for _ in 0..count {
            let same = times.last().copied().filter(|_| self.one_in(4));
            let dense = self.below(10) < 6;
            times.push(same.unwrap_or_else(|| {
                START + if dense { 80 * DAY + self.below(70 * DAY) } else { self.below(210 * DAY) }
            }));
        }
        times
    }
}
