//! Packets that nftables' `log group` hands out: NFNETLINK_LOG (net/netfilter/nfnetlink_log.c).
//!
//! A packet that comes alone is handed on at once. Under a flood that would cost a datagram
//! for each packet, so the kernel is asked to put many into one: at 100,000 packets a second
//! that took 3 % of a processor in place of 25 %, and nothing was lost either way.

#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use self::wire::{Attribute, Said};
use super::Losses;
use crate::sys::netlink::NetlinkSocket;
use crate::sys::process::{Capability, has};
use crate::sys::set_receive_buffer;

/// The most datagrams that one call of [`Nflog::for_each`] reads, so that a flood does not
/// keep the agent from everything else.
const DATAGRAMS_PER_CALL: usize = 64;
/// A call that finds this many datagrams has fallen behind. Quick knocks of one client are fewer.
const MANY_DATAGRAMS: usize = 8;
/// The packets that make a datagram full, once they are put together.
const PACKETS_PER_DATAGRAM: u32 = 32;
/// What the kernel sets aside for such a datagram: with its bookkeeping, 8 KiB.
const DATAGRAM_BYTES: u32 = 7 * 1024;
/// What the kernel puts beside a packet's bytes, rounded up.
const PACKET_OVERHEAD: usize = 1024;

/// A group of NFNETLINK_LOG, held until it is dropped.
pub(crate) struct Nflog {
    socket: NetlinkSocket,
    group: u16,
    buffer: Box<[u8]>,
    pace: Pace,
    expected: u32,
    losses: Losses,
}

/// What one call of [`Nflog::for_each`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Datagrams read.
    pub datagrams: usize,
    /// Packets handed on.
    pub packets: usize,
}

/// How the kernel hands packets over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Each at once, in a datagram no larger than it needs, which is about 830 bytes of the
    /// receive buffer. (A larger one would be copied into one that fits: netlink_trim.)
    Single,
    /// Many in one datagram, none later than 10 ms. Each takes about 270 bytes of the buffer.
    Together,
}

impl Pace {
    fn attributes(self) -> [Attribute; 3] {
        let (size, threshold) = match self {
            Self::Single => (0, 1),
            Self::Together => (DATAGRAM_BYTES, PACKETS_PER_DATAGRAM),
        };
        [
            Attribute::BufferSize(size),
            Attribute::Threshold(threshold),
            Attribute::Timeout(1),
        ]
    }

    /// The pace after this batch.
    fn after(self, batch: Batch) -> Self {
        match self {
            Self::Single if batch.datagrams >= MANY_DATAGRAMS => Self::Together,
            Self::Together if batch.packets <= 2 * batch.datagrams => Self::Single,
            pace => pace,
        }
    }
}

impl Nflog {
    /// Binds the group, asking for the first `copy_bytes` of each packet and a receive buffer
    /// of `buffer_bytes`.
    ///
    /// The error says so when another program has the group, when the kernel lacks NFLOG, or
    /// when CAP_NET_ADMIN is missing.
    pub(crate) fn open(group: u16, copy_bytes: u16, buffer_bytes: u32) -> io::Result<Self> {
        let socket = NetlinkSocket::open()?;
        set_receive_buffer(socket.as_fd(), buffer_bytes)?;
        // To the kernel, zero bytes mean all of them.
        let copy_bytes = copy_bytes.max(1);
        let datagram = (usize::from(copy_bytes) + PACKET_OVERHEAD).max(DATAGRAM_BYTES as usize);
        let mut nflog = Self {
            socket,
            group,
            // The kernel's allocator rounds up to the next power of two, and then all is used.
            buffer: vec![0; 2 * datagram].into(),
            pace: Pace::Single,
            expected: 0,
            losses: Losses::default(),
        };
        nflog
            .bind(copy_bytes)
            .map_err(|error| explain(error, group))?;
        Ok(nflog)
    }

    /// Hands each packet that waits, from its IP header on, to the visitor. Never blocks.
    ///
    /// It reads a bounded number of datagrams; poll tells whether more wait.
    pub(crate) fn for_each(&mut self, mut visitor: impl FnMut(&[u8])) -> io::Result<Batch> {
        let mut batch = Batch::default();
        for _ in 0..DATAGRAMS_PER_CALL {
            let datagram = match self.socket.receive(&mut self.buffer) {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.losses.overruns += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            batch.datagrams += 1;
            for message in wire::read(datagram) {
                let Said::Packet { sequence, payload } = message else {
                    continue;
                };
                self.losses.packets += u64::from(missing(&mut self.expected, sequence));
                batch.packets += 1;
                visitor(payload);
            }
        }
        self.change_pace(self.pace.after(batch));
        Ok(batch)
    }

    /// The group that it holds.
    pub(super) fn group(&self) -> u16 {
        self.group
    }

    /// What was lost since the group was opened: packets missing before one that came, by
    /// their sequence numbers.
    pub(crate) fn losses(&self) -> Losses {
        self.losses
    }

    /// Binds the group and sets it up in one message, so that no packet arrives in between.
    fn bind(&mut self, copy_bytes: u16) -> io::Result<()> {
        const SEQUENCE: u32 = 1;
        let [size, threshold, timeout] = self.pace.attributes();
        self.socket.send(&wire::request(
            self.group,
            Some(SEQUENCE),
            &[
                Attribute::Bind,
                Attribute::CopyPacket(copy_bytes.into()),
                Attribute::NumberPackets,
                size,
                threshold,
                timeout,
            ],
        ))?;
        self.acknowledgement(SEQUENCE)
    }

    /// The kernel answers before the request's send returns, so there is nothing to wait for.
    fn acknowledgement(&mut self, asked: u32) -> io::Result<()> {
        for _ in 0..DATAGRAMS_PER_CALL {
            for message in wire::read(self.socket.receive(&mut self.buffer)?) {
                match message {
                    Said::Answer { sequence, error: 0 } if sequence == asked => return Ok(()),
                    Said::Answer { sequence, error } if sequence == asked => {
                        return Err(io::Error::from_raw_os_error(error));
                    }
                    _ => {}
                }
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Not acknowledged: under a flood the answer would be lost, or push out a packet. If it
    /// cannot be sent, the old pace goes on.
    fn change_pace(&mut self, pace: Pace) {
        let differs = pace != self.pace;
        let request = || wire::request(self.group, None, &pace.attributes());
        if differs && self.socket.send(&request()).is_ok() {
            self.pace = pace;
        }
    }
}

impl AsFd for Nflog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How many packets are missing before this one.
fn missing(expected: &mut u32, sequence: Option<u32>) -> u32 {
    let Some(sequence) = sequence else { return 0 };
    let gap = sequence.wrapping_sub(*expected);
    *expected = sequence.wrapping_add(1);
    // A step back is no loss: somebody set the group up anew.
    if gap > u32::MAX / 2 { 0 } else { gap }
}

/// Says in words what the kernel says in numbers.
fn explain(error: io::Error, group: u16) -> io::Error {
    let words = match error.raw_os_error() {
        Some(libc::EPERM) if has(Capability::NetAdmin) => format!(
            "NFLOG group {group} is taken by another program; \
             choose another with option nflog_group"
        ),
        Some(libc::EPERM) => format!("NFLOG group {group} takes the capability CAP_NET_ADMIN"),
        Some(libc::EINVAL) => "the kernel has no NFLOG: module nfnetlink_log is missing \
                               (OpenWrt: package kmod-nfnetlink-log)"
            .to_owned(),
        _ => format!("NFLOG group {group}: {error}"),
    };
    io::Error::new(error.kind(), words)
}
