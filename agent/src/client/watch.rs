//! Looking from outside whether a door is open: does a guarded TCP port answer?

use core::net::IpAddr;
use core::time::Duration;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use postern_core::door::Door;
use postern_core::knock::{Port, PortRange, Protocol};

use super::route::Route;

/// What a port says; the later, the more it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    /// Nothing.
    Silent,
    /// Somebody on the way, or this machine, says that the host cannot be reached.
    Unreachable,
    /// It resets connections.
    Refused,
    /// It takes connections.
    Open,
}

/// What was seen of a door's guarded ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) port: Port,
    pub(super) answer: Answer,
    /// Where our connection came from, if there was one.
    pub(super) source: Option<IpAddr>,
}

impl Sight {
    pub(super) fn is_open(self) -> bool {
        self.answer == Answer::Open
    }
}

/// How long one connection may take, from look to look: short at first, as a SYN that met the
/// door shut is lost, and longer then, as some hosts are far away.
const FIRST_TIMEOUTS: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(500)];
const LATER_TIMEOUT: Duration = Duration::from_secs(1);
/// The least time from look to look where answers come at once.
const MIN_LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Whether the door guards a port whose answer can be seen. What a UDP service says to strangers
/// nobody knows.
pub(super) fn is_possible(door: &Door) -> bool {
    ports(door).next().is_some()
}

/// Looks, once at least, until the door is open (or not open any more, as wanted) or `timeout`
/// has passed. `None` where nothing can be seen.
pub(super) fn until(route: &Route, door: &Door, open: bool, timeout: Duration) -> Option<Sight> {
    let give_up_at = Instant::now() + timeout;
    let mut told: Option<Sight> = None;
    let mut looks = FIRST_TIMEOUTS.into_iter();
    loop {
        let looked_at = Instant::now();
        let sight = look(route, door, looks.next().unwrap_or(LATER_TIMEOUT))?;
        if sight.is_open() == open {
            return Some(sight);
        }
        told = told
            .into_iter()
            .chain([sight])
            .max_by_key(|sight| sight.answer);
        if Instant::now() >= give_up_at {
            return told;
        }
        thread::sleep(MIN_LOOK_INTERVAL.saturating_sub(looked_at.elapsed()));
    }
}

/// The port that tells most.
fn look(route: &Route, door: &Door, within: Duration) -> Option<Sight> {
    let mut best: Option<Sight> = None;
    for port in ports(door) {
        let sight = look_at(route, port, within);
        best = best
            .into_iter()
            .chain([sight])
            .max_by_key(|sight| sight.answer);
        if sight.is_open() {
            break;
        }
    }
    best
}

fn look_at(route: &Route, port: Port, within: Duration) -> Sight {
    let connected = TcpStream::connect_timeout(&route.port(port.number), within);
    let answer = match &connected {
        Ok(_) => Answer::Open,
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Answer::Refused,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Answer::Silent,
            _ => Answer::Unreachable,
        },
    };
    let source = connected.and_then(|stream| stream.local_addr());
    Sight {
        port,
        answer,
        source: source.ok().map(|source| source.ip()),
    }
}

fn ports(door: &Door) -> impl Iterator<Item = Port> {
    let guards = door.guards.iter().filter_map(PortRange::single);
    guards.filter(|port| port.protocol == Protocol::Tcp)
}
