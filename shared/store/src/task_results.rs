//! What tasks found out about applications: an item each, so that a result may be longer than an item.

use super::item::{FromItem, Get as _, Item, Put as _, SCHEMA, n, s, texts};
use super::tasks::AppUsage;
use super::{Range, Store, Table, keys};
use aws_sdk_dynamodb::types::AttributeValue;
use domain::error::{Result, corrupt, unavailable};
use domain::ids::TaskId;
use domain::retention::LOG_RETENTION_DAYS;

/// Items that are read at a time: DynamoDB ends a page at 1 MB by itself.
const PAGE: usize = 10_000;

impl FromItem for AppUsage {
    fn from_item(item: &Item) -> Result<Self> {
        item.check_schema()?;
        Ok(Self {
            app: item.text("sk")?.parse().map_err(corrupt("a task's result"))?,
            uid: item.text_opt("u").map(str::to_owned),
            destinations: item.number("c")?,
            event_types: item.texts("et").unwrap_or_default(),
            has_catch_all: item.contains_key("ca"),
        })
    }
}

impl Store {
    /// Keeps a result of a task. One that was kept by another copy of the same step is replaced.
    ///
    /// # Errors
    /// The store's own.
    pub async fn put_task_result(&self, task: TaskId, usage: &AppUsage) -> Result<()> {
        let item = keys::task_result(task, usage.app)
            .with("v", n(SCHEMA))
            .with_some("u", usage.uid.as_ref().map(s))
            .with("c", n(usage.destinations))
            .with_some("et", texts(Some(&usage.event_types)))
            .with_some("ca", usage.has_catch_all.then_some(AttributeValue::Bool(true)))
            .with("ttl", n(task.time().seconds() + LOG_RETENTION_DAYS * 86_400));
        self.client
            .put_item()
            .table_name(self.table(Table::Log))
            .set_item(Some(item))
            .set_return_consumed_capacity(self.return_consumed_capacity.clone())
            .send()
            .await
            .map_err(unavailable("keep a task's result"))?;
        Ok(())
    }

    /// All results of a task, in the order of the applications' ids.
    ///
    /// # Errors
    /// The store's own.
    pub async fn task_results(&self, task: TaskId) -> Result<Vec<AppUsage>> {
        let (mut results, mut start) = (Vec::new(), None);
        loop {
            let range = Range {
                pk: keys::task_results_pk(task),
                from: "app_".to_owned(),
                to: "app_~".to_owned(),
                ascending: true,
                limit: PAGE,
                strong: true,
                start,
                operation: "read a task's results",
            };
            let page = self.query(Table::Log, range).await?;
            for item in &page.items {
                results.push(AppUsage::from_item(item)?);
            }
            start = page.last;
            if start.is_none() {
                return Ok(results);
            }
        }
    }
}
