//! Our OpenAPI document: it is the code's, it is served, and a client of the reference finds all that
//! it depends on. `tests/data/reference.py` made the facts about the reference.

use std::collections::BTreeSet;

use serde_json::Value;

const COMMITTED: &str = include_str!("../../../docs/openapi.json");
const REFERENCE: &str = include_str!("../../data/reference.json");

/// Operations of the reference that are not built yet.
const NOT_BUILT: &[&str] = &[];

/// Where we are unlike the reference on purpose: how the difference begins, and why it is there.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("POST /api/v1/app/{app_id}/endpoint/{endpoint_id}/recover 202.status: is one of", TASK),
    ("POST /api/v1/app/{app_id}/endpoint/{endpoint_id}/recover 202.task: is one of", TASK),
    ("GET /api/v1/app/{app_id}/attempt/endpoint/{endpoint_id} 200.data[].status: is one of", CANCELED),
    ("GET /api/v1/app/{app_id}/attempt/endpoint/{endpoint_id} 200.data[].statusText: is one of", CANCELED),
    ("GET /api/v1/health: no answer 401", HEALTH),
    ("GET /api/v1/health: no answer 403", HEALTH),
    ("GET /api/v1/health: no answer 404", HEALTH),
    ("GET /api/v1/health: no answer 409", HEALTH),
    ("GET /api/v1/health: no answer 422", HEALTH),
    ("GET /api/v1/health: no answer 429", HEALTH),
    ("HEAD /api/v1/health: no answer 401", HEALTH),
    ("HEAD /api/v1/health: no answer 403", HEALTH),
    ("HEAD /api/v1/health: no answer 404", HEALTH),
    ("HEAD /api/v1/health: no answer 409", HEALTH),
    ("HEAD /api/v1/health: no answer 422", HEALTH),
    ("HEAD /api/v1/health: no answer 429", HEALTH),
];
const TASK: &str =
    "all tasks share a schema; one that was just begun is running, and of the kind that was asked for";
const CANCELED: &str =
    "only who sends `expanded_statuses`, which that reference does not have, sees the status 4";
const HEALTH: &str = "it reads nothing of the request and has no limit, so it cannot refuse one";

fn generated() -> Value {
    let text = local::openapi().unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
    serde_json::from_str(&text).expect("JSON")
}

/// INV-38
#[test]
fn the_committed_document_is_the_codes() {
    let text = local::openapi().unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
    assert!(
        COMMITTED.trim_end() == text,
        "docs/openapi.json is not what the code describes; renew it:\n  cargo run -p local -- openapi > docs/openapi.json"
    );
}

#[test]
fn every_reference_within_the_document_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = generated();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("a reference within the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

/// Compares our document with the facts of the reference.
struct Comparison {
    ours: Value,
    reference: Value,
    problems: Vec<String>,
    /// Pairs of schemas that were compared, so that one that contains itself ends.
    seen: BTreeSet<(String, String)>,
}

/// Which way a schema goes: what clients send, or what they get.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Sent,
    Got,
}

impl Comparison {
    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        if let Some(reference) = schema["$ref"].as_str() {
            return self.ours.pointer(&reference[1..]).expect("a schema of ours");
        }
        match schema["allOf"].as_array().map(Vec::as_slice) {
            Some([one]) => self.resolved(one),
            _ => schema,
        }
    }

    fn problem(&mut self, at: &str, problem: impl std::fmt::Display) {
        self.problems.push(format!("{at}: {problem}"));
    }

    fn operation(&mut self, id: &str, theirs: &Value) {
        let (method, path) = id.split_once(' ').expect("a method and a path");
        let ours = self.ours["paths"][path][method.to_lowercase()].clone();
        if ours.is_null() {
            return self.problem(id, "no such operation");
        }
        let parameters = ours["parameters"].as_array().cloned().unwrap_or_default();
        for (place, parameter) in theirs["parameters"].as_object().expect("parameters") {
            let (place_in, name) = place.split_once(' ').expect("where and what");
            let found = parameters.iter().find(|ours| ours["in"] == *place_in && ours["name"] == *name);
            let Some(found) = found else {
                self.problem(id, format!("no parameter {name} in {place_in}"));
                continue;
            };
            if found["required"] == true && parameter["required"] != true {
                self.problem(id, format!("requires the parameter {name}"));
            }
            self.schema(&format!("{id} {name}"), &found["schema"], &parameter["type"], Way::Sent);
        }
        if let Some(body) = theirs.get("body") {
            let found = ours["requestBody"]["content"]["application/json"]["schema"].clone();
            if found.is_null() {
                self.problem(id, "no body");
            } else {
                self.schema(&format!("{id} body"), &found, body, Way::Sent);
            }
        }
        for (status, content) in theirs["statuses"].as_object().expect("statuses") {
            let answer = self.resolved(&ours["responses"][status]).clone();
            if answer.is_null() {
                self.problem(id, format!("no answer {status}"));
                continue;
            }
            let found = answer["content"]["application/json"]["schema"].clone();
            match (found.is_null(), content.is_null()) {
                (true, false) => self.problem(id, format!("the answer {status} has no content")),
                (false, true) => self.problem(id, format!("the answer {status} has content")),
                (true, true) => {}
                (false, false) => self.schema(&format!("{id} {status}"), &found, content, Way::Got),
            }
        }
    }

    fn schema(&mut self, at: &str, ours: &Value, theirs: &Value, way: Way) {
        let theirs_nullable = theirs["nullable"] == true;
        let theirs = match theirs["ref"].as_str() {
            None => theirs.clone(),
            Some(name) => {
                if !self.seen.insert((format!("{ours} {}", way == Way::Sent), name.to_owned())) {
                    return;
                }
                self.reference["schemas"][name].clone()
            }
        };
        let found = self.resolved(ours).clone();
        let nullable = ours["nullable"] == true || found["nullable"] == true;
        let theirs_nullable = theirs_nullable || theirs["nullable"] == true;
        match way {
            // In a query there is no null.
            Way::Sent if theirs_nullable && !nullable && at.contains(" body") => {
                self.problem(at, "must not be null");
            }
            Way::Got if nullable && !theirs_nullable => self.problem(at, "can be null"),
            _ => {}
        }
        if !theirs["type"].is_null() && found["type"] != theirs["type"] {
            return self.problem(at, format!("is {} instead of {}", found["type"], theirs["type"]));
        }
        if let Some(known) = theirs["enum"].as_array() {
            let said = found["enum"].as_array().cloned().unwrap_or_default();
            let (inner, outer) = if way == Way::Sent { (known, &said) } else { (&said, known) };
            let text = |values: &[Value]| {
                let values: Vec<String> = values.iter().map(Value::to_string).collect();
                format!("[{}]", values.join(", "))
            };
            let differs = said.is_empty() || inner.iter().any(|value| !outer.contains(value));
            if differs && !(way == Way::Sent && said.is_empty()) {
                self.problem(at, format!("is one of {} instead of {}", text(&said), text(known)));
            }
        }
        if !theirs["items"].is_null() {
            self.schema(&format!("{at}[]"), &found["items"], &theirs["items"], way);
        }
        if !theirs["values"].is_null() {
            self.schema(&format!("{at}{{}}"), &found["additionalProperties"], &theirs["values"], way);
        }
        for (name, field) in theirs["fields"].as_object().into_iter().flatten() {
            let property = found["properties"][name].clone();
            let place = format!("{at}.{name}");
            if property.is_null() {
                self.problem(&place, "no such field");
                continue;
            }
            self.schema(&place, &property, field, way);
        }
        let required = |schema: &Value| -> Vec<String> {
            let names = schema["required"].as_array().into_iter().flatten();
            names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let (ours, theirs) = (required(&found), required(&theirs));
        let (less, more) = if way == Way::Sent { (ours, theirs) } else { (theirs, ours) };
        for name in less.iter().filter(|name| !more.contains(name)) {
            let problem = if way == Way::Sent { "must be there" } else { "may be missing" };
            self.problem(&format!("{at}.{name}"), problem);
        }
    }
}

/// INV-38
#[test]
fn clients_of_the_reference_find_all_that_they_depend_on() {
    let reference: Value = serde_json::from_str(REFERENCE).expect("JSON");
    let operations = reference["operations"].as_object().expect("operations").clone();
    assert_eq!(operations.len(), 43);
    let mut comparison =
        Comparison { ours: generated(), reference, problems: Vec::new(), seen: BTreeSet::new() };
    for (id, theirs) in &operations {
        comparison.operation(id, theirs);
    }
    let is_known = |problem: &String| {
        EXCEPTIONS.iter().any(|(known, _)| problem.starts_with(known))
            || NOT_BUILT.iter().any(|id| *problem == format!("{id}: no such operation"))
    };
    let new: Vec<_> = comparison.problems.iter().filter(|problem| !is_known(problem)).cloned().collect();
    assert!(new.is_empty(), "{}", new.join("\n"));
    for id in NOT_BUILT {
        assert!(comparison.problems.contains(&format!("{id}: no such operation")), "{id} is built");
    }
    for (known, _) in EXCEPTIONS {
        let id = known.split(": ").next().unwrap_or_default();
        let excepted = comparison.problems.iter().any(|problem| problem.starts_with(known));
        assert!(excepted || NOT_BUILT.contains(&id), "no longer an exception: {known}");
    }
}
