//! Ports that are knocked on, and ports that are guarded: who else uses them.

use core::ops::RangeInclusive;

use postern_core::config::Config;
use postern_core::door::Door;
use postern_core::knock::{Port, PortRange, Protocol};
use postern_core::method;

use super::Listed;
use super::finding::Finding;
use super::kinds;
use super::root::Root;
use super::sockets::Listener;

/// What the kernel does without the file that says so (`net.ipv4.ip_local_port_range`).
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

pub(super) fn examine(
    root: &Root,
    config: &Config,
    lists: &Listed<'_>,
    listeners: &[Listener],
    findings: &mut Vec<Finding>,
) {
    let ephemeral = ephemeral(root);
    for (index, door) in config.doors.iter().enumerate() {
        let knocks = knocks(door, lists(index));
        taken(door, &knocks, listeners, findings);
        answered(door, &knocks, &ephemeral, findings);
        silent(door, listeners, findings);
    }
}

/// Knocks never reach a service, and so nobody does over guarded interfaces.
fn taken(door: &Door, knocks: &[Knocks], listeners: &[Listener], findings: &mut Vec<Finding>) {
    let is_knock = |port: Port| {
        let mut knocks = knocks.iter();
        knocks.any(|(protocol, ports)| *protocol == port.protocol && ports.contains(&port.number))
    };
    let mut told: Vec<Port> = Vec::new();
    for listener in listeners.iter().filter(|listener| !listener.loopback) {
        // One service has a socket for each family; an agent may hear knocks by sockets.
        let known = told.contains(&listener.port) || listener.belongs_to("postern");
        if known || !is_knock(listener.port) {
            continue;
        }
        told.push(listener.port);
        let (port, service) = (in_words(listener.port), listener.who());
        let values = [
            ("door", door.name.as_str()),
            ("port", port.as_str()),
            ("service", service.as_str()),
        ];
        findings.push(Finding::new(&kinds::KNOCK_TAKEN, &values));
    }
}

/// An answer to a query of this machine's own comes to the port that the query was sent from.
/// It is no SYN where it is TCP's, which the guard lets pass; UDP's looks like a knock.
fn answered(door: &Door, knocks: &[Knocks], ephemeral: &Ephemeral, findings: &mut Vec<Finding>) {
    let mut hit: Vec<u16> = Vec::new();
    for (protocol, ports) in knocks {
        if *protocol == Protocol::Udp {
            hit.extend(ports.clone().filter(|port| ephemeral.contains(*port)));
        }
    }
    hit.sort_unstable();
    hit.dedup();
    if hit.is_empty() {
        return;
    }
    let (count, range) = (hit.len().to_string(), ephemeral.in_words());
    let values = [
        ("door", door.name.as_str()),
        ("count", count.as_str()),
        ("range", range.as_str()),
    ];
    findings.push(Finding::new(&kinds::KNOCK_EPHEMERAL, &values));
}

fn silent(door: &Door, listeners: &[Listener], findings: &mut Vec<Finding>) {
    for port in door.guards.iter().filter_map(PortRange::single) {
        let reachable = |listener: &Listener| listener.port == port && !listener.loopback;
        if !listeners.iter().any(reachable) {
            let port = in_words(port);
            let values = [("door", door.name.as_str()), ("port", port.as_str())];
            findings.push(Finding::new(&kinds::GUARD_SILENT, &values));
        }
    }
}

/// Ports that are knocked on.
type Knocks = (Protocol, RangeInclusive<u16>);

/// The ports that a door knocks on, those of its list among them.
fn knocks(door: &Door, listed: &[Port]) -> Vec<Knocks> {
    let mut knocks = method::watched(door).to_vec();
    knocks.extend(
        listed
            .iter()
            .map(|port| (port.protocol, port.number..=port.number)),
    );
    knocks
}

/// The ports that a door knocks on; in place of many, ranges that hold all of them.
pub(super) fn few_knocks(door: &Door, listed: &[Port]) -> Vec<Knocks> {
    const FEW: usize = 24;
    let mut knocks = knocks(door, listed);
    if knocks.len() <= FEW {
        knocks.sort_unstable_by_key(|(protocol, ports)| (*protocol, *ports.start()));
        knocks.dedup();
        return knocks;
    }
    let range = |protocol| {
        let ports = knocks.iter().filter(|(each, _)| *each == protocol);
        let ports = ports.map(|(_, ports)| (*ports.start(), *ports.end()));
        let (first, last) = ports.reduce(|(a, b), (c, d)| (a.min(c), b.max(d)))?;
        Some((protocol, first..=last))
    };
    let ranges = [Protocol::Tcp, Protocol::Udp].map(range);
    ranges.into_iter().flatten().collect()
}

/// The ports that queries are sent from.
struct Ephemeral {
    range: RangeInclusive<u16>,
    reserved: Vec<RangeInclusive<u16>>,
}

impl Ephemeral {
    fn contains(&self, port: u16) -> bool {
        let mut reserved = self.reserved.iter();
        self.range.contains(&port) && !reserved.any(|range| range.contains(&port))
    }

    fn in_words(&self) -> String {
        format!("{} to {}", self.range.start(), self.range.end())
    }
}

fn ephemeral(root: &Root) -> Ephemeral {
    let setting = |name| root.text(&format!("proc/sys/net/ipv4/{name}"));
    let bounds = setting("ip_local_port_range");
    let mut bounds = bounds
        .split_whitespace()
        .filter_map(|word| word.parse().ok());
    let range = bounds.next().zip(bounds.next());
    let reserved = setting("ip_local_reserved_ports");
    Ephemeral {
        range: range.map_or(EPHEMERAL, |(first, last)| first..=last),
        reserved: reserved
            .trim()
            .split(',')
            .filter_map(reserved_range)
            .collect(),
    }
}

fn reserved_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

fn in_words(port: Port) -> String {
    format!("{}:{}", port.protocol.name(), port.number)
}
