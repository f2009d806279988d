//! A hash that whoever chooses source addresses cannot aim.
//!
//! HalfSipHash-1-3 (Aumasson and Bernstein's SipHash with words of 32 bits) with a secret key: one
//! round for each word and three to finish. Linux hashes its tables with it where a processor has 32 bits
//! (`hsiphash`, Documentation/security/siphash.rst), and like there nobody sees what it yields for a source; decoys
//! follow from it too, under the sequence for a key. It is made of additions, rotations and exclusive ors only; with words of 64 bits a MIPS 24Kc took three times as many instructions.

/// The secret that makes a hash unpredictable: 64 random bits.
#[derive(Clone, Copy)]
pub struct Key {
    low: u32,
    high: u32,
}

impl Key {
    /// The key that these bytes spell, which should be random.
    #[inline]
    pub const fn new(bytes: [u8; 8]) -> Self {
        let key = u64::from_le_bytes(bytes);
        Self {
            low: key as u32,
            high: (key >> 32) as u32,
        }
    }

    /// Hashes sixteen bytes, an IPv6 address for one.
    pub fn hash(self, message: [u8; 16]) -> u32 {
        let [first, second, third, fourth] = words(message);
        let mut state = State::new(self);
        state.absorb(first);
        state.absorb(second);
        state.absorb(third);
        state.absorb(fourth);
        state.finish(16)
    }

    /// The hash of the first eight of these bytes, the network of an IPv6 address, and that of all.
    pub fn hash_both(self, message: [u8; 16]) -> (u32, u32) {
        let [first, second, third, fourth] = words(message);
        let mut state = State::new(self);
        state.absorb(first);
        state.absorb(second);
        let half = state.finish(8);
        state.absorb(third);
        state.absorb(fourth);
        (half, state.finish(16))
    }
}

const fn words(message: [u8; 16]) -> [u32; 4] {
    let message = u128::from_le_bytes(message);
    [
        message as u32,
        (message >> 32) as u32,
        (message >> 64) as u32,
        (message >> 96) as u32,
    ]
}

#[derive(Clone, Copy)]
struct State(u32, u32, u32, u32);

impl State {
    const fn new(key: Key) -> Self {
        // "lyge" and "tedb", of SipHash's "somepseudorandomlygeneratedbytes"
        Self(
            key.low,
            key.high,
            key.low ^ 0x6c79_6765,
            key.high ^ 0x7465_6462,
        )
    }

    /// The hash of a message of this length, of which nothing is left.
    fn finish(mut self, length: u32) -> u32 {
        self.absorb(length << 24);
        self.2 ^= 0xff;
        self.turn(3);
        self.1 ^ self.3
    }

    #[inline(always)]
    fn absorb(&mut self, word: u32) {
        self.3 ^= word;
        self.turn(1);
        self.0 ^= word;
    }

    /// So many rounds. They are not called one by one: a small processor would carry the words to and fro.
    #[inline(always)]
    fn turn(&mut self, rounds: usize) {
        let Self(mut a, mut b, mut c, mut d) = *self;
        for _ in 0..rounds {
            a = a.wrapping_add(b);
            c = c.wrapping_add(d);
            b = b.rotate_left(5) ^ a;
            d = d.rotate_left(8) ^ c;
            a = a.rotate_left(16);
            c = c.wrapping_add(b);
            a = a.wrapping_add(d);
            b = b.rotate_left(13) ^ c;
            d = d.rotate_left(7) ^ a;
            c = c.rotate_left(16);
        }
        *self = Self(a, b, c, d);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting<const N: usize>() -> [u8; N] {
        core::array::from_fn(|at| at as u8)
    }

    /// Its 32-bit `hsiphash` of eight and of sixteen bytes, lib/tests/siphash_kunit.c.
    #[test]
    fn linux_hashes_alike() {
        let key = Key::new(counting());
        assert_eq!(key.hash_both(counting()), (0x5779_99b1, 0x8b31_d501));
        assert_eq!(key.hash(counting()), 0x8b31_d501);
    }

    #[test]
    fn every_bit_of_key_and_address_counts() {
        let hash =
            |key: u64, address: u128| Key::new(key.to_le_bytes()).hash(address.to_le_bytes());
        for bit in 0..64 {
            assert_ne!(hash(1 << bit, 0), hash(0, 0));
        }
        for bit in 0..128 {
            assert_ne!(hash(0, 1 << bit), hash(0, 0));
        }
    }
}
