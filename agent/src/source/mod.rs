//! Where knocks are seen: one file for each source.
//!
//! The daemon polls one file, whatever the source; what the kernel's table must do so that
//! the source sees a knock is [`Hearing`]'s to say.
//!
//! [`Hearing`]: crate::firewall::Hearing

pub mod nflog;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use postern_core::config::{self, Config};
use postern_core::knock::{Knock, Port};
use postern_core::packet;
use postern_core::time::Instant;

use self::nflog::Nflog;
use crate::firewall::LONGEST_SNAPLEN;

/// Room for the packets that arrive while the agent is busy: 0.1 s of a flood.
const RECEIVE_BUFFER: u32 = 4 << 20;

/// What the agent hears knocks by.
pub(crate) enum Source {
    Nflog(Nflog),
}

/// What another configuration takes.
pub(crate) enum Next {
    /// Nothing: what is heard is the same.
    Same,
    /// Another source, which hears already.
    Other(Source),
}

/// Knocks that the kernel could not hand over, since the source was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Packets that are known to be missing.
    pub packets: u64,
    /// How often there was no room for one more.
    pub overruns: u64,
}

impl Source {
    /// Begins to hear the knocks that a configuration asks for. `listed` are the knock ports that
    /// it names by a file only.
    pub(crate) fn open(config: &Config, _listed: &[Port]) -> Result<Self, String> {
        let global = &config.global;
        match global.source {
            config::Source::Nflog => {
                Nflog::open(global.nflog_group, LONGEST_SNAPLEN, RECEIVE_BUFFER)
                    .map(Self::Nflog)
                    .map_err(|error| error.to_string())
            }
            other => Err(format!("source {} is not in this version", other.name())),
        }
    }

    /// Gets ready for another configuration; what is heard now goes on until [`Source::adopt`].
    pub(crate) fn prepare(&self, config: &Config, listed: &[Port]) -> Result<Next, String> {
        match self {
            Self::Nflog(nflog)
                if config.global.source == config::Source::Nflog
                    && config.global.nflog_group == nflog.group() =>
            {
                Ok(Next::Same)
            }
            Self::Nflog(_) => Self::open(config, listed).map(Next::Other),
        }
    }

    /// Hears from now on what it got ready for.
    pub(crate) fn adopt(&mut self, next: Next) {
        match next {
            Next::Same => {}
            Next::Other(source) => *self = source,
        }
    }

    /// Hands each knock that waits to the visitor, and `None` for what was no knock after all.
    /// Never blocks.
    ///
    /// It reads a bounded number; poll tells whether more wait.
    pub(crate) fn for_each(
        &mut self,
        mut visitor: impl FnMut(Option<&Knock<'_>>),
    ) -> io::Result<()> {
        match self {
            Self::Nflog(nflog) => {
                let heard = nflog.for_each(|packet| visitor(packet::parse(packet).ok().as_ref()));
                heard.map(drop)
            }
        }
    }

    /// When [`Source::poll`] has something to do, if nothing else happens.
    pub(crate) fn poll_at(&self) -> Option<Instant> {
        match self {
            Self::Nflog(_) => None,
        }
    }

    /// Tries again what failed before.
    pub(crate) fn poll(&mut self, _now: Instant) {
        match self {
            Self::Nflog(_) => {}
        }
    }

    /// What was lost since it was opened.
    pub(crate) fn losses(&self) -> Losses {
        match self {
            Self::Nflog(nflog) => nflog.losses(),
        }
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Nflog(nflog) => nflog.as_fd(),
        }
    }
}
