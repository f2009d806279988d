//! Machines laid out as files: what is found on each.

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
    clock, fallback, interfaces, logins, others, ports, refusal, render, secrets, servers, sockets,
};
use crate::firewall::{Others, Part, Refusal};
use crate::links::Link;
use crate::scratch::Scratch;
use crate::sys::process::is_root;
use crate::wall_clock::WallClock;

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
        Console::read(&self.root()).way_in().map(str::to_owned)
    }

    fn console(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        Console::read(&self.root()).examine(&mut findings);
        findings
    }

    fn fallback(&self, links: &[Link], config: &Config) -> Vec<Finding> {
        let (root, mut findings) = (self.root(), Vec::new());
        fallback::examine(&root, links, &Console::read(&root), config, &mut findings);
        findings
    }

    fn ports(&self, config: &Config) -> Vec<Finding> {
        let (root, mut findings) = (self.root(), Vec::new());
        let listeners = sockets::owned_listeners(&root);
        ports::examine(&root, config, &listeners, &mut findings);
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
fn a_router_has_its_serial_line() {
    let machine = Machine::new(OPENWRT);
    let way = machine.way_in().unwrap();
    assert_eq!(way, "the login on console (/etc/inittab)");
    assert_eq!(ids(&machine.console()), ["console-open"]);
    // With a password it is a way in too, if there is one.
    machine.write(
        "etc/config/system",
        "config system\n\toption ttylogin '1'\n",
    );
    assert!(machine.way_in().is_some() && machine.console().is_empty());
    machine.write("etc/shadow", LOCKED);
    machine.write("etc/passwd", PASSWD);
    assert_eq!(machine.way_in(), None);
    assert_eq!(ids(&machine.console()), ["console-locked"]);
    // A kernel without a console, such as a board whose serial line nobody configured.
    machine.write("etc/config/system", "config system\n");
    machine.write("proc/consoles", "netcon0 -W- (E  p a)\n");
    assert_eq!(machine.way_in(), None);
    assert_eq!(ids(&machine.console()), ["console-missing"]);
}

#[test]
fn a_server_has_a_getty_of_systemd() {
    let machine = debian();
    let way = machine.way_in().unwrap();
    assert_eq!(way, "the login on tty1 (unit getty@tty1.service)");
    assert!(machine.console().is_empty());
    // As clouds hand machines out: there is a console, and nobody who could use it.
    machine.write("etc/shadow", LOCKED);
    assert_eq!(machine.way_in(), None);
    let findings = machine.console();
    assert_eq!(ids(&findings), ["console-locked"]);
    assert!(findings[0].text().contains("tty1"));
    // What root alone may read is no reason for alarm to others.
    fs::remove_file(machine.0.path("etc/shadow")).unwrap();
    assert!(machine.way_in().is_some());
}

#[test]
fn a_masked_getty_and_one_without_a_terminal_do_not_count() {
    let machine = debian();
    machine.link("etc/systemd/system/getty@tty1.service", "/dev/null");
    assert_eq!(machine.way_in(), None);
    let generated = "run/systemd/generator/getty.target.wants/serial-getty@ttyS1.service";
    machine.link(generated, "/lib/systemd/system/serial-getty@.service");
    assert_eq!(machine.way_in(), None);
    machine.write("dev/ttyS1", "");
    let serial = "serinfo:1.0 driver revision:\n0: uart:16550A port:000003F8\n1: uart:unknown port:000002F8\n";
    machine.write("proc/tty/driver/serial", serial);
    assert_eq!(machine.way_in(), None, "there is no such chip");
    machine.write(
        "proc/tty/driver/serial",
        &serial.replace("unknown", "16550A"),
    );
    let way = machine.way_in().unwrap();
    assert_eq!(way, "the login on ttyS1 (unit serial-getty@ttyS1.service)");
}

#[test]
fn gettys_of_busybox_and_sysvinit() {
    let machine = Machine::new(ALPINE);
    let way = machine.way_in().unwrap();
    assert_eq!(way, "the login on tty1 (/etc/inittab)");
    for line in [
        "1:2345:respawn:/sbin/getty --noclear 38400 tty1\n",
        "T0:23:respawn:/sbin/getty -L ttyS0 9600 vt100\n",
        "ttyS0::askfirst:-/bin/sh\n",
    ] {
        machine.write("etc/inittab", line);
        assert!(machine.way_in().is_some(), "{line}");
    }
    for line in [
        "",
        "tty9::respawn:/sbin/getty 38400 tty9\n",
        "tty1::once:/bin/login\n",
        "tty1::respawn:/usr/bin/top\n",
        "tty1::respawn:\n",
        "tty1\n",
        "::::\n",
    ] {
        machine.write("etc/inittab", line);
        assert_eq!(machine.way_in(), None, "{line}");
    }
}

#[test]
fn an_inittab_that_no_init_reads_does_not_count() {
    let machine = Machine::new(ALPINE);
    machine.write("proc/1/comm", "sh\n");
    assert_eq!(machine.way_in(), None);
    machine.write("run/systemd/system/placeholder", "");
    machine.write("proc/1/comm", "init\n");
    assert_eq!(machine.way_in(), None);
}

#[test]
fn a_getty_that_runs_counts_whoever_started_it() {
    let machine = Machine::new(&[("etc/shadow", SHADOW), ("etc/passwd", PASSWD)]);
    let stat = |name: &str, device: u32| {
        let line = format!("700 ({name}) S 1 700 700 {device} 700 4194560 0 0\n");
        machine.write("proc/700/stat", &line);
        machine.way_in()
    };
    let serial = 4 << 8 | 64;
    for (name, device, way) in [
        ("agetty", serial, Some("ttyS0")),
        ("getty", 4 << 8 | 1, Some("tty1")),
        ("mgetty", 229 << 8, Some("hvc0")),
        ("agetty", 204 << 8 | 64, Some("terminal 204:64")),
        ("agetty", 5 << 8 | 1, Some("console")),
        // Those of containers hold a pseudo-terminal.
        ("agetty", 136 << 8 | 2, None),
        ("agetty", 0, None),
        ("bash", serial, None),
        ("a) (getty", serial, Some("ttyS0")),
    ] {
        let expected = way.map(|terminal| format!("the login on {terminal} (process 700)"));
        assert_eq!(stat(name, device), expected, "{name} {device}");
    }
    for odd in ["", "700", "700 (agetty) S", "700 (agetty) S 1 1 1 x"] {
        machine.write("proc/700/stat", odd);
        assert_eq!(machine.way_in(), None, "{odd}");
    }
}

#[test]
fn a_login_that_is_configured_and_runs_is_one_login() {
    let machine = debian();
    machine.write("etc/shadow", LOCKED);
    machine.write("proc/700/stat", "700 (agetty) S 1 700 700 1025 700 0\n");
    assert_eq!(ids(&machine.console()), ["console-locked"]);
}

fn link(name: &str, kind: &str) -> Link {
    Link {
        index: u32::from(name.as_bytes()[0]),
        name: name.into(),
        up: true,
        addressed: true,
        kind: kind.into(),
        ..Link::default()
    }
}

/// A router that its owner reaches over one guarded interface, and over nothing else.
fn alone() -> Vec<Link> {
    let loopback = Link {
        loopback: true,
        ..link("lo", "")
    };
    vec![loopback, link("wan", "")]
}

#[test]
fn guarding_the_only_way_in_is_refused() {
    let machine = Machine::new(&[]);
    let findings = machine.fallback(&alone(), &ssh());
    assert_eq!(ids(&findings), ["fallback-missing"]);
    let refusal = refusal(&findings).unwrap();
    for word in [
        "a_door",
        "tcp:22",
        "wan is guarded",
        "inittab",
        "fallback 'none'",
        "fallback 'other'",
    ] {
        assert!(refusal.contains(word), "no {word} in {refusal}");
    }
}

#[test]
fn its_owner_can_do_without() {
    let machine = Machine::new(&[]);
    let with = |option| config(option, &door("tcp:22"));
    let findings = machine.fallback(&alone(), &with("option fallback none"));
    assert_eq!(ids(&findings), ["fallback-none"]);
    assert_eq!(refusal(&findings), None);
    assert!(
        machine
            .fallback(&alone(), &with("option fallback other"))
            .is_empty()
    );
    // An owner who says so and has one anyway is told which.
    let found = debian().fallback(&alone(), &with("option fallback none"));
    assert_eq!(ids(&found), ["fallback-found"]);
}

#[test]
fn a_console_or_an_unguarded_interface_is_a_way_in() {
    let (bare, config) = (Machine::new(&[]), ssh());
    for machine in [Machine::new(OPENWRT), debian(), Machine::new(ALPINE)] {
        assert_eq!(
            ids(&machine.fallback(&alone(), &config)),
            ["fallback-found"]
        );
    }
    let fallback = |others: &[Link]| {
        let links = [alone(), others.to_vec()].concat();
        let findings = bare.fallback(&links, &config);
        assert_eq!(findings.len(), 1);
        findings[0].text()
    };
    let member = |name, kind, of: &Link| Link {
        master: Some(of.index),
        addressed: false,
        ..link(name, kind)
    };
    let (lan, docker, tap) = (
        link("br-lan", "bridge"),
        link("docker0", "bridge"),
        link("virbr0", "bridge"),
    );
    for ways in [
        &[link("eth1", "")][..],
        &[link("eth1", "veth")],
        &[lan.clone(), member("port1", "dsa", &lan)],
    ] {
        assert!(fallback(ways).contains("is not guarded"), "{ways:?}");
    }
    for (others, reason) in [
        (
            &[Link {
                up: false,
                ..link("eth1", "")
            }][..],
            "eth1 is down",
        ),
        (
            &[Link {
                addressed: false,
                ..link("eth1", "")
            }],
            "eth1 has no address",
        ),
        (
            &[docker.clone(), member("veth7", "veth", &docker)],
            "docker0 leads to this machine itself",
        ),
        (
            &[tap.clone(), member("x", "tun", &tap)],
            "virbr0 leads to this machine itself",
        ),
        (&[link("nobody", "bridge")], "nobody leads"),
        (
            &[link("tun0", "wireguard")],
            "tun0 leads to this machine itself, or is a tunnel",
        ),
        (&[link("dummy0", "dummy")], "dummy0 leads"),
    ] {
        let text = fallback(others);
        assert!(
            text.contains("no other way in") && text.contains(reason),
            "{text}"
        );
    }
}

#[test]
fn a_router_that_is_booting_has_the_interfaces_that_come() {
    let network = "config interface 'loopback'\n\toption device 'lo'\n\toption proto 'static'\n\
                   config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\
                   config interface 'wan'\n\toption device 'wan'\n\toption proto 'static'\n";
    let machine = Machine::new(&[("etc/config/network", network)]);
    let findings = machine.fallback(&alone(), &ssh());
    assert_eq!(ids(&findings), ["fallback-found"]);
    assert!(
        findings[0]
            .text()
            .contains("interface br-lan is not guarded")
    );
    for (from, to) in [
        ("'br-lan'", "'wan'"),
        (
            "'br-lan'\n\toption proto 'static'",
            "'br-lan'\n\toption proto 'none'",
        ),
        ("'br-lan'", "'br-lan'\n\toption auto '0'"),
        ("'br-lan'", "'br-lan'\n\toption disabled '1'"),
    ] {
        machine.write("etc/config/network", &network.replace(from, to));
        assert_eq!(
            ids(&machine.fallback(&alone(), &ssh())),
            ["fallback-missing"],
            "{to}"
        );
    }
}

#[test]
fn ports_that_owners_come_in_by() {
    let plain = Machine::new(&[]);
    let openwrt = Machine::new(&[
        (
            "etc/config/dropbear",
            "config dropbear\n\toption Port '2200'\n",
        ),
        (
            "etc/config/uhttpd",
            "config uhttpd 'main'\n\tlist listen_http '0.0.0.0:80'\n\tlist listen_http '[::]:80'\n\
             \tlist listen_https '0.0.0.0:443'\nconfig cert 'defaults'\n\toption listen_http '81'\n",
        ),
    ]);
    let moved = Machine::new(&[
        (
            "etc/ssh/sshd_config",
            "Include /etc/ssh/sshd_config.d/*.conf\nPort 2222\n",
        ),
        (
            "etc/ssh/sshd_config.d/more.conf",
            "port=2223\nListenAddress [::]:2224\n",
        ),
        ("etc/ssh/sshd_config.d/other", "Port 2225\n"),
    ]);
    let running = Machine::new(&[(
        "proc/net/tcp",
        &(TCP.to_owned() + &socket(ANY, 4022, "0A", 77)),
    )]);
    running.process(812, "dropbear", "/usr/sbin/dropbear\x00-p\x004022\x00", 77);
    let activated = Machine::new(&[(
        "proc/net/tcp6",
        &(TCP.to_owned()
            + "0: 00000000000000000000000000000000:1776 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 78\n"),
    )]);
    activated.process(1, "systemd", "/sbin/init", 78);
    activated.link(
        "etc/systemd/system/sockets.target.wants/ssh.socket",
        "/lib/x",
    );
    for (machine, port, managed) in [
        (&plain, "tcp:22", true),
        (&plain, "tcp:80", false),
        (&plain, "udp:22", false),
        (&openwrt, "tcp:2200", true),
        (&openwrt, "tcp:80", true),
        (&openwrt, "tcp:443", true),
        (&openwrt, "tcp:81", false),
        (&moved, "tcp:2222", true),
        (&moved, "tcp:2223", true),
        (&moved, "tcp:2224", true),
        (&moved, "tcp:2225", false),
        (&running, "tcp:4022", true),
        (&running, "udp:4022", false),
        (&running, "tcp:4023", false),
        (&activated, "tcp:6006", true),
    ] {
        let findings = machine.fallback(&alone(), &config("", &door(port)));
        assert_eq!(findings.len() == 1, managed, "{port} {findings:?}");
    }
}

#[test]
fn interfaces_that_guard_nothing() {
    let mut links = alone();
    let findings = |links: &[Link]| {
        let mut findings = Vec::new();
        interfaces::examine(&ssh(), links, &mut findings);
        findings
    };
    assert!(findings(&links).is_empty());
    let bridge = link("br-wan", "bridge");
    links[1].master = Some(bridge.index);
    let found = findings(&[links.clone(), vec![bridge]].concat());
    assert_eq!(ids(&found), ["interface-member"]);
    assert!(found[0].cure().contains("'br-wan'"));
    links[1].name = "eth0".into();
    let found = findings(&links);
    assert_eq!(ids(&found), ["interface-missing"]);
    assert!(found[0].text().contains("there are: lo, eth0"));
    links[0].name = "wan".into();
    let found = findings(&links);
    assert_eq!(ids(&found), ["interface-loopback"]);
    assert!(refusal(&found).is_some());
}

fn judged(answers: &Answers, config: Option<&Config>) -> Vec<(&'static str, Severity)> {
    let mut findings = Vec::new();
    kernel::judge(answers, config, &mut findings);
    let judged = findings
        .iter()
        .map(|finding| (finding.kind.id(), finding.severity));
    judged.collect()
}

/// What a kernel that lacks a part answers, as `refusal` has it from the kernel's error numbers.
fn lacks(part: Part, object: &str) -> Answers {
    let lacking = Refusal::Lacks {
        object: object.into(),
        feature: "it".into(),
    };
    Answers {
        parts: vec![(part, Err(lacking))],
        ..Answers::default()
    }
}

/// No kernel that runs these tests lacks anything: here are the answers of those that do.
#[test]
fn what_a_kernel_lacks() {
    use Severity::{Fatal, Note};
    let udp = config("", &door("udp:51820"));
    let udp_mark = config("option guard mark", &door("udp:51820"));
    let without_decoys = config("", &(door("tcp:22") + "\toption decoys '0'\n"));
    let ssh = ssh();
    for (part, object, id, config, severity) in [
        (
            Part::Tables,
            "the transaction",
            "kernel-nf-tables-missing",
            &ssh,
            Fatal,
        ),
        (
            Part::Tables,
            "table postern",
            "kernel-inet-missing",
            &ssh,
            Fatal,
        ),
        (
            Part::Chains,
            "chain input",
            "kernel-inet-missing",
            &ssh,
            Fatal,
        ),
        (
            Part::TimedSets,
            "set timed",
            "kernel-timed-sets-missing",
            &ssh,
            Fatal,
        ),
        (
            Part::Log,
            "rule 1 of chain input",
            "kernel-log-missing",
            &ssh,
            Fatal,
        ),
        (
            Part::Limit,
            "rule 1 of chain input",
            "kernel-limit-missing",
            &ssh,
            Fatal,
        ),
        (
            Part::Limit,
            "rule 1 of chain input",
            "kernel-limit-missing",
            &without_decoys,
            Note,
        ),
        (
            Part::Conntrack,
            "rule 1 of chain input",
            "kernel-conntrack-missing",
            &ssh,
            Note,
        ),
        (
            Part::Conntrack,
            "rule 1 of chain input",
            "kernel-conntrack-missing",
            &udp,
            Fatal,
        ),
        (
            Part::Conntrack,
            "rule 1 of chain input",
            "kernel-conntrack-missing",
            &udp_mark,
            Note,
        ),
    ] {
        let answers = lacks(part, object);
        assert_eq!(judged(&answers, Some(config)), [(id, severity)], "{part:?}");
    }
    assert_eq!(
        judged(&lacks(Part::Conntrack, "rule 1"), None),
        [("kernel-conntrack-missing", Note)]
    );
    for error in [libc::EINVAL, libc::EOPNOTSUPP, libc::EPROTONOSUPPORT] {
        let answers = Answers {
            nflog: error,
            ..Answers::default()
        };
        assert_eq!(
            judged(&answers, Some(&ssh)),
            [("kernel-nflog-missing", Fatal)]
        );
    }
    let answers = Answers {
        packet: libc::EAFNOSUPPORT,
        ..Answers::default()
    };
    assert_eq!(
        judged(&answers, Some(&ssh)),
        [("kernel-packet-missing", Note)]
    );
    // Nobody holds the group, somebody does, or we may not ask: it is there.
    for nflog in [0, libc::ENODEV, libc::EPERM] {
        let packet = libc::EPERM;
        let answers = Answers {
            nflog,
            packet,
            ..Answers::default()
        };
        assert_eq!(judged(&answers, Some(&ssh)), []);
    }
}

#[test]
fn a_kernel_that_refuses_or_is_not_asked() {
    let no_socket = std::io::Error::from_raw_os_error(libc::EPROTONOSUPPORT);
    let answers = Answers {
        parts: vec![(Part::Tables, Err(Refusal::Socket(no_socket)))],
        nflog: libc::EPROTONOSUPPORT,
        ..Answers::default()
    };
    let expected = ["kernel-nf-tables-missing", "kernel-nflog-missing"];
    assert_eq!(
        judged(&answers, None),
        expected.map(|id| (id, Severity::Fatal))
    );
    let answers = Answers {
        parts: vec![(Part::Tables, Err(Refusal::NoPermission))],
        ..Answers::default()
    };
    assert_eq!(
        judged(&answers, None),
        [("kernel-unasked", Severity::Warning)]
    );
    let answers = Answers {
        table: Some(Refusal::Restless),
        ..Answers::default()
    };
    assert_eq!(
        judged(&answers, Some(&ssh())),
        [("kernel-table-refused", Severity::Fatal)]
    );
}

#[test]
fn kernels_before_the_oldest() {
    for (version, is_old) in [
        ("6.18.44-fc\n", false),
        ("5.10.0\n", false),
        ("5.9.16\n", true),
        ("4.19.0-27-amd64\n", true),
        ("\n", false),
        ("new\n", false),
    ] {
        let machine = Machine::new(&[("proc/sys/kernel/osrelease", version)]);
        let mut findings = Vec::new();
        kernel::judge_version(&machine.root(), &mut findings);
        assert_eq!(ids(&findings) == ["kernel-old"], is_old, "{version}");
    }
}

#[test]
fn a_service_on_a_knock_port_is_named_once() {
    let tcp = [socket(ANY, 7000, "0A", 1), socket(ANY, 6002, "01", 2)].concat();
    let machine = Machine::new(&[("proc/net/tcp", &(TCP.to_owned() + &tcp))]);
    let ipv6 = "0: 00000000000000000000000000000000:1B58 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1\n";
    machine.write("proc/net/tcp6", &(TCP.to_owned() + ipv6));
    machine.process(44, "web\u{1b}min", "", 1);
    let findings = machine.ports(&ssh());
    assert_eq!(ids(&findings), ["knock-port-taken", "guard-port-silent"]);
    assert!(
        findings[0]
            .text()
            .contains("tcp:7000, where web?min (process 44) listens")
    );
}

#[test]
fn a_service_that_only_programs_here_reach_is_left_alone() {
    let machine = Machine::new(&[]);
    let taken = |table: &str, line: &str| {
        machine.write(&format!("proc/net/{table}"), &(TCP.to_owned() + line));
        let found = ids(&machine.ports(&ssh())).contains(&"knock-port-taken");
        fs::remove_file(machine.0.path(&format!("proc/net/{table}"))).unwrap();
        found
    };
    let ipv6 = |address: [[u8; 4]; 4], port: u16| {
        let words = address.map(|word| format!("{:08X}", u32::from_ne_bytes(word)));
        format!(
            "0: {}:{port:04X} 0:0000 0A 0:0 0:0 0 0 0 1\n",
            words.concat()
        )
    };
    assert!(!taken("tcp", &socket([127, 0, 0, 1], 7000, "0A", 1)));
    assert!(!taken("tcp", &socket([127, 3, 0, 1], 7000, "0A", 1)));
    assert!(taken("tcp", &socket([192, 0, 2, 1], 7000, "0A", 1)));
    assert!(
        !taken("tcp", &socket(ANY, 8001, "0A", 1)),
        "it knocks on UDP there"
    );
    assert!(taken("udp", &socket(ANY, 8001, "07", 1)));
    assert!(
        !taken("udp", &socket(ANY, 8001, "01", 1)),
        "connected: it is somebody's own query"
    );
    assert!(!taken("tcp6", &ipv6([ANY, ANY, ANY, [0, 0, 0, 1]], 7000)));
    assert!(!taken(
        "tcp6",
        &ipv6([ANY, ANY, [0, 0, 255, 255], [127, 0, 0, 1]], 7000)
    ));
    assert!(taken(
        "tcp6",
        &ipv6([ANY, ANY, [0, 0, 255, 255], [192, 0, 2, 1]], 7000)
    ));
    assert!(taken(
        "tcp6",
        &ipv6([[32, 1, 13, 184], ANY, ANY, [0, 0, 0, 1]], 7000)
    ));
    for odd in [
        "",
        "0:",
        "0: x:1B58 0:0 0A 0:0 0:0 0 0 0 1\n",
        "0: 0:xxxx 0:0 0A 0:0 0:0 0 0 0 1\n",
    ] {
        _ = taken("tcp", odd);
    }
}

#[test]
fn answers_to_queries_must_not_look_like_knocks() {
    let count = |machine: &Machine, config: &Config| {
        let findings = machine.ports(config);
        let found = findings
            .iter()
            .find(|each| each.kind.id() == "knock-port-ephemeral");
        found.map(Finding::text)
    };
    let machine = Machine::new(&[("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")]);
    assert_eq!(count(&machine, &ssh()), None);
    let high = |ports: &str| {
        let door = door("tcp:22").replace("tcp:7000 udp:8001 tcp:6002", ports);
        config("", &door)
    };
    // A SYN is asked for where the knock is TCP: no answer is one.
    assert_eq!(
        count(&machine, &high("tcp:40000 tcp:50000 tcp:33000")),
        None
    );
    let text = count(&machine, &high("tcp:40000 udp:50000 udp:60999")).unwrap();
    assert!(
        text.contains("on 2 UDP ports") && text.contains("32768 to 60999"),
        "{text}"
    );
    machine.write(
        "proc/sys/net/ipv4/ip_local_reserved_ports",
        "8080,49999-50001\n",
    );
    let text = count(&machine, &high("tcp:40000 udp:50000 udp:60999")).unwrap();
    assert!(text.contains("on 1 UDP ports"), "{text}");
    machine.write("proc/sys/net/ipv4/ip_local_port_range", "1024 2047\n");
    assert_eq!(
        count(&machine, &high("tcp:40000 udp:50000 udp:60999")),
        None
    );
    let codes = code_door("one-time-seed", Path::new("/nowhere"));
    let codes = format!("{codes}\toption protocol 'udp'\n\toption base '1500'\n");
    let text = count(&machine, &config("", &codes)).unwrap();
    assert!(text.contains("on 548 UDP ports"), "{text}");
}

#[test]
fn a_guarded_port_where_nobody_listens() {
    let machine = Machine::new(&[("proc/net/tcp", &socket([127, 0, 0, 1], 22, "0A", 1))]);
    assert_eq!(ids(&machine.ports(&ssh())), ["guard-port-silent"]);
    machine.write("proc/net/tcp", &socket(ANY, 22, "0A", 1));
    assert!(machine.ports(&ssh()).is_empty());
}

#[test]
fn dropbear_as_openwrt_configures_it() {
    for (section, found) in [
        (
            "config dropbear\n\toption PasswordAuth 'on'\n\toption RootPasswordAuth 'on'\n",
            true,
        ),
        ("config dropbear 'main'\n", true),
        ("config dropbear\n\toption PasswordAuth 'off'\n", false),
        ("config dropbear\n\toption PasswordAuth '0'\n", false),
        ("config dropbear\n\toption RootPasswordAuth 'off'\n", false),
        ("config dropbear\n\toption enable '0'\n", false),
        ("config other\n", false),
        ("\u{0}\u{1}' config", false),
    ] {
        let machine = Machine::new(&[("etc/config/dropbear", section)]);
        assert_eq!(
            ids(&machine.logins()) == ["dropbear-passwords"],
            found,
            "{section}"
        );
    }
}

#[test]
fn a_server_that_runs_is_judged_by_how_it_was_started() {
    let tcp = TCP.to_owned() + &socket(ANY, 22, "0A", 9);
    for (name, command_line, found) in [
        (
            "dropbear",
            "/usr/sbin/dropbear\x00-F\x00-p\x0022\x00-K\x00300\x00",
            true,
        ),
        ("dropbear", "/usr/sbin/dropbear\0-F\0-s\0", false),
        ("dropbear", "/usr/sbin/dropbear\0-Fsg\0", false),
        ("dropbear", "/usr/sbin/dropbear\0-r/etc/keys\0", true),
        (
            "sshd",
            "sshd: /usr/sbin/sshd -D -f /etc/keys_only [listener] 0 of 10-100 startups",
            false,
        ),
        (
            "sshd",
            "sshd: /usr/sbin/sshd -D -o PasswordAuthentication=no [listener]",
            false,
        ),
        (
            "sshd",
            "/usr/sbin/sshd\0-D\0-oPasswordAuthentication=no\0",
            false,
        ),
        ("sshd", "/usr/sbin/sshd\0-D\0", true),
        ("other", "", true),
    ] {
        let machine = Machine::new(&[
            ("proc/net/tcp", &tcp),
            ("etc/ssh/sshd_config", "PasswordAuthentication yes\n"),
            ("etc/keys_only", "PasswordAuthentication no\n"),
        ]);
        machine.process(5, name, command_line, 9);
        let findings = machine.logins();
        let of_it = findings.iter().filter(|each| match name {
            "dropbear" => each.kind.id() == "dropbear-passwords",
            _ => each.kind.id() == "sshd-passwords",
        });
        assert_eq!(of_it.count() == 1, found, "{command_line}: {findings:?}");
    }
}

/// The real sshd says what it makes of a file; where this reads another thing out of it, this is
/// wrong.
#[test]
fn sshd_reads_its_files_the_same() {
    const SSHD: &str = "/usr/sbin/sshd";
    let keygen = std::process::Command::new("ssh-keygen").arg("-?").output();
    if !is_root() || !Path::new(SSHD).exists() || keygen.is_err() {
        println!("skipped: no sshd to compare with");
        return;
    }
    fs::create_dir_all("/run/sshd").unwrap();
    let scratch = Scratch::new();
    let key = scratch.path("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    let included = scratch.file("included.conf", "PasswordAuthentication no\nPort 2022\n");
    let folder = scratch.folder().display();
    for text in [
        "",
        "PasswordAuthentication no",
        "passwordauthentication=no",
        "PasswordAuthentication \"no\"",
        "  PasswordAuthentication   no   # never",
        "#PasswordAuthentication no",
        "PasswordAuthentication no\nPasswordAuthentication yes",
        "PasswordAuthentication no\nUsePAM yes",
        "PasswordAuthentication no\nUsePAM yes\nKbdInteractiveAuthentication no",
        "PasswordAuthentication no\nUsePAM yes\nChallengeResponseAuthentication no",
        "AuthenticationMethods publickey",
        "AuthenticationMethods publickey,password publickey,keyboard-interactive",
        "AuthenticationMethods publickey password",
        "AuthenticationMethods any",
        "Port 2022\nPort 2023",
        "ListenAddress 127.0.0.1:2024",
        "ListenAddress [::1]:2025",
        &format!("Include {}\nPasswordAuthentication yes", included.display()),
        &format!("PasswordAuthentication yes\nInclude {folder}/*.conf"),
        &format!("Include {folder}/inc*ed.conf"),
        &format!("Include {folder}/nothing*.conf"),
        "Match all\nPasswordAuthentication no",
    ] {
        let file = scratch.file(
            "sshd_config",
            format!("HostKey {}\n{text}\n", key.display()),
        );
        let said = std::process::Command::new(SSHD)
            .args(["-T", "-f"])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(
            said.contains("passwordauthentication"),
            "{text}: sshd refuses it"
        );
        let has = |line: &str| said.lines().any(|said| said == line);
        let methods = said
            .lines()
            .find_map(|line| line.strip_prefix("authenticationmethods "));
        let alone = |list: &str| list.split(',').all(|method| method != "publickey");
        let enough = methods.is_none_or(|methods| methods.split(' ').any(alone));
        let passwords = has("passwordauthentication yes")
            || has("kbdinteractiveauthentication yes") && has("usepam yes");
        let server = servers::sshd_of(&Root::new("/"), file.to_str().unwrap());
        assert_eq!(server.passwords, passwords && enough, "{text}\n{said}");
        let listens = said
            .lines()
            .filter_map(|line| line.strip_prefix("listenaddress "));
        let ports: BTreeSet<u16> = listens
            .filter_map(|address| address.rsplit(':').next()?.parse().ok())
            .collect();
        assert_eq!(BTreeSet::from_iter(server.ports), ports, "{text}\n{said}");
    }
}

#[test]
fn blocks_and_circles_in_sshd_config() {
    for (text, found) in [
        (
            "PasswordAuthentication no\nMatch User backup\nPasswordAuthentication yes\n",
            true,
        ),
        (
            "PasswordAuthentication no\nMatch User backup\nX11Forwarding no\n",
            false,
        ),
        (
            "PasswordAuthentication no\nMatch User x\nKbdInteractiveAuthentication yes\n",
            false,
        ),
        (
            "PasswordAuthentication no\nUsePAM yes\nKbdInteractiveAuthentication no\nMatch User x\n\
          KbdInteractiveAuthentication yes\n",
            true,
        ),
        (
            "Include /etc/ssh/sshd_config\nPasswordAuthentication no\n",
            false,
        ),
    ] {
        let machine = Machine::new(&[("etc/ssh/sshd_config", text)]);
        assert_eq!(
            ids(&machine.logins()) == ["sshd-passwords"],
            found,
            "{text}"
        );
    }
}

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
        ["config-exposed"]
    );
    assert_eq!(
        found(0o644, 0o644, 0o777, 0o755, &fixed),
        ["config-exposed"]
    );
    assert_eq!(
        found(0o600, 0o640, 0o755, 0o755, &clock),
        ["secret-exposed", "door-shut"]
    );
    assert_eq!(found(0o600, 0o600, 0o775, 0o755, &clock), ["state-exposed"]);
    assert_eq!(
        found(0o600, 0o600, 0o755, 0o777, &fixed),
        ["control-exposed"]
    );
    assert_eq!(found(0o600, 0o600, 0o755, 0o1777, &fixed), [""; 0]);
    let seed = code_door("one-time-seed", Path::new("SECRET"));
    assert_eq!(found(0o600, 0o600, 0o755, 0o755, &seed), ["door-shut"]);
    if is_root() {
        file("config", 0o600);
        chown(scratch.path("config"), Some(4242), None).unwrap();
        assert_eq!(
            found(0o600, 0o600, 0o755, 0o755, &fixed),
            ["config-exposed"]
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
    let door = code_door("one-time-clock", Path::new("/nowhere"));
    let with_clock = config("", &door);
    assert_eq!(
        judged(Some("it is not set"), &with_clock),
        ["clock-untrusted"]
    );
    assert_eq!(judged(None, &with_clock), [""; 0]);
    assert_eq!(judged(Some("it is not set"), &ssh()), [""; 0]);
}

#[test]
fn what_other_rules_make_of_a_guard() {
    let judged = |machine: &Machine, guard: &str, guards: &str, others: &Others| {
        let config = config(&format!("option guard {guard}"), &door(guards));
        let mut findings = Vec::new();
        others::examine(&machine.root(), &config, others, &mut findings);
        ids(&findings)
    };
    let (plain, openwrt) = (Machine::new(&[]), Machine::new(OPENWRT));
    let (open, drops) = (
        Others::default(),
        Others {
            dropping: vec!["chain input of table fw4".into()],
            ..Others::default()
        },
    );
    let takes_mark = Others {
        asks_for_mark: true,
        refuses: true,
        ..Others::default()
    };
    let untracks = Others {
        untracks: true,
        ..Others::default()
    };
    assert_eq!(judged(&plain, "gate", "tcp:22", &open), [""; 0]);
    assert_eq!(judged(&plain, "gate", "tcp:22", &drops), ["firewall-drops"]);
    assert_eq!(judged(&openwrt, "gate", "tcp:22", &open), ["gate-flushed"]);
    assert_eq!(judged(&plain, "gate", "tcp:22", &untracks), [""; 0]);
    assert_eq!(
        judged(&plain, "gate", "udp:53", &untracks),
        ["conntrack-bypassed"]
    );
    assert_eq!(
        judged(&plain, "mark", "tcp:22", &open),
        ["mark-unread", "mark-unguarded"]
    );
    assert_eq!(judged(&plain, "mark", "tcp:22", &drops), ["mark-unread"]);
    assert_eq!(judged(&plain, "mark", "tcp:22", &takes_mark), [""; 0]);
    // Rules of the older iptables cannot be seen: nothing is said about what they may do.
    plain.write("proc/net/ip_tables_names", "filter\n");
    assert_eq!(judged(&plain, "mark", "tcp:22", &open), [""; 0]);
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
    let tests = ["src/doctor/tests.rs", "../tests/netns/doctor.rs"];
    let tests = tests.map(|test| fs::read_to_string(sources.join(test)).unwrap_or_default());
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

#[test]
fn sockets_are_read_as_the_kernel_writes_them() {
    let machine = Machine::new(&[(
        "proc/net/tcp",
        &(TCP.to_owned() + &socket(ANY, 22, "0A", 5)),
    )]);
    let listeners = sockets::listeners(&machine.root());
    let port = Port {
        protocol: Protocol::Tcp,
        number: 22,
    };
    assert_eq!(listeners.len(), 1);
    assert_eq!((listeners[0].port, listeners[0].loopback), (port, false));
    assert_eq!(listeners[0].who(), "a service");
}
