//! The request of a webhook.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use http_body_util::Full;
use shared::Result;
use shared::config::HeaderStyle;
use shared::error::corrupt;
use shared::http_signature::SignedRequest;
use shared::store::messages::Payload;
use shared::{signing, webhook};
use url::Url;

use crate::destination::Webhook;

/// The request, signed by the Standard Webhooks specification, and as an HTTP message if its owner asked for that; or, where the endpoint's URL cannot be used, why.
pub fn build(
    url: &str,
    style: HeaderStyle,
    Webhook { id: message, endpoint, payload, at, method, traceparent, http_key, .. }: Webhook<'_>,
) -> Result<std::result::Result<Request<Full<Bytes>>, String>> {
    let Ok(url) = Url::parse(url) else {
        return Ok(Err("the endpoint's URL is not one".into()));
    };
    let timestamp = at.seconds();
    let signature =
        signing::signatures(endpoint.valid_keys(at), message, timestamp, payload.sent().as_bytes())?;
    let described = webhook::Webhook {
        style,
        url: &url,
        headers: &endpoint.headers,
        content_type: payload.content_type.as_deref(),
        empty: payload.sent().is_empty(),
        message,
        timestamp,
        signature: Some(&signature),
        traceparent,
    };
    let mut headers = HeaderMap::new();
    for (name, value) in described.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(corrupt("a header"))?;
        headers.insert(name, HeaderValue::from_str(&value).map_err(corrupt("a header"))?);
    }
    let mut to = url.clone();
    let _ = to.set_username("").and_then(|()| to.set_password(None));
    to.set_fragment(None);
    if let Some(key) = http_key {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let signed = SignedRequest {
            method: method.as_str(),
            target: to.as_str(),
            content_type: content_type.unwrap_or_default(),
            message,
            timestamp,
            body: payload.sent().as_bytes(),
        };
        let own = key.headers(&signed)?;
        // In whatever style the others are, what is signed is there.
        let covered = [("webhook-id", message.to_owned()), ("webhook-timestamp", timestamp.to_string())];
        for (name, value) in covered.into_iter().chain(own) {
            let value = HeaderValue::from_str(&value).map_err(corrupt("a header"))?;
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let Ok(uri) = to.as_str().parse::<Uri>() else {
        return Ok(Err("the endpoint's URL cannot be sent to".into()));
    };
    let request = Request::builder().method(method).uri(uri);
    let mut request = request.body(Full::new(body(payload))).map_err(corrupt("a request"))?;
    *request.headers_mut() = headers;
    Ok(Ok(request))
}

/// The body of a request, which shares the payload's text.
fn body(payload: &Payload) -> Bytes {
    struct Shared(Arc<String>);
    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    Bytes::from_owner(Shared(payload.sent().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_shares_the_text_of_the_payload_and_of_its_clones() {
        let json = Payload::of("{}");
        assert_eq!(body(&json.clone()).as_ptr(), json.json.as_ptr());
        let raw = Payload { raw: Some(Arc::new("<x/>".to_owned())), ..json };
        assert_eq!(body(&raw.clone()).as_ptr(), raw.sent().as_ptr());
    }
}
