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
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::packet::{Packet, Transport};
use socket2::{Domain, Socket, Type};

use crate::contender::Contender;
use crate::results::Results;
use crate::turns;

const GIVE_UP: Duration = Duration::from_secs(1);
const TIME_LIMIT: Duration = Duration::from_secs(90);
const PROBE_INTERVAL: Duration = Duration::from_micros(50);
/// Between the knocks before the last, and before the last.
const GAP: Duration = Duration::from_millis(2);

/// The two ways to look, as the measurements name them.
pub(crate) const RAW: &str = "raw packets";
pub(crate) const SOCKETS: &str = "ordinary sockets";

/// Times so many rounds of each contender, in each way.
pub(crate) fn measure(rounds: usize, results: &mut Results) {
    let contenders = Contender::all_with_engines();
    for (what, enter) in [
        (RAW, knock_and_enter as Enter),
        (SOCKETS, connect_and_enter),
    ] {
        let ends_at = Instant::now() + TIME_LIMIT;
        let mut times = vec![Vec::new(); contenders.len()];
        for (turn, (number, contender)) in turns(rounds, &contenders).enumerate() {
            // Everyone gets as many rounds.
            if turn % contenders.len() == 0 && Instant::now() > ends_at {
                break;
            }
            let time = enter(contender, contender.fresh_source());
            times[number].push(time.map(|time| time.as_secs_f64() * 1e3));
        }
        for (contender, times) in contenders.iter().zip(times) {
            results.add("latency", what, contender.name, "ms", times);
        }
    }
}

type Enter = fn(&Contender, IpAddr) -> Option<Duration>;

/// As [`knock_and_enter`], through the client's TCP.
fn connect_and_enter(contender: &Contender, from: IpAddr) -> Option<Duration> {
    let knocks = contender.knocks(from);
    let (last, before) = knocks.split_last()?;
    contender.net.client.namespace.enter(|| {
        for knock in before {
            knock_by_socket(knock);
            thread::sleep(GAP);
        }
        let mut attempts = VecDeque::new();
        let mut probe_at = Instant::now();
        let started = probe_at;
        knock_by_socket(last);
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

/// Sends a knock as an ordinary client does.
fn knock_by_socket(knock: &Packet) {
    let from = knock.from.ip();
    if knock.transport == Transport::Udp {
        let socket = UdpSocket::bind(SocketAddr::new(from, 0)).expect("an address of ours");
        socket
            .send_to(&knock.payload, knock.to)
            .expect("a datagram");
    } else {
        begin_connection(from, knock.to);
    }
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

fn knock_and_enter(contender: &Contender, from: IpAddr) -> Option<Duration> {
    let knocks = contender.knocks(from);
    let (last, before) = knocks.split_last()?;
    for knock in before {
        contender.sender.send(knock);
        thread::sleep(GAP);
    }
    let mut probe_at = Instant::now();
    let started = probe_at;
    contender.sender.send(last);
    for port in 1024.. {
        let probe = Packet::syn(SocketAddr::new(from, port), contender.guarded);
        contender.sender.send(&probe);
        probe_at += PROBE_INTERVAL;
        loop {
            if contender.let_in().contains(&from) {
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
