//! `postern knock` and `postern export`: from the router's configuration to the open door.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use postern_tests::agent::{Guard, SSH_DOOR, Setup};
use postern_tests::packet::{Header, flags};
use postern_tests::probe::{self, Answer, Capture};
use postern_tests::process::{Said, run};
use postern_tests::server::Service;
use postern_tests::suite::{Suite, in_case_of, on_both_families};
use postern_tests::topology::{Family, Topology};
use postern_tests::visitor::{ROUTER, Visitor};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        what_is_exported_opens_and_closes_every_static_door needs "setpriv" "unshare",
        a_knock_is_one_syn_and_one_datagram needs "setpriv" "unshare",
        a_dry_run_sends_nothing needs "setpriv" "unshare" "jq",
        waiting_ends_when_the_port_answers needs "setpriv" "unshare",
        a_toggle_is_not_undone_by_waiting needs "setpriv" "unshare",
        the_step_that_failed_is_named needs "setpriv" "unshare",
        a_door_that_cannot_be_seen_is_knocked_at_once needs "setpriv" "unshare",
        the_family_that_is_let_in_is_found_by_waiting needs "setpriv" "unshare",
        a_sender_that_the_door_would_not_know_is_warned needs "setpriv" "unshare",
        knocks_that_would_come_too_late_are_not_sent needs "setpriv" "unshare",
        files_that_others_can_read_are_noticed needs "setpriv" "unshare",
        codes_of_a_seed_open_and_none_is_sent_twice needs "setpriv" "unshare",
        sequences_of_a_list_open_in_turn needs "setpriv" "unshare",
        codes_of_the_clock_open_and_the_next_one_is_waited_for needs "setpriv" "unshare",
    ]
}

/// The options of a family, as ssh has them.
const fn option(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}

/// Static doors: name, port, and what makes them.
const DOORS: [(&str, u16, &str); 7] = [
    (
        "single_same",
        2201,
        "\toption method 'single-same'\n\tlist open 'udp:7101'\n\toption payload 'text:open sesame'\n",
    ),
    (
        "single_separate",
        2202,
        "\toption method 'single-separate'\n\tlist open 'udp:7102'\n\tlist close 'udp:7103'\n\
         \toption payload 'hex:00ff27'\n",
    ),
    (
        "sequence_same",
        2203,
        "\toption method 'sequence-same'\n\tlist open 'tcp:7204'\n\tlist open 'tcp:7201'\n\
         \tlist open 'tcp:7203'\n",
    ),
    (
        "sequence_tcp",
        2204,
        "\toption method 'sequence-separate'\n\tlist open 'tcp:7304'\n\tlist open 'tcp:7301'\n\
         \tlist open 'tcp:7303'\n\tlist close 'tcp:7302'\n\tlist close 'tcp:7300'\n",
    ),
    (
        "sequence_udp",
        2205,
        "\toption method 'sequence-separate'\n\tlist open 'udp:7304'\n\tlist open 'udp:7301'\n\
         \tlist open 'udp:7303'\n\tlist close 'udp:7302'\n\tlist close 'udp:7300'\n\
         \toption payload 'quic'\n",
    ),
    (
        "sequence_mixed",
        2206,
        "\toption method 'sequence-separate'\n\tlist open 'tcp:7404'\n\tlist open 'udp:7401'\n\
         \tlist open 'tcp:7403'\n\tlist close 'udp:7402'\n\tlist close 'tcp:7400'\n\
         \toption payload 'dns'\n\toption jitter '20ms'\n\toption window '3s'\n",
    ),
    (
        "sequence_twice",
        2207,
        "\toption method 'sequence-separate'\n\tlist open 'tcp:7504'\n\tlist open 'udp:7501'\n\
         \tlist open 'tcp:7504'\n\tlist close 'udp:7502'\n\tlist close 'udp:7502'\n",
    ),
];

fn doors() -> String {
    let door = |(name, port, options): (&str, u16, &str)| {
        format!("config door '{name}'\n\tlist guard 'tcp:{port}'\n{options}\n")
    };
    DOORS.map(door).concat()
}

/// What the router exports of these doors.
fn exported(net: &Topology, setup: &Setup, doors: &[&str]) -> String {
    let export = |door: &&str| setup.verb(&net.router, "export", &[door]).ok();
    doors.iter().map(export).collect()
}

/// A visitor with the router's [`SSH_DOOR`].
fn ssh_visitor(net: &Topology) -> Visitor {
    Visitor::new(net, SSH_DOOR)
}

fn what_is_exported_opens_and_closes_every_static_door() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, &doors());
    let _services = DOORS.map(|(_, port, _)| Service::tcp(&net.router.namespace, port));
    let _agent = setup.start(&net.router);
    let visitor = Visitor::new(&net, &exported(&net, &setup, &DOORS.map(|(name, ..)| name)));
    for family in Family::BOTH {
        for (name, port, options) in DOORS {
            in_case_of((name, family), || {
                let service = net.router.port(family, port);
                let knock = |arguments: &[&str]| {
                    let arguments = [&[option(family), ROUTER, name], arguments].concat();
                    let said = visitor.knock(&net.client, &arguments);
                    assert_eq!(said.stderr, "");
                    said.ok()
                };
                assert_eq!(probe::tcp(&net.client.namespace, service), Answer::Silent);
                let ports = match options.matches("list open").count() {
                    1 => "1 port".to_string(),
                    ports => format!("{ports} ports"),
                };
                let said = format!("door {name}: knocked {ports} at {}\n", service.ip());
                assert_eq!(knock(&[]), said);
                assert!(probe::tcp_opens(&net.client.namespace, service, SOON));
                assert_eq!(probe::tcp(&net.stranger.namespace, service), Answer::Silent);
                knock(&["--close"]);
                assert!(probe::tcp_shuts(&net.client.namespace, service, SOON));
            });
        }
    }
}

/// What left the client for the router, but for answers to what the router began.
fn sent(capture: &mut Capture, to: IpAddr) -> Vec<Header> {
    let seen = capture.seen().iter();
    seen.filter(|header| header.to.ip() == to && header.to.port() != 0)
        .copied()
        .collect()
}

fn a_knock_is_one_syn_and_one_datagram() {
    on_both_families(|family| {
        let net = Topology::new();
        // With nobody to answer, the kernel would repeat a SYN after a second.
        nft::apply(
            &net.router.namespace,
            "table inet silent { chain input { type filter hook input priority 0; \
             meta l4proto { tcp, udp } drop; }; }",
        );
        let visitor = ssh_visitor(&net);
        let router = net.router.address(family);
        let mut capture = Capture::new(&net.client);
        let arguments = [option(family), ROUTER, "ssh", "--wait=1500ms"];
        let said = visitor.knock(&net.client, &arguments);
        assert_eq!(said.status, 1);
        assert!(said.stderr.contains("tcp:22 is silent"), "{}", said.stderr);
        let knocks: Vec<Header> = sent(&mut capture, router)
            .into_iter()
            .filter(|header| header.to.port() != 22)
            .collect();
        let ports: Vec<u16> = knocks.iter().map(|header| header.to.port()).collect();
        assert_eq!(ports, [7000, 8001, 9002].repeat(3));
        assert!(
            knocks
                .iter()
                .all(|header| matches!(header.flags, 0 | flags::SYN))
        );
    });
}

fn a_dry_run_sends_nothing() {
    let net = Topology::new();
    let visitor = ssh_visitor(&net);
    let mut capture = Capture::new(&net.client);
    let dry = |arguments: &[&str]| {
        let arguments = [&[ROUTER, "ssh", "--dry-run"], arguments].concat();
        visitor.knock(&net.client, &arguments).ok()
    };
    assert_eq!(
        dry(&["-4"]),
        "tcp 192.0.2.1 7000\nudp 192.0.2.1 8001 00\ntcp 192.0.2.1 9002\n"
    );
    assert_eq!(
        dry(&["-6", "--close"]),
        "tcp 2001:db8::1 9003\ntcp 2001:db8::1 7004\n"
    );
    let json = dry(&["-4", "--wait", "--json"]);
    run(Command::new("jq").arg("."), &json).ok();
    for part in [
        "\"door\":\"ssh\",\"action\":\"open\"",
        "\"address\":\"192.0.2.1\",\"sources\":[\"192.0.2.2\"]",
        "{\"protocol\":\"udp\",\"port\":8001,\"payload\":\"00\"}",
        "\"tries\":0,\"seen\":null,\"failed\":null",
    ] {
        assert!(json.contains(part), "{json}");
    }
    // Whatever had been sent would have been captured before this echo.
    capture.answers(&net.client, net.router.v4.into());
    capture.answers(&net.client, net.router.v6.into());
    for family in Family::BOTH {
        assert_eq!(sent(&mut capture, net.router.address(family)), []);
    }
    assert!(!visitor.path(".local").exists());
}

fn waiting_ends_when_the_port_answers() {
    on_both_families(|family| {
        let net = Topology::new();
        let _ssh = Service::tcp(&net.router.namespace, 22);
        let setup = Setup::new(&net.router, Guard::Mark, SSH_DOOR);
        let _agent = setup.start(&net.router);
        let visitor = ssh_visitor(&net);
        let knock = |arguments: &[&str]| {
            let arguments = [&[ROUTER, "ssh", option(family)], arguments].concat();
            visitor.knock(&net.client, &arguments).ok()
        };
        let knocked = format!("knocked 3 ports at {}", net.router.address(family));
        assert_eq!(
            knock(&["--wait", "2s"]),
            format!("door ssh: {knocked}; tcp:22 answers\n")
        );
        let ssh = net.router.port(family, 22);
        assert_eq!(probe::tcp(&net.client.namespace, ssh), Answer::Open);
        let closed = knock(&["--close", "--wait"]);
        assert!(closed.ends_with("; tcp:22 does not answer\n"), "{closed}");
        assert_eq!(probe::tcp(&net.client.namespace, ssh), Answer::Silent);
    });
}

fn a_toggle_is_not_undone_by_waiting() {
    let net = Topology::new();
    let _services = DOORS.map(|(_, port, _)| Service::tcp(&net.router.namespace, port));
    let setup = Setup::new(&net.router, Guard::Gate, &doors());
    let _agent = setup.start(&net.router);
    let visitor = Visitor::new(&net, &doors());
    let knock = |arguments: &[&str]| {
        let arguments = [&[ROUTER, "sequence_same", "-4", "--wait"], arguments].concat();
        visitor.knock(&net.client, &arguments).ok()
    };
    for state in [
        "knocked 3 ports at 192.0.2.1; tcp:2203 answers",
        "tcp:2203 answers already",
    ] {
        let said = knock(&[]);
        assert!(said.contains(state), "{said}");
    }
    let said = knock(&["--close"]);
    assert!(said.contains("tcp:2203 does not answer"), "{said}");
    let said = knock(&["--close"]);
    assert!(said.contains("tcp:2203 does not answer already"), "{said}");
}

fn the_step_that_failed_is_named() {
    let net = Topology::new();
    let visitor = ssh_visitor(&net);
    // Looking for a neighbour that is not there takes three times this long (arp(7)).
    let arp = "net/ipv4/neigh/eth0/retrans_time_ms";
    net.client.namespace.set_sysctl(arp, "100");
    visitor.knows(&[
        (ROUTER, net.router.v4.into()),
        ("far.example", "203.0.113.1".parse().expect("an address")),
        ("absent.example", "192.0.2.99".parse().expect("an address")),
    ]);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let agent = setup.start(&net.router);
    let file = visitor.path(&format!(".config/postern/{ROUTER}"));
    let file = file.to_str().expect("a readable path");
    let fails = |host: &str, step: &str, what: &str| {
        in_case_of(host, || {
            let arguments = ["--config", file, host, "ssh", "--wait=1s", "--json"];
            let said = visitor.knock(&net.client, &arguments);
            assert_eq!(said.status, 1);
            assert!(
                said.stdout.contains(&format!("\"failed\":\"{step}\"")),
                "{}",
                said.stdout
            );
            assert!(said.stderr.contains(what), "{}", said.stderr);
        });
    };
    fails("no.such.host.invalid", "name", "its name is not resolved");
    fails(
        "far.example",
        "route",
        "there is no route to it: 203.0.113.1: Network is unreachable",
    );
    fails(
        "absent.example",
        "unreachable",
        "192.0.2.99, 3 times; tcp:22: the host cannot be reached",
    );
    fails(ROUTER, "refused", "tcp:22 refuses: nothing listens there");
    setup.verb(&net.router, "close", &["ssh"]).ok();
    agent.stop();
    fails(
        ROUTER,
        "silent",
        "3 ports at 192.0.2.1, 3 times; tcp:22 is silent: the knocks were filtered on the way, they were the wrong \
         ones, nobody hears them, or your address is cut off ('postern status' at the router says so, 'postern \
         pardon ADDRESS' ends it)",
    );
    let said = visitor.knock(&net.client, &["-6", ROUTER, "ssh"]);
    assert!(
        said.stderr
            .contains("no address of the family that -6 asks for"),
        "{}",
        said.stderr
    );
    let said = visitor.knock(&net.client, &[ROUTER, "web"]);
    assert!(said.stderr.contains("no door 'web'"), "{}", said.stderr);
    let said = visitor.knock(&net.client, &["far.example", "web"]);
    assert!(
        said.stderr.contains("'postern export DOOR' prints"),
        "{}",
        said.stderr
    );
}

fn a_door_that_cannot_be_seen_is_knocked_at_once() {
    let net = Topology::new();
    let door = SSH_DOOR.replace("tcp:22", "udp:22");
    let setup = Setup::new(&net.router, Guard::Gate, &door);
    let _echo = Service::udp_echo(&net.router.namespace, 22);
    let _agent = setup.start(&net.router);
    let visitor = Visitor::new(&net, &door);
    let said = visitor.knock(&net.client, &["-4", ROUTER, "ssh", "--wait"]);
    assert!(said.stderr.contains("cannot be seen"), "{}", said.stderr);
    assert_eq!(said.ok(), "door ssh: knocked 3 ports at 192.0.2.1\n");
    let port = net.router.port(Family::V4, 22);
    assert!(probe::udp_opens(&net.client.namespace, port, SOON));
}

fn the_family_that_is_let_in_is_found_by_waiting() {
    on_both_families(|family| {
        let net = Topology::new();
        let other = match family {
            Family::V4 => "ipv6",
            Family::V6 => "ipv4",
        };
        nft::apply(
            &net.router.namespace,
            &format!(
                "table inet deaf {{ chain input {{ type filter hook input priority -300; \
                 meta nfproto {other} meta l4proto {{ tcp, udp }} drop; }}; }}"
            ),
        );
        let _ssh = Service::tcp(&net.router.namespace, 22);
        let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
        let _agent = setup.start(&net.router);
        let visitor = ssh_visitor(&net);
        let said = visitor.knock(&net.client, &[ROUTER, "ssh", "--wait=500ms"]);
        let seen = format!("at {}; tcp:22 answers\n", net.router.address(family));
        assert!(said.stdout.ends_with(&seen), "{said:?}");
        let connect = format!("connect with {} too", option(family));
        assert!(said.stderr.contains(&connect), "{said:?}");
    });
}

fn a_sender_that_the_door_would_not_know_is_warned() {
    let net = Topology::new();
    let visitor = ssh_visitor(&net);
    let said = visitor.knock(&net.client, &[ROUTER, "ssh"]);
    let both = "router.example has addresses of both families; knocking at ";
    assert!(said.stderr.contains(both), "{}", said.stderr);
    let at = said.stderr.split(both).nth(1).expect("an address");
    let option = if at.starts_with("192.0.2.1:") {
        "-4"
    } else {
        "-6"
    };
    assert!(
        at.contains(&format!("connect with {option} too")),
        "{}",
        said.stderr
    );
    // A policy that sends UDP another way.
    net.client
        .add_address("192.0.2.77".parse().expect("an address"));
    net.client.namespace.ip_batch(
        "route add 192.0.2.0/24 dev eth0 src 192.0.2.77 table 77\n\
         rule add ipproto udp table 77 priority 77\n",
    );
    let said = visitor.knock(&net.client, &["-4", ROUTER, "ssh"]);
    assert!(
        said.stderr.contains("different addresses of this machine"),
        "{}",
        said.stderr
    );
    for source in ["192.0.2.2", "192.0.2.77"] {
        assert!(said.stderr.contains(source), "{}", said.stderr);
    }
    said.ok();
}

fn knocks_that_would_come_too_late_are_not_sent() {
    let net = Topology::new();
    let visitor = ssh_visitor(&net);
    let said = visitor.knock(&net.client, &["-4", ROUTER, "ssh", "--delay", "5s"]);
    assert_eq!(said.status, 2);
    assert!(
        said.stderr.contains("the door's window of 10s"),
        "{}",
        said.stderr
    );
}

fn files_that_others_can_read_are_noticed() {
    let net = Topology::new();
    let visitor = ssh_visitor(&net);
    let file = visitor.path(&format!(".config/postern/{ROUTER}"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("let others read");
    let said = visitor.knock(&net.client, &["-4", ROUTER, "ssh", "--dry-run"]);
    assert!(
        said.stderr.contains("'chmod 600' keeps it private"),
        "{}",
        said.stderr
    );
    said.ok();
    let secret = visitor.write("secret", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).expect("let others read");
    visitor.write(
        &format!(".config/postern/{ROUTER}"),
        &format!(
            "config door 'ssh'\n\toption method 'one-time-seed'\n\toption secret_file '{}'\n",
            secret.display()
        ),
    );
    let said = visitor.knock(&net.client, &["-4", ROUTER, "ssh", "--dry-run"]);
    assert_eq!(said.status, 1);
    assert!(
        said.stderr.contains("others can read or write it"),
        "{}",
        said.stderr
    );
    assert!(!said.stderr.contains("GEZDG"), "{}", said.stderr);
}

/// A router with a one-time door, and the visitor whom it was exported to.
struct OneTime {
    net: Topology,
    setup: Setup,
    visitor: Visitor,
}

impl OneTime {
    /// `content` is that of the secret or list file; `options` has `FILE` for its path, which
    /// is the only thing that the visitor changes in what was exported.
    fn new(content: &str, options: &str) -> Self {
        let net = Topology::new();
        let setup = Setup::new(&net.router, Guard::Gate, "");
        let folder = setup.config().parent().expect("a folder").to_path_buf();
        let file = folder.join("material");
        fs::write(&file, content).expect("write");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("keep it private");
        let (folder, file) = (folder.display().to_string(), file.display().to_string());
        setup.rewrite(&format!(
            "\toption state_dir '{folder}/state'\nconfig door 'ssh'\n\tlist guard 'tcp:22'\n\
             \toption cutoff '50 per 10m'\n{}",
            options.replace("FILE", &file)
        ));
        let export = setup.verb(&net.router, "export", &["ssh"]);
        assert!(!export.stdout.contains(content.trim()), "{}", export.stdout);
        let secret = setup.verb(&net.router, "export", &["ssh", "--secret"]).ok();
        for line in content.lines() {
            assert!(secret.contains(line), "{secret}");
        }
        let visitor = Visitor::new(&net, "");
        let copy = visitor.write("material", content).display().to_string();
        let exported = export.ok();
        let section = exported.replace(&format!(" '{file}'"), &format!(" '{copy}'"));
        assert_ne!(section, exported);
        visitor.write(&format!(".config/postern/{ROUTER}"), &section);
        Self {
            net,
            setup,
            visitor,
        }
    }

    fn knock(&self, arguments: &[&str]) -> Said {
        let arguments = [&["-4", ROUTER, "ssh"], arguments].concat();
        self.visitor.knock(&self.net.client, &arguments)
    }

    fn opens(&self) {
        let said = self.knock(&["--wait"]);
        assert!(said.stdout.ends_with("tcp:22 answers\n"), "{said:?}");
        self.close();
    }

    fn close(&self) {
        self.setup.verb(&self.net.router, "close", &["ssh"]).ok();
        let ssh = self.net.router.port(Family::V4, 22);
        assert!(probe::tcp_shuts(&self.net.client.namespace, ssh, SOON));
    }

    /// What the visitor remembers.
    fn next(&self) -> Option<u64> {
        let state = self
            .visitor
            .path(&format!(".local/state/postern/{ROUTER}/ssh"));
        let text = fs::read_to_string(state).ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix("next "))?
            .parse()
            .ok()
    }
}

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\n";

fn codes_of_a_seed_open_and_none_is_sent_twice() {
    let options = "\toption method 'one-time-seed'\n\toption secret_file 'FILE'\n\
         \toption protocol 'mixed'\n";
    let door = OneTime::new(SECRET, options);
    let router = &door.net.router;
    door.setup
        .verb(router, "resync", &["ssh", "--to", "0"])
        .ok();
    let _ssh = Service::tcp(&router.namespace, 22);
    // RFC 4226, appendix D: 755224, 287082, 359152.
    assert_eq!(
        door.knock(&["--dry-run"]).ok(),
        "tcp 192.0.2.1 10755\nudp 192.0.2.1 10224 00\n"
    );
    assert_eq!(door.next(), None);
    // Nobody hears the first ones; they are used nevertheless.
    door.setup.verb(router, "apply", &[]).ok();
    let said = door.knock(&["--wait=200ms"]);
    let hint = "'postern export' at the router says which --next it expects";
    assert!(said.status == 1 && said.stderr.contains(hint), "{said:?}");
    assert_eq!(door.next(), Some(3));
    let _agent = door.setup.start(router);
    door.opens();
    door.opens();
    assert_eq!(door.next(), Some(5));
    // A visitor who begins anew is told where.
    let export = door.setup.verb(router, "export", &["ssh"]).ok();
    assert!(export.contains("'--next 5'"), "{export}");
    fs::remove_dir_all(door.visitor.path(".local")).expect("forget");
    door.knock(&["--next", "5"]).ok();
    assert_eq!(door.next(), Some(6));
    let ssh = router.port(Family::V4, 22);
    assert!(probe::tcp_opens(&door.net.client.namespace, ssh, SOON));
}

fn sequences_of_a_list_open_in_turn() {
    let list = "tcp:7005 udp:8001 tcp:7001\nudp:8005 udp:8003\n";
    let options = "\toption method 'one-time-list'\n\toption list_file 'FILE'\n\
         \tlist close 'tcp:9005'\n\tlist close 'tcp:9001'\n";
    let door = OneTime::new(list, options);
    let router = &door.net.router;
    door.setup.verb(router, "resync", &["ssh"]).ok();
    let _ssh = Service::tcp(&router.namespace, 22);
    let _agent = door.setup.start(router);
    for next in 1..=3 {
        door.opens();
        assert_eq!(door.next(), Some(next));
    }
    door.knock(&["--wait"]).ok();
    door.knock(&["--close", "--wait"]).ok();
    assert_eq!(door.next(), Some(4));
}

fn codes_of_the_clock_open_and_the_next_one_is_waited_for() {
    let options = "\toption method 'one-time-clock'\n\toption secret_file 'FILE'\n\
         \toption period '5s'\n\toption protocol 'udp'\n\toption payload 'stun'\n";
    let door = OneTime::new(SECRET, options);
    let router = &door.net.router;
    let _ssh = Service::tcp(&router.namespace, 22);
    door.setup.verb(router, "resync", &["ssh"]).ok();
    let _agent = door.setup.start(router);
    // Codes up to now count as used, so the first may be refused, and the next is not.
    door.opens();
    let first = door.next().expect("it is remembered");
    let said = door.knock(&["--wait"]);
    assert!(door.next().expect("it is remembered") > first);
    poll_until(SOON, "a grant", || {
        nft::expiry(&router.namespace, "inet postern", door.net.client.v4.into()).is_some()
    });
    said.ok();
}
