//! What other tables make of the guard, said whenever that is something else than before.

use postern_core::config::Config;
use postern_core::time::{Duration, Instant};

use super::Agent;
use crate::files::config_file;
use crate::{doctor, output};

/// How long changes are let settle: a program that makes many, such as a container engine, makes them one by
/// one. No table is looked at more often.
const SETTLE_TIME: Duration = Duration::from_secs(1);

/// What was said of other tables.
#[derive(Default)]
pub(super) struct Neighbours {
    said: Vec<String>,
    /// When they are looked at again.
    due_at: Option<Instant>,
}

impl Neighbours {
    /// Somebody changed one of them.
    pub(super) fn changed(&mut self, now: Instant) {
        self.due_at.get_or_insert(now + SETTLE_TIME);
    }

    pub(super) const fn poll_at(&self) -> Option<Instant> {
        self.due_at
    }
}

impl Agent<'_> {
    /// Looks at other tables where they changed.
    pub(super) fn look_around_later(&mut self, now: Instant) {
        if self.neighbours.due_at.is_some_and(|at| at <= now) {
            self.look_around();
        }
    }

    /// Says what other tables make of the guard, and what they no longer do; nothing where there is no guard.
    pub(super) fn look_around(&mut self) {
        self.neighbours.due_at = None;
        let warnings = match self.repairs.is_wanted() {
            true => doctor::warnings(&self.config(), &|door| self.one_time.ports_of(door)),
            false => Vec::new(),
        };
        let said = core::mem::take(&mut self.neighbours.said);
        for warning in warnings.iter().filter(|warning| !said.contains(warning)) {
            output::say(warning);
        }
        for warning in said.iter().filter(|warning| !warnings.contains(warning)) {
            output::say(&format!("no longer so: {warning}"));
        }
        self.neighbours.said = warnings;
    }

    /// What is in force.
    pub(super) fn config(&self) -> Box<Config> {
        config_file::boxed(&self.global, self.engine.doors())
    }
}
