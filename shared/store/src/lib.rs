//! The only code that speaks DynamoDB: two tables, every key in [`keys`], one file per kind of item.
//!
//! Every write states its condition, so that work that is done twice is written once.

pub mod applications;
pub mod attempts;
pub mod audit;
pub mod auto_config;
mod bulk;
mod calls;
pub mod chosen;
mod conflict;
pub mod connectors;
mod copies;
pub mod destinations;
pub mod endpoint_secrets;
pub mod endpoints;
pub mod erasure;
pub mod event_types;
mod first;
mod health;
pub mod http_keys;
pub mod idempotency;
pub mod integrations;
mod item;
pub mod keys;
pub mod messages;
pub mod needs;
pub mod order;
mod packed;
pub mod payloads;
pub mod polling;
pub mod polling_keys;
mod ranges;
pub mod seal;
pub mod sessions;
pub mod shards;
mod short;
pub mod stats;
mod task_results;
pub mod tasks;
pub mod theme;
pub mod throttles;
pub mod timers;
pub mod tokens;
mod transaction;
pub mod transformations;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemInput;
use aws_sdk_dynamodb::operation::get_item::GetItemInput;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemInput};
use aws_sdk_dynamodb::operation::query::QueryInput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemInput;
use aws_sdk_dynamodb::types::{
    AttributeValue, DeleteRequest, KeysAndAttributes, ReturnConsumedCapacity,
    ReturnValuesOnConditionCheckFailure, WriteRequest,
};

use domain::error::{Result, unavailable};
use domain::ids::{AppId, EndpointId, Id, OrgId};
use domain::new_ids::NewIds;
use domain::operational::OperationalEvents;
use domain::retention::Retention;
use runtime::cache::Cache;
use runtime::clock::{SharedClock, Timestamp};
use runtime::config::Tables;
use runtime::random::SharedRandom;
use sdk::Service;
use seal::Sealer;

use calls::Calls;
use item::Get as _;
pub use item::Item;

/// Most keys of one BatchGetItem, by its definition.
const BATCH_GET_MAX: usize = 100;
/// Most writes of one BatchWriteItem, by its definition.
const BATCH_WRITE_MAX: usize = 25;

/// The two tables.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    /// The operations that messages are made of: their requests cost less than the client's.
    calls: Calls,
    tables: Tables,
    sealer: Sealer,
    clock: SharedClock,
    random: SharedRandom,
    ids: Arc<NewIds>,
    /// What is asked of DynamoDB about what a request consumed.
    return_consumed_capacity: Option<ReturnConsumedCapacity>,
    /// What happens to endpoints and tasks is told as operational webhooks, by this.
    operational_events: Option<Arc<dyn OperationalEvents>>,
    /// Whether an organisation is told what happens in it, as it was when it was last looked up.
    told: Arc<Cache<OrgId, bool>>,
    /// Which application has a uid, as it was when it was last looked up.
    uids: Arc<Cache<(OrgId, String), AppId>>,
    /// When which minute of an endpoint's counts was marked by this instance.
    marked: Arc<Cache<(EndpointId, u64), Timestamp>>,
    /// Which applications have more than one copy, as their items said.
    copies: Arc<Cache<AppId, copies::Known>>,
    /// How often this instance read which application of late.
    readings: Arc<Cache<AppId, Arc<AtomicU32>>>,
    /// How long what is written stays.
    retention: Retention,
    /// Lists of attempts leave out those inside states: only in the simulation's own tests.
    blind: bool,
}

/// The table an item is in.
#[derive(Clone, Copy, Debug)]
enum Table {
    Config,
    Log,
}

impl Store {
    /// A store over `client`, and over `service` for what is asked often.
    pub fn new(
        client: Client,
        service: &Service,
        tables: Tables,
        sealer: Sealer,
        clock: SharedClock,
        random: SharedRandom,
        return_consumed_capacity: Option<ReturnConsumedCapacity>,
    ) -> Self {
        let uids = Arc::new(Cache::new(applications::UIDS_MAX));
        let marked = Arc::new(Cache::new(stats::MARKS_KEPT));
        Self {
            client,
            calls: Calls::new(service),
            tables,
            sealer,
            clock,
            random,
            ids: Arc::default(),
            return_consumed_capacity,
            operational_events: None,
            told: Arc::new(Cache::new(applications::UIDS_MAX)),
            uids,
            marked,
            copies: Arc::new(Cache::new(applications::UIDS_MAX)),
            readings: Arc::new(Cache::new(applications::UIDS_MAX)),
            retention: Retention::default(),
            blind: false,
        }
    }

    /// This store, broken: its lists leave out the attempts inside states. The simulation has to find that.
    #[cfg(feature = "injected-bugs")]
    #[must_use]
    pub fn blind_to_first_attempts(self) -> Self {
        Self { blind: true, ..self }
    }

    /// This store, keeping what it writes for so long.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// How long what it writes stays.
    pub const fn retention(&self) -> &Retention {
        &self.retention
    }

    /// Whether an item counts: TTL removes it some time after it has expired, and for readers it is gone at once.
    fn is_there(&self, item: &Item) -> bool {
        item.number_opt::<u64>("ttl").is_none_or(|ttl| ttl > self.clock.now().seconds())
    }

    /// This store, telling what happens to endpoints and tasks as operational webhooks.
    #[must_use]
    pub fn with_operational_events(self, operational_events: Arc<dyn OperationalEvents>) -> Self {
        Self { operational_events: Some(operational_events), ..self }
    }

    /// An ID of that time for something new, greater than all that this instance has made in the same four milliseconds.
    pub fn new_id<I: Id>(&self, at: Timestamp) -> I {
        self.ids.next(at, &*self.random)
    }

    /// What draws.
    pub fn random(&self) -> SharedRandom {
        self.random.clone()
    }

    fn table(&self, table: Table) -> &str {
        match table {
            Table::Config => &self.tables.config,
            Table::Log => &self.tables.log,
        }
    }

    async fn get(
        &self,
        table: Table,
        key: Item,
        strong: bool,
        operation: &'static str,
    ) -> Result<Option<Item>> {
        let request = GetItemInput::builder()
            .table_name(self.table(table))
            .set_key(Some(key))
            .consistent_read(strong)
            .set_return_consumed_capacity(self.return_consumed_capacity.clone())
            .build()
            .map_err(unavailable(operation))?;
        Ok(self.calls.get.send(request).await.map_err(unavailable(operation))?.item)
    }

    /// Reads up to any number of items; those that are not there are left out, the order is lost.
    async fn batch_get(
        &self,
        table: Table,
        keys: Vec<Item>,
        strong: bool,
        operation: &'static str,
    ) -> Result<Vec<Item>> {
        let table = self.table(table);
        let mut found = Vec::with_capacity(keys.len());
        let mut waiting = keys;
        let mut wait = Duration::from_millis(20);
        while !waiting.is_empty() {
            let batch: Vec<Item> = waiting.drain(..waiting.len().min(BATCH_GET_MAX)).collect();
            let wanted = batch.len();
            let request = KeysAndAttributes::builder().set_keys(Some(batch)).consistent_read(strong).build();
            let request = BatchGetItemInput::builder()
                .request_items(table, request.map_err(unavailable(operation))?)
                .set_return_consumed_capacity(self.return_consumed_capacity.clone())
                .build()
                .map_err(unavailable(operation))?;
            let mut out = self.calls.batch_get.send(request).await.map_err(unavailable(operation))?;
            let mut responses = out.responses.take().unwrap_or_default();
            found.extend(responses.remove(table).unwrap_or_default());
            let left = out.unprocessed_keys.take().and_then(|mut left| left.remove(table));
            let left = left.map(|left| left.keys).unwrap_or_default();
            // 16 MB of answer or throttling leave keys over; with none served it is throttling.
            if left.len() == wanted {
                self.clock.sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(1));
            }
            waiting.extend(left);
        }
        Ok(found)
    }

    /// Deletes items, whether or not they are there: what is deleted twice is deleted.
    async fn batch_delete(&self, table: Table, keys: Vec<Item>, operation: &'static str) -> Result<()> {
        let deletes = keys.into_iter().map(|key| {
            let delete = DeleteRequest::builder().set_key(Some(key)).build();
            let delete = delete.map_err(domain::error::corrupt("a write"))?;
            Ok(WriteRequest::builder().delete_request(delete).build())
        });
        self.batch_write(table, deletes.collect::<Result<_>>()?, operation).await
    }

    /// Does writes that need no condition, as many in a request as one may have.
    async fn batch_write(
        &self,
        table: Table,
        writes: Vec<WriteRequest>,
        operation: &'static str,
    ) -> Result<()> {
        let mut wait = Duration::from_millis(20);
        for chunk in writes.chunks(BATCH_WRITE_MAX) {
            let mut waiting = HashMap::from([(self.table(table).to_owned(), chunk.to_vec())]);
            while !waiting.is_empty() {
                let sent = waiting.values().map(Vec::len).sum::<usize>();
                let out = self
                    .client
                    .batch_write_item()
                    .set_request_items(Some(waiting))
                    .set_return_consumed_capacity(self.return_consumed_capacity.clone())
                    .send()
                    .await
                    .map_err(unavailable(operation))?;
                waiting = out.unprocessed_items.unwrap_or_default();
                // With none done it is throttling.
                if waiting.values().map(Vec::len).sum::<usize>() == sent {
                    self.clock.sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(1));
                }
            }
        }
        Ok(())
    }

    /// Puts an item into the log on a condition, which may speak of `#ttl`. None if it was written,
    /// otherwise the item that is there.
    async fn put_log(
        &self,
        item: Item,
        condition: &str,
        values: impl IntoIterator<Item = (&'static str, AttributeValue)>,
        operation: &'static str,
    ) -> Result<Option<Item>> {
        let values: HashMap<String, AttributeValue> =
            values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let alias =
            condition.contains("#ttl").then(|| HashMap::from([("#ttl".to_owned(), "ttl".to_owned())]));
        let request = PutItemInput::builder()
            .table_name(self.table(Table::Log))
            .set_item(Some(item))
            .condition_expression(condition)
            .set_expression_attribute_names(alias)
            .set_expression_attribute_values((!values.is_empty()).then_some(values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .set_return_consumed_capacity(self.return_consumed_capacity.clone())
            .build()
            .map_err(unavailable(operation))?;
        let error = match self.calls.put.send(request).await {
            Ok(_) => return Ok(None),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                Ok(Some(refused.item.clone().unwrap_or_default()))
            }
            _ => Err(unavailable(operation)(error)),
        }
    }

    /// Changes an item of the log on a condition; `false` where the condition was not met. `update`
    /// and `condition` may speak of `#ttl`.
    async fn update_log(
        &self,
        key: Item,
        update: &str,
        condition: &str,
        values: Vec<(&'static str, AttributeValue)>,
        operation: &'static str,
    ) -> Result<bool> {
        let values: HashMap<String, AttributeValue> =
            values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let aliased = update.contains("#ttl") || condition.contains("#ttl");
        let alias = aliased.then(|| HashMap::from([("#ttl".to_owned(), "ttl".to_owned())]));
        let request = UpdateItemInput::builder()
            .table_name(self.table(Table::Log))
            .set_key(Some(key))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(alias)
            .set_expression_attribute_values(Some(values))
            .set_return_consumed_capacity(self.return_consumed_capacity.clone())
            .build()
            .map_err(unavailable(operation))?;
        match self.calls.update.send(request).await {
            Ok(_) => Ok(true),
            Err(error) if crate::is_condition(&error) => Ok(false),
            Err(error) => Err(unavailable(operation)(error)),
        }
    }
}

/// Whether a DynamoDB write was refused by its own condition.
pub(crate) fn is_condition<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    error.code() == Some("ConditionalCheckFailedException")
}

/// One page of a partition: the items, and the key to go on behind.
struct QueryPage {
    items: Vec<Item>,
    last: Option<Item>,
}

/// A range of sort keys within a partition.
#[derive(Clone)]
struct Range {
    pk: String,
    /// Inclusive bounds.
    from: String,
    to: String,
    ascending: bool,
    limit: usize,
    strong: bool,
    start: Option<Item>,
    operation: &'static str,
}

impl Store {
    async fn query(&self, table: Table, range: Range) -> Result<QueryPage> {
        let request = QueryInput::builder()
            .table_name(self.table(table))
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
            .expression_attribute_values(":pk", AttributeValue::S(range.pk))
            .expression_attribute_values(":from", AttributeValue::S(range.from))
            .expression_attribute_values(":to", AttributeValue::S(range.to))
            .scan_index_forward(range.ascending)
            .limit(i32::try_from(range.limit).unwrap_or(i32::MAX))
            .consistent_read(range.strong)
            .set_exclusive_start_key(range.start)
            .set_return_consumed_capacity(self.return_consumed_capacity.clone())
            .build()
            .map_err(unavailable(range.operation))?;
        let out = self.calls.query.send(request).await.map_err(unavailable(range.operation))?;
        Ok(QueryPage { items: out.items.unwrap_or_default(), last: out.last_evaluated_key })
    }
}
