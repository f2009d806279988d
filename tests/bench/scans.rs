//! Scans of all ports, single ones and on end, and how many of them open a door of three knocks.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use postern_tests::nft;
use postern_tests::scan::{Scene, ascending, shuffled, stranger};
use postern_tests::scenario::Approach;
use postern_tests::sender::Random;

/// One door of the default configuration is the easiest to hit: it has the fewest decoys.
const KNOCKS: [&[u16]; 2] = [&[7_000, 9_001, 8_002], &[7_000, 9_001, 8_002, 40_000]];

const APPROACHES: [Approach; 4] = [
    Approach::Source("nflog"),
    Approach::Source("packet"),
    Approach::Engine("chain"),
    Approach::Engine("track"),
];

/// For longer than any of this takes.
const GRANT: &str = "\toption grant '1d'\n";

/// Of which many sources scan together.
const SOURCES: u16 = 256;

/// Measures and prints: so many scans, each of a source that made none before, and so many minutes of scans on end.
pub(crate) fn measure(scans: u32, minutes: u32) {
    println!(
        "{:<16}{:<8}{:>20}{:>24}{:>24}{:>12}",
        "", "knocks", "single scans", "minutes, one source", "minutes, many sources", "scan"
    );
    for approach in APPROACHES {
        for knocks in KNOCKS {
            let scene = Scene::new(approach, &[(2201, knocks)], GRANT);
            let mut random = Random::new();
            let began = Instant::now();
            for number in 0..scans {
                // Every fourth one in the order of ports, or against it.
                let ports = match number % 8 {
                    0 => ascending(),
                    4 => ascending().into_iter().rev().collect(),
                    _ => shuffled(&mut random),
                };
                scene.scan(source(number), &ports);
            }
            let opened = let_in(&scene);
            let rate = u64::from(scans) * 65_535 / (began.elapsed().as_millis() as u64).max(1);
            let one = on_end(&scene, minutes, &[scene.net.client.v4.into()], &mut random);
            let many: Vec<IpAddr> = (0..SOURCES).map(stranger).collect();
            let many = on_end(&scene, minutes, &many, &mut random);
            println!(
                "{:<16}{:<8}{:>20}{:>24}{:>24}{rate:>7} kpps",
                approach.name(),
                knocks.len(),
                format!("{opened} of {scans}"),
                format!("{one} of {minutes}"),
                format!("{many} of {minutes}"),
            );
        }
    }
}

/// In how many of so many minutes somebody was let in.
fn on_end(scene: &Scene, minutes: u32, sources: &[IpAddr], random: &mut Random) -> u32 {
    let mut opened = 0;
    for _ in 0..minutes {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(60) {
            scene.scan_from_many(sources, &shuffled(random));
        }
        opened += u32::from(let_in(scene) > 0);
    }
    opened
}

/// How many sources were let in since this was asked last.
fn let_in(scene: &Scene) -> usize {
    let mut sources = 0;
    for set in scene.let_in() {
        let (name, elements) = set.split_once(" {").unwrap_or_default();
        sources += elements.matches(" expires ").count();
        let flush = format!("flush set inet postern {name}\n");
        nft::apply(&scene.net.router.namespace, &flush);
    }
    sources
}

fn source(number: u32) -> IpAddr {
    let number = u16::try_from(number % 60_000).unwrap_or_default();
    stranger(1_000 + number)
}
