//! Every parameter and field that the reference has for an operation of ours is honoured, rejected, or
//! without meaning here. `tests/data/fields.py` listed them; `tests/data/fields.json` says which is which.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

const REFERENCE: &str = include_str!("../../../data/fields.txt");
const FIELDS: &str = include_str!("../../../data/fields.json");

/// What becomes of each field.
struct Fields {
    /// It does what it says; by operation.
    honoured: BTreeMap<String, Vec<String>>,
    /// It is answered with 422 and this sentence.
    rejected: BTreeMap<String, String>,
    /// It is accepted, and this is why nothing depends on it.
    meaningless: BTreeMap<String, String>,
    /// It is accepted and ignored, until this is built.
    pending: BTreeMap<String, String>,
}

impl Fields {
    fn read() -> Self {
        let all: Value = serde_json::from_str(FIELDS).expect("JSON");
        let reasons = |name: &str| serde_json::from_value(all[name].clone()).expect("fields with reasons");
        Self {
            honoured: serde_json::from_value(all["honoured"].clone()).expect("operations with fields"),
            rejected: reasons("rejected"),
            meaningless: reasons("meaningless"),
            pending: reasons("pending"),
        }
    }
}

fn operations(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().expect("paths").iter();
    let of = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().expect("methods").keys();
        methods.map(|method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
    };
    paths.flat_map(of).collect()
}

/// Whether our own document has a field, in whichever of the bodies that it can be in.
fn is_described(document: &Value, operation: &str, field: &str) -> bool {
    let (method, path) = operation.split_once(' ').expect("a method and a path");
    let operation = &document["paths"][path][method.to_lowercase()];
    let (place, name) = field.split_once(' ').expect("a place and a name");
    if place != "body" {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        return parameters.into_iter().any(|one| one["in"] == place && one["name"] == name);
    }
    let mut schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    for part in name.split('.') {
        if let Some(reference) = schema["$ref"].as_str().or(schema["allOf"][0]["$ref"].as_str()) {
            schema = &document["components"]["schemas"][reference.rsplit('/').next().unwrap_or_default()];
        }
        let (part, listed) = part.strip_suffix("[]").map_or((part, false), |part| (part, true));
        schema = &schema["properties"][part];
        if listed {
            schema = &schema["items"];
        }
    }
    !schema.is_null()
}

#[test]
#[expect(clippy::print_stdout, reason = "the counts are the result")]
fn each_field_of_the_reference_is_honoured_rejected_or_meaningless() {
    let document: Value = serde_json::from_str(&local::openapi().expect("a document")).expect("JSON");
    let fields = Fields::read();
    let ours = operations(&document);
    let known = REFERENCE.lines().filter(|line| {
        let operation = line.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ");
        ours.contains(&operation)
    });
    let known: BTreeSet<String> = known.map(str::to_owned).collect();
    let mut said = BTreeSet::new();
    let mut honoured = 0;
    for (operation, names) in &fields.honoured {
        for name in names {
            honoured += 1;
            assert!(is_described(&document, operation, name), "{operation} does not read {name}");
            assert!(said.insert(format!("{operation} {name}")), "{operation} {name} is there twice");
        }
    }
    for (field, reason) in [&fields.rejected, &fields.meaningless, &fields.pending].into_iter().flatten() {
        assert!(!reason.is_empty(), "{field} has no reason");
        assert!(said.insert(field.clone()), "{field} is there twice");
    }
    let missing: Vec<&String> = known.difference(&said).collect();
    assert!(missing.is_empty(), "nothing says what becomes of {missing:#?}");
    let strange: Vec<&String> = said.difference(&known).collect();
    assert!(strange.is_empty(), "the reference has no such field: {strange:#?}");
    println!(
        "{honoured} fields honoured, {} rejected, {} meaningless, {} pending",
        fields.rejected.len(),
        fields.meaningless.len(),
        fields.pending.len()
    );
}
