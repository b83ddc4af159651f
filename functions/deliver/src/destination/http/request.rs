//! The request of a webhook.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use http_body_util::Full;
use shared::Result;
use shared::config::HeaderStyle;
use shared::error::corrupt;
use shared::{signing, webhook};
use url::Url;

use crate::destination::Webhook;

/// The request, signed by the Standard Webhooks specification; or, where the endpoint's URL cannot be used, why.
pub fn build(
    url: &str,
    style: HeaderStyle,
    Webhook { message, endpoint, payload, at }: Webhook<'_>,
) -> Result<std::result::Result<Request<Full<Bytes>>, String>> {
    let Ok(url) = Url::parse(url) else {
        return Ok(Err("the endpoint's URL is not one".into()));
    };
    let (message, timestamp) = (message.to_string(), at.seconds());
    let signature =
        signing::signatures(endpoint.valid_keys(at), &message, timestamp, payload.sent().as_bytes())?;
    let described = webhook::Webhook {
        style,
        url: &url,
        headers: &endpoint.headers,
        content_type: payload.content_type.as_deref(),
        empty: payload.sent().is_empty(),
        message: &message,
        timestamp,
        signature: Some(&signature),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in described.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(corrupt("a header"))?;
        headers.insert(name, HeaderValue::from_str(&value).map_err(corrupt("a header"))?);
    }
    let mut to = url.clone();
    let _ = to.set_username("").and_then(|()| to.set_password(None));
    to.set_fragment(None);
    let Ok(uri) = to.as_str().parse::<Uri>() else {
        return Ok(Err("the endpoint's URL cannot be sent to".into()));
    };
    let mut request =
        Request::post(uri).body(Full::from(payload.sent().to_owned())).map_err(corrupt("a request"))?;
    *request.headers_mut() = headers;
    Ok(Ok(request))
}
