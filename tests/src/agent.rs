//! The agent under test.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{env, thread};

use nix::sys::signal::Signal;

use crate::namespace::Namespace;
use crate::nft;
use crate::process::{Process, Said};
use crate::scratch::Scratch;
use crate::topology::{Host, WAN};
use crate::wait::{SOON, poll_until};

/// The agent's program: `$POSTERN`, else the one that cargo built beside the tests.
///
/// # Panics
/// When there is none.
pub fn program() -> PathBuf {
    if let Some(named) = env::var_os("POSTERN") {
        return named.into();
    }
    let test = env::current_exe().expect("know where this program is");
    let beside = |directory: &Path| Some(directory.join("postern")).filter(|path| path.is_file());
    let built = test.ancestors().skip(1).take(2).find_map(beside);
    built.unwrap_or_else(|| panic!("no postern near {}: cargo build -p postern", test.display()))
}

/// How a test's router is set up: a configuration file, and a place for the agent's files.
#[derive(Debug)]
pub struct Setup {
    scratch: Scratch,
    guard: Guard,
    source: Mutex<String>,
}

/// The guard modes, as a configuration names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Our chain drops.
    Gate,
    /// Our chain marks, and the firewall in [`FIREWALL`] drops.
    Mark,
}

impl Guard {
    /// Both modes.
    pub const BOTH: [Self; 2] = [Self::Gate, Self::Mark];

    const fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Mark => "mark",
        }
    }
}

/// How knocks are seen unless a test says otherwise.
const NFLOG: &str = "\toption source 'nflog'\n";

/// A firewall such as a router brings: what it does not know, it drops.
pub const FIREWALL: &str = "
table inet fw {
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		iifname != \"wan\" accept
		meta l4proto { icmp, icmpv6 } accept
		meta mark & 0x10000000 == 0x10000000 accept
	}
}
";

/// The door of most tests: opened by TCP 7000, UDP 8001, TCP 9002 and closed by TCP 9003, TCP 7004.
pub const SSH_DOOR: &str = "
config door 'ssh'
	list guard 'tcp:22'
	option method 'sequence-separate'
	list open 'tcp:7000'
	list open 'udp:8001'
	list open 'tcp:9002'
	list close 'tcp:9003'
	list close 'tcp:7004'
	option window '10s'
	option grant '30s'
";

impl Setup {
    /// Writes the configuration with these doors, and lays the firewall that the guard relies on.
    pub fn new(router: &Host, guard: Guard, doors: &str) -> Self {
        if guard == Guard::Mark {
            nft::apply(&router.namespace, FIREWALL);
        }
        Self::beside_its_firewall(guard, doors)
    }

    /// Writes the configuration with these doors, on a router that has a firewall of its own.
    pub fn beside_its_firewall(guard: Guard, doors: &str) -> Self {
        let setup = Self {
            scratch: Scratch::new(),
            guard,
            source: Mutex::new(NFLOG.into()),
        };
        setup.rewrite(doors);
        setup
    }

    /// Names another source in these lines, from the next [`Setup::rewrite`] on.
    pub fn hear_by(&self, source: &str) {
        *self.source() = source.into();
    }

    /// Replaces the configuration's doors; a running agent learns of it by SIGHUP. A path
    /// that begins with `@/` is one in the setup's own folder.
    ///
    /// A router in a namespace has neither console nor, most of the time, another interface: it
    /// says that it does without.
    pub fn rewrite(&self, doors: &str) {
        let (guard, source) = (self.guard.name(), self.source());
        let global = format!(
            "config postern 'global'\n{source}\toption guard '{guard}'\n\
             \tlist interface '{WAN}'\n\toption control '@/control'\n\toption fallback 'none'\n\
             \toption state_dir '@/state'\n"
        );
        let own = format!("'{}/", self.scratch.path().display());
        let text = format!("{global}{doors}");
        self.rewrite_whole(&text.replace("'@/", &own));
    }

    fn source(&self) -> MutexGuard<'_, String> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path of one of the files in the setup's own folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// Writes a file that only its owner can read into the setup's own folder.
    pub fn write_private(&self, name: &str, text: &str) {
        let path = self.scratch.write(name, text);
        let private = Permissions::from_mode(0o600);
        fs::set_permissions(path, private).expect("make a file private");
    }

    /// All that the agent that was started last has logged.
    pub fn log_so_far(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Replaces the whole configuration, be it right or wrong.
    pub fn rewrite_whole(&self, text: &str) {
        self.scratch.write("config", text);
    }

    /// Where the configuration is.
    pub fn config(&self) -> PathBuf {
        self.scratch.join("config")
    }

    fn log(&self) -> PathBuf {
        self.scratch.join("log")
    }

    /// Starts the agent on the router; when this returns, it guards and hears knocks.
    ///
    /// # Panics
    /// When it ends or says nothing instead.
    #[track_caller]
    pub fn start<'t>(&'t self, router: &'t Host) -> Agent<'t> {
        self.start_reading(router, Stdio::null())
    }

    /// Starts the agent as [`Setup::start`] does, by way of a program that is named by these words and becomes it.
    ///
    /// # Panics
    /// When it ends or says nothing instead.
    #[track_caller]
    pub fn start_by<'t>(&'t self, words: &[&str], router: &'t Host) -> Agent<'t> {
        Agent::start(&router.namespace, self, words, Stdio::null())
    }

    /// Starts the agent by way of these words, be it that it starts or that it ends; nothing is waited for.
    pub fn begin<'t>(&'t self, words: &[&str], router: &'t Host) -> Agent<'t> {
        Agent::begin(&router.namespace, self, words, Stdio::null())
    }

    /// Starts the agent as [`Setup::start`] does, with something on its standard input.
    ///
    /// # Panics
    /// When it ends or says nothing instead.
    #[track_caller]
    pub fn start_reading<'t>(&'t self, router: &'t Host, input: Stdio) -> Agent<'t> {
        Agent::start(&router.namespace, self, &[], input)
    }

    /// One of the counters that `postern status --json` shows, such as `opened`.
    ///
    /// # Panics
    /// When there is none of this name.
    #[track_caller]
    pub fn counter(&self, router: &Host, name: &str) -> u64 {
        let status = self.verb(router, "status", &["--json"]).ok();
        let (_, rest) = status
            .split_once(&format!("\"{name}\":"))
            .unwrap_or_else(|| panic!("no {name} in {status}"));
        let end = rest.find(|c: char| !c.is_ascii_digit());
        rest[..end.unwrap_or(rest.len())].parse().expect("a number")
    }

    /// Runs an agent on the router that is expected to end by itself.
    pub fn run_to_its_end(&self, router: &Host) -> Said {
        let (program, config) = (program(), self.config());
        let (program, config) = (program.to_string_lossy(), config.to_string_lossy());
        let run = ["10", program.as_ref(), "run", "--config", config.as_ref()];
        router.namespace.run("timeout", &run)
    }

    /// Runs one of its other verbs on the router, with `--config` and these arguments.
    pub fn verb(&self, router: &Host, verb: &str, arguments: &[&str]) -> Said {
        let (program, config) = (program(), self.config());
        let (program, config) = (program.to_string_lossy(), config.to_string_lossy());
        let arguments = [&[verb, "--config", config.as_ref()], arguments].concat();
        router.namespace.run(&program, &arguments)
    }
}

/// A running agent, ended on drop. If the test fails, what it logged and the kernel's rules are shown.
#[derive(Debug)]
pub struct Agent<'t> {
    process: Process,
    witness: Witness<'t>,
}

/// Tells what it saw when the test fails.
#[derive(Debug)]
struct Witness<'t> {
    namespace: &'t Namespace,
    setup: &'t Setup,
}

impl<'t> Agent<'t> {
    #[track_caller]
    fn start(namespace: &'t Namespace, setup: &'t Setup, words: &[&str], input: Stdio) -> Self {
        let mut agent = Self::begin(namespace, setup, words, input);
        agent.wait_for_line("postern: ready");
        agent
    }

    fn begin(namespace: &'t Namespace, setup: &'t Setup, words: &[&str], input: Stdio) -> Self {
        let log = File::create(setup.log()).expect("make a log");
        let program = program();
        let mut words = words.iter().map(OsStr::new).chain([program.as_os_str()]);
        let mut postern = Command::new(words.next().unwrap_or_default());
        postern
            .args(words)
            .args(["run", "--config"])
            .arg(setup.config())
            .stdin(input)
            .stdout(Stdio::null());
        let process = namespace.spawn(postern.stderr(log));
        let witness = Witness { namespace, setup };
        Self { process, witness }
    }

    /// Waits until it has logged a line that begins so.
    #[track_caller]
    pub fn wait_for_line(&mut self, beginning: &str) {
        poll_until(SOON, &format!("the agent says: {beginning}"), || {
            let ended = self.process.ended();
            let said = self.log().lines().any(|line| line.starts_with(beginning));
            assert!(
                said || ended.is_none(),
                "{}: {}",
                ended.unwrap_or_default(),
                self.log()
            );
            said
        });
    }

    /// The bare process, for those who outlive this borrow.
    pub fn into_process(self) -> Process {
        self.process
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        self.witness.log()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it runs no more.
    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// Has it read its configuration anew (SIGHUP).
    pub fn reload(&self) {
        self.process.signal(Signal::SIGHUP);
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    #[track_caller]
    pub fn stop(mut self) -> ExitStatus {
        self.process.signal(Signal::SIGTERM);
        self.process.wait(SOON)
    }

    /// Asks it to read its configuration again (SIGHUP), and waits until it has.
    #[track_caller]
    pub fn reload_now(&self) {
        let reloads = || self.log().matches("configuration read again").count();
        let before = reloads();
        self.reload();
        poll_until(SOON, "the configuration is read again", || {
            reloads() > before
        });
    }

    /// How much memory it has in use, in KiB.
    ///
    /// # Panics
    /// When it has ended.
    pub fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let status = fs::read_to_string(path).expect("it runs");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = resident.and_then(|rest| rest.split_whitespace().next());
        size.and_then(|size| size.parse().ok()).expect("a size")
    }

    /// Has it hang (SIGSTOP) until it is killed, or goes on.
    pub fn hang(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// Has it go on (SIGCONT).
    pub fn go_on(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    /// Kills it (SIGKILL), and waits until it is gone.
    pub fn kill(mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.wait(SOON);
    }
}

impl Witness<'_> {
    fn log(&self) -> String {
        self.setup.log_so_far()
    }
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the agent logged:\n{}", self.log());
            eprintln!("--- the kernel's rules:\n{}", nft::ruleset(self.namespace));
        }
    }
}
