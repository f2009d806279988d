//! What a configuration guards no more of what the table in the kernel does.

use postern_core::config::Config;
use postern_core::door::Door;
use postern_core::knock::{PortRange, Protocol};

use super::table::names::{self, GrantKind};
use super::{Firewall, Refusal};
use crate::collect::CollectVec;
use crate::network::Network;

impl Firewall {
    /// A sentence for each door, port and interface that is guarded now and would not be any more:
    /// a file that was cut short, or a line that was lost, must not open a port in silence.
    pub(crate) fn losses(&mut self, config: &Config) -> Vec<String> {
        // Nothing that can be read is nothing to lose.
        self.try_losses(config).unwrap_or_default()
    }

    fn try_losses(&mut self, config: &Config) -> Result<Vec<String>, Refusal> {
        let mut losses = Vec::new();
        for set in self.sets()? {
            if let Some((GrantKind::Anyone, door)) = names::grant_kind(&set.name) {
                losses.extend(loss(
                    door,
                    set.comment.as_deref().unwrap_or_default(),
                    config,
                ));
            }
        }
        if config.global.enabled {
            for name in self.interfaces_in(names::INTERFACES)? {
                if !config.global.interfaces.iter().any(|kept| *kept == *name) {
                    losses.push(format!("interface {name} is not guarded any more"));
                }
            }
        }
        Ok(losses)
    }
}

/// The sentence for a door that guards this (`tcp:22,80 udp:51820`), if it loses anything.
fn loss(door: &str, guarded: &str, config: &Config) -> Option<String> {
    let behind = networks_of(guarded, "behind");
    let mut lost = Vec::new();
    for word in guarded.split(' ').filter(|word| !word.is_empty()) {
        let (protocol, parts) = word.split_once(':').unwrap_or_default();
        for part in parts.split(',').filter(|part| !part.is_empty()) {
            let ports = [protocol, ":", part].concat();
            // What is a digest, or says where, is none.
            if let Some(range) = range(protocol, part)
                && !is_guarded(range, &behind, config)
            {
                lost.push(ports);
            }
        }
    }
    let is_gone = !config.doors.iter().any(|kept| kept.name == *door);
    match (is_gone, lost.is_empty()) {
        (false, true) => None,
        (true, true) => Some(format!("door {door} is gone")),
        (true, false) => Some(format!(
            "door {door} is gone: not guarded any more: {}",
            lost.join(", ")
        )),
        (false, false) => Some(format!(
            "door {door}: not guarded any more: {}",
            lost.join(", ")
        )),
    }
}

/// Reads ports as the table's comments have them.
fn range(protocol: &str, part: &str) -> Option<PortRange> {
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "icmp" => return (part == "echo").then_some(PortRange::ECHO),
        _ => return None,
    };
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    Some(PortRange {
        protocol,
        first: first.parse().ok()?,
        last: last.parse().ok()?,
    })
}

/// The networks that one word of a comment lists.
fn networks_of(guarded: &str, name: &str) -> Vec<Network> {
    let mut words = guarded.split(' ').filter_map(|word| word.split_once(':'));
    let listed = words.find(|(word, _)| *word == name);
    let listed = listed.map_or("", |(_, listed)| listed);
    (listed
        .split(',')
        .filter_map(|network| Network::parse(network).ok()))
    .collect_vec()
}

/// Whether the doors of a configuration guard all of these ports, of this machine or of these hosts
/// behind it.
fn is_guarded(ports: PortRange, behind: &[Network], config: &Config) -> bool {
    let includes = |door: &&Door| {
        let mut needed = behind.iter();
        door.behind.is_empty() == behind.is_empty()
            && needed.all(|one| door.behind.iter().any(|other| other.includes(one)))
    };
    let doors = config.doors.iter().filter(includes);
    let guards: Vec<&PortRange> = doors
        .flat_map(|door| &door.guards)
        .filter(|guard| guard.protocol == ports.protocol)
        .collect_vec();
    let mut next = u32::from(ports.first);
    while next <= u32::from(ports.last) {
        let holds = |guard: &&&PortRange| (guard.first.into()..=guard.last.into()).contains(&next);
        match guards.iter().filter(holds).map(|guard| guard.last).max() {
            Some(last) => next = u32::from(last) + 1,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::tests::examples::{behind, everything, range, ssh};
    use postern_core::config::Guard;

    #[test]
    fn ranges_are_kept_by_as_many_as_it_takes() {
        let config = everything(Guard::Gate);
        for ports in [
            "tcp:1-65535",
            "tcp:1-9000,22 udp:5-6",
            "icmp:echo",
            "digest:0011",
        ] {
            assert_eq!(loss("ssh", ports, &config), None, "{ports}");
        }
        let mut config = behind(Guard::Gate);
        config.doors[0].guards = config.doors[2].guards.clone();
        let kept = [
            "tcp:8000-8999 icmp:echo",
            "tcp:8000-8999 behind:192.0.2.7",
            "tcp:22 behind:192.0.2.0/24,2001:db8:1::10",
        ];
        for guarded in kept {
            assert_eq!(loss("ssh", guarded, &config), None, "{guarded}");
        }
        let lost = [
            ("tcp:8000-9000,22", "tcp:8000-9000"),
            ("tcp:22 behind:192.0.0.0/16", "tcp:22"),
            ("icmp:echo behind:2001:db8:9::/64", "icmp:echo"),
        ];
        for (guarded, named) in lost {
            let said = format!("door ssh: not guarded any more: {named}");
            assert_eq!(loss("ssh", guarded, &config), Some(said), "{guarded}");
        }
        // What two guards hold together.
        config.doors[0].guards = [(1, 50), (51, 60), (40, 55)]
            .map(|(first, last)| range(Protocol::Tcp, first, last))
            .into_iter()
            .collect();
        assert_eq!(loss("ssh", "tcp:2-60", &config), None);
    }

    #[test]
    fn a_door_that_loses_something_is_named() {
        let config = ssh(Guard::Gate);
        for (door, ports, expected) in [
            ("ssh", "tcp:22", None),
            (
                "ssh",
                "tcp:22,80",
                Some("door ssh: not guarded any more: tcp:80"),
            ),
            ("web", "tcp:22", Some("door web is gone")),
            ("web", "", Some("door web is gone")),
            (
                "web",
                "tcp:22,80 udp:22,53",
                Some("door web is gone: not guarded any more: tcp:80, udp:22, udp:53"),
            ),
        ] {
            assert_eq!(
                loss(door, ports, &config).as_deref(),
                expected,
                "{door} {ports}"
            );
        }
    }
}
