use crate::args::Options;
use crate::networks::Networks;
use crate::output::{self, Failure};
use crate::{config_file, daemon, doctor, trial};

/// `postern run`
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    // What is to be said of the configuration must not keep the guard waiting either.
    output::never_wait();
    let mut chosen = trial::configuration_of_a_start(&options.config, options.doors())?;
    let mut networks = Networks::default();
    if config_file::is_enabled(&mut chosen.config) {
        networks
            .resolve(&mut chosen.config)
            .map_err(Failure::Failed)?;
        doctor::forbid(&chosen.config).map_err(Failure::Failed)?;
    }
    daemon::run(&options.config, chosen, networks, options.take_over)
}
