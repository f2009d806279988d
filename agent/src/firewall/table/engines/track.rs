//! Engine `track`: sets of a source and the port that is expected of it next, as the nftables
//! wiki has it and users of xt_recent know it. Beside them, who has an attempt under way at all.
//!
//! A set is for ports of one protocol: nft does not read constants for protocols in keys of
//! several fields.

use postern_core::knock::{Port, Protocol};

use super::pattern::{Pattern, source};
use super::{MAX_ATTEMPTS, Marks, on_both, put, take};
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
            let ports = later(pattern)
                .filter(|port| port.protocol == protocol)
                .count();
            // Whoever knocks on may have all of them there.
            let size = MAX_ATTEMPTS.saturating_mul(ports as u32);
            if size > 0 {
                sets.extend(on_both(&|family| {
                    let content = Content::DynamicPairs(family);
                    Set::new(next(pattern, protocol, family), content, size)
                }));
            }
        }
        sets
    }

    fn under_way(&self, pattern: &Pattern<'_>, family: Family) -> String {
        under_way(pattern, family)
    }

    fn forget(&self, pattern: &Pattern<'_>, family: Family) -> Vec<Statement> {
        let taken = later(pattern).skip(1).map(|port| {
            let set = next(pattern, port.protocol, family);
            take(set, SetKey::NextPort(family, port.number))
        });
        taken.collect()
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
        if let Some(port) = pattern.steps.get(step) {
            let key = SetKey::Port(family, port.protocol);
            let next = next(pattern, port.protocol, family);
            expected.push(Statement::KeyIn(key, next));
        }
        expected
    }

    fn advance(&self, pattern: &Pattern<'_>, step: usize, family: Family) -> Option<Statement> {
        expect(pattern, DynamicChange::Add, step + 1, family)
    }

    fn mark(&self, pattern: &Pattern<'_>, made: usize, family: Family) -> (String, Option<u16>) {
        // Whoever made so many is expected at the port behind them.
        let (protocol, port) = match pattern.steps.get(made) {
            Some(port) => (port.protocol, Some(port.number)),
            None => (Protocol::Tcp, None),
        };
        (next(pattern, protocol, family), port)
    }
}

/// The knocks behind the first.
fn later<'d>(pattern: &Pattern<'d>) -> impl Iterator<Item = &'d Port> {
    pattern.steps.iter().skip(1)
}

/// The set of those who have an attempt under way.
pub(super) fn under_way(pattern: &Pattern<'_>, family: Family) -> String {
    pattern.name(&format!("from{}", family.digit()))
}

/// The set of those of whom a port of this protocol is expected.
pub(super) fn next(pattern: &Pattern<'_>, protocol: Protocol, family: Family) -> String {
    pattern.name(&format!("{}{}", protocol.name(), family.digit()))
}

/// Expects a knock, which is not the first.
fn expect(
    pattern: &Pattern<'_>,
    change: DynamicChange,
    step: usize,
    family: Family,
) -> Option<Statement> {
    let port = pattern.steps.get(step)?;
    let set = next(pattern, port.protocol, family);
    let key = SetKey::NextPort(family, port.number);
    Some(put(change, set, key, pattern.door.window))
}
