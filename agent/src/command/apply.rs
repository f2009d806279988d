use postern_core::door::Door;

use super::reach;
use crate::args::Options;
use crate::control::Request;
use crate::onetime::list_ports;
use crate::output::{self, Failure};
use crate::{config_file, doctor};

/// `postern apply`
pub(crate) fn apply(options: &Options) -> Result<(), Failure> {
    let config = config_file::load(&options.config)?;
    doctor::forbid(&config).map_err(Failure::Failed)?;
    let path = std::path::absolute(&options.config)
        .map_err(|error| Failure::Failed(format!("{}: {error}", options.config.display())))?;
    match reach::agent(&options.config, &Request::Apply { config: path })? {
        Some(answer) => output::print(&answer.map_err(Failure::Failed)?),
        None => {
            reach::firewall()?
                .install(&config, &list_ports(&config.doors))
                .map_err(|refusal| Failure::Failed(refusal.to_string()))?;
            if let Some(who) = deaf(&config.doors) {
                output::say(&format!("no agent is running: {who} until 'postern run'"));
            }
            output::print("guard installed\n")
        }
    }
}

/// Who is kept out while no agent runs; `None`: nobody, because the kernel serves every door.
fn deaf(doors: &[Door]) -> Option<String> {
    let (kernels, agents): (Vec<_>, Vec<_>) =
        doors.iter().partition(|door| door.engine.is_in_kernel());
    let names: Vec<&str> = agents.iter().map(|door| door.name.as_str()).collect();
    match (names.as_slice(), kernels.as_slice()) {
        ([], [_, ..]) => None,
        (_, []) => Some("nobody hears knocks".into()),
        (names, _) => Some(format!("nobody hears knocks at {}", names.join(", "))),
    }
}
