//! Packets that nobody asked for, and what they cost.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::packet::Packet;
use postern_tests::sender::{Random, Sender};

use crate::contender::Contender;
use crate::results::Results;
use crate::turns;

/// What fills tables comes at this rate, in packets a second, so that the daemons hear of it.
pub(crate) const RATE: u32 = 100_000;
/// A port that no door names.
const BESIDE: u16 = 5000;
/// A daemon that has not done its work by then is not waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// What is sent as fast as it can be ends by then, however slow the machine.
const LONGEST: Duration = Duration::from_secs(10);
/// How many packets go out between two looks at the clock.
const BURST: u64 = 64;

/// Sends packets at a rate, or as fast as they can be sent, until `stop` says so when it is told how many were sent.
pub(crate) fn pour(
    sender: &Sender,
    rate: Option<u32>,
    mut stop: impl FnMut(u64) -> bool,
    mut next: impl FnMut(u64) -> Packet,
) -> u64 {
    let started = Instant::now();
    let mut sent = 0;
    while !stop(sent) {
        let burst = rate.map_or(BURST, |rate| {
            let due = (started.elapsed().as_secs_f64() * f64::from(rate)) as u64;
            due.saturating_sub(sent).min(BURST)
        });
        for number in sent..sent + burst {
            sender.send(&next(number));
        }
        sent += burst;
        if burst == 0 {
            thread::sleep(Duration::from_micros(50));
        }
    }
    sent
}

/// An address that is not there, and a port of it.
pub(crate) fn forged(random: &mut Random) -> SocketAddr {
    let [a, b, c, d, e, ..] = random.number().to_be_bytes();
    let port = u16::from_be_bytes([d, e]) | 1024;
    SocketAddr::new(Ipv4Addr::new(10, a, b, c).into(), port)
}

/// Another address for each of 16 million numbers.
fn numbered(number: u64) -> IpAddr {
    let [.., a, b, c] = number.to_be_bytes();
    Ipv4Addr::new(10, a, b, c).into()
}

/// What so many sources leave in memory, each with a first knock.
pub(crate) fn measure_memory(sources: u64, results: &mut Results) {
    for contender in &Contender::all() {
        look(contender, "before", results);
        let knock = contender.first_knock();
        let sender = Sender::new(&contender.net.stranger.namespace);
        pour(
            &sender,
            Some(RATE),
            |sent| sent >= sources,
            |number| Packet {
                from: SocketAddr::new(numbered(number), 40_000),
                ..knock.clone()
            },
        );
        contender.settle(PATIENCE);
        look(contender, "after", results);
    }
}

/// What it has in memory now.
fn look(contender: &Contender, what: &str, results: &mut Results) {
    let name = contender.name;
    if let Some(kib) = contender.resident() {
        results.add("memory", what, name, "KiB", vec![Some(kib as f64)]);
    }
    let elements = contender.elements() as f64;
    results.add(
        "memory in sets",
        what,
        name,
        "elements",
        vec![Some(elements)],
    );
}

/// What so many packets cost: the time of the daemon's that they take, and how many a second pass.
pub(crate) fn measure_strays(packets: u64, rounds: usize, results: &mut Results) {
    let contenders = Contender::all_and_none();
    for what in ["beside all doors", "first knocks"] {
        let mut of_daemon = vec![Vec::new(); contenders.len()];
        let mut rate = of_daemon.clone();
        for (number, contender) in turns(rounds, &contenders) {
            let mut random = Random::new();
            let first = contender.first_knock();
            let beside = Packet::syn(first.from, contender.port(BESIDE));
            let template = if what == "first knocks" {
                first
            } else {
                beside
            };
            let sender = Sender::new(&contender.net.stranger.namespace);
            let (before, began) = (contender.processor_time(), Instant::now());
            let sent = pour(
                &sender,
                None,
                |sent| sent >= packets || began.elapsed() > LONGEST,
                |_| Packet {
                    from: forged(&mut random),
                    ..template.clone()
                },
            );
            rate[number].push(Some(sent as f64 / began.elapsed().as_secs_f64()));
            contender.settle(PATIENCE);
            let used = contender.processor_time().zip(before);
            let used = used.map(|(after, before)| after.saturating_sub(before));
            // For a million, however many were sent.
            let scale = 1e6 / sent as f64;
            of_daemon[number].push(used.map(|used| used.as_secs_f64() * scale));
        }
        for ((contender, of_daemon), rate) in contenders.iter().zip(of_daemon).zip(rate) {
            let name = contender.name;
            if of_daemon.iter().any(Option::is_some) {
                results.add("processor", what, name, "s of a million", of_daemon);
            }
            results.add("packets that pass", what, name, "a second", rate);
        }
    }
}
