use crate::cli::options::Options;
use crate::files::config_file;
use crate::firewall;
use crate::onetime::Lists;
use crate::openwrt::networks;
use crate::output::{self, Failure};

/// `postern render`
pub(crate) fn render(options: &Options) -> Result<(), Failure> {
    let (mut config, _) = config_file::load_with_text(&options.config, options.doors())?;
    if !config.global.enabled {
        output::say(config_file::DISABLED);
        return output::print(firewall::REMOVAL);
    }
    networks::resolve(&mut config)?;
    output::print(&firewall::render(
        &config,
        &Lists::read(&config.doors).ports(&config.doors),
    ))
}
