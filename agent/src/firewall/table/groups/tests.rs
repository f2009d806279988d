use std::collections::BTreeMap;

use postern_core::door::{EngineName, Method};
use postern_core::knock::{PortRange, tcp, udp};
use postern_core::method;
use postern_core::network::Network;

use super::*;
use crate::firewall::table::model::Table;
use crate::firewall::tests::examples::{self, range};

/// Which doors guard a port, as one would explain it.
fn expected<'c>(config: &'c Config, listed: &[Port], scope: Scope, port: Port) -> Vec<&'c str> {
    let knocks = |port| {
        let mut doors = config.doors.iter();
        doors.any(|door| method::watches(door, port)) || listed.contains(&port)
    };
    let guards = |door: &&Door| {
        let is_spared = scope == Scope::Local && knocks(port);
        scope.has(door) && (door.guards_alone(port) || door.guards(port) && !is_spared)
    };
    let doors = config.doors.iter().filter(guards);
    doors.map(|door| door.name.as_str()).collect()
}

/// A table of which it can be asked where packets go.
struct Ways<'t> {
    table: &'t Table,
    chains: BTreeMap<&'t str, &'t Chain>,
}

impl<'t> Ways<'t> {
    fn new(table: &'t Table) -> Self {
        let chains = table.chains.iter();
        Self {
            table,
            chains: chains.map(|chain| (chain.name.as_str(), chain)).collect(),
        }
    }

    /// The chain that a map leads to.
    fn led_to(&self, map: &str, number: u16) -> Option<&'t str> {
        let map = self.table.sets.iter().find(|set| set.name == map)?;
        let Content::PortChains(ports) = &map.content else {
            panic!("{} is no map", map.name);
        };
        let mut led = ports.iter().filter(|(ports, _)| ports.contains(&number));
        let (_, chain) = led.next()?;
        assert!(led.next().is_none(), "{number} is twice in {}", map.name);
        Some(chain.as_str())
    }

    /// The doors that a chain asks, and whether it has the packet heard as a decoy.
    fn doors(&self, chain: &'t str) -> (Vec<&'t str>, bool) {
        if let Some(door) = chain.strip_prefix("door_") {
            return (vec![door], false);
        }
        let (mut doors, mut heard) = (Vec::new(), false);
        for rule in &self.chains[chain].rules {
            match rule.last() {
                Some(Statement::Verdict(Verdict::Jump(to))) => match to.strip_prefix("door_") {
                    Some(door) if !doors.contains(&door) => doors.push(door),
                    Some(_) => {}
                    None => heard = true,
                },
                Some(Statement::Verdict(Verdict::Goto(to))) if heard => {
                    return (self.doors(to).0, true);
                }
                _ => {}
            }
        }
        (doors, heard)
    }

    /// What becomes of a packet in a chain, when the maps are empty.
    fn without_maps(&self, chain: &str, port: Port) -> Option<&Verdict> {
        let is_in = |name: &str| {
            let set = self.table.sets.iter().find(|set| set.name == name).unwrap();
            matches!(&set.content, Content::Ports(ports) if ports.contains(&port.number))
        };
        let matches = |statement: &Statement| match statement {
            Statement::PortIn(protocol, set) => *protocol == port.protocol && is_in(set),
            Statement::PortBetween(protocol, ports) => {
                *protocol == port.protocol && ports.contains(&port.number)
            }
            Statement::Verdict(_) => true,
            _ => false,
        };
        let mut rules = self.chains.get(chain)?.rules.iter();
        let rule = rules.find(|rule| rule.iter().all(matches))?;
        rule.iter().find_map(|statement| match statement {
            Statement::Verdict(verdict) => Some(verdict),
            _ => None,
        })
    }
}

fn assert_right(config: &Config, listed: &[Port], numbers: &[u16]) {
    let table = Table::new(config, listed);
    let ways = Ways::new(&table);
    let decoys: Vec<Port> = (config.doors.iter())
        .flat_map(|door| postern_core::decoy::decoys(door, &config.doors))
        .flat_map(|ports| ports.ports())
        .collect();
    for protocol in PROTOCOLS {
        for number in numbers.iter().copied() {
            let port = Port { protocol, number };
            let named = |scope| expected(config, listed, scope, port);
            for scope in Scope::ALL {
                let chain = ways.led_to(&door_map(scope, protocol), number);
                let (doors, heard) = chain.map(|chain| ways.doors(chain)).unwrap_or_default();
                assert_eq!(doors, named(scope), "{port:?} {scope:?} {config:?}");
                let is_decoy = scope == Scope::Local && decoys.contains(&port);
                assert_eq!(heard, !doors.is_empty() && is_decoy, "{port:?} {config:?}");
                let name = match scope {
                    Scope::Local => "local",
                    Scope::Behind => "forwarded",
                };
                let is_gate = config.global.guard == Guard::Gate;
                let shut = ways.without_maps(name, port) == Some(&Verdict::Drop);
                assert_eq!(shut, is_gate && !doors.is_empty(), "{port:?} {scope:?}");
            }
            // What is guarded here is no knock, nor heard twice.
            let knock = ways.led_to(&format!("{}_knocks", protocol.name()), number);
            if !named(Scope::Local).is_empty() {
                assert_eq!(knock, None, "{port:?} {config:?}");
            }
            let cuts = |door: &Door| cuts(door) && door.guards(port);
            let is_cut = protocol == Protocol::Tcp && config.doors.iter().any(cuts);
            let judged = Verdict::Goto("judge".to_owned());
            let rules = &ways.chains["guard"].rules;
            let is_cutting = |rule: &&Rule| !rule.contains(&Statement::NotOpening);
            let cutting = rules.iter().take_while(is_cutting).cloned().collect();
            let guard = Chain::new("guard".to_owned(), cutting);
            let mut ways = Ways::new(&table);
            ways.chains.insert("guard", &guard);
            assert_eq!(
                ways.without_maps("guard", port) == Some(&judged),
                is_cut,
                "{port:?}"
            );
        }
    }
}

#[test]
fn every_port_leads_to_its_doors() {
    let some = ["everything-gate", "behind-cutting"];
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let examples = examples::all().into_iter();
    for example in examples.filter(|example| some.contains(&example.name)) {
        assert_right(&(example.config)(), example.listed, &all);
    }
}

/// Numbers that are the same each time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u16) -> u16 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as u16 % end
    }

    fn one_in(&mut self, number: u16) -> bool {
        self.below(number) == 0
    }

    fn guards(&mut self) -> Vec<PortRange> {
        let of = |tcp| if tcp { Protocol::Tcp } else { Protocol::Udp };
        let count = 1 + self.below(4);
        let guard = |_| {
            let protocol = of(!self.one_in(3));
            let first = 1 + self.below(60);
            match self.below(5) {
                0 => range(protocol, 1, u16::MAX),
                1 => range(protocol, first, first + 1 + self.below(30)),
                2 => range(protocol, 65_500, u16::MAX),
                _ => range(protocol, first, first),
            }
        };
        (0..count).map(guard).collect()
    }

    fn door(&mut self, name: &str, guarded: &[PortRange]) -> Door {
        let is_free = |port: &Port| !guarded.contains(&(*port).into());
        let mut knocks: Vec<Port> = Vec::new();
        for _ in 0..1 + self.below(3) {
            let number = 1 + self.below(80);
            knocks.extend(
                Some(if self.one_in(2) {
                    tcp(number)
                } else {
                    udp(number)
                })
                .filter(is_free),
            );
        }
        knocks.dedup();
        if knocks.is_empty() {
            knocks.push(tcp(99));
        }
        let engine = EngineName::ALL[usize::from(self.below(3))];
        let mut door = match self.one_in(4) {
            true => {
                let digits = postern_core::code::Digits::Six;
                let of = [Protocol::Tcp, Protocol::Udp];
                examples::code_door(name, &[], 20 + self.below(60), digits, of)
            }
            false => examples::door(name, &[], &knocks, &[]),
        };
        if matches!(door.method, Method::Separate { .. }) {
            door.engine = engine;
            door.decoys = [0, 8][usize::from(self.below(2))];
        }
        if self.one_in(5) {
            let host = Network::of([192, 0, 2, self.below(3) as u8].into(), 32);
            door.behind.push(host).unwrap();
        }
        if self.one_in(4) {
            door.on_expiry = OnExpiry::Cut;
        }
        door
    }

    fn config(&mut self) -> Config {
        let count = 1 + self.below(5);
        let guards: Vec<Vec<PortRange>> = (0..count).map(|_| self.guards()).collect();
        let guarded = guards.concat();
        let doors = (guards.iter().zip(0..)).map(|(guards, number)| {
            examples::guarding(guards, self.door(&format!("d{number}"), &guarded))
        });
        let doors: Vec<Door> = doors.collect();
        let guard = if self.one_in(2) {
            Guard::Gate
        } else {
            Guard::Mark
        };
        examples::config(guard, &["wan"], &doors)
    }
}

#[test]
fn ports_lead_to_their_doors_whatever_is_configured() {
    let mut random = Random(0x1234_5678_9abc_def1);
    for _ in 0..200 {
        let config = random.config();
        let listed: Vec<Port> = (0..random.below(3))
            .map(|_| tcp(100 + random.below(5)))
            .collect();
        let listed: Vec<Port> = (listed.into_iter())
            .filter(|port| !config.doors.iter().any(|door| door.guards_alone(*port)))
            .collect();
        let mut numbers: Vec<u16> = (0..200).collect();
        numbers.extend([
            1_017, 1_018, 1_019, 1_020, 1_099, 1_100, 65_499, 65_500, 65_534, 65_535,
        ]);
        assert_right(&config, &listed, &numbers);
    }
}

#[test]
fn a_table_grows_with_its_doors() {
    let rules = |count: usize| {
        let mut config = examples::crowded(Guard::Gate);
        config.doors.truncate(count);
        let table = Table::new(&config, &[]);
        table
            .chains
            .iter()
            .map(|chain| chain.rules.len())
            .sum::<usize>()
    };
    let (few, twice, four_times) = (rules(15), rules(30), rules(60));
    assert_eq!(four_times - twice, 2 * (twice - few));
}
