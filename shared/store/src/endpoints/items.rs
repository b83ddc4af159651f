//! Endpoints as items, and as the items that are left of deleted ones.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::aws_place::{AwsPlace, AwsService, FORMATS};
use domain::error::{Result, corrupt};
use domain::http_signature::STYLE;
use domain::ids::{AppId, EndpointId};
use domain::order::Fifo;
use domain::payload_filter::PayloadFilter;
use domain::together::Batching;
use domain::transformation::TransformationId;

use super::{Destination, Endpoint, EndpointSettings};
use crate::applications::{metadata, metadata_of, retry_policy, retry_policy_of};
use crate::attempts::endpoint_of;
use crate::endpoint_secrets::EndpointHeaders;
use crate::health::{probing_fields, probing_of};
use crate::item::{Get as _, Item, Put as _, SCHEMA, b, n, s, texts};
use crate::order::yes;
use crate::{BATCH_GET_MAX, Store, Table, keys};

/// Items of before there were kinds have a URL and no kind.
fn destination_of(item: &Item) -> Result<Destination> {
    match item.text_opt("destination") {
        None | Some("http") => Ok(Destination::Http { url: item.text("url")?.to_owned() }),
        Some("polling") => Ok(Destination::Polling),
        Some(kind) => match AwsService::of_kind(kind) {
            Some(service) => Ok(Destination::Aws(Box::new(AwsPlace {
                service,
                arn: item.text("url")?.to_owned(),
                region: item.text("region")?.to_owned(),
                role_arn: item.text("roleArn")?.to_owned(),
                fifo_key: item.text_opt("fifoKey").map(str::to_owned),
                key_template: item.text_opt("keyTemplate").map(str::to_owned),
                json_lines: match item.text_opt("format") {
                    None => false,
                    Some(format) if format == FORMATS[1] => true,
                    Some(format) => {
                        return Err(corrupt("an endpoint")(format!("its format is {format:?}")));
                    }
                },
            }))),
            None => Err(corrupt("an endpoint")(format!("its destination is {kind:?}"))),
        },
    }
}

/// An item, and where its endpoint's messages go.
fn with_destination(item: Item, destination: &Destination) -> Item {
    let item = item.with("destination", s(destination.kind())).with("url", s(destination.address()));
    let Destination::Aws(place) = destination else { return item };
    item.with("region", s(&place.region))
        .with("roleArn", s(&place.role_arn))
        .with_some("fifoKey", place.fifo_key.as_ref().map(s))
        .with_some("keyTemplate", place.key_template.as_ref().map(s))
        .with_some("format", place.format().map(s))
}

fn batching_of(item: &Item) -> Batching {
    let size = item.number_opt("orderBatch").unwrap_or(Batching::default().size);
    Batching { size, wait: item.number_opt("orderWait").unwrap_or_default() }
}

fn filter_of(item: &Item) -> Result<Option<PayloadFilter>> {
    let read =
        |text| PayloadFilter::parse(text).map_err(|invalid| corrupt("an endpoint's filter")(invalid.reason));
    item.text_opt("filter").map(read).transpose()
}

fn http_signatures_of(item: &Item) -> Result<bool> {
    match item.text_opt("headerStyle") {
        None => Ok(false),
        Some(STYLE) => Ok(true),
        Some(style) => Err(corrupt("an endpoint")(format!("its header style is {style:?}"))),
    }
}

impl Store {
    pub(super) fn endpoint_item(&self, endpoint: &Endpoint) -> Result<Item> {
        let settings = &endpoint.settings;
        let mut item = with_destination(keys::endpoint(endpoint.app, endpoint.id), &settings.destination);
        for (name, value) in endpoint.probing.iter().flat_map(probing_fields) {
            item = item.with(name, value);
        }
        Ok(item
            .with("v", n(SCHEMA))
            .with("description", s(&settings.description))
            .with_some("uid", settings.uid.as_ref().map(s))
            .with_some("eventTypes", texts(settings.event_types.as_deref()))
            .with_some("channels", texts(settings.channels.as_deref()))
            .with_some("filter", settings.filter.as_ref().map(|filter| s(filter.text())))
            .with("disabled", AttributeValue::Bool(settings.disabled))
            .with_some("rateLimit", settings.rate_limit.map(n))
            .with_some("retryPolicy", retry_policy(settings.retry_policy.as_ref()))
            .with_some("autoEnable", settings.auto_enable.then_some(AttributeValue::Bool(true)))
            .with_some("headerStyle", settings.http_signatures.then(|| s(STYLE)))
            .with_some("fifo", yes(settings.fifo.is_some()))
            .with_some("orderKey", settings.fifo.as_ref().and_then(|fifo| fifo.key.as_ref()).map(s))
            .with_some("orderBatch", settings.batching().map(|batching| n(batching.size)))
            .with_some("orderWait", settings.batching().map(|batching| n(batching.wait)))
            .with_some("metadata", metadata(&settings.metadata))
            .with("keys", self.sealed_keys(endpoint))
            .with_some("headers", self.sealed_headers(endpoint)?)
            .with_some("transformation", endpoint.transformation.as_ref().map(|id| s(id.text())))
            .with_some("autoConfig", endpoint.auto_config.as_deref().map(b))
            .with_some("failingSince", endpoint.failing_since.map(|at| n(at.ms())))
            .with_some("failingFrom", endpoint.failing_from.map(|at| n(at.ms())))
            .with_some("failingWarned", endpoint.failing_warned.then_some(AttributeValue::Bool(true)))
            .with("createdAt", n(endpoint.created_at.ms()))
            .with("updatedAt", n(endpoint.updated_at.ms())))
    }

    pub(crate) fn endpoint_of(&self, app: AppId, item: &Item) -> Result<Endpoint> {
        item.check_schema()?;
        let id = item.text("sk")?.strip_prefix("EP#").unwrap_or_default();
        let id: EndpointId = id.parse().map_err(corrupt("an endpoint's key"))?;
        Ok(Endpoint {
            app,
            id,
            settings: EndpointSettings {
                destination: destination_of(item)?,
                description: item.text("description")?.to_owned(),
                uid: item.text_opt("uid").map(str::to_owned),
                event_types: item.texts("eventTypes"),
                channels: item.texts("channels"),
                filter: filter_of(item)?,
                disabled: item.get("disabled").and_then(|flag| flag.as_bool().ok()).copied().unwrap_or(false),
                rate_limit: item.number_opt("rateLimit"),
                retry_policy: retry_policy_of(item)?,
                auto_enable: item.get("autoEnable").is_some(),
                http_signatures: http_signatures_of(item)?,
                fifo: item.contains_key("fifo").then(|| Fifo {
                    key: item.text_opt("orderKey").map(str::to_owned),
                    batching: batching_of(item),
                }),
                metadata: metadata_of(item),
            },
            keys: self.opened_keys(id, item)?,
            headers: self.opened_headers(id, item)?,
            transformation: item.text_opt("transformation").map(TransformationId::from_text),
            auto_config: item.bytes("autoConfig").map(<[u8]>::to_vec),
            failing_since: item.time_opt("failingSince"),
            failing_from: item.time_opt("failingFrom"),
            failing_warned: item.get("failingWarned").is_some(),
            probing: probing_of(item)?,
            created_at: item.time("createdAt")?,
            updated_at: item.time("updatedAt")?,
        })
    }

    /// What lists show of an endpoint after it was deleted, for as long as there can be messages that went
    /// to it: no key, no header, nothing of its owner's notes.
    pub(super) fn deleted_item(&self, endpoint: &Endpoint) -> Item {
        let settings = &endpoint.settings;
        with_destination(keys::deleted_endpoint(endpoint.id), &settings.destination)
            .with("v", n(SCHEMA))
            .with("description", s(&settings.description))
            .with_some("uid", settings.uid.as_ref().map(s))
            .with_some("eventTypes", texts(settings.event_types.as_deref()))
            .with_some("channels", texts(settings.channels.as_deref()))
            .with_some("rateLimit", settings.rate_limit.map(n))
            .with("createdAt", n(endpoint.created_at.ms()))
            .with("updatedAt", n(self.clock.now().ms()))
            .with("ttl", n(self.retention.messages_until(self.clock.now()).seconds()))
    }

    /// Those of the endpoints that were deleted while there was a log of them, as they were then.
    ///
    /// # Errors
    /// The store's own.
    pub async fn deleted_endpoints(&self, app: AppId, ids: &[EndpointId]) -> Result<Vec<Endpoint>> {
        let mut found = Vec::new();
        for ids in ids.chunks(BATCH_GET_MAX) {
            let wanted = ids.iter().map(|id| keys::deleted_endpoint(*id)).collect();
            let items = self.batch_get(Table::Log, wanted, false, "read deleted endpoints").await?;
            for item in items.iter() {
                item.check_schema()?;
                found.push(Endpoint {
                    app,
                    id: endpoint_of(item)?,
                    settings: EndpointSettings {
                        destination: destination_of(item)?,
                        description: item.text("description")?.to_owned(),
                        uid: item.text_opt("uid").map(str::to_owned),
                        event_types: item.texts("eventTypes"),
                        channels: item.texts("channels"),
                        filter: None,
                        // Nothing is sent to it.
                        disabled: true,
                        rate_limit: item.number_opt("rateLimit"),
                        retry_policy: None,
                        auto_enable: false,
                        http_signatures: false,
                        fifo: None,
                        metadata: BTreeMap::new(),
                    },
                    keys: Vec::new(),
                    headers: EndpointHeaders::default(),
                    transformation: None,
                    auto_config: None,
                    failing_since: None,
                    failing_from: None,
                    failing_warned: false,
                    probing: None,
                    created_at: item.time("createdAt")?,
                    updated_at: item.time("updatedAt")?,
                });
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_without_a_kind_is_a_url() {
        let url = "https://example.com/";
        let item =
            |kind: Option<&str>| Item::default().with("url", s(url)).with_some("destination", kind.map(s));
        let http = Destination::Http { url: url.into() };
        assert_eq!(destination_of(&item(None)).unwrap(), http);
        assert_eq!(destination_of(&item(Some(http.kind()))).unwrap(), http);
        assert!(destination_of(&item(Some("of another age"))).is_err());
    }

    #[test]
    fn a_place_in_aws_is_kept_as_it_is() {
        for service in AwsService::ALL {
            for optional in [None, Some("x".to_owned())] {
                let place = Destination::Aws(Box::new(AwsPlace {
                    service,
                    arn: "arn".into(),
                    region: "r".into(),
                    role_arn: "role".into(),
                    fifo_key: optional.clone(),
                    json_lines: optional.is_some(),
                    key_template: optional,
                }));
                assert_eq!(destination_of(&with_destination(Item::default(), &place)).unwrap(), place);
            }
        }
    }
}
