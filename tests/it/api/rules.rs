//! Every rule about what may be sent: its message, its place, and that nothing was changed.

use std::fmt::Write as _;

use serde_json::{Value, json};
use svix::models::{ApplicationIn, EndpointIn};

use crate::test_stack::{Answer, TestStack};

const NAME: &str = "String must match ^[a-zA-Z0-9\\-_.]+$ and have between 1 and 256 characters";
const CHANNEL: &str = "String must match ^[a-zA-Z0-9\\-_.]+$ and have between 1 and 128 characters";
const NAMED: &str = "String must have between 1 and 4096 bytes";
const SECRET: &str = "Must be whsec_ and the base64 of 24 to 75 bytes, or an ed25519 key as whsk_";
const U16: &str = "Invalid value: integer `65536`, expected u16";

/// A broken rule: where, what, and of which kind.
type Broken = (&'static str, &'static str, &'static str);

fn value(loc: &'static str, msg: &'static str) -> Broken {
    (loc, msg, "value_error")
}

fn wrong_type(loc: &'static str, msg: &'static str) -> Broken {
    (loc, msg, "type_error")
}

fn missing(loc: &'static str) -> Broken {
    (loc, "Field required", "missing")
}

/// What a 422 lists, a line each.
pub fn found(answer: &Answer) -> String {
    let mut text = String::new();
    let answer = answer.json();
    for broken in answer["detail"].as_array().expect("a list of broken rules") {
        let loc: Vec<&str> = broken["loc"]
            .as_array()
            .expect("a place")
            .iter()
            .map(|part| part.as_str().expect("text"))
            .collect();
        let (msg, kind) = (broken["msg"].as_str().expect("text"), broken["type"].as_str().expect("text"));
        writeln!(text, "{} | {msg} | {kind}", loc.join(".")).expect("a string takes it");
    }
    text
}

/// Something of everything, and what all of it looks like.
pub struct Shelf {
    pub stack: TestStack,
    pub app: String,
    endpoint: String,
}

impl Shelf {
    pub async fn fill() -> Self {
        let stack = TestStack::start().await;
        let settings = ApplicationIn { uid: Some("acme".into()), ..ApplicationIn::new("acme".into()) };
        let app = stack.svix.application().create(settings, None).await.expect("an application").id;
        stack.event_type("there").await;
        let endpoint =
            EndpointIn { uid: Some("main".into()), ..EndpointIn::new("http://127.0.0.1:9/".into()) };
        let endpoint = stack.endpoint_with(&app, endpoint).await.id;
        Self { stack, app, endpoint }
    }

    pub async fn looks(&self) -> Vec<String> {
        let mut looks = Vec::new();
        for path in [
            "/app".to_owned(),
            "/event-type?include_archived=true&with_content=true".to_owned(),
            format!("/app/{}/endpoint", self.app),
            format!("/app/{}/endpoint/{}/secret", self.app, self.endpoint),
            format!("/app/{}/msg", self.app),
        ] {
            let path = format!("/api/v1{path}");
            let answer = self.stack.request("GET", &path, &self.stack.token, "").await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            looks.push(answer.text);
        }
        looks
    }

    /// Sends each body, and compares the broken rules that the answer lists.
    async fn refuses(&self, method: &str, path: &str, cases: &[(String, Vec<Broken>)]) -> usize {
        let before = self.looks().await;
        for (body, rules) in cases {
            let path = format!("/api/v1{}", path.replace("APP", &self.app));
            let answer = self.stack.request(method, &path, &self.stack.token, body.clone()).await;
            let shown = &body[..body.len().min(200)];
            assert_eq!(answer.status, 422, "{method} {path} {shown}: {}", answer.text);
            let expected: Vec<String> =
                rules.iter().map(|(loc, msg, kind)| format!("body{loc} | {msg} | {kind}\n")).collect();
            assert_eq!(found(&answer), expected.concat(), "{method} {path} {shown}");
        }
        assert_eq!(self.looks().await, before, "{method} {path} changed something");
        cases.len()
    }
}

/// `{"a": 1}` and more, over what the body has to have.
fn with(base: &Value, more: &Value) -> String {
    let mut body = base.clone();
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body.to_string()
}

/// What no operation takes for a body.
fn no_objects() -> Vec<(String, Vec<Broken>)> {
    let object = || vec![wrong_type("", "A JSON object is expected")];
    let mut cases: Vec<_> =
        ["[]", "null", "7", "\"text\"", "true"].map(|body| (body.to_owned(), object())).into();
    for (body, msg) in [
        ("", "The request body is empty; expected a JSON object"),
        ("{", "The request body is not valid JSON (line 1, column 1)"),
        ("{}x", "The request body is not valid JSON (line 1, column 3)"),
        ("{'a':1}", "The request body is not valid JSON (line 1, column 2)"),
    ] {
        cases.push((body.to_owned(), vec![("", msg, "json_invalid")]));
    }
    cases
}

/// The rules of an application, wherever it is given.
fn application_rules() -> Vec<(Value, Broken)> {
    vec![
        (json!({"name": ""}), value(".name", NAMED)),
        (json!({"name": "x".repeat(4097)}), value(".name", NAMED)),
        (json!({"name": 7}), wrong_type(".name", "Invalid type: integer `7`, expected a string")),
        (json!({"uid": ""}), value(".uid", NAME)),
        (json!({"uid": "a b"}), value(".uid", NAME)),
        (json!({"uid": "ä"}), value(".uid", NAME)),
        (json!({"uid": "x".repeat(257)}), value(".uid", NAME)),
        (json!({"uid": "app_x"}), value(".uid", "A uid must not begin with app_")),
        (json!({"uid": {}}), wrong_type(".uid", "Invalid type: map, expected a string")),
        (json!({"rateLimit": 0}), value(".rateLimit", "Must be 1 or more")),
        (json!({"throttleRate": 0}), value(".rateLimit", "Must be 1 or more")),
        (json!({"rateLimit": 65536}), wrong_type(".rateLimit", U16)),
        (json!({"throttleRate": 65536}), wrong_type(".throttleRate", U16)),
        (json!({"rateLimit": -1}), wrong_type(".rateLimit", "Invalid value: integer `-1`, expected u16")),
        (
            json!({"rateLimit": 1.5}),
            wrong_type(".rateLimit", "Invalid type: floating point `1.5`, expected u16"),
        ),
        (json!({"retryPolicy": {}}), value(".retryPolicy", "Must have either schedule or attempts")),
        (
            json!({"retryPolicy": {"schedule": [604_800, 1]}}),
            value(".retryPolicy", "The waits must be 7 days (604,800 seconds) or less in all"),
        ),
        (json!({"retryPolicy": {"attempts": 17}}), value(".retryPolicy.attempts", "Must be from 1 to 16")),
        (json!({"metadata": []}), wrong_type(".metadata", "Invalid type: sequence, expected a map")),
        (
            json!({"metadata": {"k": 1}}),
            wrong_type(".metadata", "Invalid type: integer `1`, expected a string"),
        ),
        (json!({"metadata": {"": "v"}}), value(".metadata", "Each name must have at least one character")),
        (
            json!({"metadata": {"k": "v".repeat(4096)}}),
            value(".metadata", "Must have at most 4096 bytes in all"),
        ),
    ]
}

/// The rules of an endpoint besides those that an application has too.
fn endpoint_rules() -> Vec<(Value, Broken)> {
    let eleven: Vec<String> = (0..11).map(|nth| format!("c{nth}")).collect();
    vec![
        (json!({"url": ""}), value(".url", "Must have between 1 and 65534 bytes")),
        (json!({"url": "x".repeat(65_537)}), value(".url", "Must have between 1 and 65534 bytes")),
        (json!({"url": 7}), wrong_type(".url", "Invalid type: integer `7`, expected a string")),
        (
            json!({"url": "example.com"}),
            value(".url", "Not an absolute URL; did you mean https://example.com?"),
        ),
        (json!({"url": "http://[::1"}), value(".url", "Not a URL: invalid IPv6 address")),
        (json!({"url": "http://x:65536/"}), value(".url", "Not a URL: invalid port number")),
        (json!({"url": "http://x:0/"}), value(".url", "Must not name port 0")),
        (json!({"url": "ftp://x/"}), value(".url", "Must be an http or https URL")),
        (json!({"url": "javascript:alert(1)"}), value(".url", "Must be an http or https URL")),
        (json!({"description": "x".repeat(4097)}), value(".description", "Must have at most 4096 bytes")),
        (
            json!({"description": 1}),
            wrong_type(".description", "Invalid type: integer `1`, expected a string"),
        ),
        (json!({"uid": "a b"}), value(".uid", NAME)),
        (json!({"uid": "ep_x"}), value(".uid", "A uid must not begin with ep_")),
        (json!({"filterTypes": ["a b"]}), value(".filterTypes", NAME)),
        (json!({"filterTypes": ["a", "a"]}), value(".filterTypes", "Entries must not repeat")),
        (
            json!({"filterTypes": "a"}),
            wrong_type(".filterTypes", "Invalid type: string \"a\", expected a sequence"),
        ),
        (json!({"filterTypes": ["x.y"]}), value(".filterTypes", "These event types do not exist: x.y")),
        (json!({"eventTypes": ["there", "x"]}), value(".filterTypes", "These event types do not exist: x")),
        (json!({"channels": ["a b"]}), value(".channels", CHANNEL)),
        (json!({"channels": ["x".repeat(129)]}), value(".channels", CHANNEL)),
        (json!({"channels": ["a", "a"]}), value(".channels", "Entries must not repeat")),
        (json!({"channels": eleven}), value(".channels", "Must have between 1 and 10 entries")),
        (json!({"channels": []}), value(".channels", "Must have between 1 and 10 entries")),
        (
            json!({"disabled": "no"}),
            wrong_type(".disabled", "Invalid type: string \"no\", expected a boolean"),
        ),
        (json!({"rateLimit": 0}), value(".rateLimit", "Must be 1 or more")),
        (json!({"throttleRate": 65536}), wrong_type(".throttleRate", U16)),
        (json!({"retryPolicy": {"attempts": 0}}), value(".retryPolicy.attempts", "Must be from 1 to 16")),
        (
            json!({"metadata": {"k": "v".repeat(4096)}}),
            value(".metadata", "Must have at most 4096 bytes in all"),
        ),
        (json!({"metadata": {"": "v"}}), value(".metadata", "Each name must have at least one character")),
    ]
}

fn event_type_rules() -> Vec<(Value, Broken)> {
    let large = json!({"1": {"title": "x".repeat(256 * 1024)}});
    let many: Vec<String> = (0..33).map(|nth| format!("f{nth}")).collect();
    vec![
        (json!({"description": "x".repeat(4097)}), value(".description", "Must have at most 4096 bytes")),
        (
            json!({"description": 1}),
            wrong_type(".description", "Invalid type: integer `1`, expected a string"),
        ),
        (json!({"schemas": []}), wrong_type(".schemas", "Invalid type: sequence, expected a map")),
        (json!({"schemas": {"1": 1}}), wrong_type(".schemas", "Invalid type: integer `1`, expected a map")),
        (json!({"schemas": large}), value(".schemas", "Must have at most 262144 bytes")),
        (json!({"featureFlag": "a b"}), value(".featureFlag", NAME)),
        (json!({"featureFlags": ["a b"]}), value(".featureFlags", NAME)),
        (json!({"featureFlags": []}), value(".featureFlags", "Must have between 1 and 32 entries")),
        (json!({"featureFlags": many}), value(".featureFlags", "Must have between 1 and 32 entries")),
        (json!({"groupName": "a b"}), value(".groupName", NAME)),
        (json!({"archived": 1}), wrong_type(".archived", "Invalid type: integer `1`, expected a boolean")),
        (
            json!({"deprecated": "x"}),
            wrong_type(".deprecated", "Invalid type: string \"x\", expected a boolean"),
        ),
    ]
}

fn message_rules() -> Vec<(Value, Broken)> {
    let tag = "String must match ^[a-zA-Z0-9\\-_./\\\\#]+$ and have between 1 and 128 characters";
    let six = json!(["1", "2", "3", "4", "5", "6"]);
    vec![
        (json!({"eventType": "a b"}), value(".eventType", NAME)),
        (json!({"eventType": ""}), value(".eventType", NAME)),
        (json!({"eventType": 1}), wrong_type(".eventType", "Invalid type: integer `1`, expected a string")),
        (json!({"eventType": "x".repeat(257)}), value(".eventType", NAME)),
        (json!({"payload": "text"}), wrong_type(".payload", "Must be a JSON object")),
        (json!({"payload": [1]}), wrong_type(".payload", "Must be a JSON object")),
        (json!({"payload": null, "data": 7}), wrong_type(".data", "Must be a JSON object")),
        (json!({"eventId": "a b"}), value(".eventId", NAME)),
        (json!({"eventId": "x".repeat(257)}), value(".eventId", NAME)),
        (json!({"eventId": "msg_x"}), value(".eventId", "A uid must not begin with msg_")),
        (json!({"channels": []}), value(".channels", "Must have between 1 and 5 entries")),
        (json!({"channels": six.clone()}), value(".channels", "Must have between 1 and 5 entries")),
        (json!({"channels": ["a b"]}), value(".channels", CHANNEL)),
        (json!({"channels": ["a", "a"]}), value(".channels", "Entries must not repeat")),
        (json!({"tags": six}), value(".tags", "Must have between 0 and 5 entries")),
        (json!({"tags": ["a b"]}), value(".tags", tag)),
        (json!({"tags": ["x".repeat(129)]}), value(".tags", tag)),
        (json!({"payloadRetentionPeriod": 4}), value(".payloadRetentionPeriod", "Must be from 5 to 90")),
        (json!({"payloadRetentionPeriod": 91}), value(".payloadRetentionPeriod", "Must be from 5 to 90")),
        (
            json!({"payloadRetentionPeriod": "x"}),
            wrong_type(".payloadRetentionPeriod", "Invalid type: string \"x\", expected u64"),
        ),
        (json!({"payloadRetentionHours": 0}), value(".payloadRetentionHours", "Must be from 1 to 2160")),
        (json!({"payloadRetentionHours": 2161}), value(".payloadRetentionHours", "Must be from 1 to 2160")),
        (
            json!({"payloadRetentionHours": 7, "payloadRetentionPeriod": 7}),
            value(".payloadRetentionHours", "Must not be given together with payloadRetentionPeriod"),
        ),
        (
            json!({"transformationsParams": 1}),
            wrong_type(".transformationsParams", "Invalid type: integer `1`, expected a map"),
        ),
        (
            json!({"transformationsParams": {"rawPayload": {}}}),
            wrong_type(".transformationsParams.rawPayload", "Invalid type: map, expected a string"),
        ),
        (
            json!({"application": {"name": "x", "uid": "other"}}),
            value(".application", "Its uid must be the one in the path"),
        ),
    ]
}

fn over(base: &Value, rules: Vec<(Value, Broken)>) -> Vec<(String, Vec<Broken>)> {
    rules.into_iter().map(|(more, broken)| (with(base, &more), vec![broken])).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "how much was tried is the result")]
async fn each_rule_about_bodies_says_what_is_wrong_and_where() {
    let shelf = Shelf::fill().await;
    let mut tried = 0;
    let named = json!({"name": "new"});
    for (method, path) in
        [("POST", "/app"), ("PUT", "/app/acme"), ("PATCH", "/app/acme"), ("PUT", "/app/new")]
    {
        tried += shelf.refuses(method, path, &no_objects()).await;
        tried += shelf.refuses(method, path, &over(&named, application_rules())).await;
    }
    for path in ["/app", "/app/new"] {
        let all = json!({"uid": "a b", "rateLimit": 0, "metadata": 1}).to_string();
        let all = (
            all,
            vec![
                missing(".name"),
                value(".uid", NAME),
                value(".rateLimit", "Must be 1 or more"),
                wrong_type(".metadata", "Invalid type: integer `1`, expected a map"),
            ],
        );
        let method = if path == "/app" { "POST" } else { "PUT" };
        tried += shelf.refuses(method, path, &[("{}".into(), vec![missing(".name")]), all]).await;
    }
    let null = |name: &str| json!({ name: null }).to_string();
    let not_null = |loc: &'static str| vec![wrong_type(loc, "Must not be null")];
    tried += shelf.refuses("PATCH", "/app/acme", &[(null("name"), not_null(".name"))]).await;

    let there = json!({"url": "http://127.0.0.1:9/new"});
    for (method, path) in [
        ("POST", "/app/APP/endpoint"),
        ("PUT", "/app/APP/endpoint/main"),
        ("PUT", "/app/APP/endpoint/new"),
        ("PATCH", "/app/APP/endpoint/main"),
    ] {
        tried += shelf.refuses(method, path, &no_objects()).await;
        tried += shelf.refuses(method, path, &over(&there, endpoint_rules())).await;
    }
    for (method, path) in [("POST", "/app/APP/endpoint"), ("PUT", "/app/APP/endpoint/main")] {
        tried += shelf.refuses(method, path, &[("{}".into(), vec![missing(".url")])]).await;
    }
    tried += shelf.refuses("PATCH", "/app/APP/endpoint/main", &[(null("url"), not_null(".url"))]).await;
    let secrets = ["", "short", "whsec_", "whsec_AAAA", "whsk_AAAA", "whpk_AAAA"];
    let secrets = secrets.map(|secret| (json!({ "secret": secret }), value(".secret", SECRET)));
    tried += shelf.refuses("POST", "/app/APP/endpoint", &over(&there, secrets.into())).await;

    let described = json!({"name": "new", "description": "x"});
    for (method, path) in
        [("POST", "/event-type"), ("PUT", "/event-type/new"), ("PATCH", "/event-type/there")]
    {
        tried += shelf.refuses(method, path, &no_objects()).await;
        tried += shelf.refuses(method, path, &over(&described, event_type_rules())).await;
    }
    let names = [
        (json!({"name": "a b"}), value(".name", NAME)),
        (json!({"name": ""}), value(".name", NAME)),
        (json!({"name": "x".repeat(257)}), value(".name", NAME)),
        (json!({"name": 1}), wrong_type(".name", "Invalid type: integer `1`, expected a string")),
    ];
    tried += shelf.refuses("POST", "/event-type", &over(&described, names.into())).await;
    let none = [("{}".to_owned(), vec![missing(".name"), missing(".description")])];
    tried += shelf.refuses("POST", "/event-type", &none).await;
    for name in ["description", "archived", "deprecated"] {
        let rule = (null(name), vec![(&*format!(".{name}").leak(), "Must not be null", "type_error")]);
        tried += shelf.refuses("PATCH", "/event-type/there", &[rule]).await;
    }

    let sent = json!({"eventType": "there", "payload": {}});
    tried += shelf.refuses("POST", "/app/APP/msg", &no_objects()).await;
    tried += shelf.refuses("POST", "/app/APP/msg", &over(&sent, message_rules())).await;
    let none = [("{}".to_owned(), vec![missing(".eventType"), missing(".payload")])];
    tried += shelf.refuses("POST", "/app/APP/msg", &none).await;
    // An application that would be made with the message, and with access to the portal.
    for (path, base) in [("/app/new/msg", sent), ("/auth/app-portal-access/new", json!({}))] {
        let inner: Vec<_> = application_rules()
            .into_iter()
            .filter(|(more, _)| more.get("uid").is_none())
            .map(|(more, (loc, msg, kind))| {
                let application = with(&json!({"name": "new", "uid": "new"}), &more);
                let application: Value = serde_json::from_str(&application).expect("JSON");
                let loc: &'static str = format!(".application{loc}").leak();
                (with(&base, &json!({ "application": application })), vec![(loc, msg, kind)])
            })
            .collect();
        tried += shelf.refuses("POST", path, &inner).await;
    }
    println!("{tried} bodies were refused, each with the rules that it breaks");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "how much was tried is the result")]
async fn each_rule_about_queries_and_headers_too() {
    let shelf = Shelf::fill().await;
    let (stack, app) = (&shelf.stack, &shelf.app);
    let path = format!("/api/v1/app/{app}/msg");
    let message = stack.request("POST", &path, &stack.token, r#"{"eventType":"there","payload":{}}"#).await;
    let message = message.json()["id"].as_str().expect("an id").to_owned();
    stack.idle().await;
    let before = shelf.looks().await;
    let log = [
        format!("/app/{app}/msg"),
        format!("/app/{app}/attempt/endpoint/{}", shelf.endpoint),
        format!("/app/{app}/attempt/msg/{message}"),
    ];
    let lists = [vec!["/app".to_owned(), "/event-type".into(), format!("/app/{app}/endpoint")], log.to_vec()]
        .concat();
    let mut tried = 0;
    let get = async |path: &str| stack.request("GET", &format!("/api/v1{path}"), &stack.token, "").await;
    for list in &lists {
        for (query, detail) in [
            ("limit=x", "The query parameter `limit` should be a number from 1 to 250."),
            ("limit=-1", "The query parameter `limit` should be a number from 1 to 250."),
            (
                "limit=99999999999999999999999",
                "The query parameter `limit` should be a number from 1 to 250.",
            ),
        ] {
            // The log has one order, whatever is asked for.
            if query.starts_with("order") && log.contains(list) {
                continue;
            }
            let answer = get(&format!("{list}?{query}")).await;
            let expected = json!({"code": "bad_request", "detail": detail});
            assert_eq!((answer.status.as_u16(), answer.json()), (400, expected), "{list}?{query}");
            tried += 1;
        }
        if !log.contains(list) {
            let answer = get(&format!("{list}?order=up")).await;
            let detail = "The query parameter `order` should be ascending or descending.";
            assert_eq!((answer.status.as_u16(), &answer.json()["detail"]), (400, &json!(detail)), "{list}");
            tried += 1;
        }
        for (query, rule) in [
            ("limit=0", "query.limit | Must be from 1 to 250"),
            ("limit=251", "query.limit | Must be from 1 to 250"),
            ("iterator=-", "query.iterator | Not an iterator of this list"),
            ("iterator=a%20b", "query.iterator | Not an iterator of this list"),
            ("iterator=%00", "query.iterator | Not an iterator of this list"),
            ("iterator=%ff%fe", "query.iterator | Not an iterator of this list"),
            ("iterator=-%F0%9F%92%A9", "query.iterator | Not an iterator of this list"),
            (&format!("iterator={}", "x".repeat(5_000)), "query.iterator | Not an iterator of this list"),
        ] {
            let answer = get(&format!("{list}?{query}")).await;
            assert_eq!(answer.status, 422, "{list}?{query}: {}", answer.text);
            assert_eq!(found(&answer), format!("{rule} | value_error\n"), "{list}?{query}");
            tried += 1;
        }
        // Ids that are none, or of another kind. A name of an event type can be anything.
        let prefix = match list {
            list if list.ends_with("/app") => "app_",
            list if list.ends_with("/endpoint") => "ep_",
            list if list.ends_with("/msg") => "msg_",
            list if list.ends_with("/event-type") => continue,
            _ => "atmpt_",
        };
        for iterator in [
            "x".to_owned(),
            prefix.to_owned(),
            "org_23rb8YdGqMT0qIzpgGwdXfHirMu".to_owned(),
            format!("{prefix}23rb8YdGqMT0qIzpgGwdXfHirM"),
            format!("{prefix}23rb8YdGqMT0qIzpgGwdXfHirMuu"),
            format!("{prefix}23rb8YdGqMT0qIzpgGwdXfHirM-"),
            format!("{prefix}zzzzzzzzzzzzzzzzzzzzzzzzzzz"),
            format!("--{prefix}23rb8YdGqMT0qIzpgGwdXfHirMu"),
            format!("{prefix}23rb8YdGqMT0qIzpgGwdXfHir%C3%A9"),
        ] {
            let answer = get(&format!("{list}?iterator={iterator}")).await;
            assert_eq!(answer.status, 422, "{list}?iterator={iterator}: {}", answer.text);
            assert_eq!(found(&answer), "query.iterator | Not an iterator of this list | value_error\n");
            tried += 1;
        }
    }
    for list in &log {
        for name in ["before", "after"] {
            for text in ["yesterday", "7", "2026-13-01T00:00:00Z", "2026-01-01", "1969-01-01T00:00:00Z"] {
                let answer = get(&format!("{list}?{name}={text}")).await;
                let detail = format!("The query parameter `{name}` should be an RFC 3339 date and time.");
                let expected = json!({"code": "bad_request", "detail": detail});
                assert_eq!((answer.status.as_u16(), answer.json()), (400, expected), "{list}?{name}={text}");
                tried += 1;
            }
            let answer = get(&format!("{list}?{name}=2999-01-01T00:00:00Z")).await;
            assert_eq!(answer.status, 422, "{list}: {}", answer.text);
            let rule = "Must not lie more than one hour in the future";
            assert_eq!(found(&answer), format!("query.{name} | {rule} | value_error\n"));
            tried += 1;
        }
    }
    let flags = "true or false";
    let (status, class) = ("0, 1, 2, 3 or 4", "0, 100, 200, 300, 400 or 500");
    for (path, name, text, what) in [
        ("/event-type", "with_content", "maybe", flags),
        ("/event-type", "include_archived", "1", flags),
        (&log[0], "with_content", "yes", flags),
        (&log[1], "with_content", "yes", flags),
        (&log[1], "status", "x", status),
        (&log[1], "status", "-1", status),
        (&log[2], "status", "7", status),
        (&log[1], "status_code_class", "42", class),
        (&log[2], "status_code_class", "600", class),
    ] {
        let answer = get(&format!("{path}?{name}={text}")).await;
        let detail = format!("The query parameter `{name}` should be {what}.");
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["detail"]),
            (400, &json!(detail)),
            "{path} {name}"
        );
        tried += 1;
    }
    for key in ["".to_owned(), "x".repeat(257), "\u{e9}".to_owned()] {
        for path in ["/app".to_owned(), "/event-type".into(), format!("/app/{app}/endpoint"), log[0].clone()]
        {
            let header = [("idempotency-key", key.as_str())];
            let body =
                r#"{"name":"x","description":"x","url":"http://127.0.0.1:9/","eventType":"a","payload":{}}"#;
            let path = format!("/api/v1{path}");
            let answer = stack.request_with("POST", &path, &stack.token, &header, body).await;
            assert_eq!(answer.status, 422, "{path} {key}: {}", answer.text);
            let rule = "Must have 1 to 256 visible ASCII characters";
            assert_eq!(found(&answer), format!("header.idempotency-key | {rule} | value_error\n"));
            tried += 1;
        }
    }
    assert_eq!(shelf.looks().await, before);
    println!("{tried} queries and headers were refused");
}
