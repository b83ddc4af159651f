use shared::retry::RetryHint;

use super::*;

fn place(service: AwsService) -> AwsPlace {
    AwsPlace {
        service,
        arn: "arn:aws:x".into(),
        region: "eu-central-1".into(),
        role_arn: "arn:aws:iam::123456789012:role/r".into(),
        fifo_key: None,
        key_template: None,
        json_lines: false,
    }
}

fn result(status: u16, headers: &[(&str, &str)], body: &str) -> AttemptResult {
    AttemptResult {
        success: (200..300).contains(&status),
        status: Some(status),
        body: ResponseBody::Text(body.into()),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        error: None,
        hint: RetryHint::default(),
        directive: ReceiverDirective::Disable,
    }
}

fn xml(code: &str, told: &str) -> String {
    format!("<ErrorResponse><Error><Code>{code}</Code><Message>{told}</Message></Error></ErrorResponse>")
}

#[test]
fn what_is_taken_is_a_success_and_nothing_asks_to_be_disabled() {
    for (service, body) in [
        (AwsService::Sqs, r#"{"MessageId":"1"}"#),
        (AwsService::EventBridge, r#"{"FailedEntryCount":0,"Entries":[{"EventId":"1"}]}"#),
        (AwsService::Lambda, "null"),
        (AwsService::Lambda, r#"{"statusCode":204}"#),
        (AwsService::S3, ""),
    ] {
        let mut result = result(200, &[], body);
        assert_eq!(interpret(&place(service), &mut result), Told::default());
        assert!(result.success && result.error.is_none(), "{service:?}");
        assert_eq!(result.directive, ReceiverDirective::None);
    }
}

#[test]
fn each_failure_says_what_to_change() {
    let json =
        |code: &str, told: &str| format!(r#"{{"__type":"com.amazonaws.x#{code}","message":"{told}"}}"#);
    for (service, status, headers, body, said) in [
        (AwsService::Sqs, 400, &[][..], json("QueueDoesNotExist", "gone"), "there is no such SQS queue"),
        (
            AwsService::Sqs,
            403,
            &[],
            json("AccessDeniedException", "no"),
            "allow sqs:SendMessage on arn:aws:x",
        ),
        (AwsService::Sns, 404, &[], xml("NotFound", "gone"), "there is no such SNS topic"),
        (AwsService::Sns, 403, &[], xml("AuthorizationError", "no"), "allow sns:Publish"),
        (AwsService::S3, 404, &[], xml("NoSuchBucket", "gone"), "there is no such S3 bucket"),
        (AwsService::S3, 403, &[], xml("AccessDenied", "no"), "allow s3:PutObject on arn:aws:x/*"),
        (
            AwsService::S3,
            301,
            &[("x-amz-bucket-region", "us-west-2")],
            xml("PermanentRedirect", "elsewhere"),
            "another region, us-west-2",
        ),
        (
            AwsService::Lambda,
            404,
            &[("x-amzn-errortype", "ResourceNotFoundException:http://x/")],
            "{}".into(),
            "there is no such Lambda function",
        ),
        (AwsService::Sqs, 400, &[], json("KmsDisabled", "off"), "with 400 KmsDisabled: off"),
    ] {
        let mut result = result(status, headers, &body);
        interpret(&place(service), &mut result);
        let error = result.error.unwrap();
        assert!(!result.success && error.contains(said), "{error}");
        assert_eq!(result.directive, ReceiverDirective::None, "{error}");
        assert!(!result.hint.overloaded, "{error}");
    }
}

#[test]
fn what_can_never_arrive_is_not_tried_again() {
    let sqs = r#"{"__type":"com.amazonaws.sqs#InvalidParameterValueException","message":"One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes."}"#;
    let bus = r#"{"__type":"ValidationException","message":"Total size of the entries in the request is over the limit."}"#;
    for (service, status, body) in [
        (AwsService::Sqs, 400, sqs.to_owned()),
        (AwsService::EventBridge, 400, bus.to_owned()),
        (AwsService::Sns, 400, xml("InvalidParameter", "Invalid parameter: Message too long")),
        (AwsService::Lambda, 413, "{}".to_owned()),
        (AwsService::Sqs, 400, r#"{"__type":"com.amazonaws.sqs#InvalidMessageContents"}"#.to_owned()),
    ] {
        let mut result = result(status, &[], &body);
        interpret(&place(service), &mut result);
        assert_eq!(result.directive, ReceiverDirective::AbortMessage, "{body}");
        assert!(result.error.unwrap().contains("not tried again"));
    }
}

#[test]
fn what_is_busy_is_asked_later_and_old_credentials_are_forgotten() {
    for (service, status, body) in [
        (AwsService::Sqs, 403, r#"{"__type":"com.amazonaws.sqs#RequestThrottled"}"#.to_owned()),
        (AwsService::Sns, 400, xml("Throttling", "slow")),
        (AwsService::S3, 503, xml("SlowDown", "slow")),
        (AwsService::Lambda, 429, "{}".to_owned()),
    ] {
        let mut result = result(status, &[], &body);
        interpret(&place(service), &mut result);
        assert!(result.hint.overloaded && !result.success, "{body}");
    }
    let mut expired = result(403, &[], &xml("ExpiredToken", "old"));
    assert!(interpret(&place(AwsService::S3), &mut expired).credentials_refused);
}

#[test]
fn refused_events_and_failed_functions_are_failures() {
    let body = r#"{"FailedEntryCount":1,"Entries":[{"ErrorCode":"ThrottlingException","ErrorMessage":"x"}]}"#;
    let mut refused = result(200, &[], body);
    interpret(&place(AwsService::EventBridge), &mut refused);
    assert!(!refused.success && refused.hint.overloaded);
    let mut thrown = result(200, &[("x-amz-function-error", "Unhandled")], r#"{"errorMessage":"boom"}"#);
    interpret(&place(AwsService::Lambda), &mut thrown);
    assert!(!thrown.success && thrown.error.unwrap().contains("boom"));
    let mut answered = result(200, &[], r#"{"statusCode":503,"body":"later"}"#);
    interpret(&place(AwsService::Lambda), &mut answered);
    assert_eq!((answered.success, answered.status), (false, Some(503)));
}
