//! Which chain the knocks at a port go to.

use postern_core::config::Config;
use postern_core::door::Door;
use postern_core::knock::{Port, Protocol};
use postern_core::{decoy, method};

use super::{Count, patterns};
use crate::collect::CollectVec;
use crate::firewall::table::delivery::Delivery;
use crate::firewall::table::model::{Chain, Rule, Statement, Verdict};
use crate::firewall::table::names::{DECOY, KNOCK, PASSING, REMEMBER};
use crate::firewall::table::rules::silencing;
use crate::network::Network;
use crate::sort::sort;

/// A port that concerns a door of the kernel.
pub(crate) struct PortChain {
    pub(crate) port: Port,
    /// The name of the chain that decides about it.
    pub(crate) name: String,
    /// That chain, unless it is a door's own for all of its decoys.
    pub(crate) chain: Option<Chain>,
}

/// Every port that a door of the kernel knocks on or has a decoy at, and what happens there.
///
/// `listed` are knock ports of the agent's doors that the configuration does not name.
pub(crate) fn port_chains(config: &Config, listed: &[Port]) -> Vec<PortChain> {
    let map = Map::new(config, listed);
    let mut places = map.knocks.clone();
    for (_, decoys) in &map.decoys {
        places.extend(decoys);
    }
    let places = in_order(places).into_iter();
    places.map(|port| map.port_chain(port)).collect_vec()
}

/// The chains of those decoys that concern one door only.
pub(crate) fn decoy_chain(config: &Config, door: &Door) -> Option<Chain> {
    if !door.engine.is_in_kernel() || !has_decoys(config, door) {
        return None;
    }
    let mut rules: Vec<Rule> = vec![vec![jump(REMEMBER.to_owned())]];
    for pattern in patterns(door).iter().filter(|pattern| pattern.counts()) {
        rules.push(vec![jump(pattern.reset())]);
    }
    Some(Chain::new(decoy_chain_name(door), rules))
}

/// Whether a door has decoys. Finding one is enough.
pub(crate) fn has_decoys(config: &Config, door: &Door) -> bool {
    decoy::decoys(door, &config.doors).next().is_some()
}

/// The decoys of a door, in ascending order.
fn decoys(config: &Config, door: &Door) -> Vec<Port> {
    let decoys = decoy::decoys(door, &config.doors);
    in_order(decoys.flat_map(|ports| ports.ports()).collect_vec())
}

fn decoy_chain_name(door: &Door) -> String {
    ["decoy_", &door.name].concat()
}

/// Ports in ascending order, none of them twice.
fn in_order(mut ports: Vec<Port>) -> Vec<Port> {
    sort(&mut ports, &Port::lt);
    ports.dedup();
    ports
}

/// Whether a port is among these, which are in order.
fn has(ports: &[Port], port: Port) -> bool {
    ports.binary_search(&port).is_ok()
}

/// Ports in ascending order.
struct Map<'c> {
    config: &'c Config,
    /// Ports that doors of the kernel knock on.
    knocks: Vec<Port>,
    /// The doors of the kernel that have decoys, and those.
    decoys: Vec<(&'c Door, Vec<Port>)>,
    /// Ports that lists of the agent's doors knock on.
    listed: Vec<Port>,
    /// The decoys of the agent's doors.
    others: Vec<Port>,
}

impl<'c> Map<'c> {
    fn new(config: &'c Config, listed: &[Port]) -> Self {
        let (mut knocks, mut decoyed, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for door in &config.doors {
            if door.engine.is_in_kernel() {
                let patterns = patterns(door);
                for pattern in &patterns {
                    knocks.extend(pattern.steps);
                }
                decoyed.push((door, decoys(config, door)));
            } else {
                others.extend(decoys(config, door));
            }
        }
        Self {
            config,
            knocks: in_order(knocks),
            decoys: decoyed,
            listed: in_order(listed.to_vec()),
            others: in_order(others),
        }
    }

    fn port_chain(&self, port: Port) -> PortChain {
        let decoyed: Vec<&Door> = (self.decoys.iter())
            .filter(|(_, decoys)| has(decoys, port))
            .map(|(door, _)| *door)
            .collect_vec();
        let ending = self.ending(port);
        if let ([door], None, false) = (&*decoyed, &ending, has(&self.knocks, port)) {
            return PortChain {
                port,
                name: decoy_chain_name(door),
                chain: None,
            };
        }
        let mut rules = self.shown(port);
        for door in decoyed {
            rules.push(vec![jump(decoy_chain_name(door))]);
        }
        if let Some(verdict) = ending {
            rules.push(vec![Statement::Verdict(verdict)]);
        }
        let name = place(port);
        PortChain {
            port,
            chain: Some(Chain::new(name.clone(), rules)),
            name,
        }
    }

    /// Shows a knock to the doors that listen to its port.
    fn shown(&self, port: Port) -> Vec<Rule> {
        if !has(&self.knocks, port) {
            return Vec::new();
        }
        let mut rules = silencing(self.config, &self.left(port));
        let doors = self.config.doors.iter();
        let ours = doors.filter(|door| door.engine.is_in_kernel());
        for door in ours.filter(|door| method::watches(door, port)) {
            let entrances = patterns(door).into_iter();
            let entrances = entrances.filter_map(|pattern| pattern.entrance(port));
            let shown: Vec<Statement> = entrances.map(jump).collect_vec();
            if shown.is_empty() {
                continue;
            }
            for whose in whose_knocks(door) {
                for (number, entrance) in shown.iter().enumerate() {
                    let mut rule = Vec::from_iter(whose.map(Statement::From));
                    if number == 0 {
                        rule.push(Count::Seen.statement(door));
                    }
                    rule.push(entrance.clone());
                    rules.push(rule);
                }
            }
        }
        rules
    }

    /// Whether knocks at the port pass on.
    fn passes(&self, port: Port) -> bool {
        let mut doors = self.config.doors.iter();
        doors.any(|door| door.passive && method::watches(door, port))
    }

    /// What becomes of a knock that the agent need not hear.
    fn left(&self, port: Port) -> Verdict {
        match self.passes(port) {
            true => Verdict::Accept,
            false => Verdict::Drop,
        }
    }

    /// What becomes of the packet: knocks get no answer, the agent hears what is for it.
    fn ending(&self, port: Port) -> Option<Verdict> {
        let mut others = self
            .config
            .doors
            .iter()
            .filter(|door| !door.engine.is_in_kernel());
        let is_others = others.any(|door| method::watches(door, port)) || has(&self.listed, port);
        if is_others && !self.passes(port) {
            Some(Verdict::Goto(KNOCK.to_owned()))
        } else if is_others
            && Delivery::of(&self.config.global)
                .passing(self.config)
                .is_some()
        {
            Some(Verdict::Goto(PASSING.to_owned()))
        } else if has(&self.knocks, port) {
            Some(self.left(port))
        } else if has(&self.others, port) {
            Some(Verdict::Goto(DECOY.to_owned()))
        } else {
            None
        }
    }
}

/// The networks whose knocks a door hears, none of which has an address of another: a knock is shown once. `None`:
/// everybody's.
fn whose_knocks(door: &Door) -> Vec<Option<Network>> {
    match &*door.from {
        [] => vec![None],
        networks => networks.iter().copied().map(Some).collect_vec(),
    }
}

/// The name of the chain of knocks at a port.
pub(crate) fn place(port: Port) -> String {
    let kind = match port.protocol {
        Protocol::Icmp => "echo",
        protocol => protocol.name(),
    };
    format!("at_{kind}_{}", port.number)
}

fn jump(chain: String) -> Statement {
    Statement::Verdict(Verdict::Jump(chain))
}
