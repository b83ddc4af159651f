//! The sample events of `events/`, one for each function, are what their functions understand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use axum::Router;
use sam_template::Template;
use shared::Platform;
use shared::config::{ConfigError, Env};
use tower::ServiceExt as _;

use crate::test_stack::TestStack;

fn events() -> BTreeMap<String, String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../events");
    let files = std::fs::read_dir(folder).expect("the folder").map(|file| file.expect("a file").path());
    files
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("text"))
        })
        .collect()
}

#[test]
fn each_function_has_one() {
    let template = Template::parse(local::TEMPLATE).expect("the template is read");
    let functions: BTreeSet<String> = template.functions.into_iter().map(|function| function.name).collect();
    assert_eq!(events().into_keys().collect::<BTreeSet<_>>(), functions);
}

fn event_of_transform(text: &str) -> shared::transformation::Batch {
    serde_json::from_str(text).expect("a batch")
}

type Connect = fn(&Env<'_>, &Platform) -> Result<Router, ConfigError>;

#[tokio::test(flavor = "multi_thread")]
async fn each_is_answered_by_its_function() {
    let stack = TestStack::start().await;
    let events = events();
    let functions: [(&str, Connect, u16); 7] = [
        ("applications", applications::router, 201),
        ("attempts", attempts::router, 404),
        ("auth", auth::router, 204),
        ("endpoints", endpoints::router, 404),
        ("event-types", event_types::router, 201),
        ("messages", messages::router, 202),
        ("portal", |env, _| portal::router(env), 200),
    ];
    for (name, connect, status) in functions {
        let variables = stack.stack.environment(name).expect("its environment");
        let env = Env::new(|name| variables.get(name).cloned());
        let router = connect(&env, stack.stack.platform()).expect("it connects");
        let event = events[name].replace("${TOKEN}", &stack.token);
        let request =
            lambda_http::request::from_str(&event).unwrap_or_else(|error| panic!("{name}: {error}"));
        let request = request.map(|body| axum::body::Body::from(body.to_vec()));
        let answer = router.oneshot(request).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{name}");
    }
    // Of applications that are not there: nothing to do, and nothing to complain about.
    let event =
        |name: &str| serde_json::from_str(&events[name]).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(stack.deliver(event("deliver")).await.batch_item_failures.len(), 0);
    let variables = stack.stack.environment("background").expect("its environment");
    let env = Env::new(|name| variables.get(name).cloned());
    let dispatcher = background::Background::connect(&env, stack.stack.platform()).expect("it connects");
    assert_eq!(dispatcher.handle(event("background")).await.batch_item_failures.len(), 0);
    // For the application that the event of messages made.
    let accepted = stack.ingest(event("ingest")).await;
    assert_eq!(accepted.batch_item_failures.len(), 0);
    let list = stack.svix.message().list("acme-of-an-event".into(), None).await.expect("messages").data;
    assert_eq!(list.iter().filter(|message| message.event_type == "invoice.queued").count(), 1);
    let program = crate::child::transformer();
    let transform = transform::Transform::new(program, stack.stack.platform().clock.clone());
    let outcomes = transform.handle(event_of_transform(&events["transform"])).await.expect("it runs");
    let [shared::transformation::Outcome::Send(made)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!(made.payload.as_deref(), Some(r#"{"id":"in_1","seen":true}"#));
    serde_json::from_str::<serde_json::Value>(&events["timers"]).expect("JSON");
    assert_eq!(stack.run_timers().await, 0);
}
