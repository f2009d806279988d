//! The manual switch.

use postern_core::time::Duration;

use super::reach;
use crate::args::Options;
use crate::control::Request;
use crate::manual::{self, Whom};
use crate::output::Failure;
use crate::{config_file, networks};

/// How long a door opened by hand stays open when no configuration says.
const WITHOUT_CONFIG: Duration = Duration::from_secs(60);

/// `postern open`
pub(crate) fn open(options: &Options) -> Result<(), Failure> {
    let Options { door, lasting, .. } = options;
    let whom = whom(options)?;
    let request = Request::Open {
        door: door.clone(),
        whom: whom.clone(),
        lasting: *lasting,
    };
    let directly = || {
        let lasting = lasting.unwrap_or_else(|| grant_of(options));
        Ok(manual::open(&mut reach::firewall()?, door, &whom, lasting))
    };
    reach::switch(&options.config, &request, directly)
}

fn whom(options: &Options) -> Result<Whom, Failure> {
    match (options.from, &options.on) {
        (Some(_), Some(_)) => Err(Failure::Misused(
            "--from and --on exclude each other; without either, everyone is let in".into(),
        )),
        (Some(source), None) => Ok(Whom::Source(source)),
        (None, Some(interface)) => networks::devices(interface).map(Whom::On),
        (None, None) => Ok(Whom::Everyone),
    }
}

/// `postern close`
pub(crate) fn close(options: &Options) -> Result<(), Failure> {
    let Options { door, from, .. } = options;
    let request = Request::Close {
        door: door.clone(),
        from: *from,
    };
    let directly = || Ok(manual::close(&mut reach::firewall()?, door, *from));
    reach::switch(&options.config, &request, directly)
}

/// How long a grant of the door lasts, as far as a configuration can be read.
fn grant_of(options: &Options) -> Duration {
    let config = config_file::peek(&options.config);
    let doors = config.iter().flat_map(|config| &config.doors);
    doors
        .filter(|door| door.name == options.door.as_str())
        .map(|door| door.grant)
        .next()
        .unwrap_or(WITHOUT_CONFIG)
}
