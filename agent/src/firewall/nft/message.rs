//! What a transaction asks of the kernel, as plain data: the same for every back-end.

use super::expression::{Expression, is_name};
use crate::firewall::table::model::Chain;
use crate::firewall::table::names::TABLE;

/// The most elements in one message: with [`LONGEST_KEY`] and [`LONGEST_CHAIN`] an element takes at
/// most 112 octets, and the attribute that holds them all counts its octets in 16 bits.
pub(crate) const MOST_ELEMENTS: usize = 500;
const LONGEST_KEY: usize = 32;
const LONGEST_CHAIN: usize = 31;

/// The most expressions of a rule (NFT_RULE_MAXEXPRS); no expression takes more than 340 octets.
const MOST_EXPRESSIONS: usize = 128;

/// Something that is to be made: what a back-end writes.
#[derive(Debug)]
pub(crate) enum New<'t> {
    /// The table, which is the socket's own, or nobody's.
    Table { owned: bool },
    /// A chain without its rules.
    Chain(&'t Chain),
    /// A set or map without its elements.
    Set(NewSet<'t>),
    /// Elements of the set of this name, no more than [`MOST_ELEMENTS`].
    Elements(&'t str, Vec<Element<'t>>),
    /// A rule at the end of the chain of this name.
    Rule(&'t str, Vec<Expression>),
    /// A counter of this name, and what it begins with.
    Counter(&'t str, Counted),
}

/// Writes the attributes of messages: the only thing in which the ways to make them differ.
pub(crate) trait Renderer {
    /// Writes the attributes of a message that makes something, of which [`New::fits`] is true.
    fn write(&mut self, new: &New<'_>, to: &mut Vec<u8>);
}

/// Something that is to go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gone<'t> {
    /// The table and all that is in it.
    Table,
    /// A chain.
    Chain(&'t str),
    /// A set or map.
    Set(&'t str),
    /// A counter.
    Counter(&'t str),
    /// All rules of the table.
    Rules,
}

/// What a counter has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) packets: u64,
    pub(crate) octets: u64,
}

/// NFT_TABLE_F_OWNER of nf_tables.h, which libc lacks: the kernel lets nobody else change the
/// table, and deletes it when the socket that made it closes (Linux 5.12).
pub(crate) const OWNED: u32 = 2;

/// NFTA_FIB_F_DADDR and NFT_FIB_RESULT_ADDRTYPE of nf_tables.h, which libc lacks.
pub(crate) const FIB_OF_DESTINATION: u32 = 2;
pub(crate) const FIB_ADDRESS_TYPE: u32 = 3;

/// NFT_LOOKUP_F_INV of nf_tables.h.
pub(crate) const LOOKUP_INVERTED: u32 = libc::NFT_LOOKUP_F_INV as u32;

/// NFT_OBJECT_COUNTER of nf_tables.h, which libc lacks.
pub(crate) const COUNTER: u32 = 1;

/// A named set or map, as the kernel has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NewSet<'t> {
    pub(crate) name: &'t str,
    /// Unlike any other of the transaction.
    pub(crate) id: u32,
    /// `NFT_SET_*`; with NFT_SET_MAP, it maps to verdicts.
    pub(crate) flags: u32,
    /// nft's number for the type of the keys.
    pub(crate) key_type: u32,
    /// Octets of a key.
    pub(crate) key_length: u32,
    /// The most elements.
    pub(crate) size: Option<u32>,
    /// What the kernel hands back but does not read.
    pub(crate) user_data: Vec<u8>,
}

/// An element of a set or map.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Element<'t> {
    pub(crate) key: Vec<u8>,
    pub(crate) entry: Entry<'t>,
}

/// What nft notes at an [`Entry::Goto`] that is endless, and needs to list it: libnftnl's
/// NFTNL_UDATA_SET_ELEM_FLAGS with nft's SET_ELEM_F_INTERVAL_OPEN, a u32 of the host (include/rule.h).
pub(crate) const OPEN_RANGE: [u8; 6] = {
    const FLAGS: u8 = 1;
    let [a, b, c, d] = 1_u32.to_ne_bytes();
    [FLAGS, 4, a, b, c, d]
};

/// What a set or map says about a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry<'t> {
    /// It is in the set; `None`: it stays there.
    Member(Option<Lasting>),
    /// From this key on, or in a map without ranges for this key, a chain decides.
    Goto {
        chain: &'t str,
        /// No [`Entry::End`] follows: it goes up to the last key that there is.
        endless: bool,
    },
    /// From this key on, nothing is said.
    End,
}

/// How long an element lasts, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lasting {
    /// From the beginning.
    pub(crate) timeout: u64,
    /// From now.
    pub(crate) remaining: u64,
}

impl New<'_> {
    /// `NFT_MSG_*`, and `NLM_F_*` beside NLM_F_REQUEST.
    pub(crate) const fn kind(&self) -> (i32, i32) {
        const CREATE: i32 = libc::NLM_F_CREATE;
        match self {
            Self::Table { .. } => (libc::NFT_MSG_NEWTABLE, CREATE),
            Self::Chain(_) => (libc::NFT_MSG_NEWCHAIN, CREATE),
            Self::Set(_) => (libc::NFT_MSG_NEWSET, CREATE),
            Self::Elements(..) => (libc::NFT_MSG_NEWSETELEM, CREATE),
            Self::Rule(..) => (libc::NFT_MSG_NEWRULE, CREATE | libc::NLM_F_APPEND),
            Self::Counter(..) => (libc::NFT_MSG_NEWOBJ, CREATE),
        }
    }

    /// Whether nothing in it is longer than the kernel, or an attribute, takes.
    pub(crate) fn fits(&self) -> bool {
        match self {
            Self::Table { .. } => is_name(TABLE),
            Self::Chain(chain) => is_name(&chain.name),
            Self::Set(set) => is_name(set.name),
            Self::Elements(set, elements) => {
                let few = elements.len() <= MOST_ELEMENTS;
                is_name(set) && few && elements.iter().all(Element::fits)
            }
            Self::Rule(chain, rule) => {
                let few = rule.len() <= MOST_EXPRESSIONS;
                is_name(chain) && few && rule.iter().all(Expression::fits)
            }
            Self::Counter(name, _) => is_name(name),
        }
    }
}

impl Element<'_> {
    fn fits(&self) -> bool {
        let chain = match self.entry {
            Entry::Goto { chain, .. } => chain,
            _ => "",
        };
        self.key.len() <= LONGEST_KEY && chain.len() <= LONGEST_CHAIN && is_name(chain)
    }
}
