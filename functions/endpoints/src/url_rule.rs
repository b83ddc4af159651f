//! What an endpoint's URL may be.

use url::{Host, Url};

/// Longest URL, in bytes.
pub const LENGTH_MAX: usize = 65_536;

/// What is wrong with `text` as the URL of an endpoint; none if nothing is. Where it leads to is
/// checked when something is sent there: names can change what they mean.
pub fn broken(text: &str, https_only: bool) -> Option<String> {
    if text.is_empty() || text.len() > LENGTH_MAX {
        return Some(format!("Must have between 1 and {LENGTH_MAX} bytes"));
    }
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return Some(format!("Not a URL: {error}")),
    };
    match url.scheme() {
        "https" => {}
        "http" if !https_only => {}
        "http" => return Some("Must be an https URL".into()),
        _ => return Some("Must be an http or https URL".into()),
    }
    match url.host() {
        Some(Host::Domain("")) | None => Some("Must name a host".into()),
        Some(_) if url.port() == Some(0) => Some("Must not name port 0".into()),
        // Deliveries send to what the URL standard makes of it, which can be longer.
        Some(_) if url.as_str().parse::<http::Uri>().is_err() => {
            Some("Must not be longer, written out".into())
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::broken;

    #[test]
    fn urls() {
        for good in
            ["https://example.com/x?y=1", "http://127.0.0.1:9000/", "https://user:pass@example.com:8443"]
        {
            assert_eq!(broken(good, false), None, "{good}");
        }
        for bad in
            ["", "example.com", "ftp://example.com/", "https://", "javascript:alert(1)", "http://[::1", "/x"]
        {
            assert!(broken(bad, false).is_some(), "{bad}");
        }
        assert_eq!(broken("http://example.com:0/", false).as_deref(), Some("Must not name port 0"));
        let long = format!("http://example.com/{}", "ä".repeat(20_000));
        assert_eq!(broken(&long, false).as_deref(), Some("Must not be longer, written out"));
        assert_eq!(broken("http://example.com/", true).as_deref(), Some("Must be an https URL"));
    }
}
