//! `postrider token`: tokens for an installation, here or elsewhere.

use std::io::Read;

use clap::Args;
use shared::Platform;
use shared::config::ConfigError;

use crate::error::StartError;
use crate::secrets;
use crate::token::{SECRET, Wanted};

use super::dev::folder;
use super::set;

/// What Secrets Manager keeps at most in one secret.
const SECRET_LENGTH_MAX: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct TokenFlags {
    #[command(flatten)]
    pub(super) wanted: Wanted,
    /// Read the secret from standard input, as an installation's secret store has it.
    #[arg(long)]
    secret_stdin: bool,
    /// How the installation's tokens are signed: HS256, HS384, HS512, RS256, RS384, RS512 or EdDSA
    /// [default: HS256].
    #[arg(long, env = "POSTRIDER_JWT_ALGORITHM", value_name = "NAME")]
    jwt_algorithm: Option<String>,
    /// The local runner's data folder, whose secret signs the token [default: ./.postrider].
    #[arg(long, env = "POSTRIDER_DATA", value_name = "FOLDER")]
    data: Option<String>,
    /// The runner keeps no secret, so that --jwt-secret has to be given [default: false].
    #[arg(
        long,
        env = "POSTRIDER_EPHEMERAL",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    ephemeral: Option<String>,
    /// The secret that signs the token [default: the one in the data folder].
    #[arg(long, env = "POSTRIDER_JWT_SECRET", hide_env_values = true, value_name = "TEXT")]
    jwt_secret: Option<String>,
}

/// A token as `flags` want it, signed with what comes in, with the secret that is given, or with the one
/// that the data folder holds.
pub(super) fn token(
    flags: &TokenFlags,
    platform: Platform,
    input: &mut dyn Read,
) -> Result<String, StartError> {
    // What is wrong with the token is said before a secret is looked for.
    flags.wanted.checked()?;
    let piped = if flags.secret_stdin { Some(read_secret(input)?) } else { None };
    let folder = folder(&flags.data, &flags.ephemeral)?;
    let secret = match (piped.as_deref().or(set(&flags.jwt_secret)), folder) {
        (Some(secret), _) => Some(secret.to_owned()),
        (None, Some(folder)) => secrets::existing(&folder)?.remove(SECRET),
        (None, None) => {
            let problem = "an ephemeral runner generates a new secret at every start: use the token that it \
                           printed, or give both the same --jwt-secret";
            return Err(ConfigError::new("POSTRIDER_EPHEMERAL", problem).into());
        }
    };
    flags.wanted.signed(secret, flags.jwt_algorithm.clone(), platform)
}

/// A secret as it comes in: without the line's end that most programs write behind it.
fn read_secret(input: &mut dyn Read) -> Result<String, ConfigError> {
    let wrong = |problem: String| ConfigError::new("--secret-stdin", problem);
    let mut text = String::new();
    let read = input.take(SECRET_LENGTH_MAX).read_to_string(&mut text);
    read.map_err(|error| wrong(format!("the secret cannot be read: {error}")))?;
    match text.trim() {
        "" => Err(wrong("nothing came in; pipe the secret into this command".into())),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use shared::auth::{DEFAULT_ORG, Tokens};
    use shared::config::Env;
    use shared::signing::SigningKey;

    use super::super::Task;
    use super::super::tests::{APP, LONG, piped, task};
    use super::*;
    use crate::settings;

    /// The claims of the token that a command prints, which these verify.
    fn claims(line: &[&str], secret: &str, algorithm: &str) -> serde_json::Value {
        let Ok(Task::Print(token)) = piped(line, secret) else { panic!("{:?}", piped(line, secret)) };
        let env = Env::new(|name| match name {
            "POSTRIDER_JWT_SECRET" => Some(secret.to_owned()),
            "POSTRIDER_JWT_ALGORITHM" => Some(algorithm.to_owned()),
            _ => None,
        });
        Tokens::read(&env, Platform::system().clock).unwrap().verify(&token).unwrap();
        let payload = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    }

    #[test]
    fn tokens_are_made_for_another_installation_by_its_secret() {
        let both = format!("[\"{LONG}\",\"an older one, of as many characters\"]\n");
        let line =
            ["token", "--secret-stdin", "--org", "org_23rb8YdGqMT0qIzpgGwdXfHirMv", "--expires", "90d"];
        let made = claims(&line, &both, "HS256");
        let lasts = made["exp"].as_u64().unwrap() - made["iat"].as_u64().unwrap();
        assert_eq!((&made["sub"], lasts), (&"org_23rb8YdGqMT0qIzpgGwdXfHirMv".into(), 90 * 86_400));
        let line = ["token", "--secret-stdin", "--app", APP, "--feature-flag", "a", "--feature-flag", "b"];
        let made = claims(&line, LONG, "HS256");
        assert_eq!((&made["sub"], &made["org"]), (&APP.into(), &DEFAULT_ORG.into()));
        assert_eq!(made["feature_flags"], serde_json::json!(["a", "b"]));
        let line = ["token", "--secret-stdin", "--jwt-algorithm", "HS512", "--expires", "30m"];
        let made = claims(&line, LONG, "HS512");
        assert_eq!(made["exp"].as_u64().unwrap() - made["iat"].as_u64().unwrap(), 1_800);
    }

    #[test]
    fn key_pairs_sign_too() {
        // As `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write them.
        let seed = [7; 32];
        let key = SigningKey::Ed25519(seed).verifying_text().unwrap();
        let key = STANDARD.decode(key.strip_prefix("whpk_").unwrap()).unwrap();
        let pem = |kind: &str, head: &str, key: &[u8]| {
            let der = [STANDARD.decode(head).unwrap(), key.to_vec()].concat();
            format!("-----BEGIN {kind} KEY-----\n{}\n-----END {kind} KEY-----\n", STANDARD.encode(der))
        };
        let public = pem("PUBLIC", "MCowBQYDK2VwAyEA", &key);
        let pair = public.clone() + &pem("PRIVATE", "MC4CAQAwBQYDK2VwBCIEIA==", &seed);
        let line = ["token", "--secret-stdin", "--jwt-algorithm", "EdDSA", "--expires", "1h"];
        assert_eq!(claims(&line, &pair, "EdDSA")["sub"], DEFAULT_ORG);
        let refused = piped(&line, &public).unwrap_err();
        assert!(refused.contains("only verifies tokens"), "{refused}");
    }

    #[test]
    fn tokens_are_signed_with_the_kept_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let app = DEFAULT_ORG.replace("org_", "app_");
        let line = ["token", "--data", path, "--app", &app];
        // A folder that no runner has used: a token that is signed with a new secret is of no use.
        let refused = task(&line).unwrap_err();
        assert!(refused.starts_with("--data: ") && refused.contains("has no secret"), "{refused}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

        let platform = Platform::system();
        let kept = secrets::kept(folder.path(), &*platform.random).unwrap();
        let Ok(Task::Print(token)) = task(&line) else { panic!() };
        let tokens = Tokens::read(&settings::env(&kept), platform.clock).unwrap();
        let caller = tokens.verify(&token).unwrap();
        assert_eq!((caller.subject(), caller.org().to_string()), (app, DEFAULT_ORG.to_owned()));
    }
}
