//! What the interfaces of a configuration stand for: the devices that packets arrive on.
//!
//! `list interface 'wan'` may name a network of netifd's, whose device is another one each time
//! that it dials in, or a device, by its name or an alternative one. The kernel's rules know names
//! of devices only, and the packets of a bridge's port arrive on the bridge. Where there is no
//! netifd, no name is a network's.

use std::io;
use std::path::Path;

use postern_core::config::{Config, Interface, MAX_INTERFACES};
use postern_core::door::InterfaceSet;

use super::ubus::{self, Field, Listener, Ubus};
use crate::collect::CollectVec;
use crate::netlink::links::{self, Link};
use crate::output::{self, Failure};

/// Protocols of netifd whose device is made when they connect, and is then called
/// `PROTOCOL-NETWORK` (ppp.sh in OpenWrt's package ppp).
const DIALLING_PROTOCOLS: [&str; 6] = ["pppoe", "pppoa", "ppp", "pptp", "l2tp", "3g"];

/// Names of interfaces, or devices.
type Names = heapless::Vec<Interface, MAX_INTERFACES>;

/// The networks that netifd last told of, and the names that stand for devices.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    known: Vec<Network>,
    /// The names in the configuration that is in force.
    names: Names,
    /// Those in the one that was resolved last, which may be put into force next.
    next: Names,
    meanings: Vec<Meaning>,
    /// Why netifd was not asked the last time, so that it is said once.
    deaf: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Network {
    name: String,
    /// What it uses, or will use when it is up.
    devices: Vec<String>,
}

/// A name that is not simply a device's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) name: String,
    pub(crate) devices: Vec<String>,
    /// In a sentence.
    pub(crate) text: String,
}

/// What names stand for.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) devices: Names,
    /// Of each name, which of the devices it stands for.
    pub(crate) named: heapless::Vec<InterfaceSet, MAX_INTERFACES>,
    pub(crate) meanings: Vec<Meaning>,
    /// Names that nothing will ever have, and what to write in their place.
    pub(crate) mistakes: Vec<String>,
}

impl Networks {
    /// Puts devices in place of the names in a configuration. Where netifd does not answer, what
    /// it said before holds: it may just be starting again, and doors must not open meanwhile.
    pub(crate) fn resolve(&mut self, config: &mut Config) -> Result<(), String> {
        self.ask_again();
        let names = config.global.interfaces.clone();
        // Without an answer, a name is taken for that of a device, or for what it stood for before.
        let links = links::read_without_addresses().unwrap_or_else(|error| {
            output::warn(&format!("the kernel does not tell its interfaces: {error}"));
            Vec::new()
        });
        let resolved = self.devices(&names, &links)?;
        self.next = names;
        for meaning in &resolved.meanings {
            output::say(&meaning.text);
        }
        if !resolved.mistakes.is_empty() {
            return Err(resolved.mistakes.join("; "));
        }
        config.global.interfaces = resolved.devices;
        config.global.named = resolved.named;
        self.meanings = resolved.meanings;
        Ok(())
    }

    /// The configuration that was resolved last is in force.
    pub(crate) fn settle(&mut self) {
        self.names = self.next.clone();
    }

    /// What the names in force stand for now, and whether netifd is to be asked again before
    /// anything happens. `None`: there are no such names.
    pub(crate) fn look_again(&mut self) -> (Option<Result<Resolved, String>>, bool) {
        if self.names.is_empty() {
            return (None, false);
        }
        let answered = self.ask_again();
        let names = self.names.clone();
        (Some(self.look_up(&names)), !answered)
    }

    /// Whether there is a netifd, or was.
    pub(crate) fn has_any(&self) -> bool {
        !self.known.is_empty()
    }

    pub(crate) fn meanings(&self) -> &[Meaning] {
        &self.meanings
    }

    pub(crate) fn now_mean(&mut self, meanings: Vec<Meaning>) {
        self.meanings = meanings;
    }

    /// Whether netifd answered, or never did.
    fn ask_again(&mut self) -> bool {
        let why = match ask() {
            Ok(known) => {
                self.known = known;
                self.deaf.clear();
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.known.is_empty(),
            Err(error) => error.to_string(),
        };
        if self.deaf != why {
            output::warn(&format!("netifd was not asked for networks: {why}"));
            self.deaf = why;
        }
        false
    }

    fn look_up(&self, names: &[Interface]) -> Result<Resolved, String> {
        let links = links::read_without_addresses()
            .map_err(|error| format!("the kernel does not tell its interfaces: {error}"))?;
        self.devices(names, &links)
    }

    fn devices(&self, names: &[Interface], links: &[Link]) -> Result<Resolved, String> {
        let mut resolved = Resolved::default();
        for name in names {
            if let Err(mistake) = self.device(name, links, &mut resolved)? {
                resolved.mistakes.push(mistake);
            }
        }
        Ok(resolved)
    }

    /// What one name stands for; the inner error is a mistake in the name, which is guarded all the
    /// same, should it come.
    fn device(
        &self,
        name: &Interface,
        links: &[Link],
        resolved: &mut Resolved,
    ) -> Result<Result<(), String>, String> {
        let (subject, own) = match self.network(name) {
            Some(network) => ("network", self.without_aliases(network)),
            None => ("interface", vec![name.as_str()]),
        };
        // A name that stands for nothing any more is no reason to open what it stood for.
        let before = (self.meanings.iter())
            .find(|meaning| meaning.name == name.as_str())
            .filter(|_| subject == "interface" && find(links, name).is_none());
        let mut devices: Vec<String> = Vec::new();
        let mut outcome = Ok(());
        for device in own {
            let device = match find(links, device) {
                Some(link) => link.name.as_str(),
                None => device,
            };
            if device == "lo" {
                return Err(format!(
                    "{subject} {name} is device lo, which is never guarded"
                ));
            }
            devices.push(device.to_owned());
        }
        let listed = devices.join(" or ");
        let mut text = String::new();
        if let Some(before) = before {
            devices.clone_from(&before.devices);
            let stays = devices.join(" and ");
            text = format!("interface {name} is not there any more: the guard of {stays} stays");
        } else if listed != name.as_str() {
            text = format!("{subject} {name} is device {listed}");
        } else if subject == "interface"
            && find(links, name).is_none()
            && let Some(other) = self.in_other_case(name, links)
        {
            outcome = Err(format!(
                "interface {name} is not there, but {other} is: letter case matters, write {other}"
            ));
        }
        for own in devices.clone() {
            let wholes = wholes(links, &own);
            if wholes.iter().any(|whole| whole.kind == "openvswitch") {
                outcome = Err(format!(
                    "{own} is a port of Open vSwitch: list the bridge's own interface in place of {name}"
                ));
                continue;
            }
            let wholes: Vec<&str> = wholes.iter().map(|link| link.name.as_str()).collect_vec();
            if wholes.is_empty() {
                continue;
            }
            if !text.is_empty() {
                text += "; ";
            }
            let whole = wholes.join(" and ");
            text += &format!(
                "{own} is a part of {whole}, where its packets arrive: all of {whole} is guarded"
            );
            devices.extend(wholes.into_iter().map(str::to_owned));
        }
        let mut stands_for = InterfaceSet::EMPTY;
        for device in &devices {
            let Ok(device) = Interface::try_from(device.as_str()) else {
                return Err(format!(
                    "{subject} {name} has a device whose name is too long"
                ));
            };
            stands_for.insert(add(&mut resolved.devices, device)?);
        }
        // There are no more names than that.
        _ = resolved.named.push(stands_for);
        if !text.is_empty() {
            resolved.meanings.push(Meaning {
                name: name.to_string(),
                devices,
                text,
            });
        }
        Ok(outcome)
    }

    fn network(&self, name: &str) -> Option<&Network> {
        self.known.iter().find(|network| network.name == name)
    }

    /// What there is whose name differs in letter case only.
    fn in_other_case<'n>(&'n self, name: &str, links: &'n [Link]) -> Option<&'n str> {
        let networks = self.known.iter().map(|network| &network.name);
        let links = links.iter().map(|link| &link.name);
        networks
            .chain(links)
            .find(|other| other.eq_ignore_ascii_case(name))
            .map(String::as_str)
    }

    /// While wan6 is down, its device may be called `@wan`: that of network wan.
    fn without_aliases<'n>(&'n self, network: &'n Network) -> Vec<&'n str> {
        let devices = network.devices.iter().flat_map(|device| {
            let alias = device.strip_prefix('@');
            let other = alias.and_then(|name| self.network(name));
            other.map_or(core::slice::from_ref(device), |other| &other.devices)
        });
        devices.map(String::as_str).collect_vec()
    }
}

/// The device that has the name, or the alternative one.
fn find<'l>(links: &'l [Link], name: &str) -> Option<&'l Link> {
    let mut links = links.iter();
    links.find(|link| link.name == name || link.other_names.iter().any(|other| other == name))
}

/// Where else the packets of a device arrive: on the bridge, bond or VRF that it is a part of,
/// and, where a bridge takes VLANs apart, on those that are made over it. A VRF's members still
/// see some themselves (`vrf_ip6_rcv` in the kernel's drivers/net/vrf.c).
fn wholes<'l>(links: &'l [Link], device: &str) -> Vec<&'l Link> {
    let Some(device) = links.iter().find(|link| link.name == device) else {
        return Vec::new();
    };
    let mut found = vec![device];
    let mut at = 0;
    while let Some(part) = found.get(at).copied() {
        at += 1;
        let is_bridge = at > 1 && part.kind == "bridge";
        for link in links {
            let is_whole = part.master == Some(link.index);
            let is_vlan = is_bridge && link.kind == "vlan" && link.lower == Some(part.index);
            if (is_whole || is_vlan) && !found.iter().any(|known| known.index == link.index) {
                found.push(link);
            }
        }
    }
    found.remove(0);
    found
}

/// Puts devices in place of names, for once.
pub(crate) fn resolve(config: &mut Config) -> Result<(), Failure> {
    let resolved = Networks::default().resolve(config);
    resolved.map_err(Failure::Failed)
}

/// What the names of a configuration stand for just now, as far as it can be told.
pub(crate) fn look_up(config: &Config) -> Result<Resolved, String> {
    let mut networks = Networks::default();
    networks.ask_again();
    networks.look_up(&config.global.interfaces)
}

/// The devices of one interface on which a door is to be opened, for once.
pub(crate) fn devices(name: &str) -> Result<Vec<String>, Failure> {
    let name = Interface::try_from(name).map_err(|_| {
        Failure::Misused(format!("--on: '{}' is no interface", name.escape_default()))
    })?;
    let mut networks = Networks::default();
    networks.ask_again();
    let links = links::read_without_addresses().unwrap_or_default();
    let resolved = networks.devices(&[name], &links).map_err(Failure::Failed)?;
    if let Some(mistake) = resolved.mistakes.first() {
        return Err(Failure::Misused(format!("--on: {mistake}")));
    }
    // More would be let in than those on that port.
    for device in &resolved.devices {
        if let Some(whole) = wholes(&links, device).first() {
            return Err(Failure::Misused(format!(
                "--on: {device} is a part of {0}, where its packets arrive: \
                 '--on {0}' opens for everyone on {0}",
                whole.name
            )));
        }
    }
    Ok(resolved
        .devices
        .iter()
        .map(ToString::to_string)
        .collect_vec())
}

/// Networks may share a device, as wan and wan6 do. Where it is.
fn add(devices: &mut Names, device: Interface) -> Result<usize, String> {
    if let Some(index) = devices.iter().position(|known| *known == device) {
        return Ok(index);
    }
    (devices.push(device))
        .map(|()| devices.len() - 1)
        .map_err(|_| format!("the interfaces are more than {MAX_INTERFACES} devices"))
}

/// A connection to ubus; `NotFound` where there is none.
fn connect() -> io::Result<Ubus> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    for socket in ubus::SOCKET_PATHS {
        match Ubus::connect(Path::new(socket)) {
            Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => {}
            outcome => return outcome,
        }
    }
    Err(NotFound.into())
}

fn ask() -> io::Result<Vec<Network>> {
    let said = connect()?.call("network.interface", "dump")?;
    Ok(read(&said))
}

/// Hears from now on when netifd brings a network up or down (`netifd_ubus_interface_event` in
/// netifd's ubus.c): such a network may have another device than before, with no interface that
/// came, went or changed.
pub(crate) fn listen() -> io::Result<Listener> {
    connect()?.listen("network.interface")
}

/// Reads what `network.interface dump` says (`netifd_dump_status` in netifd's ubus.c).
pub(crate) fn read(dump: &[u8]) -> Vec<Network> {
    let list = ubus::fields(dump).find(|field| field.name == "interface");
    list.map_or_else(Vec::new, |list| {
        list.fields().filter_map(network).collect_vec()
    })
}

fn network(table: Field<'_>) -> Option<Network> {
    let text = |name| table.fields().find(|field| field.name == name)?.text();
    let name = text("interface")?;
    // Only a network that is up has an l3_device.
    let up = text("l3_device");
    let mut devices = vec![up.or(text("device")).unwrap_or(name).to_owned()];
    let dialled = text("proto").filter(|proto| up.is_none() && DIALLING_PROTOCOLS.contains(proto));
    devices.extend(dialled.map(|proto| format!("{proto}-{name}")));
    Some(Network {
        name: name.to_owned(),
        devices,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(known: &[(&str, &[&str])]) -> Networks {
        let known = known.iter().map(|(name, devices)| Network {
            name: (*name).into(),
            devices: devices.iter().map(ToString::to_string).collect(),
        });
        Networks {
            known: known.collect(),
            ..Networks::default()
        }
    }

    fn devices(networks: &Networks, names: &[&str]) -> Result<String, String> {
        let names: Vec<Interface> = names
            .iter()
            .map(|name| (*name).try_into().unwrap())
            .collect();
        let resolved = networks.devices(&names, &[])?;
        match resolved.mistakes.is_empty() {
            true => Ok(resolved.devices.join(" ")),
            false => Err(resolved.mistakes.join("; ")),
        }
    }

    #[test]
    fn names_become_devices_each_once() {
        let known = networks(&[
            ("wan", &["pppoe-wan"]),
            ("wan6", &["pppoe-wan"]),
            ("wanb", &["eth1.7", "pppoe-wanb"]),
            ("wanb6", &["@wanb"]),
            ("lost", &["@nowhere"]),
            ("loopback", &["lo"]),
        ]);
        for (names, expected) in [
            (&["wan"][..], Ok("pppoe-wan".to_string())),
            (&["wan", "wan6"], Ok("pppoe-wan".into())),
            (&["wan6", "eth5"], Ok("pppoe-wan eth5".into())),
            (&["wanb6", "wan"], Ok("eth1.7 pppoe-wanb pppoe-wan".into())),
            (&["pppoe-wan", "wan"], Ok("pppoe-wan".into())),
            (&["lost"], Ok("@nowhere".into())),
            (
                &["wan", "loopback"],
                Err("network loopback is device lo, which is never guarded".into()),
            ),
        ] {
            assert_eq!(devices(&known, names), expected, "{names:?}");
        }
        assert_eq!(devices(&networks(&[]), &["wan", "x"]), Ok("wan x".into()));
    }

    #[test]
    fn a_door_on_one_network_is_on_its_devices() {
        let known = networks(&[("wan", &["eth1", "pppoe-wan"]), ("wan6", &["pppoe-wan"])]);
        let names = ["wan6", "lan", "wan"].map(|name| name.try_into().unwrap());
        let resolved = known.devices(&names, &[]).unwrap();
        assert_eq!(resolved.devices.join(" "), "pppoe-wan lan eth1");
        let devices = |name: usize| -> Vec<usize> {
            (0..3)
                .filter(|device| resolved.named[name].contains(*device))
                .collect()
        };
        assert_eq!(
            [devices(0), devices(1), devices(2)],
            [vec![0], vec![1], vec![0, 2]]
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let many: Vec<String> = (0..=MAX_INTERFACES)
            .map(|number| format!("d{number}"))
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let known = networks(&[
            ("fits", &many[1..]),
            ("many", &many),
            ("long", &["sixteen-bytes-xx"]),
        ]);
        assert!(devices(&known, &["fits"]).is_ok());
        let refused = |name| devices(&known, &[name]).unwrap_err();
        assert_eq!(refused("many"), "the interfaces are more than 16 devices");
        assert_eq!(
            refused("long"),
            "network long has a device whose name is too long"
        );
    }

    /// An interface: its index, name, kind, and what it is a part of.
    fn link(index: u32, name: &str, kind: &str, master: Option<u32>) -> Link {
        Link {
            index,
            name: name.into(),
            kind: kind.into(),
            master,
            ..Link::default()
        }
    }

    fn links() -> Vec<Link> {
        let mut links = vec![
            link(1, "lo", "", None),
            link(2, "wan0", "", None),
            link(3, "lan1", "dsa", Some(4)),
            link(4, "br-lan", "bridge", None),
            link(5, "br-lan.7", "vlan", Some(10)),
            link(6, "eth8", "", Some(7)),
            link(7, "bond0", "bond", Some(10)),
            link(8, "eth9", "", Some(9)),
            link(9, "ovs-system", "openvswitch", None),
            link(10, "vrf-blue", "vrf", None),
            link(11, "wan0.5", "vlan", None),
        ];
        links[1].other_names = vec!["enp1s0".into(), "lan-of-old".into()];
        links[2].other_names = vec!["port1".into()];
        links[4].lower = Some(4);
        links[10].lower = Some(2);
        links
    }

    fn looked_up(known: &Networks, name: &str) -> (String, String) {
        let name = name.try_into().unwrap();
        let resolved = known.devices(&[name], &links()).unwrap();
        let texts = resolved.meanings.iter().map(|meaning| meaning.text.clone());
        let said: Vec<String> = texts.chain(resolved.mistakes).collect();
        (resolved.devices.join(" "), said.join("; "))
    }

    #[test]
    fn names_become_what_their_packets_arrive_on() {
        let known = networks(&[("lan", &["br-lan"]), ("guest", &["port1"])]);
        let part = |part: &str, whole: &str| {
            format!(
                "{part} is a part of {whole}, where its packets arrive: all of {whole} is guarded"
            )
        };
        let lan = part("lan1", "br-lan and br-lan.7 and vrf-blue");
        for (name, devices, said) in [
            ("wan0", "wan0", String::new()),
            ("later", "later", String::new()),
            ("enp1s0", "wan0", "interface enp1s0 is device wan0".into()),
            ("lan", "br-lan", "network lan is device br-lan".into()),
            ("br-lan", "br-lan", String::new()),
            ("lan1", "lan1 br-lan br-lan.7 vrf-blue", lan.clone()),
            (
                "port1",
                "lan1 br-lan br-lan.7 vrf-blue",
                format!("interface port1 is device lan1; {lan}"),
            ),
            (
                "guest",
                "lan1 br-lan br-lan.7 vrf-blue",
                format!("network guest is device lan1; {lan}"),
            ),
            (
                "eth8",
                "eth8 bond0 vrf-blue",
                part("eth8", "bond0 and vrf-blue"),
            ),
        ] {
            assert_eq!(looked_up(&known, name), (devices.into(), said), "{name}");
        }
    }

    #[test]
    fn names_that_nothing_will_have_come_with_a_cure() {
        let known = networks(&[("uplink", &["wan0"])]);
        let case = |name: &str, other: &str| {
            format!(
                "interface {name} is not there, but {other} is: letter case matters, write {other}"
            )
        };
        for (name, said) in [
            ("WAN0", case("WAN0", "wan0")),
            ("Uplink", case("Uplink", "uplink")),
            (
                "eth9",
                "eth9 is a port of Open vSwitch: list the bridge's own interface in place of eth9"
                    .into(),
            ),
        ] {
            assert_eq!(looked_up(&known, name), (name.into(), said), "{name}");
        }
    }
}
