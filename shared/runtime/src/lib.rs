//! What any program of ours runs with: time, randomness, settings, logs, metrics and traces.

pub mod cache;
pub mod clock;
pub mod config;
pub mod draining;
pub mod metrics;
pub mod random;
pub mod telemetry;
pub mod trace;
