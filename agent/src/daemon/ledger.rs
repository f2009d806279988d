//! Who was let in until when: should the kernel lose it, and so that the log can tell when it ends.

use core::fmt::{self, Display, Formatter};

use postern_core::door::{Door, Name};
use postern_core::time::{Duration, Instant};

use crate::collect::CollectVec;
use crate::firewall::{Grant, Who};
use crate::network::Network;

/// The most grants that are remembered: as many as outlive a reinstallation.
pub(super) const MAX_GRANTS: usize = crate::firewall::MAX_KEPT;

/// How much later than the agent the kernel may take a grant for ended: a tick or two.
pub(super) const KERNEL_LAG: Duration = Duration::from_millis(20);

/// Grants, as the agent made or found them. The kernel alone decides; this is asked only where it
/// has forgotten.
///
/// When it is full, what ends first gives way: whoever that was has to knock again, should the guard be
/// put back, and no line tells of the end, which is counted.
pub(super) struct Ledger {
    entries: Vec<Entry>,
    /// When the next one ends, or earlier.
    next_at: Option<Instant>,
    gave_way: u32,
}

/// A grant.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The door, by its index in the configuration.
    pub(super) door: usize,
    pub(super) who: Who,
    /// `None`: it does not end.
    pub(super) until: Option<Instant>,
    pub(super) origin: Origin,
}

/// By what somebody was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Knocks,
    Hand,
    /// The kernel had it when the agent came.
    Before,
}

impl Display for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Knocks => "knocked",
            Self::Hand => "by hand",
            Self::Before => "older than this agent",
        })
    }
}

impl Entry {
    /// The door and the network, where it is one.
    pub(super) const fn network(&self) -> Option<(usize, Network)> {
        match self.who {
            Who::Network(network) => Some((self.door, network)),
            Who::Anyone { .. } => None,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.door == other.door && self.who == other.who
    }
}

/// What came and went since the kernel was asked last.
#[derive(Default)]
pub(super) struct Differences {
    /// New ones, and those that were prolonged or shortened by hand.
    pub(super) came: Vec<Entry>,
    pub(super) went: Vec<Entry>,
}

impl Ledger {
    /// Its memory is reserved: a knock takes none. What is never used costs nothing.
    pub(super) fn new() -> Self {
        Self {
            entries: Vec::with_capacity(MAX_GRANTS),
            next_at: None,
            gave_way: 0,
        }
    }

    /// How many gave way since this was last asked.
    pub(super) const fn take_gave_way(&mut self) -> u32 {
        core::mem::replace(&mut self.gave_way, 0)
    }

    /// Notes a network that was let in by knocks for at least so long from now on; whether it was new.
    pub(super) fn admit(&mut self, door: usize, network: Network, until: Instant) -> bool {
        let entry = Entry {
            door,
            who: Who::Network(network),
            until: Some(until),
            origin: Origin::Knocks,
        };
        let mut entries = self.entries.iter_mut();
        match entries.find(|other| other.is_same(&entry)) {
            Some(other) => {
                if other.until.is_some_and(|before| before < until) {
                    *other = entry;
                }
                false
            }
            None => {
                self.push(entry);
                true
            }
        }
    }

    /// Forgets a network whose grant was taken back; whether there was one.
    pub(super) fn forget(&mut self, door: usize, network: Network) -> bool {
        let who = Who::Network(network);
        let before = self.entries.len();
        (self.entries).retain(|entry| entry.door != door || entry.who != who);
        self.entries.len() < before
    }

    /// Forgets everything: the guard was taken away.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.next_at = None;
    }

    /// Takes other doors for those that there were, by their names; what was let in at doors that are
    /// no more is returned.
    pub(super) fn renumber(&mut self, before: &[Name], after: &[Door]) -> Vec<Entry> {
        let index_of = |index: usize| {
            let name = before.get(index)?;
            after.iter().position(|door| door.name == *name)
        };
        let gone = self.entries.extract_if(.., |entry| {
            let index = index_of(entry.door);
            entry.door = index.unwrap_or(entry.door);
            index.is_none()
        });
        gone.collect_vec()
    }

    /// Takes what the kernel has for all that there is, and says what is other than it was. What is new,
    /// or lasts for longer or shorter by hand, is of this origin.
    pub(super) fn take_over(
        &mut self,
        grants: Vec<Grant>,
        doors: &[Door],
        now: Instant,
        origin: Origin,
    ) -> Differences {
        let mut differences = Differences::default();
        let before: Vec<Entry> = self.entries.drain(..).collect_vec();
        let mut known = vec![false; before.len()];
        let mut next = 0;
        self.next_at = None;
        for grant in grants {
            let Some(door) = doors.iter().position(|door| *door.name == *grant.door) else {
                continue;
            };
            let mut entry = Entry {
                door,
                who: grant.who,
                until: grant.remaining.map(|remaining| now + remaining),
                origin,
            };
            // The kernel's order is most often that of the time before.
            let (first, last) = before.split_at(next.min(before.len()));
            let mut from_next = last.iter().chain(first);
            let found = from_next.position(|other| other.is_same(&entry));
            let index = found.map(|found| (found + next) % before.len());
            if let Some(known) = index.and_then(|index| known.get_mut(index)) {
                *known = true;
            }
            next = index.map_or(next, |index| index + 1);
            match index.and_then(|index| before.get(index)) {
                Some(known) if origin != Origin::Hand || lasts_alike(known, &entry) => {
                    entry.origin = known.origin;
                }
                _ => differences.came.push(entry.clone()),
            }
            self.push(entry);
        }
        let pairs = before.into_iter().zip(known);
        let went = pairs.filter(|(_, known)| !known).map(|(entry, _)| entry);
        differences.went = went.collect_vec();
        differences
    }

    /// When the next grant ends.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.next_at.map(|at| at + KERNEL_LAG)
    }

    /// Forgets one that has ended, as far as is known here.
    pub(super) fn take_ended(&mut self, now: Instant) -> Option<Entry> {
        let due = |until: Instant| until + KERNEL_LAG <= now;
        if !self.next_at.is_some_and(due) {
            return None;
        }
        let mut entries = self.entries.iter();
        let ended = entries.position(|entry| entry.until.is_some_and(due));
        if ended.is_none() {
            self.next_at = self.entries.iter().filter_map(|entry| entry.until).min();
        }
        ended.map(|index| self.entries.swap_remove(index))
    }

    /// Goes on with one that has not ended after all.
    pub(super) fn go_on(&mut self, entry: Entry) {
        self.push(entry);
    }

    /// The grants that go on.
    pub(super) fn grants(&self, doors: &[Door], now: Instant) -> Vec<Grant> {
        let grant = |entry: &Entry| {
            let door = doors.get(entry.door)?.name.to_string();
            let remaining = entry.until.map(|until| until.since(now));
            let goes_on = remaining != Some(Duration::default());
            goes_on.then(|| Grant {
                door,
                who: entry.who.clone(),
                remaining,
            })
        };
        self.entries.iter().filter_map(grant).collect_vec()
    }

    fn push(&mut self, entry: Entry) {
        if self.entries.len() >= MAX_GRANTS {
            let ends = |index: &usize| {
                let until = self.entries.get(*index)?.until;
                Some(until.map_or(u64::MAX, Instant::as_millis))
            };
            let first = (0..self.entries.len()).min_by_key(ends);
            first.map(|first| self.entries.swap_remove(first));
            self.gave_way = self.gave_way.saturating_add(1);
        }
        self.next_at = self.next_at.into_iter().chain(entry.until).min();
        self.entries.push(entry);
    }
}

/// The kernel tells times in its own ticks.
fn lasts_alike(one: &Entry, other: &Entry) -> bool {
    match (one.until, other.until) {
        (Some(one), Some(other)) => one.max(other).since(one.min(other)) <= KERNEL_LAG,
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onetime::examples::seed_door;

    fn network(number: u32) -> Network {
        Network::of(core::net::Ipv4Addr::from_bits(number).into(), 32)
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn a_grant_is_prolonged_and_never_shortened_and_ends() {
        let (mut ledger, doors) = (Ledger::new(), [seed_door("ssh")]);
        for until in [2_000, 5_000, 3_000] {
            ledger.admit(0, network(1), at(until));
        }
        ledger.admit(0, network(2), at(2_000));
        let left = |ledger: &Ledger, now| {
            let grants = ledger.grants(&doors, at(now)).into_iter();
            let left = grants.map(|grant| grant.remaining.unwrap().as_millis());
            left.collect::<Vec<_>>()
        };
        assert_eq!(left(&ledger, 1_000), [4_000, 1_000]);
        assert_eq!(left(&ledger, 2_000), [3_000]);
        ledger.forget(0, network(1));
        assert_eq!(left(&ledger, 1_000), [1_000]);
    }

    #[test]
    fn what_ends_first_gives_way_to_one_grant_too_many() {
        let (mut ledger, doors) = (Ledger::new(), [seed_door("ssh")]);
        let most = MAX_GRANTS as u32;
        for number in 0..most {
            let until = 10_000 + u64::from(number.wrapping_sub(7).min(most));
            ledger.admit(0, network(number), at(until));
        }
        assert_eq!(ledger.grants(&doors, at(0)).len(), MAX_GRANTS);
        ledger.admit(0, network(most), at(90_000));
        let grants = ledger.grants(&doors, at(0));
        let has = |number| {
            let who = Who::Network(network(number));
            grants.iter().any(|grant| grant.who == who)
        };
        assert_eq!(grants.len(), MAX_GRANTS);
        assert!(has(most) && !has(7) && has(6) && has(8));
        assert_eq!((ledger.take_gave_way(), ledger.take_gave_way()), (1, 0));
    }

    #[test]
    fn grants_end_one_by_one_and_doors_may_change_their_places() {
        let (mut ledger, doors) = (Ledger::new(), [seed_door("web"), seed_door("ssh")]);
        for (door, until) in [(0, 2_000), (1, 1_000), (1, 2_000)] {
            assert!(ledger.admit(door, network(until), at(until.into())));
        }
        let names = [doors[1].name.clone(), doors[0].name.clone()];
        assert!(ledger.renumber(&names, &doors).is_empty());
        assert_eq!(ledger.poll_at(), Some(at(1_000) + KERNEL_LAG));
        assert!(ledger.take_ended(at(1_000)).is_none());
        let first = ledger.take_ended(at(1_000) + KERNEL_LAG).unwrap();
        assert_eq!(first.network(), Some((0, network(1_000))));
        assert!(ledger.take_ended(at(1_999)).is_none());
        assert_eq!(ledger.poll_at(), Some(at(2_000) + KERNEL_LAG));
        assert_eq!(ledger.renumber(&names[..1], &doors).len(), 1);
        assert!(ledger.take_ended(at(3_000)).is_some());
        assert!(ledger.take_ended(at(3_000)).is_none());
        assert_eq!(ledger.poll_at(), None);
    }

    #[test]
    fn what_was_done_by_hand_is_told_from_what_was_known() {
        let (mut ledger, doors) = (Ledger::new(), [seed_door("ssh")]);
        for number in 1..4 {
            ledger.admit(0, network(number), at(9_000));
        }
        let grant = |number, left| Grant {
            door: "ssh".into(),
            who: Who::Network(network(number)),
            remaining: Some(Duration::from_millis(left)),
        };
        let found = vec![grant(1, 8_005), grant(2, 20_000), grant(4, 500)];
        let found = ledger.take_over(found, &doors, at(1_000), Origin::Hand);
        let networks = |entries: &[Entry]| entries.iter().filter_map(Entry::network).collect();
        let (came, went): (Vec<_>, Vec<_>) = (networks(&found.came), networks(&found.went));
        assert_eq!(came, [(0, network(2)), (0, network(4))]);
        assert_eq!(went, [(0, network(3))]);
        let origins: Vec<Origin> = ledger.entries.iter().map(|entry| entry.origin).collect();
        assert_eq!(origins, [Origin::Knocks, Origin::Hand, Origin::Hand]);
    }

    #[test]
    fn what_the_kernel_has_is_taken_for_all_that_there_is() {
        let (mut ledger, doors) = (Ledger::new(), [seed_door("ssh")]);
        ledger.admit(0, network(1), at(9_000));
        let anyone = |door: &str| Grant {
            door: door.into(),
            who: Who::Anyone {
                interface: "wan".into(),
            },
            remaining: None,
        };
        let found = vec![anyone("ssh"), anyone("gone")];
        let differences = ledger.take_over(found, &doors, at(1_000), Origin::Before);
        assert_eq!((differences.came.len(), differences.went.len()), (1, 1));
        assert_eq!(ledger.grants(&doors, at(2_000)), [anyone("ssh")]);
    }
}
