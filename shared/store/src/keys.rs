//! Every key of both tables, on one screen. Nothing else formats a `pk` or an `sk`.
//!
//! | table  | item               | pk                          | sk                    |
//! |--------|--------------------|-----------------------------|-----------------------|
//! | config | application        | `APP#{app}`                 | `APP`                 |
//! | config | copy of an application | `APP#{app}#{nth}`        | `APP`                 |
//! | config | application's profile | `ORG#{org}`              | `APP#{app}`           |
//! | config | application's uid  | `ORG#{org}`                 | `APPUID#{uid}`        |
//! | config | event type         | `ORG#{org}`                 | `ET#{name}`           |
//! | config | look of the portal | `ORG#{org}`                 | `THEME`               |
//! | config | connector          | `ORG#{org}`                 | `CONN#{trtmpl}`       |
//! | config | connector's uid    | `ORG#{org}`                 | `CONNUID#{uid}`       |
//! | config | keys of HTTP signatures | `ORG#{org}`            | `HTTPKEYS`            |
//! | config | endpoint           | `APP#{app}`                 | `EP#{ep}`             |
//! | config | endpoint's uid     | `APP#{app}`                 | `EPUID#{uid}`         |
//! | config | keys of a polling endpoint | `APP#{app}`          | `EPPOLL#{ep}`         |
//! | config | transformation     | `APP#{app}`                 | `EPXFORM#{ep}`        |
//! | config | integration        | `APP#{app}`                 | `INTEG#{integ}`       |
//! | config | audit event        | `AUDIT#{org}`               | `{audit}`             |
//! | log    | message            | `APP#{app}#{shard}`         | `MSG#{msg}`           |
//! | log    | part of a payload  | `APP#{app}#{shard}`         | `PAY#{msg}#{tag}#{part}` |
//! | log    | part of a fan-out  | `APP#{app}#{shard}`         | `FAN#{msg}#{tag}#{part}` |
//! | log    | further destinations | `APP#{app}#{shard}`       | `RES#{msg}`           |
//! | log    | event id           | `APP#{app}#EVENT#{eventId}` | `-`                   |
//! | log    | delivery state, with the first attempt | `EP#{ep}#{shard}` | `MSG#{msg}` |
//! | log    | attempt            | `EP#{ep}#{shard}`           | `ATT#{atmpt}`         |
//! | log    | probe before an attempt is made again | `EP#{ep}#{shard}` | `TRY#{atmpt}` |
//! | log    | counts of an hour  | `EP#{ep}#STATS`             | `H{hour}`             |
//! | log    | how far was counted | `EP#{ep}#STATS`            | `F`                   |
//! | log    | consumer of a polling endpoint | `EP#{ep}#POLL`  | `C#{name}`            |
//! | log    | consumer with leases | `EP#{ep}#POLL`            | `L#{name}`            |
//! | log    | entry of an application's order | `ORDER#{app}`  | `{number}`            |
//! | log    | place of an endpoint in it | `EP#{ep}#ORDER`     | `-`                   |
//! | log    | failing endpoint   | `FAILING#{org}`             | `{app}.{ep}`          |
//! | log    | undelivered message | `UNDELIVERED#{org or app}#{shard}` | `ATT#{atmpt}`  |
//! | log    | idempotency record | `IDEM#{hash}`               | `-`                   |
//! | log    | token that counts no longer | `TOKEN#{org}#{hash}` | `-`                   |
//! | log    | end of a session   | `SESSION#{app}#{session}`   | `-`                   |
//! | log    | token behind a one-time token | `ONCE#{hash}`    | `-`                   |
//! | log    | slots of a limit   | `THROTTLE#{ep or app}#{nth}` | `-`                  |
//! | log    | quota of a second  | `QUOTA#{app}#{seconds}`     | `-`                   |
//! | log    | reads of ten seconds | `READS#{app}#{nth}`       | `-`                   |
//! | log    | task               | `TASKS#{org}`               | `TASK#{qtask}`        |
//! | log    | result of a task   | `RESULT#{qtask}`            | `{app}`               |
//! | log    | timer              | `TIMER#{shard}`             | `{due}#{msg}#{ep}`    |
//! | log    | timer of other jobs | `TIMER#{shard}`            | `{due}#{id}#{what}`   |

use std::fmt::Display;

use super::item::{Get as _, Item, s};
use super::needs::FailingKey;
use super::throttles::Limited;
use domain::error::{Result, corrupt};
use domain::ids::{
    AppId, AttemptId, AuditId, ConnectorId, EndpointId, Id, IntegrationId, MessageId, OrgId, TaskId,
};
use runtime::clock::Timestamp;

/// Partitions that one application's messages, and one endpoint's log, are spread over. A
/// partition takes 1,000 write units a second, and time-ordered keys cannot be split further.
pub const SHARDS: u8 = 8;
/// Partitions that timers are spread over.
pub const TIMER_SHARDS: u8 = 8;

/// The shard that everything about a message lives in.
pub fn shard(message: MessageId) -> u8 {
    // The last byte of an id is drawn or comes out of a hash.
    message.ksuid().bytes()[19] % SHARDS
}

fn key(pk: impl Into<String>, sk: impl Into<String>) -> Item {
    Item::from([("pk".to_owned(), s(pk)), ("sk".to_owned(), s(sk))])
}

pub(super) fn org_pk(org: OrgId) -> String {
    format!("ORG#{org}")
}

/// An application and its endpoints: they sort behind it, so that one query reads both.
pub(super) fn application_pk(app: AppId) -> String {
    format!("APP#{app}")
}

pub(super) fn application(app: AppId) -> Item {
    key(application_pk(app), APPLICATION)
}

const APPLICATION: &str = "APP";

/// A further copy of an application's item, in a partition of its own; they are counted from 1.
pub(super) fn application_copy(app: AppId, nth: u8) -> Item {
    key(format!("APP#{app}#{nth}"), APPLICATION)
}

/// An application's item and its further copies, so many altogether.
pub(super) fn application_items(app: AppId, count: u8) -> impl Iterator<Item = Item> {
    std::iter::once(application(app)).chain((1..count).map(move |nth| application_copy(app, nth)))
}

/// The application whose item, or whose copy, that is.
pub(super) fn application_of(item: &Item) -> Result<AppId> {
    let id = item.text("pk")?.strip_prefix("APP#").unwrap_or_default();
    id.split('#').next().unwrap_or_default().parse().map_err(corrupt("an application's key"))
}

/// The sort keys of an application and of all its endpoints.
pub(super) fn application_and_endpoints() -> (String, String) {
    (APPLICATION.to_owned(), "EP#~".to_owned())
}

pub(super) fn is_endpoint(item: &Item) -> Result<bool> {
    Ok(item.text("sk")?.starts_with("EP#"))
}

pub(super) fn profile(org: OrgId, app: AppId) -> Item {
    key(org_pk(org), format!("APP#{app}"))
}

pub(super) fn application_uid(org: OrgId, uid: &str) -> Item {
    key(org_pk(org), format!("APPUID#{uid}"))
}

pub(super) fn event_type(org: OrgId, name: &str) -> Item {
    key(org_pk(org), format!("ET#{name}"))
}

pub(super) fn theme(org: OrgId) -> Item {
    key(org_pk(org), "THEME")
}

pub(super) fn connector(org: OrgId, id: ConnectorId) -> Item {
    key(org_pk(org), format!("CONN#{id}"))
}

pub(super) fn connector_uid(org: OrgId, uid: &str) -> Item {
    key(org_pk(org), format!("CONNUID#{uid}"))
}

pub(super) fn http_keys(org: OrgId) -> Item {
    key(org_pk(org), "HTTPKEYS")
}

pub(super) fn endpoint(app: AppId, endpoint: EndpointId) -> Item {
    key(application_pk(app), format!("EP#{endpoint}"))
}

pub(super) fn endpoint_uid(app: AppId, uid: &str) -> Item {
    key(application_pk(app), format!("EPUID#{uid}"))
}

/// The code of an endpoint's transformation. It sorts behind the endpoints that are read with their application.
pub(super) fn transformation(app: AppId, endpoint: EndpointId) -> Item {
    key(application_pk(app), format!("EPXFORM#{endpoint}"))
}

/// The keys that an endpoint can be polled with. They sort behind the endpoints that are read with their application.
pub(super) fn polling_keys(app: AppId, endpoint: EndpointId) -> Item {
    key(application_pk(app), format!("EPPOLL#{endpoint}"))
}

/// It sorts behind the endpoints that are read with their application, too.
pub(super) fn integration(app: AppId, id: IntegrationId) -> Item {
    key(application_pk(app), format!("INTEG#{id}"))
}

pub(super) fn audit_pk(org: OrgId) -> String {
    format!("AUDIT#{org}")
}

pub(super) fn audit(org: OrgId, event: AuditId) -> Item {
    key(audit_pk(org), event.to_string())
}

pub(super) fn messages_pk(app: AppId, shard: u8) -> String {
    format!("APP#{app}#{shard:x}")
}

pub(super) fn message(app: AppId, message: MessageId) -> Item {
    key(messages_pk(app, shard(message)), format!("MSG#{message}"))
}

pub(super) fn payload_part(app: AppId, message: MessageId, tag: &str, part: usize) -> Item {
    key(messages_pk(app, shard(message)), format!("PAY#{message}#{tag}#{part:04}"))
}

pub(super) fn fan_out_part(app: AppId, message: MessageId, tag: &str, part: usize) -> Item {
    key(messages_pk(app, shard(message)), format!("FAN#{message}#{tag}#{part:04}"))
}

pub(super) fn further_destinations(app: AppId, message: MessageId) -> Item {
    key(messages_pk(app, shard(message)), format!("RES#{message}"))
}

pub(super) fn event_id(app: AppId, event_id: &str) -> Item {
    key(format!("APP#{app}#EVENT#{event_id}"), "-")
}

pub(super) fn log_pk(endpoint: EndpointId, shard: u8) -> String {
    format!("EP#{endpoint}#{shard:x}")
}

pub(super) fn state(endpoint: EndpointId, message: MessageId) -> Item {
    key(log_pk(endpoint, shard(message)), format!("MSG#{message}"))
}

pub(super) fn attempt(endpoint: EndpointId, message: MessageId, attempt: AttemptId) -> Item {
    key(log_pk(endpoint, shard(message)), format!("ATT#{attempt}"))
}

pub(super) fn probe(endpoint: EndpointId, message: MessageId, attempt: AttemptId) -> Item {
    key(log_pk(endpoint, shard(message)), format!("TRY#{attempt}"))
}

/// What is left of a deleted endpoint, in its log.
pub(super) fn deleted_endpoint(endpoint: EndpointId) -> Item {
    key(log_pk(endpoint, 0), "GONE")
}

pub(super) fn stats_pk(endpoint: EndpointId) -> String {
    format!("EP#{endpoint}#STATS")
}

/// Hours are counted from 1970, in seven digits.
pub(super) fn stats_sk(hour: u64) -> String {
    format!("H{hour:07}")
}

pub(super) fn stats(endpoint: EndpointId, hour: u64) -> Item {
    key(stats_pk(endpoint), stats_sk(hour))
}

pub(super) fn stats_reach(endpoint: EndpointId) -> Item {
    key(stats_pk(endpoint), "F")
}

pub(super) fn consumers_pk(endpoint: EndpointId) -> String {
    format!("EP#{endpoint}#POLL")
}

/// A consumer that keeps an iterator.
pub(super) fn consumer(endpoint: EndpointId, name: &str) -> Item {
    key(consumers_pk(endpoint), format!("C#{name}"))
}

/// A consumer that takes leases.
pub(super) fn leasing_consumer(endpoint: EndpointId, name: &str) -> Item {
    key(consumers_pk(endpoint), format!("L#{name}"))
}

pub(super) fn order_pk(app: AppId) -> String {
    format!("ORDER#{app}")
}

/// The number of its first message, in twenty digits.
pub(super) fn order_sk(first: u64) -> String {
    format!("{first:020}")
}

/// Messages in an application's order.
pub(super) fn order_entry(app: AppId, first: u64) -> Item {
    key(order_pk(app), order_sk(first))
}

pub(super) fn order_place_pk(endpoint: EndpointId) -> String {
    format!("EP#{endpoint}#ORDER")
}

/// How far an ordered endpoint is.
pub(super) fn order_place(endpoint: EndpointId) -> Item {
    key(order_place_pk(endpoint), "-")
}

pub(super) fn failing_pk(org: OrgId) -> String {
    format!("FAILING#{org}")
}

pub(super) fn failing(org: OrgId, of: FailingKey) -> Item {
    key(failing_pk(org), of.to_string())
}

pub(super) fn undelivered_pk(of: impl Display, shard: u8) -> String {
    format!("UNDELIVERED#{of}#{shard:x}")
}

pub(super) fn undelivered(of: impl Display, message: MessageId, attempt: AttemptId) -> Item {
    key(undelivered_pk(of, shard(message)), format!("ATT#{attempt}"))
}

/// The same message in the list of its organisation.
pub(super) fn undelivered_twin(org: OrgId, shard: u8, sk: &str) -> Item {
    key(undelivered_pk(org, shard), sk)
}

pub(super) fn idempotency(hash: &str) -> Item {
    key(format!("IDEM#{hash}"), "-")
}

pub(super) fn token(org: OrgId, hash: &str) -> Item {
    key(format!("TOKEN#{org}#{hash}"), "-")
}

pub(super) fn session(app: AppId, session: &str) -> Item {
    key(format!("SESSION#{app}#{session}"), "-")
}

pub(super) fn one_time_token(hash: &str) -> Item {
    key(format!("ONCE#{hash}"), "-")
}

pub(super) fn throttle(of: Limited, nth: u32) -> Item {
    key(format!("THROTTLE#{of}#{nth}"), "-")
}

pub(super) fn quota(app: AppId, at: Timestamp) -> Item {
    key(format!("QUOTA#{app}#{}", at.seconds()), "-")
}

/// How often an application was read, as far as that is counted, in the nth window since 1970.
pub(super) fn reads(app: AppId, window: u64) -> Item {
    key(format!("READS#{app}#{window}"), "-")
}

pub(super) fn tasks_pk(org: OrgId) -> String {
    format!("TASKS#{org}")
}

pub(super) fn task(org: OrgId, task: TaskId) -> Item {
    key(tasks_pk(org), format!("TASK#{task}"))
}

pub(super) fn task_results_pk(task: TaskId) -> String {
    format!("RESULT#{task}")
}

pub(super) fn task_result(task: TaskId, app: AppId) -> Item {
    key(task_results_pk(task), app.to_string())
}

pub(super) fn timers_pk(shard: u8) -> String {
    format!("TIMER#{shard:x}")
}

/// The sort key of a timer: 13 digits of milliseconds reach to the year 2286.
pub(super) fn timer_sk(due: Timestamp, subject: impl Id, what: impl Display) -> String {
    format!("{:013}#{subject}#{what}", due.ms())
}

/// What sorts before and after every timer that is due at `due` or earlier.
pub(super) fn timers_until(due: Timestamp) -> (String, String) {
    ("0".to_owned(), format!("{:013}#~", due.ms()))
}

pub(super) fn timer(due: Timestamp, subject: impl Id, what: impl Display) -> Item {
    key(timers_pk(subject.ksuid().bytes()[18] % TIMER_SHARDS), timer_sk(due, subject, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(key: &Item) -> (String, String) {
        (key.text("pk").unwrap().to_owned(), key.text("sk").unwrap().to_owned())
    }

    #[test]
    fn keys_are_these() {
        const K: &str = "23rb8YdGqMT0qIzpgGwdXfHirMu";
        let (org, app): (OrgId, AppId) =
            (format!("org_{K}").parse().unwrap(), format!("app_{K}").parse().unwrap());
        let (ep, msg): (EndpointId, MessageId) =
            (format!("ep_{K}").parse().unwrap(), format!("msg_{K}").parse().unwrap());
        let (att, aud): (AttemptId, AuditId) =
            (format!("atmpt_{K}").parse().unwrap(), format!("audit_{K}").parse().unwrap());
        let integ: IntegrationId = format!("integ_{K}").parse().unwrap();
        let trtmpl: ConnectorId = format!("trtmpl_{K}").parse().unwrap();
        let sh = shard(msg);
        let due = Timestamp::from_ms(1_700_000_000_000);
        for (found, pk, sk) in [
            (application(app), format!("APP#app_{K}"), "APP".into()),
            (application_copy(app, 3), format!("APP#app_{K}#3"), "APP".into()),
            (reads(app, 49), format!("READS#app_{K}#49"), "-".into()),
            (profile(org, app), format!("ORG#org_{K}"), format!("APP#app_{K}")),
            (application_uid(org, "u"), format!("ORG#org_{K}"), "APPUID#u".into()),
            (event_type(org, "a.b"), format!("ORG#org_{K}"), "ET#a.b".into()),
            (theme(org), format!("ORG#org_{K}"), "THEME".into()),
            (connector(org, trtmpl), format!("ORG#org_{K}"), format!("CONN#trtmpl_{K}")),
            (connector_uid(org, "u"), format!("ORG#org_{K}"), "CONNUID#u".into()),
            (http_keys(org), format!("ORG#org_{K}"), "HTTPKEYS".into()),
            (endpoint(app, ep), format!("APP#app_{K}"), format!("EP#ep_{K}")),
            (endpoint_uid(app, "u"), format!("APP#app_{K}"), "EPUID#u".into()),
            (audit(org, aud), format!("AUDIT#org_{K}"), format!("audit_{K}")),
            (message(app, msg), format!("APP#app_{K}#{sh}"), format!("MSG#msg_{K}")),
            (payload_part(app, msg, "t", 2), format!("APP#app_{K}#{sh}"), format!("PAY#msg_{K}#t#0002")),
            (fan_out_part(app, msg, "t", 1), format!("APP#app_{K}#{sh}"), format!("FAN#msg_{K}#t#0001")),
            (further_destinations(app, msg), format!("APP#app_{K}#{sh}"), format!("RES#msg_{K}")),
            (event_id(app, "e"), format!("APP#app_{K}#EVENT#e"), "-".into()),
            (state(ep, msg), format!("EP#ep_{K}#{sh}"), format!("MSG#msg_{K}")),
            (attempt(ep, msg, att), format!("EP#ep_{K}#{sh}"), format!("ATT#atmpt_{K}")),
            (stats(ep, 490_000), format!("EP#ep_{K}#STATS"), "H0490000".into()),
            (stats_reach(ep), format!("EP#ep_{K}#STATS"), "F".into()),
            (consumer(ep, "c"), format!("EP#ep_{K}#POLL"), "C#c".into()),
            (order_entry(app, 7), format!("ORDER#app_{K}"), "00000000000000000007".into()),
            (order_place(ep), format!("EP#ep_{K}#ORDER"), "-".into()),
            (leasing_consumer(ep, "c"), format!("EP#ep_{K}#POLL"), "L#c".into()),
            (integration(app, integ), format!("APP#app_{K}"), format!("INTEG#integ_{K}")),
            (polling_keys(app, ep), format!("APP#app_{K}"), format!("EPPOLL#ep_{K}")),
            (transformation(app, ep), format!("APP#app_{K}"), format!("EPXFORM#ep_{K}")),
            (
                failing(org, FailingKey { app, endpoint: ep }),
                format!("FAILING#org_{K}"),
                format!("app_{K}.ep_{K}"),
            ),
            (undelivered(org, msg, att), format!("UNDELIVERED#org_{K}#{sh}"), format!("ATT#atmpt_{K}")),
            (idempotency("00ff"), "IDEM#00ff".into(), "-".into()),
            (throttle(Limited::Endpoint(ep), 0), format!("THROTTLE#ep_{K}#0"), "-".into()),
            (throttle(Limited::Application(app), 3), format!("THROTTLE#app_{K}#3"), "-".into()),
            (quota(app, Timestamp::from_ms(7_500)), format!("QUOTA#app_{K}#7"), "-".into()),
            (token(org, "00ff"), format!("TOKEN#org_{K}#00ff"), "-".into()),
            (session(app, "s"), format!("SESSION#app_{K}#s"), "-".into()),
            (one_time_token("00ff"), "ONCE#00ff".into(), "-".into()),
            (
                task(org, format!("qtask_{K}").parse().unwrap()),
                format!("TASKS#org_{K}"),
                format!("TASK#qtask_{K}"),
            ),
            (
                task_result(format!("qtask_{K}").parse().unwrap(), app),
                format!("RESULT#qtask_{K}"),
                format!("app_{K}"),
            ),
        ] {
            assert_eq!(shown(&found), (pk, sk));
        }
        let (from, to) = application_and_endpoints();
        let sk = |item: Item| shown(&item).1;
        assert!(from <= sk(application(app)) && sk(application(app)) < sk(endpoint(app, ep)));
        assert!(sk(endpoint(app, ep)) < to && to < sk(endpoint_uid(app, "")));
        assert!(to < sk(polling_keys(app, ep)) && to < sk(transformation(app, ep)));
        assert!(to < sk(integration(app, integ)));
        for item in [application(app), application_copy(app, 15)] {
            assert_eq!(application_of(&item).unwrap(), app);
        }
        let (pk, sk) = shown(&timer(due, msg, ep));
        assert!(pk.starts_with("TIMER#"));
        assert_eq!(sk, format!("1700000000000#msg_{K}#ep_{K}"));
        let (from, to) = timers_until(due);
        assert!(from < sk && sk < to && timer_sk(Timestamp::from_ms(due.ms() + 1), msg, ep) > to);
    }
}
