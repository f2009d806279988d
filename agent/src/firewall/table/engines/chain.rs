//! Engine `chain`: a set for each knock but the last, of the sources that have made it.

use super::line::{Line, source};
use super::{MAX_ATTEMPTS, Marks, on_both, put, take};
use crate::firewall::table::model::{Content, DynamicChange, Set, Statement};
use crate::network::Family;

pub(super) struct Chain;

impl Marks for Chain {
    fn sets(&self, line: &Line<'_>) -> Vec<Set> {
        let mut sets = Vec::new();
        for made in 1..line.steps.len() {
            sets.extend(on_both(&|family| {
                let content = Content::DynamicSources(family);
                Set::new(set(line, made, family), content, MAX_ATTEMPTS)
            }));
        }
        sets
    }

    fn under_way(&self, line: &Line<'_>, family: Family) -> String {
        set(line, 1, family)
    }

    fn forget(&self, line: &Line<'_>, family: Family) -> Vec<Statement> {
        let later = 2..line.steps.len();
        later
            .map(|made| take(set(line, made, family), source(family)))
            .collect()
    }

    fn begin(&self, line: &Line<'_>, family: Family) -> Vec<Statement> {
        vec![add(line, 1, family)]
    }

    fn expected(&self, line: &Line<'_>, step: usize, family: Family) -> Vec<Statement> {
        let made = |made| Statement::SourceIn(family, set(line, made, family));
        match step {
            0 | 1 => vec![made(1)],
            step => vec![made(1), made(step)],
        }
    }

    fn advance(&self, line: &Line<'_>, step: usize, family: Family) -> Option<Statement> {
        Some(add(line, step + 1, family))
    }

    fn mark(&self, line: &Line<'_>, made: usize, family: Family) -> (String, Option<u16>) {
        (set(line, made, family), None)
    }
}

/// The set of those who have made so many knocks.
pub(super) fn set(line: &Line<'_>, made: usize, family: Family) -> String {
    line.name(&format!("{made}v{}", family.digit()))
}

fn add(line: &Line<'_>, made: usize, family: Family) -> Statement {
    let (set, window) = (set(line, made, family), line.door.window);
    put(DynamicChange::Add, set, source(family), window)
}
