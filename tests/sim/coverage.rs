//! Which fault met which step. A step is a request of one kind by one function: `deliver: PutItem
//! EP/ATT`, `messages: SendMessageBatch DeliveriesQueue`. A cell is a step and a fault.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::faults::{Fate, Service};

/// What can happen to a step, in the order of [`Cells`].
pub const FAULTS: [&str; 6] = ["throttled", "down", "lost request", "lost answer", "late", "crash after"];
const CRASH: usize = 5;

/// How often a step was taken, and each fault met it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cells {
    pub taken: u64,
    pub met: [u64; FAULTS.len()],
}

/// The cells of a run, or of many.
#[derive(Clone, Debug, Default)]
pub struct Coverage(BTreeMap<String, Cells>);

impl Coverage {
    pub fn note(&mut self, step: &str, fate: Fate) {
        let cells = self.0.entry(step.to_owned()).or_default();
        cells.taken += 1;
        let nth = match fate {
            Fate::Served => return,
            Fate::Throttled => 0,
            Fate::Down => 1,
            Fate::LostRequest => 2,
            Fate::LostAnswer => 3,
            Fate::Late(_) => 4,
        };
        cells.met[nth] += 1;
    }

    /// An invocation crashed, and this was the last step that it had begun.
    pub fn note_crash(&mut self, step: &str) {
        self.0.entry(step.to_owned()).or_default().met[CRASH] += 1;
    }

    pub fn add(&mut self, other: Self) {
        for (step, cells) in other.0 {
            let sum = self.0.entry(step).or_default();
            sum.taken += cells.taken;
            for (sum, met) in sum.met.iter_mut().zip(cells.met) {
                *sum += met;
            }
        }
    }

    /// Cells that no fault met, of steps that were taken at least so often.
    pub fn empty(&self, taken_min: u64) -> Vec<String> {
        let cells = self.0.iter().filter(|(_, cells)| cells.taken >= taken_min);
        cells
            .flat_map(|(step, cells)| {
                let empty = FAULTS.iter().zip(cells.met).filter(|(_, met)| *met == 0);
                empty.map(move |(fault, _)| format!("{step}, {fault} (taken {} times)", cells.taken))
            })
            .collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.keys().map(String::len).max().unwrap_or(0);
        let cells = self.0.len() * FAULTS.len();
        let met = self.0.values().flat_map(|cells| cells.met).filter(|met| *met > 0).count();
        writeln!(f, "{} steps, {met} of {cells} cells of step and fault met", self.0.len())?;
        write!(f, "{:width$} {:>12}", "", "taken")?;
        for fault in FAULTS {
            write!(f, " {fault:>12}")?;
        }
        for (step, cells) in &self.0 {
            write!(f, "\n{step:width$} {:>12}", cells.taken)?;
            for met in cells.met {
                write!(f, " {met:>12}")?;
            }
        }
        writeln!(f)
    }
}

/// The name of a step.
pub fn step(function: &str, service: Service, operation: &str, body: &[u8]) -> String {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let what = match service {
        Service::Sqs => {
            request["QueueUrl"].as_str().and_then(|url| url.rsplit('/').next()).unwrap_or_default().to_owned()
        }
        Service::Lambda => "TransformFunction".to_owned(),
        Service::DynamoDb => items(&request).join(" + "),
    };
    format!("{function}: {operation} {what}")
}

/// The kinds of items that a request to DynamoDB names, each once: the words of their keys.
fn items(request: &Value) -> Vec<String> {
    let mut kinds = Vec::new();
    collect(request, &mut kinds);
    kinds
}

fn collect(value: &Value, kinds: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            let key = |names: [&str; 3]| names.iter().find_map(|name| members.get(*name)?["S"].as_str());
            // Keys of items, and what queries are told of them.
            if let Some(partition) = key(["pk", ":pk", "#pk"]) {
                let sort = key(["sk", ":from", ":sk"]).unwrap_or_default();
                let kind = match word(sort) {
                    "" => word(partition).to_owned(),
                    sort => format!("{}/{sort}", word(partition)),
                };
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
                return;
            }
            members.values().for_each(|value| collect(value, kinds));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, kinds)),
        _ => {}
    }
}

/// The word that a key begins with: capitals alone, as ids and times are no words.
fn word(key: &str) -> &str {
    let word = key.split('#').next().unwrap_or_default();
    if word.bytes().all(|byte| byte.is_ascii_uppercase()) { word } else { "" }
}
