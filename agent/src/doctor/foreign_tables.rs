//! What other rules of the firewall make of a guard.

use core::net::IpAddr;
use core::ops::RangeInclusive;

use postern_core::config::{Config, Guard, Source};
use postern_core::door::Door;
use postern_core::knock::{Port, PortRange, Protocol};

use super::Listed;
use super::finding::Finding;
use super::kinds::{self, Kind, Severity};
use super::ports;
use super::root::Root;
use crate::collect::CollectVec;
use crate::firewall::{End, Fate, Firewall, ForeignTables, Packet, Seer};
use crate::netlink::links::Link;
use crate::network::{self, Family};
use crate::sort::sort;

/// Tells what becomes of a packet.
pub(super) type Oracle<'s> = dyn FnMut(&Packet<'_>) -> Fate + 's;

/// The most packets whose way is followed to find one that comes to a guarded port by another.
const MAX_TRIED: usize = 512;

/// Asks the kernel.
pub(super) fn ask(
    root: &Root,
    config: &Config,
    links: &[Link],
    lists: &Listed<'_>,
    findings: &mut Vec<Finding>,
) {
    let unread = |why: &str| Finding::new(&kinds::RULES_UNREAD, &[("why", why)]);
    let Ok(mut firewall) = Firewall::open() else {
        return;
    };
    match firewall.foreign_tables() {
        Ok(mut foreign) => {
            foreign.own = own_addresses(links);
            let oracle = &mut |packet: &Packet<'_>| foreign.fate(&mut firewall, packet);
            examine(root, config, lists, oracle, findings);
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

/// Follows the ways of packets, where the kernel lets itself be asked: it is when the first one is.
pub(super) fn oracle(links: &[Link]) -> impl FnMut(&Packet<'_>) -> Fate {
    let own = own_addresses(links);
    let mut asked: Option<Option<(Firewall, ForeignTables)>> = None;
    move |packet| {
        let asked = asked.get_or_insert_with(|| {
            let mut firewall = Firewall::open().ok()?;
            let mut foreign = firewall.foreign_tables().ok()?;
            foreign.own.clone_from(&own);
            Some((firewall, foreign))
        });
        match asked {
            Some((firewall, foreign)) => foreign.fate(firewall, packet),
            None => Fate::default(),
        }
    }
}

fn own_addresses(links: &[Link]) -> Vec<IpAddr> {
    let addresses = links.iter().flat_map(|link| &link.addresses);
    addresses.map(|(address, _)| *address).collect_vec()
}

pub(super) fn examine(
    root: &Root,
    config: &Config,
    lists: &Listed<'_>,
    oracle: &mut Oracle<'_>,
    findings: &mut Vec<Finding>,
) {
    let older = older_tables(root, findings);
    let mut judge = Judge {
        config,
        older,
        oracle,
        findings,
    };
    for (index, door) in config.doors.iter().enumerate() {
        judge.knocks(door, lists(index));
        for guard in &door.guards {
            if guard.protocol != Protocol::Icmp {
                judge.guard(door, guard);
            }
        }
    }
    judge.ways_around();
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
    sort(&mut tables, &String::lt);
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
    /// There may be rules that are not seen.
    older: bool,
    oracle: &'j mut Oracle<'j>,
    findings: &'j mut Vec<Finding>,
}

/// What becomes of something over IPv4, and over IPv6.
type Fates = [Fate; 2];

impl Judge<'_> {
    /// The worst that becomes of it on any interface that is guarded, by this door if it is one's.
    fn fates(&mut self, packet: &Packet<'_>, door: Option<&Door>) -> Fates {
        let config = self.config;
        Family::BOTH.map(|family| {
            let mut worst: Option<Fate> = None;
            for (index, interface) in config.global.interfaces.iter().enumerate() {
                if door.is_some_and(|door| !config.global.interfaces_of(door).contains(index)) {
                    continue;
                }
                let fate = (self.oracle)(&Packet {
                    family,
                    interface,
                    ..packet.clone()
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

    fn guard(&mut self, door: &Door, guarded: &PortRange) {
        let guard = self.config.global.guard;
        let mark = match guard {
            Guard::Gate => None,
            Guard::Mark => Some(self.config.global.mark),
        };
        let packet = Packet {
            mark,
            behind: !door.behind.is_empty(),
            ..to_guard(guarded.protocol, guarded.numbers())
        };
        let fates = self.fates(&packet, Some(door));
        let name = in_words(guarded.protocol, &guarded.numbers());
        let early = |fate: &Fate| fate.redirected.clone().filter(|end| end.early);
        self.tell(
            &kinds::GUARD_BYPASSED,
            door,
            &name,
            fates.each_ref().map(early),
        );
        let late = |fate: &Fate| fate.redirected.clone().filter(|end| !end.early);
        self.tell(
            &kinds::GUARD_FORWARDED,
            door,
            &name,
            fates.each_ref().map(late),
        );
        if self.older {
            return;
        }
        let kind = match guard {
            Guard::Gate => &kinds::OTHERS_DROP,
            Guard::Mark => &kinds::MARK_UNREAD,
        };
        let stays = |fate: &Fate| fate.redirected.as_ref().is_none_or(|end| !end.sure);
        let dropped = |fate: &Fate| fate.dropped.clone().filter(|_| stays(fate));
        self.tell(kind, door, &name, fates.each_ref().map(dropped));
        if guard == Guard::Gate {
            let untracked = fates.iter().any(|fate| fate.untracked);
            if untracked && guarded.protocol == Protocol::Udp {
                let values = [("door", door.name.as_str()), ("port", &name)];
                self.findings
                    .push(Finding::new(&kinds::CONNTRACK_BYPASSED, &values));
            }
            if !packet.behind {
                self.wire(door, &packet, &name);
            }
            return;
        }
        let unmarked = Packet {
            mark: Some(0),
            ..packet
        };
        let strangers = self.fates(&unmarked, Some(door));
        self.tell(
            &kinds::MARK_UNASKED,
            door,
            &name,
            strangers.each_ref().map(late),
        );
        let open = strangers
            .each_ref()
            .map(|fate| fate.dropped.is_none() && stays(fate));
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

    /// Whoever is on the same wire may send packets for other addresses to this machine.
    fn wire(&mut self, door: &Door, packet: &Packet<'_>, name: &str) {
        let elsewhere = Packet {
            behind: true,
            ..packet.clone()
        };
        let fates = self.fates(&elsewhere, Some(door));
        let ends = fates.map(|fate| fate.redirected.filter(|end| !end.early));
        self.tell(&kinds::WIRE_REDIRECTED, door, name, ends);
    }

    /// Another port of this machine, which no door guards, and which is sent on to one that is guarded.
    fn ways_around(&mut self) {
        let config = self.config;
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let is_here = |door: &&Door| {
                let mut guards = door.guards.iter();
                door.behind.is_empty() && guards.any(|guard| guard.protocol == protocol)
            };
            if config.doors.iter().any(|door| is_here(&door)) {
                let mut tries = MAX_TRIED;
                self.way_around(protocol, 1..=u16::MAX, &mut tries);
            }
        }
    }

    /// Looks for it among these ports; whether it was found.
    fn way_around(
        &mut self,
        protocol: Protocol,
        ports: RangeInclusive<u16>,
        tries: &mut usize,
    ) -> bool {
        let (first, last) = (*ports.start(), *ports.end());
        if *tries == 0 || self.is_guarded(protocol, &ports) {
            return false;
        }
        *tries -= 1;
        let mark = (self.config.global.guard == Guard::Mark).then_some(0);
        let packet = Packet {
            mark,
            ..to_guard(protocol, ports.clone())
        };
        let fates = self.fates(&packet, None);
        let ends = fates.map(|fate| fate.redirected);
        let is_decided = |end: &Option<End>| end.as_ref().is_none_or(|end| end.sure);
        if first < last && !ends.iter().all(is_decided) {
            let middle = first.midpoint(last);
            return self.way_around(protocol, first..=middle, tries)
                || self.way_around(protocol, middle + 1..=last, tries);
        }
        let is_here = |end: &&End| !end.away;
        let sent = |end: &Option<End>| end.as_ref().filter(is_here).and_then(|end| end.port);
        let Some(number) = ends.iter().find_map(sent) else {
            return false;
        };
        let port = Port { protocol, number };
        let mut doors = self.config.doors.iter();
        let guards = |door: &&Door| door.behind.is_empty() && door.guards(port);
        let Some(door) = doors.find(guards) else {
            return false;
        };
        let other = in_words(protocol, &ports);
        let to_it = ends.map(|end| end.filter(|end| !end.away && end.port == Some(number)));
        let values = [("other", other.as_str())];
        let name = in_words(protocol, &(number..=number));
        self.tell_with(&kinds::OTHER_PORT, door, &name, to_it, &values);
        true
    }

    /// Whether some guard of a door for this machine has all of these ports.
    fn is_guarded(&self, protocol: Protocol, ports: &RangeInclusive<u16>) -> bool {
        let mut doors = self
            .config
            .doors
            .iter()
            .filter(|door| door.behind.is_empty());
        let has = |number| move |guard: &PortRange| guard.contains(Port { protocol, number });
        doors.any(|door| {
            let mut guards = door
                .guards
                .iter()
                .filter(|guard| has(*ports.start())(guard));
            guards.any(has(*ports.end()))
        })
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
            let packet = Packet {
                mark,
                seen_by: Seer::Knocks,
                ..to_guard(protocol, ports.clone())
            };
            let fates = self.fates(&packet, None);
            let ends = fates.map(|fate| {
                // What is dropped for some or perhaps is what firewalls are for.
                let dropped = fate.dropped.filter(|end| end.sure && (end.early || late));
                worse(dropped, fate.redirected)
            });
            let name = in_words(protocol, &ports);
            self.tell(&kinds::KNOCK_UNHEARD, door, &name, ends);
        }
    }

    fn tell(&mut self, kind: &'static Kind, door: &Door, port: &str, ends: [Option<End>; 2]) {
        self.tell_with(kind, door, port, ends, &[]);
    }

    /// Says it once where it is so over both families.
    fn tell_with(
        &mut self,
        kind: &'static Kind,
        door: &Door,
        port: &str,
        ends: [Option<End>; 2],
        more: &[(&'static str, &str)],
    ) {
        let verb = match kind.id() {
            "firewall-drops" | "mark-unread" => ["drops", "may drop"],
            "knock-port-redirected" => ["takes", "may take"],
            _ => ["sends", "may send"],
        };
        let [v4, v6] = ends.each_ref().map(|end| end.as_ref().map(|end| end.sure));
        let [over_v4, over_v6] = &ends;
        let told = match v4 == v6 {
            true => vec![("", over_v4)],
            false => vec![(OVER[0], over_v4), (OVER[1], over_v6)],
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
            let found = Finding::new(kind, &[&values[..], more].concat());
            self.findings.push(match (end.sure, surely) {
                (false, "drops") => found.only(Severity::Note),
                _ => found,
            });
        }
    }
}

/// Something on its way to the guard, over whichever family and interface.
pub(super) fn to_guard<'p>(protocol: Protocol, ports: RangeInclusive<u16>) -> Packet<'p> {
    Packet {
        family: Family::V4,
        protocol,
        ports,
        interface: "",
        mark: None,
        seen_by: Seer::Guard,
        behind: false,
    }
}

/// Tells what becomes of a packet to the port on each interface where the door guards it, over each family of
/// which that has addresses.
pub(super) fn each_fate(
    port: Port,
    links: &[Link],
    config: &Config,
    door: &Door,
    oracle: &mut Oracle<'_>,
    each: &mut dyn FnMut(Fate),
) {
    for (index, interface) in config.global.interfaces.iter().enumerate() {
        let link = links.iter().find(|link| link.name == interface.as_str());
        let addresses = link.map(|link| &link.addresses[..]).unwrap_or_default();
        for family in Family::BOTH {
            let is_of_it = |(address, _): &(IpAddr, u8)| network::family(*address) == family;
            let has_none = !addresses.is_empty() && !addresses.iter().any(is_of_it);
            if config.global.interfaces_of(door).contains(index) && !has_none {
                each(oracle(&Packet {
                    family,
                    interface,
                    ..to_guard(port.protocol, port.number..=port.number)
                }));
            }
        }
    }
}

/// Whether what comes to a door's port is sent on, anywhere.
pub(super) fn leads_on(
    port: Port,
    links: &[Link],
    config: &Config,
    door: &Door,
    oracle: &mut Oracle<'_>,
) -> bool {
    let mut leads_on = false;
    each_fate(port, links, config, door, oracle, &mut |fate| {
        leads_on |= fate.redirected.is_some();
    });
    leads_on
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

pub(super) fn in_words(protocol: Protocol, ports: &RangeInclusive<u16>) -> String {
    let (protocol, first, last) = (protocol.name(), ports.start(), ports.end());
    match first == last {
        true => format!("{protocol}:{first}"),
        false => format!("{protocol}:{first}-{last}"),
    }
}
