//! A process that is named for good, whatever becomes of its number: pidfd_open(2), Linux 5.3.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use postern_core::time::Duration;

use super::check;
use super::poll::{PollFd, poll};

pub(crate) struct PidFd(OwnedFd);

impl PidFd {
    /// The process that has this number now.
    pub(crate) fn open(process: i32) -> io::Result<Self> {
        // SAFETY: takes numbers only.
        let file = unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) };
        let file = check(file as libc::c_int)?;
        // SAFETY: the file was just opened, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(file) }))
    }

    /// Asks it to end, also where it is stopped.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        self.signal(libc::SIGTERM)?;
        self.signal(libc::SIGCONT)
    }

    pub(crate) fn kill(&self) -> io::Result<()> {
        self.signal(libc::SIGKILL)
    }

    /// One that has ended already is no mistake.
    fn signal(&self, signal: libc::c_int) -> io::Result<()> {
        let (file, none) = (self.0.as_raw_fd(), core::ptr::null::<libc::siginfo_t>());
        // SAFETY: without a siginfo the kernel fills one in; the rest are numbers.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, file, signal, none, 0) };
        match check(result as libc::c_int) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether it has ended, or does before the time is over.
    pub(crate) fn ends_within(&self, time: Duration) -> io::Result<bool> {
        let mut ended = [PollFd::readable(self.0.as_fd())];
        poll(&mut ended, Some(time)).map(|ready| ready > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_ended_and_no_other_one() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = PidFd::open(child.id().cast_signed()).unwrap();
        assert!(!process.ends_within(Duration::default()).unwrap());
        process.terminate().unwrap();
        assert!(process.ends_within(Duration::from_secs(20)).unwrap());
        child.wait().unwrap();
        // Its number may be somebody's by now: nobody is hit.
        process.kill().unwrap();
        assert!(process.ends_within(Duration::default()).unwrap());
    }
}
