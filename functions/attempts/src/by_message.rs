//! The attempts of one message: its delivery states hold the first ones and tell the ids of all others,
//! so they are batch reads.

use std::collections::HashMap;

use shared::Result;
use shared::http::{Cursor, EXAMINED_MAX, Page};
use shared::ids::{AttemptId, EndpointId, Id as _, MessageId};
use shared::store::Store;
use shared::store::attempts::{Attempt, FirstAttempt};
use shared::store::shards::LogQuery;

use crate::filter::Filter;

/// How many attempts are read at a time, by BatchGetItem's definition.
const READ_AT_ONCE: usize = 100;

/// One page of the attempts of `message` at `endpoints`.
pub async fn list(
    store: &Store,
    message: MessageId,
    endpoints: &[EndpointId],
    query: &LogQuery<AttemptId>,
    filter: &Filter,
) -> Result<Page<Attempt>> {
    let states = store.states(message, endpoints, false).await?;
    let made = states.iter().flat_map(|state| state.attempts().map(|id| (state.endpoint, id)));
    let ids = in_reading_order(made.collect(), query);
    let mut inside: HashMap<AttemptId, Attempt> = states
        .into_iter()
        .filter_map(|state| match state.first {
            Some(FirstAttempt::Inside(attempt)) => Some((attempt.id, *attempt)),
            Some(FirstAttempt::Apart) | None => None,
        })
        .collect();
    let (mut entries, mut read) = (Vec::new(), 0);
    for chunk in ids.chunks(READ_AT_ONCE) {
        if entries.len() > query.list.limit || read >= EXAMINED_MAX {
            break;
        }
        read += chunk.len();
        let mut found: Vec<Attempt> = chunk.iter().filter_map(|(_, id)| inside.remove(id)).collect();
        let is_missing = |(_, id): &&(EndpointId, AttemptId)| found.iter().all(|attempt| attempt.id != *id);
        let missing: Vec<_> = chunk.iter().filter(is_missing).copied().collect();
        found.extend(store.attempts(message, &missing).await?);
        found.retain(|attempt| store.is_kept(attempt) && filter.keeps(attempt));
        found.sort_by_key(|attempt| chunk.iter().position(|(_, id)| *id == attempt.id));
        entries.extend(found);
    }
    let last = ids[..read].last().map(|(_, id)| id.to_string());
    Ok(Page::of(&query.list, entries, read == ids.len(), last))
}

/// Those within the window and behind the cursor, in the order in which the page is filled.
fn in_reading_order(
    mut ids: Vec<(EndpointId, AttemptId)>,
    query: &LogQuery<AttemptId>,
) -> Vec<(EndpointId, AttemptId)> {
    let ascending = query.list.reads_ascending();
    let (oldest, newest) = query.window;
    ids.retain(|(_, id)| {
        let behind = match &query.list.cursor {
            Cursor::Start => true,
            Cursor::Behind(at) | Cursor::Before(at) => (id > at) == ascending && id != at,
        };
        behind && (oldest..=newest).contains(&id.ksuid())
    });
    ids.sort_by_key(|(_, id)| *id);
    if !ascending {
        ids.reverse();
    }
    ids
}

#[cfg(test)]
mod tests {
    use shared::clock::Timestamp;
    use shared::http::RawQuery;
    use shared::ids::Ksuid;

    use super::*;

    #[test]
    fn pages_follow_each_other_both_ways() {
        let now = Timestamp::from_ms(1_800_000_000_000);
        let id =
            |at: u64| AttemptId::from_ksuid(Ksuid::new(Timestamp::from_ms(now.ms() - at * 1000), [1; 15]));
        let endpoint = EndpointId::from_ksuid(Ksuid::new(now, [2; 15]));
        let all: Vec<_> = [3, 1, 5, 2, 4].map(|at| (endpoint, id(at))).to_vec();
        let read = |text: String| {
            let query = RawQuery::parse(&text).log(now).unwrap();
            in_reading_order(all.clone(), &query).into_iter().map(|(_, id)| id).collect::<Vec<_>>()
        };
        assert_eq!(read(String::new()), [1, 2, 3, 4, 5].map(id));
        assert_eq!(read(format!("iterator={}", id(3))), [4, 5].map(id));
        assert_eq!(read(format!("iterator=-{}", id(3))), [2, 1].map(id));
        assert_eq!(read(format!("before={}", id(2).time())), [3, 4, 5].map(id));
    }
}
