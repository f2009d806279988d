//! Ways in that stay, and ports that their owners come in by.

use super::*;

fn link(name: &str, kind: &str) -> Link {
    Link {
        index: u32::from(name.as_bytes()[0]),
        name: name.into(),
        up: true,
        addresses: vec![([192, 0, 2, 1].into(), 24)],
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
        addresses: Vec::new(),
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
                addresses: Vec::new(),
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
    assert_eq!(ids(&found), ["interface-whole"]);
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

/// What becomes of packets to one port.
fn sent(
    from: u16,
    away: bool,
    port: Option<u16>,
    family: Option<Family>,
) -> impl Fn(&Packet<'_>) -> Fate {
    move |packet| {
        let is_it =
            packet.ports == (from..=from) && family.is_none_or(|family| family == packet.family);
        let end = End {
            place: "chain dstnat_wan of table inet fw4".into(),
            sure: true,
            early: false,
            away,
            port,
        };
        Fate {
            redirected: is_it.then_some(end),
            ..Fate::default()
        }
    }
}

#[test]
fn whichever_way_a_port_is_reached_it_is_the_owners() {
    let machine = Machine::new(&[]);
    let untouched = || -> Box<dyn Fn(&Packet<'_>) -> Fate> { Box::new(|_| Fate::default()) };
    for (guards, more, oracle, expected) in [
        ("tcp:1-65535", "", untouched(), &["tcp:22"][..]),
        ("tcp:20-25", "", untouched(), &["tcp:22"]),
        ("tcp:2222", "", untouched(), &[]),
        (
            "tcp:2222",
            "",
            Box::new(sent(2222, false, Some(22), None)),
            &["tcp:2222"],
        ),
        (
            "tcp:2222",
            "",
            Box::new(sent(2222, false, Some(80), None)),
            &[],
        ),
        (
            "tcp:2222",
            "",
            Box::new(sent(2222, true, Some(22), None)),
            &[],
        ),
        // A host behind this machine has it, over all that this machine has addresses of.
        ("tcp:22", "", Box::new(sent(22, true, Some(22), None)), &[]),
        (
            "tcp:22",
            "",
            Box::new(sent(22, true, Some(22), Some(Family::V4))),
            &[],
        ),
        (
            "tcp:22",
            "",
            Box::new(sent(22, true, Some(22), Some(Family::V6))),
            &["tcp:22"],
        ),
        (
            "tcp:22",
            "",
            Box::new(sent(22, false, None, None)),
            &["tcp:22"],
        ),
        ("tcp:22", "list behind 192.0.2.0/24", untouched(), &[]),
    ] {
        let config = config("", &(door(guards) + more));
        let findings = machine.fallback_beside(&*oracle, &alone(), &config);
        assert_eq!(
            findings.len(),
            expected.len(),
            "{guards} {more} {findings:?}"
        );
        for (finding, port) in findings.iter().zip(expected) {
            assert_eq!(finding.kind.id(), "fallback-missing");
            assert!(
                finding.text().contains(&format!("guards {port} (SSH)")),
                "{finding:?}"
            );
        }
    }
}

#[test]
fn several_doors_of_one_port_are_named_together() {
    let second = door("tcp:22")
        .replace("a_door", "b_door")
        .replace("tcp:7000", "tcp:7100");
    let config = config("", &(door("tcp:22") + &second));
    let findings = Machine::new(&[]).fallback(&alone(), &config);
    assert_eq!(ids(&findings), ["fallback-missing"]);
    assert!(
        findings[0]
            .text()
            .starts_with("door a_door, b_door guards tcp:22")
    );
}

#[test]
fn exempt_neighbours_come_in() {
    let machine = Machine::new(&[]);
    for (exempt, expected) in [
        ("192.0.2.0/24", "fallback-found"),
        ("192.0.2.7", "fallback-found"),
        ("192.0.0.0/16", "fallback-found"),
        ("192.0.2.1", "fallback-missing"),
        ("198.51.100.0/24", "fallback-missing"),
        ("2001:db8::/32", "fallback-missing"),
    ] {
        let config = config(&format!("list exempt {exempt}"), &door("tcp:22"));
        let findings = machine.fallback(&alone(), &config);
        assert_eq!(ids(&findings), [expected], "{exempt}");
    }
}

#[test]
fn an_interface_that_a_door_leaves_out_is_a_way_in() {
    let links = [alone(), vec![link("lan", "")]].concat();
    for (interface, expected) in [
        ("wan", "fallback-found"),
        ("lan", "fallback-found"),
        ("wan lan", "fallback-missing"),
    ] {
        let doors = door("tcp:22") + &format!("option interface '{interface}'\n");
        let config = config("list interface lan", &doors);
        let findings = Machine::new(&[]).fallback(&links, &config);
        assert_eq!(ids(&findings), [expected], "{interface}");
    }
}

#[test]
fn addresses_of_doors() {
    let found = |more: &str| {
        let config = config("", &(door("tcp:22") + more));
        let mut findings = Vec::new();
        addresses::examine(&config, &alone(), &mut findings);
        findings
            .iter()
            .map(|found| (found.kind.id(), found.text()))
            .collect::<Vec<_>>()
    };
    assert!(found("").is_empty());
    assert!(found("list to 192.0.2.1").is_empty());
    let [(id, text)] = &found("list to 192.0.2.7")[..] else {
        panic!("one")
    };
    assert_eq!(*id, "address-missing");
    assert!(
        text.contains("192.0.2.7 only") && text.contains("there are: 192.0.2.1"),
        "{text}"
    );
    assert!(found("list behind 192.0.2.8").is_empty());
    let [(id, text)] = &found("list behind 192.0.2.0/24")[..] else {
        panic!("one")
    };
    assert_eq!(*id, "address-own");
    assert!(
        text.contains("hosts in 192.0.2.0/24") && text.contains("has 192.0.2.1"),
        "{text}"
    );
}
