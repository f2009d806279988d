//! Many files behind one: epoll(7).

use core::mem;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::check;

/// The most files that one call of [`Epoll::ready`] names.
const MAX_READY: usize = 64;

/// A file that is ready to be read while one of its members is.
pub(crate) struct Epoll {
    file: OwnedFd,
}

impl Epoll {
    /// One without members.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes a number only.
        let file = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the file is open, and nobody else's.
        let file = unsafe { OwnedFd::from_raw_fd(file) };
        Ok(Self { file })
    }

    /// Takes a file in, under a number of the caller's. It leaves when it is closed.
    pub(crate) fn add(&self, member: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: number,
        };
        let (file, member) = (self.file.as_raw_fd(), member.as_raw_fd());
        // SAFETY: both files are open, and the event is read from only.
        check(unsafe { libc::epoll_ctl(file, libc::EPOLL_CTL_ADD, member, &raw mut event) })
            .map(drop)
    }

    /// The numbers of members that are ready, in the order in which they became so. Never
    /// blocks; where there are too many, the rest is left for the next call.
    pub(crate) fn ready(&self) -> io::Result<impl Iterator<Item = u64> + use<>> {
        // SAFETY: an epoll_event is made of integers, for which all zero is a value.
        let mut events: [libc::epoll_event; MAX_READY] = unsafe { mem::zeroed() };
        let room = MAX_READY as libc::c_int;
        // SAFETY: there is room for as many events.
        let found =
            check(unsafe { libc::epoll_wait(self.file.as_raw_fd(), events.as_mut_ptr(), room, 0) });
        let found = match found {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            found => usize::try_from(found?).unwrap_or_default(),
        };
        Ok(events.into_iter().take(found).map(|event| event.u64))
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::sys::poll::{PollFd, poll};
    use crate::testing::eventually::eventually;

    #[test]
    fn members_that_are_ready_are_named_in_their_order() {
        let epoll = Epoll::new().unwrap();
        let pairs: Vec<_> = (0..3).map(|_| UnixStream::pair().unwrap()).collect();
        for (number, (member, _)) in (0..).zip(&pairs) {
            epoll.add(member.as_fd(), number).unwrap();
        }
        assert_eq!(epoll.ready().unwrap().count(), 0);
        for number in [2, 0] {
            (&pairs[number].1).write_all(b"!").unwrap();
        }
        let mut outside = [PollFd::readable(epoll.as_fd())];
        assert_eq!(poll(&mut outside, None).unwrap(), 1);
        assert_eq!(epoll.ready().unwrap().collect::<Vec<_>>(), [2, 0]);
        // Whoever is closed is a member no longer.
        drop(pairs);
        eventually(|| epoll.ready().unwrap().count() == 0);
    }
}
