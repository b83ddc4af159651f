//! Mails that warn of an endpoint that fails, by SES's `SendEmail` (version 2 of its API), one signed request each.

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
        let mail = mail(&profile.settings.name, endpoint, warning, notice, self.portal.as_deref());
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
            (false, Some(status), _) => Err(format!("SES answered {status}: {body:?}")),
            (false, None, error) => Err(error.unwrap_or_default()),
        }
    }
}

/// What a warning says. The reason's host names the endpoint; its URL can hold secrets.
fn mail(name: &str, endpoint: &Endpoint, warning: Warning<'_>, notice: Notice, portal: Option<&str>) -> Mail {
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
            "Webhooks to an endpoint are failing: none has arrived since the time below.",
        ),
        Notice::DisabledSoon => (
            format!("Webhooks will stop within a day: {}", one_line(reason)),
            "Webhooks to an endpoint are still failing. It will be disabled within a day.",
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
         Messages are kept for 90 days. Once the endpoint works again, recover those that it missed.\n",
        one_line(name),
    );
    if let Some(portal) = portal {
        text.push_str(&format!("\nPortal: {portal}\n"));
    }
    Mail { subject: subject.chars().take(150).collect(), text }
}
