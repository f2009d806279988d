//! TCP connections that carry nothing: a SYN alone, or a connection that is closed again.

use core::mem;
use core::net::SocketAddr;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use postern_core::time::Duration;

use super::check;
use super::poll::{PollFd, poll};

/// Sends one SYN to the port, and returns the address and the port that it came from.
///
/// The socket is closed before the kernel could repeat the SYN; what comes back is answered with a
/// reset, as for any port without a socket. That something was sent is not known for sure: a
/// local firewall's drop is silent. A refusal that came at once, as on loopback, is no error.
pub(crate) fn send_syn(to: SocketAddr) -> io::Result<SocketAddr> {
    let socket = socket(to)?;
    abort_on_close(&socket)?;
    begin(socket, to)?.local_addr()
}

/// Opens a connection, waits for it for as long, and closes it. Returns the address and the port
/// that it came from, whether it was made or not.
pub(crate) fn connect_briefly(to: SocketAddr, timeout: Duration) -> io::Result<SocketAddr> {
    let connection = begin(socket(to)?, to)?;
    let mut files = [PollFd::writable(connection.as_fd())];
    poll(&mut files, Some(timeout))?;
    connection.local_addr()
}

fn begin(socket: OwnedFd, to: SocketAddr) -> io::Result<TcpStream> {
    match connect(&socket, to) {
        Err(error) if !is_underway(&error) => Err(error),
        _ => Ok(socket.into()),
    }
}

fn is_underway(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINPROGRESS | libc::ECONNREFUSED | libc::EINTR)
    )
}

fn socket(to: SocketAddr) -> io::Result<OwnedFd> {
    let family = match to {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes numbers only.
    let socket = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: the file is open, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// Where the port accepts at once, closing would say goodbye and repeat it until it is answered.
fn abort_on_close(socket: &OwnedFd) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the option takes a linger, which is read from for its size.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    })
    .map(drop)
}

fn connect(socket: &OwnedFd, to: SocketAddr) -> io::Result<()> {
    match to {
        SocketAddr::V4(to) => {
            // SAFETY: sockaddr_in is made of integers, for which all zero is a value.
            let mut address: libc::sockaddr_in = unsafe { mem::zeroed() };
            address.sin_family = libc::AF_INET as libc::sa_family_t;
            address.sin_port = to.port().to_be();
            address.sin_addr.s_addr = u32::from_ne_bytes(to.ip().octets());
            connect_to(socket, &address)
        }
        SocketAddr::V6(to) => {
            // SAFETY: sockaddr_in6 is made of integers, for which all zero is a value.
            let mut address: libc::sockaddr_in6 = unsafe { mem::zeroed() };
            address.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            address.sin6_port = to.port().to_be();
            address.sin6_addr.s6_addr = to.ip().octets();
            address.sin6_scope_id = to.scope_id();
            connect_to(socket, &address)
        }
    }
}

fn connect_to<A>(socket: &OwnedFd, address: &A) -> io::Result<()> {
    let length = size_of::<A>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of the address, which is as long.
    check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const *address).cast(), length) })
        .map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;
    use crate::testing::skipping::skip;

    #[test]
    fn a_listener_sees_the_address_that_is_returned() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(any) else {
                skip(format_args!("no {any} here"));
                continue;
            };
            let from = send_syn(listener.local_addr().unwrap()).unwrap();
            assert_eq!(listener.accept().unwrap().1, from);
        }
    }

    #[test]
    fn a_connection_is_made_and_closed() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(any) else {
                skip(format_args!("no {any} here"));
                continue;
            };
            let timeout = Duration::from_secs(5);
            let from = connect_briefly(listener.local_addr().unwrap(), timeout).unwrap();
            let (mut connection, peer) = listener.accept().unwrap();
            assert_eq!(peer, from);
            assert_eq!(connection.read(&mut [0]).unwrap(), 0);
        }
    }

    #[test]
    fn a_closed_port_is_no_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap();
        drop(listener);
        assert!(send_syn(port).is_ok());
        assert!(connect_briefly(port, Duration::from_secs(5)).is_ok());
    }

    #[test]
    fn a_broadcast_address_is_an_error() {
        assert!(send_syn("255.255.255.255:9".parse().unwrap()).is_err());
    }
}
