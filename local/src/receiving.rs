//! Receiving from a queue and deleting what is done, as Lambda's event source mapping does.
//!
//! These requests are a part of each message: they are put together once (ADR 0039).

use aws_lambda_events::encodings::Base64Data;
use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage, SqsMessageAttribute};
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::operation::delete_message_batch::{
    DeleteMessageBatch, DeleteMessageBatchError, DeleteMessageBatchInput, DeleteMessageBatchOutput,
};
use aws_sdk_sqs::operation::receive_message::{
    ReceiveMessage, ReceiveMessageError, ReceiveMessageInput, ReceiveMessageOutput,
};
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName,
};
use aws_smithy_runtime_api::client::endpoint::EndpointResolverParams;
use sdk::{Call, Parts, Service};
use shared::Platform;
use shared::config::{Aws, ConfigError};
use shared::error::Chain;
use shared::signer::Signer;

use crate::aws::{QueueRef, credentials, timeouts};

/// Most messages of one receive, and of one delete, by their definitions.
pub(crate) const RECEIVE_MAX: u32 = 10;

/// The way to the queues.
#[derive(Clone, Debug)]
pub(crate) struct Receiving {
    receive: Call<ReceiveMessageInput, ReceiveMessageOutput, ReceiveMessageError>,
    delete: Call<DeleteMessageBatchInput, DeleteMessageBatchOutput, DeleteMessageBatchError>,
}

impl Receiving {
    /// Over `platform`'s connections and clock.
    ///
    /// # Errors
    /// The region makes no sense.
    pub(crate) fn new(aws: &Aws, platform: &Platform) -> Result<Self, ConfigError> {
        use aws_sdk_sqs::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
        let params = Params::builder().region(aws.region.clone()).set_endpoint(aws.sqs_endpoint.clone());
        let params = params.build().map_err(|error| ConfigError::new("AWS_REGION", error.to_string()))?;
        let service = Service::new(Parts {
            service: "sqs",
            region: aws.region.clone(),
            endpoint: DefaultResolver::new().into_shared_resolver(),
            endpoint_params: EndpointResolverParams::new(params),
            credentials: credentials(aws),
            signer: Signer::new("sqs", &aws.region),
            http: platform.http.clone(),
            timeouts: timeouts(),
            retries: RetryConfig::standard(),
            sleep: platform.sleeping(),
            time: platform.time_source(),
        });
        Ok(Self {
            receive: service.call("ReceiveMessage", &ReceiveMessage::new()),
            delete: service.call("DeleteMessageBatch", &DeleteMessageBatch::new()),
        })
    }

    /// Up to `wanted` messages, with all that is known of each; none after a wait of so many seconds.
    ///
    /// # Errors
    /// The service's, as one line.
    pub(crate) async fn receive(
        &self,
        queue: &QueueRef,
        wanted: u32,
        wait_seconds: i32,
    ) -> Result<Vec<Message>, String> {
        let request = ReceiveMessageInput::builder()
            .queue_url(&queue.url)
            .max_number_of_messages(i32::try_from(wanted.min(RECEIVE_MAX)).unwrap_or(1))
            .wait_time_seconds(wait_seconds)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All")
            .build()
            .expect("nothing of it is checked before it is sent");
        let out = self.receive.send(request).await.map_err(|error| Chain(&error).to_string())?;
        Ok(out.messages.unwrap_or_default())
    }

    /// Deletes up to [`RECEIVE_MAX`] messages.
    ///
    /// # Errors
    /// The service's, or that of the first message that is still there; one line.
    pub(crate) async fn delete(&self, queue: &QueueRef, handles: &[&str]) -> Result<(), String> {
        let entries = handles.iter().enumerate().map(|(at, handle)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(at.to_string())
                .receipt_handle(*handle)
                .build()
                .expect("id and handle are set")
        });
        let request = DeleteMessageBatchInput::builder()
            .queue_url(&queue.url)
            .set_entries(Some(entries.collect()))
            .build()
            .expect("nothing of it is checked before it is sent");
        let out = self.delete.send(request).await.map_err(|error| Chain(&error).to_string())?;
        match out.failed() {
            [] => Ok(()),
            [first, ..] => Err(format!("{}: {}", first.code(), first.message().unwrap_or_default())),
        }
    }
}

/// The event that Lambda makes of a batch.
pub(crate) fn event(batch: &[Message], arn: &str, region: &str) -> SqsEvent {
    let own = |value: &MessageAttributeValue| {
        let mut own = SqsMessageAttribute::default();
        own.string_value = value.string_value().map(str::to_owned);
        own.binary_value = value.binary_value().map(|bytes| {
            let mut binary = Base64Data::default();
            binary.0 = bytes.as_ref().to_vec();
            binary
        });
        own.data_type = Some(value.data_type().to_owned());
        own
    };
    let text = |text: Option<&str>| text.map(str::to_owned);
    let record = |message: &Message| {
        let mut record = SqsMessage::default();
        record.message_id = text(message.message_id());
        record.receipt_handle = text(message.receipt_handle());
        record.body = text(message.body());
        record.md5_of_body = text(message.md5_of_body());
        record.md5_of_message_attributes = text(message.md5_of_message_attributes());
        let attributes = message.attributes().into_iter().flatten();
        record.attributes =
            attributes.map(|(name, value)| (name.as_str().to_owned(), value.clone())).collect();
        let attributes = message.message_attributes().into_iter().flatten();
        record.message_attributes = attributes.map(|(name, value)| (name.clone(), own(value))).collect();
        record.event_source = Some("aws:sqs".to_owned());
        record.event_source_arn = Some(arn.to_owned());
        record.aws_region = Some(region.to_owned());
        record
    };
    let mut event = SqsEvent::default();
    event.records = batch.iter().map(record).collect();
    event
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::primitives::Blob;

    use super::*;

    #[test]
    fn an_event_says_what_lambda_says() {
        let message = Message::builder()
            .message_id("id")
            .receipt_handle("handle")
            .body("{\"x\":1}")
            .md5_of_body("digest")
            .attributes(MessageSystemAttributeName::ApproximateReceiveCount, "2")
            .attributes(MessageSystemAttributeName::MessageGroupId, "app")
            .message_attributes(
                "bytes",
                MessageAttributeValue::builder()
                    .data_type("Binary")
                    .binary_value(Blob::new([1, 2]))
                    .build()
                    .unwrap(),
            )
            .build();
        let event = event(&[message], "arn:aws:sqs:r:1:q", "r");
        let [record] = event.records.as_slice() else { panic!() };
        assert_eq!(record.message_id.as_deref(), Some("id"));
        assert_eq!(record.receipt_handle.as_deref(), Some("handle"));
        assert_eq!(record.body.as_deref(), Some("{\"x\":1}"));
        assert_eq!(record.md5_of_body.as_deref(), Some("digest"));
        assert_eq!(record.attributes["ApproximateReceiveCount"], "2");
        assert_eq!(record.attributes["MessageGroupId"], "app");
        assert_eq!(record.message_attributes["bytes"].binary_value.as_ref().unwrap().0, [1, 2]);
        assert_eq!(record.message_attributes["bytes"].data_type.as_deref(), Some("Binary"));
        assert_eq!(record.event_source.as_deref(), Some("aws:sqs"));
        assert_eq!(record.event_source_arn.as_deref(), Some("arn:aws:sqs:r:1:q"));
        assert_eq!(record.aws_region.as_deref(), Some("r"));
    }
}
