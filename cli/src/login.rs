//! User and password in a URL (`https://user:password@host/`): secrets, which are shown to nobody.

/// The URL without its user and password; none if it has none.
pub(crate) fn without(url: &str) -> Option<String> {
    let parsed = url::Url::parse(url).ok()?;
    if parsed.username().is_empty() && parsed.password().is_none() {
        return None;
    }
    // As it was written otherwise: a URL that is read and written again may look different.
    let begin = url.find("://")? + 3;
    let authority =
        &url[begin..begin + url[begin..].find(['/', '?', '#', '\\']).unwrap_or(url.len() - begin)];
    let host = authority.rfind('@')? + 1;
    Some(format!("{}{}", &url[..begin], &url[begin + host..]))
}

/// The URL as it may be shown.
pub(crate) fn hidden(url: &str) -> String {
    match without(url) {
        Some(rest) => rest.replacen("://", "://***@", 1),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_left_out_and_nothing_else() {
        for (url, rest) in [
            ("https://user:p%40ss@example.com/a@b?c=d@e", "https://example.com/a@b?c=d@e"),
            ("https://user@example.com", "https://example.com"),
            ("http://u:a@b@example.com:8080?x", "http://example.com:8080?x"),
        ] {
            assert_eq!(without(url).as_deref(), Some(rest));
        }
        for url in ["https://example.com/a@b", "arn:aws:sqs:eu-central-1:1:q", "", "x@y"] {
            assert_eq!((without(url), hidden(url)), (None, url.to_owned()));
        }
        assert_eq!(hidden("https://u:p@example.com/x"), "https://***@example.com/x");
    }
}
