use super::reach;
use crate::args::Options;
use crate::config_file;
use crate::control::Request;
use crate::output::{self, Failure};
use crate::report::Report;

/// `postern status`
pub(crate) fn status(options: &Options) -> Result<(), Failure> {
    let json = options.json;
    match reach::agent(&options.config, &Request::Status { json })? {
        Some(answer) => output::print(&answer.map_err(Failure::Failed)?),
        None => {
            let config = config_file::peek(&options.config);
            let report = Report::of_kernel(&mut reach::firewall()?, config.as_deref());
            let report = report.map_err(|refusal| Failure::Failed(refusal.to_string()))?;
            output::print(&report.render(json))
        }
    }
}
