//! The firewall: one nftables table, described as data, and the grants that live in it.
//!
//! `ruleset` says what the table looks like, `text` and `objects` render it, `channel`
//! speaks `netlink` with the kernel. The kernel holds the grants and lets them expire, so that
//! they need nobody to be alive.

mod channel;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod kernel_tests;
mod netlink;
mod objects;
#[cfg(test)]
mod packet_tests;
mod reading;
mod refusal;
mod ruleset;
mod text;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::io;

use postern_core::config::Config;
use postern_core::door::MAX_NAME;
use postern_core::knock::Port;
use postern_core::time::Duration;

use channel::{Change, Channel, Failure};
use netlink::{Key, as_text};
use objects::{Kept, Object, replacement};
use reading::{KernelElement, KernelSet};
pub use refusal::Refusal;
use refusal::{refused, refused_object};
pub use ruleset::{
    Chain, Content, Family, LONGEST_SNAPLEN, MAX_CUTOFFS, MAX_GRANTS, Rule, Set, Statement, TABLE,
    Table, Verdict,
};

/// The most grants and cut-offs that outlive a reinstallation, grants first: it bounds the
/// memory that one transaction takes. Those beyond it have to knock again.
pub const MAX_KEPT: usize = 4096;
/// The most grants that are listed.
pub const MAX_LISTED: usize = 8192;
/// How often an installation begins again because someone else changed the rules meanwhile.
const INSTALL_ATTEMPTS: usize = 8;

/// The table for a configuration as an nft script, byte for byte what `nft list table` prints.
///
/// `listed` are the knock ports that the configuration names by a file only.
pub fn render(config: &Config, listed: &[Port]) -> String {
    text::render(&Table::new(config, listed))
}

/// The way to the kernel's firewall; it keeps one socket open.
pub struct Firewall {
    channel: Channel,
}

/// An open door, for someone, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The door.
    pub door: String,
    /// For whom.
    pub who: Who,
    /// How much longer; `None`: until it is withdrawn, which only another's command can have made.
    pub remaining: Option<Duration>,
}

/// For whom a door is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// For one source.
    Address(IpAddr),
    /// For whoever arrives on this interface.
    Anyone {
        /// The interface.
        interface: String,
    },
}

impl Firewall {
    /// Opens a netlink socket. It asks for nothing yet, and so needs no privilege.
    pub fn open() -> io::Result<Self> {
        Channel::open().map(|channel| Self { channel })
    }

    /// Puts the table of this configuration in place, in one transaction: of any older one
    /// the kernel keeps all, or nothing but the grants of doors whose name and ports are the
    /// same, and the cut-offs, with the time that they had left ([`MAX_KEPT`]).
    ///
    /// `listed` are the knock ports that the configuration names by a file only.
    pub fn install(&mut self, config: &Config, listed: &[Port]) -> Result<(), Refusal> {
        self.replace(&Table::new(config, listed))
    }

    fn replace(&mut self, table: &Table) -> Result<(), Refusal> {
        for attempt in 1..=INSTALL_ATTEMPTS {
            let generation = self
                .channel
                .generation()
                .map_err(|failure| refused_object(&Object::Batch, failure))?;
            let kept = match self.kept(table) {
                // There was none, or it went while it was read.
                Err(Refusal::NotInstalled) => Vec::new(),
                kept => kept?,
            };
            // The last time, a grant made since it was read is lost rather than the guard.
            let generation = (attempt < INSTALL_ATTEMPTS).then_some(generation);
            match self.try_replace(table, &kept, generation) {
                Err((
                    _,
                    Failure::Refused {
                        number: libc::ERESTART,
                        ..
                    },
                )) => {}
                Err((object, failure)) => return Err(refused_object(&object, failure)),
                Ok(()) => return Ok(()),
            }
        }
        Err(Refusal::Restless)
    }

    fn try_replace(
        &mut self,
        table: &Table,
        kept: &[Kept],
        generation: Option<u32>,
    ) -> Result<(), (Object, Failure)> {
        let first = self.channel.reserve(0);
        let batch = replacement(table, kept, first, generation).map_err(|object| {
            let sentence = "it cannot be written as a message".to_owned();
            (
                object,
                Failure::Refused {
                    position: 0,
                    number: libc::EINVAL,
                    sentence,
                },
            )
        })?;
        let count = batch.objects.len() as u32;
        self.channel.reserve(count.wrapping_add(1));
        self.channel
            .commit(&batch.octets, first, count.wrapping_sub(1))
            .map_err(|failure| {
                let position = match failure {
                    Failure::Refused { position, .. } => position as usize,
                    _ => 0,
                };
                (
                    batch
                        .objects
                        .get(position)
                        .cloned()
                        .unwrap_or(Object::Batch),
                    failure,
                )
            })
    }

    /// Takes the table away, and all grants with it; `false`: there was none.
    pub fn remove(&mut self) -> Result<bool, Refusal> {
        match self.channel.remove_table() {
            Ok(()) => Ok(true),
            Err(failure) if failure.number() == Some(libc::ENOENT) => Ok(false),
            Err(failure) => Err(refused_object(&Object::Table, failure)),
        }
    }

    /// Whether the table is there.
    pub fn installed(&mut self) -> Result<bool, Refusal> {
        match self.channel.table() {
            Ok(()) => Ok(true),
            Err(failure) if failure.number() == Some(libc::ENOENT) => Ok(false),
            Err(failure) => Err(refused_object(&Object::Table, failure)),
        }
    }

    /// Opens a door for a source from now on, for as long; a grant that it had begins anew.
    ///
    /// An IPv4 address that is mapped into IPv6 is an IPv4 address. A time below 50 ms, or
    /// above 365 days, is taken for that.
    pub fn grant(&mut self, door: &str, source: IpAddr, lasting: Duration) -> Result<(), Refusal> {
        plausible(door)?;
        let source = source.to_canonical();
        let set = &[ruleset::grant_prefix(family(source)), door];
        self.renew(set, Key::Address(source), lasting)
            .map_err(|failure| self.refused_door(door, set, failure))
    }

    /// Opens a door for anyone who arrives on a guarded interface, as the installed table
    /// names them.
    pub fn grant_anyone(&mut self, door: &str, lasting: Duration) -> Result<(), Refusal> {
        plausible(door)?;
        let set = &[ruleset::ANYONE, door];
        let interfaces = self.elements(ruleset::INTERFACES)?;
        let names: Vec<&str> = interfaces
            .iter()
            .filter_map(|interface| as_text(&interface.key))
            .collect();
        let changes: Vec<Change<'_>> = names
            .iter()
            .flat_map(|name| {
                let key = Key::Interface(name);
                [
                    Change::Add(set, key, lasting),
                    Change::Delete(set, key),
                    Change::Add(set, key, lasting),
                ]
            })
            .collect();
        self.channel
            .apply(&changes)
            .map_err(|failure| self.refused_door(door, set, failure))
    }

    /// Takes a source's grant back; `false`: it had none.
    pub fn withdraw(&mut self, door: &str, source: IpAddr) -> Result<bool, Refusal> {
        plausible(door)?;
        let source = source.to_canonical();
        let set = &[ruleset::grant_prefix(family(source)), door];
        let key = Key::Address(source);
        // A transaction that fails waits until no packet is looked at under the old rules
        // (`nf_tables_abort`, synchronize_rcu): tens of milliseconds. A question does not.
        let held = self
            .channel
            .holds(set, key)
            .and_then(|()| self.channel.apply(&[Change::Delete(set, key)]));
        match held {
            Ok(()) => Ok(true),
            Err(failure) if failure.number() == Some(libc::ENOENT) => {
                self.check(door).map(|()| false)
            }
            Err(failure) => Err(self.refused_door(door, set, failure)),
        }
    }

    /// Takes all grants of a door back, those for anyone too.
    pub fn withdraw_all(&mut self, door: &str) -> Result<(), Refusal> {
        plausible(door)?;
        let [v4, v6] = [Family::V4, Family::V6].map(ruleset::grant_prefix);
        let sets = [&[v4, door], &[v6, door], &[ruleset::ANYONE, door]];
        let changes = sets.map(|set| Change::Flush(set));
        self.channel
            .apply(&changes)
            .map_err(|failure| self.refused_door(door, &[door], failure))
    }

    /// Ignores a source's knocks from now on, for as long.
    pub fn cut_off(&mut self, source: IpAddr, lasting: Duration) -> Result<(), Refusal> {
        let source = source.to_canonical();
        let set = [ruleset::cutoffs(family(source))];
        self.renew(&set, Key::Address(source), lasting)
            .map_err(|failure| match failure.number() {
                Some(libc::ENOENT) => Refusal::NotInstalled,
                _ => refused(&set, failure),
            })
    }

    /// All grants of the installed table, at most [`MAX_LISTED`].
    pub fn grants(&mut self) -> Result<Vec<Grant>, Refusal> {
        let mut grants = Vec::new();
        for set in self.sets()? {
            let Some((kind, door)) = ruleset::grant_kind(&set.name) else {
                continue;
            };
            let elements = self.elements(&set.name)?;
            let room = MAX_LISTED.saturating_sub(grants.len());
            grants.extend(
                elements
                    .iter()
                    .filter_map(|element| grant(kind, door, element))
                    .take(room),
            );
        }
        Ok(grants)
    }

    /// The doors of the installed table, in the order of its configuration.
    pub fn doors(&mut self) -> Result<Vec<String>, Refusal> {
        let sets = self.sets()?;
        let doors = sets
            .iter()
            .filter_map(|set| match ruleset::grant_kind(&set.name)? {
                (ruleset::GrantKind::Anyone, door) => Some(door.to_owned()),
                _ => None,
            });
        Ok(doors.collect())
    }

    /// An element's timeout cannot be changed before Linux 6.12: deleting it and adding it is
    /// one step for whoever looks it up. Deleting what is not there fails, hence the first.
    ///
    /// To insert first, and do this only if the element is there, would be slower: a transaction
    /// that fails takes tens of milliseconds (see [`Firewall::withdraw`]), this one takes
    /// three microseconds.
    fn renew(&mut self, set: &[&str], key: Key<'_>, lasting: Duration) -> Result<(), Failure> {
        self.channel.apply(&[
            Change::Add(set, key, lasting),
            Change::Delete(set, key),
            Change::Add(set, key, lasting),
        ])
    }

    /// What the sets of this table shall have again: a set is the same if its name and comment are.
    fn kept(&mut self, table: &Table) -> Result<Vec<Kept>, Refusal> {
        let old = self.sets()?;
        let mut kept = Vec::new();
        for (index, set) in table
            .sets
            .iter()
            .enumerate()
            .filter(|(_, set)| set.content.is_timed())
        {
            if !old
                .iter()
                .any(|old| old.name == set.name && old.comment == set.comment)
            {
                continue;
            }
            let elements = self.elements(&set.name)?;
            let room = MAX_KEPT.saturating_sub(kept.len());
            let most = set.size.map_or(room, |size| room.min(size as usize));
            let fits = |element: &KernelElement| element.key.len() == set.content.key_length();
            kept.extend(
                elements
                    .into_iter()
                    .filter(fits)
                    .take(most)
                    .map(|element| Kept {
                        set: index,
                        key: element.key,
                        lasting: element.lasting,
                    }),
            );
        }
        Ok(kept)
    }

    fn sets(&mut self) -> Result<Vec<KernelSet>, Refusal> {
        match self.channel.sets() {
            Ok(sets) if sets.is_empty() => Err(Refusal::NotInstalled),
            sets => sets.map_err(unread),
        }
    }

    fn elements(&mut self, set: &str) -> Result<Vec<KernelElement>, Refusal> {
        self.channel.elements(set).map_err(unread)
    }

    /// Whether there is such a door.
    fn check(&mut self, door: &str) -> Result<(), Refusal> {
        match self.doors()?.iter().any(|known| known == door) {
            true => Ok(()),
            false => Err(Refusal::UnknownDoor(door.to_owned())),
        }
    }

    fn refused_door(&mut self, door: &str, set: &[&str], failure: Failure) -> Refusal {
        if failure.number() == Some(libc::ENOENT)
            && let Err(refusal) = self.check(door)
        {
            return refusal;
        }
        refused(set, failure)
    }
}

/// Where elements are asked for by the name of a set that was there, the table has gone.
fn unread(failure: Failure) -> Refusal {
    match failure.number() {
        Some(libc::ENOENT) => Refusal::NotInstalled,
        _ => refused_object(&Object::Table, failure),
    }
}

/// A name that no table can have need not be sent.
fn plausible(door: &str) -> Result<(), Refusal> {
    match door.len() <= MAX_NAME
        && door
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || octet == b'_')
    {
        true => Ok(()),
        false => Err(Refusal::UnknownDoor(door.chars().take(MAX_NAME).collect())),
    }
}

const fn family(source: IpAddr) -> Family {
    match source {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

fn grant(kind: ruleset::GrantKind, door: &str, element: &KernelElement) -> Option<Grant> {
    let key = element.key.as_slice();
    let who = match kind {
        ruleset::GrantKind::Source(Family::V4) => {
            Who::Address(Ipv4Addr::from(<[u8; 4]>::try_from(key).ok()?).into())
        }
        ruleset::GrantKind::Source(Family::V6) => {
            Who::Address(Ipv6Addr::from(<[u8; 16]>::try_from(key).ok()?).into())
        }
        ruleset::GrantKind::Anyone => Who::Anyone {
            interface: as_text(key)?.to_owned(),
        },
    };
    let remaining = element
        .lasting
        .map(|lasting| Duration::from_millis(lasting.remaining));
    Some(Grant {
        door: door.to_owned(),
        who,
        remaining,
    })
}
