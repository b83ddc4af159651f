//! Cross-origin requests of browsers, as API Gateway answers them by the template's `CorsConfiguration`.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};

/// As the template has them; a test compares.
const METHODS: &str = "GET,POST,PUT,PATCH,DELETE";
const HEADERS: &str =
    "authorization,content-type,idempotency-key,svix-req-id,svix-retry-count,user-agent,accept";
const EXPOSED: &str = "retry-after";
const MAX_AGE: &str = "600";

/// Origins whose pages may call the API.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cors {
    origins: Vec<String>,
}

impl Cors {
    /// `*` allows all.
    pub(crate) fn new(origins: Vec<String>) -> Self {
        Self { origins }
    }

    /// What the answer to a page's request says about its origin; none if that may not call.
    pub(crate) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        if self.origins.iter().any(|allowed| allowed == "*") {
            return Some(HeaderValue::from_static("*"));
        }
        self.origins.iter().any(|allowed| origin == allowed.as_str()).then(|| origin.clone())
    }

    /// Answers a browser's question whether it may send a request; none if this is no such question, or
    /// nobody from elsewhere may.
    pub(crate) fn preflight(&self, request: &Request<Body>) -> Option<Response> {
        let headers = request.headers();
        let asks = request.method() == Method::OPTIONS
            && headers.contains_key(ORIGIN)
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if self.origins.is_empty() || !asks {
            return None;
        }
        let mut answer = StatusCode::NO_CONTENT.into_response();
        if let Some(origin) = self.allowed(headers) {
            Self::expose(answer.headers_mut(), origin);
            for (name, value) in [
                (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
                (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
                (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
            ] {
                answer.headers_mut().insert(name, HeaderValue::from_static(value));
            }
        }
        Some(answer)
    }

    /// Lets the page at `origin` read an answer.
    pub(crate) fn expose(headers: &mut HeaderMap, origin: HeaderValue) {
        if origin != "*" {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_template_says() {
        let (_, text) = crate::TEMPLATE.split_once("CorsConfiguration:").unwrap();
        let (text, _) = text.split_once("!Ref AWS::NoValue").unwrap();
        // Lists in either of YAML's spellings.
        let words = |name: &str| {
            let (_, rest) = text.split_once(&format!("{name}:")).unwrap();
            if let Some(rest) = rest.trim_start_matches(' ').strip_prefix('[') {
                return rest.split(']').next().unwrap().replace(' ', "");
            }
            let items = rest.lines().skip(1).map(str::trim);
            items.map_while(|line| line.strip_prefix("- ")).collect::<Vec<_>>().join(",")
        };
        assert_eq!(words("AllowMethods"), METHODS);
        assert_eq!(words("AllowHeaders"), HEADERS);
        assert_eq!(words("ExposeHeaders"), EXPOSED);
        assert!(text.contains(&format!("MaxAge: {MAX_AGE}\n")));
    }

    #[test]
    fn only_allowed_origins_are_answered() {
        let ask = |cors: &Cors, method: &str, origin: &str| {
            let request = Request::builder().method(method).header(ORIGIN, origin);
            let request = request.header(ACCESS_CONTROL_REQUEST_METHOD, "POST");
            cors.preflight(&request.body(Body::empty()).unwrap()).map(|answer| {
                assert_eq!(answer.status(), StatusCode::NO_CONTENT);
                let origin = answer.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN);
                origin.map(|origin| origin.to_str().unwrap().to_owned())
            })
        };
        let page = Cors::new(vec!["https://app.example".into()]);
        let allowed = Some(Some("https://app.example".to_owned()));
        assert_eq!(ask(&page, "OPTIONS", "https://app.example"), allowed);
        assert_eq!(ask(&page, "OPTIONS", "https://evil.example"), Some(None));
        assert_eq!(ask(&page, "POST", "https://app.example"), None);
        let all = Cors::new(vec!["*".into()]);
        assert_eq!(ask(&all, "OPTIONS", "null"), Some(Some("*".to_owned())));
        assert_eq!(ask(&Cors::default(), "OPTIONS", "https://app.example"), None);
    }
}
