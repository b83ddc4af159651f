//! Spans as protobuf, by OTLP 1.x (<https://opentelemetry.io/docs/specs/otlp/>, messages of
//! `opentelemetry/proto/trace/v1/trace.proto` and `…/common/v1/common.proto`). Twenty fields of seven messages:
//! the libraries that generate code for it are larger than what they would replace. OpenTelemetry's own messages read
//! it in `tests/examples/spans.py`.

use shared::traceparent::TraceParent;

/// `Span.flags`: whether the parent is another process's is known, and it is.
const PARENT_KNOWN: u32 = 0x100;
const PARENT_REMOTE: u32 = 0x200;
/// `Status.code`.
const STATUS_ERROR: u64 = 2;

/// `Span.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request whose response is waited for.
    Client = 3,
    /// A message that is handed to a broker.
    Producer = 4,
}

/// How a value is encoded (<https://protobuf.dev/programming-guides/encoding/>).
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn tag(out: &mut Vec<u8>, field: u8, wire: Wire) {
    varint(out, u64::from(field) << 3 | wire as u64);
}

fn number(out: &mut Vec<u8>, field: u8, value: u64) {
    tag(out, field, Wire::Varint);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    tag(out, field, Wire::Bytes);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn fixed64(out: &mut Vec<u8>, field: u8, value: u64) {
    tag(out, field, Wire::Fixed64);
    out.extend_from_slice(&value.to_le_bytes());
}

fn message(out: &mut Vec<u8>, field: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    write(&mut inner);
    bytes(out, field, &inner);
}

/// `KeyValue` with a text.
fn text(out: &mut Vec<u8>, field: u8, key: &str, value: &str) {
    message(out, field, |pair| {
        bytes(pair, 1, key.as_bytes());
        message(pair, 2, |any| bytes(any, 1, value.as_bytes()));
    });
}

/// A span that is being written.
#[derive(Debug)]
pub struct Span(Vec<u8>);

impl Span {
    const ATTRIBUTES: u8 = 9;

    /// A span of that name.
    pub fn new(own: TraceParent, parent: Option<u64>, name: &str, kind: Kind) -> Self {
        let mut out = Vec::with_capacity(1024);
        bytes(&mut out, 1, &own.trace.to_be_bytes());
        bytes(&mut out, 2, &own.span.to_be_bytes());
        if let Some(parent) = parent {
            bytes(&mut out, 4, &parent.to_be_bytes());
        }
        bytes(&mut out, 5, name.as_bytes());
        number(&mut out, 6, kind as u64);
        let remote = if parent.is_some() { PARENT_REMOTE } else { 0 };
        tag(&mut out, 16, Wire::Fixed32);
        out.extend_from_slice(&(u32::from(own.sampled) | PARENT_KNOWN | remote).to_le_bytes());
        Self(out)
    }

    /// When it began and ended, in milliseconds since 1970.
    pub fn times(&mut self, start: u64, end: u64) {
        fixed64(&mut self.0, 7, start.saturating_mul(1_000_000));
        fixed64(&mut self.0, 8, end.saturating_mul(1_000_000));
    }

    /// An attribute.
    pub fn text(&mut self, key: &str, value: &str) {
        text(&mut self.0, Self::ATTRIBUTES, key, value);
    }

    /// An attribute.
    pub fn number(&mut self, key: &str, value: u64) {
        message(&mut self.0, Self::ATTRIBUTES, |pair| {
            bytes(pair, 1, key.as_bytes());
            message(pair, 2, |any| number(any, 3, value));
        });
    }

    /// It did not end well.
    pub fn failed(&mut self) {
        message(&mut self.0, 15, |status| number(status, 3, STATUS_ERROR));
    }

    /// The message `Span`.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// The message `Resource`: which installation these spans are of.
pub fn resource(stack: &str) -> Vec<u8> {
    let mut out = Vec::new();
    text(&mut out, 1, "service.name", "postrider");
    text(&mut out, 1, "service.namespace", stack);
    text(&mut out, 1, "service.version", env!("CARGO_PKG_VERSION"));
    out
}

/// The message `ExportTraceServiceRequest`.
pub fn request(resource: &[u8], spans: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, 1, |of_resource| {
        bytes(of_resource, 1, resource);
        message(of_resource, 2, |of_scope| {
            message(of_scope, 1, |scope| bytes(scope, 1, b"postrider.deliver"));
            for span in spans {
                bytes(of_scope, 2, span);
            }
        });
    });
    out
}

/// How many spans an `ExportTraceServiceResponse` says were refused: field 1 of its field 1.
pub fn rejected(response: &[u8]) -> u64 {
    let partial_success = |rest: &[u8]| {
        let (length, rest) = read_varint(rest)?;
        Some(rest.get(..usize::try_from(length).ok()?)?.to_vec())
    };
    let partial = response.strip_prefix(&[0x0a]).and_then(partial_success).unwrap_or_default();
    partial.strip_prefix(&[0x08]).and_then(read_varint).map_or(0, |(count, _)| count)
}

fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (nth, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * nth);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[nth + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_encodings_own_examples() {
        let mut out = Vec::new();
        number(&mut out, 1, 150);
        bytes(&mut out, 2, b"testing");
        assert_eq!(out, [0x08, 0x96, 0x01, 0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]);
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            varint(&mut out, value);
            assert_eq!(read_varint(&out), Some((value, &[][..])));
        }
        assert_eq!(read_varint(&[0xff; 12]), None);
    }

    #[test]
    fn a_response_says_how_many_spans_were_refused() {
        assert_eq!(rejected(&[]), 0);
        assert_eq!(rejected(&[0x0a, 0x03, 0x08, 0x96, 0x01]), 150);
        // With a text after the count, and with a text alone: a warning.
        assert_eq!(rejected(&[0x0a, 0x05, 0x08, 0x02, 0x12, 0x01, b'x']), 2);
        assert_eq!(rejected(&[0x0a, 0x03, 0x12, 0x01, b'x']), 0);
        assert_eq!(rejected(&[0x0a, 0x7f, 0x08]), 0);
    }
}
