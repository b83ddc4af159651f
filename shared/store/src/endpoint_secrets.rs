//! What of an endpoint is sealed inside its item: its signing keys, and its headers, which often
//! hold tokens.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;

use super::Store;
use super::applications::Application;
use super::audit::AuditAction;
use super::endpoints::{Endpoint, EndpointKey};
use super::item::{Get as _, Item, Put as _, b, n};
use domain::caller::Caller;
use domain::endpoint::rotated;
use domain::error::{Result, corrupt};
use domain::ids::EndpointId;
use domain::signing::SigningKey;

pub use domain::endpoint::{EndpointHeaders, OLD_KEYS_MAX};

fn key_place(id: EndpointId) -> String {
    format!("{id} signing key")
}

fn headers_place(id: EndpointId) -> String {
    format!("{id} headers")
}

impl Store {
    pub(super) fn sealed_keys(&self, endpoint: &Endpoint) -> AttributeValue {
        let sealed = endpoint.keys.iter().map(|key| {
            let sealed = self.sealer.seal(&key_place(endpoint.id), key.key.private_text().as_bytes());
            let item = Item::new().with("key", b(sealed)).with_some("until", key.until.map(|at| n(at.ms())));
            AttributeValue::M(item)
        });
        AttributeValue::L(sealed.collect())
    }

    pub(super) fn opened_keys(&self, id: EndpointId, item: &Item) -> Result<Vec<EndpointKey>> {
        let sealed =
            item.get("keys").and_then(|keys| keys.as_l().ok()).map(Vec::as_slice).unwrap_or_default();
        let opened = sealed.iter().map(|key| {
            let key = key.as_m().map_err(|_| corrupt("an endpoint's keys")("an entry is no map"))?;
            let text = self.sealer.open(&key_place(id), key.bytes("key").unwrap_or_default())?;
            let text = std::str::from_utf8(&text).map_err(corrupt("a signing key"))?;
            let parsed = SigningKey::parse(text).ok_or_else(|| corrupt("a signing key")("it is none"))?;
            Ok(EndpointKey { key: parsed, until: key.time_opt("until") })
        });
        opened.collect()
    }

    pub(super) fn sealed_headers(&self, endpoint: &Endpoint) -> Result<Option<AttributeValue>> {
        if endpoint.headers.is_empty() {
            return Ok(None);
        }
        let text = serde_json::to_vec(&endpoint.headers).map_err(corrupt("an endpoint's headers"))?;
        Ok(Some(b(self.sealer.seal(&headers_place(endpoint.id), &text))))
    }

    pub(super) fn opened_headers(&self, id: EndpointId, item: &Item) -> Result<EndpointHeaders> {
        let Some(sealed) = item.bytes("headers") else { return Ok(EndpointHeaders::default()) };
        let text = self.sealer.open(&headers_place(id), sealed)?;
        serde_json::from_slice(&text).map_err(corrupt("an endpoint's headers"))
    }

    /// Replaces the headers of `old` as it was read; none where it was changed meanwhile, and the
    /// caller reads again.
    ///
    /// # Errors
    /// `NotFound` if the application is gone.
    pub async fn set_endpoint_headers(
        &self,
        by: &Caller,
        app: &Application,
        old: &Endpoint,
        headers: EndpointHeaders,
    ) -> Result<Option<Endpoint>> {
        let new = Endpoint { headers, ..old.clone() };
        self.replace_endpoint(by, app, old, new, AuditAction::EndpointHeadersUpdated).await
    }

    /// Gives `old`, as it was read, another key to sign with. Its key until now stays valid for
    /// `grace`; older keys that have come to their end are dropped. None where the endpoint was
    /// changed meanwhile, and the caller reads again.
    ///
    /// # Errors
    /// `LimitReached` where too many old keys would be valid, `NotFound` if the application is gone.
    pub async fn rotate_endpoint_key(
        &self,
        by: &Caller,
        app: &Application,
        old: &Endpoint,
        key: SigningKey,
        grace: Duration,
    ) -> Result<Option<Endpoint>> {
        let now = self.clock.now();
        let keys = rotated(&old.keys, key, (!grace.is_zero()).then(|| now.after(grace)), now)?;
        let new = Endpoint { keys, ..old.clone() };
        self.replace_endpoint(by, app, old, new, AuditAction::EndpointSecretRotated).await
    }
}
