//! What is set up: applications, event types, endpoints, access.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use svix::api::{
    ApplicationCreateOptions, ApplicationListOptions, ConnectorListOptions, EndpointListOptions,
    EventTypeDeleteOptions, EventTypeListOptions,
};
use svix::models::{
    AppPortalAccessIn, ApplicationIn, ApplicationPatch, ApplicationTokenExpireIn, ConnectorIn, ConnectorKind,
    ConnectorPatch, ConnectorProduct, ConnectorUpsertIn, EndpointHeadersIn, EndpointHeadersPatchIn,
    EndpointIn, EndpointOut, EndpointPatch, EndpointSecretRotateIn, EndpointTransformationIn,
    EndpointTransformationPatch, EndpointUpsertIn, EnvironmentIn, EventTypeImportOpenApiIn, EventTypeIn,
    EventTypePatch, EventTypeUpsertIn, IntegrationIn, IntegrationUpdate, Ordering,
};

use super::{Walk, invalid, refused, walk};

pub(super) const OLD_KEY: &str = "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
pub(super) const KEY: &str = "whsec_AgICAgICAgICAgICAgICAgICAgICAgIC";

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn set(name: &str) -> BTreeSet<String> {
    BTreeSet::from([name.to_owned()])
}

pub(super) async fn applications(walk: &mut Walk) -> String {
    let given = ApplicationIn {
        uid: Some("acme".into()),
        throttle_rate: Some(100),
        metadata: Some(pairs(&[("plan", "gold")])),
        ..ApplicationIn::new("Acme".into())
    };
    let app = walk!(walk, application.create(given.clone(), None)).unwrap();
    assert!(app.id.starts_with("app_") && app.id.len() == 31, "{app:?}");
    assert_eq!((&*app.name, app.uid.as_deref(), app.throttle_rate), ("Acme", Some("acme"), Some(100)));
    assert_eq!(app.metadata, pairs(&[("plan", "gold")]));
    refused(walk!(walk, application.create(given.clone(), None)), 409, "conflict");
    invalid(walk!(walk, application.create(ApplicationIn::new(String::new()), None)), ["body", "name"]);
    assert_eq!(walk!(walk, application.get_or_create(given, None)).unwrap(), app);
    assert_eq!(walk!(walk, application.get("acme".into())).unwrap(), app);

    let put =
        |name: &str, uid: &str| ApplicationIn { uid: Some(uid.into()), ..ApplicationIn::new(name.into()) };
    let changed = walk!(walk, application.upsert("acme".into(), put("Acme & Sons", "acme"))).unwrap();
    assert_eq!((&changed.id, changed.throttle_rate, changed.metadata.len()), (&app.id, None, 0));
    let globex = walk!(walk, application.upsert("globex".into(), put("Globex", "globex"))).unwrap();
    let patch = ApplicationPatch { name: Some("Acme again".into()), ..ApplicationPatch::new() };
    let patched = walk!(walk, application.patch(app.id.clone(), patch)).unwrap();
    assert_eq!((&*patched.name, patched.uid.as_deref()), ("Acme again", Some("acme")));

    let mut keyed = Vec::new();
    for key in ["once", "once", "twice"] {
        let options = ApplicationCreateOptions { idempotency_key: Some(key.into()) };
        keyed.push(walk!(walk, application.create(ApplicationIn::new("x".into()), Some(options))).unwrap());
    }
    assert_eq!(keyed[0], keyed[1]);
    assert_ne!(keyed[0].id, keyed[2].id);
    let (mut found, mut iterator, mut done) = (Vec::new(), None, false);
    while !done {
        let options = ApplicationListOptions {
            limit: Some(3),
            iterator,
            order: Some(Ordering::Descending),
            ..Default::default()
        };
        let page = walk!(walk, application.list(Some(options))).unwrap();
        found.extend(page.data.into_iter().map(|app| app.id));
        (iterator, done) = (page.iterator, page.done);
    }
    let mut expected = vec![app.id.clone(), globex.id.clone(), keyed[0].id.clone(), keyed[2].id.clone()];
    expected.sort_by(|a, b| b.cmp(a));
    assert_eq!(found, expected);

    walk!(walk, application.delete("globex".into())).unwrap();
    refused(walk!(walk, application.get(globex.id)), 404, "not_found");
    app.id
}

pub(super) async fn event_types(walk: &mut Walk) {
    let schemas = json!({"1": {"type": "object", "title": "paid", "examples": [{"id": "inv_1"}]}});
    let given = EventTypeIn {
        schemas: Some(schemas.clone()),
        ..EventTypeIn::new("invoice.paid".into(), "An invoice was paid".into())
    };
    let paid = walk!(walk, event_type.create(given.clone(), None)).unwrap();
    assert_eq!((paid.schemas.as_ref(), paid.archived, paid.deprecated), (Some(&schemas), Some(false), false));
    refused(walk!(walk, event_type.create(given, None)), 409, "conflict");
    invalid(
        walk!(walk, event_type.create(EventTypeIn::new("in voice".into(), String::new()), None)),
        ["body", "name"],
    );
    assert_eq!(walk!(walk, event_type.get("invoice.paid".into())).unwrap(), paid);

    let put = EventTypeUpsertIn::new("Was sent".into());
    let sent = walk!(walk, event_type.upsert("invoice.sent".into(), put)).unwrap();
    assert_eq!((&*sent.name, &*sent.description, sent.schemas), ("invoice.sent", "Was sent", None));
    let patch = EventTypePatch { deprecated: Some(true), ..EventTypePatch::new() };
    let sent = walk!(walk, event_type.patch("invoice.sent".into(), patch)).unwrap();
    assert_eq!((&*sent.description, sent.deprecated), ("Was sent", true));
    let hidden = EventTypeIn {
        feature_flags: Some(set("beta")),
        ..EventTypeIn::new("beta.thing".into(), "Not for all".into())
    };
    assert_eq!(walk!(walk, event_type.create(hidden, None)).unwrap().feature_flags, Some(set("beta")));

    walk!(walk, event_type.delete("invoice.sent".into(), None)).unwrap();
    let options = EventTypeListOptions { include_archived: Some(true), ..Default::default() };
    let listed = walk!(walk, event_type.list(Some(options))).unwrap();
    let archived: Vec<_> = listed.data.iter().map(|entry| (&*entry.name, entry.archived)).collect();
    let expected = [("beta.thing", Some(false)), ("invoice.paid", Some(false)), ("invoice.sent", Some(true))];
    assert_eq!((&archived[..], listed.done), (&expected[..], true));
    let options = Some(EventTypeDeleteOptions { expunge: Some(true) });
    walk!(walk, event_type.delete("invoice.sent".into(), options)).unwrap();
    refused(walk!(walk, event_type.get("invoice.sent".into())), 404, "not_found");

    let webhooks = json!({ "invoice.sent": { "post": { "summary": "From a document" } } });
    let spec = json!({ "openapi": "3.1.0", "webhooks": webhooks });
    let spec = EventTypeImportOpenApiIn { spec: Some(spec), dry_run: Some(true), ..Default::default() };
    let would = walk!(walk, event_type.import_openapi(spec.clone(), None)).unwrap().data;
    assert_eq!(would.modified, ["invoice.sent"]);
    assert_eq!(would.to_modify.unwrap()[0].description, "From a document");
    refused(walk!(walk, event_type.get("invoice.sent".into())), 404, "not_found");
    let spec = EventTypeImportOpenApiIn { dry_run: None, ..spec };
    let done = walk!(walk, event_type.import_openapi(spec, None)).unwrap().data;
    assert_eq!((done.modified, done.to_modify), (vec!["invoice.sent".to_owned()], None));
    let options = Some(EventTypeDeleteOptions { expunge: Some(true) });
    walk!(walk, event_type.delete("invoice.sent".into(), options)).unwrap();
}

pub(super) async fn environment(walk: &mut Walk) {
    let exported = walk!(walk, environment.export(None)).unwrap();
    let names: Vec<_> = exported.event_types.iter().map(|entry| &*entry.name).collect();
    assert_eq!((&names[..], exported.version), (&["beta.thing", "invoice.paid"][..], Some(1)));
    assert!(exported.connectors.is_empty());
    let given = EnvironmentIn {
        event_types: Some(vec![EventTypeIn::new("imported".into(), "By a document".into())]),
        settings: Some(json!({"displayName": "Acme"})),
        ..EnvironmentIn::new()
    };
    walk!(walk, environment.import(given, None)).unwrap();
    assert_eq!(walk!(walk, event_type.get("imported".into())).unwrap().description, "By a document");
    let exported = walk!(walk, environment.export(None)).unwrap();
    assert_eq!(exported.settings, Some(json!({"displayName": "Acme"})));
    let connector = ConnectorIn::new("Imported".into(), CODE.into());
    let given = EnvironmentIn { connectors: Some(vec![connector]), ..EnvironmentIn::new() };
    walk!(walk, environment.import(given, None)).unwrap();
    let exported = walk!(walk, environment.export(None)).unwrap().connectors.remove(0);
    assert_eq!((&*exported.name, &*exported.transformation), ("Imported", CODE));
    walk!(walk, connector.delete(exported.id)).unwrap();
    let options = Some(EventTypeDeleteOptions { expunge: Some(true) });
    walk!(walk, event_type.delete("imported".into(), options)).unwrap();
}

const CODE: &str = "function handler(webhook) { return webhook; }";

pub(super) async fn connectors(walk: &mut Walk) {
    let given = ConnectorIn {
        uid: Some("slack".into()),
        logo: Some("https://example.com/slack.png".into()),
        description: Some("Posts into a channel".into()),
        kind: Some(ConnectorKind::Slack),
        instructions: Some("# Set up".into()),
        allowed_event_types: Some(set("invoice.paid")),
        feature_flags: Some(set("beta")),
        product_type: Some(ConnectorProduct::Dispatch),
        ..ConnectorIn::new("Slack".into(), CODE.into())
    };
    let made = walk!(walk, connector.create(given.clone(), None)).unwrap();
    assert!(made.id.starts_with("trtmpl_") && made.id.len() == 34, "{made:?}");
    assert_eq!((&*made.name, made.uid.as_deref(), made.kind), ("Slack", Some("slack"), ConnectorKind::Slack));
    assert_eq!(
        (&made.allowed_event_types, &made.feature_flags),
        (&Some(set("invoice.paid")), &Some(set("beta")))
    );
    assert_eq!((&*made.transformation, made.product_type), (CODE, ConnectorProduct::Dispatch));
    refused(walk!(walk, connector.create(given.clone(), None)), 409, "conflict");
    let broken = ConnectorIn { transformation: "function broken {".into(), uid: None, ..given };
    invalid(walk!(walk, connector.create(broken, None)), ["body", "transformation"]);
    assert_eq!(walk!(walk, connector.get("slack".into())).unwrap(), made);
    let patch = ConnectorPatch { name: Some("S".into()), ..ConnectorPatch::new() };
    let patched = walk!(walk, connector.patch("slack".into(), patch)).unwrap();
    assert_eq!((&*patched.name, &patched.logo), ("S", &made.logo));
    let put = walk!(walk, connector.upsert("teams".into(), ConnectorUpsertIn::new(CODE.into()))).unwrap();
    assert_eq!((put.uid.as_deref(), put.kind), (Some("teams"), ConnectorKind::Custom));
    let options = ConnectorListOptions { limit: Some(1), ..Default::default() };
    let listed = walk!(walk, connector.list(Some(options))).unwrap();
    assert_eq!((&listed.data[..], listed.done), (&[patched][..], false));
    for uid in ["slack", "teams"] {
        walk!(walk, connector.delete(uid.into())).unwrap();
    }
    refused(walk!(walk, connector.get(made.id)), 404, "not_found");
}

pub(super) async fn integrations(walk: &mut Walk, app: &str) {
    let app = || app.to_owned();
    let given = IntegrationIn { feature_flags: Some(set("beta")), ..IntegrationIn::new("Zap".into()) };
    let made = walk!(walk, integration.create(app(), given, None)).unwrap();
    assert_eq!((&*made.name, made.feature_flags.as_ref()), ("Zap", Some(&set("beta"))));
    assert_eq!(walk!(walk, integration.get(app(), made.id.clone())).unwrap(), made);
    assert_eq!(walk!(walk, integration.list(app(), None)).unwrap().data, std::slice::from_ref(&made));
    let changed = IntegrationUpdate::new("Zapped".into());
    let changed = walk!(walk, integration.update(app(), made.id.clone(), changed)).unwrap();
    assert_eq!((&changed.id, &*changed.name), (&made.id, "Zapped"));
    invalid(
        walk!(walk, integration.create(app(), IntegrationIn::new(String::new()), None)),
        ["body", "name"],
    );
    let mut keys = Vec::new();
    for _ in 0..2 {
        keys.push(walk!(walk, integration.rotate_key(app(), made.id.clone(), None)).unwrap().key);
    }
    refused(walk.as_caller(&keys[0]).endpoint().list(app(), None).await, 401, "authentication_failed");
    let bearer = walk.as_caller(&keys[1]);
    assert_eq!(bearer.application().get(app()).await.unwrap().id, app());
    walk!(walk, integration.delete(app(), made.id.clone())).unwrap();
    refused(bearer.endpoint().list(app(), None).await, 401, "authentication_failed");
    refused(walk!(walk, integration.get(app(), made.id)), 404, "not_found");
}

pub(super) async fn endpoints(walk: &mut Walk, app: &str) -> EndpointOut {
    let url = walk.receiver.url("/books");
    let app = || app.to_owned();
    let given = EndpointIn {
        description: Some("Books".into()),
        uid: Some("books".into()),
        event_types: Some(set("invoice.paid")),
        channels: Some(set("north")),
        metadata: Some(pairs(&[("team", "books")])),
        throttle_rate: Some(50),
        secret: Some(OLD_KEY.into()),
        ..EndpointIn::new(url.clone())
    };
    let made = walk!(walk, endpoint.create(app(), given.clone(), None)).unwrap();
    assert!(made.id.starts_with("ep_"));
    assert_eq!((&made.url, &*made.description, made.uid.as_deref()), (&url, "Books", Some("books")));
    assert_eq!((&made.event_types, &made.channels), (&Some(set("invoice.paid")), &Some(set("north"))));
    assert_eq!((&made.metadata, made.throttle_rate), (&pairs(&[("team", "books")]), Some(50)));
    assert_eq!(made.disabled, Some(false));
    refused(walk!(walk, endpoint.create(app(), given, None)), 409, "conflict");
    let ftp = EndpointIn::new("ftp://example.com/".into());
    invalid(walk!(walk, endpoint.create(app(), ftp, None)), ["body", "url"]);
    assert_eq!(walk!(walk, endpoint.get("acme".into(), "books".into())).unwrap(), made);

    let put =
        EndpointUpsertIn { uid: Some("books".into()), ..EndpointUpsertIn::new(walk.receiver.url("/v2")) };
    let changed = walk!(walk, endpoint.upsert(app(), "books".into(), put)).unwrap();
    assert_eq!((&changed.id, changed.event_types, changed.channels), (&made.id, None, None));
    let put =
        EndpointUpsertIn { uid: Some("other".into()), ..EndpointUpsertIn::new(walk.receiver.url("/v2")) };
    let other = walk!(walk, endpoint.upsert(app(), "other".into(), put)).unwrap();
    // Absent, null and a value are three things.
    let patch = json!({"url": url, "channels": ["north"], "uid": null});
    let patch: EndpointPatch = serde_json::from_value(patch).unwrap();
    let patched = walk!(walk, endpoint.patch(app(), "books".into(), patch)).unwrap();
    assert_eq!((&patched.url, &patched.channels, &patched.uid), (&url, &Some(set("north")), &None));
    let page = |iterator| Some(EndpointListOptions { limit: Some(1), iterator, ..Default::default() });
    let first = walk!(walk, endpoint.list(app(), page(None))).unwrap();
    assert_eq!((&first.data[0].id, first.done), (&other.id, false), "newest first");
    let second = walk!(walk, endpoint.list(app(), page(first.iterator))).unwrap();
    assert_eq!((&second.data[0].id, second.done), (&made.id, true));
    walk!(walk, endpoint.delete(app(), "other".into())).unwrap();
    refused(walk!(walk, endpoint.get(app(), other.id)), 404, "not_found");

    let ep = || made.id.clone();
    let headers = EndpointHeadersIn::new(pairs(&[("X-Tenant", "acme"), ("Authorization", "Bearer hidden")]));
    walk!(walk, endpoint.set_headers(app(), ep(), headers)).unwrap();
    let more = EndpointHeadersPatchIn {
        delete_headers: Some(vec!["X-Tenant".into()]),
        ..EndpointHeadersPatchIn::new(pairs(&[("X-More", "1")]))
    };
    walk!(walk, endpoint.patch_headers(app(), ep(), more)).unwrap();
    let shown = walk!(walk, endpoint.get_headers(app(), ep())).unwrap();
    assert_eq!(shown.headers, pairs(&[("X-More", "1")]));
    assert!(shown.sensitive.iter().map(|name| name.to_lowercase()).eq(["authorization"]), "{shown:?}");

    transformation(walk, app(), ep()).await;
    assert_eq!(walk!(walk, endpoint.get_secret(app(), ep())).unwrap().key, OLD_KEY);
    let rotate = EndpointSecretRotateIn { key: Some(KEY.into()), ..EndpointSecretRotateIn::new() };
    assert_eq!(walk!(walk, endpoint.rotate_secret(app(), ep(), rotate, None)).unwrap().key, KEY);
    assert_eq!(walk!(walk, endpoint.get_secret(app(), ep())).unwrap().key, KEY);
    patched
}

/// Code that leaves webhooks as they are, but for a header, under its new name and its old one.
async fn transformation(walk: &mut Walk, app: String, endpoint: String) {
    let endpoints = walk.stack.svix.endpoint();
    let transformation = endpoints.transformation();
    let none = transformation.get(app.clone(), endpoint.clone()).await.unwrap();
    assert_eq!((none.code, none.enabled, none.updated_at), (None, Some(false), None));
    let code =
        "function handler(webhook) { webhook.headers = { 'x-code': webhook.env.team }; return webhook }";
    let patch = json!({"code": code, "variables": {"team": "books"}});
    let patch: EndpointTransformationPatch = serde_json::from_value(patch).unwrap();
    transformation.patch(app.clone(), endpoint.clone(), patch).await.unwrap();
    let enabled = EndpointTransformationIn { enabled: Some(true), ..EndpointTransformationIn::new() };
    #[expect(deprecated, reason = "customers still call it")]
    let changed = endpoints.transformation_partial_update(app.clone(), endpoint.clone(), enabled).await;
    changed.unwrap();
    let kept = transformation.get(app.clone(), endpoint.clone()).await.unwrap();
    assert_eq!((kept.code.as_deref(), kept.enabled), (Some(code), Some(true)));
    assert_eq!(kept.variables, Some(pairs(&[("team", "books")])));
    assert!(kept.updated_at.is_some());
    let broken: EndpointTransformationPatch =
        serde_json::from_value(json!({"code": "function broken {"})).unwrap();
    invalid(transformation.patch(app, endpoint, broken).await, ["body", "code"]);
    for name in [
        "endpoint_transformation.get",
        "endpoint_transformation.patch",
        "endpoint.transformation_partial_update",
    ] {
        walk.walked.insert(name);
    }
}

pub(super) async fn authentication(walk: &mut Walk, app: &str, endpoint: &EndpointOut) {
    let app = || app.to_owned();
    let access =
        walk!(walk, authentication.app_portal_access(app(), AppPortalAccessIn::new(), None)).unwrap();
    assert!(access.url.starts_with("http"));
    let portal = walk.as_caller(&access.token);
    let seen = walk!(walk, as portal, endpoint.get(app(), endpoint.id.clone())).unwrap();
    assert_eq!((seen.id, seen.url), (endpoint.id.clone(), endpoint.url.clone()));
    let mine = portal.application().create(ApplicationIn::new("Mine".into()), None).await;
    assert!(matches!(&mine, Err(svix::error::Error::Http(error)) if error.status == 403), "{mine:?}");
    assert_eq!(walk!(walk, as portal, event_type.list(None)).unwrap().data.len(), 1, "without the flag");
    walk!(walk, as portal, authentication.logout(None)).unwrap();

    let flags = AppPortalAccessIn { feature_flags: Some(set("beta")), ..AppPortalAccessIn::new() };
    let access = walk!(walk, authentication.app_portal_access(app(), flags, None)).unwrap();
    let portal = walk.as_caller(&access.token);
    assert_eq!(walk!(walk, as portal, event_type.list(None)).unwrap().data.len(), 2, "with the flag");
    let all = ApplicationTokenExpireIn::new();
    walk!(walk, authentication.expire_all(app(), all, None)).unwrap();
    refused(walk!(walk, as portal, endpoint.list(app(), None)), 401, "authentication_failed");
}
