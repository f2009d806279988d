//! Why the kernel, or the way to it, said no.

use core::fmt::{self, Display, Formatter};
use std::io;

/// Why the firewall did not do what it was asked.
#[derive(Debug)]
pub enum Refusal {
    /// The process may not change the firewall (EPERM).
    NoPermission,
    /// There is no table of ours.
    NotInstalled,
    /// The table has no door of this name.
    UnknownDoor(String),
    /// The set is full; its name.
    Full(String),
    /// The kernel lacks something that nf_tables needs for this.
    Lacks {
        /// What was refused: `rule 3 of chain knock`.
        object: String,
        /// The expression, its kernel option and its module.
        feature: String,
    },
    /// The kernel refused something else.
    Refused {
        /// What was refused: `rule 3 of chain knock`.
        object: String,
        /// Why, by its number.
        error: io::Error,
        /// The kernel's own sentence; often empty.
        sentence: String,
    },
    /// The rules kept changing while they were read.
    Restless,
    /// The kernel did not answer as it should.
    NoAnswer,
    /// The netlink socket failed.
    Socket(io::Error),
}

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPermission => f.write_str("no permission to change the firewall: run as root"),
            Self::NotInstalled => {
                f.write_str("no guard is installed: there is no table inet postern")
            }
            Self::UnknownDoor(door) => write!(f, "the installed guard has no door '{door}'"),
            Self::Full(set) => write!(f, "set {set} is full"),
            Self::Lacks { object, feature } => write!(f, "{object}: the kernel lacks {feature}"),
            Self::Refused {
                object,
                error,
                sentence,
            } if sentence.is_empty() => {
                write!(f, "{object}: {error}")
            }
            Self::Refused {
                object,
                error,
                sentence,
            } => write!(f, "{object}: {error} ({sentence})"),
            Self::Restless => f.write_str("the firewall's rules kept changing; try again"),
            Self::NoAnswer => f.write_str("the kernel did not answer a netlink request"),
            Self::Socket(error) => write!(f, "netlink socket: {error}"),
        }
    }
}

impl core::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Refused { error, .. } | Self::Socket(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}
