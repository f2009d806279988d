//! How many honest attempts open while somebody sends what he can.
//!
//! A stranger floods one port of the router's, from addresses that change with each packet or from
//! his own. Meanwhile honest clients knock, one after the other and 20 ms between two knocks, and
//! each tries to enter for a second.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::fwknop;
use postern_tests::packet::{Packet, Transport};
use postern_tests::sender::{Random, Sender};

use crate::contender::{CODES, Contender, GUARDED, KNOCKS, OTHER};
use crate::load::{RATE, forged, pour};
use crate::results::Results;

const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);
const BETWEEN_KNOCKS: Duration = Duration::from_millis(20);
const BETWEEN_PROBES: Duration = Duration::from_millis(20);
const PROBES: u16 = 50;
/// For what the flood has left to do.
const REST: Duration = Duration::from_secs(5);

/// What is flooded.
#[derive(Clone, Copy)]
enum Aim {
    First,
    OtherFirst,
    Second,
    Guarded,
    /// Of the ports at which codes are knocked.
    Codes,
    Decoy,
}

/// Everything that is flooded, and its name. What only one has comes last.
const AIMS: [(&str, Aim); 6] = [
    ("first knock", Aim::First),
    ("another door's first knock", Aim::OtherFirst),
    ("second knock", Aim::Second),
    ("guarded port", Aim::Guarded),
    ("range of codes", Aim::Codes),
    ("decoy", Aim::Decoy),
];
const PROTOCOLS: [&str; 2] = ["TCP", "UDP"];
const ORIGINS: [&str; 2] = ["forged", "one address"];

/// Without a flood: what the others are to be held against.
pub(crate) const NONE: &str = "none";

/// A flood: its name, and what is sent.
struct Flood {
    name: String,
    aim: Aim,
    tcp: bool,
    is_forged: bool,
}

/// The names of all floods, as the measurements have them.
pub(crate) fn names() -> impl Iterator<Item = String> {
    [NONE.to_owned()]
        .into_iter()
        .chain(floods().map(|flood| flood.name))
}

fn floods() -> impl Iterator<Item = Flood> {
    let ways = PROTOCOLS.map(|protocol| ORIGINS.map(|origin| (protocol, origin)));
    AIMS.into_iter().flat_map(move |(what, aim)| {
        ways.into_iter()
            .flatten()
            .map(move |(protocol, origin)| Flood {
                name: format!("{what}, {protocol}, {origin}"),
                aim,
                tcp: protocol == PROTOCOLS[0],
                is_forged: origin == ORIGINS[0],
            })
    })
}

/// How much is flooded.
pub(crate) struct Floods {
    pub(crate) attempts: u16,
    /// A flood runs alone for so long, to fill what can be filled.
    pub(crate) head_start: Duration,
    /// Of so many floods, one is played.
    pub(crate) one_of: usize,
}

/// Has attempts made under each flood, at all contenders in turn.
pub(crate) fn measure(scale: &Floods, results: &mut Results) {
    let contenders = Contender::all();
    let unit = format!("of {}", scale.attempts);
    for contender in &contenders {
        let opened = play(contender, script(contender, scale.attempts));
        results.add(
            "flood",
            NONE,
            contender.name,
            &unit,
            vec![Some(opened as f64)],
        );
    }
    for flood in floods().step_by(scale.one_of) {
        for contender in &contenders {
            let Some(packet) = aimed(contender, &flood) else {
                continue;
            };
            let own = contender.net.stranger.v4.into();
            let (opened, rate) = under_flood(contender, scale, |random| {
                let mut packet = packet.clone();
                packet.from = forged(random);
                if !flood.is_forged {
                    packet.from.set_ip(own);
                }
                if matches!(flood.aim, Aim::Codes) {
                    let [first, last] = CODES;
                    let number = random.number() % u64::from(last - first + 1);
                    packet.to.set_port(first + number as u16);
                }
                packet
            });
            let (what, name) = (&flood.name, contender.name);
            results.add("flood", what, name, &unit, vec![Some(opened as f64)]);
            results.add(
                "flood's rate",
                what,
                name,
                "packets a second",
                vec![Some(rate)],
            );
            contender.settle(REST);
        }
    }
}

/// Has datagrams sent while others are forged that look as genuine, each like no other.
pub(crate) fn measure_datagrams(scale: &Floods, results: &mut Results) {
    let unit = format!("of {}", scale.attempts);
    for contender in &Contender::all_by_datagram() {
        let name = contender.name;
        for origin in ORIGINS {
            let like = contender.first_knock();
            let before = contender.processor_time();
            let (started, own) = (Instant::now(), contender.net.stranger.v4.into());
            let (opened, rate) = under_flood(contender, scale, |random| {
                let mut packet = like.clone();
                packet.from = forged(random);
                if origin != ORIGINS[0] {
                    packet.from.set_ip(own);
                }
                fwknop::forge(&mut packet.payload, random);
                packet
            });
            let lasted = started.elapsed().as_secs_f64();
            let used = contender.processor_time().zip(before);
            let used = used.map(|(after, before)| (after - before).as_secs_f64() / lasted);
            for (bench, unit, value) in [
                (
                    "datagrams under forged ones",
                    unit.as_str(),
                    Some(opened as f64),
                ),
                ("forged datagrams", "packets a second", Some(rate)),
                ("processor under forged datagrams", "of one", used),
            ] {
                results.add(bench, origin, name, unit, vec![value]);
            }
            contender.settle(REST);
        }
    }
}

/// A packet of the flood; `None` where the contender has nothing of the kind.
fn aimed(contender: &Contender, flood: &Flood) -> Option<Packet> {
    let own = contender.first_knock();
    let sequence = |port| (!contender.takes_one_packet()).then_some(port);
    let port = match flood.aim {
        Aim::First => own.to.port(),
        Aim::OtherFirst => sequence(OTHER[0])?,
        Aim::Second => sequence(KNOCKS[1])?,
        Aim::Guarded => GUARDED,
        Aim::Codes => contender.decoy().map(|_| CODES[0])?,
        Aim::Decoy => contender.decoy()?,
    };
    let to = contender.port(port);
    Some(match own.transport {
        // What looks like a knock takes the most work to refuse.
        Transport::Udp if !flood.tcp && port == own.to.port() => own,
        _ if flood.tcp => Packet::syn(own.from, to),
        _ => Packet::udp(own.from, to, &[0]),
    })
}

/// How many were let in, and how many packets a second were sent.
fn under_flood(
    contender: &Contender,
    scale: &Floods,
    mut next: impl FnMut(&mut Random) -> Packet + Send,
) -> (usize, f64) {
    let script = script(contender, scale.attempts);
    let sender = Sender::new(&contender.net.stranger.namespace);
    let stop = AtomicBool::new(false);
    let mut random = Random::new();
    let started = Instant::now();
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let stop = |_| stop.load(Ordering::Relaxed);
            let sent = pour(&sender, Some(RATE), stop, |_| next(&mut random));
            sent as f64 / started.elapsed().as_secs_f64()
        });
        thread::sleep(scale.head_start);
        let opened = play(contender, script);
        stop.store(true, Ordering::Relaxed);
        (opened, flood.join().expect("the flood"))
    })
}

/// Sends every honest packet when it is due, and counts the sources that were let in.
fn play(contender: &Contender, script: Vec<(Duration, Packet)>) -> usize {
    let honest: HashSet<IpAddr> = script.iter().map(|(_, sent)| sent.from.ip()).collect();
    let started = Instant::now();
    let mut entered: HashSet<IpAddr> = HashSet::new();
    for (due, packet) in script {
        while started.elapsed() < due {
            thread::sleep(Duration::from_micros(200));
            entered.extend(contender.let_in());
        }
        contender.sender.send(&packet);
    }
    entered.extend(contender.let_in());
    entered.intersection(&honest).count()
}

/// All that honest clients send, and when.
fn script(contender: &Contender, attempts: u16) -> Vec<(Duration, Packet)> {
    let attempts = (0..attempts).flat_map(|number| attempt(contender, number));
    let mut script: Vec<(Duration, Packet)> = attempts.collect();
    script.sort_by_key(|(due, _)| *due);
    script
}

fn attempt(contender: &Contender, number: u16) -> Vec<(Duration, Packet)> {
    let from = contender.fresh_source();
    let begins = BETWEEN_ATTEMPTS * number.into();
    let knocks = contender.knocks(from);
    let probing = begins + BETWEEN_KNOCKS * knocks.len() as u32;
    let due = (0..).map(|n| begins + BETWEEN_KNOCKS * n);
    let probe = |n| Packet::syn(SocketAddr::new(from, 1024 + n), contender.guarded);
    let probes = (0..PROBES).map(|n| (probing + BETWEEN_PROBES * n.into(), probe(n)));
    due.zip(knocks).chain(probes).collect()
}
