//! The documents: what can be checked of them.

use std::path::PathBuf;

/// The repository's own documents: path and text.
fn documents() -> Vec<(PathBuf, String)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = std::fs::read_dir(root.join("docs")).expect("docs").map(|entry| entry.expect("a file").path());
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
