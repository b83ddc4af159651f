//! What browsers may do with the page, said in headers.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use shared::config::{ConfigError, Env};

const FRAME_ANCESTORS: &str = "POSTRIDER_PORTAL_FRAME_ANCESTORS";
const API_ORIGINS: &str = "POSTRIDER_PORTAL_API_ORIGINS";

/// The headers of each answer.
///
/// # Errors
/// A setting is no list of origins.
pub fn headers(env: &Env<'_>) -> Result<HeaderMap, ConfigError> {
    // There is no cookie and no session that a framing page could use: without a link's token the page can
    // do nothing, and who has the token needs no frame.
    let ancestors = env.parsed(
        FRAME_ANCESTORS,
        "*, 'none', or origins separated by spaces such as 'self' https://app.example.com https://*.example.com",
        "*".to_owned(),
        ancestors,
    )?;
    let apis = env.parsed(
        API_ORIGINS,
        "origins separated by spaces, such as https://hooks.example.com",
        String::new(),
        |text| origins(text).map(|origins| format!(" {origins}")),
    )?;
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: data:; \
         connect-src 'self'{apis}; font-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors {ancestors}"
    );
    let policy = HeaderValue::try_from(policy)
        .map_err(|_| ConfigError::new(FRAME_ANCESTORS, "has characters that no header can have"))?;
    let others = [
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            HeaderName::from_static("permissions-policy"),
            "clipboard-write=(self), camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        ),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    let mut headers: HeaderMap =
        others.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(headers)
}

fn ancestors(text: &str) -> Option<String> {
    match text.trim() {
        alone @ ("*" | "'none'") => Some(alone.to_owned()),
        several => origins(several),
    }
}

/// A list of origins, in which `'self'` is one. What ends a directive or begins another one is in none.
fn origins(text: &str) -> Option<String> {
    let origins: Vec<&str> = text.split_whitespace().collect();
    (!origins.is_empty() && origins.iter().all(|origin| *origin == "'self'" || is_origin(origin)))
        .then(|| origins.join(" "))
}

fn is_origin(text: &str) -> bool {
    let Some(host) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return false;
    };
    let (host, port) = host.rsplit_once(':').unwrap_or((host, "443"));
    let host = host.strip_prefix("*.").unwrap_or(host);
    let is_name = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.split('.').all(is_name) && (port == "*" || port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(ancestors: &str, apis: &str) -> Result<String, String> {
        let env = Env::new(|name| match name {
            FRAME_ANCESTORS => Some(ancestors.to_owned()),
            API_ORIGINS => Some(apis.to_owned()),
            _ => None,
        });
        let headers = headers(&env).map_err(|error| error.to_string())?;
        Ok(headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned())
    }

    #[test]
    fn anybody_may_frame_the_page_unless_somebody_is_named() {
        assert_eq!(
            policy("", "").unwrap(),
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: data:; \
             connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors *"
        );
        let named =
            policy("'self'  https://*.example.com http://localhost:3000", "https://hooks.example.com")
                .unwrap();
        assert!(named.contains("; connect-src 'self' https://hooks.example.com; "), "{named}");
        assert!(
            named.ends_with("; frame-ancestors 'self' https://*.example.com http://localhost:3000"),
            "{named}"
        );
        assert!(policy("'none'", "").unwrap().ends_with("; frame-ancestors 'none'"));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for wrong in [
            "example.com",
            "https://a.com/x",
            "* https://a.com",
            "https://a.com; script-src *",
            "https://",
            "https://a.com:x",
            "https://a_b",
            "self",
            "https://*",
        ] {
            let error = policy(wrong, "").unwrap_err();
            assert!(error.starts_with("POSTRIDER_PORTAL_FRAME_ANCESTORS: "), "{wrong}: {error}");
        }
        assert!(policy("", "*").unwrap_err().starts_with("POSTRIDER_PORTAL_API_ORIGINS: "));
    }
}
