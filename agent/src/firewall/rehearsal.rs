//! Asking the kernel whether it would take a table, without giving it one.
//!
//! A transaction without the message that ends it is carried out in part, every message looked at,
//! and undone (`nfnetlink_rcv_batch`): as `nft --check` has it. Nothing changes, but that the
//! kernel may load modules that it has. What only the whole shows, such as chains that lead to
//! themselves, it does not find in a table that was not there before.

use postern_core::config::Config;
use postern_core::knock::Port;

use super::netlink::END;
use super::refusal::refused_object;
use super::ruleset::{Chain, Content, Family, INPUT, Rule, Set, Statement, Table};
use super::transaction::Heritage;
use super::{Firewall, Refusal};

/// A part of nf_tables that tables of ours may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// nf_tables itself, and tables of family inet.
    Tables,
    /// Chains of family inet that packets enter.
    Chains,
    /// Sets whose elements expire.
    TimedSets,
    /// `log`.
    Log,
    /// `limit`.
    Limit,
    /// `ct`.
    Conntrack,
}

impl Part {
    /// Each needs the ones before `Log`.
    pub(crate) const ALL: [Self; 6] = [
        Self::Tables,
        Self::Chains,
        Self::TimedSets,
        Self::Log,
        Self::Limit,
        Self::Conntrack,
    ];

    /// The smallest table that has it.
    fn table(self) -> Table {
        let (sets, rules) = match self {
            Self::Tables => return Table::default(),
            Self::Chains => (Vec::new(), Vec::new()),
            Self::TimedSets => (vec![timed_set()], Vec::new()),
            Self::Log => (Vec::new(), vec![vec![log()]]),
            Self::Limit => (Vec::new(), vec![vec![limit()]]),
            Self::Conntrack => (Vec::new(), vec![vec![Statement::UdpFlow]]),
        };
        Table {
            sets,
            chains: vec![input(rules)],
            ..Table::default()
        }
    }
}

fn input(rules: Vec<Rule>) -> Chain {
    Chain {
        name: INPUT.to_owned(),
        hooked: true,
        rules,
    }
}

fn timed_set() -> Set {
    Set {
        name: "timed".to_owned(),
        content: Content::TimedSources(Family::V4),
        size: Some(1),
        comment: None,
    }
}

const fn log() -> Statement {
    Statement::Log {
        group: 1,
        length: 1,
    }
}

const fn limit() -> Statement {
    Statement::Limit {
        per_second: 1,
        burst: 1,
    }
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
            .write(table, &Heritage::default(), None, None)
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
    use crate::firewall::examples;
    use crate::firewall::kernel_tests::{in_namespace, listing, nft};
    use postern_core::config::Guard;

    /// The number that every change to the rules of the namespace raises.
    fn generation(firewall: &mut Firewall) -> u32 {
        firewall.channel.generation().unwrap()
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
