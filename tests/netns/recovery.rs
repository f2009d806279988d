//! The ways back in for someone at the console, with the agent alive and with the agent dead.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use postern_tests::agent::{Agent, Guard, SSH_DOOR, Setup};
use postern_tests::probe::{self, Answer};
use postern_tests::server::Service;
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        open_lets_anyone_in_and_close_shuts_again,
        open_from_an_address_lets_only_that_in,
        open_on_an_interface_lets_in_whoever_is_there,
        open_for_a_time_shuts_by_itself,
        a_locked_door_lets_nobody_in_until_it_is_unlocked,
        every_door_is_switched_at_once,
        remove_takes_the_guard_away,
        deleting_the_table_takes_the_guard_away_unless_an_agent_lives,
        opening_a_door_that_does_not_exist_fails,
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Alive,
    Dead,
    /// Stopped, with as many callers before the verbs as its queue takes.
    Hanging,
}

const STATES: [State; 3] = [State::Alive, State::Dead, State::Hanging];
/// The queue of the control socket holds one more than it was asked for.
const QUEUE: usize = 17;

/// Runs `body` on a router whose agent lives, was killed or hangs, under the guards that it asks
/// for.
fn with_agent(guards: &[Guard], body: impl Fn(&Topology, &Setup)) {
    in_each_state(guards, |net, setup, _| body(net, setup));
}

/// Runs `body` as [`with_agent`] does, and tells it whether the agent lives.
fn in_each_state(guards: &[Guard], body: impl Fn(&Topology, &Setup, State)) {
    for (guard, state) in guards
        .iter()
        .flat_map(|guard| STATES.map(|state| (*guard, state)))
    {
        in_case_of((guard, state), || {
            let net = Topology::new();
            let _ssh = Service::tcp(&net.router.namespace, 22);
            let setup = Setup::new(&net.router, guard, SSH_DOOR);
            let agent = Some(setup.start(&net.router));
            let mut callers = Vec::new();
            let _alive = agent.and_then(|agent| match state {
                State::Alive => Some(agent),
                State::Hanging => {
                    agent.hang();
                    let call = || UnixStream::connect(setup.path("control")).expect("a queue");
                    callers.extend((0..QUEUE).map(|_| call()));
                    Some(agent)
                }
                State::Dead => {
                    Agent::kill(agent);
                    None
                }
            });
            expect_shut(&net);
            body(&net, &setup, state);
        });
    }
}

fn expect_shut(net: &Topology) {
    for family in Family::BOTH {
        let ssh = net.router.port(family, 22);
        assert!(
            probe::tcp_shuts(&net.stranger.namespace, ssh, SOON),
            "{family:?}"
        );
    }
}

fn expect_open(net: &Topology) {
    for family in Family::BOTH {
        let ssh = net.router.port(family, 22);
        assert!(
            probe::tcp_opens(&net.stranger.namespace, ssh, SOON),
            "{family:?}"
        );
    }
}

fn open_lets_anyone_in_and_close_shuts_again() {
    with_agent(&Guard::BOTH, |net, setup| {
        setup.verb(&net.router, "open", &["ssh"]).ok();
        expect_open(net);
        setup.verb(&net.router, "close", &["ssh"]).ok();
        expect_shut(net);
    });
}

fn open_from_an_address_lets_only_that_in() {
    with_agent(&Guard::BOTH, |net, setup| {
        for family in Family::BOTH {
            let (ssh, client) = (
                net.router.port(family, 22),
                net.client.address(family).to_string(),
            );
            setup
                .verb(&net.router, "open", &["ssh", "--from", &client])
                .ok();
            assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
            assert_eq!(probe::tcp(&net.stranger.namespace, ssh), Answer::Silent);
            setup
                .verb(&net.router, "close", &["ssh", "--from", &client])
                .ok();
            assert!(probe::tcp_shuts(&net.client.namespace, ssh, SOON));
        }
    });
}

fn open_for_a_time_shuts_by_itself() {
    with_agent(&[Guard::Gate], |net, setup| {
        let client = net.client.v4.to_string();
        setup
            .verb(
                &net.router,
                "open",
                &["ssh", "--from", &client, "--for", "2s"],
            )
            .ok();
        let left = nft::expiry(&net.router.namespace, "inet postern", net.client.v4.into());
        let left = left.expect("a grant");
        assert!(left <= Duration::from_secs(2), "{left:?}");
        let ssh = net.router.port(Family::V4, 22);
        assert_eq!(probe::tcp(&net.client.namespace, ssh), Answer::Open);
        assert!(probe::tcp_shuts(&net.client.namespace, ssh, SOON));
        setup
            .verb(&net.router, "open", &["ssh", "--for", "1s"])
            .ok();
        expect_open(net);
        expect_shut(net);
    });
}

fn a_locked_door_lets_nobody_in_until_it_is_unlocked() {
    in_each_state(&Guard::BOTH, |net, setup, state| {
        let verb = |verb: &str, arguments: &[&str]| setup.verb(&net.router, verb, arguments).ok();
        verb("open", &["ssh", "--for", "1h"]);
        expect_open(net);
        assert!(verb("lock", &["ssh"]).contains("until 'postern unlock ssh'"));
        expect_shut(net);
        let said = verb("open", &["ssh", "--from", &net.client.v4.to_string()]);
        assert!(said.contains("but it is locked"), "{said}");
        let ssh = net.router.port(Family::V4, 22);
        assert_eq!(probe::tcp(&net.client.namespace, ssh), Answer::Silent);
        if state != State::Hanging {
            let status = |arguments: &[&str]| setup.verb(&net.router, "status", arguments).stdout;
            assert!(status(&[]).contains("LOCKED until"));
            assert!(status(&["--json"]).contains("\"locked\":true"));
        }
        assert_eq!(verb("unlock", &["ssh"]), "door ssh is unlocked\n");
        expect_open(net);
        assert_eq!(verb("unlock", &["ssh"]), "door ssh was not locked\n");
        assert_eq!(setup.verb(&net.router, "lock", &["gate"]).status, 1);
        expect_open(net);
    });
}

fn every_door_is_switched_at_once() {
    let web = SSH_DOOR
        .replace("'ssh'", "'web'")
        .replace("tcp:22'", "tcp:8080'");
    let web = ["7000", "8001", "9002", "9003", "7004"]
        .iter()
        .fold(web, |web, port| web.replace(port, &format!("1{port}")));
    for state in STATES {
        in_case_of(state, || {
            let net = Topology::new();
            let _services = [22, 8080].map(|port| Service::tcp(&net.router.namespace, port));
            let setup = Setup::new(&net.router, Guard::Gate, &format!("{SSH_DOOR}{web}"));
            let agent = setup.start(&net.router);
            let _alive = match state {
                State::Alive => Some(agent),
                State::Hanging => {
                    agent.hang();
                    Some(agent)
                }
                State::Dead => {
                    Agent::kill(agent);
                    None
                }
            };
            let expect = |answer: Answer, after: &str| {
                for port in [22, 8080] {
                    let door = net.router.port(Family::V6, port);
                    let seen = probe::tcp(&net.stranger.namespace, door);
                    assert_eq!(seen, answer, "{port} after {after}");
                }
            };
            for (verb, arguments, answer) in [
                ("close", &["--all"][..], Answer::Silent),
                ("open", &["--all", "--for", "1h"], Answer::Open),
                ("lock", &[], Answer::Silent),
                ("unlock", &[], Answer::Open),
                ("close", &["--all"], Answer::Silent),
            ] {
                setup.verb(&net.router, verb, arguments).ok();
                expect(answer, verb);
            }
        });
    }
}

fn remove_takes_the_guard_away() {
    with_agent(&[Guard::Gate], |net, setup| {
        setup.verb(&net.router, "remove", &[]).ok();
        expect_open(net);
        assert_eq!(nft::table(&net.router.namespace, "inet postern"), None);
        // Where there is nothing to remove, it is removed already.
        setup.verb(&net.router, "remove", &[]).ok();
    });
}

fn deleting_the_table_takes_the_guard_away_unless_an_agent_lives() {
    in_each_state(&[Guard::Gate], |net, setup, state| {
        nft::apply(&net.router.namespace, "delete table inet postern");
        if state != State::Alive {
            return expect_open(net);
        }
        let said = || setup.log_so_far().contains("deleted the guard: it is back");
        poll_until(SOON, "the agent puts it back", said);
        expect_shut(net);
    });
}

fn opening_a_door_that_does_not_exist_fails() {
    with_agent(&[Guard::Gate], |net, setup| {
        let said = setup.verb(&net.router, "open", &["gate"]);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.stderr.contains("gate"), "{said:?}");
        expect_shut(net);
    });
}

fn open_on_an_interface_lets_in_whoever_is_there() {
    with_agent(&[Guard::Gate], |net, setup| {
        let neighbour = net.add_neighbour();
        let text = std::fs::read_to_string(setup.config()).expect("a configuration");
        let both = "\tlist interface 'wan'\n\tlist interface 'lan'\n";
        setup.rewrite_whole(&text.replace("\tlist interface 'wan'\n", both));
        let lan = "198.18.0.1:22".parse().expect("an address");
        // A hanging agent does not take the configuration over; the kernel does as it is told.
        if setup.verb(&net.router, "apply", &[]).status != 0 {
            return;
        }
        assert_eq!(probe::tcp(&neighbour.namespace, lan), Answer::Silent);
        let said = setup.verb(&net.router, "open", &["ssh", "--on", "lan", "--for", "60s"]);
        assert_eq!(said.ok(), "door ssh is open for everyone on lan for 1m\n");
        assert!(probe::tcp_opens(&neighbour.namespace, lan, SOON));
        expect_shut(net);
        let said = setup.verb(&net.router, "open", &["ssh", "--on", "eth9"]);
        assert!(
            said.status == 1 && said.stderr.contains("does not concern"),
            "{said:?}"
        );
        let arguments = ["ssh", "--on", "lan", "--from", "192.0.2.2"];
        assert_eq!(setup.verb(&net.router, "open", &arguments).status, 2);
    });
}
