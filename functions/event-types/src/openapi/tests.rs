use serde_json::json;

use super::*;

fn of(document: Value) -> Result<Vec<EventType>, Broken> {
    let Value::Object(map) = document else { panic!("no object") };
    event_types(&map)
}

/// The schema of the only event type of a document.
fn schema(document: Value) -> Value {
    let found = of(document).unwrap();
    serde_json::from_str::<Value>(found[0].schemas.as_ref().unwrap()).unwrap()["1"].take()
}

fn webhook(schema: Value) -> Value {
    json!({ "post": { "requestBody": { "content": { "application/json": { "schema": schema } } } } })
}

#[test]
fn a_webhook_is_an_event_type_with_its_description_schema_examples_flags_and_group() {
    let found = of(json!({
        "openapi": "3.1.0",
        "webhooks": {
            "pet.new": { "post": {
                "description": "A pet was born", "deprecated": true,
                "x-svix-feature-flags": ["pets"], "x-svix-group-name": "pets",
                "requestBody": { "content": { "application/json": {
                    "schema": { "type": "object" }, "examples": { "cat": { "value": { "id": 1 } } },
                } } },
            } },
            "pet.gone": { "summary": "A pet is gone", "post": {} },
        },
    }))
    .unwrap();
    let names: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.description.as_str())).collect();
    assert_eq!(names, [("pet.gone", "A pet is gone"), ("pet.new", "A pet was born")]);
    assert_eq!(found[0].schemas, None);
    let new = &found[1];
    assert_eq!(new.schemas.as_deref(), Some(r#"{"1":{"examples":[{"id":1}],"type":"object"}}"#));
    assert_eq!(
        (new.feature_flags.as_slice(), new.group_name.as_deref(), new.deprecated),
        (&["pets".to_owned()][..], Some("pets"), true)
    );
}

#[test]
fn references_lead_to_definitions_of_the_schema_and_circles_stay_circles() {
    let components = json!({ "schemas": {
        "Pet": { "type": "object", "properties": { "mother": { "$ref": "#/components/schemas/Pet" }, "owner": { "$ref": "#/components/schemas/Owner" } } },
        "Owner": { "type": "object", "properties": { "pets": { "type": "array", "items": { "$ref": "#/components/schemas/Pet" } } } },
        "Unused": { "type": "string" },
    } });
    let got = schema(
        json!({ "openapi": "3.1.0", "webhooks": { "a": webhook(json!({ "$ref": "#/components/schemas/Pet" })) }, "components": components }),
    );
    assert_eq!(got["properties"]["mother"], json!({ "$ref": "#/$defs/Pet" }));
    assert_eq!(got["$defs"]["Owner"]["properties"]["pets"]["items"], json!({ "$ref": "#/$defs/Pet" }));
    assert_eq!(got["$defs"].as_object().unwrap().len(), 2, "{got}");
    // What only looks like a reference is data.
    let data = json!({ "properties": { "$ref": { "type": "string" } }, "default": { "$ref": "x" } });
    assert_eq!(schema(json!({ "openapi": "3.1.0", "webhooks": { "a": webhook(data.clone()) } })), data);
}

#[test]
fn openapi_3_0_has_its_own_place_and_its_own_word_for_null() {
    let got = schema(
        json!({ "openapi": "3.0.3", "x-webhooks": { "a": webhook(json!({ "type": "string", "nullable": true })) } }),
    );
    assert_eq!(got, json!({ "type": ["string", "null"] }));
}

#[test]
fn what_cannot_be_read_says_why_and_where() {
    let circle = json!({ "a": { "$ref": "#/components/a" } });
    for (document, at, msg) in [
        (json!({}), "openapi", "OpenAPI 3"),
        (json!({ "openapi": "2.0" }), "openapi", "OpenAPI 3"),
        (json!({ "openapi": "3.1.0", "paths": {} }), "", "at least one webhook"),
        (json!({ "openapi": "3.1.0", "webhooks": [] }), "webhooks", "an object"),
        (json!({ "openapi": "3.1.0", "webhooks": { "a b": { "post": {} } } }), "webhooks.a b", "a name"),
        (json!({ "openapi": "3.1.0", "webhooks": { "a": { "get": {} } } }), "webhooks.a", "a `post`"),
        (
            json!({ "openapi": "3.1.0", "webhooks": { "a": webhook(json!({ "type": "text" })) } }),
            "webhooks.a",
            "Not a JSON Schema: type",
        ),
        (
            json!({ "openapi": "3.1.0", "webhooks": { "a": webhook(json!({ "$ref": "other.yaml#/x" })) } }),
            "webhooks.a",
            "not in this document",
        ),
        (
            json!({ "openapi": "3.1.0", "webhooks": { "a": webhook(json!({ "items": { "$ref": "https://example.com/x" } })) } }),
            "webhooks.a",
            "not in this document",
        ),
        (
            json!({ "openapi": "3.1.0", "webhooks": { "a": { "$ref": "#/components/a" } }, "components": circle }),
            "webhooks.a",
            "in a circle",
        ),
        (
            json!({ "openapi": "3.1.0", "webhooks": { "a": { "post": { "x-svix-group-name": 7 } } } }),
            "webhooks.a",
            "x-svix-group-name",
        ),
        (
            json!({ "openapi": "3.1.0", "webhooks": { "a": { "post": { "x-svix-feature-flags": ["x", "x"] } } } }),
            "webhooks.a",
            "x-svix-feature-flags",
        ),
        (
            json!({ "openapi": "3.1.0", "webhooks": { "a": webhook(json!({ "description": "x".repeat(300_000) })) } }),
            "webhooks.a",
            "at most",
        ),
    ] {
        let broken = of(document.clone()).expect_err("is broken");
        assert!(broken.at.join(".") == at && broken.msg.contains(msg), "{document}: {broken:?}");
    }
}

#[test]
fn size_and_depth_are_bounded() {
    let many: Map<_, _> =
        (0..=EVENT_TYPES_MAX).map(|nth| (format!("a{nth}"), json!({ "post": {} }))).collect();
    assert!(of(json!({ "openapi": "3.1.0", "webhooks": many })).unwrap_err().msg.contains("at most 500"));
    // A chain of definitions as long as the document is walked, and not by recursion.
    let chain: Map<_, _> = (0..2_000)
        .map(|nth| {
            (
                format!("d{nth}"),
                json!({ "items": { "$ref": format!("#/components/schemas/d{}", (nth + 1) % 2_000) } }),
            )
        })
        .collect();
    let first = json!({ "$ref": "#/components/schemas/d0" });
    let got = schema(
        json!({ "openapi": "3.1.0", "webhooks": { "a": webhook(first) }, "components": { "schemas": chain } }),
    );
    assert_eq!(got["$defs"].as_object().unwrap().len(), 2_000);
    // A definition that everybody shares is counted where it is stored: in each.
    let large = json!({ "schemas": { "x": { "description": "x".repeat(200_000) } } });
    let many: Map<_, _> = (0..50)
        .map(|nth| (format!("a{nth}"), webhook(json!({ "$ref": "#/components/schemas/x" }))))
        .collect();
    assert!(
        of(json!({ "openapi": "3.1.0", "webhooks": many, "components": large }))
            .unwrap_err()
            .msg
            .contains("together")
    );
    let deep = (0..100).fold(json!({}), |inner, _| json!({ "items": inner }));
    assert!(of(json!({ "openapi": "3.1.0", "webhooks": { "a": webhook(deep) } })).is_ok());
    let deep = (0..200).fold(json!({}), |inner, _| json!({ "items": inner }));
    assert!(
        of(json!({ "openapi": "3.1.0", "webhooks": { "a": webhook(deep) } }))
            .unwrap_err()
            .msg
            .contains("nested")
    );
}

#[test]
fn yaml_is_read_as_far_as_it_is_json() {
    let read = |text: &str| parse(text).map(Value::from);
    let text = "openapi: 3.1.0 # a text, for it has two dots\nwebhooks:\n  'pet.new':\n    post: {deprecated: true}\nlist: [1, -2.5, ~, 'x', 1e3, 0x1f, yes]\nblock: |\n  two\n  lines\n1: one\n";
    let wanted = json!({
        "openapi": "3.1.0", "webhooks": { "pet.new": { "post": { "deprecated": true } } },
        "list": [1, -2.5, null, "x", 1000.0, "0x1f", "yes"], "block": "two\nlines\n", "1": "one",
    });
    assert_eq!(read(text), Ok(wanted));
    assert_eq!(read(r#"{"a": {"b": 1}}"#), Ok(json!({ "a": { "b": 1 } })));
    let deep = "[".repeat(1_000_000);
    let many = "- 1\n".repeat(300_000);
    for (text, msg) in [
        ("", "empty"),
        ("- a", "an object"),
        ("a: &x [1]\nb: *x", "Line 2: aliases"),
        ("a: 1\na: 2", "\"a\" stands twice"),
        ("? [1]\n: 2", "no text"),
        ("a: 1\n---\nb: 2", "second document"),
        ("a: [", "Neither JSON nor YAML"),
        ("{\"a\": ", "N"),
        (&deep, "recursion limit"),
        (&many, "at most"),
    ] {
        let error = read(text).expect_err(&text.chars().take(20).collect::<String>());
        assert!(error.contains(msg), "{error}");
    }
}
