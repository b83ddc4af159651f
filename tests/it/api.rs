//! What clients ask of the API, and what it answers.

pub mod access;
pub mod all_operations;
pub mod batch;
pub mod conformance;
pub mod contract;
pub mod destinations;
pub mod endpoint_settings;
pub mod environment;
pub mod event_types;
pub mod idempotency;
pub mod input;
pub mod list_model;
pub mod lists;
pub mod log;
pub mod malformed_input;
pub mod needs;
pub mod openapi;
pub mod openapi_conformance;
pub mod polling;
pub mod portal;
pub mod portal_access;
pub mod rules;
pub mod sdk_interceptor;
pub mod stats;
pub mod tasks;
pub mod tenancy;
mod usage;
