//! Reaching a running agent, or the kernel where none runs.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use postern_core::config::DEFAULT_CONTROL;

use crate::daemon::control::{self, Answer, Request};
use crate::files::config_file::Peeked;
use crate::firewall::Firewall;
use crate::output::{self, Failure};

/// Asks the agent that the configuration speaks of; `None` where none runs.
///
/// A broken configuration must not keep its owner from opening a door, so then the agent
/// is looked for where one of its lines says, or else where it would be without one.
pub(super) fn agent(file: &Peeked, request: &Request) -> Result<Option<Answer>, Failure> {
    agent_at(&socket(file), request)
}

/// Asks the agent that listens there; `None` where none runs.
pub(super) fn agent_at(socket: &Path, request: &Request) -> Result<Option<Answer>, Failure> {
    control::ask(socket, request).map_err(|error| unreachable(socket, &error))
}

/// Calls the agent that the configuration speaks of, and leaves the line open.
pub(super) fn call(file: &Peeked, request: &Request) -> Result<Option<UnixStream>, Failure> {
    let socket = socket(file);
    control::call(&socket, request).map_err(|error| unreachable(&socket, &error))
}

fn socket(file: &Peeked) -> PathBuf {
    match &file.config {
        Some(config) => PathBuf::from(config.global.control.as_str()),
        None => file.control().unwrap_or_else(|| DEFAULT_CONTROL.into()),
    }
}

/// Says what to do where no agent was found, a guard belongs to one, and no configuration that is
/// right said where to look: that agent may well be in good health. A mistyped `control` is but
/// ignored, so that a configuration without one does not say it.
pub(super) fn forbid_unasked(file: &Peeked) -> Result<(), Failure> {
    if file.config.is_some() && file.control().is_some() {
        return Ok(());
    }
    match firewall()?.owner() {
        None => Ok(()),
        Some(process) => Err(Failure::Failed(format!(
            "the guard belongs to process {process}, which was not asked: no readable \
             configuration names its socket; mend {} first",
            file.path.display()
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
    file: &Peeked,
    request: &Request,
    directly: &mut dyn FnMut() -> Result<Answer, Failure>,
) -> Result<(), Failure> {
    let answer = match agent(file, request) {
        Ok(Some(answer)) => answer,
        Ok(None) => {
            forbid_unasked(file)?;
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
