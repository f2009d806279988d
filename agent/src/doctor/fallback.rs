//! The way in that stays when no door opens, and whether one is needed.

use postern_core::config::{Config, Fallback};
use postern_core::door::Door;
use postern_core::knock::{Port, PortRange, Protocol};

use super::console::{self, Console};
use super::finding::Finding;
use super::root::Root;
use super::{interfaces, kinds, servers, sockets};
use crate::netlink::links::Link;

/// Where SSH is unless somebody moved it.
const SSH: u16 = 22;

pub(super) fn examine(
    root: &Root,
    links: &[Link],
    console: &Console,
    config: &Config,
    findings: &mut Vec<Finding>,
) {
    let way = console.way_in().or_else(|| {
        let interface = interfaces::way_in(config, links).map(str::to_owned);
        let interface = interface.or_else(|| coming_interface(root, config))?;
        Some(format!("interface {interface} is not guarded"))
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
    let searched = [
        console::SEARCHED,
        "; ",
        &interfaces::obstacles(config, links),
    ]
    .concat();
    for (door, port, service) in managed(root, config) {
        let port = format!("{}:{}", port.protocol.name(), port.number);
        let values = [
            ("door", door.name.as_str()),
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

/// The guarded ports that the owner comes in by.
fn managed<'c>(root: &Root, config: &'c Config) -> Vec<(&'c Door, Port, &'static str)> {
    let configured = servers::configured(root);
    let listeners = sockets::owned_listeners(root);
    let service = |port: Port| {
        let by_file = configured
            .iter()
            .find(|server| server.ports.contains(&port.number));
        let mut listening = listeners.iter().filter(|listener| listener.port == port);
        by_file
            .map(|server| server.name)
            .or_else(|| listening.find_map(|listener| servers::of_listener(root, listener)))
            .or((port.number == SSH).then_some("SSH"))
    };
    let mut managed = Vec::new();
    for door in &config.doors {
        let guards = door.guards.iter().filter_map(PortRange::single);
        for port in guards.filter(|port| port.protocol == Protocol::Tcp) {
            managed.extend(service(port).map(|service| (door, port, service)));
        }
    }
    managed
}
