//! What outlives the agent, and what a change of its configuration leaves alone.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use postern_tests::agent::{Agent, Guard, SSH_DOOR, Setup, program};
use postern_tests::packet::Packet;
use postern_tests::probe::{self, Answer, Capture};
use postern_tests::process::Process;
use postern_tests::sender::Sender;
use postern_tests::server::Service;
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{client, nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        a_restart_keeps_grants needs "knock",
        a_killed_agent_leaves_grants_to_expire_and_strangers_outside needs "knock",
        an_agent_after_a_killed_one_takes_over needs "knock",
        a_reload_keeps_grants_and_attempts_of_unchanged_doors needs "knock",
        a_reload_forgets_the_grants_of_a_door_that_is_gone needs "knock",
        other_knocks_end_the_grants_of_the_old_ones needs "knock",
        other_knocks_end_connections_where_grants_do needs "knock",
        a_wrong_configuration_leaves_the_running_one needs "knock",
        a_wrong_configuration_does_not_start,
        a_reload_does_not_let_anybody_through_for_a_moment,
        a_killed_agent_leaves_its_guard_or_has_the_kernel_take_it_away needs "knock",
        a_guard_that_goes_with_its_agent_stays_when_that_is_told_to_end needs "knock",
        whose_the_guard_is_a_verb_says_that_finds_no_answer,
        a_broken_configuration_takes_no_agent_for_a_hanging_one,
        without_an_agent_nobody_owns_the_guard,
        an_agent_whose_jailer_was_killed_is_replaced needs "knock" "unshare",
        one_that_does_not_end_is_killed needs "unshare" "flock",
        nobody_takes_over_from_an_agent_that_has_a_parent_or_is_not_told_to needs "unshare",
    ]
}

const OPEN: [&str; 3] = ["7000", "8001:udp", "9002"];

const WEB_DOOR: &str = "
config door 'web'
	list guard 'tcp:8080'
	option method 'sequence-separate'
	list open 'tcp:7100'
	list open 'tcp:7200'
	option window '10s'
	option grant '30s'
";

fn with_each_guard(body: impl Fn(&Topology, Guard)) {
    for guard in Guard::BOTH {
        in_case_of(guard, || body(&Topology::new(), guard));
    }
}

fn a_restart_keeps_grants() {
    with_each_guard(|net, guard| {
        let _ssh = Service::tcp(&net.router.namespace, 22);
        let setup = Setup::new(&net.router, guard, SSH_DOOR);
        let agent = setup.start(&net.router);
        let ssh = net.router.port(Family::V4, 22);
        let expect_client_only = |when: &str| {
            assert_eq!(
                probe::tcp(&net.client.namespace, ssh),
                Answer::Open,
                "{when}"
            );
            assert_eq!(
                probe::tcp(&net.stranger.namespace, ssh),
                Answer::Silent,
                "{when}"
            );
        };
        client::knock(&net.client, ssh.ip(), &OPEN);
        assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
        expect_client_only("before");
        assert!(agent.stop().success());
        expect_client_only("without an agent");
        let _agent = setup.start(&net.router);
        expect_client_only("after");
        client::knock(&net.stranger, ssh.ip(), &OPEN);
        assert!(probe::tcp_opens(&net.stranger.namespace, ssh, SOON));
    });
}

fn a_killed_agent_leaves_grants_to_expire_and_strangers_outside() {
    with_each_guard(|net, guard| {
        let _ssh = Service::tcp(&net.router.namespace, 22);
        let setup = Setup::new(&net.router, guard, &SSH_DOOR.replace("30s", "3s"));
        let agent = setup.start(&net.router);
        let ssh = net.router.port(Family::V4, 22);
        client::knock(&net.client, ssh.ip(), &OPEN);
        assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
        agent.kill();
        assert_eq!(probe::tcp(&net.client.namespace, ssh), Answer::Open);
        assert_eq!(probe::tcp(&net.stranger.namespace, ssh), Answer::Silent);
        assert!(probe::tcp_shuts(&net.client.namespace, ssh, SOON));
    });
}

fn an_agent_after_a_killed_one_takes_over() {
    with_each_guard(|net, guard| {
        let _ssh = Service::tcp(&net.router.namespace, 22);
        let setup = Setup::new(&net.router, guard, SSH_DOOR);
        let ssh = net.router.port(Family::V4, 22);
        setup.start(&net.router).kill();
        let _agent = setup.start(&net.router);
        assert_eq!(probe::tcp(&net.client.namespace, ssh), Answer::Silent);
        client::knock(&net.client, ssh.ip(), &OPEN);
        assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
        assert!(setup.verb(&net.router, "status", &[]).ok().contains("ssh"));
    });
}

fn a_reload_keeps_grants_and_attempts_of_unchanged_doors() {
    let net = Topology::new();
    let router = &net.router.namespace;
    let _services = [Service::tcp(router, 22), Service::tcp(router, 8080)];
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let agent = setup.start(&net.router);
    let [ssh, web] = [22, 8080].map(|port| net.router.port(Family::V4, port));
    client::knock(&net.client, ssh.ip(), &OPEN);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
    let before = nft::expiry(router, "inet postern", net.client.v4.into()).expect("a grant");
    client::knock(&net.stranger, ssh.ip(), &OPEN[..2]);

    assert_eq!(probe::tcp(&net.stranger.namespace, web), Answer::Open);
    setup.rewrite(&format!("{WEB_DOOR}{SSH_DOOR}"));
    agent.reload();
    assert!(probe::tcp_shuts(&net.stranger.namespace, web, SOON));

    assert_eq!(probe::tcp(&net.client.namespace, ssh), Answer::Open);
    let after = nft::expiry(router, "inet postern", net.client.v4.into()).expect("a grant");
    assert!(
        after < before,
        "{before:?} were left, and now it is {after:?}"
    );
    client::knock(&net.stranger, ssh.ip(), &OPEN[2..]);
    assert!(probe::tcp_opens(&net.stranger.namespace, ssh, SOON));
    client::knock(&net.client, ssh.ip(), &["7100", "7200"]);
    assert!(probe::tcp_opens(&net.client.namespace, web, SOON));
}

/// Every way in which a configuration comes into force.
fn other_knocks_end_the_grants_of_the_old_ones() {
    let other = SSH_DOOR.replace("7000", "7555");
    type Way = fn(&Setup, &Topology);
    let in_force: [(&str, Way); 4] = [
        ("apply", |setup, net| {
            _ = setup.verb(&net.router, "apply", &[]).ok()
        }),
        ("reload", |setup, net| {
            _ = setup.verb(&net.router, "reload", &[]).ok()
        }),
        ("trial", |setup, net| {
            _ = setup
                .verb(&net.router, "apply", &["--confirm-within", "1h"])
                .ok();
        }),
        ("no agent", |_, _| {}),
    ];
    for (way, take) in in_force {
        in_case_of(way, || {
            let net = Topology::new();
            let _ssh = Service::tcp(&net.router.namespace, 22);
            let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
            let ssh = net.router.port(Family::V4, 22);
            let mut agent = Some(setup.start(&net.router));
            client::knock(&net.client, ssh.ip(), &OPEN);
            assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
            // What does not open it may change.
            setup.rewrite(
                &SSH_DOOR
                    .replace("9003", "9103")
                    .replace("option grant '30s'", "option grant '40s'"),
            );
            setup.verb(&net.router, "reload", &[]).ok();
            assert_eq!(probe::tcp(&net.client.namespace, ssh), Answer::Open);
            setup.rewrite(&other);
            if way == "no agent" {
                if let Some(agent) = agent.take() {
                    agent.kill();
                }
                setup.verb(&net.router, "apply", &[]).ok();
            }
            take(&setup, &net);
            assert_eq!(probe::tcp(&net.client.namespace, ssh), Answer::Silent);
            // What a person said of an interface has nothing to do with knocks.
            setup.verb(&net.router, "open", &["ssh"]).ok();
            setup.rewrite(SSH_DOOR);
            setup.verb(&net.router, "apply", &[]).ok();
            assert_eq!(probe::tcp(&net.client.namespace, ssh), Answer::Open);
        });
    }
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let ssh = net.router.port(Family::V4, 22);
    let agent = setup.start(&net.router);
    client::knock(&net.client, ssh.ip(), &OPEN);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
    agent.kill();
    setup.rewrite(&other);
    let _agent = setup.start(&net.router);
    assert_eq!(probe::tcp(&net.client.namespace, ssh), Answer::Silent);
    client::knock(&net.client, ssh.ip(), &["7555", "8001:udp", "9002"]);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
}

fn other_knocks_end_connections_where_grants_do() {
    let net = Topology::new();
    let _echo = Service::tcp(&net.router.namespace, 22);
    let cutting = format!("{SSH_DOOR}\toption on_expiry 'cut'\n");
    let setup = Setup::new(&net.router, Guard::Gate, &cutting);
    let ssh = net.router.port(Family::V4, 22);
    let agent = setup.start(&net.router);
    client::knock(&net.client, ssh.ip(), &OPEN);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
    setup.rewrite(&cutting.replace("7000", "7555"));
    setup.verb(&net.router, "reload", &[]).ok();
    assert!(
        agent
            .log()
            .contains("door ssh: shut to 192.0.2.2, because other knocks open it now")
    );
    assert_eq!(probe::tcp(&net.client.namespace, ssh), Answer::Silent);
}

fn a_reload_forgets_the_grants_of_a_door_that_is_gone() {
    let net = Topology::new();
    let router = &net.router.namespace;
    let _services = [Service::tcp(router, 22), Service::tcp(router, 8080)];
    let setup = Setup::new(&net.router, Guard::Gate, &format!("{SSH_DOOR}{WEB_DOOR}"));
    let agent = setup.start(&net.router);
    let [ssh, web] = [22, 8080].map(|port| net.router.port(Family::V4, port));
    client::knock(&net.client, ssh.ip(), &OPEN);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
    setup.rewrite(WEB_DOOR);
    agent.reload();
    // A port that no door guards any more is open to all: this guard leaves it to others.
    assert!(probe::tcp_opens(&net.stranger.namespace, ssh, SOON));
    assert_eq!(probe::tcp(&net.stranger.namespace, web), Answer::Silent);
    setup.rewrite(&format!("{SSH_DOOR}{WEB_DOOR}"));
    agent.reload();
    assert!(probe::tcp_shuts(&net.stranger.namespace, ssh, SOON));
    assert_eq!(probe::tcp(&net.client.namespace, ssh), Answer::Silent);
}

fn a_wrong_configuration_leaves_the_running_one() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let agent = setup.start(&net.router);
    let ssh = net.router.port(Family::V4, 22);
    client::knock(&net.client, ssh.ip(), &OPEN[..2]);
    let rules = nft::settled_table(&net.router.namespace, "inet postern");
    setup.rewrite_whole("config postern 'global'\n\toption guard 'fence'\n");
    agent.reload();
    let complaint = format!("{}:2:", setup.config().display());
    poll_until(SOON, &complaint, || agent.log().contains(&complaint));
    assert_eq!(
        nft::settled_table(&net.router.namespace, "inet postern"),
        rules
    );
    client::knock(&net.client, ssh.ip(), &OPEN[2..]);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
    assert_eq!(probe::tcp(&net.stranger.namespace, ssh), Answer::Silent);
}

fn a_wrong_configuration_does_not_start() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    // Not this machine's own, which may have been confirmed.
    let state = setup.path("state");
    setup.rewrite_whole(&format!(
        "config postern 'global'\n\toption guard 'fence'\n\toption state_dir '{}'\n",
        state.display()
    ));
    let (program, config) = (program(), setup.config());
    let [program, config] = [program, config].map(|path| path.to_string_lossy().into_owned());
    let run = ["5", program.as_str(), "run", "--config", config.as_str()];
    let said = net.router.namespace.run("timeout", &run);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.stderr.contains(":2:"), "{said:?}");
    assert_eq!(nft::table(&net.router.namespace, "inet postern"), None);
}

fn a_reload_does_not_let_anybody_through_for_a_moment() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let agent = setup.start(&net.router);
    let ssh = net.router.port(Family::V4, 22);
    let sender = Sender::new(&net.client.namespace);
    let mut capture = Capture::new(&net.client);
    for round in 0..20_u16 {
        setup.rewrite(
            &[SSH_DOOR, WEB_DOOR]
                .concat()
                .replace("7100", &format!("{}", 7300 + round)),
        );
        agent.reload();
        for port in 0..200 {
            let from = net.client.port(Family::V4, 20_000 + round * 200 + port);
            sender.send(&Packet::syn(from, ssh));
        }
        capture.seen();
    }
    let loaded = |listing: String| listing.contains("7319");
    poll_until(SOON, "the last configuration", || {
        nft::table(&net.router.namespace, "inet postern").is_some_and(loaded)
    });
    let answers = capture.answers(&net.client, ssh.ip());
    assert_eq!(answers.iter().filter(|answer| answer.accepts()).count(), 0);
}

const TABLE: &str = "inet postern";

/// A router whose guard goes with its agent, or stays.
fn on_crash(net: &Topology, guard: Guard, what: &str) -> Setup {
    let setup = Setup::new(&net.router, guard, SSH_DOOR);
    choose(&setup, what);
    setup
}

fn choose(setup: &Setup, what: &str) {
    setup.hear_by(&format!(
        "\toption source 'nflog'\n\toption on_crash '{what}'\n"
    ));
    setup.rewrite(SSH_DOOR);
}

fn stranger_sees(net: &Topology, family: Family) -> Answer {
    probe::tcp(&net.stranger.namespace, net.router.port(family, 22))
}

fn is_owned(net: &Topology) -> bool {
    let table = nft::table(&net.router.namespace, TABLE);
    table.is_some_and(|table| table.contains("flags owner"))
}

fn a_killed_agent_leaves_its_guard_or_has_the_kernel_take_it_away() {
    for what in ["keep", "open"] {
        with_each_guard(|net, guard| {
            let _ssh = Service::tcp(&net.router.namespace, 22);
            let setup = on_crash(net, guard, what);
            let agent = setup.start(&net.router);
            assert_eq!(is_owned(net), what == "open");
            for family in Family::BOTH {
                assert_eq!(stranger_sees(net, family), Answer::Silent, "{what}");
                let ssh = net.router.port(family, 22);
                client::knock(&net.client, ssh.ip(), &OPEN);
                assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
            }
            agent.kill();
            poll_until(SOON, "the guard goes, or stays", || {
                nft::table(&net.router.namespace, TABLE).is_some() == (what == "keep")
            });
            // Without marks, the firewall of the owner keeps everybody out.
            let (client, stranger) = match (guard, what) {
                (_, "keep") => (Answer::Open, Answer::Silent),
                (Guard::Gate, _) => (Answer::Open, Answer::Open),
                (Guard::Mark, _) => (Answer::Silent, Answer::Silent),
            };
            for family in Family::BOTH {
                let ssh = net.router.port(family, 22);
                assert_eq!(stranger_sees(net, family), stranger, "{what}");
                assert_eq!(probe::tcp(&net.client.namespace, ssh), client, "{what}");
            }
            // The next one guards again.
            let _agent = setup.start(&net.router);
            assert_eq!(stranger_sees(net, Family::V4), Answer::Silent, "{what}");
        });
    }
}

fn a_guard_that_goes_with_its_agent_stays_when_that_is_told_to_end() {
    with_each_guard(|net, guard| {
        let _ssh = Service::tcp(&net.router.namespace, 22);
        let setup = on_crash(net, guard, "open");
        let agent = setup.start(&net.router);
        let ssh = net.router.port(Family::V4, 22);
        client::knock(&net.client, ssh.ip(), &OPEN);
        assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
        let expect = |owned: bool, when: &str| {
            assert_eq!(is_owned(net), owned, "{when}");
            assert_eq!(stranger_sees(net, Family::V4), Answer::Silent, "{when}");
            assert_eq!(
                probe::tcp(&net.client.namespace, ssh),
                Answer::Open,
                "{when}"
            );
        };
        // A reload may change its mind, there and back.
        for what in ["keep", "open", "open", "keep", "open"] {
            choose(&setup, what);
            agent.reload_now();
            expect(what == "open", what);
        }
        assert!(agent.stop().success());
        expect(false, "after it ended");
        let agent = setup.start(&net.router);
        expect(true, "after it began");
        agent.kill();
    });
}

fn whose_the_guard_is_a_verb_says_that_finds_no_answer() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = on_crash(&net, Guard::Gate, "open");
    let agent = setup.start(&net.router);
    nft::apply(&net.router.namespace, "flush ruleset");
    assert_eq!(stranger_sees(&net, Family::V4), Answer::Silent);
    setup
        .verb(&net.router, "open", &["ssh", "--for", "1s"])
        .ok();
    agent.hang();
    let owner = format!("'kill -9 {}' takes it away", agent.id());
    let client = net.client.v4.to_string();
    for (verb, arguments) in [
        ("open", &["ssh"][..]),
        ("open", &["ssh", "--from", &client]),
        ("close", &["ssh"]),
        ("remove", &[]),
    ] {
        let said = setup.verb(&net.router, verb, arguments);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.stderr.contains(&owner), "{said:?}");
    }
    // Which is true.
    Agent::kill(agent);
    poll_until(SOON, "the guard goes", || {
        stranger_sees(&net, Family::V6) == Answer::Open
    });
}

fn a_broken_configuration_takes_no_agent_for_a_hanging_one() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = on_crash(&net, Guard::Gate, "open");
    let mut agent = setup.start(&net.router);
    let whole = std::fs::read_to_string(setup.config()).expect("the configuration");
    // Its socket is in a line that is right.
    setup.rewrite_whole(&whole.replace("'30s'", "'30 spoons'"));
    let arguments = ["ssh", "--for", "1h"];
    setup.verb(&net.router, "open", &arguments).ok();
    assert_eq!(stranger_sees(&net, Family::V4), Answer::Open);
    setup.verb(&net.router, "close", &["ssh"]).ok();
    // Nothing says where its socket is: the option is ignored, or the whole is in error.
    let unasked = format!(
        "the guard belongs to process {}, which was not asked: no readable configuration names \
         its socket; mend {} first",
        agent.id(),
        setup.config().display()
    );
    let nameless = whole.replace("option control", "option contrl");
    let broken = nameless.replace("'tcp:22'", "'tcp:22");
    for text in [&nameless, &broken, ""] {
        setup.rewrite_whole(text);
        for (verb, arguments) in [
            ("open", &["ssh"][..]),
            ("open", &["--all"]),
            ("close", &["ssh"]),
            ("lock", &["ssh"]),
            ("remove", &[]),
        ] {
            let said = setup.verb(&net.router, verb, arguments);
            assert_eq!(said.status, 1, "{said:?}");
            assert!(said.stderr.contains(&unasked), "{said:?}");
            assert!(!said.stderr.contains("kill"), "{said:?}");
        }
    }
    assert!(!agent.has_ended());
    assert_eq!(stranger_sees(&net, Family::V4), Answer::Silent);
    // The cure is one.
    setup.rewrite_whole(&whole);
    setup.verb(&net.router, "open", &arguments).ok();
    assert_eq!(stranger_sees(&net, Family::V4), Answer::Open);
}

fn without_an_agent_nobody_owns_the_guard() {
    let net = Topology::new();
    let setup = on_crash(&net, Guard::Gate, "open");
    let said = setup.verb(&net.router, "apply", &[]);
    assert!(
        said.stderr.contains("on_crash 'open' has no effect"),
        "{said:?}"
    );
    assert!(nft::table(&net.router.namespace, TABLE).is_some());
    assert!(!is_owned(&net));
}

/// Process 1 as procd is, and jailers as ujail: they start the agent and pass on that it is to end, unless they
/// are killed. What is ordered is said when it is done.
const PROCD: &str = r#"
jailer='"$@" 2>>"$LOG" & echo $! >"$AGENT"; trap "kill $!" TERM; wait; wait'
while read -r order; do
	case $order in
		start) sh -c "$jailer" sh "$@" & jail=$! ;;
		kill) kill -KILL "$jail"; wait "$jail" ;;
		hang) kill -STOP "$(cat "$AGENT")" ;;
		stop) kill "$jail"; wait "$jail" ;;
		deaf) (trap "" TERM; exec flock -F "$LOCK" sleep 1000) & ;;
	esac
	echo "$order"
done
"#;

struct Procd<'t> {
    setup: &'t Setup,
    net: &'t Topology,
    _process: Process,
    orders: ChildStdin,
    done: BufReader<ChildStdout>,
}

impl<'t> Procd<'t> {
    fn new(net: &'t Topology, setup: &'t Setup) -> Self {
        let mut unshare = Command::new("unshare");
        unshare.args([
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            PROCD,
            "sh",
        ]);
        unshare
            .arg(program())
            .args(["run", "--take-over", "--config"])
            .arg(setup.config());
        for (name, file) in [("LOG", "log"), ("AGENT", "agent"), ("LOCK", "control.lock")] {
            unshare.env(name, setup.path(file));
        }
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = net.router.namespace.spawn(&mut unshare);
        let orders = process.child().stdin.take().expect("a pipe");
        let done = process.child().stdout.take().expect("a pipe");
        let done = BufReader::new(done);
        Self {
            setup,
            net,
            _process: process,
            orders,
            done,
        }
    }

    fn order(&mut self, what: &str) {
        writeln!(self.orders, "{what}").expect("a pipe");
        let mut done = String::new();
        self.done.read_line(&mut done).expect("a pipe");
        assert_eq!(done.trim_end(), what, "{}", self.setup.log_so_far());
    }

    fn has_said(&self, text: &str) -> usize {
        self.setup.log_so_far().matches(text).count()
    }

    fn expect_said(&self, text: &str, times: usize) {
        let what = format!("{times} times: {text}");
        poll_until(SOON, &what, || self.has_said(text) == times);
    }

    /// The process that answers, as it knows itself.
    fn agent(&self) -> Option<u64> {
        let status = self
            .setup
            .verb(&self.net.router, "status", &["--json"])
            .stdout;
        let (_, rest) = status.split_once("\"pid\":")?;
        rest.split(',').next()?.parse().ok()
    }
}

const READY: &str = "postern: ready";
const REPLACED: &str = "has lost its parent";
const REFUSED: &str = "is postern running?";

fn an_agent_whose_jailer_was_killed_is_replaced() {
    for hangs in [false, true] {
        in_case_of(
            if hangs {
                "one that hangs"
            } else {
                "one that is well"
            },
            || {
                let net = Topology::new();
                let _ssh = Service::tcp(&net.router.namespace, 22);
                let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
                let mut procd = Procd::new(&net, &setup);
                procd.order("start");
                procd.expect_said(READY, 1);
                let ssh = net.router.port(Family::V4, 22);
                client::knock(&net.client, ssh.ip(), &OPEN);
                assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
                let first = procd.agent();
                assert!(first.is_some());
                procd.order("kill");
                assert_eq!(procd.agent(), first, "it lives on");
                if hangs {
                    procd.order("hang");
                }
                let sender = Sender::new(&net.stranger.namespace);
                let mut capture = Capture::new(&net.stranger);
                procd.order("start");
                let mut port = 20_000;
                poll_until(SOON, "another agent", || {
                    sender.send(&Packet::syn(net.stranger.port(Family::V4, port), ssh));
                    port += 1;
                    procd.has_said(READY) == 2
                });
                assert_eq!(procd.has_said(REPLACED), 1);
                assert_eq!(procd.has_said("is killed"), 0);
                let answers = capture.answers(&net.stranger, ssh.ip());
                assert!(answers.is_empty(), "strangers were answered");
                assert_eq!(
                    probe::tcp(&net.client.namespace, ssh),
                    Answer::Open,
                    "grants stay"
                );
                assert_ne!(procd.agent(), first);
                procd.order("stop");
                assert_eq!(procd.agent(), None, "procd reaches it");
                assert_eq!(probe::tcp(&net.stranger.namespace, ssh), Answer::Silent);
            },
        );
    }
}

fn one_that_does_not_end_is_killed() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let mut procd = Procd::new(&net, &setup);
    procd.order("deaf");
    let lock = setup.path("control.lock");
    let is_locked = || std::fs::File::open(&lock).is_ok_and(|lock| lock.try_lock().is_err());
    poll_until(SOON, "it has the lock", is_locked);
    procd.order("start");
    procd.expect_said("does not end, and is killed", 1);
    procd.expect_said(READY, 1);
}

fn nobody_takes_over_from_an_agent_that_has_a_parent_or_is_not_told_to() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let mut procd = Procd::new(&net, &setup);
    procd.order("start");
    procd.expect_said(READY, 1);
    let first = procd.agent();
    procd.order("start");
    procd.expect_said(REFUSED, 1);
    assert_eq!(procd.agent(), first);
    let said = setup.run_to_its_end(&net.router);
    assert!(
        said.status == 1 && said.stderr.contains(REFUSED),
        "{said:?}"
    );
    assert_eq!((procd.agent(), procd.has_said(REPLACED)), (first, 0));
}
