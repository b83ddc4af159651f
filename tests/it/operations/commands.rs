//! The commands of the documents, as they are printed there.
//!
//! A fence says in its info string who runs its commands: nothing (```` ```sh ````) for this test, against a
//! stack of its own; `aws` for those of AWS's tools, which need an account; `ci` for those that a script in
//! `.ci` runs; `bench` for the load generator's, whose flags its own tests read; `runs` for one that goes
//! on until it is stopped.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::json;
use shared::config::Env;

use crate::operations::documents::documents;
use crate::test_stack::{Receiver, TestStack, settings, soon};

/// Says to [`program`] what to do: a JSON list of words.
const LINE_VARIABLE: &str = "POSTRIDER_TEST_DOCUMENTED_LINE";
/// Set by CI: there a tool that is missing is a failure.
const CI_VARIABLE: &str = "CI";

/// The documents' `postrider`, in a process of its own; among the tests it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn program() {
    let Some(line) = Env::process().optional(LINE_VARIABLE) else { return };
    let line: Vec<String> = serde_json::from_str(&line).expect("words");
    std::process::exit(local::runner::run_line(line.into_iter().map(Into::into)).await.into());
}

/// A fence of a document.
struct Fence {
    file: PathBuf,
    line: usize,
    /// Who runs it.
    by: String,
    text: String,
}

impl Fence {
    fn place(&self) -> String {
        format!("{}:{}", self.file.file_name().unwrap_or_default().display(), self.line)
    }

    /// Its commands, without comments; one that goes on on the next line is one.
    fn commands(&self) -> Vec<String> {
        let joined = self.text.replace("\\\n", " ");
        let lines = joined.lines().map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned());
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
    }
}

/// All fences of commands.
fn fences() -> Vec<Fence> {
    let mut fences = Vec::new();
    for (file, text) in documents() {
        let mut open: Option<(String, Fence)> = None;
        for (at, line) in text.lines().enumerate() {
            let fence = line.trim_start().strip_prefix("```");
            match (&mut open, fence) {
                (None, Some(info)) => {
                    let (language, by) = info.split_once(' ').unwrap_or((info, ""));
                    let (file, by) = (file.clone(), by.trim().to_owned());
                    let fence = Fence { file, line: at + 1, by, text: String::new() };
                    open = Some((language.to_owned(), fence));
                }
                (Some((_, fence)), None) => fence.text += &format!("{line}\n"),
                (Some(_), Some(_)) => fences.extend(open.take()),
                (None, None) => {}
            }
        }
    }
    let shell = |language: &str| ["sh", "bash", "shell", "console", "zsh"].contains(&language);
    fences.into_iter().filter(|(language, _)| shell(language)).map(|(_, fence)| fence).collect()
}

#[test]
fn each_fence_of_commands_says_who_runs_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let scripts: String = std::fs::read_dir(root.join(".ci"))
        .expect("scripts")
        .filter_map(|entry| std::fs::read_to_string(entry.expect("a file").path()).ok())
        .collect();
    for fence in fences() {
        let (place, commands) = (fence.place(), fence.commands());
        assert!(!commands.is_empty(), "{place}: no command");
        let aws = |command: &String| {
            let starts = |tool: &str| {
                command.starts_with(tool)
                    || [" ", "(", "|", "&& "].iter().any(|b| command.contains(&format!("{b}{tool}")))
            };
            starts("aws ") || starts("sam ") || starts("postrider ops ")
        };
        match fence.by.as_str() {
            "" => {
                let theirs: Vec<_> = commands.iter().filter(|command| aws(command)).collect();
                assert!(theirs.is_empty(), "{place}: mark the fence with `aws`: {theirs:?}");
            }
            // One can define what others use.
            "aws" => assert!(commands.iter().any(aws), "{place}: nothing of AWS's"),
            "ci" => {
                for command in &commands {
                    assert!(scripts.contains(command.as_str()), "{place}: no script in .ci runs {command:?}");
                }
            }
            "bench" => {
                for command in &commands {
                    let words: Vec<&str> = command.split_whitespace().collect();
                    if let Some(at) = words.iter().position(|word| *word == "--bench") {
                        let path = format!("tests/benches/{}", words[at + 1]);
                        let there =
                            [".rs", "/main.rs"].iter().any(|end| root.join(path.clone() + end).exists());
                        assert!(there, "{place}: no such benchmark: {command}");
                    }
                }
            }
            "runs" => assert_eq!(commands.len(), 1, "{place}: one command goes on"),
            other => panic!("{place}: {other:?} is not known here"),
        }
    }
}

/// A folder whose programs are found before all others: `postrider`, as built here; `cargo run -p local`, which
/// is that; and a `curl` that fails where the answer is an error.
fn tools(folder: &Path) -> std::io::Result<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let (program, path) = (std::env::current_exe()?, Env::process().optional("PATH").unwrap_or_default());
    let postrider = format!(
        r#"#!/usr/bin/env bash
set -o pipefail
line='["postrider"'
for word in "$@"; do
  word=${{word//\\/\\\\}}
  line+=",\"${{word//\"/\\\"}}\""
done
export {LINE_VARIABLE}="$line]"
# The test harness says two lines first.
'{}' --exact operations::commands::program --nocapture | sed -u '1,2d'
"#,
        program.display()
    );
    let cargo = r#"#!/usr/bin/env bash
[ "$1" = run ] || { echo "cargo $1 is not for this test" >&2; exit 1; }
while [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done
shift
exec postrider "$@"
"#;
    let curl = format!(
        "#!/usr/bin/env bash\nPATH='{path}'\nexec curl --silent --show-error --fail-with-body \"$@\"\n"
    );
    for (name, text) in [("postrider", postrider.as_str()), ("cargo", cargo), ("curl", &curl)] {
        let file = folder.join(name);
        std::fs::write(&file, text)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(format!("{}:{path}", folder.display()))
}

/// What the documents' commands find: a stack, and the things that they name.
struct Desk {
    stack: TestStack,
    folder: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
    _receiver: Receiver,
}

impl Desk {
    async fn start() -> Self {
        let settings = settings().with("POSTRIDER_PORTAL_ONE_TIME_LINKS", "true");
        let secret = settings.settings["POSTRIDER_JWT_SECRET"].clone();
        let (stack, receiver) = (TestStack::with(settings).await, Receiver::start().await);
        // As the texts name what a reader has to put in.
        let post = async |path: &str, body: serde_json::Value| {
            let answer =
                stack.request("POST", &format!("/api/v1{path}"), &stack.token, body.to_string()).await;
            assert!(answer.status.is_success(), "{path}: {}", answer.text);
            answer.json()
        };
        let app = post("/app", json!({"name": "APP", "uid": "APP"})).await["id"].clone();
        post("/app/APP/endpoint", json!({"url": receiver.url("/"), "uid": "ENDPOINT"})).await;
        let link = post("/auth/app-portal-access/APP", json!({})).await;
        let once = crate::api::portal_access::key(&link["url"])["oneTimeToken"].clone();
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let lost = stack.stack.app_token(None, text(&app).parse().expect("an id"));
        let variables = vec![
            ("URL", stack.stack.url()),
            ("TOKEN", stack.token.clone()),
            // Each fence has a shell of its own: what one exports is gone in the next.
            ("POSTRIDER_TOKEN", stack.token.clone()),
            ("POSTRIDER_SERVER_URL", stack.stack.url()),
            ("POSTRIDER_JWT_SECRET", secret),
            ("POSTRIDER_CONFIG", "/nonexistent".to_owned()),
            ("APP", text(&app)),
            ("ONCE", text(&once)),
            ("ID", shared::auth::token_id(&lost)),
            ("LOST", lost),
            ("SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()),
            ("TIMESTAMP", "1700000000".to_owned()),
            ("BODY", r#"{"a":1}"#.to_owned()),
        ];
        Self { stack, folder: tempfile::tempdir().expect("a folder"), variables, _receiver: receiver }
    }

    fn bash(&self, text: &str) -> Running {
        let path = tools(self.folder.path()).expect("the tools are written");
        let mut command = Command::new("bash");
        command.args(["-c", text]).current_dir(self.folder.path()).env("PATH", path);
        command.envs(self.variables.iter().map(|(name, value)| (*name, value.as_str())));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        Running(command.spawn().expect("bash runs"))
    }
}

/// A process, and all that it has started: they are killed when this is dropped.
struct Running(Child);

impl Running {
    /// What comes out of one of its pipes, until that is closed.
    fn text(pipe: impl Read + Send + 'static) -> tokio::task::JoinHandle<String> {
        tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            let _cut = { pipe }.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }

    async fn ended(&mut self, what: &str) -> ExitStatus {
        soon(what, async {
            loop {
                if let Some(status) = self.0.try_wait().expect("it can be asked") {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let kill = format!("kill -KILL -- -{}", self.0.id());
        let _ended = Command::new("bash").args(["-c", &kill]).stderr(Stdio::null()).status();
        let _ended = self.0.wait();
    }
}

/// Whether a program is on this machine.
fn is_there(tool: &str) -> bool {
    let mut command = Command::new(tool);
    let asked = command.arg(if tool == "openssl" { "version" } else { "--version" });
    let asked = asked.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    asked.status().is_ok_and(|status| status.success())
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "what was left out is said")]
async fn every_command_of_the_documents_runs() {
    let mut missing = Vec::new();
    for tool in ["bash", "curl", "jq", "openssl"] {
        if !is_there(tool) {
            missing.push(tool);
        }
    }
    assert!(
        missing.is_empty() || Env::process().optional(CI_VARIABLE).is_none(),
        "the documents' commands need {missing:?}"
    );
    let (mut run, mut left_out) = (0, 0);
    let fences: Vec<Fence> = fences().into_iter().filter(|f| ["", "runs"].contains(&f.by.as_str())).collect();
    for document in fences.chunk_by(|one, other| one.file == other.file) {
        let desk = Desk::start().await;
        for fence in document {
            let needs = |tool: &&str| *tool == "bash" || fence.text.contains(&format!("{tool} "));
            if missing.iter().any(needs) {
                left_out += 1;
                continue;
            }
            match fence.by.as_str() {
                "runs" => goes_on(&desk, fence).await,
                _ => ends_well(&desk, fence).await,
            }
            run += fence.commands().len();
        }
        drop(desk.stack);
    }
    assert!(run >= 10 || left_out > 0, "{run}");
    println!("documents: {run} commands run, {left_out} fences left out for want of {missing:?}");
}

async fn ends_well(desk: &Desk, fence: &Fence) {
    let text = format!("set -euo pipefail\n{}", fence.text);
    let place = fence.place();
    let mut running = desk.bash(&text);
    let out = Running::text(running.0.stdout.take().expect("its output"));
    let error = Running::text(running.0.stderr.take().expect("its errors"));
    let status = running.ended(&place).await;
    drop(running);
    let (out, error) = (out.await.expect("text"), error.await.expect("text"));
    assert!(status.success(), "{place}: {}\n{out}\n{error}", fence.text);
    if fence.text.contains("openssl dgst") {
        let [secret, at, body] = ["SECRET", "TIMESTAMP", "BODY"].map(|name| {
            desk.variables.iter().find(|(known, _)| *known == name).expect("it is set").1.as_str()
        });
        let id = &desk.variables.iter().find(|(name, _)| *name == "ID").expect("it is set").1;
        let webhook = standardwebhooks::Webhook::new(secret).expect("a secret");
        let signed = webhook.sign(id, at.parse().expect("a time"), body.as_bytes()).expect("a signature");
        assert_eq!(format!("v1,{}", out.trim()), signed, "{place}");
    }
}

/// It says something, and runs until it is killed.
async fn goes_on(desk: &Desk, fence: &Fence) {
    let place = fence.place();
    let mut running = desk.bash(&format!("exec 2>&1\n{}", fence.text));
    let mut out = BufReader::new(running.0.stdout.take().expect("its output"));
    let first = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        let _cut = out.read_line(&mut line);
        (line, out)
    });
    let (first, rest) = soon(&place, first).await.expect("a line");
    if running.0.try_wait().expect("it can be asked").is_some() || first.is_empty() {
        drop(running);
        panic!("{place}: it ended: {first} {}", Running::text(rest).await.expect("text"));
    }
}
