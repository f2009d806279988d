//! Where knocks are seen: each source with the real kernel, and what networks do to it.

use std::fs::{self, Permissions};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use postern_tests::agent::{Agent, Guard, SSH_DOOR, Setup};
use postern_tests::knocker::{Knock, Knocker, knock_whole};
use postern_tests::packet::Packet;
use postern_tests::probe::{self, Answer};
use postern_tests::process::close;
use postern_tests::sender::Sender;
use postern_tests::server::{Listener, Service};
use postern_tests::strace::Strace;
use postern_tests::suite::{Suite, in_case_of, on_both_families};
use postern_tests::topology::{Family, Host, LAN, Topology};
use postern_tests::visitor::{ROUTER, Visitor};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        sequences_open_and_close,
        a_wrong_knock_ends_the_attempt,
        a_hit_at_a_decoy_ends_the_attempt,
        an_interface_that_was_made_anew_is_heard,
        an_interface_that_comes_late_is_heard,
        a_link_that_was_down_is_heard,
        other_interfaces_are_not_heard,
        a_reload_changes_the_source_and_keeps_grants_and_attempts,
        a_source_that_cannot_be_had_changes_nothing,
        a_flood_of_forged_syns_is_survived_in_bounded_memory,
        what_the_kernel_could_not_hand_over_is_reported,
        a_knock_costs_receiving_it_and_a_question_and_a_batch_if_it_opens needs "strace",
        no_more_privileges_are_kept_than_are_needed,
        what_takes_more_is_refused_by_a_running_agent_that_goes_on,
        a_file_of_roots_is_handed_over_by_whoever_reloads,
        half_a_connection_is_no_knock_at_a_socket,
        what_is_exported_knocks_at_sockets needs "setpriv" "unshare",
        codes_of_six_digits_have_sockets,
        codes_of_eight_digits_have_none,
        a_taken_port_is_named_and_a_taken_decoy_is_done_without,
    ]
}

const SOURCES: [&str; 3] = ["nflog", "packet", "sockets"];

const OPEN: [Knock; 3] = [Knock::Tcp(7000), Knock::Udp(8001), Knock::Tcp(9002)];
const CLOSE: [Knock; 2] = [Knock::Tcp(9003), Knock::Tcp(7004)];

/// A flood is alone: all namespaces share each processor's backlog of packets, and it would push
/// out what others send (`enqueue_to_backlog` in net/core/dev.c).
static QUIET: RwLock<()> = RwLock::new(());

/// Whoever holds it is alone, or with others who are quiet.
pub(crate) enum Turn {
    Quiet {
        _turn: RwLockReadGuard<'static, ()>,
    },
    Loud {
        _turn: RwLockWriteGuard<'static, ()>,
    },
}

impl Turn {
    pub(crate) fn quiet() -> Self {
        let _turn = QUIET.read().unwrap_or_else(PoisonError::into_inner);
        Self::Quiet { _turn }
    }

    pub(crate) fn loud() -> Self {
        let _turn = QUIET.write().unwrap_or_else(PoisonError::into_inner);
        Self::Loud { _turn }
    }
}

/// A router that hears by some source, with a service behind its door.
struct Stage {
    net: Topology,
    setup: Setup,
    _ssh: Service,
    _turn: Turn,
}

impl Stage {
    fn new(source: &str, guard: Guard, doors: &str) -> Self {
        Self::in_turn(Turn::quiet(), source, guard, doors)
    }

    fn in_turn(_turn: Turn, source: &str, guard: Guard, doors: &str) -> Self {
        let net = Topology::new();
        let setup = Setup::new(&net.router, guard, doors);
        hear_by(&setup, source, doors);
        let _ssh = Service::tcp(&net.router.namespace, 22);
        Self {
            net,
            setup,
            _ssh,
            _turn,
        }
    }

    fn start(&self) -> Agent<'_> {
        self.setup.start(&self.net.router)
    }

    fn knock(&self, from: &Host, family: Family, knocks: &[Knock]) {
        knock_whole(from, self.net.router.address(family), knocks);
    }

    fn ssh(&self, family: Family) -> SocketAddr {
        self.net.router.port(family, 22)
    }

    /// Knocks as the client, who is then let in, and so is nobody else.
    #[track_caller]
    fn open(&self, family: Family) {
        let client = &self.net.client;
        self.knock(client, family, &OPEN);
        let ssh = self.ssh(family);
        assert!(probe::tcp_opens(&client.namespace, ssh, SOON));
        let stranger = &self.net.stranger.namespace;
        assert_eq!(probe::tcp(stranger, ssh), Answer::Silent);
    }

    #[track_caller]
    fn close(&self, family: Family) {
        let client = &self.net.client;
        self.knock(client, family, &CLOSE);
        assert!(probe::tcp_shuts(&client.namespace, self.ssh(family), SOON));
    }
}

fn hear_by(setup: &Setup, source: &str, doors: &str) {
    setup.hear_by(&format!("\toption source '{source}'\n"));
    setup.rewrite(doors);
}

fn with_each_source(body: impl Fn(&'static str)) {
    for source in SOURCES {
        in_case_of(source, || body(source));
    }
}

fn sequences_open_and_close() {
    with_each_source(|source| {
        for guard in Guard::BOTH {
            let stage = Stage::new(source, guard, SSH_DOOR);
            let _agent = stage.start();
            on_both_families(|family| {
                stage.open(family);
                stage.close(family);
            });
            let status = stage.setup.verb(&stage.net.router, "status", &[]).ok();
            assert!(status.contains(&format!("seen by {source}")), "{status}");
        }
    });
}

fn a_wrong_knock_ends_the_attempt() {
    with_each_source(|source| {
        let stage = Stage::new(source, Guard::Gate, SSH_DOOR);
        let _agent = stage.start();
        on_both_families(|family| {
            let [first, second, third] = OPEN;
            stage.knock(
                &stage.net.stranger,
                family,
                &[first, second, CLOSE[0], third],
            );
            stage.open(family);
        });
    });
}

/// A TCP port that the agent listens at as a decoy, as the rules for NFLOG name them.
fn decoy(setup: &Setup, net: &Topology) -> Knock {
    hear_by(setup, "nflog", SSH_DOOR);
    let rules = setup.verb(&net.router, "render", &[]).ok();
    let (_, map) = rules.split_once("map tcp_knocks").expect("a map");
    let (before, _) = map.split_once(" : goto decoy").expect("a decoy");
    // The first of several: that is where a socket listens.
    let ports = before.rsplit([' ', '\t', '{', ',']).next();
    let first = ports.and_then(|ports| ports.split('-').next());
    Knock::Tcp(first.and_then(|port| port.parse().ok()).expect("a port"))
}

fn a_hit_at_a_decoy_ends_the_attempt() {
    with_each_source(|source| {
        let stage = Stage::new(source, Guard::Gate, SSH_DOOR);
        let decoy = decoy(&stage.setup, &stage.net);
        hear_by(&stage.setup, source, SSH_DOOR);
        let _agent = stage.start();
        on_both_families(|family| {
            let [first, second, third] = OPEN;
            let stranger = &stage.net.stranger;
            stage.knock(stranger, family, &[first, second, decoy, third]);
            // Of IPv6, both are of one network.
            nft::forget_hits(&stage.net.router.namespace);
            stage.open(family);
        });
        assert_eq!(stage.setup.counter(&stage.net.router, "wrong"), 4);
    });
}

fn an_interface_that_was_made_anew_is_heard() {
    with_each_source(|source| {
        let stage = Stage::new(source, Guard::Gate, SSH_DOOR);
        let agent = stage.start();
        let (id, before) = (agent.id(), stage.setup.counter(&stage.net.router, "opened"));
        for _ in 0..2 {
            stage.net.unplug_router();
            stage.net.plug_router();
            on_both_families(|family| {
                stage.open(family);
                stage.close(family);
            });
        }
        assert_eq!(agent.id(), id);
        assert_eq!(stage.setup.counter(&stage.net.router, "opened"), before + 4);
        assert_eq!(agent.log().matches("postern: ready").count(), 1);
    });
}

fn an_interface_that_comes_late_is_heard() {
    with_each_source(|source| {
        let stage = Stage::new(source, Guard::Gate, SSH_DOOR);
        stage.net.unplug_router();
        let _agent = stage.start();
        stage.net.plug_router();
        on_both_families(|family| stage.open(family));
    });
}

fn a_link_that_was_down_is_heard() {
    with_each_source(|source| {
        let stage = Stage::new(source, Guard::Gate, SSH_DOOR);
        let _agent = stage.start();
        let router = &stage.net.router;
        router.namespace.ip_batch("link set wan down\n");
        router.namespace.ip_batch(&format!(
            "link set wan up\naddress replace {}/64 dev wan nodad\n",
            router.v6
        ));
        stage.net.settle();
        on_both_families(|family| stage.open(family));
    });
}

/// Neither knocks on another interface count, nor do its ports answer otherwise than before.
fn other_interfaces_are_not_heard() {
    with_each_source(|source| {
        let stage = Stage::new(source, Guard::Gate, SSH_DOOR);
        let neighbour = stage.net.add_neighbour();
        let _agent = stage.start();
        let inside: IpAddr = "198.18.0.1".parse().expect("an address");
        for _ in 0..2 {
            knock_whole(&neighbour, inside, &OPEN);
            let answer = probe::tcp(&neighbour.namespace, SocketAddr::new(inside, 7000));
            assert_ne!(answer, Answer::Open);
            stage.open(Family::V4);
            stage.close(Family::V4);
            let seen = stage.setup.counter(&stage.net.router, "seen");
            assert_eq!(seen % 5, 0, "{seen}");
            // A new interface takes none of another's place, whatever its number.
            stage
                .net
                .router
                .namespace
                .ip_batch(&format!("link set {LAN} down\n"));
            stage.net.unplug_router();
            stage.net.plug_router();
            stage
                .net
                .router
                .namespace
                .ip_batch(&format!("link set {LAN} up\n"));
        }
    });
}

fn a_reload_changes_the_source_and_keeps_grants_and_attempts() {
    // Only who was started with it may open it again.
    let stage = Stage::new("packet", Guard::Gate, SSH_DOOR);
    let agent = stage.start();
    stage.open(Family::V4);
    let ssh = stage.ssh(Family::V4);
    let (client, stranger) = (&stage.net.client, &stage.net.stranger);
    let [first, second, third] = OPEN;
    let ways = [
        ("packet", "sockets"),
        ("sockets", "nflog"),
        ("nflog", "sockets"),
        ("sockets", "packet"),
        ("packet", "nflog"),
        ("nflog", "packet"),
    ];
    for way in ways {
        in_case_of(way, || {
            stage.knock(stranger, Family::V4, &[first, second]);
            poll_until(SOON, "the attempt under way", || {
                let status = stage.setup.verb(&stage.net.router, "status", &[]).ok();
                status.contains(&format!("{} has made 2 of 3", stranger.v4))
            });
            hear_by(&stage.setup, way.1, SSH_DOOR);
            agent.reload_now();
            assert_eq!(probe::tcp(&client.namespace, ssh), Answer::Open);
            assert_eq!(probe::tcp(&stranger.namespace, ssh), Answer::Silent);
            stage.knock(stranger, Family::V4, &[third]);
            assert!(probe::tcp_opens(&stranger.namespace, ssh, SOON));
            stage.knock(stranger, Family::V4, &CLOSE);
            assert!(probe::tcp_shuts(&stranger.namespace, ssh, SOON));
            // By the same source, at other ports.
            let moved = SSH_DOOR.replace("tcp:7000", "tcp:7001");
            stage.setup.rewrite(&moved);
            agent.reload_now();
            stage.knock(stranger, Family::V6, &[Knock::Tcp(7001), second, third]);
            assert!(probe::tcp_opens(
                &stranger.namespace,
                stage.ssh(Family::V6),
                SOON
            ));
            stage.setup.rewrite(SSH_DOOR);
            agent.reload_now();
            stage.knock(client, Family::V4, &OPEN);
        });
    }
}

fn a_source_that_cannot_be_had_changes_nothing() {
    for source in ["nflog", "packet"] {
        let stage = Stage::new(source, Guard::Gate, SSH_DOOR);
        let agent = stage.start();
        let taken = Listener::new(&stage.net.router.namespace, 9003);
        hear_by(&stage.setup, "sockets", SSH_DOOR);
        agent.reload();
        poll_until(SOON, "a complaint", || {
            agent.log().contains("tcp:9003 is taken")
        });
        on_both_families(|family| stage.open(family));
        close(taken);
        agent.reload_now();
        on_both_families(|family| stage.close(family));
    }
}

fn a_flood_of_forged_syns_is_survived_in_bounded_memory() {
    with_each_source(|source| {
        let stage = Stage::in_turn(Turn::loud(), source, Guard::Gate, SSH_DOOR);
        let (router, client) = (&stage.net.router, &stage.net.client);
        // Answers to forged addresses go to somebody who does not want them.
        let back = format!("route add 10.0.0.0/8 via {}\n", stage.net.stranger.v4);
        router.namespace.ip_batch(&back);
        let agent = stage.start();
        let sender = Sender::new(&client.namespace);
        let flood = |seconds| {
            let ends_at = Instant::now() + Duration::from_secs(seconds);
            let first = router.port(Family::V4, 7000);
            sender.flood(first, 100_000, || Instant::now() >= ends_at)
        };
        let sent = flood(1);
        let after_one = agent.resident();
        let sent = sent + flood(2);
        let after_three = agent.resident();
        let lost = stage.setup.counter(router, "lost");
        println!("{source}: {sent} SYNs, {lost} lost, {after_one} and {after_three} KiB");
        assert!(after_three <= after_one + 256, "{after_one} {after_three}");
        assert!(after_three < 16 << 10, "{after_three}");
        stage.open(Family::V4);
        stage.open(Family::V6);
        let honest = agent.resident();
        assert!(honest <= after_three + 256, "{honest}");
    });
}

fn what_the_kernel_could_not_hand_over_is_reported() {
    with_each_source(|source| {
        let stage = Stage::in_turn(Turn::loud(), source, Guard::Gate, SSH_DOOR);
        let agent = stage.start();
        let router = &stage.net.router;
        assert_eq!(stage.setup.counter(router, "lost"), 0);
        let sender = Sender::new(&stage.net.client.namespace);
        let from = stage.net.client.port(Family::V4, 40_000);
        // More than 8 MiB have room for, and of connections there is none.
        let knock = match source {
            "sockets" => Packet::udp(from, router.port(Family::V4, 8001), &[0]),
            _ => Packet::syn(from, router.port(Family::V4, 7000)),
        };
        agent.hang();
        for _ in 0..40_000 {
            sender.send(&knock);
        }
        agent.go_on();
        // What was lost of NFLOG's packets, the number of one that found room tells.
        let (client, ssh) = (&stage.net.client, stage.ssh(Family::V6));
        poll_until(SOON, "a knock finds room", || {
            stage.knock(client, Family::V6, &OPEN);
            probe::tcp(&client.namespace, ssh) == Answer::Open
        });
        let lost = stage.setup.counter(router, "lost");
        assert!(lost > 0);
        if source == "nflog" {
            assert!(stage.setup.counter(router, "overruns") > 0);
        }
        let status = stage.setup.verb(router, "status", &[]).ok();
        assert!(!status.contains(" 0 packets lost"), "{status}");
        stage.open(Family::V4);
    });
}

/// Waking up is a call of poll, and where a source has several files, one of epoll_wait.
/// A call that strace interrupted is named anew.
const WAKING: [&str; 4] = ["poll", "ppoll", "restart_syscall", "epoll_wait"];

fn a_knock_costs_receiving_it_and_a_question_and_a_batch_if_it_opens() {
    let ways: [(&str, &[&str]); 3] = [
        ("nflog", &["recvfrom"]),
        ("packet", &["recvmmsg"]),
        ("sockets", &["recvmmsg"]),
    ];
    for (source, receiving) in ways {
        in_case_of(source, || {
            let doors = SSH_DOOR.replace("tcp:", "udp:").replace("udp:22", "tcp:22");
            let stage = Stage::new(source, Guard::Gate, &doors);
            let agent = stage.start();
            let (client, router) = (&stage.net.client, &stage.net.router);
            let sender = Sender::new(&client.namespace);
            let knocker = |number: u8| {
                let from = IpAddr::from([192, 0, 2, number]);
                Knocker::new(&sender, from, router.v4.into())
            };
            let open = OPEN.map(|knock| Knock::Udp(knock.port()));
            let calls_of_a_knock = |last: u8| {
                let strace = Strace::counting(agent.id());
                // So few that NFLOG is not asked to put them together.
                for number in [last + 1, last + 2] {
                    knocker(number).send(&open[..2]);
                }
                knocker(last).send(&open);
                let source = IpAddr::from([192, 0, 2, last]);
                let granted = || nft::expiry(&router.namespace, "inet postern", source);
                poll_until(SOON, "the grant", || granted().is_some());
                let source = source.to_string();
                poll_until(SOON, "the line about it", || agent.log().contains(&source));
                let calls = strace.calls().into_iter();
                calls
                    .filter(|call| !WAKING.contains(&call.as_str()))
                    .collect()
            };
            let is_all = |calls: &Vec<String>| {
                let batch_at = calls.iter().position(|call| call == "sendto");
                let (before, batch) = calls.split_at(batch_at.expect("a batch"));
                // The question for a hit at a decoy, the batch, the answers to both, and the line in the log after them.
                let (batch, after) = batch.split_at(5.min(batch.len()));
                let mut received = before.iter().chain(after);
                batch == ["sendto", "recvfrom", "sendto", "recvfrom", "write"]
                    && received.all(|call| receiving.contains(&call.as_str()))
            };
            // What it does of itself once in a while may come between.
            let tried: Vec<Vec<String>> = (1..=5).map(|turn| calls_of_a_knock(turn * 10)).collect();
            assert!(tried.iter().any(is_all), "{tried:?}");
        });
    }
}

/// The agent's user and group: by name, or by their number where no package made them.
fn account() -> [String; 2] {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut users = users
        .lines()
        .filter_map(|line| line.strip_prefix("postern:"));
    let fields: Vec<&str> = users.next().unwrap_or("x:60917:60917").split(':').collect();
    [fields[1].into(), fields[2].into()]
}

/// What the kernel says of a process in this line.
#[track_caller]
fn status_of(agent: &Agent<'_>, line: &str) -> String {
    let path = format!("/proc/{}/status", agent.id());
    let status = fs::read_to_string(path).expect("it runs");
    let mut values = status.lines().filter_map(|each| each.strip_prefix(line));
    let value = values.next().and_then(|value| value.strip_prefix(':'));
    let words = value.unwrap_or_default().split_whitespace();
    words.collect::<Vec<_>>().join(" ")
}

fn no_more_privileges_are_kept_than_are_needed() {
    // CAP_NET_ADMIN is 12, CAP_NET_RAW 13, CAP_NET_BIND_SERVICE 10 (linux/capability.h).
    let low = SSH_DOOR.replace("tcp:7000", "tcp:700");
    let ways = [
        ("nflog", SSH_DOOR, 1 << 12),
        ("packet", SSH_DOOR, 1 << 12 | 1 << 13),
        ("sockets", SSH_DOOR, 1 << 12),
        ("sockets", &low, 1 << 12 | 1 << 10),
    ];
    for (source, doors, capabilities) in ways {
        in_case_of((source, capabilities), || {
            let stage = Stage::new(source, Guard::Gate, doors);
            let agent = stage.start();
            let capabilities: u64 = capabilities;
            for set in ["CapEff", "CapPrm", "CapBnd"] {
                assert_eq!(
                    status_of(&agent, set),
                    format!("{capabilities:016x}"),
                    "{set}"
                );
            }
            for (line, number) in ["Uid", "Gid"].into_iter().zip(&account()) {
                let all = [number.as_str(); 4].join(" ");
                assert_eq!(status_of(&agent, line), all, "{line}");
            }
            assert_eq!(status_of(&agent, "Groups"), account()[1]);
            assert_eq!(status_of(&agent, "NoNewPrivs"), "1");
            assert_eq!(status_of(&agent, "Seccomp"), "2");
            // Of a process that is not dumpable, these are root's.
            let files = format!("/proc/{}/fd", agent.id());
            assert_eq!(fs::metadata(&files).expect("it runs").uid(), 0);
            let limits = fs::read_to_string(format!("/proc/{}/limits", agent.id()));
            let limits = limits.expect("it runs");
            let core = limits.lines().find(|line| line.starts_with("Max core"));
            assert_eq!(
                core.map(|core| core.split_whitespace().nth(4)),
                Some(Some("0"))
            );
            if doors == SSH_DOOR {
                stage.net.unplug_router();
                stage.net.plug_router();
                on_both_families(|family| stage.open(family));
            }
        });
    }
}

/// Reloads, a trial and what it goes back to, callers and a clean end, by who is not root any more.
fn what_takes_more_is_refused_by_a_running_agent_that_goes_on() {
    let stage = Stage::new("nflog", Guard::Gate, SSH_DOOR);
    let agent = stage.start();
    let router = &stage.net.router;
    let low = SSH_DOOR.replace("tcp:7000", "tcp:700");
    for (source, doors) in [("packet", SSH_DOOR), ("sockets", &low)] {
        in_case_of(source, || {
            hear_by(&stage.setup, source, doors);
            let trial = ["--confirm-within", "60s"];
            for (verb, options) in [("reload", &[][..]), ("apply", &[]), ("apply", &trial)] {
                let said = stage.setup.verb(router, verb, options);
                assert!(
                    said.status == 1 && said.stderr.contains("restart"),
                    "{said:?}"
                );
            }
        });
    }
    hear_by(&stage.setup, "nflog", SSH_DOOR);
    agent.reload_now();
    on_both_families(|family| stage.open(family));
    agent.stop();
}

/// Whoever writes a file anew as root, as an editor may, hands it over by the verb.
fn a_file_of_roots_is_handed_over_by_whoever_reloads() {
    let stage = Stage::new("nflog", Guard::Gate, SSH_DOOR);
    let mut agent = stage.start();
    let router = &stage.net.router;
    let private = |mode| {
        let config = stage.setup.config();
        fs::set_permissions(&config, Permissions::from_mode(mode)).expect("change its mode");
        chown(&config, Some(0), Some(0)).expect("give it back to root");
    };
    private(0o600);
    agent.reload();
    agent.wait_for_line("postern: the running configuration stays");
    assert!(
        agent.log().contains("'postern reload' hands it over"),
        "{}",
        agent.log()
    );
    stage.setup.verb(router, "reload", &[]).ok();
    let facts = fs::metadata(stage.setup.config()).expect("it is there");
    assert_eq!((facts.uid(), facts.mode() & 0o7777), (0, 0o640));
    assert_eq!(facts.gid().to_string(), account()[1]);
    private(0o600);
    stage.setup.verb(router, "check", &["--hand-over"]).ok();
    agent.reload_now();
    on_both_families(|family| stage.open(family));
}

/// So nobody can knock at sockets by TCP in the name of another.
fn half_a_connection_is_no_knock_at_a_socket() {
    let stage = Stage::new("sockets", Guard::Gate, SSH_DOOR);
    let _agent = stage.start();
    let router = &stage.net.router;
    let sender = Sender::new(&stage.net.client.namespace);
    let syns = [OPEN[0], OPEN[2]];
    on_both_families(|family| {
        // The client resets what it knows nothing of; nobody has the other address.
        let nobody = match family {
            Family::V4 => "192.0.2.77",
            Family::V6 => "2001:db8::77",
        };
        let nobody: IpAddr = nobody.parse().expect("an address");
        for from in [stage.net.client.address(family), nobody] {
            Knocker::new(&sender, from, router.address(family)).send(&syns);
        }
    });
    stage.open(Family::V4);
    assert_eq!(stage.setup.counter(router, "seen"), 3);
}

fn what_is_exported_knocks_at_sockets() {
    let stage = Stage::new("sockets", Guard::Gate, SSH_DOOR);
    let _agent = stage.start();
    let net = &stage.net;
    let exported = stage.setup.verb(&net.router, "export", &["ssh"]).ok();
    assert!(exported.contains("option source 'sockets'"), "{exported}");
    let visitor = Visitor::new(net, &exported);
    for (family, option) in [(Family::V4, "-4"), (Family::V6, "-6")] {
        let ssh = stage.ssh(family);
        visitor.knock(&net.client, &[option, ROUTER, "ssh"]).ok();
        assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
        visitor
            .knock(&net.client, &[option, ROUTER, "ssh", "--close"])
            .ok();
        assert!(probe::tcp_shuts(&net.client.namespace, ssh, SOON));
    }
}

fn codes_of_six_digits_have_sockets() {
    let door = "
config door 'ssh'
	list guard 'tcp:22'
	option method 'one-time-seed'
	option secret_file '@/secret'
	option protocol 'mixed'
	option cutoff '5 per 10m'
";
    let stage = Stage::new("nflog", Guard::Gate, SSH_DOOR);
    // The secret of RFC 4226, appendix D, whose first codes are 755224 and 287082.
    stage
        .setup
        .write_private("secret", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\n");
    hear_by(&stage.setup, "sockets", door);
    let _agent = stage.start();
    let router = &stage.net.router;
    stage
        .setup
        .verb(router, "resync", &["ssh", "--to", "0"])
        .ok();
    stage.knock(
        &stage.net.client,
        Family::V4,
        &[Knock::Tcp(10_755), Knock::Udp(10_224)],
    );
    let ssh = stage.ssh(Family::V4);
    assert!(probe::tcp_opens(&stage.net.client.namespace, ssh, SOON));
    assert_eq!(
        probe::tcp(&stage.net.stranger.namespace, ssh),
        Answer::Silent
    );
    let listening = |protocol: &str| {
        let sockets = stage
            .net
            .router
            .namespace
            .run("ss", &["-Hln", protocol])
            .ok();
        sockets.lines().filter(|line| line.contains(":10")).count()
    };
    assert_eq!((listening("-t"), listening("-u")), (1000, 1000));
}

fn codes_of_eight_digits_have_none() {
    let door = "
config door 'ssh'
	list guard 'tcp:22'
	option method 'one-time-seed'
	option secret_file '@/secret'
	option digits '8'
	option cutoff '5 per 10m'
";
    let stage = Stage::new("sockets", Guard::Gate, door);
    let said = stage.setup.verb(&stage.net.router, "check", &[]);
    assert_eq!(said.status, 1);
    let reason = "takes one for each of 10000 ports, expected at most 4000";
    assert!(said.stderr.contains(reason), "{}", said.stderr);
    assert!(
        said.stderr.contains("show it to a port scan"),
        "{}",
        said.stderr
    );
}

fn a_taken_port_is_named_and_a_taken_decoy_is_done_without() {
    let stage = Stage::new("sockets", Guard::Gate, SSH_DOOR);
    let router = &stage.net.router.namespace;
    let config = stage.setup.config();
    let run = |knock: &str| {
        let program = postern_tests::agent::program();
        let [program, config] = [&program, &config].map(|path| path.display().to_string());
        let said = router.run("timeout", &["5", &program, "run", "--config", &config]);
        assert_eq!(said.status, 1, "{said:?}");
        let reason = format!("{knock} is taken by another program");
        assert!(said.stderr.contains(&reason), "{said:?}");
        assert_eq!(nft::table(router, "inet postern"), None);
    };
    let taken = Listener::new(router, 9003);
    run("tcp:9003");
    close(taken);
    let taken = Service::udp_echo(router, 8001);
    run("udp:8001");
    close(taken);
    // What is a decoy without a service is one that listens.
    let agent = stage.start();
    let known = |port: &str| {
        OPEN.iter()
            .chain(&CLOSE)
            .any(|knock| port == knock.port().to_string())
    };
    let sockets = router.run("ss", &["-Hlnt"]).ok();
    let ports = sockets.lines().filter_map(|line| {
        let local = line.split_whitespace().nth(3)?;
        Some(local.rsplit_once(':')?.1.to_owned())
    });
    let decoy = ports.filter(|port| port != "22").find(|port| !known(port));
    let decoy: u16 = decoy.expect("a decoy").parse().expect("a port");
    assert!(agent.stop().success());
    let _service = Service::tcp(router, decoy);
    let _agent = stage.start();
    let service = stage.net.router.port(Family::V4, decoy);
    assert_eq!(
        probe::tcp(&stage.net.client.namespace, service),
        Answer::Open
    );
    nft::forget_hits(router);
    on_both_families(|family| stage.open(family));
}
