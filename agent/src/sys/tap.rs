//! Interfaces whose other end is the test: tun and tap (Documentation/networking/tuntap.rst).

use core::mem;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};

use super::check;
use crate::testing::skipping::skip;

/// Runs a test in a network namespace of its own thread; says so and skips where there can be
/// none, or no interfaces of this kind.
pub(crate) fn in_a_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(|| {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            skip(format_args!("no network namespace: {error}"));
        } else if let Err(error) = Tap::new("trial", Link::Ip) {
            skip(format_args!("no tun device: {error}"));
        } else {
            test();
        }
    });
    thread.join().unwrap();
}

/// Runs `ip` in the namespace of the thread.
pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.unwrap().success(), "ip {arguments}");
}

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
