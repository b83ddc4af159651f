//! A message as it is put into the queue.

use shared::Result;
use shared::clock::Timestamp;
use shared::idempotency::KEY_LENGTH_MAX;
use shared::ids::{AppId, NAME_LENGTH_MAX, OrgId, Reference};
use shared::input::{Fields, RequestBody as _, Text};
use shared::intake::MessageIn;

/// A message, and what a request says beside its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// The organisation whose application it is for.
    pub org: OrgId,
    /// That application.
    pub app: Reference<AppId>,
    /// The key under which it is accepted once.
    pub key: Option<String>,
    /// The message.
    pub message: MessageIn,
}

impl Queued {
    /// Reads a record's body.
    ///
    /// # Errors
    /// `Invalid` with every broken rule.
    pub fn parse(body: &str, now: Timestamp) -> Result<Self> {
        let mut fields = Fields::parse(body.as_bytes())?;
        fields.no_others(&["orgId", "appId", "idempotencyKey", "message"]);
        let org = fields.required_text(&["orgId"], Text::Length(NAME_LENGTH_MAX));
        let org = org.and_then(|text| {
            let org = text.parse().ok();
            if org.is_none() {
                fields.violation("orgId", "Must be the id of an organisation");
            }
            org
        });
        let app = fields.required_text(&["appId"], Text::Length(NAME_LENGTH_MAX));
        let app = app.and_then(|text| {
            let app = Reference::parse(&text);
            if app.is_none() {
                fields.violation("appId", "Must be the id or the uid of an application");
            }
            app
        });
        let key = fields.text(&["idempotencyKey"], Text::Length(KEY_LENGTH_MAX)).value();
        // What is no object is not looked into: the reason would repeat it.
        let is_object = fields.required_raw_object(&["message"]).is_some();
        let part = if is_object { fields.object("message") } else { None };
        let message = part.map(|mut part| {
            let message = MessageIn::read(&mut part, ());
            if let Some(app) = &app {
                message.check_application(&mut part, app, "Its uid must be appId");
            }
            // It may have waited: what is due meanwhile is delivered at once.
            message.check_delivery(&mut part, now, Timestamp::default());
            fields.absorb(part);
            message
        });
        fields.finish()?;
        match (org, app, message) {
            (Some(org), Some(app), Some(message)) => Ok(Self { org, app, key, message }),
            _ => Err(shared::Error::violation(["body"], "Is not complete")),
        }
    }
}
