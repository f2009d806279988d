//! The doors that can be named, for whoever names none or one that is not there.

use super::reach;
use crate::cli::options::Options;
use crate::client;
use crate::files::config_file;

/// Those of the guard in the kernel, or else of the configuration, as far as they can be read.
pub(crate) fn of_guard(options: &Options) -> Vec<String> {
    let guard = reach::firewall()
        .ok()
        .and_then(|mut firewall| firewall.doors().ok());
    match guard {
        Some(doors) if !doors.is_empty() => doors,
        _ => of_config(options),
    }
}

/// Those of the configuration, as far as it can be read.
pub(crate) fn of_config(options: &Options) -> Vec<String> {
    let config = config_file::peek(&options.config);
    config.map_or_else(Vec::new, |config| config_file::names(&config.doors))
}

/// Those of a router's client file, as far as it can be read.
pub(crate) fn of_client(options: &Options) -> Vec<String> {
    client::doors(&options.host, options.client_file.as_deref())
}
