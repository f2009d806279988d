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

use crate::netlink::codec::{Attributes, Message, Messages, NESTED, attribute, message};
use crate::network::Network;
use crate::sys::netlink::NetlinkSocket;

/// Room for one datagram from the kernel, which makes none longer for whoever has no more room (`netlink_dump`,
/// NLMSG_GOODSIZE): some forty connections, so that none of them is a long time.
const SLICE: usize = 8 * 1024;

const LISTING: u32 = 1;
const DELETION: u32 = 2;

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
    fn have(&self, begun: &Begun, own: &mut Own) -> bool {
        self.network.has(begun.source)
            && self.ports.iter().any(|ports| ports.contains(begun.port))
            && match self.at.as_slice() {
                [] => own.has(begun.destination),
                at => at.iter().any(|network| network.has(begun.destination)),
            }
    }
}

/// Connections on their way to be ended, of both families: one walk through all that the kernel tracks, a few of them
/// at a time, so that whoever does this has time for others.
pub(crate) struct Ending {
    socket: NetlinkSocket,
    buffer: Vec<u8>,
    doomed: Vec<Connections>,
    own: Own,
    ended: usize,
}

impl Ending {
    pub(crate) fn begin(doomed: Vec<Connections>) -> io::Result<Self> {
        let mut socket = NetlinkSocket::open()?;
        let mut request = Vec::new();
        let every_family = (libc::AF_UNSPEC as u8, 0);
        let dump = libc::NLM_F_DUMP;
        message(&mut request, GET, dump, LISTING, every_family, |_| {});
        socket.send(&request)?;
        Ok(Self {
            socket,
            buffer: vec![0; SLICE],
            doomed,
            own: Own(None),
            ended: 0,
        })
    }

    /// Looks at as many connections as the kernel lists at once, and ends those of them that are to end; in the end,
    /// how many there were.
    ///
    /// Who is spared is asked only where there is something to end, and each time: somebody may have been let in
    /// again. Without an answer, nothing more is ended.
    pub(crate) fn go_on(
        &mut self,
        spared: &mut dyn FnMut() -> Option<Vec<Connections>>,
    ) -> io::Result<Option<usize>> {
        let Some(datagram) = self.socket.receive_queued(&mut self.buffer)? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let mut spares = None;
        let mut deletions = Vec::new();
        let mut is_over = false;
        for message in Messages(datagram) {
            match (message.sequence, message.outcome()) {
                (LISTING, Some((0, _))) => is_over = true,
                // It ended by itself.
                (DELETION, Some((libc::ENOENT, _))) => self.ended = self.ended.saturating_sub(1),
                (_, Some((0, _))) => {}
                (_, Some((number, _))) => return Err(io::Error::from_raw_os_error(number)),
                (_, None) => {
                    let Some((about, begun)) = begun(&message) else {
                        continue;
                    };
                    let own = &mut self.own;
                    if !self.doomed.iter().any(|these| these.have(&begun, own)) {
                        continue;
                    }
                    if spares.is_none() {
                        spares = spared();
                    }
                    let Some(spares) = &spares else {
                        return Ok(Some(self.ended));
                    };
                    if !spares.iter().any(|these| these.have(&begun, own)) {
                        delete(&mut deletions, &message, about);
                        self.ended += 1;
                    }
                }
            }
        }
        // One datagram; the kernel answers only where it cannot.
        if !deletions.is_empty() {
            self.socket.send(&deletions)?;
        }
        Ok(is_over.then_some(self.ended))
    }
}

/// Ends connections but for those that are spared, however long that takes.
pub(crate) fn cut(doomed: Vec<Connections>, spared: &[Connections]) -> io::Result<()> {
    let mut ending = Ending::begin(doomed)?;
    while (ending.go_on(&mut || Some(spared.to_vec()))?).is_none() {}
    Ok(())
}

/// Appends the request to end a connection, by attributes as the kernel wrote them.
fn delete(to: &mut Vec<u8>, connection: &Message<'_>, about: Attributes<'_>) {
    let family = connection.body.first().copied().unwrap_or_default();
    message(to, DELETE, 0, DELETION, (family, 0), |to| {
        for (kind, nested) in [(cta::TUPLE_ORIGINAL, NESTED), (cta::ID, 0), (cta::ZONE, 0)] {
            if let Some(value) = about.find(kind) {
                attribute(to, kind | nested, value);
            }
        }
    });
}

/// What a message tells of a connection, and what that began with.
fn begun<'d>(message: &Message<'d>) -> Option<(Attributes<'d>, Begun)> {
    let about = message.attributes();
    let begun = Begun::read(about.inside(cta::TUPLE_ORIGINAL)?)?;
    Some((about, begun))
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

/// Which addresses are this machine's: what is forwarded to others is not a door's. The one that was asked for last is
/// most often asked for again.
struct Own(Option<(IpAddr, bool)>);

impl Own {
    /// Nobody else's address can be bound to. One that is good on its own wire only cannot be without
    /// the name of that, and is never forwarded.
    fn has(&mut self, address: IpAddr) -> bool {
        match self.0 {
            Some((last, is_own)) if last == address => is_own,
            _ => {
                let is_own = match UdpSocket::bind((address, 0)) {
                    Ok(_) => true,
                    Err(error) => error.raw_os_error() == Some(libc::EINVAL),
                };
                self.0 = Some((address, is_own));
                is_own
            }
        }
    }
}

/// Reads a message about a connection, and says how it would be ended.
#[cfg(fuzzing)]
pub(crate) fn read(message: &Message<'_>) {
    if let Some((about, _)) = begun(message) {
        delete(&mut Vec::new(), message, about);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let have = |these: &[Connections], begun: &Begun| {
            let mut these = these.iter();
            these.any(|these| these.have(begun, &mut Own(None)))
        };
        let mut told = Messages(octets).filter_map(|answer| begun(&answer));
        told.any(|(_, begun)| have(&doomed, &begun) && !have(&spared, &begun))
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
