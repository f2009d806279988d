//! One-time doors: what opens each of them next, and that nothing opens one twice.
//!
//! [`OneTime::load`] reads secrets, lists and memories; [`OneTime::begin`] and
//! [`OneTime::keep_time`] tell the engine what is acceptable now; [`OneTime::spend`] remembers what was used, on disk, before a door opens.
//! A door for which anything is missing stays shut, says why, and disturbs no other.

pub(crate) mod base32;
mod examine;
#[cfg(test)]
pub(crate) mod examples;
pub(crate) mod list;
mod mistimed;
#[cfg(test)]
mod mistimed_tests;
pub(crate) mod otp;
mod resync;
pub(crate) mod secret;
pub(crate) mod state;
#[cfg(test)]
mod tests;
pub(crate) mod wall_clock;

use core::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use heapless::Vec as Bounded;
use postern_core::code::Code;
use postern_core::door::{AtEnd, Door, Method};
use postern_core::engine::{Engine, Spent, USED_CODES};
use postern_core::knock::{Port, PortRange};
use postern_core::method::{Armed, Candidate, MAX_CANDIDATES};
use postern_core::ports::TooManyPorts;
use postern_core::spa::Terms;
use postern_core::time::{Duration, Instant};
use sha2::{Digest as _, Sha256};

use crate::files::private_file::Unfit;
use crate::firewall::Used;
use crate::output;
use crate::spa::keys::Keys;
use list::List;
use otp::{Digest, step};
use secret::Secret;
use wall_clock::WallClock;

pub(crate) use examine::{Finding, examine};
pub(crate) use mistimed::ClockHint;
use mistimed::{Mistimed, Suspects};
pub(crate) use resync::{Resync, find, resync_without_agent};

/// How soon a clock that is not believed is looked at again.
const UNTRUSTED_CLOCK_INTERVAL: Duration = Duration::from_secs(10);
/// How soon a clock that is believed is looked at again: it may be set to another time at any moment.
const TRUSTED_CLOCK_INTERVAL: Duration = Duration::from_secs(30);
/// The list runs out: it is time to say so.
const FEW_SEQUENCES_LEFT: u64 = 3;

/// The codes that may follow in a row on the last that is accepted, where a door asks for more than one.
const CODES_IN_A_ROW: u64 = 3;

/// The time in a datagram counts seconds.
const SECOND: u32 = 1;

/// No time step is as late as this one.
const NO_TIME_STEP: u64 = u64::MAX;

/// The one-time doors of a configuration.
#[derive(Default)]
pub(crate) struct OneTime {
    keepers: Vec<Keeper>,
    keep_time_at: Option<Instant>,
    suspects: Suspects,
    notices: Vec<String>,
}

/// What belongs to one door.
struct Keeper {
    /// Which door, as the engine counts them.
    index: usize,
    /// Where its memory lies.
    folder: PathBuf,
    /// Its name and method, to know it by after the configuration changed.
    known_as: (String, &'static str),
    material: Result<Material, String>,
    /// There is none because reading it failed.
    is_unread: bool,
    /// Why the material is of no use: it is another door's too.
    shared: Option<String>,
    /// The secret that the memory is about, while the material has none.
    former_secret: Option<Secret>,
    memory: Memory,
    /// The first counter or index beyond those that the engine was told.
    armed_until: u64,
    /// The memory is ahead of the disk, which was not told yet.
    is_ahead: bool,
    /// The memory is ahead of the disk, because that failed: how.
    unsaved: Option<String>,
    /// Why nothing opens it at present.
    shut: Option<String>,
    /// No knocks open it at present, be it for that reason or because all are used.
    opens_nothing: bool,
    mistimed: Mistimed,
    /// All before this was used in the last hour, as the kernel remembers.
    used_before: u64,
}

/// What the door's owner has too.
#[derive(Clone)]
enum Material {
    Secret(Secret),
    List(List),
    Keys(Rc<Keys>),
}

/// Why there is no material.
struct Immaterial {
    why: String,
    /// Reading it failed: it may be as good as before.
    is_unread: bool,
}

impl From<Unfit> for Immaterial {
    fn from(why: Unfit) -> Self {
        Self {
            is_unread: matches!(why, Unfit::Unread(_)),
            why: why.to_string(),
        }
    }
}

impl From<&str> for Immaterial {
    fn from(why: &str) -> Self {
        Self {
            why: why.into(),
            is_unread: false,
        }
    }
}

/// What was used.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Memory {
    /// All before this counter, time step or index.
    Next(u64),
    /// All time steps before this one may have been, as nothing was saved; [`NO_TIME_STEP`] as long as
    /// the clock is not believed. A guess that is made anew when the clock goes back, because
    /// then it was ahead.
    Everything(u64),
    /// Nobody knows, for this reason. `is_missing`: there may never have been anything to know.
    Lost { why: String, is_missing: bool },
}

/// How far a one-time door is, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The first counter, time step or index that was not used; unknown where the door is shut
    /// for that reason.
    pub(crate) next: Option<u64>,
    /// Why nothing opens the door at present.
    pub(crate) shut: Option<String>,
    /// From when on codes count, if the present one does not.
    pub(crate) waits: Option<String>,
    /// What wrong codes tell of the clock.
    pub(crate) clock: Option<ClockHint>,
}

impl OneTime {
    /// Reads what belongs to these doors, with `folder` for their memories. What `former` knows
    /// and the disk does not is taken over.
    pub(crate) fn load(doors: &[Door], mut lists: Lists, folder: &Path, former: &Self) -> Self {
        let mut notices = Vec::new();
        let one_time = doors
            .iter()
            .enumerate()
            .filter(|(_, door)| door.method.is_one_time());
        let keepers = one_time.map(|(index, door)| {
            let keeper = Keeper::load(index, door, folder, lists.take(index));
            let is_same = |other: &&Keeper| other.known_as == keeper.known_as;
            match former.keepers.iter().find(is_same) {
                Some(former) => keeper.after(former, &mut notices),
                None => keeper,
            }
        });
        let keepers = keepers.collect();
        let mut one_time = Self {
            keepers,
            notices,
            ..Self::default()
        };
        one_time.find_shared();
        one_time
    }

    /// Of the doors with one material, whatever their files are called, the first alone uses it:
    /// each has a memory of its own, and knocks that opened one would open the next. Returns
    /// the doors for which this changed.
    fn find_shared(&mut self) -> Vec<usize> {
        let mut changed = Vec::new();
        for position in 0..self.keepers.len() {
            let (before, rest) = self.keepers.split_at_mut(position);
            let Some(keeper) = rest.first_mut() else {
                continue;
            };
            let shared = before.iter().find_map(|other| keeper.shares_with(other));
            if shared != keeper.shared {
                keeper.shared = shared;
                changed.push(keeper.index);
            }
        }
        changed
    }

    /// Takes into account what the kernel remembers: the disk may have been taken back to what it was, and the clock.
    pub(crate) fn recall(&mut self, used: &[Used]) {
        for keeper in &mut self.keepers {
            let mark = keeper.mark();
            let its = used.iter().filter(|used| Some(used.mark) == mark);
            keeper.used_before = its.map(|used| used.next).max().unwrap_or_default();
            if let Memory::Next(next) = &mut keeper.memory
                && *next < keeper.used_before
            {
                *next = keeper.used_before;
                keeper.is_ahead = true;
            }
        }
    }

    /// What the kernel is to remember of a door.
    pub(crate) fn used(&self, door: usize) -> Option<Used> {
        self.keepers
            .iter()
            .find(|keeper| keeper.index == door)?
            .used()
    }

    /// Every port that a list names: the firewall has to show knocks on them to the agent.
    pub(crate) fn list_ports(&self) -> impl Iterator<Item = Port> {
        self.keepers.iter().flat_map(Keeper::ports).copied()
    }

    /// The ports that the list of a door names.
    pub(crate) fn ports_of(&self, door: usize) -> &[Port] {
        let keeper = self.keepers.iter().find(|keeper| keeper.index == door);
        keeper.map_or(&[], Keeper::ports)
    }

    /// Has the engine watch the lists' ports, all of them from the beginning, saves what only
    /// the former configuration's memories knew, and arms all doors. The engine has just been
    /// given the doors.
    pub(crate) fn begin<const SOURCES: usize>(
        &mut self,
        engine: &mut Engine<SOURCES>,
        now: Instant,
        clock: &WallClock,
    ) {
        for keeper in &mut self.keepers {
            keeper.watch(engine);
            keeper.catch_up(engine.doors(), &mut self.notices);
        }
        for keeper in &mut self.keepers {
            keeper.arm(engine, clock, &mut self.notices);
            keeper.remind(engine);
        }
        self.schedule(engine.doors(), now, clock);
    }

    /// Tells the engine what opens the doors that go by the clock at this time.
    pub(crate) fn keep_time<const SOURCES: usize>(
        &mut self,
        engine: &mut Engine<SOURCES>,
        now: Instant,
        clock: &WallClock,
    ) {
        for keeper in &mut self.keepers {
            if keeper.arm_in(engine.doors(), clock).is_some() {
                keeper.arm(engine, clock, &mut self.notices);
            }
        }
        self.schedule(engine.doors(), now, clock);
    }

    /// When [`OneTime::keep_time`] is due; `None`: no door goes by the clock.
    pub(crate) const fn keep_time_at(&self) -> Option<Instant> {
        self.keep_time_at
    }

    /// The keys of a door that datagrams open, as long as something can.
    pub(crate) fn keys(&self, door: usize) -> Option<&Rc<Keys>> {
        match self.keyed(door)? {
            (keeper, keys) if keeper.shut.is_none() => Some(keys),
            _ => None,
        }
    }

    /// The keys of every door that has some, by its index, be it shut or not.
    pub(crate) fn all_keys(&self) -> impl Iterator<Item = (usize, &Rc<Keys>)> {
        let keyed = (self.keepers.iter()).map(|keeper| (keeper.index, &keeper.material));
        keyed.filter_map(|(index, material)| match material {
            Ok(Material::Keys(keys)) => Some((index, keys)),
            _ => None,
        })
    }

    /// The first second of which no datagram was used with the door's keys, here or at another door that has the same.
    pub(crate) fn unused_from(&self, door: usize) -> Option<u64> {
        let (_, keys) = self.keyed(door)?;
        let others = (self.all_keys()).filter(|(_, others)| others.are_those_of(keys));
        let next = others.filter_map(|(other, _)| match self.keyed(other)?.0.memory {
            Memory::Next(next) | Memory::Everything(next) => Some(next),
            // It shuts its own door alone.
            Memory::Lost { .. } => None,
        });
        next.max()
    }

    fn keyed(&self, door: usize) -> Option<(&Keeper, &Rc<Keys>)> {
        let keeper = self.keepers.iter().find(|keeper| keeper.index == door)?;
        match &keeper.material {
            Ok(Material::Keys(keys)) => Some((keeper, keys)),
            _ => None,
        }
    }

    fn schedule(&mut self, doors: &[Door], now: Instant, clock: &WallClock) {
        self.keep_time_at = (self.keepers.iter())
            .filter_map(|keeper| keeper.arm_in(doors, clock))
            .min()
            .map(|wait| now + wait);
    }

    /// Remembers what was used, on disk too, and arms the door anew. Only if this succeeds
    /// may the door open: what a reboot would forget must not have opened it.
    pub(crate) fn spend<const SOURCES: usize>(
        &mut self,
        engine: &mut Engine<SOURCES>,
        spent: Spent,
        clock: &WallClock,
    ) -> Result<(), String> {
        let keeper = self
            .keepers
            .iter_mut()
            .find(|keeper| keeper.index == spent.door);
        let (Some(keeper), Some(door)) = (keeper, engine.doors().get(spent.door)) else {
            return Err("nothing is known of this door".into());
        };
        let next = spent.counter.saturating_add(1);
        let saved = match (&door.method, &keeper.memory, &keeper.unsaved) {
            // Of datagrams that overtake each other, the last one is what the disk knows.
            (Method::Spa(_), Memory::Next(known), None) if *known >= next => Ok(()),
            (Method::Spa(_), Memory::Next(known), _) => keeper.remember(next.max(*known), door),
            _ => keeper.remember(next, door),
        };
        keeper.mistimed.hint = None;
        keeper.arm(engine, clock, &mut self.notices);
        saved
    }

    /// Remembers that the door's code was used although the door does not open: it was shown
    /// to whoever listens.
    pub(crate) fn waste<const SOURCES: usize>(
        &mut self,
        engine: &mut Engine<SOURCES>,
        index: usize,
        clock: &WallClock,
    ) -> Result<(), String> {
        let keeper = self.keepers.iter().find(|keeper| keeper.index == index);
        let next = keeper.map(|keeper| keeper.next_of(engine.armed(index)));
        let spent = Spent {
            door: index,
            counter: next.unwrap_or_default().saturating_sub(1),
        };
        self.spend(engine, spent, clock)
    }

    /// How far the door is; `None` where its method is not a one-time method.
    pub(crate) fn progress(
        &self,
        doors: &[Door],
        index: usize,
        now: Instant,
        clock: &WallClock,
    ) -> Option<Progress> {
        let keeper = self.keepers.iter().find(|keeper| keeper.index == index)?;
        let unsaved = || {
            let why = keeper.unsaved.as_ref()?;
            Some(format!(
                "its last use cannot be saved, so the next could be repeated: {why}"
            ))
        };
        Some(Progress {
            next: keeper.next(),
            shut: keeper.shut.clone().or_else(unsaved),
            waits: keeper.waits(doors, clock),
            clock: keeper.clock_hint(doors.get(index)?, now, clock),
        })
    }

    /// What there was to say since this was last asked, for the log.
    pub(crate) fn take_notices(&mut self) -> Vec<String> {
        core::mem::take(&mut self.notices)
    }
}

/// The lists of a configuration's doors, each read once.
#[derive(Default)]
pub(crate) struct Lists(Vec<(usize, Result<List, Immaterial>)>);

impl Lists {
    /// Reads those that the doors name.
    pub(crate) fn read(doors: &[Door]) -> Self {
        let guarded = guarded(doors);
        let mut lists = Vec::new();
        for (index, door) in doors.iter().enumerate() {
            if let Method::List { file, .. } = &door.method {
                let list = List::read(Path::new(file.as_str()), &guarded);
                lists.push((index, list.map_err(Immaterial::from)));
            }
        }
        Self(lists)
    }

    /// The ports that the list of a door names.
    pub(crate) fn ports_of(&self, door: usize) -> &[Port] {
        let list = self.0.iter().find(|(of, _)| *of == door);
        list.and_then(|(_, list)| list.as_ref().ok())
            .map_or(&[], List::ports)
    }

    /// The ports that all of them name. One that could not be read is reported: its door stays shut.
    pub(crate) fn ports(&self, doors: &[Door]) -> Vec<Port> {
        let mut ports = Vec::new();
        for (index, list) in &self.0 {
            match (list, doors.get(*index)) {
                (Ok(list), _) => ports.extend_from_slice(list.ports()),
                (Err(Immaterial { why, .. }), Some(door)) => {
                    output::warn(&format!("door {}: {why}", door.name));
                }
                (Err(_), None) => {}
            }
        }
        ports
    }

    fn take(&mut self, door: usize) -> Option<Result<List, Immaterial>> {
        let position = self.0.iter().position(|(of, _)| *of == door)?;
        Some(self.0.swap_remove(position).1)
    }
}

impl Keeper {
    /// `list` is the door's, if it has one.
    fn load(
        index: usize,
        door: &Door,
        folder: &Path,
        list: Option<Result<List, Immaterial>>,
    ) -> Self {
        let material = Material::load(door, list);
        Self {
            index,
            folder: folder.into(),
            known_as: (door.name.as_str().into(), door.method.name()),
            is_unread: matches!(&material, Err(without) if without.is_unread),
            material: material.map_err(|without| without.why),
            shared: None,
            former_secret: None,
            memory: Memory::load(door, folder),
            armed_until: 0,
            is_ahead: false,
            unsaved: None,
            shut: None,
            opens_nothing: true,
            mistimed: Mistimed::default(),
            used_before: 0,
        }
    }

    fn ports(&self) -> &[Port] {
        match &self.material {
            Ok(Material::List(list)) => list.ports(),
            _ => &[],
        }
    }

    /// Goes on to hold what the same door's former keeper knew, wherever that was saved and
    /// whatever became of the file. Another secret begins with what is on the disk. Where reading failed, what was
    /// read before goes on to open the door: the disk may be well again at the next reload, the owner outside.
    fn after(mut self, former: &Self, notices: &mut Vec<String>) -> Self {
        if let (true, Err(why), Ok(material)) = (self.is_unread, &self.material, &former.material) {
            let (name, _) = &self.known_as;
            notices.push(format!(
                "door {name}: {why}; what was read before is in use until a reload"
            ));
            self.material = Ok(material.clone());
        }
        if self.secret().is_none() {
            self.former_secret = former.secret().cloned();
        }
        if self.has_other_secret_than(former) {
            return self;
        }
        self.mistimed.after(&former.mistimed);
        let memory = self.memory.after(&former.memory);
        self.is_ahead = former.unsaved.is_some() || memory != self.memory;
        self.memory = memory;
        self
    }

    /// Why it cannot be used beside the other.
    fn shares_with(&self, other: &Self) -> Option<String> {
        let ((name, _), (other_name, _)) = (&self.known_as, &other.known_as);
        match (&self.material, &other.material) {
            (Ok(Material::Secret(secret)), Ok(Material::Secret(others)))
                if secret.makes_the_codes_of(others) =>
            {
                Some(format!(
                    "its secret is that of door {other_name} too, so a code could open both; \
                     give it a file of its own, in which 'postern keygen {name}' makes another"
                ))
            }
            (Ok(Material::List(list)), Ok(Material::List(others))) if list == others => {
                Some(format!(
                    "its list is that of door {other_name} too, so a sequence could open both; give it one of its own"
                ))
            }
            _ => None,
        }
    }

    /// What its codes are made from, or were made from until it became unusable.
    const fn secret(&self) -> Option<&Secret> {
        match &self.material {
            Ok(Material::Secret(secret)) => Some(secret),
            _ => self.former_secret.as_ref(),
        }
    }

    fn has_other_secret_than(&self, former: &Self) -> bool {
        match (self.secret(), former.secret()) {
            (Some(secret), Some(former)) => !secret.makes_the_codes_of(former),
            _ => false,
        }
    }

    /// Tells the disk what it does not know. A failure is shown until the next use is saved.
    fn catch_up(&mut self, doors: &[Door], notices: &mut Vec<String>) {
        if let (true, Memory::Next(next), Some(door)) =
            (self.is_ahead, &self.memory, doors.get(self.index))
            && let Err(why) = self.remember(*next, door)
        {
            notices.push(format!(
                "door {}: what was used cannot be saved: {why}",
                door.name
            ));
        }
    }

    fn watch<const SOURCES: usize>(&mut self, engine: &mut Engine<SOURCES>) {
        let Ok(Material::List(list)) = &self.material else {
            return;
        };
        if let Err(TooManyPorts) = engine.watch(self.index, list.ports()) {
            let why = "the doors and their lists have more knock ports than there is room for";
            self.material = Err(why.into());
        }
    }

    fn arm<const SOURCES: usize>(
        &mut self,
        engine: &mut Engine<SOURCES>,
        clock: &WallClock,
        notices: &mut Vec<String>,
    ) {
        let Some(door) = engine.doors().get(self.index) else {
            return;
        };
        let name = door.name.clone();
        let is_first = matches!(self.memory, Memory::Everything(NO_TIME_STEP));
        let armed = self.armed(door, clock, notices);
        if is_first && let Some(waits) = self.waits_at(door, clock) {
            notices.push(format!("door {name}: {waits}"));
        }
        let (armed, shut) = match armed {
            Ok(armed) => (armed, None),
            Err(why) => (Armed::Shut, Some(why)),
        };
        self.armed_until = end_of(&armed).unwrap_or(self.armed_until);
        self.opens_nothing = armed.opens_nothing();
        engine.arm(self.index, armed);
        if shut != self.shut {
            notices.push(match &shut {
                Some(why) => format!("door {name}: shut: {why}"),
                None => format!("door {name}: can be opened again"),
            });
            self.shut = shut;
        }
    }

    /// Tells the engine of the last codes that may have been used: it forgot them, was started since, or knows others.
    pub(super) fn remind<const SOURCES: usize>(&self, engine: &mut Engine<SOURCES>) {
        let door = engine.doors().get(self.index);
        let (Some(code), Memory::Next(next), Ok(Material::Secret(secret))) = (
            door.and_then(|door| door.method.code()),
            &self.memory,
            &self.material,
        ) else {
            return;
        };
        let first = next.saturating_sub(USED_CODES as u64);
        if let Armed::Codes(used) = codes(code, secret, first..*next, &[]) {
            engine.remind(self.index, &used);
        }
    }

    /// What opens the door now, or why nothing does.
    fn armed(
        &mut self,
        door: &Door,
        clock: &WallClock,
        notices: &mut Vec<String>,
    ) -> Result<Armed, String> {
        let material = self.material.as_ref().map_err(Clone::clone)?;
        if let Some(why) = &self.shared {
            return Err(why.clone());
        }
        if let (Some((period, skew)), Memory::Everything(before), None) =
            (steps(&door.method), &mut self.memory, clock.distrust)
        {
            let guess = after_all(clock, period, skew).min(*before);
            *before = guess.max(self.used_before);
        }
        let next = match &self.memory {
            Memory::Next(next) | Memory::Everything(next) => Ok(*next),
            Memory::Lost { why, .. } => Err(why.clone()),
        };
        match (&door.method, material) {
            (
                Method::Seed {
                    code, look_ahead, ..
                },
                Material::Secret(secret),
            ) => {
                let next = next?;
                // Those too that only follow on others in a row.
                let end = next.saturating_add(u64::from((*look_ahead).max(1)) + CODES_IN_A_ROW);
                Ok(codes(code, secret, next..end, &[]))
            }
            (
                Method::Clock {
                    code, period, skew, ..
                },
                Material::Secret(secret),
            ) => {
                let steps = acceptable(clock, *period, *skew)?;
                let next = next?;
                // One beyond the end is what using the latest of all leaves behind.
                if next > steps.end {
                    let lead = (next - steps.end).saturating_mul(u64::from(*period));
                    return Err(from_the_future(door, Duration::from_secs(lead)));
                }
                let steps = next.max(steps.start)..steps.end;
                Ok(codes(code, secret, steps, &self.mistimed.shown))
            }
            (Method::Spa(terms), Material::Keys(_)) => {
                let now = acceptable(clock, SECOND, 0)?;
                let ahead = next?.saturating_sub(now.end);
                let lead = Duration::from_secs(ahead);
                match lead > terms.max_age {
                    true => Err(from_the_future(door, lead)),
                    false => Ok(Armed::Shut),
                }
            }
            (Method::List { at_end, .. }, Material::List(list)) => {
                let next = next?;
                let number = turn(list, next, *at_end, door)?;
                notices.extend(running_out(list, next, *at_end, door));
                let sequence = list.sequence(number);
                Ok(sequence.map_or(Armed::Shut, |sequence| Armed::Sequence(next, sequence)))
            }
            _ => Err("it was loaded for another method".into()),
        }
    }

    /// What is next once the engine has taken a code, and this is what it left.
    fn next_of(&self, left: &Armed) -> u64 {
        match left {
            Armed::Codes(codes) => codes
                .first()
                .map_or(self.armed_until, |first| first.counter),
            Armed::Sequence(..) | Armed::Shut => self.armed_until,
        }
    }

    /// How long what was armed stays right; `None`: until it is used.
    fn arm_in(&self, doors: &[Door], clock: &WallClock) -> Option<Duration> {
        let (period, _) = steps(&doors.get(self.index)?.method)?;
        if self.material.is_err() || matches!(self.memory, Memory::Lost { .. }) {
            return None;
        }
        if clock.distrust.is_some() {
            return Some(UNTRUSTED_CLOCK_INTERVAL);
        }
        if matches!(self.material, Ok(Material::Keys(_))) {
            return Some(TRUSTED_CLOCK_INTERVAL);
        }
        let period = u64::from(period.max(1)) * 1000;
        let left = Duration::from_millis(period - clock.millis % period);
        Some(left.min(TRUSTED_CLOCK_INTERVAL))
    }

    /// By which the kernel knows what was used of the secret or the list.
    fn mark(&self) -> Option<u64> {
        let mut digest = Sha256::new_with_prefix(self.known_as.1);
        match self.material.as_ref().ok()? {
            Material::Secret(secret) => digest.update(secret.bytes()),
            Material::Keys(keys) => digest.update(keys.authenticating()),
            Material::List(list) => list.show(&mut |knock| {
                digest.update([knock.protocol.number()]);
                digest.update(knock.number.to_be_bytes());
            }),
        }
        let digest = digest.finalize();
        digest.first_chunk().map(|start| u64::from_be_bytes(*start))
    }

    fn used(&self) -> Option<Used> {
        match self.memory {
            Memory::Next(next) => self.mark().map(|mark| Used { mark, next }),
            _ => None,
        }
    }

    /// Makes everything before `next` useless, in memory whatever the disk does.
    fn remember(&mut self, next: u64, door: &Door) -> Result<(), String> {
        self.memory = Memory::Next(next);
        self.is_ahead = false;
        let saved = state::save(&self.folder, door, next).map_err(|failed| failed.to_string());
        self.unsaved = saved.as_ref().err().cloned();
        saved
    }
}

impl Material {
    fn load(door: &Door, list: Option<Result<List, Immaterial>>) -> Result<Self, Immaterial> {
        match (list, door.method.code()) {
            (Some(list), _) => list.map(Self::List),
            (None, None) if let Method::Spa(terms) = &door.method => {
                Ok(Self::Keys(Rc::new(keys_of(terms, door)?)))
            }
            (None, Some(code)) => Ok(Self::Secret(secret_of(code, door)?)),
            _ => Err("its method has no secret".into()),
        }
    }
}

impl Memory {
    /// What was found on the disk, but nothing that was used before is new again.
    fn after(&self, former: &Self) -> Self {
        match (self, former) {
            (Self::Next(saved), Self::Next(known)) => Self::Next(*saved.max(known)),
            (_, Self::Next(known)) => Self::Next(*known),
            (Self::Everything(_), Self::Everything(before)) => Self::Everything(*before),
            (Self::Next(saved), Self::Everything(before)) if *before != NO_TIME_STEP => {
                Self::Next(*saved.max(before))
            }
            (found, _) => found.clone(),
        }
    }

    fn load(door: &Door, folder: &Path) -> Self {
        let is_clock = steps(&door.method).is_some();
        match state::load(folder, door) {
            Ok(next) => Self::Next(next),
            Err(Unfit::Missing(_)) if is_clock => Self::Everything(NO_TIME_STEP),
            Err(why) => Self::Lost {
                is_missing: matches!(why, Unfit::Missing(_)),
                why: format!(
                    "what was used is not known ({why}); {}",
                    resync::cure(door, &why)
                ),
            },
        }
    }
}

/// The ports that doors guard.
fn guarded(doors: &[Door]) -> Vec<PortRange> {
    let guards = doors.iter().flat_map(|door| &door.guards);
    guards.copied().collect()
}

/// Reads the door's secret; a missing one is worth a word about how to make it.
fn secret_of(code: &Code, door: &Door) -> Result<Secret, Unfit> {
    Secret::read(Path::new(code.secret_file.as_str()))
        .map_err(|unfit| with_cure(unfit, door, "a secret"))
}

fn keys_of(terms: &Terms, door: &Door) -> Result<Keys, Unfit> {
    Keys::read(Path::new(terms.key_file.as_str()), terms.hmac)
        .map_err(|unfit| with_cure(unfit, door, "keys"))
}

fn with_cure(unfit: Unfit, door: &Door, what: &str) -> Unfit {
    match unfit {
        Unfit::Missing(why) => Unfit::Missing(format!(
            "{why}; 'postern keygen {}' makes {what}",
            door.name
        )),
        bad => bad,
    }
}

/// The codes of these counters, without those that somebody has shown.
fn codes(code: &Code, secret: &Secret, counters: Range<u64>, shown: &[u64]) -> Armed {
    let mut codes: Bounded<Candidate, MAX_CANDIDATES> = Bounded::new();
    let counters = counters.filter(|counter| !shown.contains(counter));
    for counter in counters.take(MAX_CANDIDATES) {
        let digest = Digest::new(code.algorithm, secret.bytes(), counter);
        if let Some(knocks) = code.knocks(digest.as_bytes()) {
            _ = codes.push(Candidate { counter, knocks });
        }
    }
    Armed::Codes(codes)
}

/// The first counter or index beyond.
fn end_of(armed: &Armed) -> Option<u64> {
    let last = match armed {
        Armed::Shut => None,
        Armed::Codes(codes) => codes.last().map(|last| last.counter),
        Armed::Sequence(index, _) => Some(*index),
    };
    last.map(|last| last.saturating_add(1))
}

/// The time steps whose codes are acceptable, as far as time goes.
fn acceptable(clock: &WallClock, period: u32, skew: u8) -> Result<Range<u64>, String> {
    if let Some(distrust) = clock.distrust {
        return Err(distrust.into());
    }
    let now = step(clock.millis, period);
    Ok(now.saturating_sub(skew.into())..now + u64::from(skew) + 1)
}

/// The first time step that cannot have been used, if the clock never went back.
fn after_all(clock: &WallClock, period: u32, skew: u8) -> u64 {
    step(clock.millis, period) + u64::from(skew) + 1
}

/// How the time of a method that goes by the clock is counted: the length of a step in seconds, and how many steps from
/// the present one are accepted beside it.
const fn steps(method: &Method) -> Option<(u32, u8)> {
    match method {
        Method::Clock { period, skew, .. } => Some((*period, *skew)),
        Method::Spa(_) => Some((SECOND, 0)),
        _ => None,
    }
}

fn from_the_future(door: &Door, lead: Duration) -> String {
    let what = match door.method {
        Method::Spa(_) => "datagrams",
        _ => "codes",
    };
    format!(
        "all {what} up to a time {} ahead of the clock are used; when the clock is right, 'postern resync {}' forgets them",
        output::span(lead),
        door.name
    )
}

/// Which sequence of the list is next.
fn turn(list: &List, next: u64, at_end: AtEnd, door: &Door) -> Result<usize, String> {
    let length = list.len() as u64;
    match at_end {
        AtEnd::Stop if next >= length => Err(format!(
            "the list is used up; put new sequences into it and say 'postern resync {} --to 0'",
            door.name
        )),
        AtEnd::Stop => Ok(next as usize),
        AtEnd::Wrap => Ok(next.checked_rem(length).unwrap_or_default() as usize),
    }
}

fn running_out(list: &List, next: u64, at_end: AtEnd, door: &Door) -> Option<String> {
    let left = (list.len() as u64).saturating_sub(next);
    let sequences = if left == 1 {
        "sequence is"
    } else {
        "sequences are"
    };
    (at_end == AtEnd::Stop && left < FEW_SEQUENCES_LEFT)
        .then(|| format!("door {}: {left} {sequences} left in its list", door.name))
}
