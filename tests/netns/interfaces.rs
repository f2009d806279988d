//! Names that stand for other interfaces than those that have them: what is guarded, and what is refused.

use std::fs;

use postern_tests::agent::{Agent, Guard, SSH_DOOR, Setup};
use postern_tests::probe::{self, Answer};
use postern_tests::server::Service;
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::{Family, Host, Topology};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{client, nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        an_alternative_name_guards_its_interface needs "knock",
        an_alternative_name_that_comes_later_is_followed,
        what_a_name_stood_for_stays_guarded,
        a_port_of_a_bridge_guards_the_bridge needs "knock",
        a_port_is_followed_into_a_bridge_and_out_of_it needs "knock",
        a_trial_and_a_lock_move_along,
        names_that_are_none_are_refused_with_a_cure,
        a_reload_with_a_wrong_name_keeps_the_guard,
        a_door_is_opened_on_what_a_name_stands_for,
        without_an_agent_nothing_is_followed_and_that_is_said,
    ]
}

const OPEN: [&str; 3] = ["7000", "8001:udp", "9002"];

/// A setup whose configuration names this interface in place of `wan`.
fn setup(net: &Topology, name: &str, source: &str) -> Setup {
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    setup.hear_by(&format!("\toption source '{source}'\n"));
    setup.rewrite(SSH_DOOR);
    rename(&setup, "wan", name);
    setup
}

fn rename(setup: &Setup, name: &str, other: &str) {
    let text = fs::read_to_string(setup.config()).expect("a configuration");
    let line = |name: &str| format!("list interface '{name}'");
    setup.rewrite_whole(&text.replace(&line(name), &line(other)));
}

fn ip(net: &Topology, lines: &str) {
    net.router.namespace.ip_batch(lines);
}

/// Makes a bridge with the router's addresses, and `wan` a port of it.
fn enslave(net: &Topology) {
    let (v4, v6) = (net.router.v4, net.router.v6);
    ip(
        net,
        &format!(
            "link add br0 type bridge stp_state 0 mcast_snooping 0\n\
             link set wan master br0\n\
             address flush dev wan\n\
             link set br0 up\n\
             address add {v4}/24 dev br0\n\
             address add {v6}/64 dev br0 nodad\n"
        ),
    );
    arrive(net);
}

fn free(net: &Topology) {
    let (v4, v6) = (net.router.v4, net.router.v6);
    ip(
        net,
        &format!(
            "link set wan nomaster\n\
             address flush dev br0\n\
             address add {v4}/24 dev wan\n\
             address add {v6}/64 dev wan nodad\n"
        ),
    );
    arrive(net);
}

fn arrive(net: &Topology) {
    for host in [&net.client, &net.stranger] {
        host.namespace.ip_batch("neighbour flush dev eth0\n");
    }
    net.settle();
}

fn answers(from: &Host, net: &Topology, family: Family) -> Answer {
    probe::tcp(&from.namespace, net.router.port(family, 22))
}

fn expect(net: &Topology, client: Answer, stranger: Answer) {
    for family in Family::BOTH {
        assert_eq!(answers(&net.client, net, family), client, "{family:?}");
        assert_eq!(answers(&net.stranger, net, family), stranger, "{family:?}");
    }
}

fn knock_in(net: &Topology) {
    for family in Family::BOTH {
        let ssh = net.router.port(family, 22);
        client::knock(&net.client, ssh.ip(), &OPEN);
        assert!(
            probe::tcp_opens(&net.client.namespace, ssh, SOON),
            "{family:?}"
        );
        assert_eq!(answers(&net.stranger, net, family), Answer::Silent);
    }
}

fn wait_for_move(agent: &Agent<'_>, to: &str, times: usize) {
    let line = format!("the guard moved: it is on {to}\n");
    // It rests for 16 times as long as the look before took, which is long on a busy machine.
    poll_until(SOON * 4, &line, || {
        agent.log().matches(&line).count() == times
    });
}

fn says(setup: &Setup, net: &Topology, agent: &Agent<'_>, meaning: &str) {
    assert!(agent.log().contains(meaning), "{}", agent.log());
    let status = setup.verb(&net.router, "status", &[]).ok();
    assert!(status.contains(meaning), "{status}");
    let check = setup.verb(&net.router, "check", &[]);
    assert!(check.stderr.contains(meaning), "{}", check.stderr);
}

fn an_alternative_name_guards_its_interface() {
    for source in ["nflog", "packet", "sockets"] {
        in_case_of(source, || {
            let net = Topology::new();
            let _ssh = Service::tcp(&net.router.namespace, 22);
            ip(&net, "link property add dev wan altname enp1s0\n");
            let setup = setup(&net, "enp1s0", source);
            let agent = setup.start(&net.router);
            expect(&net, Answer::Silent, Answer::Silent);
            knock_in(&net);
            says(&setup, &net, &agent, "interface enp1s0 is device wan\n");
            let status = setup.verb(&net.router, "status", &["--json"]).ok();
            let names =
                "\"interfaces\":[\"wan\"],\"names\":[{\"name\":\"enp1s0\",\"devices\":[\"wan\"]}]";
            assert!(status.contains(names), "{status}");
        });
    }
}

fn an_alternative_name_that_comes_later_is_followed() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = setup(&net, "enp1s0", "nflog");
    let agent = setup.start(&net.router);
    let missing = "interface enp1s0 is not there; it is guarded once it comes";
    assert!(agent.log().contains(missing), "{}", agent.log());
    expect(&net, Answer::Open, Answer::Open);
    ip(&net, "link property add dev wan altname enp1s0\n");
    wait_for_move(&agent, "wan", 1);
    expect(&net, Answer::Silent, Answer::Silent);
    // As its own name, too.
    ip(
        &net,
        "link property del dev wan altname enp1s0\nlink set wan down\nlink set wan name enp1s0 up\n",
    );
    wait_for_move(&agent, "enp1s0", 1);
    let v6 = net.router.v6;
    ip(&net, &format!("address replace {v6}/64 dev enp1s0 nodad\n"));
    net.settle();
    expect(&net, Answer::Silent, Answer::Silent);
}

fn what_a_name_stood_for_stays_guarded() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    ip(&net, "link property add dev wan altname enp1s0\n");
    let setup = setup(&net, "enp1s0", "nflog");
    let agent = setup.start(&net.router);
    ip(&net, "link property del dev wan altname enp1s0\n");
    let stays = "interface enp1s0 is not there any more: the guard of wan stays";
    poll_until(SOON, stays, || agent.log().contains(stays));
    expect(&net, Answer::Silent, Answer::Silent);
    agent.reload_now();
    expect(&net, Answer::Silent, Answer::Silent);
    // Made anew, without the name.
    net.unplug_router();
    net.plug_router();
    expect(&net, Answer::Silent, Answer::Silent);
    assert_eq!(agent.log().matches(stays).count(), 2, "{}", agent.log());
}

fn a_port_of_a_bridge_guards_the_bridge() {
    for source in ["nflog", "packet", "sockets"] {
        in_case_of(source, || {
            let net = Topology::new();
            let _ssh = Service::tcp(&net.router.namespace, 22);
            enslave(&net);
            let setup = setup(&net, "wan", source);
            let agent = setup.start(&net.router);
            expect(&net, Answer::Silent, Answer::Silent);
            knock_in(&net);
            assert_eq!(setup.counter(&net.router, "matched"), 6);
            let part = "wan is a part of br0, where its packets arrive: all of br0 is guarded";
            says(&setup, &net, &agent, part);
        });
    }
}

fn a_port_is_followed_into_a_bridge_and_out_of_it() {
    for source in ["nflog", "packet", "sockets"] {
        in_case_of(source, || {
            let net = Topology::new();
            let _ssh = Service::tcp(&net.router.namespace, 22);
            let setup = setup(&net, "wan", source);
            let agent = setup.start(&net.router);
            knock_in(&net);
            enslave(&net);
            wait_for_move(&agent, "wan, br0", 1);
            // With its grants.
            expect(&net, Answer::Open, Answer::Silent);
            setup.verb(&net.router, "close", &["ssh"]).ok();
            expect(&net, Answer::Silent, Answer::Silent);
            knock_in(&net);
            free(&net);
            wait_for_move(&agent, "wan", 1);
            expect(&net, Answer::Open, Answer::Silent);
            setup.verb(&net.router, "close", &["ssh"]).ok();
            knock_in(&net);
        });
    }
}

fn a_trial_and_a_lock_move_along() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = setup(&net, "wan", "nflog");
    let agent = setup.start(&net.router);
    let trial = ["--confirm-within", "5m"];
    setup.verb(&net.router, "apply", &trial).ok();
    let open = ["ssh", "--for", "1h"];
    setup.verb(&net.router, "open", &open).ok();
    setup.verb(&net.router, "lock", &[]).ok();
    enslave(&net);
    wait_for_move(&agent, "wan, br0", 1);
    let status = setup.verb(&net.router, "status", &[]).ok();
    assert!(status.contains("guard: ON TRIAL"), "{status}");
    expect(&net, Answer::Silent, Answer::Silent);
    setup.verb(&net.router, "confirm", &["--anyway"]).ok();
    free(&net);
    wait_for_move(&agent, "wan", 1);
    let status = setup.verb(&net.router, "status", &[]).ok();
    assert!(!status.contains("TRIAL"), "{status}");
    expect(&net, Answer::Silent, Answer::Silent);
}

fn names_that_are_none_are_refused_with_a_cure() {
    let net = Topology::new();
    for (name, cure) in [
        ("wan+", "expected the name of each"),
        ("any", "expected the name of each"),
        ("all", "expected the name of each"),
        ("*", "expected the name of each"),
        ("wan@if5", "expected the name alone"),
        ("wan:1", "expected the name alone"),
        ("WAN", "letter case matters, write wan"),
        ("Wan", "letter case matters, write wan"),
    ] {
        let setup = setup(&net, name, "nflog");
        for verb in ["check", "apply", "render", "doctor"] {
            let said = setup.verb(&net.router, verb, &[]);
            assert!(said.status != 0, "{verb} {name}");
            assert!(said.stderr.contains(cure), "{verb} {name}: {}", said.stderr);
        }
        let said = setup.run_to_its_end(&net.router);
        assert!(said.stderr.contains(cure), "{name}: {}", said.stderr);
        let on = ["ssh", "--on", name];
        let said = setup.verb(&net.router, "open", &on);
        assert!(said.status != 0, "open --on {name}");
    }
    assert_eq!(nft::table(&net.router.namespace, "inet postern"), None);
}

fn a_reload_with_a_wrong_name_keeps_the_guard() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = setup(&net, "wan", "nflog");
    let agent = setup.start(&net.router);
    for (number, (name, other)) in (1..).zip([("wan", "WAN"), ("WAN", "wan+"), ("wan+", "any")]) {
        rename(&setup, name, other);
        agent.reload();
        poll_until(SOON, "a complaint", || {
            let stays = "the running configuration stays";
            agent.log().matches(stays).count() == number
        });
        expect(&net, Answer::Silent, Answer::Silent);
    }
    // Nor does what is refused now become what is followed.
    enslave(&net);
    wait_for_move(&agent, "wan, br0", 1);
    expect(&net, Answer::Silent, Answer::Silent);
}

fn a_door_is_opened_on_what_a_name_stands_for() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    ip(&net, "link property add dev wan altname enp1s0\n");
    let setup = setup(&net, "wan", "nflog");
    let agent = setup.start(&net.router);
    let open = |name: &str| {
        let on = ["ssh", "--on", name, "--for", "1h"];
        setup.verb(&net.router, "open", &on)
    };
    assert_eq!(
        open("enp1s0").ok(),
        "door ssh is open for everyone on wan for 1h\n"
    );
    expect(&net, Answer::Open, Answer::Open);
    setup.verb(&net.router, "close", &["ssh"]).ok();
    enslave(&net);
    wait_for_move(&agent, "wan, br0", 1);
    // More would be let in than asked.
    let said = open("wan");
    assert!(
        said.status != 0 && said.stderr.contains("'--on br0'"),
        "{said:?}"
    );
    expect(&net, Answer::Silent, Answer::Silent);
    open("br0").ok();
    expect(&net, Answer::Open, Answer::Open);
}

fn without_an_agent_nothing_is_followed_and_that_is_said() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    enslave(&net);
    let setup = setup(&net, "wan", "nflog");
    let said = setup.verb(&net.router, "apply", &[]);
    let warning = "no agent is running: the guard does not follow interfaces that change";
    assert!(said.stderr.contains(warning), "{}", said.stderr);
    assert!(
        said.stderr.contains("wan is a part of br0"),
        "{}",
        said.stderr
    );
    said.ok();
    expect(&net, Answer::Silent, Answer::Silent);
}
