//! Packets as the interfaces bring them, before the kernel's rules see them: AF_PACKET.
//!
//! One socket for each family hears all interfaces; a program in the kernel leaves only knocks
//! on the named ones. So an interface can go and come back without a socket noticing: the
//! program learns its new number. Neither a VLAN's tag nor the lack of an Ethernet header is a
//! concern, because the sockets see what the protocols see ([`PacketSocket`]).
//!
//! There is no ring: at 100,000 SYNs a second nothing was lost and a tenth of a processor spent,
//! whether by recvmsg, by recvmmsg or from a TPACKET_V2 ring, which takes a megabyte more.
//! recvmmsg saves the call that finds nothing.

#[cfg(test)]
mod link_tests;
#[cfg(test)]
mod tests;

use core::iter;
use core::ops::RangeInclusive;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use heapless::Vec as Bounded;
use postern_core::config::{Config, MAX_INTERFACES};
use postern_core::knock::{Port, Protocol};
use postern_core::time::{Duration, Instant};

use super::filter::{MAX_RANGES, Wanted, program};
use super::interfaces::Interfaces;
use super::{Losses, RECEIVE_BUFFER};
use crate::firewall::longest_snaplen;
use crate::knock_ports;
use crate::sort::sort;
use crate::sys::datagram::{BATCH_LEN, Batch};
use crate::sys::epoll::Epoll;
use crate::sys::process::{Capability, has};
use crate::sys::raw::{self, EtherType, PacketSocket};
use crate::sys::set_receive_buffer;

/// The most times that one call of [`PacketSource::for_each`] receives from a socket, so that a
/// flood does not keep the agent from everything else.
const BATCHES_PER_CALL: usize = 32;
/// When to try again what the kernel had no memory for.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How coarse a program may become that the kernel has no room for: kernels before 6.7 give a
/// socket 20 KiB for all its options, and on 32-bit machines half of that (`optmem_max`).
const RANGE_LIMITS: [usize; 4] = [MAX_RANGES, 30, 8, 1];
/// The number of [`Interfaces`] among the files to wait for, after the two sockets.
const INTERFACES_FILE: u64 = 2;

/// A socket for each family.
struct Pair([PacketSocket; 2]);

impl Pair {
    /// Sockets that hear nothing yet.
    fn open() -> io::Result<Self> {
        let sockets = [
            PacketSocket::open(EtherType::V4)?,
            PacketSocket::open(EtherType::V6)?,
        ];
        for socket in &sockets {
            set_receive_buffer(socket.as_fd(), RECEIVE_BUFFER)?;
        }
        Ok(Self(sockets))
    }
}

/// Says in words what the kernel says in numbers.
fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) if !has(Capability::NetRaw) => {
            "source packet takes the capability CAP_NET_RAW".to_owned()
        }
        Some(libc::EAFNOSUPPORT) => "the kernel has no packet sockets: module af_packet is \
                                     missing (CONFIG_PACKET)"
            .to_owned(),
        _ => format!("source packet: {error}"),
    }
}

/// Hears packets until it is dropped.
pub(crate) struct PacketSource {
    pair: Pair,
    interfaces: Interfaces,
    ports: Ports,
    for_others: bool,
    /// Interfaces that receive packets for others at our request.
    promiscuous: Bounded<u32, MAX_INTERFACES>,
    epoll: Epoll,
    /// The octets of each packet that are copied.
    length: u16,
    batch: Batch,
    lost: u64,
    retry_at: Option<Instant>,
}

/// The ports that are listened to, in ascending order, none of them twice.
#[derive(PartialEq, Eq)]
struct Ports {
    tcp: Vec<RangeInclusive<u16>>,
    udp: Vec<RangeInclusive<u16>>,
    echo: Vec<RangeInclusive<u16>>,
}

impl Ports {
    fn of(config: &Config, listed: &[Port]) -> Self {
        let ports = |protocol| {
            let mut ports = knock_ports::knocks(config, listed, protocol);
            ports.extend(knock_ports::decoys(config, protocol, &ports));
            sort(&mut ports, &|one, other| one.start() < other.start());
            ports
        };
        Self {
            tcp: ports(Protocol::Tcp),
            udp: ports(Protocol::Udp),
            echo: ports(Protocol::Icmp),
        }
    }
}

impl PacketSource {
    /// Begins to hear.
    pub(super) fn open(config: &Config, listed: &[Port]) -> Result<Box<Self>, String> {
        let pair = Pair::open().map_err(|error| explain(&error))?;
        Self::start(pair, config, listed).map_err(|error| format!("source packet: {error}"))
    }

    /// Begins to hear, with a pair that nobody else uses.
    fn start(pair: Pair, config: &Config, listed: &[Port]) -> io::Result<Box<Self>> {
        let length = longest_snaplen(&config.doors);
        let mut source = Box::new(Self {
            pair,
            interfaces: Interfaces::new(&config.global.interfaces)?,
            ports: Ports::of(config, listed),
            for_others: config.global.promiscuous,
            promiscuous: Bounded::new(),
            epoll: Epoll::new()?,
            length,
            batch: Batch::new(length.into()),
            lost: 0,
            retry_at: None,
        });
        source.filter()?;
        for (socket, number) in source.pair.0.iter().zip(0..) {
            source.epoll.add(socket.as_fd(), number)?;
            // Only now, so that no packet gets around the program.
            socket.start()?;
        }
        source
            .epoll
            .add(source.interfaces.as_fd(), INTERFACES_FILE)?;
        Ok(source)
    }

    /// Whether the configuration asks for nothing else.
    pub(super) fn suits(&self, config: &Config, listed: &[Port]) -> bool {
        let global = &config.global;
        self.interfaces.are(&global.interfaces)
            && self.for_others == global.promiscuous
            && self.length == longest_snaplen(&config.doors)
            && self.ports == Ports::of(config, listed)
    }

    /// Hands each packet that waits, from its IP header on, to the visitor.
    pub(super) fn for_each(
        &mut self,
        now: Instant,
        visitor: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        for number in self.epoll.ready()? {
            let socket = usize::try_from(number)
                .ok()
                .and_then(|at| self.pair.0.get(at));
            match socket {
                Some(socket) => receive(&mut self.batch, socket, visitor)?,
                None => self.follow(now),
            }
        }
        Ok(())
    }

    /// When the kernel is asked again for what it refused.
    pub(super) const fn poll_at(&self) -> Option<Instant> {
        self.retry_at
    }

    pub(super) fn poll(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = self.filter().is_err().then(|| now + RETRY_INTERVAL);
        }
    }

    pub(super) fn losses(&mut self) -> Losses {
        // Where it cannot be asked, nothing is known to be lost.
        let lost = self.pair.0.iter().map(|socket| socket.lost().unwrap_or(0));
        self.lost += lost.map(u64::from).sum::<u64>();
        Losses {
            packets: self.lost,
            overruns: 0,
        }
    }

    /// Follows interfaces that came back under another number.
    fn follow(&mut self, now: Instant) {
        if self.interfaces.look_again() {
            self.retry_at = self.filter().is_err().then(|| now + RETRY_INTERVAL);
        }
    }

    /// Has the kernel leave only knocks on the interfaces that are there.
    fn filter(&mut self) -> io::Result<()> {
        let wanted = Wanted {
            interfaces: self.interfaces.numbers(),
            for_others: self.for_others,
            tcp: &self.ports.tcp,
            udp: &self.ports.udp,
            echo: &self.ports.echo,
            length: self.length,
        };
        let [v4, v6] = &self.pair.0;
        for (socket, family) in [(v4, EtherType::V4), (v6, EtherType::V6)] {
            attach(socket, family, &wanted)?;
        }
        if self.for_others {
            self.listen_to_others();
        }
        Ok(())
    }

    /// An interface that refuses is heard as far as it can be.
    fn listen_to_others(&mut self) {
        let [socket, _] = &self.pair.0;
        let there = self.interfaces.numbers();
        // The kernel forgets an interface that is gone.
        self.promiscuous.retain(|number| there.contains(number));
        for number in there {
            if !self.promiscuous.contains(number) && socket.listen_to_others(*number, true).is_ok()
            {
                // There are no more than there is room for.
                _ = self.promiscuous.push(*number);
            }
        }
    }
}

/// Puts a program in place, a coarser one where the kernel has no room for a finer one.
fn attach(socket: &PacketSocket, family: EtherType, wanted: &Wanted<'_>) -> io::Result<()> {
    let attempt = |ranges| match raw::filter(socket.as_fd(), &program(family, wanted, ranges)) {
        Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => None,
        outcome => Some(outcome),
    };
    let attempts = || RANGE_LIMITS.into_iter().find_map(attempt);
    attempts().unwrap_or_else(|| {
        // There may be room for one program, but not for the old one and the new one.
        raw::filter(socket.as_fd(), &raw::NOTHING)?;
        attempts().unwrap_or(Err(io::ErrorKind::OutOfMemory.into()))
    })
}

fn receive(
    batch: &mut Batch,
    socket: &PacketSocket,
    visitor: &mut dyn FnMut(&[u8]),
) -> io::Result<()> {
    let mut received =
        iter::repeat_with(|| batch.receive(socket.as_fd(), |datagram| visitor(datagram.octets)));
    // Less than a whole batch: nothing waits any more.
    let end = received
        .by_ref()
        .take(BATCHES_PER_CALL)
        .find(|received| !matches!(received, Ok(BATCH_LEN)));
    end.unwrap_or(Ok(0)).map(drop)
}

impl AsFd for PacketSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Drop for PacketSource {
    fn drop(&mut self) {
        let [socket, _] = &self.pair.0;
        for number in &self.promiscuous {
            // At worst, it goes on until the agent ends.
            _ = socket.listen_to_others(*number, false);
        }
        for socket in &self.pair.0 {
            // A socket that hears on would be heard by nobody.
            _ = socket.stop();
        }
    }
}
