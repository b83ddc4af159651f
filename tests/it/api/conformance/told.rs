//! Operational webhook endpoints.

use svix::api::OperationalWebhookEndpointListOptions;
use svix::models::{
    OperationalWebhookEndpointHeadersIn, OperationalWebhookEndpointIn, OperationalWebhookEndpointSecretIn,
    OperationalWebhookEndpointUpsertIn,
};

use super::resources::{KEY, OLD_KEY};
use super::{Walk, refused};

pub(super) async fn told(walk: &mut Walk) {
    let operational = walk.stack.svix.operational_webhook();
    let endpoints = operational.endpoint();
    let url = walk.receiver.url("/told");
    let given = OperationalWebhookEndpointIn {
        uid: Some("told".into()),
        event_types: Some(["endpoint.created".to_owned()].into()),
        secret: Some(OLD_KEY.into()),
        ..OperationalWebhookEndpointIn::new(url.clone())
    };
    let made = endpoints.create(given.clone(), None).await.unwrap();
    assert_eq!((&made.url, &made.event_types), (&url, &given.event_types));
    refused(endpoints.create(given, None).await, 409, "conflict");
    assert_eq!(endpoints.get("told".into()).await.unwrap(), made);
    let options = OperationalWebhookEndpointListOptions { limit: Some(10), ..Default::default() };
    assert_eq!(endpoints.list(Some(options)).await.unwrap().data, std::slice::from_ref(&made));
    let put = OperationalWebhookEndpointUpsertIn {
        uid: Some("told".into()),
        description: Some("On call".into()),
        event_types: made.event_types.clone(),
        ..OperationalWebhookEndpointUpsertIn::new(url)
    };
    let changed = endpoints.upsert(made.id.clone(), put).await.unwrap();
    assert_eq!((&changed.id, &*changed.description), (&made.id, "On call"));
    let headers = OperationalWebhookEndpointHeadersIn::new([("x-team".to_owned(), "red".to_owned())].into());
    endpoints.set_headers("told".into(), headers.clone()).await.unwrap();
    assert_eq!(endpoints.get_headers("told".into()).await.unwrap().headers, headers.headers);
    assert_eq!(endpoints.get_secret("told".into()).await.unwrap().key, OLD_KEY);
    let key = OperationalWebhookEndpointSecretIn { key: Some(KEY.into()), ..Default::default() };
    endpoints.rotate_secret("told".into(), key, None).await.unwrap();
    assert_eq!(endpoints.get_secret("told".into()).await.unwrap().key, KEY);

    let app = walk.stack.app().await;
    walk.stack.endpoint(&app, "http://127.0.0.1:9/").await;
    let webhook = loop {
        let webhook = walk.receiver.next().await;
        // What happened just before may come, too.
        if webhook.path == "/told" && String::from_utf8_lossy(&webhook.body).contains(&app) {
            break webhook;
        }
    };
    for key in [OLD_KEY, KEY] {
        webhook.verify(key);
    }
    assert_eq!(webhook.header("x-team"), "red");
    endpoints.delete("told".into()).await.unwrap();
    refused(endpoints.get(made.id).await, 404, "not_found");
    for name in [
        "operational_webhook_endpoint.create",
        "operational_webhook_endpoint.delete",
        "operational_webhook_endpoint.get",
        "operational_webhook_endpoint.get_headers",
        "operational_webhook_endpoint.get_secret",
        "operational_webhook_endpoint.list",
        "operational_webhook_endpoint.rotate_secret",
        "operational_webhook_endpoint.set_headers",
        "operational_webhook_endpoint.upsert",
    ] {
        walk.walked.insert(name);
    }
}
