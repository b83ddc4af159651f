//! Reads patterns, and says where one is none.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::rule::{Comparison, Folded, Rule, TextRule};
use crate::json::{Decimal, Json};

use super::{DEPTH_MAX, InvalidPattern, Pattern, RULES_MAX, WILDCARDS_MAX, Want};

/// Where the reader is, how deep that is, and how many rules it has read.
#[derive(Default)]
struct Reader {
    path: Vec<String>,
    depth: usize,
    rules: usize,
}

/// The pattern of an object.
pub(super) fn pattern(object: &BTreeMap<String, Json>) -> Result<Pattern, InvalidPattern> {
    let mut reader = Reader::default();
    let pattern = reader.pattern(object)?;
    if pattern.fields.is_empty() && pattern.either.is_empty() {
        return Err(reader.fail("Must name at least one field; without a filter every payload matches"));
    }
    Ok(pattern)
}

const RULES: &str = "a text, a number, true, false, null, or an object with one of prefix, suffix, anything-but, numeric, exists, equals-ignore-case, cidr, wildcard";

impl Reader {
    fn fail(&self, reason: impl Into<String>) -> InvalidPattern {
        InvalidPattern { path: self.path.clone(), reason: reason.into() }
    }

    fn within<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> Result<T, InvalidPattern>,
    ) -> Result<T, InvalidPattern> {
        self.path.push(name.to_owned());
        let read = read(self)?;
        self.path.pop();
        Ok(read)
    }

    fn pattern(&mut self, object: &BTreeMap<String, Json>) -> Result<Pattern, InvalidPattern> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.fail(format!("Must not be nested more than {DEPTH_MAX} levels deep")));
        }
        let mut pattern = Pattern::default();
        for (name, want) in object {
            self.within(name, |at| {
                match (name.as_str(), want) {
                    ("$or", Json::List(patterns)) => pattern.either.push(at.either(patterns)?),
                    ("$or", _) => return Err(at.fail("Must be a list of patterns")),
                    (_, Json::Object(inner)) if inner.is_empty() => {
                        return Err(at.fail("Must name at least one field"));
                    }
                    (_, Json::Object(inner)) => {
                        pattern.fields.push((name.clone(), Want::Inside(at.pattern(inner)?)));
                    }
                    (_, Json::List(rules)) => {
                        pattern.fields.push((name.clone(), Want::One(at.rules(rules)?)));
                    }
                    _ => {
                        return Err(
                            at.fail(format!("Must be a pattern, or a list of rules such as [{want}]"))
                        );
                    }
                }
                Ok(())
            })?;
        }
        self.depth -= 1;
        Ok(pattern)
    }

    fn either(&mut self, patterns: &[Json]) -> Result<Vec<Pattern>, InvalidPattern> {
        if patterns.len() < 2 {
            return Err(self.fail("Must have at least two patterns"));
        }
        let mut read = Vec::with_capacity(patterns.len());
        for (nth, pattern) in patterns.iter().enumerate() {
            read.push(self.within(&nth.to_string(), |at| match pattern {
                Json::Object(object) if !object.is_empty() => at.pattern(object),
                _ => Err(at.fail("Must be a pattern that names at least one field")),
            })?);
        }
        Ok(read)
    }

    fn rules(&mut self, rules: &[Json]) -> Result<Vec<Rule>, InvalidPattern> {
        if rules.is_empty() {
            return Err(self.fail("Must have at least one rule"));
        }
        let mut read = Vec::with_capacity(rules.len());
        for (nth, rule) in rules.iter().enumerate() {
            read.push(self.within(&nth.to_string(), |at| at.rule(rule))?);
        }
        Ok(read)
    }

    fn count(&mut self) -> Result<(), InvalidPattern> {
        self.rules += 1;
        if self.rules > RULES_MAX {
            return Err(self.fail(format!("There are more than {RULES_MAX} rules")));
        }
        Ok(())
    }

    fn rule(&mut self, rule: &Json) -> Result<Rule, InvalidPattern> {
        self.count()?;
        let object = match rule {
            Json::Number(number) => return Ok(Rule::IsNumber(self.number(number)?)),
            Json::Text(_) | Json::Bool(_) | Json::Null => return Ok(Rule::Is(rule.clone())),
            Json::Object(object) => object,
            Json::List(_) => return Err(self.fail(format!("Must be {RULES}"))),
        };
        let mut names = object.iter();
        let (Some((name, value)), None) = (names.next(), names.next()) else {
            return Err(self.fail(format!("Must be {RULES}")));
        };
        let text = |at: &Self| text_of(value).ok_or_else(|| at.fail(format!("`{name}` must be a text")));
        Ok(match name.as_str() {
            "prefix" | "suffix" | "equals-ignore-case" | "wildcard" => {
                Rule::Text(self.text_rule(name, value)?)
            }
            "exists" => {
                let Json::Bool(wanted) = value else {
                    return Err(self.fail("`exists` must be true or false"));
                };
                Rule::Exists(*wanted)
            }
            "numeric" => Rule::Numeric(self.numeric(value)?),
            "cidr" => {
                let network: Result<IpNet, _> = text(self)?.parse();
                Rule::Cidr(network.map_err(|_| self.fail("`cidr` must be a network such as 10.0.0.0/24"))?)
            }
            "anything-but" => Rule::AnythingBut(self.anything_but(value)?),
            other => return Err(self.fail(format!("There is no rule {other:?}; it must be {RULES}"))),
        })
    }

    fn text_rule(&self, name: &str, value: &Json) -> Result<TextRule, InvalidPattern> {
        let wrong = || self.fail(format!("`{name}` must be a text of at least one character"));
        let text = |value: &Json| match text_of(value) {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(wrong()),
        };
        let folded = || match value {
            Json::Object(object) if object.len() == 1 => match object.get("equals-ignore-case") {
                Some(value) => Ok(Folded { text: text(value)?.to_lowercase(), ignore_case: true }),
                None => Err(wrong()),
            },
            value => Ok(Folded { text: text(value)?, ignore_case: false }),
        };
        match name {
            "prefix" => Ok(TextRule::Prefix(folded()?)),
            "suffix" => Ok(TextRule::Suffix(folded()?)),
            "equals-ignore-case" => Ok(TextRule::EqualsIgnoreCase(text(value)?.to_lowercase())),
            _ => {
                let text = text(value)?;
                let pieces = pieces(&text).ok_or_else(|| {
                    self.fail("`wildcard`: a backslash must stand before * or another backslash")
                })?;
                if text.contains("**") {
                    return Err(self.fail("`wildcard` must not have two * in a row: one means the same"));
                }
                match pieces.len() {
                    0 | 1 => {
                        Err(self.fail("`wildcard` must have a *; write the text itself to match just it"))
                    }
                    many if many - 1 > WILDCARDS_MAX => {
                        Err(self.fail(format!("`wildcard` must have at most {WILDCARDS_MAX} *")))
                    }
                    _ => Ok(TextRule::Wildcard(pieces)),
                }
            }
        }
    }

    fn numeric(&self, value: &Json) -> Result<Vec<(Comparison, Decimal)>, InvalidPattern> {
        let wrong = || self.fail("`numeric` must be one or two comparisons, such as [\">\", 0, \"<=\", 5]");
        let Json::List(list) = value else { return Err(wrong()) };
        if !matches!(list.len(), 2 | 4) {
            return Err(wrong());
        }
        let pairs = list.chunks(2).map(|pair| match pair {
            [Json::Text(sign), Json::Number(limit)] => {
                Ok((Comparison::of(sign).ok_or_else(wrong)?, self.number(limit)?))
            }
            _ => Err(wrong()),
        });
        pairs.collect()
    }

    /// A number of a pattern. Other readers of the same pattern, and versions before this one, know none beyond the range of
    /// 64-bit floating point.
    fn number(&self, number: &Decimal) -> Result<Decimal, InvalidPattern> {
        let in_range = number.to_string().parse().is_ok_and(f64::is_finite);
        in_range.then(|| number.clone()).ok_or_else(|| self.fail("Must not be a number beyond 1.7e308"))
    }

    fn anything_but(&mut self, value: &Json) -> Result<Vec<Rule>, InvalidPattern> {
        let wrong = |at: &Self| {
            at.fail("`anything-but` must be a text, a number, a list of these, or one of prefix, suffix, equals-ignore-case, wildcard")
        };
        match value {
            Json::Text(_) => Ok(vec![Rule::Is(value.clone())]),
            Json::Number(number) => Ok(vec![Rule::IsNumber(self.number(number)?)]),
            Json::List(list) if !list.is_empty() => {
                let mut rules = Vec::with_capacity(list.len());
                for entry in list {
                    if !matches!(entry, Json::Text(_) | Json::Number(_)) {
                        return Err(wrong(self));
                    }
                    rules.push(self.rule(entry)?);
                }
                Ok(rules)
            }
            Json::Object(object) if object.len() == 1 => {
                let mut rules = Vec::new();
                for (name, value) in object {
                    if !["prefix", "suffix", "equals-ignore-case", "wildcard"].contains(&name.as_str()) {
                        return Err(wrong(self));
                    }
                    let all = match value {
                        Json::List(list) if !list.is_empty() => list.as_slice(),
                        one => std::slice::from_ref(one),
                    };
                    for one in all {
                        self.count()?;
                        rules.push(Rule::Text(self.text_rule(name, one)?));
                    }
                }
                Ok(rules)
            }
            _ => Err(wrong(self)),
        }
    }
}

fn text_of(value: &Json) -> Option<&str> {
    match value {
        Json::Text(text) => Some(text),
        _ => None,
    }
}

/// What stands between the wildcards; `\*` and `\\` are the signs themselves. None if a backslash stands alone.
fn pieces(text: &str) -> Option<Vec<String>> {
    let mut pieces = vec![String::new()];
    let mut signs = text.chars();
    while let Some(sign) = signs.next() {
        match sign {
            '*' => pieces.push(String::new()),
            '\\' => pieces.last_mut()?.push(signs.next().filter(|next| matches!(next, '*' | '\\'))?),
            sign => pieces.last_mut()?.push(sign),
        }
    }
    Some(pieces)
}
