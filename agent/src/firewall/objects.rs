//! The table as messages for the kernel, made by libnftnl.

use core::ffi::CStr;
use core::fmt::{self, Display, Formatter};
use core::ops::RangeInclusive;
use std::ffi::CString;

use nftnl::expr::{
    Bitwise, Cmp, CmpOp, Conntrack, ConntrackStatus, Ipv4HeaderField, Ipv6HeaderField, Meta,
    NetworkHeaderField, Payload, TransportHeaderField, Verdict as Finish,
};
use nftnl::{ChainType, Hook, MsgType, NlMsg, Policy, ProtoFamily};

use postern_core::knock::Protocol;

use super::netlink::{self, nfta};
use super::network::Network;
use super::ruleset::{
    Chain, Content, Family, INPUT, PRIORITY, Rule, Set, Statement, TABLE, Table, Verdict,
    interface_key,
};
use crate::sys::nftnl::{Elements, Lasting, MOST_ELEMENTS, Press, Recipe, Set as NewSet};

const NAME: &CStr = c"postern";

/// Something that the kernel makes or refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object {
    /// The transaction as a whole.
    Batch,
    /// The table.
    Table,
    /// A set or map.
    Set(String),
    /// Elements of a set or map.
    Elements(String),
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
pub(super) enum Feature {
    /// `log`.
    Log,
    /// `limit`.
    Limit,
    /// `ct`.
    Conntrack,
}

impl Display for Object {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch => f.write_str("the transaction"),
            Self::Table => write!(f, "table {TABLE}"),
            Self::Set(name) => write!(f, "set {name}"),
            Self::Elements(set) => write!(f, "elements of set {set}"),
            Self::Chain(name) => write!(f, "chain {name}"),
            Self::Rule { number, chain, .. } => write!(f, "rule {number} of chain {chain}"),
        }
    }
}

impl Display for Feature {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "log (CONFIG_NFT_LOG, module nft_log)",
            Self::Limit => "limit (CONFIG_NFT_LIMIT, module nft_limit)",
            Self::Conntrack => "ct (CONFIG_NFT_CT, module nft_ct)",
        })
    }
}

/// An element that a set had before, and shall have again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// The index of the set in the table.
    pub(super) set: usize,
    /// The key, as the kernel has it.
    pub(super) key: Vec<u8>,
    /// How long it lasts; `None`: it stays.
    pub(super) lasting: Option<Lasting>,
}

/// One transaction, in one datagram.
pub(super) struct Batch {
    /// The messages; only the last object asks for an acknowledgement.
    pub(super) octets: Vec<u8>,
    /// What each message is about, by its distance from the first sequence number.
    pub(super) objects: Vec<Object>,
}

/// What an older table is made of, if it can be taken apart: chains and sets, nothing else.
#[derive(Debug)]
pub(super) struct Parts {
    /// Its chains, the one that packets enter among them.
    pub(super) chains: Vec<String>,
    /// Its sets and maps.
    pub(super) sets: Vec<String>,
}

/// The transaction that puts this table in place of any older one, or what cannot be written.
///
/// Without the parts of the older one it deletes that as a whole, which lets packets pass for
/// a moment. It is void if the rules of the namespace are no longer of this generation.
pub(super) fn replacement(
    table: &Table,
    kept: &[Kept],
    sequence: u32,
    generation: Option<u32>,
    old: Option<&Parts>,
) -> Result<Batch, Object> {
    let mut writer = Writer::new(sequence, generation);
    let parent = nftnl::Table::new(NAME, ProtoFamily::Inet);
    writer.push(&parent, MsgType::Add, Object::Table);
    match old {
        Some(old) => writer.take_apart(old),
        // Deleting what is not there fails, adding what is there does not.
        None => {
            writer.push(&parent, MsgType::Del, Object::Table);
            writer.push(&parent, MsgType::Add, Object::Table);
        }
    }
    for chain in &table.chains {
        let object = Object::Chain(chain.name.clone());
        writer.push(
            &new_chain(chain, &parent).ok_or_else(|| object.clone())?,
            MsgType::Add,
            object,
        );
    }
    for (id, set) in (1..).zip(&table.sets) {
        let object = Object::Set(set.name.clone());
        writer.push(
            &new_set(set, id).ok_or_else(|| object.clone())?,
            MsgType::Add,
            object,
        );
    }
    for (index, set) in table.sets.iter().enumerate() {
        let kept = kept.iter().filter(|kept| kept.set == index);
        let object = Object::Elements(set.name.clone());
        writer.fill(set, kept, &object).ok_or(object)?;
    }
    // Where packets enter comes last: the kernel follows every way from there.
    let (entrances, others): (Vec<_>, Vec<_>) = table.chains.iter().partition(|chain| chain.hooked);
    for chain in others.into_iter().chain(entrances) {
        writer.rules(chain, &parent)?;
    }
    Ok(writer.finish())
}

struct Writer {
    batch: Batch,
    press: Press,
    sequence: u32,
    last: usize,
}

impl Writer {
    fn new(sequence: u32, generation: Option<u32>) -> Self {
        let mut octets = Vec::new();
        netlink::begin(&mut octets, sequence, generation);
        let batch = Batch {
            octets,
            objects: vec![Object::Batch],
        };
        Self {
            batch,
            press: Press::new(),
            sequence,
            last: 0,
        }
    }

    fn push(&mut self, message: &impl NlMsg, kind: MsgType, object: Object) {
        self.last = self.batch.octets.len();
        let sequence = self.sequence.wrapping_add(self.batch.objects.len() as u32);
        self.press
            .append(message, kind, sequence, &mut self.batch.octets);
        self.batch.objects.push(object);
        self.acknowledge(false);
    }

    /// Deletes everything but the table and the chain that packets enter.
    ///
    /// A packet that found that chain before the commit, and looks at its rules after it,
    /// follows the rules of the new generation (`nft_do_chain`): a deleted chain has none, and
    /// would let the packet pass.
    fn take_apart(&mut self, old: &Parts) {
        self.request(libc::NFT_MSG_DELRULE, Object::Table, |to| {
            netlink::text(to, nfta::RULE_TABLE, &[TABLE]);
        });
        for set in &old.sets {
            self.request(libc::NFT_MSG_DELSET, Object::Set(set.clone()), |to| {
                netlink::text(to, nfta::SET_TABLE, &[TABLE]);
                netlink::text(to, nfta::SET_NAME, &[set]);
            });
        }
        for chain in old.chains.iter().filter(|chain| *chain != INPUT) {
            self.request(libc::NFT_MSG_DELCHAIN, Object::Chain(chain.clone()), |to| {
                netlink::text(to, nfta::CHAIN_TABLE, &[TABLE]);
                netlink::text(to, nfta::CHAIN_NAME, &[chain]);
            });
        }
    }

    fn request(&mut self, kind: i32, object: Object, fill: impl FnOnce(&mut Vec<u8>)) {
        self.last = self.batch.octets.len();
        let sequence = self.sequence.wrapping_add(self.batch.objects.len() as u32);
        let ask = netlink::Request { kind, flags: 0 };
        netlink::request(&mut self.batch.octets, ask, sequence, fill);
        self.batch.objects.push(object);
    }

    fn finish(mut self) -> Batch {
        self.acknowledge(true);
        let sequence = self.sequence.wrapping_add(self.batch.objects.len() as u32);
        netlink::end(&mut self.batch.octets, sequence);
        self.batch
    }

    /// Hundreds of acknowledgements would overrun the socket; errors arrive without asking.
    fn acknowledge(&mut self, wanted: bool) {
        const ACK: u16 = libc::NLM_F_ACK as u16;
        let flags = self
            .batch
            .octets
            .get_mut(self.last + 6..)
            .and_then(|rest| rest.first_chunk_mut());
        if let Some(flags) = flags {
            let others = u16::from_ne_bytes(*flags) & !ACK;
            *flags = (if wanted { others | ACK } else { others }).to_ne_bytes();
        }
    }

    fn fill<'k>(
        &mut self,
        set: &Set,
        kept: impl Iterator<Item = &'k Kept>,
        object: &Object,
    ) -> Option<()> {
        let name = &c_name(&set.name)?;
        match &set.content {
            Content::Interfaces(names) => self.elements(name, names.iter(), object, |to, name| {
                to.add_key(&interface_key(name), None)
            }),
            Content::Ports(ports) => self.elements(name, ports.iter(), object, |to, port| {
                to.add_key(&port.to_be_bytes(), None)
            }),
            Content::PortChains(ports) => {
                let elements = port_elements(ports, set.content.is_of_ranges());
                self.elements(name, elements, object, PortElement::add)
            }
            Content::TimedInterfaces | Content::TimedSources(_) => {
                self.elements(name, kept, object, |to, kept| {
                    to.add_key(&kept.key, kept.lasting)
                })
            }
        }
    }

    fn elements<T>(
        &mut self,
        set: &CStr,
        items: impl Iterator<Item = T>,
        object: &Object,
        add: impl Fn(&mut Elements, T) -> bool,
    ) -> Option<()> {
        let mut items = items.peekable();
        while items.peek().is_some() {
            let mut message = Elements::new(NAME, set);
            for item in items.by_ref().take(MOST_ELEMENTS) {
                add(&mut message, item).then_some(())?;
            }
            self.push(&message, MsgType::Add, object.clone());
        }
        Some(())
    }

    fn rules(&mut self, chain: &Chain, table: &nftnl::Table) -> Result<(), Object> {
        let parent = new_chain(chain, table).ok_or_else(|| Object::Chain(chain.name.clone()))?;
        for (number, rule) in (1..).zip(&chain.rules) {
            let object = Object::Rule {
                number,
                chain: chain.name.clone(),
                needs: feature(rule),
            };
            let rule = new_rule(rule, &parent).ok_or_else(|| object.clone())?;
            self.push(&rule, MsgType::Add, object);
        }
        Ok(())
    }
}

/// An element of a map of ports, as nf_tables knows ranges: a beginning, and an end that is
/// an element of its own.
enum PortElement<'c> {
    /// From this port on, or for this port, a chain decides.
    From {
        port: u16,
        chain: &'c str,
        /// Nothing ends it: it goes up to the last port that there is.
        endless: bool,
    },
    /// From this port on, no chain does.
    End(u16),
}

impl PortElement<'_> {
    fn add(to: &mut Elements, element: Self) -> bool {
        match element {
            Self::End(port) => to.add_end(&port.to_be_bytes()),
            Self::From {
                port,
                chain,
                endless,
            } => {
                c_name(chain).is_some_and(|chain| to.add_goto(&port.to_be_bytes(), &chain, endless))
            }
        }
    }
}

/// The elements that nft makes of the ports, in its order: where there are ranges, it says
/// that nothing is decided below the first (src/segtree.c).
fn port_elements(
    ports: &[(RangeInclusive<u16>, String)],
    of_ranges: bool,
) -> impl Iterator<Item = PortElement<'_>> {
    let begins_above = ports.first().is_some_and(|(ports, _)| *ports.start() > 0);
    let below = (of_ranges && begins_above).then_some(PortElement::End(0));
    let elements = ports.iter().flat_map(move |(ports, chain)| {
        let after = ports.end().checked_add(1).filter(|_| of_ranges);
        let from = PortElement::From {
            port: *ports.start(),
            chain,
            endless: of_ranges && after.is_none(),
        };
        [Some(from), after.map(PortElement::End)]
            .into_iter()
            .flatten()
    });
    below.into_iter().chain(elements)
}

/// What nf_tables limits names to: NFT_NAME_MAXLEN, less the terminator.
const LONGEST_NAME: usize = 255;

fn c_name(name: &str) -> Option<CString> {
    CString::new(name)
        .ok()
        .filter(|name| name.count_bytes() <= LONGEST_NAME)
}

fn new_chain<'t>(chain: &Chain, table: &'t nftnl::Table) -> Option<nftnl::Chain<'t>> {
    let mut new = nftnl::Chain::new(c_name(&chain.name)?, table);
    if chain.hooked {
        new.set_hook(Hook::In, PRIORITY);
        new.set_type(ChainType::Filter);
        new.set_policy(Policy::Accept);
    }
    Some(new)
}

fn new_set(set: &Set, id: u32) -> Option<NewSet> {
    let mut new = NewSet::new(NAME, &c_name(&set.name)?, id, key_type(&set.content));
    if set.content.is_timed() {
        new = new.timed();
    }
    if let Content::PortChains(_) = set.content {
        new = new.of_verdicts();
    }
    if set.content.is_of_ranges() {
        new = new.of_ranges();
    }
    if let Some(size) = set.size {
        new = new.sized(size);
    }
    let host_order = matches!(
        set.content,
        Content::Interfaces(_) | Content::TimedInterfaces
    );
    new = new.annotated(&netlink::user_data(host_order, set.comment.as_deref())?);
    Some(new)
}

/// nft's number for the type of a set's keys (src/datatype.c, `enum datatypes`), and its octets.
const fn key_type(content: &Content) -> (u32, u32) {
    let number = match content {
        Content::Interfaces(_) | Content::TimedInterfaces => 41,
        Content::TimedSources(Family::V4) => 7,
        Content::TimedSources(Family::V6) => 8,
        Content::Ports(_) | Content::PortChains(_) => 13,
    };
    (number, content.key_length() as u32)
}

fn feature(rule: &Rule) -> Option<Feature> {
    rule.iter().find_map(|statement| match statement {
        Statement::Log { .. } | Statement::LogLine(_) => Some(Feature::Log),
        Statement::Limit { .. } => Some(Feature::Limit),
        Statement::UdpFlow => Some(Feature::Conntrack),
        _ => None,
    })
}

fn new_rule<'c>(rule: &Rule, chain: &'c nftnl::Chain<'c>) -> Option<nftnl::Rule<'c>> {
    let mut new = nftnl::Rule::new(chain);
    for statement in rule {
        add_statement(&mut new, statement)?;
    }
    Some(new)
}

/// Appends the expressions of a statement, the same as nft's.
fn add_statement(rule: &mut nftnl::Rule<'_>, statement: &Statement) -> Option<()> {
    match statement {
        Statement::ArrivedOn(set) => {
            rule.add_expr(&Meta::IifName);
            rule.add_expr(&Recipe::lookup(&c_name(set)?));
        }
        Statement::Arrived(interface) => {
            rule.add_expr(&Meta::IifName);
            rule.add_expr(&Cmp::new(CmpOp::Eq, interface_key(interface).as_slice()));
        }
        Statement::PortIn(protocol, set) => {
            load_port(rule, *protocol);
            rule.add_expr(&Recipe::lookup(&c_name(set)?));
        }
        Statement::SourceIn(family, set) => source_in(rule, *family, &[], set)?,
        Statement::NetworkIn(Family::V4, prefix, set) => {
            source_in(rule, Family::V4, &Network::mask4(*prefix).octets(), set)?;
        }
        Statement::NetworkIn(Family::V6, prefix, set) => {
            source_in(rule, Family::V6, &Network::mask6(*prefix).octets(), set)?;
        }
        Statement::NotOpening => not_opening(rule),
        Statement::PortVerdict(protocol, map) => {
            load_port(rule, *protocol);
            rule.add_expr(&Recipe::verdict_lookup(&c_name(map)?));
        }
        Statement::UdpFlow => udp_flow(rule),
        Statement::FirstFragment => first_fragment(rule),
        Statement::PortsReadable => {
            load_transport(rule, 0, 4);
            rule.add_expr(&Cmp::new(CmpOp::Neq, [0_u8; 4].as_slice()));
        }
        Statement::Log { group, length } => {
            rule.add_expr(&Recipe::log(*group, (*length).into()));
        }
        Statement::LogLine(prefix) => rule.add_expr(&Recipe::log_line(&c_name(prefix)?)),
        Statement::Limit { per_second, burst } => {
            rule.add_expr(&Recipe::limit(*per_second, *burst));
        }
        Statement::Mark(bits) => mark(rule, *bits),
        Statement::Verdict(verdict) => rule.add_expr(&finish(verdict)?),
    }
    Some(())
}

/// Loads the destination port of a packet of this protocol.
fn load_port(rule: &mut nftnl::Rule<'_>, protocol: Protocol) {
    rule.add_expr(&Meta::L4Proto);
    equal(rule, &[protocol.number()]);
    load_transport(rule, 2, 2);
}

fn finish(verdict: &Verdict) -> Option<Finish> {
    Some(match verdict {
        Verdict::Accept => Finish::Accept,
        Verdict::Drop => Finish::Drop,
        Verdict::Goto(chain) => Finish::Goto {
            chain: c_name(chain)?,
        },
    })
}

/// An empty mask leaves the address as it is.
fn source_in(rule: &mut nftnl::Rule<'_>, family: Family, mask: &[u8], set: &str) -> Option<()> {
    let (number, field) = match family {
        Family::V4 => (
            libc::NFPROTO_IPV4,
            NetworkHeaderField::Ipv4(Ipv4HeaderField::Saddr),
        ),
        Family::V6 => (
            libc::NFPROTO_IPV6,
            NetworkHeaderField::Ipv6(Ipv6HeaderField::Saddr),
        ),
    };
    rule.add_expr(&Meta::NfProto);
    equal(rule, &[number as u8]);
    rule.add_expr(&Payload::Network(field));
    if !mask.is_empty() {
        masked(rule, mask);
    }
    rule.add_expr(&Recipe::lookup(&c_name(set)?));
    Some(())
}

/// RFC 9293, section 3.1: the flags are the octet at 13.
fn not_opening(rule: &mut nftnl::Rule<'_>) {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    rule.add_expr(&Meta::L4Proto);
    equal(rule, &[Protocol::Tcp.number()]);
    load_transport(rule, 13, 1);
    masked(rule, &[SYN | ACK]);
    rule.add_expr(&Cmp::new(CmpOp::Neq, [SYN].as_slice()));
}

fn udp_flow(rule: &mut nftnl::Rule<'_>) {
    rule.add_expr(&Meta::L4Proto);
    equal(rule, &[Protocol::Udp.number()]);
    rule.add_expr(&Conntrack::Status);
    masked(rule, &ConntrackStatus::CONFIRMED.bits().to_ne_bytes());
    rule.add_expr(&Cmp::new(CmpOp::Neq, [0_u8; 4].as_slice()));
}

/// RFC 8200, section 4.5: the offset is the upper 13 bits of the two octets at 2.
fn first_fragment(rule: &mut nftnl::Rule<'_>) {
    rule.add_expr(&Meta::NfProto);
    equal(rule, &[libc::NFPROTO_IPV6 as u8]);
    rule.add_expr(&Recipe::extension_header(
        libc::IPPROTO_FRAGMENT as u8,
        2,
        2,
    ));
    masked(rule, &[0xff, 0xf8]);
    equal(rule, &[0, 0]);
}

fn mark(rule: &mut nftnl::Rule<'_>, bits: u32) {
    rule.add_expr(&Meta::Mark { set: false });
    let (mask, set) = ((!bits).to_ne_bytes(), bits.to_ne_bytes());
    rule.add_expr(&Bitwise::new(mask.as_slice(), set.as_slice()));
    rule.add_expr(&Meta::Mark { set: true });
}

fn equal(rule: &mut nftnl::Rule<'_>, value: &[u8]) {
    rule.add_expr(&Cmp::new(CmpOp::Eq, value));
}

fn masked(rule: &mut nftnl::Rule<'_>, mask: &[u8]) {
    let zeros = vec![0_u8; mask.len()];
    rule.add_expr(&Bitwise::new(mask, zeros.as_slice()));
}

/// The fields are named bits in `nftnl`, and are octets.
fn load_transport(rule: &mut nftnl::Rule<'_>, offset: u32, length: u32) {
    let field = TransportHeaderField::Raw {
        offset_bits: offset,
        length_bits: length,
    };
    rule.add_expr(&Payload::Transport(field));
}
