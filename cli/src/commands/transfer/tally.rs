//! What a run found, did and left out.

use super::record::{Counts, counted};

/// What was found or done, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) new: Counts,
    pub(super) changed: Counts,
    pub(super) same: Counts,
    /// Endpoints of which the source does not show everything.
    pub(super) missing: u64,
    /// New endpoints whose receivers have to take a new secret.
    pub(super) new_secrets: u64,
    /// New endpoints that are polled, whose pollers need a new key.
    pub(super) new_keys: u64,
    /// Endpoints whose transformation the source does not show, if they have one.
    pub(super) hidden_codes: u64,
    /// New endpoints whose URL had a user and a password, which the file does not have.
    pub(super) hidden_logins: u64,
    /// Endpoints that wait for their receiver (AutoConfig), which are left out.
    pub(super) waiting: u64,
    pub(super) refused: u64,
    /// Lines of the difference.
    pub(super) lines: u64,
}

impl Tally {
    /// Whether there is nothing to do.
    pub(super) fn nothing(&self) -> bool {
        self.new == Counts::default() && self.changed == Counts::default()
    }

    /// Whether nothing was found at all.
    pub(super) fn is_empty(&self) -> bool {
        self.nothing() && self.same == Counts::default()
    }

    /// The counts as a sentence.
    pub(super) fn sentence(&self, created: &str, changed: &str) -> String {
        let part = |counts: Counts, what: &str| {
            let counts = counted(counts);
            (!counts.is_empty()).then(|| format!("{counts} {what}"))
        };
        let same = part(self.same, "the same");
        let parts: Vec<String> =
            [part(self.new, created), part(self.changed, changed), same].into_iter().flatten().collect();
        if parts.is_empty() { "nothing there".to_owned() } else { parts.join("; ") }
    }
}
