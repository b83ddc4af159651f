//! What an organisation sets for all of its applications, as one document: taken out, and put into another organisation.

use std::collections::BTreeSet;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use shared::auth::Organisation;
use shared::clock::Timestamp;
use shared::http::{
    ApiResult, Body, BodyType, Fields, Idempotent, Json, NoContent, Once, Registry, RequestBody, Rule,
};
use shared::store::event_types::EventType;
use shared::store::theme::Theme;
use shared::{Api, Error};

use crate::EventTypeOut;
use crate::import::{self, CHANGES_MAX};
use crate::incoming::EventTypeIn;
use crate::theme::{self, ThemeIn, ThemeOut};

/// The only version of the document that there is.
const VERSION: u64 = 1;
/// Most bytes of all event types of an export: Lambda answers with 6 MB at most.
const EXPORT_LENGTH_MAX: usize = 5 * 1024 * 1024;
/// More than an event type has besides its schemas and its description.
const EVENT_TYPE_LENGTH: usize = 1024;

const TAG: &str = "Environment";

/// Adds the operations of this module.
pub fn operations<R: Registry<Api>>(to: R) -> R {
    const SETTINGS: &str = "/api/v1/environment/settings";
    to.get(SETTINGS, theme::read, |operation| {
        operation
            .named("v1.environment.get-settings", TAG)
            .summary("Get the organisation's portal theme")
            .returns("The values that were set.")
    })
    .put(SETTINGS, theme::replace, |operation| {
        operation
            .named("v1.environment.update-settings", TAG)
            .summary("Replace the organisation's portal theme")
            .text("What the body leaves out takes the portal's default.")
            .returns("The values that were set.")
    })
    .post("/api/v1/environment/export", export, |operation| {
        operation
            .named("v1.environment.export", TAG)
            .summary("Export event types and settings")
            .text(
                "Archived event types are among them. More than 10,000 event types, or more than 5 MiB of them, are 400 \
                 `limit_reached`: list them instead.",
            )
            .returns("The organisation's event types and settings, as an import takes them.")
    })
    .post("/api/v1/environment/import", import, |operation| {
        operation
            .named("v1.environment.import", TAG)
            .summary("Import event types and settings")
            .text(
                "Adds and updates; deletes nothing. Event types that the body does not name, and settings that it leaves out, \
                 are unchanged. After an error a part may be imported: the same request can be repeated.",
            )
            .returns("Imported.")
    })
}

/// An organisation's event types and settings.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentOut {
    /// Always 1.
    version: u64,
    /// When it was exported.
    created_at: Timestamp,
    event_types: Vec<EventTypeOut>,
    /// The portal's theme.
    settings: ThemeOut,
    /// Always empty: there are no connectors here.
    connectors: Vec<Map<String, Value>>,
}

/// What is to be imported.
pub struct EnvironmentIn {
    event_types: Vec<EventType>,
    settings: Option<Theme>,
}

impl RequestBody for EnvironmentIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "EnvironmentIn",
        &[
            ("version", "The version of the document."),
            ("createdAt", "When it was exported; nothing depends on it."),
            (
                "eventTypes",
                "Event types to create or to update. Archived ones that are not `archived` here come back.",
            ),
            ("settings", "Settings of the portal's theme to change; others are rejected."),
            ("connectors", "Must be empty: there are no connectors here."),
        ],
    )
    .with_parts(&[("eventTypes", &EventTypeIn::TYPE), ("settings", &ThemeIn::TYPE)]);

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        fields.code(&["version"], &[VERSION]);
        fields.take::<Timestamp>(&["createdAt"]);
        let connectors = fields.take::<Vec<Value>>(&["connectors"]);
        fields.rule("connectors", Rule::Entries(0, 0));
        if connectors.value().is_some_and(|connectors| !connectors.is_empty()) {
            fields.violation("connectors", "Must be empty: connectors are not supported");
        }
        let settings = fields.part("settings").value().map(|mut part| {
            let ThemeIn(theme) = ThemeIn::read(&mut part, ());
            // An organisation elsewhere has settings that would have no effect here.
            part.no_unknown();
            fields.absorb(part);
            theme
        });
        Self { event_types: event_types(fields), settings }
    }
}

fn event_types(fields: &mut Fields<'_>) -> Vec<EventType> {
    const NAME: &str = "eventTypes";
    let parts = fields.objects(NAME).value().unwrap_or_default();
    fields.rule(NAME, Rule::Entries(0, CHANGES_MAX));
    if parts.len() > CHANGES_MAX {
        fields.violation(
            NAME,
            format!("Must have at most {CHANGES_MAX} entries: import the others by another request"),
        );
        return Vec::new();
    }
    let mut found = Vec::with_capacity(parts.len());
    let mut names = BTreeSet::new();
    for (nth, mut part) in parts.into_iter().enumerate() {
        let EventTypeIn(event_type) = EventTypeIn::read(&mut part, ());
        part.ignore(&["createdAt", "updatedAt"]);
        if !part.has_violations() && !names.insert(event_type.name.clone()) {
            fields.violation_at(&[NAME, &nth.to_string(), "name"], "Must not be there twice");
        }
        fields.absorb(part);
        found.push(event_type);
    }
    found
}

async fn export(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    idempotent: Idempotent,
) -> ApiResult<Once<Json<EnvironmentOut>>> {
    let (mut event_types, mut length) = (Vec::new(), 0);
    import::each(&api, caller.org(), |found| {
        length += found.schemas.as_ref().map_or(0, String::len) + found.description.len() + EVENT_TYPE_LENGTH;
        if length > EXPORT_LENGTH_MAX {
            let msg =
                format!("An export has at most {} MiB of event types.", EXPORT_LENGTH_MAX / 1024 / 1024);
            return Err(Error::LimitReached(msg));
        }
        event_types.push(EventTypeOut::new(found, true)?);
        Ok(())
    })
    .await?;
    let out = EnvironmentOut {
        version: VERSION,
        created_at: api.clock.now(),
        event_types,
        settings: api.store.theme(caller.org()).await?.into(),
        connectors: Vec::new(),
    };
    // It changes nothing and may be repeated, and it is larger than what is kept of an answer.
    idempotent.unkept(&caller, Json(out))
}

async fn import(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    idempotent: Idempotent,
    body: Body<EnvironmentIn>,
) -> ApiResult<Once<NoContent>> {
    idempotent
        .once(&caller, async || {
            let EnvironmentIn { event_types, settings } = body.read()?;
            import::make(&api, &caller, event_types, false).await?;
            if let Some(settings) = settings {
                let merged = |old: Theme| {
                    let new = settings.clone().over(old.clone());
                    (new != old).then_some(new)
                };
                api.store.change_theme(&caller, merged).await?;
            }
            Ok(NoContent)
        })
        .await
}
