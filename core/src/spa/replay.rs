//! Which datagrams were used, and from when on a door takes others.
//!
//! A datagram is remembered until it is too old for the door anyway. When it goes, for that or because the table is
//! full (then the oldest goes), the keys that it was made with take nothing any more that is not newer: so a
//! clock that is set back, or more datagrams than there are places, make none usable again.
//!
//! What comes from a clock that is ahead was refused, and would be young later. Such datagrams are remembered where
//! there is room, and go first: none of them may end what others can do with the same keys until that time comes.

use heapless::Vec;

use super::wire::FINGERPRINT;
use crate::door::MAX_DOORS;

/// Of all doors together. Only who has a door's keys can fill them.
pub(super) const PLACES: usize = 64;

#[derive(Clone, Copy)]
struct Used {
    tag: [u8; FINGERPRINT],
    /// Which keys it was made with; of what was configured before, none.
    keys: Option<u8>,
    /// What it says it was made at.
    time: u64,
    /// The last second at which it is not too old.
    until: u64,
}

impl Used {
    /// Whether it is not young yet.
    const fn is_ahead(&self, now: u64) -> bool {
        self.time.saturating_sub(now) > self.until.saturating_sub(self.time)
    }
}

/// The memory of datagrams.
pub(super) struct Replays {
    used: Vec<Used, PLACES>,
    /// By keys: the first time they take; 0: they take none yet.
    next: [u64; MAX_DOORS],
}

impl Replays {
    pub(super) const fn new() -> Self {
        Self {
            used: Vec::new(),
            next: [0; MAX_DOORS],
        }
    }

    /// Forgets from when on any keys take datagrams, and none of the datagrams.
    pub(super) fn forget_keys(&mut self) {
        self.next = [0; MAX_DOORS];
        self.used.iter_mut().for_each(|used| used.keys = None);
    }

    /// Lets these keys take what is newer than this.
    pub(super) fn raise(&mut self, keys: u8, floor: u64) {
        if let Some(next) = self.next.get_mut(usize::from(keys)) {
            *next = floor.saturating_add(1).max(*next);
        }
    }

    /// Whether these keys take what was made at this time.
    pub(super) fn takes(&self, keys: u8, time: u64) -> bool {
        let next = self.next.get(usize::from(keys));
        next.is_some_and(|next| *next != 0 && time >= *next)
    }

    pub(super) fn contains(&self, tag: [u8; FINGERPRINT]) -> bool {
        self.used.iter().any(|used| used.tag == tag)
    }

    /// Remembers a datagram that is not too old until then. Where nobody knows what time it is, nothing is too old.
    pub(super) fn insert(
        &mut self,
        tag: [u8; FINGERPRINT],
        keys: u8,
        time: u64,
        until: u64,
        now: Option<u64>,
    ) {
        let is_old = |until: u64| now.is_some_and(|now| until < now);
        while let Some(old) = self.used.iter().position(|used| is_old(used.until)) {
            self.remove(old);
        }
        if is_old(until) {
            return;
        }
        let is_ahead = |used: &Used| now.is_some_and(|now| used.is_ahead(now));
        let used = Used {
            tag,
            keys: Some(keys),
            time,
            until,
        };
        if self.used.is_full() {
            if let Some(ahead) = self.used.iter_mut().find(|used| is_ahead(used)) {
                *ahead = used;
                return;
            }
            if is_ahead(&used) {
                return;
            }
            let oldest = self.used.iter().enumerate();
            let oldest = oldest.min_by_key(|(_, used)| used.time);
            match oldest.map(|(place, oldest)| (place, oldest.time)) {
                Some((place, oldest)) if oldest <= time => self.remove(place),
                // It is the oldest itself.
                _ => return self.raise(keys, time),
            }
        }
        _ = self.used.push(used);
    }

    fn remove(&mut self, place: usize) {
        if place >= self.used.len() {
            return;
        }
        // It is in range.
        let Used { keys, time, .. } = self.used.swap_remove(place);
        if let Some(keys) = keys {
            self.raise(keys, time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(number: u8) -> [u8; FINGERPRINT] {
        [number; FINGERPRINT]
    }

    fn replays() -> Replays {
        let mut replays = Replays::new();
        (0..2).for_each(|keys| replays.raise(keys, 1000));
        replays
    }

    #[test]
    fn nothing_is_taken_before_somebody_says_from_when_on() {
        let mut replays = Replays::new();
        assert!(!replays.takes(0, u64::MAX));
        replays.raise(0, 0);
        assert!(replays.takes(0, 1) && !replays.takes(0, 0) && !replays.takes(1, 5));
        replays.forget_keys();
        assert!(!replays.takes(0, 1));
        replays.raise(0, u64::MAX);
        assert!(!replays.takes(0, u64::MAX - 1));
        replays.raise(200, 1);
        assert!(!replays.takes(200, 2));
    }

    #[test]
    fn the_greatest_of_what_is_said_counts() {
        let mut replays = replays();
        replays.raise(0, 500);
        assert!(!replays.takes(0, 1000) && replays.takes(0, 1001));
        replays.raise(0, 1500);
        assert!(!replays.takes(0, 1500) && replays.takes(0, 1501));
    }

    #[test]
    fn what_is_too_old_goes_and_its_time_is_over() {
        let mut replays = replays();
        replays.insert(tag(1), 0, 2000, 2120, Some(2000));
        replays.insert(tag(2), 1, 2100, 2220, Some(2120));
        assert!(replays.contains(tag(1)) && replays.takes(0, 1999));
        replays.insert(tag(3), 1, 2100, 2220, Some(2121));
        assert!(!replays.contains(tag(1)) && replays.contains(tag(2)));
        assert!(!replays.takes(0, 2000) && replays.takes(0, 2001) && replays.takes(1, 1001));
    }

    #[test]
    fn what_was_too_old_when_it_came_is_not_remembered() {
        let mut replays = replays();
        replays.insert(tag(1), 0, 2000, 2120, Some(3000));
        assert!(!replays.contains(tag(1)) && replays.takes(0, 1001));
        replays.insert(tag(1), 0, 2000, 2120, None);
        assert!(replays.contains(tag(1)));
    }

    #[test]
    fn when_full_the_oldest_gives_way() {
        let mut replays = replays();
        for number in 0..PLACES as u8 {
            // The oldest stands somewhere in the middle.
            let time = if number == 40 {
                5000
            } else {
                5001 + u64::from(number)
            };
            replays.insert(tag(number), 0, time, time + 120, Some(5050));
        }
        assert!((0..PLACES as u8).all(|number| replays.contains(tag(number))));
        replays.insert(tag(99), 1, 5100, 5220, Some(5050));
        assert!(!replays.contains(tag(40)) && replays.contains(tag(99)));
        assert!(!replays.takes(0, 5000) && replays.takes(0, 5001) && replays.takes(1, 1001));
        // What is older than all has no place, and cannot be used again either.
        replays.insert(tag(98), 1, 4000, 5220, Some(5050));
        assert!(!replays.contains(tag(98)) && !replays.takes(1, 4000));
        assert!(
            (0..PLACES as u8)
                .filter(|number| *number != 40)
                .all(|number| replays.contains(tag(number)))
        );
    }

    #[test]
    fn a_clock_that_is_ahead_ends_nothing() {
        let mut replays = replays();
        replays.insert(tag(200), 0, 5000, 5120, Some(5000));
        // An hour ahead, and more of them than there is room for.
        for number in 0..2 * PLACES as u8 {
            let time = 8600 + u64::from(number);
            replays.insert(tag(number), 0, time, time + 120, Some(5000));
        }
        assert!(replays.contains(tag(200)) && replays.contains(tag(1)));
        assert!(replays.takes(0, 1001));
        // Others have their places, until there are no more but theirs.
        for number in 0..PLACES as u8 {
            replays.insert(tag(130 + number), 0, 5001, 5121, Some(5000));
            assert!(replays.contains(tag(130 + number)));
        }
        assert!(!replays.takes(0, 5000) && replays.takes(0, 5001));
        replays.insert(tag(1), 0, 8600, 8720, Some(5000));
        assert!(!replays.contains(tag(1)) && replays.takes(0, 5001));
    }

    #[test]
    fn another_configuration_forgets_no_datagram() {
        let mut replays = replays();
        replays.insert(tag(1), 0, 2000, 2120, Some(2000));
        replays.forget_keys();
        assert!(replays.contains(tag(1)));
        replays.raise(0, 1500);
        replays.insert(tag(2), 0, 2200, 2320, Some(2200));
        assert!(!replays.contains(tag(1)) && replays.takes(0, 1501));
    }
}
