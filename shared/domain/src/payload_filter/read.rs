//! Reads patterns, and says where one is none.

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::rule::{Comparison, Folded, Rule, TextRule};
use super::{DEPTH_MAX, InvalidPattern, Pattern, RULES_MAX, WILDCARDS_MAX, Want};

/// Where the reader is, how deep that is, and how many rules it has read.
#[derive(Default)]
struct Reader {
    path: Vec<String>,
    depth: usize,
    rules: usize,
}

/// The pattern of an object.
pub(super) fn pattern(object: &Map<String, Value>) -> Result<Pattern, InvalidPattern> {
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

    fn pattern(&mut self, object: &Map<String, Value>) -> Result<Pattern, InvalidPattern> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.fail(format!("Must not be nested more than {DEPTH_MAX} levels deep")));
        }
        let mut pattern = Pattern::default();
        for (name, want) in object {
            self.within(name, |at| {
                match (name.as_str(), want) {
                    ("$or", Value::Array(patterns)) => pattern.either.push(at.either(patterns)?),
                    ("$or", _) => return Err(at.fail("Must be a list of patterns")),
                    (_, Value::Object(inner)) if inner.is_empty() => {
                        return Err(at.fail("Must name at least one field"));
                    }
                    (_, Value::Object(inner)) => {
                        pattern.fields.push((name.clone(), Want::Inside(at.pattern(inner)?)));
                    }
                    (_, Value::Array(rules)) => {
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

    fn either(&mut self, patterns: &[Value]) -> Result<Vec<Pattern>, InvalidPattern> {
        if patterns.len() < 2 {
            return Err(self.fail("Must have at least two patterns"));
        }
        let mut read = Vec::with_capacity(patterns.len());
        for (nth, pattern) in patterns.iter().enumerate() {
            read.push(self.within(&nth.to_string(), |at| match pattern {
                Value::Object(object) if !object.is_empty() => at.pattern(object),
                _ => Err(at.fail("Must be a pattern that names at least one field")),
            })?);
        }
        Ok(read)
    }

    fn rules(&mut self, rules: &[Value]) -> Result<Vec<Rule>, InvalidPattern> {
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

    fn rule(&mut self, rule: &Value) -> Result<Rule, InvalidPattern> {
        self.count()?;
        let object = match rule {
            Value::Number(number) => return Ok(Rule::IsNumber(number.as_f64().unwrap_or(f64::NAN))),
            Value::String(_) | Value::Bool(_) | Value::Null => return Ok(Rule::Is(rule.clone())),
            Value::Object(object) => object,
            Value::Array(_) => return Err(self.fail(format!("Must be {RULES}"))),
        };
        let mut names = object.iter();
        let (Some((name, value)), None) = (names.next(), names.next()) else {
            return Err(self.fail(format!("Must be {RULES}")));
        };
        let text = |at: &Self| value.as_str().ok_or_else(|| at.fail(format!("`{name}` must be a text")));
        Ok(match name.as_str() {
            "prefix" | "suffix" | "equals-ignore-case" | "wildcard" => {
                Rule::Text(self.text_rule(name, value)?)
            }
            "exists" => {
                Rule::Exists(value.as_bool().ok_or_else(|| self.fail("`exists` must be true or false"))?)
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

    fn text_rule(&self, name: &str, value: &Value) -> Result<TextRule, InvalidPattern> {
        let wrong = || self.fail(format!("`{name}` must be a text of at least one character"));
        let text = |value: &Value| match value.as_str() {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(wrong()),
        };
        let folded = || match value {
            Value::Object(object) if object.len() == 1 => match object.get("equals-ignore-case") {
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

    fn numeric(&self, value: &Value) -> Result<Vec<(Comparison, f64)>, InvalidPattern> {
        let wrong = || self.fail("`numeric` must be one or two comparisons, such as [\">\", 0, \"<=\", 5]");
        let list = value.as_array().filter(|list| matches!(list.len(), 2 | 4)).ok_or_else(wrong)?;
        let pairs = list.chunks(2).map(|pair| {
            let sign = pair[0].as_str().and_then(Comparison::of)?;
            Some((sign, pair[1].as_f64()?))
        });
        pairs.collect::<Option<_>>().ok_or_else(wrong)
    }

    fn anything_but(&mut self, value: &Value) -> Result<Vec<Rule>, InvalidPattern> {
        let wrong = |at: &Self| {
            at.fail("`anything-but` must be a text, a number, a list of these, or one of prefix, suffix, equals-ignore-case, wildcard")
        };
        match value {
            Value::String(_) => Ok(vec![Rule::Is(value.clone())]),
            Value::Number(number) => Ok(vec![Rule::IsNumber(number.as_f64().unwrap_or(f64::NAN))]),
            Value::Array(list) if !list.is_empty() => {
                let mut rules = Vec::with_capacity(list.len());
                for entry in list {
                    if !matches!(entry, Value::String(_) | Value::Number(_)) {
                        return Err(wrong(self));
                    }
                    rules.push(self.rule(entry)?);
                }
                Ok(rules)
            }
            Value::Object(object) if object.len() == 1 => {
                let mut rules = Vec::new();
                for (name, value) in object {
                    if !["prefix", "suffix", "equals-ignore-case", "wildcard"].contains(&name.as_str()) {
                        return Err(wrong(self));
                    }
                    let all = match value {
                        Value::Array(list) if !list.is_empty() => list.as_slice(),
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
