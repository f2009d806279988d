//! The firewall: one nftables table, described as data, and the grants that live in it.
//!
//! [`table`] says what the table looks like for a configuration, and renders it as a script. [`nft`] says it to the
//! kernel. Each file here is one thing that is done to the table that is there: it is made or replaced (`install`), tried
//! without being made (`dry_run`), put on `trial` or put back (`repair`); sources get `grants`, `cut_offs` and doors
//! `locks`; who hit `decoys`, how far attempts of the kernel's engines have come is read (`progress`), and who changes rules is heard
//! (`monitor`). `foreign_tables` are everybody else's. The kernel holds the grants and lets them expire, so that they
//! need nobody to be alive.

mod cut_offs;
mod decoys;
mod dry_run;
mod foreign_tables;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod grants;
mod install;
mod locks;
mod losses;
mod monitor;
pub(crate) mod nft;
mod progress;
mod repair;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod trial;
mod used;

use std::io;

use postern_core::config::Config;
use postern_core::knock::Port;

use crate::collect::CollectVec;
use crate::netlink::codec::as_text;
pub(crate) use cut_offs::{CutOff, failing};
pub(crate) use dry_run::{Part, needed_parts};
pub(crate) use foreign_tables::ForeignTables;
pub(crate) use foreign_tables::journey::{End, Fate, Packet, Seer};
pub(crate) use grants::{Entrance, Grant, MAX_GRANTS_AT_ONCE, Who};
pub(crate) use monitor::{Deed, Doer, News, Watch};
use nft::connection::{Connection, Failure};
use nft::dump::{KernelElement, KernelSet};
use nft::object::Object;
pub(crate) use nft::refusal::Refusal;
use nft::refusal::refused_object;
pub(crate) use nft::renderer::RENDERER;
pub(crate) use progress::{Attempt, Counts};
pub(crate) use table::delivery::{LONGEST_SNAPLEN, longest_payload, longest_snaplen};
pub(crate) use table::engines::needs_agent;
pub(crate) use table::model::Table;
pub(crate) use trial::Trial;
pub(crate) use used::Used;

/// The most grants that outlive a reinstallation: it bounds the memory that one transaction
/// takes. Those beyond it have to knock again.
pub(crate) const MAX_KEPT: usize = 4096;
/// The most grants that are listed.
pub(crate) const MAX_LISTED: usize = 8192;

/// The table for a configuration as an nft script, byte for byte what `nft list table` prints.
///
/// `listed` are the knock ports that the configuration names by a file only.
pub(crate) fn render(config: &Config, listed: &[Port]) -> String {
    table::text::render(&Table::new(config, listed))
}

/// A script that takes the table away, whether it is there or not.
pub(crate) const REMOVAL: &str = "table inet postern\ndelete table inet postern\n";

/// The way to the kernel's firewall; it keeps one socket open.
pub(crate) struct Firewall {
    connection: Connection,
    /// Whether tables that it makes from now on belong to it, so that the kernel takes them away
    /// when it is dropped, or its process ends.
    owns: bool,
    /// Doors whose sources the next table does not let in again.
    forgotten: Vec<String>,
}

impl Firewall {
    /// Opens a netlink socket. It asks for nothing yet, and so needs no privilege.
    pub(crate) fn open() -> io::Result<Self> {
        Connection::open().map(|connection| Self {
            connection,
            owns: false,
            forgotten: Vec::new(),
        })
    }

    /// Has the table that is installed next let nobody in at these doors whom the one before did. Whom a door is open to
    /// whoever he is, on an interface, is not concerned: nobody can have knocked for that.
    pub(crate) fn forget(&mut self, doors: Vec<String>) {
        self.forgotten = doors;
    }

    /// Says whether the table that is made next goes when this does.
    pub(crate) const fn own(&mut self, owns: bool) {
        self.owns = owns;
    }

    /// The process that the table belongs to, if it belongs to one. The kernel chooses a process's
    /// number for the port of its first socket.
    pub(crate) fn owner(&mut self) -> Option<u32> {
        self.connection.table().ok()?.owner
    }

    /// Says of a refusal that lacks permission whether it is because the table belongs to
    /// another process. Such a table can be read by everybody, but changed by its owner alone.
    pub(crate) fn explain(&mut self, refusal: Refusal) -> Refusal {
        let own = self.connection.port().ok();
        match (&refusal, self.connection.table().map(|table| table.owner)) {
            (Refusal::NoPermission, Ok(Some(owner))) if Some(owner) != own => Refusal::Owned(owner),
            _ => refusal,
        }
    }

    /// Puts the table of this configuration in place, in one transaction: of any older one
    /// the kernel keeps all, or nothing but the grants of doors whose name and ports are the
    /// same, with the time that they had left ([`MAX_KEPT`]). Cut-offs are lifted: the engine
    /// ignores for itself whom it still ignores.
    ///
    /// `listed` are the knock ports that the configuration names by a file only.
    pub(crate) fn install(&mut self, config: &Config, listed: &[Port]) -> Result<(), Refusal> {
        self.replace(&Table::new(config, listed), &[], &[])
    }

    /// Takes the table away, and all grants with it; `false`: there was none.
    pub(crate) fn remove(&mut self) -> Result<bool, Refusal> {
        match self.connection.remove_table() {
            Ok(()) => Ok(true),
            Err(failure) if failure.number() == Some(libc::ENOENT) => Ok(false),
            Err(failure) => {
                let refusal = refused_object(&Object::Table, failure);
                Err(self.explain(refusal))
            }
        }
    }

    /// Whether the table is there.
    pub(crate) fn installed(&mut self) -> Result<bool, Refusal> {
        match self.connection.table() {
            Ok(_) => Ok(true),
            Err(failure) if failure.number() == Some(libc::ENOENT) => Ok(false),
            Err(failure) => Err(refused_object(&Object::Table, failure)),
        }
    }

    /// Whether the kernel knows how to replace an element in one batch (Linux 6.3).
    #[cfg(test)]
    pub(crate) const fn replaces_at_once(&self) -> bool {
        self.connection.destroys
    }

    fn sets(&mut self) -> Result<Vec<KernelSet>, Refusal> {
        match self.connection.sets() {
            Ok(sets) if sets.is_empty() => Err(Refusal::NotInstalled),
            sets => sets.map_err(unread),
        }
    }

    /// The interfaces in a set.
    fn interfaces_in(&mut self, set: &str) -> Result<Vec<String>, Refusal> {
        let elements = self.elements(set)?;
        let names = elements.iter().filter_map(|element| as_text(&element.key));
        Ok(names.map(str::to_owned).collect_vec())
    }

    fn elements(&mut self, set: &str) -> Result<Vec<KernelElement>, Refusal> {
        self.connection.elements(set).map_err(unread)
    }
}

/// Where elements are asked for by the name of a set that was there, the table has gone.
fn unread(failure: Failure) -> Refusal {
    match failure.number() {
        Some(libc::ENOENT) => Refusal::NotInstalled,
        _ => refused_object(&Object::Table, failure),
    }
}
