//! The two keys that a door and its clients share.
//!
//! A key file has them in the notation of fwknop's access.conf, and of what `fwknop --key-gen` prints: a line for each,
//! a name and a value. `KEY` is the passphrase as it is typed, `KEY_BASE64` the same in base 64; `HMAC_KEY` and
//! `HMAC_KEY_BASE64` are the other key.

use core::hint::black_box;
use std::path::Path;

use postern_core::spa::{Hmac, base64};
use zeroize::Zeroizing;

use super::IS_BUILT_IN;
use super::crypto::Mac;
use crate::files::private_file::{self, Forbidden, Unfit};

/// The longest key file, in bytes.
pub(crate) const MAX_FILE: usize = 4096;
/// The longest passphrase and the longest key of an HMAC that fwknop's clients have.
const MAX_PASSPHRASE: usize = 32;
const MAX_HMAC_KEY: usize = 128;
/// What fwknop's own access.conf has where keys belong.
const SAMPLE: &[u8] = b"__CHANGEME__";

/// A door's keys. Wiped from memory when dropped, and never printed.
pub(crate) struct Keys {
    /// What the key of the cipher is made of.
    pub(super) passphrase: Zeroizing<Vec<u8>>,
    hmac_key: Zeroizing<Vec<u8>>,
    /// Begun with that key.
    pub(super) mac: Mac,
}

impl Keys {
    /// Reads a key file that only its owner can read.
    pub(crate) fn read(path: &Path, hmac: Hmac) -> Result<Self, Unfit> {
        if !IS_BUILT_IN {
            return Err(Unfit::Bad(LEFT_OUT.into()));
        }
        let text = private_file::read(path, MAX_FILE, Forbidden::Any)?;
        Self::parse(&text, hmac).map_err(|why| Unfit::Bad(format!("{}: {why}", path.display())))
    }

    /// Reads the text of a key file, for an HMAC of this kind.
    pub(crate) fn parse(text: &[u8], hmac: Hmac) -> Result<Self, String> {
        let (mut passphrase, mut hmac_key) = (None, None);
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let at = |why: &str| format!("line {number}: {why}");
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let (name, value) = cut(line);
            let (key, place, most) = match name {
                b"KEY" | b"KEY_BASE64" => ("the passphrase", &mut passphrase, MAX_PASSPHRASE),
                b"HMAC_KEY" | b"HMAC_KEY_BASE64" => {
                    ("the key of the HMAC", &mut hmac_key, MAX_HMAC_KEY)
                }
                _ => return Err(at(NO_NAME)),
            };
            if place.is_some() {
                return Err(at(&format!("{key} is there already; keep one of the two")));
            }
            let value = match name.ends_with(b"_BASE64") {
                true => decode(value).ok_or_else(|| at(NO_BASE64))?,
                false => typed(value).map_err(at)?,
            };
            if value.is_empty() || value.len() > most {
                return Err(at(&format!("{key} must have 1 to {most} bytes; {CURE}")));
            }
            if *value == SAMPLE {
                return Err(at(&format!("this key is only a sample; {CURE}")));
            }
            *place = Some(value);
        }
        let missing = |names: &str| format!("{names} is missing; {CURE}");
        let passphrase = passphrase.ok_or_else(|| missing("KEY_BASE64 or KEY"))?;
        let hmac_key = hmac_key.ok_or_else(|| missing("HMAC_KEY_BASE64 or HMAC_KEY"))?;
        if are_same(&passphrase, &hmac_key) {
            return Err(format!("both keys are the same; {CURE}"));
        }
        let mac = Mac::new(hmac, &hmac_key);
        Ok(Self {
            passphrase,
            hmac_key,
            mac,
        })
    }

    /// Both keys as apps scan them.
    pub(crate) fn scanned(&self) -> Zeroizing<String> {
        scanned(&written(&self.passphrase), &written(&self.hmac_key))
    }

    /// Both keys as a key file has them, in base 64.
    pub(crate) fn lines(&self) -> Zeroizing<String> {
        lines(&written(&self.passphrase), &written(&self.hmac_key))
    }

    /// What authenticates.
    pub(crate) fn authenticating(&self) -> &[u8] {
        &self.hmac_key
    }

    /// Whether both are the same two keys. Takes a time that tells no more than their lengths.
    pub(crate) fn are_those_of(&self, other: &Self) -> bool {
        are_same(&self.passphrase, &other.passphrase) & are_same(&self.hmac_key, &other.hmac_key)
    }
}

const CURE: &str = "'postern keygen DOOR', or 'fwknop --key-gen --use-hmac', makes a pair of them";
const LEFT_OUT: &str =
    "this program was built without method spa: 'cargo build --features spa' makes one with it";
const NO_NAME: &str =
    "expected KEY_BASE64, KEY, HMAC_KEY_BASE64 or HMAC_KEY, and the key behind it";
const NO_BASE64: &str =
    "this is not base 64 as a whole; copy the key again, without blanks or quotes";
const NO_TYPED: &str =
    "fwknop ends a key at ;, write the same key in base 64, as KEY_BASE64 or HMAC_KEY_BASE64";

/// A name, without the colon behind it, and the value.
fn cut(line: &[u8]) -> (&[u8], &[u8]) {
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || *byte == b':';
    let end = line.iter().position(is_end).unwrap_or(line.len());
    let (name, rest) = line.split_at_checked(end).unwrap_or((line, b""));
    let value = rest.strip_prefix(b":").unwrap_or(rest);
    (name, value.trim_ascii())
}

/// A key in base 64, filled up as fwknop's programs write it.
pub(crate) fn written(key: &[u8]) -> Zeroizing<String> {
    // A text that grows would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(key.len().div_ceil(3) * 4));
    text.extend(base64::encode(key).map(char::from));
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// Both keys, in base 64, as a key file has them.
pub(crate) fn lines(key: &str, hmac_key: &str) -> Zeroizing<String> {
    Zeroizing::new(["KEY_BASE64 ", key, "\nHMAC_KEY_BASE64 ", hmac_key, "\n"].concat())
}

/// Both keys, in base 64, as Fwknop2 and fwknop-gui scan them from a QR code.
pub(crate) fn scanned(key: &str, hmac_key: &str) -> Zeroizing<String> {
    Zeroizing::new(["KEY_BASE64:", key, " HMAC_KEY_BASE64:", hmac_key].concat())
}

fn typed(value: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    match value.iter().any(|byte| matches!(byte, b';' | 0)) {
        true => Err(NO_TYPED),
        false => Ok(Zeroizing::new(value.to_vec())),
    }
}

/// With padding or without.
fn decode(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let bare = match value.len() % 4 {
        0 => (value.strip_suffix(b"==").or(value.strip_suffix(b"="))).unwrap_or(value),
        _ => value,
    };
    let mut bytes = Zeroizing::new(vec![0; bare.len()]);
    let length = base64::decode([bare, &[]], &mut bytes)?.len();
    bytes.truncate(length);
    Some(bytes)
}

fn are_same(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |differing, (one, other)| {
        black_box(differing | (one ^ other))
    });
    one.len() == other.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch::Scratch;

    fn parse(text: &str) -> Result<(Vec<u8>, Vec<u8>), String> {
        Keys::parse(text.as_bytes(), Hmac::Sha256)
            .map(|keys| (keys.passphrase.to_vec(), keys.hmac_key.to_vec()))
    }

    #[test]
    fn every_way_to_write_keys() {
        for text in [
            "KEY one\nHMAC_KEY two",
            "KEY: one\r\nHMAC_KEY: two\r\n",
            "KEY:one\nHMAC_KEY:two\n",
            "# made by hand\n\n  HMAC_KEY\ttwo  \n\tKEY    one\n",
            "KEY_BASE64: b25l\nHMAC_KEY_BASE64: dHdv\n",
            "KEY_BASE64 b25l\nHMAC_KEY two\n",
        ] {
            assert_eq!(
                parse(text).unwrap(),
                (b"one".into(), b"two".into()),
                "{text}"
            );
        }
        for (text, key) in [
            ("MQ", "1"),
            ("MQ==", "1"),
            ("MTI", "12"),
            ("MTI=", "12"),
            ("MTIz", "123"),
        ] {
            let (passphrase, _) = parse(&format!("KEY_BASE64 {text}\nHMAC_KEY x\n")).unwrap();
            assert_eq!(passphrase, key.as_bytes());
        }
        // What stands behind a first colon belongs to the key.
        assert_eq!(
            parse("KEY a:b\nHMAC_KEY: :c").unwrap(),
            (b"a:b".into(), b":c".into())
        );
        // So do blanks in it, and what looks like a comment.
        assert_eq!(
            parse("KEY correct horse \nHMAC_KEY  c # d").unwrap(),
            (b"correct horse".into(), b"c # d".into())
        );
        assert_eq!(
            parse("KEY sch\u{fc}ssel\nHMAC_KEY x").unwrap().0,
            "sch\u{fc}ssel".as_bytes()
        );
    }

    #[test]
    fn keys_are_as_long_as_clients_have_them() {
        let keys = |key: usize, hmac: usize| {
            parse(&format!(
                "KEY {}\nHMAC_KEY {}\n",
                "k".repeat(key),
                "h".repeat(hmac)
            ))
        };
        assert!(keys(1, 1).is_ok() && keys(32, 128).is_ok());
        assert!(
            keys(33, 1)
                .unwrap_err()
                .contains("line 1: the passphrase must have 1 to 32 bytes")
        );
        assert!(
            keys(1, 129)
                .unwrap_err()
                .contains("line 2: the key of the HMAC must have 1 to 128 bytes")
        );
        assert!(keys(0, 1).is_err() && keys(1, 0).is_err());
    }

    #[test]
    fn mistakes_are_named_with_their_line_and_never_with_a_key() {
        for (text, part) in [
            ("", "KEY_BASE64 or KEY is missing; 'postern keygen DOOR'"),
            ("# only this\n", "is missing"),
            ("KEY hidden\n", "HMAC_KEY_BASE64 or HMAC_KEY is missing"),
            ("HMAC_KEY hidden\n", "KEY_BASE64 or KEY is missing"),
            ("KEY hidden\nHMAC_KEY hidden\n", "both keys are the same"),
            (
                "KEY hidden\nHMAC_KEY_BASE64 aGlkZGVu\n",
                "both keys are the same",
            ),
            ("\nhidden\n", "line 2: expected KEY_BASE64"),
            ("key hidden\n", "line 1: expected"),
            ("SOURCE ANY\nKEY hidden\n", "line 1: expected"),
            (
                "KEY hidden\nKEY_BASE64 MQ\n",
                "line 2: the passphrase is there already",
            ),
            (
                "HMAC_KEY 1\nHMAC_KEY hidden\n",
                "line 2: the key of the HMAC is there already",
            ),
            ("KEY hidden;\n", "line 1: fwknop ends"),
            ("KEY_BASE64 hidden\u{fc}\n", "line 1: this is not base 64"),
            ("KEY_BASE64 hidde\n", "line 1: this is not base 64"),
            ("KEY_BASE64 aGlkZGV=\n", "line 1: this is not base 64"),
            ("KEY_BASE64 MQ=\n", "line 1: this is not base 64"),
            ("KEY_BASE64 MTIz====\n", "line 1: this is not base 64"),
            ("KEY_BASE64 'MTIz'\n", "without blanks or quotes"),
            ("KEY __CHANGEME__\n", "line 1: this key is only a sample"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
            assert!(!why.contains("hid"), "{why}");
        }
    }

    #[test]
    fn keys_are_those_of_others_if_both_are() {
        let keys = |text: &str| Keys::parse(text.as_bytes(), Hmac::Md5).ok().unwrap();
        let one = keys("KEY one\nHMAC_KEY two");
        assert!(one.are_those_of(&keys("HMAC_KEY_BASE64 dHdv\nKEY one")));
        for other in [
            "KEY one\nHMAC_KEY tw",
            "KEY on\nHMAC_KEY two",
            "KEY two\nHMAC_KEY one",
            "KEY onf\nHMAC_KEY two",
        ] {
            assert!(!one.are_those_of(&keys(other)), "{other}");
        }
    }

    #[test]
    fn files_are_private_and_named() {
        let scratch = Scratch::new();
        let path = scratch.file("ssh.key", "KEY one\nHMAC_KEY two\n");
        assert!(Keys::read(&path, Hmac::Sha256).is_ok());
        let path = scratch.file("ssh.key", "KEY hidden\n");
        let why = Keys::read(&path, Hmac::Sha256).err().unwrap().to_string();
        assert!(
            why.contains("ssh.key: HMAC_KEY") && !why.contains("hidden"),
            "{why}"
        );
        assert!(matches!(
            Keys::read(&scratch.path("none"), Hmac::Sha256),
            Err(Unfit::Missing(_))
        ));
    }
}
