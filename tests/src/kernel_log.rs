//! The kernel's log, and those who copy it elsewhere.
//!
//! There is one for the whole machine, and whether it tells of namespaces is one variable: tests
//! that need it take turns, also with those of other runs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::wait::{SOON, poll_until};

/// The log itself.
pub const KMSG: &str = "/dev/kmsg";
/// Whether netfilter logs what happens in namespaces other than the machine's own.
pub const ALL_NAMESPACES: &str = "/proc/sys/net/netfilter/nf_log_all_netns";

/// The right to have the kernel's log tell of namespaces, given back on drop.
#[derive(Debug)]
pub struct KernelLog {
    _turn: File,
    before: String,
}

impl KernelLog {
    /// Waits for the turn, and has the log tell of namespaces.
    ///
    /// # Panics
    /// When the variable cannot be set.
    #[expect(clippy::new_without_default, reason = "it acts: it is no plain value")]
    pub fn new() -> Self {
        let place = std::env::temp_dir().join("pst-kernel-log");
        let turn = File::create(place).expect("a file to take turns by");
        turn.lock().expect("wait for the turn");
        let before = fs::read_to_string(ALL_NAMESPACES).expect("read the variable");
        fs::write(ALL_NAMESPACES, "1").expect("set the variable");
        Self {
            _turn: turn,
            before,
        }
    }

    /// What is logged from now on.
    pub fn follow(&self) -> Records {
        Records::new()
    }

    /// Writes to the log until what was logged before is overwritten: as much as some MB.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn overwrite(&self) {
        let line = "postern's tests: a flood of other records ".repeat(20);
        let lines = format!("{line}\n").repeat(100);
        // Each stands at the present end of the log, and is good for one look.
        let mut marks: Vec<Records> = (0..50).map(|_| self.follow()).collect();
        while let Some(mut mark) = marks.pop() {
            self.write(&lines);
            if mark
                .0
                .read(&mut [0; 8192])
                .is_err_and(|error| is_gap(&error))
            {
                return;
            }
        }
        panic!("the kernel's log is too large to be overwritten");
    }

    /// Writes to the log as programs can, in a record for each line.
    pub fn write(&self, text: &str) {
        for line in text.lines() {
            // The kernel limits how much may be written to a file that stays open.
            let mut log = OpenOptions::new().write(true).open(KMSG).expect("the log");
            writeln!(log, "{line}").expect("write to the log");
        }
    }
}

impl Drop for KernelLog {
    fn drop(&mut self) {
        let _ = fs::write(ALL_NAMESPACES, self.before.trim());
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Level and facility (RFC 5424, section 6.2.1).
    pub priority: u32,
    /// Microseconds since boot.
    pub time: u64,
    /// What it says.
    pub text: String,
}

impl Record {
    fn parse(record: &str) -> Self {
        let (header, text) = record.split_once(';').expect("a semicolon");
        let mut fields = header.split(',').map(|field| field.parse().unwrap_or(0));
        let priority = fields.next().expect("a priority");
        Self {
            priority: u32::try_from(priority).expect("a small number"),
            time: fields.nth(1).expect("a time"),
            text: text.lines().next().unwrap_or_default().to_owned(),
        }
    }

    /// Whether the kernel said it.
    pub const fn is_kernels(&self) -> bool {
        self.priority < 8
    }

    /// As rsyslog writes it into a file.
    pub fn in_syslog(&self) -> String {
        let (seconds, rest) = (self.time / 1_000_000, self.time % 1_000_000);
        let name = if self.is_kernels() {
            "kernel"
        } else {
            "unknown"
        };
        let text = &self.text;
        format!("Nov 27 06:00:00 router {name}: [{seconds:5}.{rest:06}] {text}\n")
    }

    /// As OpenWrt's `logread -f` prints it.
    pub fn in_logread(&self) -> String {
        let (seconds, rest) = (self.time / 1_000_000, self.time % 1_000_000);
        let facility = if self.is_kernels() { "kern" } else { "user" };
        let text = &self.text;
        format!("Fri Nov 27 06:00:00 2026 {facility}.warn kernel: [{seconds:5}.{rest:06}] {text}\n")
    }
}

/// What is logged.
#[derive(Debug)]
pub struct Records(File);

impl Records {
    fn new() -> Self {
        let mut options = OpenOptions::new();
        let options = options.read(true).custom_flags(nix::libc::O_NONBLOCK);
        let mut log = options.open(KMSG).expect("the kernel's log");
        log.seek(SeekFrom::End(0)).expect("its end");
        Self(log)
    }

    /// What Postern's rule had the kernel say, and what reads like it, as far as there is any.
    pub fn take(&mut self) -> Vec<Record> {
        let mut found = Vec::new();
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(length) => {
                    let record = Record::parse(&String::from_utf8_lossy(&record[..length]));
                    found.extend(Some(record).filter(|record| record.text.contains("postern: ")));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return found,
                Err(error) if is_gap(&error) => {}
                Err(error) => panic!("read the kernel's log: {error}"),
            }
        }
    }
}

/// Whether records were overwritten before they were read.
fn is_gap(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// Copies what is logged to somewhere else, as a log daemon does.
pub struct Copyist {
    output: Arc<Mutex<Output>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

type Output = Box<dyn Write + Send>;

impl Copyist {
    /// Copies each record in a form to the output.
    pub fn start(
        log: &KernelLog,
        form: fn(&Record) -> String,
        output: impl Write + Send + 'static,
    ) -> Self {
        let output: Arc<Mutex<Output>> = Arc::new(Mutex::new(Box::new(output)));
        let stopped = Arc::new(AtomicBool::new(false));
        let (to, stop, mut records) = (Arc::clone(&output), Arc::clone(&stopped), log.follow());
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let mut output = lock(&to);
                for record in records.take() {
                    let _ = output.write_all(form(&record).as_bytes());
                }
                drop(output);
                thread::sleep(Duration::from_millis(1));
            }
        });
        Self {
            output,
            stopped,
            thread: Some(thread),
        }
    }

    /// Has it write elsewhere from now on.
    pub fn redirect(&self, output: impl Write + Send + 'static) {
        *lock(&self.output) = Box::new(output);
    }
}

impl Drop for Copyist {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn lock(output: &Mutex<Output>) -> MutexGuard<'_, Output> {
    output.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that a log daemon appends to.
pub fn appended(path: &Path) -> File {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.expect("open a log")
}

/// Waits until the log holds a line that contains this.
///
/// # Panics
/// When there is none soon.
#[track_caller]
pub fn wait_for(path: &Path, text: &str) {
    poll_until(SOON, &format!("the log says: {text}"), || {
        fs::read_to_string(path).is_ok_and(|log| log.contains(text))
    });
}
