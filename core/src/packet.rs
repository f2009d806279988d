//! Reads the knock out of a packet, from the IP header on.
//!
//! The bytes come from whoever can reach the router, so nothing in them is believed before
//! it was checked. Checksums are the exception: the kernel verified them, or will.
//!
//! A capture may hold less than the packet (NFLOG copies a prefix) or more (Ethernet pads
//! short frames). `Rest` keeps the two lengths apart: bytes that were not captured are
//! [`Refusal::Truncated`], bytes that the packet itself does not have are
//! [`Refusal::Malformed`].

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ufmt::{Formatter, uDisplay, uWrite};

use crate::knock::{Knock, Port, Protocol};
use crate::reasons::{Counts, Reason};

/// The most IPv6 extension headers that are walked; RFC 8883 has an error for
/// those who send more than a node is ready for.
pub const MAX_EXTENSIONS: usize = 8;

/// Reads one packet, which begins with its IPv4 or IPv6 header.
///
/// The payload is clipped to what the headers state and to what was captured. TCP options
/// need not have been captured: without them the payload is empty.
///
/// ```
/// use postern_core::packet::{self, Refusal};
///
/// let mut datagram = [
///     0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1, // IPv4
///     0xd4, 0x31, 0x1b, 0x58, 0, 12, 0, 0, // UDP
///     b'o', b'p', b'e', b'n',
/// ];
/// let knock = packet::parse(&datagram)?;
/// assert_eq!(knock.source.to_string(), "192.0.2.1");
/// assert_eq!((knock.port.protocol.name(), knock.port.number), ("udp", 7000));
/// assert_eq!(knock.payload, b"open");
///
/// datagram[6] |= 0x20; // More Fragments
/// assert_eq!(packet::parse(&datagram), Err(Refusal::Fragment));
/// # Ok::<(), Refusal>(())
/// ```
pub fn parse(bytes: &[u8]) -> Result<Knock<'_>, Refusal> {
    match bytes.first() {
        None => Err(Refusal::Truncated),
        Some(first) if first >> 4 == 4 => ipv4(bytes),
        Some(first) if first >> 4 == 6 => ipv6(bytes),
        Some(_) => Err(Refusal::NotIp),
    }
}

/// Why a packet is not a knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The capture ends within the headers.
    Truncated,
    /// Neither IPv4 nor IPv6.
    NotIp,
    /// A part of a packet. The ports stand in the first part only, and overlaps can rewrite them.
    Fragment,
    /// The headers contradict each other.
    Malformed,
    /// More IPv6 extension headers than [`MAX_EXTENSIONS`].
    TooManyExtensions,
    /// An IPv6 routing header names further stops: the packet is not for this address.
    SourceRouted,
    /// The source address can belong to no client.
    ImpossibleSource,
    /// A protocol without ports, or one that hides them; of ICMP, what is no echo request.
    NoPorts,
    /// A TCP segment that does not ask for a connection.
    NotASyn,
    /// A line of a log that reads as if the kernel told of a packet, but may be somebody else's.
    Forged,
}

impl Refusal {
    /// Every reason, in the order of [`Refusal`].
    pub const ALL: [Self; 10] = [
        Self::Truncated,
        Self::NotIp,
        Self::Fragment,
        Self::Malformed,
        Self::TooManyExtensions,
        Self::SourceRouted,
        Self::ImpossibleSource,
        Self::NoPorts,
        Self::NotASyn,
        Self::Forged,
    ];

    /// The reason as programs read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::NotIp => "not_ip",
            Self::Fragment => "fragment",
            Self::Malformed => "malformed",
            Self::TooManyExtensions => "too_many_extensions",
            Self::SourceRouted => "source_routed",
            Self::ImpossibleSource => "impossible_source",
            Self::NoPorts => "no_ports",
            Self::NotASyn => "not_a_syn",
            Self::Forged => "forged",
        }
    }

    /// The reason as people read it.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Truncated => "too little of the packet was captured",
            Self::NotIp => "neither IPv4 nor IPv6",
            Self::Fragment => "a fragment",
            Self::Malformed => "malformed headers",
            Self::TooManyExtensions => "too many IPv6 extension headers",
            Self::SourceRouted => "a routing header with stops left",
            Self::ImpossibleSource => "a source address that no client can have",
            Self::NoPorts => "neither TCP nor UDP nor an echo request",
            Self::NotASyn => "a TCP segment that is not a plain SYN",
            Self::Forged => "a line of the log that may not be the kernel's",
        }
    }
}

/// How often packets were refused, by reason.
pub type Refusals = Counts<Refusal, { Refusal::ALL.len() }>;

impl Reason for Refusal {
    fn all() -> &'static [Self] {
        &Self::ALL
    }

    fn number(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        Self::name(self)
    }
}

impl uDisplay for Refusal {
    fn fmt<W: uWrite + ?Sized>(&self, f: &mut Formatter<'_, W>) -> Result<(), W::Error> {
        f.write_str(self.reason())
    }
}

/// What of a packet has not been read yet.
#[derive(Clone, Copy)]
struct Rest<'p> {
    /// As much of it as was captured: never more than `length` bytes.
    captured: &'p [u8],
    /// How many bytes there are on the wire.
    length: usize,
}

impl<'p> Rest<'p> {
    /// A packet whose IP header states this length.
    fn new(bytes: &'p [u8], length: usize) -> Self {
        Self {
            captured: bytes.get(..length).unwrap_or(bytes),
            length,
        }
    }

    /// The first `N` bytes.
    fn header<const N: usize>(self) -> Result<&'p [u8; N], Refusal> {
        if N > self.length {
            return Err(Refusal::Malformed);
        }
        self.captured.first_chunk().ok_or(Refusal::Truncated)
    }

    /// What follows a header of this length that was captured as a whole.
    fn after(self, header: usize) -> Result<Self, Refusal> {
        let length = self.length.checked_sub(header).ok_or(Refusal::Malformed)?;
        let captured = self.captured.get(header..).ok_or(Refusal::Truncated)?;
        Ok(Self { captured, length })
    }

    /// The first `length` bytes of it, which must be there.
    fn clip(self, length: usize) -> Result<Self, Refusal> {
        if length > self.length {
            return Err(Refusal::Malformed);
        }
        Ok(Self::new(self.captured, length))
    }
}

/// RFC 791 section 3.1.
fn ipv4(bytes: &[u8]) -> Result<Knock<'_>, Refusal> {
    let header: &[u8; 20] = bytes.first_chunk().ok_or(Refusal::Truncated)?;
    let &[
        first,
        _,
        l0,
        l1,
        _,
        _,
        f0,
        f1,
        _,
        protocol,
        _,
        _,
        s0,
        s1,
        s2,
        s3,
        ..,
    ] = header;
    let header_length = usize::from(first & 0x0f) * 4;
    if header_length < header.len() {
        return Err(Refusal::Malformed);
    }
    let packet = Rest::new(bytes, u16::from_be_bytes([l0, l1]).into());
    let segment = packet.after(header_length)?;
    // More Fragments, and the fragment offset; not the reserved bit, nor Don't Fragment.
    if u16::from_be_bytes([f0, f1]) & 0x3fff != 0 {
        return Err(Refusal::Fragment);
    }
    let source = ipv4_source([s0, s1, s2, s3])?;
    Ok(transport(protocol, segment, ECHO_V4)?.from(source))
}

/// RFC 1122 section 3.2.1.3 lists the addresses that must not be a source.
pub(crate) fn ipv4_source(octets: [u8; 4]) -> Result<IpAddr, Refusal> {
    let address = Ipv4Addr::from(octets);
    if address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_broadcast()
    {
        return Err(Refusal::ImpossibleSource);
    }
    Ok(IpAddr::V4(address))
}

/// RFC 8200 section 3.
fn ipv6(bytes: &[u8]) -> Result<Knock<'_>, Refusal> {
    let header: &[u8; 40] = bytes.first_chunk().ok_or(Refusal::Truncated)?;
    let &[_, _, _, _, l0, l1, next, _, ..] = header;
    // A length of zero is a jumbogram (RFC 2675 section 3) or a packet without content: the
    // first header that is looked for in it is missing.
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let packet = Rest::new(bytes, header.len() + length);
    let content = packet.after(header.len())?;
    let source = packet.after(8)?.header()?;
    let (protocol, segment) = skip_extensions(next, content)?;
    let source = ipv6_source(*source)?;
    Ok(transport(protocol, segment, ECHO_V6)?.from(source))
}

/// RFC 4291 sections 2.5.2, 2.5.3 and 2.7 list the addresses that must not be a source.
pub(crate) fn ipv6_source(octets: [u8; 16]) -> Result<IpAddr, Refusal> {
    let address = Ipv6Addr::from(octets);
    // An IPv4-mapped address stands for an IPv4 node inside an API, never on the wire (RFC
    // 4291 section 2.5.5.2, RFC 4942 section 2.2). Here it would be a second identity.
    if address.to_ipv4_mapped().is_some() {
        return Err(Refusal::Malformed);
    }
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return Err(Refusal::ImpossibleSource);
    }
    Ok(IpAddr::V6(address))
}

/// Walks the chain of extension headers (RFC 8200 section 4) to the transport protocol. As in nf_tables, what comes behind
/// an authentication header (RFC 4302) has none: this machine would have to share a key with its sender.
fn skip_extensions(first: u8, content: Rest<'_>) -> Result<(u8, Rest<'_>), Refusal> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION_OPTIONS: u8 = 60;

    let (mut next, mut rest) = (first, content);
    for walked in 0..=MAX_EXTENSIONS {
        match next {
            // Section 4.1: hop-by-hop options come first or not at all.
            HOP_BY_HOP if walked > 0 => return Err(Refusal::Malformed),
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {}
            // Atomic fragments too (RFC 6946): no client has a reason to send them.
            FRAGMENT => return Err(Refusal::Fragment),
            _ => return Ok((next, rest)),
        }
        if walked == MAX_EXTENSIONS {
            break;
        }
        let &[following, units, _, stops_left] = rest.header()?;
        if next == ROUTING && stops_left != 0 {
            return Err(Refusal::SourceRouted);
        }
        let length = (usize::from(units) + 1) * 8;
        (next, rest) = (following, rest.after(length)?);
    }
    Err(Refusal::TooManyExtensions)
}

/// What a knock is, but for its source.
struct Segment<'p> {
    source_port: u16,
    port: Port,
    payload: &'p [u8],
}

impl<'p> Segment<'p> {
    const fn from(self, source: IpAddr) -> Knock<'p> {
        Knock {
            source,
            source_port: self.source_port,
            port: self.port,
            payload: self.payload,
        }
    }
}

/// How the families have echo requests: the protocol's number, and the type of the message (RFC 792 and RFC 4443,
/// section 4.1).
pub(crate) const ECHO_V4: (u8, u8) = (1, 8);
pub(crate) const ECHO_V6: (u8, u8) = (58, 128);

fn transport(protocol: u8, segment: Rest<'_>, echo: (u8, u8)) -> Result<Segment<'_>, Refusal> {
    const TCP: u8 = Protocol::Tcp.number();
    const UDP: u8 = Protocol::Udp.number();
    match protocol {
        TCP => tcp(segment),
        UDP => udp(segment),
        _ if protocol == echo.0 => echo_request(segment, echo.1),
        _ => Err(Refusal::NoPorts),
    }
}

/// TCP's flags (RFC 9293 section 3.1).
pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// Refuses a segment that does not ask for a connection. Other flags, a client may set beside SYN.
pub(crate) const fn check_flags(flags: u8) -> Result<(), Refusal> {
    match flags & (SYN | ACK | RST | FIN) {
        SYN => Ok(()),
        _ => Err(Refusal::NotASyn),
    }
}

/// RFC 9293 section 3.1.
fn tcp(segment: Rest<'_>) -> Result<Segment<'_>, Refusal> {
    let header: &[u8; 20] = segment.header()?;
    let &[s0, s1, d0, d1, _, _, _, _, _, _, _, _, offset, flags, ..] = header;
    let offset = usize::from(offset >> 4) * 4;
    if offset < header.len() || offset > segment.length {
        return Err(Refusal::Malformed);
    }
    check_flags(flags)?;
    Ok(Segment {
        source_port: u16::from_be_bytes([s0, s1]),
        port: Port {
            protocol: Protocol::Tcp,
            number: u16::from_be_bytes([d0, d1]),
        },
        payload: segment.captured.get(offset..).unwrap_or_default(),
    })
}

/// RFC 768. What lies between the end of the datagram and that of the packet is not payload.
fn udp(segment: Rest<'_>) -> Result<Segment<'_>, Refusal> {
    let header: &[u8; 8] = segment.header()?;
    let &[s0, s1, d0, d1, l0, l1, _, _] = header;
    let datagram = segment.clip(u16::from_be_bytes([l0, l1]).into())?;
    Ok(Segment {
        source_port: u16::from_be_bytes([s0, s1]),
        port: Port {
            protocol: Protocol::Udp,
            number: u16::from_be_bytes([d0, d1]),
        },
        payload: datagram.after(header.len())?.captured,
    })
}

/// RFC 792: it is known by how much it carries, and by its identifier in place of a port.
fn echo_request(segment: Rest<'_>, request: u8) -> Result<Segment<'_>, Refusal> {
    let header: &[u8; 8] = segment.header()?;
    let &[kind, code, _, _, i0, i1, _, _] = header;
    if (kind, code) != (request, 0) {
        return Err(Refusal::NoPorts);
    }
    let length = segment.after(header.len())?.length;
    Ok(Segment {
        source_port: u16::from_be_bytes([i0, i1]),
        port: Port {
            protocol: Protocol::Icmp,
            number: u16::try_from(length).map_err(|_| Refusal::Malformed)?,
        },
        payload: &[],
    })
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    use super::*;

    const V4_UDP: &str = "4500 0020 0001 4000 4011 0000 c0000201 c6336401 \
                          d431 1b58 000c 0000 61626364";
    const V4_UDP_OPTIONS: &str = "4600 0024 0001 0000 4011 0000 c0000201 c6336401 94040000 \
                                  d431 1b58 000c 0000 61626364";
    const V4_TCP: &str = "4510 0030 0001 4000 4006 0000 c0000201 c6336401 \
                          d431 1b58 00000001 00000000 70c2 ffff 0000 0000 020405b4 04020000";
    const V4_TCP_FAST_OPEN: &str = "4500 002e 0001 4000 4006 0000 c0000201 c6336401 \
                                    d431 1b58 00000001 00000000 600a ffff 0000 0000 22020101 6869";
    const V6_UDP: &str = "60000000 000c 11 40 20010db8000000000000000000000001 \
                          20010db8000000000000000000000002 d431 1b58 000c 0000 61626364";
    /// Hop-by-hop, destination options, routing (no stops left), destination options, TCP.
    const V6_TCP_EXTENSIONS: &str = "60000000 0044 00 40 20010db8000000000000000000000001 \
                                     20010db8000000000000000000000002 \
                                     3c00 050200000100 2b00 010400000000 \
                                     3c02 0400 00000000 20010db8000000000000000000000003 \
                                     0600 010400000000 \
                                     d431 1b58 00000001 00000000 5002 ffff 0000 0000";
    const V4_ECHO: &str = "4500 0021 0001 4000 4001 0000 c0000201 c6336401 \
                           0800 ffff d431 0001 6162636465";
    const V6_ECHO: &str = "60000000 0015 3c 40 20010db8000000000000000000000001 \
                           20010db8000000000000000000000002 3a00 010400000000 \
                           8000 ffff d431 0001 6162636465";
    const VALID: [&str; 8] = [
        V4_UDP,
        V4_UDP_OPTIONS,
        V4_TCP,
        V4_TCP_FAST_OPEN,
        V6_UDP,
        V6_TCP_EXTENSIONS,
        V4_ECHO,
        V6_ECHO,
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: String = hex.split_whitespace().collect();
        (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect()
    }

    /// The packet with these bytes written over it.
    fn with(hex: &str, at: usize, patch: &str) -> Vec<u8> {
        let (mut packet, patch) = (bytes(hex), bytes(patch));
        packet[at..at + patch.len()].copy_from_slice(&patch);
        packet
    }

    /// An IPv6 packet whose content is these extension headers and a UDP header.
    fn extended(first: u8, extensions: &[u8]) -> Vec<u8> {
        let mut packet = bytes(V6_UDP);
        let datagram = packet.split_off(40);
        packet[5] = (extensions.len() + datagram.len()) as u8;
        packet[6] = first;
        packet.extend_from_slice(extensions);
        packet.extend(datagram);
        packet
    }

    #[test]
    fn echo_requests_are_known_by_their_length() {
        for (hex, echo) in [(V4_ECHO, 20), (V6_ECHO, 48)] {
            let packet = bytes(hex);
            let knock = parse(&packet).unwrap();
            assert_eq!(
                knock.port,
                Port {
                    protocol: Protocol::Icmp,
                    number: 5
                }
            );
            assert_eq!((knock.source_port, knock.payload), (54_321, &[][..]));
            // Whatever is captured of what they carry, or follows it.
            for captured in echo + 8..packet.len() {
                assert_eq!(parse(&packet[..captured]), Ok(knock), "{captured}");
            }
            assert_eq!(parse(&[&packet[..], &[0; 9]].concat()), Ok(knock));
            // Other messages, and other codes.
            for kind in (0..=u8::MAX).filter(|kind| *kind != packet[echo]) {
                let other = with(hex, echo, &format!("{kind:02x}"));
                assert_eq!(parse(&other), Err(Refusal::NoPorts));
            }
            assert_eq!(parse(&with(hex, echo + 1, "01")), Err(Refusal::NoPorts));
        }
        // Nothing at all, less than a header, and the other family's.
        let length = |packet: &[u8]| parse(packet).map(|knock| knock.port.number);
        assert_eq!(length(&with(V4_ECHO, 2, "001c")), Ok(0));
        assert_eq!(parse(&with(V4_ECHO, 2, "001b")), Err(Refusal::Malformed));
        assert_eq!(parse(&with(V4_ECHO, 9, "3a")), Err(Refusal::NoPorts));
        assert_eq!(parse(&with(V6_ECHO, 40, "01")), Err(Refusal::NoPorts));
        // As long as can be, of which hardly anything was captured.
        assert_eq!(length(&with(V4_ECHO, 2, "ffff")), Ok(65_535 - 28));
        assert_eq!(length(&with(V6_ECHO, 4, "ffff")), Ok(65_535 - 16));
        // Of a packet in parts, no part counts.
        for part in ["2000", "0001", "2001"] {
            assert_eq!(parse(&with(V4_ECHO, 6, part)), Err(Refusal::Fragment));
        }
    }

    #[test]
    fn valid_packets() {
        for (hex, source, protocol, payload) in [
            (V4_UDP, "192.0.2.1", Protocol::Udp, "abcd"),
            (V4_UDP_OPTIONS, "192.0.2.1", Protocol::Udp, "abcd"),
            (V4_TCP, "192.0.2.1", Protocol::Tcp, ""),
            (V4_TCP_FAST_OPEN, "192.0.2.1", Protocol::Tcp, "hi"),
            (V6_UDP, "2001:db8::1", Protocol::Udp, "abcd"),
            (V6_TCP_EXTENSIONS, "2001:db8::1", Protocol::Tcp, ""),
        ] {
            let expected = Knock {
                source: source.parse().unwrap(),
                source_port: 54321,
                port: Port {
                    protocol,
                    number: 7000,
                },
                payload: payload.as_bytes(),
            };
            assert_eq!(parse(&bytes(hex)), Ok(expected), "{hex}");
        }
    }

    #[test]
    fn truncation_shortens_the_payload_or_is_refused() {
        for hex in VALID {
            let packet = bytes(hex);
            let whole = parse(&packet).unwrap();
            for length in 0..packet.len() {
                match parse(&packet[..length]) {
                    Ok(knock) => {
                        assert!(whole.payload.starts_with(knock.payload), "{hex} {length}");
                        assert_eq!(
                            Knock {
                                payload: whole.payload,
                                ..knock
                            },
                            whole
                        );
                    }
                    Err(refusal) => assert_eq!(refusal, Refusal::Truncated, "{hex} {length}"),
                }
            }
        }
    }

    #[test]
    fn tcp_options_need_not_be_captured() {
        let packet = bytes(V4_TCP_FAST_OPEN);
        assert_eq!(parse(&packet[..39]), Err(Refusal::Truncated));
        assert_eq!(parse(&packet[..40]).unwrap().payload, b"");
        assert_eq!(parse(&packet[..45]).unwrap().payload, b"h");
    }

    #[test]
    fn padding_is_not_payload() {
        for hex in VALID {
            let mut packet = bytes(hex);
            let length = packet.len();
            packet.extend([0xee; 40]);
            assert_eq!(parse(&packet), parse(&packet[..length]), "{hex}");
        }
        // RFC 9868 calls what follows a UDP datagram within its packet the surplus area.
        let shorter = with(V4_UDP, 24, "000a");
        assert_eq!(parse(&shorter).unwrap().payload, b"ab");
    }

    #[test]
    fn ipv4_refusals() {
        for (what, packet, refusal) in [
            ("nothing", Vec::new(), Refusal::Truncated),
            ("version 5", with(V4_UDP, 0, "55"), Refusal::NotIp),
            (
                "header length 16",
                with(V4_UDP, 0, "44"),
                Refusal::Malformed,
            ),
            (
                "header longer than the packet",
                with(V4_UDP, 0, "4f"),
                Refusal::Malformed,
            ),
            (
                "total length 0",
                with(V4_UDP, 2, "0000"),
                Refusal::Malformed,
            ),
            (
                "total length 19",
                with(V4_UDP, 2, "0013"),
                Refusal::Malformed,
            ),
            (
                "total length 27",
                with(V4_UDP, 2, "001b"),
                Refusal::Malformed,
            ),
            (
                "total length 39",
                with(V4_TCP, 2, "0027"),
                Refusal::Malformed,
            ),
            ("first fragment", with(V4_UDP, 6, "2000"), Refusal::Fragment),
            ("last fragment", with(V4_UDP, 6, "0001"), Refusal::Fragment),
            (
                "last fragment, far",
                with(V4_UDP, 6, "1000"),
                Refusal::Fragment,
            ),
            ("ICMP", with(V4_UDP, 9, "01"), Refusal::NoPorts),
            ("SCTP", with(V4_UDP, 9, "84"), Refusal::NoPorts),
            (
                "from 0.0.0.0",
                with(V4_UDP, 12, "00000000"),
                Refusal::ImpossibleSource,
            ),
            (
                "from 127.1.2.3",
                with(V4_UDP, 12, "7f010203"),
                Refusal::ImpossibleSource,
            ),
            (
                "from 224.0.0.1",
                with(V4_UDP, 12, "e0000001"),
                Refusal::ImpossibleSource,
            ),
            (
                "from 239.255.255.255",
                with(V4_UDP, 12, "efffffff"),
                Refusal::ImpossibleSource,
            ),
            (
                "from 255.255.255.255",
                with(V4_UDP, 12, "ffffffff"),
                Refusal::ImpossibleSource,
            ),
        ] {
            assert_eq!(parse(&packet), Err(refusal), "{what}");
        }
    }

    #[test]
    fn the_reserved_flag_is_not_a_fragment() {
        assert!(parse(&with(V4_UDP, 6, "8000")).is_ok());
        assert!(parse(&with(V4_UDP, 6, "4000")).is_ok());
    }

    #[test]
    fn ipv6_refusals() {
        for (what, packet, refusal) in [
            (
                "payload length 0",
                with(V6_UDP, 4, "0000"),
                Refusal::Malformed,
            ),
            (
                "jumbogram",
                with(V6_TCP_EXTENSIONS, 4, "0000"),
                Refusal::Malformed,
            ),
            (
                "payload length 7",
                with(V6_UDP, 4, "0007"),
                Refusal::Malformed,
            ),
            ("ICMPv6", with(V6_UDP, 6, "3a"), Refusal::NoPorts),
            ("ESP", with(V6_UDP, 6, "32"), Refusal::NoPorts),
            ("no next header", with(V6_UDP, 6, "3b"), Refusal::NoPorts),
            ("mobility", with(V6_UDP, 6, "87"), Refusal::NoPorts),
            (
                "fragment",
                extended(44, &[17, 0, 0, 1, 0, 0, 0, 1]),
                Refusal::Fragment,
            ),
            (
                "atomic fragment",
                extended(44, &[17, 0, 0, 0, 0, 0, 0, 1]),
                Refusal::Fragment,
            ),
            (
                "hop-by-hop second",
                extended(60, &[0, 0, 1, 4, 0, 0, 0, 0]),
                Refusal::Malformed,
            ),
            (
                "stops left",
                extended(43, &[17, 0, 0, 1, 0, 0, 0, 0]),
                Refusal::SourceRouted,
            ),
            (
                "extension too long",
                extended(60, &[17, 9, 1, 4, 0, 0, 0, 0]),
                Refusal::Malformed,
            ),
            (
                "authenticated",
                extended(51, &[17, 0, 0, 0, 0, 0, 0, 0]),
                Refusal::NoPorts,
            ),
            (
                "from ::",
                with(V6_UDP, 8, &"00".repeat(16)),
                Refusal::ImpossibleSource,
            ),
            (
                "from ::1",
                with(V6_UDP, 8, &format!("{}01", "00".repeat(15))),
                Refusal::ImpossibleSource,
            ),
            (
                "from ff02::1",
                with(V6_UDP, 8, "ff02"),
                Refusal::ImpossibleSource,
            ),
            (
                "from ::ffff:192.0.2.1",
                with(V6_UDP, 8, "00000000000000000000ffffc0000201"),
                Refusal::Malformed,
            ),
            (
                "from ::ffff:0.0.0.0",
                with(V6_UDP, 8, "00000000000000000000ffff00000000"),
                Refusal::Malformed,
            ),
        ] {
            assert_eq!(parse(&packet), Err(refusal), "{what}");
        }
    }

    #[test]
    fn every_reason_is_counted_by_itself() {
        let mut refusals = Refusals::default();
        let mut names = Vec::new();
        for (index, (refusal, times)) in Refusal::ALL.into_iter().zip(1..).enumerate() {
            assert_eq!(refusal as usize, index);
            for _ in 0..times {
                refusals.count(refusal);
            }
            names.push(refusal.name());
        }
        assert!(refusals.iter().map(|(_, times)| times).eq(1..=10));
        assert!(refusals.iter().map(|(refusal, _)| refusal).eq(Refusal::ALL));
        assert_eq!(refusals.total(), 55);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Refusal::ALL.len());
    }

    #[test]
    fn what_is_parsed_is_counted_by_its_reason() {
        let mut refusals = Refusals::default();
        for packet in [
            bytes(V4_UDP),
            with(V4_UDP, 6, "2000"),
            with(V4_UDP, 24, "0007"),
            with(V4_TCP, 33, "12"),
            with(V6_UDP, 6, "3a"),
            Vec::new(),
            with(V4_UDP, 6, "2000"),
        ] {
            if let Err(refusal) = parse(&packet) {
                refusals.count(refusal);
            }
        }
        let counted: Vec<_> = refusals.iter().filter(|(_, times)| *times > 0).collect();
        let expected = [
            (Refusal::Truncated, 1),
            (Refusal::Fragment, 2),
            (Refusal::Malformed, 1),
            (Refusal::NoPorts, 1),
            (Refusal::NotASyn, 1),
        ];
        assert_eq!(counted, expected);
    }

    #[test]
    fn no_count_wraps() {
        let mut refusals = Refusals::each(u64::MAX);
        refusals.count(Refusal::Fragment);
        assert_eq!(refusals.total(), u64::MAX);
        assert_eq!(refusals, Refusals::each(u64::MAX));
    }

    #[test]
    fn extension_headers_up_to_the_limit() {
        let chain = |count: usize| {
            let mut headers = [60, 0, 1, 4, 0, 0, 0, 0].repeat(count);
            headers[(count - 1) * 8] = 17;
            extended(60, &headers)
        };
        assert_eq!(parse(&chain(MAX_EXTENSIONS)).unwrap().payload, b"abcd");
        assert_eq!(
            parse(&chain(MAX_EXTENSIONS + 1)),
            Err(Refusal::TooManyExtensions)
        );
    }

    #[test]
    fn only_a_plain_syn_knocks() {
        for flags in 0..=u8::MAX {
            let knocks = flags & 0b0001_0111 == 0b0000_0010;
            let parsed = parse(&with(V4_TCP, 33, &format!("{flags:02x}"))).map(|_| ());
            assert_eq!(
                parsed,
                if knocks {
                    Ok(())
                } else {
                    Err(Refusal::NotASyn)
                },
                "{flags:08b}"
            );
        }
    }

    #[test]
    fn transport_lengths() {
        for (what, packet) in [
            ("data offset 16", with(V4_TCP, 32, "40")),
            ("data offset 0", with(V4_TCP, 32, "00")),
            ("data offset past the end", with(V4_TCP, 32, "80")),
            ("UDP length 0", with(V4_UDP, 24, "0000")),
            ("UDP length 7", with(V4_UDP, 24, "0007")),
            ("UDP length past the end", with(V4_UDP, 24, "000d")),
        ] {
            assert_eq!(parse(&packet), Err(Refusal::Malformed), "{what}");
        }
        assert_eq!(parse(&with(V4_UDP, 24, "0008")).unwrap().payload, b"");
        assert_eq!(
            parse(&with(V4_TCP, 32, "71")).map(|knock| knock.payload),
            Ok(&[][..])
        );
    }

    /// George Marsaglia, "Xorshift RNGs": the same numbers in every run.
    fn xorshift(state: &mut u64) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 16) as usize
    }

    #[test]
    fn mutated_packets_never_panic_and_never_yield_a_bad_source() {
        let mut state = 0x9e37_79b9_7f4a_7c15;
        let mut knocks = 0;
        for round in 0..100_000 {
            let mut packet = bytes(VALID[round % VALID.len()]);
            for _ in 0..1 + xorshift(&mut state) % 4 {
                let at = xorshift(&mut state) % packet.len();
                packet[at] = xorshift(&mut state) as u8;
            }
            packet.truncate(1 + xorshift(&mut state) % (packet.len() * 2));
            if let Ok(knock) = parse(&packet) {
                knocks += 1;
                assert_eq!(knock.source, knock.source.to_canonical());
                assert!(!knock.source.is_unspecified() && !knock.source.is_multicast());
                assert!(knock.payload.len() + 28 <= packet.len());
            }
        }
        assert!(
            (10_000..90_000).contains(&knocks),
            "{knocks} of 100000 were knocks"
        );
    }
}
