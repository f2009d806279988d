//! What Postern says: results on standard output, mistakes and the log on standard error.

pub(crate) mod json;
pub(crate) mod meant;
mod span;
pub(crate) mod wrap;

use core::fmt::{self, Display, Write as _};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::env;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::process::ExitCode;

use heapless::String;
use postern_core::time::Duration;

use crate::sys::poll::{PollFd, poll};

pub(crate) use span::span;

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
                line.chars().take(MAX_REASON_CHARS).collect()
            }
            Self::Reported | Self::Found(_) => {
                "it has mistakes, and 'postern check' names them".into()
            }
        }
    }

    /// What to tell whoever did not see what was reported; `reported` stands for that.
    pub(crate) fn in_words(self, reported: &str) -> std::string::String {
        match self {
            Self::Misused(why) | Self::Failed(why) => why,
            Self::Reported | Self::Found(_) => reported.into(),
        }
    }

    /// Says it, if that was not done yet, and names the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Misused(why) => {
                fail(why);
                ExitCode::from(2)
            }
            Self::Failed(why) => {
                fail(why);
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

/// How much a line matters, by the numbers of syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// It does not do what it was told, or guards worse than it was told.
    Error = 3,
    /// It may not do so for long, or not what was meant.
    Warning = 4,
    /// What was done at the doors, and what people did.
    Notice = 5,
    /// What it is about.
    Info = 6,
}

/// Writes one line to standard error, where service managers collect logs.
///
/// Nothing can be done about a log that cannot be written, least of all stop guarding.
pub(crate) fn say(line: &str) {
    say_at_once(Level::Info, format_args!("{line}"));
}

/// Writes one line to standard error, about what somebody should look at.
pub(crate) fn warn(line: &str) {
    say_at_once(Level::Warning, format_args!("{line}"));
}

/// Writes one line to standard error, about what went wrong.
pub(crate) fn fail(line: &str) {
    say_at_once(Level::Error, format_args!("{line}"));
}

/// Writes one line to standard error without a copy of it: that takes no memory, because a knock can cause it.
pub(crate) fn say_at_once(level: Level, line: fmt::Arguments<'_>) {
    write_line(level, form().name(), line);
}

/// Writes one line to standard error without the program's name, as compilers do.
pub(crate) fn write_error(level: Level, line: &str) {
    write_line(level, "", format_args!("{line}"));
}

/// What becomes of a line, by who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A person, or a file.
    Plain = 1,
    /// systemd's journal: it knows the name, and takes a priority before each line (sd-daemon(3)).
    Journal,
    /// OpenWrt's procd: it knows the name, and logs standard output as daemon.info and standard error as
    /// daemon.err (`instance_stdio` in its service/instance.c).
    Procd,
}

/// The [`Form`], once it is known.
static FORM: AtomicU8 = AtomicU8::new(0);

/// Logs for procd from now on.
pub(crate) fn log_for_procd() {
    FORM.store(Form::Procd as u8, Ordering::Relaxed);
}

fn form() -> Form {
    const PLAIN: u8 = Form::Plain as u8;
    const JOURNAL: u8 = Form::Journal as u8;
    const PROCD: u8 = Form::Procd as u8;
    match FORM.load(Ordering::Relaxed) {
        PLAIN => Form::Plain,
        JOURNAL => Form::Journal,
        PROCD => Form::Procd,
        _ => {
            let form = match env::var("JOURNAL_STREAM").is_ok_and(|name| names_stderr(&name)) {
                true => Form::Journal,
                false => Form::Plain,
            };
            FORM.store(form as u8, Ordering::Relaxed);
            form
        }
    }
}

/// Whether `DEVICE:INODE` is standard error's (systemd.exec(5)): a variable alone is inherited by
/// programs whose standard error goes elsewhere.
fn names_stderr(name: &str) -> bool {
    let file = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    let about = file.and_then(|file| file.metadata());
    about.is_ok_and(|about| *name == *format!("{}:{}", about.dev(), about.ino()))
}

impl Form {
    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "postern: ",
            Self::Journal | Self::Procd => "",
        }
    }

    const fn prefix(self, level: Level) -> &'static str {
        match (self, level) {
            (Self::Plain | Self::Procd, _) => "",
            (Self::Journal, Level::Error) => "<3>",
            (Self::Journal, Level::Warning) => "<4>",
            (Self::Journal, Level::Notice) => "<5>",
            (Self::Journal, Level::Info) => "<6>",
        }
    }
}

fn write_line(level: Level, name: &str, line: fmt::Arguments<'_>) {
    let form = form();
    let text = &mut Text::new(form.prefix(level));
    if form == Form::Procd && level >= Level::Notice {
        write_to(&mut io::stdout().lock(), text, name, line);
    } else {
        write_to(&mut io::stderr().lock(), text, name, line);
    }
}

fn write_to(to: &mut (impl Write + AsFd), text: &mut Text, name: &str, line: fmt::Arguments<'_>) {
    if NEVER_WAIT.load(Ordering::Relaxed) {
        if !has_room(to) {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let left_out = LEFT_OUT.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            text.add(format_args!(
                "{name}{left_out} lines left out: nobody read the log\n"
            ));
        }
    }
    text.add(format_args!("{name}{line}"));
    // In one piece, so that lines of several processes do not mix.
    _ = to.write_all(text.line());
}

/// The longest reason that is kept for later, in characters.
const MAX_REASON_CHARS: usize = 300;

/// The longest line, with what is said about lines left out: as much as a pipe that is ready
/// takes for sure (PIPE_BUF).
const MAX_LINE_LEN: usize = 4096;

/// A text that is cut off where it becomes too long, and each line of it with the same prefix.
struct Text {
    text: String<MAX_LINE_LEN>,
    prefix: &'static str,
}

impl Text {
    fn new(prefix: &'static str) -> Self {
        let mut text = String::new();
        _ = text.push_str(prefix);
        Self { text, prefix }
    }

    fn add(&mut self, words: impl Display) {
        _ = write!(self, "{words}");
    }

    /// The text, with the end of a line.
    fn line(&mut self) -> &[u8] {
        while self.text.push('\n').is_err() {
            self.text.pop();
        }
        self.text.as_bytes()
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, words: &str) -> fmt::Result {
        for letter in words.chars() {
            self.text.push(letter).map_err(|_| fmt::Error)?;
            if letter == '\n' {
                self.text.push_str(self.prefix).map_err(|_| fmt::Error)?;
            }
        }
        Ok(())
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
    use crate::testing::eventually::eventually;

    #[test]
    fn a_line_is_cut_off_before_its_end() {
        let mut text = Text::new("");
        text.add("x".repeat(MAX_LINE_LEN - 2));
        text.add("\u{e9}");
        assert!(text.line().ends_with(b"xx\xc3\xa9\n") || text.line().len() == MAX_LINE_LEN);
        let mut text = Text::new("");
        text.add(format_args!("{} {}", 1, "x".repeat(MAX_LINE_LEN)));
        assert_eq!(text.line().len(), MAX_LINE_LEN);
        assert!(text.line().starts_with(b"1 xx") && text.line().ends_with(b"xx\n"));
    }

    #[test]
    fn each_line_of_a_text_has_its_priority() {
        let mut text = Text::new(Form::Journal.prefix(Level::Warning));
        text.add("one\ntwo");
        assert_eq!(text.line(), b"<4>one\n<4>two\n");
    }

    #[test]
    fn a_pipe_without_a_reader_is_broken() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(!is_broken(&writer));
        drop(reader);
        eventually(|| is_broken(&writer));
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
