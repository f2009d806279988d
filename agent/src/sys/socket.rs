//! A netlink socket that never blocks and counts on nothing it receives.

use core::mem;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use mnl::{Bus, Socket};

use super::check;

/// A bound netlink socket, closed on exec.
pub struct NetlinkSocket(Socket);

impl NetlinkSocket {
    /// Opens a socket of the bus with a port of its own.
    pub fn open(bus: Bus) -> io::Result<Self> {
        let socket = Self(Socket::new(bus)?);
        let file = socket.0.as_raw_fd();
        // SAFETY: sets a flag of a file that `socket` keeps open.
        check(unsafe { libc::fcntl(file, libc::F_SETFD, libc::FD_CLOEXEC) })?;
        // SAFETY: as above; the socket has no other status flags.
        check(unsafe { libc::fcntl(file, libc::F_SETFL, libc::O_NONBLOCK) })?;
        Ok(socket)
    }

    /// Asks for a receive buffer of this many bytes, above the system's limit if this process
    /// may. The kernel doubles the number, and charges each datagram with its bookkeeping.
    pub fn set_receive_buffer(&self, bytes: u32) -> io::Result<()> {
        self.set_option(libc::SO_RCVBUFFORCE, bytes)
            .or_else(|_| self.set_option(libc::SO_RCVBUF, bytes))
    }

    /// Sends one datagram to the kernel.
    pub fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.0.send(datagram).map(drop)
    }

    /// Receives one datagram, cut to the size of the buffer; `WouldBlock` when there is none.
    ///
    /// A datagram that another process sent is empty, as the kernel alone is believed.
    pub fn receive<'b>(&self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        // SAFETY: sockaddr_nl is made of integers, for which all zero is a value.
        let mut sender: libc::sockaddr_nl = unsafe { mem::zeroed() };
        let mut size = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `buffer.len()` bytes to the buffer, and at most
        // `size` bytes, the size of `sender`, to `sender`.
        let received = unsafe {
            libc::recvfrom(
                self.0.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
                (&raw mut sender).cast(),
                &raw mut size,
            )
        };
        let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        let length = if sender.nl_pid == 0 { length } else { 0 };
        Ok(buffer.get(..length).unwrap_or_default())
    }

    fn set_option(&self, option: libc::c_int, value: u32) -> io::Result<()> {
        // SAFETY: these options take an int, which `value` has the size of.
        check(unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const value).cast(),
                size_of::<u32>() as libc::socklen_t,
            )
        })
        .map(drop)
    }
}

impl AsFd for NetlinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open for as long as `self` is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}
