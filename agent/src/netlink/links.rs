//! The network interfaces of this process's own namespace, asked of the kernel (rtnetlink(7)).

use core::net::IpAddr;
use std::io;

use super::codec::{Attributes, LONGEST_ANSWER, Message, as_text, exchange};
use crate::collect::CollectVec;
use crate::sys::netlink::NetlinkSocket;

/// The most interfaces that are read.
const MAX_READ: usize = 8192;
/// The most addresses that are read of each.
const MAX_ADDRESSES: usize = 1024;
/// The most alternative names that are read of each.
const MAX_NAMES: usize = 32;

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// Names that it has besides, which no packet bears (ip-link(8), `property add altname`).
    pub(crate) other_names: Vec<String>,
    pub(crate) up: bool,
    pub(crate) loopback: bool,
    /// The bridge, bond or other interface that it is a part of, where its packets arrive.
    pub(crate) master: Option<u32>,
    /// What it is made over, as a VLAN is, if that is in the same namespace.
    pub(crate) lower: Option<u32>,
    /// What it is, such as `bridge` or `wireguard`; empty: hardware, or what claims to be.
    pub(crate) kind: String,
    /// Its addresses that are good for more than its own wire, and how many bits its neighbours share.
    pub(crate) addresses: Vec<(IpAddr, u8)>,
}

/// All interfaces, in the kernel's order.
pub(crate) fn read() -> io::Result<Vec<Link>> {
    let mut socket = NetlinkSocket::open_to_interfaces()?;
    let mut links = read_names(&mut socket)?;
    dump(&mut socket, libc::RTM_GETADDR, &mut |message| {
        let Some((holder, address)) = address(message) else {
            return;
        };
        let mut holders = links.iter_mut().filter(|link| link.index == holder);
        if let Some(link) = holders.find(|link| link.addresses.len() < MAX_ADDRESSES) {
            link.addresses.push(address);
        }
    })?;
    Ok(links)
}

/// Reads all interfaces without a look at their addresses.
pub(crate) fn read_without_addresses() -> io::Result<Vec<Link>> {
    read_names(&mut NetlinkSocket::open_to_interfaces()?)
}

fn read_names(socket: &mut NetlinkSocket) -> io::Result<Vec<Link>> {
    let mut links = Vec::new();
    dump(socket, libc::RTM_GETLINK, &mut |message| {
        links.extend(link(message).filter(|_| links.len() < MAX_READ));
    })?;
    Ok(links)
}

fn dump(
    socket: &mut NetlinkSocket,
    kind: u16,
    each: &mut dyn FnMut(&Message<'_>),
) -> io::Result<()> {
    let sequence = u32::from(kind);
    let mut buffer = vec![0; LONGEST_ANSWER];
    let request = request(kind, sequence);
    exchange(socket, &request, sequence, &mut buffer, each)
}

/// A header, and an `ifinfomsg` of zeros: everything.
fn request(kind: u16, sequence: u32) -> Vec<u8> {
    const LENGTH: usize = HEADER_LEN + IFINFOMSG_LEN;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut octets = Vec::with_capacity(LENGTH);
    octets.extend((LENGTH as u32).to_ne_bytes());
    octets.extend(kind.to_ne_bytes());
    octets.extend(flags.to_ne_bytes());
    octets.extend(sequence.to_ne_bytes());
    octets.resize(LENGTH, 0);
    octets
}

/// Of linux/if_link.h; libc has them for some systems only.
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;

/// The length of `struct nlmsghdr`.
const HEADER_LEN: usize = 16;
/// The length of `struct ifinfomsg`: family, type, index at 4, flags at 8.
const IFINFOMSG_LEN: usize = 16;
/// The length of `struct ifaddrmsg`: length of the prefix at 1, scope at 3, index at 4.
const IFADDRMSG_LEN: usize = 8;

pub(crate) fn link(message: &Message<'_>) -> Option<Link> {
    if message.kind != libc::RTM_NEWLINK {
        return None;
    }
    let flags = number_at(message.body, 8)?;
    let has = |flag: i32| flags & flag as u32 != 0;
    let attributes = Attributes(message.body.get(IFINFOMSG_LEN..)?);
    let kind = attributes
        .inside(libc::IFLA_LINKINFO)
        .and_then(|about| about.find(libc::IFLA_INFO_KIND))
        .and_then(as_text);
    let number = |kind| number_at(attributes.find(kind)?, 0);
    let is_near = attributes.find(IFLA_LINK_NETNSID).is_none();
    let properties = attributes.inside(IFLA_PROP_LIST).into_iter().flatten();
    let other_names = properties.filter(|(kind, _)| *kind == IFLA_ALT_IFNAME);
    let other_names = other_names.filter_map(|(_, name)| as_text(name).map(str::to_owned));
    Some(Link {
        index: number_at(message.body, 4)?,
        name: attributes.find(libc::IFLA_IFNAME).and_then(as_text)?.into(),
        other_names: other_names.take(MAX_NAMES).collect_vec(),
        up: has(libc::IFF_UP),
        loopback: has(libc::IFF_LOOPBACK),
        master: number(libc::IFLA_MASTER),
        lower: number(libc::IFLA_LINK).filter(|_| is_near),
        kind: kind.unwrap_or_default().into(),
        addresses: Vec::new(),
    })
}

/// An address and its interface, unless it is good on its own wire only.
pub(crate) fn address(message: &Message<'_>) -> Option<(u32, (IpAddr, u8))> {
    let is_address = message.kind == libc::RTM_NEWADDR && message.body.len() >= IFADDRMSG_LEN;
    let [_, bits, _, scope] = *message.body.first_chunk()?;
    if !is_address || scope >= libc::RT_SCOPE_LINK {
        return None;
    }
    let attributes = Attributes(message.body.get(IFADDRMSG_LEN..)?);
    // Of a tunnel, the other end's is IFA_ADDRESS.
    let octets = attributes.find(libc::IFA_LOCAL);
    let octets = octets.or_else(|| attributes.find(libc::IFA_ADDRESS))?;
    let address = match octets.len() {
        4 => IpAddr::from(*octets.first_chunk::<4>()?),
        _ => IpAddr::from(*octets.first_chunk::<16>()?),
    };
    Some((number_at(message.body, 4)?, (address, bits)))
}

fn number_at(octets: &[u8], at: usize) -> Option<u32> {
    let octets = octets.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*octets))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::firewall::tests::kernel::in_namespace;
    use crate::netlink::codec::Messages;

    fn ip(arguments: &str) {
        let status = Command::new("ip").args(arguments.split(' ')).status();
        assert!(status.unwrap().success(), "ip {arguments}");
    }

    #[test]
    fn interfaces_are_what_ip_made_them() {
        in_namespace(|| {
            for line in [
                "link set lo up",
                "link add br0 type bridge",
                "link add left type veth peer name right",
                "link set left master br0",
                "link set br0 up",
                "address add 192.0.2.1/24 dev br0",
                "link set right up",
                "link property add dev left altname enp1s0 altname an-alternative-name-is-long",
                "link add link right name over type macvlan",
                "address add 169.254.1.1/16 dev right scope link",
            ] {
                ip(line);
            }
            let links = read().unwrap();
            let named = |name: &str| links.iter().find(|link| link.name == name).unwrap();
            let (lo, br0) = (named("lo"), named("br0"));
            assert!(lo.up && lo.loopback);
            assert!(br0.up && !br0.loopback);
            let address = IpAddr::from([192, 0, 2, 1]);
            assert_eq!(br0.addresses, [(address, 24)]);
            assert_eq!((br0.kind.as_str(), br0.master), ("bridge", None));
            let (left, right) = (named("left"), named("right"));
            assert_eq!((left.kind.as_str(), left.master), ("veth", Some(br0.index)));
            assert!(!left.up && left.addresses.is_empty());
            assert_eq!(left.other_names, ["enp1s0", "an-alternative-name-is-long"]);
            assert!(br0.other_names.is_empty());
            assert_eq!(named("over").lower, Some(right.index));
            assert!(right.up && right.addresses.is_empty());
        });
    }

    #[test]
    fn no_octets_are_too_odd() {
        let mut octets = request(libc::RTM_NEWLINK, 1);
        octets.extend([8, 0, 3, 0, b'x', 0, 0, 0]);
        octets[0] = octets.len() as u8;
        assert_eq!(link(&Messages(&octets).next().unwrap()).unwrap().name, "x");
        for end in 0..octets.len() {
            let mut octets = octets[..end].to_vec();
            for length in 0..=end as u8 {
                if let Some(first) = octets.first_mut() {
                    *first = length;
                }
                for message in Messages(&octets) {
                    _ = (link(&message), address(&message));
                }
            }
        }
    }
}
