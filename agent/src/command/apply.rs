use super::reach;
use crate::args::Options;
use crate::control::Request;
use crate::onetime::list_ports;
use crate::output::{self, Failure};
use crate::{config_file, doctor, networks};

/// `postern apply`
pub(crate) fn apply(options: &Options) -> Result<(), Failure> {
    let mut config = config_file::load(&options.config)?;
    networks::resolve(&mut config)?;
    doctor::forbid(&config).map_err(Failure::Failed)?;
    let path = std::path::absolute(&options.config)
        .map_err(|error| Failure::Failed(format!("{}: {error}", options.config.display())))?;
    match reach::agent(&options.config, &Request::Apply { config: path })? {
        Some(answer) => output::print(&answer.map_err(Failure::Failed)?),
        None => {
            reach::firewall()?
                .install(&config, &list_ports(&config.doors))
                .map_err(|refusal| Failure::Failed(refusal.to_string()))?;
            output::say("no agent is running: nobody hears knocks until 'postern run'");
            output::print("guard installed\n")
        }
    }
}
