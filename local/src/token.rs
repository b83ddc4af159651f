//! What a token is for that the command line makes, and the token.

use std::time::Duration;

use clap::Args;
use shared::auth::{AppAccess, DEFAULT_ORG, ORG_TOKEN_LIFE, Tokens};
use shared::config::{ConfigError, Env};
use shared::ids::{AppId, NAME_LENGTH_MAX, OrgId, is_name};
use shared::{Error, Platform};

use crate::error::StartError;
use crate::secrets;

/// The variable of the secret that signs.
pub(crate) const SECRET: &str = secrets::SECRETS[0];

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
    pub(crate) expires: Option<String>,
    /// A feature flag that the application has; several are repeated.
    #[arg(long, value_name = "NAME", requires = "app")]
    feature_flag: Vec<String>,
}

impl Wanted {
    /// Whose the token is, and how long it lasts.
    pub(crate) fn checked(&self) -> Result<(OrgId, Option<AppId>, Option<Duration>), ConfigError> {
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

/// How long a token lasts, in words such as `90d`.
pub(crate) fn lasting(text: &str) -> Result<Duration, ConfigError> {
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
