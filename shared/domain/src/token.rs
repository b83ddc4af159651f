//! The ends of tokens.

use runtime::clock::Timestamp;

/// Ends that one application keeps at a time.
const EXPIRIES_MAX: usize = 16;

/// An end of the tokens of one application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// It is of the tokens that were made until then.
    pub made_until: Timestamp,
    /// They count until then.
    pub ends: Timestamp,
}

impl Expiry {
    /// Whether a token of that age has come to its end.
    pub fn ended(all: &[Self], made: Timestamp, now: Timestamp) -> bool {
        all.iter().any(|expiry| made <= expiry.made_until && expiry.ends <= now)
    }

    /// `all` and one more; what that one makes needless is left out.
    #[must_use]
    pub fn with(all: &[Self], mut new: Self) -> Vec<Self> {
        // Each is of more tokens than those before it, so it replaces what ends no sooner.
        let mut kept: Vec<_> = all.iter().filter(|old| old.ends < new.ends).copied().collect();
        if kept.len() >= EXPIRIES_MAX
            && let Some(last) = kept.pop()
        {
            // Sooner than asked for, rather than not at all.
            new.ends = last.ends;
        }
        kept.push(new);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_never_put_off_by_a_later_one() {
        let at = Timestamp::from_ms;
        let one = |made: u64, ends: u64| Expiry { made_until: at(made), ends: at(ends) };
        let all = Expiry::with(&Expiry::with(&[], one(10, 10)), one(20, 90));
        assert!(Expiry::ended(&all, at(10), at(21)) && !Expiry::ended(&all, at(11), at(89)));
        assert!(Expiry::ended(&all, at(20), at(90)) && !Expiry::ended(&all, at(21), at(90)));
        // Sooner, of more tokens: the others say nothing more.
        assert_eq!(Expiry::with(&all, one(30, 30)), [one(10, 10), one(30, 30)]);
        let mut many = Vec::new();
        for step in 1..100 {
            many = Expiry::with(&many, one(step, 1_000 + step));
        }
        assert_eq!(many.len(), EXPIRIES_MAX);
        assert!(Expiry::ended(&many, at(99), at(1_099)));
    }
}
