//! What bounds the guessing of codes at a door, over all sources: beyond it, the door asks for more codes in a row.
//!
//! A code of six digits is one of a million, and whoever forges addresses guesses without end: no cut-off of sources
//! holds him. So each door has *budgets* of guesses, a bucket of tokens for each *credit*: the codes that a source
//! has had right in a row. While that of its credit is empty, a right code does not open the door; it gives the source a
//! credit more, and the next code in a row may open. So nobody is ever locked out by others' guesses.
//!
//! A *guess* is what could have opened: a source's second knock at the ports of codes. It costs one token. After a
//! first knock that begins no code, a source is not listened to until it was silent for `SILENCE`: a scan of all
//! ports costs one token. A wrong second half after a right first costs a third of the budget, and so does a right
//! first half after a wrong one: who saw half of a code guesses one of a thousand, be it before or after, and has three
//! tries. What is forgotten for want of room costs as much. What costs nothing has no chance: the two knocks of a code
//! that was used open nothing, at any door, and a packet that was part of a code is part of no other.
//!
//! The chance of a guesser with any number of addresses and packets to open the door within a day is at most
//! [`1 / ODDS_PER_DAY`](ODDS_PER_DAY). A guess hits with `chances` in `10^digits`, and a day's guesses are the
//! budgets' sizes and what is refilled; beyond all budgets, four codes in a row are asked for. A code whose halves are
//! one port is not guessed by two different knocks, and its attempts cannot be told from a knock that is sent again:
//! it gives a credit, and never opens.
//!
//! A code that gave a credit was shown to whoever listens, but is not used up: guesses that are right by chance would
//! use up the owner's codes. It gives a credit to whoever shows it, and opens only to who has `SHOWN_OPENS_AT` of them.

use core::ops::Range;

use crate::door::{Door, MAX_DOORS, Method, Order};
use crate::knock::{Port, Protocol};
use crate::method::{since, stamp};
use crate::time::{Duration, Instant};

/// One to this many is the chance of a guesser within a day, at a door. The budgets leave three hundredths of it to four
/// codes in a row that are guessed, and to the few guesses of which both halves begin a code.
pub const ODDS_PER_DAY: u64 = 10_000;
/// Credits with a budget. Whoever has more is asked for one more code, and no budget: that many are not guessed.
pub(crate) const LEVELS: usize = 3;
/// The credits with which a code opens that others have shown.
const SHOWN_OPENS_AT: u8 = 2;
/// For so long a source is not listened to after a first knock that begins no code, from its last one on.
const SILENCE: Duration = Duration::from_secs(1);
/// For how long a credit of a door without a clock lives.
const SEED_CREDIT: Duration = Duration::from_secs(120);
const DAY_MILLIS: u64 = 86_400_000;

const WAYS: usize = 8;
/// Strays that are remembered, of all sources at all doors.
const STRAYS: usize = 2048;
/// Credits that are remembered; then the oldest of the lowest gives way.
const CREDITS: usize = 256;

/// First halves that lost their place in the table of sources, of all doors' codes: 192 KiB that an untroubled router
/// never touches.
const HALVES: usize = 1 << 14;

/// A knock of a source that is remembered.
#[derive(Clone, Copy)]
struct Note {
    /// Of the source, and of what else tells it from others.
    tag: u32,
    /// When it came; 0: it did not.
    at: u32,
    /// A stray's port, 0 where the guess that it belongs to was counted; or that which a first half came from.
    port: u16,
    protocol: Protocol,
    door: u8,
}

impl Note {
    const NONE: Self = Self {
        tag: 0,
        at: 0,
        port: 0,
        protocol: Protocol::Tcp,
        door: 0,
    };

    const fn is(&self, tag: u32, door: u8) -> bool {
        self.at != 0 && self.tag == tag && self.door == door
    }

    const fn is_recent(&self, now: Instant, within: Duration) -> bool {
        self.at != 0 && since(self.at, now).as_millis() <= within.as_millis()
    }

    /// The port of a stray that no guess was counted for.
    fn pending(&self, now: Instant, within: Duration) -> Option<Port> {
        (self.port != 0 && self.is_recent(now, within)).then_some(Port {
            protocol: self.protocol,
            number: self.port,
        })
    }
}

/// Where among so many notes those stand that this hash points to. Their number is a power of two, and at least
/// [`WAYS`].
const fn bucket(notes: usize, hash: u32) -> Range<usize> {
    let start = (hash as usize).wrapping_mul(WAYS) & notes.wrapping_sub(1);
    start..start + WAYS
}

/// Puts a note in the place of the same source's, or of the oldest, which is returned.
fn put(bucket: &mut [Note], note: Note, now: Instant) -> Note {
    let mut place: Option<(&mut Note, u32)> = None;
    for slot in bucket {
        let age = match slot.at {
            _ if slot.is(note.tag, note.door) => {
                *slot = note;
                return Note::NONE;
            }
            0 => u32::MAX,
            at => stamp(now).wrapping_sub(at),
        };
        if place.as_ref().is_none_or(|(_, oldest)| age > *oldest) {
            place = Some((slot, age));
        }
    }
    place.map_or(Note::NONE, |(slot, _)| core::mem::replace(slot, note))
}

/// What a source has had right.
#[derive(Clone, Copy)]
struct Credit {
    hash: u32,
    /// When the last code was right; 0: there is none.
    at: u32,
    counter: u64,
    door: u8,
    codes: u8,
}

impl Credit {
    const fn is(&self, hash: u32, door: u8) -> bool {
        self.at != 0 && self.hash == hash && self.door == door
    }
}

/// The guesses that are left at a door to sources with one credit.
#[derive(Clone, Copy)]
struct Budget {
    /// When all of them are there again.
    full_at: Instant,
    /// When there is one again.
    short_until: Instant,
}

/// The guesses at a door.
#[derive(Clone, Copy)]
pub(crate) struct Guessed {
    budgets: [Budget; LEVELS],
    /// How many were counted since then.
    wrong: u32,
    since: Instant,
    /// The counters, from the first on, whose codes gave a credit: one bit each.
    shown: u64,
    first_shown: u64,
}

impl Guessed {
    pub(crate) const NONE: Self = Self {
        budgets: [Budget {
            full_at: Instant::from_millis(0),
            short_until: Instant::from_millis(0),
        }; LEVELS],
        wrong: 0,
        since: Instant::from_millis(0),
        shown: 0,
        first_shown: 0,
    };

    /// How many codes in a row open to who has this many.
    fn needed(&self, door: &Door, credit: u8, now: Instant) -> u8 {
        let mut level = credit;
        let mut budgets = (self.budgets.iter().zip(allowances(door))).skip(credit.into());
        while budgets
            .next()
            .is_some_and(|(budget, allowance)| allowance.size == 0 || now < budget.short_until)
        {
            level += 1;
        }
        level + 1
    }

    fn charge(&mut self, door: &Door, credit: u8, is_half: bool, now: Instant) {
        if self.budgets.iter().all(|budget| budget.full_at <= now) {
            (self.wrong, self.since) = (0, now);
        }
        self.wrong = self.wrong.saturating_add(1);
        // Before anything is computed: a flood comes to this.
        let budget = self.budgets.get(usize::from(credit));
        if budget.is_none_or(|budget| now < budget.short_until) {
            return;
        }
        let mut budgets = self.budgets.iter_mut().zip(allowances(door));
        let Some((budget, allowance)) = budgets.nth(credit.into()) else {
            return;
        };
        if allowance.size == 0 {
            budget.short_until = Instant::from_millis(u64::MAX);
            return;
        }
        let tokens = match is_half {
            true => u64::from(allowance.size).div_ceil(3),
            false => 1,
        };
        let span = |tokens: u64| Duration::from_millis(tokens.saturating_mul(allowance.interval));
        let empty = now + span(allowance.size.into());
        budget.full_at = (budget.full_at.max(now) + span(tokens)).min(empty);
        budget.short_until = budget.full_at - span(u64::from(allowance.size) - 1);
    }

    fn show(&mut self, counter: u64) {
        let (back, ahead) = (
            self.first_shown.saturating_sub(counter),
            counter.saturating_sub(self.first_shown),
        );
        let bits = u64::from(u64::BITS);
        (self.shown, self.first_shown) = match self.shown {
            0 => (0, counter),
            // Seldom; then those that are too far ahead are forgotten.
            shown if back > 0 && back < bits => (shown << back, counter),
            shown if back == 0 && ahead < bits => (shown, self.first_shown),
            shown if back == 0 && ahead < 2 * bits - 1 => {
                let by = ahead - (bits - 1);
                (shown >> by, self.first_shown + by)
            }
            _ => (0, counter),
        };
        self.shown |= self.bit(counter);
    }

    fn bit(&self, counter: u64) -> u64 {
        let ahead = counter.checked_sub(self.first_shown);
        let ahead = ahead.and_then(|ahead| u32::try_from(ahead).ok());
        ahead
            .and_then(|ahead| 1u64.checked_shl(ahead))
            .unwrap_or_default()
    }
}

/// How often sources with a credit may guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Allowance {
    /// At once; 0: never, as even one guess a day is too much.
    size: u32,
    /// Milliseconds until there is one more.
    interval: u64,
}

/// The pairs of knocks, of `10^digits`, one of which opens the door at a time.
fn chances(door: &Door) -> u64 {
    let codes = match door.method {
        Method::Clock { skew, .. } => 2 * u64::from(skew) + 1,
        Method::Seed { look_ahead, .. } => u64::from(look_ahead).max(1),
        _ => 1,
    };
    // Over two protocols, only one order of any two knocks is a code's.
    let orders = match door.method.code() {
        Some(code) if code.order == Order::Any && code.protocols[0] == code.protocols[1] => 2,
        _ => 1,
    };
    codes * orders
}

/// The guesses, in thousandths, that may be made in a day.
fn guesses_per_day(door: &Door) -> u64 {
    let group = door
        .method
        .code()
        .map_or(0, |code| u64::from(code.digits.group()));
    group * group * 970 / ODDS_PER_DAY / chances(door)
}

/// The budgets for sources without a credit, with one and with two. Half of a day's guesses are for those without,
/// where that comes to two at least.
fn allowances(door: &Door) -> [Allowance; LEVELS] {
    let all = guesses_per_day(door);
    match all > 4000 {
        true => [allowance(all / 2), allowance(all / 4), allowance(all / 4)],
        false => [allowance(0), allowance(all), allowance(0)],
    }
}

/// What comes to so many thousandths of a guess in the first day, and to fewer in others: half of it at once.
fn allowance(share: u64) -> Allowance {
    if share < 1000 {
        return Allowance {
            size: 0,
            interval: DAY_MILLIS,
        };
    }
    let size = (share / 2000).max(1);
    Allowance {
        size: size as u32,
        interval: DAY_MILLIS * 1000 / (share - size * 1000).max(1),
    }
}

/// Whether the door asks for more than one code even where nobody guesses: one guess is worth too much.
pub fn asks_for_more(door: &Door) -> bool {
    door.method.code().is_some() && guesses_per_day(door) <= 4000
}

/// For how long a credit lives.
fn credit_life(door: &Door) -> Duration {
    match door.method {
        Method::Clock { period, .. } => {
            let period = Duration::from_secs(period.into());
            Duration::from_millis(2 * period.as_millis() + door.window.as_millis())
        }
        _ => SEED_CREDIT,
    }
}

/// Who guessed, and who has what right.
pub(crate) struct Guesses {
    of_door: [Guessed; MAX_DOORS],
    strays: [Note; STRAYS],
    credits: [Credit; CREDITS],
    halves: [Note; HALVES],
    /// The first of a door's places among the halves, one for each port of its codes.
    places: [u16; MAX_DOORS],
    /// The binary logarithm of how many halves a place has.
    place_size: u32,
    /// Nothing is remembered from then on.
    credits_until: Instant,
    halves_until: Instant,
}

/// A first half: of which code, and which of its halves.
#[derive(Clone, Copy)]
pub(crate) struct Half {
    pub(crate) door: usize,
    pub(crate) counter: u64,
    pub(crate) number: usize,
}

impl Guesses {
    pub(crate) const fn new() -> Self {
        Self {
            of_door: [Guessed::NONE; MAX_DOORS],
            strays: [Note::NONE; STRAYS],
            credits: [Credit {
                hash: 0,
                at: 0,
                counter: 0,
                door: 0,
                codes: 0,
            }; CREDITS],
            halves: [Note::NONE; HALVES],
            places: [0; MAX_DOORS],
            place_size: 0,
            credits_until: Instant::from_millis(0),
            halves_until: Instant::from_millis(0),
        }
    }

    /// Takes other doors; who came how far is forgotten.
    pub(crate) fn configure(&mut self, doors: &[Door]) {
        // What is never written takes no memory.
        let notes = self.strays.iter_mut().chain(&mut self.halves);
        notes
            .filter(|note| note.at != 0)
            .for_each(|note| *note = Note::NONE);
        let credits = self.credits.iter_mut();
        credits
            .filter(|credit| credit.at != 0)
            .for_each(|credit| credit.at = 0);
        self.credits_until = Instant::from_millis(0);
        self.halves_until = Instant::from_millis(0);
        let mut places = 0u16;
        for (door, place) in doors.iter().zip(&mut self.places) {
            let of_door = places_of(door);
            if of_door > 0 {
                *place = places;
            }
            places = places.saturating_add(of_door);
        }
        let places = usize::from(places).max(1).next_power_of_two();
        self.place_size = (HALVES / places).max(WAYS).ilog2();
    }

    /// Has what was guessed at one door count at the other, and the reverse.
    pub(crate) fn swap(&mut self, places: [usize; 2]) {
        if let Ok([one, other]) = self.of_door.get_disjoint_mut(places) {
            core::mem::swap(one, other);
        }
    }

    /// Forgets what was guessed at a door.
    pub(crate) fn forget(&mut self, index: usize) {
        let guessed = self.of_door.get_mut(index);
        if let Some(guessed) = guessed.filter(|guessed| guessed.wrong > 0 || guessed.shown > 0) {
            *guessed = Guessed::NONE;
        }
    }

    /// How many codes in a row open the door to a stranger; how many guesses were wrong, and since when.
    pub(crate) fn asked(&self, door: &Door, index: usize, now: Instant) -> (u8, u32, Instant) {
        let guessed = self.of_door.get(index).unwrap_or(&Guessed::NONE);
        (guessed.needed(door, 0, now), guessed.wrong, guessed.since)
    }

    /// The last code in a row that the source had right, and how many those are.
    pub(crate) fn credit(
        &self,
        door: &Door,
        index: usize,
        hash: u32,
        now: Instant,
    ) -> Option<(u64, u8)> {
        if now >= self.credits_until {
            return None;
        }
        let mut credits = self.credits.get(bucket(CREDITS, hash))?.iter();
        let credit = credits.find(|credit| credit.is(hash, index as u8))?;
        (since(credit.at, now) <= credit_life(door)).then_some((credit.counter, credit.codes))
    }

    /// How many codes in a row the door asks of a source with so many; one more than those: this one opens.
    pub(crate) fn needed(
        &self,
        door: &Door,
        index: usize,
        codes: u8,
        counter: u64,
        now: Instant,
    ) -> u8 {
        let Some(guessed) = self.of_door.get(index) else {
            return 1;
        };
        let needed = guessed.needed(door, codes, now);
        let is_shown = guessed.shown & guessed.bit(counter) != 0;
        match is_shown && codes < SHOWN_OPENS_AT {
            true => needed.max(codes + 2),
            false => needed,
        }
    }

    /// Notes that a source had a code right that does not open, which makes so many in a row.
    pub(crate) fn give(
        &mut self,
        door: &Door,
        index: usize,
        hash: u32,
        counter: u64,
        codes: u8,
        now: Instant,
    ) {
        if let Some(guessed) = self.of_door.get_mut(index) {
            guessed.show(counter);
        }
        self.credits_until = self.credits_until.max(now + credit_life(door));
        let given = Credit {
            hash,
            at: stamp(now).max(1),
            counter,
            door: index as u8,
            codes,
        };
        // Its own first, then a free one.
        let worth = |credit: &&mut Credit| match credit.at {
            _ if credit.is(hash, given.door) => (0, 0),
            0 => (0, 1),
            at => (credit.codes, u32::MAX - stamp(now).wrapping_sub(at)),
        };
        let credits = self.credits.get_mut(bucket(CREDITS, hash));
        if let Some(credit) = credits.unwrap_or_default().iter_mut().min_by_key(worth) {
            *credit = given;
        }
    }

    /// Takes a source's credit away.
    pub(crate) fn take(&mut self, index: usize, hash: u32) {
        let credits = self.credits.get_mut(bucket(CREDITS, hash));
        let mut credits = credits.unwrap_or_default().iter_mut();
        if let Some(credit) = credits.find(|credit| credit.is(hash, index as u8)) {
            credit.at = 0;
        }
    }

    /// Counts a guess of a source, which loses its credit.
    fn charge(&mut self, doors: &[Door], index: usize, hash: u32, is_half: bool, now: Instant) {
        let Some(door) = doors.get(index) else {
            return;
        };
        let credit = self
            .credit(door, index, hash, now)
            .map_or(0, |(_, codes)| codes);
        if credit > 0 {
            self.take(index, hash);
        }
        if let Some(guessed) = self.of_door.get_mut(index) {
            guessed.charge(door, credit, is_half, now);
        }
    }

    /// Whether the source has to be silent before its knocks are looked at.
    pub(crate) fn ignores(&self, index: usize, hash: u32, now: Instant) -> bool {
        let stray = self.find_stray(index, hash);
        stray.is_some_and(|stray| stray.is_recent(now, SILENCE))
    }

    fn find_stray(&self, index: usize, hash: u32) -> Option<&Note> {
        let mut strays = self.strays.get(bucket(STRAYS, hash))?.iter();
        strays.find(|stray| stray.is(hash, index as u8))
    }

    /// The knock of the source that began no code, and that the next one makes a guess.
    pub(crate) fn pending(
        &self,
        index: usize,
        hash: u32,
        now: Instant,
        within: Duration,
    ) -> Option<Port> {
        self.find_stray(index, hash)?.pending(now, within)
    }

    /// Notes a knock at the door's ports that begins no code, or is not looked at though it does; the next one makes it
    /// a guess.
    pub(crate) fn stray(
        &mut self,
        doors: &[Door],
        index: usize,
        hash: u32,
        (port, is_half): (Port, bool),
        now: Instant,
    ) {
        let known = self.find_stray(index, hash).copied();
        let is_guess = known.is_some_and(|known| self.settle(doors, &known, (port, is_half), now));
        // What is ignored is the first half of no guess.
        let counted = known
            .is_some_and(|known| known.is_recent(now, SILENCE) && (is_guess || known.port == 0));
        let number = if counted { 0 } else { port.number };
        self.note_stray(doors, index, hash, Port { number, ..port }, now);
    }

    /// Counts a guess where the source's knock before, this stray, was another.
    fn settle(
        &mut self,
        doors: &[Door],
        stray: &Note,
        (port, is_half): (Port, bool),
        now: Instant,
    ) -> bool {
        let index = usize::from(stray.door);
        let window = doors.get(index).map_or(SILENCE, |door| door.window);
        let pending = stray.pending(now, window);
        let is_guess = pending.is_some_and(|pending| pending != port);
        if is_guess {
            self.charge(doors, index, stray.tag, is_half, now);
        }
        is_guess
    }

    /// Notes a wrong second half after a right first.
    pub(crate) fn miss(
        &mut self,
        doors: &[Door],
        index: usize,
        hash: u32,
        port: Port,
        now: Instant,
    ) {
        self.charge(doors, index, hash, true, now);
        self.note_stray(doors, index, hash, Port { number: 0, ..port }, now);
    }

    fn note_stray(&mut self, doors: &[Door], index: usize, hash: u32, port: Port, now: Instant) {
        let note = Note {
            tag: hash,
            at: stamp(now).max(1),
            port: port.number,
            protocol: port.protocol,
            door: index as u8,
        };
        let strays = self.strays.get_mut(bucket(STRAYS, hash));
        let gone = put(strays.unwrap_or_default(), note, now);
        let door = usize::from(gone.door);
        let window = doors.get(door).map(|door| door.window).unwrap_or_default();
        if gone.port != 0 && gone.is_recent(now, window) {
            self.charge(doors, door, gone.tag, true, now);
        }
    }

    /// Forgets that the source's knocks began no code: this one does.
    pub(crate) fn begin(
        &mut self,
        doors: &[Door],
        index: usize,
        hash: u32,
        port: Port,
        now: Instant,
    ) {
        if let Some(stray) = self.find_stray(index, hash).copied() {
            self.settle(doors, &stray, (port, true), now);
            self.clear(index, hash);
        }
    }

    /// Forgets that the source's knocks began no code: they were no guess.
    pub(crate) fn clear(&mut self, index: usize, hash: u32) {
        let strays = self.strays.get_mut(bucket(STRAYS, hash));
        let mut strays = strays.unwrap_or_default().iter_mut();
        if let Some(stray) = strays.find(|stray| stray.is(hash, index as u8)) {
            *stray = Note::NONE;
        }
    }

    /// Whether first halves are remembered here.
    pub(crate) fn holds_halves(&self, now: Instant) -> bool {
        now < self.halves_until
    }

    /// Keeps a first half that the table of sources had no room for.
    pub(crate) fn keep_half(
        &mut self,
        door: &Door,
        half: Half,
        hash: u32,
        (at, source_port): (u32, u16),
        now: Instant,
    ) {
        self.halves_until = self.halves_until.max(now + door.window);
        let note = Note {
            tag: tag(hash, half.counter),
            at: at.max(1),
            port: source_port,
            protocol: Protocol::Tcp,
            door: half.door as u8,
        };
        let place = self.place(door, half, hash);
        _ = put(self.halves.get_mut(place).unwrap_or_default(), note, now);
    }

    /// When the source made this first half, and from which port, if it is remembered.
    pub(crate) fn find_half(
        &self,
        door: &Door,
        half: Half,
        hash: u32,
        now: Instant,
    ) -> Option<(u32, u16)> {
        let tag = tag(hash, half.counter);
        let mut halves = self.halves.get(self.place(door, half, hash))?.iter();
        let is_it =
            |note: &&Note| note.is(tag, half.door as u8) && note.is_recent(now, door.window);
        halves.find(is_it).map(|note| (note.at, note.port))
    }

    /// Forgets it.
    pub(crate) fn lose_half(&mut self, door: &Door, half: Half, hash: u32) {
        let tag = tag(hash, half.counter);
        let place = self.place(door, half, hash);
        let halves = self.halves.get_mut(place);
        let mut halves = halves.unwrap_or_default().iter_mut();
        if let Some(note) = halves.find(|note| note.is(tag, half.door as u8)) {
            *note = Note::NONE;
        }
    }

    /// Where this source's half stands, among those of its port: a flood at one port takes the place of none who began
    /// at another.
    fn place(&self, door: &Door, half: Half, hash: u32) -> Range<usize> {
        let codes = u32::from(places_of(door) / 2).max(1);
        let of_door = (half.counter as u32).checked_rem(codes).unwrap_or_default() as usize * 2;
        let first = self.places.get(half.door).copied().unwrap_or_default();
        let place = usize::from(first) + of_door + half.number;
        let start = place << self.place_size & (HALVES - 1);
        let bucket = bucket(1 << self.place_size, hash);
        start + bucket.start..start + bucket.end
    }
}

/// How many ports the codes have that are acceptable at the door at a time.
fn places_of(door: &Door) -> u16 {
    let codes = match door.method {
        Method::Clock { skew, .. } => 2 * u16::from(skew) + 1,
        // Those that whoever has two right in a row may go on with.
        Method::Seed { look_ahead, .. } => u16::from(look_ahead) + LEVELS as u16,
        _ => 0,
    };
    2 * codes
}

/// Of a source and a code.
fn tag(hash: u32, counter: u64) -> u32 {
    // 2^32 / golden ratio.
    hash ^ (counter as u32).wrapping_mul(0x9e37_79b9)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::code::{Algorithm, Code, Digits};
    use crate::door::Sequence;
    use crate::knock::tcp;

    /// Six times as many as a router reads.
    const GUESSES_PER_SECOND: f64 = 300_000.0;

    fn doors() -> Vec<Door> {
        let mut doors = Vec::new();
        for digits in [Digits::Six, Digits::Eight] {
            for order in [Order::Any, Order::Strict] {
                for second in [Protocol::Tcp, Protocol::Udp] {
                    let code = Code {
                        secret_file: "/secret".try_into().unwrap(),
                        algorithm: Algorithm::Sha1,
                        digits,
                        base: 10_000,
                        protocols: [Protocol::Tcp, second],
                        order,
                    };
                    let seeds = (1..=31).map(|look_ahead| Method::Seed {
                        code: code.clone(),
                        look_ahead,
                        close: Sequence::new(),
                    });
                    let clocks = (0..=10).map(|skew| Method::Clock {
                        code: code.clone(),
                        period: 30,
                        skew,
                        close: Sequence::new(),
                    });
                    let methods = seeds.chain(clocks);
                    doors.extend(methods.map(|method| Door::new("a", &[tcp(22)], method).unwrap()));
                }
            }
        }
        doors
    }

    /// Every guess that the budgets of a day let open, hits as often as it can, and what is guessed beyond them too.
    #[test]
    fn no_guesser_opens_any_door_more_often_than_one_day_in_ten_thousand() {
        for door in doors() {
            let group = f64::from(door.method.code().unwrap().digits.group());
            let hit = chances(&door) as f64 / (group * group);
            let mut guesses = GUESSES_PER_SECOND * 86_400.0;
            let mut chance = 0.0;
            for allowance in allowances(&door) {
                let refilled = DAY_MILLIS as f64 / allowance.interval as f64;
                let allowed = match allowance.size {
                    0 => 0.0,
                    size => f64::from(size) + refilled,
                };
                chance += allowed.min(guesses) * hit;
                // Those that were right have a credit more, and guess on.
                guesses *= hit;
            }
            chance += guesses * hit;
            assert!(
                chance <= 1.0 / ODDS_PER_DAY as f64,
                "{chance} {:?}",
                door.method
            );
        }
    }

    /// The table of docs/methods.md.
    #[test]
    fn what_doors_have_by_default() {
        let of = |wanted: &dyn Fn(&Method) -> bool| {
            let is_it = |door: &Door| {
                let code = door.method.code().unwrap();
                code.order == Order::Any
                    && code.protocols == [Protocol::Tcp; 2]
                    && wanted(&door.method)
            };
            let found = doors().into_iter().filter(is_it);
            let hours = |allowance: Allowance| (allowance.size, allowance.interval / 3_600_000);
            found
                .map(|door| allowances(&door).map(hours))
                .collect::<Vec<_>>()
        };
        let clock = of(&|method| matches!(method, Method::Clock { skew: 1, .. }));
        let seed = of(&|method| matches!(method, Method::Seed { look_ahead: 10, .. }));
        assert_eq!(
            clock,
            [[(4, 5), (2, 11), (2, 11)], [(404, 0), (202, 0), (202, 0)],]
        );
        assert_eq!(
            seed,
            [[(1, 16), (1, 113), (1, 113)], [(121, 0), (60, 0), (60, 0)],]
        );
        let ask = |door: &Door| asks_for_more(door) == (chances(door) >= 25);
        let six = |door: &Door| door.method.code().unwrap().digits == Digits::Six;
        assert!(
            doors()
                .iter()
                .all(|door| !six(door) && !asks_for_more(door) || ask(door))
        );
    }

    #[test]
    fn counters_are_remembered_near_the_last() {
        let mut guessed = Guessed::NONE;
        let is_shown = |guessed: &Guessed, counter| guessed.shown & guessed.bit(counter) != 0;
        for counter in [100, 103, 90, 170, 160] {
            guessed.show(counter);
            assert!(is_shown(&guessed, counter), "{counter}");
        }
        assert!(!is_shown(&guessed, 100) && !is_shown(&guessed, 171));
        guessed.show(10_000);
        assert!(is_shown(&guessed, 10_000) && !is_shown(&guessed, 170));
        guessed.show(1);
        assert!(is_shown(&guessed, 1) && !is_shown(&guessed, 10_000));
    }
}
