//! Postern beside others, on the same machine in the same run.
//!
//! `bench latency` times the way from the last knock to the open port; `bench flood` counts the
//! honest knocks that open under a flood of spoofed first knocks; `bench forward` fills a connection
//! that the router sends on, beside the guard and without; `bench scans` scans all ports, for hours.

mod contender;
mod flood;
mod forward;
mod honest;
mod latency;
mod scans;

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
        ["forward"] => forward::measure(),
        ["honest"] => honest::measure(2, 20),
        ["honest", "briefly"] => honest::measure(1, 1),
        ["scans"] => scans::measure(1_000, 20),
        // To see that it works.
        ["scans", "briefly"] => scans::measure(8, 0),
        _ => {
            eprintln!("usage: bench latency|flood|forward|honest|scans");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
