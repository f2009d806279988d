//! Locks: doors that let nobody in, whatever is granted.

use super::nft::connection::{ElementChange, Term};
use super::nft::refusal::refused;
use super::nft::request::ElementKey;
use super::table::names;
use super::{Firewall, Refusal};
use crate::collect::CollectVec;

impl Firewall {
    /// Lets nobody in who arrives on a guarded interface, until the door is unlocked. Grants are
    /// kept and may be made, but count for nothing.
    pub(crate) fn lock(&mut self, door: &str) -> Result<(), Refusal> {
        self.check_door(door)?;
        let set: &[&str] = &[names::LOCKED, door];
        let names = self.interfaces_in(names::INTERFACES)?;
        let changes: Vec<ElementChange<'_>> = names
            .iter()
            .map(|name| ElementChange::Add(set, ElementKey::Interface(name), Term::Forever))
            .collect_vec();
        self.change_lock(set, &changes)
    }

    /// Has grants count again; `false`: the door was not locked.
    pub(crate) fn unlock(&mut self, door: &str) -> Result<bool, Refusal> {
        self.check_door(door)?;
        let set: &[&str] = &[names::LOCKED, door];
        let was_locked = !self.elements(&set.concat())?.is_empty();
        self.change_lock(set, &[ElementChange::Flush(set)])?;
        Ok(was_locked)
    }

    /// The doors that are locked.
    pub(crate) fn locks(&mut self) -> Result<Vec<String>, Refusal> {
        let mut locked = Vec::new();
        for set in self.sets()? {
            if let Some(door) = set.name.strip_prefix(names::LOCKED)
                && !self.elements(&set.name)?.is_empty()
            {
                locked.push(door.to_owned());
            }
        }
        Ok(locked)
    }

    fn change_lock(&mut self, set: &[&str], changes: &[ElementChange<'_>]) -> Result<(), Refusal> {
        self.connection.apply(changes).map_err(|failure| {
            let refusal = refused(set, failure);
            self.explain(refusal)
        })
    }
}
