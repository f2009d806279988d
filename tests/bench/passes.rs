//! Scans of all TCP ports, and whether they open a door of three knocks.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use postern_tests::packet::Packet;
use postern_tests::scan::{ascending, shuffled};
use postern_tests::sender::Random;
use postern_tests::wait::try_poll;

use crate::contender::Contender;
use crate::results::Results;
use crate::turns;

/// Longer than any of those who open takes.
const OPENS_WITHIN: Duration = Duration::from_secs(1);

/// How much is scanned.
pub(crate) struct Scans {
    /// From the first port to this one.
    pub(crate) ports: u16,
    /// Single passes in the order of ports.
    pub(crate) in_order: usize,
    /// Single passes in random order.
    pub(crate) at_random: usize,
    /// How often one source scans on end, in random order.
    pub(crate) on_end: usize,
    /// For how long, if nothing opens.
    pub(crate) within: Duration,
}

/// Scans every contender, in turn: each pass, or each run on end, comes from a source that scanned nothing before.
pub(crate) fn measure(scans: &Scans, results: &mut Results) {
    let contenders = Contender::all();
    let mut random = Random::new();
    for (what, passes) in [
        ("in the order of ports", scans.in_order),
        ("in random order", scans.at_random),
    ] {
        let mut opened = vec![Vec::new(); contenders.len()];
        for (number, contender) in turns(passes, &contenders) {
            let mut ports = match what {
                "in random order" => shuffled(&mut random),
                _ => ascending(),
            };
            ports.retain(|port| *port <= scans.ports);
            let from = contender.fresh_source();
            scan(contender, from, &ports);
            contender.settle(OPENS_WITHIN);
            opened[number].push(is_in(contender, from, Duration::from_millis(100)));
        }
        report(what, &contenders, opened, results);
    }
    let mut opened = vec![Vec::new(); contenders.len()];
    for (number, contender) in turns(scans.on_end, &contenders) {
        let from = contender.fresh_source();
        let began = Instant::now();
        let mut is_open = false;
        while !is_open && began.elapsed() < scans.within {
            let mut ports = shuffled(&mut random);
            ports.retain(|port| *port <= scans.ports);
            scan(contender, from, &ports);
            is_open = is_in(contender, from, Duration::ZERO);
        }
        opened[number].push(is_open || is_in(contender, from, OPENS_WITHIN));
    }
    report("on end", &contenders, opened, results);
}

fn report(what: &str, contenders: &[Contender], opened: Vec<Vec<bool>>, results: &mut Results) {
    for (contender, opened) in contenders.iter().zip(opened) {
        let values = opened.iter().map(|opened| Some(f64::from(*opened)));
        let unit = format!("opened of {}", opened.len());
        let count = values.clone().flatten().sum();
        results.add("scans", what, contender.name, unit, values.collect());
        results.set_value(count);
    }
}

fn scan(contender: &Contender, from: IpAddr, ports: &[u16]) {
    let from = SocketAddr::new(from, 40_000);
    for port in ports {
        contender
            .sender
            .send(&Packet::syn(from, contender.port(*port)));
    }
}

/// Whether the guarded port takes a connection from this address.
fn is_in(contender: &Contender, from: IpAddr, within: Duration) -> bool {
    let mut port = 50_000;
    let answer = try_poll(within, || {
        port += 1;
        let probe = Packet::syn(SocketAddr::new(from, port), contender.guarded);
        contender.sender.send(&probe);
        let entered: HashSet<IpAddr> = contender.let_in().into_iter().collect();
        entered.contains(&from).then_some(())
    });
    answer.is_some()
}
