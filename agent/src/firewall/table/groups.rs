//! Which doors guard which ports.
//!
//! Several doors may guard one port: whoever is let in by any of them may pass. Each set of doors
//! that guard a port has one chain, so that the table grows with the doors, not with their ports.

use core::ops::RangeInclusive;

use postern_core::config::{Config, Guard};
use postern_core::door::{Door, OnExpiry};
use postern_core::knock::{Port, Protocol};

use super::engines::{self, PortChain};
use super::model::{Chain, Content, PROTOCOLS, Rule, Set, Statement, Verdict};
use super::names::{
    DECOY, Scope, anyone, decoyed_chain_name, door_chain_name, door_map, grants, group_chain_name,
    locked,
};
use super::ports::joined;
use super::rules::{granted_to, mark};
use crate::collect::CollectVec;
use crate::knock_ports::{self, between_ranges, disjoint};
use crate::network::Family;
use crate::sort::sort;

/// The doors of a configuration, by the ports that they guard.
pub(crate) struct Groups<'c> {
    config: &'c Config,
    /// Sets of doors, by their places in the configuration.
    groups: Vec<Vec<usize>>,
    /// Chains that have a packet heard as a hit at a decoy, each with the group that decides about it.
    decoyed: Vec<(String, usize)>,
    /// Where the maps of ports lead.
    maps: Vec<(Scope, Protocol, Vec<Piece>)>,
    /// The groups that guard echo requests.
    echo: Vec<(Scope, usize)>,
}

/// Ports, as long as the same doors guard them.
struct Piece {
    ports: RangeInclusive<u16>,
    group: usize,
    /// The place of what hears them as decoys.
    decoyed: Option<usize>,
}

impl<'c> Groups<'c> {
    /// `listed` are the knock ports that the configuration names by a file only.
    pub(crate) fn new(config: &'c Config, listed: &[Port], port_chains: &[PortChain]) -> Self {
        let mut groups = Self {
            config,
            groups: Vec::new(),
            decoyed: Vec::new(),
            maps: Vec::new(),
            echo: Vec::new(),
        };
        for scope in Scope::ALL {
            for protocol in PROTOCOLS {
                // Knocks are heard at addresses of this machine.
                let (knocks, decoys) = match scope {
                    Scope::Local => {
                        let knocks = knock_ports::all(config, listed, protocol);
                        let decoys = decoys(config, &knocks, port_chains, protocol);
                        (knocks, decoys)
                    }
                    Scope::Behind => (Vec::new(), Vec::new()),
                };
                let pieces = groups.pieces(scope, protocol, &knocks, &decoys);
                groups.maps.push((scope, protocol, pieces));
            }
            let doors = config.doors.iter().enumerate();
            let pinged = doors.filter(|(_, door)| {
                let mut guards = door.guards.iter();
                scope.has(door) && guards.any(|guard| guard.protocol == Protocol::Icmp)
            });
            let pinged: Vec<usize> = pinged.map(|(place, _)| place).collect_vec();
            if !pinged.is_empty() {
                let group = groups.place_of(pinged);
                groups.echo.push((scope, group));
            }
        }
        groups
    }

    /// The maps that lead from guarded ports to chains.
    pub(crate) fn maps(&self) -> Vec<Set> {
        let names: Vec<String> = (0..self.groups.len())
            .map(|group| self.chain_name(group))
            .collect_vec();
        let mut maps = Vec::new();
        for (scope, protocol, pieces) in &self.maps {
            let chains = pieces.iter().map(|piece| {
                let chain = match piece.decoyed {
                    Some(place) => decoyed_chain_name(place),
                    None => names.get(piece.group).cloned().unwrap_or_default(),
                };
                (piece.ports.clone(), chain)
            });
            let mut chains: Vec<(RangeInclusive<u16>, String)> = chains.collect_vec();
            if (chains.iter()).any(|(ports, _)| ports.start() < ports.end()) {
                chains = joined(chains);
            }
            if !chains.is_empty() {
                maps.push(Set {
                    name: door_map(*scope, *protocol),
                    content: Content::PortChains(chains),
                    size: None,
                    comment: None,
                });
            }
        }
        maps
    }

    /// Whether a port of this machine leads to a door.
    pub(crate) fn has(&self, port: Port) -> bool {
        let mut maps = self.maps.iter();
        maps.any(|(scope, protocol, pieces)| {
            let mut pieces = pieces.iter();
            (*scope, *protocol) == (Scope::Local, port.protocol)
                && pieces.any(|piece| piece.ports.contains(&port.number))
        })
    }

    /// The ports of this machine that lead to doors.
    pub(crate) fn ports(&self, protocol: Protocol) -> Vec<RangeInclusive<u16>> {
        let maps = self.maps.iter();
        let its = maps.filter(|(scope, of, _)| (*scope, *of) == (Scope::Local, protocol));
        let pieces = its.flat_map(|(_, _, pieces)| pieces);
        pieces.map(|piece| piece.ports.clone()).collect_vec()
    }

    /// What leads echo requests to their doors.
    pub(crate) fn echo_rules(&self, scope: Scope) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (_, group) in self.echo.iter().filter(|(of, _)| *of == scope) {
            for family in Family::BOTH {
                let chain = Verdict::Goto(self.chain_name(*group));
                rules.push(vec![
                    Statement::EchoRequest(family),
                    Statement::Verdict(chain),
                ]);
            }
        }
        rules
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
        for (place, (hearing, group)) in self.decoyed.iter().enumerate() {
            let decides = Verdict::Goto(self.chain_name(*group));
            let rules = [Verdict::Jump(hearing.clone()), decides];
            let rules = rules.map(|verdict| vec![Statement::Verdict(verdict)]);
            chains.push(Chain::new(decoyed_chain_name(place), rules.to_vec()));
        }
        chains
    }

    /// The guarded ports of a protocol, less these knocks where they lie in ranges of several. At decoys,
    /// those ranges are divided.
    fn pieces(
        &mut self,
        scope: Scope,
        protocol: Protocol,
        knocks: &[RangeInclusive<u16>],
        decoys: &[(RangeInclusive<u16>, String)],
    ) -> Vec<Piece> {
        let guards: Vec<Vec<RangeInclusive<u16>>> = (self.config.doors.iter())
            .map(|door| match scope.has(door) {
                true => guards_of(door, protocol, knocks),
                false => Vec::new(),
            })
            .collect_vec();
        let mut starts: Vec<u32> = Vec::new();
        for guard in guards.iter().flatten() {
            starts.extend([u32::from(*guard.start()), u32::from(*guard.end()) + 1]);
        }
        for (decoy, _) in decoys {
            starts.extend([u32::from(*decoy.start()), u32::from(*decoy.end()) + 1]);
        }
        sort(&mut starts, &u32::lt);
        starts.dedup();
        let mut pieces = Vec::new();
        for pair in starts.windows(2) {
            let [start, next] = pair else { continue };
            // Both are ports: nothing begins at what is behind the last.
            let (Ok(first), Ok(last)) = (u16::try_from(*start), u16::try_from(next - 1)) else {
                continue;
            };
            let is_its = |guards: &Vec<RangeInclusive<u16>>| {
                let place = guards.partition_point(|guard| *guard.end() < first);
                guards
                    .get(place)
                    .is_some_and(|guard| guard.contains(&first))
            };
            let doors = guards.iter().enumerate();
            let doors: Vec<usize> = (doors.filter(|(_, guards)| is_its(guards)))
                .map(|(place, _)| place)
                .collect_vec();
            if doors.is_empty() {
                continue;
            }
            let group = self.place_of(doors);
            let hears = decoys.iter().find(|(decoy, _)| decoy.contains(&first));
            let decoyed = hears.map(|(_, hearing)| self.place_of_decoyed(hearing, group));
            pieces.push(Piece {
                ports: first..=last,
                group,
                decoyed,
            });
        }
        pieces
    }

    /// The place of a group, which is added unless it is there.
    fn place_of(&mut self, doors: Vec<usize>) -> usize {
        match self.groups.iter().position(|group| *group == doors) {
            Some(place) => place,
            None => {
                self.groups.push(doors);
                self.groups.len() - 1
            }
        }
    }

    fn place_of_decoyed(&mut self, hearing: &str, group: usize) -> usize {
        let mut decoyed = self.decoyed.iter();
        match decoyed.position(|(chain, of)| chain == hearing && *of == group) {
            Some(place) => place,
            None => {
                self.decoyed.push((hearing.to_owned(), group));
                self.decoyed.len() - 1
            }
        }
    }

    fn doors(&self, group: usize) -> impl Iterator<Item = &'c Door> {
        let places = self.groups.get(group).into_iter().flatten();
        let doors = &self.config.doors;
        places.filter_map(|place| doors.get(*place))
    }

    /// Whether a door shares none of its ports and guards them everywhere, so that its chain decides.
    fn is_alone(&self, place: usize) -> bool {
        let mut its = self.groups.iter().filter(|group| group.contains(&place));
        let door = self.config.doors.get(place);
        door.is_some_and(|door| self.is_everywhere(door)) && its.all(|it| it.len() == 1)
    }

    /// The door whose chain decides about the ports of a group.
    fn only_door(&self, group: usize) -> Option<&'c Door> {
        match self.groups.get(group)?.as_slice() {
            [place] if self.is_alone(*place) => self.config.doors.get(*place),
            _ => None,
        }
    }

    fn chain_name(&self, group: usize) -> String {
        match self.only_door(group) {
            Some(door) => door_chain_name(door),
            None => group_chain_name(group),
        }
    }

    /// Where a door guards: any of these, of which one without a statement is everywhere.
    fn conditions(&self, door: &Door) -> Vec<Rule> {
        let global = &self.config.global;
        let mut arrivals: Vec<Rule> = Vec::new();
        if door.interfaces.is_empty() {
            arrivals.push(Vec::new());
        } else {
            let its = global.interfaces_of(door);
            let names = global.interfaces.iter().enumerate();
            for (_, name) in names.filter(|(place, _)| its.contains(*place)) {
                arrivals.push(vec![Statement::Arrived(name.as_str().to_owned())]);
            }
        }
        let addresses = match door.behind.is_empty() {
            true => door.to.as_slice(),
            false => door.behind.as_slice(),
        };
        if addresses.is_empty() {
            return arrivals;
        }
        let mut conditions = Vec::new();
        for arrival in arrivals {
            for address in addresses {
                let mut condition: Rule = arrival.clone();
                condition.push(Statement::To(*address));
                conditions.push(condition);
            }
        }
        conditions
    }

    fn is_everywhere(&self, door: &Door) -> bool {
        self.conditions(door).iter().any(Vec::is_empty)
    }

    /// Whether whom a door does not let in is refused here. Without its mark, behind guard mark, a packet is
    /// the ordinary firewall's to refuse.
    fn refuses(&self, door: &Door) -> bool {
        self.config.global.guard == Guard::Gate || cuts(door)
    }

    /// Shows a packet to several doors, or to one that does not guard everywhere. `None`: the chain of one
    /// decides.
    fn group_chain(&self, group: usize) -> Option<Chain> {
        if self.only_door(group).is_some() {
            return None;
        }
        let mut rules = Vec::new();
        for door in self.doors(group) {
            let verdict = Verdict::Jump(door_chain_name(door));
            rules.extend(where_it_guards(self.conditions(door), &verdict));
        }
        let refusing = || self.doors(group).filter(|door| self.refuses(door));
        match refusing().any(|door| self.is_everywhere(door)) {
            true => rules.push(vec![Statement::Verdict(Verdict::Drop)]),
            false => {
                for door in refusing() {
                    rules.extend(where_it_guards(self.conditions(door), &Verdict::Drop));
                }
            }
        }
        Some(Chain::new(group_chain_name(group), rules))
    }

    /// Lets in whom a door is open to. If it is alone, nobody else.
    fn door_chain(&self, door: &Door, is_alone: bool) -> Chain {
        let config = self.config;
        let shut = match (is_alone, self.refuses(door)) {
            (false, _) => Verdict::Return,
            (true, true) => Verdict::Drop,
            (true, false) => Verdict::Accept,
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
        let accept = Statement::Verdict(Verdict::Accept);
        let is_gate = config.global.guard == Guard::Gate;
        let has_udp = (door.guards.iter()).any(|guard| guard.protocol == Protocol::Udp);
        // UDP has no SYN: only connection tracking knows that a flow was let in before.
        if is_gate && has_udp && !cuts(door) {
            rules.push(vec![Statement::UdpFlow, accept.clone()]);
        }
        // Connections of hosts behind this machine may have got any port of a range.
        if cuts(door) && door.behind.is_empty() && has_range(door) {
            rules.push(vec![Statement::OwnFlow, accept]);
        }
        if is_alone && self.refuses(door) {
            rules.push(vec![Statement::Verdict(Verdict::Drop)]);
        }
        Chain::new(door_chain_name(door), rules)
    }
}

pub(crate) fn cuts(door: &Door) -> bool {
    door.on_expiry == OnExpiry::Cut
}

fn has_range(door: &Door) -> bool {
    let mut ranges = door.guards.iter().filter(|guard| guard.first < guard.last);
    ranges.any(|range| range.protocol != Protocol::Icmp)
}

fn where_it_guards(conditions: Vec<Rule>, verdict: &Verdict) -> Vec<Rule> {
    let mut rules = conditions;
    for rule in &mut rules {
        rule.push(Statement::Verdict(verdict.clone()));
    }
    rules
}

fn admit(config: &Config, granted: Statement) -> Rule {
    let mut rule = vec![granted];
    rule.extend(mark(config));
    rule.push(Statement::Verdict(Verdict::Accept));
    rule
}

/// What a door guards of a protocol: what it names, and what these knocks leave of its ranges, in
/// ascending order.
fn guards_of(
    door: &Door,
    protocol: Protocol,
    knocks: &[RangeInclusive<u16>],
) -> Vec<RangeInclusive<u16>> {
    let mut left = Vec::new();
    for guard in door
        .guards
        .iter()
        .filter(|guard| guard.protocol == protocol)
    {
        match guard.single() {
            Some(_) => left.push(guard.numbers()),
            None => left.extend(between_ranges(guard.numbers(), knocks)),
        }
    }
    disjoint(left)
}

/// The decoys of a protocol of which the table tells, and the chains that hear them.
fn decoys(
    config: &Config,
    knocks: &[RangeInclusive<u16>],
    port_chains: &[PortChain],
    protocol: Protocol,
) -> Vec<(RangeInclusive<u16>, String)> {
    let mut decoys = Vec::new();
    for PortChain { port, name, .. } in port_chains {
        if port.protocol == protocol && !config.doors.iter().any(|door| door.guards_alone(*port)) {
            decoys.push((port.number..=port.number, name.clone()));
        }
    }
    let mut elsewhere: Vec<RangeInclusive<u16>> =
        decoys.iter().map(|(decoy, _)| decoy.clone()).collect_vec();
    elsewhere.extend_from_slice(knocks);
    for ports in knock_ports::decoys(config, protocol, &disjoint(elsewhere)) {
        decoys.push((ports, DECOY.to_owned()));
    }
    decoys
}

#[cfg(test)]
mod tests;
