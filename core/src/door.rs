//! A door: guarded ports, the knocks that open and close them, and for how long.

use heapless::{String, Vec};

use crate::knock::Port;
use crate::time::Duration;

/// The most doors one configuration can have: a set of doors is the bits of a `u64`.
pub const MAX_DOORS: usize = 64;
/// The most ports one door can guard.
pub const MAX_GUARDS: usize = 16;
/// The most knocks in one sequence, as in knockd.
pub const MAX_STEPS: usize = 32;
/// The longest door name. nftables allows 255 characters; people read it in a column.
pub const MAX_NAME: usize = 24;

/// A door's name: `[A-Za-z0-9_]`, a letter first.
pub type Name = String<MAX_NAME>;
/// Ports to knock on, in this order.
pub type Sequence = Vec<Port, MAX_STEPS>;

/// A guarded service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// What the administrator calls it.
    pub name: Name,
    /// The ports that stay shut unless a source was granted access.
    pub guards: Vec<Port, MAX_GUARDS>,
    /// How the ports to knock are chosen.
    pub method: Method,
    /// The time from the first knock of an attempt to its last.
    pub window: Duration,
    /// How long a grant lasts.
    pub grant: Duration,
    /// When to stop listening to a source that keeps failing; `None`: never.
    pub cutoff: Option<Cutoff>,
}

/// How the ports to knock are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// One sequence opens, another closes. An empty `close` means that only time closes the door.
    SequenceSeparate {
        /// The knocks that open.
        open: Sequence,
        /// The knocks that close.
        close: Sequence,
    },
}

/// Brute-force cut-off: this many failed attempts within this time silence a source for as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cutoff {
    /// The failure that reaches this number cuts the source off; at least 1.
    pub failures: u16,
    /// The window in which failures count, and how long the source is then ignored.
    pub within: Duration,
}

/// A set of doors, by their index in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DoorSet(u64);

impl DoorSet {
    /// No door.
    pub const EMPTY: Self = Self(0);

    /// Adds a door; an index that no configuration can have is ignored.
    pub fn insert(&mut self, door: usize) {
        if door < MAX_DOORS {
            self.0 |= 1 << door;
        }
    }

    /// Whether the door is in the set.
    pub const fn contains(self, door: usize) -> bool {
        door < MAX_DOORS && self.0 >> door & 1 == 1
    }

    /// Whether no door is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many doors are in the set.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }
}

impl Iterator for DoorSet {
    type Item = usize;

    /// Takes the door with the lowest index out of the set.
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let door = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(door)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_doors_yields_its_members_in_order() {
        let mut doors = DoorSet::EMPTY;
        for door in [63, 0, 5, 5, MAX_DOORS, usize::MAX] {
            doors.insert(door);
        }
        assert!(doors.contains(63) && !doors.contains(64) && !doors.contains(1));
        assert!(doors.eq([0, 5, 63]));
    }
}
