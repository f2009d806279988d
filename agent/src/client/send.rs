//! Sending knocks with ordinary sockets, as any user may.

use core::net::IpAddr;
use core::time::Duration;
use std::io;
use std::net::UdpSocket;
use std::thread;

use postern_core::knock::Protocol;

use super::packet::Packet;
use super::route::Route;
use crate::sys::tcp;

/// Sends the packets in order, `delay` apart, each from a port of its own. Returns the addresses
/// that they came from.
pub(super) fn all(route: &Route, packets: &[Packet], delay: Duration) -> io::Result<Vec<IpAddr>> {
    let mut sources = Vec::with_capacity(packets.len());
    for (index, packet) in packets.iter().enumerate() {
        if index > 0 {
            thread::sleep(delay);
        }
        sources.push(one(route, packet)?);
    }
    Ok(sources)
}

fn one(route: &Route, packet: &Packet) -> io::Result<IpAddr> {
    let to = route.port(packet.port.number);
    match packet.port.protocol {
        Protocol::Tcp => tcp::send_syn(to).map(|source| source.ip()),
        Protocol::Udp => {
            let socket = UdpSocket::bind(route.family().any_address())?;
            socket.connect(to)?;
            socket.send(&packet.payload)?;
            Ok(socket.local_addr()?.ip())
        }
    }
}
