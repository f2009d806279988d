//! Full sets are left alone for some time.
//!
//! A transaction that the kernel refuses makes it wait for a grace period, tens of
//! milliseconds. Strangers can fill the set of a weak door, or that of cut-offs; if nothing
//! held off, every further knock of theirs would keep the owner's waiting.

use postern_core::time::{Duration, Instant};

/// How long a set that was full is not tried again.
const HOLD_OFF: Duration = Duration::from_secs(2);

/// Which sets were full, and until when they are left alone.
#[derive(Default)]
pub(crate) struct Backoff {
    full: Vec<(Subject, Instant)>,
}

/// A set, or a pair of them, that can be full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The grants of a door, by its index.
    Grants(usize),
    /// The cut-offs.
    Cutoffs,
}

impl Backoff {
    /// Whether the set is to be left alone.
    pub(crate) fn holds_off(&self, subject: Subject, now: Instant) -> bool {
        let mut full = self.full.iter();
        full.any(|(other, until)| *other == subject && now < *until)
    }

    /// The set is full.
    pub(crate) fn hold_off(&mut self, subject: Subject, now: Instant) {
        // So there is never more than one entry for a door, and one for cut-offs.
        self.full.retain(|(other, _)| *other != subject);
        self.full.push((subject, now + HOLD_OFF));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_set_is_left_alone_for_a_while_and_no_other() {
        let mut backoff = Backoff::default();
        let now = Instant::from_millis(5_000);
        for _ in 0..3 {
            backoff.hold_off(Subject::Grants(3), now);
        }
        assert_eq!(backoff.full.len(), 1);
        assert!(backoff.holds_off(Subject::Grants(3), now));
        assert!(!backoff.holds_off(Subject::Grants(2), now));
        assert!(!backoff.holds_off(Subject::Cutoffs, now));
        assert!(!backoff.holds_off(Subject::Grants(3), now + HOLD_OFF));
    }
}
