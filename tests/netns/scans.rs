//! Port scans hit the knock ports too, and open nothing.

use std::net::SocketAddr;

use postern_tests::agent::{Guard, Setup};
use postern_tests::knocker::{FENCE, Knock, Knocker, fence, list};
use postern_tests::packet::Packet;
use postern_tests::probe::{self, Answer};
use postern_tests::process::Process;
use postern_tests::sender::{Random, Sender};
use postern_tests::server::Listener;
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::SOON;
use postern_tests::{nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        without_decoys_a_scan_opens,
        a_scan_in_the_order_of_ports_opens_nothing,
        a_scan_against_the_order_of_ports_opens_nothing,
        random_scans_on_end_open_nothing,
        a_scan_that_hits_all_knocks_in_a_row_opens_nothing,
        scans_on_end_are_cut_off,
        a_scan_does_not_keep_its_sender_out,
    ]
}

/// Sequences that a scan in the order of ports hits in their own order, in the reverse of it, in
/// another one, and, but for the two that a network may swap, in their own order again. They have
/// three knocks or more: of two, a scan in random order hits one right after the other, with none
/// of 16 decoys between them, once in some twenty times.
const DOORS: [(u16, &[u16]); 4] = [
    (2201, &[3000, 9000, 40_000]),
    (2202, &[60_000, 21_000, 5_000]),
    (2203, &[12_000, 4_000, 33_000, 8_000]),
    (2204, &[7_000, 9_002, 8_001]),
];

struct Stage {
    _agent: Process,
    _services: Vec<Listener>,
    _setup: Setup,
    sender: Sender,
    net: Topology,
}

impl Stage {
    fn new(options: &str) -> Self {
        let net = Topology::new();
        let doors = DOORS.map(|(guard, ports)| {
            let open: Vec<Knock> = ports.iter().map(|port| Knock::Tcp(*port)).collect();
            let open = list("open", &open);
            format!(
                "config door 'd{guard}'\n\tlist guard 'tcp:{guard}'\n\
                 \toption method 'sequence-separate'\n{open}{options}"
            )
        });
        let setup = Setup::new(
            &net.router,
            Guard::Gate,
            &format!("{FENCE}{}", doors.concat()),
        );
        let services = DOORS.map(|(guard, _)| Listener::new(&net.router.namespace, guard));
        Self {
            _agent: setup.start(&net.router).into_process(),
            _services: services.into(),
            _setup: setup,
            sender: Sender::new(&net.client.namespace),
            net,
        }
    }

    /// A SYN to each of these ports, as fast as they can be sent.
    fn scan(&self, family: Family, ports: &[u16]) {
        let from = self.net.client.port(family, 40_000);
        let router = self.net.router.address(family);
        for port in ports.iter().filter(|port| **port != 1998) {
            self.sender
                .send(&Packet::syn(from, SocketAddr::new(router, *port)));
        }
    }

    /// Makes sure that the one who scanned was granted nothing.
    #[track_caller]
    fn expect_all_shut(&self, family: Family) {
        fence(&self.net, &self.sender);
        for (guard, _) in DOORS {
            let to = self.net.router.port(family, guard);
            let answer = probe::tcp(&self.net.client.namespace, to);
            assert_eq!(answer, Answer::Silent, "door d{guard}");
        }
    }
}

fn ascending() -> Vec<u16> {
    (1..=u16::MAX).collect()
}

/// All ports in an order without a pattern (Fisher and Yates).
fn shuffled(random: &mut Random) -> Vec<u16> {
    let mut ports = ascending();
    for last in (1..ports.len()).rev() {
        ports.swap(last, random.number() as usize % (last + 1));
    }
    ports
}

/// The other cases show something only because of this.
fn without_decoys_a_scan_opens() {
    let stage = Stage::new("\toption decoys '0'\n\toption jitter '10s'\n");
    stage.scan(Family::V4, &ascending());
    let client = &stage.net.client.namespace;
    for guard in [2201, 2204] {
        let to = stage.net.router.port(Family::V4, guard);
        assert!(probe::tcp_opens(client, to, SOON), "door d{guard}");
    }
}

fn a_scan_in_the_order_of_ports_opens_nothing() {
    let stage = Stage::new("");
    for family in Family::BOTH {
        in_case_of(family, || {
            for _ in 0..3 {
                stage.scan(family, &ascending());
                stage.expect_all_shut(family);
            }
        });
    }
}

fn a_scan_against_the_order_of_ports_opens_nothing() {
    let stage = Stage::new("");
    let mut ports = ascending();
    ports.reverse();
    for _ in 0..3 {
        stage.scan(Family::V4, &ports);
        stage.expect_all_shut(Family::V4);
    }
}

fn random_scans_on_end_open_nothing() {
    // However fast the scan is, no jitter makes up for a decoy that was hit.
    let stage = Stage::new("\toption jitter '10s'\n");
    let mut random = Random::new();
    for number in 0..5 {
        in_case_of(number, || {
            stage.scan(Family::V4, &shuffled(&mut random));
            stage.expect_all_shut(Family::V4);
        });
    }
}

/// In any order but theirs, between decoys: what a scan in random order comes to once in sixty times.
fn a_scan_that_hits_all_knocks_in_a_row_opens_nothing() {
    let stage = Stage::new("\toption jitter '10s'\n");
    for (_, knocks) in DOORS {
        let rest = ascending()
            .into_iter()
            .filter(|port| !knocks.contains(port));
        let (mut scan, after): (Vec<u16>, Vec<u16>) = rest.partition(|port| *port < 50_000);
        scan.extend_from_slice(&knocks[1..]);
        scan.push(knocks[0]);
        scan.extend(after);
        stage.scan(Family::V4, &scan);
        stage.expect_all_shut(Family::V4);
    }
}

fn scans_on_end_are_cut_off() {
    let stage = Stage::new("\toption cutoff '5 per 10m'\n");
    let mut random = Random::new();
    for _ in 0..5 {
        stage.scan(Family::V4, &shuffled(&mut random));
        stage.scan(Family::V4, &ascending());
        stage.expect_all_shut(Family::V4);
    }
    let router = &stage.net.router.namespace;
    let left = nft::expiry(router, "inet postern", stage.net.client.v4.into());
    assert!(left.is_some_and(|left| left.as_secs() > 500), "{left:?}");
    // The kernel does not even show the agent what it knocks now.
    for (_, ports) in DOORS {
        stage.scan(Family::V4, ports);
    }
    stage.expect_all_shut(Family::V4);
}

fn a_scan_does_not_keep_its_sender_out() {
    let stage = Stage::new("");
    stage.scan(Family::V4, &shuffled(&mut Random::new()));
    stage.expect_all_shut(Family::V4);
    let (client, router) = (&stage.net.client, &stage.net.router);
    for (guard, ports) in DOORS {
        let knocks: Vec<Knock> = ports.iter().map(|port| Knock::Tcp(*port)).collect();
        Knocker::new(&stage.sender, client.v4.into(), router.v4.into()).send(&knocks);
        let to = router.port(Family::V4, guard);
        assert!(
            probe::tcp_opens(&client.namespace, to, SOON),
            "door d{guard}"
        );
    }
}
