//! Doors whose attempts nftables itself keeps count of: both engines, with no process of ours.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_tests::agent::{Guard, SSH_DOOR, Setup};
use postern_tests::knocker::{Knock, Knocker, list, stock_knock};
use postern_tests::packet::Packet;
use postern_tests::probe::{self, Answer, Capture};
use postern_tests::sender::Sender;
use postern_tests::server::Service;
use postern_tests::suite::{Suite, in_case_of, on_both_families};
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::{SOON, poll_until, until_aged};
use postern_tests::{nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        every_method_opens_and_closes_to_the_stock_client needs "knock",
        every_method_opens_and_closes_where_the_firewall_asks_for_a_mark needs "knock",
        wrong_knocks_do_not_open,
        knocks_beyond_the_window_do_not_open,
        repeated_knocks_open_and_do_not_close_again,
        knocks_are_not_answered,
        a_hit_at_a_decoy_ends_an_attempt,
        a_full_set_is_counted,
        doors_of_all_engines_share_their_ports needs "knock",
        a_door_is_opened_and_closed_by_hand needs "knock",
        status_tells_who_has_come_how_far,
        installing_again_keeps_grants_and_lets_nobody_through needs "knock",
        an_agent_takes_over_and_leaves_again needs "knock",
    ]
}

const ENGINES: [&str; 2] = ["chain", "track"];

/// A method, and knocks of either protocol.
struct Plan {
    method: &'static str,
    guard: u16,
    open: &'static [Knock],
    close: &'static [Knock],
}

const PLANS: [Plan; 4] = {
    use Knock::{Tcp, Udp};
    [
        Plan {
            method: "single-same",
            guard: 2201,
            open: &[Tcp(7100)],
            close: &[Tcp(7100)],
        },
        Plan {
            method: "single-separate",
            guard: 2202,
            open: &[Udp(7200)],
            close: &[Tcp(7201)],
        },
        Plan {
            method: "sequence-same",
            guard: 2203,
            open: &[Tcp(7303), Udp(7301), Tcp(7302)],
            close: &[Tcp(7303), Udp(7301), Tcp(7302)],
        },
        Plan {
            method: "sequence-separate",
            guard: 2204,
            open: &[Udp(7404), Tcp(7401), Tcp(7403), Udp(7402)],
            close: &[Udp(7402), Tcp(7403)],
        },
    ]
};

impl Plan {
    fn config(&self, engine: &str) -> String {
        let Self {
            method,
            guard,
            open,
            close,
        } = self;
        let (open, close) = match method.ends_with("same") {
            true => (list("open", open), String::new()),
            false => (list("open", open), list("close", close)),
        };
        format!(
            "config door 'd{guard}'\n\tlist guard 'tcp:{guard}'\n\toption method '{method}'\n\
             \toption engine '{engine}'\n{open}{close}"
        )
    }
}

/// The door of most tests, opened by TCP 7000, UDP 8001 and TCP 9002.
fn ssh_door(engine: &str) -> String {
    format!("{SSH_DOOR}\toption engine '{engine}'\n")
}

const OPEN: [Knock; 3] = [Knock::Tcp(7000), Knock::Udp(8001), Knock::Tcp(9002)];
const CLOSE: [Knock; 2] = [Knock::Tcp(9003), Knock::Tcp(7004)];

/// A client that sends what it likes, and a router that runs nothing of ours.
struct Stage {
    net: Topology,
    sender: Sender,
    _ssh: Service,
    setup: Setup,
}

impl Stage {
    fn new(doors: &str) -> Self {
        let net = Topology::new();
        let setup = Setup::new(&net.router, Guard::Gate, doors);
        apply_alone(&net, &setup);
        Self {
            sender: Sender::new(&net.client.namespace),
            _ssh: Service::tcp(&net.router.namespace, 22),
            net,
            setup,
        }
    }

    fn knocker(&self, family: Family) -> Knocker<'_> {
        let (client, router) = (&self.net.client, &self.net.router);
        Knocker::new(&self.sender, client.address(family), router.address(family))
    }

    fn knock(&self, family: Family, knocks: &[Knock]) {
        self.knocker(family).send(knocks);
    }

    fn ssh(&self, family: Family) -> SocketAddr {
        self.net.router.port(family, 22)
    }

    #[track_caller]
    fn expect_open(&self, family: Family) {
        let client = &self.net.client.namespace;
        assert!(probe::tcp_opens(client, self.ssh(family), SOON));
    }

    #[track_caller]
    fn expect_shut(&self, family: Family) {
        let client = &self.net.client.namespace;
        assert_eq!(probe::tcp(client, self.ssh(family)), Answer::Silent);
    }
}

/// Has the kernel do all of it, and makes sure that nothing else is left.
#[track_caller]
fn apply_alone(net: &Topology, setup: &Setup) {
    let said = setup.verb(&net.router, "apply", &[]);
    assert!(!said.stderr.contains("nobody hears"), "{said:?}");
    assert_eq!(said.ok(), "guard installed\n");
    expect_no_process(net);
}

#[track_caller]
fn expect_no_process(net: &Topology) {
    let pids = net
        .wire
        .run("ip", &["netns", "pids", net.router.namespace.name()])
        .ok();
    for pid in pids.split_whitespace() {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        assert_ne!(name.trim(), "postern");
    }
}

/// With each engine, on a stage of its own.
fn with_each(options: &str, body: impl Fn(&Stage)) {
    for engine in ENGINES {
        in_case_of(engine, || {
            let stage = Stage::new(&format!("{}{options}", ssh_door(engine)));
            body(&stage);
        });
    }
}

fn every_method_opens_and_closes_to_the_stock_client() {
    every_method_opens_and_closes(Guard::Gate);
}

fn every_method_opens_and_closes_where_the_firewall_asks_for_a_mark() {
    every_method_opens_and_closes(Guard::Mark);
}

fn every_method_opens_and_closes(guard: Guard) {
    for engine in ENGINES {
        let net = Topology::new();
        let doors: String = PLANS.iter().map(|plan| plan.config(engine)).collect();
        let setup = Setup::new(&net.router, guard, &doors);
        apply_alone(&net, &setup);
        for plan in &PLANS {
            let _service = Service::tcp(&net.router.namespace, plan.guard);
            on_both_families(|family| {
                in_case_of((engine, plan.method), || {
                    play(&net, plan, net.router.port(family, plan.guard));
                });
            });
        }
        expect_no_process(&net);
    }
}

/// Opens a door and closes it, twice, as somebody else looks on.
fn play(net: &Topology, plan: &Plan, guarded: SocketAddr) {
    let from = &net.client.namespace;
    assert_eq!(probe::tcp(from, guarded), Answer::Silent);
    for _ in 0..2 {
        stock_knock(&net.client, guarded.ip(), plan.open);
        assert!(probe::tcp_opens(from, guarded, SOON));
        assert_eq!(probe::tcp(&net.stranger.namespace, guarded), Answer::Silent);
        stock_knock(&net.client, guarded.ip(), plan.close);
        assert!(probe::tcp_shuts(from, guarded, SOON));
    }
}

fn wrong_knocks_do_not_open() {
    with_each("", |stage| {
        let [a, b, c] = OPEN;
        on_both_families(|family| {
            for wrong in [
                &[c][..],
                &[a, c],
                &[b, a, c],
                &[a, c, b],
                &[c, b, a],
                &[a, b, CLOSE[0], c],
                &[a, b, CLOSE[1], c],
                &[a, Knock::Tcp(8001), c],
            ] {
                stage.knock(family, wrong);
                stage.expect_shut(family);
                // Whatever is left of it does not add up with the next one.
                stage.knock(family, &[CLOSE[1]]);
            }
            stage.knock(family, &[a, b, a, c]);
            stage.expect_open(family);
            stage.knock(family, &[CLOSE[1], CLOSE[0]]);
            stage.expect_open(family);
            stage.knock(family, &CLOSE);
            stage.expect_shut(family);
        });
    });
}

fn knocks_beyond_the_window_do_not_open() {
    for engine in ENGINES {
        in_case_of(engine, || {
            let stage = Stage::new(&ssh_door(engine).replace("'10s'", "'1s'"));
            let [a, b, c] = OPEN;
            on_both_families(|family| {
                let began = Instant::now();
                stage.knock(family, &[a]);
                until_aged(began, Duration::from_millis(700));
                stage.knock(family, &[b]);
                until_aged(began, Duration::from_millis(1_100));
                // Since the second knock, there is less than the window.
                stage.knock(family, &[c]);
                stage.expect_shut(family);
                stage.knock(family, &OPEN);
                stage.expect_open(family);
            });
        });
    }
}

fn repeated_knocks_open_and_do_not_close_again() {
    for engine in ENGINES {
        in_case_of(engine, || {
            let toggle = PLANS[0].config(engine);
            let stage = Stage::new(&format!("{}{toggle}", ssh_door(engine)));
            let toggled = Service::tcp(&stage.net.router.namespace, PLANS[0].guard);
            on_both_families(|family| {
                // The network doubles every packet; TCP sends a SYN again that nobody answers.
                let knocker = stage.knocker(family);
                let packets = OPEN.map(|knock| knocker.packet(knock));
                for packet in packets.iter().flat_map(|packet| [packet, packet]) {
                    stage.sender.send(packet);
                }
                stage.expect_open(family);
                let door = stage.net.router.port(family, PLANS[0].guard);
                let syn = knocker.packet(PLANS[0].open[0]);
                for _ in 0..5 {
                    stage.sender.send(&syn);
                    let from = &stage.net.client.namespace;
                    assert!(probe::tcp_opens(from, door, SOON));
                }
                stage.knock(family, PLANS[0].open);
                assert_eq!(
                    probe::tcp(&stage.net.client.namespace, door),
                    Answer::Silent
                );
            });
            drop(toggled);
        });
    }
}

fn knocks_are_not_answered() {
    with_each("", |stage| {
        on_both_families(|family| {
            let mut capture = Capture::new(&stage.net.client);
            stage.knock(family, &OPEN[..2]);
            stage.knock(family, &CLOSE);
            stage.knock(family, &[Knock::Tcp(22)]);
            let router = stage.net.router.address(family);
            assert_eq!(capture.answers(&stage.net.client, router), []);
        });
    });
}

/// A port of each of the door's decoys, as the installed table has them.
fn decoys(stage: &Stage) -> Vec<Knock> {
    let table = nft::table(&stage.net.router.namespace, "inet postern").expect("a guard");
    let mut decoys = Vec::new();
    for (map, knock) in [
        ("map tcp_knocks", Knock::Tcp as fn(u16) -> Knock),
        ("map udp_knocks", Knock::Udp),
    ] {
        let (_, rest) = table.split_once(map).expect("a map");
        let (map, _) = rest.split_once('}').expect("its end");
        let elements = map
            .split(',')
            .filter(|element| element.contains("goto decoy_"));
        let ports = elements.map(|element| {
            let ports = element.split(" : goto").next().unwrap_or_default();
            let ports = ports.split_whitespace().last().unwrap_or_default();
            let first = ports.split('-').next();
            first.and_then(|port| port.parse().ok()).expect("a port")
        });
        decoys.extend(ports.map(knock));
    }
    decoys
}

fn a_hit_at_a_decoy_ends_an_attempt() {
    with_each("", |stage| {
        let decoys = decoys(stage);
        assert_eq!(decoys.len(), 16);
        on_both_families(|family| {
            for decoy in &decoys {
                stage.knock(family, &[OPEN[0], OPEN[1], *decoy, OPEN[2]]);
            }
            stage.expect_shut(family);
            // Whoever is there is not in the way.
            let port = decoys.iter().find_map(|decoy| match decoy {
                Knock::Tcp(port) => Some(*port),
                Knock::Udp(_) => None,
            });
            let port = port.expect("a decoy of TCP");
            let router = &stage.net.router;
            let to = router.port(family, port);
            assert_eq!(probe::tcp(&stage.net.client.namespace, to), Answer::Refused);
            let _service = Service::tcp(&router.namespace, port);
            assert_eq!(probe::tcp(&stage.net.client.namespace, to), Answer::Open);
            stage.knock(family, &OPEN);
            stage.expect_shut(family);
            nft::forget_hits(&router.namespace);
            stage.knock(family, &OPEN);
            stage.expect_open(family);
        });
    });
}

fn a_full_set_is_counted() {
    with_each("", |stage| {
        let router = &stage.net.router.namespace;
        let sets = ["open1v4_ssh", "openfrom4_ssh"];
        let table = nft::table(router, "inet postern").expect("a guard");
        let set = sets.iter().find(|set| table.contains(*set)).expect("a set");
        let source = |number: u32| std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string();
        let all: Vec<String> = (0..1024).map(source).collect();
        let (all, timeout) = (all.join(" timeout 2s, "), "timeout 2s");
        nft::apply(
            router,
            &format!("add element inet postern {set} {{ {all} {timeout} }}"),
        );
        stage.knock(Family::V4, &OPEN);
        stage.expect_shut(Family::V4);
        assert_eq!(stage.setup.counter(&stage.net.router, "no_room"), 1);
        stage.knock(Family::V6, &OPEN);
        stage.expect_open(Family::V6);
        poll_until(SOON, "there is room again", || {
            stage.knock(Family::V4, &OPEN);
            probe::tcp(&stage.net.client.namespace, stage.ssh(Family::V4)) == Answer::Open
        });
    });
}

fn doors_of_all_engines_share_their_ports() {
    let net = Topology::new();
    let doors = ["chain", "daemon", "track"].map(|engine| {
        let door = ssh_door(engine).replace("'ssh'", &format!("'{engine}'"));
        door.replace("tcp:22", &format!("tcp:{}", 2400 + engine.len()))
    });
    // "chain" and "track" are of one length.
    let doors = [
        doors[0].replace("2405", "2404"),
        doors[1].clone(),
        doors[2].clone(),
    ];
    let setup = Setup::new(&net.router, Guard::Gate, &doors.concat());
    let said = setup.verb(&net.router, "apply", &[]);
    assert!(
        said.stderr.contains("nobody hears knocks at daemon until"),
        "{said:?}"
    );
    let ports = [2404, 2405, 2406];
    let _services = ports.map(|port| Service::tcp(&net.router.namespace, port));
    let answers = |family| {
        let from = &net.client.namespace;
        ports.map(|port| probe::tcp(from, net.router.port(family, port)))
    };
    use Answer::{Open, Silent};
    let v4 = net.router.address(Family::V4);
    stock_knock(&net.client, v4, &OPEN);
    assert_eq!(answers(Family::V4), [Open, Open, Silent]);
    stock_knock(&net.client, v4, &CLOSE);
    assert_eq!(answers(Family::V4), [Silent; 3]);
    let agent = setup.start(&net.router);
    on_both_families(|family| {
        let router = net.router.address(family);
        stock_knock(&net.client, router, &OPEN);
        let daemons = net.router.port(family, 2406);
        assert!(probe::tcp_opens(&net.client.namespace, daemons, SOON));
        assert_eq!(answers(family), [Open; 3]);
        stock_knock(&net.client, router, &CLOSE);
        assert!(probe::tcp_shuts(&net.client.namespace, daemons, SOON));
        assert_eq!(answers(family), [Silent; 3]);
    });
    // Its own door's knocks and closing ones are all that it counts.
    assert_eq!(setup.counter(&net.router, "seen"), 10);
    drop(agent);
}

fn a_door_is_opened_and_closed_by_hand() {
    with_each("", |stage| {
        let verb = |verb, arguments: &[&str]| {
            let arguments = [&["ssh"], arguments].concat();
            stage.setup.verb(&stage.net.router, verb, &arguments).ok()
        };
        on_both_families(|family| {
            let client = stage.net.client.address(family).to_string();
            verb("open", &["--from", &client, "--for", "1h"]);
            stage.expect_open(family);
            // A knock does not shorten it.
            stage.knock(family, &OPEN);
            let status = stage.setup.verb(&stage.net.router, "status", &[]).ok();
            let open = format!("open for {client}, 59m 5");
            assert!(status.contains(&open), "{status}");
            verb("close", &["--from", &client]);
            stage.expect_shut(family);
            stage.knock(family, &OPEN);
            stage.expect_open(family);
            verb("close", &[]);
            stage.expect_shut(family);
            verb("open", &["--from", &client]);
            stage.knock(family, &CLOSE);
            stage.expect_shut(family);
        });
    });
}

fn status_tells_who_has_come_how_far() {
    with_each("", |stage| {
        let status = |arguments: &[&str]| {
            let router = &stage.net.router;
            stage.setup.verb(router, "status", arguments).ok()
        };
        stage.knock(Family::V6, &OPEN);
        stage.knock(Family::V4, &OPEN[..2]);
        let engine = ENGINES.iter().find(|engine| {
            let config = std::fs::read_to_string(stage.setup.config());
            config
                .expect("a file")
                .contains(&format!("engine '{engine}'"))
        });
        let engine = engine.expect("an engine");
        let (v4, v6) = (stage.net.client.v4, stage.net.client.v6);
        let counts =
            "  knocks: 5 seen, 5 matched, 0 refused, 0 found no room; 1 opened, 0 closed\n";
        let text = status(&[]);
        for expected in [
            "agent: not running, no door needs one\n",
            &format!("door ssh: engine {engine}\n{counts}"),
            &format!("  open for {v6}, "),
            &format!("  {v4} has made 2 of 3 knocks to open, "),
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        let json = status(&["--json"]);
        for expected in [
            format!(
                "\"name\":\"ssh\",\"engine\":\"{engine}\",\"counters\":{{\"seen\":5,\"matched\":5,\"refused\":0,"
            ),
            format!(
                "\"source\":\"{v4}\",\"effect\":\"open\",\"accepted\":2,\"needed\":3,\"next\":\"tcp:9002\","
            ),
        ] {
            assert!(json.contains(&expected), "{expected}: {json}");
        }
        // An agent has the same to tell.
        let agent = stage.setup.start(&stage.net.router);
        let text = status(&[]);
        let door = format!("sequence-separate, window 10s, grant 30s, engine {engine}\n{counts}");
        assert!(text.contains(&door), "{text}");
        stage.knock(Family::V4, &OPEN[..1]);
        let made = format!("  {v4} has made 1 of 3 knocks to open, ");
        assert!(status(&[]).contains(&made));
        // Without a configuration, the kernel's part is told.
        agent.kill();
        stage.setup.rewrite_whole("nonsense");
        let text = status(&[]);
        assert!(
            text.contains("door ssh: engine in the kernel\n  knocks: 6 seen, "),
            "{text}"
        );
    });
}

fn installing_again_keeps_grants_and_lets_nobody_through() {
    with_each("", |stage| {
        let v4 = Family::V4;
        stock_knock(&stage.net.client, stage.ssh(v4).ip(), &OPEN);
        stage.expect_open(v4);
        let mut capture = Capture::new(&stage.net.stranger);
        let sender = Sender::new(&stage.net.stranger.namespace);
        for round in 0..20_u16 {
            stage.setup.verb(&stage.net.router, "apply", &[]).ok();
            for port in 0..100 {
                let from = stage.net.stranger.port(v4, 20_000 + round * 100 + port);
                sender.send(&Packet::syn(from, stage.ssh(v4)));
            }
            capture.seen();
        }
        let answers = capture.answers(&stage.net.stranger, stage.ssh(v4).ip());
        assert_eq!(answers.iter().filter(|answer| answer.accepts()).count(), 0);
        stage.expect_open(v4);
        assert_eq!(stage.setup.counter(&stage.net.router, "opened"), 1);
    });
}

fn an_agent_takes_over_and_leaves_again() {
    with_each("", |stage| {
        let (v4, router) = (Family::V4, &stage.net.router);
        stage.knock(v4, &OPEN);
        let agent = stage.setup.start(router);
        stage.expect_open(v4);
        stage.knock(v4, &CLOSE);
        stage.expect_shut(v4);
        stage.knock(v4, &OPEN);
        stage.expect_open(v4);
        let config = std::fs::read_to_string(stage.setup.config()).expect("a file");
        stage.setup.rewrite_whole(&config.replace("'30s'", "'40s'"));
        agent.reload();
        poll_until(SOON, "it is read again", || {
            agent.log().contains("read again")
        });
        stage.expect_open(v4);
        // It heard none of these knocks, and said nothing of them.
        assert_eq!(stage.setup.counter(router, "seen"), 0, "{}", agent.log());
        assert!(!agent.log().contains("door ssh"), "{}", agent.log());
        assert!(agent.stop().success());
        expect_no_process(&stage.net);
        stage.knock(v4, &CLOSE);
        stage.expect_shut(v4);
        stage.knock(v4, &OPEN);
        stage.expect_open(v4);
    });
}
