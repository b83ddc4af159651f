//! What an organisation sets for all of its applications, as one document: taken out, and put into another organisation.

use std::collections::BTreeSet;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use shared::auth::Organisation;
use shared::clock::Timestamp;
use shared::http::{
    ApiResult, Body, BodyType, Fields, Idempotent, Json, NoContent, Once, Registry, RequestBody, Rule,
};
use shared::store::connectors::ConnectorSettings;
use shared::store::event_types::EventType;
use shared::store::theme::Theme;
use shared::{Api, Error};

use crate::connector_in::ConnectorIn;
use crate::connectors::{self, ConnectorOut};
use crate::import::{self, CHANGES_MAX};
use crate::incoming::EventTypeIn;
use crate::signing_key;
use crate::theme::{self, ThemeIn, ThemeOut};
use crate::{EventTypeOut, EventTypes};

/// The only version of the document that there is.
const VERSION: u64 = 1;
/// Most bytes of all event types and connectors of an export: Lambda answers with 6 MB at most.
const EXPORT_LENGTH_MAX: usize = 5 * 1024 * 1024;
/// Most connectors of one import: the code of each that is new is run once, to see that it can be.
const CONNECTORS_MAX: usize = 250;
/// More than an event type has besides its schemas and its description.
const EVENT_TYPE_LENGTH: usize = 1024;

const TAG: &str = "Environment";

/// Adds the operations of this module.
pub fn operations<R: Registry<EventTypes>>(to: R) -> R {
    const SETTINGS: &str = "/api/v1/environment/settings";
    let to = to.get(SETTINGS, theme::read, |operation| {
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
            .summary("Export event types, settings and connectors")
            .text(
                "Archived event types are among them. More than 10,000 event types, or more than 5 MiB of them and of connectors, \
                 are 400 `limit_reached`: list them instead.",
            )
            .returns("What the organisation has set for all applications, as an import takes it.")
    })
    .post("/api/v1/environment/import", import, |operation| {
        operation
            .named("v1.environment.import", TAG)
            .summary("Import event types, settings and connectors")
            .text(
                "Adds and updates; deletes nothing. Event types and connectors that the body does not name, and settings that it \
                 leaves out, are unchanged. A connector is updated if one has its `uid` or, if neither has a uid, its name. After an error a part may be imported: the same request can be repeated.",
            )
            .returns("Imported.")
    });
    signing_key::operations(to, TAG)
}

/// An organisation's event types, settings and connectors.
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
    connectors: Vec<ConnectorOut>,
}

/// What is to be imported.
pub struct EnvironmentIn {
    event_types: Vec<EventType>,
    settings: Option<Theme>,
    connectors: Vec<ConnectorSettings>,
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
            ("connectors", "Connectors to create or to update."),
        ],
    )
    .with_parts(&[
        ("eventTypes", &EventTypeIn::TYPE),
        ("settings", &ThemeIn::TYPE),
        ("connectors", &ConnectorIn::TYPE),
    ]);

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        fields.code(&["version"], &[VERSION]);
        fields.take::<Timestamp>(&["createdAt"]);
        let settings = fields.part("settings").value().map(|mut part| {
            let ThemeIn(theme) = ThemeIn::read(&mut part, ());
            // An organisation elsewhere has settings that would have no effect here.
            part.no_unknown();
            fields.absorb(part);
            theme
        });
        Self { event_types: event_types(fields), settings, connectors: connectors(fields) }
    }
}

fn connectors(fields: &mut Fields<'_>) -> Vec<ConnectorSettings> {
    const NAME: &str = "connectors";
    let parts = fields.objects(NAME).value().unwrap_or_default();
    fields.rule(NAME, Rule::Entries(0, CONNECTORS_MAX));
    if parts.len() > CONNECTORS_MAX {
        let msg = format!("Must have at most {CONNECTORS_MAX} entries: import the others by another request");
        fields.violation(NAME, msg);
        return Vec::new();
    }
    let mut found = Vec::with_capacity(parts.len());
    let mut uids = BTreeSet::new();
    for (nth, mut part) in parts.into_iter().enumerate() {
        let ConnectorIn(settings) = ConnectorIn::read(&mut part, ());
        part.ignore(&["id", "orgId", "createdAt", "updatedAt", "transformationUpdatedAt"]);
        if let Some(uid) = settings.uid.as_ref().filter(|_| !part.has_violations())
            && !uids.insert(uid.clone())
        {
            fields.violation_at(&[NAME, &nth.to_string(), "uid"], "Must not be there twice");
        }
        fields.absorb(part);
        found.push(settings);
    }
    found
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
            return Err(too_long("event types"));
        }
        event_types.push(EventTypeOut::new(found, true)?);
        Ok(())
    })
    .await?;
    let mut connectors = Vec::new();
    connectors::each(&api.store, caller.org(), |found| {
        length += found.length();
        if length > EXPORT_LENGTH_MAX {
            return Err(too_long("event types and connectors"));
        }
        connectors.push(ConnectorOut::new(caller.org(), found));
        Ok(())
    })
    .await?;
    let out = EnvironmentOut {
        version: VERSION,
        created_at: api.clock.now(),
        event_types,
        settings: api.store.theme(caller.org()).await?.into(),
        connectors,
    };
    // It changes nothing and may be repeated, and it is larger than what is kept of an answer.
    idempotent.unkept(&caller, Json(out))
}

fn too_long(of: &str) -> Error {
    Error::LimitReached(format!("An export has at most {} MiB of {of}.", EXPORT_LENGTH_MAX / 1024 / 1024))
}

async fn import(
    State(state): State<EventTypes>,
    Organisation(caller): Organisation,
    idempotent: Idempotent,
    body: Body<EnvironmentIn>,
) -> ApiResult<Once<NoContent>> {
    let api = &state.api;
    idempotent
        .once(&caller, async || {
            let EnvironmentIn { event_types, settings, connectors } = body.read()?;
            // Code that cannot be run is found before anything is changed.
            let connectors = state.plan(&caller, connectors).await?;
            import::make(api, &caller, event_types, false).await?;
            state.carry_out(&caller, connectors).await?;
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
