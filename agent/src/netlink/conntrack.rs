//! Connections that the kernel tracks, and ending those of a source whose grant ended
//! (ctnetlink: include/uapi/linux/netfilter/nfnetlink_conntrack.h).
//!
//! The guard drops their packets by itself. This has the ordinary firewall forget them too, so that
//! they do not come to life when the guard goes. It may learn of one anew from what the server
//! sends (`nf_conntrack_tcp_loose`): it is no guard by itself.

use core::net::IpAddr;
use std::io;
use std::net::UdpSocket;

use postern_core::knock::{Port, PortRange, Protocol};

use crate::netlink::codec::{
    Attributes, LONGEST_ANSWER, Message, NESTED, attribute, exchange, message,
};
use crate::network::Network;
use crate::sys::netlink::NetlinkSocket;

/// The most connections that are ended before they are listed anew: it bounds the memory.
const MAX_DELETIONS_PER_LISTING: usize = 256;
/// The most listings. Whoever makes connections more quickly has no grant any more.
const MAX_LISTINGS: usize = 64;

const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

/// Numbers of nfnetlink_conntrack.h that libc lacks.
mod cta {
    pub(super) const TUPLE_ORIGINAL: u16 = 1;
    pub(super) const ID: u16 = 12;
    pub(super) const ZONE: u16 = 18;
    pub(super) const TUPLE_IP: u16 = 1;
    pub(super) const TUPLE_PROTOCOL: u16 = 2;
    pub(super) const V4_SOURCE: u16 = 1;
    pub(super) const V4_DESTINATION: u16 = 2;
    pub(super) const V6_SOURCE: u16 = 3;
    pub(super) const V6_DESTINATION: u16 = 4;
    pub(super) const PROTOCOL: u16 = 1;
    pub(super) const DESTINATION_PORT: u16 = 3;
}

/// Connections of a network, to the ports of a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connections {
    pub(crate) network: Network,
    pub(crate) ports: Vec<PortRange>,
    /// Where the door guards them; empty: at every address of this machine.
    pub(crate) at: Vec<Network>,
}

impl Connections {
    /// Whether a connection that began so, before any port forwarding, is one of them.
    fn have(&self, begun: &Begun) -> bool {
        self.network.has(begun.source)
            && self.ports.iter().any(|ports| ports.contains(begun.port))
            && match self.at.as_slice() {
                [] => is_own(begun.destination),
                at => at.iter().any(|network| network.has(begun.destination)),
            }
    }
}

/// Ends connections, of both families, but for those that are spared; how many there were.
pub(crate) fn cut(doomed: &[Connections], spared: &[Connections]) -> io::Result<usize> {
    let mut socket = NetlinkSocket::open()?;
    let mut buffer = vec![0; LONGEST_ANSWER];
    let mut ended = 0;
    for _ in 0..MAX_LISTINGS {
        let found = list(&mut socket, &mut buffer, (doomed, spared))?;
        for connection in &found {
            connection.end(&mut socket, &mut buffer)?;
        }
        ended += found.len();
        if found.len() < MAX_DELETIONS_PER_LISTING {
            break;
        }
    }
    Ok(ended)
}

/// What it takes to name a connection: attributes as the kernel wrote them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    family: u8,
    attributes: Vec<u8>,
}

impl Connection {
    fn end(&self, socket: &mut NetlinkSocket, buffer: &mut [u8]) -> io::Result<()> {
        const SEQUENCE: u32 = 2;
        let mut octets = Vec::new();
        let of = (self.family, 0);
        message(&mut octets, DELETE, libc::NLM_F_ACK, SEQUENCE, of, |to| {
            to.extend_from_slice(&self.attributes);
        });
        match exchange(socket, &octets, SEQUENCE, buffer, &mut |_| {}) {
            // It ended by itself.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            ended => ended,
        }
    }
}

/// Some of the connections that are to end, no more than [`MAX_DELETIONS_PER_LISTING`].
fn list(
    socket: &mut NetlinkSocket,
    buffer: &mut [u8],
    which: (&[Connections], &[Connections]),
) -> io::Result<Vec<Connection>> {
    const SEQUENCE: u32 = 1;
    let mut octets = Vec::new();
    let every_family = (libc::AF_UNSPEC as u8, 0);
    message(
        &mut octets,
        GET,
        libc::NLM_F_DUMP,
        SEQUENCE,
        every_family,
        |_| {},
    );
    let mut found = Vec::new();
    exchange(socket, &octets, SEQUENCE, buffer, &mut |answer| {
        if found.len() < MAX_DELETIONS_PER_LISTING {
            found.extend(choose(answer, which));
        }
    })?;
    Ok(found)
}

/// The connection that a message is about, if it is to end.
pub(crate) fn choose(
    answer: &Message<'_>,
    (doomed, spared): (&[Connections], &[Connections]),
) -> Option<Connection> {
    let about = answer.attributes();
    let begun = Begun::read(about.inside(cta::TUPLE_ORIGINAL)?)?;
    let is_of = |these: &Connections| these.have(&begun);
    if !doomed.iter().any(is_of) || spared.iter().any(is_of) {
        return None;
    }
    let mut attributes = Vec::new();
    for (kind, nested) in [(cta::TUPLE_ORIGINAL, NESTED), (cta::ID, 0), (cta::ZONE, 0)] {
        if let Some(value) = about.find(kind) {
            attribute(&mut attributes, kind | nested, value);
        }
    }
    Some(Connection {
        family: *answer.body.first()?,
        attributes,
    })
}

/// What a connection began with: who sent, where to, and to which port.
struct Begun {
    source: IpAddr,
    destination: IpAddr,
    port: Port,
}

impl Begun {
    fn read(tuple: Attributes<'_>) -> Option<Self> {
        let addresses = tuple.inside(cta::TUPLE_IP)?;
        let address = |v4, v6| {
            let four = || Some(<[u8; 4]>::try_from(addresses.find(v4)?).ok()?.into());
            let six = || Some(<[u8; 16]>::try_from(addresses.find(v6)?).ok()?.into());
            four().or_else(six)
        };
        let about = tuple.inside(cta::TUPLE_PROTOCOL)?;
        let number = *about.find(cta::PROTOCOL)?.first()?;
        let protocols = [Protocol::Tcp, Protocol::Udp].into_iter();
        let port = about.find(cta::DESTINATION_PORT)?.try_into().ok()?;
        Some(Self {
            source: address(cta::V4_SOURCE, cta::V6_SOURCE)?,
            destination: address(cta::V4_DESTINATION, cta::V6_DESTINATION)?,
            port: Port {
                protocol: { protocols }.find(|protocol| protocol.number() == number)?,
                number: u16::from_be_bytes(port),
            },
        })
    }
}

/// Whether an address is this machine's: what is forwarded to others is not a door's.
///
/// Nobody else's address can be bound to. One that is good on its own wire only cannot be without
/// the name of that, and is never forwarded.
fn is_own(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(error) => error.raw_os_error() == Some(libc::EINVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::codec::Messages;

    fn tuple(to: &mut Vec<u8>, kind: u16, from: [u8; 4], to_address: [u8; 4], ports: [u16; 2]) {
        let nested = |kind: u16, inner: &[u8]| {
            let mut octets = Vec::new();
            attribute(&mut octets, kind | NESTED, inner);
            octets
        };
        let mut addresses = Vec::new();
        attribute(&mut addresses, cta::V4_SOURCE, &from);
        attribute(&mut addresses, 2, &to_address);
        let mut about = Vec::new();
        attribute(&mut about, cta::PROTOCOL, &[6]);
        attribute(&mut about, 2, &ports[0].to_be_bytes());
        attribute(&mut about, cta::DESTINATION_PORT, &ports[1].to_be_bytes());
        let inner = [
            nested(cta::TUPLE_IP, &addresses),
            nested(cta::TUPLE_PROTOCOL, &about),
        ]
        .concat();
        attribute(to, kind | NESTED, &inner);
    }

    fn connection(client: [u8; 4], server: [u8; 4], port: u16) -> Vec<u8> {
        let mut octets = Vec::new();
        message(&mut octets, SUBSYSTEM, 0, 1, (2, 0), |to| {
            tuple(to, cta::TUPLE_ORIGINAL, client, server, [40_000, port]);
            attribute(to, cta::ID, &[0, 0, 0, 7]);
        });
        octets
    }

    fn is_chosen(octets: &[u8]) -> bool {
        let of = |last: u8, prefix, number| Connections {
            network: Network::of([192, 0, 2, last].into(), prefix),
            ports: vec![PortRange {
                protocol: Protocol::Tcp,
                first: number,
                last: number,
            }],
            at: Vec::new(),
        };
        let (doomed, spared) = ([of(0, 24, 22)], [of(9, 32, 22), of(7, 32, 80)]);
        let chosen = Messages(octets).find_map(|answer| choose(&answer, (&doomed, &spared)));
        chosen.is_some()
    }

    #[test]
    fn only_what_a_withdrawn_source_has_with_this_machine_at_the_port_is_to_end() {
        let here = [127, 0, 0, 1];
        assert!(is_chosen(&connection([192, 0, 2, 7], here, 22)));
        assert!(!is_chosen(&connection([192, 0, 3, 7], here, 22)));
        assert!(!is_chosen(&connection([192, 0, 2, 9], here, 22)), "spared");
        assert!(!is_chosen(&connection([192, 0, 2, 7], here, 23)));
        // It passes by.
        assert!(!is_chosen(&connection(
            [192, 0, 2, 7],
            [203, 0, 113, 9],
            22
        )));
    }

    #[test]
    fn no_octets_are_too_odd() {
        let octets = connection([192, 0, 2, 7], [127, 0, 0, 1], 22);
        for end in 0..octets.len() {
            is_chosen(&octets[..end]);
        }
        for at in 0..octets.len() {
            for value in [0, 1, 3, 4, 0x7f, 0x80, 0xff] {
                let mut octets = octets.clone();
                octets[at] = value;
                is_chosen(&octets);
            }
        }
    }
}
