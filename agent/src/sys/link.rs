//! Network interfaces, as the kernel names them in this process's own namespace.

use core::mem;
use core::num::NonZeroU32;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::check;
use super::datagram::forget_all;

/// Opens a socket that sees packets of every protocol, and of none until it is told which
/// (packet(7)).
pub(crate) fn open_packet_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: takes numbers only.
    let socket = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: the socket was just made, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// Whether there is an interface of this name just now.
pub(crate) fn interface_exists(name: &str) -> bool {
    interface_number(name).is_some()
}

/// The number of the interface that has this name just now. One that is made anew has another.
///
/// Not asked of `/sys/class/net`, which shows the namespace that it was mounted in.
pub(crate) fn interface_number(name: &str) -> Option<NonZeroU32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name ends with a zero and outlives the call.
    NonZeroU32::new(unsafe { libc::if_nametoindex(name.as_ptr()) })
}

/// Tells when an interface came, went, or changed: rtnetlink(7).
pub(crate) struct LinkWatch {
    socket: OwnedFd,
}

impl LinkWatch {
    /// Watches from now on. It takes no privilege.
    pub(crate) fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: takes numbers only.
        let socket = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
        // SAFETY: the file is open, and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        // SAFETY: sockaddr_nl is made of integers, for which all zero is a value.
        let mut address: libc::sockaddr_nl = unsafe { mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = libc::RTMGRP_LINK as u32;
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: the kernel reads `length` bytes of the address, which is as long.
        check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
        Ok(Self { socket })
    }

    /// Forgets what was told: whoever calls this looks at the interfaces afterwards. So it does
    /// not matter what was told, nor whether some of it was lost.
    pub(crate) fn clear(&self) {
        forget_all(self.as_fd());
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_and_nonsense_is_not() {
        assert!(interface_exists("lo"));
        for name in ["", "no such name", "lo\0", "a-name-longer-than-any"] {
            assert!(!interface_exists(name), "{name:?}");
        }
    }
}
