//! The kernel's log itself, record by record: /dev/kmsg (Documentation/ABI/testing/dev-kmsg).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use postern_core::kernlog::{self, Line};

/// The longest record that the kernel makes of a message, with all that is known of it
/// (`CONSOLE_EXT_LOG_MAX`, later `PRINTK_MESSAGE_MAX`, of kernel/printk).
const LONGEST_RECORD: usize = 8192;
/// The most records that one call reads, so that a flood does not keep the agent from
/// everything else.
const RECORDS_PER_CALL: usize = 256;

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
    /// Opens it, to be read from its end on.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let mut file = options.open(path)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self {
            file,
            record: vec![0; LONGEST_RECORD].into(),
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
