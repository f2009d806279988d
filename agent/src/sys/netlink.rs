//! A netlink socket that never blocks and counts on nothing it receives.
//!
//! The kernel has queued its answer when the call that sends a request returns.

use core::mem;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::raw::{Step, filter};
use super::{check, set_receive_buffer};

/// libmnl's socket where that is linked.
#[cfg(feature = "libnftnl")]
type Socket = mnl::Socket;
#[cfg(not(feature = "libnftnl"))]
type Socket = std::os::fd::OwnedFd;

/// A part of the kernel that speaks netlink.
#[derive(Clone, Copy)]
enum Bus {
    Netfilter,
    /// Interfaces and their addresses.
    Route,
}

/// The longest datagram that is sent without asking for a larger buffer, in octets.
const DEFAULT_SEND_BUFFER: usize = 64 * 1024;

/// A bound socket, closed on exec.
pub(crate) struct NetlinkSocket {
    socket: Socket,
    sendable: usize,
}

impl NetlinkSocket {
    /// Opens a socket to Netfilter with a port of its own. It takes no privilege.
    pub(crate) fn open() -> io::Result<Self> {
        Self::open_to(Bus::Netfilter)
    }

    /// Opens a socket to where the kernel tells of its interfaces and their addresses.
    pub(crate) fn open_to_interfaces() -> io::Result<Self> {
        Self::open_to(Bus::Route)
    }

    fn open_to(bus: Bus) -> io::Result<Self> {
        let socket = Self {
            socket: open_bound(bus)?,
            sendable: DEFAULT_SEND_BUFFER,
        };
        socket.set_flag(libc::F_SETFD, libc::FD_CLOEXEC)?;
        socket.set_flag(libc::F_SETFL, libc::O_NONBLOCK)?;
        // Errors then carry no copy of the request, but a sentence that says what is wrong.
        // Kernels before 4.12 know neither: errors are longer or terser there.
        let _ = socket.set_option(libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
        let _ = socket.set_option(libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1);
        Ok(socket)
    }

    /// The port that the kernel knows it by, and that notifications of its requests bear.
    pub(crate) fn port(&self) -> io::Result<u32> {
        // SAFETY: sockaddr_nl is made of integers, for which all zero is a value.
        let mut address: libc::sockaddr_nl = unsafe { mem::zeroed() };
        let mut size = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        let file = self.socket.as_raw_fd();
        // SAFETY: the kernel writes at most `size` bytes, the size of `address`, to `address`.
        check(unsafe { libc::getsockname(file, (&raw mut address).cast(), &raw mut size) })?;
        Ok(address.nl_pid)
    }

    /// Receives what the kernel tells a group from now on, but for what requests of this port
    /// brought about: that does not even wake whoever waits.
    pub(crate) fn join(
        &self,
        group: libc::c_int,
        but_for: u32,
        buffer_bytes: u32,
    ) -> io::Result<()> {
        set_receive_buffer(self.as_fd(), buffer_bytes)?;
        filter(self.as_fd(), &not_from(but_for))?;
        let (level, option) = (libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP);
        self.set_option(level, option, group.cast_unsigned())
    }

    /// Sends one datagram to the kernel, all or nothing.
    pub(crate) fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        self.make_room(datagram.len())?;
        #[cfg(test)]
        super::costs::count_netlink_call();
        // SAFETY: the kernel reads `datagram.len()` bytes from the datagram.
        let sent = unsafe {
            libc::send(
                self.socket.as_raw_fd(),
                datagram.as_ptr().cast(),
                datagram.len(),
                0,
            )
        };
        match usize::try_from(sent) {
            Ok(sent) if sent == datagram.len() => Ok(()),
            Ok(_) => Err(io::Error::other("the kernel took a part of a message")),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }

    /// Receives one datagram, cut to the size of the buffer; `WouldBlock` when there is none.
    ///
    /// A datagram that another process sent is empty, as the kernel alone is believed.
    pub(crate) fn receive<'b>(&self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let length = self.receive_length(buffer)?;
        Ok(buffer.get(..length).unwrap_or_default())
    }

    /// Receives the next datagram that is queued; `None` when there is none.
    ///
    /// Datagrams that were lost because the queue was full are skipped.
    pub(crate) fn receive_queued<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        loop {
            let error = match self.receive_length(buffer) {
                Ok(length) => return Ok(buffer.get(..length)),
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(None),
                Some(libc::EINTR | libc::ENOBUFS) => {}
                _ => return Err(error),
            }
        }
    }

    fn receive_length(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: sockaddr_nl is made of integers, for which all zero is a value.
        let mut sender: libc::sockaddr_nl = unsafe { mem::zeroed() };
        let mut size = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        #[cfg(test)]
        super::costs::count_netlink_call();
        // SAFETY: the kernel writes at most `buffer.len()` bytes to the buffer, and at most
        // `size` bytes, the size of `sender`, to `sender`.
        let received = unsafe {
            libc::recvfrom(
                self.socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
                (&raw mut sender).cast(),
                &raw mut size,
            )
        };
        let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(if sender.nl_pid == 0 { length } else { 0 })
    }

    /// The kernel refuses a datagram longer than the send buffer with EMSGSIZE (`netlink_sendmsg`).
    fn make_room(&mut self, length: usize) -> io::Result<()> {
        if length <= self.sendable {
            return Ok(());
        }
        // It doubles the value, for its own bookkeeping (socket(7)).
        let value = u32::try_from(length).map_err(io::Error::other)?;
        self.set_option(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, value)?;
        self.sendable = length;
        Ok(())
    }

    fn set_flag(&self, command: libc::c_int, flag: libc::c_int) -> io::Result<()> {
        // SAFETY: the file is open as long as `self` lives; no pointer is passed.
        check(unsafe { libc::fcntl(self.socket.as_raw_fd(), command, flag) }).map(drop)
    }

    fn set_option(&self, level: i32, option: libc::c_int, value: u32) -> io::Result<()> {
        // SAFETY: these options take an int, which `value` has the size of.
        check(unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                level,
                option,
                (&raw const value).cast(),
                size_of::<u32>() as libc::socklen_t,
            )
        })
        .map(drop)
    }
}

/// The program that drops datagrams whose first message bears this port: nf_tables packs no
/// notifications of two requests into one datagram (`nft_commit_notify`).
fn not_from(port: u32) -> [Step; 4] {
    /// Where `nlmsg_pid` is in a `struct nlmsghdr`, in the host's order; a program loads words as
    /// if they were in that of the network.
    const PORT: u32 = 12;
    let step = |code: u32, jt, jf, k| Step {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let end = libc::BPF_RET | libc::BPF_K;
    [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, PORT),
        step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            port.to_be(),
        ),
        step(end, 0, 0, 0),
        step(end, 0, 0, u32::MAX),
    ]
}

/// Opens a socket, and lets the kernel choose its port.
#[cfg(feature = "libnftnl")]
fn open_bound(bus: Bus) -> io::Result<Socket> {
    let socket = Socket::open(match bus {
        Bus::Netfilter => mnl::Bus::Netfilter,
        Bus::Route => mnl::Bus::Route,
    })?;
    socket.bind(0, 0)?;
    Ok(socket)
}

/// Opens a socket, and lets the kernel choose its port.
#[cfg(not(feature = "libnftnl"))]
fn open_bound(bus: Bus) -> io::Result<Socket> {
    use std::os::fd::FromRawFd;
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    let protocol = match bus {
        Bus::Netfilter => libc::NETLINK_NETFILTER,
        Bus::Route => libc::NETLINK_ROUTE,
    };
    // SAFETY: no pointer is passed.
    let file = check(unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) })?;
    // SAFETY: the file was just opened, and nobody else has it.
    let socket = unsafe { Socket::from_raw_fd(file) };
    // SAFETY: sockaddr_nl is made of integers, for which all zero is a value.
    let mut address: libc::sockaddr_nl = unsafe { mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    let size = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: `size` is the size of `address`, which the kernel reads.
    check(unsafe { libc::bind(file, (&raw const address).cast(), size) })?;
    Ok(socket)
}

impl AsFd for NetlinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open for as long as `self` is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}
