//! Receipt handles, message ids and other names that must not repeat.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use md5::{Digest, Md5};

use super::content::hex;
use crate::wire::error::{ApiError, Kind};

/// What a receipt handle says: which receive of which message it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) queue: u64,
    pub(crate) seq: u64,
    /// The number of the receive, never used twice (not across restarts either).
    pub(crate) receive: u64,
}

impl Receipt {
    pub(crate) fn handle(self) -> String {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.queue.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.seq.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.receive.to_be_bytes());
        let check = check(&bytes[..24]);
        bytes[24..].copy_from_slice(&check);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the handle of a receive from `queue`.
    pub(crate) fn read(handle: Option<&str>, queue: u64) -> Result<Self, ApiError> {
        let handle = handle.filter(|h| !h.is_empty()).ok_or_else(|| ApiError::missing("ReceiptHandle"))?;
        Self::decode(handle).filter(|receipt| receipt.queue == queue).ok_or_else(|| {
            let shown: String = handle.chars().take(80).collect();
            ApiError::new(
                Kind::ReceiptHandleIsInvalid,
                format!("The input receipt handle \"{shown}\" is not a valid receipt handle."),
            )
        })
    }

    fn decode(handle: &str) -> Option<Self> {
        let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(handle).ok()?.try_into().ok()?;
        if check(&bytes[..24]) != bytes[24..] {
            return None;
        }
        let word = |at: usize| bytes[at..at + 8].iter().fold(0, |word, &b| (word << 8) | u64::from(b));
        Some(Self { queue: word(0), seq: word(8), receive: word(16) })
    }
}

/// Tells a mistyped handle from an old one. It is no secret: the caller is trusted.
fn check(bytes: &[u8]) -> [u8; 8] {
    let digest = Md5::new_with_prefix(b"receipt").chain_update(bytes).finalize();
    let mut check = [0; 8];
    check.copy_from_slice(&digest[..8]);
    check
}

/// Makes ids in the form of random UUIDs: a digest over a random seed and a counter.
#[derive(Debug)]
pub(crate) struct Ids {
    seed: [u8; 16],
    next: AtomicU64,
}

impl Ids {
    pub(crate) fn new(given: Option<u64>) -> Self {
        // `RandomState` is the randomness of the operating system that the standard library hands out.
        let word = |nth: u64| given.unwrap_or_else(|| RandomState::new().hash_one(nth));
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&word(1).to_be_bytes());
        seed[8..].copy_from_slice(&word(2).to_be_bytes());
        Self { seed, next: AtomicU64::new(0) }
    }

    pub(crate) fn next(&self) -> String {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let mut id: [u8; 16] =
            Md5::new_with_prefix(self.seed).chain_update(n.to_be_bytes()).finalize().into();
        id[6] = (id[6] & 0x0f) | 0x40;
        id[8] = (id[8] & 0x3f) | 0x80;
        let hex = hex(&id);
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_round_trip_and_refuse_anything_else() {
        let receipt = Receipt { queue: 7, seq: u64::MAX, receive: 1 << 40 };
        let handle = receipt.handle();
        assert_eq!(Receipt::read(Some(&handle), 7).expect("own handle"), receipt);
        let kind = |handle: Option<&str>, queue| Receipt::read(handle, queue).expect_err("refused").kind;
        assert_eq!(kind(Some(&handle), 8), Kind::ReceiptHandleIsInvalid);
        assert_eq!(kind(Some("nonsense"), 7), Kind::ReceiptHandleIsInvalid);
        assert_eq!(kind(Some(&handle[1..]), 7), Kind::ReceiptHandleIsInvalid);
        assert_eq!(kind(Some(&handle.replacen('A', "B", 1)), 7), Kind::ReceiptHandleIsInvalid);
        assert_eq!(kind(Some(""), 7), Kind::MissingParameter);
        assert_eq!(kind(None, 7), Kind::MissingParameter);
    }

    #[test]
    fn ids_look_like_uuids_and_differ() {
        let ids = Ids::new(None);
        let (a, b) = (ids.next(), ids.next());
        assert_ne!(a, b);
        assert_eq!(a.len(), 36);
        assert_eq!(&a[14..15], "4");
    }
}
