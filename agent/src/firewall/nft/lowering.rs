//! From what the table says to what the kernel runs: the same expressions, sets and elements as
//! nft makes of the same text.

use core::net::IpAddr;
use core::ops::RangeInclusive;

use postern_core::knock::Protocol;
use postern_core::time::Duration;

use super::expression::{Base, Comparison, Expression, FlowKey, MetaKey, Register};
use super::message::{Element, Entry, NewSet};
use super::request::{self, KeyOrder};
use crate::firewall::table::model::{
    Content, Rule, Set, SetKey, Statement, UDP_HEADER, WHOLE, echo_length,
};
use crate::firewall::table::names::interface_key;
use crate::network::{Family, Network};

/// `IPS_CONFIRMED` and `IPS_SRC_NAT` of nf_conntrack_common.h.
const CONFIRMED: u32 = 1 << 3;
const SOURCE_NAT: u32 = 1 << 4;
/// `IP_CT_DIR_REPLY` of nf_conntrack_tuple_common.h.
const REPLY: u8 = 1;

/// The expressions of a rule.
pub(crate) fn expressions(rule: &Rule) -> Vec<Expression> {
    let mut expressions = Vec::new();
    for statement in rule {
        expressions.extend(of_statement(statement));
    }
    without_repetition(expressions)
}

/// What the packet is asked for once, its family or its protocol, is known for the rest of the rule.
fn without_repetition(expressions: Vec<Expression>) -> Vec<Expression> {
    let mut kept: Vec<Expression> = Vec::new();
    let mut rest = expressions.into_iter().peekable();
    while let Some(expression) = rest.next() {
        let asks = rest.peek().and_then(|next| asked(&expression, next));
        let is_same = |pair: &[Expression]| matches!(pair, [one, next] if asked(one, next) == asks);
        if asks.is_some() && kept.windows(2).any(is_same) {
            drop(rest.next());
        } else {
            kept.push(expression);
        }
    }
    kept
}

/// The question and the answer that it is to have, if that is what these two are.
fn asked<'e>(question: &Expression, answer: &'e Expression) -> Option<(MetaKey, &'e [u8])> {
    match (question, answer) {
        (
            Expression::Meta {
                key: key @ (MetaKey::Family | MetaKey::Protocol),
                ..
            },
            Expression::Compare {
                how: Comparison::Equal,
                value,
                ..
            },
        ) => Some((*key, value)),
        _ => None,
    }
}

fn of_statement(statement: &Statement) -> Vec<Expression> {
    match statement {
        Statement::ArrivedOn(set) => vec![load(MetaKey::InputInterface), lookup(set)],
        Statement::NotArrivedOn(set) => {
            let mut lookup = lookup(set);
            if let Expression::Lookup { is_in, .. } = &mut lookup {
                *is_in = false;
            }
            vec![load(MetaKey::InputInterface), lookup]
        }
        Statement::Arrived(interface) => {
            vec![
                load(MetaKey::InputInterface),
                equal(&interface_key(interface)),
            ]
        }
        Statement::Of(protocol) => of_protocol(*protocol).to_vec(),
        Statement::PortIn(protocol, set) => {
            let [protocol, is, port] = load_port(*protocol);
            vec![protocol, is, port, lookup(set)]
        }
        Statement::PortBetween(protocol, ports) => {
            let [protocol, is, port] = load_port(*protocol);
            let bound = |how, port: &u16| compare(how, &port.to_be_bytes());
            let (first, last) = (
                bound(Comparison::AtLeast, ports.start()),
                bound(Comparison::AtMost, ports.end()),
            );
            vec![protocol, is, port, first, last]
        }
        Statement::From(network) => address_in(*network, false),
        Statement::To(network) => address_in(*network, true),
        Statement::EchoRequest(family) => echo_request(*family),
        Statement::EchoLength(family, carried) => length(*family, echo_length(*family, *carried)),
        Statement::Datagram {
            octets,
            mask,
            value,
        } => {
            let [protocol, is] = of_protocol(Protocol::Udp);
            let bound =
                |how, octets: &u16| compare(how, &octets.saturating_add(UDP_HEADER).to_be_bytes());
            let (least, most) = (
                bound(Comparison::AtLeast, octets.start()),
                bound(Comparison::AtMost, octets.end()),
            );
            let length = load_transport(4, 2);
            let first = load_transport(UDP_HEADER.into(), 1);
            let (bits, are) = (masked(&[*mask]), equal(&[*value]));
            vec![protocol, is, length, least, most, first, bits, are]
        }
        Statement::SourceIn(family, set) => key_in(SetKey::Network(*family, family.bits()), set),
        Statement::NetworkIn(family, prefix, set) => key_in(SetKey::Network(*family, *prefix), set),
        Statement::KeyIn(key, set) => key_in(*key, set),
        Statement::Change {
            change,
            set,
            key,
            lasting,
        } => {
            let mut expressions = load_key(*key);
            expressions.push(Expression::Dynamic {
                change: *change,
                set: set.clone(),
                key: Register::FIRST,
                timeout: lasting.map(Duration::as_millis),
            });
            expressions
        }
        Statement::Count(counter) => vec![Expression::Count {
            counter: counter.clone(),
        }],
        Statement::NotOpening => not_opening(),
        Statement::PortVerdict(protocol, map) => {
            let [protocol, is, port] = load_port(*protocol);
            let (from, map) = (Register::FIRST, map.clone());
            vec![protocol, is, port, Expression::VerdictLookup { from, map }]
        }
        Statement::UdpFlow => udp_flow(),
        Statement::OwnFlow => own_flow(),
        Statement::ForAnother(is) => {
            let to = Register::FIRST;
            let unicast = u32::from(libc::RTN_UNICAST).to_ne_bytes();
            let how = match is {
                true => Comparison::Equal,
                false => Comparison::Unequal,
            };
            vec![Expression::DestinationType { to }, compare(how, &unicast)]
        }
        Statement::FirstFragment => first_fragment(),
        Statement::PortsReadable => vec![load_transport(0, 4), unequal(&[0; 4])],
        Statement::Log { group, length } => vec![Expression::Log {
            group: *group,
            length: (*length).into(),
        }],
        Statement::LogLine(prefix) => vec![Expression::LogLine(prefix)],
        Statement::Limit { per_second, burst } => vec![Expression::Limit {
            per_second: *per_second,
            burst: *burst,
        }],
        Statement::Mark(bits) => mark(*bits),
        Statement::Verdict(verdict) => vec![Expression::Verdict(verdict.clone())],
    }
}

/// Loads the destination port of a packet of this protocol.
fn load_port(protocol: Protocol) -> [Expression; 3] {
    let [load, is] = of_protocol(protocol);
    [load, is, load_transport(2, 2)]
}

fn of_protocol(protocol: Protocol) -> [Expression; 2] {
    [load(MetaKey::Protocol), equal(&[protocol.number()])]
}

fn of_family(family: Family) -> [Expression; 2] {
    let number = match family {
        Family::V4 => libc::NFPROTO_IPV4,
        Family::V6 => libc::NFPROTO_IPV6,
    };
    [load(MetaKey::Family), equal(&[number as u8])]
}

fn key_in(key: SetKey, set: &str) -> Vec<Expression> {
    let mut expressions = load_key(key);
    expressions.push(lookup(set));
    expressions
}

/// Loads a key, its fields one after the other.
fn load_key(key: SetKey) -> Vec<Expression> {
    match key {
        SetKey::Network(family, prefix) => load_network(family, prefix),
        SetKey::Port(family, protocol) => load_with_port(family, protocol, 2),
        SetKey::SourcePort(family, protocol) => load_with_port(family, protocol, 0),
        SetKey::NextPort(family, port) => {
            let mut expressions = load_network(family, family.bits());
            expressions.push(Expression::Immediate {
                value: port.to_be_bytes().into(),
                to: behind_source(family),
            });
            expressions
        }
    }
}

/// Loads the source address, and the port at this offset of a packet of this protocol.
fn load_with_port(family: Family, protocol: Protocol, offset: u32) -> Vec<Expression> {
    let [load_family, is_family] = of_family(family);
    let [load_protocol, is_protocol] = of_protocol(protocol);
    let port = Expression::Payload {
        base: Base::Transport,
        offset,
        length: 2,
        to: behind_source(family),
    };
    vec![
        load_family,
        is_family,
        load_protocol,
        is_protocol,
        load_source(family),
        port,
    ]
}

/// Keeps so many bits of the address, which is left as it is where that is all of it.
fn load_network(family: Family, prefix: u8) -> Vec<Expression> {
    let mut expressions = of_family(family).to_vec();
    expressions.push(load_source(family));
    if prefix < family.bits() {
        expressions.push(masked(&match family {
            Family::V4 => Network::mask4(prefix).octets().to_vec(),
            Family::V6 => Network::mask6(prefix).octets().to_vec(),
        }));
    }
    expressions
}

const fn load_source(family: Family) -> Expression {
    let (offset, length) = match family {
        Family::V4 => (12, 4),
        Family::V6 => (8, 16),
    };
    Expression::Payload {
        base: Base::Network,
        offset,
        length,
        to: Register::FIRST,
    }
}

/// The register of a key's second field.
const fn behind_source(family: Family) -> Register {
    Register::word(family.bits() as u32 / 32)
}

/// RFC 9293, section 3.1: the flags are the octet at 13.
fn not_opening() -> Vec<Expression> {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    let [protocol, is] = of_protocol(Protocol::Tcp);
    let flags = load_transport(13, 1);
    vec![protocol, is, flags, masked(&[SYN | ACK]), unequal(&[SYN])]
}

fn udp_flow() -> Vec<Expression> {
    let [protocol, is] = of_protocol(Protocol::Udp);
    let [status, bits, is_set] = has_status(CONFIRMED);
    vec![protocol, is, status, bits, is_set]
}

fn own_flow() -> Vec<Expression> {
    let [status, bits, is_set] = has_status(SOURCE_NAT);
    vec![
        load_flow(FlowKey::Direction),
        equal(&[REPLY]),
        status,
        bits,
        is_set,
    ]
}

fn has_status(bits: u32) -> [Expression; 3] {
    let status = load_flow(FlowKey::Status);
    [status, masked(&bits.to_ne_bytes()), unequal(&[0; 4])]
}

const fn load_flow(key: FlowKey) -> Expression {
    let to = Register::FIRST;
    Expression::Conntrack { key, to }
}

/// RFC 792 and RFC 4443, section 4.1: the type is the first octet.
fn echo_request(family: Family) -> Vec<Expression> {
    let (protocol, kind) = match family {
        Family::V4 => (libc::IPPROTO_ICMP, 8),
        Family::V6 => (libc::IPPROTO_ICMPV6, 128),
    };
    let mut expressions = of_family(family).to_vec();
    expressions.extend([
        load(MetaKey::Protocol),
        equal(&[protocol as u8]),
        load_transport(0, 1),
        equal(&[kind]),
    ]);
    expressions
}

/// Whether the IP header says this length (RFC 791, section 3.1; RFC 8200, section 3).
fn length(family: Family, length: u16) -> Vec<Expression> {
    let [load_family, is_family] = of_family(family);
    let field = |offset, length| Expression::Payload {
        base: Base::Network,
        offset,
        length,
        to: Register::FIRST,
    };
    let [high, low] = length.to_be_bytes();
    match family {
        Family::V4 => vec![
            load_family,
            is_family,
            field(2, 2),
            equal(&[high, low]),
            field(6, 2),
            masked(&WHOLE.to_be_bytes()),
            equal(&[0, 0]),
        ],
        // The protocol is next to the length.
        Family::V6 => {
            let expected = [high, low, libc::IPPROTO_ICMPV6 as u8];
            vec![load_family, is_family, field(4, 3), equal(&expected)]
        }
    }
}

/// Whether the source or the destination address is of a network; only as many octets are loaded as
/// matter, if those are whole.
fn address_in(network: Network, is_destination: bool) -> Vec<Expression> {
    let family = network.family();
    let (offset, octets, mask) = match network.first() {
        IpAddr::V4(address) => {
            let mask = Network::mask4(network.prefix()).octets().to_vec();
            (12, address.octets().to_vec(), mask)
        }
        IpAddr::V6(address) => {
            let mask = Network::mask6(network.prefix()).octets().to_vec();
            (8, address.octets().to_vec(), mask)
        }
    };
    let whole = usize::from(network.prefix() / 8);
    let is_whole = network.prefix() > 0 && network.prefix().is_multiple_of(8);
    let length = if is_whole { whole } else { octets.len() };
    let behind = if is_destination { octets.len() } else { 0 };
    let mut expressions = of_family(family).to_vec();
    expressions.push(Expression::Payload {
        base: Base::Network,
        offset: offset + behind as u32,
        length: length as u32,
        to: Register::FIRST,
    });
    if !is_whole {
        expressions.push(masked(&mask));
    }
    expressions.push(equal(octets.get(..length).unwrap_or_default()));
    expressions
}

/// RFC 8200, section 4.5: the offset is the upper 13 bits of the two octets at 2.
fn first_fragment() -> Vec<Expression> {
    let [family, is] = of_family(Family::V6);
    let fragment = Expression::ExtensionHeader {
        header: libc::IPPROTO_FRAGMENT as u8,
        offset: 2,
        length: 2,
        to: Register::FIRST,
    };
    vec![family, is, fragment, masked(&[0xff, 0xf8]), equal(&[0, 0])]
}

fn mark(bits: u32) -> Vec<Expression> {
    let (key, first) = (MetaKey::Mark, Register::FIRST);
    vec![
        load(key),
        Expression::Bitwise {
            from: first,
            to: first,
            mask: (!bits).to_ne_bytes().into(),
            flip: bits.to_ne_bytes().into(),
        },
        Expression::SetMeta { key, from: first },
    ]
}

const fn load(key: MetaKey) -> Expression {
    let to = Register::FIRST;
    Expression::Meta { key, to }
}

const fn load_transport(offset: u32, length: u32) -> Expression {
    Expression::Payload {
        base: Base::Transport,
        offset,
        length,
        to: Register::FIRST,
    }
}

fn equal(value: &[u8]) -> Expression {
    compare(Comparison::Equal, value)
}

fn unequal(value: &[u8]) -> Expression {
    compare(Comparison::Unequal, value)
}

fn compare(how: Comparison, value: &[u8]) -> Expression {
    let (from, value) = (Register::FIRST, value.to_vec());
    Expression::Compare { from, how, value }
}

fn masked(mask: &[u8]) -> Expression {
    Expression::Bitwise {
        from: Register::FIRST,
        to: Register::FIRST,
        mask: mask.to_vec(),
        flip: vec![0; mask.len()],
    }
}

fn lookup(set: &str) -> Expression {
    let (from, set) = (Register::FIRST, set.to_owned());
    let is_in = true;
    Expression::Lookup { from, set, is_in }
}

/// The set without its elements; `None`: its comment is too long.
pub(crate) fn new_set(set: &Set, id: u32) -> Option<NewSet<'_>> {
    let fields = key_fields(&set.content);
    let flags = flags(&set.content);
    let of_verdicts = flags & libc::NFT_SET_MAP as u32 != 0;
    Some(NewSet {
        name: &set.name,
        id,
        flags,
        key_type: key_type(fields),
        key_length: octets(fields),
        size: set.size,
        user_data: request::user_data(key_order(fields), of_verdicts, set.comment.as_deref())?,
    })
}

fn flags(content: &Content) -> u32 {
    let flag = |wanted, flag: libc::c_int| if wanted { flag as u32 } else { 0 };
    flag(content.is_timed(), libc::NFT_SET_TIMEOUT)
        | flag(content.is_dynamic(), libc::NFT_SET_EVAL)
        | flag(matches!(content, Content::PortChains(_)), libc::NFT_SET_MAP)
        | flag(content.is_of_ranges(), libc::NFT_SET_INTERVAL)
}

/// A field of a set's keys: nft's number for its type (src/datatype.c, `enum datatypes`), its
/// octets, and whether nft takes it for a number of the host.
#[derive(Clone, Copy)]
struct Field {
    number: u32,
    length: u32,
    order: KeyOrder,
}

impl Field {
    const IPV4: Self = Self::new(7, 4, KeyOrder::Network);
    const IPV6: Self = Self::new(8, 16, KeyOrder::Network);
    const PORT: Self = Self::new(13, 2, KeyOrder::Network);
    const INTERFACE: Self = Self::new(41, 16, KeyOrder::Host);

    const fn new(number: u32, length: u32, order: KeyOrder) -> Self {
        Self {
            number,
            length,
            order,
        }
    }
}

/// One field, or several that are concatenated.
const fn key_fields(content: &Content) -> &'static [Field] {
    match content {
        Content::Interfaces(_) | Content::TimedInterfaces => &[Field::INTERFACE],
        Content::TimedSources(Family::V4) | Content::DynamicSources(Family::V4) => &[Field::IPV4],
        Content::TimedSources(Family::V6) | Content::DynamicSources(Family::V6) => &[Field::IPV6],
        Content::DynamicPairs(Family::V4) => &[Field::IPV4, Field::PORT],
        Content::DynamicPairs(Family::V6) => &[Field::IPV6, Field::PORT],
        Content::Ports(_) | Content::PortChains(_) => &[Field::PORT],
    }
}

/// nft puts the types of concatenated fields together, 6 bits each (`concat_type_alloc`).
fn key_type(fields: &[Field]) -> u32 {
    fields
        .iter()
        .fold(0, |number, field| number << 6 | field.number)
}

/// The octets of a key.
pub(crate) fn key_length(content: &Content) -> u32 {
    octets(key_fields(content))
}

/// Concatenated fields begin at registers, which are of four octets.
fn octets(fields: &[Field]) -> u32 {
    match fields {
        [field] => field.length,
        fields => fields
            .iter()
            .map(|field| field.length.next_multiple_of(4))
            .sum(),
    }
}

const fn key_order(fields: &[Field]) -> KeyOrder {
    match fields {
        [field] => field.order,
        _ => KeyOrder::Mixed,
    }
}

/// The elements that a set has from the start.
pub(crate) fn elements(content: &Content) -> Box<dyn Iterator<Item = Element<'_>> + '_> {
    let member = |key: &[u8]| Element {
        key: key.to_vec(),
        entry: Entry::Member(None),
    };
    match content {
        Content::Interfaces(names) => {
            Box::new(names.iter().map(move |name| member(&interface_key(name))))
        }
        Content::Ports(ports) => {
            Box::new(ports.iter().map(move |port| member(&port.to_be_bytes())))
        }
        Content::PortChains(ports) => Box::new(port_elements(ports, content.is_of_ranges())),
        Content::TimedInterfaces
        | Content::TimedSources(_)
        | Content::DynamicSources(_)
        | Content::DynamicPairs(_) => Box::new(core::iter::empty()),
    }
}

/// The elements that nft makes of the ports, in its order: where there are ranges, it says
/// that nothing is decided below the first (src/segtree.c).
fn port_elements(
    ports: &[(RangeInclusive<u16>, String)],
    of_ranges: bool,
) -> impl Iterator<Item = Element<'_>> {
    ports
        .iter()
        .enumerate()
        .flat_map(move |(index, (ports, chain))| {
            let mut elements = Vec::new();
            if of_ranges && index == 0 && *ports.start() > 0 {
                elements.push(end(0));
            }
            let after = ports.end().checked_add(1).filter(|_| of_ranges);
            elements.push(Element {
                key: ports.start().to_be_bytes().into(),
                entry: Entry::Goto {
                    chain,
                    endless: of_ranges && after.is_none(),
                },
            });
            elements.extend(after.map(end));
            elements
        })
}

fn end(port: u16) -> Element<'static> {
    Element {
        key: port.to_be_bytes().into(),
        entry: Entry::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `nft --debug=mnl` sends for `type ipv6_addr . ifname . inet_service`.
    #[test]
    fn concatenated_keys_are_described_as_nft_describes_them() {
        let fields = [Field::IPV6, Field::INTERFACE, Field::PORT];
        assert_eq!(key_type(&fields), 0x8a4d);
        assert_eq!(octets(&fields), 36);
        assert_eq!(key_order(&fields), KeyOrder::Mixed);
    }
}
