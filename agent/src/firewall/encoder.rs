//! Messages written by ourselves, for targets without libnftnl: the attributes that it writes
//! (include/uapi/linux/netfilter/nf_tables.h).
//!
//! Numbers are in network order, except in registers' values and in user data.

use Value::{Bare, Data, Text, U8, U16, U32, U64};

use super::expression::Expression;
use super::message::{COUNTER, Counted, Element, Entry, New, NewSet, OPEN_RANGE, OWNED};
use super::netlink::{attribute, nest, nfta, set_of_elements, text};
use super::renderer::Renderer;
use super::ruleset::{Chain, PRIORITY, TABLE, Verdict};

/// Writes attributes one after another, and remembers nothing.
pub(super) struct Encoder;

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
    if chain.hooked {
        nest(to, CHAIN_HOOK, |to| {
            number(to, HOOK_HOOKNUM, libc::NF_INET_LOCAL_IN as u32);
            number(to, HOOK_PRIORITY, PRIORITY as u32);
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

/// What an attribute of an expression holds.
enum Value<'v> {
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    Text(&'v str),
    /// Text without a terminator, as libnftnl writes one name.
    Bare(&'v str),
    Data(&'v [u8]),
    Verdict(&'v Verdict),
}

fn write_expression(expression: &Expression, to: &mut Vec<u8>) {
    let (name, attributes) = attributes(expression);
    text(to, EXPR_NAME, &[name]);
    nest(to, EXPR_DATA, |to| {
        for (kind, value) in attributes {
            write_value(to, kind, &value);
        }
    });
}

fn write_value(to: &mut Vec<u8>, kind: u16, value: &Value<'_>) {
    match *value {
        U8(value) => attribute(to, kind, &[value]),
        U16(value) => attribute(to, kind, &value.to_be_bytes()),
        U32(value) => number(to, kind, value),
        U64(value) => long(to, kind, value),
        Text(value) => text(to, kind, &[value]),
        Bare(value) => attribute(to, kind, value.as_bytes()),
        Data(value) => data(to, kind, value),
        Value::Verdict(Verdict::Accept) => verdict(to, kind, libc::NF_ACCEPT, None),
        Value::Verdict(Verdict::Drop) => verdict(to, kind, libc::NF_DROP, None),
        Value::Verdict(Verdict::Goto(chain)) => verdict(to, kind, libc::NFT_GOTO, Some(chain)),
        Value::Verdict(Verdict::Jump(chain)) => verdict(to, kind, libc::NFT_JUMP, Some(chain)),
        Value::Verdict(Verdict::Return) => verdict(to, kind, libc::NFT_RETURN, None),
    }
}

/// The kernel's name for an expression, and the attributes of it.
fn attributes(expression: &Expression) -> (&'static str, Vec<(u16, Value<'_>)>) {
    match expression {
        Expression::Meta { key, to } => (
            "meta",
            vec![(META_KEY, U32(key.number())), (META_DREG, U32(to.0))],
        ),
        Expression::SetMeta { key, from } => (
            "meta",
            vec![(META_KEY, U32(key.number())), (META_SREG, U32(from.0))],
        ),
        Expression::Payload {
            base,
            offset,
            length,
            to,
        } => (
            "payload",
            vec![
                (PAYLOAD_DREG, U32(to.0)),
                (PAYLOAD_BASE, U32(base.number())),
                (PAYLOAD_OFFSET, U32(*offset)),
                (PAYLOAD_LEN, U32(*length)),
            ],
        ),
        Expression::ExtensionHeader {
            header,
            offset,
            length,
            to,
        } => (
            "exthdr",
            vec![
                (EXTHDR_DREG, U32(to.0)),
                (EXTHDR_TYPE, U8(*header)),
                (EXTHDR_OFFSET, U32(*offset)),
                (EXTHDR_LEN, U32(*length)),
            ],
        ),
        Expression::ConntrackStatus { to } => (
            "ct",
            vec![
                (CT_KEY, U32(libc::NFT_CT_STATUS as u32)),
                (CT_DREG, U32(to.0)),
            ],
        ),
        Expression::Immediate { value, to } => (
            "immediate",
            vec![(IMMEDIATE_DREG, U32(to.0)), (IMMEDIATE_DATA, Data(value))],
        ),
        Expression::Compare { from, equal, value } => (
            "cmp",
            vec![
                (CMP_SREG, U32(from.0)),
                (CMP_OP, U32(comparison(*equal))),
                (CMP_DATA, Data(value)),
            ],
        ),
        Expression::Bitwise {
            from,
            to,
            mask,
            flip,
        } => (
            "bitwise",
            vec![
                (BITWISE_SREG, U32(from.0)),
                (BITWISE_DREG, U32(to.0)),
                (BITWISE_LEN, U32(mask.len() as u32)),
                (BITWISE_MASK, Data(mask)),
                (BITWISE_XOR, Data(flip)),
            ],
        ),
        Expression::Lookup { from, set } => (
            "lookup",
            vec![(LOOKUP_SREG, U32(from.0)), (LOOKUP_SET, Text(set))],
        ),
        Expression::VerdictLookup { from, map } => (
            "lookup",
            vec![
                (LOOKUP_SREG, U32(from.0)),
                (LOOKUP_DREG, U32(libc::NFT_REG_VERDICT as u32)),
                (LOOKUP_SET, Text(map)),
            ],
        ),
        Expression::Dynamic {
            change,
            set,
            key,
            timeout,
        } => {
            let mut attributes = vec![
                (DYNSET_SREG_KEY, U32(key.0)),
                (DYNSET_OP, U32(change.number())),
            ];
            attributes.extend(timeout.map(|timeout| (DYNSET_TIMEOUT, U64(timeout))));
            attributes.push((DYNSET_NAME, Text(set)));
            ("dynset", attributes)
        }
        Expression::Count { counter } => (
            "objref",
            vec![
                (OBJREF_IMM_TYPE, U32(COUNTER)),
                (OBJREF_IMM_NAME, Bare(counter)),
            ],
        ),
        Expression::Log { group, length } => (
            "log",
            vec![(LOG_GROUP, U16(*group)), (LOG_SNAPLEN, U32(*length))],
        ),
        Expression::LogLine(prefix) => ("log", vec![(LOG_PREFIX, Text(prefix))]),
        Expression::Limit { per_second, burst } => (
            "limit",
            vec![
                (LIMIT_RATE, U64((*per_second).into())),
                (LIMIT_UNIT, U64(1)),
                (LIMIT_BURST, U32(*burst)),
            ],
        ),
        Expression::Verdict(verdict) => (
            "immediate",
            vec![
                (IMMEDIATE_DREG, U32(libc::NFT_REG_VERDICT as u32)),
                (IMMEDIATE_DATA, Value::Verdict(verdict)),
            ],
        ),
    }
}

const fn comparison(equal: bool) -> u32 {
    (if equal {
        libc::NFT_CMP_EQ
    } else {
        libc::NFT_CMP_NEQ
    }) as u32
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
