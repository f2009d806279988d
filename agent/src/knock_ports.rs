//! The ports at which knocks are heard, whatever hears them.

use core::ops::RangeInclusive;

use postern_core::config::Config;
use postern_core::door::Door;
use postern_core::knock::{Port, PortRange, Protocol};
use postern_core::{decoy, method};

use crate::collect::CollectVec;
use crate::sort::sort;

/// The ports of a protocol that the agent's doors knock on, in ascending order, none of them twice.
/// `listed` are those that the configuration names by a file only.
///
/// A guarded port beats a knock: whatever a configuration says, no port that it guards is left
/// open.
pub(crate) fn knocks(
    config: &Config,
    listed: &[Port],
    protocol: Protocol,
) -> Vec<RangeInclusive<u16>> {
    let mut knocks = watched(served(config), protocol);
    for number in numbers(listed, protocol) {
        knocks.push(number..=number);
    }
    let mut guards = Vec::new();
    for door in &config.doors {
        guards.extend(guarded(door, protocol));
    }
    sort(&mut guards, &|one, other| one < other);
    let mut left = Vec::new();
    for knocks in disjoint(knocks) {
        left.extend(between(knocks, &guards));
    }
    left
}

/// Those at which knocks pass on.
pub(crate) fn passing(config: &Config, protocol: Protocol) -> Vec<RangeInclusive<u16>> {
    disjoint(watched(
        served(config).filter(|door| door.passive),
        protocol,
    ))
}

/// The ports of a protocol that the configuration has these doors knock on.
fn watched<'d>(
    doors: impl Iterator<Item = &'d Door>,
    protocol: Protocol,
) -> Vec<RangeInclusive<u16>> {
    let mut watched = Vec::new();
    for door in doors {
        for (of, ports) in method::watched(door) {
            if of == protocol {
                watched.push(ports);
            }
        }
    }
    watched
}

/// The ports of a protocol that any door knocks on, in ascending order, none of them twice.
pub(crate) fn all(
    config: &Config,
    listed: &[Port],
    protocol: Protocol,
) -> Vec<RangeInclusive<u16>> {
    let mut knocks = watched(config.doors.iter(), protocol);
    for number in numbers(listed, protocol) {
        knocks.push(number..=number);
    }
    disjoint(knocks)
}

/// What is left of a range when others, in ascending order, are taken out of it.
pub(crate) fn between_ranges(
    range: RangeInclusive<u16>,
    taken: &[RangeInclusive<u16>],
) -> Vec<RangeInclusive<u16>> {
    let (mut left, mut start) = (Vec::new(), u32::from(*range.start()));
    let end = u32::from(*range.end());
    let others = taken.iter().filter(|other| other.end() >= range.start());
    let others = others.map(|other| (u32::from(*other.start()), u32::from(*other.end())));
    for (stop, last) in others.chain([(end + 1, end + 1)]) {
        let stop = stop.min(end + 1);
        // Both are ports: what is left begins behind what was taken, and ends before the next.
        if let (true, Ok(first), Ok(last)) = (
            start < stop,
            u16::try_from(start),
            u16::try_from(stop.wrapping_sub(1)),
        ) {
            left.push(first..=last);
        }
        start = start.max(last + 1);
    }
    left
}

/// The ports of a protocol that a door guards by name, and not only in a range.
pub(crate) fn guarded(door: &Door, protocol: Protocol) -> Vec<u16> {
    let ports: Vec<Port> = door
        .guards
        .iter()
        .filter_map(PortRange::single)
        .collect_vec();
    numbers(&ports, protocol)
}

/// The numbers of the ports of a protocol.
pub(crate) fn numbers(ports: &[Port], protocol: Protocol) -> Vec<u16> {
    let ports = ports.iter().filter(|port| port.protocol == protocol);
    ports.map(|port| port.number).collect_vec()
}

/// The decoys of the agent's doors and a protocol, in ascending order, less what is among these ports of it, which are
/// in that order too.
pub(crate) fn decoys(
    config: &Config,
    protocol: Protocol,
    less: &[RangeInclusive<u16>],
) -> Vec<RangeInclusive<u16>> {
    let mut decoys = Vec::new();
    for door in served(config) {
        let its = decoy::decoys(door, &config.doors).filter(|ports| ports.protocol == protocol);
        decoys.extend(its.map(|ports| ports.numbers()));
    }
    let mut left = Vec::new();
    for ports in disjoint(decoys) {
        left.extend(between_ranges(ports, less));
    }
    left
}

/// The doors that the agent serves.
pub(crate) fn served(config: &Config) -> impl Iterator<Item = &Door> {
    let doors = config.doors.iter();
    doors.filter(|door| !door.engine.is_in_kernel())
}

/// Ranges of these ports in ascending order, none of which is in two of them.
pub(crate) fn disjoint(mut ranges: Vec<RangeInclusive<u16>>) -> Vec<RangeInclusive<u16>> {
    sort(&mut ranges, &|one, other| one.start() < other.start());
    let mut disjoint: Vec<RangeInclusive<u16>> = Vec::new();
    for range in ranges {
        match disjoint.last_mut() {
            Some(last) if range.start() <= last.end() => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => disjoint.push(range),
        }
    }
    disjoint
}

/// What of a range is among these ranges, which are in ascending order, and what is not.
pub(crate) fn split(
    range: &RangeInclusive<u16>,
    among: &[RangeInclusive<u16>],
) -> Vec<(RangeInclusive<u16>, bool)> {
    let (mut parts, mut start) = (Vec::new(), Some(*range.start()));
    let overlaps =
        |one: &&RangeInclusive<u16>| one.start() <= range.end() && range.start() <= one.end();
    for other in among.iter().filter(overlaps) {
        let (first, last) = (
            *other.start().max(range.start()),
            *other.end().min(range.end()),
        );
        if let Some(start) = start
            && start < first
        {
            parts.push((start..=first - 1, false));
        }
        parts.push((first..=last, true));
        start = last.checked_add(1);
    }
    if let Some(start) = start
        && start <= *range.end()
    {
        parts.push((start..=*range.end(), false));
    }
    parts
}

/// What is left of a range when single ports, in ascending order, are taken out of it.
pub(crate) fn between(range: RangeInclusive<u16>, taken: &[u16]) -> Vec<RangeInclusive<u16>> {
    let (mut left, mut start) = (Vec::new(), u32::from(*range.start()));
    let end = u32::from(*range.end());
    let below = taken.partition_point(|port| port < range.start());
    let taken = taken.iter().skip(below).map(|port| u32::from(*port));
    let taken = taken.take_while(|port| *port <= end);
    for stop in taken.chain([end + 1]) {
        // Both are ports: no port is taken below the start, nor above the end.
        if let (Ok(first), Ok(last)) = (u16::try_from(start), u16::try_from(stop.wrapping_sub(1)))
            && first <= last
        {
            left.push(first..=last);
        }
        start = stop + 1;
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_split_where_others_begin_and_end() {
        assert_eq!(split(&(5..=9), &[]), [(5..=9, false)]);
        assert_eq!(split(&(5..=9), &[1..=4, 10..=11]), [(5..=9, false)]);
        assert_eq!(split(&(5..=9), &[1..=20]), [(5..=9, true)]);
        let parts = [(5..=5, false), (6..=6, true), (7..=7, false), (8..=9, true)];
        assert_eq!(split(&(5..=9), &[6..=6, 8..=12]), parts);
        let whole = split(&(0..=u16::MAX), &[0..=0, u16::MAX..=u16::MAX]);
        assert_eq!(
            whole,
            [(0..=0, true), (1..=65_534, false), (65_535..=65_535, true)]
        );
    }

    #[test]
    fn what_is_taken_out_of_a_range_leaves_its_pieces() {
        assert_eq!(between(5..=9, &[]), [5..=9]);
        assert_eq!(between(5..=9, &[4, 10]), [5..=9]);
        assert_eq!(between(5..=9, &[5, 9]), [6..=8]);
        assert_eq!(between(5..=9, &[6, 7]), [5..=5, 8..=9]);
        assert_eq!(between(5..=6, &[5, 6]), []);
        assert_eq!(between(0..=0, &[0]), []);
        assert_eq!(between(0..=u16::MAX, &[0, u16::MAX]), [1..=u16::MAX - 1]);
        assert_eq!(between_ranges(5..=9, &[]), [5..=9]);
        assert_eq!(between_ranges(5..=9, &[1..=4, 10..=12]), [5..=9]);
        assert_eq!(
            between_ranges(5..=9, &[1..=5, 7..=7, 9..=12]),
            [6..=6, 8..=8]
        );
        assert_eq!(between_ranges(5..=9, &[1..=20]), []);
        assert_eq!(
            between_ranges(0..=u16::MAX, &[0..=0, u16::MAX..=u16::MAX]),
            [1..=u16::MAX - 1]
        );
        assert_eq!(disjoint(vec![8..=9, 1..=7, 3..=4, 7..=7]), [1..=7, 8..=9]);
    }
}
