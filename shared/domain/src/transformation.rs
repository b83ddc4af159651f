//! Customers' code that makes another webhook out of a webhook: what an endpoint has of it, and what the function
//! that runs it is asked and answers.

use std::collections::BTreeMap;
use std::fmt;

use ring::digest::{SHA256, digest};
use runtime::clock::Timestamp;
use runtime::hex;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

use crate::header_rules::{HEADERS_MAX, LENGTH_MAX, broken_name, broken_value};

/// Fewest characters of code, by the contract.
pub const CODE_MIN: usize = 10;
/// Most characters of code, by the contract.
pub const CODE_MAX: usize = 51_200;
/// Most bytes of the JSON of what `handler` returns.
pub const OUTPUT_MAX: usize = 1024 * 1024;
/// Most variables of one endpoint.
pub const VARIABLES_MAX: usize = 50;
/// Most bytes of a variable's name.
pub const VARIABLE_NAME_MAX: usize = 256;
/// Most bytes of all names and values of an endpoint's variables: with the longest code, the item is far below
/// DynamoDB's 400 KB.
pub const VARIABLES_LENGTH_MAX: usize = 16 * 1024;
/// Most webhooks of one batch: as many as deliveries come in one event.
pub const RUNS_MAX: usize = 10;

/// The transformation of an endpoint, as its owner sees it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Transformation {
    /// The code, if there is some.
    pub code: Option<String>,
    /// Whether it is run.
    pub enabled: bool,
    /// What the code finds in `env`.
    pub variables: BTreeMap<String, String>,
    /// When it was changed last, if it ever was.
    pub updated_at: Option<Timestamp>,
}

impl fmt::Debug for Transformation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transformation").field("enabled", &self.enabled).finish_non_exhaustive()
    }
}

impl Transformation {
    /// What the endpoint's own item says of it: nothing where there is nothing to run.
    pub fn active(&self) -> Option<TransformationId> {
        let code = self.code.as_ref().filter(|_| self.enabled)?;
        Some(TransformationId::of(code, &self.variables))
    }
}

/// Names what an endpoint runs: another code or other variables have another name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransformationId(String);

impl TransformationId {
    fn of(code: &str, variables: &BTreeMap<String, String>) -> Self {
        let text = serde_json::json!([code, variables]).to_string();
        Self(hex(&digest(&SHA256, text.as_bytes()).as_ref()[..16]))
    }

    /// As an item has it.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// 32 hexadecimal digits.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Webhooks to transform.
#[derive(Debug, Serialize, Deserialize)]
pub struct Batch {
    /// The code, once for all webhooks that share it.
    pub codes: Vec<String>,
    /// The webhooks, at most [`RUNS_MAX`].
    pub runs: Vec<Run>,
}

/// One webhook to transform.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    /// Which of the batch's codes, counted from 0.
    pub code: usize,
    /// What `handler` is called with. None: the code is only checked, and `handler` not called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
}

/// What `handler` is called with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// `POST`.
    pub method: String,
    /// The endpoint's URL.
    pub url: String,
    /// The payload, as it was posted.
    pub payload: Box<RawValue>,
    /// The message's event type.
    pub event_type: String,
    /// The message's channels.
    #[serde(default)]
    pub channels: Vec<String>,
    /// The endpoint's variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What the message's sender says to transformations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transformations_params: Option<Box<RawValue>>,
}

/// How one run ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub enum Outcome {
    /// This is to be sent.
    Send(Transformed),
    /// Nothing is to be sent.
    Cancel,
    /// The code has a `handler`, which was not called.
    Checked,
    /// It was not run: those before it took all the time, or what they made all the room. To be asked again.
    Later,
    /// There was an exception, a limit was reached, or what came back is no webhook.
    #[serde(rename_all = "camelCase")]
    Failed {
        /// Why, in at most some hundred bytes.
        error: String,
        /// The line of the code, counted from 1, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        line: Option<u32>,
    },
}

/// A webhook after its transformation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Transformed {
    /// `POST`, `PUT` or `PATCH`.
    pub method: String,
    /// Where to. Nobody has looked yet whether webhooks may be sent there.
    pub url: String,
    /// What to send; none where the code left the payload as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Headers to add. Nobody has looked yet whether they may be set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

impl Outcome {
    /// A failure that is at no line.
    pub fn failed(error: impl Into<String>) -> Self {
        Self::Failed { error: error.into(), line: None }
    }
}

/// What went wrong, and in which line.
pub fn explained(error: &str, line: Option<u32>) -> String {
    match line {
        Some(line) => format!("{error} (line {line})"),
        None => error.to_owned(),
    }
}

/// Why what a transformation made of a webhook to `endpoint_url` is not sent; none if it may be. Where its URL leads
/// to is checked when it is connected to, as the endpoint's own.
pub fn refusal(made: &Transformed, endpoint_url: &str) -> Option<String> {
    if made.url != endpoint_url
        && let Some(reason) = url_refusal(&made.url, endpoint_url)
    {
        return Some(format!("`url`: {reason}"));
    }
    let length: usize = made.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if made.headers.len() > HEADERS_MAX || length > LENGTH_MAX {
        return Some(format!("`headers`: at most {HEADERS_MAX} of {LENGTH_MAX} bytes in all can be set"));
    }
    made.headers.iter().find_map(|(name, value)| {
        let broken = broken_name(name).or_else(|| broken_value(value))?;
        let name = &name[..name.floor_char_boundary(NAME_SHOWN_MAX)];
        Some(format!("`headers`, {name:?}: {broken}"))
    })
}

/// Most bytes of a header's name that an error repeats.
const NAME_SHOWN_MAX: usize = 64;

fn url_refusal(url: &str, endpoint_url: &str) -> Option<&'static str> {
    let Ok(url) = Url::parse(url) else { return Some("not a URL") };
    let from_https = Url::parse(endpoint_url).is_ok_and(|own| own.scheme() == "https");
    match url.scheme() {
        "https" => {}
        "http" if !from_https => {}
        "http" => return Some("an https endpoint's webhooks cannot be sent over http"),
        _ => return Some("has to be an http or https URL"),
    }
    match url.host_str() {
        None | Some("") => Some("names no host"),
        Some(_) => (url.port() == Some(0)).then_some("names port 0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_run_has_a_name_and_that_is_of_code_and_variables() {
        let code = Some("function handler(webhook) { return webhook }".to_owned());
        let enabled = Transformation { code, enabled: true, ..Transformation::default() };
        let id = enabled.active().unwrap();
        assert_eq!(id.text().len(), 32);
        assert_eq!(enabled.clone().active(), Some(id.clone()));
        assert_eq!(Transformation { enabled: false, ..enabled.clone() }.active(), None);
        assert_eq!(Transformation { code: None, ..enabled.clone() }.active(), None);
        let variables = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        assert_ne!(Transformation { variables, ..enabled }.active(), Some(id));
    }

    #[test]
    fn a_url_and_headers_are_held_to_the_rules_of_endpoints() {
        let refused = |own: &str, url: &str, headers: &[(&str, &str)]| {
            let headers =
                headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            refusal(&Transformed { method: "POST".into(), url: url.into(), payload: None, headers }, own)
        };
        let own = "https://example.com/";
        assert_eq!(refused(own, own, &[("X-Own", "1")]), None);
        assert_eq!(refused(own, "https://other.example.com/x?y", &[]), None);
        assert_eq!(refused("http://a.example/", "http://b.example/", &[]), None);
        // An endpoint that was made before the rules were what they are.
        assert_eq!(refused("ftp://a.example/", "ftp://a.example/", &[]), None);
        for url in
            ["", "/x", "http://example.com/", "ftp://example.com/", "https://example.com:0/", "file:///etc"]
        {
            assert!(refused(own, url, &[]).is_some_and(|reason| reason.starts_with("`url`")), "{url}");
        }
        for header in [("webhook-signature", "v1,x"), ("Host", "x"), ("a b", "c"), ("x", "a\r\nb: c")] {
            let reason = refused(own, own, &[header]).unwrap();
            assert!(reason.starts_with("`headers`") && !reason.contains('\n'), "{reason}");
        }
    }
}
