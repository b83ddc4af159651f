//! What SDKs 1.x expect that newer ones do not. The first of them take any other status than the one
//! they know for a failure, whatever the operation did; their `User-Agent` is all that tells them apart.

use http::HeaderMap;
use http::header::USER_AGENT;

/// Whether the caller is an SDK 1.x.
pub fn asked(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
    agent.is_some_and(|agent| agent.starts_with("svix-libs/1."))
}
