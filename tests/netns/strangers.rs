//! What strangers try at what a machine sends on, and at its other addresses: packets that no client sends.
//!
//! Each attempt is made without a guard first, where it succeeds: or it would show nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use postern_tests::agent::Guard;
use postern_tests::packet::{Packet, flags};
use postern_tests::probe::Capture;
use postern_tests::sender::Sender;
use postern_tests::server::Service;
use postern_tests::suite;
use postern_tests::suite::{Suite, in_case_of, on_both_families};
use postern_tests::topology::Family;
use postern_tests::wait::{SOON, try_poll};
use postern_tests::world::{DOOR, INNER_WEB, VOICE, World};

pub(crate) fn suite() -> Suite {
    suite![
        odd_segments_and_fragments_open_nothing,
        every_address_of_the_machine_is_guarded,
    ]
}

/// Long enough for an answer on a segment.
const PATIENCE: Duration = Duration::from_millis(300);

/// A way to ask for a connection: where from, and the packets that it takes.
type Attempt = (SocketAddr, Vec<Vec<u8>>);

/// Each from a port of its own.
fn attempts(from: IpAddr, to: SocketAddr, first: u16) -> Vec<Attempt> {
    use flags::{ACK, FIN, PSH, SYN, URG};
    let mut attempts = Vec::new();
    let mut next = first;
    let mut own = || {
        next += 1;
        SocketAddr::new(from, next)
    };
    // Two more bits ask for congestion notification (RFC 3168).
    for flags in [SYN, SYN | PSH | URG, SYN | 0xc0] {
        let own = own();
        attempts.push((own, vec![Packet::tcp(own, to, flags).bytes()]));
    }
    for size in [8, 16, 24] {
        let own = own();
        let mut syn = Packet::syn(own, to);
        syn.payload = vec![0; 16];
        attempts.push((own, syn.fragments(size, own.port())));
    }
    // Connection tracking may take this for a connection that it has missed.
    for before in [ACK, ACK | PSH, FIN | ACK] {
        let own = own();
        let both = [before, SYN].map(|flags| Packet::tcp(own, to, flags).bytes());
        attempts.push((own, both.into()));
    }
    attempts
}

/// How many of the attempts are answered by an acceptance.
fn accepted(world: &World, to: SocketAddr, first: u16, within: Duration) -> (usize, usize) {
    let stranger = &world.net.stranger;
    let from = match to.is_ipv4() {
        true => stranger.v4.into(),
        false => stranger.v6.into(),
    };
    let attempts = attempts(from, to, first);
    let sender = Sender::new(&stranger.namespace);
    let mut capture = Capture::new(stranger);
    for bytes in attempts.iter().flat_map(|(_, pieces)| pieces) {
        sender.send_bytes(to.ip(), bytes);
    }
    let mut count = 0;
    try_poll(within, || {
        let seen = capture.seen();
        let is_accepted = |own: &SocketAddr| {
            let mut answers = seen.iter().filter(|header| header.to == *own);
            answers.any(|header| header.accepts() && header.from == to)
        };
        count = attempts.iter().filter(|(own, _)| is_accepted(own)).count();
        (count == attempts.len()).then_some(())
    });
    (count, attempts.len())
}

fn odd_segments_and_fragments_open_nothing() {
    let behind = DOOR.replace("'tcp:8080'", "'tcp:80'")
        + "\tlist behind '198.18.0.0/24'\n\tlist behind '2001:db8:1::/64'\n";
    // Without a door to UDP nobody puts fragments together before the guard.
    let tcp = behind.replace("\tlist guard 'udp:60001'\n", "");
    for (inner, door) in [
        (None, DOOR),
        (Some(Family::V4), &tcp),
        (Some(Family::V6), &tcp),
        (Some(Family::V6), &behind),
    ] {
        in_case_of((inner, door), || {
            let (world, to) = match inner {
                None => {
                    let world = World::fw4(Guard::Gate);
                    let [to, _] = world.services_at(Family::V4);
                    (world, to)
                }
                Some(family) => {
                    let world = World::routed();
                    let to = world.server.port(family, INNER_WEB);
                    (world, to)
                }
            };
            let (count, all) = accepted(&world, to, 20_000, SOON);
            assert!(count + 3 >= all, "{count} of {all} without a guard");
            let setup = world.setup(Guard::Gate, door);
            let _agent = setup.start(&world.net.router);
            let (count, _) = accepted(&world, to, 30_000, PATIENCE);
            assert_eq!(count, 0);
            // It is not that they do not arrive.
            setup.verb(&world.net.router, "open", &["web"]).ok();
            let (count, all) = accepted(&world, to, 40_000, SOON);
            assert!(count + 3 >= all, "{count} of {all} through an open door");
        });
    }
}

/// Those of other interfaces, and those that it shares: broadcast, multicast, anycast.
fn every_address_of_the_machine_is_guarded() {
    on_both_families(|family| {
        let world = World::routed();
        let (router, stranger) = (&world.net.router, &world.net.stranger);
        let _voice = Service::udp_echo(&router.namespace, VOICE);
        let addresses: &[&str] = match family {
            Family::V4 => &["192.0.2.1", "198.18.0.1", "192.0.2.255", "255.255.255.255"],
            Family::V6 => &["2001:db8::1", "2001:db8:1::1", "2001:db8::", "2001:db8:1::"],
        };
        // Packets for everybody take it, too.
        (stranger.namespace).ip_batch("route add default via 192.0.2.1\n");
        let sender = Sender::new(&stranger.namespace);
        // Which of them answer.
        let answering = |first: u16, within: Duration| {
            let mut capture = Capture::new(stranger);
            let own = |number: usize| stranger.port(family, first + number as u16);
            for (number, address) in addresses.iter().enumerate() {
                let to = SocketAddr::new(address.parse().expect("an address"), VOICE);
                sender.send(&Packet::udp(own(number), to, b"ping"));
            }
            let mut answered = Vec::new();
            try_poll(within, || {
                let seen = capture.seen();
                let is_answered = |number: usize| {
                    seen.iter()
                        .any(|header| header.to == own(number) && header.from.port() == VOICE)
                };
                answered = (0..addresses.len())
                    .filter(|number| is_answered(*number))
                    .collect();
                (answered.len() == addresses.len()).then_some(())
            });
            answered
        };
        let before = answering(20_000, SOON);
        assert_eq!(before.len(), addresses.len(), "{before:?}");
        let setup = world.setup(Guard::Gate, DOOR);
        let _agent = setup.start(router);
        assert_eq!(answering(30_000, PATIENCE), [0; 0]);
    });
}
