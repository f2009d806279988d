//! The matches and targets of iptables, as iptables-nft has nf_tables call them: structures of the
//! host (include/uapi/linux/netfilter/xt_*.h). Most matches are not understood: they may match.

use core::net::IpAddr;

use postern_core::knock::Protocol;

use super::registers::{Matched, overlap};
use super::{Deed, LOCAL, NEW, Packet, UNICAST, redirect};
use crate::firewall::nft::nfta;
use crate::netlink::codec::{Attributes, as_text};
use crate::network::Family;

/// Whether a match matches.
pub(super) fn matched(packet: &Packet<'_>, data: Attributes<'_>) -> Matched {
    let info = Info(data.find(nfta::EXTENSION_INFO).unwrap_or_default());
    match (name(data), packet.protocol) {
        ("comment" | "limit" | "hashlimit", _) => Matched::Yes,
        ("tcp", Protocol::Tcp) => {
            let is_syn = info.octet(9) & SYN == info.octet(10);
            let flags = is_syn != (info.octet(11) & INVERTED_FLAGS != 0);
            let known = Matched::from(flags && info.octet(8) == 0);
            info.ports(packet, 11).min(known)
        }
        ("udp", Protocol::Udp) => info.ports(packet, 8),
        ("tcp" | "udp", _) => Matched::No,
        ("multiport", _) => info.multiport(packet),
        ("mark", _) => match packet.mark {
            Some(mark) => {
                let is_it = mark & info.word(4) == info.word(0);
                Matched::from(is_it != (info.octet(8) != 0))
            }
            None => Matched::Maybe,
        },
        ("state", _) => Matched::from(info.word(0) & NEW != 0),
        // struct xt_conntrack_mtinfo3, where nothing but the state is asked for; by the name of
        // the older match that has a flag of its own.
        ("conntrack", _) if info.half(146) & !(1 << 13) == 1 => {
            let is_inverted = info.half(148) & 1 != 0;
            Matched::from((u32::from(info.half(150)) & NEW != 0) != is_inverted)
        }
        // struct xt_addrtype_info_v1, where nothing is asked of the sender.
        ("addrtype", _) if info.half(0) == 0 => {
            let is_inverted = info.word(4) & 2 != 0;
            let kind = if packet.behind { UNICAST } else { LOCAL };
            Matched::from((info.half(2) & 1 << kind != 0) != is_inverted)
        }
        _ => Matched::Maybe,
    }
}

/// What a target does, if that ends the journey. `own` are the addresses of this host.
pub(super) fn deed(packet: &Packet<'_>, own: &[IpAddr], data: Attributes<'_>) -> Option<Deed> {
    match name(data) {
        "DNAT" | "REDIRECT" => {
            let info = Info(data.find(nfta::EXTENSION_INFO).unwrap_or_default());
            Some(info.redirect(packet, own))
        }
        "REJECT" | "DROP" | "TARPIT" => Some(Deed::Drop),
        _ => None,
    }
}

/// Whether it keeps a packet from connection tracking.
pub(super) fn untracks(data: Attributes<'_>) -> bool {
    let info = Info(data.find(nfta::EXTENSION_INFO).unwrap_or_default());
    match name(data) {
        "NOTRACK" => true,
        "CT" => info.half(0) & 1 != 0,
        _ => false,
    }
}

fn name(data: Attributes<'_>) -> &str {
    let name = data.find(nfta::EXTENSION_NAME).and_then(as_text);
    name.unwrap_or_default()
}

/// The flag of a SYN, and what inverts what xt_tcp asks for.
const SYN: u8 = 2;
const INVERTED_SOURCE: u8 = 1;
const INVERTED_PORTS: u8 = 2;
const INVERTED_FLAGS: u8 = 4;

/// The structure that a match is given; zeros behind its end.
struct Info<'i>(&'i [u8]);

impl Info<'_> {
    fn octet(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or_default()
    }

    fn half(&self, at: usize) -> u16 {
        u16::from_ne_bytes([self.octet(at), self.octet(at + 1)])
    }

    fn word(&self, at: usize) -> u32 {
        let octets = [0, 1, 2, 3].map(|next| self.octet(at + next));
        u32::from_ne_bytes(octets)
    }

    /// struct nf_nat_range and nf_nat_range2 have flags, two addresses of IPv6's size and two ports;
    /// the older nf_nat_ipv4_multi_range_compat has a count before them, and addresses of IPv4's.
    fn redirect(&self, packet: &Packet<'_>, own: &[IpAddr]) -> Deed {
        const ADDRESSES: u32 = 1;
        const PORTS: u32 = 2;
        let (flags, port) = match self.0.len() {
            ..40 => (4, 16),
            _ => (0, 36),
        };
        let has = |flag| self.word(flags) & flag != 0;
        let is_it = |own: &IpAddr| match own {
            IpAddr::V4(own) => self.begins(flags + 4, &own.octets()) && packet.family == Family::V4,
            IpAddr::V6(own) => self.begins(flags + 4, &own.octets()),
        };
        let here = Matched::from(!has(ADDRESSES) || own.iter().any(is_it));
        let port = u16::from_be_bytes([self.octet(port), self.octet(port + 1)]);
        redirect(packet, here, has(PORTS).then_some(Some(port)))
    }

    fn begins(&self, at: usize, with: &[u8]) -> bool {
        (self.0.get(at..)).is_some_and(|rest| rest.starts_with(with))
    }

    /// struct xt_tcp and struct xt_udp begin alike.
    fn ports(&self, packet: &Packet<'_>, inverted: usize) -> Matched {
        let inverted = self.octet(inverted);
        let is_of_all = (self.half(0), self.half(2)) == (0, u16::MAX);
        let sender = match is_of_all && inverted & INVERTED_SOURCE == 0 {
            true => Matched::Yes,
            false => Matched::Maybe,
        };
        let found = among(packet, self.half(4), self.half(6));
        let found = match inverted & INVERTED_PORTS {
            0 => found,
            _ => !found,
        };
        found.min(sender)
    }

    /// struct xt_multiport_v1: up to 15 ports, and which of them begin a range.
    fn multiport(&self, packet: &Packet<'_>) -> Matched {
        const DESTINATION: u8 = 1;
        if self.octet(0) != DESTINATION {
            return Matched::Maybe;
        }
        let mut found = Matched::No;
        let mut ports = 0..usize::from(self.octet(1)).min(15);
        while let Some(at) = ports.next() {
            let first = self.half(2 + 2 * at);
            let last = match self.octet(32 + at) {
                0 => first,
                _ => ports.next().map_or(first, |at| self.half(2 + 2 * at)),
            };
            found = found.max(among(packet, first, last));
        }
        match self.octet(47) {
            0 => found,
            _ => !found,
        }
    }
}

fn among(packet: &Packet<'_>, first: u16, last: u16) -> Matched {
    let ports = (
        u32::from(*packet.ports.start()),
        u32::from(*packet.ports.end()),
    );
    overlap(ports, (first.into(), last.into()))
}
