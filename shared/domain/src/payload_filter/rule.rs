//! One rule about a value.

use std::fmt;

use crate::json::{Decimal, Json};
use ipnet::IpNet;

/// What a value has to be. Of a list, one entry has to be it.
#[derive(Debug)]
pub enum Rule {
    /// This text, `true`, `false` or `null`.
    Is(Json),
    /// A number of that value: 300, 300.0 and 3e2 are the same.
    IsNumber(Decimal),
    /// A text.
    Text(TextRule),
    /// There, and none of these.
    AnythingBut(Vec<Rule>),
    /// A number that all of these hold for.
    Numeric(Vec<(Comparison, Decimal)>),
    /// There, whatever it is, or absent.
    Exists(bool),
    /// An address of this network, as a text.
    Cidr(IpNet),
}

/// What a text has to be.
#[derive(Debug)]
pub enum TextRule {
    /// Begins with this.
    Prefix(Folded),
    /// Ends with this.
    Suffix(Folded),
    /// This, in whatever case.
    EqualsIgnoreCase(String),
    /// These pieces in that order, with anything between them. Several.
    Wildcard(Vec<String>),
}

/// A text to compare with, in whatever case or as it is.
#[derive(Debug)]
pub struct Folded {
    /// The text; in lower case, if case does not count.
    pub text: String,
    /// Case does not count.
    pub ignore_case: bool,
}

/// How a number compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `=`
    Equal,
    /// `>=`
    AtLeast,
    /// `>`
    More,
}

impl Comparison {
    /// The one that is written so.
    pub fn of(sign: &str) -> Option<Self> {
        Some(match sign {
            "<" => Self::Less,
            "<=" => Self::AtMost,
            "=" => Self::Equal,
            ">=" => Self::AtLeast,
            ">" => Self::More,
            _ => return None,
        })
    }

    const fn sign(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Equal => "=",
            Self::AtLeast => ">=",
            Self::More => ">",
        }
    }

    fn holds(self, value: &Decimal, limit: &Decimal) -> bool {
        match self {
            Self::Less => value < limit,
            Self::AtMost => value <= limit,
            Self::Equal => value == limit,
            Self::AtLeast => value >= limit,
            Self::More => value > limit,
        }
    }
}

impl Rule {
    /// Whether it holds for a field; `None` is one that is absent.
    pub fn holds(&self, value: Option<&Json>) -> bool {
        match (self, value) {
            (Self::Exists(wanted), value) => value.is_some() == *wanted,
            (_, None) => false,
            // Of what is a list, no entry may be one of these.
            (Self::AnythingBut(rules), Some(Json::List(list))) => {
                list.iter().all(|entry| rules.iter().all(|rule| !rule.holds_for(entry)))
            }
            (_, Some(Json::List(list))) => list.iter().any(|entry| self.holds_for(entry)),
            (_, Some(value)) => self.holds_for(value),
        }
    }

    fn holds_for(&self, value: &Json) -> bool {
        match (self, value) {
            (Self::Is(wanted), value) => wanted == value,
            (Self::IsNumber(wanted), Json::Number(value)) => value == wanted,
            (Self::Text(rule), Json::Text(text)) => rule.holds(text),
            (Self::AnythingBut(rules), value) => rules.iter().all(|rule| !rule.holds_for(value)),
            (Self::Numeric(all), Json::Number(value)) => {
                all.iter().all(|(comparison, limit)| comparison.holds(value, limit))
            }
            (Self::Exists(wanted), _) => *wanted,
            (Self::Cidr(network), Json::Text(text)) => {
                text.parse().is_ok_and(|address: std::net::IpAddr| network.contains(&address))
            }
            _ => false,
        }
    }
}

impl TextRule {
    fn holds(&self, text: &str) -> bool {
        match self {
            Self::Prefix(Folded { text: prefix, ignore_case: false }) => text.starts_with(prefix),
            Self::Prefix(Folded { text: prefix, .. }) => text.to_lowercase().starts_with(prefix),
            Self::Suffix(Folded { text: suffix, ignore_case: false }) => text.ends_with(suffix),
            Self::Suffix(Folded { text: suffix, .. }) => text.to_lowercase().ends_with(suffix),
            Self::EqualsIgnoreCase(wanted) => text.to_lowercase() == *wanted,
            Self::Wildcard(pieces) => in_order(pieces, text),
        }
    }
}

/// Whether the text begins with the first piece, ends with the last one, and has the others between them in
/// their order. The first place for each is the best one, so that nothing is tried twice.
fn in_order(pieces: &[String], text: &str) -> bool {
    let [first, between @ .., last] = pieces else { return false };
    let Some(mut rest) = text.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str()))
    else {
        return false;
    };
    between.iter().all(|piece| match rest.find(piece.as_str()) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(value) => write!(f, "{value}"),
            Self::IsNumber(value) => write!(f, "{value}"),
            Self::Text(TextRule::Prefix(prefix)) => write!(f, "a text that begins with {prefix}"),
            Self::Text(TextRule::Suffix(suffix)) => write!(f, "a text that ends with {suffix}"),
            Self::Text(TextRule::EqualsIgnoreCase(text)) => write!(f, "{text:?} in any case"),
            Self::Text(TextRule::Wildcard(pieces)) => write!(f, "a text like {:?}", pieces.join("*")),
            Self::AnythingBut(rules) => {
                f.write_str("there and not ")?;
                for (nth, rule) in rules.iter().enumerate() {
                    write!(f, "{}{rule}", if nth == 0 { "" } else { " or " })?;
                }
                Ok(())
            }
            Self::Numeric(all) => {
                f.write_str("a number")?;
                for (nth, (comparison, limit)) in all.iter().enumerate() {
                    write!(f, "{} {} {limit}", if nth == 0 { "" } else { " and" }, comparison.sign())?;
                }
                Ok(())
            }
            Self::Exists(true) => f.write_str("there"),
            Self::Exists(false) => f.write_str("absent"),
            Self::Cidr(network) => write!(f, "an address in {network}"),
        }
    }
}

impl fmt::Display for Folded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{}", self.text, if self.ignore_case { " in any case" } else { "" })
    }
}
