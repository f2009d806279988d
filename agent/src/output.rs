//! What Postern says: results on standard output, mistakes and the log on standard error.

use std::io::{self, Write};
use std::process::ExitCode;

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
    // In one piece, so that lines of several processes do not mix.
    _ = io::stderr()
        .lock()
        .write_all(format!("{line}\n").as_bytes());
}
