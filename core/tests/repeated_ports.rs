//! Sequences that have a port several times: each of its knocks comes from a source port of its own, and what comes
//! from there again is a packet sent again.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up its scene has failed"
)]

use core::net::{IpAddr, Ipv4Addr};

use postern_core::door::{AtEnd, Door, Method, Order, Sequence};
use postern_core::engine::{Decision, Engine, Outcome};
use postern_core::knock::{Knock, Port, tcp, udp};
use postern_core::method::Armed;
use postern_core::time::{Duration, Instant};

const A: Port = tcp(7_000);
const B: Port = tcp(8_000);
const C: Port = udp(7_000);

/// What people use, what is hardest to tell apart, and what has several ports several times.
const SEQUENCES: [&[Port]; 9] = [
    &[A, B, A],
    &[A, A],
    &[A, A, A],
    &[A, A, B],
    &[B, A, A],
    &[A, B, A, B],
    &[A, B, C, B, A],
    &[B, A, C, A, A, B],
    &[A, B, B, A, C, A, B, B],
];

fn client() -> IpAddr {
    Ipv4Addr::new(192, 0, 2, 1).into()
}

fn door(steps: &[Port]) -> Door {
    let method = Method::Separate {
        open: Sequence::from_slice(steps).unwrap(),
        close: Sequence::new(),
    };
    Door {
        decoys: 0,
        ..Door::new("ssh", &[tcp(22)], method).unwrap()
    }
}

fn strict(steps: &[Port]) -> Door {
    Door {
        jitter: Duration::from_millis(0),
        ..door(steps)
    }
}

struct Lab {
    engine: Box<Engine<256>>,
    now: Instant,
    source_port: u16,
}

impl Lab {
    fn new(door: Door) -> Self {
        let mut engine = Box::new(const { Engine::new() });
        engine.seed([7; 8]);
        engine.configure(&[door].into_iter().collect()).unwrap();
        Self {
            engine,
            now: Instant::from_millis(1_000_000),
            source_port: 40_000,
        }
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
    }

    fn fresh(&mut self) -> u16 {
        self.source_port += 1;
        self.source_port
    }

    fn knock_by(&mut self, source: IpAddr, (port, source_port): (Port, u16)) -> Decision {
        let knock = Knock {
            source,
            source_port,
            port,
            payload: &[],
        };
        self.engine.handle(self.now, &knock)
    }

    fn packet(&mut self, packet: (Port, u16)) -> Decision {
        self.knock_by(client(), packet)
    }

    fn knock(&mut self, port: Port) -> Decision {
        let source_port = self.fresh();
        self.packet((port, source_port))
    }

    /// Knocks that far apart, each from a port of its own; whether the last of them, and no other, opens the door.
    fn opens_at_last(&mut self, ports: &[Port], pace: u64) -> bool {
        let mut opened = Vec::new();
        for port in ports {
            opened.push(self.knock(*port).open.contains(0));
            self.wait(pace);
        }
        opened.pop() == Some(true) && !opened.contains(&true)
    }
}

/// Numbers without a pattern (Marsaglia, "Xorshift RNGs", 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as usize % end
    }
}

/// A sequence in its order, as anyone would write it down.
#[derive(Default)]
struct Model {
    made: usize,
    /// Whether the last attempt did, and none began since.
    has_opened: bool,
    /// The packet that began the attempt, or the last one, unless a wrong knock ended it.
    began: Option<(Port, u16)>,
    /// The packets that were accepted after it, and those that began finished attempts.
    accepted: Vec<(Port, u16)>,
}

impl Model {
    /// Whether a packet opens the door.
    fn opens(&mut self, steps: &[Port], packet: (Port, u16)) -> bool {
        let (port, _) = packet;
        let several = steps.iter().filter(|step| **step == port).count() > 1;
        if !steps.contains(&port) {
            return false;
        }
        if several && (self.accepted.contains(&packet) || self.began == Some(packet)) {
            return false;
        }
        if steps.get(self.made) != Some(&port) {
            let mut before = steps.iter().take(self.made);
            let was_made = self.made == 0 && self.has_opened;
            if !was_made && !before.any(|step| *step == port) {
                (self.made, self.began, self.has_opened) = (0, None, false);
            }
            return false;
        }
        match self.made {
            0 => self.began = Some(packet),
            _ => self.accepted.push(packet),
        }
        self.made = (self.made + 1) % steps.len();
        self.has_opened = self.made == 0;
        self.accepted.extend(self.began.filter(|_| self.has_opened));
        self.has_opened
    }
}

#[test]
fn in_order_they_open_again_and_again() {
    for steps in SEQUENCES {
        for door in [strict(steps), door(steps)] {
            let mut lab = Lab::new(door);
            for pace in [0, 1, 20, 200, 0] {
                assert!(lab.opens_at_last(steps, pace), "{steps:?} {pace}");
                lab.wait(60);
            }
            assert_eq!(lab.engine.counters().failed, 0, "{steps:?}");
        }
    }
}

#[test]
fn a_packet_sent_again_never_counts_as_another_knock() {
    for steps in SEQUENCES {
        for door in [strict(steps), door(steps)] {
            let mut lab = Lab::new(door);
            let mut sent = Vec::new();
            let mut opened = 0;
            for port in steps {
                assert_eq!(opened, 0, "{steps:?}");
                let packet = (*port, lab.fresh());
                sent.push(packet);
                opened += lab.packet(packet).open.len();
                for packet in sent.iter().chain(sent.iter().rev()) {
                    lab.wait(100);
                    assert!(lab.packet(*packet).open.is_empty(), "{steps:?}");
                }
            }
            assert_eq!(opened, 1, "{steps:?}");
            assert_eq!(lab.engine.counters().failed, 0, "{steps:?}");
            assert!(lab.opens_at_last(steps, 100), "{steps:?}");
        }
    }
}

#[test]
fn a_strict_door_does_what_the_model_does() {
    let mut random = Random(0x5eed);
    for steps in SEQUENCES {
        let mut lab = Lab::new(strict(steps));
        let mut model = Model::default();
        let mut sent: Vec<(Port, u16)> = Vec::new();
        let mut opened = 0;
        for number in 0..4_000 {
            let packet = match random.below(8) {
                0 if !sent.is_empty() => sent[sent.len() - 1 - random.below(sent.len().min(4))],
                1 => ([A, B, C][random.below(3)], lab.fresh()),
                _ => (steps[model.made], lab.fresh()),
            };
            sent.push(packet);
            let opens = lab.packet(packet).open.contains(0);
            assert_eq!(
                opens,
                model.opens(steps, packet),
                "{steps:?}: {number} {packet:?}"
            );
            opened += usize::from(opens);
        }
        assert!(opened > 100, "{steps:?}: {opened}");
    }
}

#[test]
fn nothing_opens_without_as_many_source_ports_as_knocks() {
    let mut random = Random(0xd00d);
    for steps in SEQUENCES {
        let mut lab = Lab::new(door(steps));
        let mut recent: Vec<(Port, u16)> = Vec::new();
        let mut opened = 0;
        for number in 0..20_000 {
            lab.wait([0, 5, 30, 60, 400][random.below(5)]);
            let port = [A, B, C][random.below(3)];
            let packet = match random.below(3) {
                0 => (port, 50_000 + random.below(3) as u16),
                _ => (port, lab.fresh()),
            };
            recent.push(packet);
            if lab.packet(packet).open.contains(0) {
                opened += 1;
                for port in steps {
                    let mut heard: Vec<u16> = (recent.iter())
                        .filter(|(heard, _)| heard == port)
                        .map(|(_, source_port)| *source_port)
                        .collect();
                    heard.sort_unstable();
                    heard.dedup();
                    let needed = steps.iter().filter(|step| *step == port).count();
                    assert!(heard.len() >= needed, "{steps:?}: {number} {recent:?}");
                }
                recent.clear();
                // What came ahead of the next attempt is not to be counted twice here.
                lab.wait(10_001);
            }
        }
        assert!(opened > 3, "{steps:?}: {opened}");
    }
}

#[test]
fn within_the_jitter_any_order_opens() {
    let mut random = Random(0xcafe);
    for steps in SEQUENCES {
        for _ in 0..200 {
            let mut lab = Lab::new(door(steps));
            let mut order = steps.to_vec();
            for last in (1..order.len()).rev() {
                order.swap(last, random.below(last + 1));
            }
            assert!(lab.opens_at_last(&order, 5), "{steps:?} {order:?}");
            assert_eq!(lab.engine.counters().failed, 0, "{order:?}");
        }
    }
}

#[test]
fn beyond_the_jitter_only_the_right_order_opens() {
    for (steps, wrong) in [
        (&[A, B, A][..], &[A, A, B][..]),
        (&[A, B, A], &[B, A, A]),
        (&[A, A, B], &[A, B, A]),
        (&[A, B, A, B], &[A, A, B, B]),
        (&[A, B, C, B, A], &[A, B, B, C, A]),
    ] {
        let mut lab = Lab::new(door(steps));
        assert!(!lab.opens_at_last(wrong, 60), "{steps:?} {wrong:?}");
    }
}

#[test]
fn a_lost_knock_does_not_spoil_the_next_try() {
    for steps in SEQUENCES {
        for lost in 0..steps.len() {
            let mut lab = Lab::new(door(steps));
            let mut opened = 0;
            for (number, port) in steps.iter().enumerate() {
                if number != lost {
                    opened += lab.knock(*port).open.len();
                }
                lab.wait(200);
            }
            assert_eq!(opened, 0, "{steps:?} without {lost}");
            for port in steps {
                opened += lab.knock(*port).open.len();
                lab.wait(200);
            }
            assert!(opened > 0, "{steps:?} without {lost}");
        }
    }
}

/// Browsers try two connections at once.
#[test]
fn whoever_makes_two_connections_at_once_fails_at_nothing() {
    let mut lab = Lab::new(door(&[A, B, A]));
    for pair in [[A, A], [B, B]] {
        for port in pair {
            assert!(lab.knock(port).open.is_empty());
            lab.wait(1);
        }
        lab.wait(300);
    }
    assert!(lab.knock(A).open.contains(0));
    assert_eq!(lab.engine.counters().failed, 0);
    // What is out of order beside it still fails.
    let mut lab = Lab::new(door(&[A, B, A, C]));
    for port in [A, A, C] {
        _ = lab.knock(port);
    }
    lab.wait(60);
    _ = lab.knock(B);
    assert_eq!(lab.engine.counters().failed, 1);
}

#[test]
fn the_next_knocks_close_what_these_opened_and_a_packet_sent_again_does_not() {
    for steps in SEQUENCES {
        let toggling = Method::Same {
            steps: Sequence::from_slice(steps).unwrap(),
        };
        let mut lab = Lab::new(Door {
            method: toggling,
            ..door(steps)
        });
        for round in 0..4 {
            let packets: Vec<_> = steps.iter().map(|port| (*port, lab.fresh())).collect();
            let mut toggled = 0;
            for packets in [&packets, &packets, &packets] {
                for packet in packets {
                    toggled += lab.packet(*packet).toggle.len();
                    lab.wait(60);
                }
            }
            assert_eq!(toggled, 1, "{steps:?} {round}");
        }
    }
}

#[test]
fn a_line_of_a_list_asks_for_each_of_its_knocks() {
    for order in [Order::Any, Order::Strict] {
        let list = Method::List {
            file: "/etc/postern/list".try_into().unwrap(),
            at_end: AtEnd::Wrap,
            order,
            close: Sequence::new(),
        };
        for steps in SEQUENCES {
            let mut lab = Lab::new(Door {
                method: list.clone(),
                ..door(steps)
            });
            lab.engine.watch(0, steps).unwrap();
            let armed = Armed::Sequence(3, Sequence::from_slice(steps).unwrap());
            lab.engine.arm(0, armed.clone());
            let mut opened = 0;
            for port in steps {
                assert_eq!(opened, 0, "{order:?} {steps:?}");
                let packet = (*port, lab.fresh());
                opened += lab.packet(packet).open.len();
                assert!(lab.packet(packet).open.is_empty(), "{order:?} {steps:?}");
            }
            assert_eq!(opened, 1, "{order:?} {steps:?}");
            if order == Order::Any {
                lab.engine.arm(0, armed);
                let backwards: Vec<Port> = steps.iter().rev().copied().collect();
                assert!(lab.opens_at_last(&backwards, 100), "{steps:?}");
            }
        }
    }
}

/// While a flood of first knocks takes the place of each that is made.
#[test]
fn in_a_flood_they_open_and_a_packet_sent_again_does_not_count() {
    for steps in [&[A, B, A][..], &[A, A, B], &[A, A]] {
        let mut lab = Lab::new(door(steps));
        let mut forged = 0u32;
        let mut flood = |lab: &mut Lab| {
            for _ in 0..20_000 {
                forged += 1;
                let source = Ipv4Addr::from_bits(0x0a00_0000 + forged).into();
                _ = lab.knock_by(source, (A, 1_024 + (forged % 50_000) as u16));
            }
        };
        let mut opened = 0;
        let mut sent = Vec::new();
        for port in steps {
            assert_eq!(opened, 0, "{steps:?}");
            let packet = (*port, lab.fresh());
            sent.push(packet);
            opened += lab.packet(packet).open.len();
            flood(&mut lab);
            // What is sent again after that may open anew.
            for packet in sent.iter().filter(|_| opened == 0) {
                assert!(
                    lab.packet(*packet).open.is_empty(),
                    "{steps:?} {packet:?} {sent:?}"
                );
            }
            lab.wait(100);
        }
        assert_eq!(opened, 1, "{steps:?}");
    }
}

#[test]
fn what_comes_again_is_told_as_that() {
    use Outcome::{Advanced, Completed, Repeated};
    let mut lab = Lab::new(strict(&[A, B, A]));
    let (first, second, third) = ((A, 1), (B, 2), (A, 3));
    let packets = [first, first, second, first, second, third, first, third];
    let outcomes = packets.map(|packet| lab.packet(packet).outcome);
    let expected = [
        Advanced, Repeated, Advanced, Repeated, Repeated, Completed, Repeated, Repeated,
    ];
    assert_eq!(outcomes, expected);
}
