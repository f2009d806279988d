//! What other rules of the firewall make of a guard.

use postern_core::config::{Config, Guard};
use postern_core::knock::Protocol;

use super::finding::Finding;
use super::kinds;
use super::root::Root;
use crate::firewall::Others;

pub(super) fn examine(root: &Root, config: &Config, others: &Others, findings: &mut Vec<Finding>) {
    match config.global.guard {
        Guard::Gate => gate(root, config, others, findings),
        Guard::Mark => mark(root, config, others, findings),
    }
}

fn gate(root: &Root, config: &Config, others: &Others, findings: &mut Vec<Finding>) {
    for chain in &others.dropping {
        findings.push(Finding::new(&kinds::OTHERS_DROP, &[("chain", chain)]));
    }
    if root.exists("etc/openwrt_release") {
        findings.push(Finding::new(&kinds::GATE_FLUSHED, &[]));
    }
    let mut doors = config.doors.iter();
    let with_udp = doors.find(|door| {
        let mut guards = door.guards.iter();
        guards.any(|port| port.protocol == Protocol::Udp)
    });
    if let Some(door) = with_udp.filter(|_| others.untracks) {
        let door = [("door", door.name.as_str())];
        findings.push(Finding::new(&kinds::CONNTRACK_BYPASSED, &door));
    }
}

/// Rules of the older iptables cannot be seen from here: where there are some, nothing is said.
fn mark(root: &Root, config: &Config, others: &Others, findings: &mut Vec<Finding>) {
    let older = ["ip_tables_names", "ip6_tables_names"];
    if older
        .iter()
        .any(|names| !root.text(&format!("proc/net/{names}")).is_empty())
    {
        return;
    }
    if !others.asks_for_mark {
        let mark = format!("{:#x}", config.global.mark);
        findings.push(Finding::new(&kinds::MARK_UNREAD, &[("mark", &mark)]));
    }
    if others.dropping.is_empty() && !others.refuses {
        findings.push(Finding::new(&kinds::MARK_UNGUARDED, &[]));
    }
}
