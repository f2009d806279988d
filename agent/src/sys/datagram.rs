//! Receiving many datagrams with one system call: recvmmsg(2).

use core::net::SocketAddr;
use core::{array, mem, ptr};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The most datagrams that one call of [`Batch::receive`] reads.
pub(crate) const BATCH_LEN: usize = 32;

/// More than any receive buffer of ours has room for.
const MAX_FORGOTTEN: usize = 65_536;

/// Room for the datagrams of one call.
pub(crate) struct Batch {
    length: usize,
    octets: Box<[u8]>,
    envelopes: Box<[Envelope; BATCH_LEN]>,
}

/// What comes with a datagram.
#[derive(Clone, Copy)]
struct Envelope {
    /// Room for the address of either family.
    sender: libc::sockaddr_in6,
    /// Room for one header and an `in6_pktinfo`, or an `in_pktinfo`, aligned as a header is.
    control: [usize; CONTROL_LEN / size_of::<usize>()],
    /// The length of that address, and the octets of the datagram.
    lengths: (libc::socklen_t, usize),
}

const CONTROL_LEN: usize = 64;

/// One datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'b> {
    /// What it holds, cut to the length that there is room for.
    pub(crate) octets: &'b [u8],
    /// Where an Internet socket has it from.
    pub(crate) sender: Option<SocketAddr>,
    /// The number of the interface that it came in on, if the socket was asked for it.
    pub(crate) arrived_on: Option<u32>,
}

impl Batch {
    /// Room for `length` octets of each datagram.
    pub(crate) fn new(length: usize) -> Self {
        Self {
            length,
            octets: vec![0; length * BATCH_LEN].into(),
            envelopes: Box::new([Envelope::EMPTY; BATCH_LEN]),
        }
    }

    /// Hands each datagram that waits to the visitor, up to [`BATCH_LEN`]; returns how many there
    /// were. Never blocks.
    pub(crate) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        mut visitor: impl FnMut(Datagram<'_>),
    ) -> io::Result<usize> {
        let received = self.take(socket)?;
        let octets = self.octets.chunks(self.length.max(1));
        let datagrams = octets.zip(self.envelopes.iter());
        for (octets, envelope) in datagrams.take(received) {
            let (sender_length, length) = envelope.lengths;
            visitor(Datagram {
                octets: octets.get(..length).unwrap_or(octets),
                sender: super::address(&envelope.sender, sender_length),
                arrived_on: envelope.arrived_on(),
            });
        }
        Ok(received)
    }

    /// Takes what waits, as much as there is room for.
    fn take(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let octets = self.octets.chunks_mut(self.length.max(1));
        let envelopes = self.envelopes.iter_mut();
        // SAFETY: an iovec is a pointer and a length, for which all zero is a value.
        let mut rooms: [libc::iovec; BATCH_LEN] = unsafe { mem::zeroed() };
        for (room, octets) in rooms.iter_mut().zip(octets) {
            room.iov_base = octets.as_mut_ptr().cast();
            room.iov_len = octets.len();
        }
        let mut pairs = rooms.iter_mut().zip(envelopes);
        let mut headers: [libc::mmsghdr; BATCH_LEN] = array::from_fn(|_| match pairs.next() {
            Some((room, envelope)) => header(room, envelope),
            None => no_header(),
        });
        // SAFETY: there are BATCH_LEN headers, whose pointers lead to `rooms` and to
        // `self.envelopes`, and from the rooms to `self.octets`, for the lengths given. All of
        // them outlive the call, and nothing else refers to them in it.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH_LEN as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let received = match usize::try_from(received) {
            Ok(received) => received,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => 0,
                error => return Err(error),
            },
        };
        for (header, envelope) in headers.iter().zip(self.envelopes.iter_mut()) {
            envelope.lengths = (header.msg_hdr.msg_namelen, header.msg_len as usize);
        }
        Ok(received)
    }
}

/// Drops what waits. What comes meanwhile may be dropped too.
pub(crate) fn forget_all(socket: BorrowedFd<'_>) {
    // Bounded, for what a flood brings meanwhile.
    for _ in 0..MAX_FORGOTTEN {
        // SAFETY: nothing is written to a buffer without length; what does not fit is dropped
        // with its datagram.
        let received =
            unsafe { libc::recv(socket.as_raw_fd(), ptr::null_mut(), 0, libc::MSG_DONTWAIT) };
        // Some were lost, which is as good.
        let full = || io::Error::last_os_error().raw_os_error() == Some(libc::ENOBUFS);
        if received < 0 && !full() {
            break;
        }
    }
}

impl Envelope {
    const EMPTY: Self = Self {
        // SAFETY: sockaddr_in6 is made of integers, for which all zero is a value.
        sender: unsafe { mem::zeroed() },
        control: [0; CONTROL_LEN / size_of::<usize>()],
        lengths: (0, 0),
    };

    /// What an `IP_PKTINFO` or `IPV6_PKTINFO` message says, as the only one (cmsg(3)).
    fn arrived_on(&self) -> Option<u32> {
        let words = self.control.iter();
        let mut octets = [0; CONTROL_LEN];
        for (to, word) in octets.chunks_mut(size_of::<usize>()).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        let header = size_of::<libc::cmsghdr>();
        let number = |at: usize| -> Option<u32> {
            let octets = octets.get(at..at + 4)?;
            Some(u32::from_ne_bytes(octets.try_into().ok()?))
        };
        let level = number(mem::offset_of!(libc::cmsghdr, cmsg_level))?;
        let kind = number(mem::offset_of!(libc::cmsghdr, cmsg_type))?;
        // The header's size is that of its alignment, so that the data follows at once.
        match (level as libc::c_int, kind as libc::c_int) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                number(header + mem::offset_of!(libc::in_pktinfo, ipi_ifindex))
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                number(header + mem::offset_of!(libc::in6_pktinfo, ipi6_ifindex))
            }
            _ => None,
        }
    }
}

fn header(room: &mut libc::iovec, envelope: &mut Envelope) -> libc::mmsghdr {
    // What the kernel does not write is nothing.
    *envelope = Envelope::EMPTY;
    let mut header = no_header();
    let message = &mut header.msg_hdr;
    message.msg_name = (&raw mut envelope.sender).cast();
    message.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    message.msg_control = envelope.control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_LEN as _;
    message.msg_iov = room;
    message.msg_iovlen = 1;
    header
}

const fn no_header() -> libc::mmsghdr {
    // SAFETY: an mmsghdr is made of integers and pointers, for which all zero is a value.
    unsafe { mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;
    use crate::testing::skipping::skip;

    #[test]
    fn each_datagram_comes_with_its_sender_and_no_more_octets_than_there_is_room_for() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(to) = UdpSocket::bind(any) else {
                skip(format_args!("no {any} here"));
                continue;
            };
            let from = UdpSocket::bind(any).unwrap();
            let mut batch = Batch::new(8);
            assert_eq!(batch.receive(to.as_fd(), |_| ()).unwrap(), 0);
            for text in ["one", "", "longer than eight"] {
                from.send_to(text.as_bytes(), to.local_addr().unwrap())
                    .unwrap();
            }
            let mut heard = Vec::new();
            let visitor = |datagram: Datagram<'_>| {
                assert_eq!(datagram.sender, from.local_addr().ok());
                assert_eq!(datagram.arrived_on, None);
                heard.push(datagram.octets.to_vec());
            };
            assert_eq!(batch.receive(to.as_fd(), visitor).unwrap(), 3);
            assert_eq!(heard, [b"one".as_slice(), b"", b"longer t"]);
        }
    }

    #[test]
    fn what_does_not_fit_a_batch_is_left_for_the_next() {
        let to = UdpSocket::bind("127.0.0.1:0").unwrap();
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..=BATCH_LEN {
            from.send_to(b"!", to.local_addr().unwrap()).unwrap();
        }
        let mut batch = Batch::new(8);
        for expected in [BATCH_LEN, 1, 0] {
            assert_eq!(batch.receive(to.as_fd(), |_| ()).unwrap(), expected);
        }
    }
}
