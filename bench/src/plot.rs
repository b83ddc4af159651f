//! The latency over time, as an SVG.

use std::fmt::Write as _;

use crate::figures::{Figures, Point};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 80.0;
const BOTTOM: f64 = 44.0;

/// Name, colour and value of each line.
type Line = (&'static str, &'static str, fn(&Point) -> f64);

const LINES: [Line; 4] = [
    ("POST to arrival p99", "#b3261e", |point| point.post_to_arrival.p99_ms),
    ("POST to arrival p50", "#e8710a", |point| point.post_to_arrival.p50_ms),
    ("POST to answer p99", "#174ea6", |point| point.accept.p99_ms),
    ("POST to answer p50", "#669df6", |point| point.accept.p50_ms),
];

/// The plot: milliseconds on a logarithmic scale over the seconds of the run.
pub(crate) fn svg(figures: &Figures) -> String {
    let points = &figures.timeline;
    let seconds = points.last().map_or(1.0, |point| point.second).max(0.1);
    let values = || points.iter().flat_map(|point| LINES.map(|(_, _, value)| value(point)));
    let decades = |value: f64| value.max(0.01).log10();
    let low = decades(values().filter(|ms| *ms > 0.0).fold(f64::INFINITY, f64::min).min(1.0)).floor();
    let high = decades(values().fold(1.0, f64::max)).ceil().max(low + 1.0);
    let x = |second: f64| LEFT + second / seconds * (WIDTH - LEFT - RIGHT);
    let y = |ms: f64| HEIGHT - BOTTOM - (decades(ms) - low) / (high - low) * (HEIGHT - TOP - BOTTOM);

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n<text x=\"{LEFT}\" y=\"18\">{}</text><text x=\"{LEFT}\" y=\"36\">{}</text>\n",
        escaped(&figures.server),
        escaped(&figures.load)
    );
    // Writing to a string cannot fail.
    let mut decade = low;
    while decade <= high {
        let (ms, at) = (10_f64.powf(decade), y(10_f64.powf(decade)));
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{ms} ms</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0
        );
        decade += 1.0;
    }
    for tick in 0..=5 {
        let second = seconds * f64::from(tick) / 5.0;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{second:.1} s</text>",
            x(second),
            HEIGHT - BOTTOM + 20.0
        );
    }
    for (nth, (name, colour, value)) in (0_u8..).zip(LINES) {
        let path: Vec<String> = points
            .iter()
            .filter(|point| value(point) > 0.0)
            .map(|point| format!("{:.1},{:.1}", x(point.second), y(value(point))))
            .collect();
        let left = LEFT + f64::from(nth) * 200.0;
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\
             <path d=\"M{left:.1} 54h18\" stroke=\"{colour}\" stroke-width=\"3\"/><text x=\"{:.1}\" y=\"58\">{name}</text>",
            path.join(" "),
            left + 24.0
        );
    }
    out.push_str("</svg>\n");
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
