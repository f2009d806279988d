use crate::args::Options;
use crate::config_file;
use crate::doctor::{self, Severity};
use crate::output::{self, Failure};

/// `postern doctor`
pub(crate) fn doctor(options: &Options) -> Result<(), Failure> {
    let config = match config_file::load(&options.config) {
        Ok(config) => Some(config),
        Err(Failure::Reported) => None,
        Err(failure) => {
            failure.report();
            None
        }
    };
    let path = std::path::absolute(&options.config).unwrap_or_else(|_| options.config.clone());
    let findings = doctor::examine(&path, config.as_ref());
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
