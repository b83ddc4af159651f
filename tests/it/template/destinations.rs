//! What the deliver function may do in accounts of others, and that nobody else may.

use serde_json::{Value, json};
use shared::aws_place::external_id;

use super::document::{items, read, resources, templates};

/// Every statement of every role and policy of a template.
fn statements(template: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for kind in ["AWS::IAM::Role", "AWS::IAM::ManagedPolicy"] {
        for (id, resource) in resources(template, kind) {
            let inner =
                items(&resource["Policies"]).into_iter().map(|policy| policy["PolicyDocument"].clone());
            for document in inner.chain([resource["PolicyDocument"].clone()]) {
                found.extend(items(&document["Statement"]).into_iter().map(|one| (id.clone(), one)));
            }
        }
    }
    found
}

/// INV-26
#[test]
fn deliver_alone_takes_on_roles_and_never_without_an_applications_external_id() {
    let mut found = Vec::new();
    for (path, _) in templates() {
        for (id, statement) in statements(&read(path)) {
            if statement.to_string().contains("sts:") {
                found.push((path, id, statement));
            }
        }
    }
    let [(path, id, statement)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((*path, id.as_str()), ("template.yaml", "DeliverDestinationsPolicy"));
    assert_eq!(
        *statement,
        json!({
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Resource": {"Ref": "DestinationRoles"},
            "Condition": {"StringLike": {"sts:ExternalId": "postrider-app_*"}},
        })
    );
    // What is passed is what may be passed.
    let app = "app_23rb8YdGqMT0qIzpgGwdXfHirMu".parse().expect("an id");
    assert!(external_id(app).starts_with("postrider-app_"));
    let template = read("template.yaml");
    let policy =
        json!({"Fn::If": ["Destinations", {"Ref": "DeliverDestinationsPolicy"}, {"Ref": "AWS::NoValue"}]});
    for (id, role) in resources(&template, "AWS::IAM::Role") {
        assert_eq!(items(&role["ManagedPolicyArns"]).contains(&policy), id == "DeliverRole", "{id}");
    }
    // By default there are none.
    assert_eq!(template["Parameters"]["DestinationRoles"]["Default"], "");
    assert_eq!(template["Resources"]["DeliverDestinationsPolicy"]["Condition"], "Destinations");
}

/// INV-26
#[test]
fn deliver_alone_sends_mail_and_only_as_the_address_that_is_set() {
    let mut found = Vec::new();
    for (path, _) in templates() {
        for (id, statement) in statements(&read(path)) {
            if statement.to_string().contains("ses:") {
                found.push((path, id, statement));
            }
        }
    }
    let [(path, id, statement)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((*path, id.as_str()), ("template.yaml", "DeliverMailPolicy"));
    assert_eq!(
        (&statement["Action"], &statement["Condition"]),
        (&json!("ses:SendEmail"), &json!({"StringEquals": {"ses:FromAddress": {"Ref": "WarnFrom"}}}))
    );
    let template = read("template.yaml");
    let policy = json!({"Fn::If": ["Warns", {"Ref": "DeliverMailPolicy"}, {"Ref": "AWS::NoValue"}]});
    for (id, role) in resources(&template, "AWS::IAM::Role") {
        assert_eq!(items(&role["ManagedPolicyArns"]).contains(&policy), id == "DeliverRole", "{id}");
    }
    assert_eq!(template["Parameters"]["WarnFrom"]["Default"], "");
    assert_eq!(template["Resources"]["DeliverMailPolicy"]["Condition"], "Warns");
}
