//! `postrider token`: tokens for an installation, here or elsewhere.

use std::io::Read;
use std::time::Duration;

use clap::Args;
use shared::auth::{AppAccess, DEFAULT_ORG, ORG_TOKEN_LIFE, Tokens};
use shared::config::{ConfigError, Env};
use shared::ids::{AppId, NAME_LENGTH_MAX, OrgId, is_name};
use shared::{Error, Platform};

use crate::secrets;
use crate::stack::StartError;

use super::dev::folder;
use super::set;

/// What Secrets Manager keeps at most in one secret.
const SECRET_LENGTH_MAX: u64 = 64 * 1024;

/// What a token is for.
#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// The organisation that the token is for (org_…) [default: the one of the token that the runner
    /// prints at its start].
    #[arg(long, value_name = "ID")]
    org: Option<String>,
    /// An application (app_…): the token is for it alone [default: for the whole organisation].
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// How long it lasts, such as 90d, 12h or 30m [default: 28 days for an application, 10 years for an
    /// organisation].
    #[arg(long, value_name = "TIME")]
    pub(super) expires: Option<String>,
    /// A feature flag that the application has; several are repeated.
    #[arg(long, value_name = "NAME", requires = "app")]
    feature_flag: Vec<String>,
}

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

const SECRET: &str = secrets::SECRETS[0];

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

impl Wanted {
    /// Whose the token is, and how long it lasts.
    fn checked(&self) -> Result<(OrgId, Option<AppId>, Option<Duration>), ConfigError> {
        let wrong = |flag: &str, text: &str, prefix: &str| {
            let problem = format!("invalid value {text:?}: expected an ID ({prefix}_ and 27 characters)");
            ConfigError::new(flag, problem)
        };
        let org = self.org.as_deref().unwrap_or(DEFAULT_ORG).trim();
        let org: OrgId = org.parse().map_err(|_| wrong("--org", org, "org"))?;
        let app = self.app.as_deref().map(str::trim);
        let app = app.map(|app| app.parse::<AppId>().map_err(|_| wrong("--app", app, "app")));
        let life = self.expires.as_deref().map(lasting).transpose()?;
        if let Some(flag) = self.feature_flag.iter().find(|flag| !is_name(flag, NAME_LENGTH_MAX)) {
            let problem = format!("invalid value {flag:?}: expected a name such as beta");
            return Err(ConfigError::new("--feature-flag", problem));
        }
        Ok((org, app.transpose()?, life))
    }

    /// The token, signed with an installation's secret.
    pub(crate) fn signed(
        &self,
        secret: Option<String>,
        algorithm: Option<String>,
        platform: Platform,
    ) -> Result<String, StartError> {
        let (org, app, life) = self.checked()?;
        let env = Env::new(|name| match name {
            SECRET => secret.clone(),
            "POSTRIDER_JWT_ALGORITHM" => algorithm.clone(),
            _ => None,
        });
        let tokens = Tokens::read(&env, platform.clock)?;
        let tokens = match life {
            Some(life) => tokens.lasting(life),
            None => tokens,
        };
        let made = match app {
            Some(app) => {
                let feature_flags = self.feature_flag.clone();
                tokens.for_app(org, app, AppAccess { feature_flags, ..AppAccess::default() })
            }
            None => tokens.for_org(org),
        };
        made.map_err(|error: Error| ConfigError::new(SECRET, error.to_string()).into())
    }
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

/// How long a token lasts, in words such as `90d`.
pub(super) fn lasting(text: &str) -> Result<Duration, ConfigError> {
    let text = text.trim();
    let unit = match text.chars().last() {
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|number| number.parse::<u64>().ok());
    let life = number.and_then(|number| number.checked_mul(unit)).map(Duration::from_secs);
    life.filter(|life| !life.is_zero() && *life <= ORG_TOKEN_LIFE).ok_or_else(|| {
        let problem = format!("invalid value {text:?}: expected a time such as 90d, 12h or 30m, up to 3650d");
        ConfigError::new("--expires", problem)
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
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
