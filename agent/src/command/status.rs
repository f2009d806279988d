use super::reach;
use crate::args::Options;
use crate::config_file;
use crate::control::Request;
use crate::output::{self, Failure};
use crate::report::Report;

/// `postern status`
pub(crate) fn status(options: &Options) -> Result<(), Failure> {
    let json = options.json;
    let answer = match reach::agent(&options.config, &Request::Status { json }) {
        Ok(Some(answer)) => Some(answer.map_err(Failure::Failed)?),
        Ok(None) => None,
        // An agent that hangs must not keep its owner from seeing how the doors are.
        Err(Failure::Failed(why)) => {
            output::say(&format!("{why}; asking the kernel alone"));
            None
        }
        Err(failure) => return Err(failure),
    };
    if let Some(answer) = answer {
        return output::print(&answer);
    }
    let config = config_file::peek(&options.config);
    let report = Report::of_kernel(&mut reach::firewall()?, config.as_deref());
    let report = report.map_err(|refusal| Failure::Failed(refusal.to_string()))?;
    output::print(&report.render(json))
}
