//! How many honest knocks open under a flood of spoofed first knocks.
//!
//! A stranger sends SYNs to the first knock port, each from another address. Meanwhile honest
//! clients knock, a tenth of a second between two knocks, and then try to enter for a second.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::packet::{Header, Packet};
use postern_tests::sender::Sender;

use crate::contender::{Contender, KNOCKS, source};

const RATE: u32 = 100_000;
const ATTEMPTS: u16 = 20;
/// The flood runs alone for this long, to fill what can be filled.
const HEAD_START: Duration = Duration::from_secs(2);
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);
const BETWEEN_KNOCKS: Duration = Duration::from_millis(100);
const BETWEEN_PROBES: Duration = Duration::from_millis(20);
const PROBES: u16 = 50;

/// Measures and prints.
pub(crate) fn measure(contenders: &[Contender]) {
    println!("honest knocks that opened under spoofed SYNs to the first knock port\n");
    println!("{:<10}{:>12}{:>16}", "", "opened", "flood");
    for contender in contenders {
        let (opened, rate) = under_flood(contender);
        let opened = format!("{opened} of {ATTEMPTS}");
        println!("{:<10}{opened:>12}{:>12} kpps", contender.name, rate / 1000);
    }
}

/// How many were let in, and how many packets a second were sent.
fn under_flood(contender: &Contender) -> (usize, u64) {
    let sender = Sender::new(&contender.net.stranger.namespace);
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let sent = sender.flood(contender.port(KNOCKS[0]), RATE, || {
                stop.load(Ordering::Relaxed)
            });
            sent * 1000 / (started.elapsed().as_millis() as u64).max(1)
        });
        thread::sleep(HEAD_START);
        let opened = play(contender);
        stop.store(true, Ordering::Relaxed);
        (opened, flood.join().expect("the flood"))
    })
}

/// Sends every honest packet when it is due, and counts the sources that were let in.
fn play(contender: &Contender) -> usize {
    let mut script: Vec<(Duration, Packet)> =
        (0..ATTEMPTS).flat_map(|n| attempt(contender, n)).collect();
    script.sort_by_key(|(due, _)| *due);
    let started = Instant::now();
    let mut entered: Vec<IpAddr> = Vec::new();
    for (due, packet) in script {
        while started.elapsed() < due {
            thread::sleep(Duration::from_micros(200));
            collect(contender, &mut entered);
        }
        contender.sender.send(&packet);
    }
    collect(contender, &mut entered);
    entered.len()
}

fn attempt(contender: &Contender, number: u16) -> Vec<(Duration, Packet)> {
    let from = source(number);
    let begins = BETWEEN_ATTEMPTS * number.into();
    let knock = |port| Packet::syn(SocketAddr::new(from, 40_000), contender.port(port));
    let knocks = (0..)
        .zip(KNOCKS)
        .map(|(n, port)| (begins + BETWEEN_KNOCKS * n, knock(port)));
    let probing = begins + BETWEEN_KNOCKS * 3;
    let probe = |n| Packet::syn(SocketAddr::new(from, 1024 + n), contender.guarded);
    let probes = (0..PROBES).map(|n| (probing + BETWEEN_PROBES * n.into(), probe(n)));
    knocks.chain(probes).collect()
}

fn collect(contender: &Contender, entered: &mut Vec<IpAddr>) {
    let mut packet = [0; 128];
    while let Ok(length) = (&contender.receiver).read(&mut packet) {
        if let Some(header) = packet.get(..length).and_then(Header::read)
            && header.accepts()
            && !entered.contains(&header.to.ip())
        {
            entered.push(header.to.ip());
        }
    }
}
