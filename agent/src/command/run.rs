use crate::args::Options;
use crate::networks::Networks;
use crate::output::Failure;
use crate::{config_file, daemon, doctor};

/// `postern run`
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut config = config_file::load(&options.config)?;
    let mut networks = Networks::default();
    networks.resolve(&mut config).map_err(Failure::Failed)?;
    doctor::forbid(&config).map_err(Failure::Failed)?;
    daemon::run(&options.config, config, networks)
}
