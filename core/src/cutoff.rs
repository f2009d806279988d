//! Brute-force cut-off: who fails too often at a door is not listened to for a while.
//!
//! A *failure* is an attempt that ended because of its knocks and did nothing, once however many of its knocks were
//! wrong:
//!
//! - a knock came that was not the one expected, at any door that listens to its port: wrong port of a sequence or a
//!   code, too far ahead, or not dressed as the door requires. A knock with which no attempt can begin, while none is
//!   under way, is an attempt of its own;
//! - a knock was overtaken and did not follow within the jitter. That is noticed when the source knocks again, or
//!   when the window has passed.
//!
//! No failures are: an attempt in order that is given up, as when its last packets are lost; a hit at a decoy, though
//! it ends an attempt, for there may be a service; a retransmission of what has failed already; knocks that come
//! too late for an attempt that has failed; knocks at a one-time door while nothing opens it; and what is taken
//! back because it was a code of another time. A success forgives the failures at its door. This, counted for each
//! door, is what [`Decision::failed`](crate::engine::Decision::failed),
//! [`Counters::failed`](crate::engine::Counters::failed) and the cut-off go by.
//!
//! Failures are counted for each source at each door; a source that is cut off is heard at
//! none. A source is an IPv4 address or an IPv6 /64, because whoever has one IPv6 address
//! has all of its /64 (RFC 6177).
//!
//! When the table is full, a source that begins to fail takes the place of one that is cut off, whom the kernel drops
//! already, and where there is none, of the one that has been failing longest. So there is room for everybody, and
//! whoever forges enough addresses can make the engine forget failures, a real address's guesses too: what bounds
//! those for codes is counted for each door, over all sources (`guesses.rs`).

use crate::door::Cutoff;
use crate::knock::{Knock, Protocol};
use crate::method::stamp;
use crate::table::{Entry, HashedSource, Table, Worth};
use crate::time::{Duration, Instant};

/// How many failing sources are remembered.
const MAX_FAILING_SOURCES: usize = 1024;
/// Failed knocks that are known again when they are retransmitted.
const RECENT_KNOCKS: usize = 4;
/// Retransmissions that are forgiven. TCP sends a SYN that is not answered about twice within
/// the time that people wait; a scanner that always knocks from the same port does so for ever.
const MAX_RETRANSMISSIONS: u8 = 2 * RECENT_KNOCKS as u8;
/// The number under which it is kept that a source is cut off; no door has it.
const EVERY_DOOR: u8 = u8::MAX;
/// The count of a source that is cut off: more than any configuration allows for.
const CUT_OFF: u16 = u16::MAX;
/// What is over is looked for this often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
struct Failures {
    /// When the first failure came, or the cut-off began.
    began: u32,
    /// Milliseconds for which this holds.
    span: u32,
    /// 0 where nothing failed, or all was taken back.
    count: u16,
    /// Of the last failed knocks, the port and that which they came from.
    recent: [u32; RECENT_KNOCKS],
    /// And their protocols, two bits each; 0: there is none.
    protocols: u8,
    /// How many knocks were taken for retransmissions of those.
    repeats: u8,
}

impl Failures {
    const fn hold(&self, now: u32) -> bool {
        now.wrapping_sub(self.began) <= self.span
    }

    /// Whether the knock is one of the last that failed, and may be once more.
    fn retransmits(&self, knock: &Knock<'_>) -> bool {
        let mut protocols = self.protocols;
        self.repeats < MAX_RETRANSMISSIONS
            && self.recent.iter().any(|recent| {
                let is_same = *recent == ports(knock) && protocols & 3 == protocol(knock);
                protocols >>= 2;
                is_same
            })
    }

    fn note(&mut self, knock: &Knock<'_>) {
        self.recent.rotate_right(1);
        if let Some(latest) = self.recent.first_mut() {
            *latest = ports(knock);
        }
        self.protocols = self.protocols << 2 | protocol(knock);
    }

    fn begun(now: Instant, within: Duration) -> Self {
        Self {
            began: stamp(now),
            span: u32::try_from(within.as_millis()).unwrap_or(u32::MAX),
            count: 1,
            recent: [0; RECENT_KNOCKS],
            protocols: 0,
            repeats: 0,
        }
    }
}

impl Entry for Failures {
    const VACANT: Self = Self {
        began: 0,
        span: 0,
        count: 0,
        recent: [0; RECENT_KNOCKS],
        protocols: 0,
        repeats: 0,
    };

    fn is_vacant(&self) -> bool {
        self.count == 0 && self.span == 0
    }

    fn worth(&self, now: u32) -> Worth {
        let rank = match self.count {
            _ if !self.hold(now) => 0,
            0 => 0,
            CUT_OFF => 1,
            _ => 2,
        };
        Worth::new(rank, self.began, now)
    }
}

/// What a failure comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fail {
    /// It was counted before.
    Repeated,
    /// It counts.
    Counted,
    /// It was one too many: its source is cut off from now on.
    CutOff,
}

/// Who failed how often.
pub(crate) struct Cutoffs {
    failures: Table<Failures, MAX_FAILING_SOURCES>,
    sweep_at: Option<Instant>,
}

impl Cutoffs {
    pub(crate) const fn new() -> Self {
        Self {
            failures: Table::new(),
            sweep_at: None,
        }
    }

    /// Whether the source is cut off.
    pub(crate) fn silences(&self, source: &HashedSource, now: Instant) -> bool {
        if self.is_empty() {
            return false;
        }
        (self.failures.find(source, EVERY_DOOR)).is_some_and(|cut_off| cut_off.hold(stamp(now)))
    }

    /// Counts a failure at a door. A knock that is retransmitted counts once.
    pub(crate) fn fail(
        &mut self,
        source: &HashedSource,
        door: u8,
        knock: Option<&Knock<'_>>,
        cutoff: Option<Cutoff>,
        now: Instant,
    ) -> Fail {
        let within = cutoff.map_or(SWEEP_INTERVAL, |cutoff| cutoff.within);
        let known = self.failures.find(source, door).copied();
        let mut failures = match known.filter(|failures| failures.hold(stamp(now))) {
            None => Failures::begun(now, within),
            Some(mut failures) if knock.is_some_and(|knock| failures.retransmits(knock)) => {
                failures.repeats += 1;
                self.store(source, door, failures, now);
                return Fail::Repeated;
            }
            Some(failures) => Failures {
                count: failures.count.saturating_add(1).min(CUT_OFF - 1),
                ..failures
            },
        };
        if let Some(knock) = knock {
            failures.note(knock);
        }
        let is_one_too_many = cutoff.is_some_and(|cutoff| failures.count >= cutoff.failures);
        if is_one_too_many {
            failures = Failures::VACANT;
            let mut cut_off = Failures::begun(now, within);
            cut_off.count = CUT_OFF;
            // Which door did it.
            cut_off.recent = [u32::from(door); RECENT_KNOCKS];
            self.store(source, EVERY_DOOR, cut_off, now);
        }
        self.store(source, door, failures, now);
        match is_one_too_many {
            true => Fail::CutOff,
            false => Fail::Counted,
        }
    }

    /// Takes back failures at a door that turned out to be none; whether that ends a cut-off of this door's, which
    /// none but these can have led to if it did not begin before `since`, when the first of them came.
    pub(crate) fn retract(
        &mut self,
        source: &HashedSource,
        door: u8,
        cutoff: Option<Cutoff>,
        (count, since): (u16, Instant),
        now: Instant,
    ) -> bool {
        let began_since = |cut_off: &Failures| {
            let began = cut_off.began.wrapping_sub(stamp(since));
            let is_its = cut_off.recent.first() == Some(&u32::from(door));
            cutoff.is_some() && is_its && began <= stamp(now).wrapping_sub(stamp(since))
        };
        let cut_off = self.failures.find_mut(source, EVERY_DOOR);
        let cut_off = cut_off.filter(|cut_off| cut_off.hold(stamp(now)) && began_since(cut_off));
        let ended = cut_off
            .map(|cut_off| *cut_off = Failures::VACANT)
            .and(cutoff);
        let known = self.failures.find(source, door).copied();
        let failures = match (ended, known.filter(|failures| failures.hold(stamp(now)))) {
            (Some(cutoff), _) => Failures {
                count: cutoff.failures,
                ..Failures::begun(now, cutoff.within)
            },
            (None, Some(failures)) => failures,
            (None, None) => return false,
        };
        // What was taken back may be retransmitted, which is to be known even where nothing is left.
        let failures = Failures {
            count: failures.count.saturating_sub(count),
            repeats: 0,
            ..failures
        };
        self.store(source, door, failures, now);
        ended.is_some()
    }

    /// Lifts the cut-off of a source, and forgets its failures at all doors; whether it was cut off.
    pub(crate) fn pardon(&mut self, source: &HashedSource, now: Instant) -> bool {
        let was_cut_off = self.silences(source, now);
        self.failures.revise_all(&mut |whose, door, failures| {
            if *whose == source.source {
                *failures = Failures::VACANT;
            }
            door
        });
        was_cut_off
    }

    /// Shows who is cut off, and for how much longer.
    pub(crate) fn show(&self, now: Instant, show: &mut dyn FnMut(&[u8; 16], Duration)) {
        for (source, door, failures) in self.failures.iter() {
            if door == EVERY_DOOR && failures.hold(stamp(now)) {
                let held = stamp(now).wrapping_sub(failures.began);
                show(
                    source,
                    Duration::from_millis(failures.span.saturating_sub(held).into()),
                );
            }
        }
    }

    /// Forgives a source that has shown that it knows the knocks of this door.
    pub(crate) fn forgive(&mut self, source: &HashedSource, door: u8, now: Instant) {
        if !self.is_empty() {
            self.store(source, door, Failures::VACANT, now);
        }
    }

    /// Whether nobody has failed since what was kept was last over.
    const fn is_empty(&self) -> bool {
        self.sweep_at.is_none()
    }

    /// Forgets everyone.
    pub(crate) fn clear(&mut self) {
        self.failures.revise(|door, failures| {
            *failures = Failures::VACANT;
            door
        });
        self.sweep_at = None;
    }

    /// When [`Cutoffs::poll`] has something to do.
    pub(crate) const fn poll_at(&self) -> Option<Instant> {
        self.sweep_at
    }

    /// Forgets what is over: stamps mean something for 49 days only.
    pub(crate) fn poll(&mut self, now: Instant) {
        if self.sweep_at.is_none_or(|sweep_at| now < sweep_at) {
            return;
        }
        let mut any = false;
        self.failures.revise(|door, failures| {
            if !failures.hold(stamp(now)) {
                *failures = Failures::VACANT;
            }
            any |= !failures.is_vacant();
            door
        });
        self.sweep_at = any.then(|| now + SWEEP_INTERVAL);
    }

    /// Displaced: forgotten, as the module says.
    fn store(&mut self, source: &HashedSource, door: u8, failures: Failures, now: Instant) {
        match self.failures.find_mut(source, door) {
            Some(known) => *known = failures,
            None if failures.is_vacant() => {}
            None => _ = self.failures.insert(source, door, &failures, stamp(now)),
        }
        self.sweep_at.get_or_insert(now + SWEEP_INTERVAL);
    }
}

/// The port, and that which it came from. Not hashed: whoever chooses both could make many alike.
fn ports(knock: &Knock<'_>) -> u32 {
    u32::from(knock.port.number) << 16 | u32::from(knock.source_port)
}

/// The protocol in two bits. Not 0.
const fn protocol(knock: &Knock<'_>) -> u8 {
    match knock.port.protocol {
        Protocol::Tcp => 1,
        Protocol::Udp => 2,
        Protocol::Icmp => 3,
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;
    use crate::knock::tcp;

    const TWICE: Cutoff = Cutoff {
        failures: 2,
        within: Duration::from_secs(60),
    };

    fn source(number: u16) -> HashedSource {
        let [high, low] = number.to_be_bytes();
        let mut source = [0; 16];
        source[14] = high;
        source[15] = low;
        HashedSource {
            source,
            hash: u32::from(number) << 16,
        }
    }

    fn after(secs: u64) -> Instant {
        Instant::from_millis(secs * 1000)
    }

    /// Fails with knocks of which none is a retransmission of another.
    struct Lab(Cutoffs, u16);

    impl Lab {
        fn new() -> Self {
            Self(Cutoffs::new(), 40_000)
        }

        fn fail_at(&mut self, door: u8, number: u16, cutoff: Cutoff, now: Instant) -> bool {
            self.1 += 1;
            self.0.fail(
                &source(number),
                door,
                Some(&knock(self.1)),
                Some(cutoff),
                now,
            ) == Fail::CutOff
        }

        fn fail(&mut self, number: u16, now: Instant) -> bool {
            self.fail_at(0, number, TWICE, now)
        }

        fn silences(&self, number: u16, now: Instant) -> bool {
            self.0.silences(&source(number), now)
        }
    }

    fn knock(source_port: u16) -> Knock<'static> {
        Knock {
            source: Ipv4Addr::LOCALHOST.into(),
            source_port,
            port: tcp(7000),
            payload: &[],
        }
    }

    #[test]
    fn the_last_straw_cuts_off_for_as_long_as_failures_count() {
        let mut lab = Lab::new();
        assert!(!lab.fail(1, after(0)));
        assert!(!lab.silences(1, after(0)));
        assert!(lab.fail(1, after(60)));
        assert!(lab.silences(1, after(60)) && lab.silences(1, after(120)));
        assert!(!lab.silences(1, after(121)) && !lab.silences(2, after(60)));
    }

    #[test]
    fn failures_far_apart_do_not_add_up() {
        let mut lab = Lab::new();
        assert!((0..10).all(|minute| !lab.fail(1, after(minute * 61))));
    }

    #[test]
    fn a_retransmission_is_no_second_failure() {
        let mut cutoffs = Cutoffs::new();
        for millis in [0, 1000, 3000] {
            let now = Instant::from_millis(millis);
            let failed = cutoffs.fail(&source(1), 0, Some(&knock(40_000)), Some(TWICE), now);
            assert_eq!(failed == Fail::Counted, millis == 0);
        }
        let failed = cutoffs.fail(&source(1), 0, Some(&knock(40_002)), Some(TWICE), after(4));
        assert_eq!(failed, Fail::CutOff);
    }

    #[test]
    fn who_knocks_on_and_on_from_one_port_does_not_retransmit() {
        let mut cutoffs = Cutoffs::new();
        let knock = knock(40_000);
        let mut knocks =
            (0..20).map(|_| cutoffs.fail(&source(1), 0, Some(&knock), Some(TWICE), after(0)));
        assert!(knocks.any(|failed| failed == Fail::CutOff));
    }

    #[test]
    fn success_at_one_door_forgives_nothing_at_another() {
        let mut lab = Lab::new();
        assert!(!lab.fail_at(0, 1, TWICE, after(0)));
        assert!(!lab.fail_at(1, 1, TWICE, after(0)));
        lab.0.forgive(&source(1), 0, after(1));
        assert!(!lab.fail_at(0, 1, TWICE, after(2)));
        assert!(lab.fail_at(1, 1, TWICE, after(2)));
    }

    #[test]
    fn what_is_taken_back_is_all_that_is_forgiven() {
        let five = Cutoff {
            failures: 5,
            ..TWICE
        };
        let mut lab = Lab::new();
        let retract = |lab: &mut Lab, since, now| {
            lab.0
                .retract(&source(1), 0, Some(five), (2, after(since)), after(now))
        };
        assert!((0..4).all(|_| !lab.fail_at(0, 1, five, after(10))));
        assert!(!retract(&mut lab, 10, 10), "two are left");
        assert!((0..2).all(|_| !lab.fail_at(0, 1, five, after(11))));
        assert!(lab.fail_at(0, 1, five, after(12)));
        assert!(!retract(&mut lab, 13, 13), "it began before");
        assert!(lab.silences(1, after(13)));
        assert!(retract(&mut lab, 12, 13), "three are left");
        assert!(!lab.silences(1, after(13)));
        assert!(!lab.fail_at(0, 1, five, after(14)));
        assert!(lab.fail_at(0, 1, five, after(14)));
    }

    #[test]
    fn what_is_taken_back_at_one_door_ends_no_cut_off_of_another() {
        let mut lab = Lab::new();
        assert!(!lab.fail_at(1, 1, TWICE, after(10)) && lab.fail_at(1, 1, TWICE, after(11)));
        let mut retract = |door| {
            let failures = (1, after(10));
            (lab.0).retract(&source(1), door, Some(TWICE), failures, after(11))
        };
        assert!(!retract(0) && retract(1));
        assert!(!lab.fail_at(0, 1, TWICE, after(12)), "nothing is known");
        assert!(lab.fail_at(1, 1, TWICE, after(12)), "one is left");
    }

    #[test]
    fn what_was_taken_back_may_be_retransmitted() {
        let mut cutoffs = Cutoffs::new();
        for code in 0..20 {
            let knocks = [40_000 + 2 * code, 40_001 + 2 * code].map(knock);
            for (seconds, expected) in [
                (0, Fail::Counted),
                (1, Fail::Repeated),
                (3, Fail::Repeated),
                (7, Fail::Repeated),
            ] {
                for knock in &knocks {
                    // The last but one too many.
                    let five = Cutoff {
                        failures: 5,
                        ..TWICE
                    };
                    let now = after(u64::from(code) + seconds);
                    assert_eq!(
                        cutoffs.fail(&source(1), 0, Some(knock), Some(five), now),
                        expected
                    );
                }
                if seconds == 0 {
                    let now = after(code.into());
                    assert!(!cutoffs.retract(&source(1), 0, Some(TWICE), (2, now), now));
                }
            }
        }
        while let Some(at) = cutoffs.poll_at() {
            cutoffs.poll(at);
        }
        assert!(cutoffs.is_empty() && cutoffs.failures.iter().next().is_none());
    }

    #[test]
    fn where_nothing_failed_nothing_is_taken_back() {
        let mut lab = Lab::new();
        assert!(!(lab.0).retract(&source(1), 0, Some(TWICE), (2, after(0)), after(0)));
        assert!(!lab.fail(1, after(0)));
        assert!(!(lab.0).retract(&source(1), 0, Some(TWICE), (9, after(0)), after(0)));
        assert!(!lab.fail(1, after(0)) && lab.fail(1, after(0)));
    }

    #[test]
    fn a_cut_off_lasts_as_long_as_its_own_door_says() {
        let patient = Cutoff {
            failures: 1000,
            within: Duration::from_secs(2_592_000),
        };
        let mut lab = Lab::new();
        assert!(!lab.fail_at(0, 1, patient, after(0)));
        assert!(!lab.fail_at(1, 1, TWICE, after(1)));
        assert!(lab.fail_at(1, 1, TWICE, after(2)));
        assert!(lab.silences(1, after(62)) && !lab.silences(1, after(63)));
    }

    #[test]
    fn in_a_full_table_those_who_are_cut_off_give_way_to_those_who_fail() {
        let mut lab = Lab::new();
        for number in 0..2_500 {
            assert!(!lab.fail(number, after(0)));
            assert!(lab.fail(number, after(0)));
        }
        for number in 0..4 {
            assert!(!lab.fail(3_000 + number, after(0)));
        }
        assert!((0..4).all(|number| lab.fail(3_000 + number, after(1))));
    }

    #[test]
    fn source_ports_that_are_chosen_give_no_more_guesses() {
        let five = Cutoff {
            failures: 5,
            ..TWICE
        };
        let mut cutoffs = Cutoffs::new();
        let guesses = (0u16..).position(|number| {
            let port = 10_000 + number;
            let guess = Knock {
                source_port: port.rotate_left(5) ^ 4_242,
                ..knock(port)
            };
            let failed = cutoffs.fail(&source(1), 0, Some(&guess), Some(five), after(0));
            failed == Fail::CutOff
        });
        assert_eq!(guesses, Some(4), "the fifth");
    }

    #[test]
    fn nothing_comes_back_when_the_stamps_do() {
        let mut lab = Lab::new();
        assert!(!lab.fail(1, after(0)));
        assert!(lab.fail(1, after(0)));
        let mut now = after(0);
        while let Some(at) = lab.0.poll_at() {
            now = at;
            lab.0.poll(now);
        }
        assert!(now <= after(180));
        assert!(!lab.silences(1, Instant::from_millis(1 << 32)));
    }
}
