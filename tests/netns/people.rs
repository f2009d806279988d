//! Doors that belong to people: several at one port, and those that hold for a time only.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

use postern_tests::agent::{Agent, Guard, Setup};
use postern_tests::knocker::{FENCE, Knock, Knocker, fence};
use postern_tests::otp::{self, App};
use postern_tests::probe::{self, Answer};
use postern_tests::process::{Process, run};
use postern_tests::sender::Sender;
use postern_tests::server::{Service, Sshd};
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{client, clock, suite};

pub(crate) fn suite() -> Suite {
    suite![
        two_people_and_a_stranger_at_one_ssh_port needs "oathtool" "conntrack",
        who_is_let_in_by_two_doors_stays_connected_until_both_let_go needs "conntrack",
        a_network_is_let_in_and_shut_out_by_hand,
        an_invitation_is_a_section_and_a_reload needs "oathtool",
        a_door_holds_from_its_first_second_to_its_last needs "gcc",
        a_door_that_holds_for_a_time_stays_shut_while_nobody_knows_the_time needs "gcc",
    ]
}

/// Alice has an app, Bob and Carol have sequences; Carol's is the kernel's to count.
const ALICE: &str = "
config door 'alice'
	list guard 'tcp:22'
	option method 'one-time-clock'
	option secret_file '@/alice'
	option cutoff '2 per 10m'
	option grant '1h'
	option on_expiry 'cut'
";
const BOB: &str = "
config door 'bob'
	list guard 'tcp:22'
	option method 'sequence-separate'
	list open 'tcp:7000'
	list open 'udp:10482'
	list open 'tcp:9002'
	list close 'tcp:9003'
	list close 'tcp:7004'
	option cutoff '2 per 10m'
	option grant '1h'
	option on_expiry 'cut'
";
const CAROL: &str = "
config door 'carol'
	list guard 'tcp:22'
	option method 'sequence-same'
	option engine 'chain'
	list open 'tcp:7000'
	list open 'tcp:7300'
	list open 'udp:7200'
	option grant '1h'
	option on_expiry 'cut'
";
const BOBS: [Knock; 3] = [Knock::Tcp(7000), Knock::Udp(10_482), Knock::Tcp(9002)];
const CAROLS: [Knock; 3] = [Knock::Tcp(7000), Knock::Tcp(7300), Knock::Udp(7200)];

/// A session of somebody's that echoes lines.
struct Session(Process);

impl Session {
    fn begin(net: &Topology, to: IpAddr, sshd: &Sshd) -> Self {
        let mut session = Self(client::ssh_session(&net.client, to, sshd, "cat"));
        assert!(session.lives());
        session
    }

    fn lives(&mut self) -> bool {
        let child = self.0.child();
        let (Some(to), Some(from)) = (child.stdin.as_mut(), child.stdout.as_mut()) else {
            return false;
        };
        to.write_all(b"still here\n").is_ok() && from.read_exact(&mut [0; 11]).is_ok()
    }
}

fn two_people_and_a_stranger_at_one_ssh_port() {
    for guard in Guard::BOTH {
        in_case_of(guard, || two_people_and_a_stranger(guard));
    }
}

fn two_people_and_a_stranger(guard: Guard) {
    let net = Topology::new();
    let carols: IpAddr = Ipv4Addr::new(192, 0, 2, 44).into();
    net.client.add_address(carols);
    net.settle();
    let sshd = Sshd::start(&net.router.namespace, 22);
    let doors = [FENCE, ALICE, BOB, CAROL].concat();
    let setup = Setup::new(&net.router, guard, &doors);
    let app = App::scan(&setup.verb(&net.router, "keygen", &["alice"]).ok());
    let agent = setup.start(&net.router);
    let sender = Sender::new(&net.client.namespace);
    let [v4, v6] = Family::BOTH.map(|family| net.router.address(family));
    // Alice comes over IPv4, Bob over IPv6, Carol from an address of her own.
    let of_alice = Knocker::new(&sender, net.client.v4.into(), v4);
    let of_bob = Knocker::new(&sender, net.client.v6.into(), v6);
    let of_carol = Knocker::new(&sender, carols, v4);
    let port = |address: IpAddr| (address, 22).into();
    let comes_in =
        |address: IpAddr| probe::tcp(&net.client.namespace, port(address)) == Answer::Open;
    let carol_comes_in =
        || probe::tcp_from(&net.client.namespace, carols, port(v4)) == Answer::Open;
    let stranger_comes_in = || {
        let mut all = [v4, v6].into_iter();
        all.any(|router| probe::tcp(&net.stranger.namespace, port(router)) == Answer::Open)
    };
    let status = |arguments: &[&str]| setup.verb(&net.router, "status", arguments).ok();

    assert!(!comes_in(v4) && !comes_in(v6) && !carol_comes_in() && !stranger_comes_in());
    let step = app.step();
    let code = |step| otp::knocks(&app.code(step), 10_000, [Knock::Tcp; 2]);
    of_alice.send(&code(step));
    fence(&net, &sender);
    assert!(comes_in(v4) && !comes_in(v6) && !carol_comes_in() && !stranger_comes_in());
    of_bob.send(&BOBS);
    of_carol.send(&CAROLS);
    fence(&net, &sender);
    assert!(comes_in(v4) && comes_in(v6) && carol_comes_in() && !stranger_comes_in());
    let log = agent.log();
    assert!(
        log.contains(&format!("door alice: open for {} for 1h", net.client.v4)),
        "{log}"
    );
    assert!(
        log.contains(&format!("door bob: open for {} for 1h", net.client.v6)),
        "{log}"
    );
    let said = status(&[]);
    for (door, source) in [
        ("alice", net.client.v4.to_string()),
        ("bob", net.client.v6.to_string()),
        ("carol", carols.to_string()),
    ] {
        let (_, rest) = said.split_once(&format!("door {door}:")).expect("the door");
        let own = rest.split("\ndoor ").next().unwrap_or_default();
        assert!(own.contains(&format!("open for {source}")), "{said}");
        assert_eq!(own.matches("open for").count(), 1, "{said}");
    }
    // What is right at one door is wrong at none: neither was cut off, with two failures.
    for _ in 0..3 {
        of_bob.send(&BOBS);
        of_alice.send(&code(step));
    }
    fence(&net, &sender);
    assert!(
        status(&["--json"]).contains("\"cut_off_total\":0"),
        "{}",
        status(&[])
    );
    // A stranger's guesses are his own.
    let router = net.router.v4.into();
    let strange = Sender::new(&net.stranger.namespace);
    Knocker::new(&strange, net.stranger.v4.into(), router).send(&[
        Knock::Tcp(10_998),
        Knock::Tcp(10_997),
        Knock::Tcp(10_996),
    ]);
    poll_until(SOON, "the stranger is cut off", || {
        status(&["--json"]).contains("\"cut_off_total\":1")
    });

    let (mut alices, mut bobs) = (
        Session::begin(&net, v4, &sshd),
        Session::begin(&net, v6, &sshd),
    );
    setup.verb(&net.router, "lock", &["bob"]).ok();
    assert!(comes_in(v4) && !comes_in(v6) && carol_comes_in());
    setup.verb(&net.router, "unlock", &["bob"]).ok();
    assert!(comes_in(v6));
    setup.verb(&net.router, "lock", &["--all"]).ok();
    assert!(!comes_in(v4) && !comes_in(v6) && !carol_comes_in());
    setup.verb(&net.router, "unlock", &["--all"]).ok();
    assert!(alices.lives() && bobs.lives());

    // Bob is revoked while he is connected and knocking.
    of_bob.send(&BOBS[..2]);
    setup.rewrite(&[FENCE, ALICE, CAROL].concat());
    agent.reload_now();
    of_bob.send(&BOBS[2..]);
    of_bob.send(&BOBS);
    fence(&net, &sender);
    assert!(comes_in(v4) && !comes_in(v6) && carol_comes_in());
    assert!(alices.lives());
    poll_until(SOON, "Bob's session is cut", || {
        let said = status(&[]);
        !said.contains("door bob") && !comes_in(v6)
    });
    let tracked = ["-L", "-f", "ipv6", "-s", &net.client.v6.to_string()];
    let tracked = net.router.namespace.run("conntrack", &tracked).stdout;
    assert!(!tracked.contains("ESTABLISHED"), "{tracked}");
    assert!(alices.lives());

    // With the agent dead, by hand, for Alice's door alone.
    agent.kill();
    setup.verb(&net.router, "close", &["alice"]).ok();
    assert!(!comes_in(v4) && carol_comes_in());
    let bobs_address = net.client.v6.to_string();
    setup
        .verb(&net.router, "open", &["alice", "--from", &bobs_address])
        .ok();
    assert!(comes_in(v6) && !comes_in(v4) && !stranger_comes_in());
}

fn echoes(mut connection: &TcpStream) -> bool {
    connection.write_all(b"x").is_ok() && connection.read(&mut [0]).is_ok_and(|length| length > 0)
}

/// One person has two secrets, or two who share an address.
fn who_is_let_in_by_two_doors_stays_connected_until_both_let_go() {
    const PORT: u16 = 2200;
    for dead in [false, true] {
        let net = Topology::new();
        let _server = Service::tcp_echo(&net.router.namespace, PORT);
        let door = |name: &str, ports: u16| {
            format!(
                "\nconfig door '{name}'\n\tlist guard 'tcp:{PORT}'\n\toption method 'sequence-separate'\n\
                 \tlist open 'tcp:{}'\n\tlist open 'udp:{ports}'\n\tlist open 'tcp:{}'\n\
                 \toption on_expiry 'cut'\n",
                ports + 2,
                ports + 1
            )
        };
        let doors = [door("old", 7000), door("new", 8000)].concat();
        let setup = Setup::new(&net.router, Guard::Mark, &doors);
        let agent = setup.start(&net.router);
        let source = net.client.v4.to_string();
        for name in ["old", "new"] {
            setup
                .verb(
                    &net.router,
                    "open",
                    &[name, "--from", &source, "--for", "1h"],
                )
                .ok();
        }
        let to = net.router.port(Family::V4, PORT);
        let connection = probe::tcp_connect(&net.client.namespace, None, to).expect("a connection");
        connection
            .set_read_timeout(Some(Duration::from_millis(500)))
            .expect("a timeout");
        let tracked = || {
            let said = net
                .router
                .namespace
                .run("conntrack", &["-L", "-s", &source])
                .ok();
            said.contains("ESTABLISHED")
        };
        assert!(tracked());
        let agent = match dead {
            true => {
                agent.kill();
                None
            }
            false => Some(agent),
        };
        assert!(echoes(&connection));
        setup
            .verb(&net.router, "close", &["old", "--from", &source])
            .ok();
        assert!(
            echoes(&connection) && tracked(),
            "the new door admits it: {dead}"
        );
        setup.verb(&net.router, "close", &["new"]).ok();
        assert!(!echoes(&connection) && !tracked(), "none does: {dead}");
        drop(agent);
    }
}

fn a_network_is_let_in_and_shut_out_by_hand() {
    for dead in [false, true] {
        let net = Topology::new();
        let _server = Service::tcp(&net.router.namespace, 22);
        let setup = Setup::new(&net.router, Guard::Gate, BOB);
        let agent = setup.start(&net.router);
        let _agent = match dead {
            true => {
                agent.kill();
                None
            }
            false => Some(agent),
        };
        let who_comes_in = || {
            [&net.client, &net.stranger].map(|host| {
                Family::BOTH.map(|family| {
                    probe::tcp(&host.namespace, net.router.port(family, 22)) == Answer::Open
                })
            })
        };
        let verb = |verb: &str, from: &str| setup.verb(&net.router, verb, &["bob", "--from", from]);
        let said = verb("open", "192.0.2.0/24").ok();
        assert!(
            said.contains("door bob is open for 192.0.2.0/24 for 1h"),
            "{said}"
        );
        assert_eq!(who_comes_in(), [[true, false], [true, false]]);
        // Without an agent, it says so by its exit status.
        let status = setup.verb(&net.router, "status", &["--json"]).stdout;
        assert!(status.contains("\"grants_total\":256"), "{status}");
        verb("open", "2001:db8::/120").ok();
        assert_eq!(who_comes_in(), [[true; 2]; 2]);
        // The client has .2, the stranger .3.
        verb("close", "192.0.2.2/31").ok();
        assert_eq!(who_comes_in(), [[false, true], [false, true]]);
        verb("close", "2001:db8::/32").ok();
        assert_eq!(who_comes_in(), [[false; 2]; 2]);
        for (wide, option) in [
            ("192.0.0.0/16", "grant_prefix4"),
            ("2001:db8::/64", "grant_prefix6"),
        ] {
            let said = verb("open", wide);
            assert_eq!(said.status, 1);
            assert!(said.stderr.contains(option), "{}", said.stderr);
        }
        assert_eq!(verb("open", "192.0.2.7/24").status, 2);
        assert_eq!(who_comes_in(), [[false; 2]; 2]);
    }
}

fn an_invitation_is_a_section_and_a_reload() {
    let net = Topology::new();
    let _server = Service::tcp(&net.router.namespace, 22);
    let door = ALICE.replace("alice", "ssh");
    let setup = Setup::new(&net.router, Guard::Gate, &[FENCE, &door].concat());
    setup.verb(&net.router, "keygen", &["ssh"]).ok();
    let agent = setup.start(&net.router);
    let invite = ["guest", "--print", "--like", "ssh", "--until", "7d"];
    let said = setup.verb(&net.router, "keygen", &invite);
    assert_eq!(said.status, 0, "{}", said.stderr);
    assert!(!said.stdout.contains("otpauth"), "the section can be shown");
    let address = said
        .stderr
        .lines()
        .find(|line| line.starts_with("otpauth:"));
    let app = App::scan(address.expect("an address"));
    let config = std::fs::read_to_string(setup.config()).expect("the configuration");
    setup.rewrite_whole(&[config, said.stdout].concat());
    agent.reload_now();
    let sender = Sender::new(&net.client.namespace);
    let guest = Knocker::new(&sender, net.client.v4.into(), net.router.v4.into());
    guest.send(&otp::knocks(&app.code(app.step()), 10_000, [Knock::Tcp; 2]));
    fence(&net, &sender);
    let to = net.router.port(Family::V4, 22);
    assert_eq!(probe::tcp(&net.client.namespace, to), Answer::Open);
    let status = setup.verb(&net.router, "status", &[]).ok();
    let (_, guest) = status.split_once("door guest: tcp:22").expect("the door");
    assert!(
        guest.contains("\n  holds until ") && guest.contains("open for 192.0.2.2"),
        "{status}"
    );
}

fn moment(second: i64) -> String {
    let at = format!("@{second}");
    let said = run(
        Command::new("date").args(["-u", "-d", &at, "+%Y-%m-%dT%H:%M:%SZ"]),
        "",
    );
    said.ok().trim_end().to_owned()
}

struct Invitation {
    net: Topology,
    setup: Setup,
    sender: Sender,
    _server: Service,
    /// Now, the first second and the last, in seconds since 1970.
    moments: [i64; 3],
}

impl Invitation {
    const PORT: u16 = 2200;

    fn new() -> Self {
        let net = Topology::new();
        let now = clock::now();
        let moments = [now, now + 3_600, now + 7_200];
        let [_, start, end] = moments.map(moment);
        let doors = format!(
            "{FENCE}\nconfig door 'guest'\n\tlist guard 'tcp:{}'\n\toption method 'sequence-separate'\n\
             \tlist open 'tcp:7002'\n\tlist open 'udp:7000'\n\tlist open 'tcp:7001'\n\
             \toption grant '8h'\n\toption on_expiry 'cut'\n\
             \toption not_before '{start}'\n\toption not_after '{end}'\n",
            Self::PORT
        );
        let setup = Setup::new(&net.router, Guard::Gate, &doors);
        clock::set(&setup, 0);
        Self {
            _server: Service::tcp_echo(&net.router.namespace, Self::PORT),
            sender: Sender::new(&net.client.namespace),
            setup,
            net,
            moments,
        }
    }

    fn start(&self) -> Agent<'_> {
        clock::start(&self.setup, &self.net.router)
    }

    /// Sets the clock to so many seconds before a moment.
    fn set_clock(&self, agent: &Agent<'_>, before: i64, moment: i64) {
        clock::set(&self.setup, moment - before - clock::now());
        agent.reload_now();
    }

    fn knock(&self) {
        let knocks = [Knock::Tcp(7002), Knock::Udp(7000), Knock::Tcp(7001)];
        let (from, to) = (self.net.client.v4.into(), self.net.router.v4.into());
        Knocker::new(&self.sender, from, to).send(&knocks);
        fence(&self.net, &self.sender);
    }

    fn comes_in(&self) -> bool {
        let to = self.net.router.port(Family::V4, Self::PORT);
        probe::tcp(&self.net.client.namespace, to) == Answer::Open
    }

    fn status(&self) -> String {
        self.setup.verb(&self.net.router, "status", &[]).ok()
    }

    fn refusal(&self) -> String {
        let said = self.setup.verb(&self.net.router, "open", &["guest"]);
        assert_eq!(said.status, 1);
        said.stderr
    }
}

fn a_door_holds_from_its_first_second_to_its_last() {
    let stage = Invitation::new();
    let [_, start, end] = stage.moments;
    let agent = stage.start();
    stage.knock();
    assert!(!stage.comes_in());
    assert!(
        stage.status().contains("\n  shut: not yet: from "),
        "{}",
        stage.status()
    );
    let counters = stage
        .setup
        .verb(&stage.net.router, "status", &["--json"])
        .ok();
    assert!(counters.contains("\"phase\":\"not_yet\""), "{counters}");
    assert!(counters.contains("\"failed\":0,"), "{counters}");
    assert!(stage.refusal().contains("option not_before"));

    // The agent wakes up by itself when the time has come.
    stage.set_clock(&agent, 2, start);
    assert!(!stage.comes_in());
    poll_until(SOON, "the door begins to hear", || {
        agent.log().contains("door guest: from ")
    });
    stage.knock();
    assert!(stage.comes_in());
    assert!(
        stage.status().contains("\n  holds from "),
        "{}",
        stage.status()
    );
    let json = stage
        .setup
        .verb(&stage.net.router, "status", &["--json"])
        .ok();
    let left = json
        .split("\"source\":\"192.0.2.2\",\"remaining_ms\":")
        .nth(1)
        .expect("a grant");
    let left: u64 = left
        .split('}')
        .next()
        .expect("a number")
        .parse()
        .expect("a number");
    assert!(left <= 3_600_000, "of eight hours, one is left: {left}");
    let to = stage.net.router.port(Family::V4, Invitation::PORT);
    let connection =
        probe::tcp_connect(&stage.net.client.namespace, None, to).expect("a connection");
    connection
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout");

    // What was granted before ends in time, though the agent does not live to see it.
    stage.set_clock(&agent, 4, end);
    assert!(echoes(&connection) && stage.comes_in());
    agent.kill();
    poll_until(SOON, "the kernel ends the grant", || !stage.comes_in());
    assert!(!echoes(&connection));

    clock::set(&stage.setup, end - clock::now());
    let agent = stage.start();
    stage.knock();
    assert!(!stage.comes_in());
    assert!(
        stage.status().contains("\n  shut: over: until "),
        "{}",
        stage.status()
    );
    assert!(stage.refusal().contains("option not_after"));
    // A clock that goes back: it holds again, and ends while the agent looks on.
    stage.set_clock(&agent, 5, end);
    stage.knock();
    assert!(stage.comes_in());
    poll_until(SOON * 2, "the door is over", || !stage.comes_in());
    poll_until(SOON, "that is said", || {
        agent.log().contains("door guest: over: until ")
    });
}

fn a_door_that_holds_for_a_time_stays_shut_while_nobody_knows_the_time() {
    let stage = Invitation::new();
    let [_, start, _] = stage.moments;
    clock::set(&stage.setup, start + 60 - clock::now());
    let agent = stage.start();
    stage.knock();
    assert!(stage.comes_in());
    clock::set(&stage.setup, 60 - clock::now());
    assert!(stage.refusal().contains("the clock is not set"));
    agent.reload_now();
    assert!(!stage.comes_in(), "what was granted cannot be judged");
    stage.knock();
    assert!(!stage.comes_in());
    let status = stage.status();
    assert!(
        status.contains("shut: it holds for a time only, and the clock is not set"),
        "{status}"
    );
}
