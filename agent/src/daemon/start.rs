//! How the agent starts: with the configuration's file, or with what there is in its place.
//!
//! A guard in the kernel outlives an agent. One that refused to start would leave a door that is shut and that nobody
//! hears knocks at, for good. So what was confirmed last is used where the file is refused, with another ear if its
//! own is taken, and where nothing was confirmed the guard is taken away.

use std::path::Path;

use postern_core::config::{self, Config, DEFAULT_CONTROL, Global};
use postern_core::engine::Engine;
use postern_core::knock::Port;

use super::{Agent, MAX_SOURCES, Others};
use crate::doctor;
use crate::files::config_file::{self, Doors};
use crate::firewall::{Firewall, Refusal};
use crate::onetime::Lists;
use crate::openwrt::networks::Networks;
use crate::output::{self, Failure};
use crate::sys::unix;
use crate::trial::{self, Chosen};

/// NFLOG groups that are tried where the source that was confirmed cannot be opened.
const MAX_OTHER_GROUPS: u16 = 8;

/// Why there is no agent, and the engine for the next attempt.
pub(super) type Unstarted<'e> = (Failure, &'e mut Engine<MAX_SOURCES>);

/// Why a configuration, whose lists name these ports, is not put into force.
type Forbid = fn(&Config, &[Port]) -> Result<(), String>;

// The stack that a configuration takes on its way into a box is not to be kept for as long as the agent runs.
#[inline(never)]
pub(super) fn start<'e>(
    engine: &'e mut Engine<MAX_SOURCES>,
    path: &Path,
    doors: Doors,
    others: Others<'_>,
) -> Result<Agent<'e>, Failure> {
    let written = match trial::configuration_of_a_start(path, doors) {
        Ok(chosen) => attempt(engine, path, chosen, doctor::forbid, others),
        Err(why) => Err((why, engine)),
    };
    let (why, engine) = match written {
        Ok(agent) => return Ok(agent),
        Err(unstarted) => unstarted,
    };
    let control = config_file::peek_control(path).unwrap_or_else(|| DEFAULT_CONTROL.into());
    if others.presence.is_others() || unix::is_listening(&control) {
        return Err(why);
    }
    let Ok(mut kernel) = Firewall::open() else {
        return Err(why);
    };
    let is_guarded = kernel.installed().unwrap_or(false);
    let confirmed = trial::store_of_file(path).confirmed();
    let same = confirmed.is_some() && config_file::read(path).ok() == confirmed;
    if !is_guarded && (same || confirmed.is_none()) {
        return Err(why);
    }
    why.report();
    let words = why.in_short();
    let config = confirmed.and_then(|text| trial::parse_confirmed(&text).ok());
    if let Some(config) = config {
        if unix::is_listening(Path::new(config.global.control.as_str())) {
            return Err(Failure::Reported);
        }
        if let Some(mut agent) = run_on(engine, path, &config, (is_guarded, others)) {
            agent.instead(words);
            return Ok(agent);
        }
    }
    if is_guarded {
        take_away(&mut kernel);
    }
    Err(Failure::Reported)
}

fn attempt<'e>(
    engine: &'e mut Engine<MAX_SOURCES>,
    path: &Path,
    mut chosen: Chosen,
    forbid: Forbid,
    others: Others<'_>,
) -> Result<Agent<'e>, Unstarted<'e>> {
    let mut networks = Networks::default();
    let is_enabled = config_file::is_enabled(&mut chosen.config);
    let lists = Lists::read(&chosen.config.doors);
    let listed = lists.ports(&chosen.config.doors);
    let mut permitted = Ok(());
    if is_enabled {
        let resolved = networks.resolve(&mut chosen.config);
        permitted = resolved.and_then(|()| forbid(&chosen.config, &listed));
    }
    match permitted {
        Ok(()) => Agent::start(engine, path, chosen, (lists, &listed), networks, others),
        Err(why) => Err((Failure::Failed(why), engine)),
    }
}

/// Starts with what was confirmed last. What is in force already is not refused for want of another way in.
#[inline(never)]
fn run_on<'e>(
    mut engine: &'e mut Engine<MAX_SOURCES>,
    path: &Path,
    config: &Config,
    (is_guarded, others): (bool, Others<'_>),
) -> Option<Agent<'e>> {
    let (forbid, ears): (Forbid, _) = match is_guarded {
        true => (|_, _| Ok(()), MAX_OTHER_GROUPS),
        false => (doctor::forbid, 0),
    };
    for ear in 0..=ears {
        let mut config = config_file::boxed(&config.global, &config.doors);
        if ear > 0 {
            another_ear(&mut config.global, ear);
        }
        let chosen = Chosen { config, text: None };
        let others = Others {
            take_over: false,
            ..others
        };
        match attempt(engine, path, chosen, forbid, others) {
            Ok(agent) => return Some(agent),
            Err((why, free)) => {
                why.report();
                engine = free;
            }
        }
    }
    None
}

/// The kernel hands knocks to any group, and of all sources it is the one that every door can do with.
fn another_ear(global: &mut Global, number: u16) {
    global.source = config::Source::Nflog;
    global.nflog_group = global.nflog_group.wrapping_add(number);
    output::say(&format!(
        "knocks are heard by source nflog, group {}, in place of the one configured",
        global.nflog_group
    ));
}

fn take_away(kernel: &mut Firewall) {
    match is_deaf(kernel).and_then(|deaf| deaf.then(|| kernel.remove()).transpose()) {
        Ok(None) => {}
        Ok(Some(_)) => output::say(
            "WARNING: no configuration that was confirmed can be used, and nobody would hear knocks: the guard is \
             TAKEN AWAY, every door is left to the ordinary firewall",
        ),
        Err(refusal) => output::say(&format!("the guard cannot be taken away: {refusal}")),
    }
}

/// Whether a door of the guard needs an agent.
fn is_deaf(kernel: &mut Firewall) -> Result<bool, Refusal> {
    Ok(kernel.doors()?.len() > kernel.counts()?.len())
}
