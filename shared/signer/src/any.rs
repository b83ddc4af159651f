//! Signature Version 4 for requests of any method and path, to any service, with any credentials: what the deliver
//! function sends to customers' places in AWS. It has no SDK for those services, and needs one operation of each.

use aws_credential_types::Credentials;
use ring::{digest, hmac};
use runtime::clock::Timestamp;
use runtime::hex;

use super::Key;

/// What is signed of a request.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'a> {
    /// Such as `PUT`.
    pub method: &'a str,
    /// With the port, where the URL has one that its scheme does not imply.
    pub host: &'a str,
    /// As the request line has it: escaped once, beginning with a slash. There is no query.
    pub path: &'a str,
    /// The headers to sign besides the host: lower-case names, plain values, no name twice.
    pub headers: &'a [(&'a str, String)],
    /// The body.
    pub body: &'a [u8],
    /// Such as `sqs`.
    pub service: &'a str,
    /// Such as `eu-central-1`.
    pub region: &'a str,
}

/// The headers that sign a request: to be added to it as they are. None if `now` is beyond all calendars.
pub fn sign(
    request: Unsigned<'_>,
    credentials: &Credentials,
    now: Timestamp,
) -> Option<Vec<(&'static str, String)>> {
    let Unsigned { method, host, path, headers, body, service, region } = request;
    let seconds = now.seconds();
    let key = Key::derive(credentials, seconds / super::SECONDS_OF_A_DAY, region, service)?;
    let at = key.at(seconds % super::SECONDS_OF_A_DAY);
    let hash = hex(digest::digest(&digest::SHA256, body).as_ref());
    let mut added = vec![("x-amz-date", at.clone())];
    if service == "s3" {
        // The one service that wants it as a header.
        added.push(("x-amz-content-sha256", hash.clone()));
    }
    if let Some(token) = credentials.session_token() {
        added.push(("x-amz-security-token", token.to_owned()));
    }
    let mut all: Vec<(&str, &str)> = vec![("host", host)];
    all.extend(headers.iter().map(|(name, value)| (*name, value.trim())));
    all.extend(added.iter().map(|(name, value)| (*name, value.as_str())));
    all.sort_unstable();
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String =
        all.iter().map(|(name, value)| format!("{name}:{}\n", single_spaced(value))).collect();
    // All services but S3 have the path escaped once more.
    let path = if service == "s3" { path.to_owned() } else { path.replace('%', "%25") };
    let canonical = format!("{method}\n{path}\n\n{lines}\n{names}\n{hash}");
    let canonical = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{}\n{canonical}", key.scope);
    let signature = hex(hmac::sign(&key.key, text.as_bytes()).as_ref());
    let id = credentials.access_key_id();
    added.push((
        "authorization",
        format!(
            "AWS4-HMAC-SHA256 Credential={id}/{}, SignedHeaders={names}, Signature={signature}",
            key.scope
        ),
    ));
    Some(added)
}

/// A value with each row of blanks as one, as canonical requests have it.
fn single_spaced(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        if c != ' ' || !text.ends_with(' ') {
            text.push(c);
        }
    }
    text
}

/// A part of a path, escaped as AWS has it: all but letters, digits and `-_.~`; and `/`, where that stays.
pub fn escaped(text: &str, with_slashes: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || with_slashes && byte == b'/' {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use aws_sigv4::http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode,
    };
    use aws_sigv4::sign::v4;
    use aws_smithy_runtime_api::client::identity::Identity;

    use super::*;

    fn of_the_sdk(request: Unsigned<'_>, credentials: &Credentials, now: Timestamp) -> String {
        let mut settings = SigningSettings::default();
        if request.service == "s3" {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        let identity = Identity::from(credentials.clone());
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(request.region)
            .name(request.service)
            .time(UNIX_EPOCH + Duration::from_millis(now.ms()))
            .settings(settings)
            .build()
            .unwrap();
        let url = format!("https://{}{}", request.host, request.path);
        let headers = request.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let headers = headers.chain([("host", request.host)]);
        let signable =
            SignableRequest::new(request.method, url, headers, SignableBody::Bytes(request.body)).unwrap();
        let (instructions, _) = aws_sigv4::http_request::sign(signable, &params.into()).unwrap().into_parts();
        let (headers, _) = instructions.into_parts();
        headers.into_iter().find(|header| header.name() == "authorization").unwrap().value().to_owned()
    }

    #[test]
    fn signatures_are_those_of_the_sdk() {
        let arn = escaped("arn:aws:lambda:eu-central-1:123456789012:function:a:$LATEST", false);
        let invoke = format!("/2015-03-31/functions/{arn}/invocations");
        let key = format!("/{}", escaped("in/a b=(1)/msg_1.json", true));
        for (service, method, host, path) in [
            ("sqs", "POST", "sqs.eu-central-1.amazonaws.com", "/"),
            ("lambda", "POST", "lambda.eu-central-1.amazonaws.com", invoke.as_str()),
            ("s3", "PUT", "bucket.s3.eu-central-1.amazonaws.com", key.as_str()),
            ("s3", "PUT", "127.0.0.1:4566", "/bucket/x"),
        ] {
            for session in [None, Some("to/ken+=".to_owned())] {
                let headers = [
                    ("content-type", "application/json".to_owned()),
                    ("x-amz-meta-webhook-signature", "v1,a=  v1,b=".to_owned()),
                ];
                let request = Unsigned {
                    method,
                    host,
                    path,
                    headers: &headers,
                    body: "{\"é\":1}".as_bytes(),
                    service,
                    region: "eu-central-1",
                };
                let credentials = Credentials::new("AKID", "sec/ret", session, None, "test");
                let now = Timestamp::from_ms(1_795_607_999_000);
                let signed = sign(request, &credentials, now).unwrap();
                let (_, ours) = signed.iter().find(|(name, _)| *name == "authorization").unwrap();
                assert_eq!(*ours, of_the_sdk(request, &credentials, now), "{service} {path}");
            }
        }
    }
}
