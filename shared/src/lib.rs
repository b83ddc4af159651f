//! What the functions have in common: the layers of `shared/*` under one name.
//!
//! Nothing is defined here. Which layer may import which is in `docs/ARCHITECTURE.md`, "Layers".

pub use aws::{self as platform, Platform};
pub use domain::{
    Error, Result, aws_place, connector, email, error, header_rules, http_signature, idempotency, ids, json,
    labels, limits, operational, order, page, payload_filter, polling, probing, retention, retry, signing,
    together, transformation, webhook,
};
#[cfg(feature = "http")]
pub use http_api::{self as http, Api, wire};
pub use queue::{self, consumer as batch};
pub use runtime::{AGENT, cache, clock, config, draining, metrics, random, telemetry, trace, traceparent};
pub use signer;
pub use store::{self, seal};
#[cfg(feature = "intake")]
pub use {input, intake};

/// Who calls, and how that is proved.
pub mod auth {
    pub use domain::caller::{Caller, DEFAULT_ORG, Who};
    pub use domain::capability::{self, Capabilities, Capability};
    #[cfg(feature = "http")]
    pub use http_api::auth::*;
}
