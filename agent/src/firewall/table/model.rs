//! What the table looks like: plain data, which renderers turn into text or messages.

use core::ops::RangeInclusive;

use postern_core::knock::Protocol;
use postern_core::time::Duration;

use crate::network::{Family, Network};

/// The most sources that one door grants at a time, for each address family.
pub(crate) const MAX_GRANTS: u32 = 1024;
/// The most sources that are cut off at a time, for each address family.
pub(crate) const MAX_CUTOFFS: u32 = 4096;
/// The most secrets and lists of which it is remembered what was used; a door has one at a time.
pub(crate) const MAX_USED: u32 = 256;
/// The most sources that are known to have hit a decoy, for each address family: so many for each decoy, which forged
/// packets hit the more often the more there are, but no more than this. The kernel takes 8 to 16 octets for each at once.
pub(crate) const DECOYED_PER_DECOY: u32 = 1024;
pub(crate) const MAX_DECOYED: u32 = 32_768;
/// Whose ports there are.
pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// The whole table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// Named counters, in the order in which they are made and listed.
    pub counters: Vec<String>,
    /// Sets and maps, in the order in which they are made and listed.
    pub sets: Vec<Set>,
    /// Chains, in the order in which they are made and listed.
    pub chains: Vec<Chain>,
}

/// A named set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub content: Content,
    /// The most elements; `None`: no limit.
    pub size: Option<u32>,
    /// Shown by nft, and read back: a grant set's is the ports of its door.
    pub comment: Option<String>,
}

/// What a set holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The names of interfaces, fixed, in nft's order.
    Interfaces(Vec<String>),
    /// Interface names that expire.
    TimedInterfaces,
    /// Addresses that expire.
    TimedSources(Family),
    /// Addresses that expire, and that rules add and delete.
    DynamicSources(Family),
    /// Addresses, each with a port, that expire, and that rules add and delete.
    DynamicPairs(Family),
    /// Ports, fixed, in ascending order.
    Ports(Vec<u16>),
    /// The chain that decides about each destination port, in ascending order; no two ranges
    /// share a port.
    PortChains(Vec<(RangeInclusive<u16>, String)>),
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Its name.
    pub name: String,
    /// Where packets enter it, with policy accept; `None`: other chains lead to it.
    pub hook: Option<Hook>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// Where packets enter a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// All that arrive, ahead of destination NAT, which sits at -100: by the port that the
    /// sender sees.
    Prerouting,
    /// Those for this host, ahead of the ordinary firewall, which sits at 0, and which sees the
    /// mark.
    Input,
}

impl Hook {
    pub(crate) const fn priority(self) -> i32 {
        match self {
            Self::Prerouting => -110,
            Self::Input => -10,
        }
    }
}

/// A rule: matches, then what to do.
pub(crate) type Rule = Vec<Statement>;

/// A part of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    /// The packet came in on an interface of the set.
    ArrivedOn(String),
    /// The packet came in on an interface that is not in the set.
    NotArrivedOn(String),
    /// The packet came in on this interface.
    Arrived(String),
    /// A packet of this protocol.
    Of(Protocol),
    /// The destination port is in the set.
    PortIn(Protocol, String),
    /// The destination port is one of these.
    PortBetween(Protocol, RangeInclusive<u16>),
    /// The source address is of this network.
    From(Network),
    /// The destination address is of this network.
    To(Network),
    /// An echo request.
    EchoRequest(Family),
    /// A packet without options or extension headers is this long, in octets, where it is an echo request that
    /// carries so many; no fragment is.
    EchoLength(Family, u16),
    /// A UDP packet that carries so many octets, and these bits in the first of them.
    Datagram {
        /// How many.
        octets: RangeInclusive<u16>,
        /// Which bits count.
        mask: u8,
        /// What they are.
        value: u8,
    },
    /// The source address is in the set.
    SourceIn(Family, String),
    /// The first so many bits of the source address, and zeros behind them, are in the set.
    NetworkIn(Family, u8, String),
    /// The key is in the set.
    KeyIn(SetKey, String),
    /// Puts the key into the set, or takes it out; where the set is full, the rule ends.
    Change {
        /// What is done.
        change: DynamicChange,
        /// The set.
        set: String,
        /// What is put into it.
        key: SetKey,
        /// How long it stays there.
        lasting: Option<Duration>,
    },
    /// Counts the packet in the named counter.
    Count(String),
    /// A TCP segment that does not open a connection: anything but SYN without ACK.
    ///
    /// Flags that cannot be read (an IPv6 first fragment may end before them) do not match,
    /// so that such a packet goes on to the ports: intended.
    NotOpening,
    /// Looks the destination port up in a map of verdicts.
    PortVerdict(Protocol, String),
    /// A UDP packet of a flow that was let through before (`IPS_CONFIRMED`).
    UdpFlow,
    /// What comes back of a flow that began behind this machine, under an address of it.
    OwnFlow,
    /// The destination address is another machine's, as far as the routing tables tell, or is
    /// not: then it is this machine's own, or one of many machines.
    ForAnother(bool),
    /// The first fragment of an IPv6 packet that nobody reassembled.
    FirstFragment,
    /// The first four octets after the IP headers can be read. Where a protocol has ports
    /// they are the ports, and no protocol has them all zero.
    PortsReadable,
    /// Matches so many packets a second, and as many more at once; not nft's default of 5 more.
    Limit {
        /// The rate.
        per_second: u32,
        /// How many more.
        burst: u32,
    },
    /// Copies the start of the packet to an NFLOG group.
    Log {
        /// The group.
        group: u16,
        /// How many octets of it.
        length: u16,
    },
    /// Has the kernel's log say that the packet came, in a line with this prefix.
    LogLine(&'static str),
    /// Sets these bits of the packet's mark.
    Mark(u32),
    /// Ends the rule.
    Verdict(Verdict),
}

/// The bits of IPv4's fragment offset, and of the flag that more follow: a whole packet has none of them.
pub(crate) const WHOLE: u16 = 0x3fff;

/// What the IP header of an echo request says of its length: IPv4's counts itself.
pub(crate) const fn echo_length(family: Family, carried: u16) -> u16 {
    let headers = match family {
        Family::V4 => 20 + 8,
        Family::V6 => 8,
    };
    carried.saturating_add(headers)
}

/// What the header of a UDP packet says of its length: it counts itself.
pub(crate) const UDP_HEADER: u16 = 8;

/// What sets are asked for, and what rules put into them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetKey {
    /// The first so many bits of the source address, and zeros behind them.
    Network(Family, u8),
    /// The source address, and the destination port of a packet of this protocol.
    Port(Family, Protocol),
    /// The source address, and the source port of a packet of this protocol.
    SourcePort(Family, Protocol),
    /// The source address, and this port.
    NextPort(Family, u16),
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It passes this table.
    Accept,
    /// It is gone.
    Drop,
    /// This chain decides.
    Goto(String),
    /// This chain decides, unless it comes to its end or returns.
    Jump(String),
    /// The chain that jumped here decides.
    Return,
}

impl Set {
    /// A set of no more elements than this.
    pub(crate) const fn new(name: String, content: Content, size: u32) -> Self {
        Self {
            name,
            content,
            size: Some(size),
            comment: None,
        }
    }

    /// This set, with a comment.
    pub(crate) fn described(self, comment: String) -> Self {
        Self {
            comment: Some(comment),
            ..self
        }
    }
}

impl Chain {
    /// A chain that others lead to.
    pub(crate) const fn new(name: String, rules: Vec<Rule>) -> Self {
        Self {
            name,
            hook: None,
            rules,
        }
    }
}

impl Content {
    /// Whether its elements expire.
    pub(crate) const fn is_timed(&self) -> bool {
        matches!(self, Self::TimedInterfaces | Self::TimedSources(_)) || self.is_dynamic()
    }

    /// Whether rules add and delete its elements.
    pub(crate) const fn is_dynamic(&self) -> bool {
        matches!(self, Self::DynamicSources(_) | Self::DynamicPairs(_))
    }

    /// Whether its elements are ranges, which nf_tables keeps in a tree in place of a hash table.
    pub(crate) fn is_of_ranges(&self) -> bool {
        match self {
            Self::PortChains(ports) => ports.iter().any(|(ports, _)| ports.start() < ports.end()),
            _ => false,
        }
    }
}

/// What a rule does to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DynamicChange {
    /// Adds an element, or leaves it as it is.
    Add,
    /// Adds an element, or has it last from now on.
    Update,
    /// Deletes an element, if it is there.
    Delete,
}

impl DynamicChange {
    /// The word that nft has for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// The shortest timeout: 50 ms. Less than one tick of a slow kernel (HZ is 24 on some MIPS
/// boards) would round to 0, which means for ever.
const SHORTEST: Duration = Duration::from_millis(50);

/// A timeout that the kernel takes for what it says, in milliseconds.
pub(crate) fn timeout(lasting: Duration) -> u64 {
    lasting.clamp(SHORTEST, Duration::LONGEST).as_millis()
}
