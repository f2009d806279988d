//! Programs that end with the test.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::wait::try_poll;

/// Held while a program is started: until it runs it holds copies of all files of this process.
static STARTING: Mutex<()> = Mutex::new(());

fn start(command: &mut Command) -> Child {
    let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let name = command.get_program().to_string_lossy().into_owned();
    (command.spawn()).unwrap_or_else(|error| panic!("cannot start {name}: {error}"))
}

/// Closes a file or a socket for good: no program that another thread is about to start keeps it
/// open any longer.
pub fn close(held: impl Sized) {
    let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    drop(held);
}

/// A running program, killed and reaped on drop.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts the program.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = start(command);
        Self { child, name }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The running program itself, for its standard streams.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends it a signal; a program that has ended is no mistake.
    pub fn signal(&self, signal: Signal) {
        let _ = signal::kill(Pid::from_raw(self.child.id().cast_signed()), signal);
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for a child of ours")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it still runs after `within`.
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        match try_poll(within, || self.ended()) {
            Some(status) => status,
            None => panic!("{} still runs after {within:?}", self.name),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program that has ended said.
#[derive(Debug)]
pub struct Said {
    /// Its exit status; -1 where a signal ended it.
    pub status: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Said {
    /// Its standard output.
    ///
    /// # Panics
    /// When it failed; the message holds what it wrote to standard error.
    #[track_caller]
    pub fn ok(self) -> String {
        self.with_status(0)
    }

    /// Its standard output, where it has another exit status than 0.
    ///
    /// # Panics
    /// When it has yet another; the message holds what it wrote to standard error.
    #[track_caller]
    pub fn with_status(self, status: i32) -> String {
        assert_eq!(self.status, status, "{}{}", self.stderr, self.stdout);
        self.stdout
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Copies a program that is to be run, by `cp`: if this process wrote the copy, what another of its threads
/// starts meanwhile could inherit it, and nothing runs what is open for writing (ETXTBSY, execve(2)).
///
/// # Panics
/// When it cannot be copied.
#[track_caller]
pub fn copy_program(from: impl AsRef<Path>, to: &Path) {
    run(Command::new("cp").arg(from.as_ref()).arg(to), "").ok();
}

/// Runs a program to its end, with `input` on its standard input.
///
/// # Panics
/// When it cannot be started.
pub fn run(command: &mut Command, input: &str) -> Said {
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = start(command);
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input closes it early: its status tells the rest.
        let _ = stdin.write_all(input.as_bytes());
    }
    child
        .wait_with_output()
        .expect("wait for a child of ours")
        .into()
}
