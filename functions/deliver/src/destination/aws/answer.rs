//! What a service's answer means for the attempt: taken, to be tried again, or never; and in a sentence for the
//! endpoint's owner what to change.

use serde_json::Value;
use shared::aws_place::{AwsPlace, AwsService};
use shared::store::attempts::ResponseBody;

use super::form;
use crate::destination::{AttemptResult, ReceiverDirective};

/// What else an answer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The credentials are not valid any more.
    pub credentials_refused: bool,
}

/// Whether an error says that there were too many requests.
pub fn is_throttling(code: &str) -> bool {
    ["Throttl", "TooManyRequests", "SlowDown", "OverLimit", "RequestLimitExceeded", "ServiceUnavailable"]
        .iter()
        .any(|word| code.contains(word))
}

fn text(result: &AttemptResult) -> &str {
    match &result.body {
        ResponseBody::Text(text) => text,
        ResponseBody::Bytes(_) => "",
    }
}

fn json(result: &AttemptResult) -> Value {
    serde_json::from_str(text(result)).unwrap_or_default()
}

fn header<'a>(result: &'a AttemptResult, name: &str) -> Option<&'a str> {
    result.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

/// The name of an error, whichever of AWS's protocols it came by. SQS has two for some, of which the older is in a
/// header.
pub fn code(result: &AttemptResult) -> Option<String> {
    let json = json(result);
    let named = header(result, "x-amzn-errortype").or_else(|| json["__type"].as_str());
    let named = named.map(|name| name.rsplit('#').next().unwrap_or(name));
    let named = named.map(|name| name.split(':').next().unwrap_or(name).to_owned());
    named.or_else(|| form::element(text(result), "Code"))
}

/// What an error says in words.
pub fn message(result: &AttemptResult) -> Option<String> {
    let json = json(result);
    let words = ["message", "Message"].iter().find_map(|name| json[*name].as_str()).map(str::to_owned);
    words.or_else(|| form::element(text(result), "Message"))
}

/// Makes a result of a service's answer what it means.
pub fn interpret(place: &AwsPlace, result: &mut AttemptResult) -> Told {
    // These are for receivers of webhooks; AWS means something else by a 410.
    result.directive = ReceiverDirective::None;
    let Some(status) = result.status else { return Told::default() };
    if result.success {
        let failure = match place.service {
            AwsService::EventBridge => refused_event(result),
            AwsService::Lambda => return of_function(result),
            _ => None,
        };
        let Some((code, words)) = failure else { return Told::default() };
        result.success = false;
        return fail(place, status, &code, &words, result);
    }
    let (code, words) = (code(result).unwrap_or_default(), message(result).unwrap_or_default());
    fail(place, status, &code, &words, result)
}

/// EventBridge answers 200 also where it refused the event.
fn refused_event(result: &AttemptResult) -> Option<(String, String)> {
    let answer = json(result);
    if answer["FailedEntryCount"].as_u64().unwrap_or(0) == 0 {
        return None;
    }
    let text = |name: &str| answer["Entries"][0][name].as_str().unwrap_or_default().to_owned();
    Some((text("ErrorCode"), text("ErrorMessage")))
}

/// A function has failed if it says so: by an error, or by the status code of an HTTP response.
fn of_function(result: &mut AttemptResult) -> Told {
    if let Some(kind) = header(result, "x-amz-function-error") {
        let error = json(result);
        let words = error["errorMessage"].as_str().unwrap_or("see its log").to_owned();
        result.error = Some(format!("the function ended with an error ({kind}): {words}"));
        result.success = false;
        return Told::default();
    }
    let answered = json(result)["statusCode"].as_u64().and_then(|code| u16::try_from(code).ok());
    if let Some(code) = answered {
        result.status = Some(code);
        result.success = (200..300).contains(&code);
        result.hint.overloaded = matches!(code, 429 | 502 | 504);
    }
    Told::default()
}

/// Says why, and what follows from it.
fn fail(place: &AwsPlace, status: u16, code: &str, words: &str, result: &mut AttemptResult) -> Told {
    let what = place.service.place();
    let the_place = what.split_once(' ').map_or(what, |(_, name)| name);
    let is = |codes: &[&str]| codes.contains(&code);
    let mut said = Told::default();
    let reason = if is_throttling(code) || status == 429 {
        result.hint.overloaded = true;
        format!(
            "the {the_place} takes no more for now ({code}): the attempt is repeated later, and less often if the endpoint has a `rateLimit`"
        )
    } else if is(&[
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "InvalidAccessKeyId",
        "InvalidToken",
    ]) {
        said.credentials_refused = true;
        format!("the role's credentials were refused ({code}): new ones are asked for with the next attempt")
    } else if is(&[
        "PermanentRedirect",
        "AuthorizationHeaderMalformed",
        "TemporaryRedirect",
        "IllegalLocationConstraintException",
    ]) {
        let region = header(result, "x-amz-bucket-region").map(str::to_owned);
        let region = region.or_else(|| form::element(text(result), "Region"));
        let region = region.map_or_else(String::new, |region| format!(", {region}"));
        format!("the bucket is in another region{region}: change the endpoint's `region`")
    } else if is_too_large(status, code, words) {
        result.directive = ReceiverDirective::AbortMessage;
        format!("the message is larger than the {the_place} takes, so it is not tried again: {words}")
    } else if is(&["InvalidMessageContents"]) {
        result.directive = ReceiverDirective::AbortMessage;
        "the payload has characters that SQS does not take, so it is not tried again".into()
    } else if is(&[
        "QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue",
        "NonExistentQueue",
        "NotFound",
        "NotFoundException",
        "ResourceNotFoundException",
        "NoSuchBucket",
    ]) {
        format!("there is no such {the_place}: create {}, or change the endpoint's `arn`", place.arn)
    } else if status == 403
        || is(&[
            "AccessDenied",
            "AccessDeniedException",
            "AuthorizationError",
            "NotAuthorizedForSourceException",
        ])
    {
        format!(
            "the role may not send to the {the_place}: its policy has to allow {} on {}, and if that is encrypted with a key of its own, kms:GenerateDataKey and kms:Decrypt on the key",
            action(place.service),
            match place.service {
                AwsService::S3 => format!("{}/*", place.arn),
                _ => place.arn.clone(),
            }
        )
    } else {
        format!("the {the_place} refused the message with {status} {code}: {words}")
    };
    result.error = Some(reason);
    said
}

/// The action that a role's policy has to allow.
const fn action(service: AwsService) -> &'static str {
    match service {
        AwsService::Sqs => "sqs:SendMessage",
        AwsService::Sns => "sns:Publish",
        AwsService::EventBridge => "events:PutEvents",
        AwsService::S3 => "s3:PutObject",
        AwsService::Lambda => "lambda:InvokeFunction",
    }
}

/// The limits are the services' own, which raise them now and then: their answers say what they are.
fn is_too_large(status: u16, code: &str, words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    let about_length =
        ["too long", "shorter than", "size of the entries", "entry size", "over the limit", "too large"]
            .iter()
            .any(|part| words.contains(part));
    status == 413
        || [
            "RequestEntityTooLarge",
            "RequestEntityTooLargeException",
            "RequestTooLargeException",
            "EntityTooLarge",
        ]
        .contains(&code)
        || about_length
            && [
                "InvalidParameter",
                "InvalidParameterValue",
                "InvalidParameterValueException",
                "ValidationException",
                "ValidationError",
                "RequestTooLong",
            ]
            .contains(&code)
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
