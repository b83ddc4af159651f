//! Event types out of an OpenAPI document: what would change, or the change.

use std::collections::BTreeMap;

use axum::extract::State;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use shared::auth::{Caller, Organisation};
use shared::error::{Violation, ViolationKind, corrupt};
use shared::http::{
    ApiResult, Body, BodyType, Cursor, Fields, Idempotent, Json, ListQuery, Once, Order, RequestBody,
};
use shared::ids::{Name, OrgId};
use shared::store::event_types::EventType;
use shared::{Api, Error, Result};

use crate::openapi;

/// How many are read at once: each may have schemas of 256 KB.
const PAGE: usize = 50;
/// Most event types of an organisation that one request looks through.
const LISTED_MAX: usize = 10_000;
/// Most changes of one request, which has half a minute; only `replaceAll` makes more than a document can hold.
pub const CHANGES_MAX: usize = 1_000;
/// How many of them are made at the same time.
const AT_ONCE: usize = 8;

const UNFINISHED: Error = Error::Unfinished(
    "There is more to change than one request may. What was changed is kept: retry the request.",
);

/// What is to be imported.
pub struct ImportIn {
    spec: Option<Map<String, Value>>,
    text: Option<String>,
    dry_run: bool,
    replace_all: bool,
}

impl RequestBody for ImportIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "EventTypeImportOpenApiIn",
        &[
            (
                "spec",
                "The OpenAPI document. Each entry of its `webhooks` (3.1) or `x-webhooks` (3.0) is an event type: the \
                 key is its name; description and schema are those of its POST and of that body. Either this or `specRaw`.",
            ),
            ("specRaw", "The same as text, JSON or YAML. YAML aliases are refused."),
            ("dryRun", "Say what would change, and change nothing."),
            ("replaceAll", "Archive the event types that the document does not have."),
        ],
    );

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        Self {
            spec: fields.optional(&["spec"]),
            text: fields.optional(&["specRaw", "spec_raw"]),
            dry_run: fields.or(&["dryRun", "dry_run"], false),
            replace_all: fields.or(&["replaceAll", "replace_all"], false),
        }
    }
}

impl ImportIn {
    /// The event types of the document.
    fn event_types(self) -> Result<Vec<EventType>> {
        let (field, document) = match (self.spec, self.text) {
            (Some(spec), None) => ("spec", spec),
            (None, Some(text)) => {
                let read = openapi::parse(&text);
                ("specRaw", read.map_err(|msg| Error::violation(["body", "specRaw"], msg))?)
            }
            _ => return Err(Error::BadRequest("Send either spec or specRaw.".to_owned())),
        };
        openapi::event_types(&document).map_err(|broken| {
            let loc = ["body", field].map(str::to_owned).into_iter().chain(broken.at).collect();
            Error::Invalid(vec![Violation { loc, msg: broken.msg, kind: ViolationKind::ValueError }])
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

/// What an import does to one event type.
struct Change {
    /// What it is to be; of one that is archived, without its schemas.
    new: EventType,
    /// There is none yet.
    creates: bool,
    /// The document does not have it.
    archives: bool,
}

impl Change {
    fn shown(self) -> Result<EventTypeFromOpenApi> {
        let Self { new, creates, archives } = self;
        Ok(EventTypeFromOpenApi {
            name: new.name,
            description: new.description,
            schemas: new.schemas.map(RawValue::from_string).transpose().map_err(corrupt("a schema"))?,
            deprecated: new.deprecated,
            group_name: new.group_name,
            feature_flags: new.feature_flags,
            created: creates,
            archived: archives,
        })
    }

    /// What becomes of `old`; none where it is that already.
    fn over(&self, old: Option<&EventType>) -> Option<EventType> {
        if self.archives {
            return old.filter(|old| !old.archived).map(|old| EventType { archived: true, ..old.clone() });
        }
        differs(&self.new, old).then(|| self.new.clone())
    }
}

/// Whether they are two, but for when they were made or changed.
fn differs(new: &EventType, old: Option<&EventType>) -> bool {
    old.is_none_or(|old| {
        let EventType { created_at, updated_at, .. } = *old;
        EventType { created_at, updated_at, ..new.clone() } != *old
    })
}

pub async fn import(
    State(api): State<Api>,
    Organisation(caller): Organisation,
    idempotent: Idempotent,
    body: Body<ImportIn>,
) -> ApiResult<Once<Json<EventTypeImportOpenApiOut>>> {
    let wanted = body.read()?;
    let (dry_run, replace_all) = (wanted.dry_run, wanted.replace_all);
    let wanted = wanted.event_types()?;
    if dry_run {
        // It changes nothing and may be repeated: a key is for what follows it, and its answer may be large.
        let changes = changes(&api, &caller, wanted, replace_all).await?;
        let modified = changes.iter().map(|change| change.new.name.clone()).collect();
        let to_modify = changes.into_iter().map(Change::shown).collect::<Result<_>>()?;
        let data = Imported { modified, to_modify: Some(to_modify) };
        return idempotent.unkept(&caller, Json(EventTypeImportOpenApiOut { data }));
    }
    idempotent
        .once(&caller, async || {
            let modified = make(&api, &caller, wanted, replace_all).await?;
            let data = Imported { modified, to_modify: None };
            Ok(Json(EventTypeImportOpenApiOut { data }))
        })
        .await
}

/// Makes the organisation's event types those of `wanted`, by name, and answers which changed. Of the others none
/// changes, unless they are to be archived.
///
/// # Errors
/// `Unfinished` if there is more to change than one request may.
pub async fn make(
    api: &Api,
    caller: &Caller,
    wanted: Vec<EventType>,
    replace_all: bool,
) -> Result<Vec<String>> {
    let mut changes = changes(api, caller, wanted, replace_all).await?;
    let is_finished = changes.len() <= CHANGES_MAX;
    changes.truncate(CHANGES_MAX);
    let writes: Vec<_> = changes.iter().map(|change| apply(api, caller, change)).collect();
    stream::iter(writes).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    if !is_finished {
        return Err(UNFINISHED);
    }
    Ok(changes.into_iter().map(|change| change.new.name).collect())
}

/// What makes the organisation's event types those of the document, by name. Of those that are there, only what
/// has to be shown is kept: their schemas may be as large as the instance's memory.
async fn changes(
    api: &Api,
    caller: &Caller,
    wanted: Vec<EventType>,
    replace_all: bool,
) -> Result<Vec<Change>> {
    let mut wanted: BTreeMap<String, EventType> =
        wanted.into_iter().map(|new| (new.name.clone(), new)).collect();
    let mut changes = Vec::new();
    each(api, caller.org(), |old| {
        match wanted.remove(&old.name) {
            Some(new) if differs(&new, Some(&old)) => {
                changes.push(Change { new, creates: false, archives: false });
            }
            None if replace_all && !old.archived => {
                let new = EventType { schemas: None, archived: true, ..old };
                changes.push(Change { new, creates: false, archives: true });
            }
            _ => {}
        }
        Ok(())
    })
    .await?;
    changes.extend(wanted.into_values().map(|new| Change { new, creates: true, archives: false }));
    changes.sort_by(|one, other| one.new.name.cmp(&other.new.name));
    Ok(changes)
}

/// Shows every event type of an organisation, archived ones too, to `look`, by name.
///
/// # Errors
/// `LimitReached` if there are too many for one request; those of `look`.
pub async fn each(api: &Api, org: OrgId, mut look: impl FnMut(EventType) -> Result<()>) -> Result<()> {
    let mut seen = 0;
    let mut query = ListQuery::<Name> { limit: PAGE, cursor: Cursor::Start, order: Order::Ascending };
    loop {
        let page = api.store.list_event_types(org, &query, |_| true).await?;
        seen += page.entries.len();
        let last = page.entries.last().map(|last| last.name.clone());
        page.entries.into_iter().try_for_each(&mut look)?;
        if page.done {
            return Ok(());
        }
        if seen > LISTED_MAX {
            let msg = format!("One request looks through at most {LISTED_MAX} event types.");
            return Err(Error::LimitReached(msg));
        }
        let next = match page.resume {
            Some(Cursor::Behind(name) | Cursor::Before(name)) => name,
            _ => last.unwrap_or_default(),
        };
        query.cursor = Cursor::Behind(next.parse().map_err(corrupt("the name of an event type"))?);
    }
}

/// Makes one of the changes to what is there now.
async fn apply(api: &Api, caller: &Caller, change: &Change) -> Result<()> {
    let applied = api.store.retry_on_conflict(async || {
        let old = match api.store.event_type(caller, &change.new.name).await {
            Ok(found) => Some(found),
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        let Some(new) = change.over(old.as_ref()) else { return Ok(Some(())) };
        Ok(api.store.put_event_type(caller, old.as_ref(), new).await?.map(drop))
    });
    applied.await
}

#[cfg(test)]
mod tests {
    use shared::clock::Timestamp;

    use super::*;

    fn event_type(description: &str, archived: bool) -> EventType {
        EventType {
            name: "a".into(),
            description: description.into(),
            schemas: Some("{}".into()),
            feature_flags: Vec::new(),
            group_name: None,
            archived,
            deprecated: false,
            created_at: Timestamp::default(),
            updated_at: Timestamp::from_ms(7),
        }
    }

    #[test]
    fn a_change_is_made_to_what_is_there_and_not_to_what_was() {
        let change = |archives| Change { new: event_type("new", archives), creates: false, archives };
        // What somebody else wrote meanwhile stays, but for being archived.
        let theirs = event_type("theirs", false);
        assert_eq!(change(true).over(Some(&theirs)), Some(EventType { archived: true, ..theirs.clone() }));
        assert_eq!(change(true).over(Some(&event_type("theirs", true))), None);
        assert_eq!(change(true).over(None), None);
        assert_eq!(change(false).over(Some(&theirs)), Some(event_type("new", false)));
        assert_eq!(change(false).over(None), Some(event_type("new", false)));
        let same = EventType { updated_at: Timestamp::from_ms(9), ..event_type("new", false) };
        assert_eq!(change(false).over(Some(&same)), None);
    }
}
