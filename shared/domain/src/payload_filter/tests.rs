use serde_json::{Value, json};

use super::*;

fn filter(pattern: Value) -> PayloadFilter {
    PayloadFilter::parse(&pattern.to_string()).unwrap()
}

fn refused(pattern: Value) -> (String, String) {
    let InvalidPattern { path, reason } = PayloadFilter::parse(&pattern.to_string()).unwrap_err();
    (path.join("."), reason)
}

#[track_caller]
fn holds(pattern: Value, matching: &[Value], others: &[Value]) {
    let filter = filter(pattern);
    for (payloads, expected) in [(matching, true), (others, false)] {
        for payload in payloads {
            let text = payload.to_string();
            assert_eq!(filter.matches(&PayloadView::new(&text)), expected, "{filter:?} on {text}");
            assert_eq!(
                filter.mismatches(&PayloadView::new(&text)).is_empty(),
                expected,
                "{filter:?} on {text}"
            );
        }
    }
    // What is kept as text is read as the same pattern.
    assert_eq!(PayloadFilter::parse(filter.text()).unwrap(), filter);
}

#[test]
fn values_are_one_of_a_list_and_all_fields_count() {
    holds(
        json!({"plan": ["gold", "silver"], "seats": [3]}),
        &[json!({"plan": "gold", "seats": 3}), json!({"plan": "silver", "seats": 3.0, "x": 1})],
        &[
            json!({"plan": "bronze", "seats": 3}),
            json!({"plan": "gold"}),
            json!({"plan": "gold", "seats": "3"}),
            json!({}),
        ],
    );
    holds(
        json!({"a": [null, true]}),
        &[json!({"a": null}), json!({"a": true})],
        &[json!({}), json!({"a": false})],
    );
    holds(
        json!({"a": {"b": {"c": [1]}}}),
        &[json!({"a": {"b": {"c": 1}}})],
        &[json!({"a": {"b": 1}}), json!({"a": 1})],
    );
}

#[test]
fn of_a_list_in_the_payload_one_entry_has_to_match() {
    holds(
        json!({"tags": ["x"]}),
        &[json!({"tags": ["y", "x"]})],
        &[json!({"tags": ["y"]}), json!({"tags": []})],
    );
    holds(
        json!({"lines": {"sku": ["a"], "count": [{"numeric": [">", 1]}]}}),
        &[json!({"lines": [{"sku": "b", "count": 9}, {"sku": "a", "count": 2}]})],
        // Both have to be true of one entry.
        &[json!({"lines": [{"sku": "a", "count": 1}, {"sku": "b", "count": 9}]})],
    );
    holds(
        json!({"t": [{"anything-but": ["a", "b"]}]}),
        &[json!({"t": ["c", "d"]})],
        &[json!({"t": ["c", "a"]})],
    );
}

#[test]
fn rules_about_texts() {
    holds(
        json!({"s": [{"prefix": "eu-"}]}),
        &[json!({"s": "eu-west"})],
        &[json!({"s": "EU-west"}), json!({"s": 1})],
    );
    holds(
        json!({"s": [{"prefix": {"equals-ignore-case": "EU-"}}]}),
        &[json!({"s": "eU-west"})],
        &[json!({"s": "us-eu-"})],
    );
    holds(json!({"s": [{"suffix": ".png"}]}), &[json!({"s": "a.png"})], &[json!({"s": "a.PNG"})]);
    holds(
        json!({"s": [{"suffix": {"equals-ignore-case": ".Png"}}]}),
        &[json!({"s": "a.pNG"})],
        &[json!({"s": "png"})],
    );
    holds(
        json!({"s": [{"equals-ignore-case": "ALICE"}]}),
        &[json!({"s": "alice"}), json!({"s": "Alice"})],
        &[json!({"s": "bob"})],
    );
    holds(
        json!({"s": [{"wildcard": "a*b*c"}]}),
        &[json!({"s": "abc"}), json!({"s": "a-b-b-c"})],
        &[json!({"s": "ac"}), json!({"s": "acb"}), json!({"s": "xabc"})],
    );
    holds(json!({"s": [{"wildcard": "*/a\\*b"}]}), &[json!({"s": "x/a*b"})], &[json!({"s": "x/aab"})]);
    // Pieces do not overlap.
    holds(json!({"s": [{"wildcard": "ab*ba"}]}), &[json!({"s": "abba"})], &[json!({"s": "aba"})]);
}

#[test]
fn rules_about_numbers_addresses_and_presence() {
    holds(
        json!({"n": [{"numeric": [">", 0, "<=", 5]}]}),
        &[json!({"n": 5}), json!({"n": 0.1})],
        &[json!({"n": 0}), json!({"n": 5.01}), json!({"n": "3"}), json!({"n": null})],
    );
    holds(
        json!({"n": [{"numeric": ["=", 300]}]}),
        &[json!({"n": 3e2}), json!({"n": 300.0})],
        &[json!({"n": 301})],
    );
    holds(
        json!({"ip": [{"cidr": "10.0.0.0/24"}]}),
        &[json!({"ip": "10.0.0.7"})],
        &[json!({"ip": "10.0.1.7"}), json!({"ip": "x"})],
    );
    holds(
        json!({"ip": [{"cidr": "2001:db8::/32"}]}),
        &[json!({"ip": "2001:db8::1"})],
        &[json!({"ip": "10.0.0.1"})],
    );
    holds(json!({"x": [{"exists": true}]}), &[json!({"x": null}), json!({"x": {}})], &[json!({})]);
    holds(json!({"x": [{"exists": false}]}), &[json!({}), json!({"y": 1})], &[json!({"x": 0})]);
    // In an object that is absent, its fields are absent.
    holds(
        json!({"o": {"x": [{"exists": false}]}}),
        &[json!({}), json!({"o": {}})],
        &[json!({"o": {"x": 1}})],
    );
}

#[test]
fn anything_but_needs_a_value() {
    holds(
        json!({"s": [{"anything-but": "a"}]}),
        &[json!({"s": "b"}), json!({"s": 1})],
        &[json!({"s": "a"}), json!({})],
    );
    holds(json!({"s": [{"anything-but": {"prefix": "a"}}]}), &[json!({"s": "ba"})], &[json!({"s": "ab"})]);
    holds(
        json!({"s": [{"anything-but": {"wildcard": ["*.png", "*.jpg"]}}]}),
        &[json!({"s": "a.gif"})],
        &[json!({"s": "a.png"}), json!({"s": "a.jpg"})],
    );
    holds(
        json!({"n": [{"anything-but": [1, 2]}]}),
        &[json!({"n": 3})],
        &[json!({"n": 1.0}), json!({"n": 2})],
    );
}

#[test]
fn either_of_several() {
    holds(
        json!({"kind": ["order"], "$or": [{"total": [{"numeric": [">", 100]}]}, {"vip": [true]}]}),
        &[json!({"kind": "order", "total": 101}), json!({"kind": "order", "total": 1, "vip": true})],
        &[json!({"kind": "order", "total": 1}), json!({"kind": "x", "vip": true})],
    );
}

#[test]
fn what_is_no_pattern_is_refused_with_its_place() {
    let deep = (0..40).fold(json!([1]), |inner, _| json!({ "a": inner }));
    let many: Vec<usize> = (0..=RULES_MAX).collect();
    let long = "x".repeat(LENGTH_MAX);
    let stars = "*a".repeat(WILDCARDS_MAX + 1);
    for (pattern, path, reason) in [
        (json!({}), "", "at least one field"),
        (json!({"a": "b"}), "a", "a list of rules such as [\"b\"]"),
        (json!({"a": {}}), "a", "at least one field"),
        (json!({"a": []}), "a", "at least one rule"),
        (json!({"a": [["b"]]}), "a.0", "Must be a text, a number"),
        (json!({"a": [{"prefx": "b"}]}), "a.0", "no rule \"prefx\""),
        (json!({"a": [{"prefix": "b", "suffix": "c"}]}), "a.0", "with one of"),
        (json!({"a": [1, {"prefix": ""}]}), "a.1", "at least one character"),
        (json!({"a": [{"numeric": [">"]}]}), "a.0", "comparisons"),
        (json!({"a": [{"numeric": ["~", 1]}]}), "a.0", "comparisons"),
        (json!({"a": [{"exists": "yes"}]}), "a.0", "true or false"),
        (json!({"a": [{"cidr": "10.0.0.0/40"}]}), "a.0", "a network such as"),
        (json!({"a": [{"anything-but": true}]}), "a.0", "`anything-but` must be"),
        (json!({"a": [{"wildcard": "x"}]}), "a.0", "must have a *"),
        (json!({"a": [{"wildcard": "a**b"}]}), "a.0", "two *"),
        (json!({"a": [{"wildcard": "a\\b*"}]}), "a.0", "backslash"),
        (json!({"a": [{"wildcard": stars}]}), "a.0", "at most 10 *"),
        (json!({"$or": [{"a": [1]}]}), "$or", "at least two"),
        (json!({"$or": [{"a": [1]}, 2]}), "$or.1", "Must be a pattern"),
        (json!({"a": many}), &format!("a.{RULES_MAX}"), "more than 300 rules"),
        (json!({"a": [long]}), "", "at most 4096 bytes"),
    ] {
        let (at, why) = refused(pattern.clone());
        assert_eq!(at, path, "{pattern}: {why}");
        assert!(why.contains(reason), "{pattern}: {why}");
    }
    assert!(refused(deep).1.contains("levels deep"));
}

#[test]
fn what_does_not_match_is_explained() {
    let filter = filter(json!({
        "a": {"plan": ["gold", {"prefix": "plat"}]}, "n": [{"numeric": [">", 0, "<", 9]}], "x": [{"exists": false}]
    }));
    let found = filter.mismatches(&PayloadView::new(r#"{"a": {"plan": "silver"}, "n": 9, "x": 1}"#));
    let found: Vec<_> = found.iter().map(|m| (m.path.as_str(), m.reason.as_str())).collect();
    assert_eq!(
        found,
        [
            ("a.plan", "is \"silver\", must be \"gold\", or a text that begins with \"plat\""),
            ("n", "is 9, must be a number > 0 and < 9"),
            ("x", "is 1, must be absent"),
        ]
    );
}

#[test]
fn a_slow_pattern_is_not_slow() {
    // What backtracking would try in every way: each piece is looked for once.
    let text = json!({ "s": "a".repeat(200_000) }).to_string();
    let view = PayloadView::new(&text);
    let filter = filter(json!({"s": [{"wildcard": "*a*a*a*a*a*a*a*ab*"}]}));
    assert!(!view.was_read());
    assert!(!filter.matches(&view) && view.was_read());
    assert!(!filter.matches(&PayloadView::new("no JSON")));
}

#[test]
fn numbers_are_compared_digit_by_digit() {
    let big = PayloadFilter::parse(r#"{"id":[9007199254740993],"n":[{"numeric":[">",9007199254740992]}]}"#)
        .unwrap();
    let payload = |id: &str, n: &str| format!(r#"{{"id":{id},"n":{n}}}"#);
    for (id, n, expected) in [
        ("9007199254740993", "9007199254740993", true),
        ("9007199254740993.0", "1e400", true),
        ("9007199254740992", "9007199254740993", false),
        ("9007199254740993", "9007199254740992", false),
    ] {
        let payload = payload(id, n);
        assert_eq!(big.matches(&PayloadView::new(&payload)), expected, "{payload}");
    }
    let InvalidPattern { path, reason } =
        PayloadFilter::parse(r#"{"a":[{"numeric":["<",1e400]}]}"#).unwrap_err();
    assert_eq!((path.join("."), reason.contains("1.7e308")), ("a.0".into(), true), "{reason}");
    // What is kept is what was written.
    let long = r#"{"a":[123456789012345678901234567890,3e2,1.50]}"#;
    assert_eq!(PayloadFilter::parse(long).unwrap().text(), long);
    let other = r#"{"a":123456789012345678901234567891}"#;
    assert!(!PayloadFilter::parse(long).unwrap().matches(&PayloadView::new(other)));
}

#[test]
fn what_a_payload_has_besides_does_not_matter() {
    let gold = filter(json!({"plan": ["gold"]}));
    for besides in
        [r#""n":1e400"#, r#""n":"\ud800""#, r#""\ud800":1"#, &format!(r#""n":{}"#, "9".repeat(401))]
    {
        let payload = format!(r#"{{{besides},"plan":"gold"}}"#);
        assert!(gold.matches(&PayloadView::new(&payload)), "{payload}");
        assert!(filter(json!({"x": [{"exists": false}]})).matches(&PayloadView::new(&payload)));
        assert!(!gold.matches(&PayloadView::new(&payload.replace("gold", "lead"))), "{payload}");
    }
}
