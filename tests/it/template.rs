//! Rules over `template.yaml` and what is nested in it: what the functions need is there, and nothing else.

mod contradictions;
mod destinations;
mod document;
mod rules;

use std::cell::RefCell;
use std::collections::BTreeSet;

use sam_template::Template;
use shared::Platform;
use shared::config::{ConfigError, Env};

fn template() -> Template {
    Template::parse(local::TEMPLATE).expect("the template is read")
}

/// The variables that connecting a function reads.
fn reads(connect: impl Fn(&Env<'_>, &Platform) -> Result<(), ConfigError>) -> BTreeSet<String> {
    let asked = RefCell::new(BTreeSet::new());
    let env = Env::new(|name| {
        asked.borrow_mut().insert(name.to_owned());
        Some(match name {
            "POSTRIDER_TRANSFORM_FUNCTION" => "transform".to_owned(),
            name if name.ends_with("_QUEUE") => "http://127.0.0.1:1/000000000000/q".to_owned(),
            "POSTRIDER_JWT_SECRET" | "POSTRIDER_ENCRYPTION_KEY" => "x".repeat(32),
            // Asked for where the endpoints of the two services are not there.
            name if name.starts_with("AWS_ENDPOINT_URL") => return None,
            name if name.starts_with("AWS_") || name.ends_with("_TABLE") => "x".to_owned(),
            _ => return None,
        })
    });
    connect(&env, &Platform::system()).expect("the function connects");
    // What every entry point reads besides.
    shared::telemetry::init(&env).expect("a level");
    drop(env);
    let ours = |name: &String| name.starts_with("POSTRIDER_") || name == "AWS_ENDPOINT_URL";
    asked.into_inner().into_iter().filter(ours).collect()
}

/// INV-43
#[test]
fn each_function_is_given_just_the_variables_that_it_reads() {
    let template = template();
    let functions: [(&str, BTreeSet<String>); 12] = [
        ("applications", reads(|env, platform| applications::router(env, platform).map(drop))),
        ("attempts", reads(|env, platform| attempts::router(env, platform).map(drop))),
        ("auth", reads(|env, platform| auth::router(env, platform).map(drop))),
        ("deliver", reads(|env, platform| deliver::Deliver::connect(env, platform).map(drop))),
        ("endpoints", reads(|env, platform| endpoints::router(env, platform).map(drop))),
        ("event-types", reads(|env, platform| event_types::router(env, platform).map(drop))),
        ("background", reads(|env, platform| background::Background::connect(env, platform).map(drop))),
        ("ingest", reads(|env, platform| ingest::Ingest::connect(env, platform).map(drop))),
        ("messages", reads(|env, platform| messages::router(env, platform).map(drop))),
        ("portal", reads(|env, _| portal::router(env).map(drop))),
        ("timers", reads(|env, platform| timers::Timers::connect(env, platform).map(drop))),
        // Nothing but what every entry point reads: it has no secret.
        ("transform", reads(|_, _| Ok(()))),
    ];
    assert_eq!(template.functions.len(), functions.len());
    for (name, read) in functions {
        let function = template.function(name).unwrap_or_else(|| panic!("{name} is not in the template"));
        let given: BTreeSet<String> = function.environment.keys().cloned().collect();
        assert_eq!(given, read, "{name}");
    }
}

#[test]
fn queues_outlive_their_consumers() {
    let template = template();
    for function in &template.functions {
        for source in &function.queues {
            let queue = template.queue(&source.queue).expect("the queue is there");
            let (dead, receives) = queue.dead_letter.clone().expect("a dead-letter queue");
            assert!(source.report_batch_item_failures, "{}", function.name);
            assert!(queue.visibility_timeout().as_secs() >= 6 * u64::from(function.timeout_seconds));
            // An outage of our own is no dead letter.
            assert!(receives >= 1000, "{dead}");
            assert_eq!(
                template.queue(&dead).expect("it is there").attributes["MessageRetentionPeriod"],
                "1209600"
            );
        }
    }
}

#[test]
fn what_requeues_its_own_jobs_may() {
    let template = template();
    for name in ["deliver", "background", "timers"] {
        assert!(template.function(name).expect(name).recursive_loop_allowed, "{name}");
    }
}
