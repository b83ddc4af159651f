//! A stack in a process of its own, to be killed or to have an environment of its own: this test
//! binary once more.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::test_stack::{ENDPOINT_VARIABLE, settings, soon};

const DATA_VARIABLE: &str = "POSTRIDER_TEST_CHILD_DATA";

/// What the process does that [`Child::start`] starts; among the tests it does nothing.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the parent reads the address")]
async fn stack() {
    let Some(data) = shared::config::Env::process().optional(DATA_VARIABLE) else { return };
    let mut settings = settings();
    settings.data = Some(data.into());
    let stack = local::Stack::start(settings).await.expect("the child starts");
    println!("\nLISTENING {}", stack.address());
    std::future::pending::<()>().await;
}

/// Starts this test binary as a process that runs customers' code.
pub fn transformer() -> transform::Program {
    let path = std::env::current_exe().expect("this binary");
    transform::Program::new(move || {
        let mut command = Command::new(&path);
        command.args(["--exact", "child::runs_code", "--ignored", "--nocapture"]);
        command
    })
}

/// That process. It is never run as a test, which has no questions for it.
#[test]
#[ignore = "the process that runs customers' code"]
fn runs_code() {
    let clock: shared::clock::SharedClock = std::sync::Arc::new(shared::clock::SystemClock);
    transformer::serve(&clock).expect("it serves");
}

/// Killed (SIGKILL) when it is dropped.
pub struct Child {
    process: std::process::Child,
    /// Kept: a closed pipe would end the child in its own way.
    _output: Box<dyn std::any::Any + Send>,
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Child {
    /// A stack over the folder `data`, and where its API listens.
    pub async fn start(data: &Path, variables: &[(&str, &Path)]) -> (Self, SocketAddr) {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args(["--exact", "child::stack", "--nocapture"]).stdout(Stdio::piped());
        command.env_remove(ENDPOINT_VARIABLE).env(DATA_VARIABLE, data).envs(variables.iter().copied());
        let started = tokio::task::spawn_blocking(move || {
            let mut process = command.spawn().expect("the child runs");
            let mut lines = std::io::BufReader::new(process.stdout.take().expect("its output")).lines();
            let address = lines.find_map(|line| line.ok()?.strip_prefix("LISTENING ")?.parse().ok());
            let child = Self { process, _output: Box::new(lines) };
            (child, address.expect("the child says where it listens"))
        });
        soon("a child", started).await.expect("it starts")
    }
}
