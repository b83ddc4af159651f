//! Limits that several layers hold to, each once.

use std::time::Duration;

/// Largest body of a request, in bytes. API Gateway would let 10 MB pass, Lambda 6 MB.
pub const BODY_LENGTH_MAX: usize = 1024 * 1024;
/// Longest name and description.
pub const TEXT_LENGTH_MAX: usize = 4096;
/// Longest name of a channel.
pub const CHANNEL_LENGTH_MAX: usize = 128;
/// Longest tag.
pub const TAG_LENGTH_MAX: usize = 128;
/// Longest token that is looked at.
pub const TOKEN_LENGTH_MAX: usize = 8 * 1024;
/// Most feature flags of an event type, and of a token: that travels in a header.
pub const FEATURE_FLAGS_MAX: usize = 32;
/// How far into the future the bounds of a list or of a window may lie.
pub const FUTURE_MAX: Duration = Duration::from_secs(3600);
