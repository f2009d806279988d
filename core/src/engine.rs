//! The engine: what is known of every source, and what a knock changes about it.

use core::cell::Cell;
use core::net::{IpAddr, Ipv6Addr};

use heapless::Vec;

use crate::accepted::{Accepted, fingerprint};
use crate::bloom::BloomFilter;
use crate::code::KNOCKS;
use crate::cutoff::{Cutoffs, Fail};
use crate::decoy::{self, Hits};
use crate::door::{Door, DoorSet, MAX_DOORS, Method, Sequence};
use crate::guesses::{Guesses, Half, LEVELS};
use crate::hash;
use crate::knock::{Knock, Port, Protocol};
use crate::method::{
    self, Armed, Attempt, Candidate, Circumstances, Effect, PATTERNS, Pattern, Progress, Reach,
    stamp,
};
use crate::ports::{PortMap, TooManyPorts};
use crate::table::{Displaced, Entry, HashedSource, Stored, Table, Worth};
use crate::time::{Duration, Instant};

/// For how long it is known what a one-time door was opened by: TCP sends a SYN that is not answered for the last
/// time after 63 seconds (`tcp_syn_retries`), and a client may ask for more.
const USED_FOR: Duration = Duration::from_secs(130);
/// The codes that are remembered after they were used, at each door.
pub const USED_CODES: usize = 4;
/// Stale attempts are looked for at most this often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Decides what knocks mean, with room for the attempts of `SOURCES` sources.
///
/// `SOURCES` is a power of two, at least 8. The engine never allocates; it is about
/// `56 * SOURCES` bytes and 700 KiB, most of which is touched only under a flood, so it
/// belongs into a `static`.
///
/// ```
/// use std::sync::Mutex;
///
/// use postern_core::config::Config;
/// use postern_core::engine::{Engine, Outcome};
/// use postern_core::knock::{Knock, Port, Protocol};
/// use postern_core::time::{Duration, Instant};
///
/// static ENGINE: Mutex<Engine<1024>> = Mutex::new(Engine::new());
///
/// let text = b"
/// config postern 'global'
///     list interface 'wan'
/// config door 'ssh'
///     list guard 'tcp:22'
///     option method 'sequence-separate'
///     list open 'tcp:7000'
///     list open 'tcp:9001'
///     list open 'tcp:8002'
/// ";
/// let config = Config::parse(text, |wrong| panic!("{wrong}")).expect("a configuration");
/// let mut engine = ENGINE.lock()?;
/// engine.seed([0x5a; 8]); // eight random bytes
/// engine.configure(&config.doors)?;
///
/// let knock = |number| Knock {
///     source: [192, 0, 2, 1].into(),
///     source_port: 54321,
///     port: Port { protocol: Protocol::Tcp, number },
///     payload: b"",
/// };
/// let at = Instant::from_millis;
/// assert_eq!(engine.handle(at(0), &knock(7000)).outcome, Outcome::Advanced);
/// assert_eq!(engine.handle(at(200), &knock(9001)).outcome, Outcome::Advanced);
/// let last = engine.handle(at(400), &knock(8002));
/// assert_eq!(last.outcome, Outcome::Completed);
/// assert!(last.open.eq([0]));
///
/// // Within ten seconds, or in vain.
/// let _ = engine.handle(at(20_000), &knock(7000));
/// let _ = engine.handle(at(20_200), &knock(9001));
/// assert!(engine.handle(at(30_001), &knock(8002)).open.is_empty());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub struct Engine<const SOURCES: usize> {
    key: hash::Key,
    doors: Vec<Door, MAX_DOORS>,
    /// What opens each of them, if its method is a one-time method.
    armed: [Armed; MAX_DOORS],
    /// The sequence of a list that opened each of them last, or the last codes: their knocks may be sent again.
    used: [Sequence; MAX_DOORS],
    ports: PortMap,
    /// The doors, for each of their patterns, whose sequence is told from another by its order only.
    told_by_order: [DoorSet; PATTERNS],
    /// The doors that were knocked at by a port at which another listens too.
    meeting: DoorSet,
    /// The doors that hear nothing for now.
    deaf: DoorSet,
    /// The doors that do not hear everybody.
    choosy: DoorSet,
    attempts: Table<Attempts, SOURCES>,
    /// The first knocks that the table had no room for.
    displaced: BloomFilter,
    decoy_hits: Hits,
    accepted: Accepted,
    cutoffs: Cutoffs,
    guesses: Guesses,
    /// Until then, that a source has no attempt may be for want of room.
    crowded_until: Instant,
    counters: Counters,
    /// The longest window of all doors.
    longest_window: Duration,
    sweep_at: Option<Instant>,
}

/// What a knock changes. Act on it, or the owner stays outside.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What the knock was.
    pub outcome: Outcome,
    /// Doors at which it was that, unless it was none that is expected anywhere.
    pub at: DoorSet,
    /// Doors to open for the source.
    pub open: DoorSet,
    /// Doors to close to the source.
    pub close: DoorSet,
    /// Doors to close to the source where they are open for it, and to open where not.
    pub toggle: DoorSet,
    /// The one-time code that was used. Save it before opening the door: it must never
    /// work again, and the engine forgets it when it ends. One door's only: another
    /// one-time door that the same knock opens must stay shut.
    pub spent: Option<Spent>,
    /// Doors at which this counts as a failure: what does is said once, at [`Counters::failed`].
    pub failed: DoorSet,
    /// The right code that does not open, as its door asks for more.
    pub credit: Option<Credit>,
    /// For how long the source will not be listened to, when that begins now.
    pub cut_off: Option<Duration>,
}

/// Codes that a source has had right in a row at a door that asks for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// The door.
    pub door: usize,
    /// How many it has.
    pub codes: u8,
    /// How many it needs in all.
    pub needed: u8,
}

/// What a door asks of a stranger, because of wrong guesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// How many codes in a row open it.
    pub codes: u8,
    /// How many guesses were wrong of late.
    pub wrong: u32,
    /// When the first of them came.
    pub since: Instant,
}

/// A failure that was noticed without a knock: what was overtaken never came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lapse {
    /// Whose.
    pub source: IpAddr,
    /// For how long the source will not be listened to, when that begins now.
    pub cut_off: Option<Duration>,
}

/// A one-time code that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// The door that it opens.
    pub door: usize,
    /// What the code was derived from. This counter and all before it are done with.
    pub counter: u64,
}

/// What a knock was, taken over all doors that it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// No door listens to this port.
    Unwatched,
    /// It hit a decoy, and no attempt was under way.
    Decoy,
    /// The source is cut off.
    Silenced,
    /// It was not the knock expected.
    Wrong,
    /// It was accepted before.
    Repeated,
    /// It was the knock expected; more are to come.
    Advanced,
    /// It was the last knock expected.
    Completed,
}

/// How often what happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Knocks at ports that a door listens to.
    pub seen: u64,
    /// Knocks that were the one expected.
    pub matched: u64,
    /// Knocks that had been accepted before.
    pub repeated: u64,
    /// Knocks that were not the one expected.
    pub wrong: u64,
    /// Failures, at each door: attempts that ended because of their knocks and did nothing. What counts is said at
    /// the head of this crate's `cutoff.rs`, and the cut-off goes by it.
    pub failed: u64,
    /// Hits at decoys while no attempt was under way.
    pub decoys: u64,
    /// Finished attempts that opened nothing, because the firewall knew of a hit at a decoy.
    pub decoyed: u64,
    /// Knocks of sources that are cut off.
    pub silenced: u64,
    /// Finished attempts to open.
    pub opened: u64,
    /// Finished attempts to close.
    pub closed: u64,
    /// Finished attempts to toggle.
    pub toggled: u64,
    /// Sources that were cut off.
    pub cut_off: u64,
    /// Attempts that lost their place, or found none, because the table was full.
    pub displaced: u64,
}

/// An attempt under way, for people to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Underway {
    /// Who knocks.
    pub source: IpAddr,
    /// At which door, by its index.
    pub door: usize,
    /// What a finished attempt would do.
    pub effect: Effect,
    /// Knocks accepted so far.
    pub accepted: usize,
    /// Knocks needed.
    pub needed: usize,
    /// Time left for the rest.
    pub remaining: Duration,
}

#[derive(Clone, Copy)]
struct Attempts([Attempt; PATTERNS]);

impl Attempts {
    fn furthest(&self) -> &Attempt {
        let [first, second] = &self.0;
        if second.count() > first.count() {
            second
        } else {
            first
        }
    }
}

impl Entry for Attempts {
    const VACANT: Self = Self([Attempt::NONE; PATTERNS]);

    fn is_vacant(&self) -> bool {
        self.0.iter().all(Attempt::is_none)
    }

    fn worth(&self, now: u32) -> Worth {
        let furthest = self.furthest();
        Worth::new(furthest.count(), furthest.started(), now)
    }
}

impl<const SOURCES: usize> Engine<SOURCES> {
    /// An engine without doors.
    pub const fn new() -> Self {
        Self {
            key: hash::Key::new([0; 8]),
            doors: Vec::new(),
            armed: [const { Armed::Shut }; MAX_DOORS],
            used: [const { Sequence::new() }; MAX_DOORS],
            ports: PortMap::new(),
            told_by_order: [DoorSet::EMPTY; PATTERNS],
            meeting: DoorSet::EMPTY,
            deaf: DoorSet::EMPTY,
            choosy: DoorSet::EMPTY,
            attempts: Table::new(),
            displaced: BloomFilter::new(),
            decoy_hits: Hits::new(),
            accepted: Accepted::new(),
            cutoffs: Cutoffs::new(),
            guesses: Guesses::new(),
            crowded_until: Instant::from_millis(0),
            counters: Counters::ZERO,
            longest_window: Duration::from_millis(0),
            sweep_at: None,
        }
    }

    /// Sets the secret under which sources are hashed: 8 bytes that nobody can guess.
    ///
    /// To be called once, before the first knock; attempts made earlier are lost.
    pub const fn seed(&mut self, key: [u8; 8]) {
        self.key = hash::Key::new(key);
    }

    /// Takes other doors, of which it serves those that are its own. Attempts at doors that did not change go on; cut-offs are forgotten
    /// when a door's cut-off changed.
    pub fn configure(&mut self, doors: &Vec<Door, MAX_DOORS>) -> Result<(), TooManyPorts> {
        self.rearrange_armed(doors);
        let moved = |old: u8| {
            let before = self.doors.get(usize::from(old))?;
            doors.iter().position(|door| door == before)
        };
        self.attempts.revise(|door, attempts| {
            let now_at = moved(door).and_then(|door| u8::try_from(door).ok());
            if now_at.is_none() {
                *attempts = Attempts::VACANT;
            }
            now_at.unwrap_or(door)
        });
        if self.doors != *doors {
            self.guesses.configure(doors);
        }
        if !(self.doors.iter().map(|door| door.cutoff)).eq(doors.iter().map(|door| door.cutoff)) {
            self.cutoffs.clear();
        }
        self.told_by_order = told_by_order(doors);
        self.meeting = DoorSet::EMPTY;
        self.deaf = DoorSet::EMPTY;
        self.choosy = DoorSet::EMPTY;
        // Those of the doors that there were: what is never written takes no memory.
        for used in self.used.iter_mut().take(self.doors.len()) {
            used.clear();
        }
        self.doors.clear();
        _ = self.doors.extend_from_slice(doors);
        self.longest_window = (self.doors.iter().map(|door| door.window))
            .max()
            .unwrap_or_default();
        self.ports.clear();
        let doors = self.doors.iter().enumerate();
        let is_own = |door: &Door| !door.engine.is_in_kernel() && door.method.is_knocked();
        for (index, door) in doors.filter(|(_, door)| is_own(door)) {
            if !door.from.is_empty() {
                self.choosy.insert(index);
            }
            for (protocol, range) in &method::watched(door) {
                self.ports.insert(*protocol, range.clone(), index)?;
            }
            for ports in decoy::decoys(door, &self.doors) {
                (self.ports).insert(ports.protocol, ports.numbers(), index)?;
            }
        }
        Ok(())
    }

    /// Moves what opens a door to where the same door is to be. In place, as all of it is too big for the stack.
    fn rearrange_armed(&mut self, doors: &[Door]) {
        let before = |door| self.doors.iter().position(|before| before == door);
        let mut holds: [usize; MAX_DOORS] = core::array::from_fn(|place| place);
        for (place, door) in doors.iter().enumerate() {
            let Some(before) = before(door) else { continue };
            let Some(from) = holds.iter().position(|held| *held == before) else {
                continue;
            };
            if let Ok([to, from]) = self.armed.get_disjoint_mut([place, from]) {
                core::mem::swap(to, from);
            }
            self.guesses.swap([place, from]);
            if let Ok([to, from]) = holds.get_disjoint_mut([place, from]) {
                core::mem::swap(to, from);
            }
        }
        for (place, (armed, held)) in self.armed.iter_mut().zip(holds).enumerate() {
            if doors.get(place).and_then(before) != Some(held) {
                *armed = Armed::Shut;
                self.guesses.forget(place);
            }
        }
    }

    /// Listens at ports that [`Engine::configure`] could not know: those of a door's list.
    pub fn watch(&mut self, index: usize, ports: &[Port]) -> Result<(), TooManyPorts> {
        ports.iter().try_for_each(|port| {
            self.ports
                .insert(port.protocol, port.number..=port.number, index)
        })
    }

    /// Has a door hear knocks, as it does from [`Engine::configure`] on, or none: as if it listened nowhere.
    pub fn listen(&mut self, index: usize, listens: bool) {
        if listens {
            return self.deaf.remove(index);
        }
        self.deaf.insert(index);
        self.attempts.revise(|door, attempts| {
            if usize::from(door) == index {
                *attempts = Attempts::VACANT;
            }
            door
        });
    }

    /// Whether a door hears knocks, as [`Engine::listen`] last said.
    pub const fn listens(&self, index: usize) -> bool {
        !self.deaf.contains(index)
    }

    /// Says what opens a one-time door from now on. Attempts at a list's door begin anew
    /// with another sequence.
    ///
    /// What is acceptable is the caller's to know: [`crate::code::Code::knocks`] makes ports of a digest.
    pub fn arm(&mut self, index: usize, armed: Armed) {
        if let Some(slot) = self.armed.get_mut(index) {
            let is_other = !slot.is_same_sequence(&armed);
            *slot = armed;
            if is_other {
                self.begin_anew(index);
            }
        }
    }

    /// Says which codes of a door were used, the last one last, as far as there is something to know that from, and no
    /// others: whoever knocks one of them guesses nothing, and it opens nothing. To be said after [`Engine::configure`],
    /// which forgets it.
    pub fn remind(&mut self, index: usize, codes: &[Candidate]) {
        if let Some(used) = self.used.get_mut(index) {
            used.clear();
            codes.iter().for_each(|code| note_used(used, code));
        }
    }

    /// What opens a one-time door just now.
    pub fn armed(&self, index: usize) -> &Armed {
        self.armed.get(index).unwrap_or(&Armed::Shut)
    }

    /// The doors, in the order of the configuration.
    pub fn doors(&self) -> &[Door] {
        &self.doors
    }

    /// How often what happened.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Says what a knock changes. Takes the same time whatever the number of sources.
    pub fn handle(&mut self, now: Instant, knock: &Knock<'_>) -> Decision {
        let mut decision = Decision {
            outcome: Outcome::Unwatched,
            at: DoorSet::EMPTY,
            open: DoorSet::EMPTY,
            close: DoorSet::EMPTY,
            toggle: DoorSet::EMPTY,
            spent: None,
            failed: DoorSet::EMPTY,
            credit: None,
            cut_off: None,
        };
        let doors = self.heard_by(knock);
        if doors.is_empty() {
            return decision;
        }
        self.counters.seen += 1;
        let (source, failing) = &keys_of(&self.key, knock.source);
        if self.cutoffs.silences(failing, now) {
            self.counters.silenced += 1;
            decision.outcome = Outcome::Silenced;
            return decision;
        }
        let mut faults = Faults::default();
        let sources = (source, failing);
        for door in doors {
            self.handle_at(
                (door, doors),
                sources,
                now,
                knock,
                &mut decision,
                &mut faults,
            );
        }
        if doors.are_several() {
            self.meeting = self.meeting.or(doors);
        }
        self.excuse(source, &faults);
        if faults.hit_decoy {
            self.decoy_hits.insert(source.hash, now);
        }
        for packet in &faults.accepted {
            self.accepted.insert(*packet, now);
        }
        if let Some(guess) = &faults.guess {
            self.count_guesses(guess, &decision, source.hash, knock.port, now);
        }
        // What was right at one door is no failure at another that listens to the same port.
        if decision.outcome != Outcome::Wrong {
            faults.wrong = DoorSet::EMPTY;
        }
        for door in faults.lapsed.or(faults.wrong) {
            let knock = (!faults.lapsed.contains(door)).then_some(knock);
            match fail(&mut self.cutoffs, &self.doors, door, failing, now, knock) {
                Fail::Repeated => continue,
                Fail::Counted => {}
                Fail::CutOff => {
                    decision.cut_off = decision.cut_off.max(cut_off_time(&self.doors, door));
                }
            }
            decision.failed.insert(door);
        }
        self.count(&decision);
        decision
    }

    /// Has the doors where the knock was a wrong half of a code count it, unless it ended a right one elsewhere or
    /// goes on with a sequence.
    fn count_guesses(
        &mut self,
        guess: &Guess,
        decision: &Decision,
        hash: u32,
        port: Port,
        now: Instant,
    ) {
        let Self {
            doors,
            armed,
            guesses,
            ..
        } = self;
        let is_code = decision.outcome == Outcome::Completed || decision.credit.is_some();
        let mut at = decision.at;
        let is_fixed = at.any(|door| {
            doors
                .get(door)
                .is_some_and(|door| door.method.code().is_none())
        });
        for index in guess.again {
            guesses.clear(index, hash);
        }
        for index in guess.strays {
            match is_code {
                true => guesses.clear(index, hash),
                false if is_fixed => {}
                false => {
                    let knock = (port, guess.halves.contains(index));
                    guesses.stray(doors, index, hash, knock, now);
                }
            }
        }
        for index in guess.missed {
            if is_code {
                continue;
            }
            guesses.miss(doors, index, hash, port, now);
            let (Some(door), Some(armed)) = (doors.get(index), armed.get(index)) else {
                continue;
            };
            let [(_, opening), _] = method::patterns(door, armed);
            if guesses.holds_halves(now)
                && let Some(codes) = opening.codes()
            {
                codes.first_halves(&mut |counter, number, _| {
                    let half = Half {
                        door: index,
                        counter,
                        number,
                    };
                    guesses.lose_half(door, half, hash);
                });
            }
        }
    }

    /// What a one-time door with codes asks of a stranger at this time.
    pub fn asked(&self, index: usize, now: Instant) -> Option<Asked> {
        let door = self.doors.get(index)?;
        door.method.code()?;
        let (codes, wrong, since) = self.guesses.asked(door, index, now);
        Some(Asked {
            codes,
            wrong,
            since,
        })
    }

    /// The doors at the knock's port that hear its source.
    fn heard_by(&self, knock: &Knock<'_>) -> DoorSet {
        let mut doors = self.ports.doors_at(knock.port).without(self.deaf);
        for index in doors.and(self.choosy) {
            let door = self.doors.get(index);
            if door.is_none_or(|door| !door.hears(knock.source)) {
                doors.remove(index);
            }
        }
        doors
    }

    /// Notes that finished attempts did not open these doors, because their source had hit a decoy, of which only the
    /// firewall knew.
    pub fn note_decoyed(&mut self, doors: DoorSet) {
        for door in doors.filter_map(|index| self.doors.get(index)) {
            let done = match door.method {
                Method::Same { .. } => &mut self.counters.toggled,
                _ => &mut self.counters.opened,
            };
            *done = done.saturating_sub(1);
            self.counters.decoyed += 1;
        }
    }

    /// When [`Engine::poll`] has something to do, if nothing else happens.
    pub fn poll_at(&self) -> Option<Instant> {
        let deadlines = [self.sweep_at, self.cutoffs.poll_at()];
        deadlines.into_iter().flatten().min()
    }

    /// Forgets attempts whose window has passed, and cut-offs that are over.
    pub fn poll(&mut self, now: Instant) {
        self.poll_telling(now, &mut |_, _| {});
    }

    /// Does what [`Engine::poll`] does, and tells of the failures that it notices by that.
    pub fn poll_telling(&mut self, now: Instant, tell: &mut dyn FnMut(&Door, Lapse)) {
        self.cutoffs.poll(now);
        if self.sweep_at.is_none_or(|sweep_at| now < sweep_at) {
            return;
        }
        let Self {
            key,
            doors,
            armed,
            attempts,
            cutoffs,
            counters,
            ..
        } = self;
        let mut next: Option<Instant> = None;
        attempts.revise_all(&mut |source, index, attempts| {
            let door = usize::from(index);
            let Some((rules, armed)) = doors.get(door).zip(armed.get(door)) else {
                *attempts = Attempts::VACANT;
                return index;
            };
            let mut has_lapsed = false;
            for ((_, pattern), attempt) in
                method::patterns(rules, armed).iter().zip(&mut attempts.0)
            {
                has_lapsed |= pattern.lapse(attempt, now);
                attempt.expire(now, lifetime(rules, attempt));
                if !attempt.is_none() {
                    let expires_at = now - attempt.age(now) + lifetime(rules, attempt);
                    next = Some(next.map_or(expires_at, |next| next.min(expires_at)));
                }
            }
            let source = Ipv6Addr::from(*source).to_canonical();
            let (_, failing) = keys_of(key, source);
            if has_lapsed && !rules.passive && !cutoffs.silences(&failing, now) {
                let failed = fail(cutoffs, doors, door, &failing, now, None);
                let cut_off = (failed == Fail::CutOff)
                    .then(|| cut_off_time(doors, door))
                    .flatten();
                counters.failed += 1;
                counters.cut_off += u64::from(cut_off.is_some());
                tell(rules, Lapse { source, cut_off });
            }
            index
        });
        self.sweep_at = next.map(|next| next.max(now) + SWEEP_INTERVAL);
    }

    /// Takes back failures at a door, so many that came `since` then: they were no guesses after all.
    /// Whether the source is listened to again, where they had cut it off.
    pub fn retract(
        &mut self,
        source: IpAddr,
        index: usize,
        failures: (u16, Instant),
        now: Instant,
    ) -> bool {
        let cutoff = self.doors.get(index).and_then(|door| door.cutoff);
        let Ok(door) = u8::try_from(index) else {
            return false;
        };
        let (_, failing) = keys_of(&self.key, source);
        self.counters.failed = self.counters.failed.saturating_sub(failures.0.into());
        (self.cutoffs).retract(&failing, door, cutoff, failures, now)
    }

    /// Lifts the cut-off of a source, which is its network's (see [`failing_network`]), and forgets its failures;
    /// whether it was cut off.
    pub fn pardon(&mut self, now: Instant, source: IpAddr) -> bool {
        let (_, failing) = keys_of(&self.key, source);
        self.cutoffs.pardon(&failing, now)
    }

    /// Lifts every cut-off, and forgets all failures.
    pub fn pardon_all(&mut self) {
        self.cutoffs.clear();
    }

    /// Shows who is cut off, and for how much longer.
    pub fn show_cut_off(&self, now: Instant, show: &mut dyn FnMut(IpAddr, Duration)) {
        (self.cutoffs).show(now, &mut |source, left| {
            show(Ipv6Addr::from(*source).to_canonical(), left);
        });
    }

    /// Shows every attempt under way.
    pub fn show_underway(&self, now: Instant, show: &mut dyn FnMut(Underway)) {
        for (source, number, attempts) in self.attempts.iter() {
            let index = usize::from(number);
            let (Some(door), Some(armed)) = (self.doors.get(index), self.armed.get(index)) else {
                continue;
            };
            let patterns = method::patterns(door, armed).into_iter().zip(attempts.0);
            for ((effect, pattern), attempt) in patterns {
                let age = attempt.age(now);
                if attempt.is_under_way() && age <= door.window {
                    let remaining = door.window.as_millis() - age.as_millis();
                    show(Underway {
                        source: Ipv6Addr::from(*source).to_canonical(),
                        door: index,
                        effect,
                        accepted: usize::from(attempt.count()),
                        needed: pattern.length(),
                        remaining: Duration::from_millis(remaining),
                    });
                }
            }
        }
    }

    /// Forgets attempts to open a list's door: a knock of one sequence is none of another.
    fn begin_anew(&mut self, index: usize) {
        self.attempts.revise(|door, attempts| {
            let [opening, _] = &mut attempts.0;
            if usize::from(door) == index && opening.is_under_way() {
                *opening = Attempt::NONE;
            }
            door
        });
    }

    fn handle_at(
        &mut self,
        (index, neighbours): (usize, DoorSet),
        (source, failing): (&HashedSource, &HashedSource),
        now: Instant,
        knock: &Knock<'_>,
        decision: &mut Decision,
        faults: &mut Faults,
    ) {
        let (Some(door), Some(armed), Some(used), Ok(number)) = (
            self.doors.get(index),
            self.armed.get(index),
            self.used.get(index),
            u8::try_from(index),
        ) else {
            return;
        };
        let context = DoorContext {
            door,
            armed,
            used,
            index,
            neighbours,
            doors: &self.doors,
            all_used: &self.used,
            hash: source.hash,
            displaced: &self.displaced,
            decoy_hits: &self.decoy_hits,
            accepted: &self.accepted,
            told_by_order: &self.told_by_order,
            guesses: &self.guesses,
            is_crowded: now < self.crowded_until,
        };
        let mut newcomer = None;
        let outcome = match self.attempts.find_mut(source, number) {
            Some(attempts) => context.advance(knock, now, attempts, decision, faults),
            None => {
                let attempts = newcomer.insert(Attempts::VACANT);
                context.advance(knock, now, attempts, decision, faults)
            }
        };
        if outcome > decision.outcome {
            decision.outcome = outcome;
            decision.at = DoorSet::EMPTY;
        }
        if outcome == decision.outcome && outcome > Outcome::Wrong {
            decision.at.insert(index);
        }
        if outcome == Outcome::Completed {
            self.cutoffs.forgive(failing, number, now);
        }
        if outcome > Outcome::Repeated && door.method.code().is_some() {
            (self.guesses).begin(&self.doors, index, source.hash, knock.port, now);
        }
        let window = door.window;
        if let Some((credit, counter)) = faults.credit.take() {
            let codes = credit.codes;
            (self.guesses).give(door, index, source.hash, counter, codes, now);
            decision.credit = Some(credit);
        }
        if let Some(Spent { door, counter }) = decision.spent
            && let Some((armed, used)) = self.armed.get_mut(door).zip(self.used.get_mut(door))
        {
            match armed {
                Armed::Sequence(_, steps) => used.clone_from(steps),
                Armed::Codes(codes) => {
                    let mut codes = codes.iter();
                    if let Some(spent) = codes.find(|code| code.counter == counter) {
                        note_used(used, spent);
                    }
                }
                Armed::Shut => {}
            }
            armed.spend(counter);
            self.guesses.take(door, source.hash);
        }
        if let Some(attempts) = &newcomer
            && !attempts.is_vacant()
        {
            self.remember(source, number, attempts, now, window);
        }
    }

    /// What was in its turn at one door, or has turned out to be right there, is no failure at another that waits
    /// for what it overtook.
    fn excuse(&mut self, source: &HashedSource, faults: &Faults) {
        let doors = match (faults.is_put_in_order, faults.is_in_turn) {
            (true, _) => self.meeting,
            (false, true) => faults.ahead,
            (false, false) => return,
        };
        for door in doors {
            let known = u8::try_from(door).ok();
            let known = known.and_then(|door| self.attempts.find_mut(source, door));
            for attempt in known.into_iter().flat_map(|attempts| &mut attempts.0) {
                attempt.excuse();
            }
        }
    }

    fn remember(
        &mut self,
        source: &HashedSource,
        number: u8,
        attempts: &Attempts,
        now: Instant,
        window: Duration,
    ) {
        let expires_at = now + window + Duration::from_millis(1);
        self.sweep_at = Some(self.sweep_at.map_or(expires_at, |at| at.min(expires_at)));
        match self.attempts.insert(source, number, attempts, stamp(now)) {
            Stored::Kept => {}
            Stored::Displaced(Displaced { entry, door, hash }) => {
                self.displace(&entry, door, hash, now);
            }
            Stored::NoRoom => self.displace(attempts, number, source.hash, now),
        }
    }

    /// Keeps the first knock of those who made no more in the Bloom filter, and first halves of codes among others.
    fn displace(&mut self, attempts: &Attempts, number: u8, hash: u32, now: Instant) {
        self.counters.displaced += 1;
        self.crowded_until = now + USED_FOR;
        let index = usize::from(number);
        let (Some(door), Some(armed)) = (self.doors.get(index), self.armed.get(index)) else {
            return;
        };
        for ((_, pattern), attempt) in method::patterns(door, armed).iter().zip(&attempts.0) {
            if let Some(port) = pattern.only_knock(attempt) {
                let knock = first_knock(hash, index, port);
                self.displaced.insert(knock, now, self.longest_window);
                if pattern.repeats(port) {
                    let packet = fingerprint(hash, port, attempt.source_port);
                    self.displaced.insert(packet, now, self.longest_window);
                }
            }
            if let Some(codes) = pattern.codes() {
                codes.halves_at(attempt, &mut |counter, number| {
                    let half = Half {
                        door: index,
                        counter,
                        number,
                    };
                    let made = (attempt.started(), attempt.source_port);
                    self.guesses.keep_half(door, half, hash, made, now);
                });
            }
        }
    }

    fn count(&mut self, decision: &Decision) {
        let counters = &mut self.counters;
        match decision.outcome {
            Outcome::Unwatched | Outcome::Silenced => {}
            Outcome::Decoy => counters.decoys += 1,
            Outcome::Wrong => counters.wrong += 1,
            Outcome::Repeated => counters.repeated += 1,
            Outcome::Advanced => counters.matched += 1,
            Outcome::Completed => {
                counters.matched += 1;
                counters.opened += u64::from(decision.open.len());
                counters.closed += u64::from(decision.close.len());
                counters.toggled += u64::from(decision.toggle.len());
            }
        }
        if !decision.failed.is_empty() {
            counters.failed += u64::from(decision.failed.len());
        }
        counters.cut_off += u64::from(decision.cut_off.is_some());
    }
}

impl<const SOURCES: usize> Default for Engine<SOURCES> {
    fn default() -> Self {
        Self::new()
    }
}

impl Counters {
    /// Nothing has happened yet.
    pub const ZERO: Self = Self {
        seen: 0,
        matched: 0,
        repeated: 0,
        wrong: 0,
        failed: 0,
        decoys: 0,
        decoyed: 0,
        silenced: 0,
        opened: 0,
        closed: 0,
        toggled: 0,
        cut_off: 0,
        displaced: 0,
    };
}

/// Under which key an address is known, IPv4 as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2),
/// and under which its failures are: see [`failing_network`].
fn keys_of(key: &hash::Key, address: IpAddr) -> (HashedSource, HashedSource) {
    match address {
        IpAddr::V4(address) => {
            let source = address.to_ipv6_mapped().octets();
            let hash = key.hash(source);
            let key = HashedSource { source, hash };
            (key, key)
        }
        IpAddr::V6(address) => {
            let source = address.octets();
            let (of_network, hash) = key.hash_both(source);
            let network = HashedSource {
                source: network(address).octets(),
                hash: of_network,
            };
            (HashedSource { source, hash }, network)
        }
    }
}

/// Remembers a code that was used, in the place of the oldest.
fn note_used(used: &mut Sequence, code: &Candidate) {
    for knock in code.knocks {
        if used.len() >= USED_CODES * KNOCKS {
            used.remove(0);
        }
        _ = used.push(knock);
    }
}

/// For how long an attempt is of use, from its first knock on.
fn lifetime(door: &Door, attempt: &Attempt) -> Duration {
    match attempt.is_finished() && door.method.is_one_time() {
        true => door.window.max(USED_FOR),
        false => door.window,
    }
}

/// Counts a failure of a source at a door, by this knock if it is one's.
fn fail(
    cutoffs: &mut Cutoffs,
    doors: &[Door],
    door: usize,
    source: &HashedSource,
    now: Instant,
    knock: Option<&Knock<'_>>,
) -> Fail {
    let cutoff = doors.get(door).and_then(|door| door.cutoff);
    // There are fewer doors than that.
    let number = u8::try_from(door).unwrap_or_default();
    cutoffs.fail(source, number, knock, cutoff, now)
}

/// For how long the door cuts off.
fn cut_off_time(doors: &[Door], door: usize) -> Option<Duration> {
    Some(doors.get(door)?.cutoff?.within)
}

/// The doors, for each of their patterns, whose sequence has no port that another sequence has not as often. One that
/// goes on where it ends is no such other: its knocks are those of both in any case.
fn told_by_order(doors: &[Door]) -> [DoorSet; PATTERNS] {
    let patterns = |door| -> [&[Port]; PATTERNS] { [Method::open(door), Method::close(door)] };
    let mut told_by_order = [DoorSet::EMPTY; PATTERNS];
    for (index, door) in doors.iter().enumerate() {
        for (set, steps) in told_by_order.iter_mut().zip(patterns(&door.method)) {
            let mut others = doors.iter().flat_map(|door| patterns(&door.method));
            let count = |ports: &[Port], port| ports.iter().filter(|other| *other == port).count();
            let is_within = |other: &[Port]| {
                let has = |step| count(steps, step) <= count(other, step);
                !other.starts_with(steps) && steps.iter().all(has)
            };
            if !steps.is_empty() && others.any(is_within) {
                set.insert(index);
            }
        }
    }
    told_by_order
}

/// The network that is cut off for a source's failures: an IPv4 address alone, an IPv6 /64.
pub fn failing_network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => network(address).into(),
    }
}

/// Its /64.
fn network(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)
}

/// A door, with what is known of a source that stands before it.
struct DoorContext<'e> {
    door: &'e Door,
    armed: &'e Armed,
    /// The sequence of its list that was used last.
    used: &'e [Port],
    /// The door's.
    index: usize,
    /// The doors at the knock's port.
    neighbours: DoorSet,
    /// All of them.
    doors: &'e [Door],
    /// What was used at each of them.
    all_used: &'e [Sequence; MAX_DOORS],
    /// The source's.
    hash: u32,
    displaced: &'e BloomFilter,
    decoy_hits: &'e Hits,
    accepted: &'e Accepted,
    /// The doors, for each of their patterns, whose order alone tells it from another.
    told_by_order: &'e [DoorSet; PATTERNS],
    guesses: &'e Guesses,
    /// Whether what was known of the source may have been forgotten for want of room.
    is_crowded: bool,
}

/// What a knock at the ports of a door's codes may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CodeKnock {
    /// The half with which a code begins.
    First,
    /// The other half, after a right one.
    Second,
    /// None, as its source has to be silent before.
    Ignored,
}

/// What was wrong with a knock, and what it brought to light.
#[derive(Default)]
struct Faults {
    /// The doors at which it was not the one expected.
    wrong: DoorSet,
    /// The doors at which an attempt had failed before it.
    lapsed: DoorSet,
    /// The doors at which knocks are ahead of their turn.
    ahead: DoorSet,
    /// It was in its turn at some door, or had been.
    is_in_turn: bool,
    /// It was what knocks at some door had overtaken.
    is_put_in_order: bool,
    /// It was at a decoy.
    hit_decoy: bool,
    /// What it was at doors where it was a wrong half of a code.
    guess: Option<Guess>,
    /// The right code that does not open, and its counter.
    credit: Option<(Credit, u64)>,
    /// Packets that were accepted, and must not count as others when they are sent again. Where more doors than that
    /// accept one at a time, it is the same one.
    accepted: Vec<u32, 4>,
}

/// A knock at the ports of codes that was no half of one.
#[derive(Default)]
struct Guess {
    /// The doors at which it began no code, where none was begun.
    strays: DoorSet,
    /// Those of them at which it would have begun one, had its source been silent before.
    halves: DoorSet,
    /// The doors at which it is, with the knock before, a code again.
    again: DoorSet,
    /// The doors at which it was the wrong half of a code whose first was right.
    missed: DoorSet,
}

impl DoorContext<'_> {
    /// Shows a knock to the source's attempts; what it was to the one that it suited best.
    fn advance(
        &self,
        knock: &Knock<'_>,
        now: Instant,
        attempts: &mut Attempts,
        decision: &mut Decision,
        faults: &mut Faults,
    ) -> Outcome {
        let mut patterns = method::patterns(self.door, self.armed);
        let mut has_lapsed = false;
        for ((_, pattern), attempt) in patterns.iter().zip(&mut attempts.0) {
            if !attempt.is_none() {
                has_lapsed |= pattern.lapse(attempt, now);
                attempt.expire(now, lifetime(self.door, attempt));
            }
        }
        if has_lapsed && !self.door.passive {
            faults.lapsed.insert(self.index);
        }
        let is_under_way = attempts.0.iter().any(Attempt::is_under_way);
        let [(_, opening), (_, closing)] = &patterns;
        let at_port = [opening.steps_at(knock.port), closing.steps_at(knock.port)];
        let is_decoy = self.is_decoy(at_port);
        if !is_under_way && is_decoy {
            faults.hit_decoy = true;
            return Outcome::Decoy;
        }
        let has_codes = opening.has_codes();
        let has_payload = has_payload(self.door, knock);
        let (mut credit, mut half) = (None, None);
        if has_codes {
            credit = (self.guesses).credit(self.door, self.index, self.hash, now);
            half = self.hear_half(&mut patterns, credit, knock, now, attempts);
        }
        let begun = attempts.0.first().and_then(Attempt::half);
        // Whoever does that guesses nothing, and has no chance.
        let is_again = half.is_some()
            && (self.was_spelled(knock, now)
                || begun
                    .is_some_and(|begun| self.spells_again(&patterns, credit, begun, knock.port)));
        let is_crowded = self.displaced.is_in_use(now);
        let was_accepted = || {
            let fingerprint = fingerprint(self.hash, knock.port, knock.source_port);
            self.accepted.contains(fingerprint, now, self.door.window)
                || is_crowded && self.displaced.contains(fingerprint, now)
        };
        if is_crowded && attempts.is_vacant() {
            self.recall(&patterns, knock.port, now, &was_accepted, attempts);
        }
        let (mut best, mut is_late) = (Outcome::Wrong, false);
        let (mut of_code, mut is_ended_again) = (Progress::Wrong, false);
        let by_order = self.told_by_order.iter().zip(at_port);
        for (((effect, pattern), attempt), (by_order, at_port)) in
            patterns.iter().zip(&mut attempts.0).zip(by_order)
        {
            let is_of_codes = pattern.has_codes();
            if !has_payload || at_port == 0 && attempt.is_none() && !is_of_codes {
                *attempt = Attempt::NONE;
                continue;
            }
            let reach = || match () {
                _ if (self.decoy_hits).contains(self.hash, now, self.door.window) => Reach::Next,
                _ if by_order.contains(self.index) => Reach::Neighbour,
                _ => Reach::Any,
            };
            let circumstances = Circumstances {
                reach: &reach,
                was_accepted: &was_accepted,
                is_kept: Cell::new(false),
            };
            let before = *attempt;
            let mut progress = match () {
                () if is_of_codes && is_again => Progress::Repeated,
                () if is_of_codes && half == Some(CodeKnock::Ignored) => Progress::Wrong,
                () => pattern.advance(attempt, (knock, at_port), now, &circumstances),
            };
            let is_accepted = matches!(progress, Progress::Advanced | Progress::Completed(_));
            if is_of_codes {
                of_code = progress;
                if half.is_some() && progress == Progress::Wrong {
                    is_ended_again = self.ends_again(&patterns, credit, knock.port, now);
                }
            }
            if is_accepted || circumstances.is_kept.get() {
                self.note_accepted(pattern, attempt, (knock, at_port), faults);
            }
            if progress == Progress::Wrong && self.is_known(pattern, credit, &before, knock.port) {
                *attempt = before;
                progress = Progress::Repeated;
            }
            match (attempt.is_disordered(), progress) {
                (_, Progress::Wrong | Progress::Late) => {}
                (true, _) => faults.ahead.insert(self.index),
                (false, _) => {
                    faults.is_in_turn = true;
                    faults.is_put_in_order |= before.is_disordered();
                }
            }
            best = best.max(match progress {
                Progress::Wrong => Outcome::Wrong,
                Progress::Late => {
                    is_late = true;
                    Outcome::Wrong
                }
                Progress::Repeated => Outcome::Repeated,
                Progress::Advanced => Outcome::Advanced,
                Progress::Completed(counter) => {
                    let is_one_port = half.is_some() && begun == Some(knock.port);
                    if let Some(begun) = begun.filter(|_| half.is_some()) {
                        let packets =
                            [(begun, before.source_port), (knock.port, knock.source_port)];
                        let packets =
                            packets.map(|(port, from)| fingerprint(self.hash, port, from));
                        _ = faults.accepted.extend_from_slice(&packets);
                    }
                    match self.falls_short(pattern, credit, (counter, is_one_port), now) {
                        Some(more) => {
                            faults.credit = Some((more, counter));
                            Outcome::Advanced
                        }
                        None => {
                            self.complete(*effect, counter, decision);
                            Outcome::Completed
                        }
                    }
                }
            });
        }
        if is_ended_again {
            faults
                .guess
                .get_or_insert_default()
                .again
                .insert(self.index);
        } else if let Some(half) = half.filter(|_| !is_again) {
            self.note_guess(&patterns, (half, of_code), knock.port, now, faults);
        }
        match best {
            // Whoever has a service on a decoy, and clients of it, must not be cut off.
            Outcome::Wrong if is_decoy => faults.hit_decoy = true,
            // Whoever uses the service there guesses nothing, nor does who knocks a used code again.
            Outcome::Wrong if self.door.passive || is_ended_again => {}
            // Where nothing opens the door, there is nothing to guess: its owner has the right code, and may
            // not know yet.
            Outcome::Wrong if self.door.method.is_one_time() && self.armed.opens_nothing() => {}
            Outcome::Wrong if !is_late => faults.wrong.insert(self.index),
            // It forgives.
            Outcome::Completed => faults.lapsed.remove(self.index),
            _ => {}
        }
        best
    }

    /// Whether none of the door's sequences has a step at the port, at which it listens. One-time doors have no
    /// decoys, and what a list watches may be of a sequence that is no longer expected.
    fn is_decoy(&self, at_port: [u32; PATTERNS]) -> bool {
        at_port == [0; PATTERNS] && self.door.decoys > 0 && !self.door.method.is_one_time()
    }

    /// Prepares for a knock that may be a code's half: what is expected of a source with this credit, and the first half
    /// that the table had no room for.
    fn hear_half(
        &self,
        patterns: &mut [(Effect, Pattern<'_>); PATTERNS],
        credit: Option<(u64, u8)>,
        knock: &Knock<'_>,
        now: Instant,
        attempts: &mut Attempts,
    ) -> Option<CodeKnock> {
        let ([(_, opening), _], [attempt, _]) = (patterns, &mut attempts.0);
        if let (Some((counter, _)), Pattern::Codes { expected, .. }) = (credit, &mut *opening) {
            *expected = method::expected(self.door, counter.saturating_add(1));
        }
        let codes = opening.codes().filter(|codes| !codes.is_empty())?;
        if self.door.method.close().contains(&knock.port) || !has_payload(self.door, knock) {
            return None;
        }
        if !attempt.is_under_way() && self.guesses.holds_halves(now) {
            let made = |counter, number| self.half_made(counter, number, now);
            if let Some(recalled) = codes.recall(knock.port, &made) {
                *attempt = recalled;
            }
        }
        Some(match attempt.is_under_way() {
            true => CodeKnock::Second,
            false if self.guesses.ignores(self.index, self.hash, now) => CodeKnock::Ignored,
            false => CodeKnock::First,
        })
    }

    fn half_made(&self, counter: u64, number: usize, now: Instant) -> Option<(u32, u16)> {
        let half = Half {
            door: self.index,
            counter,
            number,
        };
        self.guesses.find_half(self.door, half, self.hash, now)
    }

    /// Whether the source made any code's first half that the table had no room for.
    fn has_begun(&self, patterns: &[(Effect, Pattern<'_>); PATTERNS], now: Instant) -> bool {
        let [(_, opening), _] = patterns;
        let mut has_begun = false;
        if self.guesses.holds_halves(now)
            && let Some(codes) = opening.codes()
        {
            codes.first_halves(&mut |counter, number, _| {
                has_begun |= self.half_made(counter, number, now).is_some();
            });
        }
        has_begun
    }

    /// Whether a knock that is wrong was right before, or may follow one that was forgotten for want of room.
    fn is_known(
        &self,
        pattern: &Pattern<'_>,
        credit: Option<(u64, u8)>,
        before: &Attempt,
        port: Port,
    ) -> bool {
        match pattern.codes() {
            None => before.is_finished() && self.used.contains(&port),
            Some(_) if before.is_under_way() => false,
            Some(codes) => {
                let is_credited = |(counter, _)| codes.has_at(counter, port);
                credit.is_some_and(is_credited) || self.is_crowded && codes.has(port)
            }
        }
    }

    /// Whether this packet was part of a code: TCP goes on sending what is not answered.
    fn was_spelled(&self, knock: &Knock<'_>, now: Instant) -> bool {
        let fingerprint = fingerprint(self.hash, knock.port, knock.source_port);
        self.accepted.contains(fingerprint, now, USED_FOR)
    }

    /// Whether these two knocks are a code that was used, or the one that the source has its credit for.
    fn spells_again(
        &self,
        patterns: &[(Effect, Pattern<'_>); PATTERNS],
        credit: Option<(u64, u8)>,
        one: Port,
        other: Port,
    ) -> bool {
        let [(_, opening), _] = patterns;
        let is_credited = |(counter, _)| {
            let has = |port| {
                opening
                    .codes()
                    .is_some_and(|codes| codes.has_at(counter, port))
            };
            one != other && has(one) && has(other)
        };
        let is_used = |index: usize| {
            let Some((door, used)) = self.doors.get(index).zip(self.all_used.get(index)) else {
                return false;
            };
            let mut codes = used.chunks_exact(KNOCKS);
            door.method.code().is_some()
                && codes.any(|code| code == [one, other] || code == [other, one])
        };
        let mut neighbours = self.neighbours;
        credit.is_some_and(is_credited) || neighbours.any(is_used)
    }

    /// Whether the knock ends what spells such a code, and began where no code was expected.
    fn ends_again(
        &self,
        patterns: &[(Effect, Pattern<'_>); PATTERNS],
        credit: Option<(u64, u8)>,
        port: Port,
        now: Instant,
    ) -> bool {
        let pending = (self.guesses).pending(self.index, self.hash, now, self.door.window);
        pending.is_some_and(|one| self.spells_again(patterns, credit, one, port))
    }

    /// Notes what is to be counted of a knock at the ports of codes: of which kind it was, and what it came to.
    fn note_guess(
        &self,
        patterns: &[(Effect, Pattern<'_>); PATTERNS],
        (half, progress): (CodeKnock, Progress),
        port: Port,
        now: Instant,
        faults: &mut Faults,
    ) {
        let ([(_, opening), _], index) = (patterns, self.index);
        let Some(codes) = opening.codes() else { return };
        let guess = &mut faults.guess;
        match (half, progress) {
            (_, Progress::Advanced | Progress::Completed(_)) => {}
            (CodeKnock::Second, Progress::Wrong) => {
                guess.get_or_insert_default().missed.insert(index);
            }
            (CodeKnock::Second, _) => {}
            (CodeKnock::First, _) if self.has_begun(patterns, now) => {
                guess.get_or_insert_default().missed.insert(index);
            }
            // Its first half may have been forgotten for want of room.
            (CodeKnock::First, _) if self.is_crowded && codes.has(port) => {}
            (CodeKnock::First | CodeKnock::Ignored, _) => {
                let guess = guess.get_or_insert_default();
                guess.strays.insert(index);
                // A first one would have begun it.
                if half == CodeKnock::Ignored && codes.may_begin(port) {
                    guess.halves.insert(index);
                }
            }
        }
    }

    /// What a source has with a code that is right and does not open, as the door asks for more.
    fn falls_short(
        &self,
        pattern: &Pattern<'_>,
        credit: Option<(u64, u8)>,
        (counter, is_one_port): (u64, bool),
        now: Instant,
    ) -> Option<Credit> {
        if !pattern.has_codes() {
            return None;
        }
        let had = credit.map_or(0, |(_, codes)| codes);
        let (door, index) = (self.door, self.index);
        let needed = self.guesses.needed(door, index, had, counter, now);
        let needed = needed.max(had + 1 + u8::from(is_one_port));
        (needed > had + 1).then_some(Credit {
            door: index,
            codes: (had + 1).min(LEVELS as u8),
            needed,
        })
    }

    fn complete(&self, effect: Effect, counter: u64, decision: &mut Decision) {
        match effect {
            Effect::Open => decision.open.insert(self.index),
            Effect::Close => decision.close.insert(self.index),
            Effect::Toggle => decision.toggle.insert(self.index),
        }
        if effect == Effect::Open && self.door.method.is_one_time() {
            decision.spent = Some(Spent {
                door: self.index,
                counter: self.armed.sequence_index().unwrap_or(counter),
            });
        }
    }

    /// Notes which packets must not count again.
    fn note_accepted(
        &self,
        pattern: &Pattern<'_>,
        attempt: &Attempt,
        knock: (&Knock<'_>, u32),
        faults: &mut Faults,
    ) {
        pattern.remember(attempt, knock, &mut |port, source_port| {
            let packet = fingerprint(self.hash, port, source_port);
            if !faults.accepted.contains(&packet) {
                _ = faults.accepted.push(packet);
            }
        });
    }

    /// Credits a source with the first knock that the table had no room for.
    fn recall(
        &self,
        patterns: &[(Effect, Pattern<'_>); PATTERNS],
        knock: Port,
        now: Instant,
        was_accepted: &dyn Fn() -> bool,
        attempts: &mut Attempts,
    ) {
        let was_made = |port| {
            let knock = first_knock(self.hash, self.index, port);
            self.displaced.contains(knock, now)
        };
        for ((_, pattern), attempt) in patterns.iter().zip(&mut attempts.0) {
            if let Some(begun) = pattern.resume(knock, now, &was_made, was_accepted) {
                *attempt = begun;
            }
        }
    }
}

/// The fingerprint of a first knock: of which source, by its hash, at which door, on which port.
fn first_knock(hash: u32, door: usize, port: Port) -> u32 {
    let protocol = u32::from(port.protocol == Protocol::Udp);
    hash ^ (protocol << 24 | u32::from(port.number) << 8 | door as u32)
}

/// Whether the knock carries what the door requires. A SYN carries nothing.
fn has_payload(door: &Door, knock: &Knock<'_>) -> bool {
    match &door.payload {
        Some(payload) if knock.port.protocol == Protocol::Udp => payload.matches(knock.payload),
        _ => true,
    }
}
