//! Who was let in until when, should the kernel lose it.

use postern_core::door::{Door, DoorSet};
use postern_core::time::{Duration, Instant};

use crate::firewall::{Grant, Network, Who};

/// The most grants that are remembered: as many as outlive a reinstallation.
pub(super) const MOST: usize = crate::firewall::MAX_KEPT;

/// Grants, as the agent made or found them. The kernel alone decides; this is asked only where it
/// has forgotten.
///
/// When it is full, what ends first gives way: whoever that was has to knock again.
pub(super) struct Ledger {
    entries: Vec<Entry>,
}

struct Entry {
    /// The door, by its index in the configuration.
    door: usize,
    who: Who,
    /// `None`: it does not end.
    until: Option<Instant>,
}

impl Entry {
    fn network(self) -> Option<(usize, Network)> {
        match self.who {
            Who::Network(network) => Some((self.door, network)),
            Who::Anyone { .. } => None,
        }
    }
}

impl Ledger {
    /// Its memory is reserved: a knock takes none. What is never used costs nothing.
    pub(super) fn new() -> Self {
        Self {
            entries: Vec::with_capacity(MOST),
        }
    }

    /// Notes a network that was let in for at least so long from now on.
    pub(super) fn admit(&mut self, door: usize, network: Network, until: Instant) {
        let who = Who::Network(network);
        match self.find(door, &who) {
            Some(entry) => entry.until = entry.until.map(|before| before.max(until)),
            None => self.push(Entry {
                door,
                who,
                until: Some(until),
            }),
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
    }

    /// Takes what the kernel has for all that there is, and says which networks were let in before.
    pub(super) fn take_over(
        &mut self,
        grants: Vec<Grant>,
        doors: &[Door],
        now: Instant,
    ) -> Vec<(usize, Network)> {
        let before = self.entries.drain(..).filter_map(Entry::network).collect();
        for grant in grants {
            let Some(door) = doors.iter().position(|door| *door.name == *grant.door) else {
                continue;
            };
            self.push(Entry {
                door,
                who: grant.who,
                until: grant.remaining.map(|remaining| now + remaining),
            });
        }
        before
    }

    /// When the next grant of these doors ends.
    pub(super) fn poll_at(&self, doors: DoorSet) -> Option<Instant> {
        if doors.is_empty() {
            return None;
        }
        let entries = self.entries.iter();
        let of_doors = entries.filter(|entry| doors.contains(entry.door));
        of_doors.filter_map(|entry| entry.until).min()
    }

    /// Forgets the grants of these doors that ended, and says which networks they had let in.
    pub(super) fn take_ended(&mut self, doors: DoorSet, now: Instant) -> Vec<(usize, Network)> {
        let has_ended = |entry: &mut Entry| {
            doors.contains(entry.door) && entry.until.is_some_and(|until| until <= now)
        };
        let ended = self.entries.extract_if(.., has_ended);
        ended.filter_map(Entry::network).collect()
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
        self.entries.iter().filter_map(grant).collect()
    }

    fn find(&mut self, door: usize, who: &Who) -> Option<&mut Entry> {
        let mut entries = self.entries.iter_mut();
        entries.find(|entry| entry.door == door && entry.who == *who)
    }

    fn push(&mut self, entry: Entry) {
        if self.entries.len() >= MOST {
            let ends = |index: &usize| {
                let until = self.entries.get(*index)?.until;
                Some(until.map_or(u64::MAX, Instant::as_millis))
            };
            let first = (0..self.entries.len()).min_by_key(ends);
            first.map(|first| self.entries.swap_remove(first));
        }
        self.entries.push(entry);
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
        let most = MOST as u32;
        for number in 0..most {
            let until = 10_000 + u64::from(number.wrapping_sub(7).min(most));
            ledger.admit(0, network(number), at(until));
        }
        assert_eq!(ledger.grants(&doors, at(0)).len(), MOST);
        ledger.admit(0, network(most), at(90_000));
        let grants = ledger.grants(&doors, at(0));
        let has = |number| {
            let who = Who::Network(network(number));
            grants.iter().any(|grant| grant.who == who)
        };
        assert_eq!(grants.len(), MOST);
        assert!(has(most) && !has(7) && has(6) && has(8));
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
        ledger.take_over(found, &doors, at(1_000));
        assert_eq!(ledger.grants(&doors, at(2_000)), [anyone("ssh")]);
    }
}
