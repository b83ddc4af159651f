//! What one delivered message costs, in DynamoDB's units and SQS's requests, held against the budget.

use serde_json::json;
use svix::api::MessageCreateOptions;
use svix::models::MessageIn;

use crate::house::{ENDPOINT_VARIABLE, House, Receiver};

/// JSON of about a kilobyte, as ordinary events are.
fn kilobyte() -> serde_json::Value {
    let lines: Vec<_> = (0..9)
        .map(|nth| {
            json!({"sku": format!("SKU-{}", nth * 7919 % 10_007), "title": format!("Article number {nth}"),
                   "quantity": nth % 3 + 1, "unitPrice": nth * 113, "currency": "EUR", "taxRate": 19})
        })
        .collect();
    json!({"id": "inv_000184467", "customer": "cus_23rb8YdGqMT0", "lines": lines})
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the counts are shown")]
async fn one_delivered_message_stays_within_its_budget() {
    if shared::config::Env::process().optional(ENDPOINT_VARIABLE).is_some() {
        return; // other implementations count units in their own ways
    }
    let house = House::start().await;
    let mut receiver = Receiver::start().await;
    let app = house.app().await;
    house.endpoint(&app, &receiver.url("/")).await;
    let payload = kilobyte();
    let size = payload.to_string().len();
    assert!((950..1100).contains(&size), "{size}");
    let mut send = async |nth: u32| {
        let options =
            MessageCreateOptions { idempotency_key: Some(format!("key-{nth}")), ..Default::default() };
        let message = MessageIn::new("invoice.paid".into(), payload.clone());
        house.svix.message().create(app.clone(), message, Some(options)).await.expect("a message");
        receiver.next().await;
        house.stack.idle().await;
    };
    // Caches hold what did not change within the last second: until then every message reads anew.
    let mut nth = 0;
    let (usage, sqs) = loop {
        let (usage, sqs) = (house.stack.usage(), house.stack.sqs_requests());
        send(nth).await;
        let used = house.stack.usage();
        nth += 1;
        if used.read_units - usage.read_units <= 2.0 || nth > 200 {
            break (usage, sqs);
        }
    };
    let (used, requests) = (house.stack.usage(), house.stack.sqs_requests());
    let writes = used.write_units - usage.write_units;
    let reads = used.read_units - usage.read_units;
    let (sent, deleted) = (requests.send - sqs.send, requests.delete - sqs.delete);
    println!(
        "one message of {size} bytes, one endpoint, with a key: {writes} write units, {reads} read units, \
         {} DynamoDB requests; SQS: {sent} send, 1 receive, {deleted} delete",
        used.requests - usage.requests
    );
    assert!(writes <= 4.0, "{writes} write units");
    assert!(reads <= 2.0, "{reads} read units");
    // Receives that find nothing are polling, not the message's.
    assert!(sent + 1 + deleted <= 4, "{sent} sends and {deleted} deletes");
}
