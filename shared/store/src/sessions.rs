//! Portal sessions: which of them have ended, and links that open one once.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnValue, TransactWriteItem};

use super::applications::Application;
use super::audit::{Change, What};
use super::item::{Get as _, Item, Put as _, SCHEMA, b, n};
use super::{Store, Table, keys};
use domain::caller::Caller;
use domain::error::{Result, corrupt, unavailable};
use domain::ids::AppId;
use runtime::clock::Timestamp;

/// The longest that a token with a session lasts, which is how long its end is remembered.
pub const SESSION_LIFE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a one-time link can be opened.
pub const ONE_TIME_LIFE: Duration = Duration::from_secs(10 * 60);
/// Sessions in one transaction, which takes 100 writes at most; one is the audit event.
const CHUNK: usize = 50;

/// The end of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    /// It is of the tokens that were made until then.
    pub made_until: Timestamp,
    /// They are valid until then.
    pub ends: Timestamp,
}

impl SessionEnd {
    /// Whether a token that was made then has expired.
    pub fn covers(self, made: Timestamp, now: Timestamp) -> bool {
        made <= self.made_until && self.ends <= now
    }
}

fn place(hash: &str) -> String {
    format!("one-time token {hash}")
}

impl Store {
    /// Ends, after `grace`, the tokens that these sessions of `app` have had so far. A new end replaces the
    /// one before it.
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
        let now = self.clock.now();
        let ends = now.after(grace);
        for chunk in sessions.chunks(CHUNK) {
            let mut writes = Vec::with_capacity(chunk.len() + 1);
            for session in chunk {
                let item = keys::session(app.id, session)
                    .with("v", n(SCHEMA))
                    .with("made", n(now.ms()))
                    .with("ends", n(ends.ms()))
                    .with("ttl", n(ends.after(SESSION_LIFE_MAX).seconds()));
                let put = Put::builder().table_name(self.table(Table::Log)).set_item(Some(item)).build();
                writes.push(TransactWriteItem::builder().put(put.map_err(corrupt("a write"))?).build());
            }
            let change = Change::new(by, What::TokensExpired, app.id).within(app.id).to(chunk);
            writes.push(self.audit(change)?);
            self.transact(writes, "expire sessions").await?;
        }
        Ok(())
    }

    /// When the tokens of a session end, if it was ended. Read eventually: a moment later is soon enough.
    ///
    /// # Errors
    /// The store's own.
    pub async fn session_end(&self, app: AppId, session: &str) -> Result<Option<SessionEnd>> {
        let item = self.get(Table::Log, keys::session(app, session), false, "look a session up").await?;
        let Some(item) = item else { return Ok(None) };
        Ok(Some(SessionEnd { made_until: item.time("made")?, ends: item.time("ends")? }))
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
        let sent = self
            .client
            .delete_item()
            .table_name(self.table(Table::Log))
            .set_key(Some(keys::one_time_token(hash)))
            .condition_expression("#until > :now")
            .set_expression_attribute_names(Some(HashMap::from([("#until".to_owned(), "until".to_owned())])))
            .expression_attribute_values(":now", AttributeValue::N(self.clock.now().ms().to_string()))
            .return_values(ReturnValue::AllOld)
            .set_return_consumed_capacity(self.told.clone())
            .send()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_covers_the_tokens_before_it_once_it_has_come() {
        let at = Timestamp::from_ms;
        let end = SessionEnd { made_until: at(10), ends: at(20) };
        assert!(end.covers(at(10), at(20)) && !end.covers(at(10), at(19)) && !end.covers(at(11), at(99)));
    }
}
