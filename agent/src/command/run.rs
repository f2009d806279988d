use crate::args::Options;
use crate::output::Failure;
use crate::{config_file, daemon};

/// `postern run`
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let config = config_file::load(&options.config)?;
    daemon::run(&options.config, config)
}
