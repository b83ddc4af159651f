//! Rules about texts.

use domain::ids::{NAME_LENGTH_MAX, is_dot_segment, is_name};

use super::schema::{NAME_PATTERN, NAME_PATTERN_PATTERN, Rule, TAG_PATTERN};

/// Characters of a session's id.
const SESSION_LENGTH_MAX: usize = 64;
const SESSION_PATTERN: &str = "^[a-zA-Z0-9@_-]+$";

/// A rule about a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// Any text of 1 to that many bytes.
    Length(usize),
    /// Any text of up to that many bytes, also none.
    UpTo(usize),
    /// `^[a-zA-Z0-9\-_.]+$`, 1 to that many characters, and neither `.` nor `..`.
    Name(usize),
    /// A name, or a pattern of names with a `*` at the end of a segment: `^[a-zA-Z0-9\-_.*]+$`.
    NamePattern(usize),
    /// `^[a-zA-Z0-9\-_./\\#]+$`, 1 to that many characters.
    Tag(usize),
    /// `^[a-zA-Z0-9@_-]+$`, 1 to 64 characters: a session of the portal.
    Session,
    /// A name of up to 256 characters that does not begin with this prefix of our own ids.
    Uid(&'static str),
}

impl Text {
    /// What of the rule `text` breaks.
    pub fn broken(self, text: &str) -> Option<String> {
        match self {
            Self::Length(max) => ((text.is_empty()) || text.len() > max)
                .then(|| format!("String must have between 1 and {max} bytes")),
            Self::UpTo(max) => (text.len() > max).then(|| format!("Must have at most {max} bytes")),
            Self::Name(_) if is_dot_segment(text) => {
                Some("Must not be `.` or `..`: clients remove these from a path".into())
            }
            Self::Name(max) => (!is_name(text, max)).then(|| {
                format!("String must match ^[a-zA-Z0-9\\-_.]+$ and have between 1 and {max} characters")
            }),
            Self::NamePattern(max) if !text.contains('*') => Self::Name(max).broken(text),
            Self::NamePattern(max) => {
                let segments = text.split('.').all(|segment| {
                    let name = segment.strip_suffix('*').unwrap_or(segment);
                    !segment.is_empty() && (name.is_empty() || is_name(name, max))
                });
                let all = text.bytes().all(|c| matches!(c, b'*' | b'.'));
                (text.len() > max || !segments || all).then(|| {
                    format!("A pattern must be a name of up to {max} characters with a * at the end of a segment, such as invoice.*; for all event types leave the list out")
                })
            }
            Self::Tag(max) => {
                let fits = |c: u8| c.is_ascii_alphanumeric() || b"-_./\\#".contains(&c);
                (!(1..=max).contains(&text.len()) || !text.bytes().all(fits)).then(|| {
                    format!(
                        "String must match ^[a-zA-Z0-9\\-_./\\\\#]+$ and have between 1 and {max} characters"
                    )
                })
            }
            Self::Session => {
                let fits = |c: u8| c.is_ascii_alphanumeric() || b"@_-".contains(&c);
                (!(1..=SESSION_LENGTH_MAX).contains(&text.len()) || !text.bytes().all(fits)).then(|| {
                    format!(
                        "String must match ^[a-zA-Z0-9@_-]+$ and have between 1 and {SESSION_LENGTH_MAX} characters"
                    )
                })
            }
            Self::Uid(prefix) if text.starts_with(prefix) => {
                Some(format!("A uid must not begin with {prefix}"))
            }
            Self::Uid(_) => Self::Name(NAME_LENGTH_MAX).broken(text),
        }
    }

    /// The rule, as a description has it.
    pub fn rules(self) -> Vec<Rule> {
        match self {
            Self::Length(max) => vec![Rule::Length(1, max)],
            Self::UpTo(max) => vec![Rule::Length(0, max)],
            Self::Name(max) => vec![Rule::Length(1, max), Rule::Pattern(NAME_PATTERN), Rule::NotDots],
            Self::NamePattern(max) => {
                vec![Rule::Length(1, max), Rule::Pattern(NAME_PATTERN_PATTERN), Rule::NotDots]
            }
            Self::Tag(max) => vec![Rule::Length(1, max), Rule::Pattern(TAG_PATTERN)],
            Self::Session => vec![Rule::Length(1, SESSION_LENGTH_MAX), Rule::Pattern(SESSION_PATTERN)],
            Self::Uid(prefix) => {
                let mut rules = Self::Name(NAME_LENGTH_MAX).rules();
                rules.push(Rule::NotBeginning(prefix));
                rules
            }
        }
    }
}
