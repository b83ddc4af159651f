//! What the document says in words, where several operations share it.

use super::super::operation::Operation;

/// Markdown: paragraphs, headings of the second level, code.
pub(super) const ABOUT: &str = "\
Postrider sends webhooks: one call per event, and it works out which endpoints want the event, signs it, \
delivers it, retries for more than a day, and keeps a log.

Wherever a path names an application, an endpoint or a message, it takes the id, or the `uid` (of a message: the \
`eventId`) that its owner chose. A trailing slash is accepted. Unknown parameters and fields are ignored; the response names them in the \
header `postrider-unknown`.

## Authentication

Every operation except health and this document needs a JSON Web Token in the header `Authorization: Bearer …`. The \
token of an organisation (its `sub` is `org_…`) may do everything within that organisation. The token of an application (its `sub` is \
`app_…`) reaches one application, as far as its capabilities allow; nothing else exists for it. So does the key of an integration, which begins with \
`integsk_`. An AutoConfig key, which begins with `sk_auto_`, configures one endpoint and polls it, and does nothing else.

The local runner prints a token when it starts, and `postrider token` creates others. 401 means that the token is missing, invalid, \
expired or revoked. 403 means that it lacks a capability, and names it. 404 means that a thing does not exist, or belongs to \
another organisation.

## Paging

A list has up to `limit` entries in `data`. Send its `iterator` back as the parameter `iterator` to get the next page, and its \
`prevIterator` to get the one before. `done` is true on the last page.

## Repeating a request

Every `POST` takes an `idempotency-key`, a text of your own for one intended effect: for 12 hours a repeated request has no effect and gets \
the first response. So a request that timed out can be repeated safely, and so can one that got 429 (wait as `Retry-After` says) or 5xx.

## Errors

An error has a `code` for programs and a `detail` for people. With 422 `detail` is a list of everything that is wrong with the request: `loc` says \
where, `msg` what is expected.";

/// An example of each schema, by its name.
pub(super) const EXAMPLES: &str = include_str!("examples.json");

pub(super) const ORGANISATION: &str =
    "A JSON Web Token whose `sub` is an organisation (`org_…`): it may do everything within it.";

pub(super) const APPLICATION: &str = "A JSON Web Token whose `sub` is an application (`app_…`) and whose `org` is its organisation: it may read and change that application. Other applications are not found.";

pub(super) const IDEMPOTENCY_KEY: &str = "A unique key per intended effect. For 12 hours after a success, the same request with the same key has no effect and gets the same response.";

/// Tags, in the order in which they are shown.
pub(super) const TAGS: &[(&str, &str)] = &[
    ("Application", "One per customer of an organisation."),
    ("Event Type", "Names of events, and the schemas of their payloads."),
    ("Endpoint", "Where an application's messages are delivered."),
    ("Polling", "Endpoints whose owners fetch messages, instead of being sent them."),
    ("Ordered delivery", "Endpoints whose messages arrive in the order in which they were accepted."),
    ("Operational Webhook", "Endpoints that are sent what happens in an organisation."),
    ("Message", "Events: each is delivered to every endpoint that is subscribed to it."),
    ("Message Attempt", "The delivery log."),
    ("Integration", "Third parties that act within an application, each by a key of its own."),
    (
        "Connector",
        "Templates of endpoints: instructions, event types, and the code that makes webhooks fit another service.",
    ),
    ("Authentication", "Tokens for an application's users."),
    ("Environment", "What an organisation sets for all of its applications."),
    ("Audit Event", "Who changed what, and when."),
    ("Statistics", "How much an organisation's applications use."),
    ("Background Task", "Work that continues after its request was answered."),
    ("Health", "Whether Postrider runs."),
    ("Documentation", "This document, as JSON and as a page."),
];

/// What parameters mean wherever they occur; an operation can say something else.
pub(super) const PARAMETERS: &[(&str, &str)] = &[
    ("app_id", "The application's id or uid."),
    ("endpoint_id", "The endpoint's id or uid."),
    ("msg_id", "The message's id or its `eventId`."),
    ("attempt_id", "The attempt's id."),
    ("event_type_name", "The event type's name."),
    ("task_id", "The task's id."),
    ("integ_id", "The integration's id."),
    ("connector_id", "The connector's id or uid."),
    ("product_type", "Only connectors of this product; all of them are of `Dispatch`, which sends webhooks."),
    ("sink_id", "The polling endpoint's id or uid."),
    ("consumer_id", "The consumer's name, which whoever polls chooses: up to 128 of `a-z A-Z 0-9 - _ .`."),
    ("limit", "Maximum number of entries per page."),
    ("iterator", "Where the page begins: `iterator` or `prevIterator` of another page, or any entry's id."),
    ("order", "The order of entries; messages and attempts are always newest first."),
    ("before", "Only entries older than this."),
    ("after", "Only entries newer than this."),
    ("with_content", "Whether the response includes the content; otherwise it is left out or empty."),
    ("subject", "Only changes of the resource with this ID or name."),
    ("by", "Only changes by this organisation or application, or by `postrider`."),
    ("what", "Only this."),
    ("channel", "Only messages with this channel."),
    ("tag", "Only entries with this tag."),
    ("event_types", "Only these event types; several are repeated or separated by commas."),
    (
        "status",
        "Only with this status: 0 success, 1 pending, 2 failed, 3 sending, and with `expanded_statuses` 4 cancelled by the endpoint's transformation, which is 0 otherwise. A delivery is 3 until it ends; nothing is ever 1.",
    ),
    ("status_code_class", "Only attempts whose status code begins with this digit; 0 is no response at all."),
    ("with_msg", "Whether each has its message, without the payload."),
    (
        "expanded_statuses",
        "Whether what a transformation cancelled has the status 4; otherwise it is 0. Newer clients send it.",
    ),
    ("exclude_apps_with_no_endpoints", "Leave out applications without endpoints."),
    ("exclude_apps_with_disabled_endpoints", "Leave out applications whose endpoints are all disabled."),
    ("exclude_apps_with_svix_play_endpoints", "Accepted; no endpoint is of this kind."),
    ("include_archived", "Whether archived ones are listed, too."),
    ("get_if_exists", "Return the one that has this uid, if it exists, instead of a conflict."),
];

/// An error that many operations answer with.
pub(super) struct SharedError {
    pub(super) status: u16,
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Which operations do.
    pub(super) of: fn(&Operation) -> bool,
}

/// Clients treat these alike wherever they meet them: what takes a token can answer with each.
pub(super) const ERRORS: &[SharedError] = &[
    SharedError {
        status: 400,
        name: "BadRequest",
        about: "A part of the request cannot be parsed.",
        of: |operation| operation.query.is_some() || takes_body(operation),
    },
    SharedError {
        status: 401,
        name: "Unauthenticated",
        about: "There is no valid token.",
        // A body may hold a token, too.
        of: |operation| operation.takes_token() || takes_body(operation),
    },
    SharedError {
        status: 403,
        name: "Forbidden",
        about: "The token does not allow this.",
        of: Operation::takes_token,
    },
    SharedError {
        status: 404,
        name: "NotFound",
        about: "Not found, or it belongs to another organisation.",
        of: Operation::takes_token,
    },
    SharedError {
        status: 409,
        name: "Conflict",
        about: "Conflict with what exists, or with another request in progress.",
        of: Operation::takes_token,
    },
    SharedError { status: 413, name: "TooLarge", about: "The body is too large.", of: takes_body },
    SharedError {
        status: 415,
        name: "UnsupportedEncoding",
        about: "The body has a Content-Encoding; send it without.",
        of: takes_body,
    },
    SharedError {
        status: 422,
        name: "Invalid",
        about: "The request is invalid; every violation is listed.",
        of: |operation| operation.takes_token() || takes_body(operation),
    },
    SharedError {
        status: 429,
        name: "TooMany",
        about: "Too many requests. Retry after the time in `Retry-After`.",
        of: Operation::takes_token,
    },
    SharedError { status: 500, name: "ServerError", about: "Internal error.", of: |_| true },
    SharedError {
        status: 503,
        name: "Unavailable",
        about: "A dependency is unavailable. Retry the request.",
        of: |_| true,
    },
];

fn takes_body(operation: &Operation) -> bool {
    operation.body.is_some()
}
