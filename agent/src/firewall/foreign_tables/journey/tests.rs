//! Rules that nft and iptables wrote, in the real kernel.

use std::process::{Command, Stdio};

use super::*;
use crate::firewall::tests::kernel::{in_namespace, nft};
use crate::testing::skipping::{skip, skip_for_the_kernel};

const MARK: u32 = 0x1000_0000;

fn packet(family: Family, port: u16) -> Packet<'static> {
    Packet {
        family,
        protocol: Protocol::Tcp,
        ports: port..=port,
        interface: "wan",
        mark: None,
        seen_by: Seer::Guard,
        behind: false,
    }
}

fn fate(packet: &Packet<'_>) -> Fate {
    let mut firewall = Firewall::open().unwrap();
    let mut others = firewall.foreign_tables().unwrap();
    let fate = others.fate(&mut firewall, packet);
    assert!(!others.incomplete);
    fate
}

/// `sent`: redirected; `shut`: dropped; with `?` perhaps; `some`: of some senders; else `through`.
fn in_words(fate: &Fate) -> String {
    let end = |name: &str, end: &Option<End>| match end {
        Some(end) if end.sure => name.to_owned(),
        Some(_) => [name, "?"].concat(),
        None => String::new(),
    };
    let words = [
        end("sent", &fate.redirected),
        end("shut", &fate.dropped),
        if fate.some_dropped { "some" } else { "" }.into(),
    ];
    let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
    match words.is_empty() {
        true => "through".into(),
        false => words.join(" "),
    }
}

#[test]
fn what_becomes_of_a_packet_to_port_8080() {
    for (rules, expected) in [
        ("tcp dport 8080 dnat ip to 10.0.0.2:80", "sent"),
        ("tcp dport 8081 dnat ip to 10.0.0.2:80", "through"),
        ("udp dport 8080 dnat ip to 10.0.0.2:80", "through"),
        ("meta l4proto tcp th dport 8080 redirect to :9", "sent"),
        ("meta l4proto tcp redirect to :9", "sent"),
        ("meta l4proto { tcp, udp } redirect to :9", "sent"),
        ("meta l4proto tcp redirect", "through"),
        ("tcp dport 8080 redirect to :8080", "through"),
        ("tcp dport != 8080 redirect to :9", "through"),
        ("tcp dport 8000-8100 redirect to :9", "sent"),
        ("tcp dport 8000-8079 redirect to :9", "through"),
        ("tcp dport != 8000-8100 redirect to :9", "through"),
        ("tcp dport > 8079 tcp dport < 8081 redirect to :9", "sent"),
        ("tcp dport >= 8081 redirect to :9", "through"),
        ("tcp dport <= 8079 redirect to :9", "through"),
        ("tcp dport { 22, 8080 } redirect to :9", "sent"),
        (
            "tcp dport { 22, 81-8080, 8082-8083 } redirect to :9",
            "sent",
        ),
        (
            "tcp dport { 22, 81-8079, 8081-8083 } redirect to :9",
            "through",
        ),
        (
            "tcp dport != { 22, 81-8079, 8081-8083 } redirect to :9",
            "sent",
        ),
        ("tcp dport @ports redirect to :9", "sent"),
        ("tcp dport @others redirect to :9", "through"),
        ("dnat ip to tcp dport map @targets", "sent"),
        ("dnat ip to tcp dport map { 80 : 10.0.0.2 }", "through"),
        ("tcp dport vmap { 8080 : jump away }", "sent"),
        ("tcp dport vmap { 80 : jump away }", "through"),
        ("tcp dport vmap { 80 : accept, * : jump away }", "sent"),
        (
            "meta l4proto . tcp dport { tcp . 8080 } redirect to :9",
            "sent",
        ),
        (
            "iifname . tcp dport { \"wan\" . 8000-8100 } redirect to :9",
            "sent",
        ),
        (
            "iifname . tcp dport { \"lan\" . 8000-8100 } redirect to :9",
            "through",
        ),
        (
            "ip daddr . tcp dport vmap { 192.0.2.1 . 8080 : goto away }",
            "sent?",
        ),
        (
            "ip daddr . tcp dport vmap { 192.0.2.1 . 8081 : goto away }",
            "through",
        ),
        ("iifname \"wan\" jump away", "sent"),
        ("iifname \"wa*\" goto away", "sent"),
        ("iifname { \"lan\", \"dmz\" } jump away", "through"),
        (
            "iifname != \"docker0\" tcp dport 8080 dnat ip to 10.0.0.2",
            "sent",
        ),
        (
            "fib daddr type local tcp dport 8080 dnat ip to 10.0.0.2",
            "sent",
        ),
        ("fib daddr type != local jump away", "through"),
        ("meta nfproto ipv6 jump away", "through"),
        ("ip saddr 10.0.0.0/8 jump away", "sent?"),
        ("ip saddr @senders tcp dport 8080 redirect to :9", "sent?"),
        ("tcp dport 8080 accept\njump away", "through"),
        ("tcp dport 8080 return\njump away", "through"),
        ("tcp dport 22 accept\njump away", "sent"),
        ("ip saddr 10.0.0.0/8 accept\njump away", "sent?"),
        ("limit rate 1/second counter jump away", "sent"),
        ("tcp flags syn jump away", "sent"),
        ("ct state new jump away", "sent"),
        ("ct state established jump away", "through"),
        ("jump far", "sent"),
        (
            "numgen random mod 2 vmap { 0 : jump away, 1 : jump far }",
            "sent?",
        ),
        ("meta mark 0x1 jump away", "sent?"),
        ("snat ip to 10.0.0.2", "through"),
    ] {
        // A chain that translates the sender is elsewhere.
        let kind = match rules.starts_with("snat") {
            true => "postrouting priority 100",
            false => "prerouting priority -100",
        };
        let script = format!(
            "table inet engine {{
                set ports {{ type inet_service; elements = {{ 8080 }}; }}
                set others {{ type inet_service; flags interval; elements = {{ 1-8079, 8081-65535 }}; }}
                set senders {{ type ipv4_addr; elements = {{ 192.0.2.2 }}; }}
                map targets {{ type inet_service : ipv4_addr; elements = {{ 8080 : 10.0.0.2 }}; }}
                chain away {{ meta l4proto tcp dnat ip to 10.0.0.2; }}
                chain far {{ tcp dport 1 accept; jump away; }}
                chain pre {{ type nat hook {kind}; {rules}\n}}
                chain out {{ type nat hook output priority -100; jump away; }}
             }}\n"
        );
        in_namespace(move || {
            nft(&["-f", "-"], &script).unwrap_or_else(|| panic!("nft takes {rules}"));
            let fate = fate(&packet(Family::V4, 8080));
            assert_eq!(in_words(&fate), expected, "{rules}");
            if let Some(end) = fate.redirected {
                assert!(
                    !end.early && end.place.ends_with(" of table inet engine"),
                    "{end:?}"
                );
            }
        });
    }
}

#[test]
fn only_one_family_is_sent_elsewhere() {
    in_namespace(|| {
        let script = "table ip nat {
            chain pre { type nat hook prerouting priority -100; tcp dport 22 redirect to :9; }
        }
        table ip6 nat {
            chain pre { type nat hook prerouting priority -100; tcp dport 23 redirect to :9; }
        }\n";
        nft(&["-f", "-"], script).unwrap();
        for (family, port, expected) in [
            (Family::V4, 22, "sent"),
            (Family::V6, 22, "through"),
            (Family::V4, 23, "through"),
            (Family::V6, 23, "sent"),
        ] {
            assert_eq!(
                in_words(&fate(&packet(family, port))),
                expected,
                "{family:?} {port}"
            );
        }
    });
}

#[test]
fn a_range_of_ports_is_sent_elsewhere_in_part() {
    in_namespace(|| {
        let script = "table ip nat {
            chain pre { type nat hook prerouting priority -100; tcp dport 1000-1999 redirect to :9; }
        }\n";
        nft(&["-f", "-"], script).unwrap();
        for (ports, expected) in [
            (1000..=1999, "sent"),
            (1500..=2000, "sent?"),
            (2000..=3000, "through"),
        ] {
            let packet = Packet {
                ports,
                ..packet(Family::V4, 0)
            };
            assert_eq!(in_words(&fate(&packet)), expected, "{packet:?}");
        }
    });
}

#[test]
fn where_a_packet_is_sent() {
    let own: IpAddr = [192, 0, 2, 1].into();
    for (rule, away, port) in [
        ("tcp dport 2222 redirect to :22", false, Some(22)),
        ("tcp dport 2222 dnat ip to 192.0.2.1:22", false, Some(22)),
        ("tcp dport 2222 dnat ip to 192.0.2.7:22", true, Some(22)),
        ("tcp dport 2222 dnat ip to 192.0.2.7", true, Some(2222)),
        (
            "tcp dport 2222 dnat ip to tcp dport map @targets",
            false,
            Some(2222),
        ),
        (
            "tcp dport 2222 redirect to :tcp dport map @ports",
            false,
            None,
        ),
    ] {
        in_namespace(move || {
            let script = format!(
                "table inet nat {{
                    map targets {{ type inet_service : ipv4_addr; elements = {{ 2222 : 192.0.2.7 }}; }}
                    map ports {{ type inet_service : inet_service; elements = {{ 2222 : 22 }}; }}
                    chain pre {{ type nat hook prerouting priority dstnat; {rule}; }}
                }}\n"
            );
            nft(&["-f", "-"], &script).unwrap_or_else(|| panic!("nft takes {rule}"));
            assert_eq!(sent(own, Family::V4), (away, port), "{rule}");
        });
    }
}

/// Where a packet to TCP port 2222 surely goes from a host that has this address.
fn sent(own: IpAddr, family: Family) -> (bool, Option<u16>) {
    let mut firewall = Firewall::open().unwrap();
    let mut others = firewall.foreign_tables().unwrap();
    others.own = vec![own];
    let fate = others.fate(&mut firewall, &packet(family, 2222));
    let end = fate.redirected.expect("it is sent");
    assert!(end.sure);
    (end.away, end.port)
}

#[test]
fn where_iptables_sends_a_packet() {
    for (program, family, own, rule, away, port) in [
        (
            "iptables-nft",
            Family::V4,
            "192.0.2.1",
            "-j REDIRECT --to-ports 22",
            false,
            Some(22),
        ),
        (
            "ip6tables-nft",
            Family::V6,
            "2001:db8::1",
            "-j REDIRECT --to-ports 22",
            false,
            Some(22),
        ),
        (
            "iptables-nft",
            Family::V4,
            "192.0.2.1",
            "-j DNAT --to-destination 192.0.2.1:22",
            false,
            Some(22),
        ),
        (
            "iptables-nft",
            Family::V4,
            "192.0.2.1",
            "-j DNAT --to-destination 192.0.2.7:22",
            true,
            Some(22),
        ),
        (
            "ip6tables-nft",
            Family::V6,
            "2001:db8::1",
            "-j DNAT --to-destination [2001:db8::1]:22",
            false,
            Some(22),
        ),
        (
            "ip6tables-nft",
            Family::V6,
            "2001:db8::1",
            "-j DNAT --to-destination 2001:db8::7",
            true,
            Some(2222),
        ),
    ] {
        in_namespace(move || {
            let words = "-t nat -A PREROUTING -p tcp --dport 2222".split(' ');
            let status = Command::new(program)
                .args(words.chain(rule.split(' ')))
                .status();
            match status {
                Err(_) => skip("iptables-nft is missing"),
                Ok(status) if !status.success() => {
                    skip_for_the_kernel(format_args!("it does not take {rule}"));
                }
                Ok(_) => assert_eq!(sent(own.parse().unwrap(), family), (away, port), "{rule}"),
            }
        });
    }
}

#[test]
fn what_comes_before_the_guard() {
    for (kind, rule, before_guard) in [
        (
            "filter hook prerouting priority -150",
            "tcp dport set 9",
            true,
        ),
        (
            "filter hook prerouting priority -300",
            "ip daddr set 10.0.0.2",
            true,
        ),
        (
            "filter hook prerouting priority -111",
            "tcp dport set 9",
            true,
        ),
        (
            "filter hook prerouting priority -109",
            "tcp dport set 9",
            false,
        ),
        // The kernel has all chains of this type entered from one place.
        ("nat hook prerouting priority -150", "redirect to :9", false),
        ("nat hook prerouting priority -100", "redirect to :9", false),
        ("nat hook prerouting priority 0", "redirect to :9", false),
    ] {
        in_namespace(move || {
            let script =
                format!("table ip x {{ chain pre {{ type {kind}; tcp dport 22 {rule}; }}; }}\n");
            nft(&["-f", "-"], &script).unwrap();
            for (seen_by, before) in [(Seer::Guard, before_guard), (Seer::Knocks, true)] {
                let packet = Packet {
                    seen_by,
                    ..packet(Family::V4, 22)
                };
                let end = fate(&packet).redirected.unwrap();
                assert_eq!(end.early, before, "{seen_by:?} {kind}");
            }
        });
    }
}

#[test]
fn what_goes_to_hosts_behind() {
    for (rules, expected) in [
        (
            "chain in { type filter hook input priority 0; policy drop; }",
            "through",
        ),
        (
            "chain on { type filter hook forward priority 0; policy drop; }",
            "shut",
        ),
        (
            "chain on { type filter hook forward priority 0; policy drop; ip6 daddr 2001:db8::7 tcp dport 22 accept; }",
            "shut?",
        ),
        (
            "chain on { type filter hook forward priority 0; policy drop; tcp dport 22 accept; }",
            "through",
        ),
        (
            "chain pre { type nat hook prerouting priority dstnat; fib daddr type local meta l4proto tcp redirect to :9; }",
            "through",
        ),
        (
            "chain pre { type nat hook prerouting priority dstnat; tcp dport 22 redirect to :9; }",
            "sent",
        ),
    ] {
        in_namespace(move || {
            nft(&["-f", "-"], &format!("table inet fw {{\n{rules}\n}}\n")).unwrap();
            let packet = Packet {
                behind: true,
                ..packet(Family::V6, 22)
            };
            assert_eq!(in_words(&fate(&packet)), expected, "{rules}");
        });
    }
}

#[test]
fn what_firewalls_drop() {
    for (rules, expected) in [
        ("policy drop;", "shut"),
        ("policy drop; tcp dport 22 accept", "through"),
        ("policy drop; tcp dport 22 ct state new accept", "through"),
        ("policy drop; ct state established,related accept", "shut"),
        (
            "policy drop; ct state vmap { established : accept, invalid : drop }",
            "shut",
        ),
        ("policy drop; iifname != \"wan\" accept", "shut"),
        ("policy drop; iif lo accept", "shut"),
        ("policy drop; ip saddr 10.0.0.0/8 accept", "shut?"),
        (
            "policy drop; meta mark & 0x10000000 == 0x10000000 accept",
            "shut?",
        ),
        (
            "policy drop; tcp dport 22 limit rate 5/minute accept",
            "through",
        ),
        ("policy drop; ct status dnat accept", "shut"),
        ("tcp dport 1-1023 drop", "shut"),
        ("reject with icmpx admin-prohibited", "shut"),
        ("tcp dport 22 reject with tcp reset", "shut"),
        ("jump inner", "shut"),
        ("tcp dport 22 accept; jump inner", "through"),
        ("ip saddr 192.0.2.0/24 drop", "some"),
        ("ip saddr 192.0.2.0/24 jump inner", "some"),
        ("ip saddr @blocked drop; tcp dport 22 accept; drop", "some"),
        (
            "tcp flags & (fin|syn|rst|ack) == syn jump flood; tcp dport 22 accept",
            "through",
        ),
        ("udp dport 22 drop", "through"),
    ] {
        let script = format!(
            "table inet fw {{
                set blocked {{ type ipv4_addr; flags interval; elements = {{ 198.51.100.0/24 }}; }}
                chain inner {{ meta l4proto tcp drop; }}
                chain flood {{ limit rate 25/second burst 50 packets return; drop; }}
                chain input {{ type filter hook input priority filter; {rules}; }}
                chain forward {{ type filter hook forward priority filter; policy drop; }}
             }}\n"
        );
        in_namespace(move || {
            nft(&["-f", "-"], &script).unwrap_or_else(|| panic!("nft takes {rules}"));
            let fate = fate(&packet(Family::V4, 22));
            assert_eq!(in_words(&fate), expected, "{rules}");
            assert!(fate.dropped.is_none_or(|end| !end.early));
        });
    }
}

#[test]
fn which_rules_ask_for_the_mark() {
    for (rule, asks) in [
        ("meta mark 0x10000000 accept", true),
        ("meta mark { 0x1, 0x10000000 } accept", true),
        ("meta mark & 0x30000000 == 0x10000000 accept", true),
        ("meta mark & 0x10000000 != 0 accept", true),
        ("meta mark & 0x0f000000 == 0x01000000 accept", false),
        ("meta mark 0x1 accept", false),
        ("meta mark set 0x10000000", false),
        ("ct mark 0x10000000 accept", false),
        ("meta mark 0x10000000 tcp dport 23 accept", false),
        ("meta nfproto ipv6 meta mark 0x10000000 accept", false),
    ] {
        in_namespace(move || {
            let script = format!(
                "table inet fw {{ chain x {{ type filter hook input priority 0; policy drop; {rule}; }}; }}\n"
            );
            nft(&["-f", "-"], &script).expect("nft takes the rule");
            let with = |mark| {
                let packet = Packet {
                    mark: Some(mark),
                    ..packet(Family::V4, 22)
                };
                fate(&packet).dropped.is_none_or(|end| !end.sure)
            };
            let of_others = rule.starts_with("ct mark");
            assert_eq!(with(MARK), asks || of_others, "{rule}");
            assert_eq!(with(0), of_others, "{rule}");
        });
    }
}

/// Rules as iptables-nft writes them, with its own matches and targets.
#[test]
fn rules_of_iptables() {
    let is_there = |program: &str| {
        let mut program = Command::new(program);
        let program = program.arg("--version").stdout(Stdio::null());
        program.status().is_ok()
    };
    if !is_there("iptables-nft") {
        return skip("iptables-nft is missing");
    }
    for (chain, rule, expected) in [
        (
            "PREROUTING",
            "-p tcp --dport 8080 -j DNAT --to-destination 10.0.0.2:80",
            "sent",
        ),
        (
            "PREROUTING",
            "-m addrtype --dst-type LOCAL -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.0.2:80",
            "sent",
        ),
        (
            "PREROUTING",
            "-m addrtype ! --dst-type LOCAL -p tcp -j REDIRECT --to-ports 9",
            "through",
        ),
        (
            "PREROUTING",
            "-p tcp --dport 8000:8100 -j REDIRECT --to-ports 9",
            "sent",
        ),
        (
            "PREROUTING",
            "-p tcp ! --dport 8080 -j REDIRECT --to-ports 9",
            "through",
        ),
        (
            "PREROUTING",
            "-p tcp -m multiport --dports 22,8000:8079,8080 -j REDIRECT --to-ports 9",
            "sent",
        ),
        (
            "PREROUTING",
            "-p tcp -m multiport --dports 22,8000:8079 -j REDIRECT --to-ports 9",
            "through",
        ),
        (
            "PREROUTING",
            "-p tcp -m multiport ! --dports 22,8080 -j REDIRECT --to-ports 9",
            "through",
        ),
        (
            "PREROUTING",
            "-p udp --dport 8080 -j REDIRECT --to-ports 9",
            "through",
        ),
        (
            "PREROUTING",
            "! -i docker0 -p tcp -m comment --comment x -j REDIRECT --to-ports 9",
            "sent",
        ),
        (
            "PREROUTING",
            "-i lan -p tcp -j REDIRECT --to-ports 9",
            "through",
        ),
        (
            "PREROUTING",
            "-s 10.0.0.0/8 -p tcp -j REDIRECT --to-ports 9",
            "sent?",
        ),
        (
            "PREROUTING",
            "-p tcp -m statistic --mode random --probability 0.5 -j REDIRECT --to-ports 9",
            "sent?",
        ),
        (
            "PREROUTING",
            "-p tcp --syn -j REDIRECT --to-ports 9",
            "sent",
        ),
        (
            "PREROUTING",
            "-p tcp --sport 53 -j REDIRECT --to-ports 9",
            "sent?",
        ),
        (
            "INPUT",
            "-m conntrack --ctstate RELATED,ESTABLISHED -j DROP",
            "through",
        ),
        ("INPUT", "-m conntrack --ctstate NEW -j DROP", "shut"),
        ("INPUT", "-m conntrack ! --ctstate NEW -j DROP", "through"),
        ("INPUT", "-m state --state NEW -j DROP", "shut"),
        (
            "INPUT",
            "-m mark --mark 0x10000000/0x10000000 -j DROP",
            "some",
        ),
        ("INPUT", "-p tcp -j REJECT --reject-with tcp-reset", "shut"),
        ("INPUT", "-m limit --limit 1/min -j ACCEPT", "through"),
        ("INPUT", "-m pkttype --pkt-type broadcast -j DROP", "some"),
    ] {
        in_namespace(move || {
            let table = if chain == "INPUT" { "filter" } else { "nat" };
            let words = ["-t", table, "-A", chain].into_iter();
            let mut iptables = Command::new("iptables-nft");
            let iptables = iptables.args(words.chain(rule.split(' ')));
            let status = iptables.status().expect("iptables-nft");
            if !status.success() {
                return skip_for_the_kernel(format_args!("it does not take {rule}"));
            }
            let over_v4 = fate(&packet(Family::V4, 8080));
            assert_eq!(in_words(&over_v4), expected, "{rule}");
            assert_eq!(in_words(&fate(&packet(Family::V6, 8080))), "through");
        });
    }
}

#[test]
fn our_own_table_is_none_of_the_others() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        let config = crate::firewall::tests::examples::ssh(postern_core::config::Guard::Gate);
        firewall.install(&config, &[]).unwrap();
        assert_eq!(fate(&packet(Family::V4, 22)), Fate::default());
    });
}

#[test]
fn what_is_kept_from_connection_tracking() {
    for (rule, untracked) in [("notrack", true), ("udp dport 9 notrack", false)] {
        in_namespace(move || {
            let script = format!(
                "table ip raw {{ chain pre {{ type filter hook prerouting priority -300; {rule}; }}; }}\n"
            );
            nft(&["-f", "-"], &script).unwrap();
            assert_eq!(fate(&packet(Family::V4, 22)).untracked, untracked, "{rule}");
        });
    }
}

#[test]
fn more_rules_than_are_looked_at_are_noticed() {
    in_namespace(|| {
        let rules = "tcp dport 1 accept;\n".repeat(9_000);
        let script =
            format!("table ip a {{ chain c {{ type filter hook input priority 0; {rules} }}; }}\n");
        nft(&["-f", "-"], &script).unwrap();
        let mut firewall = Firewall::open().unwrap();
        assert!(firewall.foreign_tables().unwrap().incomplete);
    });
    // Chains that jump to each other over and over.
    in_namespace(|| {
        let mut script = "table ip a {\nchain c0 { tcp dport 1 accept; }\n".to_owned();
        for number in 1..15 {
            let jump = format!("jump c{};", number - 1);
            script += &format!("chain c{number} {{ {} }}\n", jump.repeat(4));
        }
        script += "chain in { type filter hook input priority 0; jump c14; }\n}\n";
        if nft(&["-f", "-"], &script).is_none() {
            return skip_for_the_kernel("it refuses such chains");
        }
        let mut firewall = Firewall::open().unwrap();
        let mut others = firewall.foreign_tables().unwrap();
        others.fate(&mut firewall, &packet(Family::V4, 22));
        assert!(others.incomplete);
    });
}

#[test]
fn no_rule_is_too_odd() {
    in_namespace(|| {
        let script = "table inet fw { chain x { type filter hook input priority 0; \
                      iifname . tcp dport { \"wan\" . 22 } meta mark & 0xff == 0x1 ct state new tcp dport 1-3 drop; }; }\n";
        nft(&["-f", "-"], script).unwrap();
        let mut firewall = Firewall::open().unwrap();
        let mut others = firewall.foreign_tables().unwrap();
        let rule = others.chains[0].rules[0].clone();
        for at in 0..rule.len() {
            for value in [0, 1, 3, 4, 8, 0x7f, 0xff] {
                let mut odd = rule.clone();
                odd[at] = value;
                others.chains[0].rules[0] = odd;
                others.fate(&mut firewall, &packet(Family::V4, 22));
            }
            others.chains[0].rules[0] = rule[..at].into();
            others.fate(&mut firewall, &packet(Family::V4, 22));
        }
    });
}
