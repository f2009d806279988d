use crate::cli::options::Options;
use crate::daemon;
use crate::output::{self, Failure};

/// `postern run`
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    if options.for_procd {
        output::log_for_procd();
    }
    // What is to be said of the configuration must not keep the guard waiting either.
    output::never_wait();
    daemon::run(&options.config, options.doors(), options.take_over)
}
