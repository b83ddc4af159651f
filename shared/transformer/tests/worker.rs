//! Code in a process of its own. This test is both processes: started with an argument, it is the child.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use runtime::clock::{Clock as _, SharedClock, SystemClock};
use serde_json::value::RawValue;
use transformer::{ANSWER_MAX, Batch, Outcome, Run, Webhook, Worker, serve};

/// What makes this program the child.
const CHILD: &str = "child";
const NEIGHBOUR: &str = "function handler(webhook) { webhook.payload = 'well'; return webhook }";
/// Stays inside the interpreter's C code, where nothing asks whether it is to end.
const UNINTERRUPTED: &str =
    "function handler() { 'a'.repeat(8e6).indexOf('a'.repeat(4e6) + 'b'); return {} }";
/// The endless call that an interpreter may interrupt by itself.
const ENDLESS: &str = "function handler() { for (;;) {} }";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == CHILD) {
        let clock: SharedClock = Arc::new(SystemClock);
        serve(&clock).expect("it serves");
        return;
    }
    // What lists tests finds none by name.
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    runs_are_apart();
    what_is_not_begun_is_for_later();
    what_cannot_be_interrupted_ends();
    a_process_that_dies_is_replaced();
    nothing_is_in_its_environment();
    it_ends_with_its_parent();
    no_program_is_an_error();
}

fn worker() -> Worker {
    let program = std::env::current_exe().expect("a path");
    Worker::new(Box::new(move || {
        let mut command = Command::new(&program);
        // The parent may know a secret; the child does not get it.
        command.arg(CHILD).env("POSTRIDER_TEST_SECRET", "a-secret");
        command
    }))
}

fn batch(codes: &[&str]) -> Batch {
    let webhook = Webhook {
        method: "POST".into(),
        url: "https://example.com/hook".into(),
        payload: RawValue::from_string("{\n  \"a\": [1.0]\n}".into()).expect("JSON"),
        event_type: "invoice.paid".into(),
        channels: Vec::new(),
        env: BTreeMap::new(),
        transformations_params: None,
    };
    let runs = (0..codes.len()).map(|code| Run { code, webhook: Some(webhook.clone()) });
    Batch { codes: codes.iter().map(|code| (*code).to_owned()).collect(), runs: runs.collect() }
}

fn is_well(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Send(sent) if sent.payload.as_deref() == Some("\"well\""))
}

fn runs_are_apart() {
    let mut worker = worker();
    let outcomes = worker.run(&batch(&[NEIGHBOUR, ENDLESS, NEIGHBOUR])).expect("it runs");
    assert!(is_well(&outcomes[0]) && is_well(&outcomes[2]), "{outcomes:?}");
    assert!(
        matches!(&outcomes[1], Outcome::Failed { error, .. } if error.contains("250 ms")),
        "{outcomes:?}"
    );
    // An interpreter that is interrupted can be asked again: nothing has to be started for that.
    let process = worker.process_id().expect("it runs");
    assert!(is_well(&worker.run(&batch(&[NEIGHBOUR])).expect("it runs")[0]));
    assert_eq!(worker.process_id(), Some(process));
}

fn what_is_not_begun_is_for_later() {
    let outcomes = worker().run_while(&batch(&[NEIGHBOUR; 3]), |so_far| so_far.len() < 2).expect("it runs");
    assert!(is_well(&outcomes[1]) && matches!(outcomes[2], Outcome::Later), "{outcomes:?}");
}

fn what_cannot_be_interrupted_ends() {
    let mut worker = worker();
    worker.run(&batch(&[NEIGHBOUR])).expect("it runs");
    let process = worker.process_id();
    let begun = SystemClock.now();
    let outcomes = worker.run(&batch(&[NEIGHBOUR, UNINTERRUPTED, NEIGHBOUR])).expect("it runs");
    let took = SystemClock.now().since(begun);
    assert!(is_well(&outcomes[0]) && is_well(&outcomes[2]), "{outcomes:?}");
    let Outcome::Failed { error, .. } = &outcomes[1] else { panic!("{outcomes:?}") };
    assert!(error.contains("could not be interrupted"), "{error}");
    assert!(took < 3 * ANSWER_MAX, "{took:?}");
    assert!(worker.process_id().is_some_and(|other| Some(other) != process));
}

fn a_process_that_dies_is_replaced() {
    let mut worker = worker();
    worker.run(&batch(&[NEIGHBOUR])).expect("it runs");
    let process = worker.process_id().expect("it runs").to_string();
    let killed = Command::new("kill").args(["-9", &process]).status().expect("it is sent");
    assert!(killed.success());
    let outcomes = worker.run(&batch(&[NEIGHBOUR, NEIGHBOUR])).expect("it runs");
    // The first one may have been asked before the signal arrived; the second has a new process.
    assert!(is_well(&outcomes[1]), "{outcomes:?}");
    let of_one_process = |worker: &mut Worker| {
        let mut ids = Vec::new();
        for _ in 0..201 {
            assert!(is_well(&worker.run(&batch(&[NEIGHBOUR])).expect("it runs")[0]));
            ids.extend(worker.process_id());
        }
        ids.dedup();
        ids.len()
    };
    assert_eq!(of_one_process(&mut worker), 2);
}

fn nothing_is_in_its_environment() {
    let mut worker = worker();
    worker.run(&batch(&[NEIGHBOUR])).expect("it runs");
    let process = worker.process_id().expect("it runs").to_string();
    let folder = Path::new("/proc").join(process);
    if folder.is_dir() {
        assert_eq!(std::fs::read(folder.join("environ")).expect("its environment"), b"");
        assert_eq!(std::fs::read_link(folder.join("cwd")).expect("its folder"), Path::new("/"));
        let limits = std::fs::read_to_string(folder.join("limits")).expect("its limits");
        let limit = |name: &str| {
            let line = limits.lines().find(|line| line.starts_with(name)).expect(name);
            let most = line[name.len()..].split_whitespace().next().expect("a number");
            most.parse::<u64>().unwrap_or_else(|_| panic!("{line}"))
        };
        assert_eq!((limit("Max file size"), limit("Max cpu time")), (0, 100));
        // 256 MB, and what a program like this one has when it begins.
        let most = limit("Max data size");
        assert!((256 << 20..272 << 20).contains(&most), "{most}");
    }
}

fn it_ends_with_its_parent() {
    let mut worker = worker();
    worker.run(&batch(&[NEIGHBOUR])).expect("it runs");
    let process = worker.process_id().expect("it runs").to_string();
    drop(worker);
    assert!(!Path::new("/proc").join(process).exists());
}

fn no_program_is_an_error() {
    let mut worker = Worker::new(Box::new(|| Command::new("/nowhere/at/all")));
    assert!(worker.run(&batch(&[NEIGHBOUR])).is_err());
}
