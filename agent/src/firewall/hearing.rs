//! What the table does so that the source of knocks sees one.

use postern_core::config::{Config, Global, Source};
use postern_core::kernlog;

use super::ruleset::{Rule, Statement, Verdict, snaplen};

/// How the table helps the source to see a knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// It copies the start of the packet to this NFLOG group, and drops the packet.
    Group(u16),
    /// It has the kernel's log say that the packet came, and drops the packet.
    Line,
    /// It drops the packet, which the source has seen before.
    Before,
    /// It lets the packet through to a socket of the agent's.
    Through,
}

impl Hearing {
    /// What the configuration's source needs.
    pub const fn of(global: &Global) -> Self {
        match global.source {
            Source::Nflog => Self::Group(global.nflog_group),
            Source::Packet => Self::Before,
            Source::Sockets => Self::Through,
            Source::Log => Self::Line,
        }
    }

    /// What tells the source of a packet, where the table must.
    pub(super) fn tell(self, config: &Config) -> Option<Statement> {
        match self {
            Self::Group(group) => Some(Statement::Log {
                group,
                length: snaplen(&config.doors),
            }),
            Self::Line => Some(Statement::LogLine(kernlog::PREFIX)),
            Self::Before | Self::Through => None,
        }
    }

    /// What becomes of a knock. A socket's is marked as a granted source's packets are, in case
    /// that the ordinary firewall asks for the mark.
    pub(super) fn knock(self, config: &Config) -> Rule {
        let verdict = match self {
            Self::Through => Verdict::Accept,
            Self::Group(_) | Self::Line | Self::Before => Verdict::Drop,
        };
        let mark = match self {
            Self::Through => super::ruleset::mark(config),
            Self::Group(_) | Self::Line | Self::Before => None,
        };
        let told = self.tell(config).into_iter().chain(mark);
        told.chain([Statement::Verdict(verdict)]).collect()
    }
}
