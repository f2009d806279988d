//! Brute-force cut-off: who fails too often is not listened to for a while.
//!
//! When the table is full, a source that begins to fail takes the place of the one that
//! has been failing longest; it never takes the place of a source that is cut off. A
//! source for which there is no room is not counted.

use crate::door::Cutoff;
use crate::method::stamp;
use crate::table::{Entry, Key, Table};
use crate::time::Instant;

/// How many failing sources are remembered.
const SOURCES: usize = 1024;

/// Failures are counted per source, whatever the door.
const ANY_DOOR: u8 = 0;

#[derive(Clone, Copy)]
struct Failures {
    /// When the first failure came, or the cut-off began.
    began: u32,
    /// Milliseconds for which this holds.
    span: u32,
    count: u16,
    cut_off: bool,
}

impl Failures {
    const fn hold(&self, now: Instant) -> bool {
        stamp(now).wrapping_sub(self.began) <= self.span
    }
}

impl Entry for Failures {
    const VACANT: Self = Self {
        began: 0,
        span: 0,
        count: 0,
        cut_off: false,
    };

    fn rank(&self) -> u8 {
        match (self.cut_off, self.count) {
            (true, _) => 2,
            (false, 0) => 0,
            (false, _) => 1,
        }
    }

    fn began(&self) -> u32 {
        self.began
    }
}

/// Who failed how often.
pub(crate) struct Cutoffs {
    failures: Table<Failures, SOURCES>,
}

impl Cutoffs {
    pub(crate) const fn new() -> Self {
        Self {
            failures: Table::new(),
        }
    }

    /// Whether the source is cut off.
    pub(crate) fn silences(&self, source: &Key, now: Instant) -> bool {
        let failures = self.failures.find(&any_door(source));
        failures.cut_off && failures.hold(now)
    }

    /// Counts a failure; true when it was one too many.
    pub(crate) fn fail(&mut self, source: &Key, cutoff: Cutoff, now: Instant) -> bool {
        let key = any_door(source);
        let mut failures = self.failures.find(&key);
        if failures.cut_off || !failures.hold(now) {
            failures = Failures::VACANT;
        }
        if failures.count == 0 {
            failures.began = stamp(now);
            failures.span = u32::try_from(cutoff.within.as_millis()).unwrap_or(u32::MAX);
        }
        failures.count = failures.count.saturating_add(1);
        if failures.count >= cutoff.failures {
            failures.cut_off = true;
            failures.began = stamp(now);
        }
        // Displaced or without room: forgotten, as the module says.
        _ = self.failures.store(&key, failures, stamp(now));
        failures.cut_off
    }

    /// Forgives a source that has shown that it knows the knocks.
    pub(crate) fn forgive(&mut self, source: &Key, now: Instant) {
        _ = self
            .failures
            .store(&any_door(source), Failures::VACANT, stamp(now));
    }

    /// Forgets everyone.
    pub(crate) fn clear(&mut self) {
        self.failures.revise(|door, failures| {
            *failures = Failures::VACANT;
            door
        });
    }
}

const fn any_door(source: &Key) -> Key {
    Key {
        source: source.source,
        door: ANY_DOOR,
        hash: source.hash,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    const TWICE: Cutoff = Cutoff {
        failures: 2,
        within: Duration::from_secs(60),
    };

    fn source(number: u16) -> Key {
        let [high, low] = number.to_be_bytes();
        let mut source = [0; 16];
        source[14] = high;
        source[15] = low;
        Key {
            source,
            door: 7,
            hash: u64::from(number) << 32,
        }
    }

    fn at(secs: u64) -> Instant {
        Instant::from_millis(secs * 1000)
    }

    #[test]
    fn the_last_straw_cuts_off_for_as_long_as_failures_count() {
        let mut cutoffs = Cutoffs::new();
        assert!(!cutoffs.fail(&source(1), TWICE, at(0)));
        assert!(!cutoffs.silences(&source(1), at(0)));
        assert!(cutoffs.fail(&source(1), TWICE, at(60)));
        assert!(cutoffs.silences(&source(1), at(60)));
        assert!(cutoffs.silences(&source(1), at(120)));
        assert!(!cutoffs.silences(&source(1), at(121)));
        assert!(!cutoffs.silences(&source(2), at(60)));
    }

    #[test]
    fn failures_far_apart_do_not_add_up() {
        let mut cutoffs = Cutoffs::new();
        for minute in 0..10 {
            assert!(!cutoffs.fail(&source(1), TWICE, at(minute * 61)));
        }
    }

    #[test]
    fn success_forgives() {
        let mut cutoffs = Cutoffs::new();
        assert!(!cutoffs.fail(&source(1), TWICE, at(0)));
        cutoffs.forgive(&source(1), at(1));
        assert!(!cutoffs.fail(&source(1), TWICE, at(2)));
    }

    #[test]
    fn a_full_table_keeps_those_who_are_cut_off() {
        let mut cutoffs = Cutoffs::new();
        for number in 0..8 {
            assert!(!cutoffs.fail(&source(number), TWICE, at(0)));
            assert!(cutoffs.fail(&source(number), TWICE, at(0)));
        }
        assert!(!cutoffs.fail(&source(8), TWICE, at(0)));
        assert!(
            !cutoffs.fail(&source(8), TWICE, at(0)),
            "not counted: no room"
        );
        assert!((0..8).all(|number| cutoffs.silences(&source(number), at(0))));
    }
}
