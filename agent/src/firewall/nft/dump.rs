//! What is read back from the kernel: sets and their elements, however odd.

use core::net::IpAddr;

use postern_core::time::Duration;

use super::connection::{Connection, Failure, Term};
use super::message::{COUNTER, Counted, Lasting, OWNED};
use super::{nfta, request};
use crate::firewall::table::model::timeout;
use crate::firewall::table::names::TABLE;
use crate::netlink::codec::{self, Attributes, as_text, as_u32, as_u64};
use crate::network::Family;
use crate::sort::sort;

/// The most sets, chains and counters of the table, and elements of one set, that are read: more than any table
/// of ours has.
const MAX_READ: usize = 8192;

/// How often the elements of a set are read again when some of them came twice.
const REPETITIONS: usize = 4;

/// A table, as the kernel has it.
pub(crate) struct KernelTable {
    /// Whether it is without flags (such as dormant) but that of an owner, and without a comment.
    pub(crate) plain: bool,
    /// The port of the socket that it belongs to.
    pub(crate) owner: Option<u32>,
    /// How many things are in it: sets, chains, and others, which are not ours.
    pub(crate) things: usize,
}

/// A chain, as the kernel has it.
#[derive(Debug)]
pub(crate) struct KernelChain {
    pub(crate) name: String,
    /// Whether it has a comment.
    pub(crate) annotated: bool,
}

/// A set, as the kernel has it.
#[derive(Debug)]
pub(crate) struct KernelSet {
    pub(crate) name: String,
    pub(crate) comment: Option<String>,
}

/// A counter, as the kernel has it.
#[derive(Debug)]
pub(crate) struct KernelCounter {
    pub(crate) name: String,
    pub(crate) counted: Counted,
}

/// An element, as the kernel has it.
pub(crate) struct KernelElement {
    pub(crate) key: Vec<u8>,
    pub(crate) lasting: Option<Lasting>,
}

impl KernelElement {
    /// The address that its key is.
    pub(crate) fn address(&self, family: Family) -> Option<IpAddr> {
        let key = self.key.as_slice();
        Some(match family {
            Family::V4 => <[u8; 4]>::try_from(key).ok()?.into(),
            Family::V6 => <[u8; 16]>::try_from(key).ok()?.into(),
        })
    }
}

impl Connection {
    /// The table: ENOENT if it is not there.
    pub(crate) fn table(&mut self) -> Result<KernelTable, Failure> {
        let name = |to: &mut Vec<u8>| codec::text(to, nfta::TABLE_NAME, &[TABLE]);
        self.ask(libc::NFT_MSG_GETTABLE, &name, |table| {
            Some(read_table(table))
        })
    }

    /// The chains of the table, in the order in which they were made.
    pub(crate) fn chains(&mut self) -> Result<Vec<KernelChain>, Failure> {
        let table = |to: &mut Vec<u8>| codec::text(to, nfta::CHAIN_TABLE, &[TABLE]);
        self.dump(libc::NFT_MSG_GETCHAIN, &table, read_chain)
    }

    /// The number that every change to the rules of the namespace raises.
    pub(crate) fn generation(&mut self) -> Result<u32, Failure> {
        let number = |answer: Attributes<'_>| answer.find(nfta::GEN_ID).and_then(as_u32);
        self.ask(libc::NFT_MSG_GETGEN, &|_| {}, number)
    }

    /// The sets of the table, in the order in which they were made; without a table, kernels
    /// differ: none, or ENOENT.
    pub(crate) fn sets(&mut self) -> Result<Vec<KernelSet>, Failure> {
        let table = |to: &mut Vec<u8>| codec::text(to, nfta::SET_TABLE, &[TABLE]);
        self.dump(libc::NFT_MSG_GETSET, &table, read_set)
    }

    /// The counters of the table, in the order in which they were made.
    pub(crate) fn counters(&mut self) -> Result<Vec<KernelCounter>, Failure> {
        let ask = |to: &mut Vec<u8>| {
            codec::text(to, nfta::OBJECT_TABLE, &[TABLE]);
            codec::attribute(to, nfta::OBJECT_TYPE, &COUNTER.to_be_bytes());
        };
        self.dump(libc::NFT_MSG_GETOBJ, &ask, read_counter)
    }

    /// The elements of a set, in the order of their keys.
    ///
    /// The kernel hands them over in parts, and goes on by their number (`nft_rhash_walk`). If the
    /// hash table is rebuilt meanwhile, some come twice and as many others not at all, and
    /// nothing says so: it begins again. A set that packets add to may never come to rest.
    pub(crate) fn elements(&mut self, set: &str) -> Result<Vec<KernelElement>, Failure> {
        let mut found = self.elements_once(set)?;
        for _ in 0..REPETITIONS {
            if !without_repetition(&mut found) {
                break;
            }
            found = self.elements_once(set)?;
        }
        without_repetition(&mut found);
        Ok(found)
    }

    fn elements_once(&mut self, set: &str) -> Result<Vec<KernelElement>, Failure> {
        let set = |to: &mut Vec<u8>| request::set_of_elements(to, &[set]);
        self.dump(libc::NFT_MSG_GETSETELEM, &set, read_elements)
    }
}

pub(crate) fn read_table(table: Attributes<'_>) -> KernelTable {
    let number = |kind| table.find(kind).and_then(as_u32);
    KernelTable {
        plain: number(nfta::TABLE_FLAGS).is_some_and(|flags| flags & !OWNED == 0)
            && table.find(nfta::TABLE_USERDATA).is_none(),
        owner: number(nfta::TABLE_OWNER),
        things: number(nfta::TABLE_USE).unwrap_or(u32::MAX) as usize,
    }
}

pub(crate) fn read_chain(chain: Attributes<'_>, chains: &mut Vec<KernelChain>) {
    // A dump may hold the chains of other tables too.
    let ours = chain.find(nfta::CHAIN_TABLE).and_then(as_text) == Some(TABLE);
    let name = chain.find(nfta::CHAIN_NAME).and_then(as_text);
    if let Some(name) = name.filter(|_| ours && chains.len() < MAX_READ) {
        chains.push(KernelChain {
            name: name.to_owned(),
            annotated: chain.find(nfta::CHAIN_USERDATA).is_some(),
        });
    }
}

pub(crate) fn read_set(set: Attributes<'_>, sets: &mut Vec<KernelSet>) {
    // An older kernel may dump the sets of other tables too.
    let ours = set.find(nfta::SET_TABLE).and_then(as_text) == Some(TABLE);
    let Some(name) = set.find(nfta::SET_NAME).and_then(as_text).filter(|_| ours) else {
        return;
    };
    let comment = set
        .find(nfta::SET_USERDATA)
        .and_then(request::comment)
        .map(str::to_owned);
    if sets.len() < MAX_READ {
        sets.push(KernelSet {
            name: name.to_owned(),
            comment,
        });
    }
}

pub(crate) fn read_counter(counter: Attributes<'_>, counters: &mut Vec<KernelCounter>) {
    // An older kernel may dump the objects of other tables, and of other kinds, too.
    let ours = counter.find(nfta::OBJECT_TABLE).and_then(as_text) == Some(TABLE)
        && counter.find(nfta::OBJECT_TYPE).and_then(as_u32) == Some(COUNTER);
    let name = counter.find(nfta::OBJECT_NAME).and_then(as_text);
    let data = counter.inside(nfta::OBJECT_DATA);
    let number = |kind| data.and_then(|data| data.find(kind)).and_then(as_u64);
    if let Some(name) = name.filter(|_| ours && counters.len() < MAX_READ) {
        counters.push(KernelCounter {
            name: name.to_owned(),
            counted: Counted {
                packets: number(nfta::COUNTER_PACKETS).unwrap_or_default(),
                octets: number(nfta::COUNTER_OCTETS).unwrap_or_default(),
            },
        });
    }
}

pub(crate) fn read_elements(message: Attributes<'_>, elements: &mut Vec<KernelElement>) {
    let Some(list) = message.inside(nfta::LIST_ELEMENTS) else {
        return;
    };
    for (_, element) in list.take(MAX_READ.saturating_sub(elements.len())) {
        elements.extend(read_element(Attributes(element)));
    }
}

/// Sorts elements and takes out those that are there twice: whether there were any.
fn without_repetition(elements: &mut Vec<KernelElement>) -> bool {
    let count = elements.len();
    sort(elements, &|one, other| one.key < other.key);
    elements.dedup_by(|one, other| one.key == other.key);
    elements.len() < count
}

fn read_element(element: Attributes<'_>) -> Option<KernelElement> {
    let key = element
        .inside(nfta::ELEM_KEY)?
        .find(nfta::DATA_VALUE)?
        .to_vec();
    let lasting = remaining(element).map(|remaining| Lasting {
        timeout: timeout(time(element, nfta::ELEM_TIMEOUT).unwrap_or(remaining)),
        remaining: timeout(remaining),
    });
    Some(KernelElement { key, lasting })
}

/// How long the one element that a message is about would stay; `None`: it is about none.
pub(crate) fn term(message: Attributes<'_>) -> Option<Term> {
    let element = message
        .inside(nfta::LIST_ELEMENTS)?
        .inside(nfta::LIST_ELEM)?;
    Some(remaining(element).map_or(Term::Forever, Term::For))
}

fn remaining(element: Attributes<'_>) -> Option<Duration> {
    time(element, nfta::ELEM_EXPIRATION)
}

fn time(element: Attributes<'_>, kind: u16) -> Option<Duration> {
    element
        .find(kind)
        .and_then(as_u64)
        .map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_that_come_twice_are_noticed_and_taken_out() {
        let element = |key: &u8| KernelElement {
            key: vec![*key],
            lasting: None,
        };
        for (keys, repeats) in [
            (&[][..], false),
            (&[1], false),
            (&[2, 1, 3], false),
            (&[1, 1], true),
            (&[2, 3, 2, 1, 1], true),
        ] {
            let mut elements: Vec<KernelElement> = keys.iter().map(element).collect();
            assert_eq!(without_repetition(&mut elements), repeats, "{keys:?}");
            assert!(!without_repetition(&mut elements));
            assert!(
                keys.iter()
                    .all(|key| elements.iter().any(|element| element.key == [*key]))
            );
        }
    }
}
