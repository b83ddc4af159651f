//! The keys by which webhooks are signed as HTTP messages (RFC 9421): of the organisation, and read for endpoints that
//! ask for it alone.

use std::sync::Arc;

use shared::Result;
use shared::cache::Cache;
use shared::error::unavailable;
use shared::http_signature::{HttpKey, signing_at};
use shared::ids::OrgId;
use shared::store::applications::Application;
use shared::store::endpoints::Endpoint;

use crate::Deliver;

/// Organisations whose keys one instance remembers, each for up to a minute.
const ORGANISATIONS_MAX: usize = 1_000;

/// What this instance knows of organisations' keys.
#[derive(Debug)]
pub struct HttpKeys(Cache<OrgId, Arc<Vec<HttpKey>>>);

impl Default for HttpKeys {
    fn default() -> Self {
        Self(Cache::new(ORGANISATIONS_MAX))
    }
}

impl Deliver {
    /// The key for a webhook to `endpoint` now; none, and nothing is read, where its owner did not ask for it.
    ///
    /// # Errors
    /// The keys cannot be read. There is one before the first endpoint asks for it.
    pub(crate) async fn http_key(&self, app: &Application, endpoint: &Endpoint) -> Result<Option<HttpKey>> {
        if !endpoint.settings.http_signatures {
            return Ok(None);
        }
        let now = self.clock.now();
        let known = self.http_keys.0.get(&app.org, now);
        if let Some(key) = known.as_deref().and_then(|keys| signing_at(keys, now)) {
            return Ok(Some(key.clone()));
        }
        let keys = Box::pin(self.store.http_keys(app.org)).await?;
        let key = signing_at(&keys, now).cloned();
        self.http_keys.0.put(app.org, Arc::new(keys), now);
        let missing = || unavailable("sign a webhook")("its organisation has no key for HTTP signatures");
        key.ok_or_else(missing).map(Some)
    }
}
