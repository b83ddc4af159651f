//! What hostile and broken code gets: an error in bounded time and memory, and its neighbours what they asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use runtime::clock::{Clock as _, SharedClock, SystemClock};
use serde_json::value::RawValue;
use transformer::{Batch, OUTPUT_MAX, Outcome, RUN_MAX, Run, Transformed, Webhook, run_batch};

const PAYLOAD: &str = r#"{ "amount": 1.0, "big": 12345678901234567890, "name": "é" }"#;
/// Says what it was called with.
const NEIGHBOUR: &str = "function handler(webhook) { webhook.payload = Object.keys({}).concat(webhook.eventType, \
    String(({}).polluted), String(globalThis.leaked), typeof handler); return webhook; }";

fn webhook() -> Webhook {
    Webhook {
        method: "POST".into(),
        url: "https://example.com/hook".into(),
        payload: RawValue::from_string(PAYLOAD.into()).unwrap(),
        event_type: "invoice.paid".into(),
        channels: vec!["a".into()],
        env: BTreeMap::from([("region".to_owned(), "eu".to_owned())]),
        transformations_params: None,
    }
}

fn clock() -> SharedClock {
    Arc::new(SystemClock)
}

/// Runs code between two neighbours, and checks that they are unharmed.
fn outcome(code: &str) -> Outcome {
    let run = |code| Run { code, webhook: Some(webhook()) };
    let batch = Batch { codes: vec![NEIGHBOUR.into(), code.into()], runs: vec![run(0), run(1), run(0)] };
    let begun = SystemClock.now();
    let mut outcomes = run_batch(&clock(), &batch);
    let took = SystemClock.now().since(begun);
    // Ten times what is allowed, for busy machines.
    assert!(took < 10 * RUN_MAX, "{took:?}: {code}");
    for neighbour in [0, 2] {
        let sent = sent(&outcomes[neighbour]);
        assert_eq!(
            sent.payload.as_deref(),
            Some(r#"["invoice.paid","undefined","undefined","function"]"#),
            "after {code}"
        );
    }
    outcomes.remove(1)
}

fn sent(outcome: &Outcome) -> &Transformed {
    match outcome {
        Outcome::Send(sent) => sent,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn fails(code: &str, with: &str, at: Option<u32>) {
    let shown = &code[..code.len().min(200)];
    match outcome(code) {
        Outcome::Failed { error, line } => {
            assert!(error.contains(with), "{error}: {shown}");
            assert_eq!(line, at, "{error}: {shown}");
            assert!(error.len() <= 600, "{}", error.len());
        }
        other => panic!("{other:?}: {shown}"),
    }
}

#[test]
fn a_transformation_changes_what_it_may() {
    let made = outcome(
        "const handler = (webhook) => ({ ...webhook, method: 'put', url: webhook.url + '?r=' + webhook.env.region, \
         payload: { id: webhook.payload.name, c: webhook.channels }, headers: { 'X-Team': 'a' } });",
    );
    let sent = sent(&made);
    assert_eq!((sent.method.as_str(), sent.url.as_str()), ("PUT", "https://example.com/hook?r=eu"));
    assert_eq!(sent.payload.as_deref(), Some(r#"{"id":"é","c":["a"]}"#));
    assert_eq!(sent.headers["X-Team"], "a");
    let null = outcome("function handler(w) { w.payload = null; return w }");
    assert_eq!(self::sent(&null).payload.as_deref(), Some("null"));
    assert!(matches!(outcome("function handler(w) { w.cancel = true; return w }"), Outcome::Cancel));
}

#[test]
fn an_untouched_payload_stays_as_it_was_posted() {
    for code in [
        "function handler(webhook) { return webhook }",
        "function handler(webhook) { return {} }",
        "function handler(webhook) { webhook.headers = { a: 'b' }; return webhook }",
    ] {
        assert_eq!(sent(&outcome(code)).payload, None, "{code}");
    }
}

#[test]
fn loops_end() {
    let message = "took longer than 250 ms";
    fails("function handler() { for (;;) {} }", message, None);
    fails("while (true) {}", message, None);
    fails(
        "function handler() { try { for (;;) {} } catch { for (;;) {} } finally { for (;;) {} } }",
        message,
        None,
    );
    fails("function handler() { return /^(a+)+$/.exec('a'.repeat(40) + '!') }", message, None);
    fails("function handler(w) { w.toJSON = () => { for (;;) {} }; return w }", message, None);
}

#[test]
fn memory_and_stack_end() {
    let message = "more than 32 MB";
    fails(
        "function handler() { const all = []; for (;;) all.push(new Array(1000).fill('x')) }",
        message,
        None,
    );
    fails("function handler() { let s = 'x'; for (;;) s += s }", "", Some(1));
    fails("function handler() { return 'x'.repeat(100000000) }", message, None);
    fails("function handler() { return new Uint8Array(1e9) }", message, None);
    fails("function handler() {\n return handler() }", "call stack", Some(2));
    fails(
        &format!("function handler() {{ return {}1{} }}", "[".repeat(20_000), "]".repeat(20_000)),
        "call stack",
        None,
    );
}

#[test]
fn what_is_thrown_is_told_with_its_line() {
    fails(
        "function handler(w) {\n  return w.payload.a.b;\n}",
        "TypeError: cannot read property 'b' of undefined",
        Some(2),
    );
    fails("function handler() {\n\n  throw new Error('no')\n}", "Error: no", Some(3));
    fails("function handler() { throw 'text' }", "thrown: text", None);
    fails("function handler() { throw null }", "", None);
    fails("function handler() { throw { toString() { for (;;) {} } } }", "thrown: object", None);
    fails("function handler() { const e = new Error('x'.repeat(5000)); throw e }", "Error: xxx", Some(1));
    fails("function handler( {", "SyntaxError", Some(1));
}

#[test]
fn what_is_no_webhook_is_refused() {
    fails("let x = 1", "has no function `handler`", None);
    fails("const handler = 7", "has no function `handler`", None);
    fails("function handler() {}", "returned undefined", None);
    fails("function handler() { return null }", "returned null", None);
    fails("function handler() { return 7 }", "returned int", None);
    fails("function handler() { return [] }", "returned array", None);
    fails("async function handler(w) { return w }", "asynchronous", None);
    fails("function handler(w) { w.payload = w; return w }", "circular", None);
    fails("function handler(w) { w.method = 'DELETE'; return w }", "POST, PUT or PATCH", None);
    fails("function handler(w) { w.headers = { a: 1 }; return w }", "invalid webhook", None);
    fails("function handler(w) { w.url = {}; return w }", "invalid webhook", None);
    let code = format!("function handler(w) {{ w.payload = 'x'.repeat({}); return w }}", 10 * OUTPUT_MAX);
    fails(&code, "more than 1048576 bytes", None);
    fails(&format!("//{}", "x".repeat(51_200)), "more than 51200 characters", None);
}

#[test]
fn nothing_of_one_run_is_there_in_the_next() {
    // The neighbours look for it.
    for code in [
        "Object.prototype.polluted = 1; globalThis.leaked = 1; function handler(w) { return w }",
        "Array.prototype.concat = Object.keys = () => ['gotcha']; function handler(w) { return w }",
        "JSON.stringify = JSON.parse = () => 'gotcha'; function handler(w) { return w }",
        "String.prototype.toString = () => 'gotcha'; Object.freeze(Object.prototype); function handler(w) { return w }",
    ] {
        outcome(code);
    }
}

#[test]
fn nothing_outside_is_in_reach() {
    let code = "function handler(w) { w.payload = ['process', 'require', 'std', 'os', 'bjson', 'fetch', 'XMLHttpRequest', \
        'Deno', 'Bun', 'Worker', 'print', 'console', 'scriptArgs', 'loadScript', 'setTimeout', 'gc', 'performance', \
        'navigator', 'WebAssembly', 'Proxy', 'WeakRef'].filter((name) => name in globalThis || \
        Function('return typeof ' + name)() !== 'undefined'); return w }";
    assert_eq!(sent(&outcome(code)).payload.as_deref(), Some("[]"));
    for code in [
        "import * as std from 'std'; function handler(w) { return w }",
        "import os from '/proc/self/environ'; function handler(w) { return w }",
    ] {
        fails(code, "SyntaxError", Some(1));
    }
    // What cannot be loaded is a promise that is never kept.
    let code = "let got; import('std').then((std) => { got = std }); function handler(w) { w.payload = String(got); return w }";
    match outcome(code) {
        Outcome::Send(sent) => assert_eq!(sent.payload.as_deref(), Some("\"undefined\"")),
        Outcome::Failed { .. } => {}
        other => panic!("{other:?}"),
    }
    let code = "function handler(w) { const env = (function () { return this }).constructor('return this')(); \
        w.payload = Object.getOwnPropertyNames(env).filter((name) => /env|process|secret|aws/i.test(name)); return w }";
    assert_eq!(sent(&outcome(code)).payload.as_deref(), Some("[]"));
}

#[test]
fn code_is_checked_without_a_webhook() {
    let check = |code: &str| transformer::check(&clock(), code);
    assert!(matches!(check(NEIGHBOUR), Outcome::Checked));
    assert!(matches!(check("const handler = () => { throw 1 }"), Outcome::Checked));
    for (code, reason, at) in [
        ("let a = 1", "no function `handler`", None),
        ("const a = 1\nfunction handler( {", "SyntaxError", Some(2)),
        ("for (;;) {}; function handler() {}", "250 ms", None),
    ] {
        let Outcome::Failed { error, line } = check(code) else { panic!("{code}") };
        assert!(error.contains(reason) && line == at, "{code}: {error} {line:?}");
    }
}

#[test]
fn a_batch_is_bounded() {
    let runs = (0..11).map(|_| Run { code: 0, webhook: Some(webhook()) }).collect();
    let outcomes = run_batch(&clock(), &Batch { codes: vec![NEIGHBOUR.into()], runs });
    assert!(outcomes[..10].iter().all(|outcome| matches!(outcome, Outcome::Send(_))));
    assert!(matches!(&outcomes[10], Outcome::Failed { error, .. } if error.contains("more than 10")));
    let runs = vec![Run { code: 3, webhook: Some(webhook()) }];
    let outcomes = run_batch(&clock(), &Batch { codes: Vec::new(), runs });
    assert!(matches!(&outcomes[0], Outcome::Failed { .. }));
}

/// The built-in calls that the interpreter does not interrupt are bounded by the heap, or end by the function's timeout.
#[test]
fn long_calls_into_the_interpreter_are_bounded_by_its_heap() {
    for code in [
        "function handler() { return 'x'.repeat(1e6).split('').sort().join() }",
        "function handler() { return BigInt('9'.repeat(20000)) ** 3n > 0n }",
        "function handler() { return new Array(1e6).fill(0).map(String).join() }",
    ] {
        let begun = SystemClock.now();
        assert!(matches!(outcome(code), Outcome::Failed { .. }));
        assert!(SystemClock.now().since(begun) < Duration::from_secs(5), "{code}");
    }
}
