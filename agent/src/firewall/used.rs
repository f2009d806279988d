//! What one-time doors used in the last hour, beside what the disk remembers.
//!
//! A disk may forget, or be taken back to what it was, and the clock with it. The kernel does neither: it outlives the
//! agent and an installation, though not a reboot.

use core::net::Ipv6Addr;

use postern_core::time::Duration;

use super::nft::connection::Term;
use super::nft::refusal::refused;
use super::nft::request::ElementKey;
use super::table::names::USED;
use super::{Firewall, Refusal};
use crate::collect::CollectVec;

/// How long it is remembered.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// What a door used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    /// What its owner has too, as a digest: another secret has used nothing.
    pub(crate) mark: u64,
    /// All before this counter, time step or index.
    pub(crate) next: u64,
}

impl Used {
    /// A key as long as an address, so that the set is like others.
    fn key(self) -> ElementKey<'static> {
        let key = u128::from(self.mark) << 64 | u128::from(self.next);
        ElementKey::Address(Ipv6Addr::from_bits(key).into())
    }

    fn read(key: &[u8]) -> Option<Self> {
        let key = u128::from_be_bytes(key.try_into().ok()?);
        Some(Self {
            mark: (key >> 64) as u64,
            next: key as u64,
        })
    }
}

impl Firewall {
    /// What was used, at which doors whatsoever.
    pub(crate) fn used(&mut self) -> Result<Vec<Used>, Refusal> {
        let elements = self.elements(USED)?;
        let used = elements
            .iter()
            .filter_map(|element| Used::read(&element.key));
        Ok(used.collect_vec())
    }

    /// Remembers what was used, in place of what was remembered of the same door.
    pub(crate) fn note_used(&mut self, used: Used) -> Result<(), Refusal> {
        let before = self.used()?;
        let (set, refused) = ([USED], |failure| refused(&[USED], failure));
        let lasting = Term::For(REMEMBERED);
        (self.connection.renew(&set, used.key(), lasting)).map_err(refused)?;
        for old in before {
            if old.mark == used.mark && old.next != used.next {
                match self.connection.take(&set, old.key()) {
                    // Its hour was over.
                    Err(failure) if failure.number() == Some(libc::ENOENT) => {}
                    taken => _ = taken.map_err(refused)?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_survives_the_kernel() {
        for (mark, next) in [(0, 0), (1, u64::MAX), (u64::MAX, 1), (7 << 60, 9)] {
            let used = Used { mark, next };
            let ElementKey::Address(core::net::IpAddr::V6(key)) = used.key() else {
                panic!("another key");
            };
            assert_eq!(Used::read(&key.octets()), Some(used));
        }
        assert_eq!(Used::read(&[0; 15]), None);
    }
}
