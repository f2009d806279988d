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
    ///
    /// ```
    /// use postern_core::payload::{Payload, RANDOM};
    ///
    /// let random = [0x5a; RANDOM];
    /// for dress in [Payload::Dns, Payload::Ntp, Payload::Stun, Payload::Quic] {
    ///     let payload = dress.write(&random);
    ///     assert!(dress.matches(&payload) && dress.matches(&payload[..dress.needed()]));
    ///     assert!(!dress.matches(b"GET / HTTP/1.1"));
    /// }
    /// ```
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
        match self {
            Self::Dns => concatenate(&[&random[..2], &DNS_QUERY]),
            Self::Ntp => concatenate(&[&NTP_REQUEST, &random[..8]]),
            Self::Stun => concatenate(&[&STUN_REQUEST, &random[..12]]),
            Self::Quic => write_quic(random),
            Self::Bytes(bytes) => concatenate(&[bytes]),
        }
    }
}

fn concatenate(parts: &[&[u8]]) -> Vec<u8, MAX_WRITTEN> {
    let mut payload = Vec::new();
    for part in parts {
        // The longest is far below the capacity.
        _ = payload.extend_from_slice(part);
    }
    payload
}

/// An Initial packet (RFC 9000, section 17.2.2) that fills the datagram.
fn write_quic(random: &[u8; RANDOM]) -> Vec<u8, MAX_WRITTEN> {
    let [a, b, c, d, protected, _, _, _, rest @ ..] = *random;
    let (destination, rest) = rest.split_at(8);
    let (source, seed) = rest.split_at(8);
    // A long header, fixed bit, type Initial; header protection hides the other bits.
    let first = 0b1100_0000 | protected & 0b0000_1111;
    // A version reserved to exercise version negotiation (section 15).
    let version = [a, b, c, d].map(|byte| byte & 0xf0 | 0x0a);
    let mut payload = concatenate(&[
        &[first],
        &version,
        &[8],
        destination,
        &[8],
        source,
        &QUIC_TOKEN_AND_LENGTH,
    ]);
    // What is encrypted looks like noise, and cannot be told from it in a version unknown.
    let mut state = (seed.iter()).fold(0, |state, byte| state << 8 | u64::from(*byte));
    while payload.push(next_noise(&mut state)).is_ok() {}
    payload
}

/// SplitMix64 (Steele, Lea and Flood 2014), a byte at a time.
const fn next_noise(state: &mut u64) -> u8 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed >> 56) as u8
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

/// No token; then how long the rest is, as a variable-length integer of two bytes (RFC 9000,
/// section 16): 26 bytes of header come before it.
const QUIC_TOKEN_AND_LENGTH: [u8; 3] = {
    let [high, low] = (MAX_WRITTEN as u16 - 26).to_be_bytes();
    [0, 0b0100_0000 | high, low]
};

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
    fn a_quic_datagram_is_filled_by_one_initial_packet() {
        let written = Payload::Quic.write(&[0xa5; RANDOM]);
        assert_eq!(
            written[..14],
            [
                0xc5, 0xaa, 0xaa, 0xaa, 0xaa, 8, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5
            ]
        );
        let length = u16::from_be_bytes([written[24] & 0x3f, written[25]]);
        assert_eq!((written[23], written[24] >> 6), (0, 1));
        assert_eq!((written.len(), 26 + usize::from(length)), (1200, 1200));
        let zeros = written[26..].iter().filter(|byte| **byte == 0).count();
        assert!(zeros < 20, "{zeros}");
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
