//! The product's nouns and the decisions about them: no I/O, no AWS, no HTTP.

pub mod application;
pub mod attempt;
pub mod audit;
pub mod auto_config;
pub mod aws_place;
pub mod caller;
pub mod capability;
pub mod connector;
pub mod copies;
pub mod email;
pub mod endpoint;
pub mod error;
pub mod event_type;
pub mod header_rules;
pub mod http_signature;
pub mod idempotency;
pub mod ids;
pub mod integration;
pub mod job;
pub mod labels;
pub mod limits;
pub mod message;
pub mod operational;
pub mod page;
pub mod payload_filter;
pub mod polling;
pub mod probing;
pub mod rate_limit;
pub mod retention;
pub mod retry;
pub mod signing;
pub mod task;
pub mod token;
pub mod transformation;
pub mod webhook;

pub use error::{Error, Result};
