//! OpenWrt's networks: which devices the interfaces of a configuration are.
//!
//! `list interface 'wan'` may name a network of netifd's, whose device is another one each time
//! that it dials in, or a device. Where there is no netifd, every name is a device's.

use std::io;
use std::path::Path;

use postern_core::config::{Config, Interface, MAX_INTERFACES};

use crate::output::{self, Failure};
use crate::ubus::{self, Field, Ubus};

/// Protocols of netifd whose device is made when they connect, and is then called
/// `PROTOCOL-NETWORK` (ppp.sh in OpenWrt's package ppp).
const DIALLING: [&str; 6] = ["pppoe", "pppoa", "ppp", "pptp", "l2tp", "3g"];

/// The networks that netifd last told of.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    known: Vec<Network>,
}

#[derive(Debug, PartialEq, Eq)]
struct Network {
    name: String,
    /// What it uses, or will use when it is up.
    devices: Vec<String>,
}

impl Networks {
    /// Puts the devices of networks in place of their names. Where netifd does not answer, what
    /// it said before holds: it may just be starting again, and doors must not open meanwhile.
    pub(crate) fn resolve(&mut self, config: &mut Config) -> Result<(), String> {
        self.ask_again();
        config.global.interfaces = self.devices(&config.global.interfaces)?;
        Ok(())
    }

    fn ask_again(&mut self) {
        match ask() {
            Ok(known) => self.known = known,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => output::warn(&format!("netifd was not asked for networks: {error}")),
        }
    }

    fn devices(
        &self,
        names: &[Interface],
    ) -> Result<heapless::Vec<Interface, MAX_INTERFACES>, String> {
        let mut devices = heapless::Vec::new();
        for name in names {
            let Some(network) = self.network(name) else {
                add(&mut devices, name.clone())?;
                continue;
            };
            let own = self.without_aliases(network);
            for device in &own {
                if *device == "lo" {
                    return Err(format!(
                        "network {name} is device lo, which is never guarded"
                    ));
                }
                let device = Interface::try_from(*device);
                add(&mut devices, device.map_err(|_| unfit(name))?)?;
            }
            let listed = own.join(" or ");
            if listed != name.as_str() {
                output::say(&format!("network {name} is device {listed}"));
            }
        }
        Ok(devices)
    }

    fn network(&self, name: &str) -> Option<&Network> {
        self.known.iter().find(|network| network.name == name)
    }

    /// While wan6 is down, its device may be called `@wan`: that of network wan.
    fn without_aliases<'n>(&'n self, network: &'n Network) -> Vec<&'n str> {
        let devices = network.devices.iter().flat_map(|device| {
            let alias = device.strip_prefix('@');
            let other = alias.and_then(|name| self.network(name));
            other.map_or(core::slice::from_ref(device), |other| &other.devices)
        });
        devices.map(String::as_str).collect()
    }
}

/// Puts the devices of networks in place of their names, for once.
pub(crate) fn resolve(config: &mut Config) -> Result<(), Failure> {
    let resolved = Networks::default().resolve(config);
    resolved.map_err(Failure::Failed)
}

/// The devices of one interface, for once.
pub(crate) fn devices(name: &str) -> Result<Vec<String>, Failure> {
    let name = Interface::try_from(name).map_err(|_| {
        Failure::Misused(format!("--on: '{}' is no interface", name.escape_default()))
    })?;
    let mut networks = Networks::default();
    networks.ask_again();
    let devices = networks.devices(&[name]).map_err(Failure::Failed)?;
    Ok(devices.iter().map(ToString::to_string).collect())
}

/// Networks may share a device, as wan and wan6 do.
fn add(
    devices: &mut heapless::Vec<Interface, MAX_INTERFACES>,
    device: Interface,
) -> Result<(), String> {
    match devices.contains(&device) {
        true => Ok(()),
        false => devices
            .push(device)
            .map_err(|_| format!("the interfaces are more than {MAX_INTERFACES} devices")),
    }
}

fn unfit(name: &str) -> String {
    format!("network {name} has a device whose name is too long")
}

fn ask() -> io::Result<Vec<Network>> {
    let mut nowhere = Err(io::ErrorKind::NotFound.into());
    for socket in ubus::SOCKETS {
        match Ubus::connect(Path::new(socket)) {
            Ok(mut ubus) => {
                return ubus
                    .call("network.interface", "dump")
                    .map(|said| read(&said));
            }
            Err(error) => nowhere = nowhere.and(Err(error)),
        }
    }
    nowhere
}

/// Reads what `network.interface dump` says (`netifd_dump_status` in netifd's ubus.c).
fn read(dump: &[u8]) -> Vec<Network> {
    let list = ubus::fields(dump).find(|field| field.name == "interface");
    list.map_or_else(Vec::new, |list| list.fields().filter_map(network).collect())
}

fn network(table: Field<'_>) -> Option<Network> {
    let text = |name| table.fields().find(|field| field.name == name)?.text();
    let name = text("interface")?;
    // Only a network that is up has an l3_device.
    let up = text("l3_device");
    let mut devices = vec![up.or(text("device")).unwrap_or(name).to_owned()];
    let dialled = text("proto").filter(|proto| up.is_none() && DIALLING.contains(proto));
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
        }
    }

    fn devices(networks: &Networks, names: &[&str]) -> Result<String, String> {
        let names: Vec<Interface> = names
            .iter()
            .map(|name| (*name).try_into().unwrap())
            .collect();
        Ok(networks.devices(&names)?.join(" "))
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
}
