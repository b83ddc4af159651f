//! `sign` and `verify`: offline, with the code that signs deliveries.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use domain::signing::{SigningKey, signatures};
use runtime::clock::{Clock as _, SystemClock};

use super::read_text;
use crate::connection::Env;
use crate::error::{CliError, Result};
use crate::output::{Colour, Output};

/// How far a timestamp may be from now, in seconds (Standard Webhooks).
const TOLERANCE: u64 = 300;

#[derive(Debug, Args)]
struct What {
    /// The endpoint's secret, whsec_… or whsk_… [env: POSTRIDER_SECRET].
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// The message's id, as in the header webhook-id.
    #[arg(long, value_name = "ID", default_value = "msg_example")]
    id: String,
    /// The file with the raw body; - is standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    file: String,
}

impl What {
    fn key(&self, env: Env<'_>) -> Result<SigningKey> {
        let secret = self.secret.clone().or_else(|| env("POSTRIDER_SECRET"));
        let secret =
            secret.ok_or_else(|| CliError::usage("--secret: give the endpoint's secret, whsec_…"))?;
        SigningKey::parse(secret.trim()).ok_or_else(|| {
            CliError::usage("--secret: not a secret; expected whsec_ and base64 of 24 to 75 bytes, or whsk_…")
        })
    }
}

/// `postrider sign`
#[derive(Debug, Args)]
pub struct Sign {
    #[command(flatten)]
    what: What,
    /// Unix seconds of the attempt [default: now].
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<u64>,
}

/// `postrider verify`
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    what: What,
    /// The header webhook-timestamp.
    #[arg(long, value_name = "SECONDS")]
    timestamp: u64,
    /// The header webhook-signature.
    #[arg(long, value_name = "SIGNATURE")]
    signature: String,
    /// Do not look at how old the timestamp is.
    #[arg(long)]
    any_age: bool,
}

/// Prints the three headers of a delivery.
pub(crate) fn sign(flags: &Sign, env: Env<'_>, out: &Output) -> Result<()> {
    let key = flags.what.key(env)?;
    let body = read_text("FILE", &flags.what.file)?;
    let timestamp = flags.timestamp.unwrap_or_else(|| SystemClock.now().seconds());
    let signature = header(&key, &flags.what.id, timestamp, &body)?;
    out.line(&format!("webhook-id: {}", flags.what.id))?;
    out.line(&format!("webhook-timestamp: {timestamp}"))?;
    out.line(&format!("webhook-signature: {signature}"))
}

fn header(key: &SigningKey, id: &str, timestamp: u64, body: &str) -> Result<String> {
    signatures([key], id, timestamp, body.as_bytes())
        .map_err(|_| CliError::usage("--secret: the private key is not a seed of ed25519"))
}

/// Says whether a signature matches, and why not.
pub(crate) fn verify(flags: &Verify, env: Env<'_>, out: &Output) -> Result<()> {
    let key = flags.what.key(env)?;
    let body = read_text("FILE", &flags.what.file)?;
    let expected = header(&key, &flags.what.id, flags.timestamp, &body)?;
    let (version, expected) = expected.split_once(',').unwrap_or_default();
    let expected = BASE64.decode(expected).unwrap_or_default();
    let given = flags.signature.split(' ').filter_map(|one| one.split_once(','));
    let matches = given
        .filter(|(name, _)| *name == version)
        .any(|(_, given)| BASE64.decode(given).is_ok_and(|given| ring_equal(&given, &expected)));
    if !matches {
        return Err(CliError::Refused(format!(
            "the signature does not match: check secret, id, timestamp and that the body is the raw one ({} bytes)",
            body.len()
        )));
    }
    let age = SystemClock.now().seconds().abs_diff(flags.timestamp);
    if age > TOLERANCE && !flags.any_age {
        return Err(CliError::Refused(format!(
            "the signature matches, but its timestamp is {age} s from now; receivers allow {TOLERANCE} s"
        )));
    }
    out.line(&out.paint(Colour::Green, "The signature matches."))
}

/// Compares without telling by its time where the difference is.
fn ring_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn what_is_signed_verifies_and_what_was_changed_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("body");
        std::fs::write(&file, r#"{"test": 2432232314}"#).unwrap();
        let what = || What {
            secret: Some(SECRET.into()),
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".into(),
            file: file.to_str().unwrap().into(),
        };
        let verified = |signature: &str, any_age| {
            let flags =
                Verify { what: what(), timestamp: 1_614_265_330, signature: signature.into(), any_age };
            verify(&flags, &|_| None, &Output::standard(&|_| None))
        };
        // The specification's own example.
        let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(verified(good, true), Ok(()));
        assert_eq!(verified(&format!("v1,AAAA v2,x {good}"), true), Ok(()));
        assert!(verified(good, false).unwrap_err().to_string().contains("timestamp"));
        assert!(matches!(verified("v1,AAAA", true), Err(CliError::Refused(_))));
        assert!(matches!(verified("", true), Err(CliError::Refused(_))));
    }
}
