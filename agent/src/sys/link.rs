//! Network interfaces, as the kernel names them in this process's own namespace.

use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use super::check;

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
///
/// Not asked of `/sys/class/net`, which shows the namespace that it was mounted in.
pub(crate) fn interface_exists(name: &str) -> bool {
    CString::new(name).is_ok_and(|name| {
        // SAFETY: the name ends with a zero and outlives the call.
        unsafe { libc::if_nametoindex(name.as_ptr()) != 0 }
    })
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
