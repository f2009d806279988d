//! Port scans hit the knock ports too, and open nothing.

use std::net::IpAddr;
use std::time::Duration;

use postern_tests::floods::{self, Flood, Honest};
use postern_tests::knocker::{Knock, Knocker};
use postern_tests::probe;
use postern_tests::scan::{Scene, ascending, shuffled, stranger};
use postern_tests::scenario::Approach;
use postern_tests::sender::Random;
use postern_tests::server::Listener;
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::Family;
use postern_tests::wait::SOON;
use postern_tests::{nft, suite};

use super::guesses::{RATE, expect_in};
use super::sources::Turn;

pub(crate) fn suite() -> Suite {
    suite![
        without_decoys_a_scan_opens,
        scans_in_the_order_of_ports_and_against_it_open_nothing,
        random_scans_on_end_open_nothing,
        random_scans_of_many_sources_open_nothing,
        a_scan_that_hits_all_knocks_in_a_row_opens_nothing,
        a_scan_that_drowns_its_own_traces_opens_nothing,
        scans_on_end_are_cut_off,
        a_scan_keeps_its_sender_out_for_the_window_only,
        knocks_open_under_floods_of_everything_else,
    ]
}

/// Sequences that a scan in the order of ports hits in their own order, in the reverse of it, in
/// another one, and, but for the two that a network may swap, in their own order again.
const DOORS: [(u16, &[u16]); 4] = [
    (2201, &[3000, 9000, 40_000]),
    (2202, &[60_000, 21_000, 5_000]),
    (2203, &[12_000, 4_000, 33_000, 8_000]),
    (2204, &[7_000, 9_002, 8_001]),
];

const NFLOG: Approach = Approach::Source("nflog");

/// What sees packets by itself; a socket sees whole connections only, and the kernel's log ten packets a second.
const APPROACHES: [Approach; 4] = [
    NFLOG,
    Approach::Source("packet"),
    Approach::Engine("chain"),
    Approach::Engine("track"),
];

fn with_each(test: fn(&Scene)) {
    for approach in APPROACHES {
        in_case_of(approach.name(), || test(&Scene::new(approach, &DOORS, "")));
    }
}

#[track_caller]
fn expect_all_shut(scene: &Scene) {
    assert_eq!(scene.let_in(), [""; 0]);
}

/// The other cases show something only because of this.
fn without_decoys_a_scan_opens() {
    let scene = Scene::new(
        NFLOG,
        &DOORS,
        "\toption decoys '0'\n\toption jitter '10s'\n",
    );
    scene.scan(scene.net.client.v4.into(), &ascending());
    let let_in = scene.let_in();
    assert!(
        let_in.iter().any(|set| set.starts_with("grant4_d2201")),
        "{let_in:?}"
    );
    assert!(
        let_in.iter().any(|set| set.starts_with("grant4_d2204")),
        "{let_in:?}"
    );
}

fn scans_in_the_order_of_ports_and_against_it_open_nothing() {
    with_each(|scene| {
        let mut ports = ascending();
        for family in Family::BOTH {
            scene.scan(scene.net.client.address(family), &ports);
            expect_all_shut(scene);
            ports.reverse();
        }
    });
}

fn random_scans_on_end_open_nothing() {
    with_each(|scene| {
        let mut random = Random::new();
        for _ in 0..3 {
            scene.scan(scene.net.client.v4.into(), &shuffled(&mut random));
        }
        expect_all_shut(scene);
    });
}

fn random_scans_of_many_sources_open_nothing() {
    with_each(|scene| {
        let mut random = Random::new();
        // Each its own, and all of them together.
        for number in 0..2 {
            scene.scan(stranger(number), &shuffled(&mut random));
        }
        let many: Vec<IpAddr> = (0..64).map(stranger).collect();
        scene.scan_from_many(&many, &shuffled(&mut random));
        expect_all_shut(scene);
    });
}

/// In any order, between decoys: of scans on end, one comes to it soon.
fn a_scan_that_hits_all_knocks_in_a_row_opens_nothing() {
    with_each(|scene| {
        let mut numbers = 0..;
        for (_, knocks) in DOORS {
            for turn in 0..knocks.len() {
                // From below the first to above the last, in steps that miss none of the decoys.
                let others = ascending().into_iter().step_by(7);
                let others = others.filter(|port| !knocks.contains(port));
                let (mut scan, after): (Vec<u16>, Vec<u16>) =
                    others.partition(|port| *port < 50_000);
                scan.extend_from_slice(&knocks[turn..]);
                scan.extend_from_slice(&knocks[..turn]);
                scan.extend(after);
                scene.scan(stranger(numbers.next().unwrap_or(0)), &scan);
            }
        }
        expect_all_shut(scene);
    });
}

/// The agent is told of a hundred hits at decoys a second: others make them, so that it is told of none of the
/// scanner's.
fn a_scan_that_drowns_its_own_traces_opens_nothing() {
    let scene = Scene::new(NFLOG, &DOORS, "");
    let decoy = floods::decoy(&scene.setup, &scene.net.router);
    let (_, knocks) = DOORS[0];
    for number in 0..10 {
        scene.scan(stranger(60_000), &[decoy; 300]);
        let scanned = [knocks[0], decoy, knocks[1], decoy, knocks[2]];
        scene.scan(stranger(number), &scanned);
    }
    expect_all_shut(&scene);
    let router = &scene.net.router;
    assert!(scene.setup.counter(router, "decoyed") > 0);
}

fn scans_on_end_are_cut_off() {
    let scene = Scene::new(NFLOG, &DOORS, "\toption cutoff '5 per 10m'\n");
    let client: IpAddr = scene.net.client.v4.into();
    let router = &scene.net.router.namespace;
    let is_cut_off = || {
        let listing = router.run("nft", &["list", "set", "inet", "postern", "cutoff4"]);
        listing.ok().contains(&client.to_string())
    };
    // From one port, so that some of its knocks are taken for others sent again.
    let mut random = Random::new();
    let mut scans = 0;
    while !is_cut_off() {
        scene.scan(client, &shuffled(&mut random));
        expect_all_shut(&scene);
        scans += 1;
        assert!(scans < 20, "nobody is cut off");
    }
    // The kernel does not even show the agent what it knocks now.
    nft::forget_hits(&scene.net.router.namespace);
    for (_, ports) in DOORS {
        scene.scan(client, ports);
    }
    expect_all_shut(&scene);
}

fn a_scan_keeps_its_sender_out_for_the_window_only() {
    for approach in APPROACHES {
        in_case_of(approach.name(), || {
            let scene = Scene::new(approach, &DOORS, "");
            let (client, router) = (&scene.net.client, &scene.net.router);
            let _services = DOORS.map(|(guard, _)| Listener::new(&router.namespace, guard));
            scene.scan(client.v4.into(), &ascending());
            let knock = |ports: &[u16]| {
                let knocks: Vec<Knock> = ports.iter().map(|port| Knock::Tcp(*port)).collect();
                Knocker::new(&scene.sender, client.v4.into(), router.v4.into()).send(&knocks);
            };
            for (_, ports) in DOORS {
                knock(ports);
            }
            expect_all_shut(&scene);
            nft::forget_hits(&scene.net.router.namespace);
            for (guard, ports) in DOORS {
                knock(ports);
                let to = router.port(Family::V4, guard);
                assert!(
                    probe::tcp_opens(&client.namespace, to, SOON),
                    "door d{guard}"
                );
            }
        });
    }
}

/// Of every kind, at a pace that the jitter covers and at a slower one. `make bench-honest` has it all, as fast as the
/// machine sends.
fn knocks_open_under_floods_of_everything_else() {
    let _turn = Turn::loud();
    let scene = floods::Scene::new("nflog", 0, RATE);
    for flood in Flood::all() {
        expect_in(
            &scene,
            flood,
            Honest::Sequence,
            20,
            Duration::from_millis(20),
        );
        if flood.is_forged && !flood.is_udp {
            expect_in(&scene, flood, Honest::Sequence, 20, Duration::from_secs(1));
        }
    }
}
