//! A pattern: the knocks that open a door, or those that close it, one after the other.
//!
//! Where several of them are at one port, a knock there is the latest that is expected. Each that counts comes from a
//! source port of its own: from which they came is kept for the window, and what comes from there is one sent again.

use postern_core::door::{Door, Method};
use postern_core::knock::{Port, Protocol};
use postern_core::method::Effect;

use super::{Count, MAX_ATTEMPTS, Marks, finish, marks, on_both, put, take, with};
use crate::collect::CollectVec;
use crate::firewall::table::model::{
    Chain, Content, DynamicChange, Rule, Set, SetKey, Statement, Verdict,
};
use crate::network::Family;

/// A pattern of a door.
#[derive(Clone, Copy)]
pub(crate) struct Pattern<'d> {
    pub(crate) door: &'d Door,
    /// What the names of its sets and chains begin with.
    pub(crate) verb: &'static str,
    /// What a finished attempt does.
    pub(crate) effect: Effect,
    /// The knocks, at least one.
    pub(crate) steps: &'d [Port],
}

/// The patterns of a door that is not one-time. Where a knock ends two of them, what opens comes
/// last and counts, as with the agent.
pub(crate) fn patterns(door: &Door) -> Vec<Pattern<'_>> {
    let effect = match &door.method {
        Method::Same { .. } => Effect::Toggle,
        _ => Effect::Open,
    };
    let pattern = |verb, effect, steps| Pattern {
        door,
        verb,
        effect,
        steps,
    };
    let mut patterns = vec![
        pattern("close", Effect::Close, door.method.close()),
        pattern("open", effect, door.method.open()),
    ];
    patterns.retain(|pattern| !pattern.steps.is_empty());
    patterns
}

impl Pattern<'_> {
    /// Whether it takes more than one knock, so that something has to be remembered.
    pub(crate) const fn counts(&self) -> bool {
        self.steps.len() > 1
    }

    pub(crate) fn sets(&self) -> Vec<Set> {
        let mut sets = self.marks().sets(self);
        for (first, steps) in self.several() {
            let size = MAX_ATTEMPTS.saturating_mul(steps.len() as u32);
            sets.extend(on_both(&|family| {
                let content = Content::DynamicPairs(family);
                Set::new(self.heard(first, family), content, size)
            }));
        }
        sets
    }

    /// The name of one of its chains, or of its sets.
    pub(crate) fn name(&self, what: &str) -> String {
        [self.verb, what, "_", &self.door.name].concat()
    }

    /// The protocol of the last knock.
    pub(crate) fn last_protocol(&self) -> Protocol {
        let last = self.steps.last();
        last.map_or(Protocol::Tcp, |port| port.protocol)
    }

    /// What a knock at this port is shown to; nothing, where neither of its chains is concerned.
    pub(crate) fn entrance(&self, port: Port) -> Option<String> {
        match *self.steps_at(port) {
            [] => self.counts().then(|| self.reset()),
            [step] => Some(self.step(step)),
            [first, ..] => Some(self.any_of(first)),
        }
    }

    /// The knocks at a port, counted from 0.
    fn steps_at(&self, port: Port) -> Vec<usize> {
        let steps = self.steps.iter().enumerate();
        steps
            .filter(|(_, step)| **step == port)
            .map(|(number, _)| number)
            .collect_vec()
    }

    /// Those at each port that has several, with the first of them.
    fn several(&self) -> Vec<(usize, Vec<usize>)> {
        let mut several = Vec::new();
        for (number, port) in self.steps.iter().enumerate() {
            let steps = self.steps_at(*port);
            if steps.len() > 1 && steps.first() == Some(&number) {
                several.push((number, steps));
            }
        }
        several
    }

    /// The chain that ends an attempt.
    pub(crate) fn reset(&self) -> String {
        self.name("reset")
    }

    /// What ends an attempt, where there can be one.
    pub(crate) fn end(&self, family: Family) -> Option<Statement> {
        let under_way = || self.marks().under_way(self, family);
        self.counts().then(|| take(under_way(), source(family)))
    }

    pub(crate) fn chains(&self) -> Vec<Chain> {
        if !self.counts() {
            return Vec::new();
        }
        let mut chains = Vec::new();
        for step in 0..self.steps.len() {
            chains.push(Chain::new(self.step(step), self.rules(step)));
        }
        for (first, steps) in self.several() {
            chains.push(Chain::new(self.any_of(first), self.choosing(first, &steps)));
        }
        chains.push(Chain::new(self.reset(), self.ending()));
        chains
    }

    fn marks(&self) -> &'static dyn Marks {
        marks(self.door)
    }

    /// The chain of a knock, counted from 0.
    fn step(&self, step: usize) -> String {
        match self.counts() {
            true => self.name(&(step + 1).to_string()),
            false => finish(self.door, self.effect),
        }
    }

    /// The chain of several knocks at one port, of which this is the first.
    fn any_of(&self, first: usize) -> String {
        self.name(&format!("at{}", first + 1))
    }

    /// The set of sources and source ports of knocks that were accepted at such a port.
    fn heard(&self, first: usize, family: Family) -> String {
        self.name(&format!("at{}v{}", first + 1, family.digit()))
    }

    fn source_port(&self, step: usize, family: Family) -> SetKey {
        let protocol = self.steps.get(step);
        let protocol = protocol.map_or(Protocol::Tcp, |port| port.protocol);
        SetKey::SourcePort(family, protocol)
    }

    /// Passes over what was sent again, and finds which of several knocks this is.
    fn choosing(&self, first: usize, steps: &[usize]) -> Vec<Rule> {
        let mut rules = on_both(&|family| {
            let key = self.source_port(first, family);
            let heard = Statement::KeyIn(key, self.heard(first, family));
            with(vec![heard, self.count(Count::Matched)], Verdict::Return)
        });
        for step in steps.iter().skip(1).rev() {
            rules.extend(on_both(&|family| {
                let expected = self.marks().expected(self, *step, family);
                with(expected, Verdict::Goto(self.step(*step)))
            }));
        }
        rules.push(vec![Statement::Verdict(Verdict::Goto(self.step(first)))]);
        rules
    }

    /// Keeps from which port a knock came that is accepted on these terms, where its port has several. There may be no
    /// room for it.
    fn hearing(&self, step: usize, terms: &dyn Fn(Family) -> Rule) -> Vec<Rule> {
        let mut several = self.several().into_iter();
        let Some((first, _)) = several.find(|(_, steps)| steps.contains(&step)) else {
            return Vec::new();
        };
        on_both(&|family| {
            let (set, key) = (self.heard(first, family), self.source_port(step, family));
            let mut rule = terms(family);
            rule.push(put(DynamicChange::Add, set, key, self.door.window));
            rule
        })
    }

    fn rules(&self, step: usize) -> Vec<Rule> {
        match step {
            0 => self.beginning(),
            step if step + 1 == self.steps.len() => self.completing(step),
            step => self.advancing(step),
        }
    }

    /// The first knock begins an attempt, unless one is under way: its window is not prolonged.
    fn beginning(&self) -> Vec<Rule> {
        let mut rules = on_both(&|family| {
            let repeated = vec![self.under_way(family), self.count(Count::Matched)];
            with(repeated, Verdict::Return)
        });
        for family in Family::BOTH {
            for forget in self.marks().forget(self, family) {
                rules.push(vec![forget]);
            }
        }
        rules.extend(self.hearing(0, &|_| Vec::new()));
        rules.extend(on_both(&|family| {
            let mut rule = self.marks().begin(self, family);
            rule.push(self.count(Count::Matched));
            with(rule, Verdict::Return)
        }));
        rules.push(vec![self.count(Count::NoRoom)]);
        rules
    }

    /// A repeated knock adds what is there, and so changes nothing.
    fn advancing(&self, step: usize) -> Vec<Rule> {
        let expected = |family| self.marks().expected(self, step, family);
        let mut rules = self.hearing(step, &expected);
        rules.extend(on_both(&|family| {
            let mut rule = expected(family);
            rule.extend(self.marks().advance(self, step, family));
            rule.push(self.count(Count::Matched));
            with(rule, Verdict::Return)
        }));
        // A set that is full ended the rule above.
        rules.extend(on_both(&|family| {
            let mut rule = expected(family);
            rule.push(self.count(Count::NoRoom));
            with(rule, Verdict::Return)
        }));
        rules.push(self.refusing());
        rules
    }

    fn completing(&self, step: usize) -> Vec<Rule> {
        let expected = |family| self.marks().expected(self, step, family);
        let mut rules = self.hearing(step, &expected);
        rules.extend(on_both(&|family| {
            with(
                expected(family),
                Verdict::Goto(finish(self.door, self.effect)),
            )
        }));
        rules.push(self.refusing());
        rules
    }

    fn refusing(&self) -> Rule {
        vec![Statement::Verdict(Verdict::Goto(self.reset()))]
    }

    /// Only where there is an attempt to end, there is something to count.
    fn ending(&self) -> Vec<Rule> {
        on_both(&|family| {
            let mut rule = vec![self.under_way(family)];
            rule.extend(self.end(family));
            rule.push(self.count(Count::Refused));
            rule
        })
    }

    fn under_way(&self, family: Family) -> Statement {
        Statement::SourceIn(family, self.marks().under_way(self, family))
    }

    fn count(&self, count: Count) -> Statement {
        count.statement(self.door)
    }
}

/// The source address as a key.
pub(crate) const fn source(family: Family) -> SetKey {
    SetKey::Network(family, family.bits())
}
