//! What whoever runs it depends on: commands, cost, roles, metrics, documents.

pub mod audit;
pub mod budget;
pub mod command_line;
pub mod commands;
pub mod cost;
pub mod dashboards;
pub mod documents;
pub mod erasure;
pub mod events;
pub mod hot_path;
pub mod iam;
pub mod idle;
pub mod jobs;
pub mod lambda_end;
pub mod layers;
pub mod metrics;
pub mod rotation;
pub mod runner;
pub mod upgrade;
