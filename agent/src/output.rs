//! What Postern says: results on standard output, mistakes and the log on standard error.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use postern_core::time::Duration;

use crate::sys::poll::{PollFd, poll};

/// Why a verb did not do what it was told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The command line makes no sense.
    Misused(String),
    /// It was understood and went wrong.
    Failed(String),
    /// It went wrong and was reported already.
    Reported,
}

impl Failure {
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
        }
    }
}

/// Writes a result to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        // Whoever closed the pipe has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes one line to standard error, where service managers collect logs.
///
/// Nothing can be done about a log that cannot be written, least of all stop guarding.
pub(crate) fn say(line: &str) {
    write_error(&format!("postern: {line}"));
}

/// Writes one line to standard error as it is.
pub(crate) fn write_error(line: &str) {
    let mut stderr = io::stderr().lock();
    let mut text = format!("{line}\n");
    if NEVER_WAIT.load(Ordering::Relaxed) {
        if !has_room(&stderr) {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let left_out = LEFT_OUT.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            text = format!("postern: {left_out} lines left out: nobody read the log\n{text}");
        }
    }
    // In one piece, so that lines of several processes do not mix.
    _ = stderr.write_all(text.as_bytes());
}

/// Set where a log that nobody reads must not stop the program.
static NEVER_WAIT: AtomicBool = AtomicBool::new(false);
/// Lines for which there was no room.
static LEFT_OUT: AtomicU32 = AtomicU32::new(0);

/// From now on leaves lines out, and counts them, rather than wait for whoever reads the log.
pub(crate) fn never_wait() {
    NEVER_WAIT.store(true, Ordering::Relaxed);
}

/// A pipe that is ready takes at least PIPE_BUF bytes at once (pipe(7)): more than a line.
fn has_room(file: &impl AsFd) -> bool {
    let mut files = [PollFd::writable(file.as_fd())];
    poll(&mut files, Some(Duration::default())).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_log_that_nobody_reads_has_no_room() {
        let (mut log, _unread) = UnixStream::pair().unwrap();
        assert!(has_room(&log));
        log.set_nonblocking(true).unwrap();
        while log.write(&[b'x'; 4096]).is_ok() {}
        assert!(!has_room(&log));
    }
}
