//! What an administrator configured.
//!
//! [`Config::parse`] reads a router's configuration, [`Client::parse`] a client's file; both
//! are UCI files. [`OPTIONS`] says what each option means and how it is read; a
//! [`Diagnostic`] says what is wrong and what was expected; [`write()`] goes the other way.

mod checks;
mod client;
mod diagnostic;
mod draft;
mod methods;
mod options;
mod read;
mod values;
mod write;

use heapless::{String, Vec};

use crate::door::{Door, InterfaceSet, MAX_DOORS};
use crate::network::Network;
use draft::Draft;

pub use crate::door::MAX_PATH;
pub use crate::ports::MAX_KNOCK_PORTS;
pub use client::{Client, MAX_ADDRESS};
pub use diagnostic::{Diagnostic, Problem, Severity};
pub use methods::{MethodName, Methods};
pub use options::{OPTIONS, OptionSpec, Presence, Section, Words};
pub use write::write;

/// The most interfaces a configuration can name.
pub const MAX_INTERFACES: usize = 16;
/// The most networks that nothing is guarded from.
pub const MAX_EXEMPT: usize = 16;
/// The most knocks, in all doors together, of which the kernel keeps count: `chain` has two sets
/// for nearly each of them.
pub const MAX_KERNEL_KNOCKS: usize = 512;
/// The longest interface name: the kernel's IFNAMSIZ less its terminator.
pub const MAX_INTERFACE_NAME: usize = 15;
/// Where the control socket lies unless the configuration says otherwise: in a folder of its own,
/// which can be all of `/var/run` that a confined agent writes to. OpenWrt has no `/run`.
pub const DEFAULT_CONTROL: &str = "/var/run/postern/control.sock";
/// Where what is remembered lies unless the configuration says otherwise.
pub const DEFAULT_STATE_DIR: &str = "/etc/postern/state";
/// The most sections with a name, doors and sections of unknown types together.
pub const MAX_SECTIONS: usize = 128;

/// The most ports that source `sockets` listens at, decoys aside.
pub const MAX_SOCKETS: usize = 4_000;

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

impl Config {
    /// Reads a configuration file, and reports everything that is wrong with it.
    ///
    /// Warnings leave a configuration; errors, one or more, do not. That there is no door is an
    /// error, unless the file says that nothing is to be guarded.
    ///
    /// ```
    /// use postern_core::config::Config;
    ///
    /// let text = "\
    /// config postern 'global'
    ///     list interface 'wan'
    /// config door 'ssh'
    ///     list guard 'tcp:22'
    ///     option method 'sequence-separate'
    ///     list open 'tcp:7000'
    ///     list open 'udp:9001'
    ///     list open 'tcp:8002'
    /// ";
    /// let config = Config::parse(text.as_bytes(), |wrong| panic!("{wrong}")).expect("a configuration");
    /// assert_eq!(config.doors[0].name, "ssh");
    ///
    /// let mut said = Vec::new();
    /// let wrong = text.replace("udp:9001", "udp:90001");
    /// let config = Config::parse(wrong.as_bytes(), |wrong| said.push(format!("line {}: {wrong}", wrong.line)));
    /// assert!(config.is_none());
    /// assert!(said[0].starts_with("line 7: door 'ssh': "), "{said:?}");
    /// ```
    pub fn parse(text: &[u8], report: impl FnMut(&Diagnostic<'_>)) -> Option<Self> {
        Self::read(text, true, report)
    }

    /// A configuration that says nothing: what [`Config::parse_in_place`] begins with.
    #[must_use]
    #[inline]
    pub const fn empty() -> Self {
        Self {
            global: Global::EMPTY,
            doors: Vec::new(),
        }
    }

    /// Reads a configuration file as [`Config::parse`] does, for whom a configuration is too big to be on the stack.
    /// `false`: there was an error, and what is there now is good for nothing.
    #[must_use]
    pub fn parse_in_place(
        &mut self,
        text: &[u8],
        needs_door: bool,
        report: &mut dyn FnMut(&Diagnostic<'_>),
    ) -> bool {
        self.global = Global::EMPTY;
        self.doors.clear();
        let mut address = String::new();
        let draft = Draft::new(
            &mut self.global,
            &mut address,
            &mut self.doors,
            Section::Postern,
        );
        read::read(text, Section::Postern, draft, needs_door, report)
    }

    /// Reads a configuration file as [`Config::parse`] does, except that having no door is only worth a warning.
    pub fn parse_doorless(text: &[u8], report: impl FnMut(&Diagnostic<'_>)) -> Option<Self> {
        Self::read(text, false, report)
    }

    fn read(
        text: &[u8],
        needs_door: bool,
        mut report: impl FnMut(&Diagnostic<'_>),
    ) -> Option<Self> {
        let mut config = Self::empty();
        let right = config.parse_in_place(text, needs_door, &mut report);
        right.then_some(config)
    }

    /// Where a file says that the control socket lies, whatever else is wrong with it.
    #[must_use]
    pub fn control(text: &[u8]) -> Option<String<MAX_PATH>> {
        let absolute = |text: &str| text.starts_with('/').then(|| text.try_into().ok())?;
        read::foretold(text, Section::Postern, "control", absolute)
    }

    /// Where a file says that what is remembered lies, whatever else is wrong with it.
    #[must_use]
    pub fn state_dir(text: &[u8]) -> Option<String<MAX_PATH>> {
        let absolute = |text: &str| text.starts_with('/').then(|| text.try_into().ok())?;
        read::foretold(text, Section::Postern, "state_dir", absolute)
    }
}

/// What holds for every door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Whether anything is guarded.
    pub enabled: bool,
    /// Where knocks are seen.
    pub source: Source,
    /// The rules that keep a door shut.
    pub guard: Guard,
    /// The interfaces that are guarded, and on which knocks are heard; at least one.
    pub interfaces: Vec<Interface, MAX_INTERFACES>,
    /// Of each interface that the file names, which of `interfaces` it stands for: itself, unless somebody looked up
    /// what the names mean.
    pub named: Vec<InterfaceSet, MAX_INTERFACES>,
    /// Whether source `packet` hears packets for other machines too.
    pub promiscuous: bool,
    /// The sources that nothing is guarded from.
    pub exempt: Vec<Network, MAX_EXEMPT>,
    /// The bits that guard `mark` sets on packets of granted sources; at least one.
    pub mark: u32,
    /// The NFLOG group, not 0.
    pub nflog_group: u16,
    /// Where source `log` reads.
    pub log_from: LogFrom,
    /// Where the agent's control socket lies: an absolute path.
    pub control: String<MAX_PATH>,
    /// The folder of what one-time methods remember: an absolute path.
    pub state_dir: String<MAX_PATH>,
    /// The way in that stays when no door opens.
    pub fallback: Fallback,
    /// What becomes of the guard when the agent is killed.
    pub on_crash: OnCrash,
}

impl Source {
    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nflog => "nflog",
            Self::Packet => "packet",
            Self::Sockets => "sockets",
            Self::Log => "log",
        }
    }
}

impl Guard {
    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Mark => "mark",
        }
    }
}

impl Global {
    /// Which of the guarded interfaces the door guards on.
    #[must_use]
    pub fn interfaces_of(&self, door: &Door) -> InterfaceSet {
        let mut interfaces = InterfaceSet::EMPTY;
        for (index, stands_for) in self.named.iter().enumerate() {
            if door.interfaces.is_empty() || door.interfaces.contains(index) {
                interfaces = interfaces.or(*stands_for);
            }
        }
        interfaces
    }

    /// What the defaults of [`OPTIONS`] are read into.
    const EMPTY: Self = Self {
        enabled: true,
        source: Source::Nflog,
        guard: Guard::Gate,
        interfaces: Vec::new(),
        named: Vec::new(),
        promiscuous: false,
        exempt: Vec::new(),
        mark: 0,
        nflog_group: 0,
        log_from: LogFrom::Kernel,
        control: String::new(),
        state_dir: String::new(),
        fallback: Fallback::Auto,
        on_crash: OnCrash::Keep,
    };
}

/// Where knocks are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// nftables' `log group`, read over NFNETLINK_LOG.
    Nflog,
    /// AF_PACKET sockets with a filter in the kernel.
    Packet,
    /// A bound socket for each knock port.
    Sockets,
    /// Lines that nftables' `log` writes into the kernel's log.
    Log,
}

/// Where the kernel's log is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFrom {
    /// `/dev/kmsg`: record by record, and each says whether it is the kernel's.
    Kernel,
    /// The file of a log daemon: an absolute path.
    File(String<MAX_PATH>),
    /// Standard input.
    Input,
}

/// The rules that keep a door shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Drop new connections to a guarded port unless granted; leave the rest to others.
    Gate,
    /// Mark packets of granted sources; an accepting rule of the firewall asks for the mark.
    Mark,
}

/// What becomes of the guard when the agent is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCrash {
    /// It outlives the agent.
    Keep,
    /// The kernel takes it away.
    Open,
}

/// What the owner says of the way in that stays when no door opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// It has to be found.
    Auto,
    /// There is one that this machine cannot see, such as a provider's console.
    Other,
    /// There is none, and the owner does without.
    None,
}

#[cfg(test)]
mod tests;
