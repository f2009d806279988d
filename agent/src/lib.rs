//! Postern, the Linux program, as a library that its binary and its tests share.
//!
//! A packet's journey: [`source`] reads it from the kernel, core says what it means,
//! [`daemon`] carries the decision to the [`firewall`], and the kernel does the rest.

mod allowance;
mod args;
mod client;
mod command;
mod conntrack;
mod control;
mod daemon;
mod doctor;
mod files;
pub mod firewall;
mod journal;
mod knock_ports;
mod links;
mod manual;
mod notify;
mod onetime;
mod openwrt;
mod orphan;
mod output;
mod patience;
mod qr;
mod report;
pub mod source;
pub mod sys;
#[cfg(test)]
mod testing;
mod trial;
mod watchers;

use std::process::ExitCode;

/// Does what the command line says.
pub fn main() -> ExitCode {
    match args::dispatch(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
