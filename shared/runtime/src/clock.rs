//! Time, injected: nothing in the domain asks the machine what time it is.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

/// A point in time, in whole milliseconds since 1970-01-01T00:00:00Z.
///
/// On the wire it is RFC 3339 text in UTC, in stored items and jobs a number of milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// An hour.
pub const HOUR: Duration = Duration::from_secs(3600);
/// A day of 24 hours.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// How far ahead a year of two digits may lie (RFC 9110, section 5.6.7).
const FIFTY_YEARS: Duration = Duration::from_secs(50 * 31_556_952);

impl Timestamp {
    /// The time `ms` milliseconds after the epoch.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, as TTL attributes and signatures use them.
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// This time and `wait` more; saturates at the far end.
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This time less `wait`; saturates at the epoch.
    pub fn before(self, wait: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long it is from `earlier` to this time; zero if `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Reads RFC 3339 text (`2026-05-01T12:00:00.5+02:00`), and what clients print that is nearly that: a
    /// blank between date and time, `UTC` for the zone or behind it, no zone (which is UTC), an offset
    /// without its colon, or a `+` that a query's decoding made a blank. None if it is none of these or
    /// lies before 1970.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (date, rest) = text.split_at_checked(10)?;
        let rest = rest.strip_prefix(['T', 't', ' '])?;
        let (time, zone) =
            rest.split_at(rest.find(|c: char| !matches!(c, '0'..='9' | ':' | '.')).unwrap_or(rest.len()));
        let utc = ["UTC", "utc", "GMT", "Z", "z"].into_iter().find_map(|name| zone.strip_suffix(name));
        let zone = utc.unwrap_or(zone).trim_end();
        let offset = match zone.trim_start() {
            "" if utc.is_none() && !zone.is_empty() => return None,
            "" => "Z".to_owned(),
            zone => {
                let (sign, digits) = match zone.strip_prefix(['+', '-']) {
                    Some(digits) => (&zone[..1], digits),
                    None => ("+", zone),
                };
                let digits = digits.replacen(':', "", 1);
                let (hours, minutes) = digits.split_at_checked(2)?;
                format!("{sign}{hours}:{}", if minutes.is_empty() { "00" } else { minutes })
            }
        };
        Self::of(OffsetDateTime::parse(&format!("{date}T{time}{offset}"), &Rfc3339).ok()?)
    }

    /// Reads a date as HTTP headers have it (`Sun, 06 Nov 1994 08:49:37 GMT`, RFC 9110, section 5.6.7), also in
    /// the two obsolete forms that recipients have to accept. `now` tells which century two digits are of.
    pub fn parse_http_date(text: &str, now: Self) -> Option<Self> {
        if let Ok(at) = OffsetDateTime::parse(text, &Rfc2822) {
            return Self::of(at);
        }
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        match parts[..] {
            // Sun Nov  6 08:49:37 1994
            [_, month, day, time, year] if year.len() == 4 => Self::of_parts(day, month, year, time),
            // Sunday, 06-Nov-94 08:49:37 GMT
            [_, date, time, "GMT"] => {
                let (day, rest) = date.split_once('-')?;
                let (month, year) = rest.split_once('-')?;
                let in_century =
                    |century: u64| Self::of_parts(day, month, &format!("{century}{year:0>2}"), time);
                let at = in_century(20).filter(|_| year.len() == 2)?;
                if at.since(now) > FIFTY_YEARS { in_century(19) } else { Some(at) }
            }
            _ => None,
        }
    }

    /// This time as HTTP headers have it, to the second: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
    pub fn http_date(self) -> String {
        let at = self.calendar();
        let (weekday, month) = (at.weekday().to_string(), at.month().to_string());
        format!(
            "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
            &weekday[..3],
            at.day(),
            &month[..3],
            at.year(),
            at.hour(),
            at.minute(),
            at.second()
        )
    }

    // Times are validated or come from the clock; past year 9999 there is nothing to print.
    fn calendar(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    fn of_parts(day: &str, month: &str, year: &str, time: &str) -> Option<Self> {
        let text = format!("{day:0>2} {month} {year} {time} GMT");
        Self::of(OffsetDateTime::parse(&text, &Rfc2822).ok()?)
    }

    fn of(at: OffsetDateTime) -> Option<Self> {
        u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.calendar();
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond()
        )
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl schemars::JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 date and time"))
    }
}

/// Serde's `with` for a time as a number of milliseconds, as jobs have it.
pub mod millis {
    use super::{Deserialize, Deserializer, Serializer, Timestamp};

    /// Writes the number.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(at.ms())
    }

    /// Reads the number.
    ///
    /// # Errors
    /// The deserializer's own.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(deserializer).map(Timestamp::from_ms)
    }
}

/// Serde's `with` for a time that may be missing, as a number of milliseconds.
pub mod millis_opt {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Timestamp};

    /// Writes the number.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        at.map(Timestamp::ms).serialize(serializer)
    }

    /// Reads the number.
    ///
    /// # Errors
    /// The deserializer's own.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Timestamp::from_ms))
    }
}

/// Serde's `with` for a list of times as numbers of milliseconds.
pub mod millis_list {
    use super::{Deserialize, Deserializer, Serializer, Timestamp};

    /// Writes the numbers.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(list: &[Timestamp], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(|at| at.ms()))
    }

    /// Reads the numbers.
    ///
    /// # Errors
    /// The deserializer's own.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Timestamp>, D::Error> {
        Ok(Vec::<u64>::deserialize(deserializer)?.into_iter().map(Timestamp::from_ms).collect())
    }
}

/// What a sleep returns.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// Tells the time and waits. One per process in production, a steered one in tests.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> Timestamp;
    /// Completes when `wait` has passed on this clock.
    fn sleep(&self, wait: Duration) -> Sleep;
}

/// A clock that functions share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the machine's time comes in")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep(&self, wait: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_number_agree() {
        let at = Timestamp::parse("2026-05-01T14:00:00.5+02:00").unwrap();
        assert_eq!(at.to_string(), "2026-05-01T12:00:00.500Z");
        assert_eq!(Timestamp::parse(&at.to_string()), Some(at));
        for text in [
            "2026-05-01t12:00:00.500z",
            "2026-05-01 12:00:00.500Z",
            "2026-05-01 12:00:00.500 UTC",
            "2026-05-01T12:00:00.500UTC",
            "2026-05-01T12:00:00.500",
            "2026-05-01 12:00:00.5",
            "2026-05-01 12:00:00.5 +0000 UTC",
            "2026-05-01T12:00:00.5 GMT",
            "2026-05-01T14:00:00.5+0200",
            "2026-05-01T14:00:00.5+02",
            "2026-05-01T14:00:00.5 02:00",
            "2026-05-01 07:30:00.5 -04:30",
            " 2026-05-01T12:00:00.5000001Z ",
        ] {
            assert_eq!(Timestamp::parse(text), Some(at), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2026-05-01",
            "2026-05-01T",
            "2026-05-01T12:00",
            "2026-13-01T12:00:00Z",
            "2026-05-01x12:00:00",
            "2026-05-01T12:00:00 CET",
            "2026-05-01T12:00:00+",
            "2026-05-01T12:00:00+1",
            "2026-05-01T12:00:00+99:00",
            "2026-05-01T12:00:00ZZ",
            "2026-05-01T12:00:00+00:00:00",
            "ä026-05-01T12:00:00Z",
            "2026-05-0ä1T12:00:00Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
        assert_eq!(Timestamp::parse("1969-12-31T23:59:59Z"), None);
        let read = |text| Timestamp::parse_http_date(text, at).map(|at| at.to_string());
        for same in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(read(same).as_deref(), Some("1994-11-06T08:49:37.000Z"), "{same}");
        }
        assert_eq!(Timestamp::from_ms(784_111_777_999).http_date(), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(
            read("Monday, 01-Jan-75 00:00:00 GMT").as_deref(),
            Some("2075-01-01T00:00:00.000Z"),
            "within fifty years"
        );
        for broken in
            ["soon", "Sunday, 6-Nov 08:49:37 GMT", "Sunday, 06-Nov-1994 08:49:37 GMT", "a b c d e", "-"]
        {
            assert_eq!(read(broken), None, "{broken}");
        }
    }
}
