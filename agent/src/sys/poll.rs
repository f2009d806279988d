//! Waiting for files and for time to pass: poll(2).

use core::marker::PhantomData;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use postern_core::time::Duration;

use super::check;

/// A file to wait for.
#[repr(transparent)]
pub(crate) struct PollFd<'fd> {
    raw: libc::pollfd,
    file: PhantomData<BorrowedFd<'fd>>,
}

impl<'fd> PollFd<'fd> {
    /// Waits until there is something to read.
    pub(crate) fn readable(file: BorrowedFd<'fd>) -> Self {
        Self::new(file, libc::POLLIN)
    }

    /// Waits until there is room to write.
    pub(crate) fn writable(file: BorrowedFd<'fd>) -> Self {
        Self::new(file, libc::POLLOUT)
    }

    /// Waits until nothing can be written for good: errors and hanging up are told unasked.
    pub(crate) fn broken(file: BorrowedFd<'fd>) -> Self {
        Self::new(file, 0)
    }

    fn new(file: BorrowedFd<'fd>, events: libc::c_short) -> Self {
        let raw = libc::pollfd {
            fd: file.as_raw_fd(),
            events,
            revents: 0,
        };
        Self {
            raw,
            file: PhantomData,
        }
    }

    /// Whether the file was ready when [`poll`] last returned. Errors and the other side's
    /// hanging up count: the next read or write tells them.
    pub(crate) fn is_ready(&self) -> bool {
        self.raw.revents != 0
    }
}

/// Waits until a file is ready or the time has passed; `None` waits forever.
///
/// The result is the number of files that are ready; zero also when a signal interrupted.
pub(crate) fn poll(files: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<usize> {
    let timeout = timeout.map_or(-1, |time| {
        i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
    });
    let count = libc::nfds_t::try_from(files.len()).map_err(io::Error::other)?;
    // SAFETY: `PollFd` is a transparent pollfd, there are `count` of them, and the borrow
    // in each keeps its file open.
    let result = check(unsafe { libc::poll(files.as_mut_ptr().cast(), count, timeout) });
    match result {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            files.iter_mut().for_each(|file| file.raw.revents = 0);
            Ok(0)
        }
        result => Ok(usize::try_from(result?).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_the_file_with_something_to_read_is_ready() {
        let (quiet, _other) = UnixStream::pair().unwrap();
        let (loud, mut other) = UnixStream::pair().unwrap();
        let mut files = [
            PollFd::readable(quiet.as_fd()),
            PollFd::readable(loud.as_fd()),
        ];
        assert_eq!(poll(&mut files, Some(Duration::from_millis(0))).unwrap(), 0);
        other.write_all(b"!").unwrap();
        assert_eq!(poll(&mut files, None).unwrap(), 1);
        assert!(!files[0].is_ready() && files[1].is_ready());
        assert_eq!(
            poll(&mut [PollFd::writable(quiet.as_fd())], None).unwrap(),
            1
        );
    }

    #[test]
    fn a_timeout_passes() {
        let before = super::super::clock::boottime();
        assert_eq!(poll(&mut [], Some(Duration::from_millis(20))).unwrap(), 0);
        assert!(super::super::clock::boottime().since(before) >= Duration::from_millis(19));
    }

    #[test]
    fn hanging_up_is_readiness() {
        let (ours, other) = UnixStream::pair().unwrap();
        drop(other);
        assert_eq!(
            poll(&mut [PollFd::readable(ours.as_fd())], None).unwrap(),
            1
        );
    }
}
