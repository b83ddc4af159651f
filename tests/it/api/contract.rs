//! What clients of other servers of this API depend on, each a case that somebody met.

mod bodies;
mod fields;
mod later;
mod log;
mod missing;
mod names;
mod queries;
mod unknown;
mod urls;
