//! Guarded ports one by one and range by range, for rules that no replacement of the table empties.

use core::ops::RangeInclusive;

use postern_core::config::{Config, Guard};
use postern_core::door::Door;
use postern_core::knock::{Port, Protocol};

use super::groups::cuts;
use super::model::{Content, PROTOCOLS, Rule, Set, Statement, Verdict};
use super::names::{Scope, cut_ports, guarded_ports, spared_ports};
use crate::knock_ports::{self, disjoint};
use crate::sort::sort;

/// Ports of one protocol, and the set that holds those that stand alone.
pub(crate) struct Guarded {
    protocol: Protocol,
    name: String,
    single: Vec<u16>,
    /// No port is in two of them.
    ranges: Vec<RangeInclusive<u16>>,
}

impl Guarded {
    /// What doors guard. A set of a known size is a small hash table rather than a bitmap of all ports.
    fn by<'d>(name: String, protocol: Protocol, doors: impl Iterator<Item = &'d Door>) -> Self {
        let mut ports = Vec::new();
        for door in doors {
            let guards = door.guards.iter();
            let its = guards.filter(|guard| guard.protocol == protocol);
            ports.extend(its.map(|guard| guard.numbers()));
        }
        Self::new(name, protocol, ports)
    }

    fn new(name: String, protocol: Protocol, ports: Vec<RangeInclusive<u16>>) -> Self {
        let (mut single, mut ranges) = (Vec::new(), Vec::new());
        for ports in ports {
            match ports.start() == ports.end() {
                true => single.push(*ports.start()),
                false => ranges.push(ports),
            }
        }
        sort(&mut single, &u16::lt);
        single.dedup();
        Self {
            protocol,
            name,
            single,
            ranges: disjoint(ranges),
        }
    }

    /// The set of those that stand alone, if there are any.
    pub(crate) fn set(&self) -> Option<Set> {
        let size = self.single.len() as u32;
        let content = || Content::Ports(self.single.clone());
        (size > 0).then(|| Set::new(self.name.clone(), content(), size))
    }

    /// What is done with a packet to one of the ports.
    pub(crate) fn rules(&self, then: &[Statement]) -> Vec<Rule> {
        let mut rules: Vec<Rule> = Vec::new();
        if !self.single.is_empty() {
            rules.push(vec![Statement::PortIn(self.protocol, self.name.clone())]);
        }
        for range in &self.ranges {
            rules.push(vec![Statement::PortBetween(self.protocol, range.clone())]);
        }
        for rule in &mut rules {
            rule.extend_from_slice(then);
        }
        rules
    }
}

/// The TCP ports of doors that cut: a grant that ends is then the end of every connection, whoever
/// lives to see it.
///
/// Behind guard `mark` too: that a connection is forgotten is not enough, because the ordinary
/// firewall knows it again as soon as the server sends something.
pub(crate) fn cut(config: &Config) -> Guarded {
    let doors = config.doors.iter().filter(|door| cuts(door));
    Guarded::by(cut_ports(), Protocol::Tcp, doors)
}

/// The ports that a gate keeps shut, and what it does with packets to them.
///
/// It does so for the moment in which the table is replaced, when a map of ports can be empty: a packet
/// that still follows the old rules finds a deleted map without its elements from the commit on
/// (`nft_map_deactivate`), and one that follows the new rules a map of ranges until the end of the commit
/// (`nft_rbtree_commit`).
///
/// A set that is no map and has no ranges keeps its elements for the one, and has them for
/// the other from the start.
pub(crate) fn closing(config: &Config, listed: &[Port], scope: Scope) -> Vec<(Guarded, Verdict)> {
    let mut closing = Vec::new();
    if config.global.guard != Guard::Gate {
        return closing;
    }
    for protocol in PROTOCOLS {
        let doors = config.doors.iter().filter(|door| scope.has(door));
        let mut guarded = Guarded::by(guarded_ports(scope, protocol), protocol, doors);
        let ranges = core::mem::take(&mut guarded.ranges);
        closing.push((guarded, Verdict::Drop));
        if ranges.is_empty() {
            continue;
        }
        if scope == Scope::Local {
            let mut knocks = knock_ports::all(config, listed, protocol);
            let is_inside = |knocks: &RangeInclusive<u16>| {
                let mut ranges = ranges.iter();
                ranges.any(|range| range.start() <= knocks.end() && knocks.start() <= range.end())
            };
            knocks.retain(is_inside);
            let spared = Guarded::new(spared_ports(protocol), protocol, knocks);
            closing.push((spared, Verdict::Accept));
        }
        let ranges = Guarded {
            protocol,
            name: String::new(),
            single: Vec::new(),
            ranges,
        };
        closing.push((ranges, Verdict::Drop));
    }
    closing
}
