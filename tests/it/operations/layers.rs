//! The rule of layers (docs/ARCHITECTURE.md, "Layers"), held against the packages' manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The packages that are no function, and how high each stands: a package uses only what stands lower.
const LAYERS: [(&str, u8); 20] = [
    ("runtime", 0),
    // It knows the SDK and nothing of Postrider.
    ("sdk", 0),
    ("domain", 1),
    ("input", 2),
    ("store", 2),
    ("queue", 2),
    // It knows AWS's requests and nothing of Postrider.
    ("signer", 2),
    // It runs code that others wrote, and uses nothing that could be of use to that.
    ("transformer", 2),
    ("aws", 3),
    ("intake", 4),
    ("http-api", 4),
    ("shared", 5),
    // It speaks the public API alone: no store, no queue, no SDK.
    ("cli", 2),
    // They know nothing of Postrider, and only the runner uses them.
    ("local-dynamodb", 6),
    ("local-sqs", 6),
    ("sam-template", 6),
    ("local", 7),
    ("bench", 8),
    // What a customer of ours would write: it uses nothing of ours.
    ("receiver-example", 8),
    ("tests", 8),
];
/// All functions stand here: none uses another.
const FUNCTIONS: u8 = 6;
/// Functions that answer no requests.
const CONSUMERS: [&str; 4] = ["deliver", "background", "ingest", "timers"];
/// What only answering requests needs.
const FOR_REQUESTS: [&str; 4] = ["axum", "http-api", "jsonwebtoken", "lambda_http"];

/// A package's name, and the lines of its dependencies by their names.
struct Manifest {
    name: String,
    dependencies: BTreeMap<String, String>,
}

impl Manifest {
    fn read(text: &str) -> Self {
        let (mut section, mut name, mut dependencies) = ("", String::new(), BTreeMap::new());
        for line in text.lines() {
            if line.starts_with('[') {
                section = line.trim();
            } else if let Some((key, value)) = line.split_once('=') {
                if section == "[package]" && key.trim() == "name" {
                    name = value.trim().trim_matches('"').to_owned();
                }
                if section.ends_with("dependencies]") {
                    let key = key.trim().split('.').next().unwrap_or_default();
                    dependencies.insert(key.to_owned(), value.trim().to_owned());
                }
            }
        }
        Self { name, dependencies }
    }
}

/// The manifests of all members, by the folder that each is in.
fn manifests() -> BTreeMap<String, Manifest> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = BTreeMap::new();
    for folder in ["", "functions", "shared", "local", "examples/receivers"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if let Ok(text) = fs::read_to_string(path.join("Cargo.toml")) {
                let manifest = Manifest::read(&text);
                let place = path.strip_prefix(root).unwrap().display().to_string();
                found.insert(place, manifest);
            }
        }
    }
    found
}

/// INV-42
#[test]
fn every_package_uses_only_what_stands_lower() {
    let manifests = manifests();
    let mut layers = BTreeMap::from(LAYERS);
    for (place, manifest) in &manifests {
        if place.starts_with("functions/") {
            layers.insert(&manifest.name, FUNCTIONS);
        }
    }
    assert_eq!(
        layers.len(),
        manifests.len(),
        "a package whose layer is not written down, or one that is gone"
    );
    for (place, Manifest { name, dependencies }) in &manifests {
        let own = layers.get(name.as_str()).unwrap_or_else(|| panic!("{place}: {name} has no layer"));
        for (used, layer) in dependencies.keys().filter_map(|used| layers.get_key_value(used.as_str())) {
            assert!(layer < own, "{place} uses {used}, which does not stand lower");
        }
    }
}

/// INV-42
#[test]
fn what_consumes_queues_links_nothing_for_requests() {
    let manifests = manifests();
    for name in CONSUMERS {
        let dependencies = &manifests[&format!("functions/{name}")].dependencies;
        assert!(!dependencies["shared"].contains("\"http\""), "{name} asks for HTTP");
    }
    let below =
        LAYERS.iter().filter(|(name, layer)| *layer < 5 && *name != "http-api").map(|(name, _)| *name);
    let linked = manifests.values().filter(|manifest| {
        CONSUMERS.contains(&manifest.name.as_str()) || below.clone().any(|name| name == manifest.name)
    });
    for Manifest { name, dependencies } in linked {
        for unwanted in FOR_REQUESTS {
            assert!(!dependencies.contains_key(unwanted), "{name} uses {unwanted}");
        }
    }
}

/// INV-42
#[test]
fn what_runs_customers_code_links_nothing_that_has_rights() {
    let manifests = manifests();
    let of = |place: &str| manifests[place].dependencies.keys().cloned().collect::<BTreeSet<_>>();
    let ours = |names: BTreeSet<String>| {
        let is_ours = |name: &String| LAYERS.iter().any(|(ours, _)| ours == name) || name.starts_with("aws");
        names.into_iter().filter(is_ours).collect::<Vec<_>>()
    };
    assert_eq!(ours(of("functions/transform")), ["domain", "runtime", "transformer"]);
    assert_eq!(ours(of("shared/transformer")), ["domain", "runtime"]);
}

/// What each module of a package uses of the package's other modules, but for what its tests use.
type Uses = BTreeMap<String, BTreeSet<String>>;

/// The names that `crate::` leads to in a source text, such as `a` and `b` in `use crate::{a::B, b}`.
fn modules_used(source: &str) -> BTreeSet<String> {
    let code = source.split("\n#[cfg(test)]").next().unwrap_or_default();
    let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let (code, mut used) = (code.join("\n"), BTreeSet::new());
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    for path in code.split("crate::").skip(1) {
        let Some(group) = path.strip_prefix('{') else {
            used.insert(name(path));
            continue;
        };
        let mut depth = 1;
        for part in group.split_inclusive(['{', '}', ',']) {
            if depth == 1 && !name(part).is_empty() {
                used.insert(name(part));
            }
            depth += i32::from(part.ends_with('{')) - i32::from(part.ends_with('}'));
            if depth == 0 {
                break;
            }
        }
    }
    used
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// The modules of the package at `folder`; what is deeper belongs to the module that it is in.
fn modules(folder: &Path) -> Uses {
    let mut uses = Uses::new();
    for path in sources(folder) {
        let module = path.strip_prefix(folder).unwrap().components().next().unwrap();
        let module = module.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let is_test = path.file_stem().unwrap().to_str().unwrap().ends_with("tests");
        if !is_test && !["lib", "main"].contains(&module.as_str()) {
            let used = modules_used(&fs::read_to_string(&path).unwrap());
            uses.entry(module).or_default().extend(used);
        }
    }
    for (module, used) in &mut uses {
        used.remove(module);
    }
    uses
}

/// A ring of modules, if there is one: what uses nothing goes, until nothing is left or a ring is.
fn ring(mut uses: Uses) -> Option<Uses> {
    loop {
        let left: BTreeSet<String> = uses.keys().cloned().collect();
        uses.values_mut().for_each(|used| used.retain(|module| left.contains(module)));
        uses.retain(|_, used| !used.is_empty());
        if uses.len() == left.len() {
            return (!uses.is_empty()).then_some(uses);
        }
    }
}

/// INV-42
#[test]
fn the_runners_modules_form_no_ring() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let uses = modules(&root.join("local/src"));
    assert!(
        uses["stack"].contains("services") && uses["services"].contains("aws"),
        "they are read: {uses:?}"
    );
    for (module, used) in &uses {
        let unknown: Vec<_> = used.iter().filter(|name| !uses.contains_key(*name)).collect();
        assert!(unknown.is_empty(), "{module} names {unknown:?} without the module that it is in");
    }
    assert_eq!(ring(uses), None);
}

#[test]
fn a_ring_is_found() {
    let uses = |source: &str| modules_used(source);
    assert_eq!(
        uses(
            "use crate::a::{B, C};\nuse crate::{d, e::{F, g}};\n// crate::h\nfn f() { crate::i::j(k) }\n#[cfg(test)]\nuse crate::l;"
        ),
        ["a", "d", "e", "i"].map(str::to_owned).into()
    );
    let module = |name: &str, source: &str| (name.to_owned(), uses(source));
    let line = [module("a", "use crate::b;"), module("b", "use crate::c;"), module("c", "")];
    assert_eq!(ring(line.clone().into()), None);
    let mut round = Uses::from(line);
    round.extend([module("c", "use crate::b::X;")]);
    assert!(ring(round).is_some_and(|ring| ring.contains_key("b") && ring.contains_key("c")));
}
