//! Engine `chain`: a set for each knock but the last, of the sources that have made it.

use super::pattern::{Pattern, source};
use super::{MAX_ATTEMPTS, Marks, on_both, put, take};
use crate::collect::CollectVec;
use crate::firewall::table::model::{Content, DynamicChange, Set, Statement};
use crate::network::Family;

pub(super) struct Chain;

impl Marks for Chain {
    fn sets(&self, pattern: &Pattern<'_>) -> Vec<Set> {
        let mut sets = Vec::new();
        for made in 1..pattern.steps.len() {
            sets.extend(on_both(&|family| {
                let content = Content::DynamicSources(family);
                Set::new(set(pattern, made, family), content, MAX_ATTEMPTS)
            }));
        }
        sets
    }

    fn under_way(&self, pattern: &Pattern<'_>, family: Family) -> String {
        set(pattern, 1, family)
    }

    fn forget(&self, pattern: &Pattern<'_>, family: Family) -> Vec<Statement> {
        let later = 2..pattern.steps.len();
        later
            .map(|made| take(set(pattern, made, family), source(family)))
            .collect_vec()
    }

    fn begin(&self, pattern: &Pattern<'_>, family: Family) -> Vec<Statement> {
        vec![add(pattern, 1, family)]
    }

    fn expected(&self, pattern: &Pattern<'_>, step: usize, family: Family) -> Vec<Statement> {
        let made = |made| Statement::SourceIn(family, set(pattern, made, family));
        match step {
            0 | 1 => vec![made(1)],
            step => vec![made(1), made(step)],
        }
    }

    fn advance(&self, pattern: &Pattern<'_>, step: usize, family: Family) -> Option<Statement> {
        Some(add(pattern, step + 1, family))
    }

    fn mark(&self, pattern: &Pattern<'_>, made: usize, family: Family) -> (String, Option<u16>) {
        (set(pattern, made, family), None)
    }
}

/// The set of those who have made so many knocks.
pub(super) fn set(pattern: &Pattern<'_>, made: usize, family: Family) -> String {
    pattern.name(&format!("{made}v{}", family.digit()))
}

fn add(pattern: &Pattern<'_>, made: usize, family: Family) -> Statement {
    let (set, window) = (set(pattern, made, family), pattern.door.window);
    put(DynamicChange::Add, set, source(family), window)
}
