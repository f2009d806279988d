//! Ending the connections of sources whose grants ended, at doors that cut.
//!
//! The guard drops their packets by itself from then on, whatever becomes of the agent. What is
//! done here is to have the ordinary firewall forget the connections, a few in each turn of the loop: there may be
//! hundreds of thousands, and knocks do not wait for them.

use core::mem;
use std::io;

use postern_core::door::{Door, DoorSet, OnExpiry};
use postern_core::knock::PortRange;
use postern_core::time::{Duration, Instant};

use super::Agent;
use super::control::{Answer, Caller, MAX_CLIENTS};
use super::ledger::{KERNEL_LAG, MAX_GRANTS};
use crate::collect::CollectVec;
use crate::firewall::{Grant, Who};
use crate::netlink::conntrack::{Connections, Ending};
use crate::network::{Family, Network};
use crate::sys::clock::boottime;

/// How often, at most, the kernel is asked whom its own engines let in.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The longest that somebody waits who closed a door by hand; a verb waits for 3 s.
const MAX_PATIENCE: Duration = Duration::from_secs(2);

/// Whose grants ended.
pub(super) struct Cutting {
    /// The doors that cut.
    doors: DoorSet,
    /// The doors, by their indices, and who may pass them no longer. When it is full, it is with a newcomer as below.
    withdrawn: Vec<(usize, Network)>,
    /// What is to end besides: it was withdrawn before other doors came.
    doomed: Vec<Connections>,
    /// The connections that are being ended.
    ending: Option<Ending>,
    /// Who closed a door and waits for them, until when.
    callers: Vec<(Caller, Answer, Instant)>,
    /// Who is looked at again when what lets them in all the same has ended. When it is full, the rest of the firewall is
    /// not told of a newcomer's end; the guard drops his packets all the same.
    later: Vec<(usize, Network, Instant)>,
    /// Whom rules of the kernel had let in at doors that cut, when they were last asked.
    let_in: Vec<(usize, Network)>,
    ask_at: Option<Instant>,
}

impl Cutting {
    pub(super) const fn new() -> Self {
        Self {
            doors: DoorSet::EMPTY,
            withdrawn: Vec::new(),
            doomed: Vec::new(),
            ending: None,
            callers: Vec::new(),
            later: Vec::new(),
            let_in: Vec::new(),
            ask_at: None,
        }
    }

    /// Remembers what is to end at doors that may go.
    pub(super) fn settle(&mut self, doors: &[Door]) {
        for (index, network) in mem::take(&mut self.withdrawn) {
            if self.doomed.len() < MAX_GRANTS {
                let door = doors.get(index);
                self.doomed
                    .extend(door.map(|door| connections(door, network)));
            }
        }
    }

    /// Begins with these doors.
    pub(super) fn begin(&mut self, doors: &[Door], now: Instant) {
        *self = Self {
            doomed: mem::take(&mut self.doomed),
            ending: self.ending.take(),
            callers: mem::take(&mut self.callers),
            ..Self::new()
        };
        let cutting = doors.iter().enumerate().filter(|(_, door)| cuts(door));
        cutting.for_each(|(index, _)| self.doors.insert(index));
        self.ask_at = pause(doors).map(|_| now);
    }

    /// Somebody may not pass a door any more.
    pub(super) fn withdraw(&mut self, index: usize, network: Network) {
        let pair = (index, network);
        let has_room = self.withdrawn.len() < MAX_GRANTS;
        if self.doors.contains(index) && has_room && !self.withdrawn.contains(&pair) {
            self.withdrawn.push(pair);
        }
    }

    /// Whether connections are being ended, or are to be.
    const fn is_busy(&self) -> bool {
        self.ending.is_some() || !self.withdrawn.is_empty() || !self.doomed.is_empty()
    }

    /// Answers somebody who closed a door, once the connections have ended.
    pub(super) fn answer(&mut self, caller: Caller, answer: Answer, now: Instant) {
        match self.is_busy() && self.callers.len() < MAX_CLIENTS {
            true => self.callers.push((caller, answer, now + MAX_PATIENCE)),
            false => caller.answer(&answer),
        }
    }

    fn answer_callers(&mut self, now: Instant) {
        let is_busy = self.is_busy();
        let due = (self.callers).extract_if(.., |(_, _, until)| !is_busy || *until <= now);
        due.for_each(|(caller, answer, _)| caller.answer(&answer));
    }

    /// Has the kernel asked at once whom its own engines let in.
    pub(super) fn ask_now(&mut self, now: Instant) {
        self.ask_at = self.ask_at.map(|_| now);
    }

    /// When there is somebody to look at.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        if self.is_busy() {
            return Some(Instant::from_millis(0));
        }
        let later = self.later.iter().map(|(_, _, at)| *at);
        later.chain(self.ask_at).min()
    }

    fn take_due(&mut self, now: Instant) {
        let due = self.later.extract_if(.., |(_, _, at)| *at <= now);
        let due: Vec<(usize, Network)> = due
            .map(|(index, network, _)| (index, network))
            .collect_vec();
        for (index, network) in due {
            self.withdraw(index, network);
        }
    }

    fn postpone(&mut self, index: usize, network: Network, at: Instant) {
        let is_same = |other: &(usize, Network, Instant)| (other.0, other.1) == (index, network);
        self.later.retain(|other| !is_same(other));
        if self.later.len() < MAX_GRANTS {
            self.later.push((index, network, at));
        }
    }
}

fn cuts(door: &Door) -> bool {
    door.on_expiry == OnExpiry::Cut
}

fn asked_about(door: &Door) -> bool {
    cuts(door) && door.engine.is_in_kernel()
}

/// Rules tell nobody of what they grant. Asked twice while the shortest grant lasts, they cannot
/// have let anybody in for all of its time and not be seen to.
fn pause(doors: &[Door]) -> Option<Duration> {
    let shortest = doors.iter().filter(|door| asked_about(door));
    let half = |door: &Door| Duration::from_millis(door.grant.as_millis() / 2);
    shortest
        .map(half)
        .min()
        .map(|half| half.max(MIN_POLL_INTERVAL))
}

impl Agent<'_> {
    /// Ends the connections of those whose grants ended, a few in a turn.
    pub(super) fn cut(&mut self, now: Instant) {
        self.cutting.take_due(now);
        let asks = self.cutting.ask_at.is_some_and(|at| at <= now);
        if !asks && !self.cutting.is_busy() {
            return;
        }
        if asks || self.cutting.ending.is_none() {
            let grants = self.firewall.grants();
            self.cutting.ask_at = pause(self.engine.doors()).map(|pause| now + pause);
            match grants {
                Ok(grants) => {
                    self.compare(&grants);
                    if self.cutting.ending.is_none() {
                        self.begin_ending(&grants, now);
                    }
                }
                // Without a guard there is nobody to keep out.
                Err(_) => {
                    self.cutting.withdrawn.clear();
                    self.cutting.doomed.clear();
                }
            }
        }
        self.go_on_ending();
        self.cutting.answer_callers(now);
    }

    /// Finds whom rules had let in and no longer do.
    fn compare(&mut self, grants: &[Grant]) {
        let doors = self.engine.doors();
        let let_in: Vec<(usize, Network)> = (grants.iter())
            .filter_map(|grant| match grant.who {
                Who::Network(network) => Some((index_of(doors, &grant.door)?, network)),
                Who::Anyone { .. } => None,
            })
            .filter(|(index, _)| doors.get(*index).is_some_and(asked_about))
            .collect_vec();
        let before = mem::take(&mut self.cutting.let_in);
        for (index, network) in before.into_iter().filter(|pair| !let_in.contains(pair)) {
            self.cutting.withdraw(index, network);
        }
        self.cutting.let_in = let_in;
    }

    /// Whoever is let in all the same is left alone until that ends: the kernel's clock may also
    /// be a little behind.
    fn begin_ending(&mut self, grants: &[Grant], now: Instant) {
        let doors = self.engine.doors();
        let mut doomed = mem::take(&mut self.cutting.doomed);
        for (index, network) in mem::take(&mut self.cutting.withdrawn) {
            let Some(door) = doors.get(index) else {
                continue;
            };
            let still = longest(grants.iter().filter(|grant| {
                *grant.door == *door.name
                    && (grant.who == Who::Network(network) || is_anyones(grant))
            }));
            // Where another door lets somebody in, its own end comes; none does that is everybody's.
            let later = still.or_else(|| {
                doomed.push(connections(door, network));
                longest(grants.iter().filter(|grant| {
                    let other = doors.iter().find(|other| *other.name == *grant.door);
                    is_anyones(grant) && other.is_some_and(|other| share_port(door, other))
                }))
            });
            if let Some(Some(remaining)) = later {
                let at = now + remaining + KERNEL_LAG;
                self.cutting.postpone(index, network, at);
            }
        }
        if doomed.is_empty() {
            return;
        }
        match Ending::begin(doomed) {
            Ok(ending) => self.cutting.ending = Some(ending),
            Err(error) => self.tell_failed_ending(&error),
        }
    }

    fn go_on_ending(&mut self) {
        let Some(ending) = &mut self.cutting.ending else {
            return;
        };
        let (firewall, doors) = (&mut self.firewall, self.engine.doors());
        let mut spared = || {
            let grants = firewall.grants().ok()?;
            Some(let_in(&grants, doors))
        };
        match ending.go_on(&mut spared) {
            Ok(None) => return,
            Ok(Some(0)) => {}
            Ok(Some(ended)) => self.journal.say(
                boottime(),
                format_args!("{ended} connections ended, because their grants did"),
            ),
            Err(error) => self.tell_failed_ending(&error),
        }
        self.cutting.ending = None;
    }

    fn tell_failed_ending(&mut self, error: &io::Error) {
        self.journal.say(
            boottime(),
            format_args!("connections whose grants ended cannot be told to end: {error}"),
        );
    }
}

/// For how long the longest of these grants lasts; `None`: there is none, `Some(None)`: without an end.
fn longest<'g>(grants: impl Iterator<Item = &'g Grant>) -> Option<Option<Duration>> {
    let remaining = grants.map(|grant| grant.remaining);
    remaining.reduce(|one, other| one.zip(other).map(|(one, other)| one.max(other)))
}

const fn is_anyones(grant: &Grant) -> bool {
    matches!(grant.who, Who::Anyone { .. })
}

/// Whether both doors guard one port.
pub(super) fn share_port(one: &Door, other: &Door) -> bool {
    let meets = |guard: &PortRange| other.guards.iter().any(|other| other.overlaps(guard));
    one.guards.iter().any(meets)
}

/// A network's connections to the ports of a door.
pub(crate) fn connections(door: &Door, network: Network) -> Connections {
    Connections {
        network,
        ports: door.guards.to_vec(),
        at: [door.behind.as_slice(), &door.to].concat(),
    }
}

/// The connections of all who are let in, by whichever door.
pub(crate) fn let_in(grants: &[Grant], doors: &[Door]) -> Vec<Connections> {
    let mut let_in = Vec::new();
    for grant in grants {
        let Some(door) = doors.iter().find(|door| *door.name == *grant.door) else {
            continue;
        };
        match grant.who {
            Who::Network(network) => let_in.push(connections(door, network)),
            // Nobody can tell from a connection where it came in.
            Who::Anyone { .. } => {
                let everybody = Family::BOTH.map(Network::everything);
                let_in.extend(everybody.map(|network| connections(door, network)));
            }
        }
    }
    let_in
}

fn index_of(doors: &[Door], name: &str) -> Option<usize> {
    doors.iter().position(|door| *door.name == *name)
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    #[test]
    fn no_more_are_withdrawn_than_were_let_in() {
        let mut cutting = Cutting::new();
        cutting.doors.insert(0);
        for number in 0..MAX_GRANTS as u32 + 9 {
            cutting.withdraw(0, Network::of(Ipv4Addr::from_bits(number).into(), 32));
        }
        assert_eq!(cutting.withdrawn.len(), MAX_GRANTS);
    }

    #[test]
    fn no_more_are_looked_at_later_than_were_let_in() {
        let mut cutting = Cutting::new();
        for number in 0..MAX_GRANTS as u32 + 9 {
            let network = Network::of(Ipv4Addr::from_bits(number).into(), 32);
            cutting.postpone(0, network, Instant::from_millis(1));
            cutting.postpone(0, network, Instant::from_millis(2));
        }
        assert_eq!(cutting.later.len(), MAX_GRANTS);
    }
}
