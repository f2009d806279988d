//! The seven methods as the engine plays them.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up its scene has failed"
)]

use core::net::{IpAddr, Ipv4Addr};

use postern_core::code::{Algorithm, Code, Digits};
use postern_core::door::{AtEnd, Cutoff, Door, Method, Order, Sequence};
use postern_core::engine::{Credit, Decision, Engine, Outcome, Spent};
use postern_core::knock::{Knock, Port, Protocol, tcp, udp};
use postern_core::method::{Armed, Candidate};
use postern_core::payload::{Payload, RANDOM};
use postern_core::time::{Duration, Instant};

fn sequence(ports: &[Port]) -> Sequence {
    Sequence::from_slice(ports).unwrap()
}

fn door(method: Method) -> Door {
    Door::new("ssh", &[tcp(22)], method).unwrap()
}

fn code(order: Order) -> Code {
    Code {
        secret_file: "/etc/postern/ssh.secret".try_into().unwrap(),
        algorithm: Algorithm::Sha1,
        digits: Digits::Six,
        base: 10_000,
        protocols: [Protocol::Tcp, Protocol::Udp],
        order,
    }
}

fn seed(order: Order) -> Method {
    Method::Seed {
        code: code(order),
        look_ahead: 10,
        close: sequence(&[tcp(1), tcp(2)]),
    }
}

/// Codes by counter: 7 is 482913, 8 is 111111, 9 is 482222.
fn codes() -> Armed {
    let candidate = |counter, first: u16, second: u16| Candidate {
        counter,
        knocks: [tcp(10_000 + first), udp(10_000 + second)],
    };
    Armed::Codes(
        [
            candidate(7, 482, 913),
            candidate(8, 111, 111),
            candidate(9, 482, 222),
        ]
        .into_iter()
        .collect(),
    )
}

/// Milliseconds of silence after which a source is listened to again, after a knock that began no code.
const SILENCE: u64 = 1_001;
const KNOCKED: [Port; 2] = [tcp(10_482), udp(10_913)];

struct Lab {
    engine: Box<Engine<4096>>,
    now: Instant,
    source_port: u16,
}

impl Lab {
    fn new(door: Door) -> Self {
        let mut engine = Box::new(const { Engine::new() });
        engine.configure(&[door].into_iter().collect()).unwrap();
        Self {
            engine,
            now: Instant::from_millis(1_000_000),
            source_port: 40_000,
        }
    }

    fn armed(door: Door, armed: Armed) -> Self {
        let mut lab = Self::new(door);
        lab.arm(armed);
        lab
    }

    fn arm(&mut self, armed: Armed) {
        if let Armed::Sequence(_, steps) = &armed {
            self.engine.watch(0, steps).unwrap();
        }
        self.engine.arm(0, armed);
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
    }

    /// A knock from a fresh port of the client's.
    fn knock(&mut self, port: Port) -> Decision {
        self.source_port += 1;
        self.knock_with(port, &[])
    }

    fn knock_with(&mut self, port: Port, payload: &[u8]) -> Decision {
        let source = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1));
        let knock = Knock {
            source,
            source_port: self.source_port,
            port,
            payload,
        };
        self.engine.handle(self.now, &knock)
    }

    fn last_of(&mut self, ports: &[Port]) -> Decision {
        ports.iter().map(|port| self.knock(*port)).last().unwrap()
    }

    fn outcomes(&mut self, ports: &[Port]) -> Vec<Outcome> {
        ports.iter().map(|port| self.knock(*port).outcome).collect()
    }
}

#[test]
fn the_same_sequence_toggles() {
    let ports = [tcp(7000), udp(8001), tcp(6002)];
    let mut lab = Lab::new(door(Method::Same {
        steps: sequence(&ports),
    }));
    for _ in 0..3 {
        assert!(lab.last_of(&ports).toggle.contains(0));
        assert_eq!(lab.knock(ports[2]).outcome, Outcome::Repeated);
    }
    assert_eq!(lab.engine.counters().toggled, 3);
}

#[test]
fn a_retransmitted_sequence_toggles_once() {
    let ports = [tcp(7000), tcp(8001), tcp(6002)];
    let mut lab = Lab::new(door(Method::Same {
        steps: sequence(&ports),
    }));
    let mut toggled = 0;
    for millis in [0, 1_000, 2_000] {
        lab.wait(millis);
        for (source_port, port) in (40_000..).zip(ports) {
            lab.source_port = source_port;
            toggled += lab.knock_with(port, &[]).toggle.len();
        }
    }
    assert_eq!(toggled, 1);
}

#[test]
fn a_single_knock_toggles_once_however_often_it_is_retransmitted() {
    let mut lab = Lab::new(door(Method::Same {
        steps: sequence(&[tcp(7000)]),
    }));
    assert!(lab.knock(tcp(7000)).toggle.contains(0));
    for _ in 0..3 {
        lab.wait(1_000);
        assert_eq!(
            lab.knock_with(tcp(7000), &[]).outcome,
            Outcome::Repeated,
            "same source port"
        );
    }
    assert!(
        lab.knock(tcp(7000)).toggle.contains(0),
        "a fresh connection"
    );
    assert_eq!(
        lab.knock(tcp(7000)).outcome,
        Outcome::Repeated,
        "a duplicate within the jitter"
    );
}

#[test]
fn single_knocks_open_and_close() {
    let method = Method::Separate {
        open: sequence(&[tcp(1)]),
        close: sequence(&[udp(1)]),
    };
    let mut lab = Lab::new(door(method));
    assert!(lab.knock(tcp(1)).open.contains(0));
    assert!(lab.knock(udp(1)).close.contains(0));
}

#[test]
fn a_code_opens_once_in_any_order() {
    let [first, second] = KNOCKED;
    for ports in [[first, second], [second, first]] {
        let mut lab = Lab::armed(door(seed(Order::Any)), codes());
        let decision = lab.last_of(&ports);
        assert!(decision.open.contains(0));
        assert_eq!(
            decision.spent,
            Some(Spent {
                door: 0,
                counter: 7
            })
        );
        lab.wait(20_000);
        assert_eq!(
            lab.outcomes(&KNOCKED),
            [Outcome::Advanced, Outcome::Repeated],
            "482 begins 9 as well, and 913 was used"
        );
    }
}

#[test]
fn in_strict_order_only_as_written() {
    let [first, second] = KNOCKED;
    let mut lab = Lab::armed(door(seed(Order::Strict)), codes());
    assert_eq!(lab.outcomes(&[second, first]), [Outcome::Wrong; 2]);
    lab.wait(SILENCE);
    assert_eq!(lab.knock(first).outcome, Outcome::Advanced);
    assert!(lab.knock(second).open.contains(0));
}

#[test]
fn a_used_code_ends_all_that_were_passed_over() {
    let mut lab = Lab::armed(door(seed(Order::Any)), codes());
    assert_eq!(
        lab.last_of(&[tcp(10_482), udp(10_222)])
            .spent
            .unwrap()
            .counter,
        9
    );
    lab.wait(20_000);
    for ports in [
        KNOCKED,
        [tcp(10_111), udp(10_111)],
        [tcp(10_482), udp(10_222)],
    ] {
        assert_eq!(lab.outcomes(&ports), [Outcome::Wrong; 2]);
    }
}

#[test]
fn duplicates_of_a_code_do_no_harm() {
    let [first, second] = KNOCKED;
    let mut lab = Lab::armed(door(seed(Order::Any)), codes());
    assert_eq!(
        lab.outcomes(&[first, first, second, second]),
        [
            Outcome::Advanced,
            Outcome::Repeated,
            Outcome::Completed,
            Outcome::Repeated
        ]
    );
}

#[test]
fn a_code_mistyped_is_wrong_and_the_next_try_counts() {
    let mut lab = Lab::armed(door(seed(Order::Any)), codes());
    assert_eq!(
        lab.outcomes(&[tcp(10_482), udp(10_914)]),
        [Outcome::Advanced, Outcome::Wrong]
    );
    assert!(lab.last_of(&KNOCKED).open.is_empty(), "too soon");
    lab.wait(SILENCE);
    assert!(lab.last_of(&KNOCKED).open.contains(0));
}

#[test]
fn half_a_code_does_not_spoil_the_next() {
    let mut lab = Lab::armed(door(seed(Order::Any)), codes());
    assert_eq!(
        lab.outcomes(&[tcp(10_111), tcp(10_482)]),
        [Outcome::Advanced; 2],
        "the second knock of the first code was lost"
    );
    assert!(lab.knock(KNOCKED[1]).open.contains(0));
}

#[test]
fn equal_groups_over_one_protocol_need_two_knocks_that_are_no_retransmissions() {
    let candidates = [[tcp(10_111); 2], [tcp(10_222), tcp(10_333)]];
    let candidates = (1..)
        .zip(candidates)
        .map(|(counter, knocks)| Candidate { counter, knocks });
    let mut one_protocol = code(Order::Any);
    one_protocol.protocols = [Protocol::Tcp; 2];
    let method = Method::Seed {
        code: one_protocol,
        look_ahead: 10,
        close: Sequence::new(),
    };
    let mut lab = Lab::armed(door(method), Armed::Codes(candidates.collect()));
    assert_eq!(lab.knock(tcp(10_111)).outcome, Outcome::Advanced);
    assert_eq!(
        lab.knock_with(tcp(10_111), &[]).outcome,
        Outcome::Repeated,
        "same source port"
    );
    let decision = lab.knock(tcp(10_111));
    let credit = Credit {
        door: 0,
        codes: 1,
        needed: 2,
    };
    assert_eq!(decision.outcome, Outcome::Advanced);
    assert_eq!((decision.credit, decision.spent), (Some(credit), None));
    assert!(lab.last_of(&[tcp(10_222), tcp(10_333)]).open.contains(0));
}

#[test]
fn unarmed_doors_stay_shut_and_can_be_closed() {
    let mut lab = Lab::new(door(seed(Order::Any)));
    assert_eq!(lab.outcomes(&KNOCKED), [Outcome::Wrong; 2]);
    assert!(lab.last_of(&[tcp(1), tcp(2)]).close.contains(0));
}

#[test]
fn a_late_second_knock_spells_no_code() {
    let mut lab = Lab::armed(door(seed(Order::Any)), codes());
    assert_eq!(lab.knock(KNOCKED[0]).outcome, Outcome::Advanced);
    lab.wait(10_001);
    assert_eq!(
        lab.knock(KNOCKED[1]).outcome,
        Outcome::Advanced,
        "it begins an attempt"
    );
    assert!(lab.knock(KNOCKED[0]).open.contains(0));
}

fn list(order: Order) -> Method {
    Method::List {
        file: "/etc/postern/ssh.list".try_into().unwrap(),
        at_end: AtEnd::Wrap,
        order,
        close: Sequence::new(),
    }
}

#[test]
fn a_sequence_of_a_list_opens_once() {
    let ports = [tcp(11), udp(12), tcp(13)];
    let shuffled = [tcp(13), tcp(11), udp(12)];
    let mut lab = Lab::armed(door(list(Order::Any)), Armed::Sequence(4, sequence(&ports)));
    let decision = lab.last_of(&shuffled);
    assert!(decision.open.contains(0));
    assert_eq!(
        decision.spent,
        Some(Spent {
            door: 0,
            counter: 4
        })
    );
    let again = lab.last_of(&shuffled);
    assert_eq!(
        (again.outcome, again.spent),
        (Outcome::Repeated, None),
        "it is spent, and sent again"
    );
    lab.arm(Armed::Sequence(5, sequence(&[tcp(21), tcp(11)])));
    assert!(lab.last_of(&[tcp(21), tcp(11)]).open.contains(0));
    assert_eq!(lab.knock(tcp(21)).outcome, Outcome::Repeated);
    assert_eq!(
        lab.knock(tcp(13)).outcome,
        Outcome::Wrong,
        "of a former one"
    );

    let mut lab = Lab::armed(
        door(list(Order::Strict)),
        Armed::Sequence(4, sequence(&ports)),
    );
    assert!(!lab.last_of(&shuffled).open.contains(0));
    let spent = lab.last_of(&ports).spent;
    assert_eq!(
        spent,
        Some(Spent {
            door: 0,
            counter: 4
        })
    );
    lab.arm(Armed::Sequence(5, sequence(&[tcp(21), tcp(11)])));
    assert_eq!(lab.outcomes(&ports[1..]), [Outcome::Repeated; 2]);
}

#[test]
fn knocks_of_one_sequence_of_a_list_count_for_no_other() {
    for order in [Order::Any, Order::Strict] {
        let first = Armed::Sequence(1, sequence(&[tcp(11), tcp(12)]));
        let mut lab = Lab::armed(door(list(order)), first);
        assert_eq!(lab.knock(tcp(11)).outcome, Outcome::Advanced);
        let second = Armed::Sequence(2, sequence(&[tcp(21), tcp(22)]));
        lab.arm(second);
        assert!(lab.knock(tcp(22)).open.is_empty());
    }
}

#[test]
fn reconfiguring_keeps_what_a_list_expects_and_how_far_a_source_came() {
    let ports = [tcp(11), udp(12)];
    let mut lab = Lab::armed(door(list(Order::Any)), Armed::Sequence(4, sequence(&ports)));
    assert_eq!(lab.knock(ports[0]).outcome, Outcome::Advanced);
    let doors = lab.engine.doors().iter().cloned().collect();
    lab.engine.configure(&doors).unwrap();
    lab.arm(Armed::Sequence(4, sequence(&ports)));
    assert!(lab.knock(ports[1]).open.contains(0));
}

#[test]
fn doors_that_change_places_keep_what_opens_them() {
    let named = |name: &str| Door {
        name: name.try_into().unwrap(),
        ..door(seed(Order::Any))
    };
    let mut engine = Box::new(const { Engine::<16>::new() });
    let mut configure = |round: u64, names: &str| {
        let doors = names.split(' ').map(named).collect();
        engine.configure(&doors).unwrap();
        for (index, name) in names.split(' ').enumerate() {
            if *engine.armed(index) == Armed::Shut {
                let counter = 10 * round + name.len() as u64;
                engine.arm(index, Armed::Sequence(counter, sequence(&[tcp(1)])));
            }
        }
        let armed: Vec<_> = (0..6).map(|index| engine.armed(index).clone()).collect();
        let counters = armed.iter().map(|armed| match armed {
            Armed::Sequence(counter, _) => *counter,
            _ => 0,
        });
        counters.collect::<Vec<_>>()
    };
    assert_eq!(configure(0, "a bb ccc dddd"), [1, 2, 3, 4, 0, 0]);
    assert_eq!(configure(1, "ccc eeeee bb a"), [3, 15, 2, 1, 0, 0]);
    assert_eq!(
        configure(2, "ffffff dddd ccc bb eeeee a"),
        [26, 24, 3, 2, 15, 1]
    );
    assert_eq!(configure(3, "bb"), [2, 0, 0, 0, 0, 0]);
}

#[test]
fn a_required_payload_is_required_of_udp_knocks() {
    let mut dressed = door(Method::Separate {
        open: sequence(&[udp(1), tcp(2), udp(3)]),
        close: Sequence::new(),
    });
    dressed.payload = Some(Payload::Dns);
    let mut lab = Lab::new(dressed);
    let query = Payload::Dns.write(&[9; RANDOM]);
    let mut knock = |port, payload: &[u8]| lab.knock_with(port, payload);
    assert_eq!(knock(udp(1), &[0]).outcome, Outcome::Wrong);
    assert_eq!(knock(udp(1), &query).outcome, Outcome::Advanced);
    assert_eq!(knock(tcp(2), &[]).outcome, Outcome::Advanced);
    assert_eq!(knock(udp(3), &query[..11]).outcome, Outcome::Wrong);
    _ = knock(udp(1), &query);
    _ = knock(tcp(2), &[]);
    assert!(knock(udp(3), &query).open.contains(0));
}

/// A second of a flood over the whole range, between the two knocks of an honest client.
#[test]
fn a_flood_at_the_range_of_a_code_has_the_door_ask_for_two() {
    let mut lab = Lab::armed(door(seed(Order::Any)), codes());
    assert_eq!(lab.knock(KNOCKED[0]).outcome, Outcome::Advanced);
    for number in 0..100_000u32 {
        let scattered = number.wrapping_mul(0x9e37_79b9);
        let source = IpAddr::from(Ipv4Addr::from_bits(scattered >> 2));
        let port = tcp(10_000 + (scattered >> 7) as u16 % 1_000);
        let knock = Knock {
            source,
            source_port: 1,
            port,
            payload: &[],
        };
        assert!(lab.engine.handle(lab.now, &knock).open.is_empty());
    }
    let credit = lab.knock(KNOCKED[1]).credit;
    assert_eq!(
        credit.map(|credit| (credit.codes, credit.needed)),
        Some((1, 2))
    );
    assert!(lab.last_of(&[tcp(10_111), udp(10_111)]).open.contains(0));
}

/// Whoever knocks where nothing opens the door guesses nothing.
#[test]
fn no_knock_is_a_failure_while_nothing_opens_a_one_time_door() {
    let strict = |method| Door {
        cutoff: Some(Cutoff {
            failures: 2,
            within: Duration::from_secs(60),
        }),
        ..door(method)
    };
    let mut lab = Lab::new(strict(seed(Order::Any)));
    for armed in [Armed::Shut, Armed::Codes([].into_iter().collect())] {
        lab.arm(armed);
        for _ in 0..5 {
            let decision = lab.knock(tcp(10_001));
            assert_eq!(decision.outcome, Outcome::Wrong);
            assert!(decision.failed.is_empty() && decision.cut_off.is_none());
        }
    }
    lab.arm(codes());
    assert!(lab.knock(tcp(10_001)).failed.contains(0));
    let (source, began) = (IpAddr::from(Ipv4Addr::new(192, 0, 2, 1)), lab.now);
    assert!(
        !lab.engine.retract(source, 0, (1, began), lab.now),
        "nobody was cut off"
    );
    assert!(lab.knock(tcp(10_001)).cut_off.is_none());
    assert!(lab.knock(tcp(10_002)).cut_off.is_some());
    assert_eq!(lab.knock(KNOCKED[0]).outcome, Outcome::Silenced);
    assert!(lab.engine.retract(source, 0, (1, began), lab.now));
    lab.wait(SILENCE);
    assert!(lab.last_of(&KNOCKED).open.contains(0));
}
