//! Rules and statements that several chains have.

use postern_core::config::{Config, Guard};
use postern_core::door::Door;

use super::model::{Rule, Statement, Verdict};
use super::names::{cutoffs, prefix};
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

/// As [`failing_network`] has it.
///
/// [`failing_network`]: postern_core::engine::failing_network
fn cut_off(family: Family) -> Statement {
    let set = cutoffs(family).to_owned();
    match family {
        Family::V4 => Statement::SourceIn(family, set),
        Family::V6 => Statement::NetworkIn(family, 64, set),
    }
}

/// Whether as much of the source address as the door grants is in the set.
pub(crate) fn granted_to(door: &Door, family: Family, set: String) -> Statement {
    match prefix(door, family) {
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
