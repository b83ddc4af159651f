//! The first link that a developer opens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// A link that opens the portal with this token. It is in the fragment, which browsers send to nobody.
pub(crate) fn link(url: &str, token: &str) -> String {
    let key = json!({ "token": token, "region": "self", "serverUrl": url }).to_string();
    format!("{url}/login#key={}", STANDARD.encode(key))
}
