//! Commands of the program that need more than the API: its own command line, or AWS.

mod completions;
mod ops;

pub(crate) use completions::{Shell, completions};
pub(crate) use ops::OpsFlags;
