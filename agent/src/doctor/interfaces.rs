//! Interfaces: those that are guarded, and those that are not, which are ways in.

use postern_core::config::Config;
use postern_core::door::Door;
use postern_core::network::Network;

use super::finding::Finding;
use super::kinds;
use crate::collect::CollectVec;
use crate::netlink::links::Link;

/// The most interfaces that a sentence lists.
const MAX_LISTED_INTERFACES: usize = 8;

pub(super) fn examine(config: &Config, links: &[Link], findings: &mut Vec<Finding>) {
    for name in &config.global.interfaces {
        let interface = ("interface", name.as_str());
        let Some(link) = links.iter().find(|link| link.name == name.as_str()) else {
            let others = listed(links.iter().map(|link| link.name.clone()));
            let values = [interface, ("others", others.as_str())];
            findings.push(Finding::new(&kinds::INTERFACE_MISSING, &values));
            continue;
        };
        if link.loopback {
            findings.push(Finding::new(&kinds::INTERFACE_LOOPBACK, &[interface]));
        }
        let master = links.iter().find(|other| Some(other.index) == link.master);
        if let Some(master) = master {
            // It is among the interfaces since their names were looked up.
            let values = [interface, ("master", master.name.as_str())];
            findings.push(Finding::new(&kinds::INTERFACE_WHOLE, &values));
        }
    }
}

/// An interface that none of these doors shuts and on which somebody outside can come in.
pub(super) fn way_in<'l>(config: &Config, doors: &[&Door], links: &'l [Link]) -> Option<&'l str> {
    let mut links_in = links
        .iter()
        .filter(|link| obstacle(config, doors, links, link).is_none());
    links_in.next().map(|link| link.name.as_str())
}

/// Who comes in although the interface is guarded: neighbours of this machine that are exempt.
pub(super) fn exempt<'c>(config: &'c Config, links: &[Link]) -> Option<&'c Network> {
    config.global.exempt.iter().find(|exempt| {
        let has_neighbours = |link: &&Link| link.up && !link.loopback && leads_outside(links, link);
        let mut addresses = (links.iter().filter(has_neighbours)).flat_map(|link| &link.addresses);
        addresses.any(|(address, bits)| {
            let neighbours = Network::of(*address, *bits);
            let is_itself = **exempt == Network::of(*address, u8::MAX);
            !is_itself && (neighbours.includes(exempt) || exempt.includes(&neighbours))
        })
    })
}

/// Why each interface is no way in past these doors.
pub(super) fn obstacles(config: &Config, doors: &[&Door], links: &[Link]) -> String {
    let outer = links.iter().filter(|link| !link.loopback);
    let reasons = outer.filter_map(|link| {
        let reason = obstacle(config, doors, links, link)?;
        Some(format!("{} {reason}", link.name))
    });
    listed(reasons)
}

fn obstacle(config: &Config, doors: &[&Door], links: &[Link], link: &Link) -> Option<&'static str> {
    let guarded = config.global.interfaces.iter().enumerate();
    let mut guarded = guarded.filter(|(_, name)| name.as_str() == link.name);
    let is_guarded = |index| {
        let on = |door: &&Door| config.global.interfaces_of(door).contains(index);
        doors.iter().any(on)
    };
    match link {
        _ if guarded.any(|(index, _)| is_guarded(index)) => Some("is guarded"),
        link if link.loopback => Some("is the loopback"),
        link if !link.up => Some("is down"),
        link if link.addresses.is_empty() => Some("has no address"),
        link if !leads_outside(links, link) => Some("leads to this machine itself, or is a tunnel"),
        _ => None,
    }
}

/// Whether there is hardware behind an interface. The bridges of containers and of virtual
/// machines lead nowhere else, and a tunnel comes and goes with what it is made over.
fn leads_outside(links: &[Link], link: &Link) -> bool {
    let mut members = links
        .iter()
        .filter(|member| member.master == Some(link.index));
    match link.kind.as_str() {
        "" | "dsa" | "vlan" | "macvlan" | "ipvlan" | "bond" | "team" | "veth" => true,
        "bridge" => members.any(|member| member.kind != "veth" && leads_outside(links, member)),
        _ => false,
    }
}

pub(super) fn listed(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.take(MAX_LISTED_INTERFACES).collect_vec();
    match items.is_empty() {
        true => "none".into(),
        false => items.join(", "),
    }
}
