//! The local runner: everything that `template.yaml` describes, in one process on one's own machine.
//!
//! [`Stack::start`] reads the template, opens (or connects to) a DynamoDB and an SQS, creates the
//! tables and queues, and then does what AWS does around the functions: it hands them requests,
//! batches of messages and the ticks of their schedules. The functions are those of the cloud, reached
//! through the same types; they speak with both services through the AWS SDK, over a socket or, where
//! the services are embedded, over a connector that hands the same requests over in the process.
//!
//! Nothing is global: any number of stacks run beside each other in one process.

mod asked;
mod audit;
mod aws;
mod busy;
mod cli;
mod clock;
mod commands;
mod connectors;
mod cors;
mod cost;
mod cpu;
mod dev;
mod dynamo;
mod env_vars;
mod error;
mod functions;
mod in_process;
mod invocations;
mod listeners;
mod logging;
mod meter;
mod metrics;
mod openapi;
mod pace;
mod poller;
mod portal;
mod proxy;
mod receiving;
mod requests;
mod role_policy;
mod routes;
pub mod runner;
mod schedule;
mod scrape;
mod secrets;
mod self_waking;
mod server;
mod services;
mod settings;
mod sqs;
mod stack;
mod sts;
mod token;
mod wiring;

pub use audit::{Export, ExportError, export};
pub use aws::QueueRef;
pub use error::StartError;
pub use meter::{Call, Ledger, Spent};
pub use openapi::openapi;
pub use secrets::FolderError;
pub use settings::{Settings, TEMPLATE};
pub use stack::{Progress, Stack};
