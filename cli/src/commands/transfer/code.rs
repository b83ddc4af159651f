//! The transformation of an endpoint: its owner's code, which changes its webhooks.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::record::Fields;
use crate::client::Api;
use crate::error::Result;
use crate::retry::Answer;

/// Code that is copied with its endpoint; without code there is nothing to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Transformation {
    code: Option<String>,
    enabled: bool,
    /// None where the source knows no variables.
    variables: Option<Fields>,
}

impl Transformation {
    /// That of an endpoint that has none, nor variables for one.
    pub(super) fn none() -> Self {
        Self { variables: Some(Fields::new()), ..Self::default() }
    }

    /// What a response or a file says.
    pub(super) fn of(value: &Value) -> Self {
        let code = value["code"].as_str().filter(|code| !code.is_empty()).map(str::to_owned);
        let enabled = code.is_some() && value["enabled"] == true;
        Self { code, enabled, variables: value["variables"].as_object().cloned() }
    }

    /// The transformation of the endpoint at `path`; none if the server does not show it.
    pub(super) async fn read(api: &Api, path: &str) -> Result<Option<Self>> {
        match api.patiently(Method::GET, &format!("{path}/transformation"), None).await? {
            Answer::Done(value) => Ok(Some(Self::of(&value))),
            Answer::Refused(
                StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::FORBIDDEN
                | StatusCode::NOT_IMPLEMENTED,
                _,
            ) => Ok(None),
            Answer::Refused(_, error) => Err(error),
        }
    }

    /// Whether there is nothing of it.
    pub(super) fn is_empty(&self) -> bool {
        self.code.is_none() && self.variables.as_ref().is_none_or(Fields::is_empty)
    }

    /// Whether webhooks pass it.
    pub(super) const fn is_run(&self) -> bool {
        self.enabled
    }

    /// Whether the target, which has `there`, is to be changed.
    pub(super) fn differs(&self, there: &Self) -> bool {
        let empty = Fields::new();
        let there_has = there.variables.as_ref().unwrap_or(&empty);
        (&self.code, self.enabled) != (&there.code, there.enabled)
            || self.variables.as_ref().is_some_and(|wanted| wanted != there_has)
    }

    /// The body of a PATCH that makes it this, and what a file has of it.
    pub(super) fn body(&self) -> Value {
        let mut body = json!({ "code": self.code, "enabled": self.enabled });
        if let Some(variables) = &self.variables {
            body["variables"] = json!(variables);
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_source_does_not_know_is_not_changed() {
        let there = Transformation::of(&json!({"code": "x", "enabled": true, "variables": {"a": "b"}}));
        for (source, differs) in [
            (json!({"code": "x", "enabled": true}), false),
            (json!({"code": "x", "enabled": true, "variables": {}}), true),
            (json!({"code": "y", "enabled": true}), true),
            (json!({"code": "x", "enabled": false}), true),
            (json!({"code": null, "enabled": true}), true),
            (json!({}), true),
        ] {
            assert_eq!(Transformation::of(&source).differs(&there), differs, "{source}");
        }
        let none = Transformation::of(&json!({"code": "", "enabled": true, "variables": {}}));
        assert!(none.is_empty() && !none.is_run() && !none.differs(&Transformation::default()));
        assert_eq!(Transformation::of(&there.body()), there);
        assert_eq!(Transformation::default().body(), json!({"code": null, "enabled": false}));
    }
}
