//! Postern beside others, on the same machine in the same run.
//!
//! `bench latency` times the way from the last knock to the open port; `bench flood` counts the
//! honest knocks that open under a flood of spoofed first knocks.

mod contender;
mod flood;
mod latency;

use std::process::ExitCode;

use contender::Contender;

fn main() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("bench: network namespaces need root");
        return ExitCode::FAILURE;
    }
    let modes: Vec<String> = std::env::args().skip(1).collect();
    match modes.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["latency"] => latency::measure(&Contender::all_with_engines()),
        ["flood"] => flood::measure(&Contender::all()),
        _ => {
            eprintln!("usage: bench latency|flood");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
