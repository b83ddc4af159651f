//! What clients of other servers of this API depend on, each a case that somebody met.

mod names;
