//! A table that can be read and not written: what cannot be recorded is not sent again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_smithy_runtime_api::client::http::{HttpConnector as _, HttpConnectorFuture};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::body::SdkBody;
use serde_json::json;
use svix::models::MessageIn;

use crate::api::sdk_interceptor::between;
use crate::test_stack::{Receiver, TestStack, settings};

/// INV-9
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_could_not_be_recorded_is_made_again_once_it_can_be() {
    let mut settings = settings();
    settings.poll = false;
    settings.sockets = true;
    let full = Arc::new(AtomicBool::new(false));
    let is_full = full.clone();
    settings.platform.http = between(settings.platform.http.clone(), move |inner, request| {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let writes = target.ends_with(".PutItem") || target.ends_with(".UpdateItem");
        if writes && is_full.load(Ordering::SeqCst) {
            let body = r#"{"__type":"com.amazon.coral.service#AccessDeniedException","message":"not now"}"#;
            let code = 400.try_into().expect("a status");
            return HttpConnectorFuture::ready(Ok(HttpResponse::new(code, SdkBody::from(body))));
        }
        inner.call(request)
    });
    let stack = TestStack::with(settings).await;
    let mut receiver = Receiver::start().await;
    let app = stack.app().await;
    let endpoint = stack.endpoint(&app, &receiver.url("/")).await;
    let id = stack.message(&app, MessageIn::new("a".into(), json!({}))).await;

    // By the schedule, and by hand.
    for attempts in 1..=2 {
        full.store(true, Ordering::SeqCst);
        for round in 1..=5 {
            if round == 5 {
                full.store(false, Ordering::SeqCst);
            }
            let event = stack.receive("DeliveriesQueue").await;
            let handle = event.records[0].receipt_handle.clone().expect("a handle");
            let failed = stack.deliver(event).await.batch_item_failures.len();
            assert_eq!(failed, usize::from(round < 5), "round {round}");
            let came = receiver.rest().len();
            assert_eq!(came, usize::from(round == 1 || round == 5), "round {round}");
            if round < 5 {
                stack.make_visible("DeliveriesQueue", &handle).await;
            } else {
                stack.delete("DeliveriesQueue", &handle).await;
            }
        }
        assert_eq!(stack.attempts(&app, &id).await.len(), attempts);
        if attempts == 1 {
            let attempts = stack.svix.message_attempt();
            attempts
                .resend(app.clone(), id.clone(), endpoint.id.clone(), None)
                .await
                .expect("it is sent again");
        }
    }
}
