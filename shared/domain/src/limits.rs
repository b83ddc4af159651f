//! Limits that several layers hold to, each once.

/// Largest body of a request, in bytes. API Gateway would let 10 MB pass, Lambda 6 MB.
pub const BODY_LENGTH_MAX: usize = 1024 * 1024;
/// Longest name and description.
pub const TEXT_LENGTH_MAX: usize = 4096;
