//! What can go wrong, in the words of the domain. `http` says how it looks to a caller, `batch`
//! what becomes of a job.

use std::fmt;

/// One violation: where it is, and what is expected.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Violation {
    /// From `body`, `query` or `path` down to the value.
    pub loc: Vec<String>,
    /// What is wrong with it, for a person.
    pub msg: String,
    /// What is wrong with it, for a program.
    #[serde(rename = "type")]
    #[schemars(with = "String")]
    pub kind: ViolationKind,
}

/// What is wrong with a value, in the contract's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ViolationKind {
    /// It breaks a rule.
    ValueError,
    /// It is of another type.
    TypeError,
    /// It is required and absent.
    Missing,
    /// It is not JSON.
    JsonInvalid,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request breaks rules; all that were found are listed.
    #[error("the request is not valid")]
    Invalid(Vec<Violation>),
    /// A part of the request cannot be read at all. The text is shown to the caller.
    #[error("{0}")]
    BadRequest(String),
    /// There was more to do than one request may take, or others kept coming first; the next request goes on.
    /// The text is shown to the caller.
    #[error("{0}")]
    Unfinished(&'static str),
    /// There is as much of something as there may be. The text is shown to the caller.
    #[error("{0}")]
    LimitReached(String),
    /// There is no valid token. The text is shown to the caller.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The token is valid and does not allow this. The text is shown to the caller.
    #[error("{0}")]
    Forbidden(&'static str),
    /// There is no such thing, or it is another's, which must look the same.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The path exists, the method does not.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// A write lost to the current state of its item. The text is shown to the caller.
    #[error("{0}")]
    Conflict(String),
    /// The body is larger than this many bytes.
    #[error("The request body exceeds {} MiB.", .0 / 1024 / 1024)]
    TooLarge(usize),
    /// The body is encoded in a way that is not read.
    #[error("Send the body without a Content-Encoding; only identity is read.")]
    UnsupportedEncoding,
    /// The caller does this too often; the next time it may after `retry_after`.
    #[error("too many requests: retry in {} s", .retry_after.as_secs())]
    TooMany {
        /// How long to wait.
        retry_after: std::time::Duration,
    },
    /// A dependency of ours is out of reach for now: doing it again later may work.
    #[error("failed to {operation}")]
    Unavailable {
        /// What was being done, as an infinitive.
        operation: &'static str,
        /// What the dependency said.
        source: Source,
    },
    /// What is stored or sent to us by ourselves cannot be understood: doing it again will not help.
    #[error("cannot understand {what}")]
    Corrupt {
        /// The thing that is broken.
        what: &'static str,
        /// Why.
        source: Source,
    },
}

/// The cause of an error, of whatever kind.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// The result of most things here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// One value that breaks a rule.
    pub fn violation<const N: usize>(loc: [&str; N], msg: impl Into<String>) -> Self {
        let (loc, kind) = (loc.map(str::to_owned).to_vec(), ViolationKind::ValueError);
        Self::Invalid(vec![Violation { loc, msg: msg.into(), kind }])
    }
}

/// For `map_err`: a dependency failed at `operation`.
pub fn unavailable<E: Into<Source>>(operation: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error::Unavailable { operation, source: source.into() }
}

/// For `map_err`: `what` is broken.
pub fn corrupt<E: Into<Source>>(what: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error::Corrupt { what, source: source.into() }
}

/// Shows an error with all its causes on one line: tracing's JSON format shows only the outermost.
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_every_cause() {
        let error = unavailable("store a message")(std::io::Error::other("connection refused"));
        assert_eq!(Chain(&error).to_string(), "failed to store a message: connection refused");
    }
}
