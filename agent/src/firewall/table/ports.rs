//! Which chain hears the knocks at each port.

use core::ops::RangeInclusive;

use postern_core::config::Config;
use postern_core::decoy;
use postern_core::knock::{Port, Protocol};

use super::delivery::Delivery;
use super::engines::PortChain;
use super::groups::Groups;
use super::model::{Content, Set};
use super::names::{DATAGRAM, DECOY, KNOCK, PASSING, knock_map};
use crate::collect::CollectVec;
use crate::knock_ports::{self, between, disjoint, split};
use crate::sort::sort;

/// Where a knock at each port goes; `None` where no door has one of this protocol.
///
/// A guarded port beats a knock: whatever a configuration says, no port that it guards is left
/// open. Decoys inside guarded ranges were heard before.
pub(crate) fn port_map(
    config: &Config,
    listed: &[Port],
    port_chains: &[PortChain],
    groups: &Groups<'_>,
    protocol: Protocol,
) -> Option<Set> {
    let mut ports: Vec<(RangeInclusive<u16>, String)> = Vec::new();
    for port_chain in port_chains
        .iter()
        .filter(|port_chain| port_chain.port.protocol == protocol && !groups.has(port_chain.port))
    {
        let number = port_chain.port.number;
        ports.push((number..=number, port_chain.name.clone()));
    }
    if protocol == Protocol::Udp {
        for terms in config.doors.iter().filter_map(|door| door.method.spa()) {
            ports.push((terms.port..=terms.port, DATAGRAM.to_owned()));
        }
    }
    // What is for the same port keeps its order.
    sort(&mut ports, &|(one, _), (other, _)| {
        one.start() < other.start()
    });
    ports.dedup();
    let taken: Vec<u16> = ports.iter().map(|(ports, _)| *ports.start()).collect_vec();
    let knocks = knock_ports::knocks(config, listed, protocol);
    let mut decoys = (config.doors.iter()).flat_map(|door| decoy::decoys(door, &config.doors));
    let with_ranges = decoys.any(|decoy| decoy.protocol == protocol)
        || knocks.iter().any(|knocks| knocks.start() < knocks.end());
    let mut elsewhere = groups.ports(protocol);
    elsewhere.extend(taken.iter().map(|number| *number..=*number));
    elsewhere.extend_from_slice(&knocks);
    for decoys in knock_ports::decoys(config, protocol, &disjoint(elsewhere)) {
        ports.push((decoys, DECOY.to_owned()));
    }
    let passing = knock_ports::passing(config, protocol);
    let tells = Delivery::of(&config.global).passing(config).is_some();
    for free in knocks
        .into_iter()
        .flat_map(|knocks| between(knocks, &taken))
    {
        for (part, passes) in split(&free, &passing) {
            match passes {
                true if tells => ports.push((part, PASSING.to_owned())),
                // They pass without a rule.
                true => {}
                false => ports.push((part, KNOCK.to_owned())),
            }
        }
    }
    // What is for the same port keeps its order.
    sort(&mut ports, &|(one, _), (other, _)| {
        one.start() < other.start()
    });
    // Single ports stay single, because a hash table is quicker than a tree; where there
    // must be a tree, fewer elements are better.
    if with_ranges {
        ports = joined(ports);
    }
    (!ports.is_empty()).then(|| Set {
        name: knock_map(protocol),
        content: Content::PortChains(ports),
        size: None,
        comment: None,
    })
}

/// Ranges, those of which that touch and go to one chain made one.
pub(crate) fn joined(
    ports: Vec<(RangeInclusive<u16>, String)>,
) -> Vec<(RangeInclusive<u16>, String)> {
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
    use postern_core::knock::Port;
    use postern_core::method;

    use super::*;
    use crate::firewall::table::engines::port_chains;
    use crate::firewall::tests::examples;

    /// The chain of a port, found in the simplest way.
    fn expected(config: &Config, listed: &[Port], port: Port) -> Option<String> {
        if config.doors.iter().any(|door| door.guards_alone(port)) {
            return None;
        }
        let mut knocked = config
            .doors
            .iter()
            .filter(|door| method::watches(door, port));
        match knocked.clone().any(|door| door.engine.is_in_kernel()) {
            true => Some(format!("at_{}_{}", port.protocol.name(), port.number)),
            false => (knocked.next().is_some() || listed.contains(&port)).then(|| KNOCK.to_owned()),
        }
    }

    #[test]
    fn every_port_goes_where_it_should() {
        let some = [
            "codes-gate",
            "clock",
            "list-gate",
            "list-and-code",
            "code-from-port-0",
            "chain-inside-a-code",
        ];
        let all = examples::all().into_iter();
        for example in all.filter(|example| some.contains(&example.name)) {
            let (config, listed) = ((example.config)(), example.listed);
            let port_chains = port_chains(&config, listed);
            let groups = Groups::new(&config, listed, &port_chains);
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let map = port_map(&config, listed, &port_chains, &groups, protocol);
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
}
