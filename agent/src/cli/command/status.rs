use super::reach;
use crate::cli::options::Options;
use crate::daemon::control::Request;
use crate::files::config_file::Peeked;
use crate::firewall::{Refusal, Trial};
use crate::output::{self, Failure};
use crate::report::Report;

/// The exit status where a guard is in force and nobody hears knocks: LSB's for a program that is not running.
const UNHEARD: u8 = 3;
/// The exit status where nothing is guarded.
const UNGUARDED: u8 = 4;

/// `postern status`
pub(crate) fn status(options: &Options) -> Result<(), Failure> {
    let json = options.json;
    let file = Peeked::read(&options.config);
    let answer = match reach::agent(&file, &Request::Status { json }) {
        Ok(Some(answer)) => Some(answer.map_err(Failure::Failed)?),
        Ok(None) => None,
        // An agent that hangs must not keep its owner from seeing how the doors are.
        Err(Failure::Failed(why)) => {
            output::warn(&format!("{why}; asking the kernel alone"));
            None
        }
        Err(failure) => return Err(failure),
    };
    let mut firewall = reach::firewall()?;
    let failed = |refusal: Refusal| Failure::Failed(refusal.to_string());
    let (text, is_heard) = match answer {
        Some(answer) => (answer, true),
        None => {
            let config = file.config.as_deref();
            let report = Report::of_kernel(&mut firewall, config).map_err(failed)?;
            (report.render(json), report.needs_no_agent())
        }
    };
    output::print(&text)?;
    let is_guarded =
        firewall.installed().map_err(failed)? && firewall.trial().map_err(failed)? != Trial::Lapsed;
    match (is_guarded, is_heard) {
        (false, _) => Err(Failure::Found(UNGUARDED)),
        (true, false) => Err(Failure::Found(UNHEARD)),
        (true, true) => Ok(()),
    }
}
