//! Where a message went: the endpoints that it was posted for, and those that it was sent to by hand
//! although it was not for them.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::item::{SCHEMA, b, n};
use super::messages::Message;
use super::{Store, Table, keys};
use domain::error::Result;
use domain::ids::{EndpointId, Id as _, Ksuid};

/// The endpoints that a message went to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations {
    /// Those that it was posted for.
    pub own: BTreeSet<EndpointId>,
    /// Those that somebody sent it to by hand, besides; it may not have arrived there yet, or never.
    pub further: BTreeSet<EndpointId>,
}

impl Destinations {
    /// All of them, oldest endpoint first.
    pub fn all(&self) -> BTreeSet<EndpointId> {
        self.own.union(&self.further).copied().collect()
    }
}

impl Store {
    /// The endpoints that a message went to.
    ///
    /// # Errors
    /// The store's own, and `Corrupt` if a part is missing.
    pub async fn destinations(&self, message: &Message) -> Result<Destinations> {
        let own = self.message_endpoints(message).await?.into_iter().collect();
        let key = keys::further_destinations(message.app, message.id);
        let item = self.get(Table::Log, key, true, "read further destinations").await?;
        let ids = item.as_ref().and_then(|item| item.get("e")?.as_bs().ok());
        let further = ids.into_iter().flatten().filter_map(|id| {
            let bytes = <[u8; 20]>::try_from(id.as_ref()).ok()?;
            Some(EndpointId::from_ksuid(Ksuid::from_bytes(bytes)))
        });
        Ok(Destinations { further: further.collect(), own })
    }

    /// Notes that a message is sent to an endpoint, if it was not posted for it, so that what becomes of
    /// it there is found by the message. To be called before it is sent by hand or by a task.
    ///
    /// # Errors
    /// The store's own.
    pub async fn note_destination(&self, message: &Message, endpoint: EndpointId) -> Result<()> {
        if self.message_endpoints(message).await?.contains(&endpoint) {
            return Ok(());
        }
        let id = endpoint.ksuid().bytes().to_vec();
        let update = "SET v = if_not_exists(v, :v), #ttl = if_not_exists(#ttl, :ttl) ADD e :ids";
        let condition = "attribute_not_exists(e) OR NOT contains(e, :id)";
        let values = vec![
            (":v", n(SCHEMA)),
            (":ttl", n(self.message_ttl(message.id))),
            (":ids", AttributeValue::Bs(vec![Blob::new(id.clone())])),
            (":id", b(id)),
        ];
        let key = keys::further_destinations(message.app, message.id);
        self.update_log(key, update, condition, values, "note a destination").await.map(drop)
    }
}
