//! Postern, the Linux program, as a library that its binary and its tests share.
//!
//! A packet's journey: `source` reads it from the kernel, core says what it means, `daemon` carries the decision to the
//! `firewall`, and the kernel does the rest. ARCHITECTURE.md has the map.

mod cli;
mod client;
mod collect;
mod daemon;
mod doctor;
mod files;
mod firewall;
#[cfg(fuzzing)]
pub mod fuzzing;
mod knock_ports;
mod netlink;
mod network;
mod onetime;
mod openwrt;
mod output;
mod report;
mod sort;
mod source;
mod spa;
mod sys;
#[cfg(test)]
mod testing;
mod token_bucket;
mod trial;
mod validity;

use std::process::ExitCode;

/// Does what the command line says.
pub fn main() -> ExitCode {
    match cli::dispatch(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
