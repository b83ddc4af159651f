//! Headers of a response as bytes: what most servers send by its number.
//!
//! ```text
//! 0            name: text; value: text
//! 1 to 100     the name of that place in NAMES; value: text
//! 127          `date`, as servers have to send it: signed number of seconds after the attempt's own second
//! 128 to 255   name and value, those of the place in PAIRS after 128
//! ```
//!
//! Headers follow each other, without a number of them. Numbers and texts are those of the attempt ([`super`]).

use runtime::clock::Timestamp;

use super::numbers::{Reader, length_of_number, put_signed, put_text};

const LITERAL: u8 = 0;
const DATE: u8 = 127;
const PAIRS_FROM: u8 = 128;

/// Names by their place, counted from 1. What is stored goes by it: append only, up to 100.
const NAMES: &[&str] = &[
    "content-type",
    "content-length",
    "date",
    "server",
    "connection",
    "cache-control",
    "etag",
    "vary",
    "via",
    "expires",
    "pragma",
    "last-modified",
    "location",
    "retry-after",
    "age",
    "alt-svc",
    "set-cookie",
    "transfer-encoding",
    "content-encoding",
    "keep-alive",
    "allow",
    "www-authenticate",
    "accept-ranges",
    "x-powered-by",
    "strict-transport-security",
    "content-security-policy",
    "permissions-policy",
    "referrer-policy",
    "x-content-type-options",
    "x-frame-options",
    "x-xss-protection",
    "x-dns-prefetch-control",
    "x-download-options",
    "x-permitted-cross-domain-policies",
    "cross-origin-embedder-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "origin-agent-cluster",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-allow-credentials",
    "access-control-expose-headers",
    "access-control-max-age",
    "server-timing",
    "report-to",
    "reporting-endpoints",
    "nel",
    "cf-ray",
    "cf-cache-status",
    "x-request-id",
    "x-correlation-id",
    "request-id",
    "x-runtime",
    "x-response-time",
    "x-envoy-upstream-service-time",
    "x-cloud-trace-context",
    "traceparent",
    "x-amzn-requestid",
    "x-amzn-trace-id",
    "x-amz-apigw-id",
    "x-amz-cf-id",
    "x-amz-cf-pop",
    "x-cache",
    "x-cache-hits",
    "x-served-by",
    "x-timer",
    "x-vercel-id",
    "x-vercel-cache",
    "fly-request-id",
    "rndr-id",
    "x-render-origin-server",
    "x-railway-request-id",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "x-robots-tag",
];

/// Names and values by their place. What is stored goes by it: append only, up to 128.
const PAIRS: &[(&str, &str)] = &[
    ("content-type", "application/json"),
    ("content-type", "application/json; charset=utf-8"),
    ("content-type", "application/json;charset=UTF-8"),
    ("content-type", "text/plain"),
    ("content-type", "text/plain; charset=utf-8"),
    ("content-type", "text/plain;charset=UTF-8"),
    ("content-type", "text/html"),
    ("content-type", "text/html; charset=utf-8"),
    ("content-type", "text/html; charset=UTF-8"),
    ("content-length", "0"),
    ("content-length", "2"),
    ("connection", "keep-alive"),
    ("connection", "close"),
    ("transfer-encoding", "chunked"),
    ("content-encoding", "gzip"),
    ("keep-alive", "timeout=5"),
    ("accept-ranges", "bytes"),
    ("server", "nginx"),
    ("server", "cloudflare"),
    ("server", "Apache"),
    ("server", "gunicorn"),
    ("server", "uvicorn"),
    ("server", "Caddy"),
    ("server", "envoy"),
    ("server", "istio-envoy"),
    ("server", "openresty"),
    ("server", "Cowboy"),
    ("server", "Heroku"),
    ("server", "Vercel"),
    ("server", "Kestrel"),
    ("server", "Google Frontend"),
    ("server", "awselb/2.0"),
    ("server", "Microsoft-IIS/10.0"),
    ("x-powered-by", "Express"),
    ("x-powered-by", "Next.js"),
    ("x-powered-by", "ASP.NET"),
    ("cache-control", "no-cache"),
    ("cache-control", "no-store"),
    ("cache-control", "private"),
    ("cache-control", "no-cache, private"),
    ("cache-control", "no-cache, no-store"),
    ("cache-control", "no-cache, no-store, must-revalidate"),
    ("cache-control", "max-age=0, private, must-revalidate"),
    ("cache-control", "public, max-age=0, must-revalidate"),
    ("cache-control", "private, no-cache, no-store, max-age=0, must-revalidate"),
    ("pragma", "no-cache"),
    ("expires", "0"),
    ("vary", "Accept-Encoding"),
    ("vary", "accept-encoding"),
    ("vary", "Accept"),
    ("vary", "Origin"),
    ("via", "1.1 google"),
    ("via", "1.1 vegur"),
    ("alt-svc", "h3=\":443\"; ma=86400"),
    ("alt-svc", "h3=\":443\"; ma=2592000,h3-29=\":443\"; ma=2592000"),
    ("cf-cache-status", "DYNAMIC"),
    ("strict-transport-security", "max-age=31536000"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
    ("strict-transport-security", "max-age=63072000"),
    ("strict-transport-security", "max-age=63072000; includeSubDomains; preload"),
    ("strict-transport-security", "max-age=15552000; includeSubDomains"),
    ("strict-transport-security", "max-age=15724800; includeSubDomains"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("x-frame-options", "SAMEORIGIN"),
    ("x-xss-protection", "0"),
    ("x-xss-protection", "1; mode=block"),
    ("referrer-policy", "no-referrer"),
    ("referrer-policy", "same-origin"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("access-control-allow-origin", "*"),
    ("access-control-allow-credentials", "true"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("origin-agent-cluster", "?1"),
    ("x-dns-prefetch-control", "off"),
    ("x-download-options", "noopen"),
    ("x-permitted-cross-domain-policies", "none"),
    ("x-cache", "Miss from cloudfront"),
];

/// How a header is written.
enum Code<'a> {
    Pair(u8),
    Date(i64),
    Name(u8, &'a str),
    Literal(&'a str, &'a str),
}

fn code<'a>(name: &'a str, value: &'a str, at: Timestamp) -> Code<'a> {
    let Some(place) = NAMES.iter().position(|known| *known == name) else {
        return Code::Literal(name, value);
    };
    if name == "date"
        && let Some(seconds) = seconds_after(at, value)
    {
        return Code::Date(seconds);
    }
    match PAIRS.iter().position(|pair| *pair == (name, value)) {
        Some(pair) => Code::Pair(PAIRS_FROM + pair as u8),
        None => Code::Name(place as u8 + 1, value),
    }
}

/// How many seconds after `at` a date is; none where that would not bring the same text back.
fn seconds_after(at: Timestamp, date: &str) -> Option<i64> {
    // As one has to be sent (RFC 9110, section 5.6.7): others are kept as they are.
    let is_fixed = date.len() == "Sun, 06 Nov 1994 08:49:37 GMT".len() && date.ends_with(" GMT");
    let there = Timestamp::parse_http_date(date, at).filter(|there| is_fixed && there.http_date() == date)?;
    Some(there.seconds().cast_signed() - at.seconds().cast_signed())
}

/// How many bytes [`put`] takes.
pub(in super::super) fn length(name: &str, value: &str, at: Timestamp) -> usize {
    let text = |text: &str| length_of_number(text.len() as u64) + text.len();
    1 + match code(name, value, at) {
        Code::Pair(_) => 0,
        Code::Date(seconds) => length_of_number((seconds << 1 ^ seconds >> 63).cast_unsigned()),
        Code::Name(_, value) => text(value),
        Code::Literal(name, value) => text(name) + text(value),
    }
}

fn put(out: &mut Vec<u8>, name: &str, value: &str, at: Timestamp) {
    match code(name, value, at) {
        Code::Pair(pair) => out.push(pair),
        Code::Date(seconds) => {
            out.push(DATE);
            put_signed(out, seconds);
        }
        Code::Name(place, value) => {
            out.push(place);
            put_text(out, value);
        }
        Code::Literal(name, value) => {
            out.push(LITERAL);
            put_text(out, name);
            put_text(out, value);
        }
    }
}

/// Headers of a response to an attempt that was made at `at`; none if there are none.
pub(in super::super) fn pack(headers: &[(String, String)], at: Timestamp) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    headers.iter().for_each(|(name, value)| put(&mut out, name, value, at));
    (!out.is_empty()).then_some(out)
}

/// The same headers; none where these bytes are none, or of a later version.
pub(in super::super) fn unpack(bytes: &[u8], at: Timestamp) -> Option<Vec<(String, String)>> {
    let (mut from, mut headers) = (Reader(bytes), Vec::new());
    while let Some(code) = from.byte() {
        let (name, value) = match code {
            LITERAL => (from.text()?, from.text()?.to_owned()),
            DATE => {
                let seconds = at.seconds().checked_add_signed(from.signed()?)?;
                ("date", Timestamp::from_ms(seconds.checked_mul(1000)?).http_date())
            }
            PAIRS_FROM.. => {
                let (name, value) = *PAIRS.get(usize::from(code - PAIRS_FROM))?;
                (name, value.to_owned())
            }
            place => (*NAMES.get(usize::from(place) - 1)?, from.text()?.to_owned()),
        };
        headers.push((name.to_owned(), value));
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Sunday, 6 November 1994, 8:49:36 and a half.
    const AT: Timestamp = Timestamp::from_ms(784_111_776_500);

    #[test]
    fn what_most_servers_say_is_a_byte_or_two() {
        let headers = owned(&[
            ("content-type", "application/json; charset=utf-8"),
            ("content-length", "17"),
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("x-own", "7"),
        ]);
        let packed = pack(&headers, AT).unwrap();
        // What is stored is read for as long as attempts are kept: these bytes stay as they are.
        assert_eq!(packed, b"\x81\x02\x0217\x7f\x02\x00\x05x-own\x017");
        assert_eq!(unpack(&packed, AT).unwrap(), headers);
        assert_eq!(pack(&[], AT), None);
    }

    #[test]
    fn each_header_comes_back_as_it_was() {
        let long = "v".repeat(300);
        let others = [
            ("date", "Sun, 06 Nov 1994 08:49:37 UTC"),
            ("date", "Mon, 06 Nov 1994 08:49:37 GMT"),
            ("date", "Sun,  6 Nov 1994 08:49:37 GMT"),
            ("date", "Sunday, 06-Nov-94 08:49:37 GMT"),
            ("date", "Sun, 06 Nov 1994 08:49:60 GMT"),
            ("date", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("date", "Fri, 31 Dec 9999 23:59:59 GMT"),
            ("date", ""),
            ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("expires", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("content-length", ""),
            ("server", &long),
            ("", ""),
            (&long, "x: y"),
        ];
        for (name, value) in others.into_iter().chain(PAIRS.iter().copied()) {
            let headers = owned(&[(name, value)]);
            let packed = pack(&headers, AT).unwrap();
            assert_eq!(packed.len(), length(name, value, AT), "{name}: {value}");
            assert_eq!(unpack(&packed, AT).unwrap(), headers);
        }
    }

    #[test]
    fn places_have_room_and_each_pair_a_name() {
        assert!(NAMES.len() <= 100 && PAIRS.len() <= 128);
        for (name, value) in PAIRS {
            let packed = pack(&owned(&[(name, value)]), AT).unwrap();
            assert_eq!(packed.len(), 1, "{name}: {value}");
        }
        // By their places, which must not change.
        assert_eq!((NAMES[0], NAMES[23], NAMES[79]), ("content-type", "x-powered-by", "x-robots-tag"));
        assert_eq!((PAIRS[17].1, PAIRS[63].1, PAIRS[79].1), ("nginx", "nosniff", "Miss from cloudfront"));
    }

    #[test]
    fn what_is_none_is_not_guessed() {
        for bytes in [&b"\x7e\x00"[..], b"\xff", b"\x00\x01", b"\x01\x05ab", b"\x7f"] {
            assert_eq!(unpack(bytes, AT), None, "{bytes:?}");
        }
    }
}
