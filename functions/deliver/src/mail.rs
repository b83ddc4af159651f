//! Mails that warn of an endpoint that fails, by SES's `SendEmail` (version 2 of its API), one signed request each.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::json;
use shared::clock::SharedClock;
use shared::config::{ConfigError, Delivery, Env};
use shared::email;
use shared::operational::Warning;
use shared::signer::AwsCredentials;
use shared::store::Store;
use shared::store::applications::Application;
use shared::store::attempts::ResponseBody;
use shared::store::endpoints::Endpoint;

use crate::destination::AttemptResult;
use crate::destination::aws::OwnAws;
use crate::destination::aws::call::Call;
use crate::destination::http::{Http, HttpSender};

/// SES answers within a second. A job that warns has posted a webhook before, and has to end in time.
const TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// Which of the two warnings of an endpoint it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It fails.
    Failing,
    /// It is disabled soon.
    DisabledSoon,
}

/// A subject and a text.
#[derive(Debug, PartialEq, Eq)]
struct Mail {
    subject: String,
    text: String,
}

/// Sends mails from one address.
#[derive(Clone, Debug)]
pub struct Mailer {
    from: String,
    /// Where the portal is.
    portal: Option<String>,
    http: Http,
    clock: SharedClock,
    aws: OwnAws,
}

impl Mailer {
    /// Reads `POSTRIDER_WARN_FROM`, without which no mail is sent, and `POSTRIDER_PORTAL_URL`.
    ///
    /// # Errors
    /// The address is none.
    pub fn read(
        env: &Env<'_>,
        transport: Arc<dyn HttpSender>,
        clock: SharedClock,
        settings: &Delivery,
        aws: OwnAws,
    ) -> Result<Option<Self>, ConfigError> {
        const FROM: &str = "POSTRIDER_WARN_FROM";
        let portal = env.optional("POSTRIDER_PORTAL_URL");
        let Some(from) = env.optional(FROM) else { return Ok(None) };
        if !email::is_address(&from) {
            return Err(ConfigError::new(FROM, "should be an email address"));
        }
        let settings = Delivery { timeout: settings.timeout.min(TIMEOUT_MAX), ..settings.clone() };
        let http = Http::new(transport, clock.clone(), &settings);
        Ok(Some(Self { from, portal, http, clock, aws }))
    }

    /// Warns whom the application's metadata names, if anybody. What goes wrong is logged and no more: the mail is
    /// sent at most once, and the delivery has nothing to do with it.
    pub async fn warn(
        &self,
        store: &Store,
        app: &Application,
        endpoint: &Endpoint,
        warning: Warning<'_>,
        notice: Notice,
    ) {
        let profile = match store.profile(app).await {
            Ok(profile) => profile,
            Err(error) => {
                let error = shared::error::Chain(&error);
                return tracing::warn!(endpoint = %endpoint.id, %error, "a warning could not be mailed");
            }
        };
        let Some(to) = profile.settings.metadata.get(email::METADATA_NAME) else { return };
        // Before addresses were checked, anything could be there.
        if !email::is_address(to) {
            return tracing::warn!(endpoint = %endpoint.id, app = %app.id, "postrider.email is no email address");
        }
        let words = Words {
            app: &profile.settings.name,
            days: store.retention().payload_days(),
            portal: self.portal.as_deref(),
        };
        let mail = mail(&words, endpoint, warning, notice);
        match self.send(to, &mail).await {
            Ok(()) => tracing::info!(endpoint = %endpoint.id, app = %app.id, "a warning was mailed"),
            Err(reason) => {
                tracing::warn!(endpoint = %endpoint.id, app = %app.id, reason, "a warning could not be mailed");
            }
        }
    }

    async fn send(&self, to: &str, mail: &Mail) -> Result<(), String> {
        let text = |text: &str| json!({ "Data": text, "Charset": "UTF-8" });
        let content = json!({ "Subject": text(&mail.subject), "Body": { "Text": text(&mail.text) } });
        let body = json!({
            "FromEmailAddress": self.from,
            "Destination": { "ToAddresses": [to] },
            "Content": { "Simple": content },
        });
        let (own, address) = (self.aws.own(), self.aws.address("ses"));
        let call = Call {
            service: "ses",
            region: own.region.clone(),
            method: Method::POST,
            address: address
                .map_or_else(|| format!("https://email.{}.amazonaws.com", own.region), str::to_owned),
            path: "/v2/email/outbound-emails".into(),
            headers: vec![("content-type".into(), "application/json".into())],
            body: body.to_string().into_bytes(),
        };
        let (id, secret, session) = own.credentials.clone();
        let credentials = AwsCredentials::new(id, secret, session, None, "environment");
        let AttemptResult { success, status, body, error, .. } =
            self.http.exchange(call.signed(&credentials, self.clock.now())?).await;
        match (success, status, error) {
            (true, ..) => Ok(()),
            (false, Some(status), _) => {
                let said = match &body {
                    ResponseBody::Text(text) => Cow::Borrowed(text.as_str()),
                    ResponseBody::Bytes(bytes) => String::from_utf8_lossy(bytes),
                };
                Err(format!("SES answered {status}: {:?}", without(&said, to)))
            }
            (false, None, error) => Err(error.unwrap_or_default()),
        }
    }
}

/// What SES says, without the address that it says it of: logs are not for customers' addresses. Of ASCII, as
/// addresses are; SES may write it in other letters, small or large.
fn without(text: &str, address: &str) -> String {
    let (lower, address) = (text.to_ascii_lowercase(), address.to_ascii_lowercase());
    let (mut rest, mut from) = (String::new(), 0);
    for (at, found) in lower.match_indices(&address) {
        rest.push_str(&text[from..at]);
        rest.push_str("(the recipient)");
        from = at + found.len();
    }
    rest + &text[from..]
}

/// What a mail says beside the warning.
struct Words<'a> {
    /// The application's name.
    app: &'a str,
    /// For how many days there is something to recover.
    days: u64,
    /// Where the portal is.
    portal: Option<&'a str>,
}

/// What a warning says. The reason's host names the endpoint; its URL can hold secrets.
fn mail(words: &Words<'_>, endpoint: &Endpoint, warning: Warning<'_>, notice: Notice) -> Mail {
    let Warning { since, disabled_from, reason } = warning;
    // A description is one line here, whatever its owner made of it.
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let what = match one_line(&endpoint.settings.description) {
        description if description.is_empty() => endpoint.id.to_string(),
        description => format!("{description} ({})", endpoint.id),
    };
    let (subject, first) = match notice {
        Notice::Failing => (
            format!("Webhooks fail: {}", one_line(reason)),
            "A message to an endpoint was given up, or has failed for a day.",
        ),
        Notice::DisabledSoon => (
            format!("Webhooks will stop within a day: {}", one_line(reason)),
            "Webhooks to an endpoint are still failing: none has arrived for four days. It will be disabled within a day.",
        ),
    };
    let back = if endpoint.settings.auto_enable {
        "It is then tried from time to time, and enabled once it answers."
    } else {
        "Nothing is sent to it from then on, until somebody enables it."
    };
    let mut text = format!(
        "{first}\n\n\
         Application: {}\n\
         Endpoint: {what}\n\
         Failing since: {since}\n\
         Last error: {reason}\n\n\
         What happens next: if nothing arrives until {disabled_from}, the endpoint is disabled. {back}\n\
         Messages are kept for {} days. Once the endpoint works again, recover those that it missed.\n",
        one_line(words.app),
        words.days,
    );
    if let Some(portal) = words.portal {
        text.push_str(&format!("\nPortal: {portal}\n"));
    }
    Mail { subject: subject.chars().take(150).collect(), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ses_says_names_no_customer() {
        let said = r#"{"message":"Not verified in US-EAST-1: Ops@Example.com, postrider@example.org, ops@example.com"}"#;
        assert_eq!(
            without(said, "ops@example.COM"),
            r#"{"message":"Not verified in US-EAST-1: (the recipient), postrider@example.org, (the recipient)"}"#
        );
        assert_eq!(without("İ ops@example.com", "ops@example.com"), "İ (the recipient)");
        assert_eq!(without("Daily quota exceeded", "ops@example.com"), "Daily quota exceeded");
    }
}
