//! One run: set up, warm up, post, wait for the arrivals, clean up.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use local::{Settings, Stack, StartError};
use shared::random::{Random as _, SystemRandom};
use standardwebhooks::Webhook;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::beside::Beside;
use crate::client::Api;
use crate::cpu;
use crate::figures::{Figures, PageCost};
use crate::flags::{Order, Plan, Server, Storage};
use crate::grow;
use crate::load::Load;
use crate::payload::Payloads;
use crate::poll::Worker;
use crate::receiver::{self, Receiver};
use crate::shifted::Shifted;
use crate::tally::Tally;

/// Applications and endpoints that are created at the same time.
const CREATED_AT_ONCE: usize = 16;
/// Caches keep nothing that changed within the last second; after this they do.
const SETTLING: Duration = Duration::from_millis(1_200);
/// How often arrivals are looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How long a copy of what arrived is waited for.
const COPIES: Duration = Duration::from_secs(1);
/// How often a page of each list is read.
const PAGES: u32 = 20;
/// Requests for statistics until all is counted, at most.
const COUNTS_MAX: u32 = 1_000;
/// After this long, what has been delivered settles: it is counted once more, and then no longer.
const SETTLED: Duration = Duration::from_secs(300);
/// How much older than what is on file its endpoint is.
const OLDER: Duration = Duration::from_secs(3_600);
/// How often the progress line changes.
const PROGRESS: Duration = Duration::from_millis(200);

/// Why a run has no figures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failed {
    /// The local stack did not start.
    #[error(transparent)]
    Stack(#[from] StartError),
    /// The machine has not what it takes.
    #[error("the run could not begin: {0}")]
    Machine(#[from] std::io::Error),
    /// The receiver cannot listen there.
    #[error("--receiver: cannot listen on {address}: {source}")]
    Receiver {
        /// Where.
        address: std::net::SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The server did not do what it was asked.
    #[error("{0}")]
    Server(String),
}

/// Does what the plan says, on threads of its own. It blocks until the run has ended.
///
/// # Errors
/// The stack did not start, or the server refused to be set up. Messages that fail are figures.
pub fn run(plan: &Plan) -> Result<Figures, Failed> {
    let load = runtime("load", 1)?;
    let functions = runtime("functions", std::thread::available_parallelism().map_or(2, usize::from))?;
    let clock = Arc::new(Shifted::behind(match plan.stored {
        0 => Duration::ZERO,
        stored => grow::APART * stored + OLDER,
    }));
    let (stack, _folder) = match &plan.server {
        Server::At { .. } => (None, None),
        Server::Own { storage, sockets } => {
            let (mut settings, folder) = settings(storage)?;
            settings.sockets = *sockets;
            settings.platform.clock = clock.clone();
            (Some(functions.block_on(Stack::start(settings))?), folder)
        }
    };
    let measured = load.block_on(measure(plan, stack.as_ref(), &clock));
    if let Some(stack) = stack {
        functions.block_on(stack.stop());
    }
    measured
}

fn runtime(name: &str, threads: usize) -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build()
}

fn settings(storage: &Storage) -> Result<(Settings, Option<tempfile::TempDir>), Failed> {
    let mut settings = Settings::ephemeral();
    let folder = match storage {
        Storage::Memory => None,
        Storage::Temporary => Some(tempfile::tempdir()?),
        Storage::Folder(folder) => {
            settings.data = Some(folder.clone());
            None
        }
    };
    if let Some(folder) = &folder {
        settings.data = Some(folder.path().to_owned());
    }
    Ok((settings, folder))
}

async fn measure(plan: &Plan, stack: Option<&Stack>, clock: &Shifted) -> Result<Figures, Failed> {
    let (url, token) = match (&plan.server, stack) {
        (Server::At { url, token }, _) => (url.clone(), token.clone()),
        (Server::Own { .. }, stack) => {
            let stack = stack.ok_or_else(|| Failed::Server("there is no stack".to_owned()))?;
            (stack.url(), stack.org_token(None))
        }
    };
    let refused = |source| Failed::Receiver { address: plan.receiver, source };
    let (listener, own_url) = receiver::listen(plan.receiver).await.map_err(refused)?;
    let api = Api::new(&url, &token)?;
    let tally = Arc::new(Tally::new(plan.warm_up, plan.messages, plan.endpoints, plan.together));
    let payloads = Arc::new(Payloads::new(plan.size as usize));
    let SetUp { applications, endpoints, keys } = set_up(plan, &api, &own_url).await?;
    let beside = Beside::set_up(plan, &api, &applications).await?;
    clock.catch_up();
    // None where nothing is delivered.
    let first_endpoint = endpoints[0].first().cloned();
    let workers = workers(plan, &api, &applications, &endpoints);
    let shown = plan.progress || std::io::stderr().is_terminal();
    if let (Some(stack), Some(endpoint)) = (stack, &first_endpoint) {
        grow::store(stack, &applications[0], endpoint, plan.stored, &payloads, shown).await?;
    }
    // Each endpoint of the application has it before it; the first one's is told.
    let mut backlog = None;
    for worker in workers.iter().filter(|worker| plan.stored > 0 && worker.place.0 == 0) {
        let drained = worker.drain(plan.stored).await?;
        backlog.get_or_insert(drained);
    }
    let mut polling = JoinSet::new();
    for worker in workers {
        polling.spawn(worker.work(tally.clone(), payloads.clone(), plan.applications));
    }
    let receiver =
        Receiver { tally: tally.clone(), payloads: payloads.clone(), keys, applications: plan.applications };
    let receiving = tokio::spawn(Arc::new(receiver).serve(listener));
    let load = Arc::new(Load {
        api: api.clone(),
        tally: tally.clone(),
        payloads: payloads.clone(),
        run: applications.first().cloned().unwrap_or_default(),
        applications,
        idempotency_key: plan.idempotency_key,
        event_id: plan.event_id,
        endpoints: endpoints.clone(),
        reads: plan.reads,
    });
    tokio::time::sleep(SETTLING).await;
    load.warm_up().await;
    arrivals(&tally, plan.wait).await;
    tally.warmed_up();
    // Warm-up messages that hang at an endpoint beside are tried again for more than a day, and a job that looks after who
    // sends in order comes back when all is over.
    if let Some(stack) = stack.filter(|_| !plan.beside.here && plan.order.is_none()) {
        stack.idle().await;
    }

    let progress = tokio::spawn(show(tally.clone(), shown));
    let asked = stack.map(Stack::ledger);
    let (before, began) = (cpu::by_name(), Instant::now());
    let own_before = stack.map(Stack::cpu).unwrap_or_default();
    let measured = async {
        let paused: Vec<_> = load.applications.iter().zip(&endpoints).filter(|_| plan.paused).collect();
        orders(&api, &paused, "pause").await?;
        load.run(plan).await;
        let resumed = Instant::now();
        orders(&api, &paused, "resume").await?;
        arrivals(&tally, plan.wait).await;
        Ok::<_, Failed>(plan.paused.then(|| resumed.elapsed().saturating_sub(tally.quiet_for())))
    };
    let sending = match &beside {
        None => measured.await?,
        Some(beside) => tokio::select! {
            sending = measured => sending?,
            () = beside.post(&api, &payloads) => None,
        },
    };
    let (took, used) = (began.elapsed(), cpu::between(&before, &cpu::by_name()));
    let own = cpu::between(&own_before, &stack.map(Stack::cpu).unwrap_or_default());
    match stack {
        // What hangs beside is tried again for more than a day.
        Some(stack) if beside.is_none() && plan.order.is_none() => stack.idle().await,
        _ => tokio::time::sleep(COPIES).await,
    }
    progress.abort();
    receiving.abort();
    polling.shutdown().await;
    let spent = stack.zip(asked).map(|(stack, asked)| stack.ledger().since(&asked));
    // A polling endpoint has no attempts to be listed or counted.
    let pages = match (plan.poll, &first_endpoint) {
        (None, Some(endpoint)) => pages(&api, stack, clock, &load.applications[0], endpoint).await?,
        _ => Vec::new(),
    };
    let mut figures = Figures::new(plan, &tally, took, [&used, &own], spent.as_ref(), pages);
    figures.backlog = backlog;
    figures.resumed_per_second = sending.map(|took| figures.delivered as f64 / took.as_secs_f64().max(1e-6));
    if stack.is_none() {
        clean_up(&api, &load.applications).await;
        clean_up(&api, beside.as_ref().map(Beside::applications).unwrap_or_default()).await;
    }
    Ok(figures)
}

/// Pauses the orders of these applications' endpoints, or resumes them.
async fn orders(api: &Api, of: &[(&String, &Vec<String>)], what: &str) -> Result<(), Failed> {
    for (app, endpoints) in of {
        for endpoint in *endpoints {
            api.order(app, endpoint, what).await?;
        }
    }
    Ok(())
}

/// Waits until everything that was accepted has arrived, or nothing has for `wait`.
async fn arrivals(tally: &Tally, wait: Duration) {
    let began = Instant::now();
    while tally.delivered() < tally.accepted() * u64::from(tally.endpoints)
        && (tally.quiet_for() < wait || began.elapsed() < wait)
    {
        tokio::time::sleep(LOOK).await;
    }
}

/// What there is once it is set up.
struct SetUp {
    /// Ids.
    applications: Vec<String>,
    /// Ids, by application.
    endpoints: Vec<Vec<String>>,
    /// By application and endpoint.
    keys: Vec<Webhook>,
}

/// Creates applications and endpoints.
async fn set_up(plan: &Plan, api: &Api, own_url: &str) -> Result<SetUp, Failed> {
    let random = SystemRandom::new();
    let mut keys = Vec::new();
    for _ in 0..plan.applications * plan.endpoints {
        let mut key = [0; 32];
        random.fill(&mut key);
        keys.push(key);
    }
    let mut waiting = Vec::new();
    for application in 0..plan.applications {
        let first = (application * plan.endpoints) as usize;
        let keys = keys[first..first + plan.endpoints as usize].to_vec();
        waiting.push((application, keys));
    }
    let mut creating = JoinSet::new();
    let mut applications = vec![String::new(); plan.applications as usize];
    let mut endpoints = vec![Vec::new(); plan.applications as usize];
    while !waiting.is_empty() || !creating.is_empty() {
        if creating.len() < CREATED_AT_ONCE
            && let Some((application, keys)) = waiting.pop()
        {
            let kind = match (plan.poll, &plan.order) {
                (Some(_), _) => Kind::Polling,
                (None, Some(order)) => Kind::Ordered(order.clone(), plan.batch),
                (None, None) => Kind::Webhook,
            };
            creating.spawn(create(api.clone(), application, keys, kind, plan.others, own_url.to_owned()));
            continue;
        }
        if let Some(created) = creating.join_next().await {
            let (application, id, its) =
                created.map_err(|error| Failed::Server(format!("the set-up broke off: {error}")))??;
            applications[application as usize] = id;
            endpoints[application as usize] = its;
        }
    }
    let verifying = keys.into_iter().map(|key| Webhook::from_bytes(key.to_vec()));
    let verifying = verifying.collect::<Result<_, _>>();
    let keys = verifying.map_err(|error| Failed::Server(error.to_string()))?;
    Ok(SetUp { applications, endpoints, keys })
}

/// Who fetches, where nothing is delivered.
fn workers(plan: &Plan, api: &Api, applications: &[String], endpoints: &[Vec<String>]) -> Vec<Worker> {
    let Some(every) = plan.poll else { return Vec::new() };
    let each = (0..).zip(applications.iter().zip(endpoints));
    let of_all = each.flat_map(|(application, (app, endpoints))| {
        (0..).zip(endpoints).map(move |(nth, endpoint)| Worker {
            api: api.clone(),
            app: app.clone(),
            endpoint: endpoint.clone(),
            place: (application, nth),
            every,
        })
    });
    of_all.collect()
}

/// What the endpoints are that are measured.
#[derive(Clone, Debug)]
enum Kind {
    Webhook,
    /// And how many messages one webhook has.
    Ordered(Order, u16),
    Polling,
}

/// One application with its endpoints; its id and theirs.
async fn create(
    api: Api,
    application: u32,
    keys: Vec<[u8; 32]>,
    kind: Kind,
    others: u32,
    own_url: String,
) -> Result<(u32, String, Vec<String>), Failed> {
    let id = api.application(&format!("bench {application}")).await?;
    let mut endpoints = Vec::new();
    for (endpoint, key) in (0..).zip(keys) {
        let url = format!("{own_url}{}", receiver::path(application, endpoint));
        let secret = format!("whsec_{}", STANDARD.encode(key));
        endpoints.push(match &kind {
            Kind::Webhook => api.endpoint(&id, &url, &secret).await?,
            Kind::Ordered(order, batch) => api.ordered_endpoint(&id, &url, &secret, order, *batch).await?,
            Kind::Polling => api.polling_endpoint(&id).await?,
        });
    }
    for _ in 0..others {
        api.uninterested_endpoint(&id, &own_url).await?;
    }
    Ok((application, id, endpoints))
}

/// Reads a page of each list some times, and statistics once all has settled: the first time, and when all
/// was counted.
async fn pages(
    api: &Api,
    stack: Option<&Stack>,
    clock: &Shifted,
    app: &str,
    endpoint: &str,
) -> Result<Vec<PageCost>, Failed> {
    let mut pages = Vec::new();
    let stats = format!("/app/{app}/endpoint/{endpoint}/stats");
    for (list, path, times) in [
        ("a page of 50 messages", format!("/app/{app}/msg?limit=50"), PAGES),
        (
            "a page of 50 of an endpoint's attempts",
            format!("/app/{app}/attempt/endpoint/{endpoint}?limit=50"),
            PAGES,
        ),
        ("an endpoint's statistics, counted", stats.clone(), 1),
        ("an endpoint's statistics", stats, PAGES),
    ] {
        // What has just been delivered, or stored for an hour of before, is counted anew until it settles.
        if times == 1 {
            clock.run_ahead(SETTLED);
        }
        let before = stack.map(Stack::ledger);
        let mut took = Vec::new();
        for _ in 0..times {
            let began = Instant::now();
            let mut asked = 1;
            while !api.read(&path).await? {
                asked += 1;
                if asked > COUNTS_MAX {
                    return Err(Failed::Server(format!("{path}: not counted after {COUNTS_MAX} requests")));
                }
            }
            took.push(began.elapsed());
        }
        took.sort_unstable();
        let spent = stack.zip(before).map(|(stack, before)| {
            let by = |function: &str| ["messages", "attempts", "endpoints"].contains(&function);
            stack.ledger().since(&before).total(|call| call.service == "DynamoDB" && by(&call.by))
        });
        let each = |count: f64| count / f64::from(times);
        pages.push(PageCost {
            list: list.to_owned(),
            p50_ms: took[took.len() / 2].as_secs_f64() * 1e3,
            read_units: spent.map(|spent| each(spent.read_units)),
            requests: spent.map(|spent| each(spent.requests as f64)),
        });
    }
    Ok(pages)
}

async fn clean_up(api: &Api, applications: &[String]) {
    for some in applications.chunks(CREATED_AT_ONCE) {
        let mut removing = JoinSet::new();
        for app in some {
            let (api, app) = (api.clone(), app.clone());
            removing.spawn(async move { api.remove(&app).await });
        }
        while removing.join_next().await.is_some() {}
    }
}

/// The progress line, until it is aborted.
async fn show(tally: Arc<Tally>, wanted: bool) {
    let began = Instant::now();
    let first = u64::from(tally.first);
    let all = u64::from(tally.messages()) - first;
    loop {
        tokio::time::sleep(PROGRESS).await;
        if !wanted {
            continue;
        }
        let accepted = tally.accepted().saturating_sub(first);
        let delivered = tally.delivered().saturating_sub(first * u64::from(tally.endpoints));
        let per_second = delivered as f64 / began.elapsed().as_secs_f64();
        let bar = "#".repeat(usize::try_from(accepted * 30 / all.max(1)).unwrap_or(0));
        let line =
            format!("\r[{bar:<30}] {accepted} of {all} accepted, {delivered} delivered, {per_second:.0}/s ");
        let end = if accepted >= all && delivered >= all * u64::from(tally.endpoints) { "\n" } else { "" };
        // Nobody may be reading.
        let _closed = write!(std::io::stderr().lock(), "{line}{end}");
        if !end.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::Pace;

    #[test]
    fn what_comes_in_order_is_neither_lost_nor_doubled() {
        for (order, batch) in [(Order::All, 1), (Order::By("/nth".to_owned()), 1), (Order::All, 5)] {
            let order = Some(order);
            let plan = Plan { applications: 2, endpoints: 2, order, batch, warm_up: 4, ..Plan::small(20) };
            let figures = run(&plan).unwrap();
            assert_eq!((figures.delivered, figures.lost, figures.doubled, figures.altered), (40, 0, 0, 0));
        }
    }

    #[test]
    fn what_is_fetched_is_neither_lost_nor_doubled_and_the_backlog_comes_first() {
        let poll = Some(Duration::from_millis(5));
        let plan = Plan { applications: 2, endpoints: 2, poll, stored: 300, warm_up: 4, ..Plan::small(20) };
        let figures = run(&plan).unwrap();
        assert!(figures.is_clean(), "{figures}");
        assert_eq!((figures.accepted, figures.delivered, figures.doubled), (20, 40, 0));
        let backlog = figures.backlog.unwrap();
        assert_eq!((backlog.messages, backlog.out_of_order), (300, 0), "{figures}");
    }

    #[test]
    fn a_run_against_the_local_stack_loses_and_doubles_nothing() {
        let plan =
            Plan { applications: 2, endpoints: 3, others: 2, stored: 60, warm_up: 4, ..Plan::small(20) };
        let figures = run(&plan).unwrap();
        assert!(figures.is_clean(), "{figures}");
        assert_eq!((figures.accepted, figures.delivered, figures.doubled), (20, 60, 0));
        let cost = figures.cost.as_ref().unwrap();
        // The message and three deliveries.
        assert!((1.0..2.0).contains(&cost.write_units), "{figures}");
        assert!(figures.accept.p50_ms > 0.0 && figures.post_to_arrival.p50_ms > 0.0);
        // What is on file is listed.
        assert!(figures.pages[..2].iter().all(|page| page.read_units.unwrap() >= 5.0), "{figures}");
        // Statistics that were counted are read, and not counted again.
        let [.., counted, again] = &figures.pages[..] else { panic!("{figures}") };
        assert!(again.requests.unwrap() < counted.requests.unwrap(), "{figures}");
        // The timeline, as JSON and as a plot.
        let json: serde_json::Value = serde_json::from_str(&figures.json()).unwrap();
        assert_eq!(json["delivered"], 60);
        assert!(crate::plot::svg(&figures).starts_with("<svg"));
    }

    #[test]
    fn others_are_slow_beside_what_is_measured() {
        let beside =
            crate::flags::Beside { receivers: 2, rate: 5, takes: Duration::from_secs(2), here: false };
        for here in [false, true] {
            let beside = crate::flags::Beside { here, ..beside };
            let figures = run(&Plan { beside, ..Plan::small(20) }).unwrap();
            assert!(figures.is_clean() && figures.delivered == 20, "{figures}");
        }
    }

    #[test]
    fn another_server_is_measured_by_url_and_token() {
        let other = runtime("other", 2).unwrap();
        let stack =
            other.block_on(Stack::start(Settings { sockets: true, ..Settings::ephemeral() })).unwrap();
        let (url, token) = (stack.url(), stack.org_token(None));
        let server = Server::At { url: url.clone(), token };
        let plan =
            Plan { pace: Pace::Rate(200), idempotency_key: true, event_id: true, server, ..Plan::small(20) };
        let figures = run(&plan).unwrap();
        assert!(figures.is_clean() && figures.delivered == 20, "{figures}");
        // A token that is none: nothing can be set up, and it says why.
        let server = Server::At { url, token: "wrong".to_owned() };
        let error = run(&Plan { server, ..plan }).unwrap_err().to_string();
        assert!(error.contains("an application was not created: 401"), "{error}");
        other.block_on(stack.stop());
    }
}
