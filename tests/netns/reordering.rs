//! What a network does to honest knocks on their way: it swaps, repeats and delays them.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use postern_tests::agent::{Guard, Setup};
use postern_tests::knocker::{FENCE, Knock, Knocker, fence, list};
use postern_tests::otp::{self, App};
use postern_tests::packet::Packet;
use postern_tests::process::Process;
use postern_tests::sender::{Random, Sender};
use postern_tests::suite::Suite;
use postern_tests::topology::Topology;
use postern_tests::wait::{SOON, poll_until, try_poll, until_aged};
use postern_tests::{nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        swapped_neighbours_open,
        every_order_within_the_jitter_opens,
        every_other_order_beyond_the_jitter_does_not_open,
        duplicates_open,
        delayed_knocks_open,
        delayed_duplicates_open,
        swapped_neighbours_do_not_open_without_jitter,
        a_list_opens_in_any_order,
        codes_open_in_any_order needs "oathtool",
        strict_order_is_strict needs "oathtool",
    ]
}

/// Honest attempts of each kind.
const ATTEMPTS: u8 = 50;
/// Between two knocks of a client.
const PACE: Duration = Duration::from_millis(20);
/// A network's longest delay. Knocks overtake their neighbours by it, and no others.
const DELAY: u64 = 30;

/// How much later a knock arrives than the one that overtook it: far below the default jitter of
/// 50 ms, for the machine may have much else to do.
const OVERTAKING: Duration = Duration::from_millis(5);

/// Sequences that are knocked: of both protocols, and of one.
const SEQUENCES: [&[Knock]; 2] = [
    &[Knock::Tcp(7000), Knock::Udp(8001), Knock::Tcp(6002)],
    &[
        Knock::Tcp(17_004),
        Knock::Tcp(17_002),
        Knock::Tcp(17_008),
        Knock::Tcp(17_006),
        Knock::Tcp(17_000),
    ],
];

fn swapped_neighbours_open() {
    honest_attempts_open(swap);
}

const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

/// Each order from a source of its own, then all of them from one, at once and 14 ms apart: under a
/// jitter that the machine's load cannot use up.
fn every_order_within_the_jitter_opens() {
    let [knocks, _] = SEQUENCES;
    let jitter = "\toption jitter '2s'\n";
    let stage = Stage::new(&door("three", 2201, knocks, jitter), |_, _| {});
    for (kind, pace) in (0..).zip([0, 14]) {
        for (number, order) in (0..).zip(ORDERS) {
            let from = Ipv4Addr::new(10, 1, kind, number).into();
            stage.play(stage.in_order(from, knocks, order, Duration::from_millis(pace)));
            stage.expect_grant(from);
        }
    }
    let client = stage.net.client.v4.into();
    let opened = || stage.setup.counter(&stage.net.router, "opened");
    for order in ORDERS {
        let before = opened();
        stage.play(stage.in_order(client, knocks, order, Duration::ZERO));
        poll_until(SOON, "another grant", || opened() == before + 1);
        // Sooner, the third of the sequence would be taken for a duplicate.
        until_aged(Instant::now(), Duration::from_millis(2_100));
    }
    assert_eq!(stage.setup.counter(&stage.net.router, "failed"), 0);
}

fn every_other_order_beyond_the_jitter_does_not_open() {
    let [knocks, _] = SEQUENCES;
    let jitter = Duration::from_millis(10);
    let stage = Stage::new(
        &door("three", 2201, knocks, "\toption jitter '10ms'\n"),
        |_, _| {},
    );
    let seen = || stage.setup.counter(&stage.net.router, "seen");
    for (number, order) in (0..).zip(ORDERS) {
        let from = Ipv4Addr::new(10, 1, 0, number).into();
        for step in order {
            let before = seen();
            stage.sender.send(&stage.knocker(from).packet(knocks[step]));
            poll_until(SOON, "the knock is heard", || seen() == before + 1);
            until_aged(Instant::now(), jitter * 2);
        }
        match number {
            0 => stage.expect_grant(from),
            _ => stage.expect_none(from),
        }
    }
}

fn duplicates_open() {
    honest_attempts_open(duplicate);
}

fn delayed_knocks_open() {
    honest_attempts_open(delay);
}

fn delayed_duplicates_open() {
    honest_attempts_open(|random, journey| {
        duplicate(random, journey);
        delay(random, journey);
    });
}

/// Packets, and when they arrive.
type Journey = Vec<(Duration, Packet)>;

/// One pair of neighbours at least: the earlier one arrives right after the later one.
fn swap(random: &mut Random, journey: &mut Journey) {
    let mut at = random.number() as usize % (journey.len() - 1);
    while at + 1 < journey.len() {
        journey[at].0 = journey[at + 1].0 + OVERTAKING;
        at += 2 + random.number() as usize % 2;
    }
}

fn duplicate(_: &mut Random, journey: &mut Journey) {
    *journey = journey
        .iter()
        .flat_map(|step| [step.clone(), step.clone()])
        .collect();
}

fn delay(random: &mut Random, journey: &mut Journey) {
    for (due, _) in journey {
        *due += Duration::from_millis(random.number() % (DELAY + 1));
    }
}

type Disturbance = fn(&mut Random, &mut Journey);

struct Stage {
    _agent: Process,
    setup: Setup,
    sender: Sender,
    net: Topology,
}

impl Stage {
    fn new(doors: &str, prepare: impl FnOnce(&Setup, &Topology)) -> Self {
        let net = Topology::new();
        let setup = Setup::new(&net.router, Guard::Gate, &format!("{FENCE}{doors}"));
        prepare(&setup, &net);
        Self {
            _agent: setup.start(&net.router).into_process(),
            setup,
            sender: Sender::new(&net.client.namespace),
            net,
        }
    }

    fn knocker(&self, from: IpAddr) -> Knocker<'_> {
        Knocker::new(&self.sender, from, self.net.router.v4.into())
    }

    /// Knocks at a client's pace, on a network that does what it does.
    fn journey(
        &self,
        from: IpAddr,
        knocks: &[Knock],
        random: &mut Random,
        disturb: Disturbance,
    ) -> Journey {
        let packets = knocks.iter().map(|knock| self.knocker(from).packet(*knock));
        let mut journey = (0..).map(|step| PACE * step).zip(packets).collect();
        disturb(random, &mut journey);
        journey
    }

    /// Knocks in this order and at this pace.
    fn in_order(
        &self,
        from: IpAddr,
        knocks: &[Knock],
        order: [usize; 3],
        pace: Duration,
    ) -> Journey {
        let packets = order.map(|step| self.knocker(from).packet(knocks[step]));
        (0..).map(|number| pace * number).zip(packets).collect()
    }

    /// Sends everything when it is due.
    fn play(&self, mut journeys: Journey) {
        journeys.sort_by_key(|(due, _)| *due);
        let began = Instant::now();
        for (due, packet) in &journeys {
            until_aged(began, *due);
            self.sender.send(packet);
        }
    }

    fn is_granted(&self, source: IpAddr) -> bool {
        nft::addresses(&self.net.router.namespace, "inet postern").contains(&source)
    }

    #[track_caller]
    fn expect_grant(&self, source: IpAddr) {
        poll_until(SOON, "a grant", || self.is_granted(source));
    }

    #[track_caller]
    fn expect_none(&self, source: IpAddr) {
        fence(&self.net, &self.sender);
        assert!(!self.is_granted(source), "{source} was granted access");
    }
}

fn honest_attempts_open(disturb: Disturbance) {
    let doors: String = ["three", "five"]
        .iter()
        .zip(SEQUENCES)
        .zip(2201..)
        .map(|((name, knocks), port)| door(name, port, knocks, ""))
        .collect();
    let stage = Stage::new(&doors, |_, _| {});
    let mut random = Random::new();
    distinct_sources_are_let_in(&stage, &mut random, disturb);
    the_same_source_is_let_in_again_and_again(&stage, &mut random, disturb);
}

fn door(name: &str, port: u16, knocks: &[Knock], options: &str) -> String {
    let open = list("open", knocks);
    format!(
        "config door '{name}'\n\tlist guard 'tcp:{port}'\n\toption method 'sequence-separate'\n\
         {open}\toption grant '60s'\n{options}"
    )
}

fn distinct_sources_are_let_in(stage: &Stage, random: &mut Random, disturb: Disturbance) {
    let mut journeys = Vec::new();
    let mut missing = HashSet::new();
    for (kind, knocks) in (0..).zip(SEQUENCES) {
        for number in 0..ATTEMPTS {
            let from = Ipv4Addr::new(10, 1, kind, number).into();
            let start = Duration::from_millis(4) * number.into();
            let journey = stage.journey(from, knocks, random, disturb);
            journeys.extend(
                journey
                    .into_iter()
                    .map(|(due, packet)| (start + due, packet)),
            );
            missing.insert(from);
        }
    }
    stage.play(journeys);
    let router = &stage.net.router.namespace;
    let all = try_poll(SOON, || {
        for address in nft::addresses(router, "inet postern") {
            missing.remove(&address);
        }
        missing.is_empty().then_some(())
    });
    assert!(all.is_some(), "not let in: {missing:?}");
}

fn the_same_source_is_let_in_again_and_again(
    stage: &Stage,
    random: &mut Random,
    disturb: Disturbance,
) {
    let opened = || {
        fence(&stage.net, &stage.sender);
        stage.setup.counter(&stage.net.router, "opened")
    };
    let before = opened();
    for _ in 0..ATTEMPTS {
        let both = SEQUENCES
            .iter()
            .flat_map(|knocks| stage.journey(stage.net.client.v4.into(), knocks, random, disturb));
        stage.play(both.collect());
    }
    let fences = 1;
    assert_eq!(
        opened() - before - fences,
        u64::from(ATTEMPTS) * SEQUENCES.len() as u64
    );
}

fn swapped_neighbours_do_not_open_without_jitter() {
    let [knocks, _] = SEQUENCES;
    let stage = Stage::new(
        &door("three", 2201, knocks, "\toption jitter '0'\n"),
        |_, _| {},
    );
    let mut random = Random::new();
    for number in 0..ATTEMPTS {
        let from = Ipv4Addr::new(10, 1, 0, number).into();
        stage.play(stage.journey(from, &knocks[..2], &mut random, swap));
        stage.knocker(from).send(&knocks[2..]);
        stage.expect_none(from);
    }
    let client = stage.net.client.v4.into();
    stage.knocker(client).send(knocks);
    stage.expect_grant(client);
}

fn one_time_door(name: &str, method: &str, options: &str) -> String {
    format!(
        "config door '{name}'\n\tlist guard 'tcp:22'\n\toption method '{method}'\n{options}\
         \toption grant '60s'\n"
    )
}

const LIST_OPTIONS: &str = "\toption list_file '@/ssh.list'\n";
const SEED_OPTIONS: &str =
    "\toption secret_file '@/ssh.secret'\n\toption base '10000'\n\toption protocol 'mixed'\n";

/// A list's sequence by its number.
fn listed(number: u8) -> [Knock; 3] {
    let first = 30_000 + u16::from(number) * 3;
    [
        Knock::Tcp(first + 2),
        Knock::Udp(first),
        Knock::Tcp(first + 1),
    ]
}

fn list_stage(options: &str) -> Stage {
    let doors = one_time_door("ssh", "one-time-list", &format!("{LIST_OPTIONS}{options}"));
    Stage::new(&doors, |setup, net| {
        let line = |number| listed(number).map(|knock| format!("{knock} ")).concat() + "\n";
        let text: String = (0..=2 * ATTEMPTS).map(line).collect();
        setup.write_private("ssh.list", &text);
        setup.verb(&net.router, "resync", &["ssh"]).ok();
    })
}

fn seed_stage(options: &str) -> (Stage, App) {
    let doors = one_time_door("ssh", "one-time-seed", &format!("{SEED_OPTIONS}{options}"));
    let mut app = None;
    let stage = Stage::new(&doors, |setup, net| {
        app = Some(App::scan(&setup.verb(&net.router, "keygen", &["ssh"]).ok()));
    });
    (stage, app.expect("a secret"))
}

fn a_list_opens_in_any_order() {
    disturbed_one_time_knocks_open(&list_stage(""), |number| listed(number).into());
}

fn codes_open_in_any_order() {
    let (stage, app) = seed_stage("");
    disturbed_one_time_knocks_open(&stage, |number| code_knocks(&app, number).into());
}

fn code_knocks(app: &App, counter: u8) -> [Knock; 2] {
    otp::knocks(&app.code(counter.into()), 10_000, [Knock::Tcp, Knock::Udp])
}

/// All at once, each of them twice, in whatever order: first from many sources, then from one.
fn disturbed_one_time_knocks_open(stage: &Stage, knocks: impl Fn(u8) -> Vec<Knock>) {
    let mut random = Random::new();
    for number in 0..2 * ATTEMPTS {
        let from = match number {
            0..ATTEMPTS => Ipv4Addr::new(10, 1, 0, number),
            _ => stage.net.client.v4,
        };
        stage.play(stage.journey(
            from.into(),
            &knocks(number),
            &mut random,
            |random, journey| {
                for (due, _) in journey.iter_mut() {
                    *due = Duration::ZERO;
                }
                duplicate(random, journey);
                delay(random, journey);
            },
        ));
        let used = u64::from(number) + 1;
        let opened = || stage.setup.counter(&stage.net.router, "opened");
        let all = try_poll(SOON, || (opened() == used).then_some(()));
        assert!(all.is_some(), "{} of {used} opened", opened());
    }
}

fn strict_order_is_strict() {
    let strict = "\toption order 'strict'\n";
    let (stage, app) = seed_stage(strict);
    let [first, second] = code_knocks(&app, 0);
    expect_one_order(&stage, &[&[second, first]], &[first, second]);
    let stage = list_stage(strict);
    let [a, b, c] = listed(0);
    let others = [[a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]];
    let others: Vec<&[Knock]> = others.iter().map(<[Knock; 3]>::as_slice).collect();
    expect_one_order(&stage, &others, &[a, b, c]);
}

#[track_caller]
fn expect_one_order(stage: &Stage, wrong: &[&[Knock]], right: &[Knock]) {
    for (number, knocks) in (0..).zip(wrong) {
        let from = Ipv4Addr::new(10, 1, 0, number).into();
        stage.knocker(from).send(knocks);
        stage.expect_none(from);
    }
    let client = stage.net.client.v4.into();
    stage.knocker(client).send(right);
    stage.expect_grant(client);
}
