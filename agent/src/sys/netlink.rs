//! A netlink socket that never blocks: the kernel has queued its answer when a request returns.

use core::mem::size_of;
use std::io;
use std::os::fd::AsRawFd;

use mnl::{Bus, Socket};

/// The largest datagram that is sent without asking for a larger buffer, in octets.
const ORDINARY: usize = 64 * 1024;

/// A netlink socket on the Netfilter bus.
pub(crate) struct Netfilter {
    socket: Socket,
    sendable: usize,
}

impl Netfilter {
    /// Opens and binds a socket.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = Socket::open(Bus::Netfilter)?;
        close_on_exec(&socket)?;
        never_block(&socket)?;
        socket.bind(0, 0)?;
        // Errors then carry no copy of the request, but a sentence that says what is wrong.
        // Kernels before 4.12 know neither: errors are longer or terser there.
        let _ = option(&socket, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
        let _ = option(&socket, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1);
        Ok(Self {
            socket,
            sendable: ORDINARY,
        })
    }

    /// Sends one datagram, all or nothing.
    pub(crate) fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        self.make_room(datagram.len())?;
        match self.socket.send(datagram)? {
            sent if sent == datagram.len() => Ok(()),
            _ => Err(io::Error::other("the kernel took a part of a message")),
        }
    }

    /// Takes the next datagram that is queued and returns its length; `None`: there is none.
    ///
    /// Datagrams that were lost because the queue was full are skipped.
    pub(crate) fn receive(&mut self, buffer: &mut Buffer) -> io::Result<Option<usize>> {
        loop {
            let error = match self.socket.recv_raw(&mut buffer.0) {
                Ok(length) => return Ok(Some(length.min(buffer.0.len()))),
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(None),
                Some(libc::EINTR | libc::ENOBUFS) => {}
                _ => return Err(error),
            }
        }
    }

    /// The kernel refuses a datagram longer than the send buffer with EMSGSIZE (`netlink_sendmsg`).
    fn make_room(&mut self, length: usize) -> io::Result<()> {
        if length <= self.sendable {
            return Ok(());
        }
        // It doubles the value, for its own bookkeeping (socket(7)).
        let value = libc::c_int::try_from(length).map_err(io::Error::other)?;
        option(&self.socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, value)?;
        self.sendable = length;
        Ok(())
    }
}

/// Room for one datagram from the kernel, which makes none longer than half of this
/// (`netlink_dump`, NLMSG_GOODSIZE), aligned as netlink headers are.
#[repr(align(8))]
pub(crate) struct Buffer([u8; 32 * 1024]);

impl Buffer {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self([0; 32 * 1024]))
    }

    /// The first octets of it.
    pub(crate) fn start(&self, length: usize) -> &[u8] {
        self.0.get(..length).unwrap_or(&self.0)
    }
}

fn close_on_exec(socket: &Socket) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `socket` lives; no pointer is passed.
    check(unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })
}

fn never_block(socket: &Socket) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `socket` lives; no pointer is passed.
    check(unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })
}

fn option(socket: &Socket, level: i32, name: i32, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
