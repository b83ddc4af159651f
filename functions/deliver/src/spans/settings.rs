//! What the operator sets about spans.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use shared::config::{ConfigError, Env, flag};

const HEADER: &str = "POSTRIDER_TRACEPARENT";
const URL: &str = "POSTRIDER_OTLP_URL";
const HEADERS: &str = "POSTRIDER_OTLP_HEADERS";
/// Where collectors take traces, by the protocol (OTLP/HTTP).
const PATH: &str = "/v1/traces";
/// What the exporter sets itself.
const OWN: [HeaderName; 4] = [
    http::header::CONTENT_TYPE,
    http::header::CONTENT_LENGTH,
    http::header::HOST,
    http::header::TRANSFER_ENCODING,
];

/// What the operator sets.
#[derive(Debug)]
pub struct Settings {
    /// Webhooks carry a `traceparent`.
    pub header: bool,
    /// Where spans are exported to.
    pub collector: Option<Collector>,
}

/// A collector of spans.
pub struct Collector {
    /// Where it takes traces.
    pub url: Uri,
    /// What its requests carry, such as a key.
    pub headers: HeaderMap,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.keys().collect();
        f.debug_struct("Collector").field("url", &self.url).field("headers", &names).finish()
    }
}

impl Settings {
    /// Reads the variables.
    ///
    /// # Errors
    /// One of them is invalid; the values of headers are not repeated.
    pub fn read(env: &Env<'_>) -> Result<Self, ConfigError> {
        let what =
            "a URL such as https://collector.example.com/v1/traces, without user, password and fragment";
        let url = env.parsed(URL, what, None, |text| url(text).map(Some))?;
        let headers = match env.optional(HEADERS) {
            None => HeaderMap::new(),
            Some(_) if url.is_none() => {
                return Err(ConfigError::new(HEADERS, format!("is set, and {URL} is not: there is no collector")));
            }
            Some(text) => headers(&text).ok_or_else(|| {
                let problem = "is invalid: expected name=value,name=value with escapes such as %20 in values, \
                     and no header that describes the body or the host";
                ConfigError::new(HEADERS, problem)
            })?,
        };
        let collector = url.map(|url| Collector { url, headers });
        Ok(Self { header: flag(env, HEADER, false)?, collector })
    }
}

fn url(text: &str) -> Option<Uri> {
    let url = url::Url::parse(text).ok()?;
    let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
    let is_bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let mut url = (is_http && is_bare).then_some(url)?;
    if url.path() == "/" {
        url.set_path(PATH);
    }
    url.as_str().parse().ok()
}

/// As `OTEL_EXPORTER_OTLP_HEADERS` is written.
fn headers(text: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let name: HeaderName = name.trim().parse().ok()?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        if OWN.contains(&name) || headers.insert(name, value).is_some() {
            return None;
        }
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let pairs: Vec<(String, String)> = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Settings::read(&Env::new(move |name| pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone())))
    }

    #[test]
    fn nothing_is_set_unless_it_is() {
        let settings = read(&[]).unwrap();
        assert!(!settings.header && settings.collector.is_none());
        assert!(read(&[(HEADER, "true")]).unwrap().header);
    }

    #[test]
    fn a_collector_has_a_url_and_headers() {
        let set = [(URL, "http://10.0.0.7:4318"), (HEADERS, "X-Key=a%2Cb, Authorization=Basic%20eDp5,")];
        let collector = read(&set).unwrap().collector.unwrap();
        assert_eq!(collector.url, "http://10.0.0.7:4318/v1/traces");
        assert_eq!(collector.headers["x-key"], "a,b");
        assert_eq!(collector.headers["authorization"], "Basic eDp5");
        let shown = format!("{collector:?}");
        assert!(shown.contains("x-key") && !shown.contains("eDp5") && !shown.contains("a,b"), "{shown}");
        let own = read(&[(URL, "https://otlp.example.com/x?y=1")]).unwrap().collector.unwrap();
        assert_eq!(own.url, "https://otlp.example.com/x?y=1");
    }

    #[test]
    fn what_is_invalid_stops_the_start_and_no_secret_is_shown() {
        for url in ["collector:4318", "ftp://x/", "https://me:secret@x/", "https://x/#y", "/v1/traces"] {
            let error = read(&[(URL, url)]).unwrap_err().to_string();
            assert!(error.starts_with("POSTRIDER_OTLP_URL: "), "{error}");
        }
        let given = |headers| [(URL, "http://x"), (HEADERS, headers)];
        for headers in ["secret", "na me=secret", "a=%ffsecret", "a=sec\nret", "host=secret", "a=1,A=secret"]
        {
            let error = read(&given(headers)).unwrap_err().to_string();
            assert!(error.starts_with("POSTRIDER_OTLP_HEADERS: ") && !error.contains("secret"), "{error}");
        }
        assert!(read(&[(HEADERS, "a=1")]).unwrap_err().to_string().contains(URL));
    }
}
