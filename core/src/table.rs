//! The fixed-size table of sources: a set-associative hash table.
//!
//! Everything stands in one array. A source hashes to a bucket of [`WAYS`] slots under a
//! key that only this process knows, so nobody can choose addresses that collide.
//!
//! When a bucket is full, the newcomer takes the place of the lowest-ranked entry, the
//! oldest among equals; it never takes the place of an entry that ranks above it. So a
//! flood of first knocks displaces first knocks, not the attempts that got further.

/// Slots in a bucket.
const WAYS: usize = 8;

/// What a table holds for a source.
pub(crate) trait Entry: Copy {
    /// An entry that says nothing: the slot is free.
    const VACANT: Self;

    /// Whether it says nothing.
    fn is_vacant(&self) -> bool;

    /// What the entry is worth at this time, the low 32 bits of the clock's milliseconds.
    fn worth(&self, now: u32) -> Worth;
}

/// What an entry is worth beside others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Worth {
    /// 0: nothing any more, as where it is vacant.
    pub(crate) rank: u8,
    /// Of entries of one rank, the oldest is worth least: this is what it lacks to the greatest age.
    youth: u32,
}

impl Worth {
    /// That of an entry of this rank which began at `began`, the low 32 bits of milliseconds.
    pub(crate) const fn new(rank: u8, began: u32, now: u32) -> Self {
        let youth = u32::MAX - now.wrapping_sub(began);
        Self { rank, youth }
    }
}

/// Whose entry it is: the source's address (IPv4 as v4-mapped IPv6). There is one for each door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HashedSource {
    pub(crate) source: [u8; 16],
    /// Keyed hash of the source. Its lowest bits choose the bucket; the whole is compared before the address is.
    pub(crate) hash: u32,
}

/// What became of a stored entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored<E> {
    /// There was a slot for it.
    Kept,
    /// It took the place of another source's entry.
    Displaced(Displaced<E>),
    /// Every slot of its bucket holds a worthier entry: it was not stored.
    NoRoom,
}

/// An entry that had to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Displaced<E> {
    pub(crate) entry: E,
    pub(crate) door: u8,
    /// Of the entry's key.
    pub(crate) hash: u32,
}

#[derive(Clone, Copy)]
struct Slot<E> {
    source: [u8; 16],
    hash: u32,
    door: u8,
    entry: E,
}

/// A table of `N` slots; `N` is a power of two and at least [`WAYS`].
pub(crate) struct Table<E, const N: usize> {
    slots: [Slot<E>; N],
}

impl<E: Entry, const N: usize> Table<E, N> {
    const BUCKETS: usize = {
        assert!(N.is_power_of_two() && N >= WAYS);
        N / WAYS
    };

    pub(crate) const fn new() -> Self {
        Self {
            slots: [Slot {
                source: [0; 16],
                hash: 0,
                door: 0,
                entry: E::VACANT,
            }; N],
        }
    }

    /// The source's entry at the door, unless it is vacant.
    pub(crate) fn find(&self, key: &HashedSource, door: u8) -> Option<&E> {
        let slot = self.bucket(key).iter().find(|slot| slot.is(key, door))?;
        Some(&slot.entry)
    }

    /// Finds a source's entry at a door, to change it. An entry that is made vacant leaves the table.
    pub(crate) fn find_mut(&mut self, key: &HashedSource, door: u8) -> Option<&mut E> {
        let mut bucket = self.bucket_mut(key).iter_mut();
        let slot = bucket.find(|slot| slot.is(key, door))?;
        Some(&mut slot.entry)
    }

    /// Stores the entry of a source that has none at the door. `now` is as in [`Entry::worth`].
    pub(crate) fn insert(
        &mut self,
        key: &HashedSource,
        door: u8,
        entry: &E,
        now: u32,
    ) -> Stored<E> {
        let mut least: Option<(&mut Slot<E>, Worth)> = None;
        for slot in self.bucket_mut(key) {
            let worth = slot.entry.worth(now);
            if worth.rank == 0 {
                slot.take(key, door, entry);
                return Stored::Kept;
            }
            if least.as_ref().is_none_or(|(_, least)| worth < *least) {
                least = Some((slot, worth));
            }
        }
        match least {
            Some((slot, least)) if least.rank <= entry.worth(now).rank => {
                let displaced = Displaced {
                    entry: slot.entry,
                    door: slot.door,
                    hash: slot.hash,
                };
                slot.take(key, door, entry);
                Stored::Displaced(displaced)
            }
            _ => Stored::NoRoom,
        }
    }

    /// Every entry that is not vacant, with its source and door.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8; 16], u8, &E)> {
        self.slots
            .iter()
            .filter(|slot| !slot.entry.is_vacant())
            .map(|slot| (&slot.source, slot.door, &slot.entry))
    }

    /// Lets `keep` change or vacate every entry, and tell the door it now belongs to.
    pub(crate) fn revise(&mut self, mut keep: impl FnMut(u8, &mut E) -> u8) {
        self.revise_all(&mut |_, door, entry| keep(door, entry));
    }

    /// Lets `keep` change or vacate every entry, told whose it is, and tell the door it now belongs to.
    pub(crate) fn revise_all(&mut self, keep: &mut dyn FnMut(&[u8; 16], u8, &mut E) -> u8) {
        for slot in self.slots.iter_mut().filter(|slot| !slot.entry.is_vacant()) {
            slot.door = keep(&slot.source, slot.door, &mut slot.entry);
        }
    }

    fn bucket(&self, key: &HashedSource) -> &[Slot<E>] {
        let start = Self::start(key);
        self.slots.get(start..start + WAYS).unwrap_or_default()
    }

    fn bucket_mut(&mut self, key: &HashedSource) -> &mut [Slot<E>] {
        let start = Self::start(key);
        self.slots.get_mut(start..start + WAYS).unwrap_or_default()
    }

    fn start(key: &HashedSource) -> usize {
        (key.hash as usize & (Self::BUCKETS - 1)) * WAYS
    }
}

impl<E: Entry> Slot<E> {
    fn take(&mut self, key: &HashedSource, door: u8, entry: &E) {
        self.source = key.source;
        self.hash = key.hash;
        self.door = door;
        self.entry = *entry;
    }

    fn is(&self, key: &HashedSource, door: u8) -> bool {
        self.hash == key.hash
            && self.door == door
            && !self.entry.is_vacant()
            // As numbers: bytes would be compared one by one.
            && u128::from_ne_bytes(self.source) == u128::from_ne_bytes(key.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Mark(u8, u32);

    impl Entry for Mark {
        const VACANT: Self = Self(0, 0);
        fn is_vacant(&self) -> bool {
            self.0 == 0
        }
        fn worth(&self, now: u32) -> Worth {
            Worth::new(self.0, self.1, now)
        }
    }

    /// Keys of one bucket, told apart by their address.
    fn key(number: u8) -> HashedSource {
        HashedSource {
            source: [number; 16],
            hash: u32::from(number) << 16,
        }
    }

    #[test]
    fn a_bucket_takes_as_many_as_it_has_slots() {
        let mut table = Table::<Mark, 8>::new();
        for number in 0..8 {
            assert_eq!(
                table.insert(&key(number), 0, &Mark(1, number.into()), 100),
                Stored::Kept
            );
        }
        assert_eq!(table.iter().count(), 8);
        for number in 0..8 {
            assert_eq!(table.find(&key(number), 0), Some(&Mark(1, number.into())));
        }
    }

    #[test]
    fn one_more_displaces_the_oldest_of_the_lowest_rank() {
        let mut table = Table::<Mark, 8>::new();
        for number in 0..8 {
            let rank = if number < 3 { 2 } else { 1 };
            assert_eq!(
                table.insert(&key(number), 0, &Mark(rank, number.into()), 100),
                Stored::Kept
            );
        }
        let displaced = table.insert(&key(8), 0, &Mark(1, 50), 100);
        let oldest = Displaced {
            entry: Mark(1, 3),
            door: 0,
            hash: key(3).hash,
        };
        assert_eq!(displaced, Stored::Displaced(oldest));
        assert_eq!(table.find(&key(3), 0), None);
        assert_eq!(table.find(&key(0), 0), Some(&Mark(2, 0)));
    }

    #[test]
    fn nobody_displaces_those_who_got_further() {
        let mut table = Table::<Mark, 8>::new();
        for number in 0..8 {
            assert_eq!(
                table.insert(&key(number), 0, &Mark(2, 0), 100),
                Stored::Kept
            );
        }
        assert_eq!(table.insert(&key(8), 0, &Mark(1, 50), 100), Stored::NoRoom);
        *table.find_mut(&key(0), 0).unwrap() = Mark(3, 50);
        assert_eq!(table.find(&key(0), 0), Some(&Mark(3, 50)));
    }

    #[test]
    fn a_vacated_slot_is_free_again() {
        let mut table = Table::<Mark, 8>::new();
        for number in 0..8 {
            assert_eq!(
                table.insert(&key(number), 0, &Mark(2, 0), 100),
                Stored::Kept
            );
        }
        *table.find_mut(&key(5), 0).unwrap() = Mark::VACANT;
        assert_eq!(table.insert(&key(9), 0, &Mark(1, 0), 100), Stored::Kept);
        assert_eq!(table.find(&key(9), 0), Some(&Mark(1, 0)));
    }

    #[test]
    fn age_survives_the_wrap_of_the_clock() {
        let mut table = Table::<Mark, 8>::new();
        for number in 0..8 {
            let began = (u32::MAX - 3).wrapping_add(number.into());
            assert_eq!(
                table.insert(&key(number), 0, &Mark(1, began), 10),
                Stored::Kept
            );
        }
        match table.insert(&key(8), 0, &Mark(1, 10), 10) {
            Stored::Displaced(displaced) => assert_eq!(displaced.entry, Mark(1, u32::MAX - 3)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn doors_are_told_apart() {
        let mut table = Table::<Mark, 8>::new();
        assert_eq!(table.insert(&key(1), 0, &Mark(1, 0), 0), Stored::Kept);
        assert_eq!(table.find(&key(1), 1), None);
        table.revise(|_, _| 1);
        assert_eq!(table.find(&key(1), 1), Some(&Mark(1, 0)));
    }
}
