//! The engine as its users see it: doors, knocks and a clock in, decisions out.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up its scene has failed"
)]

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use postern_core::code::{Algorithm, Code, Digits};
use postern_core::door::{AtEnd, Cutoff, Door, EngineName, Method, Order, Sequence};
use postern_core::engine::{Decision, Engine, Outcome, Underway};
use postern_core::knock::{Knock, Port, Protocol, tcp, udp};
use postern_core::method::{Armed, Candidate};
use postern_core::network::Network;
use postern_core::time::{Duration, Instant};

const OPEN: [Port; 3] = [tcp(7000), udp(8001), tcp(9002)];
const CLOSE: [Port; 2] = [tcp(9003), tcp(7004)];

fn door(name: &str, open: &[Port], close: &[Port]) -> Door {
    let method = Method::Separate {
        open: Sequence::from_slice(open).unwrap(),
        close: Sequence::from_slice(close).unwrap(),
    };
    Door {
        jitter: Duration::from_millis(0),
        decoys: 0,
        ..Door::new(name, &[tcp(22)], method).unwrap()
    }
}

fn ssh() -> Door {
    door("ssh", &OPEN, &CLOSE)
}

/// An engine with a clock and a shorthand for knocking.
struct Lab {
    engine: Box<Engine<4096>>,
    now: Instant,
}

impl Lab {
    fn new(doors: &[Door]) -> Self {
        let mut engine = Box::new(const { Engine::new() });
        engine.seed([7; 8]);
        engine.configure(&doors.iter().cloned().collect()).unwrap();
        Self {
            engine,
            now: Instant::from_millis(1_000_000),
        }
    }

    fn underway(&self) -> Vec<Underway> {
        let mut underway = Vec::new();
        self.engine
            .show_underway(self.now, &mut |attempt| underway.push(attempt));
        underway
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
    }

    fn knock(&mut self, source: IpAddr, port: Port) -> Decision {
        self.knock_from(40_000, source, port)
    }

    fn knock_from(&mut self, source_port: u16, source: IpAddr, port: Port) -> Decision {
        let knock = Knock {
            source,
            source_port,
            port,
            payload: &[],
        };
        self.engine.handle(self.now, &knock)
    }

    fn knock_all(&mut self, source: IpAddr, ports: &[Port]) -> Vec<Outcome> {
        ports
            .iter()
            .map(|&port| self.knock(source, port).outcome)
            .collect()
    }

    fn opens(&mut self, source: IpAddr, ports: &[Port]) -> bool {
        ports
            .iter()
            .fold(false, |_, &port| self.knock(source, port).open.contains(0))
    }
}

fn host(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0xc000_0200 + number).into()
}

#[test]
fn the_sequence_opens_for_its_sender_and_the_other_closes() {
    let mut lab = Lab::new(&[ssh()]);
    let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    for source in [host(1), v6] {
        assert!(lab.opens(source, &OPEN));
        assert!(!lab.knock(source, CLOSE[0]).close.contains(0));
        assert!(lab.knock(source, CLOSE[1]).close.contains(0));
    }
    assert_eq!(lab.engine.counters().opened, 2);
    assert_eq!(lab.engine.counters().closed, 2);
}

#[test]
fn other_ports_are_none_of_its_business() {
    let mut lab = Lab::new(&[ssh()]);
    assert!(!lab.opens(host(1), &OPEN[..2]));
    assert_eq!(lab.knock(host(1), udp(7000)).outcome, Outcome::Unwatched);
    assert!(lab.opens(host(1), &OPEN[2..]));
}

#[test]
fn duplicates_do_not_break_an_attempt_and_wrong_order_does() {
    use Outcome::{Advanced, Completed, Repeated, Wrong};
    let mut lab = Lab::new(&[ssh()]);
    let [a, b, c] = OPEN;
    assert_eq!(
        lab.knock_all(host(1), &[a, a, b, a, b, c, c]),
        [
            Advanced, Repeated, Advanced, Repeated, Repeated, Completed, Repeated
        ]
    );
    assert_eq!(
        lab.knock_all(host(2), &[a, c, b, c]),
        [Advanced, Wrong, Wrong, Wrong]
    );
    assert_eq!(
        lab.knock_all(host(3), &[a, b, CLOSE[0], c]),
        [Advanced, Advanced, Advanced, Wrong]
    );
}

#[test]
fn the_window_reaches_from_the_first_knock_to_the_last() {
    let mut lab = Lab::new(&[ssh()]);
    assert!(!lab.opens(host(1), &OPEN[..2]));
    lab.wait(10_000);
    assert!(lab.opens(host(1), &OPEN[2..]));
    assert!(!lab.opens(host(1), &OPEN[..2]));
    lab.wait(10_001);
    assert!(!lab.opens(host(1), &OPEN[2..]));
}

#[test]
fn sources_do_not_share_attempts() {
    let mut lab = Lab::new(&[ssh()]);
    assert!(!lab.opens(host(1), &OPEN[..1]));
    assert!(!lab.opens(host(2), &OPEN[1..]));
    let sources = || (10..1010).map(host);
    for port in &OPEN[..2] {
        assert!(sources().all(|source| lab.knock(source, *port).open.is_empty()));
    }
    assert!(sources().all(|source| lab.knock(source, OPEN[2]).open.contains(0)));
}

#[test]
fn doors_do_not_disturb_each_other_and_one_knock_can_open_two() {
    let [a, b, c] = OPEN;
    let web = door("web", &[tcp(1), tcp(2), c], &[]);
    let mut lab = Lab::new(&[ssh(), web]);
    for port in [a, tcp(1), b, tcp(2)] {
        assert_eq!(lab.knock(host(1), port).outcome, Outcome::Advanced);
    }
    assert!(lab.knock(host(1), c).open.eq([0, 1]));
}

#[test]
fn reconfiguring_keeps_the_attempts_of_doors_that_did_not_change() {
    let web = || door("web", &[tcp(1), tcp(2)], &[]);
    let mut lab = Lab::new(&[ssh(), web()]);
    assert!(!lab.opens(host(1), &OPEN[..2]));
    assert_eq!(lab.knock(host(1), tcp(1)).outcome, Outcome::Advanced);
    let mut shorter = ssh();
    shorter.window = Duration::from_secs(9);
    let doors = [web(), shorter].into_iter().collect();
    lab.engine.configure(&doors).unwrap();
    assert!(
        lab.knock(host(1), tcp(2)).open.contains(0),
        "web is now the first door"
    );
    assert_eq!(
        lab.knock(host(1), OPEN[2]).outcome,
        Outcome::Wrong,
        "ssh has changed"
    );
    assert_eq!(lab.knock(host(1), OPEN[0]).outcome, Outcome::Advanced);
}

#[test]
fn who_fails_too_often_is_not_heard_for_a_while() {
    let mut guarded = ssh();
    guarded.cutoff = Some(Cutoff {
        failures: 3,
        within: Duration::from_secs(60),
    });
    let mut lab = Lab::new(&[guarded]);
    let mut source_port = 40_000;
    let cuts = [0; 3].map(|_| {
        source_port += 1;
        lab.knock_from(source_port, host(1), OPEN[1]).cut_off
    });
    assert_eq!(cuts, [None, None, Some(Duration::from_secs(60))]);
    assert_eq!(lab.knock_all(host(1), &OPEN), [Outcome::Silenced; 3]);
    assert!(lab.opens(host(2), &OPEN), "others are heard");
    lab.wait(60_001);
    assert!(lab.opens(host(1), &OPEN));
}

#[test]
fn an_owner_who_duplicates_and_repeats_is_never_cut_off() {
    let mut guarded = ssh();
    guarded.cutoff = Some(Cutoff {
        failures: 1,
        within: Duration::from_secs(60),
    });
    let mut lab = Lab::new(&[guarded]);
    let [a, b, c] = OPEN;
    for _ in 0..10 {
        lab.wait(500);
        assert!(
            lab.knock_all(host(1), &[a, a, b, a, b, c])
                .ends_with(&[Outcome::Completed])
        );
        assert_eq!(lab.knock(host(1), c).outcome, Outcome::Repeated);
    }
}

#[test]
fn polls_only_while_something_is_under_way() {
    let mut lab = Lab::new(&[ssh()]);
    assert_eq!(lab.engine.poll_at(), None);
    assert!(!lab.opens(host(1), &OPEN[..2]));
    assert_eq!(lab.underway().len(), 1);
    let at = lab.engine.poll_at().unwrap();
    assert!(at > lab.now + Duration::from_secs(10));
    lab.engine.poll(at);
    assert_eq!(lab.engine.poll_at(), None);
    lab.now = at;
    assert_eq!(lab.underway().len(), 0);
}

#[test]
fn shows_who_has_come_how_far() {
    let mut lab = Lab::new(&[ssh()]);
    assert!(!lab.opens(host(1), &OPEN[..2]));
    lab.wait(4_000);
    let underway = lab.underway();
    let [only] = underway.as_slice() else {
        panic!("{underway:?}")
    };
    assert_eq!(
        (only.source, only.door, only.accepted, only.needed),
        (host(1), 0, 2, 3)
    );
    assert_eq!(only.remaining, Duration::from_secs(6));
}

/// 100,000 forged first knocks a second for twelve seconds, and a hundred honest clients
/// who leave half a second between their knocks, as knockd's users do.
#[test]
fn a_flood_of_first_knocks_makes_no_honest_knock_fail() {
    let mut lab = Lab::new(&[ssh()]);
    let mut forged = 0u32;
    let mut opened = 0;
    let honest = |number: u32| IpAddr::from(Ipv4Addr::from_bits(0xc633_6400 + number));
    for milli in 0..12_000u32 {
        lab.wait(1);
        lab.engine.poll(lab.now);
        for _ in 0..100 {
            forged = forged.wrapping_add(0x9e37_79b9);
            let source = Ipv4Addr::from_bits(forged >> 2);
            assert!(lab.knock(source.into(), OPEN[0]).open.is_empty());
        }
        for (step, port) in OPEN.iter().enumerate() {
            let since = i64::from(milli) - 500 * step as i64;
            if since >= 0 && since % 100 == 0 && since < 10_000 {
                let client = honest(since as u32 / 100);
                opened += u32::from(lab.knock(client, *port).open.contains(0));
            }
        }
    }
    assert_eq!(opened, 100);
    assert!(lab.engine.counters().displaced > 1_000_000);
}

#[test]
fn even_after_a_flood_a_stranger_needs_the_rest_of_the_sequence() {
    let mut lab = Lab::new(&[ssh()]);
    for number in 0..1_000_000 {
        assert!(lab.knock(host(number), OPEN[0]).open.is_empty());
    }
    let stranger = IpAddr::from(Ipv4Addr::new(10, 0, 0, 1));
    assert!(!lab.opens(stranger, &OPEN[2..]));
    assert!(!lab.opens(stranger, &[OPEN[2], OPEN[0], OPEN[1]]));
    lab.wait(20_001);
    assert!(
        !lab.opens(stranger, &OPEN[1..]),
        "and the first knock again, soon after"
    );
}

#[test]
fn any_order_of_any_ports_within_the_table_is_survived() {
    let mut lab = Lab::new(&[ssh(), door("web", &[OPEN[1], OPEN[0]], &[OPEN[2]])]);
    let mut state = 1u32;
    for _ in 0..200_000 {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let port = [OPEN.as_slice(), &CLOSE].concat()[state as usize % 5];
        lab.wait(u64::from(state >> 20));
        lab.engine.poll(lab.now);
        _ = lab.knock(host(state >> 8 & 0xfff), port);
    }
    let counters = *lab.engine.counters();
    assert_eq!(counters.seen, 200_000);
    assert_eq!(
        counters.seen,
        counters.matched + counters.repeated + counters.wrong
    );
}

/// Ports in an order that a scanner may choose: xorshift, then Fisher and Yates.
fn shuffled(state: &mut u64) -> Vec<u16> {
    let mut ports: Vec<u16> = (1..=u16::MAX).collect();
    for last in (1..ports.len()).rev() {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        ports.swap(last, (*state % (last as u64 + 1)) as usize);
    }
    ports
}

/// How many of `scans` full scans in random order, 100,000 ports a second, open the door.
fn scans_that_open(door: Door, scans: usize) -> usize {
    let mut lab = Lab::new(&[door]);
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut opened = 0;
    for _ in 0..scans {
        let mut hit = false;
        for (number, port) in shuffled(&mut state).into_iter().enumerate() {
            lab.wait(u64::from(number % 100 == 0));
            hit |= lab.knock(host(1), tcp(port)).open.contains(0);
        }
        opened += usize::from(hit);
    }
    // For docs/measurements.md.
    println!("{opened} of {scans} scans opened the door");
    opened
}

#[test]
fn random_scans_on_end_open_no_door_with_decoys_and_a_cutoff() {
    let weak = || door("ssh", &[tcp(7000), tcp(8001), tcp(9002)], &CLOSE);
    assert!(
        scans_that_open(weak(), 100) >= 2,
        "as every knocker without decoys"
    );
    let decoyed = || Door {
        decoys: 16,
        ..weak()
    };
    assert_eq!(scans_that_open(decoyed(), 100), 0);
    let cutoff = Some(Cutoff {
        failures: 5,
        within: Duration::from_secs(600),
    });
    assert_eq!(
        scans_that_open(
            Door {
                cutoff,
                ..decoyed()
            },
            100
        ),
        0
    );
}

#[test]
fn a_decoy_ends_an_attempt_and_means_nothing_without_one() {
    let cutoff = Some(Cutoff {
        failures: 1,
        within: Duration::from_secs(60),
    });
    let decoyed = Door {
        decoys: 16,
        cutoff,
        ..ssh()
    };
    let mut decoys = postern_core::decoy::decoys(&decoyed, core::slice::from_ref(&decoyed));
    let decoy = decoys.next().unwrap().ports().last().unwrap();
    drop(decoys);
    let mut lab = Lab::new(core::slice::from_ref(&decoyed));
    for _ in 0..3 {
        assert_eq!(lab.knock(host(1), decoy).outcome, Outcome::Decoy);
    }
    assert!(lab.opens(host(1), &OPEN), "nobody was cut off");
    assert_eq!(
        lab.knock(host(1), decoy).outcome,
        Outcome::Decoy,
        "nothing is under way any more"
    );
    assert_eq!(lab.knock_all(host(2), &OPEN[..2]), [Outcome::Advanced; 2]);
    let decision = lab.knock(host(2), decoy);
    assert_eq!((decision.outcome, decision.cut_off), (Outcome::Wrong, None));
    assert_eq!(
        lab.knock(host(2), OPEN[2]).cut_off,
        Some(Duration::from_secs(60))
    );
}

#[test]
fn a_knock_that_is_right_at_one_door_is_no_failure_at_another() {
    let cutoff = Some(Cutoff {
        failures: 1,
        within: Duration::from_secs(60),
    });
    let doors = [7000, 7001, 7002, 7003].map(|first| Door {
        cutoff,
        ..door("ssh", &[tcp(first), tcp(8000), tcp(9000)], &[])
    });
    let mut lab = Lab::new(&doors);
    assert!(lab.opens(host(1), &[tcp(7000), tcp(8000), tcp(9000)]));
    assert_eq!(
        lab.knock(host(2), tcp(9000)).cut_off,
        Some(Duration::from_secs(60))
    );
}

#[test]
fn a_weak_door_forgives_nothing_at_another() {
    let cutoff = Some(Cutoff {
        failures: 5,
        within: Duration::from_secs(600),
    });
    let strong = Door { cutoff, ..ssh() };
    let weak = Door {
        cutoff,
        ..door("guest", &[tcp(1)], &[])
    };
    let mut lab = Lab::new(&[strong, weak]);
    let outcomes = (20_000..20_020).map(|source_port| {
        let wrong = lab.knock_from(source_port * 2, host(1), OPEN[2]).outcome;
        _ = lab.knock_from(source_port, host(1), tcp(1));
        wrong
    });
    assert!(outcomes.last() == Some(Outcome::Silenced));
}

#[test]
fn an_ipv6_network_fails_together() {
    let cutoff = Some(Cutoff {
        failures: 5,
        within: Duration::from_secs(600),
    });
    let mut lab = Lab::new(&[Door { cutoff, ..ssh() }]);
    let address =
        |network: u128, host: u128| IpAddr::from(Ipv6Addr::from_bits(network << 64 | host));
    for host in 1..=5 {
        _ = lab.knock_from(host * 2, address(7, host.into()), OPEN[2]);
    }
    assert_eq!(
        lab.knock(address(7, 99), OPEN[0]).outcome,
        Outcome::Silenced
    );
    assert_eq!(lab.knock(address(8, 1), OPEN[0]).outcome, Outcome::Advanced);
}

#[test]
fn doors_of_the_kernel_are_left_to_it() {
    for engine in [EngineName::Chain, EngineName::Track] {
        let kernels = Door {
            engine,
            decoys: 8,
            ..door("web", &[tcp(7100), tcp(7200), OPEN[1]], &CLOSE)
        };
        let mut lab = Lab::new(&[kernels, ssh()]);
        assert_eq!(lab.knock(host(1), tcp(7100)).outcome, Outcome::Unwatched);
        for number in 6500..7700 {
            let at_any_port = lab.knock(host(2), tcp(number)).outcome;
            let is_ours = OPEN.contains(&tcp(number)) || CLOSE.contains(&tcp(number));
            assert_eq!(at_any_port != Outcome::Unwatched, is_ours, "{number}");
        }
        // A port that both listen to is the agent's too.
        let last = OPEN.map(|port| lab.knock(host(3), port)).last().copied();
        let open = last.map(|last| (last.open.contains(0), last.open.contains(1)));
        assert_eq!(open, Some((false, true)));
    }
}

const JITTER: Duration = Duration::from_millis(50);

fn tolerant() -> Door {
    Door {
        jitter: JITTER,
        ..ssh()
    }
}

#[test]
fn within_the_jitter_any_order_opens_again_and_again_and_beyond_it_only_the_right_one() {
    let [a, b, c] = OPEN;
    let orders = [
        [a, b, c],
        [a, c, b],
        [b, a, c],
        [b, c, a],
        [c, a, b],
        [c, b, a],
    ];
    for pace in [0, 7, 25] {
        let mut lab = Lab::new(&[tolerant()]);
        for order in orders.into_iter().cycle().take(18) {
            let decisions = order.map(|port| {
                lab.wait(pace);
                lab.knock(host(1), port)
            });
            assert!(decisions[2].open.contains(0), "{pace}: {order:?}");
            lab.wait(1_000);
        }
        assert_eq!(lab.engine.counters().failed, 0);
    }
    let opened = orders.map(|order| {
        let mut lab = Lab::new(&[tolerant()]);
        order.map(|port| {
            lab.wait(51);
            lab.knock(host(1), port).open.contains(0)
        })[2]
    });
    assert_eq!(opened, [true, false, false, false, false, false]);
}

#[test]
fn knocks_of_one_line_are_not_those_of_another_in_another_order() {
    let [a, b, c] = OPEN;
    let reversed = || Door {
        jitter: JITTER,
        ..door("ssh", &[a, b, c], &[c, b, a])
    };
    let mut lab = Lab::new(&[reversed()]);
    for number in 0..10 {
        let opening = [a, b, c].map(|port| lab.knock(host(number), port));
        assert!(opening[2].open.contains(0));
        assert!(opening.iter().all(|decision| decision.close.is_empty()));
        lab.wait(1_000);
        let closing = [c, b, a].map(|port| lab.knock(host(number), port));
        assert!(closing[2].close.contains(0));
        assert!(closing.iter().all(|decision| decision.open.is_empty()));
    }
    // Nor the knocks of one door those of another, whoever keeps count of the other's.
    for engine in [EngineName::Daemon, EngineName::Track] {
        let guests = Door {
            engine,
            ..door("guests", &[b, c, tcp(1), a], &[])
        };
        let mut lab = Lab::new(&[tolerant(), guests]);
        let opened = [b, c, tcp(1), a].map(|port| lab.knock(host(1), port).open.contains(0));
        assert_eq!(opened, [false; 4], "{engine:?}");
        let opened = [b, a, c].map(|port| lab.knock(host(2), port).open.contains(0));
        assert_eq!(opened, [false, false, true], "neighbours may be swapped");
    }
}

/// As 100,000 ports a second in any order go: the jitter covers all of the scan.
#[test]
fn random_scans_within_the_jitter_open_hardly_more() {
    let decoyed = || Door {
        jitter: Duration::from_secs(10),
        decoys: 16,
        ..door("ssh", &[tcp(7000), tcp(8001), tcp(9002)], &CLOSE)
    };
    let opened = scans_that_open(decoyed(), 300);
    // Of three knocks and 16 decoys of 8 ports: in order, one right after the other, 1 of 17,030; before all decoys
    // 1 of 366,145.
    assert!(opened <= 1, "{opened} of 300");
    let cutoff = Some(Cutoff {
        failures: 5,
        within: Duration::from_secs(600),
    });
    let opened = scans_that_open(
        Door {
            cutoff,
            ..decoyed()
        },
        300,
    );
    assert!(opened <= 1, "{opened} of 300");
}

#[test]
fn whoever_hit_a_decoy_knocks_in_order_for_a_while() {
    let decoyed = Door {
        decoys: 16,
        ..tolerant()
    };
    let mut decoys = postern_core::decoy::decoys(&decoyed, core::slice::from_ref(&decoyed));
    let decoy = decoys.next().unwrap().ports().last().unwrap();
    drop(decoys);
    let [a, b, c] = OPEN;
    let mut lab = Lab::new(&[decoyed]);
    assert_eq!(lab.knock(host(1), decoy).outcome, Outcome::Decoy);
    assert!(!lab.opens(host(1), &[c, a, b]));
    assert!(lab.opens(host(1), &OPEN));
    assert!(lab.opens(host(2), &[c, a, b]), "of others nothing is asked");
    lab.wait(10_001);
    assert!(lab.opens(host(1), &[c, a, b]), "it is forgiven");
}

#[test]
fn a_flood_of_a_later_knock_makes_no_honest_knock_fail() {
    let mut lab = Lab::new(&[tolerant()]);
    let mut forged = 0u32;
    let mut opened = 0;
    for round in 0..100 {
        for step in OPEN {
            for _ in 0..5_000 {
                forged = forged.wrapping_add(0x9e37_79b9);
                let source = Ipv4Addr::from_bits(forged >> 2);
                _ = lab.knock(source.into(), OPEN[1 + forged as usize % 2]);
            }
            lab.wait(100);
            lab.engine.poll(lab.now);
            let client = IpAddr::from(Ipv4Addr::from_bits(0xc633_6400 + round));
            opened += u32::from(lab.knock(client, step).open.contains(0));
        }
    }
    assert_eq!(opened, 100);
    assert!(lab.engine.counters().displaced > 100_000);
    let stranger = IpAddr::from(Ipv4Addr::new(10, 0, 0, 1));
    assert!(!lab.opens(stranger, &OPEN[1..]), "no first knock is free");
}

/// A sequence, knocked wrongly: what counts is the same for whoever asks.
#[test]
fn each_wrong_attempt_is_one_failure_and_five_cut_off() {
    let [a, b, c] = OPEN;
    let within = Duration::from_secs(600);
    let cutoff = Some(Cutoff {
        failures: 5,
        within,
    });
    let mut lab = Lab::new(&[Door {
        cutoff,
        ..tolerant()
    }]);
    let (mut told, mut cut_off) = (0, Vec::new());
    for round in 1..=15 {
        for (source_port, port) in [(40_000, a), (40_002, c), (40_001, b)] {
            lab.wait(500);
            let decision = lab.knock_from(source_port, host(1), port);
            told += u64::from(decision.failed.len());
            cut_off.extend(decision.cut_off.map(|lasting| (round, lasting)));
        }
        assert_eq!(told, round.min(5));
        assert_eq!(lab.engine.counters().failed, told);
    }
    assert_eq!(cut_off, [(5, within)]);
    assert_eq!(lab.engine.counters().cut_off, 1);
    assert_eq!(lab.engine.counters().wrong, 5);
    assert_eq!(lab.engine.counters().silenced, 30);
}

#[test]
fn what_was_overtaken_and_never_came_is_a_failure_whoever_notices() {
    let cutoff = Some(Cutoff {
        failures: 2,
        within: Duration::from_secs(60),
    });
    let [a, b, c] = OPEN;
    let guarded = || Door {
        cutoff,
        ..tolerant()
    };
    // In order, and given up: as when packets are lost.
    let mut lab = Lab::new(&[guarded()]);
    for _ in 0..10 {
        assert!(!lab.opens(host(1), &[a, b]));
        lab.wait(20_000);
        let at = lab.engine.poll_at().unwrap();
        lab.engine
            .poll_telling(at, &mut |_, lapse| panic!("{lapse:?}"));
    }
    assert_eq!(lab.engine.counters().failed, 0);
    // The next knock notices.
    assert!(!lab.opens(host(1), &[a, c]));
    lab.wait(1_000);
    let decision = lab.knock(host(1), a);
    assert_eq!(
        (decision.outcome, decision.cut_off),
        (Outcome::Advanced, None)
    );
    assert!(decision.failed.contains(0));
    assert_eq!(lab.knock(host(1), b).outcome, Outcome::Advanced);
    assert!(lab.opens(host(1), &[c]), "and a success forgives");
    // Nobody knocks any more: the end of the window.
    for (number, network) in [(1, 7), (2, 7), (3, 8)] {
        let source = IpAddr::from(Ipv6Addr::from_bits(network << 64 | number));
        assert!(!lab.opens(source, &[b, c]));
    }
    lab.wait(20_000);
    let mut lapses = Vec::new();
    lab.engine
        .poll_telling(lab.now, &mut |_, lapse| lapses.push(lapse.cut_off));
    lapses.sort();
    assert_eq!(lapses, [None, None, Some(Duration::from_secs(60))]);
    assert_eq!(lab.engine.counters().failed, 4);
    let of = |network: u128| IpAddr::from(Ipv6Addr::from_bits(network << 64 | 99));
    assert_eq!(lab.knock(of(7), a).outcome, Outcome::Silenced);
    assert_eq!(lab.knock(of(8), a).outcome, Outcome::Advanced);
}

#[test]
fn a_pardon_ends_a_cut_off_and_forgets_what_led_to_it() {
    let cutoff = Some(Cutoff {
        failures: 2,
        within: Duration::from_secs(60),
    });
    let mut lab = Lab::new(&[Door { cutoff, ..ssh() }]);
    let of = |host: u128| IpAddr::from(Ipv6Addr::from_bits(7 << 64 | host));
    for source in [host(1), of(1), host(2)] {
        for from in [1, 2] {
            _ = lab.knock_from(from, source, OPEN[2]);
        }
        assert_eq!(lab.knock(source, OPEN[0]).outcome, Outcome::Silenced);
    }
    _ = lab.knock_from(1, host(3), OPEN[2]);
    let now = lab.now;
    assert!(lab.engine.pardon(now, host(1)) && !lab.engine.pardon(now, host(1)));
    assert!(lab.engine.pardon(now, of(99)), "of its /64, whoever asks");
    assert!(!lab.engine.pardon(now, host(3)), "not cut off yet");
    assert!(lab.opens(host(1), &OPEN) && lab.opens(of(1), &OPEN));
    assert_eq!(lab.knock_from(2, host(3), OPEN[2]).cut_off, None);
    assert_eq!(lab.knock(host(2), OPEN[0]).outcome, Outcome::Silenced);
    lab.engine.pardon_all();
    assert!(lab.opens(host(2), &OPEN));
}

/// Two failures within ten minutes.
const STRICT: Option<Cutoff> = Some(Cutoff {
    failures: 2,
    within: Duration::from_secs(600),
});

/// A door of codes from port 10000 on, which cuts off.
fn coded(name: &str) -> Door {
    let code = Code {
        secret_file: "/etc/postern/a.secret".try_into().unwrap(),
        algorithm: Algorithm::Sha1,
        digits: Digits::Six,
        base: 10_000,
        protocols: [Protocol::Tcp; 2],
        order: Order::Strict,
    };
    let method = Method::Seed {
        code,
        look_ahead: 10,
        close: Sequence::new(),
    };
    Door {
        cutoff: STRICT,
        ..Door::new(name, &[tcp(22)], method).unwrap()
    }
}

fn codes(codes: &[[u16; 2]]) -> Armed {
    let numbered = codes.iter().zip(7..);
    let candidate = |(code, counter): (&[u16; 2], u64)| Candidate {
        counter,
        knocks: code.map(|group| tcp(10_000 + group)),
    };
    Armed::Codes(numbered.map(candidate).collect())
}

/// Two people, or one whose secret is changed, at one port.
#[test]
fn a_right_code_at_one_door_is_no_failure_at_another_of_the_same_ports() {
    let bob = [111, 482];
    for (name, own, others) in [("first", 0, 1), ("last", 1, 0)] {
        let mut lab = Lab::new(&[coded("alice"), coded("bob")]);
        for round in 0..20 {
            let alice = [482, 913 + round];
            lab.engine.arm(own, codes(&[alice]));
            lab.engine.arm(others, codes(&[bob]));
            let ports = 2 * round + 1..;
            for (group, from) in alice.into_iter().zip(ports.clone()) {
                let decision = lab.knock_from(from, host(1), tcp(10_000 + group));
                assert!(decision.failed.is_empty(), "{name}: {decision:?}");
                assert!(!decision.open.contains(others));
            }
            // The code is spent, and its knocks are sent again, for a minute.
            for millis in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000] {
                lab.wait(millis);
                let now = lab.now;
                lab.engine.poll(now);
                for (group, from) in alice.into_iter().zip(ports.clone()) {
                    let again = lab.knock_from(from, host(1), tcp(10_000 + group));
                    assert_eq!(again.outcome, Outcome::Repeated, "{name} {millis}");
                    assert!(again.failed.is_empty());
                }
            }
            assert!(lab.engine.armed(own).opens_nothing());
            assert!(!lab.engine.armed(others).opens_nothing());
        }
        assert_eq!(lab.engine.counters().opened, 20);
        assert_eq!(lab.engine.counters().failed, 0);
    }
}

#[test]
fn a_knock_that_is_wrong_at_every_door_counts_at_each_of_them_once() {
    let patient = Door {
        cutoff: None,
        ..coded("alice")
    };
    let mut lab = Lab::new(&[patient, coded("bob"), ssh()]);
    lab.engine.arm(0, codes(&[[482, 913]]));
    lab.engine.arm(1, codes(&[[111, 482]]));
    let first = lab.knock_from(1, host(1), tcp(10_005));
    assert!(first.failed.eq([0, 1]) && first.cut_off.is_none());
    assert!(lab.knock_from(1, host(1), tcp(10_005)).failed.is_empty());
    let second = lab.knock_from(2, host(1), tcp(10_006));
    assert!(second.failed.eq([0, 1]) && second.cut_off == Some(Duration::from_secs(600)));
    assert_eq!(lab.knock(host(1), tcp(10_111)).outcome, Outcome::Silenced);
    // Success at one door buys no guesses at the other.
    assert!(lab.knock_from(1, host(2), tcp(10_007)).failed.eq([0, 1]));
    lab.wait(10_001);
    assert!(lab.opens(host(2), &[tcp(10_482), tcp(10_913)]));
    assert!(lab.knock_from(2, host(2), tcp(10_008)).cut_off.is_some());
}

/// What comes in its turn at one door comes ahead of its turn at the other, and what that overtook never comes.
#[test]
fn doors_whose_sequences_begin_alike_have_no_failures_of_each_other() {
    let [a, b, c, d] = [tcp(7000), tcp(8000), tcp(9000), tcp(8500)];
    let strict = |name, open: &[Port]| Door {
        cutoff: STRICT,
        jitter: Duration::from_millis(50),
        ..door(name, open, &[])
    };
    let sequences: [&[Port]; 4] = [&[a, b, c], &[a, c, d], &[c, b, a], &[d, b, c, a]];
    for (own, other) in (0..4).flat_map(|own| (0..4).map(move |other| (own, other))) {
        let doors = [("alice", own), ("bob", other)];
        for doors in [doors, [doors[1], doors[0]]] {
            let mut lab = Lab::new(&doors.map(|(name, which)| strict(name, sequences[which])));
            let index = usize::from(doors[0].0 != "alice");
            for round in 0..20 {
                let mut knocks = sequences[own].to_vec();
                // Neighbours overtake each other, or keep their distance.
                let gap = match round % 3 {
                    0 => 1_000,
                    which => {
                        knocks.swap(which - 1, which);
                        5
                    }
                };
                let mut has_opened = false;
                for port in knocks {
                    lab.wait(gap);
                    let decision = lab.knock(host(1), port);
                    assert!(decision.failed.is_empty(), "{own} {other} {round}");
                    has_opened |= decision.open.contains(index);
                }
                assert!(has_opened || gap == 5, "{own} {other} {round}");
                for _ in 0..30 {
                    lab.wait(1_000);
                    let now = lab.now;
                    (lab.engine).poll_telling(now, &mut |door, _| {
                        panic!("{} failed: {own} {other} {round}", door.name);
                    });
                }
            }
        }
    }
}

/// Three methods whose ports are the same few: whoever knocks what is right at one door fails at none.
#[test]
fn whoever_knocks_right_is_cut_off_by_no_door_at_the_same_ports() {
    let mut state = 1_u32;
    let mut random = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    for round in 0..600 {
        let mut ports: Vec<u16> = (0..7).collect();
        let mut draw = |ports: &mut Vec<u16>, many: usize| -> Vec<u16> {
            for index in (1..ports.len()).rev() {
                ports.swap(index, random(index as u32 + 1) as usize);
            }
            ports.iter().take(many).copied().collect()
        };
        let [fixed, listed] = [3, 4].map(|many| draw(&mut ports, many));
        let [code, other]: [[u16; 2]; 2] = [0, 1].map(|_| draw(&mut ports, 2).try_into().unwrap());
        let of = |groups: &[u16]| -> Sequence {
            groups.iter().map(|group| tcp(10_000 + group)).collect()
        };
        let list = Method::List {
            file: "/etc/postern/list".try_into().unwrap(),
            at_end: AtEnd::Wrap,
            order: Order::Any,
            close: Sequence::new(),
        };
        let doors = [
            Door {
                cutoff: STRICT,
                jitter: Duration::from_millis(50),
                ..door("fixed", &of(&fixed), &[])
            },
            coded("codes"),
            Door {
                cutoff: STRICT,
                ..Door::new("list", &[tcp(22)], list).unwrap()
            },
        ];
        let order = [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ];
        let order = order[round % 6];
        let mut lab = Lab::new(&order.map(|which| doors[which].clone()));
        let index = |which: usize| order.iter().position(|other| *other == which).unwrap();
        lab.engine.watch(index(2), &of(&listed)).unwrap();
        let whose = round % 3;
        let knocks = [&fixed[..], &code[..], &listed[..]][whose];
        // A code opens once.
        let times = if whose == 1 { 1 } else { 4 };
        for _ in 0..times {
            lab.engine.arm(index(1), codes(&[code, other]));
            lab.engine.arm(index(2), Armed::Sequence(0, of(&listed)));
            let mut has_opened = false;
            for port in of(knocks) {
                for _ in 0..=random(2) {
                    let decision = lab.knock(host(1), port);
                    assert!(decision.failed.is_empty(), "{round}: {decision:?}");
                    has_opened |= decision.open.contains(index(whose));
                }
                lab.wait(u64::from(random(400)));
                let now = lab.now;
                (lab.engine).poll_telling(now, &mut |door, _| panic!("{round}: {}", door.name));
            }
            assert!(has_opened, "{round}");
            for _ in 0..15 {
                lab.wait(1_000);
                let now = lab.now;
                (lab.engine).poll_telling(now, &mut |door, _| panic!("{round}: {}", door.name));
            }
        }
    }
}

#[test]
fn whom_a_door_does_not_hear_is_nobody_to_it() {
    let near = ["198.51.100.0/24", "2001:db8:1::/48", "198.51.100.7"];
    let mut ssh = Door {
        cutoff: Some(Cutoff {
            failures: 1,
            within: Duration::from_secs(60),
        }),
        ..ssh()
    };
    ssh.from = near
        .map(|text| Network::parse(text).unwrap())
        .into_iter()
        .collect();
    let mut lab = Lab::new(&[ssh, door("web", &[OPEN[1], OPEN[0]], &[])]);
    for address in ["198.51.100.7", "2001:db8:1:2::3"] {
        assert!(lab.opens(address.parse().unwrap(), &OPEN), "{address}");
    }
    let seen = lab.engine.counters().seen;
    for address in ["198.51.101.7", "2001:db8:2::3", "::1"] {
        let stranger = address.parse().unwrap();
        // Neither a right knock nor a wrong one counts.
        for port in [OPEN[2], CLOSE[1], CLOSE[0], OPEN[2]] {
            assert_eq!(lab.knock(stranger, port).outcome, Outcome::Unwatched);
        }
        // The other door at these ports hears everybody.
        assert!(!lab.opens(stranger, &OPEN), "{address}");
        assert!(
            lab.knock_all(stranger, &[OPEN[1], OPEN[0]])
                .contains(&Outcome::Completed)
        );
    }
    assert_eq!(lab.engine.counters().seen, seen + 3 * 4);
    assert!(lab.underway().iter().all(|attempt| attempt.door == 1));
    assert_eq!(lab.engine.counters().cut_off, 0);
}

#[test]
fn whoever_uses_the_service_at_a_passive_knock_fails_at_nothing() {
    let mut lab = Lab::new(&[Door {
        passive: true,
        jitter: Duration::from_millis(50),
        ..ssh()
    }]);
    for _ in 0..20 {
        lab.wait(3_000);
        lab.engine.poll(lab.now);
        _ = lab.knock_all(host(1), &[OPEN[1], OPEN[1], OPEN[2]]);
    }
    lab.wait(20_000);
    lab.engine.poll(lab.now);
    assert_eq!(lab.engine.counters().failed, 0);
    assert!(lab.opens(host(1), &OPEN));
}

#[test]
fn a_door_that_does_not_listen_hears_nothing_and_counts_nothing() {
    let [a, b, c] = OPEN;
    let strict = |name| Door {
        cutoff: STRICT,
        ..door(name, &OPEN, &[])
    };
    let mut lab = Lab::new(&[strict("alice"), strict("guest")]);
    assert!(!lab.opens(host(1), &[a, b]));
    lab.engine.listen(1, false);
    let last = lab.knock(host(1), c);
    assert!(last.open.eq([0]));
    for from in 0..3 {
        let decision = lab.knock_from(from, host(2), b);
        assert!(decision.failed.eq([0]) || decision.outcome == Outcome::Silenced);
    }
    lab.engine.listen(0, false);
    let seen = lab.engine.counters().seen;
    assert_eq!(lab.knock(host(3), b).outcome, Outcome::Unwatched);
    assert_eq!(lab.knock(host(2), a).outcome, Outcome::Unwatched);
    assert_eq!(lab.engine.counters().seen, seen);
    lab.engine.listen(1, true);
    assert_eq!(
        lab.knock(host(1), c).outcome,
        Outcome::Wrong,
        "what was is forgotten"
    );
    assert!(!lab.opens(host(4), &OPEN));
    let doors = lab.engine.doors().iter().cloned().collect();
    lab.engine.configure(&doors).unwrap();
    assert!(lab.opens(host(5), &OPEN), "both listen anew");
}
