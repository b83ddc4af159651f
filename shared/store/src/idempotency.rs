//! Idempotency records: which request a key stands for, and what it was answered.

use std::time::Duration;

use super::item::{Get as _, Item, Put as _, SCHEMA, b, n, s};
use super::{Store, Table, keys};
use domain::error::{Result, corrupt, unavailable};
use domain::ids::MessageId;
use runtime::clock::Timestamp;

/// How long a key stands for its first request.
pub const KEPT: Duration = Duration::from_secs(12 * 3600);

/// Who a key belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// To the request that asks.
    Acquired,
    /// To an earlier one.
    Existing(Record),
}

/// What is on record of the earlier request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it claimed the key.
    pub at: Timestamp,
    /// The message that it makes, if it makes one.
    pub message: Option<MessageId>,
    /// Status and body of its answer, once it was answered with success.
    pub answer: Option<(u16, Vec<u8>)>,
    /// Distinguishes two claims of one key.
    pub owner: String,
}

fn place(hash: &str) -> String {
    format!("answer {hash}")
}

impl Store {
    /// Claims a key, for `message` if the request makes one. A record past its time counts as absent; one of
    /// `stale_owner` is taken over.
    ///
    /// # Errors
    /// The store's own.
    pub async fn claim_key(
        &self,
        hash: &str,
        owner: &str,
        message: Option<MessageId>,
        stale_owner: Option<&str>,
    ) -> Result<Claim> {
        let now = self.clock.now();
        let item = keys::idempotency(hash)
            .with("v", n(SCHEMA))
            .with("at", n(now.ms()))
            .with("o", s(owner))
            .with_some("m", message.map(|id| s(id.to_string())))
            .with("ttl", n(now.after(KEPT).seconds()));
        // The SDK repeats a put whose answer was lost, and the first had taken effect. The message and the answer belong
        // to the condition: a put that takes effect late, when its request has taken another's claim over or was
        // answered, must not bring back what it began with.
        let same = if message.is_some() { "m = :message" } else { "attribute_not_exists(m)" };
        let mut condition = format!(
            "attribute_not_exists(pk) OR #ttl <= :now OR (o = :owner AND attribute_not_exists(a) AND {same})"
        );
        let mut values = vec![(":now", n(now.seconds())), (":owner", s(owner))];
        values.extend(message.map(|id| (":message", s(id.to_string()))));
        if let Some(stale) = stale_owner {
            condition.push_str(" OR (o = :stale AND attribute_not_exists(a))");
            values.push((":stale", s(stale)));
        }
        match self.put_log(item, &condition, values, "claim an idempotency key").await? {
            None => Ok(Claim::Acquired),
            Some(old) => self.record_of(hash, &old).map(Claim::Existing),
        }
    }

    /// Lets the key that `owner` claimed stand for another message, if it still has it.
    ///
    /// # Errors
    /// The store's own.
    pub async fn move_key(&self, hash: &str, owner: &str, message: MessageId) -> Result<()> {
        let values = vec![(":message", s(message.to_string())), (":owner", s(owner))];
        let condition = "o = :owner AND attribute_not_exists(a)";
        // Where somebody else took the key over, theirs stays.
        self.update_log(
            keys::idempotency(hash),
            "SET m = :message",
            condition,
            values,
            "move an idempotency key",
        )
        .await
        .map(drop)
    }

    fn record_of(&self, hash: &str, item: &Item) -> Result<Record> {
        item.check_schema()?;
        let answer = item.bytes("a").map(|sealed| self.sealer.open(&place(hash), sealed)).transpose()?;
        Ok(Record {
            at: item.time("at")?,
            message: item
                .text_opt("m")
                .map(str::parse)
                .transpose()
                .map_err(corrupt("an idempotency record"))?,
            answer: answer.map(|body| Ok::<_, domain::Error>((item.number("c")?, body))).transpose()?,
            owner: item.text("o")?.to_owned(),
        })
    }

    /// Keeps the answer of the request that claimed the key. Sealed: answers can hold tokens and keys.
    ///
    /// # Errors
    /// The store's own.
    pub async fn keep_answer(&self, hash: &str, owner: &str, status: u16, body: &[u8]) -> Result<()> {
        let out = Box::pin(
            self.client
                .update_item()
                .table_name(self.table(Table::Log))
                .set_key(Some(keys::idempotency(hash)))
                .update_expression("SET c = :status, a = :answer, #ttl = :ttl")
                .condition_expression("o = :owner")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":status", n(status))
                .expression_attribute_values(":answer", b(self.sealer.seal(&place(hash), body)))
                .expression_attribute_values(":ttl", n(self.clock.now().after(KEPT).seconds()))
                .expression_attribute_values(":owner", s(owner))
                .set_return_consumed_capacity(self.return_consumed_capacity.clone())
                .send(),
        )
        .await;
        match out {
            Ok(_) => {}
            // Somebody else took the key over: theirs is kept.
            Err(error) if crate::is_condition(&error) => {}
            Err(error) => return Err(unavailable("store a response")(error)),
        }
        Ok(())
    }

    /// Gives a key up whose request did not succeed: only successes are kept.
    ///
    /// # Errors
    /// The store's own.
    pub async fn free_key(&self, hash: &str, owner: &str) -> Result<()> {
        let out = Box::pin(
            self.client
                .delete_item()
                .table_name(self.table(Table::Log))
                .set_key(Some(keys::idempotency(hash)))
                .condition_expression("o = :owner")
                .expression_attribute_values(":owner", s(owner))
                .set_return_consumed_capacity(self.return_consumed_capacity.clone())
                .send(),
        )
        .await;
        match out {
            Ok(_) => {}
            Err(error) if crate::is_condition(&error) => {}
            Err(error) => return Err(unavailable("free an idempotency key")(error)),
        }
        Ok(())
    }
}
