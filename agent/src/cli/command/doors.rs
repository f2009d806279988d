//! The doors that can be named, for whoever names none.

use super::{KNOCK_LEFT_OUT, reach};
use crate::cli::options::Options;
use crate::client;
use crate::files::config_file::{self, Peeked};
use crate::output::meant::there_are;

/// Those of the guard in the kernel, or else of the configuration, as far as they can be read.
pub(crate) fn of_guard(options: &Options) -> String {
    let guard = reach::firewall().map(|mut firewall| firewall.doors());
    match guard {
        Ok(Ok(doors)) if !doors.is_empty() => there_are("", &doors),
        _ => of_config(options),
    }
}

/// Those of the configuration, as far as it can be read.
pub(crate) fn of_config(options: &Options) -> String {
    match Peeked::read(&options.config).config {
        None => String::new(),
        Some(config) => config_file::there_are("", &config.doors),
    }
}

/// Those of a router's client file, as far as it can be read.
pub(crate) fn of_client(options: &Options) -> String {
    if KNOCK_LEFT_OUT.is_some() {
        return String::new();
    }
    match client::peek(&options.host, options.client_file.as_deref()) {
        None => String::new(),
        Some(client) => config_file::there_are("", &client.doors),
    }
}
