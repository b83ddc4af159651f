//! Event types out of an OpenAPI document: what would change, or the change.

use axum::extract::State;
use http::{HeaderMap, StatusCode, Uri};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use shared::auth::{Caller, Organisation};
use shared::error::{Violation, corrupt};
use shared::http::{
    ApiResult, Body, Cursor, Fields, ListQuery, Order, RequestBody, idempotency_key, idempotent, json,
};
use shared::ids::Name;
use shared::store::event_types::EventType;
use shared::{Api, Error, Result};

use crate::openapi;

/// How many are read at once.
const PAGE: usize = 250;
/// Most event types of an organisation that `replaceAll` looks through.
const LISTED_MAX: usize = 10_000;

/// The document, as a body.
pub const IMPORT_IN: RequestBody = RequestBody {
    name: "EventTypeImportOpenApiIn",
    read: |fields| drop(Wanted::read(fields)),
    optional: false,
    fields: &[
        (
            "spec",
            "The OpenAPI document. Each entry of its `webhooks` (3.1) or `x-webhooks` (3.0) is an event type: the \
             key is its name; description and schema are those of its POST and of that body. Either this or `specRaw`.",
        ),
        ("specRaw", "The same as text, JSON or YAML. YAML aliases are refused."),
        ("dryRun", "Say what would change, and change nothing."),
        ("replaceAll", "Archive the event types that the document does not have."),
    ],
    parts: &[],
};

struct Wanted {
    spec: Option<Map<String, Value>>,
    text: Option<String>,
    dry_run: bool,
    replace_all: bool,
}

impl Wanted {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            spec: fields.optional(&["spec"]),
            text: fields.optional(&["specRaw", "spec_raw"]),
            dry_run: fields.or(&["dryRun", "dry_run"], false),
            replace_all: fields.or(&["replaceAll", "replace_all"], false),
        }
    }

    /// The event types of the document.
    fn event_types(self) -> Result<Vec<EventType>> {
        let (field, document) = match (self.spec, self.text) {
            (Some(spec), None) => ("spec", spec),
            (None, Some(text)) => {
                let read = openapi::parse(&text);
                ("specRaw", read.map_err(|msg| Error::violation(["body", "specRaw"], msg, "value_error"))?)
            }
            _ => return Err(Error::BadRequest("Send either spec or specRaw.".to_owned())),
        };
        openapi::event_types(&document).map_err(|broken| {
            let loc = ["body", field].map(str::to_owned).into_iter().chain(broken.at).collect();
            Error::Invalid(vec![Violation { loc, msg: broken.msg, kind: "value_error" }])
        })
    }
}

/// What an import changed, or would change.
#[derive(Serialize, JsonSchema)]
pub struct EventTypeImportOpenApiOut {
    data: Imported,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EventTypeImportOpenApiOutData")]
struct Imported {
    /// The event types that changed, are new, came back or were archived.
    modified: Vec<String>,
    /// With `dryRun`: what they would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    to_modify: Option<Vec<EventTypeFromOpenApi>>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct EventTypeFromOpenApi {
    name: String,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Map<String, Value>>")]
    schemas: Option<Box<RawValue>>,
    deprecated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    feature_flags: Vec<String>,
    /// It is new. (Not in other servers' answers.)
    created: bool,
    /// It would be archived: the document does not have it. (Not in other servers' answers.)
    archived: bool,
}

/// An event type as it is, and as it is to be.
struct Change {
    old: Option<EventType>,
    new: EventType,
}

impl Change {
    /// What is asked for, but when it was made or changed.
    fn is_one(&self) -> bool {
        self.old.as_ref().is_none_or(|old| {
            let EventType { created_at, updated_at, .. } = *old;
            EventType { created_at, updated_at, ..self.new.clone() } != *old
        })
    }

    fn shown(self) -> Result<EventTypeFromOpenApi> {
        let Self { old, new } = self;
        let archived = new.archived && old.as_ref().is_some_and(|old| !old.archived);
        Ok(EventTypeFromOpenApi {
            name: new.name,
            description: new.description,
            schemas: new.schemas.map(RawValue::from_string).transpose().map_err(corrupt("a schema"))?,
            deprecated: new.deprecated,
            group_name: new.group_name,
            feature_flags: new.feature_flags,
            created: old.is_none(),
            archived,
        })
    }
}

pub async fn import(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> ApiResult {
    let key = idempotency_key(&headers, &caller, &uri, &*api.random)?;
    Ok(idempotent(&api.store, &*api.clock, key, async || {
        let mut fields = Fields::parse(&body.0)?;
        let wanted = Wanted::read(&mut fields);
        fields.finish()?;
        let (dry_run, replace_all) = (wanted.dry_run, wanted.replace_all);
        let changes = changes(&api, &caller, wanted.event_types()?, replace_all).await?;
        let modified = changes.iter().map(|change| change.new.name.clone()).collect();
        let to_modify = if dry_run {
            Some(changes.into_iter().map(Change::shown).collect::<Result<_>>()?)
        } else {
            for change in changes {
                apply(&api, &caller, change).await?;
            }
            None
        };
        let out = EventTypeImportOpenApiOut { data: Imported { modified, to_modify } };
        Ok(json(StatusCode::OK, &out))
    })
    .await)
}

/// What makes the organisation's event types those of the document.
async fn changes(
    api: &Api,
    caller: &Caller,
    wanted: Vec<EventType>,
    replace_all: bool,
) -> Result<Vec<Change>> {
    let mut existing = existing(api, caller).await?;
    let wanted = wanted.into_iter().map(|new| {
        let old = existing.iter().position(|old| old.name == new.name).map(|nth| existing.swap_remove(nth));
        Change { old, new }
    });
    let mut changes: Vec<Change> = wanted.filter(Change::is_one).collect();
    if replace_all {
        let absent = existing.into_iter().filter(|old| !old.archived);
        changes.extend(
            absent.map(|old| Change { new: EventType { archived: true, ..old.clone() }, old: Some(old) }),
        );
    }
    changes.sort_by(|one, other| one.new.name.cmp(&other.new.name));
    Ok(changes)
}

/// All event types there are, archived ones too.
async fn existing(api: &Api, caller: &Caller) -> Result<Vec<EventType>> {
    let mut found: Vec<EventType> = Vec::new();
    let mut query = ListQuery::<Name> { limit: PAGE, cursor: Cursor::Start, order: Order::Ascending };
    loop {
        let page = api.store.list_event_types(caller.org(), &query, |_| true).await?;
        found.extend(page.entries);
        if page.done {
            return Ok(found);
        }
        if found.len() > LISTED_MAX {
            let msg = format!("An import looks through at most {LISTED_MAX} event types.");
            return Err(Error::LimitReached(msg));
        }
        let last = match page.resume {
            Some(Cursor::Behind(name) | Cursor::Before(name)) => name,
            _ => found.last().map(|last| last.name.clone()).unwrap_or_default(),
        };
        query.cursor = Cursor::Behind(last.parse().map_err(corrupt("the name of an event type"))?);
    }
}

/// Writes one of the changes. Where somebody else's change came first, the document's is made of what is there now.
async fn apply(api: &Api, caller: &Caller, change: Change) -> Result<()> {
    let Change { mut old, new } = change;
    while api.store.put_event_type(caller, old.as_ref(), new.clone()).await?.is_none() {
        old = match api.store.event_type(caller, &new.name).await {
            Ok(found) => Some(found),
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
    }
    Ok(())
}
