//! The log of what happened, kept from filling a disk: strangers can cause lines.

use core::fmt;

use postern_core::time::{Duration, Instant};

use crate::allowance::Allowance;
use crate::output;
use crate::watchers::Watchers;

/// Lines that may come at once.
const BURST: u32 = 30;
/// One more line each.
const REFILL: Duration = Duration::from_secs(2);

/// A log with a limited rate; lines beyond it are counted, and the count is logged.
pub(crate) struct Journal {
    allowance: Allowance,
    left_out: u64,
    /// They are told every line, and of knocks too.
    pub(crate) watchers: Watchers,
}

impl Journal {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            watchers: Watchers::default(),
            allowance: Allowance::new(BURST, REFILL, now),
            left_out: 0,
        }
    }

    /// Logs a line, or counts it where there were too many.
    pub(crate) fn say(&mut self, now: Instant, line: fmt::Arguments<'_>) {
        self.watchers.tell_line(now, &line);
        match self.admit(now) {
            Some(0) => output::say_at_once(line),
            Some(left_out) => {
                output::say_at_once(format_args!("{line} ({left_out} lines before it left out)"))
            }
            None => {}
        }
    }

    /// How many lines were left out before this one; `None` if it is left out too.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        match self.allowance.take(now) {
            true => Some(core::mem::take(&mut self.left_out)),
            false => {
                self.left_out += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_line_at_a_time() {
        let start = Instant::from_millis(0);
        let mut journal = Journal::new(start);
        assert!((0..BURST).all(|_| journal.admit(start) == Some(0)));
        assert!((0..5).all(|_| journal.admit(start).is_none()));
        assert_eq!(journal.admit(start + REFILL), Some(5));
        assert_eq!(journal.admit(start + REFILL), None);
        let later = start + Duration::from_secs(3600);
        assert!(journal.admit(later).is_some());
        assert!((1..BURST).all(|_| journal.admit(later) == Some(0)));
        assert_eq!(journal.admit(later), None);
    }
}
