//! Packets as the interfaces hand them to the protocols: packet(7), and the programs that the
//! kernel runs to choose among them.

use core::mem;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{check, option, set_option};

/// One step of a program in classic BPF (linux/filter.h).
pub(crate) type Step = libc::sock_filter;

/// Lets nothing through.
pub(crate) const NOTHING: [Step; 1] = [Step {
    code: (libc::BPF_RET | libc::BPF_K) as u16,
    jt: 0,
    jf: 0,
    k: 0,
}];

/// Lets through only what the program wants of the packets that the socket receives from now on.
///
/// The kernel changes from one program to the next at once, so that no packet meets neither.
pub(crate) fn filter(socket: BorrowedFd<'_>, program: &[Step]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        // The kernel only reads from it.
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the option takes a program, whose steps are read from for their number.
    unsafe { set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program) }
}

/// The family of packets, as the link layer names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum EtherType {
    /// IPv4.
    V4 = 0x0800,
    /// IPv6.
    V6 = 0x86dd,
}

/// A socket that receives packets of a family from all interfaces, from their IP header on.
///
/// It sees what the protocol itself sees: not what leaves, and of a VLAN only what has become its
/// interface's, whoever took the tag off (`__netif_receive_skb_core` in net/core/dev.c).
pub(crate) struct PacketSocket {
    socket: OwnedFd,
    family: EtherType,
}

impl PacketSocket {
    /// A socket that receives nothing yet. It takes CAP_NET_RAW, the rest nothing.
    pub(crate) fn open(family: EtherType) -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: takes numbers only.
        let socket = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: the file is open, and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        Ok(Self { socket, family })
    }

    /// Begins to receive. What was let through by an earlier program waits already.
    pub(crate) fn start(&self) -> io::Result<()> {
        self.bind(self.family as u16)
    }

    /// Receives nothing any more, and forgets what waits.
    pub(crate) fn stop(&self) -> io::Result<()> {
        filter(self.as_fd(), &NOTHING)?;
        self.bind(libc::ETH_P_802_EX1 as u16)?;
        super::datagram::forget_all(self.as_fd());
        Ok(())
    }

    /// Receives what is of this protocol.
    fn bind(&self, protocol: u16) -> io::Result<()> {
        // SAFETY: sockaddr_ll is made of integers, for which all zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as libc::sa_family_t;
        address.sll_protocol = protocol.to_be();
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        let socket = self.socket.as_raw_fd();
        // SAFETY: the kernel reads `length` bytes of the address, which is as long.
        check(unsafe { libc::bind(socket, (&raw const address).cast(), length) }).map(drop)
    }

    /// Has the interface of this number receive packets for others too, or no longer.
    pub(crate) fn listen_to_others(&self, interface: u32, begin: bool) -> io::Result<()> {
        // SAFETY: packet_mreq is made of integers, for which all zero is a value.
        let mut request: libc::packet_mreq = unsafe { mem::zeroed() };
        request.mr_ifindex = interface.cast_signed();
        request.mr_type = libc::PACKET_MR_PROMISC as _;
        let option = match begin {
            true => libc::PACKET_ADD_MEMBERSHIP,
            false => libc::PACKET_DROP_MEMBERSHIP,
        };
        // SAFETY: both options take a packet_mreq.
        unsafe { set_option(self.as_fd(), libc::SOL_PACKET, option, &request) }
    }

    /// How many packets found no room since this was last asked.
    pub(crate) fn lost(&self) -> io::Result<u32> {
        // SAFETY: tpacket_stats is made of integers.
        let statistics: libc::tpacket_stats =
            unsafe { option(self.as_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS) }?;
        Ok(statistics.tp_drops)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
