//! What the table looks like: plain data, which the renderers turn into text or messages.
//!
//! A packet from a guarded interface leaves at the second rule if it belongs to an
//! established TCP connection, so that bulk traffic meets a handful of expressions and a TCP
//! door needs no connection tracking. The rest is looked up by destination port.

use core::ops::RangeInclusive;

use postern_core::config::{Config, Guard, MAX_INTERFACES};
use postern_core::door::{Door, OnExpiry};
use postern_core::knock::{Port, Protocol};
use postern_core::payload;
use postern_core::time::Duration;

use super::engines::{self, Spot};
use super::expression::DynamicChange;
use super::hearing::Hearing;
use super::ports::{port_map, sort};
use crate::knock_ports;
use crate::network::Family;

/// The name of the table, of family `inet`.
pub(crate) const TABLE: &str = "postern";
/// The most sources that one door grants at a time, for each address family.
pub(crate) const MAX_GRANTS: u32 = 1024;
/// The most sources that are cut off at a time, for each address family.
pub(crate) const MAX_CUTOFFS: u32 = 4096;
/// The most octets of a knock that any table logs: what a reader of the group must ask for.
pub(crate) const LONGEST_SNAPLEN: u16 = HEADERS + UDP_HEADER + payload::MAX_BYTES as u16 + 1;
/// An IPv6 header and 64 octets of extension headers, or an IPv4 header with all its options.
const HEADERS: u16 = 40 + 64;
/// Without the options, which say nothing about a knock.
const TCP_HEADER: u16 = 20;
const UDP_HEADER: u16 = 8;
/// Ahead of the ordinary firewall, which sits at 0, and which sees the mark.
pub(super) const PRIORITY: i32 = -10;

/// The set of guarded interfaces.
pub(super) const INTERFACES: &str = "interfaces";
/// The chain that packets enter.
pub(super) const INPUT: &str = "input";
pub(super) const GUARD: &str = "guard";
pub(super) const KNOCK: &str = "knock";
pub(super) const DECOY: &str = "decoy";
const FRAGMENT: &str = "fragment";
/// The map of the ports of which the guard looks at every segment.
const CUT: &str = "tcp_cut";

/// Whose ports there are.
pub(super) const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// The whole table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// Named counters, in the order in which they are made and listed.
    pub counters: Vec<String>,
    /// Sets and maps, in the order in which they are made and listed.
    pub sets: Vec<Set>,
    /// Chains, in the order in which they are made and listed.
    pub chains: Vec<Chain>,
}

/// A named set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub content: Content,
    /// The most elements; `None`: no limit.
    pub size: Option<u32>,
    /// Shown by nft, and read back: a grant set's is the ports of its door.
    pub comment: Option<String>,
}

/// What a set holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The names of interfaces, fixed, in nft's order.
    Interfaces(Vec<String>),
    /// Interface names that expire.
    TimedInterfaces,
    /// Addresses that expire.
    TimedSources(Family),
    /// Addresses that expire, and that rules add and delete.
    DynamicSources(Family),
    /// Addresses, each with a port, that expire, and that rules add and delete.
    DynamicPairs(Family),
    /// Ports, fixed, in ascending order.
    Ports(Vec<u16>),
    /// The chain that decides about each destination port, in ascending order; no two ranges
    /// share a port.
    PortChains(Vec<(RangeInclusive<u16>, String)>),
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Its name.
    pub name: String,
    /// Whether packets for this host enter here, at [`PRIORITY`], with policy accept.
    pub hooked: bool,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A rule: matches, then what to do.
pub(crate) type Rule = Vec<Statement>;

/// A part of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    /// The packet came in on an interface of the set.
    ArrivedOn(String),
    /// The packet came in on this interface.
    Arrived(String),
    /// The destination port is in the set.
    PortIn(Protocol, String),
    /// The source address is in the set.
    SourceIn(Family, String),
    /// The first so many bits of the source address, and zeros behind them, are in the set.
    NetworkIn(Family, u8, String),
    /// The key is in the set.
    KeyIn(Key, String),
    /// Puts the key into the set, or takes it out; where the set is full, the rule ends.
    Change {
        /// What is done.
        change: DynamicChange,
        /// The set.
        set: String,
        /// What is put into it.
        key: Key,
        /// How long it stays there.
        lasting: Option<Duration>,
    },
    /// Counts the packet in the named counter.
    Count(String),
    /// A TCP segment that does not open a connection: anything but SYN without ACK.
    ///
    /// Flags that cannot be read (an IPv6 first fragment may end before them) do not match,
    /// so that such a packet goes on to the ports: intended.
    NotOpening,
    /// Looks the destination port up in a map of verdicts.
    PortVerdict(Protocol, String),
    /// A UDP packet of a flow that was let through before (`IPS_CONFIRMED`).
    UdpFlow,
    /// The first fragment of an IPv6 packet that nobody reassembled.
    FirstFragment,
    /// The first four octets after the IP headers can be read. Where a protocol has ports
    /// they are the ports, and no protocol has them all zero.
    PortsReadable,
    /// Matches so many packets a second, and as many more at once; not nft's default of 5 more.
    Limit {
        /// The rate.
        per_second: u32,
        /// How many more.
        burst: u32,
    },
    /// Copies the start of the packet to an NFLOG group.
    Log {
        /// The group.
        group: u16,
        /// How many octets of it.
        length: u16,
    },
    /// Has the kernel's log say that the packet came, in a line with this prefix.
    LogLine(&'static str),
    /// Sets these bits of the packet's mark.
    Mark(u32),
    /// Ends the rule.
    Verdict(Verdict),
}

/// What sets are asked for, and what rules put into them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// The first so many bits of the source address, and zeros behind them.
    Network(Family, u8),
    /// The source address, and the destination port of a packet of this protocol.
    Port(Family, Protocol),
    /// The source address, and the source port of a packet of this protocol.
    SourcePort(Family, Protocol),
    /// The source address, and this port.
    NextPort(Family, u16),
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It passes this table.
    Accept,
    /// It is gone.
    Drop,
    /// This chain decides.
    Goto(String),
    /// This chain decides, unless it comes to its end or returns.
    Jump(String),
    /// The chain that jumped here decides.
    Return,
}

impl Table {
    /// The table for a configuration, and for the knock ports that it names by a file only.
    pub(crate) fn new(config: &Config, listed: &[Port]) -> Self {
        let spots = engines::spots(config, listed);
        let mut sets = sets(config);
        for protocol in PROTOCOLS {
            sets.extend(guarded_ports(config, protocol));
        }
        let mut mapped = Vec::new();
        for protocol in PROTOCOLS {
            if let Some(map) = port_map(config, listed, &spots, protocol) {
                sets.push(map);
                mapped.push(protocol);
            }
        }
        sets.extend(cut_ports(config));
        Self {
            counters: config.doors.iter().flat_map(engines::counters).collect(),
            sets,
            chains: chains(config, spots, &mapped),
        }
    }
}

/// How many octets of a knock the doors need to see: headers, and the payload that one asks for.
pub(super) fn snaplen(doors: &[Door]) -> u16 {
    let payloads = doors.iter().filter_map(|door| door.payload.as_ref());
    let longest = payloads.map(payload::Payload::needed).max().unwrap_or(0);
    let udp = UDP_HEADER.saturating_add(u16::try_from(longest).unwrap_or(u16::MAX));
    HEADERS.saturating_add(udp.max(TCP_HEADER))
}

impl Set {
    /// A set of no more elements than this.
    pub(super) const fn new(name: String, content: Content, size: u32) -> Self {
        Self {
            name,
            content,
            size: Some(size),
            comment: None,
        }
    }

    /// The same with a comment.
    pub(super) fn described(self, comment: String) -> Self {
        Self {
            comment: Some(comment),
            ..self
        }
    }
}

impl Chain {
    /// A chain that others lead to.
    pub(super) const fn new(name: String, rules: Vec<Rule>) -> Self {
        Self {
            name,
            hooked: false,
            rules,
        }
    }
}

impl Content {
    /// Whether its elements expire.
    pub(crate) const fn is_timed(&self) -> bool {
        matches!(self, Self::TimedInterfaces | Self::TimedSources(_)) || self.is_dynamic()
    }

    /// Whether rules add and delete its elements.
    pub(crate) const fn is_dynamic(&self) -> bool {
        matches!(self, Self::DynamicSources(_) | Self::DynamicPairs(_))
    }

    /// Whether its elements are ranges, which nf_tables keeps in a tree in place of a hash table.
    pub(crate) fn is_of_ranges(&self) -> bool {
        match self {
            Self::PortChains(ports) => ports.iter().any(|(ports, _)| ports.start() < ports.end()),
            _ => false,
        }
    }
}

/// What a set of grants holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrantKind {
    /// Sources.
    Source(Family),
    /// Interfaces on which the door is open for anyone.
    Anyone,
}

/// What the name of a door's set of interfaces begins with.
pub(super) const ANYONE: &str = "anyone_";

/// What the name of a door's set of sources begins with.
///
/// No door's name makes any two of the table's sets collide: the prefixes differ before
/// their first underscore, and no fixed name begins with one of them.
pub(super) const fn grant_prefix(family: Family) -> &'static str {
    match family {
        Family::V4 => "grant4_",
        Family::V6 => "grant6_",
    }
}

/// What the name of a door's set of interfaces begins with on which it is locked.
pub(super) const LOCKED: &str = "locked_";

fn locked(door: &str) -> String {
    [LOCKED, door].concat()
}

/// Whether elements of a set of this name outlive a reinstallation.
pub(super) fn is_kept(set: &str) -> bool {
    grant_kind(set).is_some() || set.starts_with(LOCKED)
}

/// What kind of grants a set holds, and for which door; `None`: it holds none.
pub(super) fn grant_kind(set: &str) -> Option<(GrantKind, &str)> {
    for family in Family::BOTH {
        for prefix in [grant_prefix(family), engines::knocked_prefix(family)] {
            if let Some(door) = set.strip_prefix(prefix) {
                return Some((GrantKind::Source(family), door));
            }
        }
    }
    Some((GrantKind::Anyone, set.strip_prefix(ANYONE)?))
}

pub(super) fn grants(family: Family, door: &str) -> String {
    [grant_prefix(family), door].concat()
}

/// Whether a set of this name stays as it was made: elements of the others come and go.
pub(super) fn is_fixed(set: &str) -> bool {
    let ports = ["tcp_ports", "udp_ports", "tcp_guarded", "udp_guarded", CUT];
    set == INTERFACES || ports.contains(&set)
}

pub(super) fn anyone(door: &str) -> String {
    [ANYONE, door].concat()
}

/// The name of the set of sources whose knocks are ignored.
pub(super) const fn cutoffs(family: Family) -> &'static str {
    match family {
        Family::V4 => "cutoff4",
        Family::V6 => "cutoff6",
    }
}

/// How much of an address a door grants, in bits.
pub(super) fn prefix(door: &Door, family: Family) -> u8 {
    match family {
        Family::V4 => door.grant_prefix4,
        Family::V6 => door.grant_prefix6,
    }
    .min(family.bits())
}

/// What a set of grants says of itself: the ports of its door, and how much of an address it
/// holds unless that is all of it: `tcp:22 /24`.
///
/// Grants outlive a reinstallation if this and the door's name are the same. It always
/// fits a comment (128 octets, libnftnl's `NFTNL_UDATA_COMMENT_MAXLEN`): 16 ports take
/// at most 104.
pub(super) fn grants_identity(door: &Door, family: Family) -> String {
    match prefix(door, family) {
        whole if whole == family.bits() => identity(door),
        part => format!("{} /{part}", identity(door)),
    }
}

/// How much of an address a set of grants holds, in bits, as its comment says.
pub(super) fn prefix_of_set(comment: Option<&str>, family: Family) -> u8 {
    comment
        .and_then(|comment| comment.rsplit_once(" /")?.1.parse().ok())
        .unwrap_or(family.bits())
        .min(family.bits())
}

/// The ports of a door in a canonical order: `tcp:22,80 udp:51820`.
fn identity(door: &Door) -> String {
    let mut parts = Vec::new();
    for protocol in PROTOCOLS {
        let numbers = numbers(&door.guards, protocol);
        if !numbers.is_empty() {
            let numbers: Vec<String> = numbers.iter().map(u16::to_string).collect();
            parts.push(format!("{}:{}", protocol.name(), numbers.join(",")));
        }
    }
    parts.join(" ")
}

/// The ports of a protocol, in ascending order, none of them twice.
fn numbers(ports: &[Port], protocol: Protocol) -> Vec<u16> {
    let mut numbers = knock_ports::numbers(ports, protocol);
    numbers.sort_unstable();
    numbers.dedup();
    numbers
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

/// The names of the guarded interfaces, in nft's order.
pub(super) fn interface_names(config: &Config) -> Vec<String> {
    let names = config.global.interfaces.iter();
    let mut names: Vec<String> = names.map(|name| name.as_str().to_owned()).collect();
    names.sort_unstable_by_key(|name| interface_order(name));
    names.dedup();
    names
}

/// nft sorts the elements of a set as numbers, and takes an interface's name, padded with
/// zeros to 16 octets, for a number in the host's byte order.
fn interface_order(name: &str) -> u128 {
    u128::from_ne_bytes(interface_key(name))
}

/// An interface's name as nf_tables compares it: IFNAMSIZ octets, the rest of them zero.
pub(super) fn interface_key(name: &str) -> [u8; 16] {
    let mut key = [0; 16];
    // The last octet stays zero, as the kernel would have it.
    for (to, from) in key.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    key
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

pub(super) fn map_name(protocol: Protocol) -> String {
    format!("{}_ports", protocol.name())
}

fn chains(config: &Config, spots: Vec<Spot>, mapped: &[Protocol]) -> Vec<Chain> {
    // It is never deleted, and the kernel lists what is made after it behind it.
    let mut chains = vec![input_chain(config)];
    if engines::needs_agent(config) {
        chains.push(knock_chain(config));
        chains.extend(decoy_chain(config));
        chains.extend(Hearing::of(&config.global).chain());
    }
    for door in &config.doors {
        chains.extend(engines::chains(door));
        chains.extend(engines::decoy_chain(config, door));
    }
    for spot in spots {
        chains.extend(spot.chain);
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
    rules.extend(Hearing::of(&config.global).knock(config));
    Chain::new(KNOCK.to_owned(), rules)
}

/// Listens, and leaves the packet to whoever it is for.
fn decoy_chain(config: &Config) -> Option<Chain> {
    let tell = Hearing::of(&config.global).decoy(config)?;
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

fn ignoring_cutoffs(verdict: &Verdict) -> Vec<Rule> {
    let ignore = |family| vec![cut_off(family), Statement::Verdict(verdict.clone())];
    vec![ignore(Family::V4), ignore(Family::V6)]
}

/// Has doors of the kernel ignore those whom the agent cut off, where it can have done so.
pub(super) fn silencing(config: &Config) -> Vec<Rule> {
    match config.doors.iter().any(|door| door.cutoff.is_some()) {
        true => ignoring_cutoffs(&Verdict::Drop),
        false => Vec::new(),
    }
}

/// As [`failing_network`] has it.
///
/// [`failing_network`]: postern_core::engine::failing_network
fn cut_off(family: Family) -> Statement {
    let set = cutoffs(family).to_owned();
    match family {
        Family::V4 => Statement::SourceIn(family, set),
        Family::V6 => Statement::NetworkIn(family, 64, set),
    }
}

pub(super) fn door_chain_name(door: &Door) -> String {
    format!("door_{}", door.name)
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

/// Whether as much of the source address as the door grants is in the set.
pub(super) fn granted_to(door: &Door, family: Family, set: String) -> Statement {
    match prefix(door, family) {
        whole if whole == family.bits() => Statement::SourceIn(family, set),
        part => Statement::NetworkIn(family, part, set),
    }
}

fn admit(config: &Config, granted: Statement) -> Rule {
    let mut rule = vec![granted];
    rule.extend(mark(config));
    rule.push(Statement::Verdict(Verdict::Accept));
    rule
}

/// What the ordinary firewall knows a packet by that it is to let in, where it is asked.
pub(super) fn mark(config: &Config) -> Option<Statement> {
    match config.global.guard {
        Guard::Gate => None,
        Guard::Mark => Some(Statement::Mark(config.global.mark)),
    }
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
        for number in knock_ports::numbers(&door.guards, Protocol::Tcp) {
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
pub(super) fn ports_of_doors(config: &Config, protocol: Protocol) -> Option<Set> {
    let mut guards = Vec::new();
    for door in &config.doors {
        guards.extend_from_slice(&door.guards);
    }
    let ports = numbers(&guards, protocol);
    // Of a known size it is a small hash table rather than a bitmap of all ports.
    let size = ports.len() as u32;
    let name = format!("{}_guarded", protocol.name());
    (size > 0).then(|| Set::new(name, Content::Ports(ports), size))
}

#[cfg(test)]
mod tests {
    use heapless::Vec;
    use postern_core::config::Guard;
    use postern_core::payload::{MAX_BYTES, Payload};

    use super::*;
    use crate::firewall::examples;

    #[test]
    fn a_log_holds_the_longest_payload_of_all_doors() {
        let mut doors = examples::three(Guard::Gate).doors;
        assert_eq!(snaplen(&doors), 104 + 20);
        doors[0].payload = Some(Payload::Dns);
        assert_eq!(snaplen(&doors), 104 + 20);
        doors[1].payload = Some(Payload::Ntp);
        assert_eq!(snaplen(&doors), 104 + 8 + 48);
        let bytes = Payload::Bytes(Vec::from_slice(&[0; MAX_BYTES]).unwrap());
        doors[2].payload = Some(bytes);
        assert_eq!(snaplen(&doors), LONGEST_SNAPLEN);
    }

    #[test]
    fn comments_of_any_kind_say_how_much_is_granted() {
        for (comment, family, prefix) in [
            (None, Family::V4, 32),
            (Some("tcp:22,80 udp:1"), Family::V6, 128),
            (Some("tcp:22 /24"), Family::V4, 24),
            (Some("tcp:22 udp:22 /56"), Family::V6, 56),
            (Some("tcp:22 /56"), Family::V4, 32),
            (Some(" /"), Family::V4, 32),
            (Some("tcp:22 /-1"), Family::V4, 32),
            (Some("tcp:22 /1000"), Family::V6, 128),
        ] {
            assert_eq!(prefix_of_set(comment, family), prefix, "{comment:?}");
        }
    }
}
