//! The runner's program as the process that runs code: its allocator and its `main` are what others do not try.

use std::sync::Arc;

use shared::clock::{SharedClock, SystemClock};
use shared::transformation::{Batch, Outcome};
use transform::{Program, Transform};

#[tokio::test]
async fn it_runs_code_within_its_limits() {
    let clock: SharedClock = Arc::new(SystemClock);
    let function = Transform::new(Program::of(env!("CARGO_BIN_EXE_postrider").into()), clock);
    let good = "const handler = (w) => ({ payload: [w.payload, 'x'.repeat(1e6).length] })";
    let greedy = "const handler = () => { const a = []; for (;;) a.push('x'.repeat(1e6) + a.length) }";
    // One at a time: a busy machine may take long to start a process.
    for code in [good, greedy, good] {
        let batch = serde_json::json!({
            "codes": [code],
            "runs": [{
                "code": 0,
                "webhook": { "method": "POST", "url": "http://a.b/", "payload": 7, "eventType": "a" },
            }],
        });
        let batch: Batch = serde_json::from_value(batch).unwrap();
        let outcomes = function.handle(batch).await.unwrap();
        match &outcomes[0] {
            Outcome::Send(made) if code == good => assert_eq!(made.payload.as_deref(), Some("[7,1000000]")),
            Outcome::Failed { error, .. } if code == greedy => assert!(error.contains("32 MB"), "{error}"),
            other => panic!("{code}: {other:?}"),
        }
    }
}
