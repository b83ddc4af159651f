//! The documents: what can be checked of them.

use std::path::PathBuf;

/// The repository's own documents: path and text.
pub fn documents() -> Vec<(PathBuf, String)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders =
        ["docs", "docs/adr"].map(|folder| root.join(folder)).into_iter().filter(|path| path.is_dir());
    let docs = folders.flat_map(|path| std::fs::read_dir(path).expect("docs"));
    let docs = docs.map(|entry| entry.expect("a file").path());
    let files = docs.chain([root.join("README.md"), root.join("CHANGELOG.md")]);
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    files.map(|path| (path.clone(), std::fs::read_to_string(path).expect("text"))).collect()
}

#[test]
fn no_table_is_cut_by_an_empty_line() {
    let mut tables = 0;
    for (path, text) in documents() {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let first = line.starts_with('|') && (at == 0 || !lines[at - 1].starts_with('|'));
            if first {
                tables += 1;
                // A table's second line is what makes it one.
                let rule = lines.get(at + 1).copied().unwrap_or_default();
                let is_rule = rule.starts_with('|') && rule.chars().all(|c| "|-: ".contains(c));
                assert!(is_rule, "{}:{}: a row without a table", path.display(), at + 1);
            }
        }
    }
    assert!(tables >= 10, "{tables}");
}

/// A heading as GitHub and mdBook link to it.
fn anchor(heading: &str) -> String {
    let kept = heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .collect::<String>();
    kept.replace(' ', "-")
}

/// A document's lines outside of fences.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

#[test]
fn every_link_leads_somewhere() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut links = 0;
    let mut broken = Vec::new();
    let files = ["SECURITY.md", "CODE_OF_CONDUCT.md", "examples/README.md"].map(|name| root.join(name));
    let others = files.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).expect("text")));
    for (path, text) in documents().into_iter().chain(others) {
        for (at, line) in prose(&text) {
            for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                if link.starts_with("http") || link.starts_with("mailto:") {
                    continue;
                }
                links += 1;
                let (file, heading) = link.split_once('#').unwrap_or((link, ""));
                let target = match file {
                    "" => path.clone(),
                    file => path.parent().expect("a folder").join(file),
                };
                let found = heading.is_empty()
                    || std::fs::read_to_string(&target).is_ok_and(|text| {
                        let mut headings = prose(&text).filter(|(_, line)| line.starts_with('#'));
                        headings.any(|(_, line)| anchor(line.trim_start_matches('#').trim()) == heading)
                    });
                if !target.exists() || !found {
                    broken.push(format!("{}:{}: {link}", path.display(), at + 1));
                }
            }
        }
    }
    assert!(links > 100, "{links}");
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Method and path, without the parameters' names.
fn operation(method: &str, path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    format!("{} {}", method.to_uppercase(), parts.collect::<Vec<_>>().join("/"))
}

#[test]
fn the_readme_says_how_many_operations_there_are() {
    let document: serde_json::Value =
        serde_json::from_str(include_str!("../../../docs/openapi.json")).expect("JSON");
    let ours: Vec<String> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, node)| {
            node.as_object().expect("methods").keys().map(move |method| operation(method, path))
        })
        .collect();
    let known: Vec<String> = include_str!("../../../shared/http/src/known_operations.txt")
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some(operation(words.next()?, words.next()?))
        })
        .collect();
    let offered = known.iter().filter(|operation| ours.contains(operation)).count();
    let (readme, of) = (include_str!("../../../README.md"), known.len());
    assert!(readme.contains(&format!("| API | {offered} of the {of} operations")), "{offered} of {of}");
    assert!(readme.contains(&format!("| {offered} of {of} | {of} |")), "{offered} of {of}");
}

#[test]
fn the_readme_shows_lines_of_the_examples() {
    let examples = [
        ("```python\n", include_str!("../../../examples/senders/send.py")),
        ("```js\n", include_str!("../../../examples/senders/send.mjs")),
    ];
    for (fence, example) in examples {
        let (_, shown) = include_str!("../../../README.md").split_once(fence).expect(fence);
        let (shown, _) = shown.split_once("```").expect("its end");
        for line in shown.lines() {
            assert!(example.lines().any(|of| of.trim() == line), "the example does not have: {line}");
        }
    }
}

/// The sources of all packages: path and text.
fn sources() -> Vec<(PathBuf, String)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders: Vec<_> =
        ["bench", "cli", "functions", "local", "shared", "tests"].map(|name| root.join(name)).into();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path()) {
            if path.is_dir()
                && path.file_name().is_some_and(|name| name != "node_modules" && name != "target")
            {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("text");
                sources.push((path, text));
            }
        }
    }
    sources
}

/// The ids of invariants that a text names.
fn named(text: &str) -> impl Iterator<Item = u32> {
    let numbers = text.split("INV-").skip(1).map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    numbers.filter_map(|number| number?.parse().ok())
}

#[test]
fn each_invariant_names_tests_that_exist_and_is_cited() {
    let sources = sources();
    let mut known = std::collections::BTreeSet::new();
    for row in include_str!("../../../docs/INVARIANTS.md").lines().filter(|line| line.starts_with("| INV-")) {
        let id = named(row).next().expect(row);
        assert!(known.insert(id), "INV-{id} is there twice");
        let shown_by = row.trim_end_matches(" |").rsplit(" | ").next().expect(row);
        let tests: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "INV-{id} names no test");
        for test in tests {
            let found = sources.iter().any(|(_, text)| text.contains(&format!("fn {test}(")));
            assert!(found, "INV-{id}: there is no test {test}");
        }
    }
    assert!(known.len() > 40, "{}", known.len());
    let mut cited = std::collections::BTreeSet::new();
    for (path, text) in sources {
        for id in named(&text) {
            assert!(known.contains(&id), "{}: there is no INV-{id}", path.display());
            cited.insert(id);
        }
    }
    assert_eq!(cited, known);
}

#[test]
fn the_security_model_names_tests_that_exist() {
    let (sources, mut named) = (sources(), 0);
    for name in include_str!("../../../docs/SECURITY-MODEL.md").split('`').skip(1).step_by(2) {
        // Names of tests are sentences; names of fields and functions are not.
        if name.matches('_').count() < 3 || !name.chars().all(|c| c == '_' || c.is_ascii_lowercase()) {
            continue;
        }
        named += 1;
        assert!(
            sources.iter().any(|(_, text)| text.contains(&format!("fn {name}("))),
            "there is no test {name}"
        );
    }
    assert!(named > 10, "{named}");
}

#[test]
fn each_decision_is_in_the_index() {
    let index = include_str!("../../../docs/adr/README.md");
    let mut decisions = 0;
    for (path, text) in documents() {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if !path.parent().is_some_and(|folder| folder.ends_with("adr")) || name == "README.md" {
            continue;
        }
        decisions += 1;
        assert!(index.contains(&format!("]({name}) |")), "docs/adr/README.md has no row for {name}");
        for heading in ["**Status:**", "## Context", "## Decision", "## Consequences"] {
            assert!(text.contains(heading), "{name} has no {heading:?}");
        }
    }
    assert!(decisions > 20, "{decisions}");
}

#[test]
fn the_summary_lists_every_page() {
    let summary = include_str!("../../../docs/SUMMARY.md");
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for (path, _) in documents() {
        let Ok(page) = path.strip_prefix(&docs) else { continue };
        let page = page.display().to_string();
        assert!(
            page == "SUMMARY.md" || summary.contains(&format!("]({page})")),
            "docs/SUMMARY.md lacks {page}"
        );
    }
}
