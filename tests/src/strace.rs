//! Looking at a program's system calls, and killing it at one of them: strace(1).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::process::Process;
use crate::scratch::Scratch;
use crate::wait::{SOON, poll_until};

/// The system calls by which a memory is replaced. Which of them there are, the program knows.
pub const SAVING: [&str; 9] = [
    "openat",
    "write",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "close",
    "unlink",
];

/// A strace attached to a running program.
#[derive(Debug)]
pub struct Strace {
    process: Process,
    scratch: Scratch,
}

impl Strace {
    /// Counts the program's system calls.
    pub fn counting(pid: u32) -> Self {
        Self::attach(pid, &[])
    }

    /// Kills the program (SIGKILL) when it is about to make this system call for the `count`-th
    /// time from now on. The kernel does not carry that call out.
    pub fn killing_at(pid: u32, call: &str, count: usize) -> Self {
        let inject = format!("inject={call}:signal=KILL:when={count}");
        Self::attach(pid, &["-e", &inject])
    }

    /// Has this system call of the program fail so, when it is made for the first time from now on (`1`), or at
    /// the times that strace understands by `when`. The kernel does not carry such calls out.
    pub fn failing(pid: u32, call: &str, error: &str, when: &str) -> Self {
        let inject = format!("inject={call}:error={error}:when={when}");
        Self::attach(pid, &["-e", &inject])
    }

    /// Has every one of these system calls of the program fail so that concerns a file.
    pub fn failing_at(pid: u32, path: &Path, calls: &str, error: &str) -> Self {
        let inject = format!("inject={calls}:error={error}");
        let (path, trace) = (path.to_string_lossy(), format!("trace={calls}"));
        Self::attach(pid, &["-P", &path, "-e", &trace, "-e", &inject])
    }

    fn attach(pid: u32, options: &[&str]) -> Self {
        let scratch = Scratch::new();
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-qq", "-p", &pid.to_string(), "-o"])
            .arg(scratch.join("calls"));
        strace
            .args(options)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::spawn(&mut strace);
        poll_until(SOON, "strace is attached", || is_traced_or_dead(pid));
        Self { process, scratch }
    }

    /// Lets go of the program, if it still runs; returns how often it made each system call.
    pub fn detach(self) -> BTreeMap<String, usize> {
        count(self.calls().into_iter())
    }

    /// Lets go of the program, if it still runs; returns the system calls in their order.
    pub fn calls(mut self) -> Vec<String> {
        self.process.signal(Signal::SIGTERM);
        self.process.wait(SOON);
        let log = fs::read_to_string(self.scratch.join("calls")).unwrap_or_default();
        log.lines().filter_map(call).map(Into::into).collect()
    }
}

/// How often each system call stands in a log that `strace -f -o` wrote.
pub fn named_calls(log: &str) -> BTreeMap<String, usize> {
    count(log.lines().filter_map(call).map(Into::into))
}

fn count(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut calls = BTreeMap::new();
    for call in names {
        *calls.entry(call).or_default() += 1;
    }
    calls
}

/// What a program is started by so that `log` tells the files that it opens, and that it ended.
pub fn telling_opens(log: &str) -> [&str; 7] {
    ["strace", "-D", "-f", "-e", "trace=open,openat", "-o", log]
}

/// How often each file was opened by a program that [`telling_opens`] started, once it has ended.
///
/// # Panics
/// When it does not end.
#[track_caller]
pub fn opens(log: &Path) -> BTreeMap<String, usize> {
    let read = || fs::read_to_string(log).unwrap_or_default();
    poll_until(SOON, "the program ends", || read().contains("+++ exited"));
    let mut opens = BTreeMap::new();
    for path in read().lines().filter_map(opened) {
        *opens.entry(path.to_owned()).or_default() += 1;
    }
    opens
}

/// The file in a line such as `4711  openat(AT_FDCWD, "/x", O_RDONLY) = 3`.
fn opened(line: &str) -> Option<&str> {
    call(line).filter(|name| name.starts_with("open"))?;
    line.split('"').nth(1)
}

/// The name in a line such as `4711  openat(AT_FDCWD, ...`; what was under way has none.
fn call(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(' ')?;
    let (name, _) = rest.trim_start().split_once('(')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(is_name).then_some(name)
}

/// Attaching interrupts a system call, so that may already be the one that kills
/// (proc_pid_status(5)).
fn is_traced_or_dead(pid: u32) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
    let status = status.unwrap_or_default();
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
    let traced = field("TracerPid:").is_some_and(|tracer| tracer.trim() != "0");
    traced || field("State:").is_none_or(|state| state.trim().starts_with('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_from_other_lines() {
        for (line, expected) in [
            (
                "4711  openat(AT_FDCWD, \"/x\", O_RDONLY) = 3",
                Some("openat"),
            ),
            (
                "4711  ppoll([{fd=4}], 2, NULL, NULL, 0 <detached ...>",
                Some("ppoll"),
            ),
            ("4711  +++ killed by SIGKILL +++", None),
            ("4711  <... ppoll resumed>) = 1", None),
            ("4711  --- SIGHUP {si_signo=SIGHUP} ---", None),
        ] {
            assert_eq!(call(line), expected, "{line}");
        }
    }
}
