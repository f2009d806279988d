use crate::args::Options;
use crate::output::{self, Failure};
use crate::{config_file, firewall, onetime};

/// `postern render`
pub(crate) fn render(options: &Options) -> Result<(), Failure> {
    let config = config_file::load(&options.config)?;
    output::print(&firewall::render(
        &config,
        &onetime::list_ports(&config.doors),
    ))
}
