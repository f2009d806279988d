//! Decisions carried out: doors opened and closed, sources cut off, each told to the log.

use core::fmt;
use core::net::IpAddr;

use postern_core::decoy;
use postern_core::door::{Door, DoorSet};
use postern_core::engine::{Credit, Decision, Engine};
use postern_core::knock::Knock;
use postern_core::time::{Duration, Instant};

use super::MAX_SOURCES;
use super::backoff::{Backoff, Subject};
use super::cut::Cutting;
use super::journal::{Change, Journal, Kind};
use super::ledger::Ledger;
use crate::firewall::{Entrance, Firewall, Refusal, failing};
use crate::network::Network;
use crate::onetime::OneTime;
use crate::onetime::wall_clock::WallClock;
use crate::output::{Level, span};
use crate::validity::Phase;

/// What opens and closes doors, at one moment.
pub(super) struct Gate<'g> {
    pub(super) firewall: &'g mut Firewall,
    pub(super) ledger: &'g mut Ledger,
    pub(super) cutting: &'g mut Cutting,
    pub(super) journal: &'g mut Journal,
    pub(super) backoff: &'g mut Backoff,
    pub(super) now: Instant,
}

/// Shows a knock to the engine and tells the kernel what it decided.
pub(super) fn act(
    engine: &mut Engine<MAX_SOURCES>,
    one_time: &mut OneTime,
    gate: &mut Gate<'_>,
    knock: &Knock<'_>,
) {
    let source = knock.source;
    let decision = engine.handle(gate.now, knock);
    let Decision {
        outcome: _,
        at: _,
        open,
        close,
        toggle,
        failed,
        cut_off,
        spent,
        credit,
    } = decision;
    one_time.note(engine.doors(), knock, &decision, gate.now);
    (gate.journal.watchers).tell_knock(gate.now, knock, &decision, engine.doors());
    for door in failed.filter_map(|index| engine.doors().get(index)) {
        (gate.journal.watchers).tell_failure(gate.now, source, &door.name);
    }
    let remembered = spent.map(|spent| {
        let saved = one_time.spend(engine, spent, &WallClock::now());
        gate.note_used(one_time, (spent.door, engine.doors()));
        (spent.door, saved)
    });
    let mut decoyed = DoorSet::EMPTY;
    for index in close {
        if let Some(door) = engine.doors().get(index) {
            gate.shut((index, door), source);
        }
    }
    for index in open {
        let Some(door) = engine.doors().get(index) else {
            continue;
        };
        match may_open(index, door, remembered.as_ref()) {
            Ok(()) if gate.hit_decoy(engine.doors(), door, source) => decoyed.insert(index),
            Ok(()) => gate.admit((index, door), source, door.grant),
            Err(Withheld::NotRemembered(why)) => gate.refuse(format_args!(
                "door {}: not opened for {source}: its use cannot be saved: {why}",
                door.name
            )),
            Err(Withheld::OtherDoor) => {
                let why = "the same knocks opened another one-time door";
                gate.refuse(format_args!(
                    "door {}: not opened for {source}: {why}",
                    door.name
                ));
                let name = door.name.clone();
                if let Err(why) = one_time.waste(engine, index, &WallClock::now()) {
                    gate.refuse(format_args!("door {name}: its use cannot be saved: {why}"));
                }
                gate.note_used(one_time, (index, engine.doors()));
            }
        }
    }
    for index in toggle {
        let Some(door) = engine.doors().get(index) else {
            continue;
        };
        // The kernel alone knows whether a grant has expired.
        if gate.shut((index, door), source) {
            continue;
        }
        match gate.hit_decoy(engine.doors(), door, source) {
            true => decoyed.insert(index),
            false => gate.admit((index, door), source, door.grant),
        }
    }
    if !decoyed.is_empty() {
        engine.note_decoyed(decoyed);
    }
    if let Some(Credit {
        door,
        codes,
        needed,
    }) = credit
        && let Some(door) = engine.doors().get(door)
    {
        gate.refuse(format_args!(
            "door {}: not opened for {source} yet: code {codes} of {needed} in a row, after wrong guesses",
            door.name
        ));
    }
    if let Some(lasting) = cut_off {
        gate.cut_off(source, lasting);
    }
}

/// Why the right code does not open a door.
enum Withheld<'r> {
    /// It would work again after a reboot.
    NotRemembered(&'r str),
    /// The engine names one of the doors that the code opens, and this is not it.
    OtherDoor,
}

fn may_open<'r>(
    index: usize,
    door: &Door,
    remembered: Option<&'r (usize, Result<(), String>)>,
) -> Result<(), Withheld<'r>> {
    match remembered {
        _ if !door.method.is_one_time() => Ok(()),
        Some((used, Ok(()))) if *used == index => Ok(()),
        Some((used, Err(why))) if *used == index => Err(Withheld::NotRemembered(why)),
        _ => Err(Withheld::OtherDoor),
    }
}

impl Gate<'_> {
    /// Says that a door did not do what it was knocked to do.
    pub(super) fn refuse(&mut self, line: fmt::Arguments<'_>) {
        (self.journal).say_of(self.now, Kind::Refused, Level::Warning, line);
    }

    /// Has the kernel remember what a door used; the disk knows already.
    pub(super) fn note_used(&mut self, one_time: &OneTime, (index, doors): (usize, &[Door])) {
        let noted = one_time
            .used(index)
            .map(|used| self.firewall.note_used(used));
        if let (Some(Err(refusal)), Some(door)) = (noted, doors.get(index)) {
            let name = &door.name;
            self.refuse(format_args!(
                "door {name}: its use is remembered on disk alone: {refusal}"
            ));
        }
    }

    /// Whether a door stays shut to a source that scans: it hit a decoy within the door's window, whatever the
    /// engine saw of that, or nobody can tell.
    fn hit_decoy(&mut self, doors: &[Door], door: &Door, source: IpAddr) -> bool {
        if !decoy::may_have(door) {
            return false;
        }
        let kept = decoy::remembered_for(doors);
        let why: &dyn fmt::Display = match self.firewall.hit_decoy(source, door.window, kept) {
            Ok(false) => return false,
            Ok(true) => &"it hit a decoy",
            Err(refusal) => &{ refusal },
        };
        let name = &door.name;
        self.refuse(format_args!("door {name}: not opened for {source}: {why}"));
        true
    }

    /// Opens a door for a source and for so long, unless its set was full just now.
    pub(super) fn admit(
        &mut self,
        (index, door): (usize, &Door),
        source: IpAddr,
        lasting: Duration,
    ) {
        let grants = Subject::Grants(index);
        if self.backoff.holds_off(grants, self.now) {
            return self.journal.leave_out(self.now, Kind::Refused);
        }
        let lasting = match Phase::now(door).grant(door, lasting) {
            Ok(lasting) => lasting,
            Err(why) => {
                let name = &door.name;
                return self.refuse(format_args!("door {name}: not opened for {source}: {why}"));
            }
        };
        let outcome = self.firewall.grant_at_least(door, source, lasting);
        if matches!(outcome, Err(Refusal::Full(_))) {
            self.backoff.hold_off(grants, self.now);
        }
        let (name, until) = (&door.name, self.now + lasting);
        let lasting = span(lasting);
        match outcome {
            Ok(()) => {
                let network = granted(door, source);
                let line = format_args!("door {name}: open for {source} for {lasting}");
                match self.ledger.admit(index, network, until) {
                    true => (self.journal).say_of_door(self.now, (index, Change::Opened), line),
                    false => {
                        (self.journal).say_of(self.now, Kind::Prolonged, Level::Notice, line);
                    }
                }
            }
            Err(refusal) => {
                self.refuse(format_args!(
                    "door {name}: not opened for {source}: {refusal}"
                ));
            }
        }
    }

    /// Has the kernel ignore a source's knocks, unless the set of cut-offs was full just now: the
    /// engine ignores them by itself.
    pub(super) fn cut_off(&mut self, source: IpAddr, lasting: Duration) {
        if self.backoff.holds_off(Subject::Cutoffs, self.now) {
            return self.journal.leave_out(self.now, Kind::CutOff);
        }
        let outcome = self.firewall.cut_off(source, lasting);
        let source = failing(source);
        if matches!(outcome, Err(Refusal::Full(_))) {
            self.backoff.hold_off(Subject::Cutoffs, self.now);
        }
        let lasting = span(lasting);
        let mut say = |line| (self.journal).say_of(self.now, Kind::CutOff, Level::Notice, line);
        match outcome {
            Ok(()) => say(format_args!("{source}: cut off for {lasting}")),
            Err(refusal) => say(format_args!(
                "{source}: cut off for {lasting}, not by the kernel: {refusal}"
            )),
        }
    }

    /// Closes a door to a source; whether it was open for it.
    fn shut(&mut self, (index, door): (usize, &Door), source: IpAddr) -> bool {
        match self.firewall.withdraw(door, source) {
            Ok(was_open) => {
                let network = granted(door, source);
                // Strangers who knock to close had nothing that could end.
                if self.ledger.forget(index, network) || was_open {
                    self.cutting.withdraw(index, network);
                }
                if was_open {
                    self.journal.say_of_door(
                        self.now,
                        (index, Change::Closed),
                        format_args!("door {}: closed to {source}", door.name),
                    );
                }
                was_open
            }
            Err(refusal) => {
                self.refuse(format_args!(
                    "door {}: not closed to {source}: {refusal}",
                    door.name
                ));
                false
            }
        }
    }
}

/// What a door grants to a source.
pub(super) fn granted(door: &Door, source: IpAddr) -> Network {
    Entrance::from(door).network(source)
}

#[cfg(test)]
mod tests {
    use postern_core::door::Method;
    use postern_core::knock::tcp;

    use super::*;
    use crate::onetime::examples::{door, seed_door};

    #[test]
    fn only_what_is_remembered_opens_a_one_time_door() {
        let fixed = door(
            "web",
            Method::Same {
                steps: [tcp(7000)].into_iter().collect(),
            },
        );
        let (one_time, failed) = (seed_door("ssh"), Err("disk full".to_string()));
        assert!(may_open(0, &fixed, None).is_ok());
        assert!(may_open(0, &fixed, Some(&(1, failed.clone()))).is_ok());
        assert!(may_open(1, &one_time, Some(&(1, Ok(())))).is_ok());
        assert!(matches!(
            may_open(1, &one_time, Some(&(1, failed))),
            Err(Withheld::NotRemembered("disk full"))
        ));
        for remembered in [None, Some(&(2, Ok(())))] {
            assert!(matches!(
                may_open(1, &one_time, remembered),
                Err(Withheld::OtherDoor)
            ));
        }
    }
}
