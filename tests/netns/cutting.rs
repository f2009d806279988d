//! What becomes of connections whose grants end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_tests::agent::{Guard, SSH_DOOR, Setup};
use postern_tests::probe;
use postern_tests::server::Service;
use postern_tests::session::Session;
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::{Family, LAN, Topology};
use postern_tests::wait::{SOON, poll_until, until_aged};
use postern_tests::{client, suite};

pub(crate) fn suite() -> Suite {
    suite![
        connections_end_with_their_grant_where_that_is_asked_for needs "knock",
        connections_live_on_where_it_is_not needs "knock",
        the_guard_cuts_without_an_agent needs "knock",
        the_firewall_forgets_what_was_cut needs "knock" "conntrack",
        closing_a_door_cuts needs "knock",
        whoever_closes_a_door_is_answered_when_the_connections_have_ended needs "knock" "conntrack",
        the_knocks_that_opened_a_door_cut_when_they_close_it needs "knock",
        a_prolonged_grant_cuts_nobody needs "knock",
    ]
}

const OPEN: [&str; 3] = ["7000", "8001:udp", "9002"];
const CLOSE: [&str; 2] = ["9003", "7004"];
const TCP: u16 = 2200;
const UDP: u16 = 51_820;

fn doors(engine: &str, grant: &str, on_expiry: &str) -> String {
    let guards = format!("list guard 'tcp:{TCP}'\n\tlist guard 'udp:{UDP}'");
    let door = SSH_DOOR.replace("list guard 'tcp:22'", &guards);
    let door = door.replace("30s", grant);
    format!("{door}\toption engine '{engine}'\n\toption on_expiry '{on_expiry}'\n")
}

/// Servers that echo.
fn servers(net: &Topology) -> [Service; 2] {
    let router = &net.router.namespace;
    [
        Service::tcp_echo(router, TCP),
        Service::udp_echo(router, UDP),
    ]
}

/// Where both services are.
fn ports(to: impl Fn(u16) -> SocketAddr) -> [SocketAddr; 2] {
    [TCP, UDP].map(to)
}

fn session(net: &Topology, family: Family) -> Session {
    Session::begin(
        &net.client.namespace,
        ports(|port| net.router.port(family, port)),
    )
}

fn knock_in(net: &Topology, family: Family) -> Session {
    let door = net.router.port(family, TCP);
    client::knock(&net.client, door.ip(), &OPEN);
    assert!(
        probe::tcp_opens(&net.client.namespace, door, SOON),
        "{family:?}"
    );
    session(net, family)
}

fn in_every_case(body: impl Fn(&Topology, Guard, &str, Family)) {
    for guard in Guard::BOTH {
        for engine in ["daemon", "chain", "track"] {
            for family in Family::BOTH {
                let case = (guard, engine, family);
                in_case_of(case, || body(&Topology::new(), guard, engine, family));
            }
        }
    }
}

fn wait_until_shut(net: &Topology, family: Family) {
    let door = net.router.port(family, TCP);
    assert!(probe::tcp_shuts(&net.client.namespace, door, SOON));
}

fn connections_end_with_their_grant_where_that_is_asked_for() {
    in_every_case(|net, guard, engine, family| {
        let neighbour = net.add_neighbour();
        let _servers = servers(net);
        let setup = Setup::new(&net.router, guard, &doors(engine, "3s", "cut"));
        let _agent = setup.start(&net.router);
        // Who was let in for longer, and who comes in where nobody guards.
        let stranger = net.stranger.address(family).to_string();
        let arguments = ["ssh", "--from", &stranger, "--for", "1h"];
        setup.verb(&net.router, "open", &arguments).ok();
        let others = Session::begin(
            &net.stranger.namespace,
            ports(|port| net.router.port(family, port)),
        );
        let lan = ports(|port| match family {
            Family::V4 => SocketAddr::new([198, 18, 0, 1].into(), port),
            Family::V6 => SocketAddr::new("2001:db8:1::1".parse().expect("an address"), port),
        });
        let inside = Session::begin(&neighbour.namespace, lan);
        let session = knock_in(net, family);
        session.wait_until_cut("its grant ended");
        others.expect_alive("another source");
        inside.expect_alive(LAN);
        knock_in(net, family).expect_alive("after another knock");
    });
}

fn connections_live_on_where_it_is_not() {
    in_every_case(|net, guard, engine, family| {
        let _servers = servers(net);
        let setup = Setup::new(&net.router, guard, &doors(engine, "2s", "keep"));
        let _agent = setup.start(&net.router);
        let session = knock_in(net, family);
        wait_until_shut(net, family);
        session.expect_alive("its grant ended");
    });
}

fn the_guard_cuts_without_an_agent() {
    in_every_case(|net, guard, engine, family| {
        let _servers = servers(net);
        let setup = Setup::new(&net.router, guard, &doors(engine, "3s", "cut"));
        let agent = setup.start(&net.router);
        let session = knock_in(net, family);
        agent.kill();
        session.expect_alive("its grant goes on");
        session.wait_until_cut("its grant ended");
    });
}

/// The connections of the router that `address` began, as `conntrack` lists them.
fn tracked(net: &Topology, family: Family) -> usize {
    let name = if family == Family::V4 { "ipv4" } else { "ipv6" };
    let client = net.client.address(family).to_string();
    let arguments = ["-L", "-f", name, "-s", &client];
    let said = net.router.namespace.run("conntrack", &arguments).ok();
    said.lines()
        .filter(|line| line.contains(&format!("dport={TCP}")))
        .count()
}

/// So that they do not come to life again when there is no guard.
fn the_firewall_forgets_what_was_cut() {
    in_every_case(|net, guard, engine, family| {
        if guard == Guard::Gate {
            return;
        }
        let _servers = servers(net);
        let setup = Setup::new(&net.router, guard, &doors(engine, "3s", "cut"));
        let _agent = setup.start(&net.router);
        let session = knock_in(net, family);
        assert!(tracked(net, family) > 0);
        poll_until(SOON * 2, "the connection is forgotten", || {
            tracked(net, family) == 0
        });
        drop(session);
    });
}

fn closing_a_door_cuts() {
    in_every_case(|net, guard, engine, family| {
        let _servers = servers(net);
        let setup = Setup::new(&net.router, guard, &doors(engine, "20s", "cut"));
        let agent = setup.start(&net.router);
        let door = net.router.port(family, TCP);
        let client_address = net.client.address(family).to_string();
        // By its closing knocks.
        let session = knock_in(net, family);
        client::knock(&net.client, door.ip(), &CLOSE);
        session.wait_until_cut("closed by knocks");
        // By hand.
        let session = knock_in(net, family);
        let arguments = ["ssh", "--from", &client_address];
        setup.verb(&net.router, "close", &arguments).ok();
        session.wait_until_cut("closed by hand");
        // Without an agent.
        let session = knock_in(net, family);
        agent.kill();
        setup.verb(&net.router, "close", &["ssh"]).ok();
        session.wait_until_cut("closed without an agent");
    });
}

fn whoever_closes_a_door_is_answered_when_the_connections_have_ended() {
    let (net, family) = (Topology::new(), Family::V4);
    let _servers = servers(&net);
    let setup = Setup::new(&net.router, Guard::Mark, &doors("daemon", "20s", "cut"));
    let _agent = setup.start(&net.router);
    let session = knock_in(&net, family);
    assert!(tracked(&net, family) > 0);
    setup.verb(&net.router, "close", &["ssh"]).ok();
    assert_eq!(tracked(&net, family), 0);
    drop(session);
}

fn the_knocks_that_opened_a_door_cut_when_they_close_it() {
    in_every_case(|net, guard, engine, family| {
        let _servers = servers(net);
        let closing: String = ["tcp:9003", "tcp:7004"]
            .map(|port| format!("\tlist close '{port}'\n"))
            .concat();
        let doors = doors(engine, "20s", "cut");
        assert!(doors.contains(&closing));
        let switch = doors.replace(&closing, "").replace("separate", "same");
        let setup = Setup::new(&net.router, guard, &switch);
        let _agent = setup.start(&net.router);
        let session = knock_in(net, family);
        client::knock(&net.client, net.router.address(family), &OPEN);
        session.wait_until_cut("switched off");
    });
}

fn a_prolonged_grant_cuts_nobody() {
    for guard in Guard::BOTH {
        in_case_of(guard, || {
            let net = Topology::new();
            let _servers = servers(&net);
            let setup = Setup::new(&net.router, guard, &doors("daemon", "3s", "cut"));
            let agent = setup.start(&net.router);
            let session = knock_in(&net, Family::V4);
            // Longer by hand, then the end of what the knocks had let in.
            let client = net.client.v4.to_string();
            let arguments = ["ssh", "--from", &client, "--for", "6s"];
            agent.hang();
            setup.verb(&net.router, "open", &arguments).ok();
            agent.go_on();
            let begun = Instant::now();
            until_aged(begun, Duration::from_secs(4));
            session.expect_alive("its grant was prolonged");
            session.wait_until_cut("the longer one ended");
        });
    }
}
