//! Sockets that are bound to a port of all of this machine's addresses.

use core::mem;
use core::net::SocketAddr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use postern_core::knock::{Port, Protocol};

use super::raw::{Step, filter};
use super::{address, check, option, set_option, set_receive_buffer};

/// Connections that wait to be taken. The kernel keeps as many half-open ones; beyond that it
/// answers with cookies (tcp(7), `tcp_syncookies`).
const BACKLOG: libc::c_int = 64;

/// A socket of both families, or of IPv4 where the kernel has no IPv6.
pub(crate) struct Bound {
    socket: OwnedFd,
    port: Port,
}

impl Bound {
    /// Binds the port, and listens if it is one of TCP. Of TCP, the program chooses among the
    /// packets from the start; of UDP, each datagram comes with the interface that it came in
    /// on. `buffer_bytes` is the room for datagrams that wait.
    pub(crate) fn new(port: Port, program: &[Step], buffer_bytes: u32) -> io::Result<Self> {
        let (socket, is_v6) = open(port.protocol)?;
        let bound = Self { socket, port };
        match port.protocol {
            Protocol::Tcp => {
                bound.abort_on_close()?;
                filter(bound.as_fd(), program)?;
            }
            Protocol::Icmp => return Err(io::ErrorKind::Unsupported.into()),
            Protocol::Udp => {
                set_receive_buffer(bound.as_fd(), buffer_bytes)?;
                bound.tell_interfaces(is_v6)?;
            }
        }
        bound.bind(is_v6)?;
        if port.protocol == Protocol::Tcp {
            // SAFETY: takes numbers only.
            check(unsafe { libc::listen(bound.socket.as_raw_fd(), BACKLOG) })?;
        }
        Ok(bound)
    }

    /// The port that it is bound to.
    pub(crate) const fn port(&self) -> Port {
        self.port
    }

    /// Has another program choose among the packets of a TCP port from now on.
    pub(crate) fn refilter(&self, program: &[Step]) -> io::Result<()> {
        match self.port.protocol {
            Protocol::Tcp => filter(self.as_fd(), program),
            Protocol::Udp | Protocol::Icmp => Ok(()),
        }
    }

    /// Takes a connection that waits, closes it at once, and says who made it; `None` when none
    /// waits. Never blocks.
    pub(crate) fn hang_up(&self) -> io::Result<Option<SocketAddr>> {
        loop {
            let error = match self.accept() {
                Ok(peer) => return Ok(peer),
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(None),
                // What went wrong with a connection before it was taken (accept(2)).
                Some(
                    libc::EINTR
                    | libc::ECONNABORTED
                    | libc::ENETDOWN
                    | libc::EPROTO
                    | libc::ENOPROTOOPT
                    | libc::EHOSTDOWN
                    | libc::ENONET
                    | libc::EHOSTUNREACH
                    | libc::EOPNOTSUPP
                    | libc::ENETUNREACH,
                ) => {}
                _ => return Err(error),
            }
        }
    }

    /// How many datagrams found no room, since it was bound (`SK_MEMINFO_DROPS`).
    pub(crate) fn lost(&self) -> io::Result<u32> {
        const DROPS: usize = 8;
        // SAFETY: an array of integers is made of integers.
        let meminfo: [u32; DROPS + 1] =
            unsafe { option(self.as_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO) }?;
        let [.., drops] = meminfo;
        Ok(drops)
    }

    fn accept(&self) -> io::Result<Option<SocketAddr>> {
        // SAFETY: sockaddr_in6 is made of integers, for which all zero is a value.
        let mut peer: libc::sockaddr_in6 = unsafe { mem::zeroed() };
        let mut length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes, the size of `peer`, to `peer`.
        let connection = check(unsafe {
            libc::accept4(
                self.socket.as_raw_fd(),
                (&raw mut peer).cast(),
                &raw mut length,
                libc::SOCK_CLOEXEC,
            )
        })?;
        // SAFETY: the file is open, and nobody else's.
        drop(unsafe { OwnedFd::from_raw_fd(connection) });
        Ok(address(&peer, length))
    }

    /// Connections inherit it: closing one resets it, and nothing of it is left behind.
    fn abort_on_close(&self) -> io::Result<()> {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // SAFETY: the option takes a linger.
        unsafe { set_option(self.as_fd(), libc::SOL_SOCKET, libc::SO_LINGER, &linger) }
    }

    fn tell_interfaces(&self, is_v6: bool) -> io::Result<()> {
        let (level, option) = match is_v6 {
            true => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
            false => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        };
        // SAFETY: both options take an int.
        unsafe { set_option(self.as_fd(), level, option, &1) }
    }

    fn bind(&self, is_v6: bool) -> io::Result<()> {
        // SAFETY: both are made of integers, for which all zero is a value.
        let (mut v4, mut v6): (libc::sockaddr_in, libc::sockaddr_in6) = unsafe { mem::zeroed() };
        v4.sin_family = libc::AF_INET as libc::sa_family_t;
        v4.sin_port = self.port.number.to_be();
        v6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
        v6.sin6_port = self.port.number.to_be();
        let (address, length) = match is_v6 {
            true => ((&raw const v6).cast(), size_of::<libc::sockaddr_in6>()),
            false => ((&raw const v4).cast(), size_of::<libc::sockaddr_in>()),
        };
        let length = length as libc::socklen_t;
        // SAFETY: the kernel reads `length` bytes of the address, which is as long.
        check(unsafe { libc::bind(self.socket.as_raw_fd(), address, length) }).map(drop)
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A socket, and whether it is one of IPv6, which then takes IPv4 too.
fn open(protocol: Protocol) -> io::Result<(OwnedFd, bool)> {
    let kind = match protocol {
        Protocol::Tcp => libc::SOCK_STREAM,
        Protocol::Udp | Protocol::Icmp => libc::SOCK_DGRAM,
    };
    let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let open = |family| {
        // SAFETY: takes numbers only.
        let socket = check(unsafe { libc::socket(family, kind, 0) })?;
        // SAFETY: the file is open, and nobody else's.
        Ok(unsafe { OwnedFd::from_raw_fd(socket) })
    };
    match open(libc::AF_INET6) {
        Ok(socket) => {
            let (level, option) = (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY);
            // SAFETY: the option takes an int.
            unsafe { set_option(socket.as_fd(), level, option, &0) }?;
            Ok((socket, true))
        }
        Err(error) if io::Error::raw_os_error(&error) == Some(libc::EAFNOSUPPORT) => {
            Ok((open(libc::AF_INET)?, false))
        }
        Err(error) => Err(error),
    }
}
