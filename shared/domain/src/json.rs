//! JSON as people mean it when they compare: numbers by their digits, however many there are, and texts with a sign in
//! place of what is no Unicode.
//!
//! A payload is any JSON that RFC 8259 allows, and is delivered as it was posted: `1e400`, numbers of forty digits and
//! lone surrogates (`"\ud800"`) among them. What looks into one must not stop there: a filter that cannot read a
//! payload would take a message away from an endpoint.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

/// Most levels of lists and objects. The API takes fewer.
const DEPTH_MAX: usize = 128;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Decimal),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object. Of a name that is there twice, the last value counts.
    Object(BTreeMap<String, Json>),
}

/// Why a text is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is no JSON, or is nested too deep.
    Malformed,
    /// An object has a name twice. These names and places lead there.
    Twice(Vec<String>),
}

impl Json {
    /// Reads a text; none if it is no JSON.
    pub fn parse(text: &str) -> Option<Self> {
        Reader::new(text, false).whole().ok()
    }

    /// Reads a text in which no object has a name twice.
    ///
    /// # Errors
    /// There is one, or it is no JSON.
    pub fn parse_once(text: &str) -> Result<Self, Unreadable> {
        Reader::new(text, true).whole()
    }

    /// What is at a JSON pointer (RFC 6901).
    pub fn pointer(&self, pointer: &str) -> Option<&Self> {
        if pointer.is_empty() {
            return Some(self);
        }
        pointer.strip_prefix('/')?.split('/').try_fold(self, |at, token| {
            let name = token.replace("~1", "/").replace("~0", "~");
            match at {
                Self::Object(fields) => fields.get(&name),
                Self::List(list) => {
                    let is_index = name == "0" || !name.starts_with(['0', '+']);
                    list.get(name.parse::<usize>().ok().filter(|_| is_index)?)
                }
                _ => None,
            }
        })
    }

    /// The text of a value by which keys of orders are told apart.
    pub fn canonical(&self) -> String {
        format!("{self:#}")
    }
}

/// Without needless space, names in the order of their characters, numbers as they were written or, by `{:#}`, as
/// serde_json writes them.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => fmt::Display::fmt(number, f),
            Self::Text(text) => quoted(text, f),
            Self::List(list) => {
                f.write_str("[")?;
                for (nth, value) in list.iter().enumerate() {
                    f.write_str(if nth == 0 { "" } else { "," })?;
                    fmt::Display::fmt(value, f)?;
                }
                f.write_str("]")
            }
            Self::Object(fields) => {
                f.write_str("{")?;
                for (nth, (name, value)) in fields.iter().enumerate() {
                    f.write_str(if nth == 0 { "" } else { "," })?;
                    quoted(name, f)?;
                    f.write_str(":")?;
                    fmt::Display::fmt(value, f)?;
                }
                f.write_str("}")
            }
        }
    }
}

fn quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&serde_json::to_string(text).map_err(|_| fmt::Error)?)
}

/// A number of any length, compared by its value: 300, 300.0 and 3e2 are the same.
#[derive(Clone)]
pub struct Decimal {
    written: Box<str>,
    negative: bool,
    /// The digits that count: neither the first nor the last is 0, and zero has none.
    digits: Box<str>,
    /// The value is `0.digits` times ten to the power of this.
    exponent: i64,
}

impl Decimal {
    /// Reads a number as JSON writes it; none if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, power) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, read_power(power)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let are_digits = |text: &str| text.bytes().all(|sign| sign.is_ascii_digit());
        let padded = whole.len() > 1 && whole.starts_with('0');
        if whole.is_empty() || padded || !are_digits(whole) || !are_digits(fraction) {
            return None;
        }
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0');
        let leading = i64::try_from(all.len() - digits.len()).unwrap_or(i64::MAX);
        let point = i64::try_from(whole.len()).unwrap_or(i64::MAX);
        let digits = digits.trim_end_matches('0');
        let exponent =
            if digits.is_empty() { 0 } else { point.saturating_sub(leading).saturating_add(power) };
        Some(Self {
            negative: text.starts_with('-') && !digits.is_empty(),
            digits: digits.into(),
            exponent,
            written: text.into(),
        })
    }
}

/// What is behind the `e`. What is out of reach stays as far away as can be counted.
fn read_power(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|sign| sign.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse().unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
    Some(if text.starts_with('-') { -size } else { size })
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match (number.digits.is_empty(), number.negative) {
            (true, _) => 0,
            (_, true) => -1,
            (_, false) => 1,
        };
        sign(self).cmp(&sign(other)).then_with(|| {
            // Without zeros at its end, what begins like the other and goes on is the greater one.
            let size = self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits));
            if self.negative { size.reverse() } else { size }
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Decimal {}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// As it was written. `{:#}` is what serde_json makes of it: so it is written where keys of orders were hashed before
/// numbers were read digit by digit, and a key stays what it was. What serde_json cannot read has digits and a power of
/// ten.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return f.write_str(&self.written);
        }
        match serde_json::from_str::<serde_json::Number>(&self.written) {
            Ok(number) => fmt::Display::fmt(&number, f),
            Err(_) => {
                let sign = if self.negative { "-" } else { "" };
                write!(f, "{sign}0.{}e{}", self.digits, self.exponent)
            }
        }
    }
}

/// Reads a text from its beginning to its end.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    once: bool,
    /// The names and places that lead to what is read.
    path: Vec<String>,
}

type Read<T> = Result<T, Unreadable>;

impl<'a> Reader<'a> {
    const fn new(text: &'a str, once: bool) -> Self {
        Self { text, at: 0, depth: 0, once, path: Vec::new() }
    }

    fn whole(mut self) -> Read<Json> {
        let value = self.value()?;
        self.space();
        if self.at == self.text.len() { Ok(value) } else { Err(Unreadable::Malformed) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Goes past this sign, if it is next but for space.
    fn takes(&mut self, sign: u8) -> bool {
        self.space();
        let there = self.peek() == Some(sign);
        self.at += usize::from(there);
        there
    }

    fn needs(&mut self, sign: u8) -> Read<()> {
        if self.takes(sign) { Ok(()) } else { Err(Unreadable::Malformed) }
    }

    fn value(&mut self) -> Read<Json> {
        self.space();
        match self.peek() {
            Some(b'{') => self.within(Self::object),
            Some(b'[') => self.within(Self::list),
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                let words = [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))];
                let rest = self.text.get(self.at..).unwrap_or_default();
                let found = words.into_iter().find(|(word, _)| rest.starts_with(word));
                let (word, value) = found.ok_or(Unreadable::Malformed)?;
                self.at += word.len();
                Ok(value)
            }
        }
    }

    fn within(&mut self, read: impl FnOnce(&mut Self) -> Read<Json>) -> Read<Json> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Unreadable::Malformed);
        }
        let read = read(self)?;
        self.depth -= 1;
        Ok(read)
    }

    fn object(&mut self) -> Read<Json> {
        let mut fields = BTreeMap::new();
        if self.takes(b'}') {
            return Ok(Json::Object(fields));
        }
        loop {
            self.space();
            let name = self.string()?;
            if self.once {
                self.path.push(name.clone());
                if fields.contains_key(&name) {
                    return Err(Unreadable::Twice(std::mem::take(&mut self.path)));
                }
            }
            self.needs(b':')?;
            fields.insert(name, self.value()?);
            self.path.pop();
            if !self.takes(b',') {
                self.needs(b'}')?;
                return Ok(Json::Object(fields));
            }
        }
    }

    fn list(&mut self) -> Read<Json> {
        let mut list = Vec::new();
        if self.takes(b']') {
            return Ok(Json::List(list));
        }
        loop {
            if self.once {
                self.path.push(list.len().to_string());
            }
            list.push(self.value()?);
            self.path.pop();
            if !self.takes(b',') {
                self.needs(b']')?;
                return Ok(Json::List(list));
            }
        }
    }

    fn number(&mut self) -> Read<Json> {
        let rest = &self.text.as_bytes()[self.at..];
        let is_part = |sign: &u8| sign.is_ascii_digit() || matches!(sign, b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().take_while(|sign| is_part(sign)).count();
        let number = Decimal::parse(&self.text[self.at..self.at + length]);
        self.at += length;
        number.map(Json::Number).ok_or(Unreadable::Malformed)
    }

    fn string(&mut self) -> Read<String> {
        if self.peek() != Some(b'"') {
            return Err(Unreadable::Malformed);
        }
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = self.text.get(self.at..).ok_or(Unreadable::Malformed)?;
            let plain = rest.find(['"', '\\']).ok_or(Unreadable::Malformed)?;
            if rest[..plain].bytes().any(|sign| sign < b' ') {
                return Err(Unreadable::Malformed);
            }
            text.push_str(&rest[..plain]);
            self.at += plain + 1;
            if rest.as_bytes()[plain] == b'"' {
                return Ok(text);
            }
            text.push(self.escaped()?);
        }
    }

    /// The character behind a backslash.
    fn escaped(&mut self) -> Read<char> {
        let sign = self.peek().ok_or(Unreadable::Malformed)?;
        self.at += 1;
        Ok(match sign {
            b'"' | b'\\' | b'/' => char::from(sign),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.unit()?;
                let before = self.at;
                // The second half of what UTF-16 writes as two; anything else stands for itself.
                let second = match self.text.get(self.at..self.at + 2) {
                    Some("\\u") if (0xd800..0xdc00).contains(&first) => {
                        self.at += 2;
                        Some(self.unit()?).filter(|second| (0xdc00..0xe000).contains(second))
                    }
                    _ => None,
                };
                if second.is_none() {
                    self.at = before;
                }
                let code =
                    second.map_or(first, |second| 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(Unreadable::Malformed),
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Read<u32> {
        let digits = self.text.get(self.at..self.at + 4).filter(|text| !text.starts_with('+'));
        self.at += 4;
        digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or(Unreadable::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn number(text: &str) -> Decimal {
        Decimal::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn what_a_library_reads_is_read_alike() {
        for text in [
            r#"{"b":[1,-2,2.5,"x",null,true,false],"a":{"":{}},"c":[]}"#,
            r#" [ "\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é😀" , { "a" : 1 , "a" : 2 } ] "#,
            "\"\"",
            "0",
            "-7.25",
            "1234567890123456789",
        ] {
            let read = Json::parse(text).unwrap();
            let theirs: Value = serde_json::from_str(text).unwrap();
            assert_eq!(read.to_string(), theirs.to_string(), "{text}");
            assert_eq!(read.canonical(), theirs.to_string(), "{text}");
        }
    }

    #[test]
    fn what_a_library_does_not_read_is_read_too() {
        let text =
            r#"{"n":1e400,"s":"\ud800x","\udfff":"\ud800\u0041","m":0.1e-99999999999999999999,"d":3.00}"#;
        assert!(serde_json::from_str::<Value>(text).is_err());
        let read = Json::parse(text).unwrap();
        assert_eq!(read.pointer("/s"), Some(&Json::Text("\u{fffd}x".into())));
        assert_eq!(read.pointer("/\u{fffd}"), Some(&Json::Text("\u{fffd}A".into())));
        assert!(matches!(read.pointer("/n"), Some(Json::Number(n)) if *n == number("10e399")));
        assert_eq!(read.pointer("/d").unwrap().to_string(), "3.00");
    }

    #[test]
    fn what_is_no_json_is_not_read() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "1.",
            ".5",
            "-",
            "1e",
            "+1",
            "--1",
            "nul",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u+123\"",
            "\"\n\"",
            "1 2",
            "[1 2]",
            "{\"a\" 1}",
            "tru",
            "\"\\",
            "1e5.5",
            "\u{a0}1",
        ] {
            assert_eq!(Json::parse(text), None, "{text:?}");
        }
        assert_eq!(Json::parse(&"[".repeat(1_000)), None);
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(Json::parse(&deep(DEPTH_MAX)).is_some() && Json::parse(&deep(DEPTH_MAX + 1)).is_none());
    }

    #[test]
    fn a_name_that_is_there_twice_is_said() {
        for (text, path) in [
            (r#"{"a":[1],"a":[2]}"#, "a"),
            (r#"{"b":[1],"a":{"c":[1],"d":[1],"c":[1]}}"#, "a.c"),
            (r#"{"$or":[{"a":[1]},{"b":[1],"b":[2]}]}"#, "$or.1.b"),
            (r#"{"a":[1,{"prefix":"x","prefix":"y"}]}"#, "a.1.prefix"),
            (r#"{"a":[1],"\u0061":[2]}"#, "a"),
        ] {
            let twice = Unreadable::Twice(path.split('.').map(str::to_owned).collect());
            assert_eq!(Json::parse_once(text), Err(twice), "{text}");
        }
        assert!(Json::parse_once(r#"{"a":[{"b":1},{"b":2}],"b":{"a":1}}"#).is_ok());
    }

    #[test]
    fn numbers_are_the_same_by_value() {
        for same in [
            &["300", "300.0", "3e2", "30E+1", "0.3e3"][..],
            &["0", "-0", "0.0", "0e99", "-0.000e-5"],
            &["9007199254740993", "9007199254740993.0"],
            &["1e400", "10e399", "0.1e401"],
            &["-7.5", "-75e-1"],
        ] {
            for other in same {
                assert_eq!(number(same[0]), number(other));
            }
        }
        let ascending = [
            "-1e400",
            "-123456789012345678901234567891",
            "-123456789012345678901234567890",
            "-1",
            "-0.5",
            "0",
            "1e-400",
            "0.05",
            "0.1",
            "0.12",
            "0.123",
            "1",
            "9",
            "10",
            "9007199254740992",
            "9007199254740993",
            "1e400",
        ];
        for pair in ascending.windows(2) {
            assert!(number(pair[0]) < number(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn numbers_are_written_as_they_were_or_as_serde_does() {
        for (text, canonical) in [
            ("7", "7"),
            ("7.0", "7.0"),
            ("-0", "-0.0"),
            ("1e5", "100000.0"),
            ("18446744073709551616", "1.8446744073709552e+19"),
            ("-12e400", "-0.12e402"),
        ] {
            assert_eq!(format!("{:#}", number(text)), canonical, "{text}");
            assert_eq!(format!("{}", number(text)), text);
        }
    }

    #[test]
    fn pointers_lead_where_rfc_6901_says() {
        let json = Json::parse(r#"{"a/b":{"m~n":[1,{"":2}]},"":3,"01":4}"#).unwrap();
        let at = |pointer: &str| json.pointer(pointer).map(ToString::to_string);
        assert_eq!(at("").as_deref(), Some(json.to_string().as_str()));
        assert_eq!(at("/a~1b/m~0n/0").as_deref(), Some("1"));
        assert_eq!(at("/a~1b/m~0n/1/").as_deref(), Some("2"));
        assert_eq!(at("/").as_deref(), Some("3"));
        assert_eq!(at("/01").as_deref(), Some("4"));
        for nowhere in ["a", "/x", "/a~1b/m~0n/2", "/a~1b/m~0n/00", "/a~1b/m~0n/+1", "/a~1b/m~0n/-", "//x"] {
            assert_eq!(at(nowhere), None, "{nowhere}");
        }
    }
}
