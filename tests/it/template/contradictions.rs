//! Parameters that contradict each other are refused with a sentence, before anything is changed.
//!
//! CloudFormation evaluates the section `Rules`; here a few lines do, as far as ours go.

use std::collections::BTreeMap;

use serde_json::Value;

use super::document::{items, names, read};

type Parameters = BTreeMap<String, String>;
/// Names and values.
type Given = &'static [(&'static str, &'static str)];

fn text_of(value: &Value) -> String {
    text(value, &Parameters::new())
}

fn text(value: &Value, parameters: &Parameters) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => parameters[other["Ref"].as_str().expect("a reference")].clone(),
    }
}

fn holds(condition: &Value, parameters: &Parameters) -> bool {
    let (name, argument) = condition.as_object().and_then(|all| all.iter().next()).expect("a function");
    let arguments = items(argument);
    match name.as_str() {
        "Fn::Equals" => text(&arguments[0], parameters) == text(&arguments[1], parameters),
        "Fn::Not" => !holds(&arguments[0], parameters),
        "Fn::And" => arguments.iter().all(|argument| holds(argument, parameters)),
        "Fn::Or" => arguments.iter().any(|argument| holds(argument, parameters)),
        "Fn::Contains" => {
            let wanted = text(&arguments[1], parameters);
            items(&arguments[0]).iter().any(|item| text(item, parameters) == wanted)
        }
        other => panic!("{other} is not known here"),
    }
}

/// The sentences that these parameters bring about, all others being as they are by default.
fn complaints(path: &str, given: &[(&str, &str)]) -> Vec<String> {
    let template = read(path);
    let mut parameters: Parameters = names(&template["Parameters"])
        .into_iter()
        .map(|name| {
            let default = &template["Parameters"][&name]["Default"];
            (name, if default.is_null() { String::new() } else { text_of(default) })
        })
        .collect();
    parameters.insert("AWS::Region".into(), "us-east-1".into());
    for (name, value) in given {
        assert!(
            parameters.insert((*name).to_owned(), (*value).to_owned()).is_some(),
            "{name} is no parameter"
        );
    }
    let mut complaints = Vec::new();
    for name in names(&template["Rules"]) {
        let rule = &template["Rules"][&name];
        if !rule["RuleCondition"].is_null() && !holds(&rule["RuleCondition"], &parameters) {
            continue;
        }
        for assertion in items(&rule["Assertions"]) {
            let sentence = assertion["AssertDescription"].as_str().expect("a sentence");
            assert!(sentence.ends_with('.'), "{name}: {sentence}");
            if !holds(&assertion["Assert"], &parameters) {
                complaints.push(name.clone());
            }
        }
    }
    complaints
}

/// INV-45
#[test]
fn contradictions_are_refused_with_a_sentence() {
    const CERTIFICATE: (&str, &str) = ("CertificateArn", "arn:aws:acm:us-east-1:1:certificate/x");
    const KEY: (&str, &str) = ("KmsKeyArn", "arn:aws:kms:us-east-1:1:key/x");
    const COPY_KEY: (&str, &str) = ("ReplicaKmsKeyArn", "arn:aws:kms:eu-west-1:1:key/x");
    const COPY: (&str, &str) = ("ReplicaRegion", "eu-west-1");
    const DOMAIN: (&str, &str) = ("DomainName", "hooks.example.com");
    const TOLD: (&str, &str) = ("AlarmEmail", "a@example.com");
    let cases: &[(Given, &[&str])] = &[
        (&[], &[]),
        (&[DOMAIN], &["DomainNeedsCertificate"]),
        (&[CERTIFICATE], &["CertificateNeedsDomain"]),
        (&[("HostedZoneId", "Z1")], &["CertificateNeedsDomain"]),
        (&[DOMAIN, CERTIFICATE, ("HostedZoneId", "Z1")], &[]),
        (&[("JwtAlgorithm", "RS256")], &["PairOfKeysNeedsVersion"]),
        (&[("JwtAlgorithm", "RS256"), ("JwtSecretVersion", "v")], &[]),
        (&[("JwtAlgorithm", "EdDSA"), ("JwtSecretName", "s")], &[]),
        (&[("JwtAlgorithm", "HS512")], &[]),
        (&[("Alarms", "false")], &["CanaryNeedsAlarms"]),
        (&[("Alarms", "false"), ("Rollout", "AllAtOnce")], &[]),
        (&[("Alarms", "false"), ("Rollout", "AllAtOnce"), TOLD], &["TellingNeedsAlarms"]),
        (&[TOLD, ("AlarmTopicArn", "arn:aws:sns:us-east-1:1:x")], &["OneTopic"]),
        (&[TOLD], &[]),
        (&[("FixedEgress", "true")], &[]),
        (&[("FixedEgress", "true"), ("SubnetIds", "s"), ("SecurityGroupIds", "g")], &["OneNetwork"]),
        (&[("SubnetIds", "s")], &["SubnetsNeedSecurityGroups"]),
        (&[("SecurityGroupIds", "g")], &["SecurityGroupsNeedSubnets"]),
        (&[("SubnetIds", "s"), ("SecurityGroupIds", "g")], &[]),
        (&[("ReplicaRegion", "us-east-1")], &["ReplicaElsewhere"]),
        (&[COPY], &[]),
        (&[COPY, KEY], &["ReplicaKeyOfBoth"]),
        (&[COPY, KEY, COPY_KEY], &[]),
        (&[COPY, COPY_KEY], &["ReplicaKeyAlone"]),
        (&[("OtlpHeadersSecretName", "s")], &["OtlpHeadersNeedUrl"]),
        (&[("OtlpHeadersSecretName", "s"), ("OtlpUrl", "https://x")], &[]),
        (&[("MessageRetentionDays", "14"), ("PayloadRetentionDays", "30")], &["WithinTwoWeeks"]),
        (&[("MessageRetentionDays", "14"), ("AttemptRetentionDays", "30")], &["WithinTwoWeeks"]),
        (&[("MessageRetentionDays", "14"), ("PayloadRetentionDays", "7")], &[]),
        (&[("MessageRetentionDays", "30"), ("PayloadRetentionDays", "60")], &["WithinAMonth"]),
        (&[("MessageRetentionDays", "30"), ("AttemptRetentionDays", "90")], &["WithinAMonth"]),
        (&[("MessageRetentionDays", "30"), ("AttemptRetentionDays", "30")], &[]),
        (&[("MessageRetentionDays", "60"), ("AttemptRetentionDays", "90")], &["WithinTwoMonths"]),
        (&[("MessageRetentionDays", "60"), ("PayloadRetentionDays", "30")], &[]),
        (&[("ConfigTableName", "x"), ("LogTableName", "x")], &["StandInsDiffer"]),
        (&[("ConfigTableName", "x"), ("LogTableName", "y")], &[]),
        (&[("ConfigTableName", "x")], &[]),
    ];
    for (given, expected) in cases {
        assert_eq!(&complaints("template.yaml", given), expected, "{given:?}");
    }
    let covered: std::collections::BTreeSet<_> =
        cases.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    assert_eq!(covered.len(), names(&read("template.yaml")["Rules"]).len());

    let origin = ("Origin", "x.example.com");
    assert_eq!(complaints("infra/edge.yaml", &[origin]), Vec::<String>::new());
    assert_eq!(complaints("infra/edge.yaml", &[origin, ("AWS::Region", "eu-west-1")]), ["OnlyThere"]);
    assert_eq!(complaints("infra/edge.yaml", &[origin, DOMAIN]), ["DomainNeedsCertificate"]);
    assert_eq!(complaints("infra/edge.yaml", &[origin, CERTIFICATE]), ["CertificateNeedsDomain"]);
}

#[test]
fn what_samconfig_sets_is_there_and_contradicts_nothing() {
    let text = include_str!("../../../samconfig.toml");
    let environments: Vec<Vec<(&str, &str)>> = text
        .lines()
        .filter_map(|line| line.strip_prefix("parameter_overrides = \"")?.strip_suffix('"'))
        .map(|line| line.split(' ').filter_map(|word| word.split_once('=')).collect())
        .collect();
    assert_eq!(environments.len(), 3, "default, dev and prod");
    for given in &environments {
        assert!(!given.is_empty());
        assert_eq!(complaints("template.yaml", given), Vec::<String>::new(), "{given:?}");
        for (name, value) in given {
            let allowed = items(&read("template.yaml")["Parameters"][*name]["AllowedValues"]);
            let allowed: Vec<String> = allowed.iter().map(text_of).collect();
            assert!(allowed.iter().any(|allowed| allowed == value), "{name}={value}");
        }
    }
}
