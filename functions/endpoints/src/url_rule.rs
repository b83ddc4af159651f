//! What an endpoint's URL may be.

use url::{Host, ParseError, Url};

/// Longest URL, in bytes.
pub const LENGTH_MAX: usize = 65_534;
/// Longest text that an error repeats.
const SHOWN_MAX: usize = 200;

/// `text` as the URL standard writes it, which is what is connected to: other readers see other hosts in
/// some spellings. Where it leads to is checked when something is sent there, because names can change
/// what they mean.
///
/// # Errors
/// What is wrong with it as the URL of an endpoint.
pub fn read(text: &str, https_only: bool) -> Result<String, String> {
    if text.is_empty() || text.len() > LENGTH_MAX {
        return Err(format!("Must have between 1 and {LENGTH_MAX} bytes"));
    }
    let url = Url::parse(text).map_err(|error| match error {
        ParseError::RelativeUrlWithoutBase => not_absolute(text),
        error => format!("Not a URL: {error}"),
    })?;
    match url.scheme() {
        "https" => {}
        "http" if !https_only => {}
        "http" => return Err("Must be an https URL".into()),
        _ => return Err("Must be an http or https URL".into()),
    }
    match url.host() {
        Some(Host::Domain("")) | None => Err("Must name a host".into()),
        Some(_) if url.port() == Some(0) => Err("Must not name port 0".into()),
        // What is sent to can be longer than what was written.
        Some(_) if url.as_str().parse::<http::Uri>().is_err() => {
            Err(format!("Must have at most {LENGTH_MAX} bytes with what it is written out to"))
        }
        Some(_) => Ok(url.into()),
    }
}

/// The error about a URL without a scheme, with what was meant where that is a URL.
fn not_absolute(text: &str) -> String {
    let meant = format!("https://{text}");
    match Url::parse(&meant) {
        Ok(_) if !text.starts_with('/') && text.len() <= SHOWN_MAX => {
            format!("Not an absolute URL; did you mean {meant}?")
        }
        _ => "Not an absolute URL; expected one such as https://example.com/webhooks".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    fn broken(text: &str, https_only: bool) -> Option<String> {
        read(text, https_only).err()
    }

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
        for (written, connected) in [
            ("http://bad.url2", "http://bad.url2/"),
            ("HTTPS://EXAMPLE.com:443/a/../b?c#d", "https://example.com/b?c#d"),
            (r"http://127.0.0.2:80\@127.0.0.1/", "http://127.0.0.2/@127.0.0.1/"),
            ("http:/127.0.0.2", "http://127.0.0.2/"),
            ("http://0x7f.1/", "http://127.0.0.1/"),
            (" http://a\n.example/ ", "http://a.example/"),
            ("http://a@b@c.example/", "http://a%40b@c.example/"),
        ] {
            assert_eq!(read(written, false).as_deref(), Ok(connected), "{written}");
        }
        let meant = "Not an absolute URL; did you mean https://example.com?";
        assert_eq!(broken("example.com", false).as_deref(), Some(meant));
        assert_eq!(broken("http://example.com:0/", false).as_deref(), Some("Must not name port 0"));
        let long = format!("http://example.com/{}", "ä".repeat(20_000));
        assert_eq!(
            broken(&long, false).as_deref(),
            Some("Must have at most 65534 bytes with what it is written out to")
        );
        assert_eq!(broken("http://example.com/", true).as_deref(), Some("Must be an https URL"));
    }
}
