//! Over what a command came: a connection, and since when there is one, or a console.
//!
//! Whoever confirms a trial must have come in after it began. The process that asks and those
//! above it tell how it came: sshd and dropbear have a process for each connection, which
//! holds its socket, and a login on a console has that for its terminal.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use postern_core::time::{Duration, Instant};

use crate::files::bounded;
use crate::sys::folder;

/// Over what a command came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// A console, a virtual terminal or a serial line.
    Console,
    /// A TCP connection from elsewhere.
    Connection {
        /// The other end.
        peer: IpAddr,
        /// Since when there has been a process for it, or up to a [`TICK`] later.
        began_at: Instant,
    },
    /// None that can be told: a terminal multiplexer, a job, a request over ubus.
    Unknown,
}

/// Processes above one that are looked at. Shells in shells are a few.
const MAX_ANCESTORS: usize = 64;
/// More than the kernel says of a process.
const MAX_STATUS: usize = 4096;
/// The most files of a process that are looked at.
const MAX_FILES: usize = 1 << 16;
/// The longest of the kernel's lists of sockets that is read: 16,000 sockets.
const MAX_LIST: usize = 3 << 20;
/// What procfs counts by: USER_HZ of every architecture that runs this is 100 in a second.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// State ESTABLISHED (include/net/tcp_states.h).
const ESTABLISHED: &str = "01";
/// Character devices with these major numbers are pseudo-terminals (Documentation/admin-guide/devices.txt).
const PSEUDO_TERMINALS: core::ops::RangeInclusive<u32> = 136..=143;

/// Looks at a process and those above it, in a process file system.
pub(crate) fn of_process(proc: &Path, process: u32) -> Session {
    let connections = connections(&proc.join("self/net"));
    let mut next = process;
    for _ in 0..MAX_ANCESTORS {
        let Some(status) = Status::read(proc, next) else {
            break;
        };
        if let Some((inode, peer)) = held(proc, next, &connections) {
            let began_at = began_at(proc, status, inode);
            return Session::Connection { peer, began_at };
        }
        if status.is_on_a_line() {
            return Session::Console;
        }
        next = status.parent;
    }
    Session::Unknown
}

/// When the first of the processes that hold a connection began. It was made before: sshd's
/// process for it precedes that of the session, and the time to log in lies between them.
fn began_at(proc: &Path, holder: Status, inode: u64) -> Instant {
    let mut first = holder;
    for _ in 0..MAX_ANCESTORS {
        let holds = sockets(proc, first.parent).any(|held| held == inode);
        match Status::read(proc, first.parent).filter(|_| holds) {
            Some(parent) => first = parent,
            None => break,
        }
    }
    first.started_at
}

/// What the kernel says of a process (proc_pid_stat(5)).
#[derive(Clone, Copy)]
struct Status {
    parent: u32,
    terminal: u32,
    started_at: Instant,
}

impl Status {
    fn read(proc: &Path, process: u32) -> Option<Self> {
        let text = bounded::read(&proc.join(format!("{process}/stat")), MAX_STATUS).ok()?;
        // The name, which comes second and may hold anything, ends at the last bracket.
        let end = text.iter().rposition(|octet| *octet == b')')?;
        let rest = core::str::from_utf8(text.get(end + 1..)?).ok()?;
        let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3);
        let started: u64 = field(22)?.parse().ok()?;
        Some(Self {
            parent: field(4)?.parse().ok()?,
            terminal: field(7)?.parse::<i32>().ok()?.cast_unsigned(),
            started_at: Instant::from_millis(0)
                + Duration::from_millis(started.saturating_mul(TICK.as_millis())),
        })
    }

    /// Whether its terminal is a device rather than a pseudo-terminal.
    fn is_on_a_line(&self) -> bool {
        let major = self.terminal >> 8 & 0xfff;
        self.terminal != 0 && !PSEUDO_TERMINALS.contains(&major)
    }
}

/// A connection that the process holds.
fn held(proc: &Path, process: u32, connections: &[(u64, IpAddr)]) -> Option<(u64, IpAddr)> {
    let connection = |inode| connections.iter().find(|(each, _)| *each == inode);
    sockets(proc, process).find_map(connection).copied()
}

/// The inodes of the sockets that a process holds.
fn sockets(proc: &Path, process: u32) -> impl Iterator<Item = u64> {
    let folder = proc.join(format!("{process}/fd"));
    let files = folder::names(&folder, MAX_FILES).unwrap_or_default();
    files.into_iter().filter_map(move |file| {
        let target = fs::read_link(folder.join(file)).ok()?;
        let inode = target.as_os_str().as_bytes().strip_prefix(b"socket:[")?;
        let inode = inode.strip_suffix(b"]")?;
        core::str::from_utf8(inode).ok()?.parse().ok()
    })
}

/// The TCP connections with other machines, by inode. One of this machine with itself says
/// nothing about whether it can be reached.
fn connections(net: &Path) -> Vec<(u64, IpAddr)> {
    let mut connections = Vec::new();
    for list in ["tcp", "tcp6"] {
        let text = bounded::read(&net.join(list), MAX_LIST).unwrap_or_default();
        let text = core::str::from_utf8(&text).unwrap_or_default();
        let found = text.lines().skip(1).filter_map(connection);
        connections.extend(found.filter(|(_, peer)| !peer.is_loopback()));
    }
    connections
}

/// A line of /proc/net/tcp (`get_tcp4_sock` in net/ipv4/tcp_ipv4.c): number, local address,
/// other address, state, …, inode.
fn connection(line: &str) -> Option<(u64, IpAddr)> {
    let mut fields = line.split_ascii_whitespace();
    let peer = fields.by_ref().nth(2)?;
    let established = fields.next()? == ESTABLISHED;
    let inode = fields.nth(5)?.parse().ok()?;
    let peer = address(peer.split_once(':')?.0)?;
    established.then_some((inode, peer))
}

/// Words of 32 bits in the host's order, in hexadecimal.
fn address(digits: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(digits.get(at..at + 8)?, 16).ok();
    Some(match digits.len() {
        8 => Ipv4Addr::from(word(0)?.to_ne_bytes()).into(),
        32 => {
            let mut octets = [0; 16];
            for (number, place) in octets.chunks_exact_mut(4).enumerate() {
                place.copy_from_slice(&word(number * 8)?.to_ne_bytes());
            }
            IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::testing::scratch::Scratch;

    const PTS_0: u32 = 136 << 8;
    const TTY_S0: u32 = 4 << 8 | 64;

    /// A process file system with these processes: number, parent, terminal, ticks, sockets.
    fn proc(processes: &[(u32, u32, u32, u64, &[u64])]) -> Scratch {
        let proc = Scratch::new();
        fs::create_dir_all(proc.path("self/net")).unwrap();
        let header = "  sl  local_address rem_address   st …\n";
        // 192.0.2.2 and 127.0.0.1, as this host writes them.
        let outside = u32::from_ne_bytes([192, 0, 2, 2]);
        let inside = u32::from_ne_bytes([127, 0, 0, 1]);
        let line = |peer: u32, state: &str, inode: u64| {
            format!("   0: 0100007F:0016 {peer:08X}:C001 {state} 0:0 0:0 0 0 0 {inode} 1 0\n")
        };
        let list = [
            header.to_owned(),
            line(outside, "01", 7001),
            line(inside, "01", 7002),
            line(outside, "0A", 7003),
        ];
        proc.file("self/net/tcp", list.concat());
        for (number, parent, terminal, started, sockets) in processes {
            fs::create_dir_all(proc.path(&format!("{number}/fd"))).unwrap();
            let middle = "1 1 ".to_owned() + &terminal.to_string();
            let zeros = "0 ".repeat(14);
            let stat = format!("{number} (a) b) S {parent} {middle} {zeros}{started} 0 0\n");
            proc.file(&format!("{number}/stat"), stat);
            for (name, inode) in sockets.iter().enumerate() {
                let link = proc.path(&format!("{number}/fd/{name}"));
                symlink(format!("socket:[{inode}]"), link).unwrap();
            }
        }
        proc
    }

    fn session(processes: &[(u32, u32, u32, u64, &[u64])]) -> Session {
        of_process(proc(processes).folder(), 100)
    }

    #[test]
    fn an_ssh_session_began_with_the_first_process_of_its_connection() {
        let session = session(&[
            (100, 90, PTS_0, 900, &[]),
            (90, 80, PTS_0, 800, &[]),
            (80, 70, 0, 700, &[7001]),
            (70, 60, 0, 600, &[7003, 7001]),
            (60, 1, 0, 500, &[7003]),
            (1, 0, 0, 1, &[]),
        ]);
        let began_at = Instant::from_millis(6_000);
        let peer = "192.0.2.2".parse().unwrap();
        assert_eq!(session, Session::Connection { peer, began_at });
    }

    #[test]
    fn a_login_on_a_serial_line_is_a_console_even_through_sudo() {
        let on_a_line = [
            (100, 90, PTS_0, 900, [].as_slice()),
            (90, 80, PTS_0, 890, &[]),
            (80, 1, TTY_S0, 500, &[]),
        ];
        assert_eq!(session(&on_a_line), Session::Console);
    }

    #[test]
    fn a_multiplexer_a_job_and_a_way_over_loopback_cannot_be_told() {
        let multiplexer = [(100, 90, PTS_0, 900, [].as_slice()), (90, 1, 0, 100, &[])];
        let loopback = [
            (100, 90, PTS_0, 900, [].as_slice()),
            (90, 1, 0, 100, &[7002]),
        ];
        let loops = [(100, 90, 0, 900, [].as_slice()), (90, 100, 0, 100, &[])];
        for processes in [multiplexer, loopback, loops] {
            assert_eq!(session(&processes), Session::Unknown);
        }
        assert_eq!(session(&[]), Session::Unknown);
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let v6 = "2001:db8::2".parse::<Ipv6Addr>().unwrap().octets();
        let words = v6.chunks(4).map(|word| {
            let word = <[u8; 4]>::try_from(word).unwrap();
            format!("{:08X}", u32::from_ne_bytes(word))
        });
        let written: String = words.collect();
        assert_eq!(address(&written), Some("2001:db8::2".parse().unwrap()));
        for odd in ["", "0", "0100007", "zz00007F", "é100007F"] {
            assert_eq!(address(odd), None, "{odd}");
        }
    }

    #[test]
    fn this_process_has_a_beginning() {
        let status = Status::read(Path::new("/proc"), std::process::id()).unwrap();
        assert!(status.started_at <= crate::sys::clock::boottime());
        assert!(status.parent > 0);
    }
}
