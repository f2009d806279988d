//! Ending the connections of sources whose grants ended, at doors that cut.
//!
//! The guard drops their packets by itself from then on, whatever becomes of the agent. What is
//! done here is to have the ordinary firewall forget the connections.

use core::mem;

use postern_core::door::{Door, DoorSet, OnExpiry};
use postern_core::knock::PortRange;
use postern_core::time::{Duration, Instant};

use super::Agent;
use super::ledger::{KERNEL_LAG, MAX_GRANTS};
use crate::firewall::{Grant, Who};
use crate::netlink::conntrack::{self, Connections};
use crate::network::{Family, Network};
use crate::sys::clock::boottime;

/// How often, at most, the kernel is asked whom its own engines let in.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Whose grants ended.
pub(super) struct Cutting {
    /// The doors that cut.
    doors: DoorSet,
    /// The doors, by their indices, and who may pass them no longer.
    withdrawn: Vec<(usize, Network)>,
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
            later: Vec::new(),
            let_in: Vec::new(),
            ask_at: None,
        }
    }

    /// Begins with these doors.
    pub(super) fn begin(&mut self, doors: &[Door], now: Instant) {
        *self = Self::new();
        let cutting = doors.iter().enumerate().filter(|(_, door)| cuts(door));
        cutting.for_each(|(index, _)| self.doors.insert(index));
        self.ask_at = pause(doors).map(|_| now);
    }

    /// Somebody may not pass a door any more.
    pub(super) fn withdraw(&mut self, index: usize, network: Network) {
        let pair = (index, network);
        if self.doors.contains(index) && !self.withdrawn.contains(&pair) {
            self.withdrawn.push(pair);
        }
    }

    /// Has the kernel asked at once whom its own engines let in.
    pub(super) fn ask_now(&mut self, now: Instant) {
        self.ask_at = self.ask_at.map(|_| now);
    }

    /// When there is somebody to look at.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        let later = self.later.iter().map(|(_, _, at)| *at);
        later.chain(self.ask_at).min()
    }

    fn take_due(&mut self, now: Instant) {
        let due = self.later.extract_if(.., |(_, _, at)| *at <= now);
        let due: Vec<(usize, Network)> = due.map(|(index, network, _)| (index, network)).collect();
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
    /// Ends the connections of those whose grants ended.
    pub(super) fn cut(&mut self, now: Instant) {
        if self.cutting.doors.is_empty() {
            return;
        }
        self.cutting.take_due(now);
        let asks = self.cutting.ask_at.is_some_and(|at| at <= now);
        if !asks && self.cutting.withdrawn.is_empty() {
            return;
        }
        let grants = self.firewall.grants();
        self.cutting.ask_at = pause(self.engine.doors()).map(|pause| now + pause);
        match grants {
            Ok(grants) => {
                self.compare(&grants);
                self.end_connections(&grants, now);
            }
            // Without a guard there is nobody to keep out.
            Err(_) => self.cutting.withdrawn.clear(),
        }
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
            .collect();
        let before = mem::take(&mut self.cutting.let_in);
        for (index, network) in before.into_iter().filter(|pair| !let_in.contains(pair)) {
            self.cutting.withdraw(index, network);
        }
        self.cutting.let_in = let_in;
    }

    /// Whoever is let in all the same is left alone until that ends: the kernel's clock may also
    /// be a little behind.
    fn end_connections(&mut self, grants: &[Grant], now: Instant) {
        let doors = self.engine.doors();
        let mut doomed = Vec::new();
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
        match conntrack::cut(&doomed, &let_in(grants, doors)) {
            Ok(0) => {}
            Ok(ended) => self.journal.say(
                boottime(),
                format_args!("{ended} connections ended, because their grants did"),
            ),
            Err(error) => self.journal.say(
                boottime(),
                format_args!("connections whose grants ended cannot be told to end: {error}"),
            ),
        }
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
