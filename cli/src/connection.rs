//! From flags, variables and profiles to a server and a token.

use serde_json::Value;

use crate::Connection;
use crate::client::{Api, Http, TOKEN, checked_token, encoded};
use crate::error::{CliError, Result};
use crate::profile;

/// Where the local runner listens.
const SERVER_URL: &str = "http://127.0.0.1:8071";

/// Reads one variable.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

fn first(env: Env<'_>, names: [&str; 2]) -> Option<String> {
    names
        .iter()
        .find_map(|name| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()))
}

/// Refuses what is no URL to send requests to, and says what was meant.
///
/// # Errors
/// Wrong use, with the flag's name.
pub(crate) fn web_url(flag: &str, url: &str, scheme: &str) -> Result<()> {
    let wrong = |problem: String| Err(CliError::usage(format!("{flag}: {problem}")));
    if url.trim().is_empty() {
        return wrong(format!("the URL is empty; expected one such as {scheme}://example.com"));
    }
    match url.split_once("://") {
        Some(("http" | "https", _)) => match url::Url::parse(url) {
            Ok(_) => Ok(()),
            Err(error) => wrong(format!("{url:?} is not a URL: {error}")),
        },
        Some((other, _)) => wrong(format!("{other}:// is not supported; expected http:// or https://")),
        None => wrong(format!("{url:?} has no scheme; did you mean {scheme}://{url}?")),
    }
}

impl Connection {
    /// The server's URL and the token: flags before variables before the profile.
    pub(crate) fn resolve(&self, env: Env<'_>) -> Result<(String, Option<String>)> {
        let named = self.profile.clone().or_else(|| env("POSTRIDER_PROFILE"));
        let saved = profile::read(env, named.as_deref())?;
        let url = self.server_url.clone().or_else(|| first(env, ["POSTRIDER_SERVER_URL", "SVIX_SERVER_URL"]));
        let url = url.or_else(|| saved.as_ref().map(|saved| saved.server_url.clone()));
        let url = url.unwrap_or_else(|| SERVER_URL.to_owned());
        web_url("--server-url", &url, "http")?;
        let token = self.token.clone().or_else(|| first(env, [TOKEN, "SVIX_AUTH_TOKEN"]));
        let token = token.or_else(|| saved.map(|saved| saved.token)).filter(|token| !token.is_empty());
        token.as_deref().map_or(Ok(()), |token| checked_token("--token", token))?;
        Ok((url, token))
    }

    /// The API, with a token.
    pub(crate) fn api(&self, env: Env<'_>) -> Result<Api> {
        let (url, token) = self.resolve(env)?;
        let Some(token) = token else {
            return Err(CliError::usage(
                "no token: set POSTRIDER_TOKEN, give --token, or save one with `postrider profile save` \
                 (a local runner prints one when it starts)",
            ));
        };
        Ok(Api::new(Http::new()?, &url, &token))
    }
}

/// The application that is meant: the one that was named, the token's own, or the only one there is.
pub(crate) async fn application(api: &Api, named: Option<&str>) -> Result<String> {
    if let Some(named) = named {
        let app = api.get(&format!("/app/{}", encoded(named))).await?;
        return app["id"].as_str().map(str::to_owned).ok_or_else(|| api.stranger());
    }
    if let Some(own) = subject(api.token()).filter(|subject| subject.starts_with("app_")) {
        return Ok(own);
    }
    let page = api.get("/app?limit=2").await?;
    let Some(apps) = page["data"].as_array() else { return Err(api.stranger()) };
    match &apps[..] {
        [only] => Ok(only["id"].as_str().unwrap_or_default().to_owned()),
        [] => {
            Err(CliError::usage("there is no application yet: create one with `postrider app create NAME`"))
        }
        _ => Err(CliError::usage("--app: there are several applications; name one by its id or uid")),
    }
}

/// Whom a token is for. It is not verified here: the server does that.
pub(crate) fn subject(token: &str) -> Option<String> {
    use base64::Engine as _;
    let claims = token.split('.').nth(1)?;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).ok()?;
    serde_json::from_slice::<Value>(&claims).ok()?["sub"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_before_variables_before_the_default() {
        let env = |name: &str| match name {
            "SVIX_SERVER_URL" => Some("https://a.example".to_owned()),
            "POSTRIDER_TOKEN" => Some(" t ".to_owned()),
            "POSTRIDER_CONFIG" => Some("/nonexistent".to_owned()),
            _ => None,
        };
        let nothing = Connection::default();
        assert_eq!(nothing.resolve(&env).unwrap(), ("https://a.example".to_owned(), Some("t".to_owned())));
        let given = Connection { server_url: Some("http://b".to_owned()), ..Connection::default() };
        assert_eq!(given.resolve(&env).unwrap().0, "http://b");
        let none = |name: &str| (name == "POSTRIDER_CONFIG").then(|| "/nonexistent".to_owned());
        assert_eq!(nothing.resolve(&none).unwrap(), (SERVER_URL.to_owned(), None));
        let wrong = Connection { server_url: Some("127.0.0.1:1".to_owned()), ..Connection::default() };
        assert!(wrong.resolve(&none).unwrap_err().to_string().contains("did you mean http://127.0.0.1:1?"));
        assert!(nothing.api(&none).is_err());
        let broken = Connection { token: Some("a\nb".to_owned()), ..Connection::default() };
        assert!(broken.resolve(&none).unwrap_err().to_string().contains("line break"));
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_with_the_reason() {
        let refused = |url: &str| web_url("--from", url, "https").unwrap_err().to_string();
        assert_eq!(refused(""), "--from: the URL is empty; expected one such as https://example.com");
        assert_eq!(refused("ftp://h/"), "--from: ftp:// is not supported; expected http:// or https://");
        assert_eq!(refused("a.b"), "--from: \"a.b\" has no scheme; did you mean https://a.b?");
        assert!(refused("http://").starts_with("--from: \"http://\" is not a URL: "));
        assert_eq!(web_url("--from", "http://localhost:1/x", "https"), Ok(()));
    }

    #[test]
    fn a_tokens_subject_is_read_and_not_verified() {
        // {"sub":"app_x"}
        assert_eq!(subject("e30.eyJzdWIiOiJhcHBfeCJ9.sig").as_deref(), Some("app_x"));
        assert_eq!(subject("nonsense"), None);
    }
}
