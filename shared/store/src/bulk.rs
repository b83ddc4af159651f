//! Messages that were delivered earlier, many at a time: what a benchmark finds on file.

use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};

use super::attempts::Attempt;
use super::first::state_item;
use super::messages::{NewMessage, items};
use super::{Store, Table};
use domain::error::{Result, corrupt};

impl Store {
    /// Writes messages, each with the first attempt that delivered it: the items that [`Store::put_message`] and
    /// [`Store::record_first_attempt`] write, without their conditions, so that 25 of them are one request. The ids have to be
    /// new ones, and of an endpoint whose deliveries nobody has counted yet.
    ///
    /// # Errors
    /// The store's own.
    pub async fn put_delivered(
        &self,
        delivered: impl IntoIterator<Item = (NewMessage, Attempt)>,
    ) -> Result<()> {
        let mut writes = Vec::new();
        for (message, attempt) in delivered {
            let (item, parts) = items(&message, &self.retention)?;
            let state = state_item(&attempt, true, self.attempt_ttl(&attempt));
            for item in parts.into_iter().chain([item, state]) {
                let put = PutRequest::builder().set_item(Some(item)).build().map_err(corrupt("a write"))?;
                writes.push(WriteRequest::builder().put_request(put).build());
            }
        }
        self.batch_write(Table::Log, writes, "store what was delivered").await
    }
}
