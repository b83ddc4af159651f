//! What a run asked of DynamoDB and SQS, for one delivery.

use std::fmt;

use local::{Ledger, Spent};
use serde::Serialize;

/// What one delivery took of one service, on an average.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostOf {
    /// The function that asked, or `runner` for the pollers.
    pub by: String,
    /// The table or queue.
    pub on: String,
    /// The operation.
    pub operation: String,
    /// Requests; receives that found nothing are left out.
    pub requests: f64,
    /// Those that were refused.
    pub refused: f64,
    /// Read request units.
    pub read_units: f64,
    /// Write request units.
    pub write_units: f64,
    /// What SQS charges as requests.
    pub chunks: f64,
}

/// What one delivery took, on an average.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Requests to DynamoDB.
    pub dynamodb_requests: f64,
    /// Read request units.
    pub read_units: f64,
    /// Write request units.
    pub write_units: f64,
    /// Requests to SQS; receives that found nothing are left out.
    pub sqs_requests: f64,
    /// What SQS charges as requests.
    pub sqs_chunks: f64,
    /// Receives in all that found nothing: what idle polling costs, whatever is sent.
    pub empty_receives: u64,
    /// All of it by who asked for what.
    pub calls: Vec<CostOf>,
}

impl Cost {
    pub(crate) fn new(spent: &Ledger, deliveries: u64) -> Self {
        let each = |count: f64| count / deliveries.max(1) as f64;
        let useful = |spent: &Spent| (spent.requests - spent.empty) as f64;
        let of = |service: &str| spent.total(|call| call.service == service);
        let (dynamodb, sqs) = (of("DynamoDB"), of("SQS"));
        let calls =
            spent.iter().filter(|(_, spent)| spent.requests > spent.empty).map(|(call, spent)| CostOf {
                by: call.by.clone(),
                on: call.on.clone(),
                operation: call.operation.clone(),
                requests: each(useful(spent)),
                refused: each(spent.refused as f64),
                read_units: each(spent.read_units),
                write_units: each(spent.write_units),
                chunks: each((spent.chunks.saturating_sub(spent.empty)) as f64),
            });
        Self {
            dynamodb_requests: each(dynamodb.requests as f64),
            read_units: each(dynamodb.read_units),
            write_units: each(dynamodb.write_units),
            sqs_requests: each(useful(&sqs)),
            sqs_chunks: each((sqs.chunks.saturating_sub(sqs.empty)) as f64),
            empty_receives: sqs.empty,
            calls: calls.collect(),
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:.2} WRU, {:.2} RRU, {:.2} DynamoDB requests; {:.2} SQS requests, {:.2} of 64 KB; {} empty receives in all",
            self.write_units,
            self.read_units,
            self.dynamodb_requests,
            self.sqs_requests,
            self.sqs_chunks,
            self.empty_receives
        )?;
        for CostOf { by, on, operation, requests, read_units, write_units, .. } in &self.calls {
            write!(f, "  {by:<9} {operation:<19} {on:<11} {requests:>6.3}")?;
            if *read_units > 0.0 {
                write!(f, "  {read_units:.3} RRU")?;
            }
            if *write_units > 0.0 {
                write!(f, "  {write_units:.3} WRU")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
