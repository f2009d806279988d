use postern_core::config::Config;

use super::reach;
use crate::cli::options::Options;
use crate::daemon::control::Request;
use crate::doctor::{self, Severity};
use crate::files::config_file::{Doors, Peeked};
use crate::openwrt::networks;
use crate::output::{self, Failure};

/// `postern doctor`
pub(crate) fn doctor(options: &Options) -> Result<(), Failure> {
    let file = Peeked::read(&options.config);
    let config = match load(&file) {
        Ok(config) => Some(config),
        Err(failure) => {
            failure.report();
            None
        }
    };
    let path = std::path::absolute(&options.config).unwrap_or_else(|_| options.config.clone());
    let status = reach::agent(&file, &Request::Status { json: false });
    let status = status.ok().flatten().and_then(Result::ok);
    let findings = doctor::examine(&path, config.as_deref(), &status.unwrap_or_default());
    output::print(&doctor::render(&findings, options.json))?;
    let worst_allowed = match options.strict {
        true => Severity::Note,
        false => Severity::Warning,
    };
    match findings
        .iter()
        .all(|finding| finding.severity() >= worst_allowed)
    {
        true => Ok(()),
        false => Err(Failure::Reported),
    }
}

fn load(file: &Peeked) -> Result<Box<Config>, Failure> {
    let mut config = file.load(Doors::Needed)?;
    networks::resolve(&mut config)?;
    Ok(config)
}
