use super::reach;
use crate::cli::options::Options;
use crate::daemon::control::Request;
use crate::files::config_file::{Doors, Peeked};
use crate::output::{self, Failure};

/// `postern reload`
pub(crate) fn reload(options: &Options) -> Result<(), Failure> {
    let file = Peeked::read(&options.config);
    if let Some(config) = &file.config {
        super::hand_over(&file.path, config);
    }
    match reach::agent(&file, &Request::Reload)? {
        None => Err(Failure::Failed(
            "no agent runs: 'postern apply' tells the kernel, 'postern run' starts one".into(),
        )),
        Some(Ok(done)) => output::print(&done),
        Some(Err(why)) => {
            // The agent names no mistakes; they are for whoever asked.
            _ = file.load(Doors::Allowed);
            Err(Failure::Failed(why))
        }
    }
}
