//! Those who knock with packets of their own making, and what they knock on.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::nft;
use crate::packet::Packet;
use crate::sender::Sender;
use crate::topology::Topology;
use crate::wait::{SOON, poll_until};

/// A port to knock on. Written as in a configuration: `tcp:7000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knock {
    /// A TCP segment that asks for a connection.
    Tcp(u16),
    /// A UDP datagram.
    Udp(u16),
}

impl Knock {
    /// Its port.
    pub const fn port(self) -> u16 {
        match self {
            Self::Tcp(port) | Self::Udp(port) => port,
        }
    }

    /// The same protocol at another port.
    #[must_use]
    pub const fn at(self, port: u16) -> Self {
        match self {
            Self::Tcp(_) => Self::Tcp(port),
            Self::Udp(_) => Self::Udp(port),
        }
    }
}

impl Display for Knock {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "tcp:{port}"),
            Self::Udp(port) => write!(f, "udp:{port}"),
        }
    }
}

/// Lines of a configuration, `list NAME 'tcp:7000'` for each of the knocks.
pub fn list(name: &str, knocks: &[Knock]) -> String {
    let line = |knock: &Knock| format!("\tlist {name} '{knock}'\n");
    knocks.iter().map(line).collect()
}

/// Knocks from one address at another, each time from another source port, as clients do.
#[derive(Debug)]
pub struct Knocker<'s> {
    sender: &'s Sender,
    from: IpAddr,
    to: IpAddr,
}

impl<'s> Knocker<'s> {
    /// The addresses are of one family; `from` need not be anybody's.
    pub const fn new(sender: &'s Sender, from: IpAddr, to: IpAddr) -> Self {
        Self { sender, from, to }
    }

    /// Sends these knocks without a pause.
    pub fn send(&self, knocks: &[Knock]) {
        for knock in knocks {
            self.sender.send(&self.packet(*knock));
        }
    }

    /// The packet of a knock, with a source port of its own.
    pub fn packet(&self, knock: Knock) -> Packet {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let port = 32_768 + NEXT.fetch_add(1, Ordering::Relaxed) % 16_384;
        let from = SocketAddr::new(self.from, port);
        let to = SocketAddr::new(self.to, knock.port());
        match knock {
            Knock::Tcp(_) => Packet::syn(from, to),
            Knock::Udp(_) => Packet::udp(from, to, &[0]),
        }
    }
}

/// The door that [`fence`] opens.
pub const FENCE: &str = "
config door 'fence'
	list guard 'tcp:1999'
	option method 'single-separate'
	list open 'tcp:1998'
	option decoys '0'
";

/// Waits until the agent has decided on every knock so far, where [`FENCE`] is one of its doors.
///
/// It decides in the order of their arrival, so a knock by somebody who was never there tells.
#[track_caller]
pub fn fence(net: &Topology, sender: &Sender) {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let nobody: IpAddr = Ipv4Addr::new(100, 64, high, low).into();
    Knocker::new(sender, nobody, net.router.v4.into()).send(&[Knock::Tcp(1998)]);
    poll_until(SOON, "the agent decides", || {
        nft::expiry(&net.router.namespace, "inet postern", nobody).is_some()
    });
}
