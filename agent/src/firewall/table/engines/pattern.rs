//! A pattern: the knocks that open a door, or those that close it, one after the other.

use postern_core::door::{Door, Method};
use postern_core::knock::{Port, Protocol};
use postern_core::method::Effect;

use super::{Count, Marks, finish, marks, on_both, take, with};
use crate::firewall::table::model::{Chain, Rule, Set, SetKey, Statement, Verdict};
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
        self.marks().sets(self)
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
        match self.steps.iter().position(|step| *step == port) {
            Some(step) => Some(self.step(step)),
            None => self.counts().then(|| self.reset()),
        }
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
        let mut rules = on_both(&|family| {
            let mut rule = expected(family);
            rule.extend(self.marks().advance(self, step, family));
            rule.push(self.count(Count::Matched));
            with(rule, Verdict::Return)
        });
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
        let mut rules = on_both(&|family| {
            let expected = self.marks().expected(self, step, family);
            with(expected, Verdict::Goto(finish(self.door, self.effect)))
        });
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
