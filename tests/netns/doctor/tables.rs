//! Rules of other tables.

use postern_tests::agent::{Agent, FIREWALL, Guard, SSH_DOOR, Setup};
use postern_tests::namespace::Namespace;
use postern_tests::probe::Answer;
use postern_tests::process::Said;
use postern_tests::server::Service;
use postern_tests::suite::{in_case_of, on_both_families};
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::{A_MOMENT, SOON, poll_until};
use postern_tests::world::{DOOR, World};
use postern_tests::{client, nft, probe};

use super::{doctor, edit, expect, expect_no, guarded, texts};

pub(super) fn other_rules_of_the_firewall() {
    let net = Topology::new();
    let router = &net.router.namespace;
    let ids = [
        "firewall-drops",
        "mark-unread",
        "mark-unguarded",
        "conntrack-bypassed",
    ];
    let udp = SSH_DOOR.replace("tcp:22", "udp:51820");
    let expect_only = |setup: &Setup, expected: &[&str]| {
        let findings = doctor(setup, &net.router);
        for id in ids {
            let times = texts(&findings, id).len();
            assert_eq!(
                times,
                usize::from(expected.contains(&id)),
                "{id}: {findings:#?}"
            );
        }
    };
    let gate = Setup::new(&net.router, Guard::Gate, &udp);
    expect_only(&gate, &[]);
    nft::apply(
        router,
        "table ip raw { chain pre { type filter hook prerouting priority raw; notrack; }; }\n",
    );
    expect_only(&gate, &["conntrack-bypassed"]);
    edit(&gate, "'gate'", "'mark'");
    expect_only(&gate, &["mark-unguarded"]);
    nft::apply(router, &FIREWALL.replace("0x10000000", "0x20000000"));
    expect_only(&gate, &["mark-unread"]);
    nft::apply(router, "delete table inet fw");
    nft::apply(router, FIREWALL);
    expect_only(&gate, &[]);
    edit(&gate, "'mark'", "'gate'");
    expect_only(&gate, &["firewall-drops", "conntrack-bypassed"]);
    // Where it lets everybody in, it does not keep whom Postern lets in from it.
    nft::apply(router, "insert rule inet fw input udp dport 51820 accept");
    expect_only(&gate, &["conntrack-bypassed"]);
}

/// As a redirection to another service of this machine, in every way that nft has of saying so: the
/// guard decides before.
pub(super) fn ports_that_other_tables_redirect() {
    for rule in [
        "tcp dport 22 redirect to :2022",
        "tcp dport 20-30 redirect to :2022",
        "tcp dport { 22, 80 } redirect to :2022",
        "meta l4proto tcp redirect to :tcp dport map @targets",
        "tcp dport vmap @ways",
        "iifname \"wan\" meta l4proto tcp redirect to :2022",
        "fib daddr type local jump engine",
    ] {
        // Whatever priority it says, such a chain is entered where destination NAT is.
        for priority in ["dstnat", "-150"] {
            in_case_of((rule, priority), || {
                let (net, setup) = guarded();
                let _services = [22, 2022].map(|port| Service::tcp(&net.router.namespace, port));
                let script = format!(
                    "table inet tarpit {{
                        map targets {{ type inet_service : inet_service; elements = {{ 22 : 2022 }}; }}
                        map ways {{ type inet_service : verdict; elements = {{ 22 : goto engine }}; }}
                        chain engine {{ meta l4proto tcp redirect to :2022; }}
                        chain pre {{ type nat hook prerouting priority {priority}; {rule}; }}
                     }}\n"
                );
                nft::apply(&net.router.namespace, &script);
                let findings = doctor(&setup, &net.router);
                expect_no(&findings, "guard-bypassed");
                expect_no(&findings, "guard-other-port");
                let _agent = setup.start(&net.router);
                on_both_families(|family| {
                    let ssh = net.router.port(family, 22);
                    assert_eq!(probe::tcp(&net.stranger.namespace, ssh), Answer::Silent);
                });
            });
        }
    }
}

/// Without connection tracking, which is the only way to be ahead of the guard.
pub(super) fn ports_that_other_tables_take_away() {
    let (net, setup) = guarded();
    let _service = Service::tcp(&net.router.namespace, 2022);
    expect_no(&doctor(&setup, &net.router), "guard-bypassed");
    nft::apply(
        &net.router.namespace,
        "table inet tarpit {
            chain pre { type filter hook prerouting priority mangle; tcp dport 22 tcp dport set 2022; }
            chain out { type filter hook output priority mangle; tcp sport 2022 tcp sport set 22; }
         }\n",
    );
    let findings = doctor(&setup, &net.router);
    let text = "door ssh does not guard tcp:22: chain pre of table inet tarpit sends it elsewhere";
    expect(&findings, "guard-bypassed", text);
    let agent = setup.start(&net.router);
    let warning = format!("postern: warning (guard-bypassed): {text}");
    assert!(agent.log().contains(&warning), "{}", agent.log());
    // It is true: a stranger who knows nothing comes in.
    on_both_families(|family| {
        let ssh = net.router.port(family, 22);
        assert!(probe::tcp_opens(&net.stranger.namespace, ssh, SOON));
    });
    let said = setup.verb(&net.router, "apply", &[]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.stderr.contains(&warning), "{said:?}");
}

/// A port that nobody guards leads to one that is guarded.
pub(super) fn ways_around_a_guarded_port() {
    for (rule, other) in [
        ("tcp dport 2022 redirect to :22", "tcp:2022 on to tcp:22"),
        (
            "tcp dport 2000-2999 redirect to :22",
            "tcp:2000 on to tcp:22",
        ),
        (
            "ip daddr 192.0.2.1 tcp dport 2022 dnat ip to 192.0.2.1:22",
            "tcp:2022 over IPv4 on to tcp:22",
        ),
    ] {
        in_case_of(rule, || {
            let (net, setup) = guarded();
            let _ssh = Service::tcp(&net.router.namespace, 22);
            expect_no(&doctor(&setup, &net.router), "guard-other-port");
            let script = format!(
                "table inet other {{ chain pre {{ type nat hook prerouting priority dstnat; {rule}; }}; }}\n"
            );
            nft::apply(&net.router.namespace, &script);
            expect(&doctor(&setup, &net.router), "guard-other-port", other);
            let agent = setup.start(&net.router);
            assert!(agent.log().contains("guard-other-port"), "{}", agent.log());
            let around = net.router.port(Family::V4, 2022);
            assert!(probe::tcp_opens(&net.stranger.namespace, around, SOON));
            // What it advises helps.
            edit(
                &setup,
                "\tlist guard 'tcp:22'\n",
                "\tlist guard 'tcp:22'\n\tlist guard 'tcp:2000-2999'\n",
            );
            expect_no(&doctor(&setup, &net.router), "guard-other-port");
            agent.reload_now();
            assert_eq!(probe::tcp(&net.stranger.namespace, around), Answer::Silent);
        });
    }
}

/// Has one of the programs named iptables take these arguments.
fn iptables(router: &Namespace, program: &str, rule: &str) -> Said {
    let words: Vec<&str> = rule.split(' ').collect();
    router.run(program, &words)
}

/// With the rules that container engines make there is nothing to be warned of.
pub(super) fn a_published_port_of_a_container() {
    let world = World::docker();
    let setup = world.setup(Guard::Gate, DOOR);
    let findings = doctor(&setup, &world.net.router);
    let ids = [
        "guard-bypassed",
        "guard-other-port",
        "guard-other-address",
        "firewall-drops",
        "guard-port-silent",
    ];
    for id in ids {
        expect_no(&findings, id);
    }
    expect_no(&findings, "knock-port-redirected");
    let texts = texts(&findings, "guard-forwarded");
    assert_eq!(texts.len(), 2, "{texts:#?}");
    assert!(
        texts[0].contains("guards tcp:8080 over IPv4, and chain DOCKER of table ip nat sends on")
    );
}

/// firewall4's redirect is for packets of whatever address, and for whatever mark, unless it says so.
pub(super) fn a_port_that_firewall4_forwards() {
    for (redirect, guard, expected) in [
        (Guard::Gate, Guard::Gate, Some("guard-other-address")),
        (Guard::Gate, Guard::Mark, Some("mark-unasked")),
        (Guard::Mark, Guard::Mark, None),
    ] {
        in_case_of((redirect, guard), || {
            let world = World::fw4(redirect);
            let setup = world.setup(guard, DOOR);
            let router = &world.net.router;
            let findings = doctor(&setup, router);
            let ids = [
                "guard-bypassed",
                "guard-other-port",
                "guard-other-address",
                "guard-port-silent",
                "mark-unasked",
                "mark-unguarded",
                "mark-unread",
            ];
            for id in ids.iter().filter(|id| Some(**id) != expected) {
                expect_no(&findings, id);
            }
            let Some(id) = expected else { return };
            let texts = texts(&findings, id);
            assert_eq!(texts.len(), 2, "{texts:#?}");
            for (text, port) in texts
                .iter()
                .zip(["tcp:8080 over IPv4", "udp:60001 over IPv4"])
            {
                assert!(text.contains(port), "{text}");
            }
            // It is true.
            let _agent = setup.start(router);
            let [mut web, _] = world.services_at(Family::V4);
            if guard == Guard::Gate {
                let stranger = &world.net.stranger.namespace;
                assert_eq!(probe::tcp(stranger, web), Answer::Silent);
                stranger.ip_batch("route add 203.0.113.9 via 192.0.2.1\n");
                web.set_ip([203, 0, 113, 9].into());
            }
            assert!(probe::tcp_opens(&world.net.stranger.namespace, web, SOON));
        });
    }
}

pub(super) fn tables_that_change_while_the_agent_runs() {
    let (net, setup) = guarded();
    let mut agent = setup.start(&net.router);
    assert!(!agent.log().contains("warning ("), "{}", agent.log());
    let redirect = "table ip tarpit { chain pre { type filter hook prerouting priority mangle; tcp dport 22 tcp dport set 9; }; }\n";
    nft::apply(&net.router.namespace, redirect);
    agent.wait_for_line(
        "postern: warning (guard-bypassed): door ssh does not guard tcp:22 over IPv4",
    );
    nft::apply(&net.router.namespace, "delete table ip tarpit");
    agent.wait_for_line("postern: no longer so: warning (guard-bypassed)");
    nft::apply(&net.router.namespace, redirect);
    let count = |agent: &Agent<'_>| agent.log().matches("warning (guard-bypassed)").count();
    poll_until(SOON, "it is said again", || count(&agent) == 3);
    // A reload does not repeat what was said.
    agent.reload_now();
    assert_eq!(count(&agent), 3, "{}", agent.log());
    // A door that a reload brings is looked at too.
    setup.rewrite(&SSH_DOOR.replace("tcp:22", "tcp:23"));
    agent.reload_now();
    agent.wait_for_line("postern: no longer so: ");
    assert_eq!(count(&agent), 4, "{}", agent.log());
}

pub(super) fn what_looks_like_taking_away_and_is_none() {
    for rules in [
        // To itself, as some write what they want to be sure of.
        "chain pre { type nat hook prerouting priority dstnat; tcp dport 22 redirect to :22; }",
        // From elsewhere.
        "chain pre { type nat hook prerouting priority dstnat; iifname \"lan\" tcp dport 22 redirect to :9; }",
        "chain pre { type nat hook prerouting priority dstnat; tcp dport 22 accept; meta l4proto tcp redirect to :9; }",
        // What this machine sends.
        "chain out { type nat hook output priority -100; tcp dport 22 redirect to :9; }",
        // A transparent proxy: the guard sees such packets with the port that they were sent to.
        "chain pre { type filter hook prerouting priority mangle; tcp dport 22 tproxy to :2022 meta mark set 1; }",
    ] {
        in_case_of(rules, || {
            let (net, setup) = guarded();
            let _services = [22, 2022].map(|port| Service::tcp(&net.router.namespace, port));
            let script = format!("table inet other {{\n{rules}\n}}\n");
            let said = net
                .router
                .namespace
                .run_with_input("nft", &["-f", "-"], &script);
            if said.status != 0 && rules.contains("tproxy") {
                return; // This kernel has none.
            }
            said.ok();
            if !rules.contains("meta l4proto tcp redirect") {
                expect_no(&doctor(&setup, &net.router), "knock-port-redirected");
            }
            expect_no(&doctor(&setup, &net.router), "guard-bypassed");
            let agent = setup.start(&net.router);
            assert!(!agent.log().contains("guard-bypassed"), "{}", agent.log());
            for number in [22, 2022] {
                let port = net.router.port(Family::V4, number);
                let answer = probe::tcp(&net.stranger.namespace, port);
                let is_open = number == 2022 && !rules.contains("l4proto tcp");
                assert_eq!(answer == Answer::Open, is_open, "{number}");
            }
        });
    }
}

/// A tarpit for all ports that nobody uses, and a list of knocks that it takes.
pub(super) fn knocks_that_are_not_heard() {
    for (rule, heard) in [
        ("tcp dport != 22 redirect to :9", false),
        ("tcp dport 7000 dnat ip to 198.18.0.2", false),
        ("udp dport { 8000-8999 } drop", false),
        ("ip saddr 192.0.2.3 tcp dport 7000 drop", true),
        ("tcp dport 7001 redirect to :9", true),
    ] {
        in_case_of(rule, || {
            let net = Topology::new();
            let _ssh = Service::tcp(&net.router.namespace, 22);
            let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
            let kind = match rule.ends_with("drop") {
                true => "filter hook prerouting priority raw",
                false => "nat hook prerouting priority dstnat",
            };
            let script = format!("table inet other {{ chain pre {{ type {kind}; {rule}; }}; }}\n");
            nft::apply(&net.router.namespace, &script);
            let findings = doctor(&setup, &net.router);
            let told = texts(&findings, "knock-port-redirected");
            assert_eq!(told.is_empty(), heard, "{findings:#?}");
            expect_no(&findings, "guard-bypassed");
            let agent = setup.start(&net.router);
            assert_eq!(agent.log().contains("knock-port-redirected"), !heard);
            let ssh = net.router.port(Family::V4, 22);
            client::knock(&net.client, ssh.ip(), &["7000", "8001:udp", "9002"]);
            let within = if heard { SOON } else { A_MOMENT };
            assert_eq!(probe::tcp_opens(&net.client.namespace, ssh, within), heard);
            // A packet socket hears what no rule has seen.
            setup.hear_by("\toption source 'packet'\n");
            setup.rewrite(SSH_DOOR);
            expect_no(&doctor(&setup, &net.router), "knock-port-redirected");
        });
    }
}

/// iptables accepts the mark, and ip6tables drops, as where a rule was added to one of them.
pub(super) fn only_one_firewall_of_two_asks_for_the_mark() {
    let net = Topology::new();
    let router = &net.router.namespace;
    let _ssh = Service::tcp(router, 22);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    edit(&setup, "'gate'", "'mark'");
    let add = |program: &str, rules: &[&str]| {
        for rule in rules {
            iptables(router, program, rule).ok();
        }
    };
    let icmp = "-A INPUT -p ipv6-icmp -j ACCEPT";
    let drop = "-P INPUT DROP";
    let accept = "-A INPUT -m mark --mark 0x10000000/0x10000000 -j ACCEPT";
    let established = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
    add("iptables-nft", &[established, accept, drop]);
    let findings = doctor(&setup, &net.router);
    expect(&findings, "mark-unguarded", "tcp:22 over IPv6");
    expect_no(&findings, "mark-unread");
    add("ip6tables-nft", &[established, icmp, drop]);
    let findings = doctor(&setup, &net.router);
    expect_no(&findings, "mark-unguarded");
    let text = "chain INPUT of table ip6 filter drops what comes to tcp:22 with mark 0x10000000 over IPv6, so that door ssh";
    expect(&findings, "mark-unread", text);
    let agent = setup.start(&net.router);
    assert!(agent.log().contains(text), "{}", agent.log());
    let opens = |family, within| {
        let ssh = net.router.port(family, 22);
        client::knock(&net.client, ssh.ip(), &["7000", "8001:udp", "9002"]);
        probe::tcp_opens(&net.client.namespace, ssh, within)
    };
    assert!(opens(Family::V4, SOON));
    assert!(!opens(Family::V6, A_MOMENT));
    add("ip6tables-nft", &[accept]);
    expect_no(&doctor(&setup, &net.router), "mark-unread");
    assert!(opens(Family::V6, SOON));
    // Accepted for another port, it does not help this one.
    add(
        "iptables-nft",
        &[
            "-F INPUT",
            "-A INPUT -p tcp --dport 23 -m mark --mark 0x10000000/0x10000000 -j ACCEPT",
        ],
    );
    expect(
        &doctor(&setup, &net.router),
        "mark-unread",
        "tcp:22 with mark 0x10000000 over IPv4",
    );
}

/// firewall4 leaves out a rule whose source is a zone that it does not have.
pub(super) fn a_zone_of_the_firewall_that_is_missing() {
    let (net, setup) = guarded();
    edit(&setup, "'gate'", "'mark'");
    nft::apply(&net.router.namespace, FW4);
    expect_no(&doctor(&setup, &net.router), "mark-unread");
    expect_no(&doctor(&setup, &net.router), "mark-unguarded");
    nft::apply(&net.router.namespace, "flush ruleset");
    nft::apply(&net.router.namespace, &without(FW4, "0x10000000"));
    let findings = doctor(&setup, &net.router);
    expect(
        &findings,
        "mark-unread",
        " of table inet fw4 drops what comes to tcp:22 with mark 0x10000000, so that",
    );
    expect_no(&findings, "mark-unguarded");
}

/// The lines that do not say this.
fn without(text: &str, word: &str) -> String {
    assert!(text.contains(word), "no {word} in {text}");
    let lines = text.split_inclusive('\n');
    lines.filter(|line| !line.contains(word)).collect()
}

/// The rules of ufw and of firewalld, as they make them.
const UFW: &str = include_str!("ufw.rules");
const FIREWALLD: &str = include_str!("firewalld.nft");
/// What `fw4 print` prints.
const FW4: &str = include_str!("../fw4.nft");

pub(super) fn firewalls_of_distributions() {
    // That a port is accepted, in each of them.
    let ufw_rule = "-A ufw-user-input -p tcp --dport 22 -j ACCEPT";
    let firewalld_rule = "tcp dport 22 accept";
    for (name, rules, rule) in [
        ("ufw", UFW, ufw_rule),
        ("firewalld", FIREWALLD, firewalld_rule),
    ] {
        for allowed in [true, false] {
            in_case_of((name, allowed), || {
                let net = Topology::new();
                let router = &net.router.namespace;
                let _ssh = Service::tcp(router, 22);
                let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
                assert!(rules.contains(rule), "no {rule} in the rules of {name}");
                let rules = match allowed {
                    true => rules.to_owned(),
                    false => rules.replace(rule, ""),
                };
                match name {
                    "ufw" => {
                        for (program, prefix) in [
                            ("iptables-nft-restore", "ufw"),
                            ("ip6tables-nft-restore", "ufw6"),
                        ] {
                            let rules = rules.replace("ufw-", &format!("{prefix}-"));
                            // IPv6 has none.
                            let rules = match prefix {
                                "ufw6" => without(&rules, "BROADCAST"),
                                _ => rules,
                            };
                            router.run_with_input(program, &[], &rules).ok();
                        }
                    }
                    _ => nft::apply(router, &rules),
                }
                let findings = doctor(&setup, &net.router);
                let told = texts(&findings, "firewall-drops");
                assert_eq!(told.len(), usize::from(!allowed), "{findings:#?}");
                let warning = findings
                    .iter()
                    .any(|finding| finding.starts_with("warning firewall-drops "));
                assert_eq!(warning, !allowed, "{findings:#?}");
                let agent = setup.start(&net.router);
                assert_eq!(agent.log().contains("warning (firewall-drops)"), !allowed);
                let ssh = net.router.port(Family::V4, 22);
                client::knock(&net.client, ssh.ip(), &["7000", "8001:udp", "9002"]);
                if allowed || name == "ufw" {
                    let within = if allowed { SOON } else { A_MOMENT };
                    let opens = probe::tcp_opens(&net.client.namespace, ssh, within);
                    assert_eq!(opens, allowed);
                }
            });
        }
    }
}

pub(super) fn more_rules_than_are_looked_at() {
    let (net, setup) = guarded();
    let rules = "tcp dport 1 accept;\n".repeat(9_000);
    let script =
        format!("table ip a {{ chain c {{ type filter hook input priority 0; {rules} }}; }}\n");
    nft::apply(&net.router.namespace, &script);
    expect(
        &doctor(&setup, &net.router),
        "firewall-unread",
        "too many rules",
    );
    // It guards all the same.
    let _agent = setup.start(&net.router);
}

/// They cannot be seen, and that is said; where there are none, nothing is.
pub(super) fn rules_of_the_older_iptables() {
    let (net, setup) = guarded();
    expect_no(&doctor(&setup, &net.router), "firewall-older");
    let rule = "-t nat -A PREROUTING -p tcp --dport 22 -j REDIRECT --to-ports 9";
    let said = iptables(&net.router.namespace, "iptables-legacy", rule);
    if said.status != 0 {
        return; // This kernel has none.
    }
    let findings = doctor(&setup, &net.router);
    expect(&findings, "firewall-older", "(nat) cannot be looked at");
    let agent = setup.start(&net.router);
    let warning = "postern: warning (firewall-older): ";
    assert!(agent.log().contains(warning), "{}", agent.log());
}
