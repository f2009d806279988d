//! The registers of nf_tables, of which some are known, or known to lie between two values.

use core::ops::Not;

use crate::firewall::nft::nfta;
use crate::netlink::codec::{Attributes, as_u32};

/// Whether a packet matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Matched {
    No,
    Maybe,
    Yes,
}

impl Not for Matched {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
            Self::Yes => Self::No,
        }
    }
}

impl From<bool> for Matched {
    fn from(is_so: bool) -> Self {
        if is_so { Self::Yes } else { Self::No }
    }
}

/// Whether something between two numbers lies between two others.
pub(super) const fn overlap((low, high): (u32, u32), (first, last): (u32, u32)) -> Matched {
    if high < first || low > last {
        Matched::No
    } else if first <= low && high <= last {
        Matched::Yes
    } else {
        Matched::Maybe
    }
}

const WORDS: usize = 16;
const ANY: (u32, u32) = (0, u32::MAX);

/// Words of four octets, first octet first.
#[derive(Clone, Debug)]
pub(super) struct Registers([(u32, u32); WORDS]);

impl Default for Registers {
    fn default() -> Self {
        Self([ANY; WORDS])
    }
}

/// NFT_REG_1 to NFT_REG_4 are four words each, others one.
const fn first_word(register: u32) -> usize {
    (match register {
        1..=4 => (register - 1) * 4,
        _ => register.saturating_sub(libc::NFT_REG32_00 as u32),
    }) as usize
}

impl Registers {
    /// Keeps a value, or that it is not known. What is loaded beside it is loaded later.
    pub(super) fn put(&mut self, register: u32, value: Option<&[u8]>) {
        let words = self.0.iter_mut().skip(first_word(register));
        match value {
            None => words.for_each(|word| *word = ANY),
            Some(value) => {
                for (word, octets) in words.zip(value.chunks(4)) {
                    *word = (padded(octets, 0), padded(octets, 0));
                }
            }
        }
    }

    pub(super) fn put_between(&mut self, register: u32, first: u32, last: u32) {
        if let Some(word) = self.0.get_mut(first_word(register)) {
            *word = (first, last);
        }
    }

    pub(super) fn knows_nothing(&self, register: u32) -> bool {
        let mut words = self.0.iter().skip(first_word(register));
        words.all(|word| *word == ANY)
    }

    /// A port, where it is known which.
    pub(super) fn port(&self, register: u32) -> Option<u16> {
        let (first, last) = *self.0.get(first_word(register))?;
        (first == last).then_some((first >> 16) as u16)
    }

    /// Whether each word lies between those of two values.
    pub(super) fn between(&self, register: u32, first: &[u8], last: &[u8]) -> Matched {
        let words = self.0.iter().skip(first_word(register));
        let bounds = first.chunks(4).zip(last.chunks(4));
        let each = words
            .zip(bounds)
            .map(|(word, (first, last))| overlap(*word, (padded(first, 0), padded(last, u8::MAX))));
        each.min().unwrap_or(Matched::Maybe)
    }

    /// What `cmp` and `range` find: they differ by what they have.
    pub(super) fn compare(&self, data: Attributes<'_>) -> Matched {
        let number = |kind| data.find(kind).and_then(as_u32).unwrap_or(0);
        let value = |kind| {
            data.inside(kind)
                .and_then(|data| data.find(nfta::DATA_VALUE))
        };
        let register = number(nfta::CMP_REGISTER);
        let operation = number(nfta::CMP_OPERATION) as i32;
        let Some(first) = value(nfta::CMP_DATA) else {
            return Matched::Maybe;
        };
        // An array of longer values is in the order of its first words only.
        let is_short = first.len() <= 4;
        if let Some(last) = value(nfta::RANGE_TO) {
            let matched = match is_short {
                true => self.between(register, first, last),
                false => Matched::Maybe,
            };
            return match operation {
                libc::NFT_RANGE_EQ => matched,
                _ => !matched,
            };
        }
        let (lowest, highest): (&[u8], &[u8]) = (&[0; 4], &[u8::MAX; 4]);
        match operation {
            libc::NFT_CMP_EQ => self.between(register, first, first),
            libc::NFT_CMP_NEQ => !self.between(register, first, first),
            _ if !is_short => Matched::Maybe,
            libc::NFT_CMP_LTE => self.between(register, lowest, first),
            libc::NFT_CMP_GT => !self.between(register, lowest, first),
            libc::NFT_CMP_GTE => self.between(register, first, highest),
            _ => !self.between(register, first, highest),
        }
    }

    /// Masks what is known.
    pub(super) fn bitwise(&mut self, data: Attributes<'_>) {
        let number = |kind| data.find(kind).and_then(as_u32).unwrap_or(0);
        let value = |kind| {
            data.inside(kind)
                .and_then(|data| data.find(nfta::DATA_VALUE))
        };
        let from = first_word(number(nfta::BITWISE_SOURCE));
        let register = number(nfta::BITWISE_REGISTER);
        let (mask, xor) = match (value(nfta::BITWISE_MASK), value(nfta::BITWISE_XOR)) {
            (Some(mask), Some(xor)) if number(nfta::BITWISE_OPERATION) == 0 => (mask, xor),
            _ => return self.put(register, None),
        };
        let words = self.0;
        let masks = mask.chunks(4).zip(xor.chunks(4));
        let targets = self.0.iter_mut().skip(first_word(register));
        for ((target, word), (mask, xor)) in targets.zip(words.iter().skip(from)).zip(masks) {
            let (mask, xor) = (padded(mask, 0), padded(xor, 0));
            *target = match word {
                (low, high) if low == high || mask == 0 => (low & mask ^ xor, low & mask ^ xor),
                _ => ANY,
            };
        }
    }
}

/// Up to four octets as a number, with others behind them.
fn padded(octets: &[u8], with: u8) -> u32 {
    let mut word = [with; 4];
    for (to, octet) in word.iter_mut().zip(octets) {
        *to = *octet;
    }
    u32::from_be_bytes(word)
}
