use crate::args::Options;
use crate::output::Failure;
use crate::{config_file, daemon, doctor};

/// `postern run`
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let config = config_file::load(&options.config)?;
    doctor::forbid(&config).map_err(Failure::Failed)?;
    daemon::run(&options.config, config)
}
