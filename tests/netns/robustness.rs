//! What a network and its strangers do to knocks.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use postern_tests::agent::{Guard, SSH_DOOR, Setup};
use postern_tests::packet::{Packet, flags};
use postern_tests::probe::{self, Answer, Capture};
use postern_tests::sender::{Random, Sender};
use postern_tests::server::Service;
use postern_tests::suite::{Suite, on_both_families};
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::{SOON, poll_until, until_aged};
use postern_tests::{client, nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        duplicated_knocks_open,
        a_retransmission_of_an_earlier_knock_does_no_harm,
        hits_at_ports_that_no_door_names_do_no_harm,
        knocks_out_of_order_do_not_open,
        a_wrong_knock_ends_the_attempt,
        knocks_beyond_the_window_do_not_open,
        knocks_of_two_sources_do_not_add_up,
        who_knocks_wrong_too_often_is_not_heard_for_a_while,
        only_a_segment_that_asks_for_a_connection_is_a_knock,
        many_sources_at_once_are_all_let_in,
        doors_do_not_disturb_each_other needs "knock",
        knocks_and_guarded_ports_answer_nothing,
        fragments_do_not_slip_through,
        garbage_does_no_harm,
        packets_that_are_no_knocks_are_counted_by_reason,
        a_flood_of_first_knocks_keeps_nobody_out,
    ]
}

/// A client that sends what it likes, and a router that listens.
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
        let (sender, _ssh) = (
            Sender::new(&net.client.namespace),
            Service::tcp(&net.router.namespace, 22),
        );
        Self {
            net,
            sender,
            _ssh,
            setup,
        }
    }

    /// Sends SYNs to 7000 and 9002 and datagrams to 8001, as SSH_DOOR has it.
    fn knock(&self, from: IpAddr, port: u16, source_port: u16) {
        let router = self.net.router.address(if from.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        });
        let (from, to) = (
            SocketAddr::new(from, source_port),
            SocketAddr::new(router, port),
        );
        self.sender.send(&match port {
            8001 => Packet::udp(from, to, &[0]),
            _ => Packet::syn(from, to),
        });
    }

    fn knock_all(&self, from: IpAddr, ports: &[u16]) {
        for (number, port) in (40_000..).zip(ports) {
            self.knock(from, *port, number);
        }
    }

    fn is_granted(&self, source: IpAddr) -> bool {
        nft::expiry(&self.net.router.namespace, "inet postern", source).is_some()
    }

    /// Waits for the grant of a source.
    #[track_caller]
    fn expect_grant(&self, source: IpAddr) {
        poll_until(SOON, &format!("{source} is granted access"), || {
            self.is_granted(source)
        });
    }

    /// Makes sure that a source has no grant, by having another source knock after it: knocks are
    /// decided in the order of their arrival.
    #[track_caller]
    fn expect_none(&self, source: IpAddr) {
        static NEXT: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(1);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let other = Ipv4Addr::new(203, 0, 113, number).into();
        self.knock_all(other, &OPEN);
        self.expect_grant(other);
        assert!(!self.is_granted(source), "{source} was granted access");
    }
}

const OPEN: [u16; 3] = [7000, 8001, 9002];

fn duplicated_knocks_open() {
    let stage = Stage::new(SSH_DOOR);
    let _agent = stage.setup.start(&stage.net.router);
    on_both_families(|family| {
        let client = stage.net.client.address(family);
        for (number, port) in (40_000..).zip(OPEN) {
            stage.knock(client, port, number);
            stage.knock(client, port, number);
        }
        stage.expect_grant(client);
        let ssh = stage.net.router.port(family, 22);
        assert_eq!(probe::tcp(&stage.net.client.namespace, ssh), Answer::Open);
    });
}

fn a_retransmission_of_an_earlier_knock_does_no_harm() {
    let stage = Stage::new(SSH_DOOR);
    let _agent = stage.setup.start(&stage.net.router);
    on_both_families(|family| {
        let client = stage.net.client.address(family);
        stage.knock(client, 7000, 40_000);
        stage.knock(client, 8001, 40_001);
        stage.knock(client, 7000, 40_000);
        stage.knock(client, 9002, 40_002);
        stage.expect_grant(client);
    });
}

fn hits_at_ports_that_no_door_names_do_no_harm() {
    let stage = Stage::new(SSH_DOOR);
    let _agent = stage.setup.start(&stage.net.router);
    let client = stage.net.client.v4.into();
    stage.knock_all(client, &[7000, 443, 8001, 22, 9002]);
    stage.expect_grant(client);
}

fn knocks_out_of_order_do_not_open() {
    let stage = Stage::new(&format!("{SSH_DOOR}\toption jitter '0'\n"));
    let _agent = stage.setup.start(&stage.net.router);
    let client = stage.net.client.v4.into();
    for order in [[9002, 8001, 7000], [8001, 7000, 9002], [7000, 9002, 8001]] {
        stage.knock_all(client, &order);
        stage.expect_none(client);
        // What is left of it must not add up with the next order.
        stage.knock_all(client, &[7004]);
    }
}

fn a_wrong_knock_ends_the_attempt() {
    let stage = Stage::new(SSH_DOOR);
    let _agent = stage.setup.start(&stage.net.router);
    let client = stage.net.client.v4.into();
    stage.knock_all(client, &[7000, 8001, 9003, 9002]);
    stage.expect_none(client);
}

fn knocks_beyond_the_window_do_not_open() {
    let stage = Stage::new(&SSH_DOOR.replace("10s", "1s"));
    let _agent = stage.setup.start(&stage.net.router);
    let client = stage.net.client.v4.into();
    stage.knock_all(client, &OPEN[..2]);
    until_aged(Instant::now(), Duration::from_millis(1_200));
    stage.knock_all(client, &OPEN[2..]);
    stage.expect_none(client);
}

fn knocks_of_two_sources_do_not_add_up() {
    let stage = Stage::new(SSH_DOOR);
    let _agent = stage.setup.start(&stage.net.router);
    on_both_families(|family| {
        let [client, stranger] =
            [&stage.net.client, &stage.net.stranger].map(|host| host.address(family));
        stage.knock_all(client, &OPEN[..2]);
        stage.knock_all(stranger, &OPEN[2..]);
        stage.expect_none(client);
        stage.expect_none(stranger);
    });
}

fn who_knocks_wrong_too_often_is_not_heard_for_a_while() {
    let stage = Stage::new(&format!(
        "{SSH_DOOR}\toption jitter '0'\n\toption cutoff '3 per 3s'\n"
    ));
    let _agent = stage.setup.start(&stage.net.router);
    on_both_families(|family| {
        let client = &stage.net.client;
        let (source, ssh) = (client.address(family), stage.net.router.port(family, 22));
        stage.knock_all(source, &[9002; 3]);
        // Whoever has an IPv6 address has all of its /64.
        let network = match family {
            Family::V4 => source,
            Family::V6 => "2001:db8::".parse().expect("an address"),
        };
        let router = &stage.net.router.namespace;
        let cut_off = || nft::expiry(router, "inet postern", network).is_some();
        poll_until(SOON, "the kernel ignores the client", cut_off);
        stage.knock_all(source, &OPEN);
        let stranger = stage.net.stranger.v4.into();
        stage.knock_all(stranger, &OPEN);
        stage.expect_grant(stranger);
        assert_eq!(probe::tcp(&client.namespace, ssh), Answer::Silent);
        poll_until(SOON, "the client is heard again", || {
            stage.knock_all(source, &OPEN);
            probe::tcp(&client.namespace, ssh) == Answer::Open
        });
    });
}

fn only_a_segment_that_asks_for_a_connection_is_a_knock() {
    let stage = Stage::new(&SSH_DOOR.replace("udp:8001", "tcp:8001"));
    let _agent = stage.setup.start(&stage.net.router);
    let (from, router) = (
        stage.net.client.port(Family::V4, 40_000),
        stage.net.router.v4,
    );
    for wrong in [
        flags::ACK,
        flags::SYN | flags::ACK,
        flags::RST,
        flags::FIN,
        0,
    ] {
        for port in OPEN {
            let to = SocketAddr::new(router.into(), port);
            stage.sender.send(&Packet::tcp(from, to, wrong));
        }
    }
    // The same three ports as connections: a knocker that nothing wrong was held against.
    let stranger: IpAddr = stage.net.stranger.v4.into();
    for port in OPEN {
        stage.sender.send(&Packet::syn(
            SocketAddr::new(stranger, 1),
            SocketAddr::new(router.into(), port),
        ));
    }
    stage.expect_grant(stranger);
    assert!(!stage.is_granted(from.ip()));
}

fn many_sources_at_once_are_all_let_in() {
    let stage = Stage::new(SSH_DOOR);
    let _agent = stage.setup.start(&stage.net.router);
    let sources: Vec<IpAddr> = (10..110_u8)
        .flat_map(|number| {
            let v6 = format!("2001:db8::{number:x}").parse().expect("an address");
            [Ipv4Addr::new(192, 0, 2, number).into(), v6]
        })
        .collect();
    for port in OPEN {
        for source in &sources {
            stage.knock(*source, port, 40_000);
        }
    }
    for source in sources {
        stage.expect_grant(source);
    }
}

fn doors_do_not_disturb_each_other() {
    let net = Topology::new();
    let ports: Vec<u16> = (2201..=2208).collect();
    let _services: Vec<_> = ports
        .iter()
        .map(|port| Service::tcp(&net.router.namespace, *port))
        .collect();
    // Their sequences share ports, in all orders of 7001, 7002, 7003 and with one knock more.
    let orders = ["123", "132", "213", "231", "312", "321", "1234", "4321"];
    let door = |(port, order): (&u16, &str)| {
        let open: String = order
            .chars()
            .map(|step| format!("\tlist open 'tcp:700{step}'\n"))
            .collect();
        format!(
            "config door 'd{port}'\n\tlist guard 'tcp:{port}'\n\toption method 'sequence-separate'\n\
             {open}\toption window '5s'\n\toption grant '30s'\n\toption jitter '0'\n"
        )
    };
    let doors: String = ports.iter().zip(orders).map(door).collect();
    let setup = Setup::new(&net.router, Guard::Gate, &doors);
    let _agent = setup.start(&net.router);
    let opened = |from: &_| -> Vec<u16> {
        let is_open =
            |port: &&u16| probe::tcp(from, net.router.port(Family::V4, **port)) == Answer::Open;
        ports.iter().filter(is_open).copied().collect()
    };
    client::knock(&net.client, net.router.v4.into(), &["7002", "7001", "7003"]);
    let third = net.router.port(Family::V4, 2203);
    assert!(probe::tcp_opens(&net.client.namespace, third, SOON));
    assert_eq!(opened(&net.client.namespace), [2203]);
    client::knock(
        &net.stranger,
        net.router.v4.into(),
        &["7001", "7002", "7003", "7004"],
    );
    let seventh = net.router.port(Family::V4, 2207);
    assert!(probe::tcp_opens(&net.stranger.namespace, seventh, SOON));
    assert_eq!(opened(&net.stranger.namespace), [2201, 2207]);
}

fn knocks_and_guarded_ports_answer_nothing() {
    for guard in Guard::BOTH {
        let net = Topology::new();
        let doors = SSH_DOOR.replace(
            "list guard 'tcp:22'",
            "list guard 'tcp:22'\n\tlist guard 'udp:51820'",
        );
        let _ssh = Service::tcp(&net.router.namespace, 22);
        let setup = Setup::new(&net.router, guard, &doors);
        let _agent = setup.start(&net.router);
        let sender = Sender::new(&net.client.namespace);
        on_both_families(|family| {
            let mut capture = Capture::new(&net.client);
            let from = net.client.port(family, 40_000);
            for port in [7000, 9002, 9003, 7004, 22] {
                sender.send(&Packet::syn(from, net.router.port(family, port)));
            }
            for port in [8001, 51820] {
                sender.send(&Packet::udp(from, net.router.port(family, port), b"hello"));
            }
            let answers = capture.answers(&net.client, net.router.address(family));
            let neighbour_discovery = [135, 136];
            let answers = answers
                .iter()
                .filter(|answer| !neighbour_discovery.contains(&answer.flags));
            assert_eq!(answers.collect::<Vec<_>>(), [] as [&_; 0], "{guard:?}");
        });
    }
}

fn fragments_do_not_slip_through() {
    let stage = Stage::new(SSH_DOOR);
    let _agent = stage.setup.start(&stage.net.router);
    on_both_families(|family| {
        let (client, router) = (&stage.net.client, &stage.net.router);
        let mut capture = Capture::new(client);
        for (number, size) in (40_000..).zip([8, 16, 24]) {
            let mut syn = Packet::syn(client.port(family, number), router.port(family, 22));
            syn.payload = vec![0; 16];
            for fragment in syn.fragments(size, number) {
                stage.sender.send_bytes(router.address(family), &fragment);
            }
        }
        let answers = capture.answers(client, router.address(family));
        assert!(
            !answers
                .iter()
                .any(|answer| answer.accepts() || answer.refuses()),
            "{answers:?}"
        );
    });
}

fn garbage_does_no_harm() {
    let stage = Stage::new(SSH_DOOR);
    let mut agent = stage.setup.start(&stage.net.router);
    let mut random = Random::new();
    for family in Family::BOTH {
        let (client, router) = (&stage.net.client, stage.net.router.address(family));
        let header = if family == Family::V4 { 20 } else { 40 };
        for number in 0..4_000_u16 {
            let mut bytes =
                Packet::syn(client.port(family, number), SocketAddr::new(router, 7000)).bytes();
            for _ in 0..random.number() % 4 {
                let at = header + 4 + random.number() as usize % 16;
                bytes[at] = random.number() as u8;
            }
            bytes.truncate(header + 4 + random.number() as usize % 17);
            stage.sender.send_bytes(router, &bytes);
        }
    }
    let stranger = stage.net.stranger.v4.into();
    stage.knock_all(stranger, &OPEN);
    stage.expect_grant(stranger);
    agent.wait_for_line("postern: ready");
}

fn packets_that_are_no_knocks_are_counted_by_reason() {
    let stage = Stage::new(SSH_DOOR);
    let router = &stage.net.router;
    let _agent = stage.setup.start(router);
    let status = || stage.setup.verb(router, "status", &[]).ok();
    assert!(!status().contains("no knock: "), "{}", status());
    for family in Family::BOTH {
        let (from, to) = (
            stage.net.client.port(family, 40_000),
            router.port(family, 8001),
        );
        // Shorter than its own header.
        let mut malformed = Packet::udp(from, to, &[0]).bytes();
        let header = if family == Family::V4 { 20 } else { 40 };
        malformed[header + 4..header + 6].copy_from_slice(&[0, 7]);
        stage.sender.send_bytes(to.ip(), &malformed);
    }
    // IPv4's are put together before they come this far.
    let (from, to) = (
        stage.net.client.port(Family::V6, 40_000),
        router.port(Family::V6, 8001),
    );
    let pieces = Packet::udp(from, to, &[7; 30]).fragments(16, 99);
    stage.sender.send_bytes(to.ip(), &pieces[0]);
    // Decided after them.
    let stranger = stage.net.stranger.v4.into();
    stage.knock_all(stranger, &OPEN);
    stage.expect_grant(stranger);
    let counter = |name| stage.setup.counter(router, name);
    assert_eq!(
        ["malformed", "fragment", "truncated", "no_knock"].map(counter),
        [2, 1, 0, 3]
    );
    let line = "no knock: fragment 1, malformed 2\n";
    assert!(status().contains(line), "{}", status());
}

fn a_flood_of_first_knocks_keeps_nobody_out() {
    let stage = Stage::new(SSH_DOOR);
    let _agent = stage.setup.start(&stage.net.router);
    let first = stage.net.router.port(Family::V4, 7000);
    let ends_at = Instant::now() + Duration::from_secs(1);
    let mut next = 10;
    stage.sender.flood(first, 20_000, || {
        let due = Instant::now() + Duration::from_millis(u64::from(20 - next) * 100) >= ends_at;
        if due && next < 20 {
            stage.knock_all(Ipv4Addr::new(192, 0, 2, next).into(), &OPEN);
            next += 1;
        }
        Instant::now() >= ends_at
    });
    assert_eq!(next, 20);
    for number in 10..20 {
        stage.expect_grant(Ipv4Addr::new(192, 0, 2, number).into());
    }
}
