//! A bound socket for each port: for machines on which nothing else can be had.
//!
//! The kernel answers for such a port before anybody is asked: whoever connects to it is
//! answered, `ss` lists it, and no program else can have it. A connection counts as a knock once
//! it is made, and is reset at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use postern_core::config::{Config, MAX_SOCKETS};
use postern_core::knock::{Knock, Port, Protocol};
use postern_core::packet::Refusal;
use postern_core::time::{Duration, Instant};

use super::Losses;
use super::filter::arrived_on;
use super::interfaces::Interfaces;
use crate::firewall::longest_payload;
use crate::knock_ports;
use crate::sort::sort;
use crate::sys::bound::Bound;
use crate::sys::datagram::{BATCH_LEN, Batch, Datagram};
use crate::sys::epoll::Epoll;
use crate::sys::process::{Capability, allow_files};

/// Room for the datagrams of one port that arrive while the agent is busy. The kernel bounds
/// what all of them take together (udp(7), `udp_mem`).
const RECEIVE_BUFFER: u32 = 256 << 10;
/// The most times that one call of [`Sockets::for_each`] receives from a port of UDP.
const BATCHES_PER_CALL: usize = 8;
/// The most connections that it takes from a port of TCP.
const CONNECTIONS_PER_CALL: usize = 64;
/// Files for everything else: callers, netlink, a state that is saved.
const OTHER_FILES: usize = 64;
/// The first port that anybody may listen at (`ip_unprivileged_port_start` if nobody changed it).
const FIRST_FREE_PORT: u16 = 1024;
/// When to try again what the kernel had no memory for.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Hears connections and datagrams until it is dropped.
pub(crate) struct Sockets {
    /// In the order of their ports.
    sockets: Vec<Rc<Bound>>,
    /// The ports that were asked for, in order, be they bound or not.
    wanted: Vec<Wanted>,
    interfaces: Interfaces,
    epoll: Epoll,
    /// The octets of each datagram that are copied.
    length: u16,
    batch: Batch,
    /// When the kernel must learn which interfaces count.
    filter_at: Option<Instant>,
}

/// A port to listen at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    port: Port,
    /// Whether it is done without where a service has it.
    is_decoy: bool,
}

impl Sockets {
    /// Begins to hear. Ports that `before` has already are shared with it.
    pub(super) fn start(
        config: &Config,
        listed: &[Port],
        before: Option<&Self>,
    ) -> Result<Box<Self>, String> {
        let wanted = wanted(config, listed);
        let length = longest_payload(&config.doors);
        let knocks = wanted.iter().filter(|wanted| !wanted.is_decoy).count();
        if knocks > MAX_SOCKETS {
            return Err(format!(
                "source sockets takes {knocks} sockets for as many ports: at most {MAX_SOCKETS}"
            ));
        }
        let others = before.map_or(0, |before| before.sockets.len()) + OTHER_FILES;
        allow_files(wanted.len() + others).map_err(|most| {
            format!(
                "source sockets takes {} files, and this process may open {most} (ulimit -Hn)",
                wanted.len() + others
            )
        })?;
        let in_words = |error: io::Error| format!("source sockets: {error}");
        let interfaces = Interfaces::new(&config.global.interfaces).map_err(in_words)?;
        let program = arrived_on(interfaces.numbers());
        let mut sockets = Vec::with_capacity(wanted.len());
        for Wanted { port, is_decoy } in &wanted {
            let shared = before.and_then(|before| before.bound_to(*port));
            let socket = match shared {
                Some(shared) => Ok(Rc::clone(shared)),
                None => Bound::new(*port, &program, RECEIVE_BUFFER).map(Rc::new),
            };
            match socket {
                Ok(socket) => sockets.push(socket),
                Err(_) if *is_decoy => {}
                Err(error) => return Err(explain(*port, &error)),
            }
        }
        let epoll = Epoll::new().map_err(in_words)?;
        for (socket, number) in sockets.iter().zip(0..) {
            epoll.add(socket.as_fd(), number).map_err(in_words)?;
        }
        (epoll.add(interfaces.as_fd(), u64::MAX)).map_err(in_words)?;
        Ok(Box::new(Self {
            sockets,
            wanted,
            interfaces,
            epoll,
            length,
            batch: Batch::new(length.into()),
            // The shared ones heard other interfaces until now, and do so until this begins.
            filter_at: before.is_some().then(Instant::default),
        }))
    }

    /// What listening again takes: a port may be taken anew when another configuration ends.
    pub(super) fn needs(&self) -> Option<Capability> {
        let is_low = |wanted: &Wanted| wanted.port.number < FIRST_FREE_PORT;
        (self.wanted.iter().any(is_low)).then_some(Capability::NetBindService)
    }

    /// Whether the configuration asks for nothing else.
    pub(super) fn suits(&self, config: &Config, listed: &[Port]) -> bool {
        self.interfaces.are(&config.global.interfaces)
            && self.length == longest_payload(&config.doors)
            && self.wanted == wanted(config, listed)
    }

    /// Hands each knock that waits to the visitor.
    pub(super) fn for_each(
        &mut self,
        now: Instant,
        visitor: &mut dyn FnMut(Result<Knock<'_>, Refusal>),
    ) -> io::Result<()> {
        for number in self.epoll.ready()? {
            let at = usize::try_from(number).ok();
            let Some(socket) = at.and_then(|at| self.sockets.get(at)) else {
                self.follow(now);
                continue;
            };
            match socket.port().protocol {
                Protocol::Tcp => take_connections(socket, visitor)?,
                Protocol::Icmp => {}
                Protocol::Udp => {
                    let heard = self.interfaces.numbers();
                    take_datagrams(socket, &mut self.batch, heard, visitor)?;
                }
            }
        }
        Ok(())
    }

    /// When the kernel is asked again for what it refused.
    pub(super) const fn poll_at(&self) -> Option<Instant> {
        self.filter_at
    }

    pub(super) fn poll(&mut self, now: Instant) {
        if self.filter_at.is_some_and(|at| at <= now) {
            self.filter(now);
        }
    }

    pub(super) fn losses(&self) -> Losses {
        let datagrams = |socket: &&Rc<Bound>| socket.port().protocol == Protocol::Udp;
        let sockets = self.sockets.iter().filter(datagrams);
        // Where it cannot be asked, nothing is known to be lost.
        let lost = sockets.map(|socket| u64::from(socket.lost().unwrap_or(0)));
        Losses {
            packets: lost.sum(),
            overruns: 0,
        }
    }

    fn bound_to(&self, port: Port) -> Option<&Rc<Bound>> {
        let at = self
            .sockets
            .binary_search_by_key(&port, |socket| socket.port());
        self.sockets.get(at.ok()?)
    }

    /// Follows interfaces that came back under another number.
    fn follow(&mut self, now: Instant) {
        if self.interfaces.look_again() {
            self.filter(now);
        }
    }

    fn filter(&mut self, now: Instant) {
        let program = arrived_on(self.interfaces.numbers());
        let mut failures = self.sockets.iter().map(|socket| socket.refilter(&program));
        self.filter_at = failures
            .any(|failed| failed.is_err())
            .then(|| now + RETRY_INTERVAL);
    }
}

impl AsFd for Sockets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Every port to listen at, in order.
fn wanted(config: &Config, listed: &[Port]) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let mut want = |number, is_decoy| {
            let port = Port { protocol, number };
            wanted.push(Wanted { port, is_decoy });
        };
        let knocks = knock_ports::knocks(config, listed, protocol);
        // One of each is enough to be seen, and the kernel remembers a hit at any.
        for decoy in knock_ports::decoys(config, protocol, &knocks) {
            want(*decoy.start(), true);
        }
        for number in knocks.into_iter().flatten() {
            want(number, false);
        }
    }
    sort(&mut wanted, &Wanted::lt);
    wanted
}

fn take_connections(
    socket: &Bound,
    visitor: &mut dyn FnMut(Result<Knock<'_>, Refusal>),
) -> io::Result<()> {
    for _ in 0..CONNECTIONS_PER_CALL {
        let Some(peer) = socket.hang_up()? else { break };
        visitor(Ok(Knock {
            source: peer.ip(),
            source_port: peer.port(),
            port: socket.port(),
            payload: &[],
        }));
    }
    Ok(())
}

fn take_datagrams(
    socket: &Bound,
    batch: &mut Batch,
    interfaces: &[u32],
    visitor: &mut dyn FnMut(Result<Knock<'_>, Refusal>),
) -> io::Result<()> {
    let mut hand_on = |datagram: Datagram<'_>| {
        let arrived = datagram
            .arrived_on
            .is_some_and(|on| interfaces.contains(&on));
        let Some(sender) = datagram.sender.filter(|_| arrived) else {
            return;
        };
        visitor(Ok(Knock {
            source: sender.ip(),
            source_port: sender.port(),
            port: socket.port(),
            payload: datagram.octets,
        }));
    };
    for _ in 0..BATCHES_PER_CALL {
        if batch.receive(socket.as_fd(), &mut hand_on)? < BATCH_LEN {
            break;
        }
    }
    Ok(())
}

/// Says in words what the kernel says in numbers.
fn explain(port: Port, error: &io::Error) -> String {
    let (protocol, number) = (port.protocol.name(), port.number);
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => format!(
            "{protocol}:{number} is taken by another program ('ss -lnp' names it): end it, or \
             knock at another port"
        ),
        Some(libc::EACCES) => {
            format!("{protocol}:{number} takes the capability CAP_NET_BIND_SERVICE")
        }
        _ => format!("{protocol}:{number}: {error}"),
    }
}
