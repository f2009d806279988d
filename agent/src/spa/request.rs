//! A client's datagram.

use aes::Aes256Enc;
use aes::cipher::BlockCipherEncrypt;
use hmac::KeyInit;
use postern_core::door::Door;
use postern_core::knock::Protocol;
use postern_core::spa::{LONGEST, PREFIX, base64};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::crypto::Derived;
use super::keys::Keys;

/// A port of a door's as datagrams name it. One is enough: a door opens as a whole.
pub(crate) fn port_of(door: &Door) -> Option<String> {
    let mut guards = door.guards.iter();
    let guard = guards.find(|guard| guard.protocol != Protocol::Icmp)?;
    Some(format!("{}/{}", guard.protocol.name(), guard.first))
}

/// What a client asks for.
pub(crate) struct Request<'r> {
    /// Who asks.
    pub(crate) user: &'r str,
    /// Seconds of Unix time.
    pub(crate) time: u64,
    /// An address and ports: `192.0.2.7,tcp/22`.
    pub(crate) access: &'r str,
    /// For how many seconds; `None`: as the door has it.
    pub(crate) timeout: Option<u16>,
}

/// What nobody may foresee: a datagram is like no other because of it.
#[derive(Clone, Copy)]
pub(crate) struct Random {
    /// Sixteen decimal digits are made of it.
    pub(crate) number: u64,
    pub(crate) salt: [u8; 8],
}

impl Request<'_> {
    /// The datagram; `None` if it would be longer than any that is heard.
    pub(crate) fn seal(&self, keys: &Keys, random: Random) -> Option<String> {
        let plaintext = self.plaintext(random.number);
        let datagram = seal(keys, random.salt, plaintext.as_bytes(), None);
        (datagram.len() <= LONGEST).then_some(datagram)
    }

    /// In the form of fwknop's version 3.0.0, as every client of the last ten years has it.
    pub(super) fn plaintext(&self, number: u64) -> Zeroizing<String> {
        let Self {
            user, time, access, ..
        } = self;
        let digits = number % 10_u64.pow(16);
        let (user, access) = (encoded(user.as_bytes()), encoded(access.as_bytes()));
        let (kind, timeout) = match self.timeout {
            None => (1, String::new()),
            Some(timeout) => (3, format!(":{timeout}")),
        };
        let mut text = format!("{digits:016}:{user}:{time}:3.0.0:{kind}:{access}{timeout}");
        let digest = encoded(&Sha256::digest(&text));
        text.push(':');
        text.push_str(&digest);
        Zeroizing::new(text)
    }
}

/// Encrypts a text and authenticates it. Only who tries what becomes of it has another padding than what fills it up.
pub(crate) fn seal(keys: &Keys, salt: [u8; 8], plaintext: &[u8], padding: Option<u8>) -> String {
    let mut text = encoded(&encrypt(keys, salt, plaintext, padding));
    let tag = encoded(&keys.mac.tag([text.as_bytes(), &[]]));
    text.drain(..PREFIX.len());
    text + &tag
}

/// `Salted__`, the salt and the blocks.
fn encrypt(keys: &Keys, salt: [u8; 8], plaintext: &[u8], padding: Option<u8>) -> Vec<u8> {
    let Derived { key, iv } = Derived::of(&keys.passphrase, salt);
    let cipher = Aes256Enc::new((&*key).into());
    let mut ciphertext = [*b"Salted__", salt].concat();
    let mut before = *iv;
    let (whole, rest) = plaintext.as_chunks::<16>();
    // RFC 5652, section 6.3.
    let padding = padding.unwrap_or((16 - rest.len()) as u8);
    let mut last = Zeroizing::new([padding; 16]);
    (last.iter_mut().zip(rest)).for_each(|(to, from)| *to = *from);
    for block in whole.iter().chain([&*last]) {
        (before.iter_mut().zip(block)).for_each(|(octet, plain)| *octet ^= plain);
        cipher.encrypt_block((&mut before).into());
        ciphertext.extend(before);
    }
    ciphertext
}

pub(crate) fn encoded(bytes: &[u8]) -> String {
    base64::encode(bytes).map(char::from).collect()
}
