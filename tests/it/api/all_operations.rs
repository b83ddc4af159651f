//! One walk through all that changes configuration, with what the audit events of each step have to say.

mod endpoints;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use crate::test_stack::{Ahead, Answer, Receiver, TestStack, settings};

/// Things that are in no audit event: the keys, a header's value, what a URL lets one in with, a variable's value.
pub const SECRETS: [&str; 7] = [
    "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB",
    "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJC",
    "the-value-of-a-header",
    "another-value-of-it",
    "the-password",
    "the-token-in-a-query",
    "the-value-of-a-variable",
];

/// A stack in which each step says which audit event it leaves.
pub struct Walk {
    pub stack: TestStack,
    /// Gets everything that is delivered; answers 410 at `/gone`.
    pub receiver: Receiver,
    /// The ids of the events that were looked at.
    known: BTreeSet<String>,
    /// The words of all events so far.
    pub seen: BTreeSet<String>,
    /// The stack's.
    clock: Arc<Ahead>,
    /// Methods and paths, as the OpenAPI document has them.
    pub walked: BTreeSet<(String, String)>,
    /// What stands in paths.
    names: BTreeMap<&'static str, String>,
}

impl Walk {
    pub async fn start() -> Self {
        let receiver = Receiver::answering(|webhook| match webhook.path.as_str() {
            "/gone" => (StatusCode::GONE, String::new()),
            "/probed" if !webhook.body.starts_with(b"{\"data\"") => (StatusCode::NOT_FOUND, String::new()),
            "/broken" => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
            _ => (StatusCode::OK, "an answer".into()),
        });
        let clock = Arc::new(Ahead::default());
        let mut settings = settings();
        settings.platform.clock = clock.clone();
        Self {
            stack: TestStack::with(settings).await,
            clock,
            receiver: receiver.await,
            known: BTreeSet::new(),
            seen: BTreeSet::new(),
            walked: BTreeSet::new(),
            names: BTreeMap::new(),
        }
    }

    pub fn name(&mut self, name: &'static str, value: impl Into<String>) {
        self.names.insert(name, value.into());
    }

    pub fn path(&self, template: &str) -> String {
        let names = self.names.iter();
        names.fold(template.to_owned(), |path, (name, value)| path.replace(&format!("{{{name}}}"), value))
    }

    /// All events that were not looked at yet, the oldest first.
    async fn news(&mut self) -> Vec<Value> {
        let path = "/api/v1/audit-event?limit=250&order=ascending";
        let page = self.stack.request("GET", path, &self.stack.token, "").await.json();
        assert_eq!(page["done"], true);
        let mut events = page["data"].as_array().expect("events").clone();
        events.retain(|event| self.known.insert(event["id"].as_str().expect("an id").to_owned()));
        self.seen.extend(events.iter().map(|event| event["what"].as_str().expect("a word").to_owned()));
        events
    }

    /// A request that succeeds, whatever it changes.
    pub async fn ask(&mut self, method: &str, template: &str, token: &str, body: Value) -> Answer {
        self.walked.insert((method.to_owned(), template.to_owned()));
        let path = format!("/api/v1{}", self.path(template));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        // Every POST with a key, so that its records come into it.
        let key = format!("key-{}", self.known.len());
        let headers = [("idempotency-key", key.as_str())];
        let headers = if method == "POST" { &headers[..] } else { &[] };
        let answer = self.stack.request_with(method, &path, token, headers, body).await;
        assert!(answer.status.is_success(), "{method} {path}: {} {}", answer.status, answer.text);
        answer
    }

    /// A request that leaves just this event: `[what, subject, before, after]`.
    pub async fn change(
        &mut self,
        method: &str,
        template: &str,
        body: Value,
        [what, subject, before, after]: [Value; 4],
    ) -> Value {
        let (token, by) = (self.stack.token.clone(), shared::auth::DEFAULT_ORG);
        self.change_by(&token, by, method, template, body, [what, subject, before, after]).await
    }

    pub async fn change_by(
        &mut self,
        token: &str,
        by: &str,
        method: &str,
        template: &str,
        body: Value,
        [what, subject, before, after]: [Value; 4],
    ) -> Value {
        let answer = self.ask(method, template, token, body).await;
        let request = answer.headers["apigw-requestid"].to_str().expect("text").to_owned();
        let made = if answer.text.is_empty() { Value::Null } else { answer.json() };
        let events = self.news().await;
        let [event] = events.as_slice() else { panic!("{method} {template}: {events:#?}") };
        let at = format!("{method} {template}: {event:#}");
        assert_eq!(event["what"], what, "{at}");
        let subject = if subject.is_null() { &made["id"] } else { &subject };
        assert_eq!(&event["subject"], subject, "{at}");
        assert_eq!(event["by"], by, "{at}");
        assert_eq!(event["tokenId"], shared::auth::token_id(token), "{at}");
        assert_eq!(event["requestId"], request, "{at}");
        assert_eq!(event["before"], before, "{at}");
        assert_eq!(event["after"], after, "{at}");
        assert_eq!(event["trimmed"], false, "{at}");
        let app = if subject.as_str().is_some_and(|subject| subject.starts_with("app_")) {
            subject.clone()
        } else if template.starts_with("/operational-webhook/") {
            // One that is in no list.
            assert!(event["appId"].as_str().is_some_and(|app| app.starts_with("app_")), "{at}");
            event["appId"].clone()
        } else if template.starts_with("/app/") {
            json!(self.names["app"])
        } else {
            Value::Null
        };
        assert_eq!(event["appId"], app, "{at}");
        made
    }

    /// What nobody asked for: just this event of Postrider itself.
    async fn itself(&mut self, what: &str, subject: &str, before: Value, after: impl FnOnce(&Value)) {
        let events = self.news().await;
        let [event] = events.as_slice() else { panic!("{events:#?}") };
        assert_eq!((&event["what"], &event["subject"]), (&json!(what), &json!(subject)));
        assert_eq!((&event["by"], &event["tokenId"]), (&json!("postrider"), &Value::Null));
        assert_eq!((&event["appId"], &event["before"]), (&json!(self.names["app"]), &before));
        assert!(event["requestId"].as_str().expect("an attempt").starts_with("atmpt_"), "{event}");
        after(&event["after"]);
    }

    /// Everything that changes configuration, and then deletes it.
    pub async fn all(&mut self) {
        self.applications().await;
        self.event_types().await;
        self.connectors().await;
        self.endpoints().await;
        self.secrets_of_endpoints().await;
        self.transformation().await;
        self.auto_config().await;
        self.operational().await;
        self.integrations().await;
        self.polling().await;
        self.ordered().await;
        self.log().await;
        self.itself_disables().await;
        self.comes_back().await;
        self.ends().await;
    }

    async fn applications(&mut self) {
        const NONE: Value = Value::Null;
        let policy = json!({"schedule": [1], "jitter": 0});
        let body = json!({
            "name": "Acme", "uid": "acme", "rateLimit": 5, "retryPolicy": policy, "metadata": {"k": "v"},
        });
        let after = body.clone();
        let created = json!("application.created");
        let made = self.change("POST", "/app", body, [created.clone(), NONE, NONE, after]).await;
        let (what, org) = (json!("environment.settings-updated"), json!(shared::auth::DEFAULT_ORG));
        let look = json!({"displayName": "Acme", "primaryColorLight": "4f46e5", "darkMode": "auto"});
        let change = [what.clone(), org.clone(), NONE, look.clone()];
        self.change("PUT", "/environment/settings", look.clone(), change).await;
        let change = [what, org, json!({"primaryColorLight": "4f46e5", "darkMode": "auto"}), json!({})];
        self.change("PUT", "/environment/settings", json!({"displayName": "Acme"}), change).await;
        // Its name is nobody's choice.
        let token = self.stack.token.clone();
        let rotated = self.ask("POST", "/environment/signing-key/rotate", &token, json!({})).await.json();
        let events = self.news().await;
        let keys = json!([{"kid": rotated["keys"][0]["kid"], "until": null}]);
        let shown = (&events[0]["what"], &events[0]["after"], events.len());
        assert_eq!(shown, (&json!("environment.signing-key-created"), &json!({ "keys": keys }), 1));
        let id = made["id"].as_str().expect("an id").to_owned();
        self.name("app", id.clone());
        self.name("app_id", "acme");
        let updated = json!("application.updated");
        let change = [
            updated.clone(),
            json!(id),
            json!({"name": "Acme", "rateLimit": 5, "retryPolicy": policy, "metadata": {"k": "v"}}),
            json!({"name": "ACME", "metadata": {}}),
        ];
        self.change("PUT", "/app/{app_id}", json!({"name": "ACME", "uid": "acme"}), change).await;
        let change = [updated.clone(), json!(id), json!({"name": "ACME"}), json!({"name": "A"})];
        self.change("PATCH", "/app/{app_id}", json!({"name": "A"}), change).await;
        let nothing = [updated, json!(id), json!({}), json!({})];
        self.change("PATCH", "/app/{app_id}", json!({}), nothing).await;
        self.name("app_id", "other");
        let after = json!({"name": "B", "uid": "other", "metadata": {}});
        let change = [created.clone(), NONE, NONE, after];
        self.change("PUT", "/app/{app_id}", json!({"name": "B"}), change).await;
        // Asking for access makes the application.
        self.name("app_id", "third");
        let body = json!({"application": {"name": "C", "uid": "third"}});
        self.ask("POST", "/auth/app-portal-access/{app_id}", &self.stack.token.clone(), body).await;
        let events = self.news().await;
        assert_eq!(events.len(), 1);
        assert_eq!((&events[0]["what"], &events[0]["after"]["uid"]), (&created, &json!("third")));
        self.name("app_id", "acme");
    }

    async fn event_types(&mut self) {
        const NONE: Value = Value::Null;
        let [created, updated] = [json!("event-type.created"), json!("event-type.updated")];
        let fresh = |description: &str| json!({"description": description, "featureFlags": [], "archived": false, "deprecated": false});
        self.name("event_type_name", "a.b");
        let body = json!({"name": "a.b", "description": "d"});
        let name = json!("a.b");
        self.change("POST", "/event-type", body, [created.clone(), name.clone(), NONE, fresh("d")]).await;
        let change =
            [updated.clone(), name.clone(), json!({"description": "d"}), json!({"description": "e"})];
        const ONE: &str = "/event-type/{event_type_name}";
        self.change("PUT", ONE, json!({"description": "e"}), change).await;
        let change = [updated, name.clone(), json!({"featureFlags": []}), json!({"featureFlags": ["x"]})];
        self.change("PATCH", ONE, json!({"featureFlags": ["x"]}), change).await;
        let archived = [
            json!("event-type.archived"),
            name.clone(),
            json!({"archived": false}),
            json!({"archived": true}),
        ];
        self.change("DELETE", ONE, NONE, archived).await;
        let change = [
            created.clone(),
            name.clone(),
            json!({"archived": true, "description": "e", "featureFlags": ["x"]}),
            json!({"archived": false, "description": "f", "featureFlags": []}),
        ];
        self.change("POST", "/event-type", json!({"name": "a.b", "description": "f"}), change).await;
        let deleted = [json!("event-type.deleted"), name, fresh("f"), NONE];
        self.change("DELETE", &format!("{ONE}?expunge=true"), NONE, deleted).await;
        let spec = json!({"openapi": "3.1.0", "webhooks": {"e.f": {"post": {"summary": "h"}}}});
        let change = [created.clone(), json!("e.f"), NONE, fresh("h")];
        self.change("POST", "/event-type/import/openapi", json!({ "spec": spec }), change).await;
        let body = json!({"eventTypes": [{"name": "g.h", "description": "i"}]});
        let change = [created.clone(), json!("g.h"), NONE, fresh("i")];
        self.change("POST", "/environment/import", body, change).await;
        self.name("event_type_name", "c.d");
        let change = [created, json!("c.d"), NONE, fresh("g")];
        self.change("PUT", ONE, json!({"description": "g"}), change).await;
    }

    async fn connectors(&mut self) {
        const NONE: Value = Value::Null;
        const ONE: &str = "/connector/{connector_id}";
        const TOKEN: &str =
            "const token = 'the-value-of-a-variable'; function handler(webhook) { return webhook }";
        let shown = |name: &str, code: &str| {
            json!({
                "name": name, "uid": "slack", "kind": "Slack", "description": "", "instructions": "", "featureFlags": [],
                "transformation": code,
            })
        };
        let length = format!("({} characters)", TOKEN.len());
        let body = json!({"name": "Slack", "uid": "slack", "kind": "Slack", "transformation": TOKEN});
        let created = [json!("connector.created"), NONE, NONE, shown("Slack", &length)];
        let made = self.change("POST", "/connector", body, created).await;
        let id = json!(made["id"]);
        self.name("connector_id", "slack");
        let updated = json!("connector.updated");
        let body = json!({"name": "S", "kind": "Slack", "transformation": TOKEN});
        let change = [updated.clone(), id.clone(), json!({"name": "Slack"}), json!({"name": "S"})];
        self.change("PUT", ONE, body, change).await;
        // Other code of the same length: that it is another one is told.
        let code =
            json!({"transformation": TOKEN.replace("'the", "\"the").replace("variable'", "variable\"")});
        let change =
            [updated, id.clone(), json!({"transformation": length}), json!({"transformation": length})];
        self.change("PATCH", ONE, code, change).await;
        let deleted = [json!("connector.deleted"), id, shown("S", &length), NONE];
        self.change("DELETE", ONE, NONE, deleted).await;
    }

    /// What can be done to the log.
    async fn log(&mut self) {
        const NONE: Value = Value::Null;
        let token = self.stack.token.clone();
        const MESSAGES: &str = "/app/{app_id}/msg";
        let body = json!({"eventType": "c.d", "payload": {"n": 1}});
        let made = self.ask("POST", MESSAGES, &token, body).await.json();
        let message = made["id"].as_str().expect("an id").to_owned();
        self.name("msg_id", message.clone());
        for _ in 0..2 {
            self.receiver.next().await;
        }
        self.stack.jobs_are_done().await;
        let gone = self.names["gone"].clone();
        let before = json!({"disabled": false});
        self.itself("endpoint.disabled", &gone, before, |after| {
            assert_eq!(after["disabled"], true);
            assert!(after["failingSince"].is_string());
        })
        .await;
        let app = self.names["app"].clone();
        let attempts = self.stack.attempts(&app, &message).await;
        let endpoint = self.names["endpoint"].clone();
        let attempt = attempts.iter().find(|attempt| attempt.endpoint_id == endpoint).expect("an attempt");
        self.name("attempt_id", attempt.id.clone());
        let expunged = [json!("attempt.expunged"), json!(attempt.id), NONE, NONE];
        self.change("DELETE", "/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}/content", NONE, expunged)
            .await;

        let since = self.stack.stack.platform().clock.now().before(std::time::Duration::from_secs(60));
        for (path, what) in [
            ("recover", "endpoint.recover"),
            ("replay-missing", "endpoint.replay"),
            ("bulk-replay", "endpoint.bulk-replay"),
        ] {
            let template = format!("/app/{{app_id}}/endpoint/{{endpoint_id}}/{path}");
            let body = json!({"since": since.to_string()});
            let task = self.ask("POST", &template, &token, body).await.json();
            let events = self.news().await;
            assert_eq!(events.len(), 1, "{events:#?}");
            let event = &events[0];
            assert_eq!((&event["what"], &event["subject"]), (&json!(what), &json!(endpoint)));
            assert_eq!(
                (&event["after"]["taskId"], &event["after"]["since"]),
                (&task["id"], &json!(since.to_string()))
            );
            assert_eq!((&event["before"], &event["appId"]), (&NONE, &json!(app)));
        }
        self.stack.run_timers().await;
        self.stack.jobs_are_done().await;
        let expunged = [json!("message.expunged"), json!(message), NONE, NONE];
        self.change("DELETE", "/app/{app_id}/msg/{msg_id}/content", NONE, expunged.clone()).await;
        let ids = json!({"ids": [message, "unknown"]});
        self.change("POST", "/app/{app_id}/msg/bulk-expunge", ids, expunged).await;
        self.ask("POST", "/app/{app_id}/msg/expunge-all-contents", &token, NONE).await;
        let events = self.news().await;
        assert_eq!((events.len(), &events[0]["what"]), (1, &json!("application.messages-expunged")));
        assert_eq!(events[0]["subject"], json!(app));
        // Nothing is changed by what only counts.
        let now = self.stack.stack.platform().clock.now().to_string();
        let window = json!({"since": since.to_string(), "until": now, "appIds": [app]});
        self.ask("POST", "/stats/usage/app", &token, window).await;
        self.ask("PUT", "/stats/usage/event-types", &token, NONE).await;
        self.stack.jobs_are_done().await;
        assert_eq!(self.news().await, Vec::<Value>::new());
    }

    async fn integrations(&mut self) {
        const NONE: Value = Value::Null;
        const ALL: &str = "/app/{app_id}/integration";
        const ONE: &str = "/app/{app_id}/integration/{integ_id}";
        let shown = |name: &str, flags: &[&str]| json!({"name": name, "featureFlags": flags});
        let body = json!({"name": "Zap", "featureFlags": ["x"]});
        let created = [json!("integration.created"), NONE, NONE, shown("Zap", &["x"])];
        let made = self.change("POST", ALL, body, created).await;
        let id = json!(made["id"]);
        self.name("integ_id", made["id"].as_str().expect("an id"));
        let change = [json!("integration.updated"), id.clone(), shown("Zap", &["x"]), shown("Z", &[])];
        self.change("PUT", ONE, json!({"name": "Z"}), change).await;
        let change = [json!("integration.key-rotated"), id.clone(), NONE, NONE];
        self.change("POST", &format!("{ONE}/key/rotate"), NONE, change).await;
        let change = [json!("integration.deleted"), id, shown("Z", &[]), NONE];
        self.change("DELETE", ONE, NONE, change).await;
    }

    /// Nothing is sent to it: the receiver is told of the steps of this walk alone.
    async fn operational(&mut self) {
        const NONE: Value = Value::Null;
        const ALL: &str = "/operational-webhook/endpoint";
        const ONE: &str = "/operational-webhook/endpoint/{told}";
        let url = self.receiver.url("/told");
        let body =
            json!({"url": url, "uid": "told", "disabled": true, "secret": format!("whsec_{}", SECRETS[0])});
        let shown = |description: &str, headers: &[&str], keys: &Value| {
            json!({
                "destination": "http", "url": url, "description": description, "uid": "told", "metadata": {},
                "disabled": true, "headers": headers, "secrets": keys,
            })
        };
        let key = json!([{"kind": "hmac256", "until": null}]);
        let created = [json!("endpoint.created"), NONE, NONE, shown("", &[], &key)];
        let made = self.change("POST", ALL, body, created).await;
        let id = json!(made["id"]);
        self.name("told", "told");
        let body = json!({"url": url, "uid": "told", "disabled": true, "description": "d"});
        let change =
            [json!("endpoint.updated"), id.clone(), json!({"description": ""}), json!({"description": "d"})];
        self.change("PUT", ONE, body, change).await;
        let change = [
            json!("endpoint.headers-updated"),
            id.clone(),
            json!({"headers": []}),
            json!({"headers": ["x-team"]}),
        ];
        let headers = json!({"headers": {"x-team": SECRETS[2]}});
        self.change("PUT", &format!("{ONE}/headers"), headers, change).await;
        // At once: the old key signs no more.
        let body = json!({"key": format!("whsec_{}", SECRETS[1]), "gracePeriodSeconds": 0});
        let change =
            [json!("endpoint.secret-rotated"), id.clone(), json!({"secrets": key}), json!({"secrets": key})];
        self.change("POST", &format!("{ONE}/secret/rotate"), body, change).await;
        let change = [json!("endpoint.deleted"), id, shown("d", &["x-team"], &key), NONE];
        self.change("DELETE", ONE, NONE, change).await;
        let walked = std::mem::take(&mut self.walked);
        let named = |(method, path): (String, String)| (method, path.replace("{told}", "{endpoint_id}"));
        self.walked = walked.into_iter().map(named).collect();
    }

    async fn ends(&mut self) {
        const NONE: Value = Value::Null;
        let (token, app) = (self.stack.token.clone(), json!(self.names["app"]));
        const EXPIRE: &str = "/auth/app/{app_id}/expire-all";
        self.ask("POST", EXPIRE, &token, json!({"expiry": 60})).await;
        let events = self.news().await;
        assert_eq!(events.len(), 1, "{events:#?}");
        assert_eq!((&events[0]["what"], &events[0]["subject"]), (&json!("application.tokens-expired"), &app));
        assert_eq!((&events[0]["before"], &events[0]["appId"]), (&json!({"tokenExpiries": []}), &app));
        assert_eq!(events[0]["after"]["tokenExpiries"].as_array().expect("ends").len(), 1);

        let customers = self.stack.stack.app_token(None, self.names["app"].parse().expect("an id"));
        let id = json!(shared::auth::token_id(&customers));
        let revoked = [json!("token.revoked"), id, NONE, NONE];
        self.change("POST", "/auth/revoke-token", json!({ "token": customers }), revoked).await;

        let deleted = json!("endpoint.deleted");
        let path = "/app/{app_id}/endpoint/{endpoint_id}";
        self.name("endpoint_id", "ep2");
        let before = json!({
            "destination": "http", "url": self.receiver.url("/gone"), "description": "", "uid": "ep2",
            "metadata": {}, "disabled": true, "headers": [], "secrets": [{"kind": "hmac256", "until": null}],
        });
        let id = json!(self.names["gone"]);
        self.change("DELETE", path, NONE, [deleted, id, before, NONE]).await;
        let before = json!({"name": "A", "uid": "acme", "metadata": {}});
        self.change("DELETE", "/app/{app_id}", NONE, [json!("application.deleted"), app, before, NONE]).await;
    }
}
