//! The time from the last knock to the open port.
//!
//! The client sends the last knock, then asks for a connection every 50 µs, each time from a
//! fresh port, until it is let in. The contenders take turns, so that whatever disturbs the
//! machine disturbs all of them.
//!
//! Twice: with raw packets, which shows what the router needs and next to nothing else (on one
//! machine, rules answer within the very call that sends the packet); and with ordinary sockets,
//! which is the soonest that a client could be in.

use std::collections::VecDeque;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::packet::{Header, Packet};

use socket2::{Domain, Socket, Type};

use crate::contender::{Contender, KNOCKS, source};

const ROUNDS: u16 = 200;
const GIVE_UP: Duration = Duration::from_secs(1);
const TIME_LIMIT: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_micros(50);
/// Between the knocks before the last, and before the last.
const GAP: Duration = Duration::from_millis(2);

/// Measures and prints.
pub(crate) fn measure(contenders: &[Contender]) {
    let ends_at = Instant::now() + TIME_LIMIT;
    println!("time from the last knock to the open port, contenders in turn");
    for (title, first, enter) in [
        ("raw packets", 0, knock_and_enter as Enter),
        ("ordinary sockets", ROUNDS, connect_and_enter),
    ] {
        let mut times: Vec<Vec<Option<Duration>>> = vec![Vec::new(); contenders.len()];
        for round in first..first + ROUNDS {
            for (contender, times) in contenders.iter().zip(&mut times) {
                times.push(enter(contender, round));
            }
            if Instant::now() > ends_at {
                break;
            }
        }
        print(title, contenders, &times);
    }
}

type Enter = fn(&Contender, u16) -> Option<Duration>;

/// As [`knock_and_enter`], through the client's TCP.
fn connect_and_enter(contender: &Contender, round: u16) -> Option<Duration> {
    let from = source(round);
    let (last, before) = KNOCKS.split_last()?;
    contender.net.client.namespace.enter(|| {
        for port in before {
            begin_connection(from, contender.port(*port));
            thread::sleep(GAP);
        }
        let mut attempts = VecDeque::new();
        let mut probe_at = Instant::now();
        let started = probe_at;
        begin_connection(from, contender.port(*last));
        while started.elapsed() < GIVE_UP {
            // Only the newest can still be answered: TCP repeats a lost SYN after 1 s.
            attempts.truncate(3);
            attempts.push_front(begin_connection(from, contender.guarded));
            probe_at += PROBE_INTERVAL;
            loop {
                if attempts.iter().any(|socket| socket.peer_addr().is_ok()) {
                    return Some(started.elapsed());
                }
                if Instant::now() >= probe_at {
                    break;
                }
            }
        }
        None
    })
}

/// Asks for a connection and does not wait for it.
fn begin_connection(from: IpAddr, to: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_nonblocking(true).expect("do not block");
    socket
        .bind(&SocketAddr::new(from, 0).into())
        .expect("an address of ours");
    // In progress, or refused: the caller sees.
    let _ = socket.connect(&to.into());
    socket
}

fn knock_and_enter(contender: &Contender, round: u16) -> Option<Duration> {
    let from = source(round);
    let knock = |port| Packet::syn(SocketAddr::new(from, 40_000), contender.port(port));
    let (last, before) = KNOCKS.split_last()?;
    for port in before {
        contender.sender.send(&knock(*port));
        thread::sleep(GAP);
    }
    let last = knock(*last);
    let mut probe_at = Instant::now();
    let started = probe_at;
    contender.sender.send(&last);
    for port in 1024.. {
        let probe = Packet::syn(SocketAddr::new(from, port), contender.guarded);
        contender.sender.send(&probe);
        probe_at += PROBE_INTERVAL;
        loop {
            if is_let_in(contender, from) {
                return Some(started.elapsed());
            }
            if Instant::now() >= probe_at {
                break;
            }
        }
        if started.elapsed() > GIVE_UP {
            break;
        }
    }
    None
}

/// Whether the guarded port has taken a connection from this address.
fn is_let_in(contender: &Contender, from: IpAddr) -> bool {
    let mut packet = [0; 128];
    while let Ok(length) = (&contender.receiver).read(&mut packet) {
        let header = packet.get(..length).and_then(Header::read);
        if header.is_some_and(|header| header.accepts() && header.to.ip() == from) {
            return true;
        }
    }
    false
}

fn print(title: &str, contenders: &[Contender], times: &[Vec<Option<Duration>>]) {
    println!("\n{title}\n");
    println!(
        "{:<10}{:>8}{:>12}{:>12}{:>10}",
        "", "rounds", "median", "p99", "failed"
    );
    let mut medians = Vec::new();
    for (contender, times) in contenders.iter().zip(times) {
        let mut opened: Vec<Duration> = times.iter().flatten().copied().collect();
        opened.sort_unstable();
        let (median, p99) = (percentile(&opened, 50), percentile(&opened, 99));
        println!(
            "{:<10}{:>8}{:>12}{:>12}{:>10}",
            contender.name,
            times.len(),
            millis(median),
            millis(p99),
            times.len() - opened.len()
        );
        medians.push(median);
    }
    println!();
    let median = |name| {
        let found = contenders
            .iter()
            .position(|contender| contender.name == name)?;
        medians.get(found).copied().flatten()
    };
    for (ours, other) in [
        ("postern", "knockd"),
        ("postern", "ruleset"),
        ("chain", "ruleset"),
        ("track", "ruleset"),
    ] {
        if let (Some(one), Some(two)) = (median(ours), median(other)) {
            let ratio = one.as_secs_f64() / two.as_secs_f64();
            println!("median of {ours} / median of {other}: {ratio:.3}");
        }
    }
}

/// The value that `percent` of the sorted values do not exceed (nearest rank).
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    sorted
        .get((sorted.len() * percent).div_ceil(100).checked_sub(1)?)
        .copied()
}

fn millis(time: Option<Duration>) -> String {
    time.map_or("-".into(), |time| {
        format!("{:.3} ms", time.as_secs_f64() * 1e3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Some(Duration::from_millis(100)));
        assert_eq!(percentile(&times, 99), Some(Duration::from_millis(198)));
        assert_eq!(percentile(&[], 50), None);
    }
}
