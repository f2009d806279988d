//! Single-packet authorisation (SPA): a door that one datagram of fwknop's protocol opens.
//!
//! The datagram is encrypted and authenticated. It says when it was made, for whom, and which ports it asks for, and it
//! opens once. Where its parts stand is fwknop's `lib/fko_message.c`, `fko_encode.c` and `fko_hmac.c`, as version 2.6
//! writes them; of what those know, encryption by AES-256-CBC and an HMAC are taken, and access to this machine's
//! ports.
//!
//! [`Verifier`] judges datagrams. Keys are none of core's business: whoever calls it hands in [`Cryptography`].

pub mod base64;
mod budget;
mod message;
mod refusal;
mod replay;
mod verifier;
mod wipe;
mod wire;

use core::ops::RangeInclusive;

use heapless::String;

use crate::door::MAX_PATH;
use crate::time::Duration;

pub use refusal::{Refusal, Refusals};
pub use verifier::{Accepted, Cryptography, Refused, Verifier};
pub use wire::{COPIED, LONGEST, PREFIX, SHORTEST};

/// The port that fwknop's clients send to unless they are told another.
pub const DEFAULT_PORT: u16 = 62_201;
/// The octets of the shortest datagram that can be genuine, and of the longest.
pub const LENGTHS: RangeInclusive<u16> = SHORTEST as u16..=LONGEST as u16;
/// What its first octet is: so many bits of it, and what they are. The ten characters that are not sent leave two bits
/// of salt behind four that are set: one of `+`, `/`, `8` and `9`.
pub const FIRST_OCTETS: [(u8, u8); 2] = [(0xfe, b'8'), (0xfb, b'+')];
/// The longest user name that fwknop reads, in bytes: 64 characters of base64.
pub const MAX_USER: usize = 48;

/// What a door asks of a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The UDP port at which datagrams are heard.
    pub port: u16,
    /// The file of both keys, an absolute path.
    pub key_file: String<MAX_PATH>,
    /// What a datagram is authenticated by.
    pub hmac: Hmac,
    /// Whom it can let in.
    pub allow: Allow,
    /// How far from now the time in it may be, before and after: 1 s to 1 hour.
    pub max_age: Duration,
    /// The longest grant that it can ask for: 1 s to 365 days.
    pub grant_max: Duration,
    /// The user that it must name; empty: any.
    pub user: String<MAX_USER>,
}

/// The hash function of a datagram's HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hmac {
    /// MD5 (RFC 1321)
    Md5,
    /// SHA-1
    Sha1,
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl Hmac {
    /// Every function, by its name in configurations, which is fwknop's.
    pub const ALL: &[(&str, Self)] = &[
        ("md5", Self::Md5),
        ("sha1", Self::Sha1),
        ("sha256", Self::Sha256),
        ("sha384", Self::Sha384),
        ("sha512", Self::Sha512),
    ];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        Self::ALL.get(self as usize).map_or("", |(name, _)| name)
    }

    /// How many bytes it makes.
    pub const fn octets(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// Whom a datagram can let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allow {
    /// The address that it names, whoever sent it.
    Named,
    /// Its sender, whose address it must name: nobody on the way can use it for another.
    Sender,
    /// The address that it names, or its sender where it names none. Nothing protects the sender's address on its way:
    /// who holds the datagram back can send it first.
    Any,
}

impl Allow {
    /// Every policy, by its name in configurations.
    pub const ALL: &[(&str, Self)] = &[
        ("named", Self::Named),
        ("sender", Self::Sender),
        ("any", Self::Any),
    ];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        Self::ALL.get(self as usize).map_or("", |(name, _)| name)
    }
}
