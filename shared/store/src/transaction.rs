//! Writes that are done all or not at all. Each is added under the name of what its condition guards, and
//! a refusal says that name: an error does not depend on the order of the writes.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::builders::{DeleteBuilder, PutBuilder, UpdateBuilder};
use aws_sdk_dynamodb::types::{CancellationReason, Put, TransactWriteItem};

use super::applications::Application;
use super::copies::{OfApplication, Raise};
use super::item::FromItem as _;
use super::{Item, Store};
use domain::error::{Result, corrupt, unavailable};
use std::time::Duration;

/// Times that a transaction is tried which meets others.
const TRIES: u32 = 6;
/// Times that a change of an application is made again because another one came first.
const MOVES: u32 = 30;

/// What the condition of a write guards. Of several that are not met, a refusal names the first of this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Guard {
    /// The application is there, with room for what is added to it.
    Application,
    /// What was read is as it was read.
    Unchanged,
    /// Nothing else has the uid.
    Uid,
    /// There is no such thing yet, under an ID that was given.
    Absent,
    /// Nothing has an ID that was generated for this transaction. It holds whenever the others do.
    Fresh,
}

/// How a transaction ended that did not fail altogether.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transacted {
    Done,
    /// Nothing was written, because that condition was not met. It is never [`Guard::Fresh`].
    Refused(Guard),
}

/// How one try of a transaction ended that did not fail altogether.
#[derive(Clone, Debug)]
pub(crate) enum Once {
    Ended(Transacted),
    /// Another transaction was in the way.
    Met,
    /// The application is not what it was: it has other copies, or, where it has several, another version.
    Moved(Box<Application>),
}

/// The writes of a transaction, and what their conditions guard.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    /// What it is for, as an infinitive.
    operation: &'static str,
    guards: Vec<Guard>,
    writes: Vec<TransactWriteItem>,
    /// What is done to which application, as it was read.
    application: Option<(Application, OfApplication)>,
}

impl Transaction {
    pub(crate) fn new(operation: &'static str) -> Self {
        Self { operation, guards: Vec::new(), writes: Vec::new(), application: None }
    }

    /// Adds a write, whose condition guards that.
    pub(crate) fn add(&mut self, guard: Guard, write: impl Write) -> Result<()> {
        self.writes.push(write.build()?);
        self.guards.push(guard);
        Ok(())
    }

    /// Raises the version of an application, in its item and in each copy; it is guarded as the application.
    pub(crate) fn raise(&mut self, app: &Application, raise: Raise) {
        self.of_application(app, OfApplication::Raise(raise));
    }

    /// The same for any change of the application, of which a transaction has one.
    pub(crate) fn of_application(&mut self, app: &Application, change: OfApplication) {
        self.application = Some((app.clone(), change));
    }

    /// What the reasons of a cancelled transaction come to: `reasons` are in the order of the writes. None
    /// where no condition was refused.
    fn refused(&self, reasons: &[CancellationReason]) -> Option<Guard> {
        let first = self.application.is_some().then_some(&Guard::Application);
        let reasons = first.into_iter().chain(&self.guards).zip(reasons);
        let refused = reasons.filter(|(_, reason)| reason.code() == Some("ConditionalCheckFailed"));
        refused.map(|(guard, _)| *guard).min()
    }
}

impl Transaction {
    /// The application as it is, where a transaction was refused because it took it for another.
    fn moved(&self, guard: Guard, reasons: &[CancellationReason]) -> Result<Option<Application>> {
        let (Guard::Application, Some((read, change))) = (guard, &self.application) else { return Ok(None) };
        let Some(item) = reasons.first().and_then(CancellationReason::item) else { return Ok(None) };
        let found = Application::from_item(item)?;
        let of_version = read.copies.count > 1 && matches!(change, OfApplication::Raise(_));
        let moved = found.copies.count != read.copies.count || of_version && found.version != read.version;
        Ok(moved.then_some(found))
    }
}

/// What can be a part of a transaction.
pub(crate) trait Write {
    fn build(self) -> Result<TransactWriteItem>;
}

impl Write for PutBuilder {
    fn build(self) -> Result<TransactWriteItem> {
        Ok(TransactWriteItem::builder().put(Self::build(self).map_err(corrupt("a write"))?).build())
    }
}

impl Write for UpdateBuilder {
    fn build(self) -> Result<TransactWriteItem> {
        Ok(TransactWriteItem::builder().update(Self::build(self).map_err(corrupt("a write"))?).build())
    }
}

impl Write for DeleteBuilder {
    fn build(self) -> Result<TransactWriteItem> {
        Ok(TransactWriteItem::builder().delete(Self::build(self).map_err(corrupt("a write"))?).build())
    }
}

/// A write as a part of a transaction.
pub(crate) fn built(write: impl Write) -> Result<TransactWriteItem> {
    write.build()
}

/// A put that creates: nothing is there yet.
pub(crate) fn create(table: &str, item: Item) -> PutBuilder {
    put(table, item).condition_expression(ABSENT)
}

/// A put whose condition is still to come.
pub(crate) fn put(table: &str, item: Item) -> PutBuilder {
    Put::builder().table_name(table).set_item(Some(item))
}

/// The condition of a write that creates.
pub(crate) const ABSENT: &str = "attribute_not_exists(pk)";

impl Store {
    /// Writes all or nothing. Two transactions that meet on one item are no error: the later waits.
    pub(crate) async fn transact(&self, mut transaction: Transaction) -> Result<Transacted> {
        let (mut met, mut moved, mut wait) = (0, 0, Duration::from_millis(25));
        loop {
            match self.transact_once(&transaction).await? {
                Once::Ended(ended) => return Ok(ended),
                Once::Met if met < TRIES - 1 => {
                    met += 1;
                    self.clock.sleep(wait).await;
                    wait *= 2;
                }
                Once::Moved(app) if moved < MOVES => {
                    moved += 1;
                    if let Some((read, _)) = &mut transaction.application {
                        *read = *app;
                    }
                    // Of several that keep each other from it, each waits for a time of its own.
                    let [share] = runtime::random::bytes(&*self.random);
                    self.clock.sleep(Duration::from_millis(u64::from(share / 8))).await;
                }
                Once::Met | Once::Moved(_) => {
                    let text = "other transactions kept changing the same item";
                    return Err(unavailable(transaction.operation)(text));
                }
            }
        }
    }

    /// Tries it once.
    pub(crate) async fn transact_once(&self, transaction: &Transaction) -> Result<Once> {
        let operation = transaction.operation;
        let mut writes = transaction.writes.clone();
        if let Some((app, change)) = &transaction.application {
            let (first, others) = self.writes_of(app, change)?;
            writes.insert(0, first);
            writes.extend(others);
        }
        let sent = Box::pin(
            self.client
                .transact_write_items()
                .set_transact_items(Some(writes))
                .set_return_consumed_capacity(self.return_consumed_capacity.clone())
                .send(),
        )
        .await;
        let error = match sent {
            Ok(_) => return Ok(Once::Ended(Transacted::Done)),
            Err(error) => error,
        };
        if let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) =
            error.as_service_error()
        {
            let reasons = canceled.cancellation_reasons();
            match transaction.refused(reasons) {
                Some(Guard::Fresh) => return Err(unavailable(operation)("a generated ID is taken")),
                Some(guard) => {
                    let moved = transaction.moved(guard, reasons)?.map(Box::new);
                    return Ok(moved.map_or(Once::Ended(Transacted::Refused(guard)), Once::Moved));
                }
                None if reasons.iter().any(|reason| reason.code() == Some("TransactionConflict")) => {
                    return Ok(Once::Met);
                }
                None => {}
            }
        }
        Err(unavailable(operation)(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_named_whatever_the_order_of_the_writes() {
        let key = || Item::from([("pk".to_owned(), crate::item::s("a"))]);
        let reason = |code: &str| CancellationReason::builder().code(code).build();
        let named = |writes: &[(Guard, &str)]| {
            let mut tx = Transaction::new("test");
            for (guard, _) in writes {
                tx.add(*guard, create("config", key())).expect("a write");
            }
            let reasons: Vec<CancellationReason> = writes.iter().map(|(_, code)| reason(code)).collect();
            tx.refused(&reasons)
        };
        let (met, not) = ("None", "ConditionalCheckFailed");
        for writes in [
            [(Guard::Application, met), (Guard::Unchanged, not), (Guard::Uid, not)],
            [(Guard::Uid, not), (Guard::Application, met), (Guard::Unchanged, not)],
            [(Guard::Unchanged, not), (Guard::Fresh, not), (Guard::Uid, met)],
        ] {
            assert_eq!(named(&writes), Some(Guard::Unchanged), "{writes:?}");
        }
        assert_eq!(named(&[(Guard::Fresh, met), (Guard::Uid, not)]), Some(Guard::Uid));
        assert_eq!(named(&[(Guard::Uid, "TransactionConflict")]), None);
    }

    /// An application with so many copies, at that version.
    fn application(count: u8, version: u64) -> Application {
        let key = "23rb8YdGqMT0qIzpgGwdXfHirMu";
        let at = runtime::clock::Timestamp::from_ms(1);
        Application {
            org: format!("org_{key}").parse().expect("an id"),
            id: format!("app_{key}").parse().expect("an id"),
            uid: None,
            rate_limit: None,
            retry_policy: None,
            version,
            version_at: at,
            slow_endpoints: Vec::new(),
            expiries: Vec::new(),
            copies: domain::copies::Copies { count, needed_at: at },
        }
    }

    #[test]
    fn a_change_is_made_again_where_its_application_is_not_what_it_was_and_nowhere_else() {
        let item = |count: u8, version: u64| {
            let mut item = crate::item::ToItem::to_item(&application(count, version));
            if count > 1 {
                item.insert("copies".to_owned(), crate::item::n(count));
            }
            item
        };
        let moved = |read: Application, change: OfApplication, found: Option<Item>| {
            let mut tx = Transaction::new("test");
            tx.of_application(&read, change);
            let reason = CancellationReason::builder().code("ConditionalCheckFailed").set_item(found).build();
            let reasons = [reason, CancellationReason::builder().code("None").build()];
            let refused = tx.refused(&reasons).expect("it is refused");
            let moved = tx.moved(refused, &reasons).expect("an application");
            (refused, moved.map(|app| (app.copies.count, app.version)))
        };
        let raise = || OfApplication::Raise(Raise::default());
        for (read, change, found, expected) in [
            ((1, 5), raise(), Some((2, 5)), Some((2, 5))),
            ((4, 5), raise(), Some((2, 6)), Some((2, 6))),
            ((4, 5), raise(), Some((4, 6)), Some((4, 6))),
            ((4, 5), OfApplication::Delete, Some((8, 5)), Some((8, 5))),
            // Its endpoints are too many, say; of one item the version does not matter.
            ((1, 5), raise(), Some((1, 9)), None),
            ((4, 5), raise(), Some((4, 5)), None),
            ((4, 5), OfApplication::Delete, Some((4, 6)), None),
            // It is gone.
            ((4, 5), raise(), None, None),
        ] {
            let found = found.map(|(count, version)| item(count, version));
            let made = moved(application(read.0, read.1), change, found);
            assert_eq!(made, (Guard::Application, expected), "{read:?}");
        }
    }
}
