//! What is copied from one server to another, and how two of it differ.

use serde_json::{Map, Value};

use super::super::listen::{ENDPOINT_DESCRIPTION, ENDPOINT_UID};
use super::code::Transformation;
use crate::login;
use crate::output::text;

pub(super) type Fields = Map<String, Value>;

/// What is counted and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    EventType,
    Connector,
    Application,
    Endpoint,
}

/// A number for each kind.
pub(super) type Counts = [u64; Kind::ALL.len()];

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::EventType, Self::Connector, Self::Application, Self::Endpoint];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::EventType => "event type",
            Self::Connector => "connector",
            Self::Application => "application",
            Self::Endpoint => "endpoint",
        }
    }

    /// The fields that are copied, in requests and responses alike.
    pub(super) const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::EventType => {
                &["name", "description", "archived", "deprecated", "featureFlags", "groupName", "schemas"]
            }
            Self::Connector => &[
                "uid",
                "name",
                "kind",
                "description",
                "instructions",
                "logo",
                "allowedEventTypes",
                "featureFlags",
                "transformation",
            ],
            Self::Application => &["uid", "name", "metadata", "rateLimit", "retryPolicy"],
            Self::Endpoint => &[
                "uid",
                "url",
                "destination",
                "description",
                "disabled",
                "filterTypes",
                "channels",
                "filter",
                "metadata",
                "rateLimit",
                "retryPolicy",
                "autoEnable",
                "headerStyle",
                "fifo",
                "fifoKey",
                "batchSize",
                "maxWaitSecs",
            ],
        }
    }

    /// The copied fields of a response. What a server leaves out and what it says of nothing are one:
    /// null, an empty text or object, false.
    pub(super) fn pick(self, value: &Value) -> Fields {
        let mut fields = Fields::new();
        for name in self.fields() {
            let value = match *name {
                "rateLimit" => first(value, &["rateLimit", "throttleRate"]),
                "destination" => destination(&value["destination"]),
                // The destination says it; as a URL it would be refused.
                "url" if !destination(&value["destination"]).is_null() => Value::Null,
                "filterTypes" => first(value, &["filterTypes", "eventTypes"]),
                "featureFlags" => match first(value, &["featureFlags"]) {
                    Value::Null if value["featureFlag"].is_string() => {
                        Value::Array(vec![value["featureFlag"].clone()])
                    }
                    list => list,
                },
                name => value[name].clone(),
            };
            let nothing = match &value {
                Value::Null | Value::Bool(false) => true,
                Value::Object(object) => object.is_empty(),
                Value::Array(list) => list.is_empty(),
                // The one text that may be empty and has to be there.
                Value::String(text) => text.is_empty() && (self, *name) != (Self::EventType, "description"),
                _ => false,
            };
            if !nothing {
                fields.insert((*name).to_owned(), value);
            }
        }
        fields
    }

    /// The names of the fields that differ.
    pub(super) fn differences(self, wanted: &Fields, there: &Fields) -> Vec<&'static str> {
        let differs = |name: &&&str| {
            let (wanted, there) = (wanted.get(**name), there.get(**name));
            match **name {
                // One without a uid has got one here, by which it is found again.
                "uid" => wanted.is_some() && wanted != there,
                "url" => url(wanted) != url(there),
                "filterTypes" | "channels" | "featureFlags" | "allowedEventTypes" => {
                    sorted(wanted) != sorted(there)
                }
                _ => wanted != there,
            }
        };
        self.fields().iter().filter(differs).copied().collect()
    }
}

/// Where messages go, if not to a URL: servers that know no other kinds have no such field. The external ID is the
/// application's, which has another one at the target.
fn destination(value: &Value) -> Value {
    let mut fields = match value {
        Value::Object(fields) if value["kind"] != "http" => fields.clone(),
        _ => return Value::Null,
    };
    fields.remove("externalId");
    Value::Object(fields)
}

/// Whether an endpoint waits for its receiver to say its URL (AutoConfig): there is nothing to copy yet, and its receiver
/// has a token of the source.
pub(super) fn waits(endpoint: &Value) -> bool {
    endpoint["url"] == "" && endpoint["destination"]["kind"] == "http"
}

/// Whether an endpoint is there for a running `postrider listen` alone, which removes it at its end.
pub(super) fn is_of_listen(endpoint: &Value) -> bool {
    endpoint["uid"].as_str().is_some_and(|uid| uid.starts_with(ENDPOINT_UID))
        && endpoint["description"] == ENDPOINT_DESCRIPTION
        && endpoint["destination"]["kind"] == "polling"
}

/// Counts by kind, in words; empty if all are zero.
pub(super) fn counted(counts: Counts) -> String {
    let parts = Kind::ALL.iter().zip(counts).filter(|(_, count)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(kind, count)| format!("{count} {}{}", kind.name(), if count == 1 { "" } else { "s" }))
        .collect();
    parts.join(", ")
}

fn first(value: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| &value[*name]).find(|value| !value.is_null()).cloned().unwrap_or_default()
}

/// Servers write one URL in several ways.
fn url(value: Option<&Value>) -> Option<String> {
    let text = value?.as_str()?;
    Some(url::Url::parse(text).map_or_else(|_| text.to_owned(), String::from))
}

fn sorted(value: Option<&Value>) -> Vec<&str> {
    let mut list: Vec<&str> =
        value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    list.sort_unstable();
    list
}

/// An application.
#[derive(Clone, Debug)]
pub(super) struct App {
    /// The ID at the source.
    pub(super) id: String,
    pub(super) fields: Fields,
}

/// An endpoint.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// The ID at the source.
    pub(super) id: String,
    pub(super) fields: Fields,
    /// The signing secret; none where a file was written without secrets.
    pub(super) secret: Option<String>,
    /// The headers whose values are known; none where a file was written without secrets.
    pub(super) headers: Option<Fields>,
    /// Headers whose values the source does not show.
    pub(super) hidden: Vec<String>,
    /// The code that changes its webhooks, where it is known: a file may have been written without secrets.
    pub(super) transformation: Option<Transformation>,
    /// Whether a server was asked for that code, and does not show any.
    pub(super) code_is_hidden: bool,
    /// Whether the URL had a user and a password, which a file without secrets does not have.
    pub(super) login_is_hidden: bool,
}

/// Something whose fields are all there is to copy, and which has a uid.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    /// The ID at the source.
    pub(super) id: String,
    pub(super) fields: Fields,
}

impl Connector {
    pub(super) fn of(value: &Value) -> Self {
        Self { id: text(value, "id"), fields: Kind::Connector.pick(value) }
    }

    /// What a person knows it by.
    pub(super) fn label(&self) -> String {
        label(&self.fields, &self.id)
    }
}

impl App {
    pub(super) fn of(value: &Value) -> Self {
        Self { id: text(value, "id"), fields: Kind::Application.pick(value) }
    }

    /// What a person knows it by.
    pub(super) fn label(&self) -> String {
        label(&self.fields, &self.id)
    }
}

impl Endpoint {
    pub(super) fn of(value: &Value) -> Self {
        let fields = Kind::Endpoint.pick(value);
        Self {
            id: text(value, "id"),
            fields,
            secret: None,
            headers: None,
            hidden: Vec::new(),
            transformation: None,
            code_is_hidden: false,
            login_is_hidden: false,
        }
    }

    /// The same as a file without secrets has it: without the user and password of its URL.
    pub(super) fn without_secrets(value: &Value) -> Self {
        let mut endpoint = Self::of(value);
        let url = endpoint.fields.get("url").and_then(Value::as_str).and_then(login::without);
        if let Some(url) = url {
            endpoint.fields.insert("url".into(), url.into());
            endpoint.login_is_hidden = true;
        }
        endpoint
    }

    /// Takes the user and password of the endpoint that is there, where the file leaves them out.
    pub(super) fn log_in_as(&mut self, there: &Value) {
        let there = there["url"].as_str().unwrap_or_default();
        let bare = login::without(there).map(Value::from);
        if self.login_is_hidden && bare.is_some() && url(bare.as_ref()) == url(self.fields.get("url")) {
            self.fields.insert("url".into(), there.into());
        }
    }

    pub(super) fn label(&self) -> String {
        label(&self.fields, &self.id)
    }

    /// What names the place that its messages go to.
    pub(super) fn address(&self) -> String {
        let fields = Value::Object(self.fields.clone());
        let destination = &fields["destination"];
        let named = [text(&fields, "url"), text(destination, "arn"), text(destination, "kind")];
        login::hidden(&named.into_iter().find(|name| !name.is_empty()).unwrap_or_default())
    }

    /// Whether the secret can be given to another server: of an ed25519 key the API shows the public half.
    pub(super) fn secret_is_hidden(&self) -> bool {
        self.secret.as_deref().is_some_and(|secret| secret.starts_with("whpk_"))
    }

    /// Whether its owner polls: it has no secret and no headers.
    pub(super) fn is_polled(&self) -> bool {
        self.fields.get("destination").is_some_and(|destination| destination["kind"] == "polling")
    }
}

fn label(fields: &Fields, id: &str) -> String {
    fields.get("uid").and_then(Value::as_str).unwrap_or(id).to_owned()
}

/// The uid that something gets which has none, so that the next run finds it again.
pub(super) fn uid_for(id: &str) -> String {
    format!("migrated.{id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_without_secrets_has_no_login_and_changes_none() {
        let there = json!({"id": "ep_1", "url": "https://user:pass@example.com/x"});
        let mut endpoint = Endpoint::without_secrets(&there);
        assert_eq!(
            (endpoint.login_is_hidden, &endpoint.fields["url"]),
            (true, &json!("https://example.com/x"))
        );
        endpoint.log_in_as(&json!({"url": "https://user:pass@other.example.com/x"}));
        assert_eq!(endpoint.fields["url"], "https://example.com/x");
        endpoint.log_in_as(&there);
        assert_eq!(
            Kind::Endpoint.differences(&endpoint.fields, &Kind::Endpoint.pick(&there)),
            Vec::<&str>::new()
        );
        assert_eq!(Endpoint::of(&there).address(), "https://***@example.com/x");
        assert!(!Endpoint::without_secrets(&json!({"url": "https://example.com"})).login_is_hidden);
    }

    #[test]
    fn the_endpoint_of_a_running_listen_is_known() {
        let made =
            json!({"uid": "cli-1", "description": "postrider listen", "destination": {"kind": "polling"}});
        assert!(is_of_listen(&made));
        for (field, value) in
            [("uid", json!("mine")), ("description", json!("")), ("destination", json!({"kind": "http"}))]
        {
            let mut other = made.clone();
            other[field] = value;
            assert!(!is_of_listen(&other), "{field}");
        }
    }

    #[test]
    fn what_a_server_leaves_out_is_what_another_calls_empty() {
        let there = json!({"id": "ep_1", "url": "http://a/", "description": "", "disabled": false, "metadata": {}, "throttleRate": 7, "eventTypes": ["b", "a"]});
        let wanted = json!({"url": "http://a", "rateLimit": 7, "filterTypes": ["a", "b"], "channels": null});
        let (there, wanted) = (Kind::Endpoint.pick(&there), Kind::Endpoint.pick(&wanted));
        assert_eq!(Kind::Endpoint.differences(&wanted, &there), Vec::<&str>::new());
        let other = json!({"url": "http://b", "disabled": true, "uid": "x", "retryPolicy": {"attempts": 1}});
        assert_eq!(
            Kind::Endpoint.differences(&Kind::Endpoint.pick(&other), &there),
            ["uid", "url", "disabled", "filterTypes", "rateLimit", "retryPolicy"]
        );
        let flag = Kind::EventType.pick(&json!({"name": "a", "description": "", "featureFlag": "beta"}));
        assert_eq!(Value::Object(flag), json!({"name": "a", "description": "", "featureFlags": ["beta"]}));
        let polled =
            json!({"url": "", "destination": {"kind": "polling"}, "filter": {"a": [1]}, "retryPolicy": null});
        let polled = Kind::Endpoint.pick(&polled);
        assert_eq!(json!(polled), json!({"destination": {"kind": "polling"}, "filter": {"a": [1]}}));
        assert_eq!(
            Kind::Endpoint.differences(&polled, &there),
            ["url", "destination", "filterTypes", "filter", "rateLimit"]
        );
        let queue =
            json!({"kind": "sqs", "arn": "arn:q", "roleArn": "arn:r", "externalId": "postrider-app_1"});
        assert!(waits(&json!({"url": "", "destination": {"kind": "http", "url": ""}})));
        assert!(
            ![json!({"url": "", "destination": {"kind": "polling"}}), json!({"url": "http://a"})]
                .iter()
                .any(waits)
        );
        let picked = Kind::Endpoint.pick(&json!({"url": "arn:q", "destination": queue}));
        let copied = json!({"destination": {"kind": "sqs", "arn": "arn:q", "roleArn": "arn:r"}});
        assert_eq!(Value::Object(picked), copied);
        let sent = json!({"url": "http://a", "destination": {"kind": "http", "url": "http://a"}});
        assert_eq!(json!(Kind::Endpoint.pick(&sent)), json!({"url": "http://a"}));
    }
}
