//! Netfilter's log lines, from wherever the machine has them.
//!
//! What the kernel logs passes through more hands than a packet that is handed over: the
//! kernel logs no more than a few knocks a second (`Delivery::Line`), overwrites what nobody
//! read, and logs nothing of a container unless it is told to.

mod follower;
mod input;
mod kmsg;
mod lines;

use std::fs::{self, Metadata};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use postern_core::config::LogFrom;
use postern_core::kernlog::{Line, line};
use postern_core::knock::Knock;
use postern_core::packet::Refusal;
use postern_core::time::Instant;

use self::follower::Follower;
use self::input::Input;
use self::kmsg::Kmsg;
use super::Losses;
use crate::collect::CollectVec;
use crate::sys::process::Capability;

/// A log in which the kernel tells of knocks.
pub(crate) struct LogSource {
    from: LogFrom,
    reader: Reader,
    /// What is never ready to be read, because nobody writes.
    nothing: (PipeReader, PipeWriter),
    notices: Vec<String>,
}

enum Reader {
    Kernel(Kmsg),
    File(Follower),
    Input(Input),
}

impl LogSource {
    /// Begins to read at the end of what the log holds now.
    pub(crate) fn open(from: &LogFrom, now: Instant) -> Result<Box<Self>, String> {
        let failed = |error: io::Error| format!("source log: {error}");
        let reader = match from {
            LogFrom::Kernel => {
                let file = kmsg::open().map_err(|error| kmsg::explain(&error))?;
                Reader::Kernel(Kmsg::read(file).map_err(failed)?)
            }
            LogFrom::File(path) => {
                let path = Path::new(path.as_str());
                if let Err(error) = follower::open(path)
                    && error.kind() == io::ErrorKind::PermissionDenied
                {
                    return Err(format!(
                        "source log: {}: {error}; a running agent has given up what reads it: restart it",
                        path.display()
                    ));
                }
                Reader::File(Follower::open(path, now))
            }
            LogFrom::Input => Reader::Input(Input::standard().map_err(failed)?),
        };
        let mut source = Box::new(Self {
            from: from.clone(),
            reader,
            nothing: io::pipe().map_err(failed)?,
            notices: namespace_notice().into_iter().collect_vec(),
        });
        source.tell_end();
        Ok(source)
    }

    /// Where it reads.
    pub(super) const fn from(&self) -> &LogFrom {
        &self.from
    }

    /// Hands each knock that waits to the visitor, and the reason of each line that tells of none
    /// although it is about a packet that our rule logged, or reads as if it was.
    pub(super) fn for_each(
        &mut self,
        now: Instant,
        visitor: &mut dyn FnMut(Result<Knock<'_>, Refusal>),
    ) -> io::Result<()> {
        let mut forged = 0_u32;
        let mut hear = |line: Line<'_>| match line {
            Line::Packet(knock) => visitor(knock),
            Line::Forged => {
                forged += 1;
                visitor(Err(Refusal::Forged));
            }
            Line::Foreign => {}
        };
        match &mut self.reader {
            Reader::Kernel(kmsg) => kmsg.for_each(hear)?,
            Reader::File(follower) => follower.for_each(now, |text| hear(line(text))),
            Reader::Input(input) => {
                let was_open = input.fd().is_some();
                let read = input.for_each(|text| hear(line(text)));
                if was_open {
                    self.tell_end();
                }
                read?;
            }
        }
        if forged > 0 {
            self.notices.push(format!(
                "lines of the log that read as if the kernel told of a knock, but do not say \
                 that it did: {forged}"
            ));
        }
        Ok(())
    }

    /// The stream may have ended, which is told once, for it is read no more.
    fn tell_end(&mut self) {
        if matches!(&self.reader, Reader::Input(input) if input.fd().is_none()) {
            let end = "standard input has ended: nobody is heard any more";
            self.notices.push(end.to_owned());
        }
    }

    /// When to look at a file that may have changed without a word.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        match &self.reader {
            Reader::File(follower) => Some(follower.poll_at()),
            Reader::Kernel(_) | Reader::Input(_) => None,
        }
    }

    /// Records that are missing, whatever they were about, and lines that were too long.
    pub(super) fn losses(&self) -> Losses {
        match &self.reader {
            Reader::Kernel(kmsg) => Losses {
                packets: kmsg.lost(),
                overruns: kmsg.overruns(),
            },
            Reader::File(follower) => without_room(follower.too_long()),
            Reader::Input(input) => without_room(input.too_long()),
        }
    }

    /// What there is to say about the log, since it was last asked.
    pub(super) fn take_notices(&mut self) -> Vec<String> {
        let mut notices = core::mem::take(&mut self.notices);
        if let Reader::File(follower) = &mut self.reader {
            notices.extend(follower.take_notices());
        }
        notices
    }

    /// What reading on takes, beside what every agent needs. A trial of another source may have to go back to the
    /// kernel's log; a rotated file is opened again, and where neither everyone nor a group may read it, it takes what
    /// reads any.
    pub(super) fn needs(&self) -> Option<Capability> {
        match &self.reader {
            Reader::Kernel(_) => Some(Capability::Syslog),
            Reader::File(_) => match self.facts() {
                Some(facts) if facts.mode() & 0o004 != 0 || group(&facts).is_some() => None,
                _ => Some(Capability::ReadAnyFile),
            },
            Reader::Input(_) => None,
        }
    }

    /// The group that may read the file.
    pub(super) fn group(&self) -> Option<u32> {
        group(&self.facts()?)
    }

    fn facts(&self) -> Option<Metadata> {
        match &self.from {
            LogFrom::File(path) => fs::metadata(path.as_str()).ok(),
            LogFrom::Kernel | LogFrom::Input => None,
        }
    }
}

/// Root's own group may do more than read.
fn group(facts: &Metadata) -> Option<u32> {
    let may_read = facts.mode() & 0o044 == 0o040 && facts.gid() != 0;
    may_read.then_some(facts.gid())
}

const fn without_room(lines: u64) -> Losses {
    Losses {
        packets: 0,
        overruns: lines,
    }
}

impl AsFd for LogSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let file = match &self.reader {
            Reader::Kernel(kmsg) => Some(kmsg.as_fd()),
            Reader::File(follower) => follower.fd(),
            Reader::Input(input) => input.fd(),
        };
        file.unwrap_or_else(|| self.nothing.0.as_fd())
    }
}

/// What to say where the kernel may log nothing of what this network namespace hears
/// (`nf_log_allowed` in net/netfilter/nf_log_syslog.c). The variable that decides is shown in
/// the machine's own namespace only, and its neighbour in all of them.
fn namespace_notice() -> Option<String> {
    let is_shown = |name: &str| fs::exists(format!("/proc/sys/net/netfilter/{name}")).ok();
    let is_of_container = is_shown("nf_log")? && !is_shown("nf_log_all_netns")?;
    is_of_container.then(|| {
        "this is not the machine's own network namespace: the kernel logs knocks here only if \
         net.netfilter.nf_log_all_netns is 1 there"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::sys::clock::boottime;
    use crate::testing::scratch::Scratch;

    #[test]
    fn nobody_waits_for_whoever_writes_to_a_fifo() {
        let scratch = Scratch::new();
        let path = scratch.path("fifo");
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let from = LogFrom::File(path.to_str().unwrap().try_into().unwrap());
        let mut source = LogSource::open(&from, boottime()).unwrap();
        let notices = source.take_notices().concat();
        assert!(notices.contains("not a file"), "{notices}");
    }
}
