//! What any program of ours runs with: time, randomness, settings, logs, metrics and traces.

pub mod cache;
pub mod clock;
pub mod config;
pub mod draining;
pub mod metrics;
pub mod random;
pub mod telemetry;
pub mod trace;
pub mod traceparent;

/// Who we are to those that we send requests to: receivers and AWS.
pub const AGENT: &str = concat!("Postrider/", env!("CARGO_PKG_VERSION"));

/// Bytes as hexadecimal digits, in small letters.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = vec![0; 2 * bytes.len()];
    for (two, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *two = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
    String::from_utf8(text).expect("digits are ASCII")
}
