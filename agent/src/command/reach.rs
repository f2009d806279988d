//! Reaching a running agent, or the kernel where none runs.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use postern_core::config::DEFAULT_CONTROL;

use crate::config_file;
use crate::control::{self, Answer, Request};
use crate::firewall::Firewall;
use crate::output::{self, Failure};

/// Asks the agent that the configuration speaks of; `None` where none runs.
///
/// A broken configuration must not keep its owner from opening a door, so then the agent
/// is looked for where it would be without one.
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
        None => PathBuf::from(DEFAULT_CONTROL),
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
        Ok(None) => directly()?,
        Err(Failure::Failed(why)) => {
            output::say(&format!("{why}; telling the kernel directly"));
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
