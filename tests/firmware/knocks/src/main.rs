//! Shows core packets of every kind, each between two calls of getpid(2), where an emulator
//! counts instructions; prints of each what it was.
//!
//!     knocks DOORS SOURCES
//!
//! with so many doors, five at least, while so many sources are tracked.

use std::env;
use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process;
use std::sync::{Mutex, PoisonError};

use postern_core::config::Config;
use postern_core::engine::Engine;
use postern_core::knock::tcp;
use postern_core::method::{Armed, Candidate};
use postern_core::packet;
use postern_core::time::{Duration, Instant};

/// As in the agent.
static ENGINE: Mutex<Engine<4096>> = Mutex::new(Engine::new());

/// How often each kind of knock is shown.
const ROUNDS: u32 = 64;

/// Doors of codes: one with ports of its own, and two that have theirs in common.
const CODED: [u16; 3] = [40_000, 42_000, 42_000];
/// Two sequences begin at this port.
const SHARED: u16 = 44_000;
const SHARING: u32 = 2;
/// Codes that are acceptable at a time, and may follow in a row.
const CODES: u64 = 13;

const TCP: u8 = 6;
const UDP: u8 = 17;

fn main() {
    let numbers: Vec<u32> = (env::args().skip(1))
        .map(|text| text.parse().expect("a number"))
        .collect();
    let &[doors, sources] = &numbers[..] else {
        panic!("knocks DOORS SOURCES");
    };
    let special = CODED.len() as u32 + SHARING;
    let plain = doors.saturating_sub(special).max(1);
    let mut engine = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
    engine.seed([0x5a; 8]);
    let config = Config::parse(configuration(plain).as_bytes(), |_| {});
    let config = config.expect("a right configuration");
    engine.configure(&config.doors).expect("room for the ports");
    let mut stage = Stage {
        engine: &mut engine,
        now: Instant::from_millis(1_000_000),
        coded: plain + SHARING,
    };
    for number in 1..sources {
        stage.show(&syn(source(number), first_port(number % plain)));
    }
    stage.measure("nothing", None);
    for round in 0..ROUNDS {
        stage.play(round, first_port(round * 7 % plain));
        stage.play_shared(round);
        stage.play_codes(round);
    }
}

/// Every door has ports of its own, a second sequence, decoys and a cut-off.
fn configuration(doors: u32) -> String {
    let mut text = String::from("config postern 'global'\n\tlist interface 'wan'\n");
    for door in 0..doors {
        let port = first_port(door);
        let [second, third, last] = [port + 1, port - 1, port + 2];
        writeln!(
            text,
            "config door 'd{door}'\n\tlist guard 'tcp:{guard}'\n\toption method 'sequence-separate'\n\
             \tlist open 'tcp:{port}'\n\tlist open 'udp:{second}'\n\tlist open 'tcp:{third}'\n\
             \tlist close 'tcp:{last}'\n\tlist close 'udp:{port}'\n\toption cutoff '5 per 10m'",
            guard = 2000 + door,
        )
        .expect("strings take all");
    }
    for number in 1..=SHARING as u16 {
        let [second, third] = [0, 1].map(|more| SHARED + 2 * number + more);
        writeln!(
            text,
            "config door 's{number}'\n\tlist guard 'tcp:{}'\n\toption method 'sequence-separate'\n\
             \tlist open 'tcp:{SHARED}'\n\tlist open 'tcp:{second}'\n\tlist open 'tcp:{third}'",
            3000 + number
        )
        .expect("strings take all");
    }
    for (number, base) in CODED.into_iter().enumerate() {
        writeln!(
            text,
            "config door 'c{number}'\n\tlist guard 'tcp:{}'\n\toption method 'one-time-seed'\n\
             \toption secret_file '/secret{number}'\n\toption base '{base}'\n\toption cutoff '5 per 10m'",
            4000 + number
        )
        .expect("strings take all");
    }
    text
}

/// The code of a counter at one of the doors of codes.
fn code(number: usize, counter: u64) -> Candidate {
    let base = CODED[number];
    let half = |factor: u64| base + ((counter * factor + 100 * number as u64) % 997) as u16;
    Candidate {
        counter,
        knocks: [tcp(half(379)), tcp(half(613))],
    }
}

const fn first_port(door: u32) -> u16 {
    (10_000 + 300 * door) as u16
}

struct Stage<'e> {
    engine: &'e mut Engine<4096>,
    now: Instant,
    /// The first door of codes.
    coded: u32,
}

impl Stage<'_> {
    /// All kinds of knocks at a door, by sources that were not there before.
    fn play(&mut self, round: u32, port: u16) {
        let honest = [source(100_000 + round), IpAddr::from(v6(round))];
        for (source, family) in honest.into_iter().zip(["IPv4", "IPv6"]) {
            let own = u16::try_from(round).expect("few") + 40_000;
            let knocks = [
                ("first", packet(TCP, source, own, port)),
                ("repeated", packet(TCP, source, own, port)),
                ("second", packet(UDP, source, own, port + 1)),
                ("third", packet(TCP, source, own, port - 1)),
                ("first to close", packet(TCP, source, own, port + 2)),
                ("second to close", packet(UDP, source, own, port)),
                ("beside all doors", packet(TCP, source, own, 9)),
            ];
            for (kind, bytes) in &knocks {
                self.measure(&format!("{family}, {kind}"), Some(bytes));
            }
        }
        let guesser = source(200_000 + round);
        self.show(&syn(guesser, port));
        for number in 0..6 {
            let wrong = packet(UDP, guesser, 50_000 + number, port);
            self.measure("IPv4, wrong", Some(&wrong));
        }
    }

    /// A sequence whose first knock is another's, too.
    fn play_shared(&mut self, round: u32) {
        let source = source(300_000 + round);
        for (port, kind) in [SHARED, SHARED + 2, SHARED + 3]
            .into_iter()
            .zip(["first", "second", "third"])
        {
            let knock = packet(TCP, source, 40_000 + port % 100, port);
            self.measure(&format!("shared, {kind}"), Some(&knock));
        }
    }

    /// A code that opens, sent again, and a wrong one; then all codes up to it are used.
    fn play_codes(&mut self, round: u32) {
        let first = u64::from(round);
        for (number, kind) in [(0, "code"), (1, "shared code")] {
            for number in 0..CODED.len() {
                let codes = (first..first + CODES).map(|counter| code(number, counter));
                self.engine
                    .arm(self.coded as usize + number, Armed::Codes(codes.collect()));
            }
            let who = source(400_000 + 10 * round + number);
            let halves = code(number as usize, first).knocks.map(|port| port.number);
            for (half, port) in halves.into_iter().enumerate() {
                let knock = packet(TCP, who, 50_000 + half as u16, port);
                self.measure(
                    &format!("{kind}, {}", ["first", "second"][half]),
                    Some(&knock),
                );
            }
            let again = packet(TCP, who, 50_000, halves[0]);
            self.measure(&format!("{kind}, sent again"), Some(&again));
            let guesser = source(500_000 + 10 * round + number);
            let base = CODED[number as usize];
            for (own, kind_of) in [(1, "wrong first"), (2, "wrong second"), (3, "wrong third")] {
                let wrong = packet(TCP, guesser, 51_000 + own, base + 997 + own % 3);
                self.measure(&format!("{kind}, {kind_of}"), Some(&wrong));
            }
        }
    }

    fn measure(&mut self, kind: &str, packet: Option<&[u8]>) {
        self.now = self.now + Duration::from_millis(1);
        let _ = process::id();
        if let Some(packet) = packet {
            self.handle(packet);
        }
        let _ = process::id();
        println!("{kind}");
    }

    fn show(&mut self, packet: &[u8]) {
        self.now = self.now + Duration::from_millis(1);
        self.handle(packet);
    }

    /// From bytes to a decision, as the agent does it.
    fn handle(&mut self, bytes: &[u8]) {
        if let Ok(knock) = &packet::parse(black_box(bytes)) {
            black_box(&self.engine.handle(self.now, knock));
        }
    }
}

fn source(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + number * 7_919).into()
}

const fn v6(number: u32) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 7, number as u16, 0, 0, 0, 2)
}

fn syn(source: IpAddr, port: u16) -> Vec<u8> {
    packet(TCP, source, 40_000, port)
}

/// A packet as NFLOG hands it over: from the IP header on.
fn packet(protocol: u8, source: IpAddr, own: u16, port: u16) -> Vec<u8> {
    let mut segment: Vec<u8> = [own.to_be_bytes(), port.to_be_bytes()].concat();
    match protocol {
        TCP => {
            segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, 0x02]);
            segment.extend([0xfa, 0xf0, 0, 0, 0, 0]);
        }
        _ => segment.extend([0, 12, 0, 0, b'p', b'i', b'n', b'g']),
    }
    let length = segment.len() as u16;
    let mut packet = match source {
        IpAddr::V4(source) => {
            let [high, low] = (20 + length).to_be_bytes();
            let mut header = vec![0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0];
            header.extend(source.octets());
            header.extend([192, 0, 2, 1]);
            header
        }
        IpAddr::V6(source) => {
            let [high, low] = length.to_be_bytes();
            let mut header = vec![0x60, 0, 0, 0, high, low, protocol, 64];
            header.extend(source.octets());
            header.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets());
            header
        }
    };
    packet.extend(segment);
    packet
}
