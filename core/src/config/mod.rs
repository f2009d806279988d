//! What an administrator configured.

use heapless::{String, Vec};

use crate::door::{Door, MAX_DOORS};

/// The most interfaces a configuration can name.
pub const MAX_INTERFACES: usize = 16;
/// The longest interface name: the kernel's IFNAMSIZ less its terminator.
pub const MAX_INTERFACE_NAME: usize = 15;
/// The longest path of the control socket: `sun_path` less its terminator (unix(7)).
pub const MAX_PATH: usize = 107;

/// The name of a network interface.
pub type Interface = String<MAX_INTERFACE_NAME>;

/// A whole configuration, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What holds for every door.
    pub global: Global,
    /// The doors, in the order of the file.
    pub doors: Vec<Door, MAX_DOORS>,
}

/// What holds for every door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Where knocks are seen.
    pub source: Source,
    /// The rules that keep a door shut.
    pub guard: Guard,
    /// The interfaces that are guarded, and on which knocks are heard; at least one.
    pub interfaces: Vec<Interface, MAX_INTERFACES>,
    /// The bit that guard `mark` sets on packets of granted sources.
    pub mark: u32,
    /// The NFLOG group.
    pub nflog_group: u16,
    /// Where the agent's control socket lies.
    pub control: String<MAX_PATH>,
}

/// Where knocks are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// nftables' `log group`, read over NFNETLINK_LOG.
    Nflog,
}

/// The rules that keep a door shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Drop new connections to a guarded port unless granted; leave the rest to others.
    Gate,
    /// Mark packets of granted sources; an accepting rule of the firewall asks for the mark.
    Mark,
}
