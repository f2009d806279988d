//! What is read back: how far sources have come, and what was counted.

use core::net::IpAddr;

use postern_core::door::Door;
use postern_core::knock::Port;
use postern_core::method::Effect;
use postern_core::time::Duration;

use super::nft::connection::Connection;
use super::nft::dump::KernelElement;
use super::nft::refusal::refused;
use super::table::engines::{Count, Pattern, marks, patterns};
use super::{Firewall, Refusal, unread};
use crate::collect::CollectVec;
use crate::network::Family;

/// A source on its way to open or to close a door of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// Who knocks.
    pub source: IpAddr,
    /// What a finished attempt does.
    pub effect: Effect,
    /// Knocks made so far.
    pub accepted: usize,
    /// Knocks needed.
    pub needed: usize,
    /// The knock that is expected.
    pub next: Port,
    /// Time left for the rest.
    pub remaining: Duration,
}

/// What was counted at a door of the kernel since it was installed first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Knocks at its ports.
    pub seen: u64,
    /// Knocks that were expected, and repeated ones.
    pub matched: u64,
    /// Finished attempts that opened it.
    pub opened: u64,
    /// Finished attempts that closed it.
    pub closed: u64,
    /// Attempts that ended with a knock that was not expected, or a hit at a decoy.
    pub refused: u64,
    /// Knocks that found a set full.
    pub no_room: u64,
}

impl Counts {
    const fn of(&mut self, count: Count) -> &mut u64 {
        match count {
            Count::Seen => &mut self.seen,
            Count::Matched => &mut self.matched,
            Count::Opened => &mut self.opened,
            Count::Closed => &mut self.closed,
            Count::Refused => &mut self.refused,
            Count::NoRoom => &mut self.no_room,
        }
    }
}

impl Firewall {
    /// What was counted at the doors of the installed table that the kernel serves, in the order
    /// of their names. Empty where it serves none.
    pub(crate) fn counts(&mut self) -> Result<Vec<(String, Counts)>, Refusal> {
        let mut doors: Vec<(String, Counts)> = Vec::new();
        for counter in self.connection.counters().map_err(unread)? {
            let of_door = |count: Count| Some((count, counter.name.strip_prefix(count.prefix())?));
            let Some((count, door)) = Count::ALL.into_iter().find_map(of_door) else {
                continue;
            };
            let at = match doors.binary_search_by(|(name, _)| name.as_str().cmp(door)) {
                Ok(at) => at,
                Err(at) => {
                    doors.insert(at, (door.to_owned(), Counts::default()));
                    at
                }
            };
            if let Some((_, counts)) = doors.get_mut(at) {
                *counts.of(count) = counter.counted.packets;
            }
        }
        Ok(doors)
    }

    /// The attempts under way at a door of the kernel; none, if the installed table has no such
    /// door, or this door is the agent's.
    pub(crate) fn attempts(&mut self, door: &Door) -> Result<Vec<Attempt>, Refusal> {
        let mut attempts = Vec::new();
        if !door.engine.is_in_kernel() {
            return Ok(attempts);
        }
        for pattern in patterns(door).iter().filter(|pattern| pattern.counts()) {
            for family in Family::BOTH {
                attempts.extend(attempts_at(&mut self.connection, pattern, family)?);
            }
        }
        Ok(attempts)
    }
}

fn attempts_at(
    connection: &mut Connection,
    pattern: &Pattern<'_>,
    family: Family,
) -> Result<Vec<Attempt>, Refusal> {
    let under_way = elements(connection, &marks(pattern.door).under_way(pattern, family))?;
    let mut later = Vec::new();
    for made in 2..pattern.steps.len() {
        let (set, port) = marks(pattern.door).mark(pattern, made, family);
        later.push((elements(connection, &set)?, port));
    }
    let attempts = under_way.into_iter().filter_map(|element| {
        let marked = |(marked, port): &&(Vec<KernelElement>, Option<u16>)| {
            let key = key(&element.key, *port);
            let found = marked.binary_search_by(|marked| marked.key.cmp(&key));
            found.is_ok()
        };
        let accepted = 1 + later.iter().take_while(marked).count();
        Some(Attempt {
            source: element.address(family)?,
            effect: pattern.effect,
            accepted,
            needed: pattern.steps.len(),
            next: *pattern.steps.get(accepted)?,
            remaining: Duration::from_millis(element.lasting?.remaining),
        })
    });
    Ok(attempts.collect_vec())
}

/// The elements of a set; none, where there is no such set.
fn elements(connection: &mut Connection, set: &str) -> Result<Vec<KernelElement>, Refusal> {
    match connection.elements(set) {
        Err(failure) if failure.number() == Some(libc::ENOENT) => Ok(Vec::new()),
        elements => elements.map_err(|failure| refused(&[set], failure)),
    }
}

/// An address, and a port behind it, padded to whole registers.
fn key(address: &[u8], port: Option<u16>) -> Vec<u8> {
    let port = port.map(|port| [port.to_be_bytes(), [0; 2]].concat());
    [address, port.as_deref().unwrap_or_default()].concat()
}
