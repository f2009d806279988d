//! A log file, followed over rotation and truncation.
//!
//! A file is rotated by giving it another name and making a new one, or by copying and
//! truncating it (logrotate(8), `create` and `copytruncate`). After the former, the log daemon
//! writes to the old file until it is told not to: the old one is read until something is in
//! the new one, and then to its end, so that nothing is missed.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use postern_core::time::{Duration, Instant};

use super::lines::Lines;
use crate::sys::inotify::{Inotify, Interest, Watch};

/// The most that is read at once, and how often in one call.
const PIECE_LEN: usize = 8192;
const PIECES_PER_CALL: usize = 64;
/// The most that can be in a file that is new or was truncated, to be read from its beginning.
/// More was not written since the last look: somebody edited the log, or put an old one in its
/// place, and the knocks in it were heard long ago.
const MAX_FRESH_LEN: u64 = 16 * 1024;
/// How often to look although nothing was told: not every file system tells.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often to look where the kernel has no inotify.
const LOOK_INTERVAL_WITHOUT_INOTIFY: Duration = Duration::from_millis(100);
/// A rotated file is gone for a moment. For how long nothing is said about it:
const ROTATION_GRACE: Duration = Duration::from_secs(2);

/// A file that is followed, by its path.
pub(super) struct Follower {
    path: PathBuf,
    /// What is read; not always what the path leads to.
    current: Option<Followed>,
    /// What the path leads to, if that is another file with nothing in it yet.
    next: Option<Followed>,
    events: Events,
    piece: Box<[u8]>,
    lines: Lines,
    look_at: Instant,
    /// Since when the path leads nowhere, and whether that was said.
    away: Option<(Instant, bool)>,
    notices: Vec<String>,
}

impl Follower {
    /// Follows the file from its end on; it need not be there yet.
    pub(super) fn open(path: &Path, now: Instant) -> Self {
        let mut follower = Self {
            path: path.into(),
            current: None,
            next: None,
            events: Events::of(path),
            piece: vec![0; PIECE_LEN].into(),
            lines: Lines::new(),
            look_at: now,
            away: None,
            notices: Vec::new(),
        };
        follower.begin(now);
        follower
    }

    /// Hands on each line that waits. Never blocks.
    pub(super) fn for_each(&mut self, now: Instant, mut visitor: impl FnMut(&[u8])) {
        self.events.drain();
        let mut pieces = PIECES_PER_CALL;
        let read = self.read(&mut pieces, &mut visitor);
        self.look(now);
        let read = read.and_then(|()| self.turn_over(&mut pieces, &mut visitor));
        if let Err(error) = read {
            let path = self.path.display();
            self.notices.push(format!("{path}: {error}"));
            self.begin(now);
        }
        self.look_at = match pieces {
            0 => now,
            _ => now + self.events.looked_after(),
        };
    }

    /// What to wait for: word of a change, where the kernel gives it.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.events.inotify.as_ref().map(Inotify::as_fd)
    }

    /// When to look although there was no word.
    pub(super) fn poll_at(&self) -> Instant {
        self.look_at
    }

    /// How many lines were too long.
    pub(super) fn too_long(&self) -> u64 {
        self.lines.too_long()
    }

    /// What there is to say about the file, since it was last asked.
    pub(super) fn take_notices(&mut self) -> Vec<String> {
        core::mem::take(&mut self.notices)
    }

    fn begin(&mut self, now: Instant) {
        match Followed::open(&self.path, &self.events) {
            Ok(file) => self.follow(file, false),
            Err(error) => {
                self.current = None;
                self.miss(now, &error);
            }
        }
    }

    /// Reads on in the current file, at most so many pieces.
    fn read(&mut self, pieces: &mut usize, visitor: &mut impl FnMut(&[u8])) -> io::Result<()> {
        if let Some(file) = self.current.take() {
            let truncated = file.length().is_ok_and(|length| length < file.read);
            match truncated {
                true => self.follow(file, true),
                false => self.current = Some(file),
            }
        }
        let Some(file) = &mut self.current else {
            return Ok(());
        };
        while *pieces > 0 {
            let length = file.file.read_at(&mut self.piece, file.read)?;
            let Some(piece) = self.piece.get(..length).filter(|piece| !piece.is_empty()) else {
                break;
            };
            *pieces -= 1;
            file.read += length as u64;
            self.lines.feed(piece, &mut *visitor);
        }
        Ok(())
    }

    /// Looks where the path leads.
    fn look(&mut self, now: Instant) {
        let found = match fs::metadata(&self.path) {
            Ok(found) => Identity::of(&found),
            Err(error) => return self.miss(now, &error),
        };
        let is_it = |file: &Option<Followed>| file.as_ref().is_some_and(|file| file.is(found));
        if is_it(&self.current) {
            self.replace_next(None);
        } else if !is_it(&self.next) {
            match Followed::open(&self.path, &self.events) {
                Ok(next) => self.replace_next(Some(next)),
                Err(error) => return self.miss(now, &error),
            }
        }
        if let Some((_, true)) = self.away.take() {
            let path = self.path.display();
            self.notices.push(format!("{path} is there"));
        }
    }

    /// Goes on to the file that the path leads to now, if that is another one and has
    /// something in it.
    fn turn_over(&mut self, pieces: &mut usize, visitor: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let written = |next: &Followed| next.length().is_ok_and(|length| length > 0);
        if self.current.is_some() && !self.next.as_ref().is_some_and(written) {
            return Ok(());
        }
        // What was written to the old one before anything was to the new one.
        self.read(pieces, visitor)?;
        if *pieces > 0
            && let Some(next) = self.next.take()
        {
            self.events.forget(self.current.take());
            self.follow(next, true);
            self.read(pieces, visitor)?;
        }
        Ok(())
    }

    fn replace_next(&mut self, next: Option<Followed>) {
        let former = core::mem::replace(&mut self.next, next);
        self.events.forget(former);
    }

    /// Reads a file from where what is new begins.
    fn follow(&mut self, mut file: Followed, from_start: bool) {
        let length = file.length().unwrap_or_default();
        let fresh = from_start && length <= MAX_FRESH_LEN;
        if from_start && !fresh {
            let path = self.path.display();
            self.notices.push(format!(
                "{path} was replaced or cut short, and holds too much to be new: what is in it is left out"
            ));
        }
        file.read = if fresh { 0 } else { length };
        match file.is_at_line() {
            true => self.lines.start_over(),
            false => self.lines.skip_to_end(),
        }
        self.current = Some(file);
    }

    /// The path leads nowhere.
    fn miss(&mut self, now: Instant, error: &io::Error) {
        let (since, told) = self.away.get_or_insert((now, false));
        // At the start nobody was heard for a moment already.
        let long = self.current.is_none() || now.since(*since) >= ROTATION_GRACE;
        if long && !*told {
            *told = true;
            let path = self.path.display();
            self.notices.push(format!(
                "{path}: {error}; it is followed once it can be read"
            ));
        }
    }
}

/// Opens a file to be read.
pub(super) fn open(path: &Path) -> io::Result<File> {
    // A FIFO would wait for whoever writes to it.
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(libc::O_NONBLOCK);
    options.open(path)
}

struct Followed {
    file: File,
    identity: Identity,
    /// As far as it was read.
    read: u64,
    watch: Option<Watch>,
}

/// What a file is, whatever its name.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    number: u64,
}

impl Identity {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            number: file.ino(),
        }
    }
}

impl Followed {
    /// Opens what the path leads to.
    fn open(path: &Path, events: &Events) -> io::Result<Self> {
        let file = open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("not a file"));
        }
        Ok(Self {
            identity: Identity::of(&found),
            read: 0,
            watch: events.watch(path),
            file,
        })
    }

    fn is(&self, identity: Identity) -> bool {
        self.identity == identity
    }

    fn length(&self) -> io::Result<u64> {
        self.file.metadata().map(|found| found.len())
    }

    /// Whether a line begins where it was read up to.
    fn is_at_line(&self) -> bool {
        let mut before = [b'\n'];
        // What cannot be read leaves the byte as it is.
        _ = (self.read.checked_sub(1)).map(|at| self.file.read_at(&mut before, at));
        before == [b'\n']
    }
}

/// Word of changes, as far as the kernel gives it.
struct Events {
    inotify: Option<Inotify>,
    folder: PathBuf,
}

impl Events {
    /// Watches the folder of the path.
    fn of(path: &Path) -> Self {
        let events = Self {
            inotify: Inotify::open().ok(),
            folder: path.parent().unwrap_or(path).into(),
        };
        events.watch_folder();
        events
    }

    fn drain(&mut self) {
        if let Some(inotify) = &mut self.inotify {
            inotify.drain();
        }
    }

    /// Watches what the path leads to, and its folder, in case that it is another one.
    fn watch(&self, path: &Path) -> Option<Watch> {
        self.watch_folder();
        self.inotify.as_ref()?.watch(path, Interest::Content).ok()
    }

    fn watch_folder(&self) {
        if let Some(inotify) = &self.inotify {
            _ = inotify.watch(&self.folder, Interest::Entries);
        }
    }

    fn forget(&self, file: Option<Followed>) {
        let watch = file.and_then(|file| file.watch);
        if let (Some(inotify), Some(watch)) = (&self.inotify, watch) {
            inotify.forget(watch);
        }
    }

    fn looked_after(&self) -> Duration {
        match &self.inotify {
            Some(_) => LOOK_INTERVAL,
            None => LOOK_INTERVAL_WITHOUT_INOTIFY,
        }
    }
}

#[cfg(test)]
mod tests;
