//! Codes guessed from forged addresses, and typed while somebody floods.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::agent::{Guard, Setup};
use postern_tests::knocker::{FENCE, Knock, Knocker, fence};
use postern_tests::otp::{self, App};
use postern_tests::packet::Packet;
use postern_tests::sender::{Random, Sender};
use postern_tests::suite::Suite;
use postern_tests::topology::Topology;
use postern_tests::wait::{SOON, poll_until, until_aged};
use postern_tests::{nft, suite};

use super::sources::Turn;

pub(crate) fn suite() -> Suite {
    suite![
        forged_addresses_do_not_switch_the_cut_off_off needs "oathtool",
        who_guesses_from_forged_addresses_has_the_door_ask_for_more needs "oathtool",
        half_a_code_is_not_stolen needs "oathtool",
        codes_open_under_floods needs "oathtool",
    ]
}

const BASE: u16 = 10_000;
const OTHER: u16 = 7000;

struct Stage {
    net: Topology,
    setup: Setup,
    sender: Sender,
    app: App,
    _turn: Turn,
}

impl Stage {
    fn new(turn: Turn) -> Self {
        let net = Topology::new();
        let doors = format!(
            "{FENCE}\nconfig door 'ssh'\n\tlist guard 'tcp:22'\n\toption method 'one-time-seed'\n\
             \toption secret_file '@/ssh.secret'\n\toption cutoff '5 per 10m'\n\
             config door 'web'\n\tlist guard 'tcp:80'\n\toption method 'sequence-separate'\n\
             \tlist open 'tcp:{OTHER}'\n\tlist open 'tcp:8000'\n\tlist open 'tcp:9000'\n"
        );
        let setup = Setup::new(&net.router, Guard::Gate, &doors);
        let app = App::scan(&setup.verb(&net.router, "keygen", &["ssh"]).ok());
        Self {
            sender: Sender::new(&net.client.namespace),
            setup,
            app,
            net,
            _turn: turn,
        }
    }

    fn code(&self, counter: u64) -> [Knock; 2] {
        otp::knocks(&self.app.code(counter), BASE, [Knock::Tcp; 2])
    }

    /// Two knocks that are no code's, nor the beginning of one.
    fn wrong(&self, number: u16) -> [Knock; 2] {
        let codes = (0..16).flat_map(|counter| self.code(counter));
        let taken: Vec<u16> = codes.map(|knock| knock.port()).collect();
        let free = (BASE..BASE + 1_000).filter(|port| !taken.contains(port));
        let mut free = free.skip(usize::from(number % 400) * 2).map(Knock::Tcp);
        [(); 2].map(|()| free.next().expect("a port"))
    }

    fn knock(&self, from: impl Into<IpAddr>, knocks: &[Knock]) {
        Knocker::new(&self.sender, from.into(), self.net.router.v4.into()).send(knocks);
    }

    fn is_open(&self, to: impl Into<IpAddr>) -> bool {
        nft::granted(&self.net.router.namespace, "ssh", to.into()).is_some()
    }

    fn is_cut_off(&self, whom: Ipv4Addr) -> bool {
        nft::expiry(&self.net.router.namespace, "inet postern", whom.into()).is_some()
    }

    fn status(&self) -> String {
        self.setup.verb(&self.net.router, "status", &[]).ok()
    }
}

fn forged(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 9, high, low)
}

fn forged_addresses_do_not_switch_the_cut_off_off() {
    let stage = Stage::new(Turn::loud());
    let _agent = stage.setup.start(&stage.net.router);
    let knocks: Vec<Knock> = (0..3).flat_map(|number| stage.wrong(number)).collect();
    for number in 0..2_500 {
        stage.knock(forged(number), &knocks);
        if number % 100 == 99 {
            fence(&stage.net, &stage.sender);
        }
    }
    let guesser = stage.net.stranger.v4;
    stage.knock(guesser, &knocks);
    poll_until(SOON, "he is cut off", || stage.is_cut_off(guesser));
}

fn who_guesses_from_forged_addresses_has_the_door_ask_for_more() {
    let stage = Stage::new(Turn::quiet());
    let agent = stage.setup.start(&stage.net.router);
    let owner = stage.net.client.v4;
    stage.knock(owner, &stage.code(0));
    poll_until(SOON, "one code opens", || stage.is_open(owner));
    let shut = ["ssh", "--from", &owner.to_string()];
    stage.setup.verb(&stage.net.router, "close", &shut).ok();
    for number in 0..20 {
        stage.knock(forged(number), &stage.wrong(number));
    }
    fence(&stage.net, &stage.sender);
    let status = stage.status();
    assert!(
        status.contains("  asks for 2 codes in a row: 20 wrong guesses within "),
        "{status}"
    );
    stage.knock(owner, &stage.code(1));
    fence(&stage.net, &stage.sender);
    assert!(!stage.is_open(owner));
    // Whoever saw it is no further with it than its owner.
    stage.knock(stage.net.stranger.v4, &stage.code(1));
    fence(&stage.net, &stage.sender);
    assert!(!stage.is_open(stage.net.stranger.v4));
    let log = agent.log();
    let line = format!("door ssh: not opened for {owner} yet: code 1 of 2 in a row");
    assert!(log.contains(&line), "{log}");
    // A reload forgives nothing.
    agent.reload();
    stage.knock(owner, &stage.code(2));
    poll_until(SOON, "the next code opens", || stage.is_open(owner));
    let json = stage.setup.verb(&stage.net.router, "status", &["--json"]);
    let json = json.ok();
    assert!(json.contains("\"codes\":2,\"guesses\":20,"), "{json}");
}

fn half_a_code_is_not_stolen() {
    let stage = Stage::new(Turn::loud());
    let _agent = stage.setup.start(&stage.net.router);
    let owner = stage.net.client.v4;
    // A code is half known to nobody whose halves begin others.
    let [first, second] = stage.code(0);
    stage.knock(owner, &[first]);
    fence(&stage.net, &stage.sender);
    let others = (BASE..BASE + 1_000).filter(|port| *port != second.port());
    let guesses: Vec<u16> = others.take(200).chain([second.port()]).collect();
    for (number, guess) in (0..).zip(guesses) {
        stage.knock(forged(number), &[first, Knock::Tcp(guess)]);
    }
    fence(&stage.net, &stage.sender);
    assert!((0..201).all(|number| !stage.is_open(forged(number))));
    stage.knock(owner, &[second]);
    fence(&stage.net, &stage.sender);
    assert!(!stage.is_open(owner), "it asks for more than one");
    stage.knock(owner, &stage.code(1));
    stage.knock(owner, &stage.code(2));
    poll_until(SOON, "codes in a row open", || stage.is_open(owner));
}

/// What is flooded from forged addresses.
#[derive(Clone, Copy, Debug)]
enum Flood {
    OtherDoor,
    Range,
    SecondHalves,
    Guarded,
}

const RATE: f64 = 50_000.0;

fn codes_open_under_floods() {
    use Flood::{Guarded, OtherDoor, Range, SecondHalves};
    let brief = Duration::from_millis(20);
    let long = Duration::from_secs(1);
    for (flood, pause, owners) in [
        (OtherDoor, brief, 10),
        (OtherDoor, long, 1),
        (Range, brief, 10),
        (Range, long, 1),
        (SecondHalves, brief, 10),
        (SecondHalves, long, 1),
        (Guarded, brief, 5),
    ] {
        let stage = Stage::new(Turn::loud());
        let router = &stage.net.router;
        let back = format!("route add 10.0.0.0/8 via {}\n", stage.net.stranger.v4);
        router.namespace.ip_batch(&back);
        let agent = stage.setup.start(router);
        let stop = AtomicBool::new(false);
        let ports: Vec<u16> = match flood {
            OtherDoor => vec![OTHER],
            Range => (BASE..BASE + 1_000).collect(),
            SecondHalves => (0..40).map(|code| stage.code(code)[1].port()).collect(),
            Guarded => vec![22],
        };
        let opened = thread::scope(|scope| {
            let (to, stop, sender) = (router.v4, &stop, &stage.sender);
            scope.spawn(move || send_until(sender, to, &ports, stop));
            until_aged(Instant::now(), Duration::from_millis(500));
            let opened = (0..owners)
                .filter(|owner| type_codes(&stage, *owner, pause))
                .count();
            stop.store(true, Ordering::Relaxed);
            opened
        });
        println!("{flood:?}, {pause:?} apart: {opened} of {owners}");
        assert_eq!(
            opened,
            owners as usize,
            "{flood:?} {pause:?}: {}",
            agent.log()
        );
        let status = stage.status();
        assert!(
            !status.contains("cut off: 172.16."),
            "{flood:?} {pause:?}: {status}"
        );
    }
}

fn address(owner: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 16, 0, owner + 1)
}

/// Types as many codes in a row as it takes, with pauses between all knocks; whether it opens.
fn type_codes(stage: &Stage, owner: u8, pause: Duration) -> bool {
    let codes: Vec<_> = (0..4)
        .map(|code| stage.code(4 * u64::from(owner) + code))
        .collect();
    let from = address(owner);
    for [first, second] in codes {
        stage.knock(from, &[first]);
        until_aged(Instant::now(), pause);
        stage.knock(from, &[second]);
        until_aged(Instant::now(), pause);
        if stage.is_open(from) {
            return true;
        }
    }
    postern_tests::wait::try_poll(SOON, || stage.is_open(from).then_some(())).is_some()
}

fn send_until(sender: &Sender, to: Ipv4Addr, ports: &[u16], stop: &AtomicBool) {
    let mut random = Random::new();
    let started = Instant::now();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = (started.elapsed().as_secs_f64() * RATE) as u64;
        for _ in 0..due.saturating_sub(sent).min(64) {
            let [a, b, c, d, e, f, g, _] = random.number().to_be_bytes();
            let from = SocketAddr::new(
                Ipv4Addr::new(10, a, b, c).into(),
                u16::from_be_bytes([d, e]) | 1024,
            );
            let port = ports[usize::from(u16::from_be_bytes([f, g])) % ports.len()];
            sender.send(&Packet::syn(from, SocketAddr::new(to.into(), port)));
            sent += 1;
        }
        thread::yield_now();
    }
}
