//! How a command can fail, and with which exit code.

use std::fmt;

/// Why a command did not do what it was asked for. Its text is one line that says what to do.
#[derive(Debug, PartialEq, Eq)]
pub enum CliError {
    /// The server refused: exit code 1.
    Refused(String),
    /// The command was used wrongly, or a file of ours is: exit code 2.
    Usage(String),
    /// The server cannot be reached: exit code 3.
    Unreachable(String),
    /// Ctrl-C before the end of something that a second run finishes: exit code 130, as of a shell.
    Interrupted(String),
    /// The reader of our output went away, as `head` does: exit code 0, and nothing is said.
    ReaderGone,
}

impl CliError {
    /// The exit code that scripts see.
    pub const fn code(&self) -> u8 {
        match self {
            Self::ReaderGone => 0,
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Interrupted(_) => 130,
        }
    }

    /// The same, with more to it.
    pub(crate) fn and(self, more: &str) -> Self {
        match self {
            Self::Refused(text) => Self::Refused(text + more),
            Self::Usage(text) => Self::Usage(text + more),
            Self::Unreachable(text) => Self::Unreachable(text + more),
            Self::Interrupted(text) => Self::Interrupted(text + more),
            Self::ReaderGone => Self::ReaderGone,
        }
    }

    /// Wrong use.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // One line, whatever a server put into its answer.
            Self::Refused(text) | Self::Usage(text) | Self::Unreachable(text) | Self::Interrupted(text) => {
                f.write_str(&text.replace(['\n', '\r'], " "))
            }
            Self::ReaderGone => f.write_str("the reader of the output went away"),
        }
    }
}

impl std::error::Error for CliError {}

/// What a command comes to.
pub(crate) type Result<T> = std::result::Result<T, CliError>;
