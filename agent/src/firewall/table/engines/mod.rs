//! Doors whose attempts nftables itself keeps count of: engines `chain` and `track`.
//!
//! The map of ports sends a knock to a chain of its port. That shows it to every pattern of knocks
//! of every such door there: to the pattern's step if the port is one of its own, and else to the
//! chain that ends its attempts. A pattern's last step goes on to what it is for. Both engines are
//! this; they differ in how they mark how far a source has come, which [`Marks`] is about.
//!
//! Rules take marks out of sets. Before Linux 6.5 and the stable kernels of autumn 2023 (commit
//! c92db3030492, "mark set element as dead when deleting from packet path") the room of what
//! a rule took was never given back: there, a door stops to open after some thousand attempts
//! until it is installed again.

mod chain;
mod pattern;
mod port_chains;
mod track;

use postern_core::config::Config;
use postern_core::door::{Door, EngineName, Method};
use postern_core::knock::Protocol;
use postern_core::method::Effect;
use postern_core::time::Duration;

use crate::collect::CollectVec;
use crate::firewall::table::model::{
    Chain, Content, DynamicChange, Rule, Set, SetKey, Statement, Verdict, timeout,
};
use crate::firewall::table::names::{grants, grants_identity, knocked_prefix, prefix};
use crate::firewall::table::rules::{granted_to, hit_decoy};
use crate::network::Family;
pub(crate) use pattern::{Pattern, patterns};
pub(crate) use port_chains::{PortChain, decoy_chain, has_decoys, port_chains};

/// The most attempts under way that a pattern keeps count of, for each address family.
pub(crate) const MAX_ATTEMPTS: u32 = 1024;
/// The most finished attempts whose repetition is known, for each address family.
const MAX_REPEATED: u32 = 1024;
/// How long a knock that switched a door is known by its source port, from its last repetition on.
/// TCP repeats an unanswered SYN after at most 32 s (tcp(7), `tcp_syn_retries`).
const REPETITION_KNOWN_FOR: Duration = Duration::from_secs(60);

/// What is counted at a door, by named counters that anyone can list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// Knocks at its ports.
    Seen,
    /// Knocks that were the one expected, or repeated one of an attempt under way.
    Matched,
    /// Finished attempts that opened it.
    Opened,
    /// Finished attempts that closed it.
    Closed,
    /// Attempts that ended with a knock that was not expected, or a hit at a decoy.
    Refused,
    /// Knocks that found a set full.
    NoRoom,
}

impl Count {
    pub(crate) const ALL: [Self; 6] = [
        Self::Seen,
        Self::Matched,
        Self::Opened,
        Self::Closed,
        Self::Refused,
        Self::NoRoom,
    ];

    /// What the names of its counters begin with.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Seen => "seen_",
            Self::Matched => "matched_",
            Self::Opened => "opened_",
            Self::Closed => "closed_",
            Self::Refused => "refused_",
            Self::NoRoom => "noroom_",
        }
    }

    fn name(self, door: &Door) -> String {
        [self.prefix(), &door.name].concat()
    }

    fn statement(self, door: &Door) -> Statement {
        Statement::Count(self.name(door))
    }
}

/// How a pattern's sets say how far a source has come.
///
/// A knock is one that was made when it is among the marks, and the attempt is under way. That
/// ends a window after the first knock: no mark matters then. The first knock of the next
/// attempt takes away what is left of them.
pub(crate) trait Marks {
    /// The sets.
    fn sets(&self, pattern: &Pattern<'_>) -> Vec<Set>;
    /// The set of sources with an attempt under way, whose elements last for the whole window.
    fn under_way(&self, pattern: &Pattern<'_>, family: Family) -> String;
    /// What takes away all marks but that of the first knock.
    fn forget(&self, pattern: &Pattern<'_>, family: Family) -> Vec<Statement>;
    /// What marks that the first knock was made.
    fn begin(&self, pattern: &Pattern<'_>, family: Family) -> Vec<Statement>;
    /// That all knocks before this one, which is not the first, were made.
    fn expected(&self, pattern: &Pattern<'_>, step: usize, family: Family) -> Vec<Statement>;
    /// What marks that this one was made too; it is neither the first nor the last.
    fn advance(&self, pattern: &Pattern<'_>, step: usize, family: Family) -> Option<Statement>;
    /// The set that says that so many knocks were made, two or more but not all; and the port
    /// that follows the source in its elements.
    fn mark(&self, pattern: &Pattern<'_>, made: usize, family: Family) -> (String, Option<u16>);
}

pub(crate) fn marks(door: &Door) -> &'static dyn Marks {
    let mut knocks = door.method.open().iter().chain(door.method.close());
    // A packet without a port cannot be compared with the port that is expected.
    let has_echo = knocks.any(|port| port.protocol == Protocol::Icmp);
    match door.engine {
        EngineName::Track if !has_echo => &track::Track,
        EngineName::Track => &chain::Chain,
        EngineName::Chain | EngineName::Daemon => &chain::Chain,
    }
}

/// Whether there is a door that the agent serves.
pub(crate) fn needs_agent(config: &Config) -> bool {
    config.doors.iter().any(|door| !door.engine.is_in_kernel())
}

/// The names of the counters of a door; none of the agent's doors has any.
pub(crate) fn counters(door: &Door) -> Vec<String> {
    match door.engine.is_in_kernel() {
        true => Count::ALL
            .iter()
            .map(|count| count.name(door))
            .collect_vec(),
        false => Vec::new(),
    }
}

/// Whether this is a set of sources that the door's knocks let in.
pub(crate) fn is_knocked(set: &str, door: &str) -> bool {
    let mut prefixes = Family::BOTH.map(knocked_prefix).into_iter();
    prefixes.any(|prefix| set.strip_prefix(prefix) == Some(door))
}

fn knocked(door: &Door, family: Family) -> String {
    [knocked_prefix(family), &door.name].concat()
}

/// The sets of sources that the door's knocks let in.
pub(crate) fn knocked_sets(door: &Door, size: u32) -> Vec<Set> {
    if !door.engine.is_in_kernel() {
        return Vec::new();
    }
    on_both(&|family| {
        let content = Content::DynamicSources(family);
        let set = Set::new(knocked(door, family), content, size);
        set.described(grants_identity(door, family))
    })
}

/// Whether the door's knocks let the source in.
pub(crate) fn knocked_by(door: &Door, family: Family) -> Statement {
    granted_to(door, family, knocked(door, family))
}

/// The sets that keep count.
pub(crate) fn sets(door: &Door) -> Vec<Set> {
    if !door.engine.is_in_kernel() {
        return Vec::new();
    }
    let mut sets = Vec::new();
    for pattern in patterns(door).iter().filter(|pattern| pattern.counts()) {
        sets.extend(pattern.sets());
    }
    if toggles(door) {
        sets.extend(on_both(&|family| {
            let content = Content::DynamicPairs(family);
            Set::new(repeated(door, family), content, MAX_REPEATED)
        }));
    }
    sets
}

/// The chains of a door: each of its patterns, and what they are for.
pub(crate) fn chains(config: &Config, door: &Door) -> Vec<Chain> {
    if !door.engine.is_in_kernel() {
        return Vec::new();
    }
    let patterns = patterns(door);
    let mut chains = Vec::new();
    for pattern in &patterns {
        chains.extend(pattern.chains());
    }
    for pattern in &patterns {
        if pattern.effect == Effect::Toggle {
            chains.push(toggled(door, pattern));
            chains.push(switched(door));
        }
        if pattern.effect != Effect::Close {
            chains.push(opened(config, door, pattern));
        }
        if pattern.effect != Effect::Open {
            chains.push(closed(door, pattern));
        }
    }
    chains
}

fn toggles(door: &Door) -> bool {
    matches!(door.method, Method::Same { .. })
}

/// The chain that does what a finished attempt is for.
fn finish(door: &Door, effect: Effect) -> String {
    let prefix = match effect {
        Effect::Open => "opened_",
        Effect::Close => "closed_",
        Effect::Toggle => "toggled_",
    };
    [prefix, &door.name].concat()
}

fn switch(door: &Door) -> String {
    ["switched_", &door.name].concat()
}

/// The set of sources and source ports of knocks that switched the door.
fn repeated(door: &Door, family: Family) -> String {
    let prefix = match family {
        Family::V4 => "repeated4_",
        Family::V6 => "repeated6_",
    };
    [prefix, &door.name].concat()
}

/// Lets the source in, from now on for as long as the door's grants last, unless it hit a decoy.
fn opened(config: &Config, door: &Door, pattern: &Pattern<'_>) -> Chain {
    let mut rules = match has_decoys(config, door) {
        true => on_both(&|family| {
            let mut rule = vec![hit_decoy(family)];
            rule.extend(pattern.end(family));
            rule.push(Count::Refused.statement(door));
            with(rule, Verdict::Return)
        }),
        false => Vec::new(),
    };
    rules.extend(on_both(&|family| {
        let key = SetKey::Network(family, prefix(door, family));
        let mut rule = vec![put(
            DynamicChange::Update,
            knocked(door, family),
            key,
            door.grant,
        )];
        rule.extend(pattern.end(family));
        rule.push(Count::Matched.statement(door));
        rule.push(Count::Opened.statement(door));
        with(rule, Verdict::Return)
    }));
    rules.push(vec![Count::NoRoom.statement(door)]);
    Chain::new(finish(door, Effect::Open), rules)
}

/// Takes back what the source was granted, by its knocks or by hand.
fn closed(door: &Door, pattern: &Pattern<'_>) -> Chain {
    let rules = on_both(&|family| {
        let key = SetKey::Network(family, prefix(door, family));
        let sets = [knocked(door, family), grants(family, &door.name)];
        let mut rule: Rule = sets.map(|set| take(set, key)).into();
        rule.extend(pattern.end(family));
        rule.push(Count::Matched.statement(door));
        rule.push(Count::Closed.statement(door));
        with(rule, Verdict::Return)
    });
    Chain::new(finish(door, Effect::Close), rules)
}

/// Passes over a last knock that TCP or the network sent again: what it switched must not be
/// switched back by that.
fn toggled(door: &Door, pattern: &Pattern<'_>) -> Chain {
    let key = |family| SetKey::SourcePort(family, pattern.last_protocol());
    let put = |change, family| {
        put(
            change,
            repeated(door, family),
            key(family),
            REPETITION_KNOWN_FOR,
        )
    };
    let mut rules = on_both(&|family| {
        let mut rule = vec![
            Statement::KeyIn(key(family), repeated(door, family)),
            put(DynamicChange::Update, family),
        ];
        rule.extend(pattern.end(family));
        with(rule, Verdict::Return)
    });
    rules.extend(on_both(&|family| {
        let add = put(DynamicChange::Add, family);
        with(vec![add], Verdict::Goto(switch(door)))
    }));
    rules.push(vec![Count::NoRoom.statement(door)]);
    Chain::new(finish(door, Effect::Toggle), rules)
}

/// Closes what is open, and opens what is closed.
fn switched(door: &Door) -> Chain {
    let close = || Verdict::Goto(finish(door, Effect::Close));
    let mut rules = on_both(&|family| with(vec![knocked_by(door, family)], close()));
    rules.extend(on_both(&|family| {
        let granted = granted_to(door, family, grants(family, &door.name));
        with(vec![granted], close())
    }));
    let open = Verdict::Goto(finish(door, Effect::Open));
    rules.push(vec![Statement::Verdict(open)]);
    Chain::new(switch(door), rules)
}

/// What there is for IPv4, and what there is for IPv6.
fn on_both<T>(of: &dyn Fn(Family) -> T) -> Vec<T> {
    Family::BOTH.into_iter().map(of).collect_vec()
}

fn with(mut rule: Rule, verdict: Verdict) -> Rule {
    rule.push(Statement::Verdict(verdict));
    rule
}

/// Puts a key into a set, for so long.
pub(crate) fn put(change: DynamicChange, set: String, key: SetKey, lasting: Duration) -> Statement {
    // The kernel takes what is shorter than one of its ticks for no time at all.
    let lasting = Some(Duration::from_millis(timeout(lasting)));
    Statement::Change {
        change,
        set,
        key,
        lasting,
    }
}

/// Takes a key out of a set, if it is there.
fn take(set: String, key: SetKey) -> Statement {
    Statement::Change {
        change: DynamicChange::Delete,
        set,
        key,
        lasting: None,
    }
}
