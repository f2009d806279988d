//! One table in place of another: in one transaction, with no moment in which there is none.

use super::nft::batch::{Batch, Heritage, Kept, Ownership, Parts, replacement};
use super::nft::connection::Failure;
use super::nft::dump::{KernelCounter, KernelElement, KernelSet};
use super::nft::object::Object;
use super::nft::refusal::refused_object;
use super::nft::{lowering, renderer};
use super::table::model::{Set, Table};
use super::table::names::{self, GrantKind};
use super::{Firewall, MAX_KEPT, Refusal, unread};
use crate::collect::CollectVec;

/// How often an installation begins again because someone else changed the rules meanwhile.
const ATTEMPTS: usize = 8;

/// What is to be known of the older table.
#[derive(Default)]
struct Old {
    heritage: Heritage,
    /// The indices of the sets whose elements it has.
    sets: Vec<usize>,
    /// Whether it belongs to a socket; `None`: there is none.
    owned: Option<bool>,
    /// `None`: there is none, or it has to be deleted as a whole.
    parts: Option<Parts>,
}

impl Firewall {
    /// Puts a table in place of any older one; it gets the grants of that, and the elements that
    /// are given. Those that are remembered it gets for sets of which the older one tells
    /// nothing.
    pub(super) fn replace(
        &mut self,
        table: &Table,
        given: &[Kept],
        remembered: &[Kept],
    ) -> Result<(), Refusal> {
        for attempt in 1..=ATTEMPTS {
            let generation = self
                .connection
                .generation()
                .map_err(|failure| refused_object(&Object::Batch, failure))?;
            let mut old = match self.old(table) {
                // There was none, or it went while it was read.
                Err(Refusal::NotInstalled) => Old::default(),
                old => old?,
            };
            let lost = (remembered.iter()).filter(|kept| !old.sets.contains(&kept.set));
            old.heritage
                .elements
                .extend(given.iter().chain(lost).cloned());
            // The last time, a grant made since it was read is lost rather than the guard.
            let generation = (attempt < ATTEMPTS).then_some(generation);
            match self.swap(table, &old, generation) {
                Err((_, failure)) if is_outdated(&failure) => {}
                Err((object, failure)) => return Err(self.refused_table(&object, failure)),
                Ok(()) => return Ok(()),
            }
        }
        Err(Refusal::Restless)
    }

    /// Says why there is no table; kernels that know no owners refuse one that is to have one
    /// (`nf_tables_newtable`).
    fn refused_table(&mut self, object: &Object, failure: Failure) -> Refusal {
        match (object, failure.number()) {
            (_, Some(libc::EPERM)) => self.explain(refused_object(object, failure)),
            (Object::Table, Some(libc::EINVAL | libc::EOPNOTSUPP)) if self.owns => Refusal::Lacks {
                object: object.to_string(),
                feature: "tables with an owner (Linux 5.12): option on_crash 'keep' does without"
                    .to_owned(),
            },
            _ => refused_object(object, failure),
        }
    }

    /// Replaces part by part, and only where the kernel refuses that the table as a whole:
    /// an open moment is better than an old table.
    fn swap(
        &mut self,
        table: &Table,
        old: &Old,
        generation: Option<u32>,
    ) -> Result<(), (Object, Failure)> {
        let owned = Ownership {
            old: old.owned.unwrap_or(self.owns),
            new: self.owns,
        };
        if let Some(parts) = &old.parts {
            match self.try_replace(table, &old.heritage, generation, owned, Some(parts)) {
                Err((_, failure)) if failure.number().is_some() && !is_outdated(&failure) => {}
                result => return result,
            }
        }
        self.try_replace(table, &old.heritage, generation, owned, None)
    }

    pub(super) fn try_replace(
        &mut self,
        table: &Table,
        heritage: &Heritage,
        generation: Option<u32>,
        owned: Ownership,
        parts: Option<&Parts>,
    ) -> Result<(), (Object, Failure)> {
        let (batch, first) = self.write(table, heritage, generation, owned, parts)?;
        self.hand_over(&batch, first)
    }

    /// The transaction, and its first sequence number.
    pub(super) fn write(
        &mut self,
        table: &Table,
        heritage: &Heritage,
        generation: Option<u32>,
        owned: Ownership,
        parts: Option<&Parts>,
    ) -> Result<(Batch, u32), (Object, Failure)> {
        let first = self.connection.reserve(0);
        let batch = replacement(
            &mut renderer::built_in(),
            table,
            heritage,
            first,
            generation,
            owned,
            parts,
        )
        .map_err(|object| {
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
        self.connection.reserve(count.wrapping_add(1));
        Ok((batch, first))
    }

    /// Sends a transaction, and says what of it the kernel refuses.
    pub(super) fn hand_over(&mut self, batch: &Batch, first: u32) -> Result<(), (Object, Failure)> {
        let count = batch.objects.len() as u32;
        self.connection
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

    fn old(&mut self, table: &Table) -> Result<Old, Refusal> {
        let sets = self.sets()?;
        let counters = self.connection.counters().map_err(unread)?;
        let owned = self.connection.table().map_err(unread)?.owner.is_some();
        let mut same = same_sets(table, &sets);
        same.retain(|index| {
            table
                .sets
                .get(*index)
                .is_some_and(|set| !self.is_forgotten(&set.name))
        });
        let elements = self.kept(table, &same)?;
        let parts = self.parts(sets, &counters)?;
        Ok(Old {
            heritage: Heritage { elements, counters },
            sets: same,
            owned: Some(owned),
            parts,
        })
    }

    fn is_forgotten(&self, set: &str) -> bool {
        match names::grant_kind(set) {
            Some((GrantKind::Source(_), door)) => self.forgotten.iter().any(|other| other == door),
            _ => false,
        }
    }

    /// What the table in the kernel is made of; `None`: of more than chains, sets and counters,
    /// or it differs itself, so that what would be left of it would not be ours.
    pub(super) fn parts(
        &mut self,
        sets: Vec<KernelSet>,
        counters: &[KernelCounter],
    ) -> Result<Option<Parts>, Refusal> {
        let old = self.connection.table().map_err(unread)?;
        let chains = self.connection.chains().map_err(unread)?;
        let annotated = chains
            .iter()
            .any(|chain| names::is_hooked(&chain.name) && chain.annotated);
        let whole = old.things == chains.len() + sets.len() + counters.len();
        let same_owner = old.owner.is_some() == self.owns;
        if !old.plain || !same_owner || !whole || annotated {
            return Ok(None);
        }
        let counters = counters.iter().map(|counter| counter.name.clone());
        Ok(Some(Parts {
            counters: counters.collect_vec(),
            chains,
            sets,
        }))
    }

    /// What these sets of the table shall have again.
    fn kept(&mut self, table: &Table, same: &[usize]) -> Result<Vec<Kept>, Refusal> {
        let mut kept = Vec::new();
        for (index, set) in same
            .iter()
            .filter_map(|index| Some((*index, table.sets.get(*index)?)))
        {
            let elements = self.elements(&set.name)?;
            let room = MAX_KEPT.saturating_sub(kept.len());
            let most = set.size.map_or(room, |size| room.min(size as usize));
            let length = lowering::key_length(&set.content);
            let fits = |element: &KernelElement| element.key.len() == length as usize;
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
}

/// The indices of the sets of grants that were there before: a set is the same if its name and
/// comment are.
fn same_sets(table: &Table, old: &[KernelSet]) -> Vec<usize> {
    let is_same = |set: &Set| {
        let mut old = old.iter();
        names::is_kept(&set.name)
            && old.any(|old| old.name == set.name && old.comment == set.comment)
    };
    let sets = table.sets.iter().enumerate();
    sets.filter(|(_, set)| is_same(set))
        .map(|(index, _)| index)
        .collect_vec()
}

/// Whether the transaction was for rules that have changed since.
fn is_outdated(failure: &Failure) -> bool {
    failure.number() == Some(libc::ERESTART)
}
