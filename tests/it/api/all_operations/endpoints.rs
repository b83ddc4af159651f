//! The part of the walk that is about one endpoint: its settings, secrets, headers, code and keys, and what Postrider itself
//! does to it.

use serde_json::{Value, json};

use super::{SECRETS, Walk};

impl Walk {
    pub(super) async fn auto_config(&mut self) {
        const NONE: Value = Value::Null;
        const ALL: &str = "/app/{app_id}/auto-config";
        let shown = |url: &str, description: &str, disabled: bool| {
            json!({
                "destination": "http", "url": url, "description": description, "metadata": {}, "disabled": disabled,
                "headers": [], "secrets": [{"kind": "hmac256", "until": null}], "autoConfig": true,
            })
        };
        const WAITS: &str = "Waits for its receiver (AutoConfig)";
        let token = self.stack.token.clone();
        let made = self.ask("POST", ALL, &token, NONE).await.json();
        let events = self.news().await;
        assert_eq!((events.len(), &events[0]["what"]), (1, &json!("endpoint.created")));
        assert_eq!(
            (&events[0]["subject"], &events[0]["after"]),
            (&made["endpId"], &shown("***", WAITS, true))
        );
        let id = made["endpId"].clone();
        let rotated = json!("endpoint.auto-config-key-rotated");
        let same = json!({"autoConfig": true});
        self.change("POST", ALL, json!({}), [rotated, id.clone(), same.clone(), same]).await;
        self.name("waiting", id.as_str().expect("an id"));
        let url = self.receiver.url("/auto");
        let body = json!({"endpoint": {"url": url, "disabled": true}});
        let change = [
            json!("endpoint.updated"),
            id.clone(),
            json!({"url": "***", "description": WAITS}),
            json!({"url": url, "description": ""}),
        ];
        const ONE: &str = "/app/{app_id}/endpoint/{waiting}";
        self.change("PUT", &format!("{ONE}/auto-config"), body, change).await;
        let deleted = [json!("endpoint.deleted"), id, shown(&url, "", true), NONE];
        self.change("DELETE", ONE, NONE, deleted).await;
        let walked = std::mem::take(&mut self.walked);
        let named = |(method, path): (String, String)| (method, path.replace("{waiting}", "{endpoint_id}"));
        self.walked = walked.into_iter().map(named).collect();
    }

    pub(super) async fn endpoints(&mut self) {
        const NONE: Value = Value::Null;
        let address = self.receiver.address;
        let policy = json!({"attempts": 3, "minSeconds": 1, "maxSeconds": 2, "jitter": 0});
        let body = json!({
            "url": format!("http://user:{}@{address}/?token={}", SECRETS[4], SECRETS[5]),
            "description": "d", "uid": "ep", "filterTypes": ["c.d"], "channels": ["x"], "rateLimit": 7,
            "retryPolicy": policy, "metadata": {"k": "v"}, "secret": format!("whsec_{}", SECRETS[0]), "headers": {"X-Own": SECRETS[2]},
        });
        let url = format!("http://user:***@{address}/?token=***");
        let secret = json!({"kind": "hmac256", "until": null});
        let after = json!({
            "destination": "http", "url": url, "description": "d", "uid": "ep", "eventTypes": ["c.d"], "channels": ["x"],
            "rateLimit": 7, "retryPolicy": policy, "metadata": {"k": "v"}, "disabled": false, "headers": ["X-Own"],
            "secrets": [secret],
        });
        let created = json!("endpoint.created");
        const ALL: &str = "/app/{app_id}/endpoint";
        const ONE: &str = "/app/{app_id}/endpoint/{endpoint_id}";
        let made = self.change("POST", ALL, body, [created.clone(), NONE, NONE, after]).await;
        let id = json!(made["id"]);
        self.name("endpoint", made["id"].as_str().expect("an id"));
        self.name("endpoint_id", "ep");
        let updated = json!("endpoint.updated");
        // Its own URL again, with another password: that there is a change is told, and no more.
        let other = json!({"url": format!("http://user:x@{address}/?token={}", SECRETS[5])});
        let change = [updated.clone(), id.clone(), json!({"url": url}), json!({"url": url})];
        self.change("PATCH", ONE, other, change).await;
        let to = self.receiver.url("/");
        let change = [
            updated.clone(),
            id.clone(),
            json!({
                "url": url, "description": "d", "eventTypes": ["c.d"], "channels": ["x"],
                "rateLimit": 7, "retryPolicy": policy, "metadata": {"k": "v"},
            }),
            json!({"url": to, "description": "", "metadata": {}}),
        ];
        self.change("PUT", ONE, json!({"url": to, "uid": "ep"}), change).await;
        // A customer does it: by its own token.
        let app = self.names["app"].clone();
        let token = self.stack.stack.app_token(None, app.parse().expect("an id"));
        for (disabled, was) in [(true, false), (false, true)] {
            let (before, after) = (json!({"disabled": was}), json!({"disabled": disabled}));
            let change = [updated.clone(), id.clone(), before, after.clone()];
            self.change_by(&token, &app, "PATCH", ONE, after, change).await;
        }
        self.name("endpoint_id", "ep2");
        let to = self.receiver.url("/gone");
        let after = json!({
            "destination": "http", "url": to, "description": "", "uid": "ep2", "metadata": {}, "disabled": false,
            "headers": [], "secrets": [secret],
        });
        let made = self.change("PUT", ONE, json!({"url": to}), [created, NONE, NONE, after]).await;
        self.name("gone", made["id"].as_str().expect("an id"));
        self.name("endpoint_id", "ep");
    }

    pub(super) async fn secrets_of_endpoints(&mut self) {
        const HEADERS: &str = "/app/{app_id}/endpoint/{endpoint_id}/headers";
        const ROTATE: &str = "/app/{app_id}/endpoint/{endpoint_id}/secret/rotate";
        let (id, what) = (json!(self.names["endpoint"]), json!("endpoint.headers-updated"));
        let headers = |names: &[&str]| json!({"headers": names});
        let change = [what.clone(), id.clone(), headers(&["X-Own"]), headers(&["X-Own", "Y"])];
        let body = json!({"headers": {"X-Own": SECRETS[2], "Y": SECRETS[3]}});
        self.change("PUT", HEADERS, body, change).await;
        let same = headers(&["X-Own", "Y"]);
        let body = json!({"headers": {"X-Own": SECRETS[3]}});
        self.change("PATCH", HEADERS, body, [what, id.clone(), same.clone(), same]).await;

        let rotated = json!("endpoint.secret-rotated");
        let key = json!({"kind": "hmac256", "until": null});
        let body = json!({"key": format!("whsec_{}", SECRETS[1]), "gracePeriodSeconds": 0});
        let keys = json!({"secrets": [key]});
        self.change("POST", ROTATE, body, [rotated.clone(), id.clone(), keys.clone(), keys.clone()]).await;
        let token = self.stack.token.clone();
        self.ask("POST", ROTATE, &token, json!({"gracePeriodSeconds": 60})).await;
        let events = self.news().await;
        assert_eq!((events.len(), &events[0]["what"], &events[0]["before"]), (1, &rotated, &keys));
        let [new, old] = events[0]["after"]["secrets"].as_array().expect("keys").as_slice() else {
            panic!("{events:#?}");
        };
        assert_eq!((new, &old["kind"]), (&key, &json!("hmac256")));
        assert!(old["until"].is_string());
    }

    /// Code that changes webhooks: its event names it by a hash.
    pub(super) async fn transformation(&mut self) {
        const ONE: &str = "/app/{app_id}/endpoint/{endpoint_id}/transformation";
        let (id, what) = (json!(self.names["endpoint"]), json!("endpoint.transformation-updated"));
        let code = "const handler = (webhook) => webhook";
        let variables = json!({"key": SECRETS[6]});
        let token = self.stack.token.clone();
        let body = json!({"code": code, "variables": variables});
        self.change("PATCH", ONE, body, [what.clone(), id.clone(), json!({}), json!({})]).await;
        self.ask("PATCH", ONE, &token, json!({"enabled": true})).await;
        let events = self.news().await;
        assert_eq!((events.len(), &events[0]["what"], &events[0]["before"]), (1, &what, &json!({})));
        let hash = events[0]["after"].clone();
        assert_eq!(hash["transformation"].as_str().map(str::len), Some(32), "{hash}");
        let trial = json!({"code": code, "eventType": "a.b", "payload": {}, "variables": variables});
        let path = format!("{ONE}/simulate");
        assert_eq!(self.ask("POST", &path, &token, trial).await.json()["payload"], json!({}));
        let kept = self.ask("GET", ONE, &token, Value::Null).await.json();
        assert_eq!((&kept["code"], &kept["variables"]), (&json!(code), &variables));
        self.change("PATCH", ONE, json!({"code": null}), [what, id, hash, json!({})]).await;
    }

    /// An endpoint that is polled, and its keys.
    pub(super) async fn polling(&mut self) {
        const NONE: Value = Value::Null;
        const TOKEN: &str = "/app/{app_id}/endpoint/{sink_id}/poller/token";
        const ROTATE: &str = "/app/{app_id}/endpoint/{sink_id}/poller/token/rotate";
        const CONSUMER: &str = "/app/{app_id}/poller/{sink_id}/consumer/{consumer_id}";
        const LEASES: &str = "/app/{app_id}/polling-endpoint/{sink_id}/consumer/{consumer_id}";
        let id = self.stack.polling_endpoint(&self.names["app"].clone(), Value::Null).await;
        self.news().await;
        self.name("sink_id", id.clone());
        self.name("consumer_id", "c");
        let token = self.stack.token.clone();
        for path in ["/app/{app_id}/poller/{sink_id}", CONSUMER, LEASES] {
            self.ask("GET", path, &token, NONE).await;
        }
        let after = json!({"after": "2026-01-01T00:00:00Z"});
        self.ask("POST", &format!("{CONSUMER}/seek"), &token, after).await;
        self.ask("POST", &format!("{LEASES}/commit"), &token, json!({"offset": 0})).await;
        let rotated = [json!("endpoint.polling-key-rotated"), json!(id), NONE, NONE];
        self.change("POST", ROTATE, json!({}), rotated).await;
        self.ask("GET", TOKEN, &token, NONE).await;
        let revoked = [json!("endpoint.polling-keys-revoked"), json!(id), NONE, NONE];
        self.change("DELETE", TOKEN, NONE, revoked).await;
        for (method, path) in [("POST", ROTATE), ("GET", TOKEN), ("DELETE", TOKEN)] {
            self.walked.insert((method.to_owned(), path.replace("sink_id", "endpoint_id")));
        }
        self.ask("DELETE", "/app/{app_id}/endpoint/{sink_id}", &token, NONE).await;
        self.news().await;
    }

    pub(super) async fn itself_disables(&mut self) {
        // Nothing more: it is disabled, and stays so without another event.
        let token = self.stack.token.clone();
        let body = json!({"eventType": "c.d", "payload": {"n": 2}});
        self.ask("POST", "/app/{app_id}/msg", &token, body).await;
        self.stack.jobs_are_done().await;
        assert_eq!(self.news().await, Vec::<Value>::new());
    }

    /// What goes on by itself after days: an endpoint that only fails, and then answers a probe.
    pub(super) async fn comes_back(&mut self) {
        let token = self.stack.token.clone();
        let body =
            json!({"url": self.receiver.url("/probed"), "autoEnable": true, "retryPolicy": {"attempts": 1}});
        let made = self.ask("POST", "/app/{app_id}/endpoint", &token, body).await.json();
        let id = made["id"].as_str().expect("an id").to_owned();
        let events = self.news().await;
        assert_eq!((events.len(), &events[0]["after"]["autoEnable"]), (1, &json!(true)), "{events:#?}");
        for days in [0, 6] {
            self.clock.skip(std::time::Duration::from_secs(days * 24 * 3_600));
            self.stack.stack.wake();
            let body = json!({"eventType": "c.d", "payload": {"days": days}});
            self.ask("POST", "/app/{app_id}/msg", &token, body).await;
            self.stack.jobs_are_done().await;
        }
        let before = json!({"disabled": false});
        self.itself("endpoint.disabled", &id, before, |after| assert_eq!(after["disabled"], true)).await;
        self.clock.skip(std::time::Duration::from_secs(3_600));
        self.stack.stack.wake();
        self.stack.run_timers().await;
        self.stack.jobs_are_done().await;
        let before = json!({"disabled": true});
        self.itself("endpoint.enabled", &id, before, |after| {
            assert_eq!(after["disabled"], false);
            assert!(after["missedSince"].is_string());
        })
        .await;
    }

    /// An endpoint whose messages arrive in order: in an application of its own, where nothing else wants them.
    pub(super) async fn ordered(&mut self) {
        const NONE: Value = Value::Null;
        const ORDER: &str = "/app/{app_id}/endpoint/{endpoint_id}/order";
        let token = self.stack.token.clone();
        let (app, name, endpoint) =
            (self.names["app"].clone(), self.names["app_id"].clone(), self.names["endpoint_id"].clone());
        let other = self.stack.app().await;
        self.name("app", other.clone());
        self.name("app_id", other);
        let body = json!({
            "url": self.receiver.url("/broken"), "fifo": true, "fifoKey": "/k", "retryPolicy": {"schedule": [3600]},
        });
        let made = self.ask("POST", "/app/{app_id}/endpoint", &token, body).await.json();
        let id = json!(made["id"]);
        self.name("endpoint_id", made["id"].as_str().expect("an id"));
        let body = json!({"eventType": "c.d", "payload": {"k": 1}});
        let message = self.ask("POST", "/app/{app_id}/msg", &token, body).await.json();
        self.receiver.next().await;
        self.stack.jobs_are_done().await;
        self.news().await;
        assert_eq!(self.ask("GET", ORDER, &token, NONE).await.json()["status"], "retrying");
        for (done, what, body) in [
            ("skip", "endpoint.order-skipped", json!({"msgId": message["id"]})),
            ("pause", "endpoint.order-paused", NONE),
            ("resume", "endpoint.order-resumed", NONE),
            ("retry", "endpoint.order-retried", NONE),
        ] {
            let change = [json!(what), id.clone(), NONE, NONE];
            self.change("POST", &format!("{ORDER}/{done}"), body, change).await;
        }
        self.stack.jobs_are_done().await;
        self.ask("DELETE", "/app/{app_id}/endpoint/{endpoint_id}", &token, NONE).await;
        self.news().await;
        assert!(self.receiver.rest().is_empty());
        self.name("app", app);
        self.name("app_id", name);
        self.name("endpoint_id", endpoint);
    }
}
