//! Messages written by ourselves, for targets without libnftnl: the attributes that it writes
//! (include/uapi/linux/netfilter/nf_tables.h).
//!
//! Numbers are in network order, except in registers' values and in user data.

use super::expression::Expression;
use super::message::{
    COUNTER, Counted, Element, Entry, FIB_ADDRESS_TYPE, FIB_OF_DESTINATION, LOOKUP_INVERTED, New,
    NewSet, OPEN_RANGE, OWNED, Renderer,
};
use super::nfta;
use super::request::set_of_elements;
use crate::firewall::table::model::{Chain, Hook, Verdict};
use crate::firewall::table::names::TABLE;
use crate::netlink::codec::{attribute, nest, text};

/// Writes attributes one after another, and remembers nothing.
pub(crate) struct Encoder;

impl Renderer for Encoder {
    fn write(&mut self, new: &New<'_>, to: &mut Vec<u8>) {
        match new {
            New::Table { owned } => {
                text(to, nfta::TABLE_NAME, &[TABLE]);
                number(to, nfta::TABLE_FLAGS, if *owned { OWNED } else { 0 });
            }
            New::Chain(chain) => write_chain(chain, to),
            New::Set(set) => write_set(set, to),
            New::Elements(set, elements) => {
                set_of_elements(to, &[set]);
                list(to, nfta::LIST_ELEMENTS, elements, write_element);
            }
            New::Rule(chain, expressions) => {
                text(to, nfta::RULE_TABLE, &[TABLE]);
                text(to, RULE_CHAIN, &[chain]);
                list(to, RULE_EXPRESSIONS, expressions, write_expression);
            }
            New::Counter(name, counted) => write_counter(name, *counted, to),
        }
    }
}

fn number(to: &mut Vec<u8>, kind: u16, value: u32) {
    attribute(to, kind, &value.to_be_bytes());
}

fn long(to: &mut Vec<u8>, kind: u16, value: u64) {
    attribute(to, kind, &value.to_be_bytes());
}

fn data(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    nest(to, kind, |to| attribute(to, nfta::DATA_VALUE, value));
}

fn verdict(to: &mut Vec<u8>, kind: u16, code: libc::c_int, chain: Option<&str>) {
    nest(to, kind, |to| {
        nest(to, DATA_VERDICT, |to| {
            number(to, VERDICT_CODE, code as u32);
            if let Some(chain) = chain {
                text(to, VERDICT_CHAIN, &[chain]);
            }
        });
    });
}

fn list<T>(to: &mut Vec<u8>, kind: u16, items: &[T], write: fn(&T, &mut Vec<u8>)) {
    nest(to, kind, |to| {
        for item in items {
            nest(to, nfta::LIST_ELEM, |to| write(item, to));
        }
    });
}

fn write_chain(chain: &Chain, to: &mut Vec<u8>) {
    text(to, nfta::CHAIN_TABLE, &[TABLE]);
    text(to, nfta::CHAIN_NAME, &[&chain.name]);
    if let Some(hook) = chain.hook {
        let place = match hook {
            Hook::Prerouting => libc::NF_INET_PRE_ROUTING,
            Hook::Input => libc::NF_INET_LOCAL_IN,
        };
        nest(to, CHAIN_HOOK, |to| {
            number(to, HOOK_HOOKNUM, place as u32);
            number(to, HOOK_PRIORITY, hook.priority() as u32);
        });
        number(to, CHAIN_POLICY, libc::NF_ACCEPT as u32);
        text(to, CHAIN_TYPE, &["filter"]);
    }
}

fn write_set(set: &NewSet<'_>, to: &mut Vec<u8>) {
    text(to, nfta::SET_TABLE, &[TABLE]);
    text(to, nfta::SET_NAME, &[set.name]);
    number(to, SET_FLAGS, set.flags);
    number(to, SET_KEY_TYPE, set.key_type);
    number(to, SET_KEY_LEN, set.key_length);
    if set.flags & libc::NFT_SET_MAP as u32 != 0 {
        number(to, SET_DATA_TYPE, libc::NFT_DATA_VERDICT);
    }
    number(to, SET_ID, set.id);
    if let Some(size) = set.size {
        nest(to, SET_DESC, |to| number(to, SET_DESC_SIZE, size));
    }
    attribute(to, nfta::SET_USERDATA, &set.user_data);
}

fn write_element(element: &Element<'_>, to: &mut Vec<u8>) {
    match element.entry {
        Entry::End => number(to, SET_ELEM_FLAGS, libc::NFT_SET_ELEM_INTERVAL_END as u32),
        Entry::Member(Some(lasting)) => {
            long(to, nfta::ELEM_TIMEOUT, lasting.timeout);
            long(to, nfta::ELEM_EXPIRATION, lasting.remaining);
        }
        Entry::Member(None) | Entry::Goto { .. } => {}
    }
    data(to, nfta::ELEM_KEY, &element.key);
    if let Entry::Goto { chain, endless } = element.entry {
        verdict(to, SET_ELEM_DATA, libc::NFT_GOTO, Some(chain));
        if endless {
            attribute(to, SET_ELEM_USERDATA, &OPEN_RANGE);
        }
    }
}

fn write_counter(name: &str, counted: Counted, to: &mut Vec<u8>) {
    text(to, nfta::OBJECT_TABLE, &[TABLE]);
    text(to, nfta::OBJECT_NAME, &[name]);
    number(to, nfta::OBJECT_TYPE, COUNTER);
    nest(to, nfta::OBJECT_DATA, |to| {
        long(to, nfta::COUNTER_OCTETS, counted.octets);
        long(to, nfta::COUNTER_PACKETS, counted.packets);
    });
}

fn write_expression(expression: &Expression, to: &mut Vec<u8>) {
    text(to, EXPR_NAME, &[name(expression)]);
    nest(to, EXPR_DATA, |to| write_attributes(expression, to));
}

/// The kernel's name for an expression.
const fn name(expression: &Expression) -> &'static str {
    match expression {
        Expression::Meta { .. } | Expression::SetMeta { .. } => "meta",
        Expression::Payload { .. } => "payload",
        Expression::ExtensionHeader { .. } => "exthdr",
        Expression::DestinationType { .. } => "fib",
        Expression::Conntrack { .. } => "ct",
        Expression::Immediate { .. } | Expression::Verdict(_) => "immediate",
        Expression::Compare { .. } => "cmp",
        Expression::Bitwise { .. } => "bitwise",
        Expression::Lookup { .. } | Expression::VerdictLookup { .. } => "lookup",
        Expression::Dynamic { .. } => "dynset",
        Expression::Count { .. } => "objref",
        Expression::Log { .. } | Expression::LogLine(_) => "log",
        Expression::Limit { .. } => "limit",
    }
}

fn write_attributes(expression: &Expression, to: &mut Vec<u8>) {
    match expression {
        Expression::Meta { key, to: loaded } => {
            number(to, META_KEY, key.number());
            number(to, META_DREG, loaded.0);
        }
        Expression::SetMeta { key, from } => {
            number(to, META_KEY, key.number());
            number(to, META_SREG, from.0);
        }
        Expression::Payload {
            base,
            offset,
            length,
            to: loaded,
        } => {
            number(to, PAYLOAD_DREG, loaded.0);
            number(to, PAYLOAD_BASE, base.number());
            number(to, PAYLOAD_OFFSET, *offset);
            number(to, PAYLOAD_LEN, *length);
        }
        Expression::ExtensionHeader {
            header,
            offset,
            length,
            to: loaded,
        } => {
            number(to, EXTHDR_DREG, loaded.0);
            attribute(to, EXTHDR_TYPE, &[*header]);
            number(to, EXTHDR_OFFSET, *offset);
            number(to, EXTHDR_LEN, *length);
        }
        Expression::DestinationType { to: loaded } => {
            number(to, FIB_FLAGS, FIB_OF_DESTINATION);
            number(to, FIB_RESULT, FIB_ADDRESS_TYPE);
            number(to, FIB_DREG, loaded.0);
        }
        Expression::Conntrack { key, to: loaded } => {
            number(to, CT_KEY, key.number());
            number(to, CT_DREG, loaded.0);
        }
        Expression::Immediate { value, to: loaded } => {
            number(to, IMMEDIATE_DREG, loaded.0);
            data(to, IMMEDIATE_DATA, value);
        }
        Expression::Compare { from, how, value } => {
            number(to, CMP_SREG, from.0);
            number(to, CMP_OP, how.number());
            data(to, CMP_DATA, value);
        }
        Expression::Bitwise {
            from,
            to: loaded,
            mask,
            flip,
        } => {
            number(to, BITWISE_SREG, from.0);
            number(to, BITWISE_DREG, loaded.0);
            number(to, BITWISE_LEN, mask.len() as u32);
            data(to, BITWISE_MASK, mask);
            data(to, BITWISE_XOR, flip);
        }
        Expression::Lookup { from, set, is_in } => {
            number(to, LOOKUP_SREG, from.0);
            text(to, LOOKUP_SET, &[set]);
            if !is_in {
                number(to, LOOKUP_FLAGS, LOOKUP_INVERTED);
            }
        }
        Expression::VerdictLookup { from, map } => {
            number(to, LOOKUP_SREG, from.0);
            number(to, LOOKUP_DREG, libc::NFT_REG_VERDICT as u32);
            text(to, LOOKUP_SET, &[map]);
        }
        Expression::Dynamic {
            change,
            set,
            key,
            timeout,
        } => {
            number(to, DYNSET_SREG_KEY, key.0);
            number(to, DYNSET_OP, change.number());
            if let Some(timeout) = timeout {
                long(to, DYNSET_TIMEOUT, *timeout);
            }
            text(to, DYNSET_NAME, &[set]);
        }
        Expression::Count { counter } => {
            number(to, OBJREF_IMM_TYPE, COUNTER);
            // Without a terminator, as libnftnl writes this one name.
            attribute(to, OBJREF_IMM_NAME, counter.as_bytes());
        }
        Expression::Log { group, length } => {
            attribute(to, LOG_GROUP, &group.to_be_bytes());
            number(to, LOG_SNAPLEN, *length);
        }
        Expression::LogLine(prefix) => text(to, LOG_PREFIX, &[prefix]),
        Expression::Limit { per_second, burst } => {
            long(to, LIMIT_RATE, (*per_second).into());
            long(to, LIMIT_UNIT, 1);
            number(to, LIMIT_BURST, *burst);
        }
        Expression::Verdict(verdict) => {
            number(to, IMMEDIATE_DREG, libc::NFT_REG_VERDICT as u32);
            write_verdict(verdict, to);
        }
    }
}

fn write_verdict(what: &Verdict, to: &mut Vec<u8>) {
    let (code, chain) = match what {
        Verdict::Accept => (libc::NF_ACCEPT, None),
        Verdict::Drop => (libc::NF_DROP, None),
        Verdict::Goto(chain) => (libc::NFT_GOTO, Some(chain.as_str())),
        Verdict::Jump(chain) => (libc::NFT_JUMP, Some(chain.as_str())),
        Verdict::Return => (libc::NFT_RETURN, None),
    };
    verdict(to, IMMEDIATE_DATA, code, chain);
}

// The kernel's numbers of attributes that are written here only: without their NFTA_.
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_HOOKNUM: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LEN: u16 = 5;
const SET_DATA_TYPE: u16 = 6;
const SET_DESC: u16 = 9;
const SET_ID: u16 = 10;
const SET_DESC_SIZE: u16 = 1;
const SET_ELEM_DATA: u16 = 2;
const SET_ELEM_FLAGS: u16 = 3;
const SET_ELEM_USERDATA: u16 = 6;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
const META_DREG: u16 = 1;
const META_KEY: u16 = 2;
const META_SREG: u16 = 3;
const PAYLOAD_DREG: u16 = 1;
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_OFFSET: u16 = 3;
const PAYLOAD_LEN: u16 = 4;
const EXTHDR_DREG: u16 = 1;
const EXTHDR_TYPE: u16 = 2;
const EXTHDR_OFFSET: u16 = 3;
const EXTHDR_LEN: u16 = 4;
const FIB_DREG: u16 = 1;
const FIB_RESULT: u16 = 2;
const FIB_FLAGS: u16 = 3;
const CT_DREG: u16 = 1;
const CT_KEY: u16 = 2;
const IMMEDIATE_DREG: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;
const CMP_SREG: u16 = 1;
const CMP_OP: u16 = 2;
const CMP_DATA: u16 = 3;
const BITWISE_SREG: u16 = 1;
const BITWISE_DREG: u16 = 2;
const BITWISE_LEN: u16 = 3;
const BITWISE_MASK: u16 = 4;
const BITWISE_XOR: u16 = 5;
const LOOKUP_SET: u16 = 1;
const LOOKUP_SREG: u16 = 2;
const LOOKUP_DREG: u16 = 3;
const LOOKUP_FLAGS: u16 = 5;
const DYNSET_NAME: u16 = 1;
const DYNSET_OP: u16 = 3;
const DYNSET_SREG_KEY: u16 = 4;
const DYNSET_TIMEOUT: u16 = 6;
const OBJREF_IMM_TYPE: u16 = 1;
const OBJREF_IMM_NAME: u16 = 2;
const LOG_GROUP: u16 = 1;
const LOG_PREFIX: u16 = 2;
const LOG_SNAPLEN: u16 = 3;
const LIMIT_RATE: u16 = 1;
const LIMIT_UNIT: u16 = 2;
const LIMIT_BURST: u16 = 3;
