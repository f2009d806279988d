use std::path::Path;

use super::reach;
use crate::cli::options::Options;
use crate::daemon::control::Request;
use crate::files::config_file::{Doors, Peeked};
use crate::firewall::Firewall;
use crate::onetime::wall_clock::WallClock;
use crate::onetime::{Resync, resync_without_agent};
use crate::output::{self, Failure};

/// `postern resync`
///
/// An agent that runs but does not answer is not passed over: what it remembers would be
/// another thing than what the disk says.
pub(crate) fn resync(options: &Options) -> Result<(), Failure> {
    let how = options.resync.clone().unwrap_or(Resync::Usual);
    let request = Request::Resync {
        door: options.door.clone(),
        how: how.clone(),
    };
    let file = Peeked::read(&options.config);
    let answer = match reach::agent(&file, &request)? {
        Some(answer) => answer,
        None => {
            let config = file.load(Doors::Needed)?;
            let folder = Path::new(config.global.state_dir.as_str());
            let clock = WallClock::now();
            resync_without_agent(&config.doors, folder, &options.door, &how, &clock).map(
                |(text, used)| {
                    // Without a guard, there is nothing that it remembers.
                    if let (Some(used), Ok(mut firewall)) = (used, Firewall::open()) {
                        _ = firewall.note_used(used);
                    }
                    text + "\n"
                },
            )
        }
    };
    output::print(&answer.map_err(Failure::Failed)?)
}
