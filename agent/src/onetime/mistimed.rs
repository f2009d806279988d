//! Wrong codes, looked at again: one that would be right at another time tells of a wrong clock, and
//! is no guess.
//!
//! Where knocks are handled, a wrong one is only kept in mind: of [`MAX_SOURCES`] sources, the last
//! [`MAX_KNOCKS_PER_SOURCE`]. A newcomer takes the place of a source with a single knock, the one that was heard of
//! longest ago; those with two or more keep theirs until they were looked at, and where all have two,
//! the newcomer is not looked at. Nor is who knocks on and on: that is a scan.
//!
//! Between knocks, codes of the day before and the day after are computed and compared, [`CODES_PER_SLICE`] at a
//! turn, and over time no more than [`SLICE_INTERVAL`] allows, whatever is knocked, at however many doors.
//!
//! Among random guesses one in 175 is a code of these two days. So a code is forgiven, which means that
//! it does not count as a failure, if it was used already, if one of the same lead was seen before, and
//! otherwise as often as [`STRANGE_CODE_BURST`] and [`STRANGE_CODE_INTERVAL`] allow at a door. A code
//! whose time is to come is not accepted when it comes: it was shown to whoever listens, and whoever
//! guessed it could have learned from being forgiven that it is one. At other doors that were shown it, as they
//! listen to the same ports, it is forgiven no more often than a code that nothing speaks for: whoever saw codes
//! of this door being used could try those there for ever.

use core::iter;
use core::net::IpAddr;
use core::ops::Range;

use heapless::Vec as Bounded;
use postern_core::door::{Door, DoorSet, Method, Order};
use postern_core::engine::{Decision, Engine, Outcome};
use postern_core::knock::{Knock, Port, Protocol};
use postern_core::method::watches;
use postern_core::time::{Duration, Instant};

use super::otp::{Digest, step};
use super::resync::SEARCHED_CODES;
use super::wall_clock::{WallClock, utc};
use super::{Keeper, Material, Memory, NO_TIME_STEP, OneTime};
use crate::collect::CollectVec;
use crate::output::span;
use crate::token_bucket::TokenBucket;

/// Sources that are kept in mind.
const MAX_SOURCES: usize = 32;
/// Knocks of each.
const MAX_KNOCKS_PER_SOURCE: usize = 8;

/// Codes that are computed in a turn: about a millisecond on a slow router.
pub(super) const CODES_PER_SLICE: u64 = 64;
/// As many of them are those where an owner's code is likely to be.
const LIKELY_CODES_PER_SLICE: u64 = 8;
/// Slices at once: enough to look through two days of codes of 30 s four times.
pub(super) const SLICE_BURST: u32 = 180;
/// One more slice each.
pub(super) const SLICE_INTERVAL: Duration = Duration::from_millis(200);

const DAY: Duration = Duration::from_secs(86_400);
/// A clock whose distance to the time since boot changes by more was set.
const MIN_CLOCK_STEP_MS: u64 = 60_000;
/// Periods by which people take longer to type one code than another.
const LEAD_TOLERANCE_PERIODS: u64 = 2;

/// Codes of times that nothing speaks for yet: so many are forgiven at a door, and one more each hour.
pub(super) const STRANGE_CODE_BURST: u32 = 3;
pub(super) const STRANGE_CODE_INTERVAL: Duration = Duration::from_secs(3600);
/// Lines of the log about other codes at a door; about knocks in vain, only one at once.
const LINE_BURST: u32 = 3;
const LINE_INTERVAL: Duration = Duration::from_secs(600);

/// Codes shown before their time that are remembered, for each door; then the oldest is forgotten.
const MAX_SHOWN_CODES: usize = 32;

/// Who knocked wrongly of late.
pub(super) struct Suspects {
    suspects: Vec<Suspect>,
    budget: TokenBucket,
    wait_until: Instant,
    /// Whose turn it was last.
    turn: usize,
}

struct Suspect {
    source: IpAddr,
    /// By its index.
    door: usize,
    knocks: Bounded<Noted, MAX_KNOCKS_PER_SOURCE>,
    heard_at: Instant,
    /// How many codes these knocks are still to be compared with, at most.
    left: u64,
}

#[derive(Clone, Copy)]
struct Noted {
    port: Port,
    source_port: u16,
    at: Instant,
    /// The doors at which it was counted as a failure.
    failed: DoorSet,
    /// Whether it is known of what code it is.
    is_known: bool,
}

/// What a keeper knows of codes that came at a wrong time.
pub(super) struct Mistimed {
    pub(super) hint: Option<Hint>,
    /// Counters of codes that were shown before their time.
    pub(super) shown: Vec<u64>,
    strange: TokenBucket,
    elsewhere: TokenBucket,
    lines: TokenBucket,
    calls: TokenBucket,
    /// Who knocked while nothing opens the door.
    called: Option<IpAddr>,
    /// The code to compare with next, while somebody is looked at.
    cursor: Option<u64>,
}

/// A code of another time.
#[derive(Clone, Copy)]
pub(super) struct Hint {
    source: IpAddr,
    counter: u64,
    /// By how many periods it is ahead of the clock.
    lead: i64,
    at: Instant,
    /// By the clock, when the machine started.
    booted: u64,
    /// Two codes have this lead.
    is_sure: bool,
    /// People were told.
    is_told: bool,
}

/// Two knocks that are a code.
struct Found {
    source: IpAddr,
    counter: u64,
    at: Instant,
    /// The doors at which each of them counted as a failure.
    failed: [DoorSet; 2],
}

impl Found {
    fn failures_at(&self, door: usize) -> u16 {
        let [one, other] = self.failed;
        u16::from(one.contains(door)) + u16::from(other.contains(door))
    }
}

/// A wrong clock, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClockHint {
    /// By how many seconds it is ahead.
    pub(crate) ahead: i64,
    pub(crate) text: String,
}

impl OneTime {
    /// Keeps a knock in mind that was not the one expected.
    pub(crate) fn note(
        &mut self,
        doors: &[Door],
        knock: &Knock<'_>,
        decision: &Decision,
        now: Instant,
    ) {
        if !matches!(decision.outcome, Outcome::Wrong | Outcome::Advanced) {
            return;
        }
        for keeper in &mut self.keepers {
            let Some(door) = doors.get(keeper.index) else {
                continue;
            };
            if !door.hears(knock.source) || !keeper.hears(door, knock) {
                continue;
            }
            if keeper.opens_nothing {
                let Mistimed { called, calls, .. } = &mut keeper.mistimed;
                if called.is_none() && calls.take(now) {
                    *called = Some(knock.source);
                }
            } else if door.method.code().is_some() {
                let failed = decision.failed;
                (self.suspects).note(door, keeper.index, knock, failed, now);
            }
        }
    }

    /// When [`OneTime::look_again`] has something to do.
    pub(crate) fn look_again_at(&self) -> Option<Instant> {
        let is_called = |keeper: &Keeper| keeper.mistimed.called.is_some();
        if self.keepers.iter().any(is_called) {
            return Some(Instant::default());
        }
        let is_pending = self.suspects.suspects.iter().any(Suspect::is_pending);
        is_pending.then_some(self.suspects.wait_until)
    }

    /// Compares what was noted with some more codes. Returns those whose cut-off is over by that.
    pub(crate) fn look_again<const N: usize>(
        &mut self,
        engine: &mut Engine<N>,
        now: Instant,
        clock: &WallClock,
    ) -> Vec<IpAddr> {
        for keeper in &mut self.keepers {
            if let Some(source) = keeper.mistimed.called.take() {
                let waits = keeper.waits(engine.doors(), clock);
                let why: Vec<String> = keeper.shut.clone().into_iter().chain(waits).collect_vec();
                let ((name, _), why) = (&keeper.known_as, why.join("; "));
                (self.notices).push(format!("door {name}: {source} knocks in vain: {why}"));
            }
        }
        let mut lifted = Vec::new();
        let (doors, suspects) = (engine.doors(), &mut self.suspects);
        let Some(keeper) = suspects.next(&mut self.keepers) else {
            return lifted;
        };
        if !suspects.budget.take(now) {
            suspects.wait_until = suspects.budget.next_at();
            return lifted;
        }
        let (Some(door), index) = (doors.get(keeper.index), keeper.index) else {
            return lifted;
        };
        (keeper.mistimed.hint).take_if(|hint| !hint.is_fresh(now, clock));
        let mut found = keeper.look(door, suspects, clock);
        if !found.is_empty() && self.keep_time_at.is_some() {
            // If the clock was set, other codes are right now.
            self.keep_time_at = Some(now);
        }
        found.retain(|found| keeper.forgives(door, found, now, clock, &mut self.notices));
        for found in found {
            let mut elsewhere = match keeper.mistimed.elsewhere.take(now) {
                true => found.failed.into_iter().fold(DoorSet::EMPTY, DoorSet::or),
                false => DoorSet::EMPTY,
            };
            elsewhere.remove(index);
            let mut is_lifted = false;
            for door in iter::once(index).chain(elsewhere) {
                let failures = (found.failures_at(door), found.at);
                is_lifted |= engine.retract(found.source, door, failures, now);
            }
            if is_lifted {
                lifted.push(found.source);
            }
        }
        lifted
    }
}

impl Suspects {
    fn note(
        &mut self,
        door: &Door,
        index: usize,
        knock: &Knock<'_>,
        failed: DoorSet,
        now: Instant,
    ) {
        let known = (self.suspects.iter())
            .position(|known| known.source == knock.source && known.door == index);
        let Some(suspect) = known
            .or_else(|| self.make_room(knock.source, index))
            .and_then(|position| self.suspects.get_mut(position))
        else {
            return;
        };
        if now.since(suspect.heard_at) > door.window && !suspect.is_pending() {
            suspect.knocks.clear();
        }
        suspect.heard_at = now;
        let is_known =
            |noted: &Noted| (noted.port, noted.source_port) == (knock.port, knock.source_port);
        if suspect.knocks.iter().any(is_known) {
            return;
        }
        let mut is_scan = false;
        if suspect.knocks.is_full() {
            is_scan = !suspect.knocks.iter().any(|noted| noted.is_known);
            suspect.knocks.remove(0);
        }
        _ = suspect.knocks.push(Noted {
            port: knock.port,
            source_port: knock.source_port,
            at: now,
            failed,
            is_known: false,
        });
        suspect.left = match suspect.knocks.len() {
            _ if is_scan => 0,
            0 | 1 => 0,
            _ => u64::MAX,
        };
    }

    /// A place for a source that was not heard of.
    fn make_room(&mut self, source: IpAddr, door: usize) -> Option<usize> {
        let newcomer = Suspect {
            source,
            door,
            knocks: Bounded::new(),
            heard_at: Instant::default(),
            left: 0,
        };
        if self.suspects.len() < MAX_SOURCES {
            self.suspects.push(newcomer);
            return self.suspects.len().checked_sub(1);
        }
        let places = self.suspects.iter().enumerate();
        let idle = places.filter(|(_, suspect)| !suspect.is_pending());
        let (position, _) = idle.min_by_key(|(_, suspect)| suspect.heard_at)?;
        *self.suspects.get_mut(position)? = newcomer;
        Some(position)
    }

    /// The next door in turn at which somebody is to be looked at.
    fn next<'k>(&mut self, keepers: &'k mut [Keeper]) -> Option<&'k mut Keeper> {
        let is_next = |keeper: &Keeper| {
            let mut pending = self.suspects.iter().filter(|suspect| suspect.is_pending());
            pending.any(|suspect| suspect.door == keeper.index)
        };
        let after = keepers.iter().skip(self.turn + 1).position(is_next);
        let position = after.map(|offset| self.turn + 1 + offset);
        let position = position.or_else(|| keepers.iter().position(is_next))?;
        self.turn = position;
        keepers.get_mut(position)
    }
}

impl Default for Suspects {
    fn default() -> Self {
        Self {
            suspects: Vec::new(),
            budget: TokenBucket::new(SLICE_BURST, SLICE_INTERVAL, Instant::default()),
            wait_until: Instant::default(),
            turn: 0,
        }
    }
}

impl Default for Mistimed {
    fn default() -> Self {
        let codes = || {
            TokenBucket::new(
                STRANGE_CODE_BURST,
                STRANGE_CODE_INTERVAL,
                Instant::default(),
            )
        };
        Self {
            hint: None,
            shown: Vec::new(),
            strange: codes(),
            elsewhere: codes(),
            lines: TokenBucket::new(LINE_BURST, LINE_INTERVAL, Instant::default()),
            calls: TokenBucket::new(1, LINE_INTERVAL, Instant::default()),
            called: None,
            cursor: None,
        }
    }
}

impl Suspect {
    const fn is_pending(&self) -> bool {
        self.left > 0
    }

    /// Whether no two knocks in a row are left of which it is not known what they are.
    fn is_done(&self) -> bool {
        let mut pairs = self.knocks.windows(2);
        pairs.all(|pair| pair.iter().any(|noted| noted.is_known))
    }

    /// Takes two knocks in a row that are this code.
    fn find(
        &mut self,
        counter: u64,
        code: [Port; 2],
        order: Order,
        window: Duration,
    ) -> Option<Found> {
        let [first, second] = code;
        let source = self.source;
        let mut rest = self.knocks.as_mut_slice();
        while let [one, others @ ..] = rest {
            if let [other, ..] = others
                && !one.is_known
                && !other.is_known
                && other.at.since(one.at) <= window
                && ([one.port, other.port] == code
                    || order == Order::Any && [one.port, other.port] == [second, first])
            {
                (one.is_known, other.is_known) = (true, true);
                return Some(Found {
                    source,
                    counter,
                    at: one.at,
                    failed: [one.failed, other.failed],
                });
            }
            rest = others;
        }
        None
    }
}

impl Keeper {
    /// Whether the knock can be one for this door.
    fn hears(&self, door: &Door, knock: &Knock<'_>) -> bool {
        let is_listed = match &self.material {
            Ok(Material::List(list)) => list.ports().contains(&knock.port),
            _ => false,
        };
        let is_dressed = match &door.payload {
            Some(payload) if knock.port.protocol == Protocol::Udp => payload.matches(knock.payload),
            _ => true,
        };
        is_dressed && (is_listed || watches(door, knock.port))
    }

    /// The first that was not used.
    pub(super) fn next(&self) -> Option<u64> {
        match self.memory {
            Memory::Next(next) | Memory::Everything(next) if next != NO_TIME_STEP => Some(next),
            _ => None,
        }
    }

    /// The counters of codes that a wrong one may be.
    fn searched(&self, door: &Door, clock: &WallClock) -> Option<Range<u64>> {
        match &door.method {
            Method::Clock { period, .. } => {
                let (now, day) = (step(clock.millis, *period), step(DAY.as_millis(), *period));
                Some(now.saturating_sub(day)..now.saturating_add(day + 1))
            }
            Method::Seed { look_ahead, .. } => {
                let next = self.next()?;
                let ahead = SEARCHED_CODES + u64::from(*look_ahead);
                Some(next.saturating_sub(SEARCHED_CODES)..next.saturating_add(ahead))
            }
            _ => None,
        }
    }

    /// Compares what was knocked at this door with a slice of codes.
    fn look(&mut self, door: &Door, suspects: &mut Suspects, clock: &WallClock) -> Vec<Found> {
        let mut all = suspects.suspects.iter_mut();
        let mut found = Vec::new();
        let (Ok(Material::Secret(secret)), Some(range), Some(code), false) = (
            &self.material,
            self.searched(door, clock),
            door.method.code(),
            self.opens_nothing,
        ) else {
            all.filter(|suspect| suspect.door == self.index)
                .for_each(|suspect| suspect.left = 0);
            return found;
        };
        let mut pending: Vec<&mut Suspect> = (all.by_ref())
            .filter(|suspect| suspect.door == self.index && suspect.is_pending())
            .collect_vec();
        let length = range.end - range.start;
        for suspect in &mut pending {
            suspect.left = suspect.left.min(length);
        }
        let middle = self.likely(&range, door);
        let mut cursor = self.mistimed.cursor.unwrap_or_default();
        for turn in 0..CODES_PER_SLICE.min(length) {
            // Whoever came while others are looked at is compared with the likely codes too.
            let next = if turn < LIKELY_CODES_PER_SLICE {
                turn % length
            } else {
                cursor
            };
            let counter = range.start + around(middle, next, length);
            let digest = Digest::new(code.algorithm, secret.bytes(), counter);
            if let Some(knocks) = code.knocks(digest.as_bytes()) {
                for suspect in &mut pending {
                    while let Some(pair) = suspect.find(counter, knocks, code.order, door.window) {
                        found.push(pair);
                    }
                }
            }
            if turn >= LIKELY_CODES_PER_SLICE {
                cursor = (cursor + 1) % length;
            }
        }
        let mut goes_on = false;
        for suspect in pending {
            suspect.left = match suspect.is_done() {
                true => 0,
                false => suspect
                    .left
                    .saturating_sub(CODES_PER_SLICE - LIKELY_CODES_PER_SLICE),
            };
            goes_on |= suspect.is_pending();
        }
        self.mistimed.cursor = goes_on.then_some(cursor);
        found
    }

    /// Where in the range the code of an owner is found soon: at the lead of his last, or at those just
    /// used.
    fn likely(&self, range: &Range<u64>, door: &Door) -> u64 {
        let lead = self.mistimed.hint.map_or(0, |hint| hint.lead);
        let middle = match door.method {
            Method::Seed { .. } => self.next().unwrap_or_default() - range.start,
            _ => (range.end - range.start) / 2,
        };
        middle.saturating_add_signed(lead)
    }

    /// Whether the code that was found is to count as no failure. Says what it tells.
    fn forgives(
        &mut self,
        door: &Door,
        found: &Found,
        now: Instant,
        clock: &WallClock,
        notices: &mut Vec<String>,
    ) -> bool {
        let (
            Some(next),
            Found {
                source, counter, ..
            },
        ) = (self.next(), found)
        else {
            return false;
        };
        // One that was shown before its time is as good as used.
        let is_used = *counter < next || self.mistimed.shown.contains(counter);
        let mut about = match self.memory {
            Memory::Next(_) => "that was used or shown already, or one after it was".into(),
            _ => "of before its memory begins, which may have been used".to_owned(),
        };
        match door.method {
            Method::Clock { period, skew, .. } => {
                let knocked = clock.millis.saturating_sub(now.since(found.at).as_millis());
                let lead = counter.wrapping_sub(step(knocked, period)).cast_signed();
                if lead.unsigned_abs() > u64::from(skew) {
                    return self.forgives_strange(door, found, lead, now, clock, notices);
                }
            }
            Method::Seed { look_ahead, .. }
                if *counter >= next.saturating_add(look_ahead.into()) =>
            {
                about = format!(
                    "that is {} ahead of the next: 'postern resync {} --code CODE,NEXT' takes two of your app",
                    counter - next,
                    door.name
                );
            }
            _ => {}
        }
        // The clock was set, and this is right now, or it was knocked by somebody who is too slow. Nobody
        // guesses that.
        if !is_used && matches!(door.method, Method::Clock { .. }) {
            return true;
        }
        if self.mistimed.lines.take(now) {
            let waits = self.waits_at(door, clock);
            let waits = waits.map(|waits| format!("; {waits}")).unwrap_or_default();
            notices.push(format!(
                "door {}: {source} knocked a code {about}{waits}",
                door.name
            ));
        }
        is_used
    }

    /// Whether a wrong code is forgiven although it is of another time.
    fn forgives_strange(
        &mut self,
        door: &Door,
        found: &Found,
        lead: i64,
        now: Instant,
        clock: &WallClock,
        notices: &mut Vec<String>,
    ) -> bool {
        let Found {
            source, counter, ..
        } = *found;
        let mistimed = &mut self.mistimed;
        if lead > 0 && !mistimed.shown.contains(&counter) {
            if mistimed.shown.len() >= MAX_SHOWN_CODES {
                mistimed.shown.remove(0);
            }
            mistimed.shown.push(counter);
        }
        let before = mistimed.hint.filter(|hint| hint.is_fresh(now, clock));
        let alike = before.filter(|hint| hint.lead.abs_diff(lead) <= LEAD_TOLERANCE_PERIODS);
        // Knocked again, and its time comes nearer: whoever does that has but one.
        let same = before.is_some_and(|hint| hint.counter == counter);
        let forgives = alike.is_some() || !same && mistimed.strange.take(now);
        match (alike, before) {
            (Some(_), _) if same => return true,
            (None, Some(hint)) if !forgives && (same || hint.is_sure) => return false,
            _ => {}
        }
        let mut hint = Hint {
            source,
            counter,
            lead,
            at: found.at,
            booted: booted(now, clock),
            is_sure: alike.is_some(),
            is_told: forgives,
        };
        let is_news = forgives && alike.is_none_or(|before| !before.is_sure || !before.is_told);
        if let Some(alike) = alike {
            hint.lead = alike.lead;
        }
        mistimed.hint = Some(hint);
        if is_news && let Some(ClockHint { text, .. }) = self.clock_hint(door, now, clock) {
            notices.push(format!("door {}: {text}", door.name));
        }
        forgives
    }

    /// What codes of another time tell of the clock.
    pub(super) fn clock_hint(
        &self,
        door: &Door,
        now: Instant,
        clock: &WallClock,
    ) -> Option<ClockHint> {
        let Method::Clock { period, .. } = door.method else {
            return None;
        };
        let hint = self.mistimed.hint?;
        if !hint.is_told || !hint.is_fresh(now, clock) {
            return None;
        }
        // Typing a code takes a while, in which it grows old.
        let (of, side, typing) = match hint.lead > 0 {
            true => ("from now", "behind", 59),
            false => ("ago", "ahead", 0),
        };
        let seconds = hint.lead.unsigned_abs().saturating_mul(period.into());
        let seconds = match seconds {
            3600.. => (seconds + typing) / 60 * 60,
            few => few,
        };
        let by = span(Duration::from_secs(seconds)).to_string();
        let source = hint.source;
        let text = match hint.is_sure {
            true => format!(
                "the codes that {source} knocks are of {by} {of}: this machine's clock seems {by} {side}."
            ),
            false => format!(
                "the code that {source} knocked is of {by} {of}: is this machine's clock {by} {side}?"
            ),
        };
        Some(ClockHint {
            ahead: seconds.cast_signed() * -hint.lead.signum(),
            text: format!("{text} 'date -u' says {}", utc(clock.millis)),
        })
    }

    /// From when on codes count, if the present one does not.
    pub(super) fn waits(&self, doors: &[Door], clock: &WallClock) -> Option<String> {
        self.waits_at(doors.get(self.index)?, clock)
    }

    pub(super) fn waits_at(&self, door: &Door, clock: &WallClock) -> Option<String> {
        let Method::Clock { period, .. } = door.method else {
            return None;
        };
        let from = self.next()?.saturating_mul(u64::from(period) * 1000);
        let left = from.checked_sub(clock.millis).filter(|left| *left > 0)?;
        if self.material.is_err() || clock.distrust.is_some() {
            return None;
        }
        let why = match self.memory {
            Memory::Next(_) => "all before that are used",
            _ => "of those before that nothing is known, as after a first start",
        };
        // Whole seconds, and not too early.
        let left = span(Duration::from_secs(left.div_ceil(1000)));
        Some(format!(
            "codes count from {} on, in {left}: {why}",
            utc(from)
        ))
    }
}

impl Hint {
    /// Whether it still tells something: it does not once the clock was set.
    fn is_fresh(&self, now: Instant, clock: &WallClock) -> bool {
        now.since(self.at) <= DAY && self.booted.abs_diff(booted(now, clock)) <= MIN_CLOCK_STEP_MS
    }
}

impl Mistimed {
    /// Goes on with what the door's former keeper knew.
    pub(super) fn after(&mut self, former: &Self) {
        self.hint = former.hint;
        self.shown.clone_from(&former.shown);
    }
}

/// The steps of a range from the middle to both sides, and on from the other end where one side is
/// longer: each is met once.
pub(super) const fn around(middle: u64, cursor: u64, length: u64) -> u64 {
    let distance = cursor.div_ceil(2);
    let place = match cursor % 2 {
        0 => middle % length + distance,
        _ => middle % length + length - distance,
    };
    place % length
}

const fn booted(now: Instant, clock: &WallClock) -> u64 {
    clock.millis.saturating_sub(now.as_millis())
}
