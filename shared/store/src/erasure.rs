//! Erasure: what a deleted application leaves in the tables goes, page by page. Each page is read from
//! the front, so what was deleted by a step that died is simply not there for the next.

use aws_sdk_dynamodb::types::AttributeValue;

use super::item::{Get as _, Item};
use super::keys::SHARDS;
use super::{Range, Store, Table, keys};
use domain::copies::COPIES_MAX;
use domain::error::{Result, corrupt, unavailable};
use domain::ids::{AppId, EndpointId, OrgId};

/// Items that are read and deleted at a time.
const PAGE: usize = 100;

impl Store {
    /// Takes the keys and headers out of a page of an application's endpoints; the last of them if
    /// there may be more behind it.
    ///
    /// # Errors
    /// The store's own.
    pub async fn erase_secrets(&self, app: AppId, after: Option<EndpointId>) -> Result<Option<EndpointId>> {
        let page = self.endpoint_page(app, after, PAGE).await?;
        for id in &page {
            let sent = self
                .client
                .update_item()
                .table_name(self.table(Table::Config))
                .set_key(Some(keys::endpoint(app, *id)))
                .update_expression("SET disabled = :true REMOVE #keys, headers")
                .condition_expression("attribute_exists(pk)")
                .expression_attribute_names("#keys", "keys")
                .expression_attribute_values(":true", AttributeValue::Bool(true))
                .set_return_consumed_capacity(self.return_consumed_capacity.clone())
                .send()
                .await;
            match sent {
                Ok(_) => {}
                Err(error) if crate::is_condition(&error) => {}
                Err(error) => return Err(unavailable("erase secrets")(error)),
            }
        }
        Ok(page.last().copied().filter(|_| page.len() == PAGE))
    }

    /// The ids of a deleted application's endpoints behind `after`, up to `limit` of them.
    ///
    /// # Errors
    /// The store's own.
    pub async fn endpoint_page(
        &self,
        app: AppId,
        after: Option<EndpointId>,
        limit: usize,
    ) -> Result<Vec<EndpointId>> {
        let range = Range {
            pk: keys::application_pk(app),
            // What sorts just behind an id is the id and one character more.
            from: after.map_or_else(|| "EP#".to_owned(), |id| format!("EP#{id}!")),
            to: "EP#~".to_owned(),
            ascending: true,
            limit,
            strong: true,
            start: None,
            operation: "go through endpoints",
        };
        let page = self.query(Table::Config, range).await?;
        let id = |item: &Item| {
            let id = item.text("sk")?.strip_prefix("EP#").unwrap_or_default();
            id.parse().map_err(corrupt("an endpoint's key"))
        };
        page.items.iter().map(id).collect()
    }

    /// Deletes a page of one shard of an application's messages, with their texts and event ids; how
    /// many items there were, none at the end.
    ///
    /// # Errors
    /// The store's own.
    pub async fn erase_messages(&self, org: OrgId, app: AppId, shard: u8) -> Result<usize> {
        let notes = self.front(Table::Log, keys::undelivered_pk(app, shard)).await?;
        if !notes.is_empty() {
            let twins = notes.iter().map(|item| Ok(keys::undelivered_twin(org, shard, item.text("sk")?)));
            self.batch_delete(Table::Log, twins.collect::<Result<_>>()?, "erase notes").await?;
            return self.erase_page(Table::Log, notes).await;
        }
        // The order belongs to no shard.
        let order = if shard == 0 { self.front(Table::Log, keys::order_pk(app)).await? } else { Vec::new() };
        if !order.is_empty() {
            return self.erase_page(Table::Log, order).await;
        }
        let page = self.front(Table::Log, keys::messages_pk(app, shard)).await?;
        let event_ids = page.iter().filter_map(|item| item.text_opt("ei"));
        // The event ids first: they are found by the messages.
        let event_ids = event_ids.map(|id| keys::event_id(app, id)).collect();
        self.batch_delete(Table::Log, event_ids, "erase event ids").await?;
        self.erase_page(Table::Log, page).await
    }

    /// Deletes a page of an endpoint's log; how many items there were, none at the end.
    ///
    /// # Errors
    /// The store's own.
    pub async fn erase_log(&self, endpoint: EndpointId) -> Result<usize> {
        let partitions = (0..SHARDS).map(|shard| keys::log_pk(endpoint, shard));
        let others = [keys::stats_pk(endpoint), keys::consumers_pk(endpoint), keys::order_place_pk(endpoint)];
        for pk in partitions.chain(others) {
            let page = self.front(Table::Log, pk).await?;
            if !page.is_empty() {
                return self.erase_page(Table::Log, page).await;
            }
        }
        Ok(0)
    }

    /// Deletes a page of what is left of an application's configuration; how many items there were.
    ///
    /// # Errors
    /// The store's own.
    pub async fn erase_endpoints(&self, app: AppId) -> Result<usize> {
        let page = self.front(Table::Config, keys::application_pk(app)).await?;
        if page.is_empty() {
            // They went with the application, unless a version did that which knows of none.
            let copies = keys::application_items(app, COPIES_MAX).skip(1).collect();
            self.batch_delete(Table::Config, copies, "erase copies of an application").await?;
        }
        self.erase_page(Table::Config, page).await
    }

    /// The first items of a partition.
    async fn front(&self, table: Table, pk: String) -> Result<Vec<Item>> {
        let range = Range {
            pk,
            from: "!".to_owned(),
            to: "~".to_owned(),
            ascending: true,
            limit: PAGE,
            strong: true,
            start: None,
            operation: "go through what is to be erased",
        };
        Ok(self.query(table, range).await?.items)
    }

    async fn erase_page(&self, table: Table, page: Vec<Item>) -> Result<usize> {
        let count = page.len();
        let keys = page.into_iter().map(|mut item| {
            item.retain(|name, _| name == "pk" || name == "sk");
            item
        });
        self.batch_delete(table, keys.collect(), "erase").await?;
        Ok(count)
    }
}
