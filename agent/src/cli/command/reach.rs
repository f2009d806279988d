//! Reaching a running agent, or the kernel where none runs.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use postern_core::config::DEFAULT_CONTROL;

use crate::daemon::control::{self, Answer, Request};
use crate::files::config_file;
use crate::firewall::Firewall;
use crate::output::{self, Failure};

/// Asks the agent that the configuration speaks of; `None` where none runs.
///
/// A broken configuration must not keep its owner from opening a door, so then the agent
/// is looked for where one of its lines says, or else where it would be without one.
pub(super) fn agent(config: &Path, request: &Request) -> Result<Option<Answer>, Failure> {
    let socket = socket(config);
    control::ask(&socket, request).map_err(|error| unreachable(&socket, &error))
}

/// Calls the agent that the configuration speaks of, and leaves the line open.
pub(super) fn call(config: &Path, request: &Request) -> Result<Option<UnixStream>, Failure> {
    let socket = socket(config);
    control::call(&socket, request).map_err(|error| unreachable(&socket, &error))
}

fn socket(config: &Path) -> PathBuf {
    match config_file::peek(config) {
        Some(config) => PathBuf::from(config.global.control.as_str()),
        None => config_file::peek_control(config).unwrap_or_else(|| DEFAULT_CONTROL.into()),
    }
}

/// Says what to do where no agent was found, a guard belongs to one, and no configuration that is
/// right said where to look: that agent may well be in good health. A mistyped `control` is but
/// ignored, so that a configuration without one does not say it.
pub(super) fn forbid_unasked(config: &Path) -> Result<(), Failure> {
    if config_file::peek(config)
        .and(config_file::peek_control(config))
        .is_some()
    {
        return Ok(());
    }
    match firewall()?.owner() {
        None => Ok(()),
        Some(process) => Err(Failure::Failed(format!(
            "the guard belongs to process {process}, which was not asked: no readable \
             configuration names its socket; mend {} first",
            config.display()
        ))),
    }
}

fn unreachable(socket: &Path, error: &io::Error) -> Failure {
    let cure = match error.kind() {
        io::ErrorKind::PermissionDenied => "; run this as root",
        io::ErrorKind::WouldBlock => "; it does not answer",
        _ => "",
    };
    Failure::Failed(format!("the agent at {}: {error}{cure}", socket.display()))
}

/// Asks the agent; where it cannot be asked, turns to the kernel.
pub(super) fn switch(
    config: &Path,
    request: &Request,
    directly: &mut dyn FnMut() -> Result<Answer, Failure>,
) -> Result<(), Failure> {
    let answer = match agent(config, request) {
        Ok(Some(answer)) => answer,
        Ok(None) => {
            forbid_unasked(config)?;
            directly()?
        }
        Err(Failure::Failed(why)) => {
            output::warn(&format!("{why}; telling the kernel directly"));
            directly()?
        }
        Err(failure) => return Err(failure),
    };
    output::print(&answer.map_err(Failure::Failed)?)
}

/// The kernel's packet filter.
pub(super) fn firewall() -> Result<Firewall, Failure> {
    Firewall::open()
        .map_err(|error| Failure::Failed(format!("netlink socket of nf_tables: {error}")))
}
