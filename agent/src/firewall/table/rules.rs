//! Rules and statements that several chains have.

use postern_core::config::{Config, Guard};
use postern_core::door::Door;

use super::model::{Rule, SetKey, Statement, Verdict};
use super::names::{cutoffs, decoyed, prefix};
use crate::network::Family;

pub(crate) fn ignoring_cutoffs(verdict: &Verdict) -> Vec<Rule> {
    let ignore = |family| vec![cut_off(family), Statement::Verdict(verdict.clone())];
    vec![ignore(Family::V4), ignore(Family::V6)]
}

/// Has doors of the kernel ignore those whom the agent cut off, where it can have done so.
pub(crate) fn silencing(config: &Config, verdict: &Verdict) -> Vec<Rule> {
    match config.doors.iter().any(|door| door.cutoff.is_some()) {
        true => ignoring_cutoffs(verdict),
        false => Vec::new(),
    }
}

fn cut_off(family: Family) -> Statement {
    is_in(family, failing(family), cutoffs(family).to_owned())
}

/// Whether the source is known to have hit a decoy.
pub(crate) fn hit_decoy(family: Family) -> Statement {
    is_in(family, failing(family), decoyed(family).to_owned())
}

/// The source as it is known to have hit a decoy.
pub(crate) const fn decoyed_source(family: Family) -> SetKey {
    SetKey::Network(family, failing(family))
}

/// Whether as much of the source address as the door grants is in the set.
pub(crate) fn granted_to(door: &Door, family: Family, set: String) -> Statement {
    is_in(family, prefix(door, family), set)
}

/// How much of an address fails together, in bits, as [`failing_network`] has it.
///
/// [`failing_network`]: postern_core::engine::failing_network
const fn failing(family: Family) -> u8 {
    match family {
        Family::V4 => family.bits(),
        Family::V6 => 64,
    }
}

/// Whether so many bits of the source address are in the set.
fn is_in(family: Family, bits: u8, set: String) -> Statement {
    match bits {
        whole if whole == family.bits() => Statement::SourceIn(family, set),
        part => Statement::NetworkIn(family, part, set),
    }
}

/// What the ordinary firewall knows a packet by that it is to let in, where it is asked.
pub(crate) fn mark(config: &Config) -> Option<Statement> {
    match config.global.guard {
        Guard::Gate => None,
        Guard::Mark => Some(Statement::Mark(config.global.mark)),
    }
}
