//! What the kernel runs for each packet, as plain data: the expressions of a rule.
//!
//! `lowering` makes them of statements, the back-ends write them into messages. What is loaded
//! into registers stays as it is in the packet: ports and addresses in network order, marks and
//! connection tracking's states in that of the host.

use crate::firewall::table::model::{DynamicChange, Verdict};

/// The most octets in a register's value: all registers (NFT_DATA_VALUE_MAXLEN). libnftnl
/// before 1.2.7 writes beyond its memory if it is given more.
pub(crate) const LONGEST_VALUE: usize = 64;

/// A register, by the number that messages have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Register(pub(crate) u32);

impl Register {
    /// Where all of an expression's data is, unless it is one field of several.
    pub(crate) const FIRST: Self = Self::word(0);

    /// The register that begins at this word of 32 bits, of which there are 16: fields of a
    /// concatenated key follow each other, each padded to whole words.
    ///
    /// Four words are a register of 128 bits, and the kernel calls the first of them by its
    /// name (`nft_dump_register`).
    pub(crate) const fn word(number: u32) -> Self {
        Self(match number % 4 {
            0 => libc::NFT_REG_1 as u32 + number / 4,
            _ => libc::NFT_REG32_00 as u32 + number,
        })
    }
}

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    /// Loads what the kernel knows about the packet.
    Meta {
        key: MetaKey,
        to: Register,
    },
    /// Sets what the kernel knows about the packet.
    SetMeta {
        key: MetaKey,
        from: Register,
    },
    /// Loads octets of a header.
    Payload {
        base: Base,
        offset: u32,
        length: u32,
        to: Register,
    },
    /// Loads octets of an IPv6 extension header; ends the rule where there is none.
    ExtensionHeader {
        header: u8,
        offset: u32,
        length: u32,
        to: Register,
    },
    /// Loads what the routing tables say that the destination address is (`RTN_*`), in host order.
    DestinationType {
        to: Register,
    },
    /// Loads what connection tracking knows about the packet's flow.
    Conntrack {
        key: FlowKey,
        to: Register,
    },
    /// Loads a value.
    Immediate {
        value: Vec<u8>,
        to: Register,
    },
    /// Ends the rule unless the register's value, octet by octet, is as asked beside this one.
    Compare {
        from: Register,
        how: Comparison,
        value: Vec<u8>,
    },
    /// Keeps the bits of the mask, then turns those of `flip` over.
    Bitwise {
        from: Register,
        to: Register,
        mask: Vec<u8>,
        flip: Vec<u8>,
    },
    /// Ends the rule unless the register's value is in the set, or is not.
    Lookup {
        from: Register,
        set: String,
        is_in: bool,
    },
    /// Does what the map says about the register's value.
    VerdictLookup {
        from: Register,
        map: String,
    },
    /// Adds the register's value to a set, or deletes it there.
    Dynamic {
        change: DynamicChange,
        set: String,
        key: Register,
        /// How long it lasts, in milliseconds; `None`: as long as the set says.
        timeout: Option<u64>,
    },
    /// Counts the packet.
    Count {
        counter: String,
    },
    /// Copies the first octets of the packet to an NFLOG group.
    Log {
        group: u16,
        length: u32,
    },
    /// Writes a line about the packet into the kernel's log, beginning with this.
    LogLine(&'static str),
    /// Matches so many packets a second, and as many more at once.
    Limit {
        per_second: u32,
        burst: u32,
    },
    Verdict(Verdict),
}

/// What the kernel knows about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetaKey {
    /// The firewall mark, in host order.
    Mark,
    /// The name of the interface on which it came, 16 octets.
    InputInterface,
    /// NFPROTO_IPV4 or NFPROTO_IPV6, one octet.
    Family,
    /// IPPROTO_TCP and the like, one octet.
    Protocol,
}

impl MetaKey {
    /// `NFT_META_*`.
    pub(crate) const fn number(self) -> u32 {
        (match self {
            Self::Mark => libc::NFT_META_MARK,
            Self::InputInterface => libc::NFT_META_IIFNAME,
            Self::Family => libc::NFT_META_NFPROTO,
            Self::Protocol => libc::NFT_META_L4PROTO,
        }) as u32
    }
}

/// What connection tracking knows about a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowKey {
    /// `IPS_*`, in host order.
    Status,
    /// IP_CT_DIR_ORIGINAL or IP_CT_DIR_REPLY, one octet.
    Direction,
}

impl FlowKey {
    /// `NFT_CT_*`.
    pub(crate) const fn number(self) -> u32 {
        (match self {
            Self::Status => libc::NFT_CT_STATUS,
            Self::Direction => libc::NFT_CT_DIRECTION,
        }) as u32
    }
}

/// How a register's value is beside another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Unequal,
    AtLeast,
    AtMost,
}

impl Comparison {
    /// `NFT_CMP_*`.
    pub(crate) const fn number(self) -> u32 {
        (match self {
            Self::Equal => libc::NFT_CMP_EQ,
            Self::Unequal => libc::NFT_CMP_NEQ,
            Self::AtLeast => libc::NFT_CMP_GTE,
            Self::AtMost => libc::NFT_CMP_LTE,
        }) as u32
    }
}

/// The header that an offset counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// IPv4 or IPv6.
    Network,
    /// TCP or UDP.
    Transport,
}

impl Base {
    /// `NFT_PAYLOAD_*`.
    pub(crate) const fn number(self) -> u32 {
        (match self {
            Self::Network => libc::NFT_PAYLOAD_NETWORK_HEADER,
            Self::Transport => libc::NFT_PAYLOAD_TRANSPORT_HEADER,
        }) as u32
    }
}

impl DynamicChange {
    /// `NFT_DYNSET_OP_*`.
    pub(crate) const fn number(self) -> u32 {
        /// NFT_DYNSET_OP_DELETE, which libc lacks.
        const DELETE: i32 = 2;
        (match self {
            Self::Add => libc::NFT_DYNSET_OP_ADD,
            Self::Update => libc::NFT_DYNSET_OP_UPDATE,
            Self::Delete => DELETE,
        }) as u32
    }
}

impl Expression {
    /// Whether its values and names are no longer than the kernel takes.
    pub(crate) fn fits(&self) -> bool {
        match self {
            Self::Immediate { value, .. } | Self::Compare { value, .. } => is_value(value),
            Self::Bitwise { mask, flip, .. } => is_value(mask) && mask.len() == flip.len(),
            Self::Lookup { set: name, .. }
            | Self::VerdictLookup { map: name, .. }
            | Self::Dynamic { set: name, .. }
            | Self::Count { counter: name }
            | Self::Verdict(Verdict::Goto(name) | Verdict::Jump(name)) => is_name(name),
            _ => true,
        }
    }
}

const fn is_value(octets: &[u8]) -> bool {
    !octets.is_empty() && octets.len() <= LONGEST_VALUE
}

/// Whether the kernel takes it for a name: NFT_NAME_MAXLEN, less the terminator.
pub(crate) fn is_name(name: &str) -> bool {
    const LONGEST: usize = 255;
    name.len() <= LONGEST && !name.contains('\0')
}
