//! The endpoints of an application, cached: what a fan-out has to know of them.

use std::sync::Arc;
use std::time::Duration;

use domain::Result;
use domain::application::Application;
use domain::caller::Caller;
use domain::endpoint::{Endpoint, Filter};
use domain::ids::{AppId, EndpointId, Reference};
use runtime::cache::Cache;
use runtime::clock::{Clock, Timestamp};
use store::Store;

/// Endpoints that one instance remembers, of all applications together; an application is as much as one
/// of them. With usual filters they are 20 MB.
const ENDPOINTS_MAX: usize = 100_000;
/// A change is one transaction, but readers of several items can see a part of it for a moment: a
/// list read so soon after a change is used once and not kept.
const SETTLED: Duration = Duration::from_secs(1);

/// An application's endpoints, and the version of the application that they belong to.
type Versioned = (u64, Arc<[(EndpointId, Filter)]>);

/// The endpoints of many applications.
#[derive(Debug)]
pub struct Targets(Cache<AppId, Versioned>);

impl Default for Targets {
    fn default() -> Self {
        Self(Cache::weighing(ENDPOINTS_MAX, |(_, endpoints)| 1 + endpoints.len()))
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
        let unknown = |id| self.0.get(&id, now).is_none();
        let (app, endpoints) = store.application_along_for(caller, reference, unknown).await?;
        if let Some(endpoints) = endpoints {
            self.keep(&app, targets(endpoints), now);
        }
        Ok(app)
    }

    /// The endpoints of `app`, which was just read: its version tells whether the cache still holds.
    pub async fn of(
        &self,
        store: &Store,
        clock: &dyn Clock,
        app: &Application,
    ) -> Result<Arc<[(EndpointId, Filter)]>> {
        let now = clock.now();
        if let Some((version, endpoints)) = self.0.get(&app.id, now)
            && version == app.version
        {
            return Ok(endpoints);
        }
        let endpoints = targets(store.all_endpoints(app.id).await?);
        self.keep(app, endpoints.clone(), now);
        Ok(endpoints)
    }

    /// Remembers what was read at `now`.
    fn keep(&self, app: &Application, endpoints: Arc<[(EndpointId, Filter)]>, now: Timestamp) {
        if now.since(app.version_at) > SETTLED {
            self.0.put(app.id, (app.version, endpoints), now);
        }
    }
}

fn targets(endpoints: Vec<Endpoint>) -> Arc<[(EndpointId, Filter)]> {
    endpoints.into_iter().map(|Endpoint { id, settings, .. }| (id, settings.into())).collect()
}
