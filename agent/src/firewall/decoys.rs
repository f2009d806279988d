//! Who hit a decoy, as the kernel remembers it.

use core::net::IpAddr;

use postern_core::time::Duration;

use super::nft::connection::Term;
use super::nft::refusal::refused;
use super::nft::request::ElementKey;
use super::table::names;
use super::{Firewall, Refusal, failing, unread};
use crate::network::family;

impl Firewall {
    /// Whether a source hit a decoy within this time, as far as there was room to remember it. Where the table
    /// remembers for longer, it is `remembered_for`. Of an IPv6 source, all of its /64 counts.
    pub(crate) fn hit_decoy(
        &mut self,
        source: IpAddr,
        within: Duration,
        remembered_for: Duration,
    ) -> Result<bool, Refusal> {
        let source = failing(source).first();
        let set = [names::decoyed(family(source))];
        match self.connection.term(&set, ElementKey::Address(source)) {
            Ok(Term::For(left)) => {
                let ago = remembered_for.as_millis().saturating_sub(left.as_millis());
                Ok(ago <= within.as_millis())
            }
            Ok(Term::Forever) => Ok(true),
            Err(failure) if failure.number() == Some(libc::ENOENT) => Ok(false),
            Err(failure) => Err(refused(&set, failure)),
        }
    }

    /// How many hits at decoys found no room to be remembered.
    pub(crate) fn unremembered(&mut self) -> Result<u64, Refusal> {
        let counters = self.connection.counters().map_err(unread)?;
        let mut counters = counters.iter();
        let counter = counters.find(|counter| counter.name == names::UNREMEMBERED);
        Ok(counter.map_or(0, |counter| counter.counted.packets))
    }
}
