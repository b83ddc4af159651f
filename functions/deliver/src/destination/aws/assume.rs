//! Credentials of the roles that endpoints name: `sts:AssumeRole` with the application's external ID, kept until
//! shortly before they expire.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use shared::aws_place::{AwsPlace, external_id};
use shared::clock::{SharedClock, Timestamp};
use shared::config::Delivery;
use shared::ids::AppId;
use shared::retry::RetryHint;
use shared::signer::AwsCredentials;
use shared::store::attempts::ResponseBody;
use tokio::sync::Mutex as AsyncMutex;

use super::call::{Call, suffix};
use super::{OwnAws, answer, form};
use crate::destination::AttemptResult;
use crate::destination::http::{Http, HttpSender};

/// How long credentials are asked for: the most that a role may have that was taken on by another one.
const SESSION: Duration = Duration::from_secs(3600);
/// How long before they expire they are not used any more.
const MARGIN: Duration = Duration::from_secs(300);
/// How long a refusal is believed: one misconfigured role may not use up the account's requests to STS.
const REFUSED: Duration = Duration::from_secs(30);
/// How long it is believed that STS cannot be reached, or is too busy.
const UNAVAILABLE: Duration = Duration::from_secs(5);
/// STS answers within a second; sending the message has to fit into the function's time as well.
const TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// Roles that one instance remembers.
const ROLES_MAX: usize = 1_000;

/// What is known of one role.
#[derive(Debug)]
enum Known {
    Credentials(AwsCredentials),
    /// Why there are none.
    Failure {
        reason: String,
        answer: String,
        status: Option<u16>,
        overloaded: bool,
    },
}

type Slot = Arc<AsyncMutex<Option<(Known, Timestamp)>>>;

/// The roles that were taken on. Clones share them.
#[derive(Clone, Debug)]
pub struct Roles {
    http: Http,
    clock: SharedClock,
    aws: Arc<OwnAws>,
    slots: Arc<Mutex<HashMap<(String, AppId), Slot>>>,
}

impl Roles {
    /// Asks STS by `transport`.
    pub fn new(
        transport: Arc<dyn HttpSender>,
        clock: SharedClock,
        settings: &Delivery,
        aws: Arc<OwnAws>,
    ) -> Self {
        let settings = Delivery { timeout: settings.timeout.min(TIMEOUT_MAX), ..settings.clone() };
        Self { http: Http::new(transport, clock.clone(), &settings), clock, aws, slots: Arc::default() }
    }

    /// Credentials of the role that may send to `place` for `app`; or how the attempt ends without.
    pub async fn credentials(&self, place: &AwsPlace, app: AppId) -> Result<AwsCredentials, AttemptResult> {
        let slot = self.slot(place, app);
        // Whoever comes meanwhile waits for the one question.
        let mut kept = slot.lock().await;
        let (known, _) = match kept.take().filter(|(_, until)| *until > self.clock.now()) {
            Some(known) => kept.insert(known),
            None => kept.insert(self.ask(place, app).await),
        };
        match known {
            Known::Credentials(credentials) => Ok(credentials.clone()),
            Known::Failure { reason, answer, status, overloaded } => Err(AttemptResult {
                status: *status,
                body: ResponseBody::Text(answer.clone()),
                hint: RetryHint { overloaded: *overloaded, ..RetryHint::default() },
                ..AttemptResult::failed(reason.clone())
            }),
        }
    }

    /// Forgets credentials that were refused.
    pub fn forget(&self, place: &AwsPlace, app: AppId) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.remove(&(place.role_arn.clone(), app));
    }

    fn slot(&self, place: &AwsPlace, app: AppId) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= ROLES_MAX {
            // That so many are in use at once is rare; what is still used is asked for again.
            slots.clear();
        }
        slots.entry((place.role_arn.clone(), app)).or_default().clone()
    }

    async fn ask(&self, place: &AwsPlace, app: AppId) -> (Known, Timestamp) {
        let own = &self.aws.own;
        let external_id = external_id(app);
        let seconds = SESSION.as_secs().to_string();
        let field = |name: &str, value| (name.to_owned(), value);
        let body = form::encoded([
            field("Action", "AssumeRole"),
            field("Version", "2011-06-15"),
            field("RoleArn", place.role_arn.as_str()),
            // What the customer's audit log shows.
            field("RoleSessionName", external_id.as_str()),
            field("ExternalId", external_id.as_str()),
            field("DurationSeconds", seconds.as_str()),
        ]);
        let address = match self.aws.address("sts") {
            Some(address) => address.to_owned(),
            None => format!("https://sts.{}.{}", own.region, suffix(place.parts().partition)),
        };
        let call = Call {
            service: "sts",
            region: own.region.clone(),
            method: Method::POST,
            address,
            path: "/".into(),
            headers: vec![("content-type".into(), "application/x-www-form-urlencoded; charset=utf-8".into())],
            body: body.into_bytes(),
        };
        let (id, secret, session) = own.credentials.clone();
        let credentials = AwsCredentials::new(id, secret, session, None, "environment");
        let now = self.clock.now();
        let result = match call.signed(&credentials, now) {
            Ok(request) => self.http.exchange(request).await,
            Err(reason) => AttemptResult::failed(reason),
        };
        self.understand(place, &external_id, result)
    }

    /// What STS's answer says, and how long it is believed.
    fn understand(&self, place: &AwsPlace, external_id: &str, result: AttemptResult) -> (Known, Timestamp) {
        let now = self.clock.now();
        let text = match &result.body {
            ResponseBody::Text(text) => text.clone(),
            ResponseBody::Bytes(_) => String::new(),
        };
        if result.success
            && let Some((credentials, expiry)) = read(&text)
        {
            return (Known::Credentials(credentials), expiry.before(MARGIN));
        }
        let (role, status) = (&place.role_arn, result.status);
        let code = answer::code(&result).unwrap_or_default();
        let overloaded = result.hint.overloaded || answer::is_throttling(&code);
        let (reason, believed) = match status {
            None => {
                let error = result.error.unwrap_or_default();
                (format!("AWS STS could not be asked for the role {role}: {error}"), UNAVAILABLE)
            }
            Some(_) if overloaded => {
                ("AWS STS is too busy: the attempt is repeated later".to_owned(), UNAVAILABLE)
            }
            Some(403) if code == "AccessDenied" => (
                format!(
                    "the role {role} does not let Postrider take it on: its trust policy has to allow sts:AssumeRole to Postrider's deliver role, with sts:ExternalId {external_id} (docs/DESTINATIONS.md)"
                ),
                REFUSED,
            ),
            Some(status) if status >= 500 => {
                (format!("AWS STS answered {status} when it was asked for the role {role}"), UNAVAILABLE)
            }
            Some(status) => {
                let words = answer::message(&result).unwrap_or_default();
                (
                    format!(
                        "AWS STS answered {status} {code} when it was asked for the role {role}: {words}"
                    ),
                    REFUSED,
                )
            }
        };
        // What STS says of a success is secret, even if it could not be read.
        let answer = if result.success { String::new() } else { text };
        (Known::Failure { reason, answer, status, overloaded }, now.after(believed))
    }
}

/// The credentials in an answer, and when they expire.
fn read(xml: &str) -> Option<(AwsCredentials, Timestamp)> {
    let text = |name| form::element(xml, name);
    let expiry = Timestamp::parse(&text("Expiration")?)?;
    let (id, secret, token) = (text("AccessKeyId")?, text("SecretAccessKey")?, text("SessionToken")?);
    Some((AwsCredentials::new(id, secret, Some(token), None, "role"), expiry))
}
