//! Query strings: values are percent-decoded; repeated ones are accepted in all three spellings.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::Text;
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// Most pairs that a query may have; the rest is not looked at.
const PAIRS_MAX: usize = 256;

/// The pairs of a query string.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query string, without its question mark.
    pub fn parse(text: &str) -> Self {
        Self(url::form_urlencoded::parse(text.as_bytes()).into_owned().take(PAIRS_MAX).collect())
    }

    /// The last value of that name, if it is not empty.
    pub fn one(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|v| !v.is_empty())
    }

    /// All values of `name=a&name=b`, `name[]=a` and `name=a,b`; none if there is not one.
    pub fn many(&self, name: &str) -> Option<Vec<String>> {
        let values: Vec<String> = self
            .0
            .iter()
            .filter(|(key, _)| key.strip_suffix("[]").unwrap_or(key) == name)
            .flat_map(|(_, value)| value.split(',').filter(|v| !v.is_empty()).map(str::to_owned))
            .collect();
        (!values.is_empty()).then_some(values)
    }

    /// The value as `parse` reads it.
    ///
    /// # Errors
    /// `BadRequest`, naming the parameter, if it cannot.
    pub fn parsed<T>(
        &self,
        name: &str,
        what: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(text) = self.one(name) else { return Ok(None) };
        let value = parse(text)
            .ok_or_else(|| Error::BadRequest(format!("The query parameter `{name}` should be {what}.")))?;
        Ok(Some(value))
    }

    /// The value, which must keep to `rule`.
    ///
    /// # Errors
    /// `Invalid` if it does not.
    pub fn text(&self, name: &str, rule: Text) -> Result<Option<&str>> {
        let Some(text) = self.one(name) else { return Ok(None) };
        match rule.broken(text) {
            Some(msg) => Err(Error::violation(["query", name], msg, "value_error")),
            None => Ok(Some(text)),
        }
    }

    /// All values, as [`Query::many`] has them, each of which must keep to `rule`.
    ///
    /// # Errors
    /// `Invalid` if one does not.
    pub fn texts(&self, name: &str, rule: Text) -> Result<Option<Vec<String>>> {
        let Some(texts) = self.many(name) else { return Ok(None) };
        match texts.iter().find_map(|text| rule.broken(text)) {
            Some(msg) => Err(Error::violation(["query", name], msg, "value_error")),
            None => Ok(Some(texts)),
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// `BadRequest` if it is something else.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool> {
        Ok(self.parsed(name, "true or false", |text| text.parse().ok())?.unwrap_or(default))
    }

    /// A date and time.
    ///
    /// # Errors
    /// `BadRequest` if it is something else.
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>> {
        // `+` of an offset arrives as a space where the client did not encode it.
        self.parsed(name, "an RFC 3339 date and time", |text| Timestamp::parse(&text.replace(' ', "+")))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_spellings_of_repetition() {
        for text in ["t=a&t=b", "t[]=a&t[]=b", "t=a,b", "t%5B%5D=a&t=b"] {
            assert_eq!(Query::parse(text).many("t"), Some(vec!["a".to_owned(), "b".to_owned()]), "{text}");
        }
        assert_eq!(Query::parse("t=").many("t"), None);
    }

    #[test]
    fn wrong_values_name_their_parameter() {
        let query = Query::parse("with_content=maybe&before=2026-01-01T00:00:00+02:00&after=x");
        assert_eq!(
            query.flag("with_content", true).unwrap_err().to_string(),
            "The query parameter `with_content` should be true or false."
        );
        assert!(query.time("before").unwrap().is_some());
        assert!(query.time("after").is_err());
    }
}
