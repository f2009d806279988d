//! Network namespaces that a test makes, enters and removes.

use std::fs::{self, File};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{panic, process, thread};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::process::{Process, Said, run};

/// Where `ip netns` keeps its namespaces (ip-netns(8)).
const DIRECTORY: &str = "/run/netns";
/// What the names of ours begin with; the process id of their maker follows.
const PREFIX: &str = "pst-";

/// A network namespace, removed on drop.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
}

impl Namespace {
    /// Makes a namespace with nothing in it but a loopback interface that is up.
    ///
    /// The first call also removes what killed runs of the tests left behind.
    ///
    /// # Panics
    /// When the machine cannot make one, or we may not.
    pub fn new(role: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{role}", process::id());
        ip(&["netns", "add", &name]).ok();
        let handle = File::open(format!("{DIRECTORY}/{name}")).expect("open a new namespace");
        let namespace = Self { name, handle };
        namespace.ip_batch("link set lo up\n");
        namespace
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `body` inside, in a thread of its own, and returns its result.
    ///
    /// A socket belongs to the namespace in which it was made, wherever it is used later;
    /// a program runs in the namespace in which it was started.
    pub fn enter<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.handle, CloneFlags::CLONE_NEWNET).expect("enter a namespace");
                body()
            });
            inside
                .join()
                .unwrap_or_else(|panic| panic::resume_unwind(panic))
        })
    }

    /// Runs a program inside, to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Said {
        self.run_with_input(program, arguments, "")
    }

    /// Runs a program inside, to its end, with `input` on its standard input.
    pub fn run_with_input(&self, program: &str, arguments: &[&str], input: &str) -> Said {
        self.enter(|| run(Command::new(program).args(arguments), input))
    }

    /// Starts a program inside.
    pub fn spawn(&self, command: &mut Command) -> Process {
        self.enter(|| Process::spawn(command))
    }

    /// Carries out lines of `ip -batch` inside.
    ///
    /// # Panics
    /// When one of them fails.
    pub fn ip_batch(&self, lines: &str) {
        self.run_with_input("ip", &["-batch", "-"], lines).ok();
    }

    /// Sets a kernel variable of the namespace, named as sysctl(8) does, with slashes.
    pub fn set_sysctl(&self, name: &str, value: &str) {
        self.enter(|| fs::write(format!("/proc/sys/{name}"), value))
            .unwrap_or_else(|error| panic!("cannot set {name}: {error}"));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes the namespaces that this process made and left behind, and names them.
pub fn remove_leaked() -> Vec<String> {
    let ours = format!("{PREFIX}{}-", process::id());
    let leaked: Vec<String> = names().filter(|name| name.starts_with(&ours)).collect();
    leaked.iter().for_each(|name| remove(name));
    leaked
}

fn ip(arguments: &[&str]) -> Said {
    run(Command::new("ip").args(arguments), "")
}

fn names() -> impl Iterator<Item = String> {
    let entries = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// Removes the namespaces of processes that are no more.
fn sweep() {
    let maker = |name: &str| {
        name.strip_prefix(PREFIX)?
            .split('-')
            .next()?
            .parse::<u32>()
            .ok()
    };
    for name in names() {
        if maker(&name).is_some_and(|pid| !fs::exists(format!("/proc/{pid}")).unwrap_or(true)) {
            remove(&name);
        }
    }
}

/// Ends the programs that still run in a namespace of ours, and removes it.
fn remove(name: &str) {
    for pid in ip(&["netns", "pids", name]).stdout.split_whitespace() {
        // Threads of ours may be inside; they leave by themselves.
        if let Some(pid) = pid
            .parse()
            .ok()
            .filter(|pid| *pid != process::id().cast_signed())
        {
            let _ = signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    ip(&["netns", "delete", name]);
}
