//! A door: guarded ports, the knocks that open and close them, and for how long.

use core::net::IpAddr;

use heapless::{String, Vec};

use crate::code::Code;
use crate::config::MAX_INTERFACES;
use crate::knock::{Port, PortRange};
use crate::network::Network;
use crate::payload::Payload;
use crate::spa::Terms;
use crate::time::Duration;

/// The most doors one configuration can have: a set of doors is the bits of a `u64`.
pub const MAX_DOORS: usize = 64;
/// The most ports, and ranges of ports, one door can guard.
pub const MAX_GUARDS: usize = 16;
/// The most addresses and networks in each list of one door.
pub const MAX_NETWORKS: usize = 8;
/// The most addresses of this machine that one door names.
pub const MAX_ADDRESSES: usize = 4;
/// The most knocks in one sequence, as in knockd.
pub const MAX_STEPS: usize = 32;
/// The most decoys of one door.
pub const MAX_DECOYS: u8 = 32;
/// The longest door name. nftables allows 255 characters; people read it in a column.
pub const MAX_NAME: usize = 24;

/// A door's name: `[A-Za-z0-9_]`, a letter first.
pub type Name = String<MAX_NAME>;
/// Ports to knock on, in this order.
pub type Sequence = Vec<Port, MAX_STEPS>;

/// The longest path: that of a socket, `sun_path` less its terminator (unix(7)).
pub const MAX_PATH: usize = 107;

/// A guarded service.
///
/// What each field says of itself holds for every door that [`crate::config`] reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// What the administrator calls it.
    pub name: Name,
    /// The ports that stay shut unless a source was granted access: at least one. A port that this door or another
    /// knocks on is none of them, unless it lies in a range of several: there it is left out. A client may know none.
    /// Several doors can guard the same port.
    pub guards: Vec<PortRange, MAX_GUARDS>,
    /// The hosts behind this machine whose ports it guards; empty: it guards this machine's.
    pub behind: Vec<Network, MAX_NETWORKS>,
    /// The addresses of this machine at which it guards; empty: all. Where it guards others, none.
    pub to: Vec<Network, MAX_ADDRESSES>,
    /// The interfaces on which it guards, as indices in [`crate::config::Global::named`]; none: all that are guarded.
    pub interfaces: InterfaceSet,
    /// Whose knocks it hears; empty: everybody's.
    pub from: Vec<Network, MAX_NETWORKS>,
    /// The second of Unix time from which on it hears knocks.
    pub not_before: Option<u64>,
    /// The second of Unix time from which on it hears none, and nobody has a grant.
    pub not_after: Option<u64>,
    /// Whether its knocks go on to whoever they are for.
    pub passive: bool,
    /// Who keeps the state of attempts.
    pub engine: EngineName,
    /// How the ports to knock are chosen.
    pub method: Method,
    /// What every UDP knock must carry; `None` where no knock can be UDP.
    pub payload: Option<Payload>,
    /// The time from the first knock of an attempt to its last: 1 ms to 1 hour.
    pub window: Duration,
    /// How long the knocks of a fixed sequence may be out of order, from the first that comes ahead of its
    /// turn, at most 10 s; 0: not at all. It does not concern what opens a one-time door.
    pub jitter: Duration,
    /// How long a grant lasts: 1 ms to 365 days.
    pub grant: Duration,
    /// How much of an IPv4 address is granted, in bits from the left: 8 to 32, which is that
    /// address only.
    pub grant_prefix4: u8,
    /// How much of an IPv6 address is granted: 16 to 128, which is that address only.
    pub grant_prefix6: u8,
    /// How many blocks of ports around those of a fixed sequence end an attempt when they are hit.
    pub decoys: u8,
    /// When to stop listening to a source that keeps failing; `None`: never.
    pub cutoff: Option<Cutoff>,
    /// What becomes of a source's connections when its grant ends.
    pub on_expiry: OnExpiry,
}

impl Door {
    /// A door whose other options are at their defaults, as they are for one that a file says no more of.
    /// `None` if the name is too long or the guarded ports are too many; whether they make sense beside each
    /// other and beside those of other doors, nobody looks here.
    ///
    /// ```
    /// use postern_core::door::{Door, Method, Sequence};
    /// use postern_core::knock::{tcp, udp};
    /// use postern_core::time::Duration;
    ///
    /// let open = Sequence::from([tcp(7000), udp(9001), tcp(8002)]);
    /// let close = Sequence::new();
    /// let door = Door {
    ///     window: Duration::from_secs(5),
    ///     ..Door::new("ssh", &[tcp(22)], Method::Separate { open, close }).expect("a short name")
    /// };
    /// assert_eq!(door.grant, Duration::from_secs(30));
    /// ```
    pub fn new(name: &str, guards: &[Port], method: Method) -> Option<Self> {
        if guards.len() > MAX_GUARDS {
            return None;
        }
        Some(Self {
            name: name.try_into().ok()?,
            guards: guards.iter().copied().map(PortRange::from).collect(),
            behind: Vec::new(),
            to: Vec::new(),
            interfaces: InterfaceSet::EMPTY,
            from: Vec::new(),
            not_before: None,
            not_after: None,
            passive: false,
            engine: EngineName::Daemon,
            method,
            payload: None,
            window: Duration::from_secs(10),
            jitter: Duration::from_millis(50),
            grant: Duration::from_secs(30),
            grant_prefix4: 32,
            grant_prefix6: 128,
            decoys: 16,
            cutoff: None,
            on_expiry: OnExpiry::Keep,
        })
    }

    /// Whether it guards the port, wherever.
    pub fn guards(&self, port: Port) -> bool {
        self.guards.iter().any(|guard| guard.contains(port))
    }

    /// Whether it guards the port by name, and not only in a range, from which knocks are left out.
    pub fn guards_alone(&self, port: Port) -> bool {
        self.guards.contains(&port.into())
    }

    /// Whether it hears knocks of this source.
    pub fn hears(&self, source: IpAddr) -> bool {
        self.from.is_empty() || self.from.iter().any(|network| network.has(source))
    }
}

/// What becomes of a source's connections when its grant ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExpiry {
    /// They live on; there are no new ones.
    Keep,
    /// They end too.
    Cut,
}

impl OnExpiry {
    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Cut => "cut",
        }
    }
}

/// Who keeps the state of attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineName {
    /// The agent, which serves every method.
    Daemon,
    /// nftables: a set for each knock that was made. It serves what is not one-time, and knows
    /// neither payloads nor jitter nor a cut-off.
    Chain,
    /// nftables: a set of sources and the port that is expected next. It serves the same.
    Track,
}

impl EngineName {
    /// Every engine.
    pub const ALL: [Self; 3] = [Self::Daemon, Self::Chain, Self::Track];

    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::Chain => "chain",
            Self::Track => "track",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|engine| engine.name() == text)
    }

    /// Whether it needs no agent.
    pub const fn is_in_kernel(self) -> bool {
        matches!(self, Self::Chain | Self::Track)
    }
}

/// How the ports to knock are chosen.
///
/// Where there is a `close` sequence, an empty one means that only time closes the door. A port
/// may stand in a sequence several times: see [`crate::method`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// `single-same`, and `sequence-same` with more knocks than one: the knocks open what is
    /// closed and close what is open, for their sender.
    Same {
        /// The knocks, at least one.
        steps: Sequence,
    },
    /// `single-separate`, and `sequence-separate` with more knocks that open than one: one
    /// sequence opens, another closes, and neither begins with all of the other.
    Separate {
        /// The knocks that open, at least one.
        open: Sequence,
        /// The knocks that close; at most one if one opens.
        close: Sequence,
    },
    /// `one-time-list`: sequences in a file, each used once, in turn.
    List {
        /// The file, an absolute path: a sequence a line.
        file: String<MAX_PATH>,
        /// What comes after the last of them.
        at_end: AtEnd,
        /// Whether knocks may come in any order.
        order: Order,
        /// The knocks that close.
        close: Sequence,
    },
    /// `one-time-clock`: RFC 6238 (TOTP).
    Clock {
        /// How a number becomes ports.
        code: Code,
        /// Seconds for which a code is the current one: 5 to 3600.
        period: u32,
        /// How many periods before and after the current one are accepted too: at most 10.
        skew: u8,
        /// The knocks that close, none of them a port that a code can ask for.
        close: Sequence,
    },
    /// `one-time-seed`: RFC 4226 (HOTP).
    Seed {
        /// How a number becomes ports.
        code: Code,
        /// How many codes are accepted, the next one and those after it: 1 to 31.
        look_ahead: u8,
        /// The knocks that close, none of them a port that a code can ask for.
        close: Sequence,
    },
    /// `spa`: a datagram of fwknop's protocol.
    Spa(Terms),
}

impl Method {
    /// The name in configurations.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Same { steps } if steps.len() == 1 => "single-same",
            Self::Same { .. } => "sequence-same",
            Self::Separate { open, .. } if open.len() == 1 => "single-separate",
            Self::Separate { .. } => "sequence-separate",
            Self::List { .. } => "one-time-list",
            Self::Clock { .. } => "one-time-clock",
            Self::Seed { .. } => "one-time-seed",
            Self::Spa(_) => "spa",
        }
    }

    /// Whether what opens the door works only once, so that its use must be remembered.
    pub const fn is_one_time(&self) -> bool {
        matches!(
            self,
            Self::List { .. } | Self::Clock { .. } | Self::Seed { .. } | Self::Spa(_)
        )
    }

    /// The knocks that open, or switch; empty where the configuration does not name them.
    pub fn open(&self) -> &[Port] {
        match self {
            Self::Same { steps } => steps,
            Self::Separate { open, .. } => open,
            Self::List { .. } | Self::Clock { .. } | Self::Seed { .. } | Self::Spa(_) => &[],
        }
    }

    /// The knocks that close; empty where there are none of their own.
    pub fn close(&self) -> &[Port] {
        match self {
            Self::Same { .. } | Self::Spa(_) => &[],
            Self::Separate { close, .. }
            | Self::List { close, .. }
            | Self::Clock { close, .. }
            | Self::Seed { close, .. } => close,
        }
    }

    /// How a number becomes ports, for the methods that derive them.
    pub const fn code(&self) -> Option<&Code> {
        match self {
            Self::Clock { code, .. } | Self::Seed { code, .. } => Some(code),
            _ => None,
        }
    }

    /// What a datagram that opens it has to be.
    pub const fn spa(&self) -> Option<&Terms> {
        match self {
            Self::Spa(terms) => Some(terms),
            _ => None,
        }
    }

    /// Whether it is made of knocks at several ports or times, of which attempts consist.
    pub const fn is_knocked(&self) -> bool {
        self.spa().is_none()
    }
}

/// What comes after the last sequence of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// The first again.
    Wrap,
    /// Nothing: the door stays shut.
    Stop,
}

/// Whether the order of the knocks of a one-time method counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Any order within the window.
    Any,
    /// As written.
    Strict,
}

/// Brute-force cut-off: this many failed attempts within this time silence a source for as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cutoff {
    /// The failure that reaches this number cuts the source off: 1 to 1000.
    pub failures: u16,
    /// The window in which failures count, and how long the source is then ignored: 1 ms to
    /// 30 days.
    pub within: Duration,
}

/// A set of interfaces, by their index in a list of [`crate::config::Global`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceSet(u16);

const _: () = assert!(MAX_INTERFACES <= u16::BITS as usize);

impl InterfaceSet {
    /// No interface.
    pub const EMPTY: Self = Self(0);

    /// This interface.
    #[must_use]
    pub const fn only(interface: usize) -> Self {
        let mut set = Self::EMPTY;
        set.insert(interface);
        set
    }

    /// Adds an interface; an index that no configuration can have is ignored.
    pub const fn insert(&mut self, interface: usize) {
        if interface < MAX_INTERFACES {
            self.0 |= 1 << interface;
        }
    }

    /// The interfaces that are in either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the interface is in the set.
    pub const fn contains(self, interface: usize) -> bool {
        interface < MAX_INTERFACES && self.0 >> interface & 1 == 1
    }

    /// Whether no interface is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A set of doors, by their index in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DoorSet(u64);

impl DoorSet {
    /// No door.
    pub const EMPTY: Self = Self(0);

    /// Adds a door; an index that no configuration can have is ignored.
    pub fn insert(&mut self, door: usize) {
        if door < MAX_DOORS {
            self.0 |= 1 << door;
        }
    }

    /// Takes a door out.
    pub const fn remove(&mut self, door: usize) {
        if door < MAX_DOORS {
            self.0 &= !(1 << door);
        }
    }

    /// The doors that are in either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The doors that are in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The doors that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the door is in the set.
    pub const fn contains(self, door: usize) -> bool {
        door < MAX_DOORS && self.0 >> door & 1 == 1
    }

    /// Whether no door is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether more than one door is in the set.
    pub(crate) const fn are_several(self) -> bool {
        self.0 & self.0.wrapping_sub(1) != 0
    }

    /// How many doors are in the set. Counted one by one, as they are few: a MIPS 24Kc has no instruction for it.
    #[inline(never)]
    pub const fn len(self) -> u32 {
        let (mut left, mut count) = (self.0, 0);
        while left != 0 {
            left &= left - 1;
            count += 1;
        }
        count
    }
}

impl Iterator for DoorSet {
    type Item = usize;

    /// Takes the door with the lowest index out of the set.
    #[inline(never)]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let door = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(door)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_doors_yields_its_members_in_order() {
        let mut doors = DoorSet::EMPTY;
        for door in [63, 0, 5, 5, MAX_DOORS, usize::MAX] {
            doors.insert(door);
        }
        assert!(doors.contains(63) && !doors.contains(64) && !doors.contains(1));
        assert!(doors.eq([0, 5, 63]));
    }
}
