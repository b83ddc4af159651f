//! Roles: what a function may do, and to which table or queue.

use std::collections::BTreeSet;

use super::TemplateError;
use super::node::{Node, quote};
use super::value::{Scope, Value};

/// Something that a role allows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// What may be done, such as `dynamodb:GetItem`.
    pub action: String,
    /// To what: a logical id, or `*`.
    pub resource: String,
}

impl Grant {
    /// That `action` may be done to `resource`.
    pub fn new(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self { action: action.into(), resource: resource.into() }
    }

    /// Whether it is about a service that functions ask by way of the SDK. Logs and traces are sent by
    /// Lambda.
    pub fn is_of_the_sdk(&self) -> bool {
        self.action.starts_with("dynamodb:")
            || self.action.starts_with("sqs:")
            || self.action == "lambda:InvokeFunction"
    }
}

/// What the policies within a role allow. Managed ones are none of this template's.
pub(super) fn grants(role: &Node<'_>, scope: &Scope) -> Result<BTreeSet<Grant>, TemplateError> {
    let mut grants = BTreeSet::new();
    let Some(policies) = role.find(&["Properties", "Policies"])? else { return Ok(grants) };
    for policy in policies.items()? {
        for statement in each(&policy.need("PolicyDocument")?.need("Statement")?)? {
            let effect = statement.need("Effect")?;
            let text = effect.text(scope)?;
            if text != "Allow" {
                return Err(effect.error(&format!("should be Allow, not {}", quote(&text))));
            }
            let resources = each(&statement.need("Resource")?)?;
            for action in each(&statement.need("Action")?)? {
                let action = action.text(scope)?;
                for resource in &resources {
                    let grant = Grant::new(&action, name(resource));
                    if grant.is_of_the_sdk() && (grant.resource.is_empty() || action.contains('*')) {
                        return Err(statement.error(
                            "should name actions, and by !GetAtt the table or queue of this template, or by !Ref a function's alias",
                        ));
                    }
                    grants.insert(grant);
                }
            }
        }
    }
    Ok(grants)
}

/// The logical id of a resource, `*`, or nothing.
fn name(resource: &Node<'_>) -> String {
    match resource.value() {
        Value::GetAtt(logical_id, attribute) if attribute == "Arn" => logical_id,
        // SAM makes the alias of a function, and its ARN is what this stands for.
        Value::Ref(name) => name.strip_suffix(".Alias").unwrap_or_default().to_owned(),
        Value::Text(text) if text == "*" => text,
        _ => String::new(),
    }
}

/// The items of a list, or the one thing that stands where a list could.
fn each<'a>(node: &Node<'a>) -> Result<Vec<Node<'a>>, TemplateError> {
    match node.yaml().as_sequence() {
        Some(_) => node.items(),
        None => Ok(vec![node.at(node.place())]),
    }
}
