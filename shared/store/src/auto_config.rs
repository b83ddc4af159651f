//! Endpoints that their receivers configure. The digest of the key is a part of the endpoint's item: it ends with the
//! endpoint, and checking it is one read.

use super::Store;
use super::applications::Application;
use super::audit::AuditAction;
use super::endpoint_secrets::EndpointHeaders;
use super::endpoints::{Destination, Endpoint, EndpointKey, EndpointSettings};
use domain::caller::Caller;
use domain::error::Result;
use domain::ids::EndpointId;
use domain::signing::SigningKey;
use runtime::random;

pub use domain::auto_config::AutoConfigKey;

impl Store {
    fn auto_config_key(&self, app: &Application, endpoint: EndpointId) -> AutoConfigKey {
        AutoConfigKey { org: app.org, app: app.id, endpoint, secret: random::bytes(&*self.random) }
    }

    /// Makes an endpoint that waits for its receiver: it has no URL yet, and is disabled.
    ///
    /// # Errors
    /// As [`Store::create_endpoint`].
    pub async fn create_waiting_endpoint(
        &self,
        by: &Caller,
        app: &Application,
        description: String,
        key: SigningKey,
    ) -> Result<(Endpoint, AutoConfigKey)> {
        let now = self.clock.now();
        let id = self.new_id::<EndpointId>(now);
        let own = self.auto_config_key(app, id);
        let destination = Destination::Http { url: String::new() };
        let endpoint = Endpoint {
            app: app.id,
            id,
            settings: EndpointSettings {
                destination,
                description,
                disabled: true,
                ..EndpointSettings::default()
            },
            keys: vec![EndpointKey { key, until: None }],
            headers: EndpointHeaders::default(),
            transformation: None,
            auto_config: Some(own.digest()),
            failing_since: None,
            failing_from: None,
            failing_warned: false,
            probing: None,
            created_at: now,
            updated_at: now,
        };
        Ok((self.write_new_endpoint(by, app, endpoint).await?, own))
    }

    /// Gives an endpoint a key with which its receiver configures it; the one before is invalid from then on. None where
    /// the endpoint was changed meanwhile, and the caller reads again.
    ///
    /// # Errors
    /// `NotFound` if the application is gone.
    pub async fn rotate_auto_config_key(
        &self,
        by: &Caller,
        app: &Application,
        old: &Endpoint,
    ) -> Result<Option<(Endpoint, AutoConfigKey)>> {
        let own = self.auto_config_key(app, old.id);
        let new = Endpoint { auto_config: Some(own.digest()), ..old.clone() };
        let what = AuditAction::EndpointAutoConfigKeyRotated;
        Ok(self.replace_endpoint(by, app, old, new, what).await?.map(|new| (new, own)))
    }

    /// Whether a key is valid. It is looked up each time: a new key ends it at once.
    ///
    /// # Errors
    /// The store's own.
    pub async fn is_auto_config_key(&self, key: &AutoConfigKey) -> Result<bool> {
        let found = self.find_endpoint(key.app, key.endpoint).await?;
        Ok(found.is_some_and(|endpoint| endpoint.auto_config == Some(key.digest())))
    }

    /// Replaces settings and headers of `old` as it was read. Nothing is written if they are these already: receivers say
    /// the same at each start. None where the endpoint was changed meanwhile, and the caller reads again.
    ///
    /// # Errors
    /// As [`Store::update_endpoint`].
    pub async fn configure_endpoint(
        &self,
        by: &Caller,
        app: &Application,
        old: &Endpoint,
        settings: EndpointSettings,
        headers: EndpointHeaders,
    ) -> Result<Option<Endpoint>> {
        if old.settings == settings && old.headers == headers {
            return Ok(Some(old.clone()));
        }
        let new = Endpoint { settings, headers, ..old.clone() };
        self.replace_endpoint(by, app, old, new, AuditAction::EndpointUpdated).await
    }
}
