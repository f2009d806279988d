//! One-time codes: a counter becomes decimal digits, and those become ports.

use core::ops::RangeInclusive;

use heapless::String;

use crate::door::{MAX_PATH, Order};
use crate::knock::{Port, Protocol};

/// How many knocks a code makes: its digits in two groups.
pub const KNOCKS: usize = 2;

/// SHA-1's, in bytes.
const SHORTEST_DIGEST: usize = 20;

/// How a counter becomes ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// The file that holds the shared secret: an absolute path.
    pub secret_file: String<MAX_PATH>,
    /// The hash function under HMAC.
    pub algorithm: Algorithm,
    /// The length of a code.
    pub digits: Digits,
    /// The port of a group of zeros, at least 1; that of a group of nines is at most 65535.
    pub base: u16,
    /// The protocols of the first and the second knock.
    pub protocols: [Protocol; KNOCKS],
    /// Whether the first group must be knocked first.
    pub order: Order,
}

/// The hash functions of RFC 6238, section 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC-SHA-1, which every authenticator app knows.
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

impl Algorithm {
    /// The name in configurations and `otpauth://` URIs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

/// The lengths of a code that divide into two groups worth knocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digits {
    /// Two groups of three.
    Six,
    /// Two groups of four.
    Eight,
}

impl Digits {
    /// How many digits.
    pub const fn count(self) -> u32 {
        match self {
            Self::Six => 6,
            Self::Eight => 8,
        }
    }

    /// The number of values of one group.
    pub const fn group(self) -> u16 {
        match self {
            Self::Six => 1_000,
            Self::Eight => 10_000,
        }
    }
}

impl Code {
    /// The ports that a digest's code asks to knock on, in order.
    ///
    /// `digest` is HMAC of the counter, eight bytes, big-endian (RFC 4226, section 5.3).
    /// `None` if it is shorter than any HMAC or a port would be beyond 65535.
    ///
    /// ```
    /// use postern_core::code::{Algorithm, Code, Digits};
    /// use postern_core::door::Order;
    /// use postern_core::knock::Protocol::{Tcp, Udp};
    ///
    /// let code = Code {
    ///     secret_file: "/etc/postern/ssh.secret".try_into().expect("a path"),
    ///     algorithm: Algorithm::Sha1,
    ///     digits: Digits::Six,
    ///     base: 10_000,
    ///     protocols: [Udp, Tcp],
    ///     order: Order::Strict,
    /// };
    /// // RFC 4226, section 5.4: the six digits of this HMAC are 872921.
    /// let digest = [
    ///     0x1f, 0x86, 0x98, 0x69, 0x0e, 0x02, 0xca, 0x16, 0x61, 0x85, //
    ///     0x50, 0xef, 0x7f, 0x19, 0xda, 0x8e, 0x94, 0x5b, 0x55, 0x5a,
    /// ];
    /// let knocks = code.knocks(&digest).expect("ports");
    /// assert_eq!(knocks.map(|port| port.number), [10_872, 10_921]);
    /// ```
    pub fn knocks(&self, digest: &[u8]) -> Option<[Port; KNOCKS]> {
        let group = u32::from(self.digits.group());
        let number = truncate(digest)? % (group * group);
        let [first, second] = self.protocols;
        Some([
            self.port(first, number / group)?,
            self.port(second, number % group)?,
        ])
    }

    /// Every port that a code can ask for, by protocol; twice the same if there is only one.
    pub fn ranges(&self) -> [(Protocol, RangeInclusive<u16>); KNOCKS] {
        let last = self.base.saturating_add(self.digits.group() - 1);
        self.protocols.map(|protocol| (protocol, self.base..=last))
    }

    fn port(&self, protocol: Protocol, group: u32) -> Option<Port> {
        let number = self.base.checked_add(u16::try_from(group).ok()?)?;
        Some(Port { protocol, number })
    }
}

/// Dynamic truncation (RFC 4226, section 5.3): 31 bits from where the last nibble points.
fn truncate(digest: &[u8]) -> Option<u32> {
    let offset = usize::from(digest.last()? & 0xf);
    let bytes = digest
        .get(offset..offset + 4)
        .filter(|_| digest.len() >= SHORTEST_DIGEST)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?) & 0x7fff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(digits: Digits) -> Code {
        Code {
            secret_file: String::new(),
            algorithm: Algorithm::Sha1,
            digits,
            base: 10_000,
            protocols: [Protocol::Tcp, Protocol::Udp],
            order: Order::Any,
        }
    }

    /// The digest of RFC 4226, section 5.4, whose six digits are 872921.
    const DIGEST: [u8; 20] = [
        0x1f, 0x86, 0x98, 0x69, 0x0e, 0x02, 0xca, 0x16, 0x61, 0x85, 0x50, 0xef, 0x7f, 0x19, 0xda,
        0x8e, 0x94, 0x5b, 0x55, 0x5a,
    ];

    #[test]
    fn the_example_of_rfc_4226() {
        let [first, second] = code(Digits::Six).knocks(&DIGEST).unwrap();
        assert_eq!((first.protocol, first.number), (Protocol::Tcp, 10_872));
        assert_eq!((second.protocol, second.number), (Protocol::Udp, 10_921));
        let [first, second] = code(Digits::Eight).knocks(&DIGEST).unwrap();
        assert_eq!(
            (first.number, second.number),
            (10_000 + 5_787, 10_000 + 2_921)
        );
    }

    #[test]
    fn no_digest_and_no_base_make_it_panic() {
        for length in 0..20 {
            assert_eq!(code(Digits::Six).knocks(&DIGEST[..length]), None);
        }
        let high = Code {
            base: 65_000,
            ..code(Digits::Six)
        };
        assert_eq!(high.knocks(&DIGEST), None);
    }

    #[test]
    fn every_code_is_within_its_ranges() {
        let code = code(Digits::Eight);
        for byte in 0..=u8::MAX {
            let digest = [byte; 20];
            for (port, (protocol, range)) in code.knocks(&digest).unwrap().iter().zip(code.ranges())
            {
                assert!(port.protocol == protocol && range.contains(&port.number));
            }
        }
    }
}
