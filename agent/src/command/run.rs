use crate::args::Options;
use crate::output::Failure;
use crate::{daemon, doctor, trial};

/// `postern run`
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let chosen = trial::configuration_of_a_start(&options.config)?;
    doctor::forbid(&chosen.config).map_err(Failure::Failed)?;
    daemon::run(&options.config, chosen)
}
