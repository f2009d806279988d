//! What the log is told of grants that end, and of those that were made and taken back past the agent.

use core::fmt;

use postern_core::door::Door;
use postern_core::time::{Duration, Instant};

use super::Agent;
use super::journal::{Change, Journal, Kind};
use super::ledger::{Differences, Entry};
use crate::firewall::{Doer, Who};
use crate::output::span;

/// The most grants that are looked at before knocks are heard again: thousands may end at once.
const MAX_GRANTS_PER_TURN: usize = 64;

impl Agent<'_> {
    /// Tells whose grants ended. The kernel ends them by itself, and is asked only then: it may know of
    /// more time, and its clock stands still while the machine sleeps.
    pub(super) fn end_grants(&mut self, now: Instant) {
        for _ in 0..self.ledger.take_gave_way() {
            self.journal.leave_out(now, Kind::Ended);
        }
        for _ in 0..MAX_GRANTS_PER_TURN {
            let Some(entry) = self.ledger.take_ended(now) else {
                return;
            };
            let Some(door) = self.engine.doors().get(entry.door) else {
                continue;
            };
            if let Ok(Some(remaining)) = self.firewall.remaining(door, &entry.who) {
                let until = remaining.map(|remaining| now + remaining);
                self.ledger.go_on(Entry { until, ..entry });
                continue;
            }
            tell_end(&mut self.journal, now, door, &entry);
            if let Some((index, network)) = entry.network() {
                self.cutting.withdraw(index, network);
            }
        }
    }

    /// Tells what somebody did to grants without asking the agent.
    pub(super) fn tell_differences(&mut self, now: Instant, doer: &Doer, found: &Differences) {
        let doors = self.engine.doors();
        let mut say = |entry: &Entry, change, what: fmt::Arguments<'_>| {
            if let Some(door) = doors.get(entry.door) {
                let line = format_args!("by hand ({doer}): door {} is {what}", door.name);
                (self.journal).say_of_door(now, (entry.door, change), line);
            }
        };
        for entry in &found.came {
            let who = Whom(&entry.who);
            match entry.until {
                Some(until) => {
                    // A whole number of seconds was asked for, and some of it has passed.
                    let seconds = until.since(now).as_millis().div_ceil(1_000);
                    let lasting = span(Duration::from_secs(seconds));
                    say(
                        entry,
                        Change::Opened,
                        format_args!("open for {who} for {lasting}"),
                    );
                }
                None => say(entry, Change::Opened, format_args!("open for {who}")),
            }
        }
        for entry in &found.went {
            say(
                entry,
                Change::Closed,
                format_args!("closed to {}", Whom(&entry.who)),
            );
        }
    }
}

pub(super) fn tell_end(journal: &mut Journal, now: Instant, door: &Door, entry: &Entry) {
    journal.say_of_door(
        now,
        (entry.door, Change::Ended),
        format_args!(
            "door {}: grant of {} ended ({})",
            door.name,
            Whom(&entry.who),
            entry.origin
        ),
    );
}

/// For whom a grant is, in words.
struct Whom<'w>(&'w Who);

impl fmt::Display for Whom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Who::Network(network) => write!(f, "{network}"),
            Who::Anyone { interface } => write!(f, "everyone on {interface}"),
        }
    }
}
