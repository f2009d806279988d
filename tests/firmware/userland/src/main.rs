//! All that runs in a firmware image beside Postern and the kernel: one program, which is what
//! it is called.
//!
//! `init` readies the machine and keeps the others running, `service` is what a door guards, and
//! `sh` is the console's shell where Debian has no busybox: on big-endian MIPS.

mod init;
mod network;
mod service;
mod shell;
mod sys;

use std::env;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let called = env::args_os().next().unwrap_or_default();
    match Path::new(&called)
        .file_name()
        .and_then(|name| name.to_str())
    {
        Some("init") => init::run(),
        Some("service") => service::run(),
        Some("sh") => shell::run(),
        _ => {
            eprintln!("call me init, service or sh");
            ExitCode::FAILURE
        }
    }
}
