use std::io::{self, IsTerminal};
use std::path::Path;

use postern_core::config::{Config, OnCrash};
use postern_core::door::Door;
use postern_core::knock::Port;
use postern_core::time::Duration;

use super::reach;
use crate::cli::options::Options;
use crate::collect::CollectVec;
use crate::daemon::control::{Answer, Request};
use crate::files::config_file::{self, DISABLED};
use crate::firewall::{Firewall, Trial};
use crate::onetime::Lists;
use crate::openwrt::networks;
use crate::output::{self, Failure, span};
use crate::sys::poll::poll;
use crate::{doctor, trial};

/// `postern apply`
pub(crate) fn apply(options: &Options) -> Result<(), Failure> {
    let (mut config, text) = config_file::load_with_text(&options.config, options.doors())?;
    let is_enabled = config_file::is_enabled(&mut config);
    let lists = Lists::read(&config.doors);
    let listed = lists.ports(&config.doors);
    if is_enabled {
        networks::resolve(&mut config)?;
        doctor::forbid(&config, &listed).map_err(Failure::Failed)?;
    } else if options.confirm_within.is_some() {
        return Err(Failure::Failed(format!(
            "{DISABLED}, so there is nothing to try"
        )));
    }
    let path = std::path::absolute(&options.config)
        .map_err(|error| Failure::Failed(format!("{}: {error}", options.config.display())))?;
    super::hand_over(&path, &config);
    let confirm_within = options.confirm_within;
    let request = Request::Apply {
        config: path,
        confirm_within,
        doors: options.doors(),
    };
    let losses = reach::firewall()?.losses(&config);
    let answer = match reach::agent_at(Path::new(config.global.control.as_str()), &request)? {
        Some(answer) => answer,
        None => directly(&config, &listed, &text, confirm_within),
    };
    let answer = answer.map_err(Failure::Failed)?;
    for loss in losses {
        output::say(&loss);
    }
    for warning in doctor::warnings(&config, &|door| lists.ports_of(door)) {
        output::say(&warning);
    }
    output::print(&answer)?;
    match confirm_within {
        Some(_) if io::stdout().is_terminal() => {
            let store = trial::store(&config.global);
            show_time_left(&|| store.is_on_trial(&text))
        }
        _ => Ok(()),
    }
}

/// Tells the kernel, because no agent runs.
fn directly(
    config: &Config,
    listed: &[Port],
    text: &[u8],
    confirm_within: Option<Duration>,
) -> Answer {
    let mut firewall = reach::firewall().map_err(|failure| failure.in_words("it was said why"))?;
    let store = trial::store(&config.global);
    firewall.forget(trial::opened_otherwise_than_confirmed(
        &store,
        &config.doors,
    ));
    let installed = match confirm_within {
        None if !config.global.enabled => {
            firewall.remove().map_err(|refusal| refusal.to_string())?;
            trial::settle(&store, text);
            return Ok(format!("guard removed: {DISABLED}\n"));
        }
        None => {
            let installed = firewall.install(config, listed);
            if installed.is_ok() {
                trial::settle(&store, text);
            }
            installed
        }
        Some(lasting) => {
            store.begin(text, None).map_err(|why| why.to_string())?;
            let installed = firewall.install_on_trial(config, listed, lasting);
            if installed.is_err() {
                store.abandon();
            }
            installed
        }
    };
    installed.map_err(|refusal| refusal.to_string())?;
    if config.global.on_crash == OnCrash::Open {
        output::warn(
            "no agent is running: option on_crash 'open' has no effect until 'postern run'",
        );
    }
    output::say(
        "no agent is running: the guard does not follow interfaces that change, until 'postern run'",
    );
    if let Some(who) = deaf(&config.doors) {
        output::warn(&format!("no agent is running: {who} until 'postern run'"));
    }
    Ok(match confirm_within {
        None => "guard installed\n".into(),
        Some(lasting) => trial::announcement(lasting),
    })
}

/// Shows on a terminal how long the trial goes on, until it is over.
///
/// A guard without a trial may have been confirmed, or be the one that was there before. What is remembered tells them
/// apart; whoever confirms remembers it a moment later than the kernel knows.
fn show_time_left(is_on_trial: &dyn Fn() -> bool) -> Result<(), Failure> {
    const POLL_INTERVAL: Duration = Duration::from_millis(500);
    const LOOKS_FOR_CONFIRMATION: u32 = 4;
    let mut firewall = reach::firewall()?;
    let mut looks = 0;
    loop {
        match trial_of(&mut firewall)? {
            Trial::Running { remaining, .. } => {
                output::print(&format!("\r{} left to confirm   ", span(remaining)))?;
            }
            Trial::None if !is_on_trial() => {
                return output::print("\rconfirmed: the guard stays\n");
            }
            Trial::None if looks < LOOKS_FOR_CONFIRMATION => looks += 1,
            Trial::None | Trial::Lapsed => {
                output::print("\n")?;
                return Err(Failure::Failed(trial::OVER.into()));
            }
        }
        poll(&mut [], Some(POLL_INTERVAL)).map_err(|error| Failure::Failed(error.to_string()))?;
    }
}

fn trial_of(firewall: &mut Firewall) -> Result<Trial, Failure> {
    (firewall.trial()).map_err(|refusal| Failure::Failed(refusal.to_string()))
}

/// Who is kept out while no agent runs; `None`: nobody, because the kernel serves every door.
fn deaf(doors: &[Door]) -> Option<String> {
    let (kernels, agents): (Vec<_>, Vec<_>) =
        doors.iter().partition(|door| door.engine.is_in_kernel());
    let names: Vec<&str> = agents.iter().map(|door| door.name.as_str()).collect_vec();
    match (names.as_slice(), kernels.as_slice()) {
        ([], [_, ..]) => None,
        (_, []) => Some("nobody hears knocks".into()),
        (names, _) => Some(format!("nobody hears knocks at {}", names.join(", "))),
    }
}
