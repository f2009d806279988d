//! What may be done often at once, but not often for long.

use core::mem;

use postern_core::time::{Duration, Instant};

/// So many times at once, and once more after each while.
pub(crate) struct TokenBucket {
    most: u32,
    every: Duration,
    left: u32,
    refilled_at: Instant,
}

impl TokenBucket {
    pub(crate) const fn new(most: u32, every: Duration, now: Instant) -> Self {
        Self {
            most,
            every,
            left: most,
            refilled_at: now,
        }
    }

    /// Whether it may be done now; then it counts.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let refills = now.since(self.refilled_at).as_millis() / self.every.as_millis().max(1);
        if refills > 0 {
            let refills = u32::try_from(refills).unwrap_or(self.most);
            self.left = self.left.saturating_add(refills).min(self.most);
            self.refilled_at = now;
        }
        let left = self.left.checked_sub(1);
        left.map(|left| mem::replace(&mut self.left, left))
            .is_some()
    }

    /// When it may be done again, after it might not.
    pub(crate) fn next_at(&self) -> Instant {
        self.refilled_at + self.every
    }
}
