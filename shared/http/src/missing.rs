//! What a 404 says: which resource is missing, by which id; and of a path that is none, whether other
//! servers of this API have an operation there.

use axum::response::Response;
use http::{Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;

use super::error::ErrorOut;
use super::json;

/// The operations that clients of this API know: method, path and name, one a line. Made by
/// `tests/data/known_operations.py`.
const KNOWN: &str = include_str!("known_operations.txt");
/// Longest id or path that is repeated, in characters.
const SHOWN_MAX: usize = 300;

/// Put into the extensions of an answer that says that something is missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missing(pub(super) &'static str);

/// The same answer, once it is known what was asked for: with the id that the path has.
pub(super) fn named(response: Response, uri: &Uri) -> Response {
    let Some(Missing(what)) = response.extensions().get::<Missing>().copied() else { return response };
    let Some(id) = id_of(what, uri) else { return response };
    not_found(&format!("{what} \"{id}\" not found"))
}

pub(super) fn not_found(detail: &str) -> Response {
    json(StatusCode::NOT_FOUND, &ErrorOut { code: "not_found", detail })
}

/// The id of a resource of that kind in a path: what follows its collection's name.
fn id_of(what: &str, uri: &Uri) -> Option<String> {
    let collection = match what {
        "Application" => "app app-portal-access dashboard-access",
        "Endpoint" => "endpoint poller polling-endpoint",
        "Message" => "msg",
        "Attempt" => "attempt",
        "Event type" => "event-type",
        "Task" => "background-task",
        "Integration" => "integration",
        "Connector" => "connector",
        _ => return None,
    };
    let mut segments: Vec<&str> = uri.path().split('/').skip(3).collect();
    // These are no collections.
    if matches!(segments.first(), Some(&("auth" | "operational-webhook"))) {
        segments.remove(0);
    } else if segments.len() == 5 && segments[2] == "attempt" {
        segments.remove(2);
    }
    let mut pairs = segments.chunks_exact(2);
    let id = pairs.find(|pair| collection.split(' ').any(|name| name == pair[0]))?[1];
    if id.is_empty() {
        return None;
    }
    Some(shown(&percent_decode_str(id).decode_utf8().ok()?))
}

/// A text of the caller's, shortened and on one line.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The answer where no operation is.
pub fn no_such_path(method: &Method, uri: &Uri) -> Response {
    let path = shown(uri.path());
    let known = KNOWN.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (of, template, name) = (words.next()?, words.next()?, words.next()?);
        (of == method.as_str() && matches(template, uri.path())).then_some(name)
    });
    not_found(&match known {
        Some(name) => format!(
            "Not offered: {method} {path} is {name}, an operation of other servers of this API. Those of Postrider are at /docs."
        ),
        None => format!("No such path: {method} {path}. The API reference is at /docs."),
    })
}

/// Whether `path` is one of `template`, in which `{name}` stands for a segment.
fn matches(template: &str, path: &str) -> bool {
    // An empty segment, and what is no text, names nothing that another server would have.
    if percent_decode_str(path).decode_utf8().is_err() {
        return false;
    }
    let mut path = path.strip_suffix('/').unwrap_or(path).split('/');
    let is_same = template.split('/').all(|part| match path.next() {
        Some(segment) if part.starts_with('{') => !segment.is_empty(),
        segment => segment == Some(part),
    });
    is_same && path.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stand_behind_their_collections() {
        let of = |what, path: &str| id_of(what, &path.parse().unwrap());
        let path = "/api/v1/app/app/endpoint/e%20%0a/msg?endpoint=x";
        assert_eq!(of("Application", path).unwrap(), "app");
        assert_eq!(of("Endpoint", path).unwrap(), "e \u{fffd}");
        assert_eq!(of("Message", path), None);
        assert_eq!(of("Secret", path), None);
        assert_eq!(of("Application", "/api/v1/auth/app-portal-access/acme").unwrap(), "acme");
        assert_eq!(of("Attempt", "/api/v1/app/a/msg/m/attempt/t/content").unwrap(), "t");
        assert_eq!(of("Endpoint", "/api/v1/app/a/attempt/endpoint/e").unwrap(), "e");
        assert_eq!(of("Endpoint", "/api/v1/operational-webhook/endpoint/e/secret").unwrap(), "e");
        assert_eq!(of("Message", "/api/v1/app/msg/attempt/msg/m").unwrap(), "m");
    }

    #[test]
    fn templates_are_whole_paths() {
        assert!(matches("/api/v1/app/{app_id}/integration", "/api/v1/app/a/integration/"));
        assert!(!matches("/api/v1/app/{app_id}/integration", "/api/v1/app//integration"));
        assert!(!matches("/api/v1/app", "/api/v1/app//"));
        assert!(!matches("/api/v1/app/{app_id}", "/api/v1/app/%ff"));
        assert!(!matches("/api/v1/app/{app_id}", "/api/v1/app/a/b"));
        assert!(!matches("/api/v1/app/{app_id}/b", "/api/v1/app/a"));
    }
}
