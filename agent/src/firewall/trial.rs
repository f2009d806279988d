//! A guard on trial: the kernel disarms it when a timed element of a set ends.
//!
//! Packets are guarded while the set [`TRIAL`] holds the interface that they came in on. When
//! the element ends, a gate's doors fall open, because nobody looks at packets any more, and the
//! doors of guard `mark` because every packet to them bears the mark. A trial that is confirmed
//! leaves an element without an end.

use postern_core::config::{Config, Guard, MAX_INTERFACES};
use postern_core::knock::Port;
use postern_core::time::Duration;

use super::nft::batch::Kept;
use super::nft::connection::{ElementChange, Term};
use super::nft::message::Lasting;
use super::nft::refusal::refused;
use super::nft::request::ElementKey;
use super::table::model::{Content, Hook, Rule, Set, Statement, Table, Verdict, timeout};
use super::table::names::{self, interface_key};
use super::table::{build, rules};
use super::{Firewall, Refusal};
use crate::collect::CollectVec;

/// The set of interfaces on which the guard is in force.
pub(super) const TRIAL: &str = "trial";

/// How a guard on trial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    /// There is none: the guard, where there is one, stays.
    None,
    /// It goes on.
    Running {
        /// Since when.
        for_so_long: Duration,
        /// For how long yet.
        remaining: Duration,
    },
    /// It ended, and the doors are open.
    Lapsed,
}

impl Table {
    /// The table for a configuration on trial.
    pub(super) fn on_trial(config: &Config, listed: &[Port]) -> Self {
        let mut table = Self::new(config, listed);
        table.sets.insert(0, trial_set());
        for chain in &mut table.chains {
            match chain.hook {
                Some(hook) if config.global.guard == Guard::Gate => {
                    chain.rules = vec![on_trial(hook)];
                }
                Some(Hook::Input) => chain.rules = input_rules(config),
                Some(Hook::Prerouting) => {}
                None if names::is_of_door(&chain.name) => chain.rules.insert(0, lapsed(config)),
                None => {}
            }
        }
        table
    }
}

fn trial_set() -> Set {
    let content = Content::TimedInterfaces;
    Set::new(TRIAL.to_owned(), content, MAX_INTERFACES as u32)
}

fn on_trial(hook: Hook) -> Rule {
    let is_on_trial = Statement::ArrivedOn(TRIAL.to_owned());
    vec![is_on_trial, build::goto(build::beyond(hook))]
}

/// Where the ordinary firewall asks for a mark, a door is open only to packets that bear it.
fn lapsed(config: &Config) -> Rule {
    let mut rule = vec![Statement::NotArrivedOn(TRIAL.to_owned())];
    rule.extend(rules::mark(config));
    rule.push(Statement::Verdict(Verdict::Accept));
    rule
}

/// Knocks are heard during the trial. What is judged here gets its mark afterwards, too.
fn input_rules(config: &Config) -> Vec<Rule> {
    let mut rules = vec![on_trial(Hook::Input)];
    let names = names::interface_names(config).into_iter();
    rules.extend(names.map(|name| {
        let (arrived, whose) = (Statement::Arrived(name), Statement::ForAnother(true));
        vec![arrived, whose, build::goto(names::LOCAL)]
    }));
    rules
}

/// The elements of [`TRIAL`], for a trial that began so long ago and goes on for so long.
pub(super) fn armed(config: &Config, (for_so_long, remaining): (Duration, Duration)) -> Vec<Kept> {
    let remaining = timeout(remaining);
    let names = names::interface_names(config);
    let element = |name: &String| Kept {
        set: 0,
        key: interface_key(name).to_vec(),
        lasting: Some(Lasting {
            timeout: remaining.saturating_add(for_so_long.as_millis()),
            remaining,
        }),
    };
    names.iter().map(element).collect_vec()
}

impl Firewall {
    /// As [`Firewall::install`], but that the kernel ends it after so long, unless it is
    /// confirmed ([`Firewall::confirm`]).
    pub(crate) fn install_on_trial(
        &mut self,
        config: &Config,
        listed: &[Port],
        lasting: Duration,
    ) -> Result<(), Refusal> {
        self.resume_trial(config, listed, (Duration::default(), lasting))
    }

    /// Puts a guard in place for a trial that began so long ago and goes on for so long.
    pub(crate) fn resume_trial(
        &mut self,
        config: &Config,
        listed: &[Port],
        (for_so_long, remaining): (Duration, Duration),
    ) -> Result<(), Refusal> {
        let armed = armed(config, (for_so_long, remaining));
        self.replace(&Table::on_trial(config, listed), &armed, &[])
    }

    /// How the installed guard stands.
    pub(crate) fn trial(&mut self) -> Result<Trial, Refusal> {
        let sets = match self.sets() {
            Err(Refusal::NotInstalled) => return Ok(Trial::None),
            sets => sets?,
        };
        if !sets.iter().any(|set| set.name == TRIAL) {
            return Ok(Trial::None);
        }
        let elements = self.elements(TRIAL)?;
        Ok(match elements.first().map(|element| element.lasting) {
            None => Trial::Lapsed,
            Some(None) => Trial::None,
            Some(Some(Lasting { timeout, remaining })) => Trial::Running {
                for_so_long: Duration::from_millis(timeout.saturating_sub(remaining)),
                remaining: Duration::from_millis(remaining),
            },
        })
    }

    /// Makes a guard on trial stay. One that the kernel has ended meanwhile stays ended.
    pub(crate) fn confirm(&mut self) -> Result<Trial, Refusal> {
        let trial = self.trial()?;
        if !matches!(trial, Trial::Running { .. }) {
            return Ok(trial);
        }
        let set: &[&str] = &[TRIAL];
        let names = self.interfaces_in(TRIAL)?;
        // Deleting fails where the element ended since it was read: then so did the trial.
        let mut changes = Vec::new();
        for name in &names {
            let key = ElementKey::Interface(name);
            changes.push(ElementChange::Delete(set, key));
            changes.push(ElementChange::Add(set, key, Term::Forever));
        }
        match self.connection.apply(&changes) {
            Err(failure) if failure.number() == Some(libc::ENOENT) => Ok(Trial::Lapsed),
            Err(failure) => {
                let refusal = refused(set, failure);
                Err(self.explain(refusal))
            }
            Ok(()) => Ok(trial),
        }
    }
}
