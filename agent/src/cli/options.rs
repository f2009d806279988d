//! What the command line says, besides the verb.

use core::net::IpAddr;
use std::path::PathBuf;

use postern_core::time::Duration;

use crate::client::Family;
use crate::files::config_file::Doors;
use crate::onetime::Resync;

/// Where a configuration is looked for unless `--config` names another.
pub(crate) const DEFAULT_CONFIG: &str = "/etc/config/postern";

/// What the command line said, besides the verb.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) config: PathBuf,
    pub(crate) json: bool,
    pub(crate) from: Option<IpAddr>,
    /// The interface to open on.
    pub(crate) on: Option<String>,
    /// Every door, in place of one.
    pub(crate) all: bool,
    pub(crate) lasting: Option<Duration>,
    pub(crate) force: bool,
    pub(crate) resync: Option<Resync>,
    /// The door, for the verbs that take one.
    pub(crate) door: String,
    /// The source to pardon.
    pub(crate) source: String,
    /// The router to knock at.
    pub(crate) host: String,
    pub(crate) client_file: Option<PathBuf>,
    pub(crate) closing: bool,
    /// The only family to use; `None`: whichever the host has.
    pub(crate) family: Option<Family>,
    pub(crate) dry_run: bool,
    pub(crate) delay: Option<Duration>,
    /// How long each try waits for the guarded port; `None`: not at all.
    pub(crate) wait: Option<Duration>,
    pub(crate) next: Option<u64>,
    pub(crate) secret: bool,
    pub(crate) strict: bool,
    /// How long a guard is on trial; `None`: it is none.
    pub(crate) confirm_within: Option<Duration>,
    pub(crate) anyway: bool,
    /// A configuration without a door is no mistake.
    pub(crate) allow_none: bool,
    pub(crate) take_over: bool,
    /// Whether procd reads the log.
    pub(crate) for_procd: bool,
}

impl Options {
    pub(crate) const fn doors(&self) -> Doors {
        match self.allow_none {
            true => Doors::Allowed,
            false => Doors::Needed,
        }
    }
}
