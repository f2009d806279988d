//! Ports that are knocked on, and ports that are guarded: who else uses them.

use core::ops::RangeInclusive;

use postern_core::config::Config;
use postern_core::door::{Door, OnExpiry};
use postern_core::knock::{Port, PortRange, Protocol};
use postern_core::{decoy, method};

use super::Listed;
use super::finding::Finding;
use super::foreign_tables::in_words;
use super::kinds::{self, Kind};
use super::root::Root;
use super::sockets::Listener;
use crate::collect::CollectVec;
use crate::sort::sort;

/// What the kernel does without the file that says so (`net.ipv4.ip_local_port_range`).
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

/// `leads_on` tells whether what comes to a door's port is sent on.
pub(super) fn examine(
    root: &Root,
    config: &Config,
    lists: &Listed<'_>,
    listeners: &[Listener],
    leads_on: &mut dyn FnMut(&Door, Port) -> bool,
    findings: &mut Vec<Finding>,
) {
    let ephemeral = ephemeral(root);
    for (index, door) in config.doors.iter().enumerate() {
        let knocks = knocks(door, lists(index));
        if !door.passive {
            taken(&kinds::KNOCK_TAKEN, door, &knocks, listeners, findings);
        }
        let decoys = decoy::decoys(door, &config.doors);
        let decoys: Vec<Knocks> = decoys
            .map(|ports| (ports.protocol, ports.numbers()))
            .collect_vec();
        taken(&kinds::DECOY_TAKEN, door, &decoys, listeners, findings);
        answered(door, &knocks, &ephemeral, findings);
        cut_off(door, &ephemeral, findings);
        for guard in door.guards.iter().filter(|_| door.behind.is_empty()) {
            if nobody_listens(guard, listeners)
                && !guard.single().is_some_and(|port| leads_on(door, port))
            {
                let port = in_words(guard.protocol, &guard.numbers());
                let values = [("door", door.name.as_str()), ("port", port.as_str())];
                findings.push(Finding::new(&kinds::GUARD_SILENT, &values));
            }
        }
    }
}

/// Knocks never reach a service, and so nobody does over guarded interfaces; whoever reaches one at a decoy opens no
/// door for a while.
fn taken(
    kind: &'static Kind,
    door: &Door,
    knocks: &[Knocks],
    listeners: &[Listener],
    findings: &mut Vec<Finding>,
) {
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
        let Port { protocol, number } = listener.port;
        let (port, service) = (in_words(protocol, &(number..=number)), listener.who());
        let values = [
            ("door", door.name.as_str()),
            ("port", port.as_str()),
            ("service", service.as_str()),
        ];
        findings.push(Finding::new(kind, &values));
    }
}

/// An answer to a query of this machine's own comes to the port that the query was sent from.
/// It is no SYN where it is TCP's, which the guard lets pass; UDP's looks like a knock.
fn answered(door: &Door, knocks: &[Knocks], ephemeral: &Ephemeral, findings: &mut Vec<Finding>) {
    let udp = knocks
        .iter()
        .filter(|(protocol, _)| *protocol == Protocol::Udp);
    let ports = udp.flat_map(|(_, ports)| ports.clone());
    ephemeral.tell(&kinds::KNOCK_EPHEMERAL, door, ports, findings);
}

/// Whether a flow was let in before is not asked where every packet needs a grant.
fn cut_off(door: &Door, ephemeral: &Ephemeral, findings: &mut Vec<Finding>) {
    if door.on_expiry == OnExpiry::Cut && door.behind.is_empty() {
        let udp = door
            .guards
            .iter()
            .filter(|guard| guard.protocol == Protocol::Udp);
        let ports = udp.flat_map(PortRange::numbers);
        ephemeral.tell(&kinds::GUARD_EPHEMERAL, door, ports, findings);
    }
}

/// At an echo request, the kernel does.
fn nobody_listens(guard: &PortRange, listeners: &[Listener]) -> bool {
    let reachable = |listener: &Listener| guard.contains(listener.port) && !listener.loopback;
    guard.protocol != Protocol::Icmp && !listeners.iter().any(reachable)
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
        sort(&mut knocks, &|(one, its), (other, others)| {
            (one, its.start()) < (other, others.start())
        });
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
    ranges.into_iter().flatten().collect_vec()
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

    /// Says how many of a door's ports are among them, if any is.
    fn tell(
        &self,
        kind: &'static Kind,
        door: &Door,
        ports: impl Iterator<Item = u16>,
        findings: &mut Vec<Finding>,
    ) {
        let mut hit: Vec<u16> = ports.filter(|port| self.contains(*port)).collect_vec();
        sort(&mut hit, &u16::lt);
        hit.dedup();
        if hit.is_empty() {
            return;
        }
        let count = hit.len().to_string();
        let range = format!("{} to {}", self.range.start(), self.range.end());
        let values = [
            ("door", door.name.as_str()),
            ("count", count.as_str()),
            ("range", range.as_str()),
        ];
        findings.push(Finding::new(kind, &values));
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
            .collect_vec(),
    }
}

fn reserved_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}
