//! Machines laid out as files: what is found on each.

mod configs;
mod kernels;
mod knocks;
mod terminals;
mod ways;

use core::ops::RangeInclusive;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use postern_core::config::Config;
use postern_core::knock::{Port, Protocol};

use super::console::Console;
use super::finding::Finding;
use super::kernel::{self, Answers};
use super::kinds::{ALL, Severity};
use super::root::Root;
use super::{
    addresses, clock, fallback, foreign_tables, interfaces, logins, ports, refusal, render,
    secrets, servers, sockets,
};
use crate::firewall::{End, Fate, Packet, Part, Refusal, Seer};
use crate::netlink::links::Link;
use crate::network::Family;
use crate::onetime::wall_clock::WallClock;
use crate::testing::scratch::Scratch;
use crate::testing::skipping::{may_as_root, skip};

/// A machine that is nothing but files.
struct Machine(Scratch);

impl Machine {
    fn new(files: &[(&str, &str)]) -> Self {
        let machine = Self(Scratch::new());
        for (name, text) in files {
            machine.write(name, text);
        }
        machine
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, name: &str, target: &str) {
        let path = self.0.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn root(&self) -> Root {
        Root::new(self.0.folder())
    }

    fn way_in(&self) -> Option<String> {
        Console::read(&self.root()).way_in()
    }

    fn console(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        Console::read(&self.root()).examine(&mut findings);
        findings
    }

    fn fallback(&self, links: &[Link], config: &Config) -> Vec<Finding> {
        self.fallback_beside(&|_| Fate::default(), links, config)
    }

    /// Where other rules do this with packets.
    fn fallback_beside(
        &self,
        oracle: &dyn Fn(&Packet<'_>) -> Fate,
        links: &[Link],
        config: &Config,
    ) -> Vec<Finding> {
        let (root, mut findings) = (self.root(), Vec::new());
        let (console, oracle) = (Console::read(&root), &mut |packet: &Packet<'_>| {
            oracle(packet)
        });
        fallback::examine(&root, links, &console, config, oracle, &mut findings);
        findings
    }

    fn ports(&self, config: &Config) -> Vec<Finding> {
        let (root, mut findings) = (self.root(), Vec::new());
        let listeners = sockets::owned_listeners(&root);
        let leads_on = &mut |_: &_, port: Port| port.number == 8080;
        ports::examine(&root, config, &|_| &[], &listeners, leads_on, &mut findings);
        findings
    }

    fn logins(&self) -> Vec<Finding> {
        let (root, mut findings) = (self.root(), Vec::new());
        logins::examine(&root, &sockets::owned_listeners(&root), &mut findings);
        findings
    }

    /// A process that holds a socket of `proc/net/tcp`.
    fn process(&self, number: u32, name: &str, command_line: &str, inode: u32) {
        let folder = format!("proc/{number}");
        self.write(&format!("{folder}/comm"), &format!("{name}\n"));
        self.write(&format!("{folder}/cmdline"), command_line);
        self.link(&format!("{folder}/fd/3"), &format!("socket:[{inode}]"));
    }
}

fn ids(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.kind.id()).collect()
}

fn config(global: &str, doors: &str) -> Config {
    let text = format!("config postern global\nlist interface wan\n{global}\n{doors}");
    Config::parse(text.as_bytes(), |_| {}).unwrap_or_else(|| panic!("{text}"))
}

fn door(guards: &str) -> String {
    format!(
        "config door 'a_door'\n\toption guard '{guards}'\n\toption method 'sequence-separate'\n\
         \toption open 'tcp:7000 udp:8001 tcp:6002'\n"
    )
}

fn ssh() -> Config {
    config("", &door("tcp:22"))
}

fn code_door(method: &str, secret: &Path) -> String {
    format!(
        "config door 'a_door'\n\toption guard 'tcp:22'\n\toption method '{method}'\n\
         \toption secret_file '{}'\n",
        secret.display()
    )
}

const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

/// A line of `proc/net/tcp` or `udp`; the address is a number of this machine's byte order.
fn socket(address: [u8; 4], port: u16, state: &str, inode: u32) -> String {
    let address = u32::from_ne_bytes(address);
    format!(
        "   0: {address:08X}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 \
         00000000     0        0 {inode} 1 00000000a17619fe 100 0 0 10 0\n"
    )
}

const ANY: [u8; 4] = [0; 4];

const SHADOW: &str = "root:$6$salt$hash:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n";
const LOCKED: &str = "root:*:19000:0:99999:7:::\nadmin:!$6$salt$hash:19000:0:99999:7:::\n\
                      backup:$6$salt$hash:19000:0:99999:7:::\n";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nadmin:x:1000:1000::/home/admin:/bin/bash\n\
                      backup:x:34:34:backup:/var/backups:/usr/sbin/nologin\n";

/// A router: procd, and a console on its serial line.
const OPENWRT: &[(&str, &str)] = &[
    ("proc/1/comm", "procd\n"),
    (
        "proc/consoles",
        "ttyS0                -W- (EC p a)    4:64\n",
    ),
    (
        "etc/inittab",
        "::sysinit:/etc/init.d/rcS S boot\n::shutdown:/etc/init.d/rcS K shutdown\n\
         ::askconsole:/usr/libexec/login.sh\n",
    ),
    (
        "etc/config/system",
        "config system\n\toption hostname 'OpenWrt'\n\toption ttylogin '0'\n",
    ),
    (
        "etc/shadow",
        "root:::0:99999:7:::\ndaemon:*:0:0:99999:7:::\n",
    ),
    ("etc/openwrt_release", "DISTRIB_ID='OpenWrt'\n"),
];

/// A server: systemd, and a getty on the first virtual terminal.
fn debian() -> Machine {
    let machine = Machine::new(&[
        ("proc/1/comm", "systemd\n"),
        ("run/systemd/system/placeholder", ""),
        ("dev/tty1", ""),
        ("etc/shadow", SHADOW),
        ("etc/passwd", PASSWD),
    ]);
    let unit = "etc/systemd/system/getty.target.wants/getty@tty1.service";
    machine.link(unit, "/lib/systemd/system/getty@.service");
    machine
}

/// A small server: OpenRC below busybox' init.
const ALPINE: &[(&str, &str)] = &[
    ("proc/1/comm", "init\n"),
    ("dev/tty1", ""),
    ("dev/ttyS0", ""),
    (
        "etc/inittab",
        "::sysinit:/sbin/openrc sysinit\n::wait:/sbin/openrc default\n\
         tty1::respawn:/sbin/getty 38400 tty1\ntty2::respawn:/sbin/getty 38400 tty2\n\
         #ttyS0::respawn:/sbin/getty -L 0 ttyS0 vt100\n::ctrlaltdel:/sbin/reboot\n",
    ),
    ("etc/shadow", SHADOW),
    ("etc/passwd", PASSWD),
];

#[test]
fn what_others_can_read_or_change() {
    let scratch = Scratch::new();
    let file = |name: &str, mode| {
        let path = scratch.file(name, "base32:GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\n");
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    };
    let folder = |name: &str, mode| {
        let path = scratch.path(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    };
    let found = |config_mode, secret_mode, state_mode, control_mode, door: &str| {
        let path = file("config", config_mode);
        let secret = file("secret", secret_mode);
        let (state, control) = (folder("state", state_mode), folder("control", control_mode));
        let global = format!(
            "option state_dir '{}'\noption control '{}/socket'\n",
            state.display(),
            control.display()
        );
        let config = config(&global, &door.replace("SECRET", secret.to_str().unwrap()));
        let mut findings = Vec::new();
        secrets::examine(&path, &config, &mut findings);
        ids(&findings)
    };
    let clock = code_door("one-time-clock", Path::new("SECRET"));
    let fixed = door("tcp:22");
    assert_eq!(found(0o600, 0o600, 0o700, 0o755, &clock), [""; 0]);
    assert_eq!(found(0o644, 0o600, 0o755, 0o755, &clock), [""; 0]);
    assert_eq!(
        found(0o664, 0o600, 0o755, 0o755, &clock),
        ["config-exposed", "place-unsafe"]
    );
    assert_eq!(
        found(0o644, 0o644, 0o777, 0o755, &fixed),
        ["config-exposed", "place-unsafe"]
    );
    assert_eq!(
        found(0o600, 0o640, 0o755, 0o755, &clock),
        ["secret-exposed", "door-shut"]
    );
    assert_eq!(
        found(0o600, 0o600, 0o775, 0o755, &clock),
        ["state-exposed", "place-unsafe", "door-shut"]
    );
    assert_eq!(
        found(0o600, 0o600, 0o755, 0o777, &fixed),
        ["control-exposed"]
    );
    assert_eq!(found(0o600, 0o600, 0o755, 0o1777, &fixed), [""; 0]);
    let seed = code_door("one-time-seed", Path::new("SECRET"));
    assert_eq!(found(0o600, 0o600, 0o755, 0o755, &seed), ["door-shut"]);
    if may_as_root() {
        file("config", 0o600);
        chown(scratch.path("config"), Some(4242), None).unwrap();
        assert_eq!(
            found(0o600, 0o600, 0o755, 0o755, &fixed),
            ["config-exposed", "place-unsafe"]
        );
    }
}

#[test]
fn a_clock_that_is_not_trusted() {
    let judged = |distrust, config: &Config| {
        let mut findings = Vec::new();
        let clock = WallClock {
            millis: 0,
            distrust,
        };
        clock::examine(config, &clock, &mut findings);
        ids(&findings)
    };
    let code = code_door("one-time-clock", Path::new("/nowhere"));
    let datagram = "config door 'spa'\n\tlist guard 'tcp:81'\n\toption method 'spa'\n\
                    \toption key_file '/nowhere'\n";
    for door in [code.as_str(), datagram] {
        let with_clock = config("", door);
        assert_eq!(
            judged(Some("it is not set"), &with_clock),
            ["clock-untrusted"]
        );
        assert_eq!(judged(None, &with_clock), [""; 0]);
    }
    assert_eq!(judged(Some("it is not set"), &ssh()), [""; 0]);
}

#[test]
fn what_codes_say_of_a_clock_and_of_guessers() {
    let report = "agent: running\ndoor web: tcp:80, single-same\ndoor ssh: tcp:22, one-time-clock\n  \
                  waits: a while\n  clock: is it 4h ahead?\n  \
                  asks for 2 codes in a row: 9 wrong guesses within 3h\n";
    let mut findings = Vec::new();
    clock::examine_hints(report, &mut findings);
    assert_eq!(ids(&findings), ["clock-off", "codes-guessed"]);
    assert_eq!(findings[0].text(), "door ssh: is it 4h ahead?");
    assert_eq!(
        findings[1].text(),
        "door ssh asks for 2 codes in a row: 9 wrong guesses within 3h"
    );
}

#[test]
fn what_other_rules_make_of_a_guard() {
    let judged =
        |machine: &Machine, guard: &str, guards: &str, oracle: &dyn Fn(&Packet<'_>) -> Fate| {
            let config = config(&format!("option guard {guard}"), &door(guards));
            let mut findings = Vec::new();
            foreign_tables::examine(
                &machine.root(),
                &config,
                &|_| &[],
                &mut |packet| oracle(packet),
                &mut findings,
            );
            findings
        };
    let (plain, openwrt) = (Machine::new(&[]), Machine::new(OPENWRT));
    let end = |sure, early| {
        Some(End {
            place: "chain x of table ip fw".into(),
            sure,
            early,
            away: true,
            port: None,
        })
    };
    let open = |_: &Packet<'_>| Fate::default();
    let drops = |sure| {
        move |packet: &Packet<'_>| Fate {
            dropped: end(sure, false).filter(|_| packet.mark.is_none_or(|mark| mark == 0)),
            ..Fate::default()
        }
    };
    let guarded = |packet: &Packet<'_>| packet.ports.contains(&22);
    // What is sent to this machine.
    let sends = |sure, early| {
        move |packet: &Packet<'_>| Fate {
            redirected: end(sure, early).filter(|_| packet.family == Family::V4 && !packet.behind),
            ..Fate::default()
        }
    };
    assert_eq!(ids(&judged(&plain, "gate", "tcp:22", &open)), [""; 0]);
    assert_eq!(
        ids(&judged(&openwrt, "gate", "tcp:22", &open)),
        ["gate-flushed"]
    );
    // Once for both families, and nothing about knocks, which are heard before.
    for (sure, severity) in [(true, Severity::Warning), (false, Severity::Note)] {
        let found = judged(&plain, "gate", "tcp:22", &drops(sure));
        assert_eq!(ids(&found), ["firewall-drops"]);
        assert_eq!(found[0].severity(), severity);
        assert_eq!(
            ids(&judged(&plain, "mark", "tcp:22", &drops(sure))),
            [""; 0]
        );
    }
    assert_eq!(
        ids(&judged(&plain, "mark", "tcp:22", &open)),
        ["mark-unguarded"]
    );
    let all_dropped = |packet: &Packet<'_>| Fate {
        dropped: end(true, false).filter(|_| packet.family == Family::V6 && guarded(packet)),
        ..Fate::default()
    };
    let found = judged(&plain, "mark", "tcp:22", &all_dropped);
    assert_eq!(ids(&found), ["mark-unread", "mark-unguarded"]);
    assert!(
        found[0]
            .text()
            .contains("tcp:22 with mark 0x10000000 over IPv6")
    );
    assert!(found[1].text().ends_with("tcp:22 over IPv4"));
    for sure in [true, false] {
        let found = judged(&plain, "gate", "tcp:22", &sends(sure, true));
        let expected = [&["knock-port-redirected"; 3][..], &["guard-bypassed"]].concat();
        assert_eq!(ids(&found), expected);
        for finding in &found {
            assert_eq!(finding.text().contains(" may "), !sure, "{finding:?}");
            assert!(finding.text().contains("over IPv4"), "{finding:?}");
            assert_eq!(finding.severity(), Severity::Warning);
        }
        // Behind the guard it is what doors are for, unless nobody is asked for the mark.
        let found = judged(&plain, "gate", "tcp:22", &sends(sure, false));
        let expected = [&["knock-port-redirected"; 3][..], &["guard-forwarded"]].concat();
        assert_eq!(ids(&found), expected);
        let unasked = sends(sure, false);
        let found = judged(&plain, "mark", "tcp:22", &unasked);
        assert!(ids(&found).contains(&"mark-unasked"), "{found:?}");
        let asked = |packet: &Packet<'_>| match packet.mark {
            Some(0) => Fate {
                dropped: end(true, false),
                ..Fate::default()
            },
            _ => unasked(packet),
        };
        let found = judged(&plain, "mark", "tcp:22", &asked);
        assert_eq!(ids(&found), expected);
    }
    let untracked = |_: &Packet<'_>| Fate {
        untracked: true,
        ..Fate::default()
    };
    assert_eq!(ids(&judged(&plain, "gate", "tcp:22", &untracked)), [""; 0]);
    assert_eq!(
        ids(&judged(&plain, "gate", "udp:53", &untracked)),
        ["conntrack-bypassed"]
    );
    // Rules of the older iptables cannot be seen: what they may do is left to who can look.
    plain.write("proc/net/ip_tables_names", "filter\n");
    let found = judged(&plain, "mark", "tcp:22", &open);
    assert_eq!(ids(&found), ["firewall-older"]);
    assert_eq!(found[0].severity(), Severity::Note);
    plain.write("proc/net/ip6_tables_names", "filter\nnat\n");
    let found = judged(&plain, "gate", "tcp:22", &open);
    assert_eq!(found[0].severity(), Severity::Warning);
    assert!(found[0].text().contains("(filter, nat)"));
}

/// What other rules do with what comes to ports is looked at with these rules in the kernel's place.
#[test]
fn ways_around_a_guard() {
    // From one port to another, of whatever address where that is so.
    let judged = |global: &str, doors: &str, rule: (RangeInclusive<u16>, u16, bool)| {
        let (from, to, any_address) = rule;
        let oracle = &mut |packet: &Packet<'_>| {
            let (first, last) = (*packet.ports.start(), *packet.ports.end());
            let is_all = from.contains(&first) && from.contains(&last);
            let is_some = first <= *from.end() && *from.start() <= last;
            let end = End {
                place: "chain x of table ip nat".into(),
                sure: is_all,
                early: false,
                away: false,
                port: Some(to),
            };
            let meets = is_some
                && packet.protocol == Protocol::Tcp
                && packet.seen_by == Seer::Guard
                && (any_address || !packet.behind);
            Fate {
                redirected: meets.then_some(end).filter(|_| packet.family == Family::V4),
                dropped: None,
                some_dropped: true,
                untracked: false,
            }
        };
        let (config, mut findings) = (config(global, doors), Vec::new());
        let root = Machine::new(&[]).root();
        foreign_tables::examine(&root, &config, &|_| &[], oracle, &mut findings);
        findings.retain(|found| found.severity() == Severity::Warning);
        findings
            .iter()
            .map(|found| (found.kind.id(), found.text()))
            .collect::<Vec<_>>()
    };
    for from in [2222..=2222, 2000..=3000, 1..=21, 23..=u16::MAX] {
        let found = judged("", &door("tcp:22"), (from.clone(), 22, false));
        let [(id, text)] = &found[..] else {
            panic!("{from:?}: {found:?}")
        };
        assert_eq!(*id, "guard-other-port");
        assert!(
            text.contains("over IPv4 on to tcp:22") && from.contains(&port_in(text)),
            "{text}"
        );
    }
    for doors in [
        // Guarded both, or at the other.
        &door("tcp:22 tcp:2222"),
        &door("tcp:22-3000"),
        &door("tcp:2222"),
        &door("udp:22"),
        // Another machine's.
        &(door("tcp:22") + "list behind 198.51.100.7\n"),
    ] {
        assert_eq!(judged("", doors, (2222..=2222, 22, false)), [], "{doors}");
    }
    let found = judged("", &door("tcp:8080"), (8080..=8080, 80, true));
    let [(id, text)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(*id, "guard-other-address");
    assert!(text.contains("tcp:8080 over IPv4"), "{text}");
}

/// The port that a sentence says comes in.
fn port_in(text: &str) -> u16 {
    let (_, rest) = text.split_once("what comes to tcp:").unwrap();
    let end = rest.find(|each: char| !each.is_ascii_digit()).unwrap();
    rest[..end].parse().unwrap()
}

#[test]
fn which_knocks_a_source_hears() {
    let judged = |global: &str, early: bool| {
        let config = config(global, &door("tcp:22"));
        let mut findings = Vec::new();
        let oracle = &mut |packet: &Packet<'_>| Fate {
            dropped: (*packet.ports.start() == 8001).then(|| End {
                place: String::new(),
                sure: true,
                early,
                away: true,
                port: None,
            }),
            ..Fate::default()
        };
        foreign_tables::examine(
            &Machine::new(&[]).root(),
            &config,
            &|_| &[],
            oracle,
            &mut findings,
        );
        ids(&findings)
    };
    let unheard = ["knock-port-redirected"].as_slice();
    for (source, of_early, of_late) in [
        ("nflog", unheard, &[][..]),
        ("log", unheard, &[]),
        ("sockets", unheard, unheard),
        ("packet", &[], &[]),
    ] {
        let global = format!("option source {source}");
        assert_eq!(judged(&global, true), of_early, "{source}");
        assert_eq!(judged(&global, false), of_late, "{source}");
    }
    let in_kernel = "option source packet\noption engine chain";
    assert_eq!(judged(in_kernel, true), unheard);
}

#[test]
fn an_empty_machine_has_no_findings_that_it_cannot_know() {
    let machine = Machine::new(&[]);
    assert!(machine.logins().is_empty());
    assert_eq!(sockets::listeners(&machine.root()), []);
    assert!(render(&[], true).contains("\"findings\":[]"));
    assert_eq!(render(&[], false), "0 fatal, 0 warnings, 0 notes\n");
}

#[test]
fn findings_read_well() {
    let findings = Machine::new(&[]).ports(&config("", &door("tcp:22 udp:53")));
    assert_eq!(
        render(&findings, false),
        "note: guard-port-silent: door a_door guards tcp:22, where nobody listens just now\n  \
         cure: start the service, or correct the port\n\
         note: guard-port-silent: door a_door guards udp:53, where nobody listens just now\n  \
         cure: start the service, or correct the port\n\
         0 fatal, 0 warnings, 2 notes\n"
    );
    assert!(render(&findings, true).contains(
        "{\"id\":\"guard-port-silent\",\"severity\":\"note\",\"text\":\"door a_door guards tcp:22, "
    ));
}

/// A name is for programs: it stands once, and nothing of what it was found with is in braces.
#[test]
fn every_kind_has_a_name_a_cure_and_a_test() {
    let catalogue = super::catalogue();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = vec![sources.join("src/doctor/tests.rs")];
    for folder in ["src/doctor/tests", "../tests/netns/doctor"] {
        let folder = fs::read_dir(sources.join(folder)).unwrap();
        tests.extend(folder.map(|entry| entry.unwrap().path()));
    }
    let read = |test: &_| fs::read_to_string(test).unwrap();
    let tests: Vec<String> = tests.iter().map(read).collect();
    let mut ids = BTreeSet::new();
    for kind in ALL {
        assert!(ids.insert(kind.id()), "{} stands twice", kind.id());
        let is_name = |each: char| each.is_ascii_lowercase() || each == '-';
        assert!(
            kind.id().chars().all(is_name) && !kind.text().is_empty() && !kind.cure().is_empty()
        );
        assert!(catalogue.contains(&format!("  {} (", kind.id())));
        let quoted = format!("\"{}\"", kind.id());
        assert!(
            tests.iter().any(|test| test.contains(&quoted)),
            "no test of {quoted}"
        );
    }
    assert!(!catalogue.contains(['{', '}']));
}
