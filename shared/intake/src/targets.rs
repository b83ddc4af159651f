//! The endpoints of an application, cached: what a fan-out has to know of them.

use std::sync::Arc;

use domain::Result;
use domain::application::Application;
use domain::caller::Caller;
use domain::endpoint::{Endpoint, Filter};
use domain::ids::{AppId, EndpointId, Reference};
use domain::labels::Labels;
use domain::order::Fifo;
use domain::payload_filter::PayloadView;
use runtime::cache::VersionedCache;
use runtime::clock::Clock;
use store::Store;

/// Endpoints that one instance remembers, of all applications together; an application is as much as one
/// of them. With usual filters they are 20 MB.
const ENDPOINTS_MAX: usize = 100_000;

/// What a fan-out has to know of an endpoint.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its ID.
    pub endpoint: EndpointId,
    filter: Filter,
    polled: bool,
    /// How its messages are in order, if they are.
    pub fifo: Option<Fifo>,
}

impl Target {
    /// Whether messages with those labels and that payload are for it.
    pub fn wants(&self, labels: &Labels, payload: &PayloadView<'_>) -> bool {
        self.filter.wants(labels, payload)
    }

    /// Whether messages with those labels are for it if their payload matches.
    pub fn may_want(&self, labels: &Labels) -> bool {
        self.filter.may_want(labels)
    }

    /// Whether it is polled: nothing is sent to it.
    pub const fn is_polled(&self) -> bool {
        self.polled
    }
}

impl From<Endpoint> for Target {
    fn from(Endpoint { id, settings, .. }: Endpoint) -> Self {
        let (polled, fifo) = (settings.destination.is_polled(), settings.fifo.clone());
        Self { endpoint: id, filter: settings.into(), polled, fifo }
    }
}

/// The endpoints of many applications.
#[derive(Debug)]
pub struct Targets(VersionedCache<AppId, Arc<[Target]>>);

impl Default for Targets {
    fn default() -> Self {
        Self(VersionedCache::weighing(ENDPOINTS_MAX, |(_, endpoints)| 1 + endpoints.len()))
    }
}

impl Targets {
    /// The application that `caller` means by `reference`. Where its endpoints are not known yet they are
    /// read along with it.
    pub async fn application_for(
        &self,
        store: &Store,
        clock: &dyn Clock,
        caller: &Caller,
        reference: &Reference<AppId>,
    ) -> Result<Application> {
        let now = clock.now();
        let unknown = |id| !self.0.contains(&id, now);
        let (app, endpoints) = store.application_along_for(caller, reference, unknown).await?;
        if let Some(endpoints) = endpoints {
            self.0.put(app.id, app.cache_version(), targets(endpoints), now);
        }
        Ok(app)
    }

    /// The endpoints of `app`, which was just read: its version tells whether the cache still holds.
    pub async fn of(&self, store: &Store, clock: &dyn Clock, app: &Application) -> Result<Arc<[Target]>> {
        let now = clock.now();
        if let Some(endpoints) = self.0.get(&app.id, app.cache_version(), now) {
            return Ok(endpoints);
        }
        let endpoints = targets(store.all_endpoints(app.id).await?);
        self.0.put(app.id, app.cache_version(), endpoints.clone(), now);
        Ok(endpoints)
    }
}

fn targets(endpoints: Vec<Endpoint>) -> Arc<[Target]> {
    endpoints.into_iter().map(Target::from).collect()
}
