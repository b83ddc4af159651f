//! What of an endpoint is sealed inside its item: its signing keys, and its headers, which often
//! hold tokens.

use std::fmt;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;

use super::Store;
use super::applications::Application;
use super::audit::What;
use super::endpoints::{Endpoint, EndpointKey};
use super::item::{Get as _, Item, Put as _, b, n};
use crate::auth::Caller;
use crate::error::{Error, Result, corrupt};
use crate::ids::EndpointId;
use crate::signing::SigningKey;

/// Old keys of one endpoint that may be valid at the same time: each adds a signature to every webhook.
pub const OLD_KEYS_MAX: usize = 10;

/// Headers that an endpoint's webhooks carry besides ours, spelled as their owner spelled them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EndpointHeaders(Vec<(String, String)>);

impl fmt::Debug for EndpointHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

impl EndpointHeaders {
    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets a header, in whatever case it was written before.
    pub fn set(&mut self, name: String, value: String) {
        self.remove(&name);
        let at = self.0.partition_point(|(other, _)| *other < name);
        self.0.insert(at, (name, value));
    }

    /// Removes a header, in whatever case it was written.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }

    /// Bytes of all names and values.
    pub fn length(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

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
        let text = serde_json::to_vec(&endpoint.headers.0).map_err(corrupt("an endpoint's headers"))?;
        Ok(Some(b(self.sealer.seal(&headers_place(endpoint.id), &text))))
    }

    pub(super) fn opened_headers(&self, id: EndpointId, item: &Item) -> Result<EndpointHeaders> {
        let Some(sealed) = item.bytes("headers") else { return Ok(EndpointHeaders::default()) };
        let text = self.sealer.open(&headers_place(id), sealed)?;
        serde_json::from_slice(&text).map(EndpointHeaders).map_err(corrupt("an endpoint's headers"))
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
        self.replace_endpoint(by, app, old, new, What::EndpointHeadersUpdated).await
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
        self.replace_endpoint(by, app, old, new, What::EndpointSecretRotated).await
    }
}

/// The keys after a rotation to `key`: the current one until now ends at `until`, or at once.
fn rotated(
    keys: &[EndpointKey],
    key: SigningKey,
    until: Option<crate::clock::Timestamp>,
    now: crate::clock::Timestamp,
) -> Result<Vec<EndpointKey>> {
    let old = keys.iter().filter_map(|old| {
        let until = old.until.or(until)?;
        // The same key again is no old one.
        (until > now && old.key != key).then(|| EndpointKey { key: old.key.clone(), until: Some(until) })
    });
    let old: Vec<_> = old.collect();
    if old.len() > OLD_KEYS_MAX {
        return Err(Error::LimitReached(format!(
            "{OLD_KEYS_MAX} old keys are still valid: wait until one of them ends, or rotate with gracePeriodSeconds 0."
        )));
    }
    let mut keys = vec![EndpointKey { key, until: None }];
    keys.extend(old);
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn key(byte: u8) -> SigningKey {
        SigningKey::Hmac256(vec![byte; 24])
    }

    #[test]
    fn headers_are_one_whatever_their_case() {
        let mut headers = EndpointHeaders::default();
        for (name, value) in [("X-b", "1"), ("A", "2"), ("x-B", "3")] {
            headers.set(name.into(), value.into());
        }
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("A", "2"), ("x-B", "3")]);
        assert_eq!((headers.len(), headers.length()), (2, 6));
        assert_eq!(format!("{headers:?}"), r#"["A", "x-B"]"#);
        headers.remove("X-B");
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("A", "2")]);
    }

    #[test]
    fn a_rotated_key_stays_until_its_end() {
        let at = Timestamp::from_ms;
        let first = vec![EndpointKey { key: key(1), until: None }];
        let second = rotated(&first, key(2), Some(at(2_000)), at(1_000)).unwrap();
        assert_eq!(second[1], EndpointKey { key: key(1), until: Some(at(2_000)) });
        // The older key keeps its own end, and is dropped with it.
        let third = rotated(&second, key(3), Some(at(9_000)), at(1_999)).unwrap();
        assert_eq!(
            third.iter().map(|key| key.until).collect::<Vec<_>>(),
            [None, Some(at(9_000)), Some(at(2_000))]
        );
        let fourth = rotated(&third, key(4), None, at(2_000)).unwrap();
        // Without grace the third is gone at once; the second keeps the end that it was given.
        let left = EndpointKey { key: key(2), until: Some(at(9_000)) };
        assert_eq!(fourth, [EndpointKey { key: key(4), until: None }, left]);
        assert_eq!(rotated(&first, key(1), Some(at(2_000)), at(1_000)).unwrap(), first);
    }

    #[test]
    fn ten_old_keys_are_valid_and_not_eleven() {
        let (now, until) = (Timestamp::from_ms(1_000), Timestamp::from_ms(2_000));
        let mut keys = vec![EndpointKey { key: key(0), until: None }];
        for byte in 1..=10 {
            keys = rotated(&keys, key(byte), Some(until), now).unwrap();
        }
        assert_eq!(keys.len(), 11);
        assert!(matches!(rotated(&keys, key(11), Some(until), now), Err(Error::LimitReached(_))));
        assert_eq!(rotated(&keys, key(11), None, now).unwrap().len(), 11);
        assert_eq!(rotated(&keys, key(11), Some(until), until).unwrap().len(), 1);
    }
}
