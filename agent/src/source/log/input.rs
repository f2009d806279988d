//! Standard input, such as a pipe from `logread -f`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use postern_core::time::Duration;

use super::lines::Lines;
use crate::sys::poll::{PollFd, poll};

/// The most that is read at once, and how often in one call.
const PIECE: usize = 8192;
const PIECES_PER_CALL: usize = 64;

/// A stream, until it ends.
pub(super) struct Input {
    file: File,
    piece: Box<[u8]>,
    lines: Lines,
    ended: bool,
}

impl Input {
    /// Reads this program's standard input from now on.
    pub(super) fn standard() -> io::Result<Self> {
        let file = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self::new(file.into()))
    }

    fn new(file: File) -> Self {
        Self {
            file,
            piece: vec![0; PIECE].into(),
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
        assert_eq!(read(&mut input), (vec!["two".into()], false));
        assert!(input.fd().is_none());
        assert_eq!(read(&mut input), (vec![], false));
    }

    #[test]
    fn a_stream_that_never_rests_is_left_after_a_while() {
        let file = File::open("/dev/zero").unwrap();
        let mut input = Input::new(file);
        assert_eq!(read(&mut input), (vec![], true));
        assert!(input.fd().is_some());
    }
}
