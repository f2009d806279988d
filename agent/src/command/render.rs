use crate::args::Options;
use crate::output::{self, Failure};
use crate::{config_file, firewall, networks, onetime};

/// `postern render`
pub(crate) fn render(options: &Options) -> Result<(), Failure> {
    let mut config = config_file::load(&options.config)?;
    networks::resolve(&mut config)?;
    output::print(&firewall::render(
        &config,
        &onetime::list_ports(&config.doors),
    ))
}
