//! Slots: when each delivery under a rate limit may be made, agreed on by all instances; and the
//! count of messages that an application may still post within a second.

use std::time::Duration;

use aws_sdk_dynamodb::types::ReturnValue;

use super::item::{Get as _, n};
use super::{Store, Table, keys};
use domain::error::{Result, corrupt, unavailable};
use domain::ids::AppId;
use runtime::clock::Timestamp;

pub use domain::rate_limit::{Limit, Limited};

/// Slots per second that one item hands out: a partition takes 1,000 writes a second, and a batch
/// reserves its slots with one write or, now and then, two.
const PER_ITEM_MAX: u32 = 500;
/// How long an item is kept that hands out nothing.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Tries of a reservation: each failure means that somebody else's succeeded.
const TRIES: u32 = 20;

impl Store {
    /// Reserves the next `count` free slots of a limit, the earliest first. None lies in the past.
    ///
    /// # Errors
    /// The store's own.
    pub async fn reserve_slots(&self, limit: Limit, count: u32) -> Result<Vec<Timestamp>> {
        let rate = u32::from(limit.per_second.max(1));
        let items = rate.div_ceil(PER_ITEM_MAX);
        let item = u32::from(runtime::random::bytes::<1>(&*self.random)[0]) % items;
        // Microseconds: at a high rate a slot is shorter than a millisecond.
        let step = 1_000_000 * u64::from(items) / u64::from(rate);
        let first = self.reserve(limit.of, item, step * u64::from(count)).await?;
        Ok((0..u64::from(count)).map(|nth| Timestamp::from_ms((first + nth * step).div_ceil(1000))).collect())
    }

    /// Reserves `length` microseconds, and returns where they begin.
    async fn reserve(&self, of: Limited, item: u32, length: u64) -> Result<u64> {
        const OPERATION: &str = "reserve slots";
        // The condition says which of two cases it is: an item that is behind the clock begins anew.
        let mut behind = false;
        for _ in 0..TRIES {
            let now = self.clock.now();
            let (update, condition) = if behind {
                ("SET nx = :now + :length, #ttl = :ttl", "attribute_not_exists(nx) OR nx < :now")
            } else {
                ("SET nx = nx + :length, #ttl = :ttl", "nx >= :now")
            };
            let sent = Box::pin(
                self.client
                    .update_item()
                    .table_name(self.table(Table::Log))
                    .set_key(Some(keys::throttle(of, item)))
                    .update_expression(update)
                    .condition_expression(condition)
                    .expression_attribute_names("#ttl", "ttl")
                    .expression_attribute_values(":now", n(now.ms() * 1000))
                    .expression_attribute_values(":length", n(length))
                    .expression_attribute_values(":ttl", n(now.after(KEPT).seconds()))
                    .return_values(ReturnValue::UpdatedNew)
                    .set_return_consumed_capacity(self.return_consumed_capacity.clone())
                    .send(),
            )
            .await;
            match sent {
                Ok(out) => {
                    let item = out.attributes.unwrap_or_default();
                    let end: u64 = item.number("nx")?;
                    return end
                        .checked_sub(length)
                        .ok_or_else(|| corrupt("a throttle")("it began before time"));
                }
                Err(error) if crate::is_condition(&error) => behind = !behind,
                Err(error) => return Err(unavailable(OPERATION)(error)),
            }
        }
        Err(unavailable(OPERATION)("others kept reserving at the same moment"))
    }

    /// Takes `count` of the messages that an application may post within the second of `at`; `false`
    /// if so many are not left of `per_second`.
    ///
    /// # Errors
    /// The store's own.
    pub async fn take_quota(&self, app: AppId, at: Timestamp, count: u32, per_second: u32) -> Result<bool> {
        let Some(before) = per_second.checked_sub(count) else { return Ok(false) };
        let values =
            vec![(":count", n(count)), (":before", n(before)), (":ttl", n(at.after(KEPT).seconds()))];
        let condition = "attribute_not_exists(u) OR u <= :before";
        let update = "SET #ttl = :ttl ADD u :count";
        self.update_log(keys::quota(app, at), update, condition, values, "take quota").await
    }
}
