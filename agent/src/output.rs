//! What Postern says: results on standard output, mistakes and the log on standard error.

use core::fmt::{self, Display, Write as _};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use heapless::String;
use postern_core::time::Duration;

use crate::sys::poll::{PollFd, poll};

/// Why a verb did not do what it was told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The command line makes no sense.
    Misused(std::string::String),
    /// It was understood and went wrong.
    Failed(std::string::String),
    /// It went wrong and was reported already.
    Reported,
    /// It went well, and what it found has an exit status of its own.
    Found(u8),
}

impl Failure {
    /// Why, in a few words for those who ask later.
    pub(crate) fn in_short(&self) -> std::string::String {
        match self {
            Self::Misused(why) | Self::Failed(why) => {
                let line = why.lines().next().unwrap_or_default();
                line.chars().take(LONGEST_REASON).collect()
            }
            Self::Reported | Self::Found(_) => {
                "it has mistakes, and 'postern check' names them".into()
            }
        }
    }

    /// Says it, if that was not done yet, and names the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Misused(why) => {
                say(why);
                ExitCode::from(2)
            }
            Self::Failed(why) => {
                say(why);
                ExitCode::FAILURE
            }
            Self::Reported => ExitCode::FAILURE,
            Self::Found(status) => ExitCode::from(*status),
        }
    }
}

/// Writes a result to standard output. Whoever closed the pipe has read enough, and what the verb
/// did, or is still to do, does not depend on that: no mistake, and no other exit status.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Whether nobody reads standard output any more, which is told although nothing is written:
/// by POLLERR of a pipe, by POLLHUP of a socket or a terminal (poll(2)).
pub(crate) fn has_lost_its_reader() -> bool {
    is_broken(&io::stdout())
}

fn is_broken(file: &impl AsFd) -> bool {
    let mut files = [PollFd::broken(file.as_fd())];
    poll(&mut files, Some(Duration::default())).is_ok_and(|ready| ready > 0)
}

/// Writes one line to standard error, where service managers collect logs.
///
/// Nothing can be done about a log that cannot be written, least of all stop guarding.
pub(crate) fn say(line: &str) {
    say_at_once(format_args!("{line}"));
}

/// The same, without a copy of the line: it takes no memory, because a knock can cause it.
pub(crate) fn say_at_once(line: fmt::Arguments<'_>) {
    write_line(format_args!("postern: {line}"));
}

/// Writes one line to standard error as it is.
pub(crate) fn write_error(line: &str) {
    write_line(format_args!("{line}"));
}

fn write_line(line: fmt::Arguments<'_>) {
    let mut stderr = io::stderr().lock();
    let mut text = Text::default();
    if NEVER_WAIT.load(Ordering::Relaxed) {
        if !has_room(&stderr) {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let left_out = LEFT_OUT.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            text.add(format_args!(
                "postern: {left_out} lines left out: nobody read the log\n"
            ));
        }
    }
    text.add(line);
    // In one piece, so that lines of several processes do not mix.
    _ = stderr.write_all(text.line());
}

/// The longest reason that is kept for later, in characters.
const LONGEST_REASON: usize = 300;

/// The longest line, with what is said about lines left out: as much as a pipe that is ready
/// takes for sure (PIPE_BUF).
const LONGEST: usize = 4096;

/// A text that is cut off where it becomes too long.
#[derive(Default)]
struct Text(String<LONGEST>);

impl Text {
    fn add(&mut self, words: impl Display) {
        _ = write!(self, "{words}");
    }

    /// The text, with the end of a line.
    fn line(&mut self) -> &[u8] {
        while self.0.push('\n').is_err() {
            self.0.pop();
        }
        self.0.as_bytes()
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, words: &str) -> fmt::Result {
        let mut letters = words.chars();
        let whole = letters.all(|letter| self.0.push(letter).is_ok());
        if whole { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Set where a log that nobody reads must not stop the program.
static NEVER_WAIT: AtomicBool = AtomicBool::new(false);
/// Lines for which there was no room.
static LEFT_OUT: AtomicU32 = AtomicU32::new(0);

/// From now on leaves lines out, and counts them, rather than wait for whoever reads the log.
pub(crate) fn never_wait() {
    NEVER_WAIT.store(true, Ordering::Relaxed);
}

/// A pipe that is ready takes at least PIPE_BUF bytes at once (pipe(7)).
fn has_room(file: &impl AsFd) -> bool {
    let mut files = [PollFd::writable(file.as_fd())];
    poll(&mut files, Some(Duration::default())).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_line_is_cut_off_before_its_end() {
        let mut text = Text::default();
        text.add("x".repeat(LONGEST - 2));
        text.add("\u{e9}");
        assert!(text.line().ends_with(b"xx\xc3\xa9\n") || text.line().len() == LONGEST);
        let mut text = Text::default();
        text.add(format_args!("{} {}", 1, "x".repeat(LONGEST)));
        assert_eq!(text.line().len(), LONGEST);
        assert!(text.line().starts_with(b"1 xx") && text.line().ends_with(b"xx\n"));
    }

    #[test]
    fn a_pipe_without_a_reader_is_broken() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(!is_broken(&writer));
        drop(reader);
        assert!(is_broken(&writer));
    }

    #[test]
    fn a_log_that_nobody_reads_has_no_room() {
        let (mut log, _unread) = UnixStream::pair().unwrap();
        assert!(has_room(&log));
        log.set_nonblocking(true).unwrap();
        while log.write(&[b'x'; 4096]).is_ok() {}
        assert!(!has_room(&log));
    }
}
