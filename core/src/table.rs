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

    /// What the entry is worth at this time; 0: nothing any more. `now` is in the unit of
    /// [`Entry::began`].
    fn rank(&self, now: u32) -> u8;

    /// Low 32 bits of the milliseconds at which it began.
    fn began(&self) -> u32;
}

/// Whose entry it is: the source's address (IPv4 as v4-mapped IPv6), and a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) source: [u8; 16],
    pub(crate) door: u8,
    /// Keyed hash of the source.
    pub(crate) hash: u64,
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
    /// As [`Table::fingerprint`] gave it for the entry's key.
    pub(crate) fingerprint: u64,
}

#[derive(Clone, Copy)]
struct Slot<E> {
    source: [u8; 16],
    tag: u32,
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
                tag: 0,
                door: 0,
                entry: E::VACANT,
            }; N],
        }
    }

    /// The source's entry at the door, or a vacant one.
    pub(crate) fn find(&self, key: &Key) -> E {
        let tag = tag(key);
        self.bucket(key)
            .iter()
            .find(|slot| slot.is(key, tag))
            .map_or(E::VACANT, |slot| slot.entry)
    }

    /// Stores the source's entry at the door. `now` is in the unit of [`Entry::began`].
    pub(crate) fn store(&mut self, key: &Key, entry: E, now: u32) -> Stored<E> {
        let tag = tag(key);
        let bucket = self.bucket_mut(key);
        if let Some(slot) = bucket.iter_mut().find(|slot| slot.is(key, tag)) {
            slot.entry = entry;
            return Stored::Kept;
        }
        if entry.is_vacant() {
            return Stored::Kept;
        }
        let worth = |slot: &&mut Slot<E>| {
            let age = now.wrapping_sub(slot.entry.began());
            (slot.entry.rank(now), u32::MAX - age)
        };
        let vacant = bucket.iter().position(|slot| slot.entry.is_vacant());
        let slot = match vacant {
            Some(vacant) => bucket.get_mut(vacant),
            None => bucket.iter_mut().min_by_key(worth),
        };
        match slot {
            Some(slot) if slot.entry.rank(now) <= entry.rank(now) => {
                let previous = Displaced {
                    entry: slot.entry,
                    door: slot.door,
                    fingerprint: Self::mark(slot.tag, key),
                };
                *slot = Slot {
                    source: key.source,
                    tag,
                    door: key.door,
                    entry,
                };
                match previous.entry.rank(now) {
                    0 => Stored::Kept,
                    _ => Stored::Displaced(previous),
                }
            }
            _ => Stored::NoRoom,
        }
    }

    /// What the table still knows of the key's hash when it has forgotten the address.
    pub(crate) fn fingerprint(key: &Key) -> u64 {
        Self::mark(tag(key), key)
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
        for slot in self.slots.iter_mut().filter(|slot| !slot.entry.is_vacant()) {
            slot.door = keep(slot.door, &mut slot.entry);
        }
    }

    fn bucket(&self, key: &Key) -> &[Slot<E>] {
        let start = Self::start(key);
        self.slots.get(start..start + WAYS).unwrap_or_default()
    }

    fn bucket_mut(&mut self, key: &Key) -> &mut [Slot<E>] {
        let start = Self::start(key);
        self.slots.get_mut(start..start + WAYS).unwrap_or_default()
    }

    fn start(key: &Key) -> usize {
        Self::number(key) * WAYS
    }

    /// The number of the key's bucket.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "any part of a hash will do"
    )]
    fn number(key: &Key) -> usize {
        key.hash as usize & (Self::BUCKETS - 1)
    }

    /// The fingerprint of a source that shares the bucket of `key` and has this tag.
    fn mark(tag: u32, key: &Key) -> u64 {
        u64::from(tag) << 32 | Self::number(key) as u64
    }
}

impl<E: Entry> Slot<E> {
    fn is(&self, key: &Key, tag: u32) -> bool {
        self.tag == tag
            && self.door == key.door
            && !self.entry.is_vacant()
            // As numbers: bytes would be compared one by one.
            && u128::from_ne_bytes(self.source) == u128::from_ne_bytes(key.source)
    }
}

/// The half of the hash that does not choose the bucket, compared before the address is.
const fn tag(key: &Key) -> u32 {
    (key.hash >> 32) as u32
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
        fn rank(&self, _: u32) -> u8 {
            self.0
        }
        fn began(&self) -> u32 {
            self.1
        }
    }

    /// Keys of one bucket, told apart by their address.
    fn key(number: u8) -> Key {
        Key {
            source: [number; 16],
            door: 0,
            hash: u64::from(number) << 32,
        }
    }

    #[test]
    fn a_bucket_takes_as_many_as_it_has_slots() {
        let mut table = Table::<Mark, 8>::new();
        for number in 0..8 {
            assert_eq!(
                table.store(&key(number), Mark(1, number.into()), 100),
                Stored::Kept
            );
        }
        assert_eq!(table.iter().count(), 8);
        for number in 0..8 {
            assert_eq!(table.find(&key(number)), Mark(1, number.into()));
        }
    }

    #[test]
    fn one_more_displaces_the_oldest_of_the_lowest_rank() {
        let mut table = Table::<Mark, 8>::new();
        for number in 0..8 {
            let rank = if number < 3 { 2 } else { 1 };
            assert_eq!(
                table.store(&key(number), Mark(rank, number.into()), 100),
                Stored::Kept
            );
        }
        let displaced = table.store(&key(8), Mark(1, 50), 100);
        let oldest = Displaced {
            entry: Mark(1, 3),
            door: 0,
            fingerprint: Table::<Mark, 8>::fingerprint(&key(3)),
        };
        assert_eq!(displaced, Stored::Displaced(oldest));
        assert_eq!(table.find(&key(3)), Mark::VACANT);
        assert_eq!(table.find(&key(0)), Mark(2, 0));
    }

    #[test]
    fn nobody_displaces_those_who_got_further() {
        let mut table = Table::<Mark, 8>::new();
        for number in 0..8 {
            assert_eq!(table.store(&key(number), Mark(2, 0), 100), Stored::Kept);
        }
        assert_eq!(table.store(&key(8), Mark(1, 50), 100), Stored::NoRoom);
        assert_eq!(table.store(&key(0), Mark(3, 50), 100), Stored::Kept);
        assert_eq!(table.find(&key(0)), Mark(3, 50));
    }

    #[test]
    fn a_vacated_slot_is_free_again() {
        let mut table = Table::<Mark, 8>::new();
        for number in 0..8 {
            assert_eq!(table.store(&key(number), Mark(2, 0), 100), Stored::Kept);
        }
        assert_eq!(table.store(&key(5), Mark::VACANT, 100), Stored::Kept);
        assert_eq!(table.store(&key(9), Mark(1, 0), 100), Stored::Kept);
        assert_eq!(table.find(&key(9)), Mark(1, 0));
    }

    #[test]
    fn age_survives_the_wrap_of_the_clock() {
        let mut table = Table::<Mark, 8>::new();
        for number in 0..8 {
            let began = (u32::MAX - 3).wrapping_add(number.into());
            assert_eq!(table.store(&key(number), Mark(1, began), 10), Stored::Kept);
        }
        match table.store(&key(8), Mark(1, 10), 10) {
            Stored::Displaced(displaced) => assert_eq!(displaced.entry, Mark(1, u32::MAX - 3)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn doors_are_told_apart() {
        let mut table = Table::<Mark, 8>::new();
        assert_eq!(table.store(&key(1), Mark(1, 0), 0), Stored::Kept);
        assert_eq!(table.find(&Key { door: 1, ..key(1) }), Mark::VACANT);
        table.revise(|_, _| 1);
        assert_eq!(table.find(&Key { door: 1, ..key(1) }), Mark(1, 0));
    }
}
