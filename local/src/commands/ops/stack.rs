//! What a stack's own description says, the secret that it names, and how many jobs of a queue it does at a time.

use http::Method;
use serde_json::{Value, json};
use shared::Platform;

use super::OpsError;
use super::api::{Api, Ask};

/// What Lambda allows a queue, at a time.
pub(super) const CONCURRENCY: std::ops::RangeInclusive<u32> = 2..=1_000;

/// The text between two others.
pub(super) fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(open)?;
    rest.split_once(close).map(|(text, _)| text)
}

/// The value of an output or a parameter in the response of `DescribeStacks`, which is XML.
fn described(text: &str, kind: &str, name: &str) -> Option<String> {
    let key = format!("<{kind}Key>{name}</{kind}Key>");
    let member = text.split("<member>").find(|member| member.contains(&key))?;
    let value = between(member, &format!("<{kind}Value>"), &format!("</{kind}Value>"))?;
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// What tokens of a stack are signed with: the secret, and the algorithm if the stack names one.
pub(super) async fn secret(
    api: &Api,
    stack: &str,
    platform: &Platform,
) -> Result<(String, Option<String>), OpsError> {
    let name: String = url::form_urlencoded::byte_serialize(stack.as_bytes()).collect();
    let ask = Ask {
        service: "cloudformation",
        method: Method::POST,
        path: "/",
        headers: &[("content-type", "application/x-www-form-urlencoded")],
        body: format!("Action=DescribeStacks&StackName={name}&Version=2010-05-15"),
    };
    let stack_is = api.ask(ask, platform).await?;
    let arn = described(&stack_is, "Output", "JwtSecretArn");
    let arn = arn.ok_or_else(|| OpsError::Usage(format!("--stack: {stack:?} has no output JwtSecretArn")))?;
    let ask = Ask {
        service: "secretsmanager",
        method: Method::POST,
        path: "/",
        headers: &[
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "secretsmanager.GetSecretValue"),
        ],
        body: json!({ "SecretId": arn }).to_string(),
    };
    let value: Value = serde_json::from_str(&api.ask(ask, platform).await?).unwrap_or_default();
    let secret = value["SecretString"].as_str().map(str::to_owned);
    let secret = secret.ok_or_else(|| OpsError::Usage(format!("the secret {arn} holds no text")))?;
    Ok((secret, described(&stack_is, "Parameter", "JwtAlgorithm")))
}

/// How Lambda takes jobs from one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) id: String,
    /// Such as `Enabled`.
    pub(super) state: String,
    /// Invocations at a time; none without a limit.
    pub(super) concurrency: Option<u64>,
}

/// The one mapping of a queue.
fn only(text: &str, arn: &str) -> Result<Mapping, OpsError> {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let Some([one]) = value["EventSourceMappings"].as_array().map(Vec::as_slice) else {
        let number = value["EventSourceMappings"].as_array().map_or(0, Vec::len);
        return Err(OpsError::Usage(format!("{arn} has {number} event source mappings; expected one")));
    };
    let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
    let concurrency = one["ScalingConfig"]["MaximumConcurrency"].as_u64();
    Ok(Mapping { id: text("UUID"), state: text("State"), concurrency })
}

/// Looks at the mapping of a queue.
pub(super) async fn mapping(api: &Api, arn: &str, platform: &Platform) -> Result<Mapping, OpsError> {
    let source: String = url::form_urlencoded::byte_serialize(arn.as_bytes()).collect();
    let path = format!("/2015-03-31/event-source-mappings/?EventSourceArn={source}");
    let ask = Ask { service: "lambda", method: Method::GET, path: &path, headers: &[], body: String::new() };
    only(&api.ask(ask, platform).await?, arn)
}

/// Changes how many invocations a queue may have at a time.
pub(super) async fn set_concurrency(
    api: &Api,
    mapping: &Mapping,
    concurrency: u32,
    platform: &Platform,
) -> Result<(), OpsError> {
    let ask = Ask {
        service: "lambda",
        method: Method::PUT,
        path: &format!("/2015-03-31/event-source-mappings/{}", mapping.id),
        headers: &[("content-type", "application/json")],
        body: json!({ "ScalingConfig": { "MaximumConcurrency": concurrency } }).to_string(),
    };
    api.ask(ask, platform).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_and_parameters_are_found_in_what_cloudformation_says() {
        let text = "<Stacks><member><StackName>s</StackName><Parameters><member><ParameterKey>JwtAlgorithm\
                    </ParameterKey><ParameterValue>EdDSA</ParameterValue></member></Parameters><Outputs><member>\
                    <OutputKey>ApiUrl</OutputKey><OutputValue>https://a</OutputValue></member><member>\
                    <Description>x</Description><OutputValue>arn:s</OutputValue><OutputKey>JwtSecretArn</OutputKey>\
                    </member></Outputs></member></Stacks>";
        assert_eq!(described(text, "Output", "JwtSecretArn").as_deref(), Some("arn:s"));
        assert_eq!(described(text, "Output", "ApiUrl").as_deref(), Some("https://a"));
        assert_eq!(described(text, "Parameter", "JwtAlgorithm").as_deref(), Some("EdDSA"));
        assert_eq!(described(text, "Output", "Other"), None);
    }

    #[test]
    fn a_queue_has_one_mapping() {
        let one = r#"{"EventSourceMappings":[{"UUID":"u","State":"Enabled","ScalingConfig":{"MaximumConcurrency":200}}]}"#;
        assert_eq!(
            only(one, "arn").unwrap(),
            Mapping { id: "u".into(), state: "Enabled".into(), concurrency: Some(200) }
        );
        for none in ["", "{}", r#"{"EventSourceMappings":[]}"#, r#"{"EventSourceMappings":[{},{}]}"#] {
            assert!(only(none, "arn").unwrap_err().to_string().contains("expected one"), "{none}");
        }
    }
}
