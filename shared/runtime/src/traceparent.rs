//! The place in a trace as the header `traceparent` says it: W3C Trace Context, level 1
//! (<https://www.w3.org/TR/trace-context-1/#traceparent-header>),
//! `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`.

use std::fmt;

use http::HeaderMap;

/// The header.
pub const HEADER: &str = "traceparent";
/// Length of version 00, which later versions begin with.
const LENGTH: usize = 55;
/// The one flag of level 1: whoever sent this may have recorded it.
const SAMPLED: u8 = 1;

/// A trace, and the span in it that what carries this follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace's ID, never 0.
    pub trace: u128,
    /// The span's ID, never 0.
    pub span: u64,
    /// Whether the sender may have recorded it.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads a header's text; none where the specification says that it is to be ignored.
    pub fn parse(text: &str) -> Option<Self> {
        // Of a later version as much is read as this one has, if that ends where a field ends.
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let mut fields = known.split('-');
        let version = hex::<2>(fields.next()?)?;
        let fits = match version {
            0xff => false,
            0 => rest.is_empty(),
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let trace = hex::<32>(fields.next()?).filter(|id| *id != 0)?;
        let span = hex::<16>(fields.next()?).and_then(|id| u64::try_from(id).ok()).filter(|id| *id != 0)?;
        let flags = hex::<2>(fields.next()?).and_then(|flags| u8::try_from(flags).ok())?;
        let is_whole = fields.next().is_none() && fits;
        is_whole.then_some(Self { trace, span, sampled: flags & SAMPLED != 0 })
    }

    /// What a request says; several headers are as none.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(HEADER).iter();
        let only = all.next().filter(|_| all.next().is_none())?;
        Self::parse(only.to_str().ok()?)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// Digits in small letters: the specification knows no others.
fn hex<const DIGITS: usize>(text: &str) -> Option<u128> {
    let is_hex = text.len() == DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's own.
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_specifications_example_is_read_and_written() {
        let read = TraceParent::parse(EXAMPLE).unwrap();
        assert_eq!((read.span, read.sampled), (0x00f0_67aa_0ba9_02b7, true));
        assert_eq!(read.to_string(), EXAMPLE);
    }

    #[test]
    fn of_later_versions_and_flags_what_is_known_is_read() {
        let read = TraceParent::parse(EXAMPLE);
        for text in [
            EXAMPLE.replacen("00", "01", 1),
            EXAMPLE.replacen("00", "cc", 1) + "-what-comes.then",
            EXAMPLE[..53].to_owned() + "ff",
            EXAMPLE[..53].to_owned() + "09",
        ] {
            assert_eq!(TraceParent::parse(&text), read, "{text}");
        }
        assert!(!TraceParent::parse(&(EXAMPLE[..53].to_owned() + "fe")).unwrap().sampled);
    }

    #[test]
    fn what_the_specification_calls_invalid_is_ignored() {
        for text in [
            String::new(),
            "-".repeat(LENGTH),
            EXAMPLE.to_uppercase(),
            EXAMPLE.replacen("00", "ff", 1),
            EXAMPLE.replacen("00", "0g", 1),
            EXAMPLE.to_owned() + "-01",
            EXAMPLE.to_owned() + "0",
            EXAMPLE.replacen("00", "cc", 1) + ".what",
            EXAMPLE[..54].to_owned(),
            EXAMPLE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            EXAMPLE.replace("00f067aa0ba902b7", &"0".repeat(16)),
            EXAMPLE.replace("4bf9", "+bf9"),
            format!(" {EXAMPLE}"),
            "é".repeat(LENGTH),
        ] {
            assert_eq!(TraceParent::parse(&text), None, "{text:?}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(TraceParent::of(&headers), None);
        headers.insert(HEADER, EXAMPLE.parse().unwrap());
        assert_eq!(TraceParent::of(&headers), TraceParent::parse(EXAMPLE));
        headers.append(HEADER, EXAMPLE.parse().unwrap());
        assert_eq!(TraceParent::of(&headers), None);
    }
}
