//! What IAM does: a function's requests to DynamoDB and SQS go through only if its role in the template
//! allows them. So a missing action is found here, and not in the cloud; and what was used is known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use sam_template::Grant;

use crate::asked::Asked;
use crate::aws::Names;
use crate::invocations::invoked;

/// What one function may do.
#[derive(Clone, Debug)]
pub(crate) struct RolePolicy {
    pub(crate) function: Arc<str>,
    /// Logical ids, by the names of tables and the addresses of queues.
    resources: Arc<BTreeMap<String, String>>,
    granted: Arc<BTreeSet<Grant>>,
    used: Arc<Mutex<BTreeSet<Grant>>>,
}

impl RolePolicy {
    /// Lets through what is `granted`.
    pub(crate) fn new(function: &str, names: &Names, granted: BTreeSet<Grant>) -> Self {
        let tables = names.tables.iter().map(|(id, name)| (name.clone(), id.clone()));
        let queues = names.queues.iter().map(|(id, queue)| (queue.url.clone(), id.clone()));
        Self {
            function: function.into(),
            resources: Arc::new(tables.chain(queues).collect()),
            granted: Arc::new(granted),
            used: Arc::default(),
        }
    }

    /// What the function has done so far.
    pub(crate) fn used(&self) -> BTreeSet<Grant> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what the role allows of a request, and answers in AWS's place what it does not.
    pub(crate) fn refusal(&self, request: &HttpRequest, asked: Option<&Asked<'_>>) -> Option<HttpResponse> {
        let checked = match (invoked(request), asked) {
            (Some(function), _) => self.permit(vec![("lambda:InvokeFunction".into(), function.into())]),
            (None, asked) => self.check(request.headers().get("x-amz-target").unwrap_or_default(), asked),
        };
        let refused = checked.err()?;
        let function = &*self.function;
        tracing::error!(function, refused, "the function's role in the template does not allow this");
        let text = format!("the role of {function} does not allow {refused}");
        let body = serde_json::json!({ "__type": "AccessDeniedException", "message": text });
        let status = StatusCode::try_from(400).expect("a status");
        Some(HttpResponse::new(status, SdkBody::from(body.to_string())))
    }

    /// What of a request is not allowed; what is allowed is noted.
    fn check(&self, target: &str, asked: Option<&Asked<'_>>) -> Result<(), String> {
        let needed = asked.and_then(needed).ok_or_else(|| format!("{target}, which cannot be understood"))?;
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

/// The actions that IAM wants to be allowed for a request, and the table or queue of each.
fn needed(asked: &Asked<'_>) -> Option<Vec<(String, String)>> {
    let Asked { service, operation, body } = asked;
    if *service == "SQS" {
        // A batch is allowed by the action for one.
        let action = format!("sqs:{}", operation.strip_suffix("Batch").unwrap_or(operation));
        return Some(vec![(action, body.queue_url.as_deref()?.to_owned())]);
    }
    let action = |operation: &str| format!("dynamodb:{operation}");
    if *operation == "TransactWriteItems" {
        // A transaction is allowed by the actions of its parts.
        let parts = body.transact_items.iter().flatten().map(|(kind, part)| {
            let operation = if kind == "ConditionCheck" {
                "ConditionCheckItem".to_owned()
            } else {
                format!("{kind}Item")
            };
            (action(&operation), part.table_name.clone().into_owned())
        });
        return Some(parts.collect());
    }
    match (&body.table_name, &body.request_items) {
        (Some(table), _) => Some(vec![(action(operation), table.clone().into_owned())]),
        (None, Some(tables)) => {
            Some(tables.keys().map(|table| (action(operation), table.clone().into_owned())).collect())
        }
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
            let needed = needed(&Asked::read(target, body.as_bytes())?)?;
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
        let role_policies = RolePolicy::new("timers", &names, granted);
        let get = |table: &str| {
            let (target, body) = ("DynamoDB_20120810.GetItem", format!(r#"{{"TableName":"{table}"}}"#));
            role_policies.check(target, Asked::read(target, body.as_bytes()).as_ref())
        };
        assert_eq!(get("LogTable-name"), Ok(()));
        assert_eq!(get("ConfigTable-name"), Err("dynamodb:GetItem on ConfigTable".into()));
        assert_eq!(get("elsewhere"), Err("dynamodb:GetItem on elsewhere".into()));
        assert_eq!(role_policies.used(), BTreeSet::from([Grant::new("dynamodb:GetItem", "LogTable")]));
    }
}
