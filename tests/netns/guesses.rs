//! Codes guessed from forged addresses, and typed while somebody floods.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use postern_tests::agent::{Guard, Setup};
use postern_tests::floods::{Flood, Flooded, Honest, Scene};
use postern_tests::knocker::{FENCE, Knock, Knocker, fence};
use postern_tests::otp::{self, App};
use postern_tests::sender::Sender;
use postern_tests::suite::Suite;
use postern_tests::topology::Topology;
use postern_tests::wait::{SOON, poll_until};
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

/// Packets a second that an agent bears which is not optimised, on a machine with much else to do.
pub(crate) const RATE: u64 = 10_000;

/// Of every kind. `make bench-honest` has twenty people under each, as fast as the machine sends.
fn codes_open_under_floods() {
    let _turn = Turn::loud();
    let scene = Scene::new("nflog", 20, RATE);
    let brief = Duration::from_millis(20);
    for flood in Flood::all() {
        expect_in(&scene, flood, Honest::Seed, 3, brief);
        expect_in(&scene, flood, Honest::Clock, 1, brief);
    }
    for flooded in [Flooded::OtherDoor, Flooded::Codes, Flooded::Second] {
        let flood = Flood {
            flooded,
            is_udp: false,
            is_forged: true,
        };
        expect_in(&scene, flood, Honest::Seed, 1, Duration::from_secs(1));
    }
}

/// So many people knock, and all of them are let in.
#[track_caller]
pub(crate) fn expect_in(
    scene: &Scene,
    flood: Flood,
    honest: Honest,
    people: usize,
    pause: Duration,
) {
    let outcome = scene.play(flood, honest, people, pause);
    let what = format!("{honest:?}, {pause:?} apart, under {}", flood.name());
    println!("{what}: {outcome:?}");
    assert_eq!(outcome.opened, people, "{what}, {} pps", outcome.rate);
    assert!(!scene.has_cut_off_an_owner(), "{what}");
}
