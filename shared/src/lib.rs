//! What at least two functions of Postrider need, and nothing else.

pub mod auth;
pub mod batch;
pub mod cache;
pub mod clock;
pub mod config;
pub mod error;
pub mod http;
pub mod ids;
pub mod metrics;
pub mod operational;
pub mod platform;
pub mod queue;
pub mod random;
pub mod seal;
pub mod signing;
pub mod store;
pub mod telemetry;
pub mod trace;
pub mod wire;

pub use error::{Error, Result};
pub use platform::{Api, Platform};
