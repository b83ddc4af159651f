//! The rule of layers (docs/ARCHITECTURE.md, "Layers"), held against the packages' manifests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The packages that are no function, and how high each stands: a package uses only what stands lower.
const LAYERS: [(&str, u8); 17] = [
    ("runtime", 0),
    ("domain", 1),
    ("input", 2),
    ("store", 2),
    ("queue", 2),
    // It knows AWS's requests and nothing of Postrider.
    ("signer", 2),
    ("aws", 3),
    ("intake", 4),
    ("http-api", 4),
    ("shared", 5),
    // It speaks the public API alone: no store, no queue, no SDK.
    ("cli", 2),
    // They know nothing of Postrider, and only the runner uses them.
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
