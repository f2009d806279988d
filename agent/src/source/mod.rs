//! Where knocks are seen: one file for each source.
//!
//! The daemon polls one file, whatever the source; what the kernel's table must do so that
//! the source sees a knock is `firewall::table::delivery`'s to say.

mod filter;
mod interfaces;
mod log;
pub(crate) mod nflog;
mod packet;
mod sockets;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use postern_core::config::{self, Config};
use postern_core::knock::{Knock, Port};
use postern_core::packet::{Refusal, parse};
use postern_core::time::Instant;

use self::log::LogSource;
use self::nflog::Nflog;
use self::packet::PacketSource;
use self::sockets::Sockets;
use crate::firewall::LONGEST_SNAPLEN;
use crate::sys::process::Capability;

/// Room for the packets that arrive while the agent is busy: 0.1 s of a flood.
const RECEIVE_BUFFER: u32 = 4 << 20;

/// What the agent hears knocks by.
pub(crate) enum Source {
    Nflog(Nflog),
    Packet(Box<PacketSource>),
    Log(Box<LogSource>),
    Sockets(Box<Sockets>),
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
pub(crate) struct Losses {
    /// Packets that are known to be missing.
    pub packets: u64,
    /// How often there was no room for one more.
    pub overruns: u64,
}

impl Source {
    /// Begins to hear the knocks that a configuration asks for. `listed` are the knock ports that
    /// it names by a file only.
    pub(crate) fn open(config: &Config, listed: &[Port], now: Instant) -> Result<Self, String> {
        Self::open_beside(None, config, listed, now)
    }

    fn open_beside(
        before: Option<&Self>,
        config: &Config,
        listed: &[Port],
        now: Instant,
    ) -> Result<Self, String> {
        let global = &config.global;
        match global.source {
            config::Source::Nflog => {
                Nflog::open(global.nflog_group, LONGEST_SNAPLEN, RECEIVE_BUFFER)
                    .map(Self::Nflog)
                    .map_err(|error| error.to_string())
            }
            config::Source::Packet => PacketSource::open(config, listed).map(Self::Packet),
            config::Source::Sockets => {
                let before = match before {
                    Some(Self::Sockets(sockets)) => Some(&**sockets),
                    _ => None,
                };
                Sockets::start(config, listed, before).map(Self::Sockets)
            }
            config::Source::Log => LogSource::open(&global.log_from, now).map(Self::Log),
        }
    }

    /// Gets ready for another configuration; what is heard now goes on until [`Source::adopt`].
    pub(crate) fn prepare(
        &self,
        config: &Config,
        listed: &[Port],
        now: Instant,
    ) -> Result<Next, String> {
        let global = &config.global;
        let suits = global.source == self.name()
            && match self {
                Self::Nflog(nflog) => nflog.group() == global.nflog_group,
                Self::Packet(packet) => packet.suits(config, listed),
                Self::Log(log) => *log.from() == global.log_from,
                Self::Sockets(sockets) => sockets.suits(config, listed),
            };
        match suits {
            true => Ok(Next::Same),
            false => Self::open_beside(Some(self), config, listed, now).map(Next::Other),
        }
    }

    /// Hears from now on what it got ready for.
    pub(crate) fn adopt(&mut self, next: Next) {
        match next {
            Next::Same => {}
            Next::Other(source) => *self = source,
        }
    }

    /// Hands each knock that waits to the visitor, and of what was no knock after all the reason.
    /// Never blocks.
    ///
    /// It reads a bounded number; poll tells whether more wait.
    pub(crate) fn for_each(
        &mut self,
        now: Instant,
        visitor: &mut dyn FnMut(Result<Knock<'_>, Refusal>),
    ) -> io::Result<()> {
        let mut parsed = |packet: &[u8]| visitor(parse(packet));
        match self {
            Self::Nflog(nflog) => nflog.for_each(parsed).map(drop),
            Self::Packet(packet) => packet.for_each(now, &mut parsed),
            Self::Log(log) => log.for_each(now, visitor),
            Self::Sockets(sockets) => sockets.for_each(now, visitor),
        }
    }

    /// When there may be something to hear, or [`Source::poll`] has something to do, if nothing
    /// else happens.
    pub(crate) fn poll_at(&self) -> Option<Instant> {
        match self {
            Self::Nflog(_) => None,
            Self::Packet(packet) => packet.poll_at(),
            Self::Log(log) => log.poll_at(),
            Self::Sockets(sockets) => sockets.poll_at(),
        }
    }

    /// Tries again what failed before.
    pub(crate) fn poll(&mut self, now: Instant) {
        match self {
            Self::Nflog(_) | Self::Log(_) => {}
            Self::Packet(packet) => packet.poll(now),
            Self::Sockets(sockets) => sockets.poll(now),
        }
    }

    /// What was lost since it was opened.
    pub(crate) fn losses(&mut self) -> Losses {
        match self {
            Self::Nflog(nflog) => nflog.losses(),
            Self::Packet(packet) => packet.losses(),
            Self::Log(log) => log.losses(),
            Self::Sockets(sockets) => sockets.losses(),
        }
    }

    /// What there is to say about it, since it was last asked.
    pub(crate) fn take_notices(&mut self) -> Vec<String> {
        match self {
            Self::Nflog(_) | Self::Packet(_) | Self::Sockets(_) => Vec::new(),
            Self::Log(log) => log.take_notices(),
        }
    }

    /// What hearing on takes, at other ports as well, beside what every agent needs.
    pub(crate) fn needs(&self) -> Option<Capability> {
        match self {
            Self::Nflog(_) => None,
            Self::Packet(_) => Some(Capability::NetRaw),
            Self::Sockets(sockets) => sockets.needs(),
            Self::Log(log) => log.needs(),
        }
    }

    /// The group that may read what is heard.
    pub(crate) fn group(&self) -> Option<u32> {
        match self {
            Self::Nflog(_) | Self::Packet(_) | Self::Sockets(_) => None,
            Self::Log(log) => log.group(),
        }
    }

    const fn name(&self) -> config::Source {
        match self {
            Self::Nflog(_) => config::Source::Nflog,
            Self::Packet(_) => config::Source::Packet,
            Self::Log(_) => config::Source::Log,
            Self::Sockets(_) => config::Source::Sockets,
        }
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Nflog(nflog) => nflog.as_fd(),
            Self::Packet(packet) => packet.as_fd(),
            Self::Log(log) => log.as_fd(),
            Self::Sockets(sockets) => sockets.as_fd(),
        }
    }
}
