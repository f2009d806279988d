//! What other rules of the firewall make of a guard.

use core::ops::RangeInclusive;

use postern_core::config::{Config, Guard, Source};
use postern_core::door::Door;
use postern_core::knock::{Port, PortRange, Protocol};

use super::Listed;
use super::finding::Finding;
use super::kinds::{self, Kind, Severity};
use super::ports;
use super::root::Root;
use crate::firewall::{End, Fate, Firewall, Packet};
use crate::network::Family;

/// Tells what becomes of a packet.
pub(super) type Seer<'s> = dyn FnMut(&Packet<'_>) -> Fate + 's;

/// Asks the kernel.
pub(super) fn ask(root: &Root, config: &Config, lists: &Listed<'_>, findings: &mut Vec<Finding>) {
    let unread = |why: &str| Finding::new(&kinds::RULES_UNREAD, &[("why", why)]);
    let Ok(mut firewall) = Firewall::open() else {
        return;
    };
    match firewall.foreign_tables() {
        Ok(mut foreign) => {
            let seer = &mut |packet: &Packet<'_>| foreign.fate(&mut firewall, packet);
            examine(root, config, lists, seer, findings);
            if foreign.incomplete {
                findings.push(unread("there are too many rules"));
            }
        }
        // That the kernel may not be asked, or lacks nf_tables, is said elsewhere.
        Err(refusal @ crate::firewall::Refusal::Restless) => {
            findings.push(unread(&refusal.to_string()));
        }
        Err(_) => {}
    }
}

pub(super) fn examine(
    root: &Root,
    config: &Config,
    lists: &Listed<'_>,
    seer: &mut Seer<'_>,
    findings: &mut Vec<Finding>,
) {
    let mut guarded: Vec<Port> = Vec::new();
    for door in &config.doors {
        guarded.extend(door.guards.iter().filter_map(PortRange::single));
    }
    let older = older_tables(root, findings);
    let mut judge = Judge {
        config,
        guarded: &guarded,
        older,
        seer,
        findings,
    };
    for (index, door) in config.doors.iter().enumerate() {
        judge.knocks(door, lists(index));
        for port in door.guards.iter().filter_map(PortRange::single) {
            judge.guard(door, port);
        }
    }
    if config.global.guard == Guard::Gate && root.exists("etc/openwrt_release") {
        findings.push(Finding::new(&kinds::GATE_FLUSHED, &[]));
    }
}

/// Whether there are rules of the older iptables, which cannot be seen from here.
fn older_tables(root: &Root, findings: &mut Vec<Finding>) -> bool {
    let mut tables: Vec<String> = Vec::new();
    for names in ["ip_tables_names", "ip6_tables_names"] {
        let names = root.text(&["proc/net/", names].concat());
        tables.extend(names.lines().map(str::to_owned));
    }
    tables.sort_unstable();
    tables.dedup();
    if tables.is_empty() {
        return false;
    }
    let found = Finding::new(&kinds::OLDER_TABLES, &[("tables", &tables.join(", "))]);
    let redirects = tables.iter().any(|table| table == "nat");
    findings.push(match redirects {
        true => found,
        false => found.only(Severity::Note),
    });
    true
}

struct Judge<'j> {
    config: &'j Config,
    /// The ports of all doors.
    guarded: &'j [Port],
    /// There may be rules that are not seen.
    older: bool,
    seer: &'j mut Seer<'j>,
    findings: &'j mut Vec<Finding>,
}

/// What becomes of something over IPv4, and over IPv6.
type Fates = [Fate; 2];

impl Judge<'_> {
    /// The worst that becomes of it on any guarded interface.
    fn fates(
        &mut self,
        protocol: Protocol,
        ports: &RangeInclusive<u16>,
        mark: Option<u32>,
        guarded: &[Port],
    ) -> Fates {
        let config = self.config;
        Family::BOTH.map(|family| {
            let mut worst: Option<Fate> = None;
            for interface in &config.global.interfaces {
                let fate = (self.seer)(&Packet {
                    family,
                    protocol,
                    ports: ports.clone(),
                    interface,
                    mark,
                    guarded,
                });
                worst = Some(match worst {
                    None => fate,
                    Some(worst) => Fate {
                        redirected: worse(worst.redirected, fate.redirected),
                        dropped: worse(worst.dropped, fate.dropped),
                        some_dropped: worst.some_dropped && fate.some_dropped,
                        untracked: worst.untracked || fate.untracked,
                    },
                });
            }
            worst.unwrap_or_default()
        })
    }

    fn guard(&mut self, door: &Door, port: Port) {
        let ports = port.number..=port.number;
        let (guarded, guard) = (self.guarded, self.config.global.guard);
        let mark = match guard {
            Guard::Gate => None,
            Guard::Mark => Some(self.config.global.mark),
        };
        let fates = self.fates(port.protocol, &ports, mark, guarded);
        let name = in_words(port.protocol, &ports);
        let redirected = fates.each_ref().map(|fate| fate.redirected.as_ref());
        self.tell(&kinds::GUARD_BYPASSED, door, &name, redirected);
        if self.older {
            return;
        }
        let kind = match guard {
            Guard::Gate => &kinds::OTHERS_DROP,
            Guard::Mark => &kinds::MARK_UNREAD,
        };
        let is_here = |fate: &Fate| fate.redirected.as_ref().is_none_or(|end| !end.sure);
        let dropped = |fate: &Fate| fate.dropped.clone().filter(|_| is_here(fate));
        let ends = fates.each_ref().map(dropped);
        self.tell(kind, door, &name, ends.each_ref().map(Option::as_ref));
        if guard == Guard::Gate {
            let untracked = fates.iter().any(|fate| fate.untracked);
            if untracked && port.protocol == Protocol::Udp {
                let values = [("door", door.name.as_str()), ("port", &name)];
                self.findings
                    .push(Finding::new(&kinds::CONNTRACK_BYPASSED, &values));
            }
            return;
        }
        let strangers = self.fates(port.protocol, &ports, Some(0), guarded);
        let enter = |fate: &Fate| fate.dropped.is_none() && is_here(fate);
        let open = strangers.each_ref().map(enter);
        if let Some(over) = over(open) {
            let values = [
                ("door", door.name.as_str()),
                ("port", &name),
                ("over", over),
            ];
            let found = Finding::new(&kinds::MARK_UNGUARDED, &values);
            let some_dropped = strangers.iter().any(|fate| fate.some_dropped);
            self.findings.push(match some_dropped {
                true => found.only(Severity::Note),
                false => found,
            });
        }
    }

    fn knocks(&mut self, door: &Door, listed: &[Port]) {
        let Config { global, .. } = self.config;
        let is_kernel = door.engine.is_in_kernel();
        // A packet socket sees what no rule has seen.
        if global.source == Source::Packet && !is_kernel {
            return;
        }
        // A socket sees only what all rules let pass.
        let late = global.source == Source::Sockets && !is_kernel && !self.older;
        let mark = (global.guard == Guard::Mark && late).then_some(global.mark);
        for (protocol, ports) in ports::few_knocks(door, listed) {
            let fates = self.fates(protocol, &ports, mark, &[]);
            let ends = fates.map(|fate| {
                // What is dropped for some or perhaps is what firewalls are for.
                let dropped = fate.dropped.filter(|end| end.sure && (end.early || late));
                worse(dropped, fate.redirected)
            });
            let name = in_words(protocol, &ports);
            let ends = ends.each_ref().map(Option::as_ref);
            self.tell(&kinds::KNOCK_UNHEARD, door, &name, ends);
        }
    }

    /// Says it once where it is so over both families.
    fn tell(&mut self, kind: &'static Kind, door: &Door, port: &str, ends: [Option<&End>; 2]) {
        let verb = match kind.id() {
            "guard-bypassed" => ["sends", "may send"],
            "knock-port-redirected" => ["takes", "may take"],
            _ => ["drops", "may drop"],
        };
        let [v4, v6] = ends.map(|end| end.map(|end| end.sure));
        let told = match v4 == v6 {
            true => vec![("", ends[0])],
            false => vec![(OVER[0], ends[0]), (OVER[1], ends[1])],
        };
        let mark = format!("{:#x}", self.config.global.mark);
        for (over, end) in told {
            let Some(end) = end else { continue };
            let [surely, perhaps] = verb;
            let deed = if end.sure { surely } else { perhaps };
            let values = [
                ("door", door.name.as_str()),
                ("port", port),
                ("over", over),
                ("chain", &end.place),
                ("deed", deed),
                ("mark", &mark),
            ];
            let found = Finding::new(kind, &values);
            self.findings.push(match (end.sure, surely) {
                (false, "drops") => found.only(Severity::Note),
                _ => found,
            });
        }
    }
}

const OVER: [&str; 2] = [" over IPv4", " over IPv6"];

/// In words, over which families something is so; `None`: over none.
fn over(families: [bool; 2]) -> Option<&'static str> {
    match families {
        [true, true] => Some(""),
        [true, false] => Some(OVER[0]),
        [false, true] => Some(OVER[1]),
        [false, false] => None,
    }
}

/// What is sure is worse than what may be.
fn worse(one: Option<End>, other: Option<End>) -> Option<End> {
    match (&one, &other) {
        (Some(end), Some(_)) if !end.sure => other,
        (None, _) => other,
        _ => one,
    }
}

fn in_words(protocol: Protocol, ports: &RangeInclusive<u16>) -> String {
    let (protocol, first, last) = (protocol.name(), ports.start(), ports.end());
    match first == last {
        true => format!("{protocol}:{first}"),
        false => format!("{protocol}:{first}-{last}"),
    }
}
