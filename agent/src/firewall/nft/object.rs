//! The names of what the kernel makes or refuses.

use core::fmt::{self, Display, Formatter};

use super::expression::Expression;
use crate::firewall::table::names::TABLE;

/// Something that the kernel makes or refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    /// The transaction as a whole.
    Batch,
    /// The table.
    Table,
    /// A set or map.
    Set(String),
    /// Elements of a set or map.
    Elements(String),
    /// A counter.
    Counter(String),
    /// A chain.
    Chain(String),
    /// A rule.
    Rule {
        /// Its place in the chain, from 1.
        number: usize,
        /// Its chain.
        chain: String,
        /// What it asks of the kernel beside nf_tables itself.
        needs: Option<Feature>,
    },
}

/// A part of the kernel that can be missing where nf_tables is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
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
    /// `counter name`.
    Counter,
}

impl Display for Object {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch => f.write_str("the transaction"),
            Self::Table => write!(f, "table {TABLE}"),
            Self::Set(name) => write!(f, "set {name}"),
            Self::Elements(set) => write!(f, "elements of set {set}"),
            Self::Counter(name) => write!(f, "counter {name}"),
            Self::Chain(name) => write!(f, "chain {name}"),
            Self::Rule { number, chain, .. } => write!(f, "rule {number} of chain {chain}"),
        }
    }
}

impl Display for Feature {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "log (CONFIG_NFT_LOG, module nft_log)",
            Self::LogLine => {
                "log lines (CONFIG_NFT_LOG and CONFIG_NF_LOG_SYSLOG, modules nft_log and nf_log_syslog)"
            }
            Self::Limit => "limit (CONFIG_NFT_LIMIT, module nft_limit)",
            Self::Fib => "fib (CONFIG_NFT_FIB_INET, module nft_fib_inet)",
            Self::Conntrack => "ct (CONFIG_NFT_CT, module nft_ct)",
            Self::Counter => "counters with names (CONFIG_NFT_OBJREF, module nft_objref)",
        })
    }
}

impl Feature {
    /// What a rule asks of the kernel beside nf_tables itself.
    pub(crate) fn of(rule: &[Expression]) -> Option<Self> {
        rule.iter().find_map(|expression| match expression {
            Expression::Log { .. } => Some(Self::Log),
            Expression::LogLine(_) => Some(Self::LogLine),
            Expression::Limit { .. } => Some(Self::Limit),
            Expression::DestinationType { .. } => Some(Self::Fib),
            Expression::Conntrack { .. } => Some(Self::Conntrack),
            Expression::Count { .. } => Some(Self::Counter),
            _ => None,
        })
    }
}
