//! The servers that owners come in by: sshd, dropbear and uhttpd, as they are configured.

mod sshd;

use super::root::{Root, Section};
use super::sockets::Listener;
use crate::collect::CollectVec;

/// A server, as one file or one command line has it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) ports: Vec<u16>,
    /// Whether it lets in whoever knows a password.
    pub(super) passwords: bool,
    /// Where that is written.
    pub(super) place: String,
}

pub(super) const SSHD: &str = "sshd";
pub(super) const DROPBEAR: &str = "dropbear";
const UHTTPD: &str = "uhttpd";
const NAMES: [&str; 3] = [SSHD, DROPBEAR, UHTTPD];

const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";
const DROPBEAR_CONFIG: &str = "/etc/config/dropbear";
const UHTTPD_CONFIG: &str = "/etc/config/uhttpd";

/// The servers that files know of, whether they run or not: at boot they come up after us.
pub(super) fn configured(root: &Root) -> Vec<Server> {
    let mut servers = Vec::new();
    if root.exists(SSHD_CONFIG) {
        servers.push(sshd::read(root, SSHD_CONFIG, &[]));
    }
    let dropbears = root.sections(DROPBEAR_CONFIG);
    servers.extend(dropbears.iter().filter_map(dropbear));
    let uhttpds = root.sections(UHTTPD_CONFIG);
    servers.extend(uhttpds.iter().filter_map(uhttpd));
    servers
}

/// What the real one's answers are compared with.
#[cfg(test)]
pub(super) fn sshd_of(root: &Root, file: &str) -> Server {
    sshd::read(root, file, &[])
}

/// The server that a port belongs to by its listener, if it is one that owners come in by.
pub(super) fn of_listener(root: &Root, listener: &Listener) -> Option<&'static str> {
    let known = NAMES.into_iter().find(|name| listener.belongs_to(name));
    let activated = || listener.belongs_to("systemd") && is_activated(root);
    known.or_else(|| activated().then_some(SSHD))
}

/// Whether systemd listens in sshd's place.
fn is_activated(root: &Root) -> bool {
    let unit = |name| {
        root.exists(&format!(
            "etc/systemd/system/sockets.target.wants/{name}.socket"
        ))
    };
    unit("ssh") || unit("sshd")
}

/// The servers that let in whoever knows a password: those that listen, each as it was started;
/// where none of a name does, as files have it.
pub(super) fn taking_passwords(root: &Root, listeners: &[Listener]) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    let owners = listeners
        .iter()
        .filter_map(|listener| listener.owner.as_ref());
    for owner in owners.filter(|owner| owner.trusted) {
        let command_line = root.text(&format!("proc/{}/cmdline", owner.process));
        let words = words(&command_line);
        servers.extend(match owner.name.as_str() {
            SSHD => Some(running_sshd(root, &words)),
            DROPBEAR => Some(running_dropbear(&words, owner.process)),
            _ => None,
        });
    }
    let running: Vec<&str> = servers.iter().map(|server| server.name).collect_vec();
    let others = configured(root).into_iter();
    let others: Vec<Server> = others
        .filter(|server| !running.contains(&server.name))
        .collect_vec();
    servers.extend(others);
    servers.retain(|server| server.passwords);
    servers.dedup();
    servers
}

/// A title that a program gave itself has spaces where a command line has zeros.
fn words(command_line: &str) -> Vec<&str> {
    let words = command_line.split(['\0', ' ']);
    words.filter(|word| !word.is_empty()).collect_vec()
}

fn running_sshd(root: &Root, words: &[&str]) -> Server {
    let files = arguments(words, "-f");
    let file = files.last().copied().unwrap_or(SSHD_CONFIG);
    sshd::read(root, file, &arguments(words, "-o"))
}

/// What an option is given, be it the rest of its word or the next.
fn arguments<'w>(words: &[&'w str], option: &str) -> Vec<&'w str> {
    let mut arguments = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.strip_prefix(option) {
            Some("") => arguments.extend(words.next()),
            Some(rest) => arguments.push(rest),
            None => {}
        }
    }
    arguments
}

/// dropbear(8): `-s` forbids passwords, `-g` those of root.
fn running_dropbear(words: &[&str], process: u32) -> Server {
    // What comes after one of these is its argument.
    const TAKE_ARGUMENTS: &str = "bdrpPIKWTcDGAlZVu";
    let mut flags = String::new();
    for word in words {
        let letters = word.strip_prefix('-').unwrap_or_default().chars();
        flags.extend(letters.take_while(|letter| !TAKE_ARGUMENTS.contains(*letter)));
    }
    Server {
        name: DROPBEAR,
        passwords: !flags.contains(['s', 'g']),
        place: format!("command line of process {process}"),
        ..Server::default()
    }
}

/// A section of OpenWrt's; `None`: it is another's, or switched off.
fn dropbear(section: &Section) -> Option<Server> {
    let is_it = section.kind == DROPBEAR && section.is_on("enable", true);
    let mut ports: Vec<u16> = section.all("Port").flat_map(numbers).collect_vec();
    if ports.is_empty() {
        ports.push(22);
    }
    is_it.then(|| Server {
        name: DROPBEAR,
        ports,
        passwords: section.is_on("PasswordAuth", true) && section.is_on("RootPasswordAuth", true),
        place: DROPBEAR_CONFIG.into(),
    })
}

fn numbers(value: &str) -> impl Iterator<Item = u16> + '_ {
    value
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
}

/// Of `0.0.0.0:80`, `[::]:80` and `80`, the port is the last number.
fn uhttpd(section: &Section) -> Option<Server> {
    let addresses = section
        .all("listen_http")
        .chain(section.all("listen_https"));
    let words = addresses.flat_map(str::split_whitespace);
    let port = |word: &str| word.rsplit(':').next()?.parse().ok();
    (section.kind == UHTTPD).then(|| Server {
        name: UHTTPD,
        ports: words.filter_map(port).collect_vec(),
        ..Server::default()
    })
}
