//! What a UDP knock carries: bytes of the user's choice, or the dress of another protocol.
//!
//! A dress is made and recognised here, so that client and router cannot disagree.

use heapless::Vec;

/// The longest payload of the user's choice.
pub const MAX_BYTES: usize = 64;
/// The longest payload that [`Payload::write`] makes: a QUIC client's first datagram must
/// fill 1200 bytes (RFC 9000, section 14.1).
pub const MAX_WRITTEN: usize = 1200;
/// The random bytes that a dress takes.
pub const RANDOM: usize = 32;

/// What a UDP knock carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A query for an address (RFC 1035).
    Dns,
    /// A client's request for the time (RFC 5905).
    Ntp,
    /// A binding request (RFC 8489).
    Stun,
    /// The first packet of a client that asks for a version nobody speaks (RFC 9000).
    Quic,
    /// Exactly these bytes.
    Bytes(Vec<u8, MAX_BYTES>),
}

impl Payload {
    /// How many bytes of a packet's payload [`Payload::matches`] wants to see.
    pub fn needed(&self) -> usize {
        match self {
            Self::Dns => 12,
            Self::Ntp => 48,
            Self::Stun => 20,
            Self::Quic => 7,
            // One more, to know that there is no more.
            Self::Bytes(bytes) => bytes.len() + 1,
        }
    }

    /// Whether the payload is one of these, as far as its first [`Payload::needed`] bytes tell.
    pub fn matches(&self, payload: &[u8]) -> bool {
        match self {
            Self::Dns => is_dns(payload),
            Self::Ntp => is_ntp(payload),
            Self::Stun => is_stun(payload),
            Self::Quic => is_quic(payload),
            Self::Bytes(bytes) => equal(bytes, payload),
        }
    }

    /// Makes such a payload; the random bytes fill what real clients choose at random.
    pub fn write(&self, random: &[u8; RANDOM]) -> Vec<u8, MAX_WRITTEN> {
        let mut payload = Vec::new();
        let parts: &[&[u8]] = match self {
            Self::Dns => &[&random[..2], &DNS_QUERY],
            Self::Ntp => &[&NTP_REQUEST, &random[..8]],
            Self::Stun => &[&STUN_REQUEST, &random[..12]],
            Self::Quic => &[
                &QUIC_HEADER,
                &random[..8],
                &[8],
                &random[8..16],
                &QUIC_REST,
                random,
            ],
            Self::Bytes(bytes) => &[bytes],
        };
        for part in parts {
            // The longest is far below the capacity.
            _ = payload.extend_from_slice(part);
        }
        if *self == Self::Quic {
            _ = payload.resize(MAX_WRITTEN, 0);
        }
        payload
    }
}

/// After the transaction identifier: recursion desired, one question, `example.com IN A`.
const DNS_QUERY: [u8; 27] =
    *b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01";

/// Leap indicator unknown, version 4, mode 3; all else zero up to the transmit timestamp,
/// which clients that follow RFC 8633 (section 3.6) fill at random.
const NTP_REQUEST: [u8; 40] = {
    let mut request = [0; 40];
    request[0] = 0xe3;
    request
};

/// Binding request, no attributes, magic cookie; the transaction identifier follows.
const STUN_REQUEST: [u8; 8] = [0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42];

/// Long header, a version reserved to exercise version negotiation (RFC 9000, section 15),
/// and the length of the destination connection identifier that follows.
const QUIC_HEADER: [u8; 6] = [0xc3, 0x1a, 0x2a, 0x3a, 0x4a, 8];

/// No token; the rest is opaque to everyone who does not speak this version.
const QUIC_REST: [u8; 1] = [0];

/// A standard query with one question and no answers.
fn is_dns(payload: &[u8]) -> bool {
    match payload {
        [_, _, flags, _, counts @ ..] if counts.len() >= 8 => {
            flags & 0b1111_1000 == 0 && counts.starts_with(&[0, 1, 0, 0, 0, 0])
        }
        _ => false,
    }
}

/// A client's packet, of version 3 or 4, that is long enough.
fn is_ntp(payload: &[u8]) -> bool {
    payload.len() >= 48
        && payload
            .first()
            .is_some_and(|first| matches!(first & 0x3f, 0x1b | 0x23))
}

/// A binding request with the magic cookie.
fn is_stun(payload: &[u8]) -> bool {
    payload.len() >= 20
        && payload.starts_with(&[0, 1])
        && payload.get(4..8) == STUN_REQUEST.get(4..)
}

/// A long header with a version, and a connection identifier of a client's length.
fn is_quic(payload: &[u8]) -> bool {
    match payload {
        [first, version @ ..] if version.len() >= 6 => {
            let (version, rest) = version.split_at(4);
            first & 0b1100_0000 == 0b1100_0000
                && version != [0; 4]
                && rest.first().is_some_and(|length| (8..=20).contains(length))
        }
        _ => false,
    }
}

/// Compares in a time that depends on the lengths only.
fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && core::hint::black_box(one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [Payload; 5] {
        let bytes = Payload::Bytes(Vec::from_slice(b"open sesame").unwrap());
        [
            Payload::Dns,
            Payload::Ntp,
            Payload::Stun,
            Payload::Quic,
            bytes,
        ]
    }

    #[test]
    fn each_is_recognised_and_is_none_of_the_others() {
        for random in [[0; RANDOM], [0xff; RANDOM], [0x5a; RANDOM]] {
            for (index, payload) in all().iter().enumerate() {
                let written = payload.write(&random);
                for (other, recogniser) in all().iter().enumerate() {
                    assert_eq!(
                        recogniser.matches(&written),
                        index == other,
                        "{payload:?} {recogniser:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_needed_bytes_suffice_and_fewer_do_not() {
        for payload in all() {
            let written = payload.write(&[7; RANDOM]);
            let needed = payload.needed().min(written.len());
            assert!(payload.matches(&written[..needed]), "{payload:?}");
            assert!(!payload.matches(&written[..needed - 1]), "{payload:?}");
        }
    }

    #[test]
    fn bytes_are_compared_whole() {
        let payload = Payload::Bytes(Vec::from_slice(b"ab").unwrap());
        assert!(payload.matches(b"ab"));
        for other in [b"".as_slice(), b"a", b"abc", b"aB", b"\0\0"] {
            assert!(!payload.matches(other));
        }
    }
}
