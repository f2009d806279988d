//! The command line: what it says, and the verbs that do it.

mod args;
mod command;
mod options;
mod qr;

pub(crate) use args::dispatch;
