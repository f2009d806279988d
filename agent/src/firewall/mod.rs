//! The firewall: one nftables table, described as data, and the grants that live in it.

#[cfg(test)]
mod examples;
#[cfg(test)]
mod kernel_tests;
mod ruleset;
mod text;

use postern_core::config::Config;

pub use ruleset::{
    Chain, Content, Family, MAX_CUTOFFS, MAX_GRANTS, Rule, Set, Statement, TABLE, Table, Verdict,
};

/// The table for a configuration as an nft script, byte for byte what `nft list table` prints.
pub fn render(config: &Config) -> String {
    text::render(&Table::new(config))
}
