//! The way in that stays when no door opens, and whether one is needed.

use postern_core::config::{Config, Fallback};
use postern_core::door::Door;
use postern_core::knock::{Port, PortRange, Protocol, tcp};

use super::console::{self, Console};
use super::finding::Finding;
use super::foreign_tables::{Oracle, each_fate};
use super::root::Root;
use super::{interfaces, kinds, servers, sockets};
use crate::collect::CollectVec;
use crate::netlink::links::Link;
use crate::sort::sort;

/// Where SSH is unless somebody moved it.
const SSH: u16 = 22;

pub(super) fn examine(
    root: &Root,
    links: &[Link],
    console: &Console,
    config: &Config,
    oracle: &mut Oracle<'_>,
    findings: &mut Vec<Finding>,
) {
    let doors: Vec<&Door> = config.doors.iter().collect_vec();
    let way = console.way_in().or_else(|| {
        let interface = interfaces::way_in(config, &doors, links).map(str::to_owned);
        let interface = interface.or_else(|| coming_interface(root, config));
        interface.map(|interface| format!("interface {interface} is not guarded"))
    });
    let way = way.or_else(|| {
        let exempt = interfaces::exempt(config, links)?;
        Some(format!("{exempt} is exempt"))
    });
    if let Some(way) = way {
        findings.push(Finding::new(&kinds::FALLBACK_FOUND, &[("way", &way)]));
        return;
    }
    let kind = match config.global.fallback {
        Fallback::Auto => &kinds::FALLBACK_MISSING,
        Fallback::None => &kinds::FALLBACK_NONE,
        Fallback::Other => return,
    };
    for Managed {
        doors,
        port,
        service,
    } in managed(root, links, config, oracle)
    {
        let names: Vec<&str> = doors.iter().map(|door| door.name.as_str()).collect_vec();
        let names = names.join(", ");
        if let Some(interface) = interfaces::way_in(config, &doors, links) {
            let way = format!("door {names} does not guard interface {interface}");
            findings.push(Finding::new(&kinds::FALLBACK_FOUND, &[("way", &way)]));
            continue;
        }
        let searched = [
            console::SEARCHED,
            "; ",
            &interfaces::obstacles(config, &doors, links),
        ]
        .concat();
        let port = format!("{}:{}", port.protocol.name(), port.number);
        let values = [
            ("door", names.as_str()),
            ("port", port.as_str()),
            ("service", service),
            ("searched", searched.as_str()),
        ];
        findings.push(Finding::new(kind, &values));
    }
}

/// An interface that OpenWrt gives an address of its own once it is up: at boot, that may be
/// after us.
fn coming_interface(root: &Root, config: &Config) -> Option<String> {
    let guarded = |device: &str| {
        let mut guarded = config.global.interfaces.iter();
        device == "lo" || guarded.any(|name| name.as_str() == device)
    };
    let sections = root.sections("etc/config/network");
    sections.iter().find_map(|section| {
        let has_address = section.kind == "interface" && section.all("proto").eq(["static"]);
        let comes = section.is_on("auto", true) && !section.is_on("disabled", false);
        let device = section.all("device").chain(section.all("ifname")).next()?;
        (has_address && comes && !guarded(device)).then(|| device.to_owned())
    })
}

/// A guarded port that the owner comes in by.
struct Managed<'c> {
    doors: Vec<&'c Door>,
    /// As whoever comes in names it.
    port: Port,
    service: &'static str,
}

/// The guarded ports that the owner comes in by, each with all of its doors.
fn managed<'c>(
    root: &Root,
    links: &[Link],
    config: &'c Config,
    oracle: &mut Oracle<'_>,
) -> Vec<Managed<'c>> {
    let mut managed: Vec<Managed<'c>> = Vec::new();
    let mut add =
        |door: &'c Door, port, service| match managed.iter_mut().find(|known| known.port == port) {
            Some(known) => known.doors.push(door),
            None => managed.push(Managed {
                doors: vec![door],
                port,
                service,
            }),
        };
    let services = services(root);
    for door in config.doors.iter().filter(|door| door.behind.is_empty()) {
        for (number, service) in &services {
            let port = tcp(*number);
            if door.guards(port) && !is_sent_away(port, links, config, door, oracle) {
                add(door, port, *service);
            }
        }
        // Ports of other numbers that lead there.
        for port in door.guards.iter().filter_map(PortRange::single) {
            let is_service = |number| services.iter().find(|(each, _)| *each == number);
            if port.protocol != Protocol::Tcp || is_service(port.number).is_some() {
                continue;
            }
            let mut service = None;
            each_fate(port, links, config, door, oracle, &mut |fate| {
                let end = fate.redirected.filter(|end| !end.away);
                service = service.or(end.and_then(|end| end.port).and_then(is_service));
            });
            if let Some((_, service)) = service {
                add(door, port, *service);
            }
        }
    }
    managed
}

/// TCP ports of services that owners come in by, and what these are called.
fn services(root: &Root) -> Vec<(u16, &'static str)> {
    let mut services = Vec::new();
    for server in servers::configured(root) {
        services.extend(server.ports.iter().map(|port| (*port, server.name)));
    }
    for listener in sockets::owned_listeners(root) {
        if listener.port.protocol == Protocol::Tcp {
            let service = servers::of_listener(root, &listener);
            services.extend(service.map(|service| (listener.port.number, service)));
        }
    }
    services.push((SSH, "SSH"));
    // The first that is known of a port stays.
    sort(&mut services, &|(one, _), (other, _)| one < other);
    services.dedup_by_key(|(number, _)| *number);
    services
}

/// Whether what comes to the port surely goes to another host, wherever it arrives: then it is none of this machine's.
fn is_sent_away(
    port: Port,
    links: &[Link],
    config: &Config,
    door: &Door,
    oracle: &mut Oracle<'_>,
) -> bool {
    let (mut some, mut all) = (false, true);
    each_fate(port, links, config, door, oracle, &mut |fate| {
        some = true;
        all &= fate.redirected.is_some_and(|end| end.sure && end.away);
    });
    some && all
}
