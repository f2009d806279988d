//! What others do to the firewall and to interfaces while the agent guards.

use std::time::Duration;

use postern_tests::agent::{Agent, FIREWALL, Guard, SSH_DOOR, Setup};
use postern_tests::probe::{self, Answer};
use postern_tests::server::Service;
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::{Family, Topology, WAN};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{client, nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        a_guard_that_is_flushed_comes_back_with_its_grants needs "knock",
        a_lock_comes_back_too,
        every_change_is_undone,
        a_trial_comes_back_with_the_time_that_it_had_left,
        a_flushed_trial_that_was_confirmed_comes_back_for_good,
        whoever_does_not_stop_is_waited_for,
        what_another_verb_did_is_respected needs "knock",
        what_is_none_of_its_business_is_let_be,
        interfaces_are_guarded_whenever_they_come needs "knock",
    ]
}

const OPEN: [&str; 3] = ["7000", "8001:udp", "9002"];
const TABLE: &str = "inet postern";
const DELETE: &str = "delete table inet postern";

fn rules(net: &Topology) -> Option<String> {
    nft::settled_table(&net.router.namespace, TABLE)
}

fn wait_until_back(net: &Topology, rules_before: &Option<String>, after: &str) {
    poll_until(SOON, &format!("the guard is back after: {after}"), || {
        rules(net) == *rules_before
    });
}

fn said(agent: &Agent<'_>, what: &str) -> usize {
    agent.log().matches(what).count()
}

fn expect(net: &Topology, family: Family, client: Answer, stranger: Answer) {
    let ssh = net.router.port(family, 22);
    assert_eq!(probe::tcp(&net.client.namespace, ssh), client, "{family:?}");
    assert_eq!(probe::tcp(&net.stranger.namespace, ssh), stranger);
}

fn a_guard_that_is_flushed_comes_back_with_its_grants() {
    for guard in Guard::BOTH {
        in_case_of(guard, || {
            let net = Topology::new();
            let router = &net.router.namespace;
            let _ssh = Service::tcp(router, 22);
            let setup = Setup::new(&net.router, guard, SSH_DOOR);
            let mut agent = setup.start(&net.router);
            let ssh = net.router.port(Family::V4, 22);
            client::knock(&net.client, ssh.ip(), &OPEN);
            assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
            let by_hand = net.client.v6.to_string();
            let arguments = ["ssh", "--from", &by_hand, "--for", "1h"];
            setup.verb(&net.router, "open", &arguments).ok();
            let before = nft::expiry(router, TABLE, net.client.v4.into()).expect("a grant");
            let firewall = if guard == Guard::Mark { FIREWALL } else { "" };
            nft::apply(router, &format!("flush ruleset\n{firewall}"));
            agent.wait_for_line("postern: nft (process ");
            poll_until(SOON, "it is back", || rules(&net).is_some());
            let after = nft::expiry(router, TABLE, net.client.v4.into()).expect("a grant");
            assert!(
                after < before && after > Duration::from_secs(15),
                "{after:?}"
            );
            for family in Family::BOTH {
                expect(&net, family, Answer::Open, Answer::Silent);
            }
            setup.verb(&net.router, "close", &["ssh"]).ok();
            nft::apply(router, DELETE);
            poll_until(SOON, "it is back again", || said(&agent, "it is back") == 2);
            for family in Family::BOTH {
                expect(&net, family, Answer::Silent, Answer::Silent);
            }
        });
    }
}

fn a_lock_comes_back_too() {
    let net = Topology::new();
    let router = &net.router.namespace;
    let _ssh = Service::tcp(router, 22);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let agent = setup.start(&net.router);
    let expect_both = |answer| expect(&net, Family::V4, answer, answer);
    setup
        .verb(&net.router, "open", &["ssh", "--for", "1h"])
        .ok();
    expect_both(Answer::Open);
    setup.verb(&net.router, "lock", &[]).ok();
    expect_both(Answer::Silent);
    nft::apply(router, DELETE);
    poll_until(SOON, "it is back", || said(&agent, "it is back") == 1);
    expect_both(Answer::Silent);
    agent.reload_now();
    expect_both(Answer::Silent);
    assert!(agent.stop().success());
    let _agent = setup.start(&net.router);
    expect_both(Answer::Silent);
    setup.verb(&net.router, "unlock", &[]).ok();
    expect_both(Answer::Open);
    // Whoever takes the guard away, takes its locks away.
    setup.verb(&net.router, "lock", &["ssh"]).ok();
    setup.verb(&net.router, "remove", &[]).ok();
    setup.verb(&net.router, "apply", &[]).ok();
    expect_both(Answer::Silent);
    setup.verb(&net.router, "open", &["ssh"]).ok();
    expect_both(Answer::Open);
}

fn every_change_is_undone() {
    let net = Topology::new();
    let router = &net.router.namespace;
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let agent = setup.start(&net.router);
    let whole = rules(&net);
    let changes = [
        "flush table inet postern",
        "insert rule inet postern input accept",
        "flush chain inet postern guard",
        "flush map inet postern tcp_doors",
        "flush set inet postern interfaces",
        "add set inet postern more { type mark; }",
        "add table inet postern { flags dormant; }",
        "delete table inet postern; add table inet postern",
    ];
    for (number, change) in (1..).zip(changes) {
        nft::apply(router, change);
        poll_until(SOON, change, || said(&agent, "it is back") == number);
        wait_until_back(&net, &whole, change);
    }
}

fn begin_trial(setup: &Setup, net: &Topology, time: &str) {
    let arguments = ["--confirm-within", time];
    setup.verb(&net.router, "apply", &arguments).ok();
}

/// What `status` says that is left of a trial, in milliseconds.
fn trial_left(setup: &Setup, net: &Topology) -> Option<u64> {
    let status = setup.verb(&net.router, "status", &["--json"]).ok();
    let (_, rest) = status.split_once("\"trial\":{\"remaining_ms\":")?;
    rest.split('}').next()?.parse().ok()
}

fn a_trial_comes_back_with_the_time_that_it_had_left() {
    for guard in Guard::BOTH {
        in_case_of(guard, || {
            let net = Topology::new();
            let _ssh = Service::tcp(&net.router.namespace, 22);
            let setup = Setup::new(&net.router, guard, &SSH_DOOR.replace("tcp:22'", "tcp:23'"));
            let mut agent = setup.start(&net.router);
            setup.rewrite(SSH_DOOR);
            begin_trial(&setup, &net, "4s");
            let before = trial_left(&setup, &net).expect("a trial");
            nft::apply(&net.router.namespace, DELETE);
            agent.wait_for_line("postern: nft (process ");
            let after = trial_left(&setup, &net).expect("a trial");
            assert!(after <= before, "{before} ms were left, now {after} ms");
            expect(&net, Family::V4, Answer::Silent, Answer::Silent);
            agent.wait_for_line("postern: the trial is over and nobody confirmed it: the conf");
        });
    }
}

/// Also where it was confirmed without the agent.
fn a_flushed_trial_that_was_confirmed_comes_back_for_good() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let agent = setup.start(&net.router);
    begin_trial(&setup, &net, "5m");
    agent.hang();
    setup.verb(&net.router, "confirm", &["--anyway"]).ok();
    agent.go_on();
    assert_eq!(trial_left(&setup, &net), None);
    nft::apply(&net.router.namespace, DELETE);
    poll_until(SOON, "it is back", || said(&agent, "it is back") == 1);
    assert_eq!(trial_left(&setup, &net), None);
    let table = nft::table(&net.router.namespace, TABLE).expect("it is back");
    assert!(!table.contains("expires"), "{table}");
}

fn whoever_does_not_stop_is_waited_for() {
    const AT_ONCE: usize = 10;
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let mut agent = setup.start(&net.router);
    let whole = rules(&net);
    for number in 1..=AT_ONCE + 2 {
        nft::apply(&net.router.namespace, DELETE);
        poll_until(SOON * 2, "it is back", || {
            said(&agent, "it is back") >= number || said(&agent, "and is again in") > 0
        });
        if said(&agent, "and is again in") > 0 {
            break;
        }
    }
    agent.wait_for_line("postern: nft (process ");
    assert_eq!(said(&agent, "and is again in"), 1);
    assert!(said(&agent, "it is back") >= AT_ONCE);
    poll_until(SOON * 2, "it comes back in the end", || {
        rules(&net) == whole
    });
    // Whoever ends the agent meanwhile does not end the guard.
    nft::apply(&net.router.namespace, DELETE);
    poll_until(SOON, "it waits again", || {
        said(&agent, "and is again in") == 2
    });
    let left = agent.stop();
    assert!(left.success(), "{left}");
    assert_eq!(rules(&net), whole);
}

fn what_another_verb_did_is_respected() {
    let net = Topology::new();
    let router = &net.router.namespace;
    let _ssh = Service::tcp(router, 22);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let mut agent = setup.start(&net.router);
    // What was granted without the agent is remembered by it.
    agent.hang();
    let by_hand = net.client.v6.to_string();
    let arguments = ["ssh", "--from", &by_hand, "--for", "1h"];
    setup.verb(&net.router, "open", &arguments).ok();
    agent.go_on();
    setup.verb(&net.router, "status", &[]).ok();
    nft::apply(router, DELETE);
    poll_until(SOON, "it is back", || said(&agent, "it is back") == 1);
    expect(&net, Family::V6, Answer::Open, Answer::Silent);
    // What was removed without it stays away.
    agent.hang();
    setup.verb(&net.router, "remove", &[]).ok();
    agent.go_on();
    agent.wait_for_line("postern: postern (process ");
    nft::apply(router, "add table inet postern\ndelete table inet postern");
    setup.verb(&net.router, "status", &[]).with_status(4);
    expect(&net, Family::V6, Answer::Open, Answer::Open);
    setup.verb(&net.router, "apply", &[]).ok();
    expect(&net, Family::V6, Answer::Silent, Answer::Silent);
    // So does what was removed by it.
    setup.verb(&net.router, "remove", &[]).ok();
    nft::apply(router, "add table inet postern\ndelete table inet postern");
    setup.verb(&net.router, "status", &[]).with_status(4);
    expect(&net, Family::V6, Answer::Open, Answer::Open);
    assert_eq!(said(&agent, "it is back"), 1);
}

fn what_is_none_of_its_business_is_let_be() {
    let net = Topology::new();
    let router = &net.router.namespace;
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let agent = setup.start(&net.router);
    for script in [
        "add element inet postern grant4_ssh { 192.0.2.9 timeout 1h }",
        "delete element inet postern grant4_ssh { 192.0.2.9 }",
        FIREWALL,
        "add table ip postern",
        "delete table ip postern",
    ] {
        nft::apply(router, script);
    }
    nft::apply(router, DELETE);
    poll_until(SOON, "it is back", || said(&agent, "it is back") == 1);
    assert_eq!(said(&agent, "postern: nft (process"), 1);
    assert!(nft::table(router, "inet fw").is_some());
}

fn interfaces_are_guarded_whenever_they_come() {
    let net = Topology::new();
    let router = &net.router.namespace;
    let _ssh = Service::tcp(router, 22);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    net.unplug_router();
    let _agent = setup.start(&net.router);
    let comes_in = |when: &str| {
        for family in Family::BOTH {
            expect(&net, family, Answer::Silent, Answer::Silent);
            let ssh = net.router.port(family, 22);
            client::knock(&net.client, ssh.ip(), &OPEN);
            let opened = probe::tcp_opens(&net.client.namespace, ssh, SOON);
            assert!(opened, "{family:?} {when}");
            let stranger = probe::tcp(&net.stranger.namespace, ssh);
            assert_eq!(stranger, Answer::Silent, "{family:?} {when}");
            setup.verb(&net.router, "close", &["ssh"]).ok();
        }
    };
    net.plug_router();
    comes_in("after it came late");
    net.unplug_router();
    net.plug_router();
    comes_in("after it went and came");
    // A guard is for a name: the interface that has it is guarded, and no other.
    router.ip_batch(&format!(
        "link set {WAN} down\nlink set {WAN} name other up\n"
    ));
    let own = (net.router.v6, net.router.v4);
    router.ip_batch(&format!("address replace {}/64 dev other nodad\n", own.0));
    net.settle();
    expect(&net, Family::V4, Answer::Open, Answer::Open);
    router.ip_batch(&format!(
        "link set other down\nlink set other name {WAN} up\n"
    ));
    router.ip_batch(&format!("address replace {}/64 dev {WAN} nodad\n", own.0));
    net.settle();
    comes_in("after it was renamed");
    // Another address is guarded, and reached, as the one before.
    router.ip_batch(&format!(
        "address del {}/24 dev {WAN}\naddress add 192.0.2.77/24 dev {WAN}\n",
        own.1
    ));
    let ssh = "192.0.2.77:22".parse().expect("an address");
    assert!(probe::tcp_shuts(&net.client.namespace, ssh, SOON));
    client::knock(&net.client, ssh.ip(), &OPEN);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
    assert_eq!(probe::tcp(&net.stranger.namespace, ssh), Answer::Silent);
}
