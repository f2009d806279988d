//! Grants: who may pass which door, and until when.

use core::net::IpAddr;

use postern_core::door::{Door, MAX_NAME};
use postern_core::time::Duration;

use super::nft::connection::{ElementChange, Failure, Term};
use super::nft::dump::{KernelElement, KernelSet};
use super::nft::refusal::refused;
use super::nft::request::ElementKey;
use super::table::engines;
use super::table::names::{self, GrantKind};
use super::{Firewall, MAX_LISTED, Refusal};
use crate::collect::CollectVec;
use crate::netlink::codec::as_text;
use crate::network::{Family, Network, family};

/// The most grants that one command makes: what a /24 takes at a door that grants single addresses.
pub(crate) const MAX_GRANTS_AT_ONCE: u32 = 256;

/// An open door, for someone, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The door.
    pub door: String,
    /// For whom.
    pub who: Who,
    /// How much longer; `None`: until it is withdrawn, which only another's command can have made.
    pub remaining: Option<Duration>,
}

/// For whom a door is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// For these sources.
    Network(Network),
    /// For whoever arrives on this interface.
    Anyone {
        /// The interface.
        interface: String,
    },
}

/// What it takes to grant passage through a door of the installed table: without asking the
/// kernel from a [`Door`], by its name alone from [`Firewall::entrance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entrance<'d> {
    pub(super) door: &'d str,
    pub(super) prefix4: u8,
    pub(super) prefix6: u8,
    /// Whether rules grant too, in sets of their own.
    pub(super) in_kernel: bool,
}

impl<'d> From<&'d Door> for Entrance<'d> {
    fn from(door: &'d Door) -> Self {
        Self {
            door: &door.name,
            prefix4: names::prefix(door, Family::V4),
            prefix6: names::prefix(door, Family::V6),
            in_kernel: door.engine.is_in_kernel(),
        }
    }
}

impl Entrance<'_> {
    /// What the door grants to a source; an address that is mapped into IPv6 is IPv4.
    pub(crate) fn network(&self, source: IpAddr) -> Network {
        let source = source.to_canonical();
        Network::of(source, self.prefix(family(source)))
    }

    /// The grants that let a network in, if they are not too many for one command: it may be wider than what the
    /// door grants.
    pub(crate) fn networks(&self, wanted: Network) -> Option<Vec<Network>> {
        let parts = wanted.parts(self.prefix(wanted.family()), MAX_GRANTS_AT_ONCE)?;
        Some(parts.collect_vec())
    }

    /// How much of an address the door grants, in bits.
    pub(crate) const fn prefix(&self, family: Family) -> u8 {
        match family {
            Family::V4 => self.prefix4,
            Family::V6 => self.prefix6,
        }
    }

    /// The set and the key of a source's grant.
    fn grant_of(&self, source: IpAddr) -> ([&str; 2], ElementKey<'static>) {
        self.key_in(names::grant_prefix, source)
    }

    /// The set and the key of what rules grant to a source.
    fn knocked_of(&self, source: IpAddr) -> ([&str; 2], ElementKey<'static>) {
        self.key_in(names::knocked_prefix, source)
    }

    fn key_in(
        &self,
        prefix: fn(Family) -> &'static str,
        source: IpAddr,
    ) -> ([&str; 2], ElementKey<'static>) {
        let first = self.network(source).first();
        (
            [prefix(family(first)), self.door],
            ElementKey::Address(first),
        )
    }
}

impl Firewall {
    /// What it takes to grant passage through a door of the installed table; asks the kernel.
    pub(crate) fn entrance<'d>(&mut self, door: &'d str) -> Result<Entrance<'d>, Refusal> {
        plausible(door)?;
        let sets = self.sets()?;
        let prefix = |wanted: Family| {
            let is_its = |set: &&KernelSet| {
                names::grant_kind(&set.name) == Some((GrantKind::Source(wanted), door))
            };
            let set = sets.iter().find(is_its)?;
            Some(names::prefix_of_set(set.comment.as_deref(), wanted))
        };
        match (prefix(Family::V4), prefix(Family::V6)) {
            (Some(prefix4), Some(prefix6)) => Ok(Entrance {
                door,
                prefix4,
                prefix6,
                in_kernel: sets.iter().any(|set| engines::is_knocked(&set.name, door)),
            }),
            _ => Err(Refusal::UnknownDoor(door.to_owned())),
        }
    }

    /// Opens a door for a source, or the network that the door grants to it, for so long from
    /// now on, whatever grant there was before.
    ///
    /// An IPv4 address that is mapped into IPv6 is an IPv4 address. A time below 50 ms, or
    /// above 365 days, is taken for that.
    pub(crate) fn grant<'d>(
        &mut self,
        door: impl Into<Entrance<'d>>,
        source: IpAddr,
        lasting: Duration,
    ) -> Result<(), Refusal> {
        let entrance = door.into();
        plausible(entrance.door)?;
        let (set, key) = entrance.grant_of(source);
        self.withdraw_knocked(&entrance, source)?;
        self.connection
            .renew(&set, key, Term::For(lasting))
            .map_err(|failure| self.refused_door(entrance.door, &set, failure))
    }

    /// Opens a door for networks, each of which is one that it grants, all of them or none.
    pub(crate) fn grant_all(
        &mut self,
        entrance: Entrance<'_>,
        networks: &[Network],
        lasting: Duration,
    ) -> Result<(), Refusal> {
        plausible(entrance.door)?;
        let mut keys = Vec::new();
        for network in networks {
            self.withdraw_knocked(&entrance, network.first())?;
            keys.push(entrance.grant_of(network.first()));
        }
        let mut changes = Vec::new();
        for (set, key) in &keys {
            changes.extend_from_slice(&ElementChange::renewing(set, *key, Term::For(lasting)));
        }
        self.connection
            .apply(&changes)
            .map_err(|failure| self.refused_door(entrance.door, &[entrance.door], failure))
    }

    /// Takes back what a door granted to a network, or to a part of it; whether there was anything.
    pub(crate) fn withdraw_within(
        &mut self,
        entrance: Entrance<'_>,
        wanted: Network,
    ) -> Result<bool, Refusal> {
        let mut any = false;
        for grant in self.grants()? {
            match grant.who {
                Who::Network(network)
                    if grant.door == entrance.door && network.overlaps(&wanted) =>
                {
                    any |= self.withdraw(entrance, network.first())?;
                }
                _ => {}
            }
        }
        Ok(any)
    }

    /// Lets a source in for at least so long: a grant that has more time left keeps it.
    ///
    /// It takes no memory, and two system calls if there was no grant, three if there was a
    /// shorter one, five if there was a longer one; four each before Linux 6.3.
    pub(crate) fn grant_at_least<'d>(
        &mut self,
        door: impl Into<Entrance<'d>>,
        source: IpAddr,
        lasting: Duration,
    ) -> Result<(), Refusal> {
        let entrance = door.into();
        plausible(entrance.door)?;
        let (set, key) = entrance.grant_of(source);
        self.connection
            .prolong(&set, key, Term::For(lasting))
            .map_err(|failure| self.refused_door(entrance.door, &set, failure))
    }

    /// Opens a door for anyone who arrives on a guarded interface, as the installed table
    /// names them.
    pub(crate) fn grant_anyone(&mut self, door: &str, lasting: Duration) -> Result<(), Refusal> {
        self.grant_anyone_on(door, &[], lasting)
    }

    /// Lets everyone in on these interfaces, as far as they are guarded; on all where none are named.
    pub(crate) fn grant_anyone_on(
        &mut self,
        door: &str,
        on: &[String],
        lasting: Duration,
    ) -> Result<(), Refusal> {
        plausible(door)?;
        let set = &[names::ANYONE, door];
        let mut names = self.interfaces_in(names::INTERFACES)?;
        if !on.is_empty() {
            names.retain(|name| on.contains(name));
            if names.is_empty() {
                return Err(Refusal::NotGuarded(on.join(" or ")));
            }
        }
        let mut changes = Vec::new();
        for name in &names {
            let key = ElementKey::Interface(name);
            changes.extend_from_slice(&ElementChange::renewing(set, key, Term::For(lasting)));
        }
        self.connection
            .apply(&changes)
            .map_err(|failure| self.refused_door(door, set, failure))
    }

    /// Takes the grant back that a source has, and with it its network; `false`: it had none.
    pub(crate) fn withdraw<'d>(
        &mut self,
        door: impl Into<Entrance<'d>>,
        source: IpAddr,
    ) -> Result<bool, Refusal> {
        let entrance = door.into();
        plausible(entrance.door)?;
        let (set, key) = entrance.grant_of(source);
        let knocked = self.withdraw_knocked(&entrance, source)?;
        match self.connection.take(&set, key) {
            Err(failure) if failure.number() == Some(libc::ENOENT) => {
                self.check(entrance.door).map(|()| knocked)
            }
            taken => taken
                .map(|taken| taken || knocked)
                .map_err(|failure| self.refused_door(entrance.door, &set, failure)),
        }
    }

    /// Takes back what rules granted to a source; whether they had granted anything.
    fn withdraw_knocked(
        &mut self,
        entrance: &Entrance<'_>,
        source: IpAddr,
    ) -> Result<bool, Refusal> {
        if !entrance.in_kernel {
            return Ok(false);
        }
        let (set, key) = entrance.knocked_of(source);
        match self.connection.take(&set, key) {
            Err(failure) if failure.number() == Some(libc::ENOENT) => Ok(false),
            Err(failure) => {
                let refusal = refused(&set, failure);
                Err(self.explain(refusal))
            }
            Ok(taken) => Ok(taken),
        }
    }

    /// Takes all grants of a door back, those for anyone too.
    pub(crate) fn withdraw_all(&mut self, door: &str) -> Result<(), Refusal> {
        plausible(door)?;
        let in_kernel = self.entrance(door)?.in_kernel;
        let mut prefixes = Family::BOTH.map(names::grant_prefix).to_vec();
        prefixes.push(names::ANYONE);
        if in_kernel {
            prefixes.extend_from_slice(&Family::BOTH.map(names::knocked_prefix));
        }
        let sets: Vec<[&str; 2]> = prefixes.iter().map(|prefix| [*prefix, door]).collect_vec();
        let changes: Vec<ElementChange<'_>> = sets
            .iter()
            .map(|set| ElementChange::Flush(set))
            .collect_vec();
        self.connection
            .apply(&changes)
            .map_err(|failure| self.refused_door(door, &[door], failure))
    }

    /// All grants of the installed table, at most [`MAX_LISTED`]. Whoever was granted access by
    /// hand and by knocks has one grant, the longer.
    pub(crate) fn grants(&mut self) -> Result<Vec<Grant>, Refusal> {
        self.grants_in(|_, _| true)
    }

    /// The grants, without those that rules of the kernel made.
    pub(crate) fn grants_of_agent(&mut self) -> Result<Vec<Grant>, Refusal> {
        self.grants_in(|set, door| !engines::is_knocked(set, door))
    }

    fn grants_in(&mut self, listed: fn(&str, &str) -> bool) -> Result<Vec<Grant>, Refusal> {
        let mut grants = Vec::new();
        for set in self.sets()? {
            let Some((kind, door)) = names::grant_kind(&set.name) else {
                continue;
            };
            if !listed(&set.name, door) {
                continue;
            }
            let elements = self.elements(&set.name)?;
            let room = MAX_LISTED.saturating_sub(grants.len());
            let comment = set.comment.as_deref();
            let listed = elements
                .iter()
                .filter_map(|element| grant(kind, comment, door, element))
                .take(room);
            let knocked = engines::is_knocked(&set.name, door);
            for grant in listed {
                match knocked {
                    true => merge(&mut grants, grant),
                    false => grants.push(grant),
                }
            }
        }
        Ok(grants)
    }

    /// How much longer a door is open for somebody, rules of the kernel's engines aside; `None`: it is
    /// not, `Some(None)`: without an end.
    pub(crate) fn remaining<'d>(
        &mut self,
        door: impl Into<Entrance<'d>>,
        who: &Who,
    ) -> Result<Option<Option<Duration>>, Refusal> {
        let entrance = door.into();
        let (set, key) = match who {
            Who::Network(network) => entrance.grant_of(network.first()),
            Who::Anyone { interface } => (
                [names::ANYONE, entrance.door],
                ElementKey::Interface(interface),
            ),
        };
        match self.connection.term(&set, key) {
            Ok(Term::For(remaining)) => Ok(Some(Some(remaining))),
            Ok(Term::Forever) => Ok(Some(None)),
            Err(failure) if failure.number() == Some(libc::ENOENT) => Ok(None),
            Err(failure) => Err(refused(&set, failure)),
        }
    }

    /// The doors of the installed table, in the order of its configuration.
    pub(crate) fn doors(&mut self) -> Result<Vec<String>, Refusal> {
        let sets = self.sets()?;
        let doors = sets
            .iter()
            .filter_map(|set| match names::grant_kind(&set.name)? {
                (GrantKind::Anyone, door) => Some(door.to_owned()),
                _ => None,
            });
        Ok(doors.collect())
    }

    /// Whether there is such a door; a name that no door can have is not asked for.
    pub(super) fn check_door(&mut self, door: &str) -> Result<(), Refusal> {
        plausible(door)?;
        self.check(door)
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
        let refusal = refused(set, failure);
        self.explain(refusal)
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

/// Adds a grant, or prolongs the same one.
fn merge(grants: &mut Vec<Grant>, grant: Grant) {
    let same = |other: &&mut Grant| (&other.door, &other.who) == (&grant.door, &grant.who);
    match grants.iter_mut().find(same) {
        Some(other) => {
            let longest = other.remaining.zip(grant.remaining);
            other.remaining = longest.map(|(one, other)| one.max(other));
        }
        None => grants.push(grant),
    }
}

fn grant(
    kind: GrantKind,
    comment: Option<&str>,
    door: &str,
    element: &KernelElement,
) -> Option<Grant> {
    let who = match kind {
        GrantKind::Source(family) => Who::Network(Network::of(
            element.address(family)?,
            names::prefix_of_set(comment, family),
        )),
        GrantKind::Anyone => Who::Anyone {
            interface: as_text(&element.key)?.to_owned(),
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
