//! The code of endpoints' transformations, in items of their own: endpoints are read with each fan-out, and code is
//! up to 200 KB. The endpoint's item has the name of what is to be run, if anything is.
//!
//! Code and variables are sealed, as headers are: they often hold tokens.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::Delete;
use aws_sdk_dynamodb::types::builders::DeleteBuilder;

use super::applications::Application;
use super::audit::AuditAction;
use super::endpoints::Endpoint;
use super::item::{Get as _, Item, Put as _, SCHEMA, b, n};
use super::transaction::put;
use super::{Store, Table, keys};
use domain::caller::Caller;
use domain::error::{Result, corrupt};
use domain::ids::{AppId, EndpointId};
use runtime::clock::Timestamp;

pub use domain::transformation::{Transformation, TransformationId};

fn place(endpoint: EndpointId) -> String {
    format!("{endpoint} transformation")
}

/// What is sealed, as JSON: code and variables.
type Sealed = (Option<String>, BTreeMap<String, String>);

impl Store {
    /// The transformation of an endpoint; an empty one if it never had any.
    ///
    /// # Errors
    /// The store's own.
    pub async fn transformation(&self, app: AppId, endpoint: EndpointId) -> Result<Transformation> {
        let key = keys::transformation(app, endpoint);
        let Some(item) = self.get(Table::Config, key, true, "read a transformation").await? else {
            return Ok(Transformation::default());
        };
        item.check_schema()?;
        let text = self.sealer.open(&place(endpoint), item.bytes("text").unwrap_or_default())?;
        let (code, variables): Sealed = serde_json::from_slice(&text).map_err(corrupt("a transformation"))?;
        Ok(Transformation {
            code,
            enabled: item.contains_key("enabled"),
            variables,
            updated_at: Some(item.time("updatedAt")?),
        })
    }

    /// Replaces the transformation `old` of the endpoint `at`, both as they were read; none where one of them was
    /// changed meanwhile, and the caller reads again.
    ///
    /// # Errors
    /// `NotFound` if the application is gone.
    pub async fn set_transformation(
        &self,
        by: &Caller,
        app: &Application,
        at: &Endpoint,
        old: &Transformation,
        new: Transformation,
    ) -> Result<Option<Endpoint>> {
        // Never the same time twice: it is what the condition compares.
        let now = self.clock.now();
        let updated_at = old.updated_at.map_or(now, |old| now.max(Timestamp::from_ms(old.ms() + 1)));
        let active = new.active();
        let sealed: Sealed = (new.code, new.variables);
        let text = serde_json::to_vec(&sealed).map_err(corrupt("a transformation"))?;
        let item: Item = keys::transformation(at.app, at.id)
            .with("v", n(SCHEMA))
            .with("text", b(self.sealer.seal(&place(at.id), &text)))
            .with_some("enabled", new.enabled.then(|| n(1)))
            .with("updatedAt", n(updated_at.ms()));
        let write = put(self.table(Table::Config), item);
        let write = match old.updated_at {
            None => write.condition_expression("attribute_not_exists(pk)"),
            Some(old) => write
                .condition_expression("updatedAt = :old")
                .expression_attribute_values(":old", n(old.ms())),
        };
        let endpoint = Endpoint { transformation: active, ..at.clone() };
        let what = AuditAction::EndpointTransformationUpdated;
        self.replace_endpoint_and(by, app, at, endpoint, what, Some(write)).await
    }

    /// Deletes the transformation of an endpoint that is deleted.
    pub(super) fn without_transformation(&self, app: AppId, endpoint: EndpointId) -> DeleteBuilder {
        Delete::builder()
            .table_name(self.table(Table::Config))
            .set_key(Some(keys::transformation(app, endpoint)))
    }
}
