//! The first process: as much of an init as Postern needs.

use std::fs::{self, File};
use std::path::Path;
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

const FILE_SYSTEMS: [(&str, &str); 5] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/run"),
    ("tmpfs", "/tmp"),
];

/// Readies the machine, and keeps its programs running until the power goes.
pub(crate) fn run() -> ExitCode {
    let steps: [(&str, fn() -> io::Result<()>); 5] = [
        ("file systems", mount_all),
        ("modules", load_modules),
        ("disk", mount_disk),
        ("network", connect),
        ("kernel messages", leave_console_to_people),
    ];
    for (what, step) in steps {
        if let Err(error) = step() {
            println!("init: {what}: {error}");
        }
    }
    env_for_programs();
    println!("init: starts services");
    let programs = [
        keep("postern", &["/usr/sbin/postern", "run"], Output::Log),
        keep("service", &["/sbin/service"], Output::Log),
        keep("console", &["/bin/sh", "-i"], Output::Console),
    ];
    programs.into_iter().for_each(wait);
    ExitCode::FAILURE
}

fn mount_all() -> io::Result<()> {
    FILE_SYSTEMS.into_iter().try_for_each(|(kind, place)| {
        fs::create_dir_all(place)?;
        sys::mount(kind, place, kind)
    })
}

fn load_modules() -> io::Result<()> {
    let list = match fs::read_to_string(MODULES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        list => list?,
    };
    for path in list.lines() {
        sys::load_module(&File::open(path)?)
            .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
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
    fs::write(format!("/proc/sys/net/ipv6/conf/{INTERFACE}/accept_dad"), "0")?;
    network::add_v4(INTERFACE, [192, 0, 2, 1].into(), 24)?;
    network::bring_up(INTERFACE)?;
    network::add_v6(INTERFACE, [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(), 64)
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

/// Where a program's output goes.
#[derive(Clone, Copy)]
enum Output {
    /// To the console, from where its input comes too.
    Console,
    /// To a file of its name in `/run`.
    Log,
}

/// Starts the program, and again whenever it has ended, as procd's `respawn` does.
fn keep(name: &'static str, words: &'static [&'static str], output: Output) -> JoinHandle<()> {
    thread::spawn(move || {
        loop {
            if let Err(error) = run_once(name, words, output) {
                println!("init: {name}: {error}");
            }
            thread::sleep(Duration::from_secs(1));
        }
    })
}

fn run_once(name: &str, words: &[&str], output: Output) -> io::Result<()> {
    let mut words = words.iter();
    let mut command = Command::new(words.next().unwrap_or(&""));
    command.args(words);
    if let Output::Log = output {
        let path = Path::new("/run").join(name).with_extension("log");
        let log = File::options().create(true).append(true).open(path)?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
    }
    let mut child = command.spawn()?;
    let pid = Path::new("/run").join(name).with_extension("pid");
    fs::write(pid, child.id().to_string() + "\n")?;
    child.wait().map(drop)
}

fn wait(program: JoinHandle<()>) {
    let _ = program.join();
}
