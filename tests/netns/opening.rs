//! A door opens to those who knock, and to nobody else, for as long as was configured.

use std::io::{BufRead as _, BufReader, Write as _};
use std::time::Duration;

use postern_tests::agent::{Guard, SSH_DOOR, Setup};
use postern_tests::probe::{self, Answer};
use postern_tests::server::{Service, Sshd};
use postern_tests::suite::{Suite, everywhere};
use postern_tests::topology::{Family, Host, Topology};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{client, nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        a_knock_opens_for_the_one_who_knocked needs "knock",
        sequences_of_either_protocol_and_of_both_open needs "knock",
        a_grant_expires_in_the_kernel needs "knock",
        knocking_again_renews_the_grant needs "knock",
        an_ssh_session_outlives_its_grant needs "knock" "sshd" "ssh" "ssh-keygen",
        the_close_sequence_withdraws_the_grant needs "knock",
        only_the_named_interface_is_guarded,
        knocks_on_another_interface_are_not_heard needs "knock",
        ports_that_no_door_guards_are_left_alone,
    ]
}

const OPEN: [&str; 3] = ["7000", "8001:udp", "9002"];
const CLOSE: [&str; 2] = ["9003", "7004"];

fn a_knock_opens_for_the_one_who_knocked() {
    everywhere(|net, guard, family| {
        let _ssh = Service::tcp(&net.router.namespace, 22);
        let setup = Setup::new(&net.router, guard, SSH_DOOR);
        let _agent = setup.start(&net.router);
        let ssh = net.router.port(family, 22);
        assert_eq!(probe::tcp(&net.client.namespace, ssh), Answer::Silent);
        client::knock(&net.client, ssh.ip(), &OPEN);
        assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
        assert_eq!(probe::tcp(&net.stranger.namespace, ssh), Answer::Silent);
        let other = if family == Family::V4 {
            Family::V6
        } else {
            Family::V4
        };
        let other_address = net.router.port(other, 22);
        assert_eq!(
            probe::tcp(&net.client.namespace, other_address),
            Answer::Silent
        );
    });
}

fn sequences_of_either_protocol_and_of_both_open() {
    let net = Topology::new();
    let ports = [2201_u16, 2202, 2203];
    let _services = ports.map(|port| Service::tcp(&net.router.namespace, port));
    let sequences: [&[&str]; 3] = [
        &["7101", "7102", "7103"],
        &["7101:udp", "7102:udp", "7103:udp"],
        &["7201:udp", "7202", "7203:udp", "7204"],
    ];
    let door = |(port, knocks): (u16, &[&str])| {
        let open = knocks.iter().map(|knock| match knock.strip_suffix(":udp") {
            Some(port) => format!("\tlist open 'udp:{port}'\n"),
            None => format!("\tlist open 'tcp:{knock}'\n"),
        });
        let open: String = open.collect();
        format!(
            "config door 'd{port}'\n\tlist guard 'tcp:{port}'\n\toption method 'sequence-separate'\n\
             {open}\toption window '10s'\n\toption grant '30s'\n"
        )
    };
    let doors: String = ports.into_iter().zip(sequences).map(door).collect();
    let setup = Setup::new(&net.router, Guard::Gate, &doors);
    let _agent = setup.start(&net.router);
    for family in Family::BOTH {
        for (port, knocks) in ports.into_iter().zip(sequences) {
            let service = net.router.port(family, port);
            assert_eq!(probe::tcp(&net.client.namespace, service), Answer::Silent);
            client::knock(&net.client, service.ip(), knocks);
            assert!(
                probe::tcp_opens(&net.client.namespace, service, SOON),
                "{knocks:?}"
            );
        }
    }
}

fn a_grant_expires_in_the_kernel() {
    everywhere(|net, guard, family| {
        let _ssh = Service::tcp(&net.router.namespace, 22);
        let setup = Setup::new(&net.router, guard, &SSH_DOOR.replace("30s", "2s"));
        let _agent = setup.start(&net.router);
        let ssh = net.router.port(family, 22);
        client::knock(&net.client, ssh.ip(), &OPEN);
        assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
        let left = grant(net, family).expect("a grant");
        assert!(left <= Duration::from_secs(2), "{left:?}");
        assert!(probe::tcp_shuts(&net.client.namespace, ssh, SOON));
        assert_eq!(grant(net, family), None);
    });
}

fn knocking_again_renews_the_grant() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let _agent = setup.start(&net.router);
    let renewed = Duration::from_millis(29_500);
    client::knock(&net.client, net.router.v4.into(), &OPEN);
    poll_until(SOON, "a grant", || grant(&net, Family::V4).is_some());
    poll_until(SOON, "the grant grows older", || {
        grant(&net, Family::V4).is_some_and(|left| left < renewed)
    });
    client::knock(&net.client, net.router.v4.into(), &OPEN);
    poll_until(SOON, "the grant is new again", || {
        grant(&net, Family::V4).is_some_and(|left| left > renewed)
    });
}

fn an_ssh_session_outlives_its_grant() {
    everywhere(|net, guard, family| {
        let server = Sshd::start(&net.router.namespace, 22);
        let setup = Setup::new(&net.router, guard, &SSH_DOOR.replace("30s", "2s"));
        let _agent = setup.start(&net.router);
        let ssh = net.router.port(family, 22);
        client::knock(&net.client, ssh.ip(), &OPEN);
        assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
        let mut session = client::ssh_session(&net.client, ssh.ip(), &server, "cat");
        let mut input = session.child().stdin.take().expect("a pipe");
        let mut output = BufReader::new(session.child().stdout.take().expect("a pipe"));
        let mut echo = |line: &str| {
            writeln!(input, "{line}").expect("write to the session");
            let mut echoed = String::new();
            output
                .read_line(&mut echoed)
                .expect("read from the session");
            assert_eq!(echoed.trim_end(), line);
        };
        echo("while the door is open");
        assert!(probe::tcp_shuts(&net.client.namespace, ssh, SOON));
        echo("after it was shut");
    });
}

fn the_close_sequence_withdraws_the_grant() {
    everywhere(|net, guard, family| {
        let _ssh = Service::tcp(&net.router.namespace, 22);
        let setup = Setup::new(&net.router, guard, SSH_DOOR);
        let _agent = setup.start(&net.router);
        let ssh = net.router.port(family, 22);
        for host in [&net.client, &net.stranger] {
            client::knock(host, ssh.ip(), &OPEN);
            assert!(probe::tcp_opens(&host.namespace, ssh, SOON));
        }
        client::knock(&net.client, ssh.ip(), &CLOSE);
        assert!(probe::tcp_shuts(&net.client.namespace, ssh, SOON));
        assert_eq!(probe::tcp(&net.stranger.namespace, ssh), Answer::Open);
        client::knock(&net.client, ssh.ip(), &OPEN);
        assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
    });
}

fn only_the_named_interface_is_guarded() {
    for guard in Guard::BOTH {
        let net = Topology::new();
        let neighbour = net.add_neighbour();
        let router = &net.router.namespace;
        let _ssh = Service::tcp(router, 22);
        let setup = Setup::new(&net.router, guard, SSH_DOOR);
        let _agent = setup.start(&net.router);
        for (from, to) in [
            (router, "127.0.0.1:22"),
            (router, "[::1]:22"),
            (&neighbour.namespace, "198.18.0.1:22"),
            (&neighbour.namespace, "[2001:db8:1::1]:22"),
        ] {
            assert!(
                probe::tcp_opens(from, to.parse().expect("an address"), SOON),
                "{to}"
            );
        }
        assert_eq!(
            probe::tcp(&net.client.namespace, net.router.port(Family::V4, 22)),
            Answer::Silent
        );
    }
}

fn knocks_on_another_interface_are_not_heard() {
    let net = Topology::new();
    let neighbour = net.add_neighbour();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let _agent = setup.start(&net.router);
    client::knock(&neighbour, net.router.v4.into(), &OPEN);
    // Knocks are decided in the order of their arrival, so this one tells that the others were.
    client::knock(&net.client, net.router.v4.into(), &OPEN);
    poll_until(SOON, "the client's grant", || {
        grant(&net, Family::V4).is_some()
    });
    assert_eq!(granted(&net, &neighbour, Family::V4), None);
}

fn ports_that_no_door_guards_are_left_alone() {
    let net = Topology::new();
    let router = &net.router.namespace;
    let _services = [Service::tcp(router, 80), Service::udp_echo(router, 53)];
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let _agent = setup.start(&net.router);
    for family in Family::BOTH {
        let from = &net.stranger.namespace;
        assert_eq!(probe::tcp(from, net.router.port(family, 80)), Answer::Open);
        assert_eq!(
            probe::tcp(from, net.router.port(family, 81)),
            Answer::Refused
        );
        assert_eq!(probe::udp(from, net.router.port(family, 53)), Answer::Open);
        // The same number under the other protocol is another port.
        assert_eq!(
            probe::udp(from, net.router.port(family, 22)),
            Answer::Refused
        );
    }
}

fn grant(net: &Topology, family: Family) -> Option<Duration> {
    granted(net, &net.client, family)
}

fn granted(net: &Topology, host: &Host, family: Family) -> Option<Duration> {
    nft::expiry(&net.router.namespace, "inet postern", host.address(family))
}
