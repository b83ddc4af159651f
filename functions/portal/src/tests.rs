// What the build does to scripts and sheets has tests of its own.
#[path = "../build/bundle.rs"]
mod bundle;
#[path = "../build/keys.rs"]
mod keys;
#[path = "../build/names.rs"]
mod names;
#[path = "../build/scopes.rs"]
mod scopes;
#[path = "../build/script.rs"]
mod script;
#[path = "../build/sheet.rs"]
mod sheet;

use axum::body::to_bytes;
use http::request::Builder;
use tower::ServiceExt as _;

use super::*;

fn routes() -> Router {
    router(&Env::new(|_| None)).unwrap()
}

async fn ask(request: Builder) -> (StatusCode, HeaderMap, Vec<u8>) {
    let response = routes().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    (head.status, head.headers, to_bytes(body, usize::MAX).await.unwrap().into())
}

fn plain(gzipped: &[u8]) -> String {
    use std::io::Read as _;
    let mut text = String::new();
    flate2::read::GzDecoder::new(gzipped).read_to_string(&mut text).unwrap();
    text
}

#[tokio::test]
async fn the_page_is_at_each_of_its_addresses_and_read_again_only_when_it_changes() {
    for path in
        ["/login", "/login/", "/login?next=/endpoints", "/portal", "/portal/", "/portal/endpoints/ep_1"]
    {
        let (status, headers, body) = ask(Request::get(path)).await;
        assert_eq!(
            (status, headers["content-type"].as_bytes()),
            (StatusCode::OK, &b"text/html; charset=utf-8"[..])
        );
        assert_eq!(
            (&headers["cache-control"], headers.get("content-encoding")),
            (&HeaderValue::from_static("no-cache"), None),
            "{path}"
        );
        assert!(String::from_utf8(body).unwrap().contains(&format!("/portal/assets/{TREE}/app/main.js")));
        let etag = headers["etag"].clone();
        for known in [etag.to_str().unwrap().to_owned(), format!("\"x\", W/{}", etag.to_str().unwrap())] {
            let (status, headers, body) = ask(Request::get(path).header("if-none-match", known)).await;
            assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0));
            assert_eq!(headers["etag"], etag);
        }
        assert_eq!(ask(Request::get(path).header("if-none-match", "\"x\"")).await.0, StatusCode::OK);
    }
    let (status, headers, _) = ask(Request::get("/")).await;
    assert_eq!((status, headers["location"].as_bytes()), (StatusCode::FOUND, &b"/portal"[..]));
}

#[tokio::test]
async fn each_file_is_served_gzipped_and_plain_under_a_name_that_changes_with_it() {
    assert!(!assets::ASSETS.is_empty());
    for asset in assets::ASSETS {
        let path = format!("/portal/assets/{TREE}/{}", asset.name);
        let (status, headers, gzipped) = ask(Request::get(&path).header("accept-encoding", "br, gzip")).await;
        assert_eq!(
            (status, &headers["content-encoding"]),
            (StatusCode::OK, &HeaderValue::from_static("gzip"))
        );
        assert_eq!(headers["cache-control"], "public, max-age=31536000, immutable");
        assert_eq!(headers["content-type"], asset.media_type);
        let (_, headers, body) = ask(Request::get(&path)).await;
        assert_eq!(
            (headers.get("content-encoding"), &headers["vary"]),
            (None, &HeaderValue::from_static("accept-encoding"))
        );
        if asset.media_type.ends_with("utf-8") {
            assert_eq!(String::from_utf8(body).unwrap(), plain(&gzipped));
        }
    }
}

#[tokio::test]
async fn while_a_version_takes_over_the_files_of_the_other_one_do() {
    let name = assets::ASSETS[0].name;
    let (status, headers, _) = ask(Request::get(format!("/portal/assets/0123456789abcdef/{name}"))).await;
    assert_eq!((status, headers["cache-control"].as_bytes()), (StatusCode::OK, &b"no-store"[..]));
}

#[tokio::test]
async fn what_is_not_there_says_so_and_is_not_kept() {
    for path in [
        format!("/portal/assets/{TREE}/app/nothing.js"),
        format!("/portal/assets/{TREE}/app/index.html"),
        format!("/portal/assets/{TREE}/../Cargo.toml"),
        format!("/portal/assets/{TREE}"),
        "/portal/assets/".to_owned(),
        "/login/else".to_owned(),
        "/portals".to_owned(),
    ] {
        let (status, headers, body) = ask(Request::get(&path)).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(String::from_utf8(body).unwrap().contains("not_found"), "{path}");
        assert_eq!(headers.get("cache-control"), None, "{path}");
    }
    for path in ["/login", "/portal"] {
        let (status, headers, _) = ask(Request::post(path)).await;
        assert_eq!(
            (status, &headers["allow"]),
            (StatusCode::METHOD_NOT_ALLOWED, &HeaderValue::from_static("GET, HEAD"))
        );
    }
}

#[tokio::test]
async fn head_says_what_get_would() {
    let asset = format!("/portal/assets/{TREE}/{}", assets::ASSETS[0].name);
    for path in ["/login", &asset] {
        let (status, headers, body) = ask(Request::get(path)).await;
        let (head_status, head_headers, nothing) = ask(Request::head(path)).await;
        assert_eq!(headers["content-length"], body.len().to_string(), "{path}");
        assert_eq!((head_status, head_headers, nothing.len()), (status, headers, 0), "{path}");
    }
    assert_eq!(ask(Request::head("/portal/assets/none")).await.0, StatusCode::NOT_FOUND);
}

/// INV-30
#[tokio::test]
async fn every_answer_has_the_policy() {
    for path in ["/", "/login", "/portal/assets/none", &format!("/portal/assets/{TREE}/app/main.js")] {
        let (_, headers, _) = ask(Request::get(path)).await;
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; "),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert_eq!(headers["x-content-type-options"], "nosniff");
    }
}

/// INV-30
#[test]
fn the_page_holds_no_script_and_no_style_of_its_own() {
    // The policy would keep them from running.
    assert!(!SHELL.contains("<style") && !SHELL.contains(" style=") && !SHELL.contains(" on"), "{SHELL}");
    for script in SHELL.split("<script").skip(1) {
        let (attributes, rest) = script.split_once('>').unwrap();
        assert!(attributes.contains("src=\"/portal/assets/") && rest.starts_with("</script>"), "{script}");
    }
    assert!(!SHELL.contains("\"app/"), "a file without its hash: {SHELL}");
}

#[tokio::test]
async fn where_expired_sessions_go_is_in_the_page() {
    let with =
        |url: &'static str| router(&Env::new(move |name| (name == REFRESH_URL).then(|| url.to_owned())));
    let request = Request::get("/login").body(Body::empty()).unwrap();
    let response = with("https://app.example.com/webhooks?a=1&b=2").unwrap().oneshot(request).await.unwrap();
    let page = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let meta =
        r#"<meta name="postrider-refresh-url" content="https://app.example.com/webhooks?a=1&amp;b=2">"#;
    assert!(String::from_utf8(page.into()).unwrap().contains(meta));
    for wrong in ["app.example.com", "javascript:alert(1)", "https://x/\"><script>", "https://x y"] {
        assert!(
            with(wrong).unwrap_err().to_string().starts_with("POSTRIDER_PORTAL_REFRESH_URL: "),
            "{wrong}"
        );
    }
}

#[test]
fn gzip_is_sent_to_who_takes_it() {
    for (given, takes) in [
        (vec!["gzip"], true),
        (vec!["br;q=1.0, GZIP;q=0.8, *;q=0.1"], true),
        (vec!["br", "gzip"], true),
        (vec!["*"], true),
        (vec!["gzip;q=0, *"], false),
        (vec!["gzip; q=0.000"], false),
        (vec!["br"], false),
        (vec!["identity, gzipped"], false),
        (vec![], false),
    ] {
        let headers = given.iter().map(|value| (header::ACCEPT_ENCODING, HeaderValue::from_static(value)));
        assert_eq!(takes_gzip(&headers.collect()), takes, "{given:?}");
    }
}

/// What a visitor loads, gzipped, in whatever language.
const VISIT_MAX: usize = 60 * 1024;

#[test]
fn the_page_stays_light() {
    let mut languages = Vec::new();
    let mut common = assets::gzip(SHELL.as_bytes()).len();
    for asset in assets::ASSETS {
        let weight = asset.gzipped.len();
        let most = match asset.name {
            "app/main.js" => 44_000,
            "app/style.css" | "app/preact.js" => 5_600,
            "app/icon.svg" => 300,
            text if text.starts_with("app/text-") => {
                languages.push(weight);
                7_000
            }
            other => panic!("{other} is a request more: is it worth it?"),
        };
        assert!(weight <= most, "{}: {weight} bytes gzipped, {most} at most", asset.name);
        if !asset.name.starts_with("app/text-") {
            common += weight;
        }
    }
    let heaviest = common + languages.iter().max().unwrap();
    assert!(heaviest <= VISIT_MAX, "{heaviest} bytes gzipped in the heaviest language");
    let all = common + languages.iter().sum::<usize>();
    assert!(all <= 93_000, "{all} bytes gzipped with all languages");
}

#[test]
fn what_others_made_says_whose_it_is() {
    let vendored = String::from_utf8(Asset::named("app/preact.js").unwrap().plain()).unwrap();
    let (banner, code) = vendored.split_once('\n').unwrap();
    assert!(banner.starts_with("/*! htm ") && banner.contains("Preact"), "{banner}");
    assert_eq!(code, include_str!("../app/preact.js"));
}
