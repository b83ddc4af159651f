//! Seeds that failed once: the next runs begin with them, so that what was mended stays so and what was
//! not is seen at once.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// The newest this many of one machine are kept.
const KEPT_MAX: usize = 100;

/// Those in the repository, each of which found a fault: one a line, `#` begins a comment.
const COMMITTED: &str = include_str!("../data/seeds.txt");

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("seeds-that-failed")
}

fn read(text: &str) -> Vec<u64> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).map(|line| line.parse().expect("a seed is a number")).collect()
}

/// The seeds to begin with.
pub fn seeds() -> BTreeSet<u64> {
    let own = fs::read_to_string(file()).unwrap_or_default();
    read(COMMITTED).into_iter().chain(read(&own)).collect()
}

/// Keeps seeds that failed on this machine.
pub fn keep(failed: impl Iterator<Item = u64>) {
    let own = read(&fs::read_to_string(file()).unwrap_or_default());
    let mut all: Vec<u64> = failed.collect();
    all.extend(own.into_iter().filter(|seed| !all.contains(seed)).collect::<Vec<_>>());
    all.truncate(KEPT_MAX);
    let text: String = all.iter().map(|seed| format!("{seed}\n")).collect();
    fs::write(file(), text).expect("the folder for tests' files can be written");
}

#[test]
fn lines_are_seeds_and_comments() {
    assert_eq!(read("# none\n\n7\n 12 # a job that came twice\n"), [7, 12]);
}
