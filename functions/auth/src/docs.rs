//! The OpenAPI document, and a page that shows it.
//!
//! The page is ours, of five small files: the usual viewers are megabytes of script. Whatever it
//! needs is in it, and its policy lets a browser load nothing else.

use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, StatusCode, header};
use ring::digest::{SHA256, digest};
use schemars::SchemaGenerator;
use serde_json::{Map, Value};
use shared::http::{Content, Registry, Responses};

use crate::Auth;

/// As `postrider openapi` prints it; a test compares them.
const DOCUMENT: &str = include_str!("../../../docs/openapi.json");
const STYLE: &str = include_str!("docs/style.css");
const SCRIPT: &str =
    concat!(include_str!("docs/samples.js"), include_str!("docs/trial.js"), include_str!("docs/script.js"));
const PAGE: &str = include_str!("docs/page.html");
/// For how long a copy is used without asking. Then it is asked whether it is still the newest.
const CACHE: &str = "public, max-age=300";

pub fn operations<R: Registry<Auth>>(to: R) -> R {
    const TAG: &str = "Documentation";
    const NOT_MODIFIED: &str = "Not modified: it is the one that `If-None-Match` names.";
    to.get("/api/v1/openapi.json", document, |operation| {
        operation
            .named("v1.documentation.openapi", TAG)
            .summary("Get this document")
            .returns("An OpenAPI document.")
            .returns(NOT_MODIFIED)
    })
    .get("/docs", page, |operation| {
        operation
            .named("v1.documentation.page", TAG)
            .summary("Read the API reference in a browser")
            .returns("A page.")
            .returns(NOT_MODIFIED)
    })
}

/// The document, or that the client has it.
struct DocumentOut(Response);

impl IntoResponse for DocumentOut {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Responses for DocumentOut {
    fn declared() -> Vec<(u16, Content)> {
        let document = Content::Json(SchemaGenerator::subschema_for::<Map<String, Value>>);
        vec![(200, document), (304, Content::Nothing)]
    }
}

/// The page, or that the client has it.
struct PageOut(Response);

impl IntoResponse for PageOut {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Responses for PageOut {
    fn declared() -> Vec<(u16, Content)> {
        vec![(200, Content::Text("text/html")), (304, Content::Nothing)]
    }
}

async fn document(headers: HeaderMap) -> DocumentOut {
    DocumentOut(answer(&headers, "application/json", DOCUMENT))
}

async fn page(headers: HeaderMap) -> PageOut {
    let page = PAGE.replace("/* style.css */", STYLE).replace("/* script.js */", SCRIPT);
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, text.as_bytes())));
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE),
    );
    let own = [
        (header::CONTENT_SECURITY_POLICY, policy.as_str()),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let mut response = answer(&headers, "text/html; charset=utf-8", &page);
    for (name, value) in own {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    PageOut(response)
}

fn answer(headers: &HeaderMap, content_type: &str, text: &str) -> Response {
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest(&SHA256, text.as_bytes()).as_ref()[..12]));
    let about = [(header::ETAG, tag.as_str()), (header::CACHE_CONTROL, CACHE)];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    if known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    (about, [(header::CONTENT_TYPE, content_type)], text.to_owned()).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn the_page_may_load_nothing_but_itself_and_the_document() {
        let PageOut(response) = page(HeaderMap::new()).await;
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        let text = response.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&text).unwrap();
        assert!(text.len() < 40_000 && text.contains(SCRIPT) && text.contains(STYLE));
        // Nothing from elsewhere, and no handler or style that the policy would refuse.
        for refused in ["http:", "https:", "//cdn", " src=", " onclick=", " style=", "innerHTML", "eval("] {
            assert!(!text.contains(refused), "{refused}");
        }
    }

    #[tokio::test]
    async fn what_is_known_is_not_sent_again() {
        let DocumentOut(first) = document(HeaderMap::new()).await;
        let tag = first.headers()[header::ETAG].clone();
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, format!("\"x\", {}", tag.to_str().unwrap()).parse().unwrap());
        let DocumentOut(again) = document(headers.clone()).await;
        assert_eq!((again.status(), &again.headers()[header::ETAG]), (StatusCode::NOT_MODIFIED, &tag));
        assert_eq!(page(headers).await.0.status(), StatusCode::OK);
    }
}
