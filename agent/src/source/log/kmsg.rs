//! The kernel's log itself, record by record: /dev/kmsg (Documentation/ABI/testing/dev-kmsg).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use postern_core::kernlog::{self, Line};

use crate::sys::process::{Capability, has};

/// The longest record that the kernel makes of a message, with all that is known of it
/// (`CONSOLE_EXT_LOG_MAX`, later `PRINTK_MESSAGE_MAX`, of kernel/printk).
const MAX_RECORD_LEN: usize = 8192;
/// The most records that one call reads, so that a flood does not keep the agent from
/// everything else.
const RECORDS_PER_CALL: usize = 256;

/// Where it lies.
const KMSG_PATH: &str = "/dev/kmsg";

/// Opens the kernel's log. That takes a capability in many places (`kernel.dmesg_restrict`), and
/// reading takes none.
pub(super) fn open() -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(KMSG_PATH)
}

/// Says in words why it cannot be opened.
pub(super) fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) if !has(Capability::Syslog) => {
            format!("{KMSG_PATH} takes the capability CAP_SYSLOG")
        }
        Some(libc::ENOENT) => {
            format!("{KMSG_PATH} is not there, as in many containers: choose with option log_from")
        }
        _ => format!("{KMSG_PATH}: {error}"),
    }
}

/// The kernel's log, from its end on.
pub(super) struct Kmsg {
    file: File,
    record: Box<[u8]>,
    /// The number of the record that comes next; unknown before the first.
    expected: Option<u64>,
    lost: u64,
    overruns: u64,
}

impl Kmsg {
    /// Reads it from its end on.
    pub(super) fn read(mut file: File) -> io::Result<Self> {
        file.seek(SeekFrom::End(0))?;
        Ok(Self {
            file,
            record: vec![0; MAX_RECORD_LEN].into(),
            expected: None,
            lost: 0,
            overruns: 0,
        })
    }

    /// Hands the line of each record that waits to the visitor. Never blocks.
    pub(super) fn for_each(&mut self, mut visitor: impl FnMut(Line<'_>)) -> io::Result<()> {
        for _ in 0..RECORDS_PER_CALL {
            let length = match self.file.read(&mut self.record) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Records that were not read were overwritten; the next read goes on behind them.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {
                    self.overruns += 1;
                    continue;
                }
                // A record that is longer than any should be was left out.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => continue,
                Err(error) => return Err(error),
            };
            let record = self.record.get(..length).and_then(kernlog::record);
            let Some((number, line)) = record else {
                continue;
            };
            let expected = self.expected.replace(number.saturating_add(1));
            self.lost += number.saturating_sub(expected.unwrap_or(number));
            visitor(line);
        }
        Ok(())
    }

    /// Records, about whatever, that are missing between those that were read.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// How often records were overwritten before they were read.
    pub(super) fn overruns(&self) -> u64 {
        self.overruns
    }
}

impl AsFd for Kmsg {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::testing::skipping::skip;

    /// Writes a record, as any program that may.
    fn write(text: &str) -> io::Result<()> {
        OpenOptions::new()
            .write(true)
            .open(KMSG_PATH)?
            .write_all(text.as_bytes())
    }

    #[test]
    fn records_of_programs_are_read_in_turn_and_are_not_the_kernels() {
        let Ok(file) = open() else {
            return skip(format_args!("{KMSG_PATH} cannot be read here"));
        };
        let mut kmsg = Kmsg::read(file).unwrap();
        let forged = "<4>postern: IN=eth0 OUT= SRC=192.0.2.1 DST=192.0.2.2\n";
        if write(forged).is_err() {
            return skip(format_args!("{KMSG_PATH} cannot be written to here"));
        }
        write("postern's tests: another record\n").unwrap();
        let mut lines = Vec::new();
        kmsg.for_each(|line| lines.push(format!("{line:?}")))
            .unwrap();
        assert!(lines.contains(&"Forged".to_owned()), "{lines:?}");
        assert!(lines.contains(&"Foreign".to_owned()), "{lines:?}");
    }
}
