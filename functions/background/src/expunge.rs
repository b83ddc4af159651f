//! Taking the payloads out of all of an application's messages.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use shared::Result;
use shared::store::keys::SHARDS;
use shared::store::tasks::{Expunging, Progress, Task};

use crate::Background;

/// Pages of a hundred messages that one step looks at.
const PAGES: usize = 10;
/// How many payloads are taken out at the same time.
const AT_ONCE: usize = 16;

impl Background {
    /// Works on the next step of a task that takes payloads out, which is `at`.
    pub(crate) async fn expunge(&self, task: Task, at: Expunging) -> Result<()> {
        let app = task.in_app()?;
        let mut next = at;
        for _ in 0..PAGES {
            if next.shard >= SHARDS {
                break;
            }
            let (page, last) = self.store.task_messages(&task, app, next.shard, next.after).await?;
            let now = self.clock.now();
            let whole: Vec<_> = page.iter().filter(|message| message.payload_until > now).collect();
            next.expunged += whole.len() as u64;
            let expunged: Vec<_> =
                whole.into_iter().map(|message| self.store.expunge_message(message)).collect();
            stream::iter(expunged).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
            next = Expunging { shard: next.shard + u8::from(last.is_none()), after: last, ..next };
        }
        let app = self.store.find_application(task.org, app).await?;
        if let Some(app) = &app
            && next.expunged > at.expunged
        {
            // Jobs in flight carry the payload. From now on they read the message instead.
            self.store.invalidate_for_task(app).await?;
        }
        let finished = app.is_none() || next.shard >= SHARDS;
        self.end_step(task, Progress::Expunge(next), finished).await
    }
}
