//! IP packets made byte by byte, as no ordinary client would send them.

use std::net::{IpAddr, SocketAddr};

/// TCP flags (RFC 9293, section 3.1).
pub mod flags {
    /// No more data from sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push function.
    pub const PSH: u8 = 0x08;
    /// Acknowledgment field is significant.
    pub const ACK: u8 = 0x10;
    /// Urgent pointer field is significant.
    pub const URG: u8 = 0x20;
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// IPv6 fragment header (RFC 8200, section 4.5).
const FRAGMENT: u8 = 44;

/// A packet: everything in it can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Whom it claims to be from.
    pub from: SocketAddr,
    /// Whom it is for; of the same family.
    pub to: SocketAddr,
    /// What the addresses' ports belong to.
    pub transport: Transport,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// What follows the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP segment.
    Tcp {
        /// Of [`flags`].
        flags: u8,
        /// Sequence number.
        sequence: u32,
    },
    /// A UDP datagram.
    Udp,
    /// An ICMP or ICMPv6 echo request; the ports are its identifier and its sequence number.
    Echo,
}

impl Packet {
    /// A TCP segment that asks for a connection.
    pub const fn syn(from: SocketAddr, to: SocketAddr) -> Self {
        Self::tcp(from, to, flags::SYN)
    }

    /// A TCP segment with these flags and no payload.
    pub const fn tcp(from: SocketAddr, to: SocketAddr, flags: u8) -> Self {
        let sequence = 1_000_000;
        Self {
            from,
            to,
            transport: Transport::Tcp { flags, sequence },
            payload: Vec::new(),
        }
    }

    /// A UDP datagram.
    pub fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Self {
        Self {
            from,
            to,
            transport: Transport::Udp,
            payload: payload.into(),
        }
    }

    /// An echo request, which every host answers.
    pub fn echo(from: IpAddr, to: IpAddr, number: u16) -> Self {
        let (from, to) = (SocketAddr::new(from, 0x7073), SocketAddr::new(to, number));
        Self {
            from,
            to,
            transport: Transport::Echo,
            payload: Vec::new(),
        }
    }

    /// The IP packet on the wire.
    ///
    /// # Panics
    /// When the addresses are of two families, or the payload is beyond 60,000 bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let segment = self.segment();
        let mut bytes = ip_header(self.from.ip(), self.to.ip(), self.protocol(), segment.len());
        bytes.extend(segment);
        bytes
    }

    /// The IP packets of its fragments, each with `size` bytes of the segment: a multiple of 8.
    pub fn fragments(&self, size: usize, identification: u16) -> Vec<Vec<u8>> {
        assert!(
            size > 0 && size.is_multiple_of(8),
            "fragments count in units of 8 bytes"
        );
        let segment = self.segment();
        let count = segment.len().div_ceil(size);
        let pieces = segment.chunks(size).enumerate();
        let fragment = |(number, piece): (usize, &[u8])| {
            let units = low_half(number * size / 8);
            self.fragment(piece, units, number + 1 < count, identification)
        };
        pieces.map(fragment).collect()
    }

    fn fragment(&self, piece: &[u8], units: u16, more: bool, identification: u16) -> Vec<u8> {
        let (from, to) = (self.from.ip(), self.to.ip());
        if from.is_ipv4() {
            let mut bytes = ip_header(from, to, self.protocol(), piece.len());
            bytes[4..6].copy_from_slice(&identification.to_be_bytes());
            let field = units | if more { 0x2000 } else { 0 };
            bytes[6..8].copy_from_slice(&field.to_be_bytes());
            checksum_v4_header(&mut bytes);
            bytes.extend(piece);
            return bytes;
        }
        let mut bytes = ip_header(from, to, FRAGMENT, 8 + piece.len());
        bytes.extend([self.protocol(), 0]);
        bytes.extend((units << 3 | u16::from(more)).to_be_bytes());
        bytes.extend(u32::from(identification).to_be_bytes());
        bytes.extend(piece);
        bytes
    }

    const fn protocol(&self) -> u8 {
        match (self.transport, self.from) {
            (Transport::Tcp { .. }, _) => TCP,
            (Transport::Udp, _) => UDP,
            (Transport::Echo, SocketAddr::V4(_)) => ICMP,
            (Transport::Echo, SocketAddr::V6(_)) => ICMPV6,
        }
    }

    /// The header and payload of the transport, with its checksum.
    fn segment(&self) -> Vec<u8> {
        let (mut segment, checksum_at) = match self.transport {
            Transport::Tcp { flags, sequence } => (self.tcp_header(flags, sequence), 16),
            Transport::Udp => (self.udp_header(), 6),
            Transport::Echo => (self.echo_header(), 2),
        };
        segment.extend(&self.payload);
        let pseudo = match (self.transport, self.from) {
            (Transport::Echo, SocketAddr::V4(_)) => Vec::new(),
            _ => pseudo_header(self.from.ip(), self.to.ip(), self.protocol(), segment.len()),
        };
        let sum = match checksum(&[&pseudo, &segment]) {
            0 if self.transport == Transport::Udp => 0xffff, // 0 would say: no checksum
            sum => sum,
        };
        segment[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
        segment
    }

    fn tcp_header(&self, flags: u8, sequence: u32) -> Vec<u8> {
        let mut header = self.ports();
        header.extend(sequence.to_be_bytes());
        header.extend(0_u32.to_be_bytes()); // acknowledgment number
        header.extend([5 << 4, flags]); // header of 5 words
        header.extend(64_000_u16.to_be_bytes()); // window
        header.extend([0; 4]); // checksum, urgent pointer
        header
    }

    fn udp_header(&self) -> Vec<u8> {
        let mut header = self.ports();
        header.extend(low_half(8 + self.payload.len()).to_be_bytes());
        header.extend([0; 2]);
        header
    }

    fn echo_header(&self) -> Vec<u8> {
        let kind = if self.from.is_ipv4() { 8 } else { 128 };
        let mut header = vec![kind, 0, 0, 0];
        header.extend(self.ports());
        header
    }

    fn ports(&self) -> Vec<u8> {
        [self.from.port().to_be_bytes(), self.to.port().to_be_bytes()].concat()
    }
}

/// What a received IP packet says of itself, as far as the tests care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address; the port is 0 where the protocol has none.
    pub from: SocketAddr,
    /// Destination address; the port is 0 where the protocol has none.
    pub to: SocketAddr,
    /// Protocol number (IANA).
    pub protocol: u8,
    /// TCP flags; 0 where there are none. For ICMP: the type.
    pub flags: u8,
}

impl Header {
    /// Reads an IP packet; `None` where it is none, or cut off.
    pub fn read(packet: &[u8]) -> Option<Self> {
        let array = |at: usize| packet.get(at..at + 16)?.try_into().ok();
        let (from, to, protocol, length): (IpAddr, IpAddr, u8, usize) = match packet.first()? >> 4 {
            4 => {
                let word =
                    |at: usize| Some(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?.into());
                let length = usize::from(packet.first()? & 0x0f) * 4;
                (word(12)?, word(16)?, *packet.get(9)?, length)
            }
            6 => (
                <[u8; 16]>::into(array(8)?),
                <[u8; 16]>::into(array(24)?),
                *packet.get(6)?,
                40,
            ),
            _ => return None,
        };
        let segment = packet.get(length..)?;
        let port = |at: usize| match protocol {
            TCP | UDP => Some(u16::from_be_bytes(
                segment.get(at..at + 2)?.try_into().ok()?,
            )),
            _ => Some(0),
        };
        let flags = match protocol {
            TCP => *segment.get(13)?,
            ICMP | ICMPV6 => *segment.first()?,
            _ => 0,
        };
        let (from, to) = (
            SocketAddr::new(from, port(0)?),
            SocketAddr::new(to, port(2)?),
        );
        Some(Self {
            from,
            to,
            protocol,
            flags,
        })
    }

    /// Whether it refuses something: a reset, or an ICMP message that something is unreachable.
    pub const fn refuses(&self) -> bool {
        match self.protocol {
            TCP => self.flags & flags::RST != 0,
            ICMP => self.flags == 3,
            ICMPV6 => self.flags == 1,
            _ => false,
        }
    }

    /// Whether it answers an echo request.
    pub const fn answers_echo(&self) -> bool {
        matches!((self.protocol, self.flags), (ICMP, 0) | (ICMPV6, 129))
    }

    /// Whether it accepts a TCP connection.
    pub const fn accepts(&self) -> bool {
        self.protocol == TCP && self.flags & (flags::SYN | flags::ACK) == flags::SYN | flags::ACK
    }
}

/// An IPv4 header of 20 bytes (RFC 791), or an IPv6 header of 40 (RFC 8200).
fn ip_header(from: IpAddr, to: IpAddr, protocol: u8, payload: usize) -> Vec<u8> {
    let mut header = Vec::with_capacity(40 + payload);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend([0x45, 0]);
            header.extend(low_half(20 + payload).to_be_bytes());
            header.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            checksum_v4_header(&mut header);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.extend([0x60, 0, 0, 0]);
            header.extend(low_half(payload).to_be_bytes());
            header.extend([protocol, 64]);
            header.extend(from.octets());
            header.extend(to.octets());
        }
        _ => panic!("{from} and {to} are of two families"),
    }
    header
}

fn checksum_v4_header(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = checksum(&[header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// What a transport's checksum covers besides the segment (RFC 9293, section 3.1; RFC 8200, 8.1).
fn pseudo_header(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut header = Vec::with_capacity(40);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => header.extend([from.octets(), to.octets()].concat()),
        (IpAddr::V6(from), IpAddr::V6(to)) => header.extend([from.octets(), to.octets()].concat()),
        _ => panic!("{from} and {to} are of two families"),
    }
    header.extend(low_half(length).to_be_bytes());
    header.extend([0, protocol]);
    header
}

/// The Internet checksum (RFC 1071) over pieces, all but the last of even length.
fn checksum(pieces: &[&[u8]]) -> u16 {
    let words = pieces.iter().flat_map(|piece| piece.chunks(2));
    let value = |word: &[u8]| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| (*low).into());
    let mut sum: u32 = words.map(value).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !low_half(sum as usize)
}

fn low_half(number: usize) -> u16 {
    u16::try_from(number).expect("at most 65,535")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(text: [&str; 2]) -> (SocketAddr, SocketAddr) {
        (text[0].parse().unwrap(), text[1].parse().unwrap())
    }

    #[test]
    fn a_header_reads_what_was_written() {
        for text in [
            ["192.0.2.2:40000", "192.0.2.1:22"],
            ["[2001:db8::2]:40000", "[2001:db8::1]:22"],
        ] {
            let (from, to) = pair(text);
            let syn = Header::read(&Packet::syn(from, to).bytes());
            assert_eq!(
                syn,
                Some(Header {
                    from,
                    to,
                    protocol: TCP,
                    flags: flags::SYN
                })
            );
            let udp = Header::read(&Packet::udp(from, to, b"odd").bytes());
            assert_eq!(
                udp,
                Some(Header {
                    from,
                    to,
                    protocol: UDP,
                    flags: 0
                })
            );
        }
    }

    #[test]
    fn checksums_of_known_packets() {
        // A whole packet with a right checksum sums to zero.
        let (from, to) = pair(["192.0.2.2:1", "192.0.2.1:2"]);
        let bytes = Packet::udp(from, to, b"odd").bytes();
        assert_eq!(checksum(&[&bytes[..20]]), 0);
        let pseudo = pseudo_header(from.ip(), to.ip(), UDP, bytes.len() - 20);
        assert_eq!(checksum(&[&pseudo, &bytes[20..]]), 0);
        // RFC 1071, section 3: the words 0001 f203 f4f5 f6f7 sum to ddf2.
        assert_eq!(
            checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]),
            !0xddf2
        );
    }

    #[test]
    fn fragments_carry_the_whole_segment() {
        let (from, to) = pair(["192.0.2.2:1", "192.0.2.1:2"]);
        let packet = Packet::udp(from, to, &[7; 30]);
        let fragments = packet.fragments(16, 99);
        let joined: Vec<u8> = fragments
            .iter()
            .flat_map(|bytes| &bytes[20..])
            .copied()
            .collect();
        assert_eq!(joined, packet.segment());
        let fields: Vec<&[u8]> = fragments.iter().map(|bytes| &bytes[6..8]).collect();
        assert_eq!(fields, [[0x20, 0], [0x20, 2], [0, 4]]);
    }

    #[test]
    fn noise_and_cut_off_packets_are_no_headers() {
        for length in 0..64 {
            assert_eq!(Header::read(&vec![0; length]), None);
        }
        let (from, to) = pair(["192.0.2.2:1", "192.0.2.1:2"]);
        let cut_off = &Packet::syn(from, to).bytes()[..33];
        for length in 0..=cut_off.len() {
            assert_eq!(Header::read(&cut_off[..length]), None);
        }
    }
}
