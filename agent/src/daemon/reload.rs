//! Which configuration the agent serves: how it takes another one over, for good or on trial.

use std::path::Path;

use postern_core::config::{Config, OnCrash};
use postern_core::door::{Door, OnExpiry};
use postern_core::knock::Port;
use postern_core::ports::TooManyPorts;
use postern_core::time::{Duration, Instant};

use super::control::Answer;
use super::cut::share_port;
use super::ledger::Origin;
use super::notify::State;
use super::{Agent, Before, OnTrial, in_words, listen, tell_missing_interfaces};
use crate::collect::CollectVec;
use crate::files::config_file::{self, DISABLED, Doors};
use crate::firewall::{Trial, Who};
use crate::network::Network;
use crate::onetime::wall_clock::WallClock;
use crate::onetime::{Lists, OneTime};
use crate::output::{self, Failure};
use crate::sys::clock::boottime;
use crate::{doctor, trial};

/// What becomes of a reload that is refused.
const CONFIG_STAYS: &str = "the running configuration stays";

/// A running agent has given up what only its start takes.
const RESTART_ADVICE: &str =
    "if it may at a start, restart the agent (systemctl restart postern, service postern restart)";

impl Agent<'_> {
    pub(super) fn apply(
        &mut self,
        path: &Path,
        confirm_within: Option<Duration>,
        doors: Doors,
    ) -> Answer {
        let mistaken = |failure: Failure| {
            failure.in_words(&format!(
                "{}: the agent found mistakes in it",
                path.display()
            ))
        };
        let (config, text) = config_file::load_with_text(path, doors).map_err(mistaken)?;
        let config = self.permitted(config)?;
        let is_enabled = config.global.enabled;
        let done = match confirm_within {
            None => {
                self.adopt_for_good(config, &text)?;
                match is_enabled {
                    true => "guard installed; the agent has taken over the configuration\n".into(),
                    false => format!(
                        "guard removed: {DISABLED}; the agent waits for 'postern apply' or SIGHUP\n"
                    ),
                }
            }
            Some(_) if !is_enabled => return Err(DISABLED.into()),
            Some(lasting) => {
                self.try_out(config, &text, lasting)?;
                trial::announcement(lasting)
            }
        };
        self.path = path.into();
        self.note(Ok(done))
    }

    fn adopt_for_good(&mut self, config: Box<Config>, text: &[u8]) -> Result<(), String> {
        let store = trial::store(&config.global);
        self.adopt(config, None)?;
        trial::settle(&store, text);
        Ok(())
    }

    /// Puts a configuration into force until it is confirmed, or the time is over.
    fn try_out(
        &mut self,
        config: Box<Config>,
        text: &[u8],
        lasting: Duration,
    ) -> Result<(), String> {
        let store = trial::store(&config.global);
        let before = self.before_trial();
        store
            .begin(text, before.text.as_deref())
            .map_err(|why| why.to_string())?;
        let times = (Duration::default(), lasting);
        let adopted = self.adopt(config, Some((times, before)));
        if adopted.is_err() {
            store.abandon();
        }
        adopted
    }

    pub(super) fn confirm(&mut self) -> Answer {
        let store = self.trial.as_ref().map(|trial| &trial.store);
        let answer = trial::confirm(&mut self.firewall, store);
        if self
            .firewall
            .trial()
            .is_ok_and(|trial| trial == Trial::None)
        {
            self.trial = None;
        }
        self.note(answer)
    }

    /// Goes back to what was before a trial that nobody confirmed in time.
    pub(super) fn end_trial(&mut self, now: Instant) {
        let Some(trial) = self.trial.take_if(|trial| trial.ends_at <= now) else {
            return;
        };
        if self.repairs.is_due() {
            return self.go_back(trial.before);
        }
        match self.firewall.trial() {
            // Somebody confirmed it without asking this agent, or took it away.
            Ok(Trial::None) => {}
            Ok(Trial::Running { remaining, .. }) => {
                let ends_at = now + remaining + Duration::from_millis(1);
                self.trial = Some(OnTrial { ends_at, ..trial });
            }
            Ok(Trial::Lapsed) | Err(_) => self.go_back(trial.before),
        }
    }

    /// What there is without a trial, or was before the one that goes on.
    fn before_trial(&self) -> Before {
        match &self.trial {
            Some(trial) => trial.before.clone(),
            None => Before {
                path: self.path.clone(),
                text: (self.repairs.is_wanted())
                    .then(|| trial::store(&self.global).confirmed())
                    .flatten(),
            },
        }
    }

    fn go_back(&mut self, before: Before) {
        self.path = before.path;
        let config = (before.text).and_then(|text| trial::parse_confirmed(&text).ok());
        let outcome = match config {
            Some(config) => (self.permitted(config))
                .and_then(|config| self.adopt(config, None))
                .map(|()| {
                    self.refused = Some(trial::UNCONFIRMED.into());
                    "the configuration before it is in force again"
                }),
            None => {
                self.give_up();
                (self.firewall.remove().map_err(in_words))
                    .map(|_| "there was none before it, and nothing is guarded")
            }
        };
        match outcome {
            Ok(what) => output::warn(&format!(
                "the trial is over and nobody confirmed it: {what}"
            )),
            Err(why) => output::fail(&format!("the trial is over, and the doors are open: {why}")),
        }
    }

    /// Wants no guard any more, and nothing that was on trial.
    pub(super) fn give_up(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.path = trial.before.path;
        }
        self.repairs.unwanted();
        self.forget();
    }

    /// Reads the configuration again; a wrong one changes nothing.
    pub(super) fn reload(&mut self) -> Answer {
        self.manager.tell(State::Reloading);
        let answer = match self.read_again() {
            Ok(()) => {
                output::say("configuration read again");
                Ok("configuration read again\n".into())
            }
            Err(failure) => {
                failure.report();
                output::warn(CONFIG_STAYS);
                let why = failure.in_short();
                let answer = format!("{} is not used: {why}; {CONFIG_STAYS}", self.path.display());
                self.refused = Some(why);
                Err(answer)
            }
        };
        self.manager.tell(State::Ready);
        answer
    }

    fn read_again(&mut self) -> Result<(), Failure> {
        let (config, text) = config_file::load_with_text(&self.path, self.doors)?;
        let config = self.permitted(config).map_err(Failure::Failed)?;
        let store = trial::store(&config.global);
        // A service manager's reload confirms nothing.
        if store.tried(&text)
            && let Ok(Trial::Running {
                for_so_long,
                remaining,
            }) = self.firewall.trial()
        {
            let on_trial = ((for_so_long, remaining), self.before_trial());
            return (self.adopt(config, Some(on_trial))).map_err(Failure::Failed);
        }
        if !store.is_on_trial(&text) {
            return self.adopt_for_good(config, &text).map_err(Failure::Failed);
        }
        let before = store.confirmed();
        let before = before.ok_or_else(|| Failure::Failed(trial::OVER.into()))?;
        let config = trial::before_trial(&self.path, &before)?;
        (self.permitted(config))
            .and_then(|config| self.adopt(config, None))
            .map_err(Failure::Failed)?;
        self.refused = Some(trial::UNCONFIRMED.into());
        Ok(())
    }

    /// The configuration with devices in place of networks, and with no doors where nothing is to be guarded, unless it could lock its owner out.
    fn permitted(&mut self, mut config: Box<Config>) -> Result<Box<Config>, String> {
        if config_file::is_enabled(&mut config) {
            self.networks.resolve(&mut config)?;
            doctor::forbid_reload(&config)?;
        }
        Ok(config)
    }

    /// Which networks these doors let in.
    fn let_in_at(&mut self, doors: &[String]) -> Vec<(String, Network)> {
        if doors.is_empty() {
            return Vec::new();
        }
        let grants = self.firewall.grants().unwrap_or_default().into_iter();
        let of_doors = grants.filter(|grant| doors.contains(&grant.door));
        of_doors
            .filter_map(|grant| match grant.who {
                Who::Network(network) => Some((grant.door, network)),
                Who::Anyone { .. } => None,
            })
            .collect_vec()
    }

    /// Whom doors let in that cut and are no more, or have other ports, with the doors to be, by their indices, that
    /// guard a port of theirs.
    fn let_in_where_connections_end(&mut self, after: &[Door]) -> Vec<(usize, Network)> {
        let before = self.engine.doors().iter();
        let lost = before.filter(|door| {
            let kept = |other: &Door| other.name == door.name && other.guards == door.guards;
            door.on_expiry == OnExpiry::Cut && !after.iter().any(kept)
        });
        let lost: Vec<Door> = lost.cloned().collect_vec();
        let names: Vec<String> = lost.iter().map(|door| door.name.to_string()).collect_vec();
        let mut let_in = Vec::new();
        for (name, network) in self.let_in_at(&names) {
            let Some(door) = lost.iter().find(|door| *door.name == *name) else {
                continue;
            };
            let others = after.iter().enumerate();
            let others = others.filter(|(_, other)| share_port(door, other));
            let_in.extend(others.map(|(index, _)| (index, network)));
        }
        let_in
    }

    /// Takes back what a door granted, because its secret is another one.
    pub(super) fn shut_out(&mut self, door: &str) {
        for (door, network) in self.let_in_at(&[door.to_owned()]) {
            let mut doors = self.engine.doors().iter();
            let Some(index) = doors.position(|other| *other.name == *door) else {
                continue;
            };
            if let Some(door) = self.engine.doors().get(index)
                && self.firewall.withdraw(door, network.first()).is_ok()
            {
                self.cutting.withdraw(index, network);
            }
        }
        self.remember(Origin::Before);
    }

    /// Puts a configuration into force, as a whole or not at all; on trial, if it is said for how
    /// long it has been and will be, and what to go back to.
    pub(super) fn adopt(
        &mut self,
        config: Box<Config>,
        on_trial: Option<((Duration, Duration), Before)>,
    ) -> Result<(), String> {
        let lists = Lists::read(&config.doors);
        self.adopt_with(config, lists, on_trial)
    }

    /// Puts a configuration into force whose lists have been read.
    pub(super) fn adopt_with(
        &mut self,
        config: Box<Config>,
        lists: Lists,
        on_trial: Option<((Duration, Duration), Before)>,
    ) -> Result<(), String> {
        // What was knocked before was knocked at the doors that are to go.
        self.hear_knocks();
        let new = &config.global;
        let is_running = !self.engine.doors().is_empty();
        let advised = |why: String| match !is_running || why.contains("restart") {
            true => why,
            false => format!("{why}; {RESTART_ADVICE}"),
        };
        let control = (new.control != self.global.control)
            .then(|| listen(new))
            .transpose()
            .map_err(advised)?;
        let folder = Path::new(new.state_dir.as_str());
        let mut one_time = OneTime::load(&config.doors, lists, folder, &self.one_time);
        one_time.recall(&self.firewall.used().unwrap_or_default());
        let listed: Vec<Port> = one_time.list_ports().collect_vec();
        let now = boottime();
        let source = (self.source).prepare(&config, &listed, now);
        let source = source.map_err(advised)?;
        let losses = self.firewall.losses(&config);
        let changed = trial::opened_otherwise(self.engine.doors(), &config.doors);
        let shut_out = self.let_in_at(&changed);
        let ended = self.let_in_where_connections_end(&config.doors);
        // At a start, it is known already.
        if !self.engine.doors().is_empty() {
            self.firewall.forget(changed);
        }
        self.firewall.own(new.on_crash == OnCrash::Open);
        let installed = match on_trial {
            _ if !new.enabled => self.firewall.remove().map(drop),
            None => self.firewall.install(&config, &listed),
            Some((times, _)) => self.firewall.resume_trial(&config, &listed, times),
        };
        if installed.is_err() {
            self.firewall.own(self.global.on_crash == OnCrash::Open);
        }
        self.firewall.forget(Vec::new());
        installed.map_err(in_words)?;
        for loss in losses {
            output::say(&loss);
        }
        if new.enabled {
            self.repairs.done();
            tell_missing_interfaces(new);
        } else {
            self.repairs.unwanted();
            self.forget();
            output::say(&format!("{DISABLED}, until another configuration is read"));
        }
        self.doors = match config.doors.is_empty() && new.enabled {
            true => Doors::Allowed,
            false => Doors::Needed,
        };
        self.trial = on_trial.map(|((for_so_long, remaining), before)| OnTrial {
            store: trial::store(&config.global),
            began_at: boottime() - for_so_long,
            ends_at: boottime() + remaining,
            before,
        });
        let too_many =
            |TooManyPorts| "the doors have more knock ports than there is room for".to_string();
        self.journal.sum_up(self.engine.doors());
        let names = self.engine.doors().iter().map(|door| door.name.clone());
        let names: Vec<_> = names.collect_vec();
        self.cutting.settle(self.engine.doors());
        self.engine.configure(&config.doors).map_err(too_many)?;
        self.journal.begin(self.engine.doors().len(), boottime());
        let gone = self.ledger.renumber(&names, self.engine.doors());
        if let Some(control) = control {
            self.control = control;
        }
        self.source.adopt(source);
        self.networks.settle();
        self.global = config.global;
        self.refused = None;
        self.one_time = one_time;
        (self.one_time).begin(self.engine, boottime(), &WallClock::now());
        self.datagrams.adopt(self.engine.doors(), &self.one_time);
        self.cutting.begin(self.engine.doors(), boottime());
        for (index, network) in ended {
            self.cutting.withdraw(index, network);
        }
        let withdrawn = gone.len() + self.remember(Origin::Before).went.len();
        if withdrawn > 0 {
            let line = format_args!("grants withdrawn, because their doors changed: {withdrawn}");
            self.journal.record(boottime(), line);
        }
        self.lock_again();
        for (door, network) in shut_out {
            let mut doors = self.engine.doors().iter();
            if let Some(index) = doors.position(|other| *other.name == *door) {
                self.cutting.withdraw(index, network);
                output::say(&format!(
                    "door {door}: shut to {network}, because other knocks open it now"
                ));
            }
        }
        self.tell_notices();
        self.begin_validity(boottime());
        self.look_around();
        Ok(())
    }
}
