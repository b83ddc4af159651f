//! `open`: a portal link.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use serde_json::{Value, json};

use super::id;
use crate::Connection;
use crate::client::{Api, encoded};
use crate::connection::{Env, application, subject};
use crate::error::{CliError, Result};
use crate::output::{Output, plain, text};

/// `postrider open`
#[derive(Debug, Args)]
pub struct Open {
    #[command(flatten)]
    connection: Connection,
    /// The application's id or uid; without one, an organisation's token opens the operator's screens.
    #[arg(long, value_name = "APP", value_parser = id)]
    app: Option<String>,
    /// A capability of the link, such as ManageEndpoint; several may be given [default: all].
    #[arg(long, value_name = "NAME")]
    capability: Vec<String>,
    /// The link may only read.
    #[arg(long, conflicts_with = "capability")]
    read_only: bool,
    /// Seconds until the link expires, 3600 to 604800.
    #[arg(long, value_name = "SECONDS")]
    expiry: Option<u32>,
    /// Print the link instead of opening it.
    #[arg(long)]
    print: bool,
}

/// The link that this token opens by itself.
pub(crate) fn own_link(api: &Api) -> String {
    let own = subject(api.token()).unwrap_or_default();
    let key = json!({
        "appId": own.starts_with("app_").then_some(&own),
        "token": api.token(),
        "region": "self",
        "serverUrl": api.url(),
    });
    format!("{}/login#key={}", api.url(), BASE64.encode(key.to_string()))
}

/// Makes the link.
async fn link(flags: &Open, api: &Api) -> Result<String> {
    let own = subject(api.token()).unwrap_or_default();
    let restricted = flags.read_only || !flags.capability.is_empty() || flags.expiry.is_some();
    if own.starts_with("app_") {
        if restricted {
            return Err(CliError::usage(
                "an application's token makes no new links; use an organisation's token",
            ));
        }
        return Ok(own_link(api));
    }
    if flags.app.is_none() && !restricted {
        return Ok(own_link(api));
    }
    let app = application(api, flags.app.as_deref()).await?;
    let mut body = json!({});
    if flags.read_only {
        body["capabilities"] = json!(["ViewBase"]);
    } else if !flags.capability.is_empty() {
        body["capabilities"] = json!(flags.capability);
    }
    if let Some(expiry) = flags.expiry {
        body["expiry"] = json!(expiry);
    }
    let access: Value = api.post(&format!("/auth/app-portal-access/{}", encoded(&app)), &body).await?;
    Ok(plain(&text(&access, "url")))
}

/// Hands a link to the desktop's browser.
pub(crate) fn browse(link: &str) -> bool {
    let (program, arguments): (&str, &[&str]) = if cfg!(target_os = "macos") {
        ("open", &[])
    } else if cfg!(windows) {
        ("rundll32", &["url.dll,FileProtocolHandler"])
    } else {
        ("xdg-open", &[])
    };
    let null = std::process::Stdio::null;
    let started = std::process::Command::new(program)
        .args(arguments)
        .arg(link)
        .stdin(null())
        .stdout(null())
        .stderr(null())
        .spawn();
    started.is_ok()
}

/// Opens the link, or prints it where there is no browser.
pub(crate) async fn open(flags: Open, env: Env<'_>, out: &Output) -> Result<()> {
    let api = flags.connection.api(env)?;
    let link = link(&flags, &api).await?;
    if flags.print || !out.is_terminal() {
        return out.line(&link);
    }
    if browse(&link) { out.line("Opened the portal in your browser.") } else { out.line(&link) }
}
