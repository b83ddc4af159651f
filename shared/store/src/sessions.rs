//! Portal sessions: which of them have ended, and links that open one once.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::builders::PutBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};

use super::applications::Application;
use super::audit::{AuditAction, Change};
use super::item::{Get as _, Item, Put as _, SCHEMA, b, n};
use super::tokens::{Expiry, attribute, expiries_of};
use super::transaction::{Guard, Transacted, Transaction, put};
use super::{Store, Table, keys};
use domain::caller::Caller;
use domain::error::{Result, corrupt, unavailable};
use domain::ids::AppId;
use futures_util::future::try_join_all;

/// How long a session's ends are remembered: tokens that are made elsewhere may last as long as they like.
const KEPT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a one-time link can be opened.
pub const ONE_TIME_LIFE: Duration = Duration::from_secs(10 * 60);
/// Sessions in one transaction, which takes 100 writes at most; one is the audit event.
const CHUNK: usize = 50;

fn place(hash: &str) -> String {
    format!("one-time token {hash}")
}

impl Store {
    /// Ends, after `grace`, the tokens that these sessions of `app` have had so far. A later end puts none off
    /// that was said before.
    ///
    /// # Errors
    /// The store's own. What was done before is not undone; doing all of it again is right.
    pub async fn expire_sessions(
        &self,
        by: &Caller,
        app: &Application,
        sessions: &[String],
        grace: Duration,
    ) -> Result<()> {
        for chunk in sessions.chunks(CHUNK) {
            self.retry_on_conflict(async || {
                let done = self.expire_chunk(by, app, chunk, grace).await? == Transacted::Done;
                Ok(done.then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    async fn expire_chunk(
        &self,
        by: &Caller,
        app: &Application,
        sessions: &[String],
        grace: Duration,
    ) -> Result<Transacted> {
        let now = self.clock.now();
        let new = Expiry { made_until: now, ends: now.after(grace) };
        let mut at_once = Vec::with_capacity(sessions.len());
        for session in sessions {
            at_once.push(self.session_write(app.id, session, new));
        }
        let mut tx = Transaction::new("expire sessions");
        for write in try_join_all(at_once).await? {
            tx.add(Guard::Unchanged, write)?;
        }
        let change = Change::new(by, AuditAction::TokensExpired, app.id).within(app.id).to(sessions);
        tx.add(Guard::Fresh, self.audit(change))?;
        self.transact(tx).await
    }

    /// The write of one more end of a session, as long as nobody else changes it first.
    async fn session_write(&self, app: AppId, session: &str, new: Expiry) -> Result<PutBuilder> {
        let key = keys::session(app, session);
        let old = self.get(Table::Log, key.clone(), true, "look a session up").await?;
        let old = old.as_ref().map(expiries_of).unwrap_or_default();
        let item = key
            .with("v", n(SCHEMA))
            .with("expiries", attribute(&Expiry::with(&old, new)))
            .with("ttl", n(new.ends.after(KEPT).seconds()));
        let put = put(self.table(Table::Log), item);
        Ok(if old.is_empty() {
            put.condition_expression("attribute_not_exists(expiries)")
        } else {
            put.condition_expression("expiries = :old").expression_attribute_values(":old", attribute(&old))
        })
    }

    /// The ends of a session's tokens. Read eventually: a moment later is soon enough.
    ///
    /// # Errors
    /// The store's own.
    pub async fn session_expiries(&self, app: AppId, session: &str) -> Result<Vec<Expiry>> {
        let item = self.get(Table::Log, keys::session(app, session), false, "look a session up").await?;
        Ok(item.as_ref().map(expiries_of).unwrap_or_default())
    }

    /// Keeps a token for whoever shows the one-time token of that hash, once and within [`ONE_TIME_LIFE`].
    ///
    /// # Errors
    /// The store's own.
    pub async fn keep_for_one_time_token(&self, hash: &str, token: &str) -> Result<()> {
        let until = self.clock.now().after(ONE_TIME_LIFE);
        let item = keys::one_time_token(hash)
            .with("v", n(SCHEMA))
            .with("until", n(until.ms()))
            // A bearer token is as good as a password: sealed like secrets.
            .with("token", b(self.sealer.seal(&place(hash), token.as_bytes())))
            .with("ttl", n(until.seconds()));
        self.put_log(item, "attribute_not_exists(pk)", [], "keep a one-time token").await.map(drop)
    }

    /// The token that was kept for the one-time token of that hash; none if it is unknown, used or too old.
    /// Of two at the same time, one gets it.
    ///
    /// # Errors
    /// The store's own; `Corrupt` if what was kept cannot be opened.
    pub async fn take_one_time_token(&self, hash: &str) -> Result<Option<String>> {
        let sent = Box::pin(
            self.client
                .delete_item()
                .table_name(self.table(Table::Log))
                .set_key(Some(keys::one_time_token(hash)))
                .condition_expression("#until > :now")
                .set_expression_attribute_names(Some(HashMap::from([(
                    "#until".to_owned(),
                    "until".to_owned(),
                )])))
                .expression_attribute_values(":now", AttributeValue::N(self.clock.now().ms().to_string()))
                .return_values(ReturnValue::AllOld)
                .set_return_consumed_capacity(self.return_consumed_capacity.clone())
                .send(),
        )
        .await;
        let item: Item = match sent {
            Ok(out) => out.attributes.unwrap_or_default(),
            Err(error) if crate::is_condition(&error) => return Ok(None),
            Err(error) => return Err(unavailable("use a one-time token")(error)),
        };
        let sealed = item.bytes("token").ok_or_else(|| corrupt("a one-time token")("it holds no token"))?;
        let token = self.sealer.open(&place(hash), sealed)?;
        String::from_utf8(token).map(Some).map_err(corrupt("a one-time token"))
    }
}
