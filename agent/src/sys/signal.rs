//! Signals as something to read, so that they interrupt nothing: signalfd(2).

use core::{mem, ptr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use super::check;

/// What the agent is asked to do by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM: end.
    Terminate,
    /// SIGINT: end, said at a terminal.
    Interrupt,
    /// SIGHUP: read the configuration again.
    Hangup,
}

/// Reads the signals that [`Signals::block`] keeps from being delivered.
pub(crate) struct Signals {
    file: File,
}

impl Signals {
    /// Blocks SIGTERM, SIGINT and SIGHUP in this thread and in those that it starts later, and
    /// ignores SIGPIPE: whoever writes to a closed connection gets an error instead.
    ///
    /// Call it before any thread is started, else that thread gets the signals.
    pub(crate) fn block() -> io::Result<Self> {
        // SAFETY: SIG_IGN is a valid disposition for SIGPIPE, and runs no code of ours.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
        let signals = Self::set();
        // SAFETY: `signals` is an initialised set; the old mask is not asked for.
        match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, ptr::null_mut()) }
        {
            0 => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: `signals` is an initialised set, and -1 asks for a new file.
        let file = check(unsafe { libc::signalfd(-1, &raw const signals, flags) })?;
        // SAFETY: signalfd just made the file, and nobody else knows it.
        Ok(Self {
            file: unsafe { OwnedFd::from_raw_fd(file) }.into(),
        })
    }

    /// Takes the next signal that waits; `None` when none does. Never blocks.
    pub(crate) fn take(&mut self) -> io::Result<Option<Signal>> {
        let mut record = [0; size_of::<libc::signalfd_siginfo>()];
        match self.file.read(&mut record) {
            Ok(length) if length < record.len() => Ok(None),
            Ok(_) => Ok(signal(record)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            },
        }
    }

    fn set() -> libc::sigset_t {
        // SAFETY: a sigset_t is made of integers, for which all zero is a value; sigemptyset
        // and sigaddset write to it alone, and fail for unknown signals only.
        unsafe {
            let mut set = mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                libc::sigaddset(&raw mut set, signal);
            }
            set
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The signal's number is the first field of the kernel's record.
fn signal(record: [u8; size_of::<libc::signalfd_siginfo>()]) -> Option<Signal> {
    let number = record
        .first_chunk()
        .map(|number| i32::from_ne_bytes(*number))?;
    match number {
        libc::SIGTERM => Some(Signal::Terminate),
        libc::SIGINT => Some(Signal::Interrupt),
        libc::SIGHUP => Some(Signal::Hangup),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::{PollFd, poll};

    fn raise(signal: libc::c_int) {
        // SAFETY: sends a signal that is blocked to this thread alone.
        assert_eq!(
            unsafe { libc::pthread_kill(libc::pthread_self(), signal) },
            0
        );
    }

    #[test]
    fn blocked_signals_are_read() {
        let mut signals = Signals::block().unwrap();
        assert_eq!(signals.take().unwrap(), None);
        for (number, signal) in [
            (libc::SIGTERM, Signal::Terminate),
            (libc::SIGINT, Signal::Interrupt),
            (libc::SIGHUP, Signal::Hangup),
        ] {
            raise(number);
            assert_eq!(
                poll(&mut [PollFd::readable(signals.as_fd())], None).unwrap(),
                1
            );
            assert_eq!(signals.take().unwrap(), Some(signal));
        }
        assert_eq!(signals.take().unwrap(), None);
    }
}
