//! Interfaces whose other end is the test: tun and tap (Documentation/networking/tuntap.rst).

use core::mem;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

use super::check;

/// What goes over an interface.
#[derive(Clone, Copy)]
#[repr(u16)]
pub(crate) enum Link {
    /// Bare IP packets, each behind four octets of which the last two name the family.
    Ip = 0x0001,
    /// Ethernet frames.
    Ethernet = 0x1002,
}

/// An interface of this thread's namespace, gone when it is dropped.
pub(crate) struct Tap(File);

impl Tap {
    pub(crate) fn new(name: &str, link: Link) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .open("/dev/net/tun")?;
        // SAFETY: an ifreq is made of integers, for which all zero is a value.
        let mut request: libc::ifreq = unsafe { mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().take(15).zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (link as u16).cast_signed();
        // SAFETY: TUNSETIFF takes an ifreq, which it reads from and writes to.
        check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) })?;
        Ok(Self(file))
    }

    /// Has the frame arrive at the interface.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        (&self.0).write_all(frame)
    }
}
