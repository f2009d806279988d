//! Mistakes in a configuration while a guard is in force: none leaves a port open, and none looks right.

use std::fs;

use postern_tests::agent::{Agent, Guard, SSH_DOOR, Setup};
use postern_tests::probe::{self, Answer};
use postern_tests::server::Service;
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{client, nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        mistakes_leave_an_agents_guard_alone,
        mistakes_leave_the_guard_alone_without_an_agent,
        a_configuration_without_a_door_is_refused_unless_it_is_asked_for,
        with_enabled_0_the_guard_goes_and_says_so,
        enabled_takes_over_from_there needs "knock",
        what_is_not_guarded_any_more_is_named,
    ]
}

const TABLE: &str = "inet postern";

/// What is said where the door `ssh` is lost.
const GONE: &str = "door ssh is gone: not guarded any more: tcp:22";
/// What is said where nothing is to be guarded.
const DISABLED: &str = "option enabled '0': nothing is guarded";

const WEB_DOOR: &str = "
config door 'web'
	list guard 'tcp:8080'
	option method 'sequence-separate'
	list open 'tcp:7100'
	list open 'udp:7200'
	list open 'tcp:6300'
";

/// What somebody meant, and what he wrote instead, with what he is told of it.
const MISTAKES: &[(&str, &[(&str, &str)])] = &[
    (
        "config door 'ssh'",
        &[
            ("config Door 'ssh'", "did you mean door?"),
            ("config dor 'ssh'", "did you mean door?"),
            ("config doors 'ssh'", "did you mean door?"),
            ("config odor 'ssh'", "did you mean door?"),
            ("config DROO 'ssh'", "did you mean door?"),
            ("config porte 'ssh'", "did you mean door?"),
            ("config rule", "did you mean door?"),
            ("# config door 'ssh'", "expected it there"),
            ("config door 'my-ssh'", "my_door"),
            ("config door", "a door without a name"),
            ("config\rdoor 'ssh'", "unknown statement"),
            ("package ssh\n\nconfig door 'ssh'", "expected postern"),
        ],
    ),
    (
        "config postern",
        &[
            ("config Postern", "did you mean postern?"),
            ("config postren", "did you mean postern?"),
            ("config client", "expected postern"),
            ("\u{feff}config postern", "byte order mark"),
            ("[options]\n\tUseSyslog\nconfig postern", "knockd.conf"),
        ],
    ),
    (
        "'global'",
        &[
            ("'globl'", "expected 'global'"),
            ("'Global'", "expected 'global'"),
        ],
    ),
    (
        "list guard",
        &[
            ("list gaurd", "did you mean guard?"),
            ("list Guard", "did you mean guard?"),
            ("option guard '8080'\n\tlist gard", "did you mean guard?"),
        ],
    ),
    (
        "list guard 'tcp:22'",
        &[
            (
                "option guard 'tcp:22'\n\toption guard 'tcp:8080'",
                "list guard for each",
            ),
            ("list guard '22:tcp'", "guard 'tcp:22'"),
            ("list guard tcp:8080;list guard tcp:22", "a line of its own"),
        ],
    ),
    (
        "list interface",
        &[
            ("list interfaec", "did you mean interface?"),
            ("list iface", "interface is missing"),
        ],
    ),
    (
        "option method",
        &[("option metohd", "did you mean method?")],
    ),
    (
        "option window",
        &[(
            "option nflog_group '5'\n\toption window",
            "belongs to section postern",
        )],
    ),
    (
        "option source",
        &[
            (
                "option enabeld '0'\n\toption source",
                "did you mean enabled?",
            ),
            ("option enabled 'O'\n\toption source", "unknown enabled 'O'"),
        ],
    ),
];

/// Whole files in the place of a right one.
const FILES: &[(&str, &str)] = &[
    ("", "no section of Postern's"),
    ("# nothing yet\n", "no section of Postern's"),
    (
        "config postern 'global'\n\tlist interface 'wan'\n",
        "there is no door",
    ),
    (
        "package network\n\nconfig interface 'wan'\n\toption device 'wan'\n",
        "no section of Postern's",
    ),
    (
        "[options]\n\n[openSSH]\n\tsequence = 7000,8000\n",
        "knockd.conf",
    ),
];

/// Writes each mistake into the configuration in turn.
fn with_each_mistake(setup: &Setup, check: impl Fn(&str)) {
    let right = fs::read_to_string(setup.config()).expect("a configuration");
    for (meant, instead) in MISTAKES {
        assert_eq!(right.matches(meant).count(), 1, "{meant} in {right}");
        for (written, told) in *instead {
            in_case_of(written, || {
                setup.rewrite_whole(&right.replace(meant, written));
                check(told);
            });
        }
    }
    for (file, told) in FILES {
        in_case_of(file, || {
            setup.rewrite_whole(file);
            check(told);
        });
    }
    setup.rewrite_whole(&right);
}

/// Whether a verb says where the mistake is, what is wrong, and that it did nothing.
fn refuses(net: &Topology, setup: &Setup, verb: &str, told: &str) {
    let said = setup.verb(&net.router, verb, &[]);
    assert_eq!(
        (said.status, said.stdout.as_str()),
        (1, ""),
        "{verb}: {said:?}"
    );
    let place = format!("{}:", setup.config().display());
    let mistakes = || said.stderr.lines().filter(|line| line.starts_with(&place));
    assert!(
        mistakes().any(|line| line.contains(told)),
        "{verb}: {said:?}"
    );
    assert!(mistakes().count() < 12, "{verb}: {said:?}");
}

fn expect_shut(net: &Topology, rules: &str) {
    for family in Family::BOTH {
        let ssh = net.router.port(family, 22);
        assert_eq!(probe::tcp(&net.stranger.namespace, ssh), Answer::Silent);
    }
    let table = nft::settled_table(&net.router.namespace, TABLE);
    assert_eq!(table.as_deref(), Some(rules));
}

fn reload_refused(agent: &Agent<'_>, told: &str) {
    let before = agent.log().len();
    agent.reload();
    let stays = "the running configuration stays";
    poll_until(SOON, "the reload is over", || {
        agent.log()[before..].contains(stays)
    });
    let log = agent.log();
    assert!(log[before..].contains(told), "{}", &log[before..]);
    assert!(!log[before..].contains("read again"), "{}", &log[before..]);
}

fn mistakes_leave_an_agents_guard_alone() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let agent = setup.start(&net.router);
    let rules = nft::settled_table(&net.router.namespace, TABLE).expect("a guard");
    with_each_mistake(&setup, |told| {
        for verb in ["check", "render", "apply"] {
            refuses(&net, &setup, verb, told);
        }
        reload_refused(&agent, told);
        expect_shut(&net, &rules);
    });
    agent.reload_now();
    expect_shut(&net, &rules);
}

fn mistakes_leave_the_guard_alone_without_an_agent() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    setup.verb(&net.router, "apply", &[]).ok();
    let rules = nft::settled_table(&net.router.namespace, TABLE).expect("a guard");
    with_each_mistake(&setup, |told| {
        refuses(&net, &setup, "apply", told);
        expect_shut(&net, &rules);
    });
}

fn a_configuration_without_a_door_is_refused_unless_it_is_asked_for() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, "");
    for verb in ["check", "render", "apply"] {
        refuses(&net, &setup, verb, "there is no door");
    }
    let said = setup.run_to_its_end(&net.router);
    assert_eq!(said.status, 1, "{said:?}");
    assert_eq!(nft::table(&net.router.namespace, TABLE), None);
    let checked = setup.verb(&net.router, "check", &["--allow-none"]);
    assert!(
        checked.stderr.contains("warning: there is no door"),
        "{checked:?}"
    );
    assert!(checked.ok().ends_with("no mistakes, 0 doors\n"));
    setup.verb(&net.router, "render", &["--allow-none"]).ok();

    setup.rewrite(SSH_DOOR);
    let agent = setup.start(&net.router);
    setup.rewrite("");
    reload_refused(&agent, "there is no door");
    let applied = setup.verb(&net.router, "apply", &["--allow-none"]);
    assert!(applied.stderr.contains(GONE), "{applied:?}");
    assert_eq!(applied.status, 0, "{applied:?}");
    assert!(agent.log().contains(GONE), "{}", agent.log());
    // It may stay so, but a door is not lost again in silence.
    agent.reload_now();
    setup.rewrite(SSH_DOOR);
    agent.reload_now();
    setup.rewrite("");
    reload_refused(&agent, "there is no door");
}

/// `option enabled` of the global section, and the SSH door.
fn enable(setup: &Setup, enabled: &str, doors: &str) {
    setup.hear_by(&format!("\toption enabled '{enabled}'\n"));
    setup.rewrite(doors);
}

fn with_enabled_0_the_guard_goes_and_says_so() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let ssh = net.router.port(Family::V4, 22);
    let expect = |is_guarded: bool| {
        assert_eq!(
            nft::table(&net.router.namespace, TABLE).is_some(),
            is_guarded
        );
        let answer = if is_guarded {
            Answer::Silent
        } else {
            Answer::Open
        };
        assert_eq!(probe::tcp(&net.stranger.namespace, ssh), answer);
    };
    for doors in ["", SSH_DOOR] {
        enable(&setup, "1", SSH_DOOR);
        setup.verb(&net.router, "apply", &[]).ok();
        expect(true);
        enable(&setup, "0", doors);
        assert!(
            setup
                .verb(&net.router, "check", &[])
                .ok()
                .contains(DISABLED)
        );
        let tried = setup.verb(&net.router, "apply", &["--confirm-within", "9s"]);
        assert!(
            tried.status == 1 && tried.stderr.contains(DISABLED),
            "{tried:?}"
        );
        expect(true);
        // What is rendered is what is applied.
        let rendered = setup.verb(&net.router, "render", &[]).ok();
        nft::apply(&net.router.namespace, &rendered);
        expect(false);
        enable(&setup, "1", SSH_DOOR);
        setup.verb(&net.router, "apply", &[]).ok();
        enable(&setup, "0", doors);
        let applied = setup.verb(&net.router, "apply", &[]);
        assert!(applied.stderr.contains(GONE), "{applied:?}");
        assert_eq!(applied.ok(), format!("guard removed: {DISABLED}\n"));
        expect(false);
    }
}

fn enabled_takes_over_from_there() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let ssh = net.router.port(Family::V4, 22);
    let is_open = || probe::tcp(&net.stranger.namespace, ssh) == Answer::Open;
    // A start takes away what was in force, too.
    setup.verb(&net.router, "apply", &[]).ok();
    enable(&setup, "0", SSH_DOOR);
    let agent = setup.start(&net.router);
    assert!(
        agent.log().contains(DISABLED) && agent.log().contains(GONE),
        "{}",
        agent.log()
    );
    assert!(is_open());
    // It waits for another configuration, and hears knocks then.
    enable(&setup, "1", SSH_DOOR);
    agent.reload_now();
    assert!(!is_open());
    client::knock(&net.client, ssh.ip(), &["7000", "8001:udp", "9002"]);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
    let logged = agent.log().len();
    enable(&setup, "0", "");
    agent.reload_now();
    assert!(agent.log()[logged..].contains(GONE), "{}", agent.log());
    assert!(is_open());
    // Without a word that nothing is to be guarded, a file without a door is a mistake again.
    enable(&setup, "1", "");
    reload_refused(&agent, "there is no door");
    enable(&setup, "1", SSH_DOOR);
    setup.verb(&net.router, "apply", &[]).ok();
    assert!(!is_open());
    enable(&setup, "0", SSH_DOOR);
    let said = setup.verb(&net.router, "apply", &[]).ok();
    assert!(
        said.starts_with(&format!("guard removed: {DISABLED}")),
        "{said}"
    );
    assert!(is_open());
    assert!(agent.stop().success());
    assert_eq!(nft::table(&net.router.namespace, TABLE), None);
}

fn what_is_not_guarded_any_more_is_named() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, &[SSH_DOOR, WEB_DOOR].concat());
    let agent = setup.start(&net.router);
    let gone = "door web is gone: not guarded any more: tcp:8080";
    // The file was cut short after a door.
    setup.rewrite(SSH_DOOR);
    agent.reload_now();
    assert!(agent.log().contains(gone), "{}", agent.log());
    let both = SSH_DOOR.replace(
        "list guard 'tcp:22'",
        "list guard 'tcp:22'\n\tlist guard 'udp:51820'",
    );
    setup.rewrite(&both);
    let said = setup.verb(&net.router, "apply", &[]);
    assert!(!said.stderr.contains("not guarded"), "{said:?}");
    setup.rewrite(SSH_DOOR);
    let said = setup.verb(&net.router, "apply", &[]);
    let lost = "door ssh: not guarded any more: udp:51820";
    assert!(said.stderr.contains(lost), "{said:?}");
    assert!(agent.log().contains(lost), "{}", agent.log());
    assert!(agent.stop().success());
    // Or while no agent ran.
    setup.rewrite(WEB_DOOR);
    let agent = setup.start(&net.router);
    assert!(agent.log().contains(GONE), "{}", agent.log());
}
