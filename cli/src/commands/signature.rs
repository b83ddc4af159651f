//! `sign` and `verify`: offline, with the code that signs deliveries.

use clap::Args;
use domain::signing::{SigningKey, VerifyingKey, signatures};
use runtime::clock::{Clock as _, SystemClock};

use super::read_text;
use crate::connection::Env;
use crate::error::{CliError, Result};
use crate::output::{Colour, Output};

/// How far a timestamp may be from now, in seconds (Standard Webhooks).
const TOLERANCE: u64 = 300;

#[derive(Debug, Args)]
struct What {
    /// The endpoint's secret, whsec_… or whsk_…; to verify also its public key, whpk_… [env: POSTRIDER_SECRET].
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
    fn secret(&self, env: Env<'_>) -> Result<String> {
        let secret = self.secret.clone().or_else(|| env("POSTRIDER_SECRET"));
        let secret = secret.ok_or_else(|| {
            CliError::usage("--secret: give the endpoint's secret, whsec_…, or set POSTRIDER_SECRET")
        })?;
        Ok(secret.trim().to_owned())
    }

    fn signing_key(&self, env: Env<'_>) -> Result<SigningKey> {
        let secret = self.secret(env)?;
        if secret.starts_with("whpk_") {
            return Err(CliError::usage(
                "--secret: a public key (whpk_…) verifies and cannot sign; give whsk_…",
            ));
        }
        SigningKey::parse(&secret).ok_or_else(|| {
            CliError::usage("--secret: not a secret; expected whsec_ and base64 of 24 to 75 bytes, or whsk_…")
        })
    }

    fn verifying_key(&self, env: Env<'_>) -> Result<VerifyingKey> {
        VerifyingKey::parse(&self.secret(env)?).ok_or_else(|| {
            CliError::usage(
                "--secret: not a key; expected whsec_ and base64 of 24 to 75 bytes, whpk_… or whsk_…",
            )
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
    let key = flags.what.signing_key(env)?;
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
    let key = flags.what.verifying_key(env)?;
    let body = read_text("FILE", &flags.what.file)?;
    if !key.verifies(&flags.signature, &flags.what.id, flags.timestamp, body.as_bytes()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn what_is_signed_verifies_and_what_was_changed_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("body");
        std::fs::write(&file, r#"{"test": 2432232314}"#).unwrap();
        let what = |secret: &str| What {
            secret: Some(secret.into()),
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".into(),
            file: file.to_str().unwrap().into(),
        };
        let verified_with = |secret: &str, signature: &str, any_age| {
            let flags =
                Verify { what: what(secret), timestamp: 1_614_265_330, signature: signature.into(), any_age };
            verify(&flags, &|_| None, &Output::standard(&|_| None))
        };
        let verified = |signature: &str, any_age| verified_with(SECRET, signature, any_age);
        // The specification's own example.
        let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(verified(good, true), Ok(()));
        assert_eq!(verified(&format!("v1,AAAA v2,x {good}"), true), Ok(()));
        assert!(verified(good, false).unwrap_err().to_string().contains("timestamp"));
        assert!(matches!(verified("v1,AAAA", true), Err(CliError::Refused(_))));
        assert!(matches!(verified("", true), Err(CliError::Refused(_))));
        // A receiver of an ed25519 endpoint has the public key.
        let seed = format!("whsk_{}=", "A".repeat(43));
        let pair = SigningKey::parse(&seed).unwrap();
        let body = std::fs::read_to_string(&file).unwrap();
        let signature = header(&pair, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, &body).unwrap();
        let public = pair.verifying_text().unwrap();
        assert!(public.starts_with("whpk_"));
        assert_eq!(verified_with(&public, &signature, true), Ok(()));
        assert_eq!(verified_with(&seed, &signature, true), Ok(()));
        assert!(matches!(verified_with(&public, good, true), Err(CliError::Refused(_))));
        assert!(matches!(verified_with("whpk_AAAA", &signature, true), Err(CliError::Usage(_))));
        assert!(matches!(what(&public).signing_key(&|_| None), Err(CliError::Usage(_))));
    }
}
