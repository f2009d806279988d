//! Engine `track`: sets of a source and the port that is expected of it next, as the nftables
//! wiki has it and users of xt_recent know it. Beside them, who has an attempt under way at all.
//!
//! A set is for ports of one protocol: nft does not read constants for protocols in keys of
//! several fields. Where a port is expected several times, each time has a set of its own.

use postern_core::knock::{Port, Protocol};

use super::pattern::{Pattern, source};
use super::{MAX_ATTEMPTS, Marks, on_both, put, take};
use crate::collect::CollectVec;
use crate::firewall::table::model::{Content, DynamicChange, PROTOCOLS, Set, SetKey, Statement};
use crate::network::Family;

pub(super) struct Track;

impl Marks for Track {
    fn sets(&self, pattern: &Pattern<'_>) -> Vec<Set> {
        let mut sets = on_both(&|family| {
            let content = Content::DynamicSources(family);
            Set::new(under_way(pattern, family), content, MAX_ATTEMPTS)
        });
        for protocol in PROTOCOLS {
            for time in 0..pattern.steps.len() {
                let ports = (1..pattern.steps.len())
                    .filter_map(|step| Some((pattern.steps.get(step)?, step)))
                    .filter(|(port, step)| {
                        port.protocol == protocol && self::time(pattern, *step) == time
                    })
                    .count();
                if ports == 0 {
                    break;
                }
                // Whoever knocks on may have all of them there.
                let size = MAX_ATTEMPTS.saturating_mul(ports as u32);
                sets.extend(on_both(&|family| {
                    let content = Content::DynamicPairs(family);
                    Set::new(next(pattern, protocol, time, family), content, size)
                }));
            }
        }
        sets
    }

    fn under_way(&self, pattern: &Pattern<'_>, family: Family) -> String {
        under_way(pattern, family)
    }

    fn forget(&self, pattern: &Pattern<'_>, family: Family) -> Vec<Statement> {
        let later = 2..pattern.steps.len();
        let taken = later.filter_map(|step| {
            let (set, port) = expecting(pattern, step, family)?;
            Some(take(set, SetKey::NextPort(family, port.number)))
        });
        taken.collect_vec()
    }

    fn begin(&self, pattern: &Pattern<'_>, family: Family) -> Vec<Statement> {
        let under_way = put(
            DynamicChange::Add,
            under_way(pattern, family),
            source(family),
            pattern.door.window,
        );
        // What is left of an older attempt would end before this one.
        let mut begun = Vec::from_iter(expect(pattern, DynamicChange::Update, 1, family));
        begun.push(under_way);
        begun
    }

    fn expected(&self, pattern: &Pattern<'_>, step: usize, family: Family) -> Vec<Statement> {
        let mut expected = vec![Statement::SourceIn(family, under_way(pattern, family))];
        if let Some((set, port)) = expecting(pattern, step, family) {
            let key = SetKey::Port(family, port.protocol);
            expected.push(Statement::KeyIn(key, set));
        }
        expected
    }

    fn advance(&self, pattern: &Pattern<'_>, step: usize, family: Family) -> Option<Statement> {
        expect(pattern, DynamicChange::Add, step + 1, family)
    }

    fn mark(&self, pattern: &Pattern<'_>, made: usize, family: Family) -> (String, Option<u16>) {
        // Whoever made so many is expected at the port behind them.
        match expecting(pattern, made, family) {
            Some((set, port)) => (set, Some(port.number)),
            None => (next(pattern, Protocol::Tcp, 0, family), None),
        }
    }
}

/// The set of those who have an attempt under way.
pub(super) fn under_way(pattern: &Pattern<'_>, family: Family) -> String {
    pattern.name(&format!("from{}", family.digit()))
}

/// How often a step's port was expected before it, which is not the first.
fn time(pattern: &Pattern<'_>, step: usize) -> usize {
    let port = pattern.steps.get(step);
    let before = pattern.steps.iter().take(step).skip(1);
    before.filter(|before| Some(*before) == port).count()
}

/// The set of those of whom a port of this protocol is expected next, for the first time (0) or a later one.
fn next(pattern: &Pattern<'_>, protocol: Protocol, time: usize, family: Family) -> String {
    let again = match time {
        0 => String::new(),
        time => format!("n{}", time + 1),
    };
    pattern.name(&format!("{}{}{again}", protocol.name(), family.digit()))
}

/// The set of those of whom a step is expected, which is not the first, and its port.
fn expecting(pattern: &Pattern<'_>, step: usize, family: Family) -> Option<(String, Port)> {
    let port = *pattern.steps.get(step)?;
    let set = next(pattern, port.protocol, time(pattern, step), family);
    Some((set, port))
}

/// Expects a knock, which is not the first.
fn expect(
    pattern: &Pattern<'_>,
    change: DynamicChange,
    step: usize,
    family: Family,
) -> Option<Statement> {
    let (set, port) = expecting(pattern, step, family)?;
    let key = SetKey::NextPort(family, port.number);
    Some(put(change, set, key, pattern.door.window))
}
