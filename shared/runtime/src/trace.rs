//! The trace that a request belongs to, carried along with everything that follows from it.
//!
//! The text is X-Ray's header, `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`:
//! what API Gateway and Lambda put on a request, what SQS hands on beside a message, and what a job
//! holds for the retries of the days to come.

use std::fmt;

use http::HeaderMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::random::{self, Random};
use crate::traceparent::TraceParent;

/// The header that a request brings it in.
pub const HEADER: &str = "x-amzn-trace-id";
/// The attribute that SQS keeps it in, beside a message's size and its attributes.
pub const ATTRIBUTE: &str = "AWSTraceHeader";
/// What jobs call the caller's own trace, after X-Ray's parts.
const CALLER: &str = "Traceparent";

/// A trace, and the place in it. What else a header may say (`Lineage`, `Self`) ends with the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    began: u32,
    unique: u128,
    parent: Option<u64>,
    sampled: Option<bool>,
    /// The caller's own trace, where the request brought one as W3C has it (`traceparent`).
    caller: Option<TraceParent>,
}

impl Trace {
    /// A new trace, as whoever sees a request first draws it.
    pub fn draw(now: Timestamp, random: &dyn Random) -> Self {
        let mut unique = [0; 16];
        unique[4..].copy_from_slice(&random::bytes::<12>(random));
        Self {
            began: u32::try_from(now.seconds()).unwrap_or(u32::MAX),
            unique: u128::from_be_bytes(unique),
            parent: None,
            sampled: None,
            caller: None,
        }
    }

    /// Reads a header's text; none if it names no trace.
    pub fn parse(text: &str) -> Option<Self> {
        Self::carried(text).map(|trace| Self { caller: None, ..trace })
    }

    /// Reads what a job carries: a header's text, and the caller's own trace.
    fn carried(text: &str) -> Option<Self> {
        let (mut root, mut parent, mut sampled, mut caller) = (None, None, None, None);
        for part in text.split(';') {
            match part.trim().split_once('=')? {
                ("Root", value) => root = Some(root_of(value)?),
                ("Parent", value) => parent = hex::<16>(value).and_then(|bits| u64::try_from(bits).ok()),
                ("Sampled", "1") => sampled = Some(true),
                ("Sampled", "0") => sampled = Some(false),
                (CALLER, value) => caller = TraceParent::parse(value),
                _ => {}
            }
        }
        root.map(|(began, unique)| Self { began, unique, parent, sampled, caller })
    }

    /// The trace that a request brings along: X-Ray's and the caller's own; where there is no X-Ray, the caller's
    /// is both.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let caller = TraceParent::of(headers);
        let own = headers.get(HEADER).and_then(|text| text.to_str().ok()).and_then(Self::parse);
        match own {
            Some(own) => Some(Self { caller, ..own }),
            None => caller.map(Self::of_caller),
        }
    }

    /// A caller's own trace as X-Ray spells it: the first of the 32 digits are taken for a time.
    fn of_caller(caller: TraceParent) -> Self {
        let began = u32::try_from(caller.trace >> 96).expect("32 of 128 bits are left");
        Self {
            began,
            unique: caller.trace & ((1 << 96) - 1),
            parent: Some(caller.span),
            sampled: Some(caller.sampled),
            caller: Some(caller),
        }
    }

    /// The caller's own trace, if the request brought one.
    pub const fn caller(self) -> Option<TraceParent> {
        self.caller
    }

    /// What names it in X-Ray and in the logs.
    pub fn id(self) -> impl fmt::Display + fmt::Debug {
        format!("1-{:08x}-{:024x}", self.began, self.unique)
    }
}

/// `1-`, eight digits of seconds, `-` and 24 digits.
fn root_of(text: &str) -> Option<(u32, u128)> {
    let (began, unique) = text.strip_prefix("1-")?.split_once('-')?;
    Some((u32::try_from(hex::<8>(began)?).ok()?, hex::<24>(unique)?))
}

fn hex<const DIGITS: usize>(text: &str) -> Option<u128> {
    let is_hex = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u128::from_str_radix(text, 16).ok())?
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root={}", self.id())?;
        if let Some(parent) = self.parent {
            write!(f, ";Parent={parent:016x}")?;
        }
        match self.sampled {
            Some(sampled) => write!(f, ";Sampled={}", u8::from(sampled)),
            None => Ok(()),
        }
    }
}

impl Serialize for Trace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.caller {
            // Versions before this one skip the part that they do not know.
            Some(caller) => serializer.collect_str(&format_args!("{self};{CALLER}={caller}")),
            None => serializer.collect_str(self),
        }
    }
}

/// Serde's `deserialize_with` for a trace that may be missing. One that cannot be read is missing, too:
/// no delivery fails because of it.
///
/// # Errors
/// The deserializer's own.
pub fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Trace>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.as_deref().and_then(Trace::carried))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "Root=1-5759e988-bd862e3fe1be46a994272793";

    #[test]
    fn headers_are_read_and_written() {
        let all = format!("{ROOT};Parent=53995c3f42cd8ad8;Sampled=1");
        for (given, kept) in [
            (ROOT.to_owned(), ROOT),
            (all.clone(), &all),
            (format!("Self=1-2-3; {ROOT} ;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a:0"), &all),
            (format!("{ROOT};Sampled=?;Parent=x"), ROOT),
        ] {
            assert_eq!(Trace::parse(&given).map(|trace| trace.to_string()).as_deref(), Some(kept), "{given}");
        }
        assert_eq!(Trace::parse(&all).unwrap().id().to_string(), ROOT["Root=".len()..]);
    }

    #[test]
    fn what_names_no_trace_is_none() {
        for text in [
            "",
            "Root",
            "Sampled=1",
            "Root=2-5759e988-bd862e3fe1be46a994272793",
            "Root=1-5759e988-bd862e3fe1be46a99427279",
            "Root=1-5759e988-bd862e3fe1be46a99427279\n",
            "Root=1-+759e988-bd862e3fe1be46a994272793",
        ] {
            assert_eq!(Trace::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_callers_own_trace_goes_along_in_jobs_and_nowhere_else() {
        #[derive(Serialize, Deserialize)]
        struct Job(#[serde(deserialize_with = "lenient")] Option<Trace>);
        const CALLERS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut headers = HeaderMap::new();
        headers.insert(crate::traceparent::HEADER, CALLERS.parse().unwrap());
        // Without X-Ray it is both.
        let alone = Trace::of(&headers).unwrap();
        assert_eq!(alone.id().to_string(), "1-4bf92f35-77b34da6a3ce929d0e0e4736");
        headers.insert(HEADER, format!("{ROOT};Sampled=1").parse().unwrap());
        let both = Trace::of(&headers).unwrap();
        assert_eq!(both.to_string(), format!("{ROOT};Sampled=1"));
        for trace in [alone, both] {
            assert_eq!(trace.caller(), TraceParent::parse(CALLERS));
            let text = serde_json::to_string(&Job(Some(trace))).unwrap();
            assert_eq!(serde_json::from_str::<Job>(&text).unwrap().0, Some(trace), "{text}");
        }
        // Not by X-Ray's header, and not where it is invalid.
        let text = format!("{ROOT};Sampled=1;{CALLER}={CALLERS}");
        assert_eq!(Trace::parse(&text).unwrap().caller(), None);
        let job = |callers: &str| serde_json::json!(format!("{ROOT};{CALLER}={callers}")).to_string();
        assert!(serde_json::from_str::<Job>(&job(CALLERS)).unwrap().0.unwrap().caller().is_some());
        let invalid = serde_json::from_str::<Job>(&job("00-x")).unwrap().0.unwrap();
        assert_eq!((invalid.to_string().as_str(), invalid.caller()), (ROOT, None));
    }

    #[test]
    fn a_new_one_begins_now_and_is_drawn() {
        #[derive(Debug)]
        struct Sevens;
        impl Random for Sevens {
            fn fill(&self, bytes: &mut [u8]) {
                bytes.fill(0x77);
            }
        }
        let drawn = Trace::draw(Timestamp::from_ms(0x5759_e988 * 1000 + 999), &Sevens).to_string();
        assert_eq!(drawn, "Root=1-5759e988-777777777777777777777777");
        assert!(Trace::parse(&drawn).is_some());
    }
}
