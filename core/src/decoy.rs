//! Decoys: ports around the knock ports that nobody who knows the sequence touches.
//!
//! Whoever scans for open ports hits the knock ports too, and scans often enough hit them
//! in the right order. Between two of them he will also hit decoys, and a hit at a decoy
//! ends an attempt like any wrong knock. Decoys are only listened to: whatever answers on
//! such a port, or does not, goes on as before, and a hit without an attempt under way
//! means nothing.
//!
//! They follow from the secret sequence, so they are the same after a restart and unknown to
//! whoever does not know it.

use crate::door::Door;
use crate::hash::Key;
use crate::knock::{Port, Protocol};
use crate::method::{self, since, stamp};
use crate::time::{Duration, Instant};

/// How far from a knock port its decoys lie at most.
const MAX_DISTANCE: u64 = 512;
/// Tries for each decoy before it is done without, where ports are crowded.
const TRIES_PER_DECOY: u64 = 16;

/// Sources whose hits are remembered.
const HIT_SLOTS: usize = 256;

/// Who hit a decoy last, and when.
///
/// A scan in random order has hit decoys before all knock ports but once in a thousand times (of 16 decoys and
/// three knocks), and one right after the other once in sixty. A later hit takes the place of an earlier one
/// whose hash has the same end: that is as if there had been none.
pub(crate) struct Hits([(u32, u32); HIT_SLOTS]);

impl Hits {
    pub(crate) const fn new() -> Self {
        Self([(0, 0); HIT_SLOTS])
    }

    /// Remembers a hit of the source with this hash.
    pub(crate) fn insert(&mut self, hash: u32, now: Instant) {
        if let Some(hit) = self.0.get_mut(hash as usize % HIT_SLOTS) {
            *hit = (hash, stamp(now).max(1));
        }
    }

    /// Whether the source hit one within this time, as far as is remembered.
    pub(crate) fn contains(&self, hash: u32, now: Instant, within: Duration) -> bool {
        let hit = self.0.get(hash as usize % HIT_SLOTS);
        hit.is_some_and(|&(by, at)| by == hash && at != 0 && since(at, now) <= within)
    }
}

/// The decoys of `door`, one of `doors`. The same port can come twice.
pub fn decoys<'d>(door: &'d Door, doors: &'d [Door]) -> impl Iterator<Item = Port> + 'd {
    // One-time methods have none: the ports of a code's range are decoys to each other, and nobody
    // can scan for a sequence that is used once.
    let steps = door.method.open();
    let seed = seed(steps);
    let numbers = 0..u64::from(door.decoys);
    // A scan of ports sends no echo requests.
    let near = steps.iter().filter(|step| step.protocol != Protocol::Icmp);
    numbers.zip(near.cycle()).filter_map(move |(number, step)| {
        let mut tries = (0..TRIES_PER_DECOY).map(|again| number * TRIES_PER_DECOY + again);
        tries.find_map(|number| neighbour(*step, seed, number).filter(|port| is_free(*port, doors)))
    })
}

/// Whether the door may have decoys.
pub fn may_have(door: &Door) -> bool {
    door.decoys > 0 && !door.method.open().is_empty()
}

/// For how long it has to be known who hit a decoy: a hit within the window of a door's attempts counts at it.
pub fn remembered_for(doors: &[Door]) -> Duration {
    let decoyed = doors.iter().filter(|door| may_have(door));
    decoyed.map(|door| door.window).max().unwrap_or_default()
}

/// A port near `step`.
fn neighbour(step: Port, seed: u64, number: u64) -> Option<Port> {
    let hash = mix(seed, number);
    let distance = u16::try_from(hash % MAX_DISTANCE + 1).ok()?;
    let number = match hash >> 32 & 1 {
        0 => step.number.checked_add(distance)?,
        _ => step
            .number
            .checked_sub(distance)
            .filter(|number| *number > 0)?,
    };
    Some(Port { number, ..step })
}

fn is_free(port: Port, doors: &[Door]) -> bool {
    !doors
        .iter()
        .any(|door| door.guards_alone(port) || method::watches(door, port))
}

fn seed(steps: &[Port]) -> u64 {
    let protocol = |port: &Port| u64::from(port.protocol.number()) << 16;
    steps.iter().fold(0, |seed, port| {
        mix(seed, protocol(port) | u64::from(port.number))
    })
}

fn mix(seed: u64, value: u64) -> u64 {
    let key = Key::new(seed.to_le_bytes());
    let half = |number: u64| {
        u64::from(key.hash((u128::from(number) << 64 | u128::from(value)).to_le_bytes()))
    };
    half(1) << 32 | half(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use super::*;
    use crate::door::{Method, Sequence};
    use crate::knock::tcp;

    fn same(steps: &[Port]) -> Door {
        let steps = Sequence::from_slice(steps).unwrap();
        Door::new("ssh", &[tcp(22)], Method::Same { steps }).unwrap()
    }

    #[test]
    fn they_surround_the_knocks_and_are_always_the_same() {
        let door = same(&[tcp(7000), tcp(9000)]);
        let doors = [door.clone()];
        let found: Vec<Port> = decoys(&door, &doors).collect();
        assert_eq!(found.len(), 16);
        assert_eq!(found, decoys(&door, &doors).collect::<Vec<_>>());
        for (decoy, near) in found.iter().zip([7000u16, 9000].iter().cycle()) {
            assert!(
                (1..=512).contains(&decoy.number.abs_diff(*near)),
                "{decoy:?}"
            );
        }
    }

    #[test]
    fn another_sequence_has_others() {
        let all = |steps: &[Port]| {
            let door = same(steps);
            let doors = [door.clone()];
            decoys(&door, &doors).collect::<BTreeSet<_>>()
        };
        assert_ne!(all(&[tcp(7000), tcp(9000)]), all(&[tcp(7000), tcp(9001)]));
    }

    #[test]
    fn they_are_nobodys_knock_and_nobodys_service() {
        let crowd: Vec<Port> = (1..=32).map(tcp).collect();
        let mut other = same(&crowd);
        other.guards = (33..=48).map(|number| tcp(number).into()).collect();
        let doors = [same(&[tcp(20), tcp(65535)]), other];
        for decoy in doors.iter().flat_map(|door| decoys(door, &doors)) {
            assert!(decoy.number > 48 && decoy.number < 65535, "{decoy:?}");
        }
    }
}
