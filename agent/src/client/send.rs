//! Sending knocks with ordinary sockets, as any user may.

use core::net::IpAddr;
use core::time::Duration;
use std::net::UdpSocket;
use std::{io, thread};

use postern_core::knock::Protocol;
use postern_core::time;

use super::packet::Packet;
use super::route::Route;
use crate::sys::tcp;

/// How a TCP knock is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TcpKnock {
    /// One SYN, and nothing after it.
    Syn,
    /// A connection, made and closed.
    Connection,
}

/// How long a connection may take that may never be made: the kernel would repeat its SYN after
/// a second (RFC 6298, section 2.1).
const CONNECT_TIMEOUT: time::Duration = time::Duration::from_millis(900);

/// Sends the packets in order, `delay` apart, each from a port of its own. Returns the addresses
/// that they came from.
pub(super) fn all(
    route: &Route,
    packets: &[Packet],
    delay: Duration,
    tcp: TcpKnock,
) -> io::Result<Vec<IpAddr>> {
    let mut sources = Vec::with_capacity(packets.len());
    for (index, packet) in packets.iter().enumerate() {
        if index > 0 {
            thread::sleep(delay);
        }
        sources.push(one(route, packet, tcp)?);
    }
    Ok(sources)
}

fn one(route: &Route, packet: &Packet, tcp: TcpKnock) -> io::Result<IpAddr> {
    let to = route.port(packet.port.number);
    match packet.port.protocol {
        Protocol::Tcp => {
            let source = match tcp {
                TcpKnock::Syn => tcp::send_syn(to),
                TcpKnock::Connection => tcp::connect_briefly(to, CONNECT_TIMEOUT),
            };
            source.map(|source| source.ip())
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind(route.family().any_address())?;
            socket.connect(to)?;
            socket.send(&packet.payload)?;
            Ok(socket.local_addr()?.ip())
        }
        Protocol::Icmp => Err(io::ErrorKind::Unsupported.into()),
    }
}
