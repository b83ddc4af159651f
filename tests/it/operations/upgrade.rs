//! What a version wrote is read by every later one. `tests/data/items` has all items of both tables as each version left
//! them, all that it answered then, and the parameters that it was deployed with.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};
use shared::clock::{Clock as _, Timestamp};
use shared::config::Env;

use crate::test_stack::{ENDPOINT_VARIABLE, Receiver, Still, TestStack, settings};

/// A file for each version.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/items");
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What stands in place of the receiver's address, which is another one in each run.
const RECEIVER: &str = "receiver.invalid";
const TABLES: [&str; 2] = ["ConfigTable", "LogTable"];
/// Where a page begins and ends says nothing about what is read.
const UNCOMPARED: [&str; 2] = ["iterator", "prevIterator"];
/// How long the one retry waits.
const RETRY_AFTER: Duration = Duration::from_secs(3600);

type Item = HashMap<String, AttributeValue>;

fn json_of(value: &AttributeValue) -> Value {
    use AttributeValue as A;
    match value {
        A::S(text) => json!({ "S": text }),
        A::N(number) => json!({ "N": number }),
        A::Bool(is) => json!({ "BOOL": is }),
        A::B(bytes) => json!({ "B": STANDARD.encode(bytes) }),
        A::Ss(texts) => json!({ "SS": texts }),
        A::Bs(list) => json!({ "BS": list.iter().map(|bytes| STANDARD.encode(bytes)).collect::<Vec<_>>() }),
        A::Null(_) => json!({ "NULL": true }),
        A::L(list) => json!({ "L": list.iter().map(json_of).collect::<Vec<_>>() }),
        A::M(map) => {
            json!({ "M": map.iter().map(|(k, v)| (k.clone(), json_of(v))).collect::<BTreeMap<_, _>>() })
        }
        other => panic!("no item has had {other:?}"),
    }
}

fn value_of(json: &Value) -> AttributeValue {
    use AttributeValue as A;
    let (kind, value) = json.as_object().and_then(|object| object.iter().next()).expect("a kind and a value");
    let text_of = |value: &Value| value.as_str().expect("text").to_owned();
    let bytes_of = |value: &Value| Blob::new(STANDARD.decode(text_of(value)).expect("bytes"));
    let list = || value.as_array().into_iter().flatten();
    match kind.as_str() {
        "S" => A::S(text_of(value)),
        "N" => A::N(text_of(value)),
        "BOOL" => A::Bool(value == true),
        "B" => A::B(bytes_of(value)),
        "SS" => A::Ss(list().map(text_of).collect()),
        "BS" => A::Bs(list().map(bytes_of).collect()),
        "NULL" => A::Null(true),
        "L" => A::L(list().map(value_of).collect()),
        "M" => A::M(value.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), value_of(v))).collect()),
        other => panic!("{other} is no kind of a value"),
    }
}

/// The URL of a receiver of the tests without its port: what an attempt was sent to is packed since 0.2.0, where the port of
/// then cannot be exchanged for that of now.
fn without_port(text: &str) -> &str {
    let rest = text.strip_prefix("http://127.0.0.1:");
    rest.map_or(text, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// Whether `now` has all that `then` has: later versions add fields, and take none away.
fn missing(then: &Value, now: &Value, place: &str, found: &mut Vec<String>) {
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => {
            for (name, value) in then.iter().filter(|(name, _)| !UNCOMPARED.contains(&name.as_str())) {
                missing(value, now.get(name).unwrap_or(&Value::Null), &format!("{place}.{name}"), found);
            }
        }
        (Value::Array(then), Value::Array(now)) if then.len() == now.len() => {
            for (nth, (then, now)) in then.iter().zip(now).enumerate() {
                missing(then, now, &format!("{place}[{nth}]"), found);
            }
        }
        _ if then == now => {}
        (Value::String(then), Value::String(now)) if without_port(then) == without_port(now) => {}
        _ => found.push(format!("{place}: {then} was {now}")),
    }
}

/// A stack whose clock stands at `at`.
async fn stack_at(at: Option<Timestamp>) -> (TestStack, Arc<Still>) {
    let clock = Arc::new(at.map_or_else(Still::default, Still::at));
    let mut settings = settings().with("POSTRIDER_RETRY_SCHEDULE", &RETRY_AFTER.as_secs().to_string());
    settings.platform.clock = clock.clone();
    (TestStack::with(settings).await, clock)
}

impl TestStack {
    async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.request(method, path, &self.token, body).await;
        assert!(answer.status.is_success(), "{method} {path}: {} {}", answer.status, answer.text);
        if answer.text.is_empty() { Value::Null } else { answer.json() }
    }

    /// What each operation that only reads answers, by its path.
    async fn readings(&self, paths: impl IntoIterator<Item = String>) -> BTreeMap<String, Value> {
        let mut readings = BTreeMap::new();
        for path in paths {
            let answer = self.request("GET", &path, &self.token, "").await;
            let text = if answer.status == StatusCode::OK { answer.json() } else { Value::Null };
            readings.insert(path, json!({"status": answer.status.as_u16(), "body": text}));
        }
        readings
    }
}

/// Something of every kind that a customer or an operator can make: applications, endpoints of each kind with each
/// setting, keys, event types, messages that were delivered, failed and are to come, tasks, tokens, audit events.
/// Returns the values of the parameters in paths.
async fn make_everything(stack: &TestStack, receiver: &Receiver) -> Vec<(&'static str, String)> {
    let app = "/api/v1/app/acme";
    stack
        .call(
            "POST",
            "/api/v1/event-type",
            json!({"name": "invoice.paid", "description": "Paid", "groupName": "billing", "schemas": {"1": {
                "type": "object", "properties": {"amount": {"type": "number"}}, "examples": [{"amount": 1}]}}}),
        )
        .await;
    stack
        .call(
            "POST",
            "/api/v1/event-type",
            json!({"name": "old.one", "description": "Archived", "archived": true}),
        )
        .await;
    let settings = json!({"displayName": "Acme's webhooks", "colorPaletteLight": {"primary": "#336699"}});
    stack.call("PUT", "/api/v1/environment/settings", settings).await;
    let customer = json!({"name": "Acme", "uid": "acme", "rateLimit": 500, "metadata": {"plan": "gold"},
        "retryPolicy": {"schedule": [RETRY_AFTER.as_secs()]}});
    stack.call("POST", "/api/v1/app", customer).await;

    let endpoints = format!("{app}/endpoint");
    let main = json!({"url": receiver.url("/main"), "uid": "main", "description": "All of it", "metadata": {"a": "b"},
        "filterTypes": ["invoice.*"], "channels": ["eu"], "rateLimit": 50, "filter": {"amount": [{"numeric": [">", 0]}]}});
    stack.call("POST", &endpoints, main).await;
    stack.call("PUT", &format!("{endpoints}/main/headers"), json!({"headers": {"x-tenant": "7"}})).await;
    stack.call("POST", &format!("{endpoints}/main/secret/rotate"), json!({})).await;
    let failing = json!({"url": receiver.url("/failing"), "uid": "failing", "retryPolicy": {"attempts": 2, "minSeconds": 3600}});
    stack.call("POST", &endpoints, failing).await;
    stack
        .call("POST", &endpoints, json!({"url": receiver.url("/off"), "uid": "off", "disabled": true}))
        .await;
    let ordered = json!({"url": receiver.url("/ordered"), "uid": "ordered", "fifo": true, "fifoKey": "/customer", "disabled": true});
    stack.call("POST", &endpoints, ordered).await;
    stack.call("POST", &endpoints, json!({"destination": {"kind": "polling"}, "uid": "poll"})).await;
    let key = stack.call("POST", &format!("{endpoints}/poll/poller/token/rotate"), json!({})).await;
    assert!(key.to_string().contains("sk_poll_"), "{key}");
    let told = json!({"url": receiver.url("/told"), "uid": "main", "disabled": true});
    stack.call("POST", "/api/v1/operational-webhook/endpoint", told).await;
    let integration = json!({"name": "Zap", "featureFlags": ["beta"]});
    let integration = stack.call("POST", &format!("{app}/integration"), integration).await;
    let integration = integration["id"].as_str().expect("an id").to_owned();
    stack.call("POST", &format!("{app}/integration/{integration}/key/rotate"), Value::Null).await;

    let code = json!({"code": "function handler(webhook) { webhook.payload.by = webhook.env.by; return webhook }",
        "enabled": true, "variables": {"by": "code"}});
    stack.call("PATCH", &format!("{endpoints}/off/transformation"), code).await;

    let connector = json!({"name": "Chat", "uid": "chat", "transformation": "function handler(webhook) { return webhook }"});
    let connector = stack.call("POST", "/api/v1/connector", connector).await;
    let connector = connector["id"].as_str().expect("an id").to_owned();

    let message = json!({"eventType": "invoice.paid", "eventId": "inv-1", "payload": {"amount": 12}, "channels": ["eu"], "tags": ["vip"]});
    let headers = [("idempotency-key", "inv-1")];
    let answer =
        stack.request_with("POST", &format!("{app}/msg"), &stack.token, &headers, message.to_string()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let message = answer.json()["id"].as_str().expect("an id").to_owned();
    stack.jobs_are_done().await;
    let later = json!({"eventType": "invoice.paid", "payload": {"amount": 13}, "channels": ["eu"],
        "deliverAt": stack.stack.platform().clock.now().after(2 * RETRY_AFTER).to_string()});
    stack.call("POST", &format!("{app}/msg"), later).await;
    stack.jobs_are_done().await;
    stack
        .call(
            "GET",
            &format!("{app}/polling-endpoint/poll/consumer/worker?limit=1&starting_position=earliest"),
            Value::Null,
        )
        .await;
    stack
        .call("POST", &format!("{app}/polling-endpoint/poll/consumer/worker/commit"), json!({"offset": 0}))
        .await;

    let since = json!({"since": stack.stack.platform().clock.now().before(RETRY_AFTER).to_string()});
    let task = stack.call("POST", &format!("{endpoints}/main/replay-missing"), since).await;
    stack.jobs_are_done().await;
    stack.call("POST", "/api/v1/auth/app-portal-access/acme", json!({"sessionId": "s-1"})).await;
    stack.call("POST", "/api/v1/auth/app/acme/expire-all", json!({"sessionIds": ["s-1"]})).await;
    let attempts = stack.call("GET", &format!("{app}/attempt/msg/{message}"), Value::Null).await;
    let attempt = attempts["data"].as_array().into_iter().flatten().find(|attempt| attempt["status"] == 0);
    vec![
        ("{app_id}", "acme".to_owned()),
        ("{endpoint_id}", "main".to_owned()),
        ("{msg_id}", message),
        ("{attempt_id}", attempt.expect("a success")["id"].as_str().expect("an id").to_owned()),
        ("{integ_id}", integration),
        ("{connector_id}", connector),
        ("{sink_id}", "poll".to_owned()),
        ("{task_id}", task["id"].as_str().expect("an id").to_owned()),
        ("{event_type_name}", "invoice.paid".to_owned()),
    ]
}

/// Paths of the operations that only read; without those that keep a position, and those that no item is behind.
fn reading_paths(values: &[(&str, String)]) -> Vec<String> {
    let document: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).expect("JSON");
    let paths = document["paths"].as_object().expect("paths").iter();
    let reads = paths.filter(|(path, operations)| {
        let of_no_item = ["/docs", "/api/v1/openapi.json", "/api/v1/health", "/api/v1/auth/whoami"];
        operations.get("get").is_some()
            && !path.contains("{consumer_id}")
            && !path.ends_with("/poller/token")
            && !path.ends_with("{endpoint_id}/order")
            && !of_no_item.iter().any(|prefix| path.starts_with(prefix))
    });
    reads
        .map(|(path, _)| values.iter().fold(path.clone(), |path, (name, value)| path.replace(name, value)))
        .inspect(|path| assert!(!path.contains('{'), "{path}: name a value for it"))
        .collect()
}

/// Answers as a version's receiver did: what is at `/failing` fails.
async fn receiver() -> Receiver {
    Receiver::answering(|webhook| {
        let fails = webhook.path.starts_with("/failing");
        (if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }, "read".to_owned())
    })
    .await
}

/// Each version's file, by its name.
fn versions() -> BTreeMap<String, String> {
    let files = std::fs::read_dir(FOLDER).expect("a folder").map(|file| file.expect("a file").path());
    let versions = files.map(|file| {
        let version = file.file_stem().expect("a name").to_string_lossy().into_owned();
        (version, std::fs::read_to_string(file).expect("text"))
    });
    versions.collect()
}

/// INV-49
#[tokio::test(flavor = "multi_thread")]
async fn what_each_version_wrote_is_read() {
    if Env::process().optional(ENDPOINT_VARIABLE).is_some() {
        return; // their clocks cannot be set, and take what is long past for expired
    }
    let versions = versions();
    assert!(
        versions.contains_key(VERSION),
        "for {VERSION}: cargo test -p tests --test it -- --ignored write_the_items"
    );
    for written in versions.values() {
        reads(written).await;
    }
}

#[test]
fn each_version_s_parameters_are_there_or_their_end_is_told() {
    let template = sam_template::json(local::TEMPLATE).expect("YAML");
    let notes = include_str!("../../../docs/UPGRADING.md");
    for (version, written) in versions() {
        let written: Value = serde_json::from_str(&written).expect("JSON");
        let then = written["parameters"].as_object().expect("parameters");
        assert!(then.len() > 20, "{version}");
        for (name, was) in then {
            let is = &template["Parameters"][name];
            let told = notes.contains(&format!("`{name}`"));
            assert!(
                !is.is_null() || told,
                "{name} of {version} is gone, and docs/UPGRADING.md does not say so"
            );
            assert!(
                is.is_null() || is["Type"] == was["Type"] || told,
                "{name} of {version} has another type"
            );
        }
    }
}

/// Puts the items that a version wrote into the tables, and goes on from there.
async fn reads(written: &str) {
    let mut receiver = receiver().await;
    let written: Value =
        serde_json::from_str(&written.replace(RECEIVER, &receiver.address.to_string())).expect("JSON");
    let at = Timestamp::from_ms(written["at"].as_u64().expect("a time"));
    let (stack, clock) = stack_at(Some(at)).await;
    for table in TABLES {
        let items = written["tables"][table].as_array().expect("items");
        assert!(!items.is_empty());
        for item in items {
            let item: Item =
                item.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), value_of(v))).collect();
            let put =
                stack.stack.dynamodb().put_item().table_name(stack.stack.table(table).expect("a table"));
            put.set_item(Some(item)).send().await.expect("it is put");
        }
    }

    let then = written["answers"].as_object().expect("answers");
    assert!(then.len() > 25, "{} answers", then.len());
    let mut wrong = Vec::new();
    for (path, now) in stack.readings(then.keys().cloned()).await {
        missing(&then[&path], &now, &path, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // The retry that it left is sent at its time, and what was posted for later; the keys of then sign both.
    clock.skip(RETRY_AFTER);
    clock.skip(RETRY_AFTER);
    clock.skip(Duration::from_secs(60));
    // The runner's own minute has come as well, and may have moved some of them.
    stack.run_timers().await;
    stack.jobs_are_done().await;
    let secret = |endpoint: &str| written["secrets"][endpoint].as_str().expect("a secret").to_owned();
    let mut came: Vec<_> = receiver.rest();
    came.sort_by(|a, b| (&a.path, a.header("webhook-id")).cmp(&(&b.path, b.header("webhook-id"))));
    let paths: Vec<&str> = came.iter().map(|webhook| webhook.path.as_str()).collect();
    assert_eq!(paths, ["/failing", "/failing", "/main"]);
    for webhook in &came {
        assert!(webhook.is_signed_by(&secret(webhook.path.trim_start_matches('/'))), "{webhook:?}");
    }
    // What it took under a key is not taken again, and what is posted now arrives.
    let again = json!({"eventType": "invoice.paid", "eventId": "inv-1", "payload": {"amount": 12}});
    let answer = stack.request("POST", "/api/v1/app/acme/msg", &stack.token, again.to_string()).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.text);
    let new = json!({"eventType": "invoice.paid", "payload": {"amount": 14}, "channels": ["eu"]});
    let new = stack.call("POST", "/api/v1/app/acme/msg", new).await;
    stack.jobs_are_done().await;
    let to_main = receiver.rest().into_iter().filter(|webhook| webhook.path == "/main").collect::<Vec<_>>();
    assert_eq!(to_main.len(), 1);
    assert_eq!(new["id"], to_main[0].header("webhook-id"));
    assert!(to_main[0].is_signed_by(&secret("main")));
}

/// `cargo test -p tests --test it -- --ignored write_the_items`, once for a release.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes tests/data/items"]
async fn write_the_items() {
    let receiver = receiver().await;
    let (stack, clock) = stack_at(None).await;
    let values = make_everything(&stack, &receiver).await;
    let mut paths = reading_paths(&values);
    // The one that has code: it is disabled, so that nothing runs it while the clock stands.
    paths.push("/api/v1/app/acme/endpoint/off/transformation".to_owned());
    paths.push("/api/v1/app/acme/endpoint/ordered/order".to_owned());
    let answers = stack.readings(paths).await;
    let failed: Vec<_> = answers.iter().filter(|(_, answer)| answer["status"] != 200).collect();
    assert!(failed.is_empty(), "{failed:?}");
    let mut tables = BTreeMap::new();
    for table in TABLES {
        let name = stack.stack.table(table).expect("a table");
        let scanned = stack.stack.dynamodb().scan().table_name(name).send().await.expect("items");
        assert_eq!(scanned.last_evaluated_key, None);
        let items = scanned.items.unwrap_or_default();
        let items = items
            .iter()
            .map(|item| item.iter().map(|(k, v)| (k.clone(), json_of(v))).collect::<BTreeMap<_, _>>());
        tables.insert(table, items.collect::<Vec<_>>());
    }
    let mut secrets = BTreeMap::new();
    for endpoint in ["main", "failing"] {
        let secret =
            stack.call("GET", &format!("/api/v1/app/acme/endpoint/{endpoint}/secret"), Value::Null).await;
        secrets.insert(endpoint, secret["key"].clone());
    }
    let template = sam_template::json(local::TEMPLATE).expect("YAML");
    let written = json!({"at": clock.now().ms(), "answers": answers, "secrets": secrets, "tables": tables,
        "parameters": template["Parameters"]});
    let text = serde_json::to_string_pretty(&written).expect("JSON");
    let text = text.replace(&receiver.address.to_string(), RECEIVER) + "\n";
    std::fs::write(format!("{FOLDER}/{VERSION}.json"), text).expect("the file is written");
}
