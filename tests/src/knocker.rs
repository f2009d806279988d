//! Those who knock with packets of their own making, and what they knock on.

use std::fmt::{self, Display, Formatter};
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::packet::Packet;
use crate::sender::Sender;
use crate::topology::{Host, Topology};
use crate::wait::{SOON, try_poll};
use crate::{client, nft, probe};

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

/// Knocks with the stock client of Debian's package knockd.
pub fn stock_knock(from: &Host, to: IpAddr, knocks: &[Knock]) {
    let words = knocks.iter().map(|knock| match knock {
        Knock::Tcp(port) => port.to_string(),
        Knock::Udp(port) => format!("{port}:udp"),
    });
    let words: Vec<String> = words.collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    client::knock(from, to, &words);
}

/// Knocks as every source can hear it: of TCP, with a connection, which lasts until the agent has
/// taken it and hung up, where it does that.
///
/// # Panics
/// When a datagram cannot be sent.
pub fn knock_whole(from: &Host, to: IpAddr, knocks: &[Knock]) {
    for knock in knocks {
        let to = SocketAddr::new(to, knock.port());
        match knock {
            Knock::Tcp(_) => {
                if let Ok(mut connection) = probe::tcp_connect(&from.namespace, None, to) {
                    connection
                        .set_read_timeout(Some(SOON))
                        .expect("set a timeout");
                    _ = connection.read(&mut [0]);
                }
            }
            Knock::Udp(_) => {
                let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = from.namespace.enter(|| UdpSocket::bind(any));
                socket
                    .and_then(|socket| socket.send_to(&[0], to))
                    .expect("send a datagram");
            }
        }
    }
}

/// The door that [`fence`] opens.
pub const FENCE: &str = "
config door 'fence'
	list guard 'tcp:1999'
	option method 'single-separate'
	list open 'udp:1998'
	option decoys '0'
";

/// Waits until the agent has decided on every knock so far, where [`FENCE`] is one of its doors.
#[track_caller]
pub fn fence(net: &Topology, sender: &Sender) {
    assert!(
        try_fence(net, sender).is_some(),
        "the agent does not decide"
    );
}

/// Waits as [`fence`] does; `None` where the agent has not decided soon.
///
/// It decides in the order of their arrival, so a knock by somebody who was never there tells: a
/// datagram, because that takes no answer to be heard by a socket.
pub fn try_fence(net: &Topology, sender: &Sender) -> Option<()> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let nobody: IpAddr = Ipv4Addr::new(100, 64, high, low).into();
    Knocker::new(sender, nobody, net.router.v4.into()).send(&[Knock::Udp(1998)]);
    let router = &net.router.namespace;
    try_poll(SOON, || nft::granted(router, "fence", nobody).map(drop))
}
