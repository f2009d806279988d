//! What can be reached, and what comes back.

use std::io::{self, ErrorKind, Read as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::namespace::Namespace;
use crate::packet::{Header, Packet};
use crate::sender::Sender;
use crate::topology::Host;
use crate::wait::{SOON, poll_until, try_poll};

/// How long to wait for an answer that may never come. On one segment, answers take microseconds.
const PATIENCE: Duration = Duration::from_millis(250);

/// What a port answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It takes connections, or echoes datagrams.
    Open,
    /// It says that nothing is there: a reset, or ICMP unreachable.
    Refused,
    /// It says nothing at all.
    Silent,
}

/// Tries one TCP connection.
pub fn tcp(from: &Namespace, to: SocketAddr) -> Answer {
    answer(tcp_connect(from, None, to))
}

/// Tries one TCP connection from one of the namespace's own addresses.
pub fn tcp_from(from: &Namespace, source: IpAddr, to: SocketAddr) -> Answer {
    answer(tcp_connect(from, Some(source), to))
}

/// Opens a TCP connection, from `source` if one is given.
pub fn tcp_connect(
    from: &Namespace,
    source: Option<IpAddr>,
    to: SocketAddr,
) -> io::Result<TcpStream> {
    from.enter(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        socket.connect_timeout(&to.into(), PATIENCE)?;
        Ok(socket.into())
    })
}

/// Whether a TCP port takes a connection before `within` has passed.
pub fn tcp_opens(from: &Namespace, to: SocketAddr, within: Duration) -> bool {
    try_poll(within, || (tcp(from, to) == Answer::Open).then_some(())).is_some()
}

/// Whether a TCP port falls silent before `within` has passed.
pub fn tcp_shuts(from: &Namespace, to: SocketAddr, within: Duration) -> bool {
    try_poll(within, || (tcp(from, to) == Answer::Silent).then_some(())).is_some()
}

/// Sends a datagram from a fresh port and looks whether it is echoed.
pub fn udp(from: &Namespace, to: SocketAddr) -> Answer {
    UdpFlow::new(from, to).echo()
}

/// Sends a datagram from one of the namespace's own addresses and looks whether it is echoed.
pub fn udp_from(from: &Namespace, source: IpAddr, to: SocketAddr) -> Answer {
    UdpFlow::bound(from, SocketAddr::new(source, 0), to).echo()
}

/// Whether a UDP port echoes before `within` has passed; every try is a new flow.
pub fn udp_opens(from: &Namespace, to: SocketAddr, within: Duration) -> bool {
    try_poll(within, || (udp(from, to) == Answer::Open).then_some(())).is_some()
}

/// Whether a UDP port falls silent to new flows before `within` has passed.
pub fn udp_shuts(from: &Namespace, to: SocketAddr, within: Duration) -> bool {
    try_poll(within, || (udp(from, to) == Answer::Silent).then_some(())).is_some()
}

/// Datagrams from one port to one port.
#[derive(Debug)]
pub struct UdpFlow(UdpSocket);

impl UdpFlow {
    /// A flow from a fresh port.
    pub fn new(from: &Namespace, to: SocketAddr) -> Self {
        let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }
            .parse()
            .expect("any");
        Self::bound(from, any, to)
    }

    /// A flow from this port, or from a fresh one where it is 0.
    pub fn bound(from: &Namespace, own: SocketAddr, to: SocketAddr) -> Self {
        let socket = from.enter(|| UdpSocket::bind(own)).expect("bind a port");
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("set a timeout");
        socket.connect(to).expect("choose a destination");
        Self(socket)
    }

    /// Sends a datagram and looks whether it comes back.
    pub fn echo(&self) -> Answer {
        answer(self.exchange())
    }

    /// As [`UdpFlow::echo`], where there may be no way at all.
    pub fn is_answered(&self) -> bool {
        self.exchange().is_ok()
    }

    fn exchange(&self) -> io::Result<usize> {
        let mut reply = [0; 16];
        self.0.send(b"ping")?;
        uninterrupted(|| self.0.recv(&mut reply))
    }
}

/// Repeats a call that a signal cut short.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn answer<T>(result: io::Result<T>) -> Answer {
    match result {
        Ok(_) => Answer::Open,
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Answer::Refused,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Answer::Silent,
            _ => panic!("neither reached nor refused: {error}"),
        },
    }
}

/// All packets that pass a host's interfaces.
#[derive(Debug)]
pub struct Capture {
    socket: Socket,
    address: [IpAddr; 2],
    seen: Vec<Header>,
}

/// ETH_P_ALL: every protocol, sent and received (packet(7)).
const EVERY_PROTOCOL: u16 = 3;

impl Capture {
    /// Begins to listen.
    pub fn new(host: &Host) -> Self {
        let protocol = Protocol::from(i32::from(EVERY_PROTOCOL.to_be()));
        // SOCK_DGRAM: packets without their Ethernet header.
        let open = || Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol));
        let socket = host.namespace.enter(open).expect("open a packet socket");
        socket.set_nonblocking(true).expect("do not block");
        Self {
            socket,
            address: [host.v4.into(), host.v6.into()],
            seen: Vec::new(),
        }
    }

    /// Every packet so far. Ask often: the kernel keeps some hundred packets, and drops the rest.
    pub fn seen(&mut self) -> &[Header] {
        let mut packet = [0; 2048];
        while let Ok(length) = (&self.socket).read(&mut packet) {
            self.seen
                .extend(packet.get(..length).and_then(Header::read));
        }
        &self.seen
    }

    /// Every packet that came to this host from `peer` since the capture began, but for answers
    /// to echo requests.
    ///
    /// It asks the peer for an echo and waits for it: on one segment, whatever was sent before has
    /// then arrived. The peer's rules must let echo requests pass.
    pub fn answers(&mut self, host: &Host, peer: IpAddr) -> Vec<Header> {
        let own = self
            .address
            .into_iter()
            .find(|own| own.is_ipv4() == peer.is_ipv4());
        let own = own.expect("an address of each family");
        let from_peer = |header: &&Header| header.from.ip() == peer && header.to.ip() == own;
        let echoes = |seen: &[Header]| {
            seen.iter()
                .filter(from_peer)
                .filter(|header| header.answers_echo())
                .count()
        };
        let before = echoes(self.seen());
        let sender = Sender::new(&host.namespace);
        // More than once, because another test's flood may push a packet out of the backlog
        // that all namespaces share.
        let mut asks = 0;
        poll_until(SOON, "an answer to an echo request", || {
            asks += 1;
            if asks % 20 == 1 {
                sender.send(&Packet::echo(own, peer, asks));
            }
            echoes(self.seen()) > before
        });
        let others = self
            .seen
            .iter()
            .filter(from_peer)
            .filter(|header| !header.answers_echo());
        others.copied().collect()
    }
}
