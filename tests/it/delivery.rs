//! What reaches receivers, when, and how.

pub mod aws_places;
pub mod cache_consistency;
pub mod copies;
pub mod deliveries;
pub mod filters;
pub mod http_signatures;
pub mod ingest;
pub mod json_lines;
pub mod limits;
pub mod loops;
pub mod mails;
pub mod manual_resend;
pub mod operational;
pub mod order;
pub mod probes;
pub mod proxies;
pub mod responses;
pub mod spans;
pub mod tls;
pub mod traces;
pub mod transformations;
