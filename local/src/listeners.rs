//! What runs beside the functions: the API's socket, the one for the embedded services, the polling of queues,
//! the ticks of schedules, and the removal of what has expired.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sam_template::Template;
use shared::clock::SharedClock;
use shared::config::ConfigError;
use shared::queue::Queue;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cors::Cors;
use crate::dev::Dev;
use crate::error::StartError;
use crate::functions::shutdown_requested;
use crate::in_process::Tables;
use crate::pace::Pace;
use crate::poller::Poller;
use crate::scrape::{ApiFrontend, Sources};
use crate::services::{Embedded, Services};
use crate::settings::Settings;
use crate::wiring::{Callers, Functions};
use crate::{dynamo, proxy, server};

/// How often expired items are removed.
const SWEEP: Duration = Duration::from_secs(60);
/// The variables that say where to listen.
const LISTEN: &str = "POSTRIDER_LISTEN";
const AWS_LISTEN: &str = "POSTRIDER_AWS_LISTEN";

/// A socket, and where it is.
struct Bound {
    socket: TcpListener,
    address: SocketAddr,
}

impl Bound {
    async fn to(variable: &str, address: SocketAddr) -> Result<Self, StartError> {
        let refused = |error| refused(variable, address, &error);
        let socket = TcpListener::bind(address).await.map_err(refused)?;
        Ok(Self { address: socket.local_addr().map_err(refused)?, socket })
    }
}

/// The sockets, bound and not yet served.
pub(crate) struct Listeners {
    api: Bound,
    aws: Option<Bound>,
}

impl Listeners {
    /// Binds what the settings ask for: it costs nothing and most often goes wrong.
    ///
    /// # Errors
    /// An address is in use, or not this machine's.
    pub(crate) async fn bind(settings: &Settings) -> Result<Self, StartError> {
        let api = Bound::to(LISTEN, settings.listen).await?;
        let aws = match settings.aws_listen {
            Some(address) => Some(Bound::to(AWS_LISTEN, address).await?),
            None => None,
        };
        Ok(Self { api, aws })
    }

    /// Where the API listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.api.address
    }

    /// Where the embedded services are served to others.
    pub(crate) fn aws_address(&self) -> Option<SocketAddr> {
        self.aws.as_ref().map(|aws| aws.address)
    }

    /// Serves, polls and ticks until `stopped` becomes true.
    pub(crate) fn spawn(
        self,
        settings: &Settings,
        template: &Template,
        services: &Services,
        functions: &Functions,
        Callers { api, pollers }: Callers,
        stopped: &watch::Receiver<bool>,
    ) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        if let (Some(aws), Some(Embedded { sqs, dynamo, .. })) = (self.aws, &services.embedded) {
            tasks.spawn(proxy::serve(aws.socket, dynamo.address, sqs.address, stopped.clone()));
        }
        let url = own_url(self.api.address);
        let clock = &services.platform.clock;
        let front = ApiFrontend {
            api: Arc::new(api),
            cors: Cors::new(settings.cors_origins.clone()),
            pace: if settings.poll { pace(services, &pollers) } else { None },
            dev: (settings.receiver || self.api.address.ip().is_loopback())
                .then(|| Dev::new(url.clone(), clock.clone())),
            sources: Sources::new(template, services),
            url,
        };
        let (socket, most) = (self.api.socket, settings.connections_max);
        tasks.spawn(server::serve(socket, most, Arc::new(front), stopped.clone()));
        if !settings.poll {
            return tasks;
        }
        for poller in pollers {
            tasks.spawn(poller.run(stopped.clone()));
        }
        for function in &functions.scheduled {
            for rate in &function.rates {
                tasks.spawn(function.clone().keep_time(*rate, stopped.clone()));
            }
        }
        if let Some(Embedded { dynamo, .. }) = &services.embedded {
            tasks.spawn(keep_swept(dynamo.tables(), clock.clone(), stopped.clone()));
        }
        tasks
    }
}

/// Back-pressure by the embedded queue of first attempts.
fn pace(services: &Services, pollers: &[Poller]) -> Option<Pace> {
    let engine = services.engine()?.clone();
    let poller = pollers.iter().find(|poller| poller.source.queue == Queue::Deliveries.logical_id())?;
    let clock = services.platform.clock.clone();
    Some(Pace { engine, queue: poller.queue.name.clone(), busy: poller.busy.permits(), clock })
}

/// The API's URL as a browser on this machine opens it.
pub(crate) fn own_url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{address}")
}

fn refused(variable: &str, address: SocketAddr, error: &std::io::Error) -> StartError {
    let problem = match error.kind() {
        ErrorKind::AddrInUse => {
            format!("{address} is in use by another program; stop that one or choose another address")
        }
        _ => format!("cannot listen on {address}: {error}"),
    };
    ConfigError::new(variable, problem).into()
}

async fn keep_swept(tables: Tables, clock: SharedClock, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            biased;
            () = shutdown_requested(&mut stop) => return,
            () = clock.sleep(SWEEP) => dynamo::sweep(tables.clone()).await,
        }
    }
}
