//! Packets in, decisions out: a door as its owner configures it, packets as a capture hands them over, and what to do
//! about each. Nothing is opened, and no clock is asked: every packet comes with the time at which it arrived.
//!
//!     cargo run -p postern-core --example decisions

use core::error::Error;
use std::io::{self, Write};
use std::sync::Mutex;

use postern_core::config::Config;
use postern_core::engine::Engine;
use postern_core::packet;
use postern_core::time::Instant;

const CONFIG: &str = "\
config postern 'global'
	list interface 'wan'

config door 'ssh'
	list guard 'tcp:22'
	option method 'sequence-separate'
	list open 'tcp:7000'
	list open 'udp:9001'
	list open 'tcp:8002'
	list close 'udp:9003'
	option window '10s'
	option jitter '0'
	option decoys '0'
	option cutoff '2 per 10m'
";

/// When it arrives in milliseconds, what it is, and its bytes from the IP header on.
type Packet = (u64, &'static str, Vec<u8>);

fn packets() -> [Packet; 11] {
    [
        (1_000, "the first knock", tcp(1, 7000, SYN)),
        (1_100, "an answer to a ping", ipv4(1, 1, &[0; 8])),
        (1_150, "a packet cut short", cut(30, tcp(1, 7000, SYN))),
        (1_200, "the second knock", udp(1, 9001)),
        (1_250, "the second knock again", udp(1, 9001)),
        (
            1_300,
            "no request for a connection",
            tcp(1, 8002, SYN | ACK),
        ),
        (1_400, "the last knock", tcp(1, 8002, SYN)),
        (2_000, "a stranger's first knock", tcp(66, 7000, SYN)),
        (2_100, "a stranger's guess", tcp(66, 8002, SYN)),
        (12_000, "a port of no door's", udp(1, 53)),
        (20_000, "the knock that closes", udp(1, 9003)),
    ]
}

/// Room for the attempts of 1,024 sources: some 500 KiB, too much for most stacks.
static ENGINE: Mutex<Engine<1024>> = Mutex::new(Engine::new());

fn main() -> Result<(), Box<dyn Error>> {
    print_decisions(&mut io::stdout().lock())
}

fn print_decisions(out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let config = Config::parse(CONFIG.as_bytes(), |diagnostic| {
        let (line, column) = (diagnostic.line, diagnostic.column);
        _ = writeln!(out, "{line}:{column}: {diagnostic}");
    });
    let config = config.ok_or("the configuration is wrong")?;
    let mut engine = ENGINE.lock()?;
    // Eight random bytes, so that nobody can choose addresses that collide in the table of sources.
    engine.seed([0x5a; 8]);
    engine.configure(&config.doors)?;

    for (millis, what, bytes) in packets() {
        let now = Instant::from_millis(millis);
        if engine.poll_at().is_some_and(|due| due <= now) {
            engine.poll(now);
        }
        write!(out, "{millis:>6} ms  {what}: ")?;
        let knock = match packet::parse(&bytes) {
            Ok(knock) => knock,
            Err(refusal) => {
                writeln!(out, "no knock, {refusal}")?;
                continue;
            }
        };
        let decision = engine.handle(now, &knock);
        write!(out, "{:?}", decision.outcome)?;
        let verbs = [
            ("open", decision.open),
            ("close", decision.close),
            ("toggle", decision.toggle),
        ];
        for (verb, doors) in verbs {
            for door in doors.filter_map(|index| engine.doors().get(index)) {
                write!(out, ", {verb} {} for {}", door.name, knock.source)?;
            }
        }
        if !decision.failed.is_empty() {
            write!(out, ", a failure")?;
        }
        writeln!(out)?;
        engine.show_underway(now, &mut |attempt| {
            let (accepted, needed, left) = (
                attempt.accepted,
                attempt.needed,
                attempt.remaining.as_millis(),
            );
            _ = writeln!(
                out,
                "           {}: {accepted} of {needed}, {left} ms left",
                attempt.source
            );
        });
    }
    Ok(())
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A TCP segment without options or data.
fn tcp(host: u8, port: u16, flags: u8) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let segment = [
        0xd4, 0x31, high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0,
    ];
    ipv4(host, 6, &segment)
}

/// An empty UDP datagram.
fn udp(host: u8, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    ipv4(host, 17, &[0xd4, 0x31, high, low, 0, 8, 0, 0])
}

/// A packet from 192.0.2.`host`.
fn ipv4(host: u8, protocol: u8, content: &[u8]) -> Vec<u8> {
    let length = 20 + content.len() as u8;
    let header = [
        0x45, 0, 0, length, 0, 1, 0, 0, 64, protocol, 0, 0, 192, 0, 2, host, 198, 51, 100, 1,
    ];
    [&header, content].concat()
}

/// As a capture of fewer bytes has it.
fn cut(length: usize, mut packet: Vec<u8>) -> Vec<u8> {
    packet.truncate(length);
    packet
}

/// What the example prints is what it says.
#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: &str = "
  1000 ms  the first knock: Advanced
           192.0.2.1: 1 of 3, 10000 ms left
  1100 ms  an answer to a ping: no knock, neither TCP nor UDP nor an echo request
  1150 ms  a packet cut short: no knock, too little of the packet was captured
  1200 ms  the second knock: Advanced
           192.0.2.1: 2 of 3, 9800 ms left
  1250 ms  the second knock again: Repeated
           192.0.2.1: 2 of 3, 9750 ms left
  1300 ms  no request for a connection: no knock, a TCP segment that is not a plain SYN
  1400 ms  the last knock: Completed, open ssh for 192.0.2.1
  2000 ms  a stranger's first knock: Advanced
           192.0.2.66: 1 of 3, 10000 ms left
  2100 ms  a stranger's guess: Wrong, a failure
 12000 ms  a port of no door's: Unwatched
 20000 ms  the knock that closes: Completed, close ssh for 192.0.2.1
";

    #[test]
    fn it_prints_these_decisions() {
        let mut out = Vec::new();
        print_decisions(&mut out).expect("decisions");
        assert_eq!(
            String::from_utf8_lossy(&out),
            EXPECTED.trim_start_matches('\n')
        );
    }
}
