//! Query strings: values are percent-decoded; repeated ones are accepted in all three spellings.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use serde_json::Value;

use domain::error::{Error, Result};
use input::{Rule, Shape, Text, either, unknown};
use runtime::clock::Timestamp;

use crate::Api;

/// Most pairs that a query may have.
const PAIRS_MAX: usize = 256;

/// The pairs of a query string.
///
/// The same code that reads a query describes it: given [`RawQuery::describing`], it finds every
/// parameter absent, and leaves a note of each that it asked for.
#[derive(Clone, Debug, Default)]
pub struct RawQuery {
    pairs: Vec<(String, String)>,
    /// Only while describing.
    notes: Option<Arc<Mutex<Vec<Parameter>>>>,
}

/// What was noted of one parameter while it was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) rules: Vec<Rule>,
    pub(super) choice: Vec<Value>,
    pub(super) default: Option<Value>,
    /// What it should be, where nothing else says it.
    pub(super) what: Option<&'static str>,
}

impl Parameter {
    const fn new(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, rules: Vec::new(), choice: Vec::new(), default: None, what: None }
    }
}

impl RawQuery {
    /// Reads a query string, without its question mark. `name[]` and `name[0]` are spellings of `name`.
    ///
    /// # Errors
    /// `BadRequest` if there are too many parameters, or another bracket in a name: ignoring it would
    /// answer something else than what was asked for.
    pub fn read(text: &str) -> Result<Self> {
        let query = Self::parse(text);
        if query.pairs.len() > PAIRS_MAX {
            return Err(Error::BadRequest(format!("The query has more than {PAIRS_MAX} parameters.")));
        }
        match query.pairs.iter().find_map(|(name, _)| Some((name, name.find(['[', ']'])?))) {
            Some((name, at)) => Err(Error::BadRequest(format!(
                "The query parameter `{}` is not understood; write `{}`.",
                name.escape_debug(),
                name[..at].escape_debug(),
            ))),
            None => Ok(query),
        }
    }

    /// The same, leaving alone what is not understood.
    pub fn parse(text: &str) -> Self {
        let pairs = url::form_urlencoded::parse(text.as_bytes()).take(PAIRS_MAX + 1);
        let pairs = pairs.map(|(name, value)| (plain(&name).to_owned(), value.into_owned())).collect();
        Self { pairs, notes: None }
    }

    /// The names of the parameters that are there.
    pub(super) fn into_names(self) -> impl Iterator<Item = String> {
        self.pairs.into_iter().map(|(name, _)| name)
    }

    /// No parameters, but notes of what is asked for.
    pub fn describing() -> Self {
        Self { pairs: Vec::new(), notes: Some(Arc::default()) }
    }

    /// What was noted.
    pub(super) fn notes(&self) -> Vec<Parameter> {
        let Some(notes) = &self.notes else { return Vec::new() };
        notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, parameter: impl FnOnce() -> Parameter) {
        if let Some(notes) = &self.notes {
            notes.lock().unwrap_or_else(PoisonError::into_inner).push(parameter());
        }
    }

    /// The value of that name, if it is not empty.
    ///
    /// # Errors
    /// `Invalid` if there are two: taking one would answer something else than what was asked for.
    pub fn one(&self, name: &'static str) -> Result<Option<&str>> {
        self.note(|| Parameter::new(name, Shape::Text));
        self.value(name)
    }

    fn value(&self, name: &'static str) -> Result<Option<&str>> {
        unknown::asked(name);
        let mut values =
            self.pairs.iter().filter(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value);
        let first = values.next();
        if values.any(|other| Some(other) != first) {
            return Err(Error::violation(["query", name], "Is given twice: give it once, with one value"));
        }
        Ok(first.map(String::as_str))
    }

    /// All values of `name=a&name=b`, `name[]=a` and `name=a,b`; none if there is not one.
    pub fn many(&self, name: &'static str) -> Option<Vec<String>> {
        self.note(|| Parameter::new(name, Shape::List(&Shape::Text)));
        self.values(name)
    }

    fn values(&self, name: &'static str) -> Option<Vec<String>> {
        unknown::asked(name);
        let values: Vec<String> = self
            .pairs
            .iter()
            .filter(|(key, _)| key == name)
            .flat_map(|(_, value)| value.split(',').filter(|v| !v.is_empty()).map(str::to_owned))
            .collect();
        (!values.is_empty()).then_some(values)
    }

    /// The value as `parse` reads it; `what` says what it should be.
    ///
    /// # Errors
    /// `BadRequest`, naming the parameter, if it cannot.
    pub fn parsed<T>(
        &self,
        name: &'static str,
        what: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        self.note(|| Parameter { what: Some(what), ..Parameter::new(name, Shape::Text) });
        self.value_of(name, what, parse)
    }

    fn value_of<T>(
        &self,
        name: &'static str,
        what: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(text) = self.value(name)? else { return Ok(None) };
        let value = parse(text)
            .ok_or_else(|| Error::BadRequest(format!("The query parameter `{name}` should be {what}.")))?;
        Ok(Some(value))
    }

    /// The value, which must keep to `rule`.
    ///
    /// # Errors
    /// `Invalid` if it does not.
    pub fn text(&self, name: &'static str, rule: Text) -> Result<Option<&str>> {
        self.note(|| Parameter { rules: rule.rules(), ..Parameter::new(name, Shape::Text) });
        let Some(text) = self.value(name)? else { return Ok(None) };
        match rule.broken(text) {
            Some(msg) => Err(Error::violation(["query", name], msg)),
            None => Ok(Some(text)),
        }
    }

    /// All values, as [`RawQuery::many`] has them, each of which must keep to `rule`.
    ///
    /// # Errors
    /// `Invalid` if one does not.
    pub fn texts(&self, name: &'static str, rule: Text) -> Result<Option<Vec<String>>> {
        self.note(|| Parameter {
            rules: vec![Rule::Each(rule)],
            ..Parameter::new(name, Shape::List(&Shape::Text))
        });
        let Some(texts) = self.values(name) else { return Ok(None) };
        match texts.iter().find_map(|text| rule.broken(text)) {
            Some(msg) => Err(Error::violation(["query", name], msg)),
            None => Ok(Some(texts)),
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// `BadRequest` if it is something else.
    pub fn flag(&self, name: &'static str, default: bool) -> Result<bool> {
        self.note(|| Parameter { default: Some(default.into()), ..Parameter::new(name, Shape::Flag) });
        Ok(self.value_of(name, "true or false", |text| text.parse().ok())?.unwrap_or(default))
    }

    /// A date and time.
    ///
    /// # Errors
    /// `BadRequest` if it is something else.
    pub fn time(&self, name: &'static str) -> Result<Option<Timestamp>> {
        self.note(|| Parameter::new(name, Shape::Time));
        self.value_of(name, "an RFC 3339 date and time", Timestamp::parse)
    }

    /// A whole number from `min` to `max`.
    ///
    /// # Errors
    /// `BadRequest` if it is no number, `Invalid` if it is out of range.
    pub fn number(&self, name: &'static str, min: u16, max: u16, default: u16) -> Result<u16> {
        self.note(|| Parameter {
            rules: vec![Rule::Range(min.into(), max.into())],
            default: Some(default.into()),
            ..Parameter::new(name, Shape::Integer(0, i64::MAX))
        });
        let what = format!("a number from {min} to {max}");
        let number = self.value_of(name, &what, |text| text.parse::<u64>().ok())?.unwrap_or(default.into());
        u16::try_from(number)
            .ok()
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| Error::violation(["query", name], format!("Must be from {min} to {max}")))
    }

    /// A time of so many milliseconds.
    ///
    /// # Errors
    /// As [`RawQuery::number`].
    pub fn milliseconds(
        &self,
        name: &'static str,
        (min, max): (Duration, Duration),
        default: Duration,
    ) -> Result<Duration> {
        let ms = |of: Duration| i64::try_from(of.as_millis()).unwrap_or(i64::MAX);
        self.note(|| Parameter {
            rules: vec![Rule::Range(ms(min), ms(max))],
            default: Some(ms(default).into()),
            ..Parameter::new(name, Shape::Integer(0, i64::MAX))
        });
        let what = format!("a number from {} to {}", ms(min), ms(max));
        let number = self.value_of(name, &what, |text| text.parse::<u64>().ok())?;
        let time = number.map_or(default, Duration::from_millis);
        if (min..=max).contains(&time) {
            return Ok(time);
        }
        Err(Error::violation(["query", name], format!("Must be from {} to {}", ms(min), ms(max))))
    }

    /// One of these words.
    ///
    /// # Errors
    /// `BadRequest` if it is none of them.
    pub fn choice<T: Copy>(&self, name: &'static str, choice: &[(&'static str, T)]) -> Result<Option<T>> {
        self.note(|| Parameter {
            choice: choice.iter().map(|(word, _)| (*word).into()).collect(),
            ..Parameter::new(name, Shape::Text)
        });
        self.one_of(name, choice, |(word, _)| (*word).to_owned())
    }

    /// One of these numbers.
    ///
    /// # Errors
    /// `BadRequest` if it is none of them.
    pub fn code<T: Copy>(&self, name: &'static str, choice: &[(u16, T)]) -> Result<Option<T>> {
        self.note(|| Parameter {
            choice: choice.iter().map(|(number, _)| (*number).into()).collect(),
            ..Parameter::new(name, Shape::Integer(i64::MIN, i64::from(u16::MAX)))
        });
        self.one_of(name, choice, |(number, _)| number.to_string())
    }

    fn one_of<K, T: Copy>(
        &self,
        name: &'static str,
        choice: &[(K, T)],
        word: impl Fn(&(K, T)) -> String,
    ) -> Result<Option<T>> {
        let Some(text) = self.value(name)? else { return Ok(None) };
        if let Some((_, value)) = choice.iter().find(|entry| word(entry) == text) {
            return Ok(Some(*value));
        }
        let words: Vec<String> = choice.iter().map(word).collect();
        let what = either(&words);
        Err(Error::BadRequest(format!("The query parameter `{name}` should be {what}.")))
    }
}

/// The name in `name[]` and `name[0]`.
fn plain(name: &str) -> &str {
    let index = name.strip_suffix(']').and_then(|name| name.rsplit_once('['));
    match index {
        Some((name, index)) if index.bytes().all(|c| c.is_ascii_digit()) => name,
        _ => name,
    }
}

/// The parameters of a query as a type.
pub trait QueryParams: Sized {
    /// Reads them; times may be compared with `now`.
    ///
    /// # Errors
    /// `BadRequest` and `Invalid` for parameters that break a rule.
    fn read(query: &RawQuery, now: Timestamp) -> Result<Self>;
}

impl<A: QueryParams, B: QueryParams> QueryParams for (A, B) {
    fn read(query: &RawQuery, now: Timestamp) -> Result<Self> {
        Ok((A::read(query, now)?, B::read(query, now)?))
    }
}

/// What the query of a request says.
#[derive(Clone, Copy, Debug)]
pub struct Query<P>(pub P);

impl<S, P> FromRequestParts<S> for Query<P>
where
    S: Send + Sync,
    P: QueryParams,
    Api: FromRef<S>,
{
    type Rejection = crate::ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, crate::ApiError> {
        let query = RawQuery::read(parts.uri.query().unwrap_or_default())?;
        Ok(Self(P::read(&query, Api::from_ref(state).clock.now())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_repetition() {
        for text in ["t=a&t=b", "t[]=a&t[]=b", "t=a,b", "t%5B%5D=a&t=b", "t[0]=a&t[1]=b", "t[]=a,b"] {
            assert_eq!(RawQuery::parse(text).many("t"), Some(vec!["a".to_owned(), "b".to_owned()]), "{text}");
        }
        assert_eq!(RawQuery::parse("t=").many("t"), None);
        for text in ["t=a&t=b", "t=a&t[]=b", "t=a&t=&t=b"] {
            assert!(matches!(RawQuery::parse(text).one("t"), Err(Error::Invalid(_))), "{text}");
        }
        for text in ["t=a", "t=a&t=a", "t=&t=a", "t[]=a"] {
            assert!(matches!(RawQuery::parse(text).one("t"), Ok(Some("a"))), "{text}");
        }
        for text in ["t[a]=a", "t[0][1]=a", "t[=a", "t]=a", "%5Bt%5D=a", "t[-1]=a"] {
            assert!(matches!(RawQuery::read(text), Err(Error::BadRequest(_))), "{text}");
        }
        assert!(RawQuery::read(&"a=b&".repeat(PAIRS_MAX)).is_ok());
        assert!(RawQuery::read(&"a=b&".repeat(PAIRS_MAX + 1)).is_err());
    }

    #[test]
    fn wrong_values_name_their_parameter() {
        let query = RawQuery::parse("with_content=maybe&before=2026-01-01T00:00:00+02:00&after=x");
        assert_eq!(
            query.flag("with_content", true).unwrap_err().to_string(),
            "The query parameter `with_content` should be true or false."
        );
        assert!(query.time("before").unwrap().is_some());
        assert!(query.time("after").is_err());
    }
}
