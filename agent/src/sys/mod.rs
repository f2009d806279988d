//! What the kernel and the C libraries offer, made safe: the only place with `unsafe` code.
#![expect(unsafe_code, reason = "every block states why it is sound")]

pub(crate) mod bound;
pub(crate) mod clock;
#[cfg(test)]
pub(crate) mod costs;
pub(crate) mod datagram;
pub(crate) mod epoll;
pub(crate) mod folder;
pub(crate) mod inotify;
pub(crate) mod link;
pub(crate) mod netlink;
#[cfg(feature = "libnftnl")]
pub(crate) mod nftnl;
pub(crate) mod pidfd;
pub(crate) mod ping;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod seccomp;
pub(crate) mod signal;
#[cfg(test)]
pub(crate) mod tap;
pub(crate) mod tcp;
pub(crate) mod unix;

use core::mem;
use core::net::{IpAddr, SocketAddr};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What a C function means by a negative result: the reason stands in errno.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// The address of either family that the kernel wrote, of which it says how long it is.
fn address(found: &libc::sockaddr_in6, length: libc::socklen_t) -> Option<SocketAddr> {
    let port = u16::from_be(found.sin6_port);
    match libc::c_int::from(found.sin6_family) {
        libc::AF_INET6 if length as usize >= size_of::<libc::sockaddr_in6>() => {
            let address = IpAddr::from(found.sin6_addr.s6_addr);
            Some(SocketAddr::new(address.to_canonical(), port))
        }
        // The port lies where that of IPv6 does, the address where the flow label does.
        libc::AF_INET if length as usize >= size_of::<libc::sockaddr_in>() => {
            let address = IpAddr::from(found.sin6_flowinfo.to_ne_bytes());
            Some(SocketAddr::new(address, port))
        }
        _ => None,
    }
}

/// Sets an option of a socket.
///
/// # Safety
/// The kernel takes a `T` for this option, and only reads what it may point to.
unsafe fn set_option<T>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    let value = (&raw const *value).cast();
    // SAFETY: the kernel reads `length` bytes of the value, which is as long; the rest is the
    // caller's promise.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, length) }).map(drop)
}

/// Asks for an option of a socket. What the kernel leaves out is zero.
///
/// # Safety
/// `T` is made of integers.
unsafe fn option<T>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
) -> io::Result<T> {
    // SAFETY: all zero is a value of integers.
    let mut value: T = unsafe { mem::zeroed() };
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to the value, which is as long, and
    // whatever it writes is a value of integers.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw mut value).cast(),
            &raw mut length,
        )
    })?;
    Ok(value)
}

/// Asks for a receive buffer of this many bytes, above the system's limit if this process may.
/// The kernel doubles the number, and charges each datagram with its bookkeeping.
pub(crate) fn set_receive_buffer(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    let set = |option| {
        // SAFETY: these options take an int, which is as long as `bytes`.
        unsafe { set_option(socket, libc::SOL_SOCKET, option, &bytes) }
    };
    set(libc::SO_RCVBUFFORCE).or_else(|_| set(libc::SO_RCVBUF))
}
