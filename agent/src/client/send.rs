//! Sending knocks with ordinary sockets, as any user may.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::net::UdpSocket;
use std::{io, thread};

use postern_core::knock::{Port, Protocol};
use postern_core::time;

use super::packet::Packet;
use super::route::Route;
use crate::collect::CollectVec;
use crate::sys::{ping, tcp};

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

/// How often a source port is chosen again that was used already: the kernel has thousands.
const MAX_CHOICES: u32 = 8;

/// Sends the packets in order, `delay` apart, each from a port of its own: where a port is knocked on several times,
/// that tells the knocks from one that is sent again. Returns the addresses that they came from.
pub(super) fn all(
    route: &Route,
    packets: &[Packet],
    delay: Duration,
    tcp: TcpKnock,
) -> io::Result<Vec<IpAddr>> {
    let mut sent: Vec<(Port, SocketAddr)> = Vec::with_capacity(packets.len());
    for (index, packet) in packets.iter().enumerate() {
        if index > 0 {
            thread::sleep(delay);
        }
        let mut from = one(route, packet, tcp)?;
        // The kernel chooses, and may choose the same again.
        for _ in 0..MAX_CHOICES {
            if !sent.contains(&(packet.port, from)) {
                break;
            }
            from = one(route, packet, tcp)?;
        }
        sent.push((packet.port, from));
    }
    Ok(sent.iter().map(|(_, from)| from.ip()).collect_vec())
}

fn one(route: &Route, packet: &Packet, tcp: TcpKnock) -> io::Result<SocketAddr> {
    let to = route.port(packet.port.number);
    match packet.port.protocol {
        Protocol::Tcp => match tcp {
            TcpKnock::Syn => tcp::send_syn(to),
            TcpKnock::Connection => tcp::connect_briefly(to, CONNECT_TIMEOUT),
        },
        Protocol::Udp => {
            let socket = UdpSocket::bind(route.family().any_address())?;
            socket.connect(to)?;
            socket.send(&packet.payload)?;
            socket.local_addr()
        }
        Protocol::Icmp => {
            ping::send_echo_request(to, packet.port.number).map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => forbidden(to.ip(), packet.port.number),
                _ => error,
            })
        }
    }
}

/// That this user may send no echo requests, and who may.
fn forbidden(to: IpAddr, length: u16) -> io::Error {
    io::Error::other(format!(
        "this user may send no echo requests: root may, and groups that sysctl net.ipv4.ping_group_range allows; \
         or knock with ping -c 1 -s {length} {to}"
    ))
}
