//! A knock: one observed packet, reduced to what a door can ask of it.

use core::net::IpAddr;

/// A transport protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Transmission Control Protocol (RFC 9293).
    Tcp,
    /// User Datagram Protocol (RFC 768).
    Udp,
}

impl Protocol {
    /// The name that configurations and nftables use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// The number in an IP header (IANA, Protocol Numbers).
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// A port of a protocol: what a knock hits, and what a door guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// TCP and UDP ports of the same number are different ports.
    pub protocol: Protocol,
    /// 1 to 65535; a packet from the wire may also say 0, which no door names.
    pub number: u16,
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
    /// The port on the sender's side. A retransmission repeats it; a new attempt rarely does.
    pub source_port: u16,
    /// The port that was hit.
    pub port: Port,
    /// What the packet carries, as much of it as the source copied.
    pub payload: &'p [u8],
}
