//! Echo requests: what `ping` sends.

use core::net::SocketAddr;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{FromRawFd, OwnedFd};

use super::{check, process};

/// Sends one echo request that carries so many octets, and returns the address that it came from, with its identifier
/// in place of a port. The port of `to` does not matter.
///
/// A ping socket, which `net.ipv4.ping_group_range` allows to groups of users, or else a raw socket, which root may
/// have.
pub(crate) fn send_echo_request(to: SocketAddr, length: u16) -> io::Result<SocketAddr> {
    let (family, protocol, request) = match to {
        SocketAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP, 8),
        SocketAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6, 128),
    };
    let mut message = vec![0; 8 + usize::from(length)];
    if let Some(kind) = message.first_mut() {
        *kind = request;
    }
    let Ok(socket) = socket(family, libc::SOCK_DGRAM, protocol) else {
        return send_raw(
            &socket(family, libc::SOCK_RAW, protocol)?.into(),
            to,
            message,
        );
    };
    // The kernel writes the identifier and the checksum.
    let socket = UdpSocket::from(socket);
    socket.connect(to)?;
    socket.send(&message)?;
    socket.local_addr()
}

/// Only the kernel's IPv6 writes a checksum.
fn send_raw(socket: &UdpSocket, to: SocketAddr, mut message: Vec<u8>) -> io::Result<SocketAddr> {
    let mut identifier = [0; 2];
    process::random(&mut identifier)?;
    if let Some(field) = message.get_mut(4..6) {
        field.copy_from_slice(&identifier);
    }
    if to.is_ipv4() {
        let sum = checksum(&message);
        if let Some(field) = message.get_mut(2..4) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
    }
    socket.connect(to)?;
    socket.send(&message)?;
    let from = socket.local_addr()?.ip();
    Ok(SocketAddr::new(from, u16::from_be_bytes(identifier)))
}

/// RFC 1071: the complement of the ones' complement sum.
fn checksum(message: &[u8]) -> u16 {
    let words = message.chunks(2).map(|word| match word {
        [high, low] => u16::from_be_bytes([*high, *low]),
        [high] => u16::from_be_bytes([*high, 0]),
        _ => 0,
    });
    let sum = words.fold(0_u32, |sum, word| sum + u32::from(word));
    let folded = (sum >> 16) + (sum & 0xffff);
    let folded = (folded >> 16) + (folded & 0xffff);
    !(folded as u16)
}

fn socket(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let socket = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the file is open, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 1071, section 3, and an odd end.
    #[test]
    fn checksums() {
        let octets = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&octets), !0xddf2);
        assert_eq!(checksum(&[0x12]), !0x1200);
        assert_eq!(checksum(&[0xff; 1460]), 0);
    }
}
