//! What callgrind has counted, by function. Its own tool takes a function that was running when the
//! counting began for one that did everything by itself.

use std::collections::HashMap;

/// Instructions of one function.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// By itself.
    pub own: u64,
    /// With what it calls.
    pub with_calls: u64,
}

/// A whole dump.
#[derive(Debug, Default)]
pub struct Profile {
    /// All instructions.
    pub total: u64,
    /// Those of each function; names are not unique, so several functions may be one here.
    pub functions: HashMap<String, Cost>,
}

impl Profile {
    /// Reads a dump ("Callgrind Format Specification").
    pub fn parse(dump: &str) -> Self {
        let mut profile = Self::default();
        let mut names: HashMap<&str, &str> = HashMap::new();
        let (mut function, mut callee, mut is_call) = ("", "", false);
        for line in dump.lines() {
            if let Some(total) = line.strip_prefix("summary: ") {
                profile.total = total.trim().parse().unwrap_or_default();
            } else if let Some(named) = line.strip_prefix("fn=") {
                function = name(&mut names, named);
            } else if let Some(named) = line.strip_prefix("cfn=") {
                callee = name(&mut names, named);
            } else if line.starts_with("calls=") {
                is_call = true;
            } else if line.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '*')) {
                let cost = line.rsplit(' ').next().and_then(|cost| cost.parse().ok()).unwrap_or(0);
                let of = profile.functions.entry(function.to_owned()).or_default();
                if !is_call {
                    of.own += cost;
                    of.with_calls += cost;
                } else if callee != function {
                    of.with_calls += cost;
                }
                is_call = false;
            }
        }
        profile
    }

    /// The `count` functions with the highest of `costs`, of those that `wanted` names.
    pub fn top(
        &self,
        count: usize,
        costs: impl Fn(&Cost) -> u64,
        wanted: impl Fn(&str) -> bool,
    ) -> Vec<(u64, &str)> {
        let named = self.functions.iter().filter(|(name, _)| wanted(name));
        let mut top: Vec<_> = named.map(|(name, cost)| (costs(cost), name.as_str())).collect();
        top.sort_unstable_by(|a, b| b.cmp(a));
        top.truncate(count);
        top
    }
}

/// `(7) name` where it is met first, `(7)` from then on.
fn name<'a>(names: &mut HashMap<&'a str, &'a str>, named: &'a str) -> &'a str {
    match named.split_once(' ') {
        Some((number, name)) => names.entry(number).or_insert(name),
        None => names.get(named).copied().unwrap_or(named),
    }
}
