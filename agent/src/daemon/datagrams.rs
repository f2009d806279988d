//! Datagrams of method `spa`: what they ask for is verified, remembered, and done.

use core::cell::OnceCell;
use std::rc::Rc;

use postern_core::door::{Door, DoorSet};
use postern_core::engine::{Engine, Spent};
use postern_core::knock::{Knock, Port, Protocol};
use postern_core::spa::{Accepted, Refusal, Refusals, Refused, Verifier};
use postern_core::time::Duration;

use super::MAX_SOURCES;
use super::gate::Gate;
use crate::collect::CollectVec;
use crate::onetime::OneTime;
use crate::onetime::wall_clock::WallClock;
use crate::output::span;
use crate::spa;
use crate::spa::crypto::Keyring;
use crate::sys::{clock, process};

/// What hears datagrams, as soon as some door does.
#[derive(Default)]
pub(super) struct Datagrams {
    /// Stays once it is there: what was used is not forgotten with a door.
    verifier: Option<Box<Verifier>>,
    keys: Keyring,
    /// The doors of which the verifier knows what was used before.
    begun: DoorSet,
    /// The ports of UDP at which the doors hear them.
    ports: Vec<u16>,
    accepted: u64,
}

impl Datagrams {
    /// Hears datagrams for these doors from now on, with the keys that they have now.
    pub(super) fn adopt(&mut self, doors: &[Door], one_time: &OneTime) {
        let ports = doors
            .iter()
            .filter_map(|door| Some(door.method.spa()?.port));
        self.ports = ports.collect_vec();
        self.begun = DoorSet::EMPTY;
        self.keys = Keyring::default();
        for (door, keys) in one_time.all_keys() {
            self.keys.insert(door, Rc::clone(keys));
        }
        if self.ports.is_empty() || !spa::IS_BUILT_IN {
            return;
        }
        let verifier = self.verifier.get_or_insert_with(|| {
            let mut verifier = Box::new(Verifier::new());
            let mut seed = [0; 8];
            // Without, senders could choose networks that share a budget, which is no more than a nuisance.
            _ = process::random(&mut seed);
            verifier.seed(seed);
            verifier
        });
        verifier.configure(&self.keys.shared(doors.len()));
        verifier.set_budget(self.keys.checks_per_second(&mut clock::thread_time));
    }

    /// Whether what comes to the port is a datagram and no knock.
    pub(super) fn are_heard_at(&self, port: Port) -> bool {
        spa::IS_BUILT_IN && port.protocol == Protocol::Udp && self.ports.contains(&port.number)
    }

    /// How many opened, and how many were refused, by reason; `None`: nobody listens.
    pub(super) fn counts(&self) -> Option<(u64, Refusals)> {
        let verifier = self.verifier.as_ref()?;
        Some((self.accepted, *verifier.refusals()))
    }
}

/// Does what a datagram asks for, if it may. `wall` is the time of all that was heard at once.
pub(super) fn act(
    datagrams: &mut Datagrams,
    engine: &mut Engine<MAX_SOURCES>,
    one_time: &mut OneTime,
    gate: &mut Gate<'_>,
    (knock, wall): (&Knock<'_>, &OnceCell<WallClock>),
) {
    let Datagrams {
        verifier: Some(verifier),
        keys,
        begun,
        ..
    } = datagrams
    else {
        return;
    };
    let wall = wall.get_or_init(WallClock::now);
    let mut at = DoorSet::EMPTY;
    for (index, door) in engine.doors().iter().enumerate() {
        let is_at = (door.method.spa()).is_some_and(|terms| terms.port == knock.port.number);
        // A door without keys hears nothing.
        if is_at
            && engine.listens(index)
            && door.hears(knock.source)
            && one_time.keys(index).is_some()
        {
            at.insert(index);
            if let (false, Some(unused)) = (begun.contains(index), one_time.unused_from(index)) {
                verifier.set_floor(index, unused.saturating_sub(1));
                begun.insert(index);
            }
        }
    }
    let seconds = wall.distrust.is_none().then_some(wall.millis / 1000);
    let verdict = verifier.verify(gate.now, seconds, knock, engine.doors(), at, keys);
    let door = match &verdict {
        Ok(accepted) => Some(accepted.door),
        Err(refused) => refused.door,
    };
    let refusal = verdict.as_ref().err().map(|refused| refused.why);
    let name = door.and_then(|index| engine.doors().get(index));
    let name = name.map(|door| door.name.clone());
    let watchers = &mut gate.journal.watchers;
    watchers.tell_datagram(gate.now, knock, name.as_deref(), refusal);
    match verdict {
        Ok(accepted) => {
            datagrams.accepted += 1;
            open(engine, one_time, gate, &accepted, wall);
        }
        Err(refused) => {
            // What is not authentic is anybody's, and would fill the log.
            if let Some(name) = name {
                let (source, why) = (knock.source, reason(&refused));
                gate.refuse(format_args!("door {name}: not opened for {source}: {why}"));
            }
        }
    }
}

/// Opens a door once nothing can forget any more that the datagram was used.
fn open(
    engine: &mut Engine<MAX_SOURCES>,
    one_time: &mut OneTime,
    gate: &mut Gate<'_>,
    accepted: &Accepted,
    wall: &WallClock,
) {
    let (door, counter) = (accepted.door, accepted.time);
    let saved = one_time.spend(engine, Spent { door, counter }, wall);
    gate.note_used(one_time, (door, engine.doors()));
    let Some(rules) = engine.doors().get(door) else {
        return;
    };
    match saved {
        Ok(()) => gate.admit((door, rules), accepted.source, accepted.lasting),
        Err(why) => gate.refuse(format_args!(
            "door {}: not opened for {}: its use cannot be saved: {why}",
            rules.name, accepted.source
        )),
    }
}

/// Why an authentic datagram does not open, with what its owner can mend.
fn reason(refused: &Refused) -> String {
    let what = refused.why.reason();
    match (refused.why, refused.difference) {
        (Refusal::Age, Some(seconds)) => {
            let apart = span(Duration::from_secs(seconds.unsigned_abs()));
            let which = if seconds < 0 { "behind" } else { "ahead of" };
            format!("{what}: its clock is {apart} {which} this one")
        }
        _ => what.to_owned(),
    }
}
