//! A knock: one observed packet, reduced to what a door can ask of it.

use core::net::IpAddr;
use core::ops::RangeInclusive;

use ufmt::{Formatter, uDisplay, uWrite, uwrite};

/// What a packet is of: a transport protocol that has ports, or ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Transmission Control Protocol (RFC 9293).
    Tcp,
    /// User Datagram Protocol (RFC 768).
    Udp,
    /// Echo requests of ICMP (RFC 792), and of ICMPv6 (RFC 4443): `ping`.
    Icmp,
}

impl Protocol {
    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp:echo",
        }
    }

    /// The number in an IP header (IANA, Protocol Numbers); that of ICMP is another in IPv6.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmp => 1,
        }
    }
}

/// A port of a protocol: what a knock hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// TCP and UDP ports of the same number are different ports.
    pub protocol: Protocol,
    /// 1 to 65535; a packet from the wire may also say 0, which no door names. Of an echo request, how many octets it
    /// carries.
    pub number: u16,
}

/// Ports of a protocol: what a door guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// Echo requests are guarded whatever they carry.
    pub protocol: Protocol,
    /// The first of them.
    pub first: u16,
    /// The last of them, which may be the first.
    pub last: u16,
}

impl PortRange {
    /// Every echo request.
    pub const ECHO: Self = Self {
        protocol: Protocol::Icmp,
        first: 0,
        last: u16::MAX,
    };

    /// Whether the port is one of them.
    pub fn contains(&self, port: Port) -> bool {
        self.protocol == port.protocol && self.numbers().contains(&port.number)
    }

    /// Their numbers.
    pub const fn numbers(&self) -> RangeInclusive<u16> {
        self.first..=self.last
    }

    /// Each of them.
    pub fn ports(self) -> impl Iterator<Item = Port> {
        let Self { protocol, .. } = self;
        self.numbers().map(move |number| Port { protocol, number })
    }

    /// Whether some port is one of both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.protocol == other.protocol && self.first <= other.last && other.first <= self.last
    }

    /// The port, if it is a single one.
    pub fn single(&self) -> Option<Port> {
        (self.first == self.last).then_some(Port {
            protocol: self.protocol,
            number: self.first,
        })
    }
}

impl From<Port> for PortRange {
    fn from(port: Port) -> Self {
        Self {
            protocol: port.protocol,
            first: port.number,
            last: port.number,
        }
    }
}

/// As configurations have it: `tcp:22`, `udp:60000-61000`, `icmp:echo`.
impl uDisplay for PortRange {
    fn fmt<W>(&self, f: &mut Formatter<'_, W>) -> Result<(), W::Error>
    where
        W: uWrite + ?Sized,
    {
        f.write_str(self.protocol.name())?;
        match (self.protocol, self.first == self.last) {
            (Protocol::Icmp, _) => Ok(()),
            (_, true) => uwrite!(f, ":{}", self.first),
            (_, false) => uwrite!(f, ":{}-{}", self.first, self.last),
        }
    }
}

/// The TCP port of this number.
pub const fn tcp(number: u16) -> Port {
    let protocol = Protocol::Tcp;
    Port { protocol, number }
}

/// The UDP port of this number.
pub const fn udp(number: u16) -> Port {
    let protocol = Protocol::Udp;
    Port { protocol, number }
}

/// One packet that arrived at a watched port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knock<'p> {
    /// Who the packet says it is from.
    pub source: IpAddr,
    /// The port on the sender's side, or the identifier of an echo request. A retransmission repeats it; a new attempt
    /// rarely does.
    pub source_port: u16,
    /// The port that was hit.
    pub port: Port,
    /// What the packet carries, as much of it as the source copied.
    pub payload: &'p [u8],
}
