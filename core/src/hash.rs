//! A hash that whoever chooses source addresses cannot aim.
//!
//! SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012) with a
//! secret key: one round for each word and three to finish, as in Rust's own hash tables.
//! It is made of additions, rotations and exclusive ors only, which suits a processor
//! without a fast multiplier such as the MIPS 24Kc.

use core::net::IpAddr;

/// The secret that makes a hash unpredictable: 128 random bits.
#[derive(Clone, Copy)]
pub struct Key {
    low: u64,
    high: u64,
}

impl Key {
    /// The key that these bytes spell, which should be random.
    #[inline]
    pub const fn new(bytes: [u8; 16]) -> Self {
        let key = u128::from_le_bytes(bytes);
        Self {
            low: key as u64,
            high: (key >> 64) as u64,
        }
    }

    /// Hashes an address; IPv4 addresses as their IPv4-mapped form (RFC 4291 section 2.5.5.2).
    #[inline]
    pub fn hash(self, address: IpAddr) -> u64 {
        let octets = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        siphash::<1, 3>(self, octets)
    }
}

/// SipHash-`C`-`D` of a message of 16 bytes.
#[inline]
fn siphash<const C: usize, const D: usize>(key: Key, message: [u8; 16]) -> u64 {
    let message = u128::from_le_bytes(message);
    let words = [message as u64, (message >> 64) as u64, 16 << 56];
    let mut state = State::new(key);
    for word in words {
        state.3 ^= word;
        state.turn(C);
        state.0 ^= word;
    }
    state.2 ^= 0xff;
    state.turn(D);
    state.0 ^ state.1 ^ state.2 ^ state.3
}

struct State(u64, u64, u64, u64);

impl State {
    const fn new(key: Key) -> Self {
        // "somepseudorandomlygeneratedbytes"
        Self(
            key.low ^ 0x736f_6d65_7073_6575,
            key.high ^ 0x646f_7261_6e64_6f6d,
            key.low ^ 0x6c79_6765_6e65_7261,
            key.high ^ 0x7465_6462_7974_6573,
        )
    }

    /// So many rounds. They are not called one by one: a small processor would carry the words to and fro.
    #[inline(always)]
    fn turn(&mut self, rounds: usize) {
        let Self(mut a, mut b, mut c, mut d) = *self;
        for _ in 0..rounds {
            a = a.wrapping_add(b);
            c = c.wrapping_add(d);
            b = b.rotate_left(13) ^ a;
            d = d.rotate_left(16) ^ c;
            a = a.rotate_left(32);
            c = c.wrapping_add(b);
            a = a.wrapping_add(d);
            b = b.rotate_left(17) ^ c;
            d = d.rotate_left(21) ^ a;
            c = c.rotate_left(32);
        }
        *self = Self(a, b, c, d);
    }
}

#[cfg(test)]
mod tests {
    use core::hash::Hasher;
    use core::net::{Ipv4Addr, Ipv6Addr};
    use std::hash::DefaultHasher;

    use super::*;

    fn std_hash(mut hasher: impl Hasher, message: [u8; 16]) -> u64 {
        hasher.write(&message);
        hasher.finish()
    }

    fn counting<const N: usize>(from: u8) -> [u8; N] {
        core::array::from_fn(|at| from.wrapping_add(at as u8))
    }

    #[test]
    fn siphash_1_3_equals_that_of_std() {
        let key = Key::new([0; 16]);
        for from in 0..=u8::MAX {
            let message = counting(from);
            let address = IpAddr::V6(Ipv6Addr::from(message));
            assert_eq!(key.hash(address), std_hash(DefaultHasher::new(), message));
        }
    }

    /// std offers keys for SipHash-2-4 only; the two differ in nothing but the rounds.
    #[test]
    #[expect(
        deprecated,
        reason = "the only hasher of the standard library that takes a key"
    )]
    fn siphash_2_4_with_a_key_equals_that_of_std() {
        for from in 0..=u8::MAX {
            let (key, message) = (Key::new(counting(from)), counting(!from));
            let theirs = core::hash::SipHasher::new_with_keys(key.low, key.high);
            assert_eq!(siphash::<2, 4>(key, message), std_hash(theirs, message));
        }
    }

    #[test]
    fn an_ipv4_address_hashes_as_its_mapped_form() {
        let key = Key::new(counting(1));
        let address = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!(
            key.hash(address.into()),
            key.hash(address.to_ipv6_mapped().into())
        );
    }

    #[test]
    fn every_bit_of_key_and_address_counts() {
        let zero = u128::default();
        let hash = |key: u128, address: u128| {
            Key::new(key.to_le_bytes()).hash(IpAddr::V6(Ipv6Addr::from_bits(address)))
        };
        for bit in 0..128 {
            assert_ne!(hash(1 << bit, zero), hash(zero, zero));
            assert_ne!(hash(zero, 1 << bit), hash(zero, zero));
        }
    }
}
