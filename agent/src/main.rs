//! Postern: port knocking for Netfilter.

use std::process::ExitCode;

fn main() -> ExitCode {
    postern::main()
}
