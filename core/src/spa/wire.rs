//! What a datagram is made of before anything in it is decrypted.

use super::base64;
use super::{FIRST_OCTETS, Hmac};

/// How the text of every ciphertext begins, as that is `Salted__` and the salt: it is not sent.
pub const PREFIX: &[u8] = b"U2FsdGVkX1";
/// The shortest datagram, in bytes: the shortest fields, and an HMAC of MD5.
pub const SHORTEST: usize = wire_length(FEWEST_BLOCKS, Hmac::Md5);
/// The longest. fwknop takes what has 400 for another kind, with whatever HMAC.
pub const LONGEST: usize = 396;
/// How much of a payload has to be seen, so that what is too long does not look like what is not.
pub const COPIED: usize = 400;

/// Of 80 bytes: sixteen digits, a user of one letter, a time, `3.0.0:1`, an address and a port, a digest of MD5.
const FEWEST_BLOCKS: usize = 6;
/// The most that fit, which is where the HMAC is shortest.
pub(super) const MOST_BLOCKS: usize = 17;
/// The longest tag.
const MAX_TAG: usize = 64;
/// How much of a tag is remembered: all of the shortest.
pub(super) const FINGERPRINT: usize = 16;

const _: () = assert!(wire_length(MOST_BLOCKS, Hmac::Md5) == LONGEST);
const _: () = assert!(wire_length(MOST_BLOCKS + 1, Hmac::Md5) >= COPIED);

/// How long the datagram of so many blocks is.
const fn wire_length(blocks: usize, hmac: Hmac) -> usize {
    base64::symbols(16 * (blocks + 1)) - PREFIX.len() + base64::symbols(hmac.octets())
}

/// How many blocks a datagram of this length has; `None` where no client makes one so long.
pub(super) fn blocks(length: usize, hmac: Hmac) -> Option<usize> {
    (FEWEST_BLOCKS..=MOST_BLOCKS)
        .find(|blocks| wire_length(*blocks, hmac) == length)
        .filter(|_| length <= LONGEST)
}

/// Whether it is made of what a client writes, the first symbol with the last bits of the prefix included.
pub(super) fn is_in_alphabet(payload: &[u8]) -> bool {
    let is_first = |octet: &u8| (FIRST_OCTETS.iter()).any(|(mask, value)| octet & mask == *value);
    payload.first().is_some_and(is_first) && payload.iter().all(|byte| base64::is_symbol(*byte))
}

/// A datagram's two texts.
#[derive(Clone, Copy)]
pub(super) struct Parts<'p> {
    /// The ciphertext without its prefix.
    pub(super) ciphertext: &'p [u8],
    tag: &'p [u8],
}

impl<'p> Parts<'p> {
    /// Those of a datagram with such an HMAC.
    pub(super) fn of(payload: &'p [u8], hmac: Hmac) -> Option<Self> {
        let length = payload.len().checked_sub(base64::symbols(hmac.octets()))?;
        let (ciphertext, tag) = payload.split_at_checked(length)?;
        Some(Self { ciphertext, tag })
    }
}

/// An HMAC as it was sent.
pub(super) struct Tag {
    octets: [u8; MAX_TAG],
    length: usize,
}

impl Tag {
    pub(super) fn of(parts: Parts<'_>) -> Option<Self> {
        let mut octets = [0; MAX_TAG];
        let length = base64::decode([parts.tag, &[]], &mut octets)?.len();
        Some(Self { octets, length })
    }

    pub(super) fn octets(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }

    /// What it is remembered by.
    pub(super) fn fingerprint(&self) -> [u8; FINGERPRINT] {
        self.octets.first_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// Those of real clients' packets, from their sources and from what was measured.
    #[test]
    fn lengths() {
        let lengths = |hmac| -> Vec<usize> {
            (0..2000)
                .filter(|length| blocks(*length, hmac).is_some())
                .collect()
        };
        for (hmac, expected) in [
            (
                Hmac::Md5,
                &[162, 183, 204, 226, 247, 268, 290, 311, 332, 354, 375, 396][..],
            ),
            (
                Hmac::Sha1,
                &[167, 188, 209, 231, 252, 273, 295, 316, 337, 359, 380],
            ),
            (
                Hmac::Sha256,
                &[183, 204, 225, 247, 268, 289, 311, 332, 353, 375, 396],
            ),
            (
                Hmac::Sha384,
                &[204, 225, 246, 268, 289, 310, 332, 353, 374, 396],
            ),
            (Hmac::Sha512, &[226, 247, 268, 290, 311, 332, 354, 375, 396]),
        ] {
            assert_eq!(lengths(hmac), expected, "{hmac:?}");
        }
        assert_eq!((SHORTEST, LONGEST), (162, 396));
    }

    #[test]
    fn the_first_symbol_holds_the_end_of_the_prefix() {
        for first in 0..=u8::MAX {
            let text = [PREFIX, &[first, b'A']].concat();
            let is_salted = base64::decode([&text, &[]], &mut [0; 16])
                .is_some_and(|bytes| bytes.starts_with(b"Salted__"));
            assert_eq!(is_in_alphabet(&[first, b'A']), is_salted, "{first}");
        }
        assert!(!is_in_alphabet(b""));
        assert!(!is_in_alphabet(b"8A="));
    }
}
