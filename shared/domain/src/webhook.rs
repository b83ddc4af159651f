//! A webhook's headers: what `deliver` sends, and what the log computes again to show it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use runtime::AGENT;
use runtime::config::HeaderStyle;
use runtime::traceparent;
use url::Url;

use crate::endpoint::EndpointHeaders;
use crate::signing::DELIVERY_HEADER;

/// The type of what is sent, where the message names none that can be sent.
const JSON: &str = "application/json";

/// Names whose values are not shown again.
const SENSITIVE: [&str; 6] = [
    "x-auth-token",
    "x-api-key",
    "www-authenticate",
    "authorization",
    "proxy-authenticate",
    "proxy-authorization",
];

/// Whether a header holds what only its owner and its receiver should know.
pub fn is_sensitive(name: &str) -> bool {
    SENSITIVE.iter().any(|sensitive| sensitive.eq_ignore_ascii_case(name))
}

/// What the headers of one attempt follow from.
#[derive(Clone, Copy, Debug)]
pub struct Webhook<'a> {
    /// How the signature's headers are spelled.
    pub style: HeaderStyle,
    /// The endpoint's URL: it may hold credentials.
    pub url: &'a Url,
    /// The endpoint's own headers.
    pub headers: &'a EndpointHeaders,
    /// The type of what is sent, as the message names it.
    pub content_type: Option<&'a str>,
    /// There is nothing to send but headers.
    pub empty: bool,
    /// The message's id.
    pub message: &'a str,
    /// When the attempt was made, in seconds.
    pub timestamp: u64,
    /// The signatures, as the header has them; none where they cannot be computed any more.
    pub signature: Option<&'a str>,
    /// The place in a trace, where webhooks say one.
    pub traceparent: Option<&'a str>,
}

impl<'a> Webhook<'a> {
    /// Names and values, each name once in whatever case. The connection adds its own: `host` and, where there
    /// is a body, `content-length`.
    pub fn headers(&self) -> Vec<(&'a str, Cow<'a, str>)> {
        // The endpoint's first: what is ours replaces it, but for what its owner may know better.
        let mut headers = vec![("accept", Cow::Borrowed("*/*"))];
        if let Some(traceparent) = self.traceparent {
            set(&mut headers, traceparent::HEADER, traceparent);
        }
        for (name, value) in self.headers.iter() {
            set(&mut headers, name, value);
        }
        if let Some(credentials) = credentials(self.url)
            && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        {
            set(&mut headers, "authorization", credentials);
        }
        set(&mut headers, "content-type", self.content_type.filter(is_sendable).unwrap_or(JSON));
        set(&mut headers, "user-agent", AGENT);
        set(&mut headers, DELIVERY_HEADER, "1");
        if self.empty {
            // The client leaves the length of no body out, and some receivers answer 411 to that.
            set(&mut headers, "content-length", "0");
        }
        for [id, timestamp, signature] in names(self.style) {
            set(&mut headers, id, self.message);
            set(&mut headers, timestamp, self.timestamp.to_string());
            if let Some(value) = self.signature {
                set(&mut headers, signature, value);
            }
        }
        headers
    }
}

/// What a message carries where there are attributes in place of headers: the signature's parts as headers spell
/// them, the type of what is sent, and the event's type. At most eight, of the ten that SQS takes.
pub fn attributes(
    style: HeaderStyle,
    message: &str,
    timestamp: u64,
    signature: Option<&str>,
    content_type: Option<&str>,
    event_type: &str,
) -> Vec<(&'static str, String)> {
    let mut attributes = vec![
        ("content-type", content_type.filter(is_sendable).unwrap_or(JSON).to_owned()),
        ("event-type", event_type.to_owned()),
    ];
    for [id, at, signed] in names(style) {
        attributes.push((id, message.to_owned()));
        attributes.push((at, timestamp.to_string()));
        attributes.extend(signature.map(|signature| (*signed, signature.to_owned())));
    }
    attributes
}

/// Whether a type is a header's text.
fn is_sendable(text: &&str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte) || byte == b'\t')
}

/// Sets a header in place of one of the same name.
fn set<'a>(headers: &mut Vec<(&'a str, Cow<'a, str>)>, name: &'a str, value: impl Into<Cow<'a, str>>) {
    headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    headers.push((name, value.into()));
}

/// How a style spells id, timestamp and signature.
const fn names(style: HeaderStyle) -> &'static [[&'static str; 3]] {
    const WEBHOOK: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    const SVIX: [&str; 3] = ["svix-id", "svix-timestamp", "svix-signature"];
    match style {
        HeaderStyle::Webhook => &[WEBHOOK],
        HeaderStyle::Svix => &[SVIX],
        HeaderStyle::Both => &[WEBHOOK, SVIX],
    }
}

/// The header `authorization` that a URL's user and password make.
fn credentials(url: &Url) -> Option<String> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let credentials = format!("{}:{}", decoded(url.username()), decoded(url.password().unwrap_or_default()));
    Some(format!("Basic {}", BASE64.encode(credentials)))
}

/// A part of a URL without its percent escapes.
fn decoded(text: &str) -> String {
    // A form decoder gives these three a meaning that they do not have here.
    let escaped = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(escaped.as_bytes())
        .next()
        .map(|(name, _)| name.into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_a_url_are_decoded() {
        assert_eq!(decoded("a%40b+c"), "a@b+c");
        assert_eq!(decoded("a%26b%3Dc"), "a&b=c");
        assert_eq!(decoded(""), "");
    }

    #[test]
    fn what_is_ours_replaces_the_endpoints_and_its_owner_knows_better_how_to_log_in() {
        let url = Url::parse("https://me:pass@example.com/").unwrap();
        let mut own = EndpointHeaders::default();
        for (name, value) in [
            ("X-Own", "1"),
            ("Accept", "text/plain"),
            ("Authorization", "Bearer x"),
            ("Traceparent", "00-own"),
        ] {
            own.set(name.into(), value.into());
        }
        let webhook = Webhook {
            style: HeaderStyle::Both,
            url: &url,
            headers: &own,
            content_type: Some("text/\u{e9}"),
            empty: true,
            message: "msg_1",
            timestamp: 7,
            signature: None,
            traceparent: Some("00-ours"),
        };
        let headers = webhook.headers();
        let value = |name: &str| {
            let mut found = headers.iter().filter(|(other, _)| *other == name);
            let value = found.next().map(|(_, value)| value.to_string());
            assert!(found.next().is_none(), "{name} is there twice");
            value
        };
        assert_eq!(value("X-Own").as_deref(), Some("1"));
        assert_eq!((value("accept"), value("Accept").as_deref()), (None, Some("text/plain")));
        assert_eq!((value("authorization"), value("Authorization").as_deref()), (None, Some("Bearer x")));
        assert_eq!(value("content-type").as_deref(), Some(JSON));
        assert_eq!(value("content-length").as_deref(), Some("0"));
        assert_eq!((value("webhook-id"), value("svix-timestamp")), (Some("msg_1".into()), Some("7".into())));
        assert_eq!(value("webhook-signature"), None);
        assert_eq!((value("traceparent"), value("Traceparent").as_deref()), (None, Some("00-own")));
        let none = EndpointHeaders::default();
        let headers = Webhook { headers: &none, ..webhook }.headers();
        assert!(headers.contains(&("authorization", "Basic bWU6cGFzcw==".into())), "{headers:?}");
        assert!(headers.contains(&("traceparent", "00-ours".into())), "{headers:?}");
    }

    #[test]
    fn attributes_are_the_signatures_and_two_more() {
        let of = |style, signature| {
            let attributes = attributes(style, "msg_1", 7, signature, Some("text/\u{e9}"), "a.b");
            attributes
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            of(HeaderStyle::Webhook, Some("v1,x")),
            "content-type=application/json event-type=a.b webhook-id=msg_1 webhook-timestamp=7 webhook-signature=v1,x"
        );
        assert!(of(HeaderStyle::Both, Some("v1,x")).ends_with("svix-timestamp=7 svix-signature=v1,x"));
        assert!(!of(HeaderStyle::Svix, None).contains("signature"));
    }

    #[test]
    fn known_secrets_are_known_in_any_case() {
        assert!(is_sensitive("Authorization") && is_sensitive("X-API-KEY") && !is_sensitive("X-Request-Id"));
    }
}
