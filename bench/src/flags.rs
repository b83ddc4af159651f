//! The command line, and the plan that it comes to.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use url::Url;

const EXAMPLES: &str = "\
Examples:
  The local stack, persisted in a temporary folder, flat out with 16 posters:
    bench

  200 messages a second for a minute, to five endpoints each, with a plot:
    bench --rate 200 --messages 12000 --endpoints 5 --plot latency.svg

  Another server of the same API:
    bench --url http://127.0.0.1:8071 --token \"$TOKEN\"

  The local stack and another server by turns, and how they compare:
    bench --against http://127.0.0.1:8071 --against-token \"$TOKEN\" --rounds 5

  Accepting alone, fifty messages in a request:
    bench --endpoints 0 --together 50";

/// The most deliveries of one run: a latency of each is kept.
const DELIVERIES_MAX: u64 = 5_000_000;

/// Posts messages to a server of this API, receives and verifies what it delivers, and prints rates
/// and latencies.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench", version, after_help = EXAMPLES)]
pub struct Flags {
    /// How many messages to post, from 1 to 1,000,000.
    #[arg(long, value_name = "NUMBER", default_value_t = 5_000)]
    messages: u32,
    /// Post this many a second, whatever the server does (open loop), from 1 to 20,000 [default: flat
    /// out].
    #[arg(long, value_name = "PER-SECOND", conflicts_with = "posters")]
    rate: Option<u32>,
    /// Post flat out with this many posters, each of which waits for its answer, from 1 to 256 [default:
    /// 16].
    #[arg(long, value_name = "NUMBER")]
    posters: Option<u32>,
    /// Spread the messages over this many new applications, from 1 to 10,000.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    applications: u32,
    /// Give each application this many endpoints, from 0 to 1,000; with 0 nothing is delivered, and accepting alone is measured.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    endpoints: u32,
    /// Post this many messages in each request, from 1 to 100: above 1 by POST …/msg/batch, which few servers of this API have.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    together: u32,
    /// After each request that posts, whatever it posts, read this often, from 0 to 100: a page of 50 messages, and one of an
    /// endpoint's attempts, in turn.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    reads: u32,
    /// Give each application this many further endpoints, up to 1,000, that listen to another channel and
    /// get nothing: how many there are must not matter.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    others: u32,
    /// Bytes of each payload, from 32 to 200,000; JSON like that of an invoice.
    #[arg(long, value_name = "BYTES", default_value_t = 512)]
    size: u32,
    /// Deliver to this many other receivers meanwhile, up to 1,000, each of an application of its own. What
    /// is measured is what that costs the others.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    beside: u32,
    /// Messages a second to those, together, from 1 to 20,000.
    #[arg(long, value_name = "PER-SECOND", default_value_t = 100)]
    beside_rate: u32,
    /// What they take to respond: longer than the deadline of an attempt is never; up to 600,000.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    beside_takes: u32,
    /// They are endpoints of the applications that are measured, and get the same messages.
    #[arg(long, requires = "beside")]
    beside_here: bool,
    /// The endpoints are polling endpoints: instead of a receiver, a worker for each fetches their messages by
    /// leases. With --stored it fetches those first.
    #[arg(long, conflicts_with_all = ["beside", "others"])]
    poll: bool,
    /// How long a worker waits once there is nothing more, from 1 to 60,000.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 50, requires = "poll")]
    poll_every: u32,
    /// The endpoints get their messages in order, one after the other.
    #[arg(long, conflicts_with_all = ["poll", "beside_here"])]
    ordered: bool,
    /// In order within each key alone: where a payload has it, as a JSON pointer. The payloads' /nth is another in each.
    #[arg(long, value_name = "POINTER", requires = "ordered")]
    ordered_by: Option<String>,
    /// Messages of one webhook at most, from 1 to 1,000; from 2 on its body is a list.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "ordered", value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch: u16,
    /// The order is paused while messages are posted, and resumed for all of them: how fast they are sent, whatever accepting
    /// them takes.
    #[arg(long, requires = "ordered")]
    paused: bool,
    /// Send an idempotency key with each message.
    #[arg(long)]
    idempotency_key: bool,
    /// Give each message an eventId.
    #[arg(long)]
    event_id: bool,
    /// Messages that are posted first and not counted, up to 100,000.
    #[arg(long, value_name = "NUMBER", default_value_t = 200)]
    warm_up: u32,
    /// Stop posting after this many seconds, from 1 to 3,600.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    limit: u32,
    /// A message that has not arrived this many seconds after the last arrival is lost, from 1 to 600.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u32,
    /// The server, such as http://127.0.0.1:8071 [default: a local stack in this process].
    #[arg(long, value_name = "URL", requires = "token")]
    url: Option<String>,
    /// A token for one of that server's organisations.
    #[arg(long, env = "TOKEN", hide_env_values = true, value_name = "TEXT")]
    token: Option<String>,
    /// Measure this server as well, by turns with the one above, and print how they compare.
    #[arg(long, value_name = "URL", requires = "against_token", conflicts_with_all = ["stored", "plot"])]
    against: Option<String>,
    /// A token for one of that server's organisations.
    #[arg(long, env = "AGAINST_TOKEN", hide_env_values = true, value_name = "TEXT")]
    against_token: Option<String>,
    /// How often each of the two is measured with --against, from 1 to 50.
    #[arg(long, value_name = "NUMBER", default_value_t = 3, requires = "against")]
    rounds: u32,
    /// Where the receiver listens: a loopback address; port 0 takes a free one. The server must be able
    /// to reach it.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    receiver: String,
    /// Keep the local stack's tables and queues in memory [default: in files].
    #[arg(long, conflicts_with_all = ["url", "data"])]
    ephemeral: bool,
    /// The folder for the local stack's files, kept afterwards [default: a temporary one].
    #[arg(long, value_name = "FOLDER", conflicts_with = "url")]
    data: Option<PathBuf>,
    /// Messages that the first application of the local stack has delivered earlier, up to 1,000,000: what
    /// is on file must not matter. They are stored directly, a few thousand a second.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, conflicts_with = "url")]
    stored: u32,
    /// Let the local stack reach its embedded DynamoDB and SQS over sockets, as it reaches foreign ones.
    #[arg(long, conflicts_with = "url")]
    sockets: bool,
    /// Show a progress line although standard error is no terminal.
    #[arg(long)]
    progress: bool,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
    /// Write an SVG of the latency over time to this file.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// Other receivers, whose deliveries are not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// How many.
    pub receivers: u32,
    /// Messages a second to all of them.
    pub rate: u32,
    /// What they take to respond.
    pub takes: Duration,
    /// In the applications that are measured, instead of an application of its own for each.
    pub here: bool,
}

/// The order in which an endpoint gets its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// One for all.
    All,
    /// One for each value that this JSON pointer finds in the payloads.
    By(String),
}

/// How messages are posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// This many a second, whatever the server does.
    Rate(u32),
    /// By this many posters, each of which waits for its answer.
    Posters(u32),
}

/// Where the local stack keeps its tables and queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In memory.
    Memory,
    /// In a folder that is removed afterwards.
    Temporary,
    /// In this folder.
    Folder(PathBuf),
}

/// The server that is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// A local stack in this process.
    Own {
        /// Where its data is.
        storage: Storage,
        /// The embedded services are reached over sockets.
        sockets: bool,
    },
    /// Any other.
    At {
        /// Its address, without a slash at its end.
        url: String,
        /// For one of its organisations.
        token: String,
    },
}

/// Another server of this API, for a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Against {
    /// The other one.
    pub server: Server,
    /// How often each is measured.
    pub rounds: u32,
}

/// What to do; checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How many messages.
    pub messages: u32,
    /// How they are posted.
    pub pace: Pace,
    /// New applications.
    pub applications: u32,
    /// Endpoints of each.
    pub endpoints: u32,
    /// Messages of one request.
    pub together: u32,
    /// Reads after each request that posts.
    pub reads: u32,
    /// Further endpoints of each, which want nothing of what is posted.
    pub others: u32,
    /// Other receivers.
    pub beside: Beside,
    /// In which order they get their messages; none where it is any.
    pub order: Option<Order>,
    /// Messages of one of their webhooks at most.
    pub batch: u16,
    /// Nothing is sent before all is posted.
    pub paused: bool,
    /// How often what is not delivered but fetched is asked for; none where it is delivered.
    pub poll: Option<Duration>,
    /// Bytes of each payload.
    pub size: u32,
    /// Each has a key.
    pub idempotency_key: bool,
    /// Each has an event id.
    pub event_id: bool,
    /// Messages on file before.
    pub stored: u32,
    /// Messages that are not counted.
    pub warm_up: u32,
    /// Longest time of posting.
    pub limit: Duration,
    /// Longest wait for an arrival.
    pub wait: Duration,
    /// What is measured.
    pub server: Server,
    /// What it is compared with, by turns.
    pub against: Option<Against>,
    /// Where the receiver listens.
    pub receiver: SocketAddr,
    /// A progress line is shown even where nobody may read it.
    pub progress: bool,
    /// Figures are printed as JSON.
    pub json: bool,
    /// Where the plot goes.
    pub plot: Option<PathBuf>,
}

impl Plan {
    /// Some messages to a local stack in memory, flat out.
    pub fn small(messages: u32) -> Self {
        Self {
            messages,
            pace: Pace::Posters(4),
            applications: 1,
            endpoints: 1,
            together: 1,
            reads: 0,
            others: 0,
            beside: Beside::default(),
            order: None,
            batch: 1,
            paused: false,
            poll: None,
            size: 512,
            idempotency_key: false,
            event_id: false,
            stored: 0,
            warm_up: 0,
            limit: Duration::from_secs(60),
            wait: Duration::from_secs(30),
            server: Server::Own { storage: Storage::Memory, sockets: false },
            against: None,
            receiver: (Ipv4Addr::LOCALHOST, 0).into(),
            progress: false,
            json: false,
            plot: None,
        }
    }
}

impl Flags {
    /// What the flags come to.
    ///
    /// # Errors
    /// All that makes no sense, a line each.
    pub fn plan(self) -> Result<Plan, String> {
        let mut problems = Vec::new();
        let mut within = |flag: &str, value: u32, min: u32, max: u32| {
            if !(min..=max).contains(&value) {
                problems.push(format!("--{flag}: {value} is not from {min} to {max}"));
            }
        };
        within("messages", self.messages, 1, 1_000_000);
        within("applications", self.applications, 1, 10_000);
        within("endpoints", self.endpoints, 0, 1_000);
        within("together", self.together, 1, 100);
        within("reads", self.reads, 0, 100);
        within("rounds", self.rounds, 1, 50);
        within("others", self.others, 0, 1_000);
        within("beside", self.beside, 0, 1_000);
        within("beside-rate", self.beside_rate, 1, 20_000);
        within("beside-takes", self.beside_takes, 0, 600_000);
        within("poll-every", self.poll_every, 1, 60_000);
        within("size", self.size, 32, 200_000);
        within("stored", self.stored, 0, 1_000_000);
        within("warm-up", self.warm_up, 0, 100_000);
        within("limit", self.limit, 1, 3_600);
        within("wait", self.wait, 1, 600);
        let pace = match (self.rate, self.posters) {
            (Some(rate), _) => {
                within("rate", rate, 1, 20_000);
                Pace::Rate(rate)
            }
            (None, posters) => {
                let posters = posters.unwrap_or(16);
                within("posters", posters, 1, 256);
                Pace::Posters(posters)
            }
        };
        let needs_endpoints = [
            ("beside", self.beside > 0),
            ("poll", self.poll),
            ("ordered", self.ordered),
            ("stored", self.stored > 0),
            ("others", self.others > 0),
        ];
        for (flag, _) in needs_endpoints.iter().filter(|(_, given)| self.endpoints == 0 && *given) {
            problems.push(format!("--{flag}: needs endpoints, and --endpoints is 0"));
        }
        let deliveries = u64::from(self.messages) * u64::from(self.endpoints);
        if deliveries > DELIVERIES_MAX {
            problems.push(format!(
                "--messages and --endpoints: {deliveries} deliveries are more than {DELIVERIES_MAX}, whose latencies are kept"
            ));
        }
        let set_up = u64::from(self.applications) * (u64::from(self.endpoints) + u64::from(self.others));
        if set_up > 100_000 {
            problems.push(format!(
                "--applications, --endpoints and --others: {set_up} endpoints are more than 100000, which take minutes to create"
            ));
        }
        let receiver = self.receiver.parse::<SocketAddr>();
        match &receiver {
            Ok(address) if address.ip().is_loopback() => {}
            Ok(address) => problems.push(format!("--receiver: {address} is no loopback address")),
            Err(_) => problems.push(format!(
                "--receiver: {:?} is no address and port such as 127.0.0.1:9000",
                self.receiver
            )),
        }
        let server = match self.url {
            None => {
                let storage = match (self.ephemeral, self.data) {
                    (true, _) => Storage::Memory,
                    (false, Some(folder)) => Storage::Folder(folder),
                    (false, None) => Storage::Temporary,
                };
                Server::Own { storage, sockets: self.sockets }
            }
            Some(url) => at(["url", "token"], &url, self.token, &mut problems),
        };
        let against = self.against.map(|url| Against {
            server: at(["against", "against-token"], &url, self.against_token, &mut problems),
            rounds: self.rounds,
        });
        match receiver {
            Ok(receiver) if problems.is_empty() => Ok(Plan {
                messages: self.messages,
                pace,
                applications: self.applications,
                endpoints: self.endpoints,
                together: self.together,
                reads: self.reads,
                others: self.others,
                beside: Beside {
                    receivers: self.beside,
                    rate: self.beside_rate,
                    takes: Duration::from_millis(self.beside_takes.into()),
                    here: self.beside_here,
                },
                order: self.ordered.then(|| self.ordered_by.map_or(Order::All, Order::By)),
                batch: self.batch,
                paused: self.paused,
                poll: self.poll.then(|| Duration::from_millis(self.poll_every.into())),
                size: self.size,
                idempotency_key: self.idempotency_key,
                event_id: self.event_id,
                stored: self.stored,
                warm_up: self.warm_up,
                limit: Duration::from_secs(self.limit.into()),
                wait: Duration::from_secs(self.wait.into()),
                server,
                against,
                receiver,
                progress: self.progress,
                json: self.json,
                plot: self.plot,
            }),
            _ => Err(problems.join("\n")),
        }
    }
}

/// The server that two flags name.
fn at([flag, token_flag]: [&str; 2], url: &str, token: Option<String>, problems: &mut Vec<String>) -> Server {
    let is_http = Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !is_http {
        problems.push(format!("--{flag}: {url:?} is no URL such as http://127.0.0.1:8071"));
    }
    let token = token.unwrap_or_default().trim().to_owned();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        problems.push(format!("--{token_flag}: must be the token that the server gave, and nothing else"));
    }
    Server::At { url: url.trim_end_matches('/').to_owned(), token }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(line: &[&str]) -> Result<Plan, String> {
        Flags::try_parse_from(["bench"].iter().chain(line)).map_err(|error| error.to_string())?.plan()
    }

    #[test]
    fn nothing_said_is_the_stack_in_files_flat_out() {
        let plan = plan(&[]).unwrap();
        assert_eq!(plan.pace, Pace::Posters(16));
        assert_eq!(plan.server, Server::Own { storage: Storage::Temporary, sockets: false });
        assert_eq!((plan.messages, plan.size, plan.applications, plan.endpoints), (5_000, 512, 1, 1));
    }

    #[test]
    fn the_documented_lines_are_understood() {
        let document = include_str!("../../docs/BENCHMARKS.md");
        let lines = document.lines().filter(|line| *line == "bench" || line.starts_with("bench "));
        let mut read = 0;
        for line in lines {
            let line = line.split(" #").next().unwrap_or_default().replace("\"$TOKEN\"", "token");
            let words: Vec<&str> = line.split_whitespace().skip(1).collect();
            plan(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
            read += 1;
        }
        assert!(read >= 8, "{read}");
    }

    #[test]
    fn a_server_is_named_without_the_slash_at_its_end() {
        let plan = plan(&["--url", "http://127.0.0.1:1/", "--token", "t", "--rate", "7"]).unwrap();
        assert_eq!(plan.server, Server::At { url: "http://127.0.0.1:1".into(), token: "t".into() });
        assert_eq!(plan.pace, Pace::Rate(7));
    }

    #[test]
    fn all_that_makes_no_sense_is_said_at_once() {
        let problems = plan(&["--messages", "0", "--receiver", "10.0.0.1:1", "--size", "7"]).unwrap_err();
        let lines: Vec<&str> = problems.lines().collect();
        assert_eq!(
            lines,
            [
                "--messages: 0 is not from 1 to 1000000",
                "--size: 7 is not from 32 to 200000",
                "--receiver: 10.0.0.1:1 is no loopback address"
            ]
        );
        for line in [
            &["--rate", "5", "--posters", "2"][..],
            &["--url", "http://127.0.0.1:1", "--token", "t", "--ephemeral"],
            &["--url", "nowhere", "--token", "t"],
            &["--url", "http://127.0.0.1:1", "--token", "a b"],
            &["--messages", "1000000", "--endpoints", "6"],
            &["--receiver", "9000"],
            &["--together", "101"],
            &["--endpoints", "0", "--ordered"],
            &["--against", "http://127.0.0.1:1"],
            &["--rounds", "2"],
            &["--against", "nowhere", "--against-token", "t"],
            &["--against", "http://127.0.0.1:1", "--against-token", "t", "--stored", "1"],
        ] {
            plan(line).unwrap_err();
        }
    }
}
