//! Doors that hold for a time only: when they begin to hear, and that nobody is let in afterwards.

use postern_core::door::DoorSet;
use postern_core::time::{Duration, Instant};

use super::Agent;
use super::ledger::Origin;
use crate::firewall::Who;
use crate::onetime::wall_clock::WallClock;
use crate::validity::{Phase, in_words, is_limited};

/// How soon the clock is looked at again: it may be set at any moment.
const TRUSTED_CLOCK_INTERVAL: Duration = Duration::from_secs(30);
const UNTRUSTED_CLOCK_INTERVAL: Duration = Duration::from_secs(10);

/// What the doors were last told.
#[derive(Default)]
pub(super) struct Validity {
    deaf: DoorSet,
    look_at: Option<Instant>,
}

impl Validity {
    /// When to look at the clock; `None`: no door holds for a time only.
    pub(super) const fn poll_at(&self) -> Option<Instant> {
        self.look_at
    }
}

impl Agent<'_> {
    /// Begins with the doors that there are now. Of what was granted before, no more stays than the door's time
    /// allows; nothing, where that is not known.
    pub(super) fn begin_validity(&mut self, now: Instant) {
        self.validity = Validity::default();
        self.look_at_clock(now, true);
    }

    /// Has doors hear, or not, as the time has come.
    pub(super) fn keep_validity(&mut self, now: Instant) {
        if self.validity.look_at.is_some_and(|at| at <= now) {
            self.look_at_clock(now, false);
        }
    }

    fn look_at_clock(&mut self, now: Instant, begins: bool) {
        let clock = WallClock::now();
        let interval = match clock.distrust {
            None => TRUSTED_CLOCK_INTERVAL,
            Some(_) => UNTRUSTED_CLOCK_INTERVAL,
        };
        let mut next: Option<Duration> = None;
        let mut has_shortened = false;
        for index in 0..self.engine.doors().len() {
            let doors = self.engine.doors();
            let Some(door) = doors.get(index).filter(|door| is_limited(door)) else {
                continue;
            };
            let phase = Phase::at(door, &clock);
            let change = match phase {
                Phase::Valid(left) => left,
                Phase::NotYet(wait) => Some(wait),
                Phase::Over | Phase::Unknown(_) => None,
            };
            let change = change.map_or(interval, |change| change.min(interval));
            next = Some(next.map_or(change, |next| next.min(change)));
            let hears = matches!(phase, Phase::Valid(_));
            let is_news = hears == self.validity.deaf.contains(index);
            if is_news {
                let line = format_args!("door {}: {}", door.name, in_words(door, phase));
                self.journal.record(now, line);
            }
            // What was granted while the time was known ends by itself when it should.
            let left = match phase {
                Phase::Valid(Some(left)) if begins => Some(left),
                Phase::Unknown(_) if begins => Some(Duration::default()),
                Phase::Over | Phase::NotYet(_) if begins || is_news => Some(Duration::default()),
                _ => None,
            };
            match hears {
                true => self.validity.deaf.remove(index),
                false => self.validity.deaf.insert(index),
            }
            self.engine.listen(index, hears);
            if let Some(left) = left {
                self.shorten(index, left);
                has_shortened = true;
            }
        }
        self.validity.look_at = next.map(|next| now + next + Duration::from_millis(1));
        if has_shortened {
            let ended = self.remember(Origin::Before).went.len();
            if ended > 0 {
                let line =
                    format_args!("grants withdrawn, because their doors hold no more: {ended}");
                self.journal.record(now, line);
            }
        }
    }

    /// Has what a door granted last for no longer than this.
    fn shorten(&mut self, index: usize, left: Duration) {
        let Some(door) = self.engine.doors().get(index) else {
            return;
        };
        // Without a guard there is nobody to keep out.
        let grants = self.firewall.grants().unwrap_or_default().into_iter();
        let longer = grants.filter(|grant| {
            *grant.door == *door.name && grant.remaining.is_none_or(|remaining| remaining > left)
        });
        for grant in longer {
            let shortened = match (grant.who, left == Duration::default()) {
                (_, true) => self.firewall.withdraw_all(&door.name),
                (Who::Network(network), _) => self.firewall.grant(door, network.first(), left),
                (Who::Anyone { interface }, _) => {
                    self.firewall
                        .grant_anyone_on(&door.name, &[interface], left)
                }
            };
            if let Err(refusal) = shortened {
                self.journal.say(
                    super::boottime(),
                    format_args!(
                        "door {}: its grants cannot be ended in time: {refusal}",
                        door.name
                    ),
                );
            }
            if left == Duration::default() {
                break;
            }
        }
    }
}
