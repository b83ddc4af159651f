//! The way to the embedded services without a socket: the SDK's requests are handed over inside the
//! process, and the same bodies pass as on the wire.
//!
//! What an invocation asks goes this way; creating and describing tables and queues, and whatever else
//! there is, takes the sockets, which are always there.
//!
//! One request at a time works in the tables. Where nobody does, a request for one item is answered by whoever asks:
//! waking another thread and being woken takes as long as the answer. Everything else is left to the thread of the tables,
//! so that what takes long holds up no connection.

use std::net::SocketAddr;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use dynoxide::Database;
use local_sqs::Engine;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::cpu;

/// An answer: status and body.
type Answer = (u16, Vec<u8>);

/// A request to the embedded DynamoDB.
pub(crate) struct Asked {
    operation: &'static str,
    request: HttpRequest,
    answer: oneshot::Sender<Answer>,
}

/// Where the thread of the embedded DynamoDB takes requests from.
pub(crate) type Asking = mpsc::UnboundedReceiver<Asked>;

/// The way to the tables inside the process.
#[derive(Clone)]
pub(crate) struct Tables {
    pub(crate) database: Database,
    /// To their thread.
    pub(crate) ask: mpsc::UnboundedSender<Asked>,
    /// Leave to work in them, for one at a time.
    pub(crate) turn: Arc<Semaphore>,
}

/// Answers what is asked, one request after the other, until nobody can ask any more.
pub(crate) async fn serve(database: Database, turn: Arc<Semaphore>, mut asking: Asking) {
    while let Some(Asked { operation, request, answer }) = asking.recv().await {
        // It is never closed.
        let _turn = turn.acquire().await;
        let body = request.body().bytes().unwrap_or_default();
        if let Some(answered) = local_dynamodb::answer(&database, operation, body) {
            // Whoever asked may have given up; what was asked for is done all the same.
            let _gone = answer.send(answered);
        }
    }
}

/// The operations on one item, which are answered at once where nobody else is at work.
const OF_ONE_ITEM: [&str; 4] = ["DeleteItem", "GetItem", "PutItem", "UpdateItem"];

impl Tables {
    /// Answers a request for one item, if it is one and nobody is at work in the tables.
    fn at_once(&self, operation: &'static str, request: &HttpRequest) -> Option<Answer> {
        if !OF_ONE_ITEM.contains(&operation) {
            return None;
        }
        let _turn = self.turn.try_acquire().ok()?;
        let body = request.body().bytes().unwrap_or_default();
        cpu::elsewhere(|| local_dynamodb::answer(&self.database, operation, body))
    }
}

/// The operations of SQS that are answered without a socket.
const SQS: [&str; 7] = [
    "ChangeMessageVisibility",
    "ChangeMessageVisibilityBatch",
    "DeleteMessage",
    "DeleteMessageBatch",
    "ReceiveMessage",
    "SendMessage",
    "SendMessageBatch",
];

/// Hands requests over to embedded services; those to any other address go to the network.
#[derive(Clone)]
pub(crate) struct InProcess {
    pub(crate) network: SharedHttpClient,
    pub(crate) dynamodb: (SocketAddr, Tables),
    pub(crate) sqs: (SocketAddr, Engine),
}

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (dynamodb, sqs) = (self.dynamodb.0, self.sqs.0);
        f.debug_struct("InProcess").field("dynamodb", &dynamodb).field("sqs", &sqs).finish_non_exhaustive()
    }
}

impl HttpClient for InProcess {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let network = self.network.http_connector(settings, components);
        let beginning = |address: SocketAddr| format!("http://{address}/");
        SharedHttpConnector::new(Connector {
            network,
            dynamodb: (beginning(self.dynamodb.0), self.dynamodb.1.clone()),
            sqs: (beginning(self.sqs.0), self.sqs.1.clone()),
        })
    }
}

struct Connector {
    network: SharedHttpConnector,
    /// What URLs of each begin with, and the way to it.
    dynamodb: (String, Tables),
    sqs: (String, Engine),
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (dynamodb, sqs) = (&self.dynamodb.0, &self.sqs.0);
        f.debug_struct("Connector").field("dynamodb", dynamodb).field("sqs", sqs).finish_non_exhaustive()
    }
}

/// The operation, if it is one of `known`; requests whose body is not at hand take the socket.
fn operation(request: &HttpRequest, known: &[&'static str]) -> Option<&'static str> {
    request.body().bytes()?;
    let (_, name) = request.headers().get("x-amz-target")?.split_once('.')?;
    known.iter().copied().find(|operation| *operation == name)
}

fn response(
    (status, body): Answer,
    headers: &[(&'static str, String)],
) -> Result<HttpResponse, ConnectorError> {
    let status = status.try_into().map_err(|_| ConnectorError::user("no status".into()))?;
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.clone());
    }
    Ok(response)
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (dynamodb, tables) = &self.dynamodb;
        if request.uri().starts_with(dynamodb)
            && let Some(operation) = operation(&request, &local_dynamodb::OPERATIONS)
        {
            if let Some(answered) = tables.at_once(operation, &request) {
                return HttpConnectorFuture::ready(response(answered, &[]));
            }
            let (answer, answered) = oneshot::channel();
            let asked = tables.ask.send(Asked { operation, request, answer });
            return HttpConnectorFuture::new(async move {
                let gone = || ConnectorError::io("the embedded DynamoDB has ended".into());
                asked.map_err(|_| gone())?;
                response(answered.await.map_err(|_| gone())?, &[])
            });
        }
        let (sqs, engine) = &self.sqs;
        if request.uri().starts_with(sqs)
            && let Some(operation) = operation(&request, &SQS)
        {
            let engine = engine.clone();
            return HttpConnectorFuture::new(async move {
                let body = request.body().bytes().unwrap_or_default();
                let answered = cpu::elsewhere_of(local_sqs::answer_in_process(&engine, operation, body));
                let (status, body, code) = answered.await;
                let code = code.map(|code| ("x-amzn-query-error", code));
                response((status, body), code.as_slice())
            });
        }
        self.network.call(request)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use shared::Platform;

    use crate::aws::Clients;
    use crate::{Settings, Stack};

    /// An error as clients see it.
    fn told(error: &impl std::fmt::Debug) -> String {
        // Only the socket's answers have the ids of requests.
        let text = format!("{error:?}");
        text.split("extras").next().unwrap_or_default().to_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_process_answers_as_the_sockets_do() {
        use aws_sdk_dynamodb::operation::put_item::PutItemError;
        use aws_sdk_dynamodb::types::AttributeValue as A;
        let stack = Stack::start(Settings { poll: false, ..Settings::ephemeral() }).await.unwrap();
        let sockets = Clients::new(stack.aws(), &Platform::system());
        let table = stack.table("LogTable").unwrap();
        let url = &stack.queue("DeliveriesQueue").unwrap().url;
        let mut both = Vec::new();
        for (dynamodb, sqs) in [(stack.dynamodb(), stack.sqs()), (&sockets.dynamodb, &sockets.sqs)] {
            let mut answers = Vec::new();
            let put = |text: &str| {
                let item = dynamodb.put_item().table_name(table).item("pk", A::S("a".into()));
                item.item("sk", A::S(text.into())).return_consumed_capacity("TOTAL".into())
            };
            // The second time it is there already, whoever asks first.
            put("x").send().await.unwrap();
            let refused = put("x").condition_expression("attribute_not_exists(pk)");
            let refused = refused.return_values_on_condition_check_failure("ALL_OLD".into());
            let mut refused = refused.send().await.unwrap_err().into_service_error();
            // Whose attributes have no order of their own.
            if let PutItemError::ConditionalCheckFailedException(failed) = &mut refused {
                let item: BTreeMap<_, _> = failed.item.take().unwrap().into_iter().collect();
                answers.push(format!("{item:?}"));
            }
            answers.push(told(&refused));
            answers.push(told(&put("").send().await.unwrap_err().into_service_error()));
            answers.push(format!("{:?}", put("x").send().await.unwrap().consumed_capacity));
            let got = dynamodb.get_item().table_name("nowhere").key("pk", A::S("a".into()));
            answers.push(told(&got.send().await.unwrap_err().into_service_error()));
            let found = dynamodb.query().table_name(table).key_condition_expression("pk = :pk");
            let found = found.expression_attribute_values(":pk", A::S("a".into())).send().await.unwrap();
            answers.push(format!("{}", found.count));

            sqs.send_message().queue_url(url).message_body("hello").send().await.unwrap();
            let received = sqs.receive_message().queue_url(url).send().await.unwrap();
            answers.push(format!("{:?}", received.messages()[0].body));
            let handle = received.messages()[0].receipt_handle.clone().unwrap();
            sqs.delete_message().queue_url(url).receipt_handle(handle).send().await.unwrap();
            let wrong = sqs.delete_message().queue_url(url).receipt_handle("wrong").send().await;
            answers.push(told(&wrong.unwrap_err().into_service_error()));
            let nowhere = sqs.send_message().queue_url(format!("{url}-not")).message_body("x").send().await;
            answers.push(told(&nowhere.unwrap_err().into_service_error()));
            both.push(answers);
        }
        assert_eq!(both[0], both[1]);
        stack.stop().await;
    }
}
