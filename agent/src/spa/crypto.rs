//! What core asks of cryptography for datagrams: HMACs, and AES-256 in CBC mode.
//!
//! The key of the cipher is OpenSSL's `EVP_BytesToKey` of the passphrase: MD5, one iteration (openssl's
//! `EVP_BytesToKey(3)`). Nothing stretches it. What protects is the HMAC's key, and that both are random.

use core::hint::black_box;
use core::time::Duration;
use std::rc::Rc;

use aes::Aes256Dec;
use aes::cipher::BlockCipherDecrypt;
use hmac::{Hmac as Keyed, KeyInit};
use md5::{Digest as _, Md5};
use postern_core::spa::{Cryptography, Hmac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::keys::Keys;
use crate::collect::CollectVec;

/// An HMAC begun with its key: both pads are hashed already, so that a text costs no more than itself and a last hash.
#[derive(Clone)]
pub(crate) enum Mac {
    Md5(Keyed<Md5>),
    Sha1(Keyed<Sha1>),
    Sha256(Keyed<Sha256>),
    Sha384(Keyed<Sha384>),
    Sha512(Keyed<Sha512>),
}

impl Mac {
    pub(super) fn new(hmac: Hmac, key: &[u8]) -> Self {
        match hmac {
            Hmac::Md5 => Self::Md5(begun(key)),
            Hmac::Sha1 => Self::Sha1(begun(key)),
            Hmac::Sha256 => Self::Sha256(begun(key)),
            Hmac::Sha384 => Self::Sha384(begun(key)),
            Hmac::Sha512 => Self::Sha512(begun(key)),
        }
    }

    const fn kind(&self) -> Hmac {
        match self {
            Self::Md5(_) => Hmac::Md5,
            Self::Sha1(_) => Hmac::Sha1,
            Self::Sha256(_) => Hmac::Sha256,
            Self::Sha384(_) => Hmac::Sha384,
            Self::Sha512(_) => Hmac::Sha512,
        }
    }

    fn verify(&self, text: [&[u8]; 2], tag: &[u8]) -> bool {
        match self {
            Self::Md5(mac) => is_tag(mac, text, tag),
            Self::Sha1(mac) => is_tag(mac, text, tag),
            Self::Sha256(mac) => is_tag(mac, text, tag),
            Self::Sha384(mac) => is_tag(mac, text, tag),
            Self::Sha512(mac) => is_tag(mac, text, tag),
        }
    }

    /// What authenticates a text.
    pub(super) fn tag(&self, text: [&[u8]; 2]) -> Vec<u8> {
        fn tag<M: hmac::Mac + Clone>(mac: &M, [before, behind]: [&[u8]; 2]) -> Vec<u8> {
            let mac = mac.clone().chain_update(before).chain_update(behind);
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Self::Md5(mac) => tag(mac, text),
            Self::Sha1(mac) => tag(mac, text),
            Self::Sha256(mac) => tag(mac, text),
            Self::Sha384(mac) => tag(mac, text),
            Self::Sha512(mac) => tag(mac, text),
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "HMAC takes keys of any length: RFC 2104, section 2"
)]
fn begun<M: KeyInit>(key: &[u8]) -> M {
    M::new_from_slice(key).expect("a key of any length")
}

/// It takes a time that does not tell how much of the tag is right.
fn is_tag<M: hmac::Mac + Clone>(mac: &M, [before, behind]: [&[u8]; 2], tag: &[u8]) -> bool {
    let mac = mac.clone().chain_update(before).chain_update(behind);
    mac.verify_slice(tag).is_ok()
}

/// The key of the cipher, and what the first block is combined with.
pub(super) struct Derived {
    pub(super) key: Zeroizing<[u8; 32]>,
    pub(super) iv: Zeroizing<[u8; 16]>,
}

impl Derived {
    pub(super) fn of(passphrase: &[u8], salt: [u8; 8]) -> Self {
        let digest = |before: &[u8]| {
            let md5 = Md5::new().chain_update(before).chain_update(passphrase);
            Zeroizing::new(<[u8; 16]>::from(md5.chain_update(salt).finalize()))
        };
        let first = digest(&[]);
        let second = digest(&*first);
        let iv = digest(&*second);
        let mut key = Zeroizing::new([0; 32]);
        let halves = first.iter().chain(&*second);
        (key.iter_mut().zip(halves)).for_each(|(to, from)| *to = *from);
        Self { key, iv }
    }
}

/// The keys of all doors, each by its door's index.
#[derive(Default)]
pub(crate) struct Keyring {
    keys: Vec<Option<Rc<Keys>>>,
}

impl Keyring {
    /// Gives a door its keys.
    pub(crate) fn insert(&mut self, door: usize, keys: impl Into<Rc<Keys>>) {
        if door >= self.keys.len() {
            self.keys.resize_with(door + 1, || None);
        }
        if let Some(place) = self.keys.get_mut(door) {
            *place = Some(keys.into());
        }
    }

    /// For each door, the index of the first that has the same keys: what core's `Verifier` is configured with.
    pub(crate) fn shared(&self, doors: usize) -> Vec<usize> {
        let first = |door: usize| {
            let own = self.of(door)?;
            (0..door).find(|other| self.of(*other).is_some_and(|other| own.are_those_of(other)))
        };
        (0..doors)
            .map(|door| first(door).unwrap_or(door))
            .collect_vec()
    }

    /// How many HMACs take a quarter of this processor, by the dearest of those in use: 200 to 200,000 a second. The
    /// clock is any that does not go back.
    pub(crate) fn checks_per_second(&self, clock: &mut dyn FnMut() -> Duration) -> u32 {
        let mut slowest = Duration::ZERO;
        let mut measured = Vec::new();
        for keys in self.keys.iter().flatten() {
            let mac = &keys.mac;
            if !measured.contains(&mac.kind()) {
                measured.push(mac.kind());
                slowest = slowest.max(measure(mac, clock));
            }
        }
        let quarter = Duration::from_millis(250).as_nanos() / slowest.as_nanos().max(1);
        u32::try_from(quarter)
            .unwrap_or(u32::MAX)
            .clamp(200, 200_000)
    }

    fn of(&self, door: usize) -> Option<&Keys> {
        self.keys.get(door)?.as_deref()
    }
}

/// How long it takes to authenticate a datagram of the usual length. The quickest of a few: others were disturbed.
fn measure(mac: &Mac, clock: &mut dyn FnMut() -> Duration) -> Duration {
    const ROUNDS: u32 = 16;
    let mut tag = [0; 64];
    let tag = tag.get_mut(..mac.kind().octets()).unwrap_or_default();
    let quickest = (0..8).map(|_| {
        let start = clock();
        for _ in 0..ROUNDS {
            black_box(mac.verify([&[b'A'; 10], &[b'A'; 161]], black_box(tag)));
        }
        clock().saturating_sub(start) / ROUNDS
    });
    quickest.min().unwrap_or_default()
}

impl Cryptography for Keyring {
    fn is_authentic(&mut self, door: usize, hmac: Hmac, text: [&[u8]; 2], tag: &[u8]) -> bool {
        let keys = self.of(door).filter(|keys| keys.mac.kind() == hmac);
        keys.is_some_and(|keys| keys.mac.verify(text, tag))
    }

    fn decrypt(&mut self, door: usize, salt: [u8; 8], blocks: &mut [[u8; 16]]) -> bool {
        let Some(keys) = self.of(door) else {
            return false;
        };
        let Derived { key, iv } = Derived::of(&keys.passphrase, salt);
        let cipher = Aes256Dec::new((&*key).into());
        let mut before = *iv;
        for block in blocks {
            let ciphertext = *block;
            cipher.decrypt_block(block.into());
            (block.iter_mut().zip(before)).for_each(|(octet, before)| *octet ^= before);
            before = ciphertext;
        }
        true
    }
}
