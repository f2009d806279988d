//! Which chain decides about each port.

use core::ops::RangeInclusive;
use std::collections::BTreeMap;

use postern_core::config::Config;
use postern_core::decoy;
use postern_core::knock::{Port, Protocol};
use postern_core::method;

use super::hearing::Hearing;
use super::ruleset::{Content, DECOY, KNOCK, Set, door_chain_name, map_name};

/// Where a packet to each port goes; `None` where no door has a port of this protocol.
///
/// A guarded port beats a knock, and an earlier door a later one: whatever a configuration
/// says, no port that it guards is left open.
pub(super) fn port_map(config: &Config, listed: &[Port], protocol: Protocol) -> Option<Set> {
    let mut guards = BTreeMap::new();
    for door in &config.doors {
        for port in door.guards.iter().filter(|port| port.protocol == protocol) {
            guards
                .entry(port.number)
                .or_insert_with(|| door_chain_name(door));
        }
    }
    let knocks = disjoint(knocks(config, listed, protocol));
    let with_ranges = knocks.iter().any(|knocks| knocks.start() < knocks.end());
    let mut ports: Vec<(RangeInclusive<u16>, String)> = knocks
        .into_iter()
        .flat_map(|knocks| between(knocks, &guards))
        .map(|ports| (ports, KNOCK.to_owned()))
        .collect();
    if Hearing::of(&config.global).tell(config).is_some() {
        ports.extend(decoys(config, protocol, &ports));
    }
    ports.extend(guards.into_iter().map(|(port, chain)| (port..=port, chain)));
    ports.sort_by_key(|(ports, _)| *ports.start());
    // Single ports stay single, because a hash table is quicker than a tree; where there
    // must be a tree, fewer elements are better.
    if with_ranges {
        ports = joined(ports);
    }
    (!ports.is_empty()).then(|| Set {
        name: map_name(protocol),
        content: Content::PortChains(ports),
        size: None,
        comment: None,
    })
}

/// The decoys of a protocol that no list knocks on. No other knock and no guard is a decoy.
fn decoys(
    config: &Config,
    protocol: Protocol,
    knocks: &[(RangeInclusive<u16>, String)],
) -> Vec<(RangeInclusive<u16>, String)> {
    let decoys = (config.doors.iter()).flat_map(|door| decoy::decoys(door, &config.doors));
    let mut numbers: Vec<u16> = decoys
        .filter(|port| port.protocol == protocol)
        .map(|port| port.number)
        .filter(|number| !knocks.iter().any(|(knocks, _)| knocks.contains(number)))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    let to_decoy = |number| (number..=number, DECOY.to_owned());
    numbers.into_iter().map(to_decoy).collect()
}

/// The ports that knocks of a protocol hit, in any order.
fn knocks(config: &Config, listed: &[Port], protocol: Protocol) -> Vec<RangeInclusive<u16>> {
    let watched = config.doors.iter().flat_map(method::watched);
    let listed = listed
        .iter()
        .map(|port| (port.protocol, port.number..=port.number));
    watched
        .chain(listed)
        .filter(|(of, _)| *of == protocol)
        .map(|(_, ports)| ports)
        .collect()
}

/// The same ports in ascending order, none of them twice.
fn disjoint(mut ranges: Vec<RangeInclusive<u16>>) -> Vec<RangeInclusive<u16>> {
    ranges.sort_unstable_by_key(|range| *range.start());
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

/// What is left of a range when single ports are taken out of it.
fn between<T>(range: RangeInclusive<u16>, taken: &BTreeMap<u16, T>) -> Vec<RangeInclusive<u16>> {
    let (mut left, mut start) = (Vec::new(), u32::from(*range.start()));
    let end = u32::from(*range.end());
    let taken = taken.range(range).map(|(port, _)| u32::from(*port));
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

/// The same, with neighbours that go to the same chain made one.
fn joined(ports: Vec<(RangeInclusive<u16>, String)>) -> Vec<(RangeInclusive<u16>, String)> {
    let mut joined: Vec<(RangeInclusive<u16>, String)> = Vec::new();
    for (ports, chain) in ports {
        match joined.last_mut() {
            Some((last, to))
                if last.end().checked_add(1) == Some(*ports.start()) && *to == chain =>
            {
                *last = *last.start()..=*ports.end();
            }
            _ => joined.push((ports, chain)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::examples;

    /// The chain of a port, found in the simplest way.
    fn expected(config: &Config, listed: &[Port], port: Port) -> Option<String> {
        if let Some(door) = config.doors.iter().find(|door| door.guards.contains(&port)) {
            return Some(door_chain_name(door));
        }
        let watched = config.doors.iter().flat_map(method::watched);
        let is_it = |(protocol, ports): (Protocol, RangeInclusive<u16>)| {
            protocol == port.protocol && ports.contains(&port.number)
        };
        (watched.into_iter().any(is_it) || listed.contains(&port)).then(|| KNOCK.to_owned())
    }

    #[test]
    fn every_port_goes_where_it_should() {
        let some = [
            "codes-gate",
            "clock",
            "list-gate",
            "list-and-code",
            "code-from-port-0",
        ];
        let all = examples::all().into_iter();
        for example in all.filter(|example| some.contains(&example.name)) {
            let (config, listed) = ((example.config)(), example.listed);
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let map = port_map(&config, listed, protocol);
                let ports = match map.map(|map| map.content) {
                    Some(Content::PortChains(ports)) => ports,
                    _ => Vec::new(),
                };
                for number in 0..=u16::MAX {
                    let port = Port { protocol, number };
                    let chains: Vec<&String> = ports
                        .iter()
                        .filter(|(ports, _)| ports.contains(&number))
                        .map(|(_, chain)| chain)
                        .collect();
                    let expected = expected(&config, listed, port);
                    assert_eq!(chains, expected.iter().collect::<Vec<_>>(), "{port:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_taken_out_of_a_range_leaves_its_pieces() {
        let left =
            |range, taken: &[u16]| between(range, &taken.iter().map(|port| (*port, ())).collect());
        assert_eq!(left(5..=9, &[]), [5..=9]);
        assert_eq!(left(5..=9, &[4, 10]), [5..=9]);
        assert_eq!(left(5..=9, &[5, 9]), [6..=8]);
        assert_eq!(left(5..=9, &[6, 7]), [5..=5, 8..=9]);
        assert_eq!(left(5..=6, &[5, 6]), []);
        assert_eq!(left(0..=0, &[0]), []);
        assert_eq!(left(0..=u16::MAX, &[0, u16::MAX]), [1..=u16::MAX - 1]);
        assert_eq!(disjoint(vec![8..=9, 1..=7, 3..=4, 7..=7]), [1..=7, 8..=9]);
    }
}
