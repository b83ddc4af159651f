//! Ways to break this function on purpose: the simulation has to find each of them, or it would
//! find nothing. They can only be chosen with the feature `injected-bugs`, which no binary switches on.

use crate::Deliver;

/// One way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedBug {
    /// Of two copies of a job, the one whose attempt came second goes on with its own outcome.
    ForkedChain,
    /// The same only of first attempts that failed: they go on although another result is claimed.
    FailureIgnoresClaim,
    /// The state says that the successor is queued before it is.
    StateBeforeSuccessor,
    /// The job is done with whether or not its attempt could be recorded.
    AckBeforeRecord,
    /// Who finds an ordered endpoint's place leased leaves no mark, and goes away.
    OrderLeavesNoMark,
    /// A key goes on with its next message although this one failed.
    OrderGoesOn,
    /// Of messages that are one webhook, only the first counts as failed.
    OrderPassesTail,
}

impl Deliver {
    /// This function, broken.
    #[cfg(feature = "injected-bugs")]
    #[must_use]
    pub fn with_bug(mut self, how: InjectedBug) -> Self {
        self.bug = Some(how);
        self
    }

    pub(crate) fn has_bug(&self, how: InjectedBug) -> bool {
        self.bug == Some(how)
    }
}
