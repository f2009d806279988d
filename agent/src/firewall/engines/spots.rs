//! Which chain the knocks at a port go to.

use std::collections::BTreeSet;

use postern_core::config::Config;
use postern_core::decoy;
use postern_core::door::Door;
use postern_core::knock::{Port, Protocol};
use postern_core::method;

use super::{Count, Line, chain, lines};
use crate::firewall::hearing::Hearing;
use crate::firewall::ruleset::{Chain, DECOY, KNOCK, Rule, Statement, Verdict, silencing};

/// A port that concerns a door of the kernel.
pub(in crate::firewall) struct Spot {
    pub(in crate::firewall) port: Port,
    /// The name of the chain that decides about it.
    pub(in crate::firewall) name: String,
    /// That chain, unless it is a door's own for all of its decoys.
    pub(in crate::firewall) chain: Option<Chain>,
}

/// Every port that a door of the kernel knocks on or has a decoy at, and what happens there.
///
/// `listed` are knock ports of the agent's doors that the configuration does not name.
pub(in crate::firewall) fn spots(config: &Config, listed: &[Port]) -> Vec<Spot> {
    let map = Map::new(config, listed);
    let decoys = map.decoys.iter().flat_map(|(_, decoys)| decoys);
    let places: BTreeSet<Place> = map.knocks.iter().chain(decoys).copied().collect();
    places.into_iter().map(|place| map.spot(place)).collect()
}

/// The chains of those decoys that concern one door only.
pub(in crate::firewall) fn decoy_chain(config: &Config, door: &Door) -> Option<Chain> {
    let any = decoy::decoys(door, &config.doors).next().is_some();
    let resets = lines(door)
        .filter(Line::counts)
        .map(|line| jump(line.reset()));
    let rules: Vec<Rule> = resets.map(|jump| vec![jump]).collect();
    (door.engine.is_in_kernel() && any && !rules.is_empty())
        .then(|| chain(decoy_chain_name(door), rules))
}

fn decoy_chain_name(door: &Door) -> String {
    ["decoy_", &door.name].concat()
}

/// A port, in an order.
type Place = (u8, u16);

const fn place(port: Port) -> Place {
    (port.protocol.number(), port.number)
}

const fn port((protocol, number): Place) -> Port {
    let protocol = match protocol {
        TCP => Protocol::Tcp,
        _ => Protocol::Udp,
    };
    Port { protocol, number }
}

const TCP: u8 = Protocol::Tcp.number();

struct Map<'c> {
    config: &'c Config,
    /// Ports that doors of the kernel knock on.
    knocks: BTreeSet<Place>,
    /// The doors of the kernel that have decoys, and those.
    decoys: Vec<(&'c Door, BTreeSet<Place>)>,
    /// Ports that lists of the agent's doors knock on.
    listed: BTreeSet<Place>,
    /// The decoys of the agent's doors of which the table tells the agent.
    others: BTreeSet<Place>,
}

impl<'c> Map<'c> {
    fn new(config: &'c Config, listed: &[Port]) -> Self {
        let decoys = |door| decoy::decoys(door, &config.doors).map(place);
        let (ours, others): (Vec<_>, Vec<_>) =
            (config.doors.iter()).partition(|door| door.engine.is_in_kernel());
        let steps = ours
            .iter()
            .flat_map(|door| lines(door))
            .flat_map(|line| line.steps);
        // What sees packets by itself needs no rule for them.
        let told = Hearing::of(&config.global).decoy(config).is_some();
        let heard = others.iter().filter(|_| told);
        Self {
            config,
            knocks: steps.copied().map(place).collect(),
            decoys: (ours.iter())
                .filter(|door| lines(door).any(|line| line.counts()))
                .map(|door| (*door, decoys(door).collect()))
                .collect(),
            listed: listed.iter().copied().map(place).collect(),
            others: heard.flat_map(|door| decoys(door)).collect(),
        }
    }

    fn spot(&self, place: Place) -> Spot {
        let port = port(place);
        let decoyed: Vec<&Door> = (self.decoys.iter())
            .filter(|(_, decoys)| decoys.contains(&place))
            .map(|(door, _)| *door)
            .collect();
        let ending = self.ending(place);
        if let ([door], None, false) = (&*decoyed, &ending, self.knocks.contains(&place)) {
            return Spot {
                port,
                name: decoy_chain_name(door),
                chain: None,
            };
        }
        let mut rules = self.shown(port);
        rules.extend(
            decoyed
                .iter()
                .map(|door| vec![jump(decoy_chain_name(door))]),
        );
        rules.extend(ending.map(|verdict| vec![Statement::Verdict(verdict)]));
        let name = format!("at_{}_{}", port.protocol.name(), port.number);
        Spot {
            port,
            chain: Some(chain(name.clone(), rules)),
            name,
        }
    }

    /// Shows a knock to the doors that listen to its port.
    fn shown(&self, port: Port) -> Vec<Rule> {
        let ours = self
            .config
            .doors
            .iter()
            .filter(|door| door.engine.is_in_kernel());
        let here = ours.filter(|door| method::watches(door, port));
        let shown = here.flat_map(|door| {
            let entrances = lines(door).filter_map(|line| line.entrance(port));
            let mut rules: Vec<Rule> = entrances.map(|chain| vec![jump(chain)]).collect();
            if let Some(first) = rules.first_mut() {
                first.insert(0, Count::Seen.statement(door));
            }
            rules
        });
        match self.knocks.contains(&place(port)) {
            true => silencing(self.config).into_iter().chain(shown).collect(),
            false => Vec::new(),
        }
    }

    /// What becomes of the packet: knocks get no answer, the agent hears what is for it.
    fn ending(&self, place: Place) -> Option<Verdict> {
        let port = port(place);
        let mut others = self
            .config
            .doors
            .iter()
            .filter(|door| !door.engine.is_in_kernel());
        if others.any(|door| method::watches(door, port)) || self.listed.contains(&place) {
            Some(Verdict::Goto(KNOCK.to_owned()))
        } else if self.knocks.contains(&place) {
            Some(Verdict::Drop)
        } else if self.others.contains(&place) {
            Some(Verdict::Goto(DECOY.to_owned()))
        } else {
            None
        }
    }
}

fn jump(chain: String) -> Statement {
    Statement::Verdict(Verdict::Jump(chain))
}
