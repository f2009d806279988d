//! Standard input, such as a pipe from `logread -f`.
//!
//! Programs that print a log as it grows often begin with what it holds: `dmesg --follow` with all
//! of it. Those knocks were heard long ago, so that nothing counts until the stream has rested.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use postern_core::time::{Duration, Instant};

use super::lines::Lines;
use crate::sys::clock::boottime;
use crate::sys::poll::{PollFd, poll};

/// The most that is read at once, and how often in one call.
const PIECE_LEN: usize = 8192;
const PIECES_PER_CALL: usize = 64;
/// A stream that has rested for so long has nothing old left, if the other program was quick to
/// start.
const REST_TIME: Duration = Duration::from_secs(1);
/// One that does not rest is waited for no longer than this.
const MAX_UNREST: Duration = Duration::from_secs(5);

/// A stream, until it ends.
pub(super) struct Input {
    file: File,
    piece: Box<[u8]>,
    lines: Lines,
    ended: bool,
}

impl Input {
    /// Reads this program's standard input, once it has rested: this takes a second or more.
    pub(super) fn standard() -> io::Result<Self> {
        let file = io::stdin().as_fd().try_clone_to_owned()?;
        let mut input = Self::new(file.into());
        input.leave_out_what_is_old(REST_TIME, boottime() + MAX_UNREST)?;
        Ok(input)
    }

    fn new(file: File) -> Self {
        Self {
            file,
            piece: vec![0; PIECE_LEN].into(),
            lines: Lines::new(),
            ended: false,
        }
    }

    /// Hands on each line that waits; whether more can come. Never blocks.
    ///
    /// The file may be shared with other programs, so it is asked whether a read would wait
    /// rather than told never to.
    pub(super) fn for_each(&mut self, mut visitor: impl FnMut(&[u8])) -> io::Result<bool> {
        for _ in 0..PIECES_PER_CALL {
            let mut files = [PollFd::readable(self.file.as_fd())];
            if self.ended || poll(&mut files, Some(Duration::default()))? == 0 {
                break;
            }
            match self.file.read(&mut self.piece) {
                Ok(0) => self.ended = true,
                Ok(length) => {
                    let piece = self.piece.get(..length).unwrap_or_default();
                    self.lines.feed(piece, &mut visitor);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.ended = true;
                    return Err(error);
                }
            }
        }
        Ok(!self.ended)
    }

    /// What to wait for; nothing once the stream has ended, for then it is always ready.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.ended).then(|| self.file.as_fd())
    }

    fn leave_out_what_is_old(&mut self, rest: Duration, until: Instant) -> io::Result<()> {
        while self.for_each(|_| {})? {
            let left = until.since(boottime()).min(rest);
            let mut files = [PollFd::readable(self.file.as_fd())];
            if left == Duration::default() || poll(&mut files, Some(left))? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// How many lines were too long.
    pub(super) fn too_long(&self) -> u64 {
        self.lines.too_long()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::testing::eventually::eventually;

    fn pipe() -> (Input, io::PipeWriter) {
        let (reader, writer) = io::pipe().unwrap();
        (Input::new(OwnedFd::from(reader).into()), writer)
    }

    fn read(input: &mut Input) -> (Vec<String>, bool) {
        let mut lines = Vec::new();
        let goes_on = input.for_each(|line| {
            lines.push(String::from_utf8_lossy(line).into_owned());
        });
        (lines, goes_on.unwrap())
    }

    #[test]
    fn lines_come_until_the_end_which_is_told_once() {
        let (mut input, mut writer) = pipe();
        assert_eq!(read(&mut input), (vec![], true));
        writer.write_all(b"one\ntw").unwrap();
        assert_eq!(read(&mut input), (vec!["one".into()], true));
        writer.write_all(b"o\nthree").unwrap();
        drop(writer);
        let mut lines = vec![];
        eventually(|| {
            let (more, goes_on) = read(&mut input);
            lines.extend(more);
            !goes_on
        });
        assert_eq!(lines, ["two"]);
        assert!(input.fd().is_none());
        assert_eq!(read(&mut input), (vec![], false));
    }

    #[test]
    fn what_comes_before_a_rest_is_old() {
        let (mut input, mut writer) = pipe();
        writer.write_all(b"old\nold too\nbeg").unwrap();
        let rest = Duration::from_millis(1);
        let until = boottime() + MAX_UNREST;
        input.leave_out_what_is_old(rest, until).unwrap();
        writer.write_all(b"un\nnew\n").unwrap();
        assert_eq!(read(&mut input), (vec!["begun".into(), "new".into()], true));
    }

    #[test]
    fn a_stream_that_does_not_rest_is_believed_after_a_while() {
        let mut input = Input::new(File::open("/dev/zero").unwrap());
        let until = boottime() + Duration::from_millis(50);
        input.leave_out_what_is_old(REST_TIME, until).unwrap();
        assert!(boottime() >= until);
    }

    #[test]
    fn a_stream_may_end_before_it_rests() {
        let (mut input, writer) = pipe();
        drop(writer);
        eventually(|| {
            let until = boottime() + MAX_UNREST;
            input.leave_out_what_is_old(REST_TIME, until).unwrap();
            input.fd().is_none()
        });
    }

    #[test]
    fn a_stream_that_never_rests_is_left_after_a_while() {
        let file = File::open("/dev/zero").unwrap();
        let mut input = Input::new(file);
        assert_eq!(read(&mut input), (vec![], true));
        assert!(input.fd().is_some());
    }
}
