//! Other tables than ours, as far as packets for this host, or for hosts behind it, meet them.
//!
//! Only nf_tables is asked: rules of the older iptables are somewhere else.

pub(crate) mod journey;

use core::cell::Cell;
use core::net::IpAddr;

use crate::firewall::nft::object::Object;
use crate::firewall::nft::refusal::refused_object;
use crate::firewall::nft::{nfta, request};
use crate::firewall::table::names::TABLE;
use crate::firewall::{Firewall, Refusal};
use crate::netlink::codec::{self, Attributes, as_text, as_u32};
use crate::sort::sort;

/// The most chains, and the most rules, that are looked at in each family.
const MAX_READ: usize = 8192;
/// The most octets of rules that are kept in each family.
const MAX_OCTETS: usize = 1 << 20;
/// The most elements of a set that are looked at.
const MAX_ELEMENTS: usize = 2048;

/// NFT_SET_ELEM_CATCHALL of nf_tables.h, which libc lacks.
const CATCHALL: i32 = 2;

/// The families whose chains packets of IPv4 or IPv6 meet.
const FAMILIES: [u8; 3] = [
    request::INET,
    libc::NFPROTO_IPV4 as u8,
    libc::NFPROTO_IPV6 as u8,
];

/// The chains of other tables, and their rules.
#[derive(Default)]
pub(crate) struct ForeignTables {
    pub(crate) chains: Vec<Chain>,
    pub(crate) sets: Sets,
    /// The addresses of this host, as far as they are known.
    pub(crate) own: Vec<IpAddr>,
    /// There was more than is looked at.
    pub(crate) incomplete: bool,
}

/// A chain of another table.
pub(crate) struct Chain {
    pub(crate) family: u8,
    pub(crate) table: String,
    pub(crate) name: String,
    /// Where packets enter it, if they do.
    pub(crate) hook: Option<u32>,
    pub(crate) priority: i32,
    /// Whether it translates addresses: such chains are entered together, in the order of their priorities.
    pub(crate) translates: bool,
    /// Whether it drops what comes to its end.
    pub(crate) drops: bool,
    /// Their expressions, as the kernel writes them.
    pub(crate) rules: Vec<Box<[u8]>>,
}

/// Sets whose elements were asked for.
#[derive(Default)]
pub(crate) struct Sets(Vec<Set>);

struct Set {
    family: u8,
    table: String,
    name: String,
    contents: Contents,
}

/// The elements of a set.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) elements: Vec<Element>,
    /// There are others, which are not known.
    pub(crate) incomplete: bool,
}

/// Keys from one to another, and what becomes of a packet that has one of them.
pub(crate) struct Element {
    pub(crate) first: Vec<u8>,
    pub(crate) last: Vec<u8>,
    /// Every other key.
    pub(crate) is_rest: bool,
    /// Where a range ends, before this key.
    is_end: bool,
    pub(crate) verdict: Option<(i32, String)>,
}

#[cfg(fuzzing)]
impl ForeignTables {
    /// Chains ahead of ours, at both hooks, with one rule: expressions as the kernel writes them.
    pub(crate) fn with_rule(rule: &[u8]) -> Self {
        let chain = |hook| Chain {
            family: request::INET,
            table: "other".into(),
            name: "other".into(),
            hook: Some(hook),
            priority: -300,
            translates: hook == 0,
            drops: false,
            rules: vec![rule.into()],
        };
        Self {
            chains: vec![chain(0), chain(1)],
            ..Self::default()
        }
    }
}

impl Firewall {
    /// Reads the chains and rules that packets for this host may meet.
    pub(crate) fn foreign_tables(&mut self) -> Result<ForeignTables, Refusal> {
        let mut others = ForeignTables::default();
        for family in FAMILIES {
            let start = others.chains.len();
            let kind = libc::NFT_MSG_GETCHAIN;
            let chains = self
                .connection
                .dump_of(family, kind, &|_| {}, |message, all| {
                    if all.len() <= MAX_READ {
                        all.extend(chain(family, message));
                    }
                });
            let chains = chains.map_err(|failure| refused_object(&Object::Table, failure))?;
            others.incomplete |= chains.len() > MAX_READ;
            others.chains.extend(chains);
            let chains = others.chains.get_mut(start..).unwrap_or_default();
            others.incomplete |= self.rules_of(family, chains)?;
        }
        Ok(others)
    }

    /// Adds the rules of these chains; whether there are more than is looked at.
    fn rules_of(&mut self, family: u8, chains: &mut [Chain]) -> Result<bool, Refusal> {
        if chains.is_empty() {
            return Ok(false);
        }
        let (octets, last) = (Cell::new(0), Cell::new(0));
        let read = |message: Attributes<'_>, all: &mut Vec<(usize, Box<[u8]>)>| {
            let text = |kind| message.find(kind).and_then(as_text).unwrap_or_default();
            let (table, name) = (text(nfta::RULE_TABLE), text(nfta::RULE_CHAIN));
            let is_it = |chain: &Chain| chain.table == table && chain.name == name;
            // Rules come chain by chain.
            let at = match chains.get(last.get()).is_some_and(is_it) {
                true => Some(last.get()),
                false => chains.iter().position(is_it),
            };
            let Some(at) = at else { return };
            if all.is_empty() {
                octets.set(0);
            }
            last.set(at);
            let rule = message.find(nfta::RULE_EXPRESSIONS).unwrap_or_default();
            octets.set(octets.get() + rule.len());
            if all.len() < MAX_READ && octets.get() <= MAX_OCTETS {
                all.push((at, rule.into()));
            } else {
                octets.set(MAX_OCTETS + 1);
            }
        };
        let kind = libc::NFT_MSG_GETRULE;
        let rules = self.connection.dump_of(family, kind, &|_| {}, read);
        let rules = rules.map_err(|failure| refused_object(&Object::Table, failure))?;
        for (at, rule) in rules {
            if let Some(chain) = chains.get_mut(at) {
                chain.rules.push(rule);
            }
        }
        Ok(octets.get() > MAX_OCTETS)
    }
}

fn chain(family: u8, chain: Attributes<'_>) -> Option<Chain> {
    let text = |kind| chain.find(kind).and_then(as_text).map(str::to_owned);
    let table = text(nfta::CHAIN_TABLE).filter(|table| table != TABLE)?;
    let hook = chain.inside(nfta::CHAIN_HOOK);
    let number = |kind| hook.and_then(|hook| hook.find(kind)).and_then(as_u32);
    let policy = chain.find(nfta::CHAIN_POLICY).and_then(as_u32);
    Some(Chain {
        family,
        table,
        name: text(nfta::CHAIN_NAME)?,
        hook: number(nfta::HOOK_NUMBER),
        translates: text(nfta::CHAIN_TYPE).is_some_and(|kind| kind == "nat"),
        priority: number(nfta::HOOK_PRIORITY).unwrap_or_default() as i32,
        drops: policy == Some(libc::NF_DROP as u32),
        rules: Vec::new(),
    })
}

impl Sets {
    /// The elements of a set of this chain's table, which are asked for once.
    pub(crate) fn contents(
        &mut self,
        firewall: &mut Firewall,
        chain: &Chain,
        name: &str,
    ) -> &Contents {
        let is_it =
            |set: &Set| set.name == name && set.table == chain.table && set.family == chain.family;
        let at = self.0.iter().position(is_it).unwrap_or_else(|| {
            self.0.push(Set {
                family: chain.family,
                table: chain.table.clone(),
                name: name.to_owned(),
                contents: contents(firewall, chain, name),
            });
            self.0.len() - 1
        });
        static UNKNOWN: Contents = Contents {
            elements: Vec::new(),
            incomplete: true,
        };
        self.0.get(at).map_or(&UNKNOWN, |set| &set.contents)
    }
}

fn contents(firewall: &mut Firewall, chain: &Chain, name: &str) -> Contents {
    let ask = |to: &mut Vec<u8>| {
        codec::text(to, nfta::LIST_TABLE, &[&chain.table]);
        codec::text(to, nfta::LIST_SET, &[name]);
    };
    let read = |message: Attributes<'_>, all: &mut Vec<Element>| {
        let list = message.inside(nfta::LIST_ELEMENTS);
        for (_, element) in list.into_iter().flatten() {
            if all.len() <= MAX_ELEMENTS {
                all.extend(self::element(Attributes(element)));
            }
        }
    };
    let kind = libc::NFT_MSG_GETSETELEM;
    let Ok(elements) = firewall.connection.dump_of(chain.family, kind, &ask, read) else {
        return Contents {
            incomplete: true,
            ..Contents::default()
        };
    };
    let incomplete = elements.len() > MAX_ELEMENTS;
    Contents {
        incomplete,
        elements: ranges(elements),
    }
}

fn element(element: Attributes<'_>) -> Option<Element> {
    let value = |kind| element.inside(kind)?.find(nfta::DATA_VALUE);
    let flags = element.find(nfta::ELEM_FLAGS).and_then(as_u32).unwrap_or(0);
    let has = |flag: i32| flags & flag as u32 != 0;
    let is_rest = has(CATCHALL);
    let first = match is_rest {
        true => &[],
        false => value(nfta::ELEM_KEY)?,
    };
    let data = element.inside(nfta::ELEM_DATA);
    Some(Element {
        first: first.to_vec(),
        last: value(nfta::ELEM_KEY_END).unwrap_or(first).to_vec(),
        is_rest,
        is_end: has(libc::NFT_SET_ELEM_INTERVAL_END),
        verdict: data.and_then(verdict),
    })
}

/// What data of an expression or an element says about a packet, and the chain that it names.
pub(crate) fn verdict(data: Attributes<'_>) -> Option<(i32, String)> {
    let verdict = data.inside(nfta::DATA_VERDICT)?;
    let code = verdict.find(nfta::VERDICT_CODE).and_then(as_u32)?;
    let chain = verdict.find(nfta::VERDICT_CHAIN).and_then(as_text);
    Some((code as i32, chain.unwrap_or_default().to_owned()))
}

/// Sets of ranges have an element where a range begins, and one behind its end.
fn ranges(mut elements: Vec<Element>) -> Vec<Element> {
    if !elements.iter().any(|element| element.is_end) {
        return elements;
    }
    // Downwards: the end of a range comes before its beginning, and behind that of the next range.
    sort(&mut elements, &|a, b| {
        (&b.first, a.is_end) < (&a.first, b.is_end)
    });
    let mut last: Option<Vec<u8>> = None;
    elements.retain_mut(|element| {
        if element.is_end {
            last = Some(before(&element.first));
        } else {
            let length = element.first.len();
            element.last = last.take().unwrap_or_else(|| vec![u8::MAX; length]);
            // The next range below may reach up to here.
            last = Some(before(&element.first));
        }
        !element.is_end
    });
    elements
}

/// The key before this one.
fn before(key: &[u8]) -> Vec<u8> {
    let mut key = key.to_vec();
    for octet in key.iter_mut().rev() {
        *octet = octet.wrapping_sub(1);
        if *octet != u8::MAX {
            break;
        }
    }
    key
}
