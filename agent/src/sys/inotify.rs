//! Word of what happens to files: inotify(7).

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::check;

/// A queue of events, which nobody but its owner reads.
pub(crate) struct Inotify {
    file: File,
}

/// What is watched of a path.
#[derive(Clone, Copy)]
pub(crate) enum Interest {
    /// Writes to the file, and what takes it away from its path.
    Content,
    /// Which files a folder has.
    Entries,
}

impl Interest {
    const fn mask(self) -> u32 {
        match self {
            Self::Content => {
                libc::IN_MODIFY | libc::IN_ATTRIB | libc::IN_MOVE_SELF | libc::IN_DELETE_SELF
            }
            Self::Entries => libc::IN_CREATE | libc::IN_MOVED_TO | libc::IN_ONLYDIR,
        }
    }
}

/// What a path led to when it was watched; it stays watched under any other name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watch(libc::c_int);

impl Inotify {
    /// Opens a queue. The error says so when the kernel has no inotify, or no more of it for
    /// this user.
    pub(crate) fn open() -> io::Result<Self> {
        // SAFETY: takes flags only.
        let file = check(unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) })?;
        // SAFETY: inotify_init1 just made the file, and nobody else knows it.
        Ok(Self {
            file: unsafe { OwnedFd::from_raw_fd(file) }.into(),
        })
    }

    /// Watches what the path leads to now. Again is the same watch.
    pub(crate) fn watch(&self, path: &Path, interest: Interest) -> io::Result<Watch> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let queue = self.file.as_raw_fd();
        // SAFETY: the path ends with a zero and outlives the call.
        check(unsafe { libc::inotify_add_watch(queue, path.as_ptr(), interest.mask()) }).map(Watch)
    }

    /// Watches it no longer. What has gone is watched no longer anyway.
    pub(crate) fn forget(&self, watch: Watch) {
        // SAFETY: takes numbers only; for one that is no watch of this queue it fails.
        _ = unsafe { libc::inotify_rm_watch(self.file.as_raw_fd(), watch.0) };
    }

    /// Takes the events that wait, whatever they say: at most some thousands of them. Never blocks.
    pub(crate) fn drain(&mut self) {
        let mut events = [0; 4096];
        for _ in 0..64 {
            if self.file.read(&mut events).is_err() {
                return;
            }
        }
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use postern_core::time::Duration;

    use super::*;
    use crate::sys::poll::{PollFd, poll};
    use crate::testing::scratch::Scratch;

    fn is_told(inotify: &mut Inotify) -> bool {
        let mut files = [PollFd::readable(inotify.as_fd())];
        let told = poll(&mut files, Some(Duration::default())).unwrap() > 0;
        inotify.drain();
        told
    }

    #[test]
    fn what_is_watched_is_told() {
        let scratch = Scratch::new();
        let path = scratch.file("log", "one");
        let mut inotify = Inotify::open().unwrap();
        let content = inotify.watch(&path, Interest::Content).unwrap();
        inotify.watch(scratch.folder(), Interest::Entries).unwrap();
        assert!(!is_told(&mut inotify));
        fs::write(&path, "two").unwrap();
        assert!(is_told(&mut inotify));
        fs::rename(&path, scratch.path("old")).unwrap();
        assert!(is_told(&mut inotify));
        fs::write(scratch.path("old"), "three").unwrap();
        assert!(is_told(&mut inotify));
        fs::write(&path, "").unwrap();
        assert!(is_told(&mut inotify));
        inotify.forget(content);
        inotify.drain();
        fs::write(scratch.path("old"), "four").unwrap();
        assert!(!is_told(&mut inotify));
        let nothing = scratch.path("nothing");
        assert!(inotify.watch(&nothing, Interest::Content).is_err());
    }
}
