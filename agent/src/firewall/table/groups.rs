//! Which doors guard which ports.
//!
//! Several doors may guard one port: whoever is let in by any of them may pass. Each set of doors
//! that guard a port has one chain, so that the table grows with the doors, not with their ports.

use core::ops::RangeInclusive;

use postern_core::config::{Config, Guard};
use postern_core::door::{Door, OnExpiry};
use postern_core::knock::Protocol;

use super::engines;
use super::model::{Chain, Content, PROTOCOLS, Rule, Set, Statement, Verdict};
use super::names::{
    CUT, anyone, door_chain_name, door_map, grants, group_chain_name, guarded_ports, locked,
};
use super::rules::{granted_to, mark};
use crate::knock_ports;
use crate::network::Family;

/// The doors of a configuration, by the ports that they guard.
pub(crate) struct Groups<'c> {
    config: &'c Config,
    /// Sets of doors, by their places in the configuration.
    groups: Vec<Vec<usize>>,
    /// Ports of each protocol in ascending order, and the place of the group that guards them.
    ports: [Vec<(RangeInclusive<u16>, usize)>; PROTOCOLS.len()],
}

impl<'c> Groups<'c> {
    pub(crate) fn new(config: &'c Config) -> Self {
        let mut groups = Vec::new();
        let ports = PROTOCOLS.map(|protocol| grouped(config, protocol, &mut groups));
        Self {
            config,
            groups,
            ports,
        }
    }

    /// The maps that lead from guarded ports to chains.
    pub(crate) fn maps(&self) -> Vec<Set> {
        let mut maps = Vec::new();
        for (protocol, ports) in PROTOCOLS.iter().zip(&self.ports) {
            let chains = ports.iter().map(|(ports, group)| {
                let chain = self.chain_name(*group);
                (ports.clone(), chain)
            });
            let chains: Vec<(RangeInclusive<u16>, String)> = chains.collect();
            if !chains.is_empty() {
                maps.push(Set {
                    name: door_map(*protocol),
                    content: Content::PortChains(chains),
                    size: None,
                    comment: None,
                });
            }
        }
        maps
    }

    /// The guarded ports of each protocol that has any.
    pub(crate) fn guarded(&self) -> Vec<(Protocol, Set)> {
        let mut guarded = Vec::new();
        for (protocol, ports) in PROTOCOLS.iter().zip(&self.ports) {
            let set = ports_set(
                guarded_ports(*protocol),
                ports.iter().map(|(ports, _)| ports),
            );
            guarded.extend(set.map(|set| (*protocol, set)));
        }
        guarded
    }

    /// The TCP ports of doors that cut: a grant that ends is then the end of every connection,
    /// whoever lives to see it. `None`: there are none.
    ///
    /// Behind guard `mark` too: that a connection is forgotten is not enough, because the ordinary
    /// firewall knows it again as soon as the server sends something.
    pub(crate) fn cut(&self) -> Option<Set> {
        let [tcp, ..] = &self.ports;
        let cut = tcp.iter().filter(|(_, group)| self.cuts(*group));
        ports_set(CUT.to_owned(), cut.map(|(ports, _)| ports))
    }

    /// The chains of doors, then those of groups of them.
    pub(crate) fn chains(&self) -> Vec<Chain> {
        let mut chains = Vec::new();
        for (place, door) in self.config.doors.iter().enumerate() {
            chains.push(self.door_chain(door, self.is_alone(place)));
        }
        for place in 0..self.groups.len() {
            chains.extend(self.group_chain(place));
        }
        chains
    }

    fn doors(&self, group: usize) -> impl Iterator<Item = &'c Door> {
        let places = self.groups.get(group).into_iter().flatten();
        let doors = &self.config.doors;
        places.filter_map(|place| doors.get(*place))
    }

    fn cuts(&self, group: usize) -> bool {
        self.doors(group).any(cuts)
    }

    /// Whether a door shares none of its ports, so that its chain decides.
    fn is_alone(&self, door: usize) -> bool {
        let mut its = (self.groups.iter()).filter(|group| group.contains(&door));
        its.all(|group| group.len() == 1)
    }

    fn chain_name(&self, group: usize) -> String {
        match self.groups.get(group).map(Vec::as_slice) {
            Some([door]) if self.is_alone(*door) => {
                self.doors(group).map(door_chain_name).collect()
            }
            _ => group_chain_name(group),
        }
    }

    /// What becomes of a packet that no door lets in.
    fn refusal(&self, cuts: bool) -> Option<Verdict> {
        // Without its mark the packet is the ordinary firewall's to refuse.
        (self.config.global.guard == Guard::Gate || cuts).then_some(Verdict::Drop)
    }

    /// Shows a packet to several doors. `None`: to one only, whose own chain decides.
    fn group_chain(&self, group: usize) -> Option<Chain> {
        if let Some([door]) = self.groups.get(group).map(Vec::as_slice)
            && self.is_alone(*door)
        {
            return None;
        }
        let jump = |door| vec![Statement::Verdict(Verdict::Jump(door_chain_name(door)))];
        let mut rules: Vec<Rule> = self.doors(group).map(jump).collect();
        let refusal = self.refusal(self.cuts(group));
        rules.extend(refusal.map(|verdict| vec![Statement::Verdict(verdict)]));
        Some(Chain::new(group_chain_name(group), rules))
    }

    /// Lets in whom a door is open to. If it is alone, nobody else.
    fn door_chain(&self, door: &Door, is_alone: bool) -> Chain {
        let config = self.config;
        let refusal = self.refusal(cuts(door));
        let shut = match (is_alone, &refusal) {
            (false, _) => Verdict::Return,
            (true, Some(refusal)) => refusal.clone(),
            (true, None) => Verdict::Accept,
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
        let is_gate = config.global.guard == Guard::Gate;
        // UDP has no SYN: only connection tracking knows that a flow was let in before.
        if is_gate && !cuts(door) && !guards_of(door, Protocol::Udp).is_empty() {
            let accept = Statement::Verdict(Verdict::Accept);
            rules.push(vec![Statement::UdpFlow, accept]);
        }
        if is_alone {
            rules.extend(refusal.map(|verdict| vec![Statement::Verdict(verdict)]));
        }
        Chain::new(door_chain_name(door), rules)
    }
}

fn cuts(door: &Door) -> bool {
    door.on_expiry == OnExpiry::Cut
}

fn admit(config: &Config, granted: Statement) -> Rule {
    let mut rule = vec![granted];
    rule.extend(mark(config));
    rule.push(Statement::Verdict(Verdict::Accept));
    rule
}

/// A set of ports of a known size, which is a small hash table rather than a bitmap of all ports.
fn ports_set<'r>(
    name: String,
    ports: impl Iterator<Item = &'r RangeInclusive<u16>>,
) -> Option<Set> {
    let ports: Vec<u16> = ports.map(|ports| *ports.start()).collect();
    let size = ports.len() as u32;
    (size > 0).then(|| Set::new(name, Content::Ports(ports), size))
}

/// What a door guards of a protocol.
fn guards_of(door: &Door, protocol: Protocol) -> Vec<RangeInclusive<u16>> {
    let numbers = knock_ports::guarded(door, protocol).into_iter();
    numbers.map(|number| number..=number).collect()
}

/// The guarded ports of a protocol, as long as the same doors guard them in one range; new groups
/// of doors are added to those that there are.
fn grouped(
    config: &Config,
    protocol: Protocol,
    groups: &mut Vec<Vec<usize>>,
) -> Vec<(RangeInclusive<u16>, usize)> {
    let guards: Vec<Vec<RangeInclusive<u16>>> = (config.doors.iter())
        .map(|door| guards_of(door, protocol))
        .collect();
    let mut starts: Vec<u32> = Vec::new();
    for guard in guards.iter().flatten() {
        starts.extend([u32::from(*guard.start()), u32::from(*guard.end()) + 1]);
    }
    starts.sort_unstable();
    starts.dedup();
    let mut grouped = Vec::new();
    for pair in starts.windows(2) {
        let [start, next] = pair else { continue };
        // Both are ports: no guard begins at what is behind the last.
        let (Ok(first), Ok(last)) = (u16::try_from(*start), u16::try_from(next - 1)) else {
            continue;
        };
        let is_its =
            |guards: &Vec<RangeInclusive<u16>>| guards.iter().any(|guard| guard.contains(&first));
        let doors = guards.iter().enumerate();
        let doors: Vec<usize> = (doors.filter(|(_, guards)| is_its(guards)))
            .map(|(place, _)| place)
            .collect();
        if doors.is_empty() {
            continue;
        }
        let group = match groups.iter().position(|group| *group == doors) {
            Some(group) => group,
            None => {
                groups.push(doors);
                groups.len() - 1
            }
        };
        grouped.push((first..=last, group));
    }
    grouped
}
