//! Two servers by turns, on the same machine and under the same load, and how they compare.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

use crate::figures::Figures;
use crate::flags::{Against, Plan};
use crate::run::{Failed, run};

/// What is compared: its name, where it is in the figures, and whether it is there at all.
type Compared = (&'static str, fn(&Figures) -> Option<f64>);

const COMPARED: [Compared; 13] = [
    ("accepted a second", |figures| Some(figures.accepted_per_second)),
    ("deliveries a second", |figures| delivered(figures, figures.delivered_per_second)),
    ("POST to answer p50, ms", |figures| Some(figures.accept.p50_ms)),
    ("POST to answer p95, ms", |figures| Some(figures.accept.p95_ms)),
    ("POST to answer p99, ms", |figures| Some(figures.accept.p99_ms)),
    ("POST to arrival p50, ms", |figures| delivered(figures, figures.post_to_arrival.p50_ms)),
    ("POST to arrival p95, ms", |figures| delivered(figures, figures.post_to_arrival.p95_ms)),
    ("POST to arrival p99, ms", |figures| delivered(figures, figures.post_to_arrival.p99_ms)),
    ("reading p50, ms", |figures| figures.reads.map(|reads| reads.latency.p50_ms)),
    ("reading p95, ms", |figures| figures.reads.map(|reads| reads.latency.p95_ms)),
    ("reading p99, ms", |figures| figures.reads.map(|reads| reads.latency.p99_ms)),
    ("a page of messages p50, ms", |figures| figures.pages.first().map(|page| page.p50_ms)),
    ("a page of attempts p50, ms", |figures| figures.pages.get(1).map(|page| page.p50_ms)),
];

fn delivered(figures: &Figures, value: f64) -> Option<f64> {
    (figures.delivered > 0).then_some(value)
}

/// One figure of both servers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// What it is.
    pub figure: String,
    /// The median of the first server's runs.
    pub ours: f64,
    /// The median of the other one's.
    pub theirs: f64,
    /// The median of the rounds' ratios, the first server's to the other one's.
    pub ratio: f64,
    /// The smallest of them.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

/// Both servers' runs, and how they compare.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Comparison {
    /// Each figure that both have.
    pub ratios: Vec<Ratio>,
    /// The first server's runs.
    pub ours: Vec<Figures>,
    /// The other one's.
    pub theirs: Vec<Figures>,
}

/// Measures both servers by turns; who begins changes with each round, as what comes second finds the machine warm. It blocks
/// until all runs have ended.
///
/// # Errors
/// Either server did not start, or refused to be set up.
pub fn compare(plan: &Plan, against: &Against) -> Result<Comparison, Failed> {
    let own = Plan { against: None, ..plan.clone() };
    let other = Plan { server: against.server.clone(), ..own.clone() };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..against.rounds {
        for turn in 0..2 {
            let is_own = (round + turn) % 2 == 0;
            let (plan, runs) = if is_own { (&own, &mut ours) } else { (&other, &mut theirs) };
            if plan.progress || std::io::stderr().is_terminal() {
                let line =
                    format!("round {} of {}: {}", round + 1, against.rounds, crate::figures::server(plan));
                // Nobody may be reading.
                let _closed = writeln!(std::io::stderr().lock(), "{line}");
            }
            // Which of the two it was.
            let named = |error| match error {
                Failed::Server(problem) => {
                    Failed::Server(format!("{}: {problem}", crate::figures::server(plan)))
                }
                error => error,
            };
            runs.push(run(plan).map_err(named)?);
        }
    }
    Ok(Comparison { ratios: ratios(&ours, &theirs), ours, theirs })
}

fn ratios(ours: &[Figures], theirs: &[Figures]) -> Vec<Ratio> {
    let of = |(figure, value): &Compared| {
        let values = |runs: &[Figures]| runs.iter().map(value).collect::<Option<Vec<f64>>>();
        let (ours, theirs) = (values(ours)?, values(theirs)?);
        let each: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
        let least = each.iter().copied().fold(f64::INFINITY, f64::min);
        let most = each.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let figure = (*figure).to_owned();
        Some(Ratio { figure, ours: median(ours), theirs: median(theirs), ratio: median(each), least, most })
    };
    COMPARED.iter().filter_map(of).collect()
}

/// Of an even number the mean of the two in the middle; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        None => 0.0,
        Some(upper) if values.len() % 2 == 1 => *upper,
        Some(upper) => (values[middle - 1] + upper) / 2.0,
    }
}

impl Comparison {
    /// Whether both servers' runs are all clean.
    pub fn is_clean(&self) -> bool {
        self.ours.iter().chain(&self.theirs).all(Figures::is_clean)
    }

    /// All of it, as JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, runs) in [("A", &self.ours), ("B", &self.theirs)] {
            if let Some(first) = runs.first() {
                writeln!(f, "{name}: {}", first.server)?;
            }
        }
        if let Some(first) = self.ours.first() {
            writeln!(f, "{}; by turns, {} runs each", first.load, self.ours.len())?;
        }
        writeln!(f)?;
        writeln!(f, "medians                              A          B      A / B   of each round")?;
        for Ratio { figure, ours, theirs, ratio, least, most } in &self.ratios {
            writeln!(f, "{figure:<27} {ours:>10.2} {theirs:>10.2} {ratio:>10.2}   {least:.2} to {most:.2}")?;
        }
        for (name, runs) in [("A", &self.ours), ("B", &self.theirs)] {
            let sum = |of: fn(&Figures) -> u64| runs.iter().map(of).sum::<u64>();
            writeln!(
                f,
                "{name}: lost {}, doubled {}, wrongly signed {}, altered {}, errors {}",
                sum(|run| run.lost),
                sum(|run| run.doubled),
                sum(|run| run.wrongly_signed),
                sum(|run| run.altered),
                sum(|run| run.errors.values().sum())
            )?;
            for (error, count) in runs.iter().flat_map(|run| &run.errors) {
                writeln!(f, "  {count} × {error}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use local::{Settings, Stack};

    use super::*;
    use crate::flags::Server;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
    }

    #[test]
    fn two_servers_are_measured_by_turns_and_compared_figure_by_figure() {
        let other = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let stack = other.block_on(Stack::start(Settings::ephemeral())).unwrap();
        let server = Server::At { url: stack.url(), token: stack.org_token(None) };
        let against = Against { server: server.clone(), rounds: 2 };
        let plan = Plan { reads: 2, warm_up: 4, ..Plan::small(20) };
        let comparison = compare(&plan, &against).unwrap();
        assert!(comparison.is_clean(), "{comparison}");
        assert_eq!((comparison.ours.len(), comparison.theirs.len()), (2, 2));
        for runs in [&comparison.ours, &comparison.theirs] {
            assert!(
                runs.iter().all(|run| run.delivered == 20 && run.reads.unwrap().count == 40),
                "{comparison}"
            );
        }
        assert_eq!(comparison.ratios.len(), COMPARED.len());
        for Ratio { figure, ratio, least, most, .. } in &comparison.ratios {
            assert!(least <= ratio && ratio <= most && *least > 0.0, "{figure}: {least} {ratio} {most}");
        }
        // Several in a request, and nobody to deliver to: what nobody gets is not compared.
        let plan = Plan { endpoints: 0, together: 7, applications: 2, idempotency_key: true, ..plan };
        let comparison = compare(&plan, &Against { server, rounds: 1 }).unwrap();
        assert!(comparison.is_clean(), "{comparison}");
        assert!(
            comparison
                .ours
                .iter()
                .chain(&comparison.theirs)
                .all(|run| (run.accepted, run.delivered) == (20, 0))
        );
        assert!(comparison.ratios.iter().all(|ratio| !ratio.figure.contains("arrival")), "{comparison}");
        let json: serde_json::Value = serde_json::from_str(&comparison.json()).unwrap();
        assert_eq!(json["ratios"][0]["figure"], "accepted a second");
        other.block_on(stack.stop());
    }
}
