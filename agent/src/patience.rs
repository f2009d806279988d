//! Full sets are left alone for a while.
//!
//! A transaction that the kernel refuses makes it wait for a grace period, tens of
//! milliseconds. Strangers can fill the set of a weak door, or that of cut-offs; without
//! patience, every further knock of theirs would keep the owner's waiting.

use postern_core::time::{Duration, Instant};

/// How long a set that was full is not tried again.
const WHILE: Duration = Duration::from_secs(2);

/// Which sets were full, and until when they are left alone.
#[derive(Default)]
pub(crate) struct Patience {
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

impl Patience {
    /// Whether the set is to be left alone.
    pub(crate) fn spares(&self, subject: Subject, now: Instant) -> bool {
        let mut full = self.full.iter();
        full.any(|(other, until)| *other == subject && now < *until)
    }

    /// The set is full.
    pub(crate) fn leave_alone(&mut self, subject: Subject, now: Instant) {
        // So there is never more than one entry for a door, and one for cut-offs.
        self.full.retain(|(other, _)| *other != subject);
        self.full.push((subject, now + WHILE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_set_is_left_alone_for_a_while_and_no_other() {
        let mut patience = Patience::default();
        let now = Instant::from_millis(5_000);
        for _ in 0..3 {
            patience.leave_alone(Subject::Grants(3), now);
        }
        assert_eq!(patience.full.len(), 1);
        assert!(patience.spares(Subject::Grants(3), now));
        assert!(!patience.spares(Subject::Grants(2), now));
        assert!(!patience.spares(Subject::Cutoffs, now));
        assert!(!patience.spares(Subject::Grants(3), now + WHILE));
    }
}
