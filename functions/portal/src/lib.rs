//! Serves the portal: a static page that calls the public API with the token of its link.
//!
//! The function has no rights, no secret and no store. Its files are embedded, gzipped, by `build.rs`.

mod assets;
mod policy;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use ring::digest::{SHA256, digest};
use shared::Error;
use shared::config::{ConfigError, Env};
use shared::http::ApiError;

use assets::{Asset, TREE};

/// The page, with the names of its files filled in.
const SHELL: &str = include_str!(concat!(env!("OUT_DIR"), "/shell.html"));
/// Where the page finds out which address ends a session that has expired.
const REFRESH_META: &str = r#"<meta name="postrider-refresh-url" content="">"#;
/// Where the files are; the hash of all of them comes next.
const ASSETS_PATH: &str = "/portal/assets/";
/// A file's name changes with its text.
const FOREVER: &str = "public, max-age=31536000, immutable";
const REFRESH_URL: &str = "POSTRIDER_PORTAL_REFRESH_URL";

/// What this function holds.
#[derive(Debug)]
struct Portal {
    /// The page, as it is and gzipped.
    shell: (String, Vec<u8>),
    etag: HeaderValue,
    /// For the page and its files alike.
    headers: HeaderMap,
}

/// The routes of this function.
///
/// # Errors
/// A setting is invalid.
pub fn router(env: &Env<'_>) -> Result<Router, ConfigError> {
    let refresh = env.parsed(REFRESH_URL, "an http or https URL", String::new(), refresh_url)?;
    let shell = SHELL.replace(REFRESH_META, &REFRESH_META.replace("\"\"", &format!("\"{refresh}\"")));
    let tag = URL_SAFE_NO_PAD.encode(&digest(&SHA256, shell.as_bytes()).as_ref()[..12]);
    let etag = format!("\"{tag}\"").parse().map_err(|_| ConfigError::new(REFRESH_URL, "is no URL"))?;
    let gzipped = assets::gzip(shell.as_bytes());
    let portal = Portal { shell: (shell, gzipped), etag, headers: policy::headers(env)? };
    Ok(Router::new().fallback(answer).with_state(Arc::new(portal)))
}

/// A URL as an attribute of HTML has it.
fn refresh_url(text: &str) -> Option<String> {
    let is_url = text.starts_with("https://") || text.starts_with("http://");
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !br#""'<>"#.contains(&byte));
    (is_url && is_plain).then(|| text.replace('&', "&amp;"))
}

async fn answer(State(portal): State<Arc<Portal>>, request: Request<Body>) -> Response {
    // What no route names leads here, too.
    if !is_ours(request.uri().path()) {
        return shared::http::no_such_path(request.method(), request.uri());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return ([(header::ALLOW, "GET, HEAD")], ApiError(Error::MethodNotAllowed)).into_response();
    }
    let path = request.uri().path();
    let mut response = match path.strip_prefix(ASSETS_PATH) {
        Some(name) => asset(name, request.headers()),
        None if path == "/" => (StatusCode::FOUND, [(header::LOCATION, "/portal")]).into_response(),
        None if is_page(path) => portal.page(request.headers()),
        None => ApiError(Error::NotFound("Path")).into_response(),
    };
    response.headers_mut().extend(portal.headers.clone());
    if request.method() == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    response
}

/// Whether the portal answers at this path, be it that there is no such file.
fn is_ours(path: &str) -> bool {
    path == "/" || is_page(path)
}

/// The page reads the rest of the path itself.
fn is_page(path: &str) -> bool {
    let begins =
        |with: &str| path.strip_prefix(with).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    begins("/portal") || path.trim_end_matches('/') == "/login"
}

impl Portal {
    fn page(&self, headers: &HeaderMap) -> Response {
        let about = [
            (header::ETAG, self.etag.clone()),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
        let is_known = |one: &str| one.trim().trim_start_matches("W/").as_bytes() == self.etag.as_bytes();
        if known.is_some_and(|known| known.split(',').any(is_known)) {
            return (StatusCode::NOT_MODIFIED, about).into_response();
        }
        let (plain, gzipped) = &self.shell;
        let body = if takes_gzip(headers) { Ok(gzipped.clone()) } else { Err(plain.clone().into_bytes()) };
        (about, encoded("text/html; charset=utf-8", body)).into_response()
    }
}

/// A file. While a new version takes over, the page may be the one's and a request for a file reach the other:
/// it gets the file that is there, and nobody keeps it.
fn asset(name: &str, headers: &HeaderMap) -> Response {
    let found = name.split_once('/').and_then(|(tree, name)| Some((tree, Asset::named(name)?)));
    let Some((tree, asset)) = found else { return ApiError(Error::NotFound("File")).into_response() };
    let cache = if tree == TREE { FOREVER } else { "no-store" };
    let body = if takes_gzip(headers) { Ok(asset.gzipped.to_vec()) } else { Err(asset.plain()) };
    ([(header::CACHE_CONTROL, cache)], encoded(asset.media_type, body)).into_response()
}

/// A body, gzipped (`Ok`) or plain. Its length is said here, for answers to HEAD.
fn encoded(media_type: &'static str, body: Result<Vec<u8>, Vec<u8>>) -> Response {
    let is_gzipped = body.is_ok();
    let (Ok(body) | Err(body)) = body;
    let length = body.len();
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if is_gzipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Whether a client takes gzip: `gzip` or `*` is in its list, and not with the weight 0.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let weight = |coding: &str| {
        let values = headers.get_all(header::ACCEPT_ENCODING).iter();
        values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).find_map(|one| {
            let (name, rest) = one.split_once(';').unwrap_or((one, ""));
            let weight = rest.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
            name.trim().eq_ignore_ascii_case(coding).then(|| weight.unwrap_or(1.0))
        })
    };
    weight("gzip").or_else(|| weight("*")).is_some_and(|weight| weight > 0.0)
}

#[cfg(test)]
mod tests;
