//! Statistics over applications: how many messages went to how many endpoints, and who uses which event type.

use std::collections::{BTreeSet, VecDeque};

use futures_util::future::try_join_all;
use shared::Result;
use shared::ids::AppId;
use shared::page::{Cursor, ListQuery, Order};
use shared::store::keys::SHARDS;
use shared::store::tasks::{AppUsage, Counting, Progress, Task, TaskKind};

use crate::Background;

/// Requests to the store that one step makes, about.
const STEP: usize = 400;
/// Applications whose names are read at a time.
const PAGE: usize = 50;
/// Most bytes of all results together: a response holds them, and Lambda's has at most 6 MB.
const LENGTH_MAX: u64 = 4 * 1024 * 1024;
/// Most bytes of one application's result, which is one item of at most 400 KB.
const ONE_LENGTH_MAX: u64 = 300 * 1024;
/// What a result is as JSON, without its texts.
const FRAME: u64 = 120;

/// An application, by both of its names.
type Named = (AppId, Option<String>);

impl Background {
    /// Works on the next step of a task that goes through applications, which is `at`.
    pub(crate) async fn count_usage(&self, mut task: Task, at: Counting) -> Result<()> {
        let (mut next, mut spent) = (at, 0);
        let mut ahead = VecDeque::new();
        while spent < STEP {
            if ahead.is_empty() {
                ahead = self.applications_behind(&task, next.done).await?;
                spent += PAGE / 10;
            }
            let Some((app, uid)) = ahead.pop_front() else {
                return self.end_step(task, Progress::Count(next), true).await;
            };
            let mut usage =
                AppUsage { app, uid, destinations: 0, event_types: Vec::new(), has_catch_all: false };
            spent += usize::from(SHARDS);
            if task.kind == TaskKind::EventTypeUsage {
                self.find_event_types(&mut usage).await?;
            } else if !self.count_destinations(&task, app, &mut next, &mut spent).await? {
                // The next step goes on within this application.
                break;
            } else {
                usage.destinations = next.count;
            }
            let length = length(&usage);
            self.store.put_task_result(task.id, &usage).await?;
            next = Counting { done: Some(app), length: next.length + length, ..Counting::default() };
            if length > ONE_LENGTH_MAX || next.length > LENGTH_MAX {
                task.failure =
                    Some("The result is too long: ask for fewer applications at a time.".to_owned());
                return self.end_step(task, Progress::Count(next), true).await;
            }
        }
        self.end_step(task, Progress::Count(next), false).await
    }

    /// The applications that a task is about, behind `done`, up to a page of them.
    async fn applications_behind(&self, task: &Task, done: Option<AppId>) -> Result<VecDeque<Named>> {
        let Some(apps) = &task.filter.apps else {
            let cursor = done.map_or(Cursor::Start, Cursor::Behind);
            let query = ListQuery { limit: PAGE, cursor, order: Order::Ascending };
            let page = self.store.list_applications(task.org, &query).await?;
            return Ok(page.entries.into_iter().map(|profile| (profile.id, profile.settings.uid)).collect());
        };
        let mut found = VecDeque::new();
        for app in apps.iter().filter(|app| done.is_none_or(|done| **app > done)).take(PAGE) {
            // One that was deleted meanwhile has nothing left to count.
            let there = self.store.find_application(task.org, *app).await?;
            found.extend(there.map(|there| (there.id, there.uid)));
        }
        Ok(found)
    }

    /// Counts an application's messages, each once per endpoint, from where `at` is; whether it came to the end.
    async fn count_destinations(
        &self,
        task: &Task,
        app: AppId,
        at: &mut Counting,
        spent: &mut usize,
    ) -> Result<bool> {
        if (at.shard, at.after) == (0, None) {
            let shards = (0..SHARDS).map(|shard| self.count_page(task, app, Counting { shard, ..*at }));
            let first = try_join_all(shards).await?;
            if first.iter().all(|page| page.shard > 0 && page.after.is_none()) {
                at.count = first.iter().map(|page| page.count).sum();
                return Ok(true);
            }
        }
        while at.shard < SHARDS {
            if *spent >= STEP {
                return Ok(false);
            }
            *at = self.count_page(task, app, *at).await?;
            *spent += 1;
        }
        Ok(true)
    }

    /// Counts a page of messages.
    async fn count_page(&self, task: &Task, app: AppId, at: Counting) -> Result<Counting> {
        let (page, after) = self.store.task_messages(task, app, at.shard, at.after).await?;
        let mut count = at.count;
        for message in &page {
            count += self.store.message_endpoints(message).await?.len() as u64;
        }
        Ok(Counting { shard: at.shard + u8::from(after.is_none()), after, count, ..at })
    }

    async fn find_event_types(&self, usage: &mut AppUsage) -> Result<()> {
        let mut names = BTreeSet::new();
        for endpoint in self.store.all_endpoints(usage.app).await? {
            match endpoint.settings.event_types {
                Some(types) => names.extend(types),
                None => usage.has_catch_all = true,
            }
        }
        usage.event_types = names.into_iter().collect();
        Ok(())
    }
}

/// How long a result is as JSON, about.
fn length(usage: &AppUsage) -> u64 {
    let names = usage.event_types.iter().map(|name| name.len() as u64 + 3).sum::<u64>();
    FRAME + usage.uid.as_ref().map_or(0, |uid| uid.len() as u64) + names
}
