//! The request that each service wants for one message. What is where in it is in `docs/DESTINATIONS.md`.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Map, Value, json};
use shared::aws_place::{AwsPlace, AwsService};
use shared::clock::Timestamp;
use shared::signer::{self, AwsCredentials, Unsigned, escaped};
use shared::store::attempts::Trigger;

use super::{OwnAws, form};
use crate::destination::Webhook;

/// What names us where a service asks who sends.
const SOURCE: &str = "postrider";
/// Longest message group, by SQS's definition.
const GROUP_LENGTH_MAX: usize = 128;
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// What lines of JSON are called; no registry has a name for them.
const LINES: &str = "application/x-ndjson";

/// A message, and what it carries besides its payload.
pub struct Outgoing<'a> {
    /// The message.
    pub webhook: Webhook<'a>,
    /// Names and values.
    pub attributes: Vec<(&'static str, String)>,
}

/// A request that is not signed yet.
#[derive(Debug)]
pub struct Call {
    /// What signatures call the service.
    pub service: &'static str,
    /// Where it is.
    pub region: String,
    /// How it is asked.
    pub method: Method,
    /// Scheme and host.
    pub address: String,
    /// Escaped once.
    pub path: String,
    /// Lower-case names, and values; all of them are signed.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Call {
    /// The request, signed.
    ///
    /// # Errors
    /// It cannot be written as a request, in words for the endpoint's owner.
    pub fn signed(
        self,
        credentials: &AwsCredentials,
        now: Timestamp,
    ) -> Result<Request<Full<Bytes>>, String> {
        let host = self.address.split_once("://").map_or(self.address.as_str(), |(_, host)| host);
        let headers: Vec<(&str, String)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let unsigned = Unsigned {
            method: self.method.as_str(),
            host,
            path: &self.path,
            headers: &headers,
            body: &self.body,
            service: self.service,
            region: &self.region,
        };
        let signed = signer::sign(unsigned, credentials, now).ok_or("this machine's clock is wrong")?;
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(format!("{}{}", self.address, self.path))
            .header(http::header::USER_AGENT, shared::AGENT);
        for (name, value) in headers.iter().chain(&signed) {
            request = request.header(*name, value);
        }
        request
            .body(Full::new(Bytes::from(self.body)))
            .map_err(|error| format!("the request cannot be written: {error}"))
    }
}

/// Scheme and host of a service where the place is, and whether that is an emulator's.
fn address(place: &AwsPlace, aws: &OwnAws) -> (String, bool) {
    let code = place.service.code();
    match aws.address(code) {
        Some(address) => (address.to_owned(), true),
        None => (format!("https://{code}.{}.{}", place.region, suffix(place.parts().partition)), false),
    }
}

/// The domain of a partition.
pub fn suffix(partition: &str) -> &'static str {
    if partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// A request to a place, before it is filled in, and whether it goes to an emulator.
fn unfilled(place: &AwsPlace, aws: &OwnAws) -> (Call, bool) {
    let (address, is_emulated) = address(place, aws);
    let call = Call {
        service: place.service.code(),
        region: place.region.clone(),
        method: Method::POST,
        address,
        path: "/".into(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    (call, is_emulated)
}

/// The request that gives `outgoing` to `place`.
///
/// # Errors
/// The message does not fit the place, in words for the endpoint's owner.
pub fn to(place: &AwsPlace, outgoing: &Outgoing<'_>, aws: &OwnAws) -> Result<Call, String> {
    let (call, is_emulated) = unfilled(place, aws);
    match place.service {
        AwsService::Sqs => sqs(place, outgoing, call),
        AwsService::Sns => sns(place, outgoing, call),
        AwsService::EventBridge => event_bridge(place, outgoing, call),
        AwsService::S3 => Ok(s3(place, outgoing, call, is_emulated)),
        AwsService::Lambda => Ok(lambda(place, outgoing, call)),
    }
}

fn header(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

/// `SendMessage` in AWS JSON 1.0.
fn sqs(place: &AwsPlace, outgoing: &Outgoing<'_>, call: Call) -> Result<Call, String> {
    let arn = place.parts();
    let url =
        format!("https://sqs.{}.{}/{}/{}", arn.region, suffix(arn.partition), arn.account, arn.resource);
    let attributes = outgoing
        .attributes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!({"DataType": "String", "StringValue": value})));
    let mut body = json!({
        "QueueUrl": url,
        "MessageBody": outgoing.webhook.payload.sent().as_str(),
        "MessageAttributes": Value::Object(attributes.collect()),
    });
    if place.is_fifo() {
        body["MessageGroupId"] = group(place, &outgoing.webhook)?.into();
        body["MessageDeduplicationId"] = deduplication(&outgoing.webhook).into();
    }
    let headers = vec![
        header("content-type", "application/x-amz-json-1.0"),
        header("x-amz-target", "AmazonSQS.SendMessage"),
    ];
    Ok(Call { headers, body: body.to_string().into_bytes(), ..call })
}

/// `Publish` in the query protocol.
fn sns(place: &AwsPlace, outgoing: &Outgoing<'_>, call: Call) -> Result<Call, String> {
    let text = outgoing.webhook.payload.sent();
    let field = |name: &str, value| (name.to_owned(), value);
    let mut fields = vec![
        field("Action", "Publish"),
        field("Version", "2010-03-31"),
        field("TopicArn", &place.arn),
        field("Message", text.as_str()),
    ];
    for ((name, value), nth) in outgoing.attributes.iter().zip(1..) {
        let entry = format!("MessageAttributes.entry.{nth}");
        fields.push((format!("{entry}.Name"), name));
        fields.push((format!("{entry}.Value.DataType"), "String"));
        fields.push((format!("{entry}.Value.StringValue"), value));
    }
    let ordering = match place.is_fifo() {
        true => Some((group(place, &outgoing.webhook)?, deduplication(&outgoing.webhook))),
        false => None,
    };
    if let Some((group, deduplication)) = &ordering {
        fields.push(field("MessageGroupId", group));
        fields.push(field("MessageDeduplicationId", deduplication));
    }
    let body = form::encoded(fields).into_bytes();
    Ok(Call { headers: vec![header("content-type", FORM)], body, ..call })
}

/// `PutEvents` in AWS JSON 1.1, with one event.
fn event_bridge(place: &AwsPlace, outgoing: &Outgoing<'_>, call: Call) -> Result<Call, String> {
    let Webhook { payload, event_type, .. } = outgoing.webhook;
    // The payload as it was posted: as JSON within JSON, so that rules can match what is in it.
    let content = match &payload.raw {
        None => format!("\"payload\":{}", payload.json),
        Some(raw) => format!("\"body\":{}", Value::from(raw.as_str())),
    };
    let detail = format!("{{\"headers\":{},{content}}}", named(outgoing));
    let entry = json!({
        "Source": SOURCE, "DetailType": event_type, "Detail": detail, "EventBusName": place.arn,
    });
    let headers = vec![
        header("content-type", "application/x-amz-json-1.1"),
        header("x-amz-target", "AWSEvents.PutEvents"),
    ];
    Ok(Call { headers, body: json!({"Entries": [entry]}).to_string().into_bytes(), ..call })
}

/// `PutObject` to where a key of a bucket is. A bucket whose name has dots is no part of a host name that
/// certificates cover.
fn put_object(place: &AwsPlace, key: &str, call: Call, is_emulated: bool) -> Call {
    let (bucket, key) = (place.parts().resource, escaped(key, true));
    let (address, path) = match call.address.split_once("://") {
        Some((scheme, host)) if !is_emulated && !bucket.contains('.') => {
            (format!("{scheme}://{bucket}.{host}"), format!("/{key}"))
        }
        _ => (call.address.clone(), format!("/{bucket}/{key}")),
    };
    Call { method: Method::PUT, address, path, ..call }
}

/// An object that is a message.
fn s3(place: &AwsPlace, outgoing: &Outgoing<'_>, call: Call, is_emulated: bool) -> Call {
    let Webhook { message, endpoint, payload, event_type, .. } = outgoing.webhook;
    let key = place.object_key(endpoint.app, endpoint.id, message, event_type);
    let headers = outgoing.attributes.iter().map(|(name, value)| match *name {
        "content-type" => header(name, value.as_str()),
        name => (format!("x-amz-meta-{name}"), value.clone()),
    });
    let (headers, body) = (headers.collect(), payload.sent().as_bytes().to_vec());
    put_object(place, &key, Call { headers, body, ..call }, is_emulated)
}

/// An object of lines, which have what else each message carries in them.
pub fn lines(place: &AwsPlace, key: &str, body: String, aws: &OwnAws) -> Call {
    let (call, is_emulated) = unfilled(place, aws);
    let headers = vec![header("content-type", LINES)];
    put_object(place, key, Call { headers, body: body.into_bytes(), ..call }, is_emulated)
}

/// A message as one line of JSON. `signed`: its payload as it was signed, which has no line breaks if it is JSON.
pub fn line(outgoing: &Outgoing<'_>, signed: &str) -> String {
    let content = match &outgoing.webhook.payload.raw {
        None => format!("\"payload\":{signed}"),
        Some(_) => format!("\"body\":{}", Value::from(signed)),
    };
    format!("{{\"headers\":{},{content}}}\n", named(outgoing))
}

/// `Invoke`, and wait for the result. The event is the one that a function URL would make of a webhook.
fn lambda(place: &AwsPlace, outgoing: &Outgoing<'_>, call: Call) -> Call {
    let event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/",
        "rawQueryString": "",
        "headers": named(outgoing),
        "requestContext": {"http": {"method": "POST", "path": "/", "userAgent": shared::AGENT}},
        "body": outgoing.webhook.payload.sent().as_str(),
        "isBase64Encoded": false,
    });
    let headers =
        vec![header("content-type", "application/json"), header("x-amz-invocation-type", "RequestResponse")];
    let path = format!("/2015-03-31/functions/{}/invocations", escaped(&place.arn, false));
    Call { path, headers, body: event.to_string().into_bytes(), ..call }
}

/// The attributes as an object.
fn named(outgoing: &Outgoing<'_>) -> Value {
    let attributes = outgoing.attributes.iter();
    let named: Map<String, Value> =
        attributes.map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    Value::Object(named)
}

/// The message group: what the payload has at the endpoint's `fifoKey`, or the application.
fn group(place: &AwsPlace, webhook: &Webhook<'_>) -> Result<String, String> {
    let Some(pointer) = &place.fifo_key else { return Ok(webhook.endpoint.app.to_string()) };
    let payload: Value = serde_json::from_str(&webhook.payload.json)
        .map_err(|error| format!("the payload is no JSON that can be looked into: {error}"))?;
    let text = match payload.pointer(pointer) {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        _ => {
            return Err(format!(
                "the payload has no text and no number at {pointer}, which is to name its message group: change the endpoint's `fifoKey`, or what is posted"
            ));
        }
    };
    let fits = text.len() <= GROUP_LENGTH_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    // Another text stands for one that SQS does not take; the same for the same.
    Ok(if fits { text } else { signer::sha256(text.as_bytes()) })
}

/// What the queue or topic knows a repetition by, for five minutes. A resend is none: somebody asked for it.
fn deduplication(webhook: &Webhook<'_>) -> String {
    match webhook.trigger {
        Trigger::Scheduled => format!("{}.{}", webhook.message, webhook.endpoint.id),
        Trigger::Manual => webhook.attempt.to_string(),
    }
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
