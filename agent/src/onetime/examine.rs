//! Looking at what one-time doors need, without using it: `postern check`.

use std::path::Path;

use postern_core::config::Config;
use postern_core::door::{Door, Method};
use postern_core::knock::PortRange;

use super::Lists;
use super::list::{List, Unusable};
use super::{OneTime, keys_of, secret_of, state};
use crate::collect::CollectVec;
use crate::files::private_file::Unfit;

/// Something that keeps a one-time door shut.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// A mistake, or merely something that is still to be done.
    pub(crate) is_mistake: bool,
    /// It, with the place and the cure.
    pub(crate) text: String,
}

/// Everything that keeps the configuration's one-time doors shut, but the time.
pub(crate) fn examine(config: &Config) -> Vec<Finding> {
    let folder = Path::new(config.global.state_dir.as_str());
    let guarded = super::guarded(&config.doors);
    let mut findings = Vec::new();
    for door in config.doors.iter().filter(|door| door.method.is_one_time()) {
        findings.append(&mut material(door, &guarded));
        findings.extend(memory(door, folder));
    }
    findings.append(&mut shared(&config.doors, folder));
    findings
}

fn shared(doors: &[Door], folder: &Path) -> Vec<Finding> {
    let loaded = OneTime::load(doors, Lists::read(doors), folder, &OneTime::default());
    let shared = loaded.keepers.into_iter().filter_map(|keeper| {
        let (name, _) = keeper.known_as;
        let why = keeper.shared?;
        Some(Finding {
            is_mistake: true,
            text: format!("door {name}: {why}"),
        })
    });
    shared.collect_vec()
}

fn material(door: &Door, guarded: &[PortRange]) -> Vec<Finding> {
    let mistake = |text| Finding {
        is_mistake: true,
        text,
    };
    let of_door = |text: &dyn core::fmt::Display| format!("door {}: {text}", door.name);
    let missing = |unfit: Option<Unfit>| {
        let finding = unfit.map(|unfit| Finding {
            is_mistake: !matches!(unfit, Unfit::Missing(_)),
            text: of_door(&unfit),
        });
        finding.into_iter().collect_vec()
    };
    match (&door.method, door.method.code()) {
        (Method::List { file, .. }, _) => match List::read(Path::new(file.as_str()), guarded) {
            Ok(_) => Vec::new(),
            Err(Unusable::File(unfit)) => vec![mistake(of_door(&unfit))],
            Err(Unusable::Mistakes(mistakes)) => mistakes
                .iter()
                .map(|each| mistake(each.to_string()))
                .collect_vec(),
        },
        (Method::Spa(terms), _) => missing(keys_of(terms, door).err()),
        (_, Some(code)) => missing(secret_of(code, door).err()),
        _ => Vec::new(),
    }
}

fn memory(door: &Door, folder: &Path) -> Option<Finding> {
    let unfit = state::load(folder, door).err()?;
    let is_missing = matches!(unfit, Unfit::Missing(_));
    // A clock door needs none, and a missing secret brings one along when it is made.
    let is_to_come = match door.method.code() {
        Some(code) => {
            matches!(door.method, Method::Clock { .. })
                || !Path::new(code.secret_file.as_str()).exists()
        }
        None => matches!(door.method, Method::Spa(_)),
    };
    (!(is_missing && is_to_come)).then(|| Finding {
        is_mistake: false,
        text: format!(
            "door {}: {unfit}; {}",
            door.name,
            super::resync::cure(door, &unfit)
        ),
    })
}
