//! What IAM does: a function's requests to DynamoDB and SQS go through only if its role in the template
//! allows them. So a missing action is found here, and not in the cloud; and what was used is known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use sam_template::Grant;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::aws::Names;
use crate::invocations::invoked;

/// What one function may do.
#[derive(Clone, Debug)]
pub(crate) struct RolePolicy {
    function: Arc<str>,
    inner: SharedHttpClient,
    /// Logical ids, by the names of tables and the addresses of queues.
    resources: Arc<BTreeMap<String, String>>,
    granted: Arc<BTreeSet<Grant>>,
    used: Arc<Mutex<BTreeSet<Grant>>>,
}

impl RolePolicy {
    /// Lets through what is `granted`, to `inner`.
    pub(crate) fn new(
        function: &str,
        inner: SharedHttpClient,
        names: &Names,
        granted: BTreeSet<Grant>,
    ) -> Self {
        let tables = names.tables.iter().map(|(id, name)| (name.clone(), id.clone()));
        let queues = names.queues.iter().map(|(id, queue)| (queue.url.clone(), id.clone()));
        Self {
            function: function.into(),
            inner,
            resources: Arc::new(tables.chain(queues).collect()),
            granted: Arc::new(granted),
            used: Arc::default(),
        }
    }

    /// What the function has done so far.
    pub(crate) fn used(&self) -> BTreeSet<Grant> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What of a request is not allowed; what is allowed is noted.
    fn check(&self, target: &str, body: &[u8]) -> Result<(), String> {
        let needed = needed(target, body).ok_or_else(|| format!("{target}, which cannot be understood"))?;
        self.permit(needed)
    }

    fn permit(&self, needed: Vec<(String, String)>) -> Result<(), String> {
        for (action, name) in needed {
            let resource = self.resources.get(&name).cloned().unwrap_or(name);
            let grant = Grant { action, resource };
            if !self.granted.contains(&grant) {
                return Err(format!("{} on {}", grant.action, grant.resource));
            }
            self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(grant);
        }
        Ok(())
    }
}

impl HttpClient for RolePolicy {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Connector { inner, role_policies: self.clone() })
    }
}

#[derive(Debug)]
struct Connector {
    inner: SharedHttpConnector,
    role_policies: RolePolicy,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let checked = match invoked(&request) {
            Some(function) => {
                self.role_policies.permit(vec![("lambda:InvokeFunction".into(), function.into())])
            }
            None => self.role_policies.check(target, request.body().bytes().unwrap_or_default()),
        };
        match checked {
            Ok(()) => self.inner.call(request),
            Err(refused) => {
                let function = &*self.role_policies.function;
                tracing::error!(function, refused, "the function's role in the template does not allow this");
                let text = format!("the role of {function} does not allow {refused}");
                let body = serde_json::json!({ "__type": "AccessDeniedException", "message": text });
                let status = StatusCode::try_from(400).expect("a status");
                HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(body.to_string()))))
            }
        }
    }
}

/// Of a request's body, what names tables and queues.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    table_name: Option<String>,
    queue_url: Option<String>,
    request_items: Option<BTreeMap<String, IgnoredAny>>,
    #[serde(default)]
    transact_items: Vec<BTreeMap<String, Part>>,
}

/// A part of a transaction.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Part {
    table_name: String,
}

/// The actions that IAM wants to be allowed for a request, and the table or queue of each.
fn needed(target: &str, body: &[u8]) -> Option<Vec<(String, String)>> {
    let (service, operation) = target.split_once('.')?;
    let named: Named = serde_json::from_slice(body).ok()?;
    if service == "AmazonSQS" {
        // A batch is allowed by the action for one.
        let action = format!("sqs:{}", operation.strip_suffix("Batch").unwrap_or(operation));
        return Some(vec![(action, named.queue_url?)]);
    }
    let action = |operation: &str| format!("dynamodb:{operation}");
    if operation == "TransactWriteItems" {
        // A transaction is allowed by the actions of its parts.
        let parts = named.transact_items.into_iter().flatten().map(|(kind, part)| {
            let operation = if kind == "ConditionCheck" {
                "ConditionCheckItem".to_owned()
            } else {
                format!("{kind}Item")
            };
            (action(&operation), part.table_name)
        });
        return Some(parts.collect());
    }
    match (named.table_name, named.request_items) {
        (Some(table), _) => Some(vec![(action(operation), table)]),
        (None, Some(tables)) => Some(tables.into_keys().map(|table| (action(operation), table)).collect()),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sam_template::Template;

    #[test]
    fn a_request_needs_what_iam_wants_to_be_allowed() {
        let of = |target: &str, body: &str| {
            let needed = needed(target, body.as_bytes())?;
            Some(
                needed.iter().map(|(action, name)| format!("{action} {name}")).collect::<Vec<_>>().join(", "),
            )
        };
        for (target, body, needed) in [
            ("DynamoDB_20120810.GetItem", r#"{"Key":{},"TableName":"t"}"#, "dynamodb:GetItem t"),
            (
                "DynamoDB_20120810.BatchGetItem",
                r#"{"RequestItems":{"t":{"Keys":[]}}}"#,
                "dynamodb:BatchGetItem t",
            ),
            (
                "DynamoDB_20120810.TransactWriteItems",
                r#"{"TransactItems":[{"Put":{"TableName":"t","Item":{}}},{"ConditionCheck":{"TableName":"u"}}]}"#,
                "dynamodb:PutItem t, dynamodb:ConditionCheckItem u",
            ),
            ("AmazonSQS.SendMessageBatch", r#"{"QueueUrl":"q","Entries":[]}"#, "sqs:SendMessage q"),
        ] {
            assert_eq!(of(target, body).as_deref(), Some(needed));
        }
        for (target, body) in [("", "{}"), ("AmazonSQS.ListQueues", "{}"), ("DynamoDB_20120810.GetItem", "x")]
        {
            assert_eq!(of(target, body), None);
        }
    }

    #[test]
    fn what_the_role_does_not_allow_does_not_get_through() {
        let template = Template::parse(crate::TEMPLATE).unwrap();
        let names = Names::example(&template);
        let granted = BTreeSet::from([Grant::new("dynamodb:GetItem", "LogTable")]);
        let role_policies = RolePolicy::new("timers", shared::Platform::system().http, &names, granted);
        let get = |table: &str| {
            role_policies
                .check("DynamoDB_20120810.GetItem", format!(r#"{{"TableName":"{table}"}}"#).as_bytes())
        };
        assert_eq!(get("LogTable-name"), Ok(()));
        assert_eq!(get("ConfigTable-name"), Err("dynamodb:GetItem on ConfigTable".into()));
        assert_eq!(get("elsewhere"), Err("dynamodb:GetItem on elsewhere".into()));
        assert_eq!(role_policies.used(), BTreeSet::from([Grant::new("dynamodb:GetItem", "LogTable")]));
    }
}
