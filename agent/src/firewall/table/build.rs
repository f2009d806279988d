//! The table for a configuration.
//!
//! A packet from a guarded interface leaves at the second rule if it belongs to an
//! established TCP connection, so that bulk traffic meets a handful of expressions and a TCP
//! door needs no connection tracking. The rest is looked up by destination port.

use core::ops::RangeInclusive;

use postern_core::config::{Config, Guard, MAX_INTERFACES};
use postern_core::door::{Door, OnExpiry};
use postern_core::knock::{Port, PortRange, Protocol};

use super::delivery::Delivery;
use super::engines::{self, PortChain};
use super::model::{
    Chain, Content, MAX_CUTOFFS, MAX_GRANTS, PROTOCOLS, Rule, Set, Statement, Table, Verdict,
};
use super::names::{
    CUT, DECOY, FRAGMENT, GUARD, INPUT, INTERFACES, KNOCK, anyone, cutoffs, door_chain_name,
    grants, grants_identity, identity, interface_names, locked, map_name, numbers,
};
use super::ports::{port_map, sort};
use super::rules::{granted_to, ignoring_cutoffs, mark};
use crate::knock_ports;
use crate::network::Family;

impl Table {
    /// The table for a configuration, and for the knock ports that it names by a file only.
    pub(crate) fn new(config: &Config, listed: &[Port]) -> Self {
        let port_chains = engines::port_chains(config, listed);
        let mut sets = sets(config);
        for protocol in PROTOCOLS {
            sets.extend(guarded_ports(config, protocol));
        }
        let mut mapped = Vec::new();
        for protocol in PROTOCOLS {
            if let Some(map) = port_map(config, listed, &port_chains, protocol) {
                sets.push(map);
                mapped.push(protocol);
            }
        }
        sets.extend(cut_ports(config));
        Self {
            counters: config.doors.iter().flat_map(engines::counters).collect(),
            sets,
            chains: chains(config, port_chains, &mapped),
        }
    }
}

fn sets(config: &Config) -> Vec<Set> {
    let mut sets = vec![interfaces(config)];
    for door in &config.doors {
        sets.extend(door_sets(door));
        sets.extend(engines::sets(door));
    }
    if engines::needs_agent(config) {
        for family in Family::BOTH {
            let content = Content::TimedSources(family);
            sets.push(Set::new(cutoffs(family).to_owned(), content, MAX_CUTOFFS));
        }
    }
    sets
}

fn interfaces(config: &Config) -> Set {
    let content = Content::Interfaces(interface_names(config));
    Set::new(INTERFACES.to_owned(), content, MAX_INTERFACES as u32)
}

fn door_sets(door: &Door) -> Vec<Set> {
    let mut sets = Vec::new();
    for family in Family::BOTH {
        let content = match door.engine.is_in_kernel() {
            true => Content::DynamicSources(family),
            false => Content::TimedSources(family),
        };
        let set = Set::new(grants(family, &door.name), content, MAX_GRANTS);
        sets.push(set.described(grants_identity(door, family)));
    }
    sets.extend(engines::knocked_sets(door, MAX_GRANTS));
    for name in [anyone(&door.name), locked(&door.name)] {
        let set = Set::new(name, Content::TimedInterfaces, MAX_INTERFACES as u32);
        sets.push(set.described(identity(door)));
    }
    sets
}

fn chains(config: &Config, port_chains: Vec<PortChain>, mapped: &[Protocol]) -> Vec<Chain> {
    // It is never deleted, and the kernel lists what is made after it behind it.
    let mut chains = vec![input_chain(config)];
    if engines::needs_agent(config) {
        chains.push(knock_chain(config));
        chains.extend(decoy_chain(config));
        chains.extend(Delivery::of(&config.global).chain());
    }
    for door in &config.doors {
        chains.extend(engines::chains(door));
        chains.extend(engines::decoy_chain(config, door));
    }
    for port_chain in port_chains {
        chains.extend(port_chain.chain);
    }
    for door in &config.doors {
        chains.push(door_chain(config, door));
    }
    if guards_fragments(config) {
        chains.push(fragment_chain());
    }
    chains.push(guard_chain(config, mapped));
    chains
}

fn knock_chain(config: &Config) -> Chain {
    let mut rules = ignoring_cutoffs(&Verdict::Drop);
    rules.extend(Delivery::of(&config.global).knock(config));
    Chain::new(KNOCK.to_owned(), rules)
}

/// Listens, and leaves the packet to whoever it is for.
fn decoy_chain(config: &Config) -> Option<Chain> {
    let tell = Delivery::of(&config.global).decoy(config)?;
    let mut doors = config
        .doors
        .iter()
        .filter(|door| !door.engine.is_in_kernel());
    if !doors.any(|door| engines::has_decoys(config, door)) {
        return None;
    }
    let mut rules = ignoring_cutoffs(&Verdict::Accept);
    rules.push(tell);
    Some(Chain::new(DECOY.to_owned(), rules))
}

fn door_chain(config: &Config, door: &Door) -> Chain {
    let cuts = door.on_expiry == OnExpiry::Cut;
    let is_gate = config.global.guard == Guard::Gate;
    // Without its mark the packet is the ordinary firewall's to refuse.
    let shut = match is_gate || cuts {
        true => Verdict::Drop,
        false => Verdict::Accept,
    };
    let is_locked = Statement::ArrivedOn(locked(&door.name));
    let mut rules: Vec<Rule> = vec![vec![is_locked, Statement::Verdict(shut)]];
    let anyone = Statement::ArrivedOn(anyone(&door.name));
    rules.push(admit(config, anyone));
    for family in Family::BOTH {
        let by_hand = granted_to(door, family, grants(family, &door.name));
        rules.push(admit(config, by_hand));
    }
    if door.engine.is_in_kernel() {
        for family in Family::BOTH {
            rules.push(admit(config, engines::knocked_by(door, family)));
        }
    }
    let has_udp = (door.guards.iter()).any(|port| port.protocol == Protocol::Udp);
    // UDP has no SYN: only connection tracking knows that a flow was let in before.
    if is_gate && has_udp && !cuts {
        let accept = Statement::Verdict(Verdict::Accept);
        rules.push(vec![Statement::UdpFlow, accept]);
    }
    if is_gate || cuts {
        rules.push(vec![Statement::Verdict(Verdict::Drop)]);
    }
    Chain::new(door_chain_name(door), rules)
}

fn admit(config: &Config, granted: Statement) -> Rule {
    let mut rule = vec![granted];
    rule.extend(mark(config));
    rule.push(Statement::Verdict(Verdict::Accept));
    rule
}

/// Whether fragments could carry a packet past the ports: a gate must look at them, whereas
/// a packet without a mark is the ordinary firewall's to refuse.
fn guards_fragments(config: &Config) -> bool {
    config.global.guard == Guard::Gate
}

/// IPv6 fragments are put together after the input hook unless connection tracking did it
/// before (net/ipv6/reassembly.c), and a sender may split a packet inside its extension
/// headers, so that no fragment shows a port. Without its first fragment, a packet is never
/// put together: those that show no ports are dropped, as RFC 8200, section 4.5, allows.
fn fragment_chain() -> Chain {
    let accept = Statement::Verdict(Verdict::Accept);
    let rules = vec![
        vec![Statement::PortsReadable, accept],
        vec![Statement::Verdict(Verdict::Drop)],
    ];
    Chain::new(FRAGMENT.to_owned(), rules)
}

/// Compares with each name itself: whether a packet is guarded depends on rules alone, which
/// change all at once.
fn input_chain(config: &Config) -> Chain {
    let guarded = |name: String| {
        let goto = Statement::Verdict(Verdict::Goto(GUARD.to_owned()));
        vec![Statement::Arrived(name), goto]
    };
    Chain {
        name: INPUT.to_owned(),
        hooked: true,
        rules: interface_names(config).into_iter().map(guarded).collect(),
    }
}

fn guard_chain(config: &Config, mapped: &[Protocol]) -> Chain {
    let mut rules: Vec<Rule> = Vec::new();
    if cut_ports(config).is_some() {
        let cut = Statement::PortVerdict(Protocol::Tcp, CUT.to_owned());
        rules.push(vec![cut]);
    }
    let accept = Statement::Verdict(Verdict::Accept);
    rules.push(vec![Statement::NotOpening, accept]);
    for protocol in mapped {
        let verdict = Statement::PortVerdict(*protocol, map_name(*protocol));
        rules.push(vec![verdict]);
    }
    // Before the fragments: a first one that shows its ports is let through there.
    rules.extend(closing_rules(config));
    if guards_fragments(config) {
        let fragment = Statement::Verdict(Verdict::Goto(FRAGMENT.to_owned()));
        rules.push(vec![Statement::FirstFragment, fragment]);
    }
    Chain::new(GUARD.to_owned(), rules)
}

/// What keeps the gate shut for the moment in which the table is replaced, when a map of
/// ports can be empty: a packet that still follows the old rules finds a deleted map without
/// its elements from the commit on (`nft_map_deactivate`), and one that follows the new rules
/// a map of ranges until the end of the commit (`nft_rbtree_commit`).
///
/// A set that is no map and has no ranges keeps its elements for the one, and has them for
/// the other from the start.
fn closing_rules(config: &Config) -> Vec<Rule> {
    let mut rules = Vec::new();
    for protocol in PROTOCOLS {
        if let Some(ports) = guarded_ports(config, protocol) {
            let listed = Statement::PortIn(protocol, ports.name);
            rules.push(vec![listed, Statement::Verdict(Verdict::Drop)]);
        }
    }
    rules
}

/// The TCP ports of doors that cut: a grant that ends is then the end of every connection, whoever
/// lives to see it. `None`: there are none.
///
/// Behind guard `mark` too: that a connection is forgotten is not enough, because the ordinary
/// firewall knows it again as soon as the server sends something.
fn cut_ports(config: &Config) -> Option<Set> {
    let doors = (config.doors.iter()).filter(|door| door.on_expiry == OnExpiry::Cut);
    let mut ports: Vec<(RangeInclusive<u16>, String)> = Vec::new();
    for door in doors {
        for number in knock_ports::guarded(door, Protocol::Tcp) {
            ports.push((number..=number, door_chain_name(door)));
        }
    }
    sort(&mut ports);
    let size = ports.len() as u32;
    (size > 0).then(|| Set::new(CUT.to_owned(), Content::PortChains(ports), size))
}

/// The ports that a gate keeps shut, for [`closing_rules`]; `None`: there are none.
fn guarded_ports(config: &Config, protocol: Protocol) -> Option<Set> {
    match config.global.guard {
        Guard::Gate => ports_of_doors(config, protocol),
        Guard::Mark => None,
    }
}

/// The ports that doors guard; `None`: there are none.
pub(crate) fn ports_of_doors(config: &Config, protocol: Protocol) -> Option<Set> {
    let mut guards = Vec::new();
    for door in &config.doors {
        guards.extend(door.guards.iter().filter_map(PortRange::single));
    }
    let ports = numbers(&guards, protocol);
    // Of a known size it is a small hash table rather than a bitmap of all ports.
    let size = ports.len() as u32;
    let name = format!("{}_guarded", protocol.name());
    (size > 0).then(|| Set::new(name, Content::Ports(ports), size))
}
