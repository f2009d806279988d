//! Logins at a console or a serial line, which no rule of a firewall reaches.
//!
//! Each init has a place of its own where they are configured; what runs already speaks for any
//! other. What is configured counts only with the init that reads it.

use super::finding::Finding;
use super::kinds;
use super::root::{Root, base_name};
use crate::collect::CollectVec;

/// A login.
#[derive(Debug, PartialEq, Eq)]
struct Login {
    terminal: String,
    /// How it is known.
    how: String,
    /// Whether it asks for a password.
    asks: bool,
}

/// Where logins were looked for.
pub(super) const SEARCHED: &str =
    "systemd has no getty for a terminal that is there, nor has /etc/inittab, and none runs";

/// The logins that there are.
pub(super) struct Console {
    logins: Vec<Login>,
    /// Whether anybody has a password.
    passwords: bool,
    /// The kernel's own consoles that programs can use.
    consoles: Vec<String>,
}

impl Console {
    pub(super) fn read(root: &Root) -> Self {
        let mut logins = match root.exists("run/systemd/system") {
            true => of_systemd(root),
            false => of_inittab(root),
        };
        let running = running(root).into_iter();
        // One that is configured and runs is one.
        let is_new = |login: &Login| !logins.iter().any(|other| other.terminal == login.terminal);
        let others: Vec<Login> = running.filter(is_new).collect_vec();
        logins.extend(others);
        Self {
            logins,
            passwords: has_passwords(root),
            consoles: consoles(root),
        }
    }

    /// A login that lets its owner in, at the terminal where the kernel talks if there is one: a
    /// server without a screen has a tty1 too.
    pub(super) fn way_in(&self) -> Option<String> {
        let logins = self.logins.iter();
        let usable = logins.filter(|login| self.passwords || !login.asks);
        let is_elsewhere =
            |login: &&Login| !self.consoles.iter().any(|console| login.is_at(console));
        usable.min_by_key(is_elsewhere).map(Login::in_words)
    }

    pub(super) fn examine(&self, findings: &mut Vec<Finding>) {
        if self.logins.is_empty() {
            let searched = [("searched", SEARCHED)];
            findings.push(Finding::new(&kinds::CONSOLE_MISSING, &searched));
        }
        for login in &self.logins {
            let kind = match login.asks {
                true if !self.passwords => &kinds::CONSOLE_LOCKED,
                false => &kinds::CONSOLE_OPEN,
                true => continue,
            };
            findings.push(Finding::new(kind, &[("way", &login.in_words())]));
        }
    }
}

impl Login {
    /// Whether it is on this console of the kernel's: tty0 is whichever screen is shown.
    fn is_at(&self, console: &str) -> bool {
        let on_screen = self.terminal.strip_prefix("tty");
        let on_screen =
            on_screen.is_some_and(|number| number.starts_with(|each: char| each.is_ascii_digit()));
        self.terminal == console || self.terminal == "console" || (console == "tty0" && on_screen)
    }

    fn in_words(&self) -> String {
        format!("the login on {} ({})", self.terminal, self.how)
    }
}

fn login(terminal: &str, how: &str, asks: bool) -> Login {
    Login {
        terminal: terminal.into(),
        how: how.into(),
        asks,
    }
}

/// Units that are enabled or generated (systemd-getty-generator(8)), and not masked.
fn of_systemd(root: &Root) -> Vec<Login> {
    const FOLDERS: [&str; 5] = [
        "etc/systemd/system",
        "run/systemd/system",
        "run/systemd/generator",
        "usr/lib/systemd/system",
        "lib/systemd/system",
    ];
    let mut logins = Vec::new();
    for folder in FOLDERS {
        for unit in root.names(&[folder, "/getty.target.wants"].concat()) {
            let terminal = terminal_of_unit(&unit).filter(|terminal| is_there(root, terminal));
            let Some(terminal) = terminal.filter(|_| !is_masked(root, &unit)) else {
                continue;
            };
            let login = login(terminal, &["unit ", &unit].concat(), true);
            if !logins.contains(&login) {
                logins.push(login);
            }
        }
    }
    logins
}

/// systemctl(1), `mask`.
fn is_masked(root: &Root, unit: &str) -> bool {
    let mut folders = ["etc", "run"].iter();
    folders.any(|folder| {
        let target = root.link(&format!("{folder}/systemd/system/{unit}"));
        target.is_some_and(|target| target.as_os_str() == "/dev/null")
    })
}

fn terminal_of_unit(unit: &str) -> Option<&str> {
    let (name, instance) = unit
        .strip_suffix(".service")?
        .split_once('@')
        .unwrap_or((unit, ""));
    match name {
        "getty" | "serial-getty" => Some(instance),
        "console-getty.service" => Some("console"),
        _ => None,
    }
}

/// `id:runlevels:action:process`, of busybox, procd and sysvinit.
fn of_inittab(root: &Root) -> Vec<Login> {
    let init = root.text("proc/1/comm");
    let known = ["init", "procd", "busybox", "linuxrc"].contains(&init.trim_end());
    // In OpenWrt's jail (procd-ujail) the first process is not init.
    let reads_it = known || root.exists("etc/config/system");
    let text = root.text("etc/inittab");
    let lines = text
        .lines()
        .filter(|line| reads_it && !line.starts_with('#'));
    lines.filter_map(|line| of_line(root, line)).collect_vec()
}

fn of_line(root: &Root, line: &str) -> Option<Login> {
    let mut fields = line.trim().splitn(4, ':');
    let (id, action, process) = (fields.next()?, fields.nth(1)?, fields.next()?);
    let asks_kernel = action.starts_with("askconsole");
    if !asks_kernel && !["respawn", "respawnlate", "askfirst"].contains(&action) {
        return None;
    }
    let mut words = process.split_whitespace();
    let asks = asks_for_password(root, words.next()?)?;
    // busybox and procd name the terminal in front, sysvinit gives it to getty.
    let named = words
        .filter(|word| !word.starts_with('-'))
        .map(|word| word.strip_prefix("/dev/").unwrap_or(word))
        .find(|word| word.starts_with("tty") || word.starts_with("hvc"));
    let terminal = match (id, named) {
        (_, Some(named)) => named,
        ("", None) => "console",
        (id, None) => id,
    };
    let there = match terminal {
        "console" => !consoles(root).is_empty(),
        terminal => is_there(root, terminal),
    };
    there.then(|| login(terminal, "/etc/inittab", asks))
}

/// Whether this program asks for a password; `None`: it is no login.
fn asks_for_password(root: &Root, program: &str) -> Option<bool> {
    match base_name(program.trim_start_matches('-')) {
        // OpenWrt's: a shell, or login(1) where `ttylogin` is set.
        "login.sh" => {
            let system = root.sections("etc/config/system");
            Some(
                system
                    .iter()
                    .any(|section| section.is_on("ttylogin", false)),
            )
        }
        "sh" | "ash" | "bash" => Some(false),
        name => (name.ends_with("getty") || name == "login").then_some(true),
    }
}

/// Gettys that hold a terminal of the machine: those of containers hold a pseudo-terminal.
fn running(root: &Root) -> Vec<Login> {
    let processes = root.processes().into_iter();
    processes
        .filter_map(|process| {
            let stat = root.read(&format!("proc/{process}/stat"))?;
            // proc(5): the name stands in parentheses and may hold some itself.
            let (front, back) = stat.rsplit_once(')')?;
            let (_, name) = front.split_once('(')?;
            let device: u32 = back.split_whitespace().nth(4)?.parse().ok()?;
            let terminal = terminal_of_device(device)?;
            let how = format!("process {process}");
            name.ends_with("getty")
                .then(|| login(&terminal, &how, true))
        })
        .collect_vec()
}

/// A device number as proc(5) has it (Documentation/admin-guide/devices.txt).
fn terminal_of_device(device: u32) -> Option<String> {
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00);
    match (major, minor) {
        (0 | 136..=143, _) => None,
        (4, 64..) => Some(format!("ttyS{}", minor - 64)),
        (4, _) => Some(format!("tty{minor}")),
        (5, 1) => Some("console".into()),
        (229, _) => Some(format!("hvc{minor}")),
        _ => Some(format!("terminal {major}:{minor}")),
    }
}

/// The kernel's consoles that programs can use: those that have the flag C.
fn consoles(root: &Root) -> Vec<String> {
    let text = root.text("proc/consoles");
    let usable = text.lines().filter(|line| {
        let flags = line.split(['(', ')']).nth(1);
        flags.is_some_and(|flags| flags.contains('C'))
    });
    let names = usable.filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect_vec()
}

/// Whether there is a terminal. Of serial lines there are files for more than there are chips.
fn is_there(root: &Root, terminal: &str) -> bool {
    let number = terminal.strip_prefix("ttyS");
    let unknown = number.is_some_and(|number| {
        let chips = root.text("proc/tty/driver/serial");
        let line = format!("{number}: uart:unknown");
        chips.lines().any(|chip| chip.starts_with(&line))
    });
    root.exists(&format!("dev/{terminal}")) && !unknown
}

/// Whether some account that can log in has a password (shadow(5)): one that is locked has `!`
/// or `*` in its place. What cannot be read is no reason for alarm.
fn has_passwords(root: &Root) -> bool {
    let (Some(shadow), accounts) = (root.read("etc/shadow"), root.text("etc/passwd")) else {
        return true;
    };
    let without_shell = |name: &str| {
        let account = |line: &&str| line.split(':').next() == Some(name);
        let shell = accounts
            .lines()
            .find(account)
            .and_then(|line| line.rsplit(':').next());
        shell.is_some_and(|shell| ["nologin", "false"].contains(&base_name(shell)))
    };
    shadow.lines().any(|line| {
        let mut fields = line.split(':');
        let (name, password) = (fields.next(), fields.next());
        let locked = password.is_none_or(|password| password.starts_with(['!', '*']));
        !locked && !name.is_some_and(without_shell)
    })
}
