//! Asking the kernel whether it would take a table, without giving it one.
//!
//! A transaction without the message that ends it is carried out in part, every message looked at,
//! and undone (`nfnetlink_rcv_batch`): as `nft --check` has it. Nothing changes, but that the
//! kernel may load modules that it has. What only the whole shows, such as chains that lead to
//! themselves, it does not find in a table that was not there before.

use postern_core::config::Config;
use postern_core::knock::Port;

use super::nft::batch::{Heritage, Ownership};
use super::nft::refusal::refused_object;
use super::nft::request::END;
use super::table::model::{Chain, Content, DynamicChange, Hook, Set, SetKey, Statement, Table};
use super::table::names::INPUT;
use super::{Firewall, Refusal};
use crate::collect::CollectVec;
use crate::network::Family;

/// A part of nf_tables that tables of ours may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// nf_tables itself, and tables of family inet.
    Tables,
    /// Chains of family inet that packets enter.
    Chains,
    /// Sets whose elements expire.
    TimedSets,
    /// `log` to a group.
    Log,
    /// `log` to the kernel's log.
    LogLine,
    /// `limit`.
    Limit,
    /// `fib`.
    Fib,
    /// `ct`.
    Conntrack,
    /// Sets that rules change.
    DynamicSets,
    /// `counter name`.
    Counters,
}

impl Part {
    /// Each may need the ones before `Fib`.
    pub(crate) const ALL: [Self; 10] = [
        Self::Tables,
        Self::Chains,
        Self::TimedSets,
        Self::Fib,
        Self::Log,
        Self::LogLine,
        Self::Limit,
        Self::Conntrack,
        Self::DynamicSets,
        Self::Counters,
    ];

    /// The smallest table that has it.
    fn table(self) -> Table {
        let name = || NAME.to_owned();
        let set = |content| Set {
            name: name(),
            content,
            size: Some(1),
            comment: None,
        };
        let (sets, rules) = match self {
            Self::Tables => return Table::default(),
            Self::Chains => (vec![], vec![]),
            Self::TimedSets => (vec![set(Content::TimedSources(Family::V4))], vec![]),
            Self::Log => (vec![], vec![LOG]),
            Self::LogLine => (vec![], vec![Statement::LogLine("")]),
            Self::Limit => (vec![], vec![LIMIT]),
            Self::Fib => (vec![], vec![Statement::ForAnother(true)]),
            Self::Conntrack => (vec![], vec![Statement::UdpFlow]),
            Self::DynamicSets => (
                vec![set(Content::DynamicSources(Family::V4))],
                [DynamicChange::Update, DynamicChange::Delete]
                    .map(change)
                    .into(),
            ),
            Self::Counters => (vec![], vec![Statement::Count(name())]),
        };
        let input = Chain {
            name: INPUT.to_owned(),
            hook: Some(Hook::Input),
            rules: rules
                .into_iter()
                .map(|statement| vec![statement])
                .collect_vec(),
        };
        Table {
            sets,
            chains: vec![input],
            counters: match self {
                Self::Counters => vec![name()],
                _ => vec![],
            },
        }
    }

    /// What a rule with this statement needs, beside the first three.
    const fn of(statement: &Statement) -> Option<Self> {
        match statement {
            Statement::Log { .. } => Some(Self::Log),
            Statement::LogLine(_) => Some(Self::LogLine),
            Statement::Limit { .. } => Some(Self::Limit),
            Statement::ForAnother(_) => Some(Self::Fib),
            Statement::UdpFlow | Statement::OwnFlow => Some(Self::Conntrack),
            Statement::Change { .. } => Some(Self::DynamicSets),
            Statement::Count(_) => Some(Self::Counters),
            _ => None,
        }
    }
}

/// What a part's set or counter is called.
const NAME: &str = "part";

const LOG: Statement = Statement::Log {
    group: 1,
    length: 1,
};

const LIMIT: Statement = Statement::Limit {
    per_second: 1,
    burst: 1,
};

fn change(change: DynamicChange) -> Statement {
    Statement::Change {
        change,
        set: NAME.to_owned(),
        key: SetKey::Network(Family::V4, 32),
        lasting: None,
    }
}

/// Which parts the table of a configuration needs.
pub(crate) fn needed_parts(config: &Config, listed: &[Port]) -> Vec<Part> {
    let mut parts = vec![Part::Tables, Part::Chains, Part::TimedSets];
    let table = Table::new(config, listed);
    let rules = table.chains.iter().flat_map(|chain| &chain.rules);
    for part in rules.flatten().filter_map(Part::of) {
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts
}

impl Firewall {
    /// Whether the kernel would take the table of this configuration.
    pub(crate) fn rehearse(&mut self, config: &Config, listed: &[Port]) -> Result<(), Refusal> {
        self.rehearse_table(&Table::new(config, listed))
    }

    /// Whether the kernel has this part of nf_tables.
    pub(crate) fn rehearse_part(&mut self, part: Part) -> Result<(), Refusal> {
        self.rehearse_table(&part.table())
    }

    fn rehearse_table(&mut self, table: &Table) -> Result<(), Refusal> {
        let checked = self
            .write(
                table,
                &Heritage::default(),
                None,
                Ownership::default(),
                None,
            )
            .and_then(|(mut batch, first)| {
                batch
                    .octets
                    .truncate(batch.octets.len().saturating_sub(END));
                self.hand_over(&batch, first)
            });
        checked.map_err(|(object, failure)| refused_object(&object, failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::tests::examples;
    use crate::firewall::tests::kernel::{in_namespace, listing, nft};
    use postern_core::config::Guard;

    /// The number that every change to the rules of the namespace raises.
    fn generation(firewall: &mut Firewall) -> u32 {
        firewall.connection.generation().unwrap()
    }

    #[test]
    fn a_rehearsal_is_taken_and_leaves_nothing_behind() {
        in_namespace(|| {
            let mut firewall = Firewall::open().unwrap();
            let before = generation(&mut firewall);
            for example in examples::all().into_iter().chain(examples::LARGEST) {
                firewall
                    .rehearse(&(example.config)(), example.listed)
                    .unwrap();
            }
            for part in Part::ALL {
                firewall.rehearse_part(part).unwrap();
            }
            assert_eq!(nft(&["list", "ruleset"], "").unwrap(), "");
            assert_eq!(generation(&mut firewall), before);
        });
    }

    /// What a table needs is what its rules are refused for where a kernel lacks it.
    #[test]
    fn a_part_is_needed_by_what_the_kernel_is_asked_for_with_it() {
        for part in Part::ALL {
            let table = part.table();
            let rules = table.chains.iter().flat_map(|chain| &chain.rules);
            let of_it: Vec<Part> = rules.flatten().filter_map(Part::of).collect();
            let has_none = matches!(part, Part::Tables | Part::Chains | Part::TimedSets);
            assert!(of_it.iter().all(|each| *each == part) && of_it.is_empty() == has_none);
        }
    }

    #[test]
    fn an_installed_guard_and_its_grants_stay_as_they_are() {
        in_namespace(|| {
            let mut firewall = Firewall::open().unwrap();
            let config = examples::ssh(Guard::Gate);
            firewall.install(&config, &[]).unwrap();
            let (before, generation_before) = (listing(), generation(&mut firewall));
            firewall
                .rehearse(&examples::three(Guard::Mark), &[])
                .unwrap();
            assert_eq!(listing(), before);
            assert_eq!(generation(&mut firewall), generation_before);
        });
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused() {
        in_namespace(|| {
            let mut table = Table::new(&examples::ssh(Guard::Gate), &[]);
            let no_such_set = Statement::SourceIn(Family::V4, "nothing".to_owned());
            table.chains[1].rules.push(vec![no_such_set]);
            let mut firewall = Firewall::open().unwrap();
            let refused = firewall.rehearse_table(&table).unwrap_err();
            assert!(matches!(refused, Refusal::Refused { .. }), "{refused}");
            assert_eq!(nft(&["list", "ruleset"], "").unwrap(), "");
            // The socket is as good as before.
            firewall.rehearse_part(Part::Tables).unwrap();
        });
    }
}
