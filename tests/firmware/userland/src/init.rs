//! The first process: as much of an init as Postern needs.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{env, io};

use crate::{network, sys};

/// Kernel modules, each behind those that it needs; absent where the kernel has all built in.
const MODULES: &str = "/lib/modules/list";
/// What stays when the power goes, as the flash of a router does; `/etc/config` and
/// `/etc/postern` lead there.
const DISK: &str = "/dev/vda";
const PERSISTENT: &str = "/persistent";
const INTERFACE: &str = "eth0";
/// The programs to keep running.
const PROGRAMS: &str = "/etc/inittab";

const FILE_SYSTEMS: [(&str, &str); 5] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/run"),
    ("tmpfs", "/tmp"),
];

/// What is done, and how.
type Step = (&'static str, fn() -> io::Result<()>);

/// Readies the machine, and keeps its programs running until the power goes.
pub(crate) fn run() -> ExitCode {
    let steps: [Step; 6] = [
        ("file systems", mount_all),
        ("modules", load_modules),
        ("disk", mount_disk),
        ("network", connect),
        ("folder of the control socket", make_run_folder),
        ("kernel messages", leave_console_to_people),
    ];
    for (what, step) in steps {
        if let Err(error) = step() {
            println!("init: {what}: {error}");
        }
    }
    env_for_programs();
    match fs::read_to_string(PROGRAMS) {
        Ok(lines) => {
            let programs: Vec<_> = lines.lines().filter_map(Program::read).collect();
            // From here on the console is the shell's.
            println!("init: keeps {} programs running", programs.len());
            let kept: Vec<_> = programs.into_iter().map(keep).collect();
            kept.into_iter().for_each(wait);
        }
        Err(error) => println!("init: {PROGRAMS}: {error}"),
    }
    ExitCode::FAILURE
}

fn mount_all() -> io::Result<()> {
    FILE_SYSTEMS.into_iter().try_for_each(|(kind, place)| {
        fs::create_dir_all(place)?;
        sys::mount(kind, place, kind)
    })
}

/// Goes on behind a module that this processor has no use for, as modprobe(8) does where it is not
/// needed after all.
fn load_modules() -> io::Result<()> {
    let list = match fs::read_to_string(MODULES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        list => list?,
    };
    for path in list.lines() {
        if let Err(error) = sys::load_module(&File::open(path)?) {
            println!("init: {path}: {error}");
        }
    }
    Ok(())
}

fn mount_disk() -> io::Result<()> {
    fs::create_dir_all(PERSISTENT)?;
    sys::mount(DISK, PERSISTENT, "ext4")
}

fn connect() -> io::Result<()> {
    network::bring_up("lo")?;
    // Nobody else is on this wire: an address needs not to be tried out first.
    fs::write(
        format!("/proc/sys/net/ipv6/conf/{INTERFACE}/accept_dad"),
        "0",
    )?;
    network::add_v4(INTERFACE, [192, 0, 2, 1].into(), 24)?;
    network::bring_up(INTERFACE)?;
    network::add_v6(INTERFACE, [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(), 64)
}

/// As the service files of other systems do.
fn make_run_folder() -> io::Result<()> {
    DirBuilder::new().mode(0o700).create("/run/postern")
}

/// From here on the kernel says on the console only that it is about to die (syslog(2)).
fn leave_console_to_people() -> io::Result<()> {
    fs::write("/proc/sys/kernel/printk", "1")
}

fn env_for_programs() {
    let variables = [
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/"),
        ("TERM", "dumb"),
        // How the last command ended.
        ("PS1", "[$?]# "),
    ];
    for (name, value) in variables {
        // SAFETY: no other thread runs yet.
        unsafe { env::set_var(name, value) };
    }
}

/// A line of inittab(5), as busybox has it: `TERMINAL::respawn:PROCESS`.
struct Program {
    /// Where it speaks with people; without one it writes to a file in `/run`.
    terminal: Option<String>,
    words: Vec<String>,
}

impl Program {
    /// `None` for a comment, and for what init does not do.
    fn read(line: &str) -> Option<Self> {
        let (terminal, process) = line.split_once("::respawn:")?;
        let terminal = (!terminal.is_empty()).then(|| terminal.into());
        let words = process.split_whitespace().map(Into::into).collect();
        (!line.starts_with('#')).then_some(Self { terminal, words })
    }

    fn path(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// A file of its name.
    fn file(&self, extension: &str) -> PathBuf {
        let name = Path::new(self.path()).file_name().unwrap_or_default();
        Path::new("/run").join(name).with_extension(extension)
    }

    fn run_once(&self) -> io::Result<()> {
        let mut command = Command::new(self.path());
        command.args(self.words.iter().skip(1));
        let (input, output) = match &self.terminal {
            Some(terminal) => {
                let terminal = Path::new("/dev").join(terminal);
                let terminal = File::options().read(true).write(true).open(terminal)?;
                (Stdio::from(terminal.try_clone()?), terminal)
            }
            None => {
                let mut log = File::options();
                let log = log.create(true).append(true).open(self.file("log"))?;
                (Stdio::null(), log)
            }
        };
        command
            .stdin(input)
            .stdout(output.try_clone()?)
            .stderr(output);
        let mut child = command.spawn()?;
        fs::write(self.file("pid"), child.id().to_string() + "\n")?;
        child.wait().map(drop)
    }
}

/// Starts the program, and again whenever it has ended.
fn keep(program: Program) -> JoinHandle<()> {
    thread::spawn(move || {
        loop {
            if let Err(error) = program.run_once() {
                println!("init: {}: {error}", program.path());
            }
            thread::sleep(Duration::from_secs(1));
        }
    })
}

fn wait(program: JoinHandle<()>) {
    let _ = program.join();
}
