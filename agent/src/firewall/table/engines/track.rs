//! Engine `track`: sets of a source and the port that is expected of it next, as the nftables
//! wiki has it and users of xt_recent know it. Beside them, who has an attempt under way at all.
//!
//! A set is for ports of one protocol: nft does not read constants for protocols in keys of
//! several fields.

use postern_core::knock::{Port, Protocol};

use super::line::{Line, source};
use super::{MAX_ATTEMPTS, Marks, on_both, put, take};
use crate::firewall::table::model::{Content, DynamicChange, Key, PROTOCOLS, Set, Statement};
use crate::network::Family;

pub(super) struct Track;

impl Marks for Track {
    fn sets(&self, line: &Line<'_>) -> Vec<Set> {
        let mut sets = on_both(&|family| {
            let content = Content::DynamicSources(family);
            Set::new(under_way(line, family), content, MAX_ATTEMPTS)
        });
        for protocol in PROTOCOLS {
            let ports = later(line).filter(|port| port.protocol == protocol).count();
            // Whoever knocks on may have all of them there.
            let size = MAX_ATTEMPTS.saturating_mul(ports as u32);
            if size > 0 {
                sets.extend(on_both(&|family| {
                    let content = Content::DynamicPairs(family);
                    Set::new(next(line, protocol, family), content, size)
                }));
            }
        }
        sets
    }

    fn under_way(&self, line: &Line<'_>, family: Family) -> String {
        under_way(line, family)
    }

    fn forget(&self, line: &Line<'_>, family: Family) -> Vec<Statement> {
        let taken = later(line).skip(1).map(|port| {
            let set = next(line, port.protocol, family);
            take(set, Key::NextPort(family, port.number))
        });
        taken.collect()
    }

    fn begin(&self, line: &Line<'_>, family: Family) -> Vec<Statement> {
        let under_way = put(
            DynamicChange::Add,
            under_way(line, family),
            source(family),
            line.door.window,
        );
        // What is left of an older attempt would end before this one.
        let mut begun = Vec::from_iter(expect(line, DynamicChange::Update, 1, family));
        begun.push(under_way);
        begun
    }

    fn expected(&self, line: &Line<'_>, step: usize, family: Family) -> Vec<Statement> {
        let mut expected = vec![Statement::SourceIn(family, under_way(line, family))];
        if let Some(port) = line.steps.get(step) {
            let key = Key::Port(family, port.protocol);
            let next = next(line, port.protocol, family);
            expected.push(Statement::KeyIn(key, next));
        }
        expected
    }

    fn advance(&self, line: &Line<'_>, step: usize, family: Family) -> Option<Statement> {
        expect(line, DynamicChange::Add, step + 1, family)
    }

    fn mark(&self, line: &Line<'_>, made: usize, family: Family) -> (String, Option<u16>) {
        // Whoever made so many is expected at the port behind them.
        let (protocol, port) = match line.steps.get(made) {
            Some(port) => (port.protocol, Some(port.number)),
            None => (Protocol::Tcp, None),
        };
        (next(line, protocol, family), port)
    }
}

/// The knocks behind the first.
fn later<'d>(line: &Line<'d>) -> impl Iterator<Item = &'d Port> {
    line.steps.iter().skip(1)
}

/// The set of those who have an attempt under way.
pub(super) fn under_way(line: &Line<'_>, family: Family) -> String {
    line.name(&format!("from{}", family.digit()))
}

/// The set of those of whom a port of this protocol is expected.
pub(super) fn next(line: &Line<'_>, protocol: Protocol, family: Family) -> String {
    line.name(&format!("{}{}", protocol.name(), family.digit()))
}

/// Expects a knock, which is not the first.
fn expect(
    line: &Line<'_>,
    change: DynamicChange,
    step: usize,
    family: Family,
) -> Option<Statement> {
    let port = line.steps.get(step)?;
    let set = next(line, port.protocol, family);
    let key = Key::NextPort(family, port.number);
    Some(put(change, set, key, line.door.window))
}
