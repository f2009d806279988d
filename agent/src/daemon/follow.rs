//! Interfaces change while they are guarded: a name comes to stand for another device.

use std::os::fd::{AsFd, BorrowedFd};

use postern_core::config::Config;
use postern_core::knock::Port;
use postern_core::time::{Duration, Instant};

use super::ledger::Origin;
use super::{Agent, in_words};
use crate::firewall::Trial;
use crate::openwrt::networks::{self, Resolved};
use crate::openwrt::ubus::Listener;
use crate::sys::clock::boottime;
use crate::sys::link::LinkWatch;
use crate::{doctor, output};

/// At least as long nothing is looked at again, whatever is told meanwhile.
const MIN_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// So many times as long as a look took, which may be long where netifd does not answer: the agent
/// hears no knocks meanwhile.
const LOOK_INTERVAL_FACTOR: u64 = 16;
/// When to try again what failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Where the agent learns that interfaces may have changed.
pub(super) struct Outlook {
    links: LinkWatch,
    /// netifd's news; `None`: there is no ubus, or not just now.
    bus: Option<Listener>,
    look_at: Option<Instant>,
    rests_until: Instant,
    /// What could not be done the last time, so that it is said once.
    complaint: String,
}

impl Outlook {
    /// Looks at once: something may have changed since the names were looked up.
    pub(super) fn open(now: Instant) -> std::io::Result<Self> {
        Ok(Self {
            links: LinkWatch::open()?,
            bus: None,
            look_at: Some(now),
            rests_until: now,
            complaint: String::new(),
        })
    }

    /// The files that have something to tell.
    pub(super) fn files(&self) -> heapless::Vec<BorrowedFd<'_>, 2> {
        let bus = self.bus.iter().map(AsFd::as_fd);
        core::iter::once(self.links.as_fd()).chain(bus).collect()
    }

    pub(super) const fn poll_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Hears that something may have changed; what, is asked soon.
    pub(super) fn hear(&mut self, now: Instant) {
        self.links.clear();
        if let Some(bus) = &mut self.bus
            && bus.clear().is_err()
        {
            self.bus = None;
        }
        let soon = now.max(self.rests_until);
        self.look_at = Some(self.look_at.map_or(soon, |at| at.min(soon)));
    }

    /// Before it is asked how things are, so that nothing is missed.
    fn listen(&mut self) {
        if self.bus.is_none() {
            self.bus = networks::listen().ok();
        }
    }

    fn complain(&mut self, why: String) {
        if self.complaint != why {
            output::warn(&why);
            self.complaint = why;
        }
    }
}

impl Agent<'_> {
    /// Moves the guard to the devices that its names stand for now.
    pub(super) fn follow(&mut self, now: Instant) {
        if self.outlook.look_at.is_none_or(|at| at > now) {
            return;
        }
        self.outlook.look_at = None;
        self.outlook.listen();
        let (looked_up, mut again) = self.networks.look_again();
        again |= self.networks.has_any() && self.outlook.bus.is_none();
        let moved = match looked_up {
            Some(Ok(resolved)) => self.move_guard(resolved),
            Some(Err(why)) => Err(format!("the guard stays where it is: {why}")),
            None => Ok(()),
        };
        match moved {
            Ok(()) => {}
            Err(why) => {
                self.outlook.complain(why);
                again = true;
            }
        }
        let end = boottime();
        let took = Duration::from_millis(end.since(now).as_millis() * LOOK_INTERVAL_FACTOR);
        self.outlook.rests_until = end + took.max(MIN_LOOK_INTERVAL);
        self.outlook.look_at = again.then(|| end + took.max(RETRY_INTERVAL));
    }

    fn move_guard(&mut self, resolved: Resolved) -> Result<(), String> {
        let Resolved {
            devices,
            named,
            meanings,
            mistakes,
        } = resolved;
        match mistakes.is_empty() {
            true => self.outlook.complaint.clear(),
            false => self.outlook.complain(mistakes.join("; ")),
        }
        for meaning in &meanings {
            if !self.networks.meanings().contains(meaning) {
                output::say(&meaning.text);
            }
        }
        self.networks.now_mean(meanings);
        let guarded = &self.global.interfaces;
        // The devices may be the same in another order, and some names stand for others of them.
        let same = *guarded == devices && self.global.named == named;
        if same || !self.repairs.is_wanted() {
            return Ok(());
        }
        let listed = devices.join(", ");
        let failed = |why| format!("the guard cannot move to {listed}: {why}");
        if self.repairs.is_due() {
            return Err(failed("it is about to be put back".into()));
        }
        let mut config = self.config();
        config.global.interfaces = devices;
        config.global.named = named;
        // Whoever is shut out of what was unguarded still has the knocks.
        if let Err(why) = doctor::forbid_reload(&config) {
            output::say(&format!(
                "the guard moves to {listed} all the same, but {why}"
            ));
        }
        self.put_on(&config).map_err(failed)?;
        output::say(&format!("the guard moved: it is on {listed}"));
        Ok(())
    }

    /// Puts the guard of the same doors on other devices, with its grants, locks and trial.
    fn put_on(&mut self, config: &Config) -> Result<(), String> {
        // What was knocked before was heard on the devices before.
        self.hear_knocks();
        let listed: Vec<Port> = self.one_time.list_ports().collect();
        let now = boottime();
        let source = (self.source).prepare(config, &listed, now)?;
        let installed = match self.firewall.trial() {
            Ok(Trial::Running {
                for_so_long,
                remaining,
            }) => (self.firewall).resume_trial(config, &listed, (for_so_long, remaining)),
            Ok(Trial::Lapsed) => return Err("the trial is over".into()),
            Ok(Trial::None) => self.firewall.install(config, &listed),
            Err(refusal) => Err(refusal),
        };
        installed.map_err(in_words)?;
        self.repairs.done();
        self.source.adopt(source);
        self.global = config.global.clone();
        self.remember(Origin::Before);
        self.lock_again();
        self.tell_notices();
        self.look_around();
        Ok(())
    }
}
