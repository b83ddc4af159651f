//! Which headers a webhook may carry besides ours: those of an endpoint, and those that its transformation sets.

/// Most headers of one endpoint.
pub const HEADERS_MAX: usize = 50;
/// Most bytes of all names and values of one endpoint: receivers take little more.
pub const LENGTH_MAX: usize = 32 * 1024;
/// Most bytes of a name.
const NAME_LENGTH_MAX: usize = 256;
/// Most bytes of a value.
const VALUE_LENGTH_MAX: usize = 4096;

/// Ours to set, or to do with the connection and not with what is sent.
const FORBIDDEN: [&str; 27] = [
    "user-agent",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "age",
    "cache-control",
    "clear-site-data",
    "expires",
    "pragma",
    "warning",
    "content-length",
    "content-type",
    "content-encoding",
    "content-language",
    "content-location",
    "host",
    "connection",
    "expect",
    "trailer",
    "proxy-connection",
    "http2-settings",
    "via",
    "forwarded",
];
/// Of infrastructure, which trusts them, and of webhooks' own headers.
const FORBIDDEN_PREFIXES: [&str; 12] = [
    "x-amz-",
    "x-amzn-",
    "x-google",
    "x-goog-",
    "x-gfe",
    "x-azure-",
    "x-fd-",
    "x-svix-",
    "svix-",
    "webhook-",
    "x-forwarded-",
    "postrider-",
];

/// Whether it can be a header's name (RFC 9110, 5.6.2).
fn is_token(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(fits)
}

/// What is wrong with a header's name; none if nothing is.
pub fn broken_name(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    if name.len() > NAME_LENGTH_MAX || !is_token(name) {
        return Some(format!("Not a header's name of 1 to {NAME_LENGTH_MAX} characters"));
    }
    if FORBIDDEN.contains(&lower.as_str()) {
        return Some("This header cannot be set".into());
    }
    let prefix = FORBIDDEN_PREFIXES.iter().find(|prefix| lower.starts_with(**prefix))?;
    Some(format!("Headers that begin with {prefix} cannot be set"))
}

/// What is wrong with a header's value; none if nothing is.
pub fn broken_value(value: &str) -> Option<String> {
    if value.len() > VALUE_LENGTH_MAX {
        return Some(format!("Must have at most {VALUE_LENGTH_MAX} bytes"));
    }
    // Others may pass in HTTP; what a receiver makes of them nobody knows.
    let valid = value.bytes().all(|byte| (0x20..0x7f).contains(&byte) || byte == b'\t');
    (!valid).then(|| "Must be visible ASCII characters and spaces".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values() {
        for good in ["X-Api-Key", "authorization", "x_under", "Accept", "X-Goo"] {
            assert_eq!(broken_name(good), None, "{good}");
        }
        for bad in
            FORBIDDEN.iter().chain(&FORBIDDEN_PREFIXES).chain(&["", "a b", "a:b", "Webhook-Id", "HOST"])
        {
            assert!(broken_name(bad).is_some() && broken_name(&bad.to_uppercase()).is_some(), "{bad}");
        }
        for bad in
            ["Expect", "Trailer", "Proxy-Connection", "HTTP2-Settings", "Via", "Forwarded", "X-Forwarded-For"]
        {
            assert!(broken_name(bad).is_some(), "{bad}");
        }
        assert!(broken_name(&"x".repeat(257)).is_some());
        assert_eq!(broken_value(&"x".repeat(4096)), None);
        for bad in ["x".repeat(4097), "a\r\nb: c".to_owned(), "\0".to_owned(), "\u{e9}".to_owned()] {
            assert!(broken_value(&bad).is_some(), "{bad:?}");
        }
    }
}
