//! Decoys: ports around the knock ports that nobody who knows the sequence touches.
//!
//! Whoever scans for open ports hits the knock ports too, and scans often enough hit them
//! in the right order. Between two of them he will also hit decoys, and a hit at a decoy
//! ends an attempt like any wrong knock. Decoys are only listened to: whatever answers on
//! such a port, or does not, goes on as before, and a hit without an attempt under way
//! means nothing.
//!
//! A decoy is a block of adjacent ports: as easy to keep as one port, and as hard to miss as all of them.
//!
//! They follow from the secret sequence, so they are the same after a restart and unknown to
//! whoever does not know it.

use heapless::Vec;

use crate::door::{Door, MAX_DECOYS};
use crate::hash::Key;
use crate::knock::{Port, PortRange, Protocol};
use crate::method::{self, since, stamp};
use crate::time::{Duration, Instant};

/// The ports of each decoy.
pub const PORTS: u16 = 8;
/// How far from a knock port its decoys begin at most.
const MAX_DISTANCE: u64 = 512;
/// Tries for each decoy before it is done without, where ports are crowded.
const TRIES_PER_DECOY: u64 = 16;

/// Sources whose hits are remembered.
const HIT_SLOTS: usize = 256;

/// Who hit a decoy last, and when.
///
/// A later hit takes the place of an earlier one
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

/// The decoys of `door`, one of `doors`, none of which overlap.
pub fn decoys<'d>(door: &'d Door, doors: &'d [Door]) -> impl Iterator<Item = PortRange> + 'd {
    // One-time methods have none: the ports of a code's range are decoys to each other, and nobody
    // can scan for a sequence that is used once.
    let steps = door.method.open();
    let seed = seed(steps);
    let numbers = 0..u64::from(door.decoys);
    // A scan of ports sends no echo requests.
    let near = steps.iter().filter(|step| step.protocol != Protocol::Icmp);
    let mut found: Vec<PortRange, { MAX_DECOYS as usize }> = Vec::new();
    numbers.zip(near.cycle()).filter_map(move |(number, step)| {
        let mut tries = (0..TRIES_PER_DECOY).map(|again| number * TRIES_PER_DECOY + again);
        let is_new = |ports: &PortRange| !found.iter().any(|other| other.overlaps(ports));
        let decoy = tries.find_map(|number| {
            let ports = neighbour(*step, seed, number)?;
            (is_new(&ports) && is_free(&ports, doors)).then_some(ports)
        });
        // There is room for all of them.
        decoy.inspect(|decoy| _ = found.push(*decoy))
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

/// Ports near `step`.
fn neighbour(step: Port, seed: u64, number: u64) -> Option<PortRange> {
    let hash = mix(seed, number);
    let distance = u16::try_from(hash % MAX_DISTANCE + 1).ok()?;
    let first = match hash >> 32 & 1 {
        0 => step.number.checked_add(distance)?,
        _ => (step.number.checked_sub(distance + PORTS - 1)).filter(|first| *first > 0)?,
    };
    Some(PortRange {
        protocol: step.protocol,
        first,
        last: first.checked_add(PORTS - 1)?,
    })
}

fn is_free(ports: &PortRange, doors: &[Door]) -> bool {
    let guards_alone = |door: &Door| {
        let mut guards = door.guards.iter();
        guards.any(|guard| guard.first == guard.last && guard.overlaps(ports))
    };
    !(doors.iter()).any(|door| guards_alone(door) || method::watches_any(door, ports))
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
    use crate::knock::{tcp, udp};

    fn same(steps: &[Port]) -> Door {
        let steps = Sequence::from_slice(steps).unwrap();
        Door::new("ssh", &[tcp(22)], Method::Same { steps }).unwrap()
    }

    #[test]
    fn they_surround_the_knocks_and_are_always_the_same() {
        let door = same(&[tcp(7000), tcp(9000)]);
        let doors = [door.clone()];
        let found: Vec<PortRange> = decoys(&door, &doors).collect();
        assert_eq!(found.len(), 16);
        assert_eq!(found, decoys(&door, &doors).collect::<Vec<_>>());
        for (decoy, near) in found.iter().zip([7000u16, 9000].iter().cycle()) {
            assert_eq!(decoy.numbers().len(), usize::from(PORTS));
            for number in decoy.numbers() {
                let distance = number.abs_diff(*near);
                assert!((1..=512 + PORTS).contains(&distance), "{decoy:?}");
            }
        }
        let ports: BTreeSet<u16> = found.iter().flat_map(PortRange::numbers).collect();
        assert_eq!(ports.len(), 16 * usize::from(PORTS));
    }

    #[test]
    fn as_many_as_there_can_be_have_ports_of_their_own() {
        for number in [1, 300, 40_000, 65_535] {
            let mut door = same(&[tcp(number), udp(number), tcp(number / 2 + 1)]);
            door.decoys = MAX_DECOYS;
            let doors = [door.clone()];
            let found: Vec<PortRange> = decoys(&door, &doors).collect();
            let all = found.iter().enumerate();
            let overlap = |(place, one): (usize, &PortRange)| {
                let mut before = found.iter().take(place);
                before.any(|other| other.overlaps(one))
            };
            assert!(!all.clone().any(overlap));
            assert!(found.len() >= 30, "{number}: {}", found.len());
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
            assert!(decoy.first > 48 && decoy.last < 65535, "{decoy:?}");
        }
    }
}
