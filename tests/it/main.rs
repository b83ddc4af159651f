//! End to end: the real functions, the real AWS SDK, the official client SDK, real sockets.
//!
//! Everything runs against the embedded services; with `POSTRIDER_TEST_AWS_ENDPOINT` set, against
//! the DynamoDB and SQS at that address.

mod access;
mod audit;
mod backlog;
mod batch;
mod between;
mod budget;
mod by_hand;
mod child;
mod conformance;
mod contract;
mod cost;
mod dashboards;
mod delivery;
mod described;
mod documents;
mod endpoint_settings;
mod erasure;
mod event_types;
mod events;
mod faults;
mod hot_path;
mod house;
mod iam;
mod idempotency;
mod idle;
mod ingest;
mod input;
mod jobs;
mod limits;
mod list_model;
mod lists;
mod log;
mod lossy;
mod metrics;
mod nonsense;
mod obeys;
mod openapi;
mod operational;
mod outage;
mod portal_access;
mod proxies;
mod redrive;
mod responses;
mod restore;
mod rotation;
mod rules;
mod runner;
mod tasks;
mod template;
mod tenancy;
mod tls;
mod traces;
mod walk;
