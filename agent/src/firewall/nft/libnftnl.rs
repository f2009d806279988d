//! Messages written by libnftnl.

use std::ffi::CString;

use nftnl::{ChainType, Hook, NlMsg, Policy, ProtoFamily};

use super::expression::Expression;
use super::message::{
    Counted, Element, Entry, FIB_ADDRESS_TYPE, FIB_OF_DESTINATION, LOOKUP_INVERTED, New, NewSet,
    OPEN_RANGE, OWNED, Renderer,
};
use crate::firewall::table::model::{self, Chain, Verdict};
use crate::firewall::table::names::TABLE;
use crate::sys::nftnl::{Counter, Elements, Press, Recipe, Set, Table};

/// The library, and its memory for one message at a time.
pub(crate) struct Libnftnl(Press);

impl Libnftnl {
    pub(crate) fn new() -> Self {
        Self(Press::new())
    }

    fn print(&mut self, object: &impl NlMsg, to: &mut Vec<u8>) {
        to.extend_from_slice(self.0.attributes(object));
    }
}

impl Renderer for Libnftnl {
    fn write(&mut self, new: &New<'_>, to: &mut Vec<u8>) {
        let table = nftnl::Table::new(c_name(TABLE), ProtoFamily::Inet);
        match new {
            New::Table { owned } => {
                let flags = if *owned { OWNED } else { 0 };
                self.print(&Table::new(&c_name(TABLE), flags), to);
            }
            New::Chain(chain) => self.print(&new_chain(chain, &table), to),
            New::Set(set) => self.print(&new_set(set), to),
            New::Elements(set, elements) => self.print(&new_elements(set, elements), to),
            New::Rule(chain, expressions) => {
                let chain = nftnl::Chain::new(c_name(chain), &table);
                self.print(&new_rule(&chain, expressions), to);
            }
            New::Counter(name, Counted { packets, octets }) => {
                let counter = Counter::new(&c_name(TABLE), &c_name(name), *packets, *octets);
                self.print(&counter, to);
            }
        }
    }
}

/// [`New::fits`] says that no name has a zero in it.
fn c_name(name: &str) -> CString {
    CString::new(name).unwrap_or_default()
}

fn new_chain<'t>(chain: &Chain, table: &'t nftnl::Table) -> nftnl::Chain<'t> {
    let mut new = nftnl::Chain::new(c_name(&chain.name), table);
    if let Some(hook) = chain.hook {
        let place = match hook {
            model::Hook::Prerouting => Hook::PreRouting,
            model::Hook::Input => Hook::In,
        };
        new.set_hook(place, hook.priority());
        new.set_type(ChainType::Filter);
        new.set_policy(Policy::Accept);
    }
    new
}

fn new_set(set: &NewSet<'_>) -> Set {
    let mut new = Set::new(&c_name(TABLE), &c_name(set.name), set.id)
        .keyed(set.key_type, set.key_length)
        .flagged(set.flags)
        .annotated(&set.user_data);
    if let Some(size) = set.size {
        new = new.sized(size);
    }
    new
}

fn new_elements(set: &str, elements: &[Element<'_>]) -> Elements {
    let mut new = Elements::new(&c_name(TABLE), &c_name(set));
    for element in elements {
        let key = &element.key;
        match element.entry {
            Entry::Member(None) => new.add_key(key),
            Entry::Member(Some(lasting)) => {
                new.add_lasting(key, lasting.timeout, lasting.remaining);
            }
            Entry::Goto { chain, endless } => {
                let note = if endless { &OPEN_RANGE[..] } else { &[] };
                new.add_goto(key, &c_name(chain), note);
            }
            Entry::End => new.add_end(key),
        }
    }
    new
}

fn new_rule<'c>(chain: &'c nftnl::Chain<'c>, expressions: &[Expression]) -> nftnl::Rule<'c> {
    let mut new = nftnl::Rule::new(chain);
    for expression in expressions {
        add(&mut new, expression);
    }
    new
}

fn add(rule: &mut nftnl::Rule<'_>, expression: &Expression) {
    rule.add_expr(&match expression {
        Expression::Meta { key, to } => Recipe::meta(key.number(), to.0),
        Expression::SetMeta { key, from } => Recipe::set_meta(key.number(), from.0),
        Expression::Payload {
            base,
            offset,
            length,
            to,
        } => Recipe::payload(base.number(), *offset, *length, to.0),
        Expression::ExtensionHeader {
            header,
            offset,
            length,
            to,
        } => Recipe::extension_header(*header, *offset, *length, to.0),
        Expression::DestinationType { to } => {
            Recipe::fib(FIB_OF_DESTINATION, FIB_ADDRESS_TYPE, to.0)
        }
        Expression::Conntrack { key, to } => Recipe::conntrack(key.number(), to.0),
        Expression::Immediate { value, to } => Recipe::immediate(value, to.0),
        Expression::Compare { from, how, value } => Recipe::compare(from.0, how.number(), value),
        Expression::Bitwise {
            from,
            to,
            mask,
            flip,
        } => Recipe::bitwise(from.0, to.0, mask, flip),
        Expression::Lookup { from, set, is_in } => {
            let flags = (!is_in).then_some(LOOKUP_INVERTED);
            Recipe::lookup(from.0, c_name(set), flags)
        }
        Expression::VerdictLookup { from, map } => Recipe::verdict_lookup(from.0, c_name(map)),
        Expression::Dynamic {
            change,
            set,
            key,
            timeout,
        } => Recipe::dynamic(change.number(), c_name(set), key.0, *timeout),
        Expression::Count { counter } => Recipe::count(c_name(counter)),
        Expression::Log { group, length } => Recipe::log(*group, *length),
        Expression::LogLine(prefix) => Recipe::log_line(c_name(prefix)),
        Expression::Limit { per_second, burst } => Recipe::limit(*per_second, *burst),
        Expression::Verdict(verdict) => return rule.add_expr(&finish(verdict)),
    });
}

fn finish(verdict: &Verdict) -> nftnl::expr::Verdict {
    match verdict {
        Verdict::Accept => nftnl::expr::Verdict::Accept,
        Verdict::Drop => nftnl::expr::Verdict::Drop,
        Verdict::Goto(chain) => nftnl::expr::Verdict::Goto {
            chain: c_name(chain),
        },
        Verdict::Jump(chain) => nftnl::expr::Verdict::Jump {
            chain: c_name(chain),
        },
        Verdict::Return => nftnl::expr::Verdict::Return,
    }
}
