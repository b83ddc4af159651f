//! What goes through many messages, or all applications.

use std::time::Duration;

use svix::models::{
    AppUsageStatsIn, BackgroundTaskType, BulkExpungeContentsIn, BulkExpungeStatus, MessageIn,
};

use super::traffic::finished;
use super::{Walk, walk};

pub(super) async fn usage(walk: &mut Walk, app: &str) {
    let app = || app.to_owned();
    let message = MessageIn::new("invoice.paid".into(), serde_json::json!({"secret": 1}));
    let made = walk!(walk, message.create(app(), message, None)).unwrap().id;
    let until = walk.stack.stack.platform().clock.now();
    let time = |at: shared::clock::Timestamp| at.to_string();
    let since = until.before(Duration::from_secs(3_600));
    let window = serde_json::json!({"since": time(since), "until": time(until), "appIds": [app(), "none"]});
    let window: AppUsageStatsIn = serde_json::from_value(window).unwrap();
    let task = walk!(walk, statistics.aggregate_app_stats(window, None)).unwrap();
    assert_eq!(task.unresolved_app_ids.into_iter().collect::<Vec<_>>(), ["none"]);
    finished(walk, &task.id, BackgroundTaskType::ApplicationStats).await;
    let task = walk!(walk, statistics.aggregate_event_types()).unwrap();
    finished(walk, &task.id, BackgroundTaskType::EventTypeAggregate).await;

    let ids = Some([made.clone(), "none".to_owned()].into());
    let done = walk!(walk, message.bulk_expunge_content(app(), BulkExpungeContentsIn { ids }, None)).unwrap();
    let expected = [(made, BulkExpungeStatus::Expunged), ("none".to_owned(), BulkExpungeStatus::NotFound)];
    assert_eq!(done.results, expected.into());
    let task = walk!(walk, message.expunge_all_contents(app(), None)).unwrap();
    finished(walk, &task.id, BackgroundTaskType::ApplicationPurgeContent).await;
}
