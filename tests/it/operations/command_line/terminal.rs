//! A real terminal: a pseudo-terminal with the program in its foreground, as a shell would put it there.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::json;
use svix::models::MessageIn;
use tokio::sync::mpsc;

use super::command;
use crate::test_stack::{Receiver, TestStack, soon};

struct Terminal {
    /// None once it is waited for.
    process: Option<Child>,
    master: File,
    /// The other side, kept open: what the program leaves of it is looked at in the end.
    slave: File,
    printed: mpsc::UnboundedReceiver<Vec<u8>>,
    seen: String,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Terminal {
    fn start(words: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_program(command(words, variables), variables)
    }

    fn start_program(program: Command, variables: &[(&str, &str)]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it is open");
        let name = ptsname(&master, Vec::new()).expect("its name").into_string().expect("text");
        let slave = File::options().read(true).write(true).open(name).expect("its other side");
        // A session of its own, whose terminal this is: so Ctrl-C is a signal.
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]).arg(program.get_program()).args(program.get_args());
        session
            .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("TERM", "xterm");
        if !variables.iter().any(|(name, _)| *name == "NO_COLOR") {
            session.env_remove("NO_COLOR");
        }
        let side = || Stdio::from(slave.try_clone().expect("another handle"));
        let process = session.stdin(side()).stdout(side()).stderr(side()).spawn().expect("the program runs");
        let master = File::from(master);
        let mut reader = master.try_clone().expect("another handle");
        let (tell, printed) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut some) {
                if tell.send(some[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { process: Some(process), master, slave, printed, seen: String::new() }
    }

    /// Waits until that text was printed, and returns all that came up to it.
    async fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let some =
                match tokio::time::timeout(std::time::Duration::from_secs(60), self.printed.recv()).await {
                    Ok(Some(some)) => some,
                    _ => panic!("no {text:?} in {:?}", self.seen),
                };
            self.seen += &String::from_utf8_lossy(&some);
        }
    }

    fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("it is pressed");
    }

    fn canonical(&self) -> bool {
        let modes = tcgetattr(&self.slave).expect("its settings").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Waits for the end: the exit code, and whether the terminal is as it was.
    async fn end(&mut self) -> (Option<i32>, bool) {
        let mut process = self.process.take().expect("it was not waited for");
        let (tell, ended) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || tell.send(process.wait()));
        let ended = soon("the end", ended).await.expect("its end");
        let code = ended.expect("its status").code();
        (code, self.canonical())
    }
}

fn variables<'a>(url: &'a str, stack: &'a TestStack) -> Vec<(&'a str, &'a str)> {
    vec![("POSTRIDER_SERVER_URL", url), ("POSTRIDER_TOKEN", &stack.token)]
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_has_keys_colours_and_leaves_the_terminal_as_it_was() {
    let (stack, mut receiver) = (TestStack::start().await, Receiver::start().await);
    let app = stack.app().await;
    let url = format!("http://{}", stack.stack.address());
    let to = receiver.url("/");
    let words = ["listen", "--app", &app, "--forward-to", &to];
    let mut terminal = Terminal::start(&words, &variables(&url, &stack));
    terminal.until("q quit").await;
    assert!(!terminal.canonical(), "keys are read one by one");
    let id = stack.message(&app, MessageIn::new("invoice.paid".into(), json!({"total": 7}))).await;
    let line = terminal.until(" ms\r\n").await;
    assert!(line.contains(&id) && line.contains("\x1b[1minvoice.paid\x1b[0m"), "{line:?}");
    assert!(line.contains("\x1b[32m204\x1b[0m"), "{line:?}");
    assert_eq!(receiver.next().await.header("webhook-id"), id);
    terminal.press("d");
    terminal.until("\"total\": 7").await;
    // A window that becomes narrow in the middle changes nothing.
    let narrow = Winsize { ws_row: 5, ws_col: 20, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal.slave, narrow).expect("it is resized");
    terminal.press("xr");
    terminal.until(&id).await;
    assert_eq!(receiver.next().await.header("webhook-id"), id);
    terminal.press("q");
    assert_eq!(terminal.end().await, (Some(0), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_listen_and_no_color_is_heeded() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let url = format!("http://{}", stack.stack.address());
    let mut variables = variables(&url, &stack);
    variables.push(("NO_COLOR", "1"));
    let words = ["listen", "--app", &app, "--forward-to", "http://127.0.0.1:9/", "--since", "1h"];
    stack.message(&app, MessageIn::new("a.b".into(), json!({}))).await;
    let mut terminal = Terminal::start(&words, &variables);
    let printed = terminal.until(" ms\r\n").await;
    assert!(!printed.contains('\x1b'), "{printed:?}");
    terminal.press("\x03");
    assert_eq!(terminal.end().await, (Some(0), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_for_a_local_server_that_is_down_is_kept_and_offered_again() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let url = format!("http://{}", stack.stack.address());
    // A port that nobody listens on, until somebody does.
    let address = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        free.local_addr().expect("an address")
    };
    let to = format!("http://{address}/");
    let words = ["listen", "--app", &app, "--forward-to", &to, "--since", "1h"];
    let id = stack.message(&app, MessageIn::new("a.b".into(), json!({}))).await;
    let mut terminal = Terminal::start(&words, &variables(&url, &stack));
    let line = terminal.until("(kept; press r to resend)").await;
    assert!(line.contains(&id) && line.contains("onnection refused"), "{line:?}");
    let listener = tokio::net::TcpListener::bind(address).await.expect("the same port");
    let (tell, mut arrived) = mpsc::unbounded_channel();
    let router = axum::Router::new().fallback(move |headers: http::HeaderMap| {
        let _ = tell.send(headers);
        async { "" }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    terminal.press("r");
    terminal.until("\x1b[32m200\x1b[0m").await;
    let headers = soon("the message", arrived.recv()).await.expect("headers");
    assert_eq!(headers["webhook-id"], id);
    terminal.press("q");
    assert_eq!(terminal.end().await, (Some(0), true));
}

/// The key `o` starts the desktop's browser with a link to the portal; here a script is in its place.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_portal_is_opened_with_a_key() {
    use std::os::unix::fs::PermissionsExt as _;

    let stack = TestStack::start().await;
    let app = stack.app().await;
    let url = format!("http://{}", stack.stack.address());
    let folder = tempfile::tempdir().expect("a folder");
    let (script, opened) = (folder.path().join("xdg-open"), folder.path().join("opened"));
    std::fs::write(
        &script,
        "#!/bin/sh\nprintf %s \"$1\" >\"$OPENED.part\" && mv \"$OPENED.part\" \"$OPENED\"\n",
    )
    .expect("a script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("it is a program");
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let opened_text = opened.display().to_string();
    let mut variables = variables(&url, &stack);
    variables.extend([("PATH", path.as_str()), ("OPENED", opened_text.as_str())]);
    let words = ["listen", "--app", &app, "--forward-to", "http://127.0.0.1:9/"];
    let mut terminal = Terminal::start(&words, &variables);
    terminal.until("q quit").await;
    terminal.press("o");
    // The browser is a process of its own: it is started, not waited for.
    let link = tokio::task::spawn_blocking(move || {
        loop {
            if let Ok(link) = std::fs::read_to_string(&opened) {
                return link;
            }
            std::thread::yield_now();
        }
    });
    let link = soon("the browser", link).await.expect("a link");
    assert!(link.starts_with(&format!("{url}/login#key=")), "{link}");
    terminal.press("q");
    assert_eq!(terminal.end().await, (Some(0), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_on_a_terminal_can_be_refused() {
    let stack = TestStack::start().await;
    let app = stack.app().await;
    let url = format!("http://{}", stack.stack.address());
    let mut terminal = Terminal::start(&["app", "delete", &app], &variables(&url, &stack));
    terminal.until("[y/N]").await;
    terminal.press("n\n");
    terminal.until("nothing was done").await;
    assert_eq!(terminal.end().await, (Some(2), true));
    let mut terminal = Terminal::start(&["app", "delete", &app], &variables(&url, &stack));
    terminal.until("[y/N]").await;
    terminal.press("y\n");
    terminal.until("Deleted").await;
    assert_eq!(terminal.end().await, (Some(0), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_is_interrupted_at_its_question_and_in_the_midst_of_its_work() {
    let (source, target) = (TestStack::start().await, TestStack::start().await);
    for nth in 0..20 {
        let app = json!({"name": "x", "uid": format!("a{nth}")}).to_string();
        let made = source.request("POST", "/api/v1/app", &source.token, app).await;
        assert!(made.status.is_success(), "{}", made.text);
    }
    let (from, to) =
        (format!("http://{}", source.stack.address()), format!("http://{}", target.stack.address()));
    let mut variables = variables(&to, &target);
    variables.push(("POSTRIDER_FROM_TOKEN", &source.token));
    let words = ["migrate", "--from", &from, "--concurrency", "1"];
    let mut terminal = Terminal::start(&words, &variables);
    terminal.until("20 applications to create.").await;
    terminal.until("[y/N]").await;
    terminal.press("\x03");
    terminal.until("nothing was done").await;
    assert_eq!(terminal.end().await, (Some(130), true));
    let mut terminal = Terminal::start(&words, &variables);
    terminal.until("[y/N]").await;
    terminal.press("y\n");
    terminal.until("Copying: 2 applications").await;
    terminal.press("\x03");
    terminal.until("Run the same command again: it continues from here").await;
    assert_eq!(terminal.end().await, (Some(130), true));
    let mut terminal = Terminal::start(&words, &variables);
    terminal.until("[y/N]").await;
    terminal.press("y\n");
    terminal.until("Done: ").await;
    assert_eq!(terminal.end().await, (Some(0), true));
}

/// A person looks at another program's output: standard output is a pipe, and the terminal is all the rest.
#[tokio::test(flavor = "multi_thread")]
async fn piped_into_a_program_there_are_no_colours_and_no_keys() {
    let (stack, receiver) = (TestStack::start().await, Receiver::start().await);
    let app = stack.app().await;
    let url = format!("http://{}", stack.stack.address());
    let to = receiver.url("/");
    let id = stack.message(&app, MessageIn::new("invoice.paid".into(), json!({"total": 7}))).await;
    let piped = |words: &[&str], pipe: &str| {
        let program = command(words, &variables(&url, &stack));
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("\"$0\" \"$@\" | {pipe}")]);
        shell.arg(program.get_program()).args(program.get_args());
        shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Terminal::start_program(shell, &[])
    };
    let words = ["listen", "--app", &app, "--forward-to", &to, "--since", "1h"];
    let mut terminal = piped(&words, "cat");
    let printed = terminal.until(" ms\r\n").await;
    assert!(
        printed.contains(&id) && printed.contains("Ctrl-C ends it.") && !printed.contains('\x1b'),
        "{printed:?}"
    );
    assert!(terminal.canonical(), "keys are the terminal's own");
    terminal.press("\x03");
    let (_, canonical) = terminal.end().await;
    assert!(canonical);
    // Lines for programs: what `jq` reads, where it is there. The test harness says something first.
    if Command::new("jq").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    {
        let words = ["message", "list", "--app", &app, "--json"];
        let mut terminal = piped(&words, "grep '^{' | jq -r '.id + \" \" + (.payload.total | tostring)'");
        terminal.until(&format!("{id} 7\r\n")).await;
        assert_eq!(terminal.end().await, (Some(0), true));
    }
}
