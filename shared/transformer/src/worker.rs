//! The process that code runs in: a child of the function's or the runner's own, of the same program.
//!
//! It is given no environment, may write no file, and is ended when one run takes too long, which no limit inside of
//! the interpreter does for calls that stay in its C code. Whatever a run does to its process, the next one has
//! another.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use domain::transformation::{Batch, CODE_MAX, OUTPUT_MAX, Outcome, RUNS_MAX, Webhook};
use runtime::clock::SharedClock;
use serde::{Deserialize, Serialize};

use crate::batch::{no_code, too_many};
use crate::engine::run;

/// How long a run may take as seen from outside: the engine's own limit, and time for a busy machine and a process
/// that starts.
pub const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Runs after which a process is replaced: what it has leaked by then ends with it.
const RUNS_OF_A_PROCESS: u32 = 200;
/// Seconds of CPU of one process. Ends one whose parent was killed.
#[cfg(unix)]
const CPU_SECONDS: u64 = 100;
/// Bytes of memory that one process may take besides what it begins with: the heap of a run, and what it is asked and
/// answers.
#[cfg(unix)]
const MEMORY: u64 = 256 * 1024 * 1024;
/// Open files of one process: its three pipes, and what the program opens when it starts.
#[cfg(unix)]
const FILES: u64 = 16;
/// How far code stands back from whoever shares the processors with it: the runner, its server and its stores. In AWS
/// it has an instance to itself. More would let code that is in order miss its time on a busy machine.
#[cfg(unix)]
const NICE: i32 = 5;
/// Largest message in either direction: code, payload and answer as JSON inside JSON.
const FRAME_MAX: usize = 4 * (CODE_MAX + 2 * OUTPUT_MAX);

/// What a process says before its first answer. What comes before that is not its own: a program that is no more than
/// its `main` says nothing, one that was built for tests announces itself.
const READY: &[u8] = b"\n\0ready to transform\0\n";
/// Longest such announcement.
const BEFORE_READY_MAX: usize = 4096;

/// One run, as the process is asked for it.
#[derive(Serialize)]
struct Asked<'a> {
    code: &'a str,
    webhook: Option<&'a Webhook>,
}

/// The same, as the process reads it.
#[derive(Deserialize)]
struct Question {
    code: String,
    #[serde(default)]
    webhook: Option<Webhook>,
}

/// Makes the command that starts a process, whose `main` calls [`serve`].
pub type Program = Box<dyn Fn() -> Command + Send>;

/// Runs code in another process, which it starts when there is something to run.
pub struct Worker {
    program: Program,
    process: Option<Process>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("runs", &self.process.is_some()).finish_non_exhaustive()
    }
}

/// A process that waits for something to run.
struct Process {
    child: Child,
    questions: ChildStdin,
    answers: Receiver<io::Result<Vec<u8>>>,
    runs: u32,
}

/// Why a process is of no use any more.
enum Ended {
    TookTooLong,
    Died,
}

impl Worker {
    /// Nothing is started yet.
    pub fn new(program: Program) -> Self {
        Self { program, process: None }
    }

    /// Transforms all webhooks, one after the other; the outcomes are in their order. It blocks for up to
    /// [`ANSWER_MAX`] for each.
    ///
    /// # Errors
    /// No process can be started.
    pub fn run(&mut self, batch: &Batch) -> io::Result<Vec<Outcome>> {
        self.run_while(batch, |_| true)
    }

    /// The same, until `goes_on`, which is shown what there is so far before each run, says that no other is to be
    /// begun: the rest is [`Outcome::Later`].
    ///
    /// # Errors
    /// No process can be started.
    pub fn run_while(
        &mut self,
        batch: &Batch,
        mut goes_on: impl FnMut(&[Outcome]) -> bool,
    ) -> io::Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(batch.runs.len());
        for (at, run) in batch.runs.iter().enumerate() {
            let outcome = match batch.codes.get(run.code) {
                _ if at >= RUNS_MAX => too_many(),
                None => no_code(run.code),
                Some(_) if !goes_on(&outcomes) => Outcome::Later,
                Some(code) => self.run_one(code, run.webhook.as_ref())?,
            };
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    fn run_one(&mut self, code: &str, webhook: Option<&Webhook>) -> io::Result<Outcome> {
        if cfg!(not(unix)) {
            return Ok(Outcome::failed(
                "this system cannot limit a process: code runs on Linux and macOS only",
            ));
        }
        let question = serde_json::to_vec(&Asked { code, webhook })?;
        if question.len() > FRAME_MAX {
            return Ok(Outcome::failed("the code and the payload are too large to be transformed"));
        }
        let mut process = match self.process.take() {
            Some(process) => process,
            None => Process::start((self.program)())?,
        };
        match process.ask(&question) {
            Ok(answer) => {
                if process.runs < RUNS_OF_A_PROCESS {
                    self.process = Some(process);
                }
                let invalid = |_| Outcome::failed("the interpreter's process answered something else");
                Ok(serde_json::from_slice(&answer).unwrap_or_else(invalid))
            }
            Err(Ended::TookTooLong) => Ok(Outcome::failed(format!(
                "the transformation took longer than {} ms and could not be interrupted",
                ANSWER_MAX.as_millis()
            ))),
            Err(Ended::Died) => Ok(Outcome::failed("the transformation ended the interpreter's process")),
        }
    }

    /// The process that runs code now, by its ID.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.child.id())
    }
}

impl Process {
    fn start(mut command: Command) -> io::Result<Self> {
        let command = command.env_clear().current_dir("/").stderr(Stdio::null());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let missing = || io::Error::other("a pipe of the process is missing");
        let questions = child.stdin.take().ok_or_else(missing)?;
        let mut from = child.stdout.take().ok_or_else(missing)?;
        let (answer, answers) = mpsc::sync_channel(1);
        thread::Builder::new().name("transformer".into()).spawn(move || {
            let mut ready = wait_until_ready(&mut from);
            loop {
                let ready = std::mem::replace(&mut ready, Ok(()));
                let read = ready.and_then(|()| read_frame(&mut from));
                let ended = !matches!(read, Ok(Some(_)));
                let read = read.and_then(|frame| frame.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()));
                if answer.send(read).is_err() || ended {
                    break;
                }
            }
        })?;
        Ok(Self { child, questions, answers, runs: 0 })
    }

    fn ask(&mut self, question: &[u8]) -> Result<Vec<u8>, Ended> {
        self.runs += 1;
        write_frame(&mut self.questions, question).map_err(|_| Ended::Died)?;
        match self.answers.recv_timeout(ANSWER_MAX) {
            Ok(Ok(answer)) => Ok(answer),
            Err(RecvTimeoutError::Timeout) => Err(Ended::TookTooLong),
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => Err(Ended::Died),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself. Nobody but us waits for it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The process's side: takes away from itself what running code does not need, and runs what it is asked until its
/// parent closes the pipe.
///
/// # Errors
/// The limits cannot be set, or a pipe breaks.
pub fn serve(clock: &SharedClock) -> io::Result<()> {
    limit()?;
    let (mut questions, mut answers) = (io::stdin().lock(), io::stdout().lock());
    answers.write_all(READY)?;
    answers.flush()?;
    while let Some(question) = read_frame(&mut questions)? {
        let Question { code, webhook } = serde_json::from_slice(&question)?;
        let outcome = run(clock, &code, webhook.as_ref());
        write_frame(&mut answers, &serde_json::to_vec(&outcome)?)?;
    }
    Ok(())
}

/// Takes away from this process what running code does not need.
#[cfg(unix)]
fn limit() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    for (resource, most) in [
        (Resource::Cpu, CPU_SECONDS),
        (Resource::Data, taken_already() + MEMORY),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
        (Resource::Nproc, 0),
        (Resource::Nofile, FILES),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    rustix::process::nice(NICE)?;
    Ok(())
}

/// Elsewhere nothing is run.
#[cfg(not(unix))]
fn limit() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Bytes of memory that count towards the limit when this process begins: a program's allocator may take a part of the
/// address space at once, more than it ever uses. None where the system does not say.
#[cfg(unix)]
fn taken_already() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Reads until the process is ready.
fn wait_until_ready(from: &mut impl Read) -> io::Result<()> {
    let mut said = Vec::new();
    while !said.ends_with(READY) {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        said.extend(byte);
        if said.len() > BEFORE_READY_MAX {
            return Err(io::Error::other("the program does something else"));
        }
    }
    Ok(())
}

/// Messages begin with their length, in four bytes.
fn write_frame(to: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(frame)?;
    to.flush()
}

/// The next message; none at the end.
fn read_frame(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    if length > FRAME_MAX {
        return Err(io::Error::other("a message is too long"));
    }
    let mut frame = vec![0; length];
    from.read_exact(&mut frame)?;
    Ok(Some(frame))
}
