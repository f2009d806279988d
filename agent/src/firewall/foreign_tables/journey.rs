//! What becomes of a packet in the chains of other tables, as far as that can be told beforehand.
//!
//! The rules are gone through as the kernel does (net/netfilter/nf_tables_core.c) with a packet of
//! which some things are known: its port, its protocol, where it comes in, that it is a new
//! connection. What is not known, the sender for one, may or may not match, and what follows is then
//! no longer sure.

mod extensions;
mod registers;
#[cfg(test)]
mod tests;

use core::net::IpAddr;
use core::num::NonZeroU32;
use core::ops::RangeInclusive;

use postern_core::knock::Protocol;

use super::{Chain, ForeignTables, Sets, verdict};
use crate::firewall::Firewall;
use crate::firewall::nft::{nfta, request};
use crate::firewall::table::model::Hook;
use crate::netlink::codec::{Attributes, as_text, as_u32};
use crate::network::Family;
use crate::sort::sort;
use crate::sys::link::interface_number;
use registers::{Matched, Registers};

/// The most rules that one journey may take.
const MAX_STEPS: usize = 1 << 15;
/// How deep chains may jump into each other (NFT_JUMP_STACK_SIZE).
const MAX_DEPTH: usize = 16;

/// A new connection, or a knock, on its way to this host or a host behind it.
#[derive(Clone, Debug)]
pub(crate) struct Packet<'p> {
    pub(crate) family: Family,
    pub(crate) protocol: Protocol,
    /// To one of these ports, whichever.
    pub(crate) ports: RangeInclusive<u16>,
    /// Where it comes in.
    pub(crate) interface: &'p str,
    /// Its mark; `None`: any.
    pub(crate) mark: Option<u32>,
    /// Who is to see it.
    pub(crate) seen_by: Seer,
    /// To a host behind this one, which has an address of its own.
    pub(crate) behind: bool,
}

/// What of ours a packet comes to, if no other rule takes it away before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seer {
    /// The guard, which judges by the port that the sender sees.
    Guard,
    /// What hears knocks.
    Knocks,
}

impl Seer {
    /// Its hook and priority.
    const fn place(self) -> (u32, i32) {
        match self {
            Self::Guard => (PREROUTING, Hook::Prerouting.priority()),
            Self::Knocks => (INPUT, Hook::Input.priority()),
        }
    }
}

/// What becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    /// It is sent elsewhere.
    pub(crate) redirected: Option<End>,
    /// It is dropped, whoever sent it, unless something that is not known lets it in.
    pub(crate) dropped: Option<End>,
    /// What some senders send is dropped.
    pub(crate) some_dropped: bool,
    /// It is kept from connection tracking.
    pub(crate) untracked: bool,
}

/// Where a journey ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The chain, in words.
    pub(crate) place: String,
    /// Whether nothing unknown was in between.
    pub(crate) sure: bool,
    /// Whether it is before who is to see the packet.
    pub(crate) early: bool,
    /// Whether it surely goes to another host.
    pub(crate) away: bool,
    /// The port that it is sent to; `None`: it is not known.
    pub(crate) port: Option<u16>,
}

impl ForeignTables {
    /// What becomes of a packet.
    pub(crate) fn fate(&mut self, firewall: &mut Firewall, packet: &Packet<'_>) -> Fate {
        let family = match packet.family {
            Family::V4 => libc::NFPROTO_IPV4,
            Family::V6 => libc::NFPROTO_IPV6,
        } as u8;
        let mut journey = Journey {
            chains: &self.chains,
            sets: &mut self.sets,
            own: &self.own,
            firewall,
            packet,
            family,
            registers: Registers::default(),
            fate: Fate::default(),
            // One that is not there is none of those that rules name by their numbers.
            number: interface_number(packet.interface).map_or(u32::MAX, NonZeroU32::get),
            early: true,
            is_gone: false,
            steps: MAX_STEPS,
        };
        journey.go();
        self.incomplete |= journey.steps == 0;
        journey.fate
    }
}

struct Journey<'j> {
    chains: &'j [Chain],
    sets: &'j mut Sets,
    own: &'j [IpAddr],
    firewall: &'j mut Firewall,
    packet: &'j Packet<'j>,
    /// The packet's, as nf_tables numbers them.
    family: u8,
    /// Of the interface where it comes in.
    number: u32,
    registers: Registers,
    fate: Fate,
    /// Who is to see the packet is still to come.
    early: bool,
    /// It went elsewhere, for sure.
    is_gone: bool,
    /// How many more rules may be looked at.
    steps: usize,
}

/// How a packet comes to a place.
#[derive(Clone, Copy)]
struct Way {
    /// It surely does.
    sure: bool,
    /// Only what matches something unknown does.
    some: bool,
}

/// How a chain was left.
enum Left {
    /// For sure: the packet was accepted or is gone.
    Over,
    /// At its end. `leaks`: it may have been accepted before.
    AtEnd { leaks: bool },
}

/// What a rule does.
enum Deed {
    Accept,
    Drop,
    /// To a port, perhaps of this host.
    Redirect {
        away: bool,
        port: Option<u16>,
    },
    Return,
    Jump(String),
    Goto(String),
}

/// What a map of verdicts says, as far as the packet has its keys.
type Verdicts = Vec<(Matched, Option<Deed>)>;

impl Journey<'_> {
    fn go(&mut self) {
        let hooks = match self.packet.behind {
            false => [PREROUTING, INPUT],
            true => [PREROUTING, FORWARD],
        };
        let chains = self.chains;
        let concerns = |chain: &&Chain| [self.family, request::INET].contains(&chain.family);
        let base = chains.iter().filter(concerns);
        let mut base: Vec<(u32, &Chain)> = base
            .filter_map(|chain| Some((chain.hook?, chain)))
            .filter(|(hook, _)| hooks.contains(hook))
            .collect();
        let order = |(hook, chain): &(u32, &Chain)| (*hook, place(chain), chain.priority);
        sort(&mut base, &|one, other| order(one) < order(other));
        let sure = Way {
            sure: true,
            some: false,
        };
        for (hook, chain) in base {
            self.early = (hook, place(chain)) < self.packet.seen_by.place();
            let left = self.walk(chain, sure, 0);
            if let (Left::AtEnd { leaks }, true) = (left, chain.drops) {
                let way = Way {
                    sure: !leaks,
                    ..sure
                };
                self.end(&Deed::Drop, chain, way);
            }
            if self.is_gone {
                return;
            }
        }
    }

    /// Goes through a chain.
    fn walk(&mut self, chain: &Chain, entry: Way, depth: usize) -> Left {
        let mut way = entry;
        let mut leaks = false;
        if depth >= MAX_DEPTH {
            return Left::AtEnd { leaks: true };
        }
        for rule in &chain.rules {
            if self.steps == 0 {
                return Left::AtEnd { leaks: true };
            }
            self.steps -= 1;
            for (matched, deed) in self.deeds(chain, Attributes(rule)) {
                let here = Way {
                    sure: way.sure && matched == Matched::Yes,
                    some: way.some || matched == Matched::Maybe,
                };
                match &deed {
                    Deed::Accept => leaks = true,
                    Deed::Drop | Deed::Redirect { .. } => self.end(&deed, chain, here),
                    Deed::Return => {}
                    Deed::Jump(name) | Deed::Goto(name) => {
                        let is_it = |to: &&Chain| {
                            to.name == *name
                                && (to.family, &to.table) == (chain.family, &chain.table)
                        };
                        let left = match self.chains.iter().find(is_it) {
                            Some(to) => self.walk(to, here, depth + 1),
                            None => Left::AtEnd { leaks: true },
                        };
                        let leaked = match left {
                            Left::AtEnd { leaks } => leaks,
                            Left::Over if here.sure => return Left::Over,
                            Left::Over => true,
                        };
                        leaks |= leaked;
                        way.sure &= !leaked;
                    }
                }
                if let Deed::Jump(_) = deed {
                    continue;
                }
                if !here.sure {
                    // That some senders are dropped changes nothing for the others.
                    way.sure &= matches!(deed, Deed::Drop) && here.some;
                    continue;
                }
                return match deed {
                    Deed::Return | Deed::Goto(_) => Left::AtEnd { leaks },
                    _ => Left::Over,
                };
            }
        }
        Left::AtEnd { leaks }
    }

    /// Notes where the journey ends, for sure or perhaps.
    fn end(&mut self, deed: &Deed, chain: &Chain, way: Way) {
        self.is_gone |= way.sure;
        let (away, port) = match deed {
            Deed::Redirect { away, port } => (*away, *port),
            _ => (false, None),
        };
        let end = match deed {
            Deed::Redirect { .. } => &mut self.fate.redirected,
            _ if way.some => {
                self.fate.some_dropped = true;
                return;
            }
            _ => &mut self.fate.dropped,
        };
        if end.as_ref().is_some_and(|end| end.sure || !way.sure) {
            return;
        }
        let family = match chain.family {
            request::INET => "inet",
            family if family == libc::NFPROTO_IPV4 as u8 => "ip",
            _ => "ip6",
        };
        let Chain { name, table, .. } = chain;
        *end = Some(End {
            place: format!("chain {name} of table {family} {table}"),
            sure: way.sure,
            early: self.early,
            away,
            port,
        });
    }

    /// What a rule does with the packet, and whether.
    fn deeds(&mut self, chain: &Chain, expressions: Attributes<'_>) -> Vec<(Matched, Deed)> {
        let mut deeds = Vec::new();
        let mut matched = Matched::Yes;
        self.registers = Registers::default();
        for (_, expression) in expressions {
            let expression = Attributes(expression);
            let name = expression.find(nfta::EXPR_NAME).and_then(as_text);
            let data = expression.inside(nfta::EXPR_DATA);
            let data = data.unwrap_or(Attributes(&[]));
            let number = |kind| data.find(kind).and_then(as_u32);
            let deed = match name.unwrap_or_default() {
                "payload" if number(nfta::PAYLOAD_SOURCE).is_some() => self.rewrite(data),
                "meta" | "payload" | "ct" | "fib" => {
                    self.load(name.unwrap_or_default(), data);
                    None
                }
                "bitwise" => {
                    self.registers.bitwise(data);
                    None
                }
                "cmp" | "range" => {
                    matched = matched.min(self.registers.compare(data));
                    None
                }
                "lookup" => {
                    let (found, verdicts) = self.look_up(chain, data);
                    deeds.extend(
                        (verdicts.into_iter())
                            .filter_map(|(each, deed)| Some((each.min(matched), deed?))),
                    );
                    matched = matched.min(found);
                    None
                }
                "immediate" => {
                    let value = data.inside(nfta::IMMEDIATE_DATA);
                    let value = value.unwrap_or(Attributes(&[]));
                    let register = number(nfta::IMMEDIATE_REGISTER).unwrap_or(0);
                    self.registers.put(register, value.find(nfta::DATA_VALUE));
                    verdict(value).and_then(|(code, chain)| deed_of(code, chain))
                }
                "nat" if number(nfta::NAT_TYPE) == Some(libc::NFT_NAT_DNAT as u32) => {
                    let to = number(nfta::NAT_ADDRESS);
                    let here = to.map_or(Matched::Yes, |register| self.own_address(register));
                    let port = number(nfta::NAT_PORT);
                    let port = port.map(|register| self.registers.port(register));
                    Some(redirect(self.packet, here, port))
                }
                "redir" => {
                    let port = number(nfta::REDIR_PORT);
                    let port = port.map(|register| self.registers.port(register));
                    Some(redirect(self.packet, Matched::Yes, port))
                }
                "reject" => Some(Deed::Drop),
                "notrack" => {
                    self.fate.untracked |= matched != Matched::No;
                    None
                }
                "match" => {
                    let found = extensions::matched(self.packet, data);
                    matched = matched.min(found);
                    None
                }
                "target" => {
                    let not_tracked = extensions::untracks(data) && matched != Matched::No;
                    self.fate.untracked |= not_tracked;
                    extensions::deed(self.packet, self.own, data)
                }
                "queue" => {
                    matched = matched.min(Matched::Maybe);
                    Some(Deed::Accept)
                }
                // It is not so often that one comes.
                "limit" => {
                    let is_over = number(nfta::LIMIT_FLAGS).unwrap_or(0) & 1 != 0;
                    matched = matched.min(Matched::from(!is_over));
                    None
                }
                // A packet that is handed to a transparent proxy still comes to the guard, with the
                // port that it was sent to.
                "counter" | "log" | "last" | "objref" | "masq" | "nat" | "tproxy" | "dup" => None,
                _ => {
                    self.registers = Registers::default();
                    matched = matched.min(Matched::Maybe);
                    None
                }
            };
            if matched == Matched::No {
                deeds.clear();
                break;
            }
            deeds.extend(deed.map(|deed| (matched, deed)));
        }
        deeds
    }

    /// Puts into a register what is known of the packet.
    fn load(&mut self, what: &str, data: Attributes<'_>) {
        let number = |kind| data.find(kind).and_then(as_u32);
        // Every one of them has its register first, and then what is loaded; a rule that sets
        // something has none.
        let Some(register) = number(nfta::META_REGISTER) else {
            return;
        };
        let Packet {
            protocol, ports, ..
        } = self.packet;
        let is_v4 = self.packet.family == Family::V4;
        let mut octets = [0_u8; 16];
        let kind = number(nfta::META_KEY).unwrap_or(u32::MAX) as i32;
        let protocol_number = [protocol.number()];
        let host = |value: u32| Some(value.to_ne_bytes());
        let word = match (what, kind) {
            ("meta", libc::NFT_META_IIF) => host(self.number),
            ("meta", libc::NFT_META_MARK) => self.packet.mark.and_then(host),
            ("ct", libc::NFT_CT_STATE) => host(NEW),
            // Nothing was seen of it yet.
            ("ct", libc::NFT_CT_STATUS | libc::NFT_CT_DIRECTION) => host(0),
            // In place of what is loaded it has a flag of its own.
            ("fib", ADDRESS_TYPE) if number(nfta::FIB_FLAGS).unwrap_or(0) & OF_SENDER == 0 => {
                host(if self.packet.behind { UNICAST } else { LOCAL })
            }
            _ => None,
        };
        if let Some(word) = word {
            return self.registers.put(register, Some(&word));
        }
        let place = (
            number(nfta::PAYLOAD_OFFSET).unwrap_or(0),
            number(nfta::PAYLOAD_LENGTH).unwrap_or(0),
        );
        let value: Option<&[u8]> = match (what, kind, place) {
            ("meta", libc::NFT_META_NFPROTO, _) => Some(core::slice::from_ref(&self.family)),
            ("meta", libc::NFT_META_L4PROTO, _) => Some(&protocol_number),
            ("meta", libc::NFT_META_PROTOCOL, _) => Some(match is_v4 {
                true => &[0x08, 0x00],
                false => &[0x86, 0xdd],
            }),
            ("meta", libc::NFT_META_IIFNAME, _) => {
                let name = self.packet.interface.bytes();
                for (octet, letter) in octets.iter_mut().zip(name) {
                    *octet = letter;
                }
                Some(&octets)
            }
            ("payload", libc::NFT_PAYLOAD_NETWORK_HEADER, (9, 1)) if is_v4 => {
                Some(&protocol_number)
            }
            ("payload", libc::NFT_PAYLOAD_NETWORK_HEADER, (6, 1)) if !is_v4 => {
                Some(&protocol_number)
            }
            // The flags of a SYN.
            ("payload", libc::NFT_PAYLOAD_TRANSPORT_HEADER, (13, 1))
                if *protocol == Protocol::Tcp =>
            {
                Some(&[2])
            }
            _ => None,
        };
        self.registers.put(register, value);
        if let ("payload", libc::NFT_PAYLOAD_TRANSPORT_HEADER, (2, 2)) = (what, kind, place) {
            let [first, last] = [*ports.start(), *ports.end()].map(|port| u32::from(port) << 16);
            self.registers.put_between(register, first, last);
        }
    }

    /// Whether a set has what is in the registers, and what a map of verdicts says.
    fn look_up(&mut self, chain: &Chain, data: Attributes<'_>) -> (Matched, Verdicts) {
        let number = |kind| data.find(kind).and_then(as_u32);
        let name = data.find(nfta::LOOKUP_SET).and_then(as_text);
        let source = number(nfta::LOOKUP_SOURCE).unwrap_or(0);
        let target = number(nfta::LOOKUP_REGISTER);
        // A long list of senders need not be read to know that they are not known.
        if target != Some(0) && self.registers.knows_nothing(source) {
            self.forget(target);
            return (Matched::Maybe, Vec::new());
        }
        let contents = self
            .sets
            .contents(self.firewall, chain, name.unwrap_or_default());
        let mut found = match contents.incomplete {
            true => Matched::Maybe,
            false => Matched::No,
        };
        let mut verdicts = Vec::new();
        let of_rest = contents.elements.iter().filter(|element| element.is_rest);
        let keys = contents.elements.iter().filter(|element| !element.is_rest);
        for element in keys.chain(of_rest) {
            let matched = match element.is_rest {
                true => !found,
                false => self
                    .registers
                    .between(source, &element.first, &element.last),
            };
            found = found.max(matched);
            if let (Some((code, chain)), false) = (&element.verdict, matched == Matched::No) {
                verdicts.push((matched, deed_of(*code, chain.clone())));
            }
        }
        if number(nfta::LOOKUP_FLAGS).unwrap_or(0) & libc::NFT_LOOKUP_F_INV as u32 != 0 {
            found = !found;
        }
        self.forget(target);
        (found, verdicts)
    }

    fn forget(&mut self, register: Option<u32>) {
        if let Some(register) = register {
            self.registers.put(register, None);
        }
    }

    /// What is written over a port or an address: translation without connection tracking.
    fn rewrite(&self, data: Attributes<'_>) -> Option<Deed> {
        let number = |kind| data.find(kind).and_then(as_u32);
        let source = number(nfta::PAYLOAD_SOURCE)?;
        let place = (number(nfta::PAYLOAD_OFFSET)?, number(nfta::PAYLOAD_LENGTH)?);
        match (number(nfta::PAYLOAD_BASE)? as i32, place) {
            (libc::NFT_PAYLOAD_TRANSPORT_HEADER, (2, 2)) => {
                let port = self.registers.port(source);
                Some(redirect(self.packet, Matched::Yes, Some(port)))
            }
            (libc::NFT_PAYLOAD_NETWORK_HEADER, (16, 4) | (24, 16)) => {
                let here = self.own_address(source);
                Some(redirect(self.packet, here, None))
            }
            _ => None,
        }
    }

    /// Whether a register has an address of this host.
    fn own_address(&self, register: u32) -> Matched {
        let is_it = |octets: &[u8]| self.registers.between(register, octets, octets);
        let own = self.own.iter().map(|own| match (own, self.packet.family) {
            (IpAddr::V4(own), Family::V4) => is_it(&own.octets()),
            (IpAddr::V6(own), Family::V6) => is_it(&own.octets()),
            _ => Matched::No,
        });
        own.max().unwrap_or(Matched::No)
    }
}

/// Where a chain comes at its hook.
const fn place(chain: &Chain) -> i32 {
    match chain.translates {
        true => libc::NF_IP_PRI_NAT_DST,
        false => chain.priority,
    }
}

const PREROUTING: u32 = libc::NF_INET_PRE_ROUTING as u32;
const INPUT: u32 = libc::NF_INET_LOCAL_IN as u32;
const FORWARD: u32 = libc::NF_INET_FORWARD as u32;

/// To where it was sent to anyway, nothing becomes of it. `port` is `None` where it stays the same, and
/// `Some(None)` where it is not known.
fn redirect(packet: &Packet<'_>, here: Matched, port: Option<Option<u16>>) -> Deed {
    let ports = &packet.ports;
    let one = (ports.start() == ports.end()).then_some(*ports.start());
    let port = port.unwrap_or(one);
    match (here, one) {
        (Matched::Yes, Some(_)) if port == one => Deed::Accept,
        _ => Deed::Redirect {
            away: here == Matched::No,
            port,
        },
    }
}

/// The bit of a new connection (include/uapi/linux/netfilter/nf_conntrack_common.h).
const NEW: u32 = 8;
/// NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_SADDR, RTN_UNICAST and RTN_LOCAL, which libc lacks.
const ADDRESS_TYPE: i32 = 3;
const OF_SENDER: u32 = 1;
const UNICAST: u32 = 1;
const LOCAL: u32 = 2;

fn deed_of(code: i32, chain: String) -> Option<Deed> {
    match code {
        libc::NF_DROP => Some(Deed::Drop),
        libc::NF_ACCEPT => Some(Deed::Accept),
        libc::NFT_RETURN => Some(Deed::Return),
        libc::NFT_JUMP => Some(Deed::Jump(chain)),
        libc::NFT_GOTO => Some(Deed::Goto(chain)),
        _ => None,
    }
}
