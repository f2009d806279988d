//! The engine as its users see it: doors, knocks and a clock in, decisions out.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up its scene has failed"
)]

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use postern_core::door::{Cutoff, Door, EngineName, Method, Name, OnExpiry, Sequence};
use postern_core::engine::{Decision, Engine, Outcome, Underway};
use postern_core::knock::{Knock, Port, Protocol};
use postern_core::time::{Duration, Instant};

const OPEN: [Port; 3] = [tcp(7000), udp(8001), tcp(9002)];
const CLOSE: [Port; 2] = [tcp(9003), tcp(7004)];

const fn tcp(number: u16) -> Port {
    Port {
        protocol: Protocol::Tcp,
        number,
    }
}

const fn udp(number: u16) -> Port {
    Port {
        protocol: Protocol::Udp,
        number,
    }
}

fn door(name: &str, open: &[Port], close: &[Port]) -> Door {
    Door {
        name: Name::try_from(name).unwrap(),
        guards: [tcp(22)].into_iter().collect(),
        engine: EngineName::Daemon,
        method: Method::Separate {
            open: Sequence::from_slice(open).unwrap(),
            close: Sequence::from_slice(close).unwrap(),
        },
        payload: None,
        window: Duration::from_secs(10),
        jitter: Duration::from_millis(0),
        grant: Duration::from_secs(30),
        grant_prefix4: 32,
        grant_prefix6: 128,
        decoys: 0,
        cutoff: None,
        on_expiry: OnExpiry::Keep,
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
        let mut engine = Box::new(Engine::new());
        engine.seed([7; 8]);
        engine.configure(doors.iter().cloned().collect()).unwrap();
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
    lab.engine.configure(doors).unwrap();
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
    assert!(scans_that_open(decoyed(), 100) <= 1);
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
    let decoy = postern_core::decoy::decoys(&decoyed, core::slice::from_ref(&decoyed))
        .next()
        .unwrap();
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
