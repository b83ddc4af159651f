//! What needs somebody: endpoints that fail, and messages that were given up.
//!
//! Both are noted when the last attempt of a message has failed, the latter also when a delivery stops that failed
//! before, and never on the way of a delivery that arrives. A note says where to look: what counts is the endpoint and the delivery's state, which are
//! read with it, and a note that they contradict is removed by whoever reads it.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use futures_util::future::try_join_all;

use super::attempts::{Attempt, State, Status};
use super::endpoints::Endpoint;
use super::item::{Get as _, Item, Put as _, SCHEMA, n, s};
use super::shards::LogQuery;
use super::transaction::ABSENT;
use super::{Store, Table, keys};
use crate::applications::{Application, Profile};
use domain::error::{Result, corrupt, unavailable};
use domain::ids::{AppId, AttemptId, EndpointId, MessageId, OrgId};
use domain::page::{Cursor, ListQuery, Page};
use domain::retention::LOG_RETENTION_DAYS;
use runtime::clock::Timestamp;

/// Characters of a reason that are kept.
const REASON_MAX: usize = 200;
/// When the state that a note is about must have been written.
const FINISHED: Duration = Duration::from_secs(600);
/// Removals at a time.
const AT_ONCE: usize = 16;

/// The place of a failing endpoint in the list of its organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FailingKey {
    /// The application.
    pub app: AppId,
    /// The endpoint.
    pub endpoint: EndpointId,
}

impl fmt::Display for FailingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.app, self.endpoint)
    }
}

impl FromStr for FailingKey {
    type Err = domain::error::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (app, endpoint) = text.split_once('.').unwrap_or_default();
        let wrong = corrupt("a failing endpoint's key");
        match (app.parse(), endpoint.parse()) {
            (Ok(app), Ok(endpoint)) => Ok(Self { app, endpoint }),
            _ => Err(wrong("it is none")),
        }
    }
}

/// What was noted of an endpoint that fails.
#[derive(Clone, Debug)]
pub struct Failing {
    /// Which one.
    pub key: FailingKey,
    /// When a message to it was given up last.
    pub at: Timestamp,
    /// When the first one was, since it worked.
    pub since: Timestamp,
    /// The HTTP status code of the last attempt; 0 without a response.
    pub code: u16,
    /// Why there was no response.
    pub reason: Option<String>,
}

/// A message that was given up.
#[derive(Clone, Debug)]
pub struct Undelivered {
    /// Its last attempt, by whose due time the list is ordered.
    pub attempt: AttemptId,
    /// The application.
    pub app: AppId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The message.
    pub message: MessageId,
    /// Its event type.
    pub event_type: String,
    /// Attempts that the schedule made.
    pub attempts: u32,
    /// When the last of these attempts was made.
    pub at: Timestamp,
    /// Its HTTP status code; 0 without a response.
    pub code: u16,
    /// Why there was no response.
    pub reason: Option<String>,
}

fn reason(attempt: &Attempt) -> Option<String> {
    (attempt.code == 0).then(|| attempt.response_text().chars().take(REASON_MAX).collect())
}

impl Failing {
    fn from_item(item: &Item) -> Result<Self> {
        item.check_schema()?;
        Ok(Self {
            key: item.text("sk")?.parse()?,
            at: item.time("la")?,
            since: item.time("si")?,
            code: item.number("c")?,
            reason: item.text_opt("r").map(str::to_owned),
        })
    }
}

impl Undelivered {
    fn to_item(&self, key: Item, ttl: u64) -> Item {
        key.with("v", n(SCHEMA))
            .with("a", s(self.app.to_string()))
            .with("e", s(self.endpoint.to_string()))
            .with("m", s(self.message.to_string()))
            .with("et", s(&self.event_type))
            .with("n", n(self.attempts))
            .with("la", n(self.at.ms()))
            .with("c", n(self.code))
            .with_some("r", self.reason.as_ref().map(s))
            .with("ttl", n(ttl))
    }

    fn from_item(item: &Item) -> Result<Self> {
        const WHAT: &str = "an undelivered message";
        item.check_schema()?;
        let attempt = item.text("sk")?.strip_prefix("ATT#").unwrap_or_default();
        Ok(Self {
            attempt: attempt.parse().map_err(corrupt(WHAT))?,
            app: item.text("a")?.parse().map_err(corrupt(WHAT))?,
            endpoint: item.text("e")?.parse().map_err(corrupt(WHAT))?,
            message: item.text("m")?.parse().map_err(corrupt(WHAT))?,
            event_type: item.text("et")?.to_owned(),
            attempts: item.number("n")?,
            at: item.time("la")?,
            code: item.number("c")?,
            reason: item.text_opt("r").map(str::to_owned),
        })
    }
}

/// Whose list it is.
#[derive(Clone, Copy, Debug)]
pub enum ListOf {
    /// An organisation's.
    Organisation(OrgId),
    /// An application's.
    Application(OrgId, AppId),
}

impl ListOf {
    /// The organisation.
    pub const fn org(self) -> OrgId {
        match self {
            Self::Organisation(org) | Self::Application(org, _) => org,
        }
    }
}

impl fmt::Display for ListOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organisation(org) => org.fmt(f),
            Self::Application(_, app) => app.fmt(f),
        }
    }
}

impl Store {
    /// Notes that the last attempt of a message has failed, number `attempts`, and that its endpoint fails. Doing so twice
    /// notes it once.
    ///
    /// # Errors
    /// The store's own.
    pub async fn note_exhausted(&self, app: &Application, attempt: &Attempt, attempts: u32) -> Result<()> {
        self.note_undelivered(app, attempt, attempts).await?;
        let update = "SET v = :v, la = :at, si = if_not_exists(si, :at), c = :c, r = :r, #ttl = :ttl";
        let values = vec![
            (":v", n(SCHEMA)),
            (":at", n(attempt.at.ms())),
            (":c", n(attempt.code)),
            (":r", s(reason(attempt).as_deref().unwrap_or_default())),
            (":ttl", n(attempt.at.seconds() + LOG_RETENTION_DAYS * 86_400)),
        ];
        let key = FailingKey { app: app.id, endpoint: attempt.endpoint };
        let condition = "attribute_not_exists(la) OR la < :at";
        self.update_log(keys::failing(app.org, key), update, condition, values, "note a failing endpoint")
            .await?;
        Ok(())
    }

    /// Notes that nothing follows an attempt of a message that has failed, number `attempts`. Doing so twice notes it once.
    ///
    /// # Errors
    /// The store's own.
    pub async fn note_undelivered(&self, app: &Application, attempt: &Attempt, attempts: u32) -> Result<()> {
        let entry = Undelivered {
            attempt: attempt.id,
            app: app.id,
            endpoint: attempt.endpoint,
            message: attempt.message,
            event_type: attempt.labels.event_type.clone(),
            attempts,
            at: attempt.at,
            code: attempt.code,
            reason: reason(attempt),
        };
        for of in [ListOf::Application(app.org, app.id), ListOf::Organisation(app.org)] {
            let item =
                entry.to_item(keys::undelivered(of, entry.message, entry.attempt), self.attempt_ttl(attempt));
            self.put_log(item, ABSENT, [], "note an undelivered message").await?;
        }
        Ok(())
    }

    /// Lists endpoints that fail, or were disabled after they had failed, with what was noted of them.
    ///
    /// # Errors
    /// The store's own.
    pub async fn list_failing(
        &self,
        of: ListOf,
        query: &ListQuery<FailingKey>,
    ) -> Result<Page<(Failing, Endpoint, Profile)>> {
        let prefix = match of {
            ListOf::Organisation(_) => "app_".to_owned(),
            ListOf::Application(_, app) => format!("{app}."),
        };
        let bounds = (prefix.clone(), format!("{prefix}~"));
        let now = self.clock.now().seconds();
        let page = self
            .list_between(
                Table::Log,
                keys::failing_pk(of.org()),
                "",
                bounds,
                query,
                "list failing endpoints",
                |item| {
                    let there = item.number::<u64>("ttl")? > now;
                    there.then(|| Failing::from_item(item)).transpose()
                },
            )
            .await?;
        let mut found =
            self.endpoints_of(page.entries.iter().map(|entry| (entry.key.app, entry.key.endpoint))).await?;
        // Of a deleted application there is no profile, while its endpoints are still being erased.
        let apps: BTreeSet<AppId> = page.entries.iter().map(|entry| entry.key.app).collect();
        let profiles = self.profiles_of(of.org(), apps).await?;
        let stands = |endpoint: &Endpoint| endpoint.failing_since.is_some() || endpoint.settings.disabled;
        let mut stale = Vec::new();
        let page = joined(
            page,
            query,
            |entry| entry.key.to_string(),
            |entry| {
                let endpoint = found.remove(&entry.key.endpoint).filter(stands);
                match (endpoint, profiles.get(&entry.key.app)) {
                    (Some(endpoint), Some(profile)) => Some((entry, endpoint, profile.clone())),
                    _ => {
                        stale.push((keys::failing(of.org(), entry.key), entry.at));
                        None
                    }
                }
            },
        );
        self.remove_notes(stale).await?;
        Ok(page)
    }

    /// Lists messages that were given up and have not arrived since, newest first; only those to `endpoint`
    /// if one is given.
    ///
    /// # Errors
    /// The store's own.
    pub async fn list_undelivered(
        &self,
        of: ListOf,
        endpoint: Option<EndpointId>,
        query: &LogQuery<AttemptId>,
    ) -> Result<Page<Undelivered>> {
        let pk = |shard| keys::undelivered_pk(of, shard);
        let page = self
            .list_shards(pk, "ATT#", query, "list undelivered messages", |item| {
                let entry = Undelivered::from_item(item)?;
                Ok(endpoint.is_none_or(|id| id == entry.endpoint).then_some(entry))
            })
            .await?;
        let mut wanted: HashMap<EndpointId, Vec<MessageId>> = HashMap::new();
        for entry in &page.entries {
            wanted.entry(entry.endpoint).or_default().push(entry.message);
        }
        let wanted: Vec<_> = wanted.into_iter().collect();
        let mut states: HashMap<(EndpointId, MessageId), State> = HashMap::new();
        for some in wanted.chunks(AT_ONCE) {
            for state in
                try_join_all(some.iter().map(|(id, messages)| self.states_at(*id, messages))).await?.concat()
            {
                states.insert((state.endpoint, state.message), state);
            }
        }
        let endpoints =
            self.endpoints_of(page.entries.iter().map(|entry| (entry.app, entry.endpoint))).await?;
        let apps: BTreeSet<AppId> = page.entries.iter().map(|entry| entry.app).collect();
        let profiles = self.profiles_of(of.org(), apps).await?;
        let now = self.clock.now();
        let mut stale = Vec::new();
        let page = joined(
            page,
            &query.list,
            |entry| entry.attempt.to_string(),
            |entry| {
                let state = states.get(&(entry.endpoint, entry.message));
                // The note is written before the state; an erased delivery has none. To a deleted endpoint nothing can
                // be sent any more.
                let over = match state {
                    Some(state) => {
                        state.outcome() == Status::Success || !endpoints.contains_key(&entry.endpoint)
                    }
                    None => now.since(entry.at) > FINISHED,
                };
                if over {
                    stale.push((keys::undelivered(of, entry.message, entry.attempt), entry.at));
                }
                let there = state.is_some() && profiles.contains_key(&entry.app);
                (there && !over).then_some(entry)
            },
        );
        self.remove_notes(stale).await?;
        Ok(page)
    }

    /// Those of the endpoints that there are.
    async fn endpoints_of(
        &self,
        wanted: impl Iterator<Item = (AppId, EndpointId)>,
    ) -> Result<HashMap<EndpointId, Endpoint>> {
        let mut by_app: HashMap<AppId, BTreeSet<EndpointId>> = HashMap::new();
        for (app, endpoint) in wanted {
            by_app.entry(app).or_default().insert(endpoint);
        }
        let by_app: Vec<(AppId, Vec<EndpointId>)> =
            by_app.into_iter().map(|(app, ids)| (app, ids.into_iter().collect())).collect();
        let mut found = HashMap::new();
        for some in by_app.chunks(AT_ONCE) {
            let endpoints = try_join_all(some.iter().map(|(app, ids)| self.endpoints(*app, ids))).await?;
            found.extend(endpoints.into_iter().flatten().map(|endpoint| (endpoint.id, endpoint)));
        }
        Ok(found)
    }

    async fn profiles_of(
        &self,
        org: OrgId,
        apps: impl IntoIterator<Item = AppId>,
    ) -> Result<HashMap<AppId, Profile>> {
        let found = self.profiles(org, apps).await?.into_iter();
        Ok(found.map(|profile| (profile.id, profile)).collect())
    }

    /// Removes notes that are no longer true, unless they were written anew.
    async fn remove_notes(&self, stale: Vec<(Item, Timestamp)>) -> Result<()> {
        for some in stale.chunks(AT_ONCE) {
            try_join_all(some.iter().map(async |(key, at)| {
                let sent = self
                    .client
                    .delete_item()
                    .table_name(self.table(Table::Log))
                    .set_key(Some(key.clone()))
                    .condition_expression("la = :at")
                    .expression_attribute_values(":at", n(at.ms()))
                    .set_return_consumed_capacity(self.return_consumed_capacity.clone())
                    .send()
                    .await;
                match sent {
                    Ok(_) => Ok(()),
                    Err(error) if crate::is_condition(&error) => Ok(()),
                    Err(error) => Err(unavailable("remove a note")(error)),
                }
            }))
            .await?;
        }
        Ok(())
    }
}

/// The page of what is left of its entries. Where some went, the list goes on behind the last that was
/// looked at.
fn joined<E, T, K>(
    page: Page<E>,
    query: &ListQuery<K>,
    id: impl Fn(&E) -> String,
    keep: impl FnMut(E) -> Option<T>,
) -> Page<T> {
    let Page { entries, done, mut resume } = page;
    let edge = if query.is_backward() { entries.first() } else { entries.last() };
    if let (Some(edge), None, false) = (edge.map(&id), &resume, done) {
        resume = Some(if query.is_backward() { Cursor::Before(edge) } else { Cursor::Behind(edge) });
    }
    Page { entries: entries.into_iter().filter_map(keep).collect(), done, resume }
}
