//! What a configuration guards no more of what the table in the kernel does.

use postern_core::config::Config;

use super::table::names::{self, GrantKind};
use super::{Firewall, Refusal};

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

/// The sentence for a door with these ports (`tcp:22,80 udp:51820`), if it loses anything.
fn loss(door: &str, ports: &str, config: &Config) -> Option<String> {
    let guards = || config.doors.iter().flat_map(|door| &door.guards);
    let is_kept = |port: &String| {
        let mut guards = guards();
        guards.any(|guard| guard.to_string() == *port)
    };
    let mut lost = Vec::new();
    for part in ports.split(' ') {
        let (protocol, numbers) = part.split_once(':').unwrap_or_default();
        let numbers = numbers.split(',').filter(|number| !number.is_empty());
        lost.extend(numbers.map(|number| format!("{protocol}:{number}")));
    }
    lost.retain(|port| !is_kept(port));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::tests::examples::ssh;
    use postern_core::config::Guard;

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
