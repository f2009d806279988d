//! Who made the first knock when the table of sources had no room to say so.
//!
//! A flood of first knocks from forged addresses, 100,000 a second, fills any table of
//! sources within moments and pushes honest first knocks out of it. Those that lose their
//! place leave two bits here, in a Bloom filter (Bloom, 1970) whose size never changes.
//!
//! What happens when it is full is the point of it: the fuller it is, the more sources
//! pass for having made the first knock that did not. In the worst case a flood makes the
//! first knock of a sequence free, while the rest is asked of everyone as before; it never
//! makes an honest knock fail. Nothing is looked up here unless the table overflowed
//! within the last two spans.

use crate::time::{Duration, Instant};

/// 2^20 bits a generation, two generations: 256 KiB that an untroubled router never touches.
const WORDS_PER_GENERATION: usize = 1 << 15;

pub(crate) struct BloomFilter {
    generations: [[u32; WORDS_PER_GENERATION]; 2],
    /// Which generation takes new members.
    newer: bool,
    /// The older generation is forgotten then.
    turn_at: Instant,
    /// Both are forgotten then.
    empty_at: Instant,
}

impl BloomFilter {
    pub(crate) const fn new() -> Self {
        Self {
            generations: [[0; WORDS_PER_GENERATION]; 2],
            newer: false,
            turn_at: Instant::from_millis(0),
            empty_at: Instant::from_millis(0),
        }
    }

    /// Remembers a source for at least `span`, at most twice as long.
    pub(crate) fn insert(&mut self, fingerprint: u32, now: Instant, span: Duration) {
        if now >= self.turn_at {
            self.turn(now, span);
        }
        self.empty_at = now + span + span;
        let [one, two] = &mut self.generations;
        let newer = if self.newer { one } else { two };
        let (word, bits) = bits_of(fingerprint);
        if let Some(word) = newer.get_mut(word) {
            *word |= bits;
        }
    }

    /// Whether anything may be remembered.
    pub(crate) fn is_in_use(&self, now: Instant) -> bool {
        now < self.empty_at
    }

    /// Whether the source was here, or seems to have been.
    pub(crate) fn contains(&self, fingerprint: u32, now: Instant) -> bool {
        let (word, bits) = bits_of(fingerprint);
        let mut generations = self.generations.iter();
        self.is_in_use(now)
            && generations.any(|words| words.get(word).is_some_and(|word| word & bits == bits))
    }

    /// Lets the older generation give way to an empty one; both, when the last member is old.
    fn turn(&mut self, now: Instant, span: Duration) {
        if now >= self.empty_at {
            self.generations.as_flattened_mut().fill(0);
        } else {
            self.newer = !self.newer;
            let [one, two] = &mut self.generations;
            if self.newer { one } else { two }.fill(0);
        }
        self.turn_at = now + span;
    }
}

/// The two bits of a fingerprint, as word and mask. Both are in one word (Putze, Sanders and Singler, "Cache-,
/// Hash- and Space-Efficient Bloom Filters", 2007): once it is filled, few more strangers pass, and half is looked up.
const fn bits_of(fingerprint: u32) -> (usize, u32) {
    let spread = fingerprint.wrapping_mul(0x9e37_79b9); // 2^32 / golden ratio
    let bits = 1 << (spread >> 12 & 31) | 1 << (spread >> 7 & 31);
    (
        (spread >> (u32::BITS - WORDS_PER_GENERATION.ilog2())) as usize,
        bits,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    const SPAN: Duration = Duration::from_secs(10);

    fn at(secs: u64) -> Instant {
        Instant::from_millis(secs * 1000)
    }

    #[test]
    fn remembers_for_a_span_and_forgets_after_two() {
        let mut filter = Box::new(BloomFilter::new());
        filter.insert(1 << 30, at(5), SPAN);
        for other in 0..10 {
            filter.insert(other, at(5 + u64::from(other)), SPAN);
        }
        assert!(filter.contains(1 << 30, at(15)));
        filter.insert(99, at(16), SPAN);
        filter.insert(99, at(26), SPAN);
        assert!(!filter.contains(1 << 30, at(26)));
        assert!(filter.contains(99, at(45)) && !filter.contains(99, at(46)));
    }

    #[test]
    fn a_flood_never_makes_it_forget() {
        let mut filter = Box::new(BloomFilter::new());
        let scatter = |number: u32| {
            let spread = u64::from(number).wrapping_mul(0xd134_2543_de82_ef95);
            (spread >> 32) as u32
        };
        for number in 0..1_000_000 {
            filter.insert(scatter(number), at(0), SPAN);
        }
        assert!((0..1_000_000).all(|number| filter.contains(scatter(number), at(9))));
        let strangers = (2_000_000..2_100_000)
            .filter(|&number| filter.contains(scatter(number), at(9)))
            .count();
        assert!(
            (60_000..90_000).contains(&strangers),
            "{strangers} of 100,000 pass"
        );
    }
}
