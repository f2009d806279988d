//! Cut-offs: whose knocks the kernel ignores, and for how much longer.

use core::net::IpAddr;

use postern_core::time::Duration;

use super::nft::connection::{ElementChange, Term};
use super::nft::refusal::refused;
use super::nft::request::ElementKey;
use super::table::names;
use super::{Firewall, MAX_LISTED, Refusal};
use crate::collect::CollectVec;
use crate::network::{Family, Network, family};

/// How much of an address fails together, which of an IPv4 address is all: see `failing_network` in core.
const FAILING: u8 = 64;

/// A source that is not listened to for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CutOff {
    /// Who: an IPv4 address, or an IPv6 /64.
    pub source: Network,
    /// How much longer; `None`: until it is pardoned, which only another's command can have made.
    pub remaining: Option<Duration>,
}

/// What is cut off for a source's failures.
pub(crate) fn failing(source: IpAddr) -> Network {
    Network::of(source, FAILING)
}

impl Firewall {
    /// Ignores a source's knocks from now on, for as long; of an IPv6 source, those of its /64.
    pub(crate) fn cut_off(&mut self, source: IpAddr, lasting: Duration) -> Result<(), Refusal> {
        let source = failing(source).first();
        let set = [names::cutoffs(family(source))];
        self.connection
            .renew(&set, ElementKey::Address(source), Term::For(lasting))
            .map_err(|failure| match failure.number() {
                Some(libc::ENOENT) => Refusal::NotInstalled,
                _ => refused(&set, failure),
            })
    }

    /// Whose knocks are ignored, at most [`MAX_LISTED`] of them.
    pub(crate) fn cut_offs(&mut self) -> Result<Vec<CutOff>, Refusal> {
        let mut cut_offs = Vec::new();
        for family in self.families_cut_off()? {
            let elements = self.elements(names::cutoffs(family))?;
            let room = MAX_LISTED.saturating_sub(cut_offs.len());
            let listed = elements.iter().filter_map(|element| {
                let lasting = element.lasting.as_ref();
                Some(CutOff {
                    source: failing(element.address(family)?),
                    remaining: lasting.map(|lasting| Duration::from_millis(lasting.remaining)),
                })
            });
            cut_offs.extend(listed.take(room));
        }
        Ok(cut_offs)
    }

    /// Has a source's knocks heard again, or everybody's, and forgets hits at decoys; whether there was anything to
    /// forgive one that is named.
    pub(crate) fn pardon(&mut self, source: Option<IpAddr>) -> Result<bool, Refusal> {
        let sets = self.sets()?;
        let held_against = |family| [names::cutoffs(family), names::decoyed(family)];
        let Some(source) = source.map(|source| failing(source).first()) else {
            let names = Family::BOTH.into_iter().flat_map(held_against);
            let is_there = |name: &&str| sets.iter().any(|set| set.name == **name);
            let sets: Vec<_> = names.filter(is_there).map(|name| [name]).collect_vec();
            let changes: Vec<ElementChange<'_>> = sets
                .iter()
                .map(|set| ElementChange::Flush(set))
                .collect_vec();
            return match changes.first() {
                None => Ok(false),
                Some(_) => (self.connection.apply(&changes).map(|()| false))
                    .map_err(|failure| refused(&[names::cutoffs(Family::V4)], failure)),
            };
        };
        let mut any = false;
        for name in held_against(family(source)) {
            any |= match self.connection.take(&[name], ElementKey::Address(source)) {
                Err(failure) if failure.number() == Some(libc::ENOENT) => false,
                taken => taken.map_err(|failure| refused(&[name], failure))?,
            };
        }
        Ok(any)
    }

    /// The families that the installed table has a set of cut-offs for.
    fn families_cut_off(&mut self) -> Result<impl Iterator<Item = Family> + use<>, Refusal> {
        let sets = self.sets()?;
        let is_there = move |family: &Family| {
            let name = names::cutoffs(*family);
            sets.iter().any(|set| set.name == name)
        };
        Ok(Family::BOTH.into_iter().filter(is_there))
    }
}
