//! Dashboards and alert rules name what is told, and all of it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use shared::config::Env;
use shared::metrics::{DIMENSION, Metric, NAMESPACE, STACK};

use crate::test_stack::{ENDPOINT_VARIABLE, TestStack};

fn read(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/grafana").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The words of a text that begin as our series do.
fn series(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("postrider_")).collect()
}

fn targets(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_prometheus_is_asked_for_is_what_the_runner_tells() {
    if Env::process().optional(ENDPOINT_VARIABLE).is_some() {
        return; // how old its oldest message is no queue says but our own
    }
    let stack = TestStack::start().await;
    stack.run_timers().await;
    stack.app().await;
    let told = stack.request("GET", "/metrics", "", "").await.text;
    let told = series(&told);
    let (dashboard, rules, tests) = (read("prometheus.json"), read("alerts.yml"), read("alerts.test.yml"));
    for (name, text) in [("prometheus.json", &dashboard), ("alerts.yml", &rules), ("alerts.test.yml", &tests)]
    {
        let unknown: Vec<_> = series(text).difference(&told).copied().collect();
        assert_eq!(unknown, Vec::<&str>::new(), "{name}");
    }
    let shown = series(&dashboard);
    let described = told.iter().filter(|name| {
        let part = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        part.is_none_or(|whole| !told.contains(whole))
    });
    let hidden: Vec<_> = described
        .filter(|name| !shown.contains(*name) && !shown.contains(format!("{name}_bucket").as_str()))
        .collect();
    assert_eq!(hidden, Vec::<&&str>::new());
}

#[test]
fn what_cloudwatch_is_asked_for_is_what_functions_tell() {
    let dashboard: Value = serde_json::from_str(&read("cloudwatch.json")).expect("JSON");
    let mut shown = BTreeSet::new();
    for target in targets(&dashboard).filter(|target| target["namespace"] != "") {
        let name = target["metricName"].as_str().expect("a name");
        assert_eq!(target["namespace"], NAMESPACE, "{name}");
        let metric = Metric::ALL.into_iter().find(|metric| metric.name() == name);
        let metric = metric.unwrap_or_else(|| panic!("{name} is told by nobody"));
        let of = |function: &&str| {
            target["dimensions"] == serde_json::json!({ STACK: "$stack", DIMENSION: function })
        };
        assert!(metric.functions().iter().any(of), "{name}: {}", target["dimensions"]);
        // The average of a count says nothing, nor does the sum of lags.
        assert_eq!(target["statistic"] == "Sum", metric.unit() == "Count", "{name}");
        shown.insert(metric.name());
    }
    assert_eq!(shown, Metric::ALL.map(Metric::name).into());
}
