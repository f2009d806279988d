//! Sends packets exactly as they were made.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::fwknop;
use crate::namespace::Namespace;
use crate::packet::Packet;

/// IPPROTO_RAW: the packet brings its own IP header (raw(7)).
const OWN_HEADER: i32 = 255;

/// Raw sockets of a namespace, for sending.
#[derive(Debug)]
pub struct Sender {
    v4: Socket,
    v6: Socket,
}

impl Sender {
    /// A sender inside the namespace.
    pub fn new(namespace: &Namespace) -> Self {
        namespace.enter(|| {
            let raw = |domain| Socket::new(domain, Type::RAW, Some(Protocol::from(OWN_HEADER)));
            let v4 = raw(Domain::IPV4).expect("open a raw socket");
            let v6 = raw(Domain::IPV6).expect("open a raw socket");
            v4.set_header_included_v4(true)
                .expect("bring our own header");
            v6.set_header_included_v6(true)
                .expect("bring our own header");
            v4.set_broadcast(true).expect("send to everybody");
            Self { v4, v6 }
        })
    }

    /// Sends the packet.
    pub fn send(&self, packet: &Packet) {
        self.send_bytes(packet.to.ip(), &packet.bytes());
    }

    /// Sends an IP packet to the host; the kernel finds the way.
    ///
    /// # Panics
    /// When the kernel refuses it, other than for want of room in its queue.
    pub fn send_bytes(&self, to: IpAddr, bytes: &[u8]) {
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        // Raw IPv6 takes no port (ipv6(7)).
        let to = SocketAddr::new(to, 0);
        while let Err(error) = socket.send_to(bytes, &to.into()) {
            assert_eq!(
                error.raw_os_error(),
                Some(NO_BUFFER),
                "cannot send: {error}"
            );
            thread::yield_now();
        }
    }

    /// Sends SYNs to a port from sources that change with every packet, until `stop` says so.
    /// Returns how many were sent.
    ///
    /// Sources are drawn from 10.0.0.0/8; `rate` is in packets a second.
    pub fn flood(&self, to: SocketAddr, rate: u32, stop: impl FnMut() -> bool) -> u64 {
        self.flood_with(rate, |random| Packet::syn(random.source(), to), stop)
    }

    /// Sends what looks like this datagram, each time with other letters, as [`Sender::flood`] sends SYNs.
    pub fn flood_like(
        &self,
        to: SocketAddr,
        datagram: &[u8],
        rate: u32,
        stop: impl FnMut() -> bool,
    ) -> u64 {
        let mut forged = datagram.to_vec();
        let forge = |random: &mut Random| {
            fwknop::forge(&mut forged, random);
            Packet::udp(random.source(), to, &forged)
        };
        self.flood_with(rate, forge, stop)
    }

    fn flood_with(
        &self,
        rate: u32,
        mut next: impl FnMut(&mut Random) -> Packet,
        mut stop: impl FnMut() -> bool,
    ) -> u64 {
        let mut random = Random::new();
        let started = Instant::now();
        let mut sent = 0;
        while !stop() {
            let due = (started.elapsed().as_secs_f64() * f64::from(rate)) as u64;
            let burst = due.saturating_sub(sent).min(BURST);
            for _ in 0..burst {
                self.send(&next(&mut random));
            }
            sent += burst;
            if burst == 0 {
                thread::sleep(Duration::from_micros(50));
            }
        }
        sent
    }
}

const NO_BUFFER: i32 = nix::libc::ENOBUFS;
/// How many packets go out between two looks at the clock.
const BURST: u64 = 64;

/// Numbers without a pattern that matters (xorshift64, Marsaglia 2003).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Begins anew with a fixed seed: a run can be repeated.
    pub const fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn source(&mut self) -> SocketAddr {
        let [a, b, c, d, e, ..] = self.number().to_be_bytes();
        SocketAddr::new(
            Ipv4Addr::new(10, a, b, c).into(),
            u16::from_be_bytes([d, e]) | 1024,
        )
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}
