//! A machine's serial line, with somebody typing at it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use postern_tests::process::Said;
use postern_tests::wait::{SOON, poll_for, try_poll};

/// A console whose shell tells in its prompt how the last command ended.
#[derive(Debug)]
pub(crate) struct Console {
    line: UnixStream,
    /// Everything that the machine has printed.
    printed: String,
    /// How much of that was there when the last command was typed.
    typed_at: usize,
    escape: Escape,
}

/// Where in a control sequence the line is: ESC, `[`, parameters, a letter (ECMA-48, section 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    Outside,
    Begun,
    Within,
}

impl Console {
    /// Takes hold of the line, as soon as QEMU offers it.
    pub(crate) fn connect(path: &Path) -> Self {
        let line = poll_for(SOON, "QEMU offers a serial line", || {
            UnixStream::connect(path).ok()
        });
        line.set_nonblocking(true).expect("do not block");
        Self {
            line,
            printed: String::new(),
            typed_at: 0,
            escape: Escape::Outside,
        }
    }

    /// Everything that the machine has printed so far.
    pub(crate) fn printed(&mut self) -> &str {
        let mut bytes = [0; 4096];
        loop {
            match self.line.read(&mut bytes) {
                Ok(0) => break,
                Ok(length) => self.keep(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        &self.printed
    }

    /// Waits for the shell's prompt; what was printed before it, and the status that it tells.
    /// `None`: `within` has passed first.
    pub(crate) fn prompt(&mut self, within: Duration) -> Option<Said> {
        try_poll(within, || {
            let typed_at = self.typed_at;
            let (output, status) = prompt_in(self.printed().get(typed_at..)?)?;
            Some(Said {
                status,
                stdout: output.into(),
                stderr: String::new(),
            })
        })
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) {
        self.typed_at = self.printed().len();
        // The queue between QEMU and us is larger than any line of a test.
        writeln!(self.line, "{line}").expect("type on the console");
    }

    /// Leaves out carriage returns, and what asks a terminal for more than printing.
    fn keep(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.escape = match (self.escape, byte) {
                (_, 0x1b) => Escape::Begun,
                (Escape::Begun, b'[') => Escape::Within,
                (Escape::Within, 0x20..0x40) => Escape::Within,
                (Escape::Begun | Escape::Within, _) => Escape::Outside,
                (Escape::Outside, b'\n' | b'\t' | 0x20..0x7f) => {
                    self.printed.push(char::from(*byte));
                    Escape::Outside
                }
                (Escape::Outside, _) => Escape::Outside,
            }
        }
    }
}

/// The output above the prompt `[STATUS]# ` at the end, without the echo of what was typed.
fn prompt_in(text: &str) -> Option<(&str, i32)> {
    let (above, status) = text.strip_suffix("]# ")?.rsplit_once('[')?;
    let status = status.parse().ok()?;
    let output = above.split_once('\n').map_or("", |(_, output)| output);
    Some((output, status))
}
