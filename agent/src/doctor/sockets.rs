//! Who listens on which port (proc_net_tcp.rst in the kernel's documentation).

use postern_core::knock::{Port, Protocol};

use super::root::Root;

/// The states of `include/net/tcp_states.h` in which a socket takes what anybody sends.
const LISTENING: &str = "0A";
const UNCONNECTED: &str = "07";

/// A socket that takes what anybody sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) port: Port,
    /// Whether only programs of this machine reach it.
    pub(super) loopback: bool,
    inode: u64,
    /// `None`: it cannot be told who has it.
    pub(super) owner: Option<Owner>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) process: u32,
    pub(super) name: String,
    /// Whether it is root's: anybody may call a process of his own sshd.
    pub(super) trusted: bool,
}

impl Listener {
    /// Who it is, as far as that can be told.
    pub(super) fn who(&self) -> String {
        match &self.owner {
            Some(Owner { process, name, .. }) => format!("{name} (process {process})"),
            None => "a service".into(),
        }
    }

    /// Whether it belongs to a program of this name.
    pub(super) fn belongs_to(&self, name: &str) -> bool {
        let mut owner = self.owner.iter();
        owner.any(|owner| owner.trusted && owner.name == name)
    }
}

/// All listeners, without their owners.
pub(super) fn listeners(root: &Root) -> Vec<Listener> {
    let tables = [
        ("tcp", Protocol::Tcp, LISTENING),
        ("tcp6", Protocol::Tcp, LISTENING),
        ("udp", Protocol::Udp, UNCONNECTED),
        ("udp6", Protocol::Udp, UNCONNECTED),
    ];
    let mut listeners = Vec::new();
    for (table, protocol, state) in tables {
        let text = root.text(&format!("proc/net/{table}"));
        listeners.extend(
            text.lines()
                .filter_map(|line| listener(line, protocol, state)),
        );
    }
    listeners
}

/// Every socket that listens, with the process that has it, as far as this one may see that.
pub(super) fn owned_listeners(root: &Root) -> Vec<Listener> {
    let mut listeners = listeners(root);
    for process in root.processes() {
        if listeners.iter().all(|listener| listener.owner.is_some()) {
            break;
        }
        let folder = format!("proc/{process}/fd");
        for file in root.names(&folder) {
            let inode = root
                .link(&format!("{folder}/{file}"))
                .and_then(|link| inode(link.to_str()?));
            // Processes share sockets with their children: the first is the oldest, or soon was.
            let shared = |listener: &&mut Listener| {
                Some(listener.inode) == inode && listener.owner.is_none()
            };
            for listener in listeners.iter_mut().filter(shared) {
                let name = root.text(&format!("proc/{process}/comm"));
                listener.owner = Some(Owner {
                    process,
                    name: name.trim_end().into(),
                    trusted: root.is_ours(process),
                });
            }
        }
    }
    listeners
}

fn inode(link: &str) -> Option<u64> {
    let number = link.strip_prefix("socket:[")?.strip_suffix(']')?;
    number.parse().ok()
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode`
fn listener(line: &str, protocol: Protocol, state: &str) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let is_it = fields.nth(1)? == state;
    let (address, port) = local.split_once(':')?;
    let number = u16::from_str_radix(port, 16).ok()?;
    is_it.then_some(Listener {
        port: Port { protocol, number },
        loopback: is_loopback(address),
        inode: fields.nth(5)?.parse().ok()?,
        owner: None,
    })
}

/// The kernel prints an address as numbers of 32 bits, each in the machine's byte order.
fn is_loopback(address: &str) -> bool {
    let word = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok()
    };
    let octets = |at| word(at).unwrap_or_default().to_ne_bytes();
    match address.len() {
        8 => octets(0)[0] == 127,
        32 => match [octets(0), octets(1), octets(2), octets(3)] {
            [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], last] => last == [0, 0, 0, 1],
            [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0xff, 0xff], [first, ..]] => first == 127,
            _ => false,
        },
        _ => false,
    }
}
