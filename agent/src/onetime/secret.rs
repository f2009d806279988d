//! The secret that a door and its owner's authenticator app share.
//!
//! A secret file is one line of at most [`MAX_FILE`] bytes: the secret in hexadecimal, or in
//! base 32 as authenticator apps print it; in either case, with spaces and hyphens where people
//! like them. `hex:` or `base32:` in front says which. Without that, a text of an even number of
//! hexadecimal digits, 32 or more, is hexadecimal, and every other is base 32. A text that is
//! both (it happens to one random secret in millions of millions, and to made-up ones) is refused
//! until it says which, because guessing wrong would be a door that opens for nobody.

use core::hint::black_box;
use std::path::Path;

use zeroize::Zeroizing;

use super::base32;
use crate::files::private_file::{self, Forbidden, Unfit};

/// The longest secret file, in bytes.
pub(crate) const MAX_FILE: usize = 4096;
/// RFC 4226, section 4, R6: 128 bits at least.
pub(crate) const MIN_SECRET_LEN: usize = 16;

/// A shared secret, 16 bytes or more. Wiped from memory when dropped, and never printed.
#[derive(Clone)]
pub(crate) struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Reads a secret file that only its owner can read.
    pub(crate) fn read(path: &Path) -> Result<Self, Unfit> {
        let text = private_file::read(path, MAX_FILE, Forbidden::Any)?;
        Self::parse(&text).map_err(|why| Unfit::Bad(format!("{}: {why}", path.display())))
    }

    /// The secret itself.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether both make the same codes. Takes a time that tells no more than their lengths.
    pub(crate) fn makes_the_codes_of(&self, other: &Self) -> bool {
        let (one, other) = (self.bytes(), other.bytes());
        // HMAC fills a key up with zeros (RFC 2104, section 2): those make no difference.
        let octet = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or_default();
        let differing = (0..one.len().max(other.len())).fold(0, |differing, at| {
            black_box(differing | octet(one, at) ^ octet(other, at))
        });
        differing == 0
    }

    pub(crate) fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let line = text.trim_ascii();
        if line.is_empty() {
            return Err("it is empty; 'postern keygen' makes a secret");
        }
        if line.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            return Err("it has more lines than one; expected the secret alone");
        }
        let bytes = decode(line)?;
        if bytes.len() < MIN_SECRET_LEN {
            return Err(
                "the secret is shorter than 128 bits (32 hexadecimal digits, or 26 base-32 letters)",
            );
        }
        Ok(Self(bytes))
    }
}

impl From<Zeroizing<Vec<u8>>> for Secret {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

fn decode(line: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let after = |prefix: &[u8]| {
        let (start, rest) = line.split_at_checked(prefix.len())?;
        start.eq_ignore_ascii_case(prefix).then_some(rest)
    };
    const NO_HEX: &str = "expected an even number of hexadecimal digits after hex:";
    const NO_BASE32: &str = "expected base-32 letters (A to Z and 2 to 7) after base32:";
    const NEITHER: &str = "it is neither hexadecimal nor base 32 (A to Z and 2 to 7)";
    const BOTH: &str =
        "it is hexadecimal and base 32 at once; write hex: or base32: in front of it";
    if let Some(digits) = after(b"hex:") {
        return decode_hex(&without_gaps(digits)).ok_or(NO_HEX);
    }
    if let Some(letters) = after(b"base32:") {
        return base32::decode(&without_gaps(letters)).ok_or(NO_BASE32);
    }
    let text = without_gaps(line);
    let hex = decode_hex(&text).filter(|bytes| bytes.len() >= MIN_SECRET_LEN);
    match (hex, base32::decode(&text)) {
        (Some(_), Some(_)) => Err(BOTH),
        (Some(bytes), None) | (None, Some(bytes)) => Ok(bytes),
        (None, None) => Err(NEITHER),
    }
}

fn without_gaps(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut rest = Zeroizing::new(Vec::with_capacity(text.len()));
    rest.extend(
        text.iter()
            .filter(|byte| !matches!(byte, b' ' | b'\t' | b'-')),
    );
    rest
}

fn decode_hex(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    let (pairs, []) = text.as_chunks::<2>() else {
        return None;
    };
    for [high, low] in pairs {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push((digit(*high)? << 4 | digit(*low)?) as u8);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch::Scratch;

    const HEX: &str = "3132333435363738393031323334353637383930";
    const BASE32: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[test]
    fn every_way_to_write_a_secret() {
        for text in [
            HEX,
            &format!("hex:{HEX}\n"),
            &format!("HEX: {HEX}\r\n"),
            "31323334 35363738 39303132 33343536-37383930",
            BASE32,
            &BASE32.to_lowercase(),
            &format!("  base32:{BASE32}  \n"),
            "gezd gnbv gy3t qojq gezd gnbv gy3t qojq",
            "GEZD-GNBV-GY3T-QOJQ-GEZD-GNBV-GY3T-QOJQ\n\n",
        ] {
            let secret = Secret::parse(text.as_bytes()).map_err(|why| panic!("{text}: {why}"));
            assert_eq!(secret.ok().unwrap().bytes(), b"12345678901234567890");
        }
        let padded = Secret::parse(b"GEZDGNBVGY3TQOJQGEZDGNBVGY======")
            .ok()
            .unwrap();
        assert_eq!(padded.bytes(), b"1234567890123456");
    }

    #[test]
    fn secrets_are_the_same_if_their_codes_are() {
        let secret = |hex: &str| Secret::parse(format!("hex:{hex}").as_bytes()).ok().unwrap();
        let same = |one: &str, other: &str| {
            let (one, other) = (secret(one), secret(other));
            assert_eq!(
                one.makes_the_codes_of(&other),
                other.makes_the_codes_of(&one)
            );
            one.makes_the_codes_of(&other)
        };
        assert!(same(HEX, HEX));
        assert!(same(HEX, &format!("{HEX}0000")));
        assert!(!same(HEX, &format!("{HEX}0001")));
        assert!(!same(HEX, &HEX.replace("39", "38")));
        assert!(!same(HEX, &HEX[..32]));
    }

    #[test]
    fn what_is_hexadecimal_and_base_32_says_which() {
        let both = "2345672345672345ABCDEFABCDEFABCD";
        let refused = Secret::parse(both.as_bytes()).err().unwrap();
        assert!(refused.contains("hex: or base32:"));
        let hex = Secret::parse(format!("hex:{both}").as_bytes())
            .ok()
            .unwrap();
        let base32 = Secret::parse(format!("base32:{both}").as_bytes())
            .ok()
            .unwrap();
        assert_eq!((hex.bytes().len(), base32.bytes().len()), (16, 20));
        // Too short to be a hexadecimal secret, and no longer as base 32.
        assert!(Secret::parse(&both.as_bytes()[..30]).is_err());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("", "is empty"),
            (" \r\n\n", "is empty"),
            ("GEZDGNBVGY3TQOJQ\nGEZDGNBVGY3TQOJQ", "more lines"),
            ("GEZDGNBVGY3TQOJQGEZDGNB!", "neither"),
            ("GEZDGNBVGY3TQOJQGEZDGNB1", "neither"),
            ("hex:GEZD", "after hex:"),
            ("hex:123", "after hex:"),
            ("base32:0189", "after base32:"),
            ("31323334353637383930313233343536\u{0}", "neither"),
            ("313233343536373839303132333435", "neither"),
            ("hex:313233343536373839303132333435", "128 bits"),
            ("GEZDGNBVGY3TQOJQGEZDGNBV", "128 bits"),
            ("\u{e4}", "neither"),
        ] {
            let why = Secret::parse(text.as_bytes()).err().unwrap();
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn errors_name_the_file_and_never_the_secret() {
        let scratch = Scratch::new();
        let path = scratch.file("ssh.secret", "GEZDGNBVGY3TQOJQGEZDGN!!");
        let why = Secret::read(&path).err().unwrap().to_string();
        assert!(why.contains("ssh.secret") && !why.contains("GEZD"), "{why}");
        let path = scratch.file("ssh.secret", [b'2'; MAX_FILE + 1]);
        assert!(
            Secret::read(&path)
                .err()
                .unwrap()
                .to_string()
                .contains("4096 bytes")
        );
    }
}
