//! The log of what happened, kept from filling a disk: strangers can cause lines.
//!
//! What people do is never left out. Who came in at a door and when that ended is told of each, and
//! where a door is opened more often than anybody could read, in numbers: whoever can cause that knows
//! its knocks. What strangers can cause without knowing anything has a budget of its own for each kind,
//! so that it takes no room from the rest; what was left out is counted and told.

use core::{fmt, mem};

use postern_core::door::Door;
use postern_core::time::{Duration, Instant};

use super::watchers::Watchers;
use crate::output::{self, Level};
use crate::token_bucket::TokenBucket;

/// Lines of a kind that may come at once, and one more each [`MINUTE`]: 64 KiB, which is all that
/// OpenWrt's log holds, have room for those of hours.
const KIND_LINE_BURST: u32 = 30;
/// Lines of a door that may come at once, such as those of an office in the morning; and one more each [`SECOND`].
const DOOR_LINE_BURST: u32 = 256;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// What strangers can cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A source is not heard for a while.
    CutOff,
    /// A door did not open, or close, although it was knocked right.
    Refused,
    /// A door is open for longer for somebody for whom it was open.
    Prolonged,
    /// A grant ends that nobody remembers.
    Ended,
    /// How hearing knocks goes.
    Other,
}

const NAMES: [&str; 5] = [
    "cut-offs",
    "refusals",
    "prolonged grants",
    "ends of grants",
    "others",
];

/// What became of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It was made.
    Opened,
    /// It was taken back.
    Closed,
    /// Its time was over.
    Ended,
}

/// A log of which strangers can fill only so much.
pub(crate) struct Journal {
    kinds: [Budget<1>; NAMES.len()],
    /// Of each door.
    doors: Vec<Budget<3>>,
    /// When it is told what was left out.
    sum_up_at: Option<Instant>,
    /// They are told every line, and of knocks too.
    pub(crate) watchers: Watchers,
}

struct Budget<const CHANGES: usize> {
    tokens: TokenBucket,
    left_out: [u64; CHANGES],
}

impl<const CHANGES: usize> Budget<CHANGES> {
    const fn new(most: u32, every: Duration, now: Instant) -> Self {
        Self {
            tokens: TokenBucket::new(most, every, now),
            left_out: [0; CHANGES],
        }
    }
}

impl Journal {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            kinds: [(); NAMES.len()].map(|()| Budget::new(KIND_LINE_BURST, MINUTE, now)),
            doors: Vec::new(),
            sum_up_at: None,
            watchers: Watchers::default(),
        }
    }

    /// Begins with so many doors; what was left out of others is to be summed up before.
    pub(crate) fn begin(&mut self, doors: usize, now: Instant) {
        (self.doors).resize_with(doors, || Budget::new(DOOR_LINE_BURST, SECOND, now));
    }

    /// Logs what people did, which is never left out.
    pub(crate) fn record(&mut self, now: Instant, line: fmt::Arguments<'_>) {
        self.watchers.tell_line(now, &line);
        output::say_at_once(Level::Notice, line);
    }

    /// Logs how hearing knocks goes.
    pub(crate) fn say(&mut self, now: Instant, line: fmt::Arguments<'_>) {
        self.say_of(now, Kind::Other, Level::Notice, line);
    }

    /// Logs a line of a kind, or counts it where there were too many.
    pub(crate) fn say_of(
        &mut self,
        now: Instant,
        kind: Kind,
        level: Level,
        line: fmt::Arguments<'_>,
    ) {
        self.watchers.tell_line(now, &line);
        if self.admit(now, kind) {
            output::say_at_once(level, line);
        }
    }

    /// Logs what became of a grant of a door, which is named by its index, or counts it where there was too much.
    pub(crate) fn say_of_door(
        &mut self,
        now: Instant,
        (door, change): (usize, Change),
        line: fmt::Arguments<'_>,
    ) {
        self.watchers.tell_line(now, &line);
        if self.admit_of_door(now, door, change) {
            output::say_at_once(Level::Notice, line);
        }
    }

    /// Counts what is not even worth a line.
    pub(crate) fn leave_out(&mut self, now: Instant, kind: Kind) {
        if let Some(Budget { left_out, .. }) = self.kinds.get_mut(kind as usize) {
            count(left_out, 0);
        }
        self.sum_up_at.get_or_insert(now + MINUTE);
    }

    fn admit(&mut self, now: Instant, kind: Kind) -> bool {
        let budget = self.kinds.get_mut(kind as usize);
        let may_come = budget.is_none_or(|budget| budget.tokens.take(now));
        if !may_come {
            self.leave_out(now, kind);
        }
        may_come
    }

    fn admit_of_door(&mut self, now: Instant, door: usize, change: Change) -> bool {
        let Some(budget) = self.doors.get_mut(door) else {
            return true;
        };
        let may_come = budget.tokens.take(now);
        if !may_come {
            count(&mut budget.left_out, change as usize);
            self.sum_up_at.get_or_insert(now + MINUTE);
        }
        may_come
    }

    /// When there is something to sum up.
    pub(crate) const fn poll_at(&self) -> Option<Instant> {
        self.sum_up_at
    }

    /// Tells what was left out, where it is time for that.
    pub(crate) fn poll(&mut self, now: Instant, doors: &[Door]) {
        if self.sum_up_at.is_some_and(|at| at <= now) {
            self.sum_up(doors);
        }
    }

    /// Tells what was left out.
    pub(crate) fn sum_up(&mut self, doors: &[Door]) {
        self.sum_up_at = None;
        for (budget, door) in self.doors.iter_mut().zip(doors) {
            let [opened, closed, ended] = mem::take(&mut budget.left_out);
            if opened + closed + ended > 0 {
                output::say_at_once(
                    Level::Warning,
                    format_args!(
                        "door {}: not told one by one, because there were too many: \
                         opened {opened} times, closed {closed}, ended {ended}",
                        door.name
                    ),
                );
            }
        }
        for (budget, name) in self.kinds.iter_mut().zip(NAMES) {
            let [left_out] = mem::take(&mut budget.left_out);
            if left_out > 0 {
                output::say_at_once(
                    Level::Warning,
                    format_args!("left out of this log: {left_out} {name}"),
                );
            }
        }
    }
}

fn count(left_out: &mut [u64], which: usize) {
    if let Some(left_out) = left_out.get_mut(which) {
        *left_out = left_out.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_millis(0);

    #[test]
    fn a_burst_passes_and_then_one_line_at_a_time() {
        let mut journal = Journal::new(START);
        let mut may_come = |now| journal.admit(now, Kind::CutOff);
        assert!((0..KIND_LINE_BURST).all(|_| may_come(START)));
        assert!((0..5).all(|_| !may_come(START)));
        assert!(may_come(START + MINUTE));
        assert!(!may_come(START + MINUTE));
        let later = START + Duration::from_secs(36_000);
        assert!((0..KIND_LINE_BURST).all(|_| may_come(later)));
        assert!(!may_come(later));
    }

    #[test]
    fn no_kind_takes_room_from_another_nor_from_a_door() {
        let mut journal = Journal::new(START);
        journal.begin(2, START);
        while journal.admit(START, Kind::CutOff) {}
        while journal.admit_of_door(START, 1, Change::Opened) {}
        assert!(journal.admit(START, Kind::Refused));
        assert!(journal.admit_of_door(START, 0, Change::Opened));
        assert!(!journal.admit_of_door(START, 1, Change::Ended));
        assert_eq!(journal.doors[1].left_out, [1, 0, 1]);
        assert!(journal.admit_of_door(START + SECOND, 1, Change::Closed));
    }

    #[test]
    fn what_was_left_out_is_told_within_a_minute_and_once() {
        let mut journal = Journal::new(START);
        assert_eq!(journal.poll_at(), None);
        while journal.admit(START, Kind::CutOff) {}
        let later = START + SECOND;
        journal.leave_out(later, Kind::Refused);
        assert_eq!(journal.poll_at(), Some(START + MINUTE));
        assert_eq!(journal.kinds[Kind::CutOff as usize].left_out, [1]);
        journal.poll(START + MINUTE, &[]);
        assert_eq!(journal.poll_at(), None);
        let left_out = journal.kinds.map(|budget| budget.left_out);
        assert_eq!(left_out.concat(), [0; NAMES.len()]);
    }
}
