//! The table for a configuration.
//!
//! A packet from a guarded interface leaves at the second rule if it belongs to an
//! established TCP connection, so that bulk traffic meets a handful of expressions and a TCP
//! door needs no connection tracking. The rest is looked up by destination port.

use postern_core::config::{Config, Guard, MAX_INTERFACES};
use postern_core::door::Door;
use postern_core::knock::{Port, Protocol};
use postern_core::{decoy, spa};

use super::delivery::Delivery;
use super::engines::{self, PortChain};
use super::groups::Groups;
use super::guarded::{self, Guarded};
use super::model::{
    Chain, Content, DECOYED_PER_DECOY, DynamicChange, Hook, MAX_CUTOFFS, MAX_DECOYED, MAX_GRANTS,
    MAX_USED, PROTOCOLS, Rule, Set, Statement, Table, Verdict,
};
use super::names::{
    DATAGRAM, DECOY, ECHO, FORWARDED, FRAGMENT, GUARD, HEARD, INPUT, INTERFACES, JUDGE, KNOCK,
    LOCAL, PASSING, PREROUTING, REMEMBER, Scope, UNREMEMBERED, USED, anyone, cutoffs, decoyed,
    door_map, grants, grants_identity, identity, interface_names, knock_map, locked,
};
use super::ports::port_map;
use super::rules::{decoyed_source, ignoring_cutoffs};
use crate::collect::CollectVec;
use crate::knock_ports;
use crate::network::Family;

impl Table {
    /// The table for a configuration, and for the knock ports that it names by a file only.
    pub(crate) fn new(config: &Config, listed: &[Port]) -> Self {
        let port_chains = engines::port_chains(config, listed);
        let groups = Groups::new(config, listed, &port_chains);
        let doors = groups.maps();
        let mut knocks = Vec::new();
        for protocol in PROTOCOLS {
            knocks.extend(port_map(config, listed, &port_chains, &groups, protocol));
        }
        let echoes = port_map(config, listed, &port_chains, &groups, Protocol::Icmp);
        let echoes = echoes.map(echo_chain);
        let cut = guarded::cut(config);
        let mut chains = chains(config, port_chains, &groups);
        let mut sets = sets(config);
        for scope in Scope::ALL {
            if config.doors.iter().any(|door| scope.has(door)) || scope == Scope::Local {
                let closing = guarded::closing(config, listed, scope);
                sets.extend(closing.iter().filter_map(|(ports, _)| ports.set()));
                chains.push(shown_to_doors(
                    config, listed, scope, &groups, &doors, &closing,
                ));
            }
        }
        chains.push(judge_chain(config));
        chains.push(guard_chain(config, &cut));
        chains.push(heard_chain(&cut, &knocks, echoes.is_some()));
        chains.extend(echoes);
        sets.extend(doors);
        sets.extend(knocks);
        sets.extend(cut.set());
        Self {
            counters: counters(config),
            sets,
            chains,
        }
    }
}

fn counters(config: &Config) -> Vec<String> {
    let mut counters: Vec<String> = config
        .doors
        .iter()
        .flat_map(engines::counters)
        .collect_vec();
    if has_decoys(config) {
        counters.push(UNREMEMBERED.to_owned());
    }
    counters
}

fn has_decoys(config: &Config) -> bool {
    let mut doors = config.doors.iter();
    doors.any(|door| engines::has_decoys(config, door))
}

fn sets(config: &Config) -> Vec<Set> {
    let mut sets = vec![interfaces(config)];
    for door in &config.doors {
        sets.extend(door_sets(door));
        sets.extend(engines::sets(door));
    }
    if config.doors.iter().any(|door| door.method.is_one_time()) {
        let set = Set::new(USED.to_owned(), Content::TimedSources(Family::V6), MAX_USED);
        sets.push(set.described("what one-time doors used, no addresses".to_owned()));
    }
    if engines::needs_agent(config) {
        for family in Family::BOTH {
            let content = Content::TimedSources(family);
            sets.push(Set::new(cutoffs(family).to_owned(), content, MAX_CUTOFFS));
        }
    }
    let decoys = config
        .doors
        .iter()
        .map(|door| decoy::decoys(door, &config.doors).count());
    let size = DECOYED_PER_DECOY.saturating_mul(decoys.sum::<usize>() as u32);
    if size > 0 {
        for family in Family::BOTH {
            let content = Content::DynamicSources(family);
            let name = decoyed(family).to_owned();
            sets.push(Set::new(name, content, size.min(MAX_DECOYED)));
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

fn chains(config: &Config, port_chains: Vec<PortChain>, groups: &Groups<'_>) -> Vec<Chain> {
    // They are never deleted, and the kernel lists what is made after them behind them.
    let mut chains = [Hook::Input, Hook::Prerouting]
        .map(|hook| hooked_chain(config, hook))
        .to_vec();
    if engines::needs_agent(config) {
        chains.push(knock_chain(config));
        chains.extend(datagram_chain(config));
        chains.extend(passing_chain(config));
        chains.extend(decoy_chain(config));
        chains.extend(Delivery::of(&config.global).chain());
    }
    if has_decoys(config) {
        chains.push(remembering_chain(config));
    }
    for door in &config.doors {
        chains.extend(engines::chains(config, door));
        chains.extend(engines::decoy_chain(config, door));
    }
    for port_chain in port_chains {
        chains.extend(port_chain.chain);
    }
    chains.extend(groups.chains());
    if guards_fragments(config) {
        chains.push(fragment_chain());
    }
    chains
}

fn knock_chain(config: &Config) -> Chain {
    let mut rules = ignoring_cutoffs(&Verdict::Drop);
    rules.extend(Delivery::of(&config.global).knock(config));
    Chain::new(KNOCK.to_owned(), rules)
}

/// Hears datagrams that fwknop's protocol could have made, and drops the rest. Cut-offs are not asked: nobody has to
/// guess a key to be heard, and whoever forges senders would shut their owners out.
fn datagram_chain(config: &Config) -> Option<Chain> {
    if !(config.doors.iter()).any(|door| door.method.spa().is_some()) {
        return None;
    }
    let mut rules = Vec::new();
    if let Some(heard) = Delivery::of(&config.global).datagram(config) {
        for (mask, value) in spa::FIRST_OCTETS {
            let octets = spa::LENGTHS;
            let mut rule = vec![Statement::Datagram {
                octets,
                mask,
                value,
            }];
            rule.extend_from_slice(&heard);
            rules.push(rule);
        }
    }
    rules.push(vec![Statement::Verdict(Verdict::Drop)]);
    Some(Chain::new(DATAGRAM.to_owned(), rules))
}

/// Listens, and leaves the packet to whoever it is for, also where its sender is not heard.
fn passing_chain(config: &Config) -> Option<Chain> {
    let mut doors = knock_ports::served(config);
    let tell = Delivery::of(&config.global).passing(config)?;
    doors.any(|door| door.passive).then(|| {
        let mut rules = ignoring_cutoffs(&Verdict::Accept);
        rules.extend(tell);
        Chain::new(PASSING.to_owned(), rules)
    })
}

/// Listens, and leaves the packet to whoever it is for.
fn decoy_chain(config: &Config) -> Option<Chain> {
    if !knock_ports::served(config).any(|door| engines::has_decoys(config, door)) {
        return None;
    }
    let remember = Verdict::Jump(REMEMBER.to_owned());
    let mut rules = vec![vec![Statement::Verdict(remember)]];
    if let Some(tell) = Delivery::of(&config.global).decoy(config) {
        rules.extend(ignoring_cutoffs(&Verdict::Return));
        rules.push(tell);
    }
    Some(Chain::new(DECOY.to_owned(), rules))
}

/// Keeps in mind who hit a decoy, however many do: what the agent is told of is limited.
fn remembering_chain(config: &Config) -> Chain {
    let lasting = decoy::remembered_for(&config.doors);
    let mut rules: Vec<Rule> = Vec::new();
    for family in Family::BOTH {
        let (set, key) = (decoyed(family).to_owned(), decoyed_source(family));
        let update = engines::put(DynamicChange::Update, set, key, lasting);
        rules.push(vec![update, Statement::Verdict(Verdict::Return)]);
    }
    // A set that is full ended the rule above.
    rules.push(vec![Statement::Count(UNREMEMBERED.to_owned())]);
    Chain::new(REMEMBER.to_owned(), rules)
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

/// The chain that packets enter at a hook, and leave for another.
///
/// Compares with each name itself: whether a packet is guarded depends on rules alone, which
/// change all at once.
fn hooked_chain(config: &Config, hook: Hook) -> Chain {
    let guarded = |name| vec![Statement::Arrived(name), goto(beyond(hook))];
    let name = match hook {
        Hook::Prerouting => PREROUTING,
        Hook::Input => INPUT,
    };
    Chain {
        name: name.to_owned(),
        hook: Some(hook),
        rules: interface_names(config)
            .into_iter()
            .map(guarded)
            .collect_vec(),
    }
}

/// Where packets from guarded interfaces go from a hook.
pub(crate) const fn beyond(hook: Hook) -> &'static str {
    match hook {
        Hook::Prerouting => GUARD,
        Hook::Input => HEARD,
    }
}

pub(crate) fn goto(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Goto(chain.to_owned()))
}

/// Lets bulk traffic go.
fn guard_chain(config: &Config, cut: &Guarded) -> Chain {
    let mut rules = cut.rules(&[goto(JUDGE)]);
    rules.push(established());
    let mut guards = config.doors.iter().flat_map(|door| &door.guards);
    if !guards.any(|guard| guard.protocol == Protocol::Udp) {
        let accept = Statement::Verdict(Verdict::Accept);
        rules.push(vec![Statement::Of(Protocol::Udp), accept]);
    }
    rules.push(vec![goto(JUDGE)]);
    Chain::new(GUARD.to_owned(), rules)
}

fn established() -> Rule {
    vec![Statement::NotOpening, Statement::Verdict(Verdict::Accept)]
}

/// Ahead of the routing decision: what the routing tables have for another machine passes, unless a door
/// guards what is behind this one.
fn judge_chain(config: &Config) -> Chain {
    let is_guarded = config.doors.iter().any(|door| Scope::Behind.has(door));
    let forward = match is_guarded {
        true => goto(FORWARDED),
        false => Statement::Verdict(Verdict::Accept),
    };
    let rules = vec![
        vec![Statement::ForAnother(true), forward],
        vec![goto(LOCAL)],
    ];
    Chain::new(JUDGE.to_owned(), rules)
}

/// Knocks are heard at the end of their way, where what is redirected does not come.
///
/// So are doors by packets that came here although the routing tables had them for another machine
/// (a VRF has tables of its own): only they have not been judged before.
fn heard_chain(cut: &Guarded, knocks: &[Set], echoes: bool) -> Chain {
    let unjudged = [Statement::ForAnother(true), goto(LOCAL)];
    let mut rules = cut.rules(&unjudged);
    rules.push(established());
    rules.extend(led_by(knocks, &knock_map));
    for family in Family::BOTH.into_iter().filter(|_| echoes) {
        let jump = Statement::Verdict(Verdict::Jump(ECHO.to_owned()));
        rules.push(vec![Statement::EchoRequest(family), jump]);
    }
    rules.push(unjudged.into());
    Chain::new(HEARD.to_owned(), rules)
}

/// Leads echo requests to the chains of their lengths; others come back.
fn echo_chain(lengths: Set) -> Chain {
    let mut rules: Vec<Rule> = Vec::new();
    if let Content::PortChains(lengths) = lengths.content {
        for (carried, chain) in &lengths {
            for family in Family::BOTH {
                let length = Statement::EchoLength(family, *carried.start());
                rules.push(vec![length, goto(chain)]);
            }
        }
    }
    Chain::new(ECHO.to_owned(), rules)
}

/// Lets echo requests that are knocks by to where they are heard.
fn sparing_echoes(config: &Config, listed: &[Port]) -> Vec<Rule> {
    let mut rules = Vec::new();
    for knocks in knock_ports::all(config, listed, Protocol::Icmp) {
        for (family, carried) in Family::BOTH.into_iter().flat_map(|family| {
            let lengths = knocks.clone();
            lengths.map(move |carried| (family, carried))
        }) {
            rules.push(vec![
                Statement::EchoRequest(family),
                Statement::EchoLength(family, carried),
                Statement::Verdict(Verdict::Accept),
            ]);
        }
    }
    rules
}

/// Looks ports up in those of these maps that have this name.
fn led_by(maps: &[Set], name: &dyn Fn(Protocol) -> String) -> Vec<Rule> {
    let mut rules = Vec::new();
    for protocol in PROTOCOLS {
        let name = name(protocol);
        if maps.iter().any(|map| map.name == name) {
            rules.push(vec![Statement::PortVerdict(protocol, name)]);
        }
    }
    rules
}

/// Shows packets to the doors, those for this machine or those for others.
fn shown_to_doors(
    config: &Config,
    listed: &[Port],
    scope: Scope,
    groups: &Groups<'_>,
    maps: &[Set],
    closing: &[(Guarded, Verdict)],
) -> Chain {
    let mut rules: Vec<Rule> = Vec::new();
    for network in &config.global.exempt {
        let accept = Statement::Verdict(Verdict::Accept);
        rules.push(vec![Statement::From(*network), accept]);
    }
    rules.extend(led_by(maps, &|protocol| door_map(scope, protocol)));
    let pinged = groups.echo_rules(scope);
    if scope == Scope::Local && !pinged.is_empty() {
        rules.extend(sparing_echoes(config, listed));
    }
    rules.extend(pinged);
    // Before the fragments: a first one that shows its ports is let through there.
    for (ports, verdict) in closing {
        rules.extend(ports.rules(&[Statement::Verdict(verdict.clone())]));
    }
    if guards_fragments(config) {
        rules.extend(fragment_rules(config, scope));
    }
    let name = match scope {
        Scope::Local => LOCAL,
        Scope::Behind => FORWARDED,
    };
    Chain::new(name.to_owned(), rules)
}

/// Which fragments are looked at: all that are for this machine, or those for hosts that a door guards.
fn fragment_rules(config: &Config, scope: Scope) -> Vec<Rule> {
    let look = || vec![Statement::FirstFragment, goto(FRAGMENT)];
    if scope == Scope::Local {
        return vec![look()];
    }
    let mut rules: Vec<Rule> = Vec::new();
    for network in config.doors.iter().flat_map(|door| &door.behind) {
        let mut rule = vec![Statement::To(*network)];
        rule.extend(look());
        if network.family() == Family::V6 && !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}
