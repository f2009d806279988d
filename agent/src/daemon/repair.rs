//! What others do to the guard, and how the agent puts it back.

use postern_core::config::OnCrash;
use postern_core::knock::Port;
use postern_core::time::{Duration, Instant};

use super::end::tell_end;
use super::ledger::{Differences, Entry, Origin};
use super::{Agent, in_words};
use crate::collect::CollectVec;
use crate::firewall::{Deed, Doer, News, Trial};
use crate::output::{self, span};
use crate::sys::clock::boottime;
use crate::token_bucket::TokenBucket;

/// How often the guard is put back at once: somebody else may do just the same.
const REPAIR_BURST: u32 = 10;
/// Beyond that, once after each of these.
const REPAIR_INTERVAL: Duration = Duration::from_secs(6);

/// Whether the guard is to be put back, and how often that may be.
pub(super) struct Repairs {
    budget: TokenBucket,
    /// When what is not as it should be is put back.
    due_at: Option<Instant>,
    /// The guard is to be there: nobody took it away on purpose.
    is_wanted: bool,
}

impl Repairs {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            budget: TokenBucket::new(REPAIR_BURST, REPAIR_INTERVAL, now),
            due_at: None,
            is_wanted: false,
        }
    }

    /// The guard was put in place.
    pub(super) const fn done(&mut self) {
        self.due_at = None;
        self.is_wanted = true;
    }

    /// The guard was taken away on purpose.
    pub(super) const fn unwanted(&mut self) {
        self.due_at = None;
        self.is_wanted = false;
    }

    /// Whether the guard is to be there.
    pub(super) const fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// When there is something to do.
    pub(super) const fn poll_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// Whether the guard is not as it should be, and stays so for a while.
    pub(super) const fn is_due(&self) -> bool {
        self.due_at.is_some()
    }
}

impl Agent<'_> {
    /// Hears what others did to the guard.
    pub(super) fn hear_news(&mut self) {
        let news = match self.watch.hear() {
            Ok(news) => news,
            Err(error) => {
                self.hamper(format_args!(
                    "changes of the firewall cannot be heard: {error}"
                ));
                return;
            }
        };
        let (mut harm, mut by_hand) = (None, None);
        for news in news {
            match news {
                News::Missed => {
                    harm = Some("what others did to the firewall was lost".into());
                    self.neighbours.changed(boottime());
                }
                News::ForeignTables => self.neighbours.changed(boottime()),
                News::Done(Deed::Grants, doer) => by_hand = Some(doer),
                News::Done(deed, doer) if doer.is_postern() => {
                    self.respect(deed, &doer);
                    harm = None;
                }
                News::Done(deed, doer) => {
                    let verb = match deed {
                        Deed::Deleted => "deleted",
                        Deed::Changed | Deed::Grants => "changed",
                    };
                    harm = Some(format!("{doer} {verb} the guard"));
                }
            }
        }
        if let Some(doer) = by_hand {
            self.remember_deeds(&doer);
        }
        if let Some(harm) = harm {
            self.mend(&harm);
        }
    }

    /// What a verb did that found no answer here was meant.
    fn respect(&mut self, deed: Deed, doer: &Doer) {
        match deed {
            Deed::Deleted => {
                self.give_up();
                output::warn(&format!(
                    "{doer} removed the guard; the agent waits for 'postern apply' or SIGHUP"
                ));
            }
            Deed::Changed => output::warn(&format!(
                "{doer} put a guard in place; 'postern apply' has the agent take it over too"
            )),
            Deed::Grants => {}
        }
        self.remember_deeds(doer);
    }

    /// Takes what the kernel has for what there is to remember, and tells what somebody did without
    /// asking the agent.
    fn remember_deeds(&mut self, doer: &Doer) {
        let before = self.locked.clone();
        let found = self.remember(Origin::Hand);
        self.tell_differences(boottime(), doer, &found);
        for (these, those, what) in [
            (&self.locked, &before, "locked"),
            (&before, &self.locked, "unlocked"),
        ] {
            for door in these.iter().filter(|door| !those.contains(door)) {
                let line = format_args!("by hand ({doer}): door {door} is {what}");
                self.journal.record(boottime(), line);
            }
        }
    }

    /// Takes what the kernel has for what there is to remember; what is new came about so. What ended
    /// by itself is told.
    pub(super) fn remember(&mut self, origin: Origin) -> Differences {
        // Without an answer, what is known already is the best there is.
        let Ok(grants) = self.firewall.grants_of_agent() else {
            return Differences::default();
        };
        let now = boottime();
        let doors = self.engine.doors();
        let mut found = self.ledger.take_over(grants, doors, now, origin);
        for (index, network) in found.went.iter().filter_map(Entry::network) {
            self.cutting.withdraw(index, network);
        }
        found.went.retain(|entry| {
            let has_ended = entry.until.is_some_and(|until| until <= now);
            if let Some(door) = doors.get(entry.door).filter(|_| has_ended) {
                tell_end(&mut self.journal, now, door, entry);
            }
            !has_ended
        });
        if let Ok(locked) = self.firewall.locks() {
            self.locked = locked;
        }
        if let Ok(Trial::None) = self.firewall.trial() {
            self.trial = None;
        }
        found
    }

    /// Forgets who was let in, and what was locked: the guard was taken away.
    pub(super) fn forget(&mut self) {
        self.ledger.clear();
        self.locked.clear();
    }

    /// Locks what is locked on interfaces that were not guarded before, too.
    pub(super) fn lock_again(&mut self) {
        for door in &self.locked {
            if let Err(refusal) = self.firewall.lock(door) {
                output::fail(&format!(
                    "door {door} may not be locked any more: {refusal}"
                ));
            }
        }
    }

    /// Puts the guard back that somebody harmed, now or later.
    fn mend(&mut self, harm: &str) {
        if !self.repairs.is_wanted || self.repairs.is_due() {
            return;
        }
        let now = boottime();
        if self.repairs.budget.take(now) {
            self.put_back(harm);
        } else {
            let at = self.repairs.budget.next_at();
            self.repairs.due_at = Some(at);
            output::warn(&format!(
                "{harm}; it was put back {REPAIR_BURST} times already, and is again in {}",
                span(at.since(now))
            ));
        }
    }

    /// Puts back what had to wait.
    pub(super) fn mend_later(&mut self, now: Instant) {
        if self.repairs.due_at.is_some_and(|at| at <= now) {
            self.repairs.due_at = None;
            self.mend("the guard is not what it was");
        }
    }

    fn put_back(&mut self, harm: &str) {
        match self.make_anew() {
            Ok(()) => output::warn(&format!("{harm}: it is back, with its grants")),
            Err(why) => {
                self.repairs.due_at = Some(boottime() + REPAIR_INTERVAL);
                output::fail(&format!(
                    "{harm}, and it cannot be put back: {why}; tried again in {}",
                    span(REPAIR_INTERVAL)
                ));
            }
        }
    }

    /// Puts the table that there is to be in place of whatever there is.
    fn make_anew(&mut self) -> Result<(), String> {
        let now = boottime();
        let config = self.config();
        let listed: Vec<Port> = self.one_time.list_ports().collect_vec();
        let trial = self.trial.as_ref();
        let times = trial.map(|trial| (now.since(trial.began_at), trial.ends_at.since(now)));
        let grants = self.ledger.grants(self.engine.doors(), now);
        let remembered = (grants.as_slice(), self.locked.as_slice());
        let put_back = (self.firewall).put_back(&config, &listed, times, remembered);
        put_back.map_err(in_words)
    }

    /// An agent that ends as it was told is no crash: its guard stays, and is put back at once where that was to
    /// come.
    pub(super) fn leave_behind(&mut self) {
        self.journal.sum_up(self.engine.doors());
        let is_missing_then = self.global.on_crash == OnCrash::Open || self.repairs.is_due();
        self.firewall.own(false);
        let left = match is_missing_then && self.repairs.is_wanted {
            true => self.make_anew(),
            false => Ok(()),
        };
        match left {
            Ok(()) if !self.repairs.is_wanted => output::say("ends; nothing was guarded"),
            Ok(()) => output::say("ends; the guard stays ('postern remove' takes it away)"),
            Err(why) => output::fail(&format!("ends, and the guard with it: {why}")),
        }
    }
}
