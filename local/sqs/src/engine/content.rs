//! What a message carries: validation, sizes and digests.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

use crate::wire::error::{ApiError, Kind, within};
use crate::wire::shapes::{Attribute, SendMessage};

/// The most that a message, or a batch of them, may hold.
pub(crate) const MAX_BYTES: usize = 1_048_576;
const MAX_ATTRIBUTES: usize = 10;
/// The one system attribute that a sender can set.
pub(crate) const TRACE: &str = "AWSTraceHeader";

pub(crate) type Attributes = BTreeMap<String, Attribute>;

/// The unchanging part of a message, shared between the state in memory and the writer.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) body: String,
    pub(crate) md5: [u8; 16],
    pub(crate) attributes: Attributes,
    pub(crate) trace: Option<String>,
    pub(crate) group: Option<Arc<str>>,
}

/// A send that passed every check that needs no queue.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) payload: Arc<Payload>,
    pub(crate) delay_seconds: Option<u64>,
    pub(crate) size: usize,
}

impl Payload {
    pub(crate) fn new(
        body: String,
        attributes: Attributes,
        trace: Option<String>,
        group: Option<Arc<str>>,
    ) -> Self {
        let md5 = Md5::digest(body.as_bytes()).into();
        Self { body, md5, attributes, trace, group }
    }

    /// The digest of the system attributes that were sent.
    pub(crate) fn system_digest(&self) -> Option<String> {
        let attribute = Attribute {
            data_type: "String".to_owned(),
            string_value: Some(self.trace.clone()?),
            binary_value: None,
        };
        attributes_digest([(TRACE, &attribute)].into_iter())
    }
}

/// Checks a send and counts its bytes.
pub(crate) fn prepare(request: SendMessage) -> Result<Prepared, ApiError> {
    let body = match request.message_body {
        Some(body) if !body.is_empty() => body,
        _ => return Err(ApiError::missing("MessageBody")),
    };
    if let Some(bad) = body.chars().find(|&c| !allowed(c)) {
        return Err(ApiError::new(
            Kind::InvalidMessageContents,
            format!("Invalid character U+{:04X} was found in the message body.", u32::from(bad)),
        ));
    }
    let delay = within("DelaySeconds", request.delay_seconds, 0..=900)?;
    if let Some(id) = request.message_deduplication_id {
        return Err(ApiError::value(
            "MessageDeduplicationId",
            id,
            "The request include parameter that is not valid for this queue type",
        ));
    }
    if let Some(group) = &request.message_group_id
        && (group.is_empty() || group.len() > 128 || !group.bytes().all(|b| b.is_ascii_graphic()))
    {
        return Err(ApiError::value(
            "MessageGroupId",
            group,
            "MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length.",
        ));
    }
    let attributes = request.message_attributes.unwrap_or_default();
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(invalid(format!(
            "Number of message attributes [{}] exceeds the allowed maximum [{MAX_ATTRIBUTES}].",
            attributes.len()
        )));
    }
    let mut size = body.len();
    for (name, attribute) in &attributes {
        check_name(name)?;
        size += name.len() + attribute.data_type.len() + check_value(name, attribute)?;
    }
    let trace = trace(request.message_system_attributes.unwrap_or_default())?;
    if size > MAX_BYTES {
        return Err(too_long(MAX_BYTES as u64));
    }
    let group = request.message_group_id.map(Arc::from);
    let payload = Arc::new(Payload::new(body, attributes, trace, group));
    Ok(Prepared { payload, delay_seconds: delay.map(i64::unsigned_abs), size })
}

/// The refusal of a message that its queue does not take.
pub(crate) fn too_long(limit: u64) -> ApiError {
    invalid(format!(
        "One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes."
    ))
}

fn invalid(message: String) -> ApiError {
    ApiError::new(Kind::InvalidParameterValue, message)
}

/// The characters that XML 1.0 can carry.
fn allowed(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        c => c >= ' ',
    }
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let lower = name.to_ascii_lowercase();
    let fine = (1..=256).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && !lower.starts_with("aws.")
        && !lower.starts_with("amazon.");
    if fine { Ok(()) } else { Err(invalid(format!("The message attribute name '{name}' is invalid."))) }
}

/// Checks type and value; returns the length of the value.
fn check_value(name: &str, attribute: &Attribute) -> Result<usize, ApiError> {
    let kind = &attribute.data_type;
    if kind.is_empty() {
        return Err(invalid(format!(
            "The message attribute '{name}' must contain non-empty message attribute type."
        )));
    }
    let base = kind.split('.').next().unwrap_or_default();
    let known = matches!(base, "String" | "Number" | "Binary");
    if kind.len() > 256 || !known || !kind.chars().all(allowed) {
        return Err(invalid(format!(
            "The message attribute '{name}' has an invalid message attribute type, the set of supported type \
             prefixes is Binary, Number, and String."
        )));
    }
    let empty = || {
        Err(invalid(format!(
            "The message attribute '{name}' must contain non-empty message attribute value for \
             message attribute type '{kind}'."
        )))
    };
    match (base, &attribute.string_value, &attribute.binary_value) {
        ("Binary", None, Some(value)) if !value.is_empty() => match STANDARD.decode(value) {
            Ok(bytes) => Ok(bytes.len()),
            Err(_) => Err(invalid(format!("The message attribute '{name}' is not valid base64."))),
        },
        ("String" | "Number", Some(value), None) if !value.is_empty() => {
            if !value.chars().all(allowed) {
                return Err(invalid(format!("The message attribute '{name}' has an invalid character.")));
            }
            if base == "Number" && !number(value) {
                return Err(invalid(format!(
                    "Can't cast the value of message (user) attribute '{name}' to a number."
                )));
            }
            Ok(value.len())
        }
        _ => empty(),
    }
}

fn number(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) && value.parse::<f64>().is_ok()
}

fn trace(mut attributes: Attributes) -> Result<Option<String>, ApiError> {
    let found = attributes.remove(TRACE);
    if let Some(name) = attributes.keys().next() {
        return Err(invalid(format!("Message system attribute name '{name}' is invalid.")));
    }
    match found {
        None => Ok(None),
        Some(Attribute { data_type, string_value: Some(value), binary_value: None })
            if data_type == "String" && !value.is_empty() && value.chars().all(allowed) =>
        {
            Ok(Some(value))
        }
        Some(_) => Err(invalid(format!("Message system attribute '{TRACE}' must be a non-empty String."))),
    }
}

/// The digest that the SDKs compare, in hexadecimal: over the attributes in the order of their names.
pub(crate) fn attributes_digest<'a>(
    attributes: impl Iterator<Item = (&'a str, &'a Attribute)>,
) -> Option<String> {
    let mut digest = Md5::new();
    let mut any = false;
    let mut add = |digest: &mut Md5, bytes: &[u8]| {
        digest.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        digest.update(bytes);
        any = true;
    };
    for (name, attribute) in attributes {
        add(&mut digest, name.as_bytes());
        add(&mut digest, attribute.data_type.as_bytes());
        if let Some(value) = &attribute.string_value {
            digest.update([1]);
            add(&mut digest, value.as_bytes());
        } else if let Some(value) = &attribute.binary_value {
            digest.update([2]);
            add(&mut digest, &STANDARD.decode(value).unwrap_or_default());
        }
    }
    any.then(|| hex(&digest.finalize()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &str) -> SendMessage {
        SendMessage { message_body: Some(body.to_owned()), ..SendMessage::default() }
    }

    fn attribute(kind: &str, text: Option<&str>, binary: Option<&str>) -> Attribute {
        Attribute {
            data_type: kind.to_owned(),
            string_value: text.map(str::to_owned),
            binary_value: binary.map(str::to_owned),
        }
    }

    fn refused(request: SendMessage) -> Kind {
        prepare(request).expect_err("this must be refused").kind
    }

    #[test]
    fn bodies_are_what_xml_can_carry() {
        assert!(prepare(request("tab\tline\r\n\u{e000}\u{10ffff}")).is_ok());
        for bad in ["\u{0}", "a\u{b}", "\u{1f}", "\u{fffe}", "\u{ffff}"] {
            assert_eq!(refused(request(bad)), Kind::InvalidMessageContents, "{bad:?}");
        }
        assert_eq!(refused(request("")), Kind::MissingParameter);
    }

    #[test]
    fn attributes_count_towards_the_size() {
        let mut one = request("body");
        one.message_attributes =
            Some([("name".to_owned(), attribute("Binary", None, Some("AAEC")))].into_iter().collect());
        assert_eq!(prepare(one).expect("fine").size, 4 + 4 + 6 + 3);

        assert!(prepare(request(&"x".repeat(MAX_BYTES))).is_ok());
        assert_eq!(refused(request(&"x".repeat(MAX_BYTES + 1))), Kind::InvalidParameterValue);
        let mut over = request(&"x".repeat(MAX_BYTES - 7));
        over.message_attributes =
            Some([("a".to_owned(), attribute("String", Some("b"), None))].into_iter().collect());
        assert_eq!(refused(over), Kind::InvalidParameterValue);
    }

    #[test]
    fn attributes_are_checked() {
        let cases = [
            ("", attribute("String", Some("x"), None)),
            ("AWS.x", attribute("String", Some("x"), None)),
            (".x", attribute("String", Some("x"), None)),
            ("x..y", attribute("String", Some("x"), None)),
            ("x", attribute("", Some("x"), None)),
            ("x", attribute("Text", Some("x"), None)),
            ("x", attribute("String", Some(""), None)),
            ("x", attribute("String", None, Some("AAEC"))),
            ("x", attribute("Number", Some("one"), None)),
            ("x", attribute("Number", Some("inf"), None)),
            ("x", attribute("Binary", None, Some("%"))),
        ];
        for (name, bad) in cases {
            let mut request = request("x");
            let shown = format!("{name}: {bad:?}");
            request.message_attributes = Some([(name.to_owned(), bad)].into_iter().collect());
            assert_eq!(refused(request), Kind::InvalidParameterValue, "{shown}");
        }
        let mut many = request("x");
        many.message_attributes =
            Some((0..11).map(|n| (format!("a{n}"), attribute("Number.int", Some("-1"), None))).collect());
        assert_eq!(refused(many), Kind::InvalidParameterValue);
    }

    #[test]
    fn digests_follow_the_documented_encoding() {
        // MD5 of the bytes 00000001 'a' 00000006 'String' 01 00000001 'b', built here by hand.
        let mut bytes = vec![0, 0, 0, 1, b'a', 0, 0, 0, 6];
        bytes.extend_from_slice(b"String\x01\x00\x00\x00\x01b");
        let expected = hex(&Md5::digest(&bytes));
        let one = attribute("String", Some("b"), None);
        assert_eq!(attributes_digest([("a", &one)].into_iter()), Some(expected));
        assert_eq!(attributes_digest(std::iter::empty()), None);
        assert_eq!(hex(&Md5::digest(b"hello")), "5d41402abc4b2a76b9719d911017c592");
    }

    #[test]
    fn group_trace_and_delay_are_checked() {
        let mut one = request("x");
        one.message_group_id = Some("a b".to_owned());
        assert_eq!(refused(one), Kind::InvalidParameterValue);
        let mut one = request("x");
        one.delay_seconds = Some(901);
        assert_eq!(refused(one), Kind::InvalidParameterValue);
        let mut one = request("x");
        one.message_deduplication_id = Some("a".to_owned());
        assert_eq!(refused(one), Kind::InvalidParameterValue);
        let mut one = request("x");
        one.message_system_attributes =
            Some([("Other".to_owned(), attribute("String", Some("x"), None))].into_iter().collect());
        assert_eq!(refused(one), Kind::InvalidParameterValue);
        let mut one = request("x");
        one.message_system_attributes =
            Some([(TRACE.to_owned(), attribute("String", Some("Root=1"), None))].into_iter().collect());
        let one = prepare(one).expect("fine");
        assert_eq!(one.size, 1, "system attributes do not count");
        assert!(one.payload.system_digest().is_some());
    }
}
