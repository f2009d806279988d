//! What the targets of `fuzz/` reach the program's parsers by.

use std::path::Path;

use postern_core::door::Door;
use postern_core::knock::{Port, PortRange, Protocol};
use postern_core::packet;

use crate::daemon::control::Request;
use crate::firewall::nft::connection::Connection;
use crate::firewall::{self, Firewall};
use crate::netlink::codec::Messages;
use crate::netlink::{conntrack, links};
use crate::onetime::{base32, list::List, secret::Secret, state};
use crate::openwrt::{networks, ubus};
use crate::source::nflog::wire::{self, Said};

/// A line that a client sends to the control socket: what is understood is written, and understood again as the same.
pub fn control(line: &str) {
    let Some(request) = Request::decode(line) else {
        return;
    };
    let written = request.encode();
    let line = written.strip_suffix('\n').unwrap_or(&written);
    assert_eq!(Request::decode(line), Some(request), "{written}");
}

/// What netifd says over ubus.
pub fn ubus(body: &[u8]) {
    for field in ubus::fields(body) {
        let inner = field.fields().flat_map(|field| field.fields());
        inner.for_each(|field| _ = field.text());
    }
    _ = networks::read(body);
}

/// What the kernel says of tables and interfaces.
pub fn netlink(datagram: &[u8]) {
    for message in Messages(datagram) {
        _ = message.outcome();
        _ = (links::link(&message), links::address(&message));
        firewall::fuzzing::answer(&message);
    }
}

/// The kernel's firewall, in the network namespace of the thread that opened it.
pub struct Kernel {
    firewall: Firewall,
    connection: Connection,
}

impl Kernel {
    /// Speaks to it.
    ///
    /// # Panics
    /// Without netlink.
    #[must_use]
    pub fn open() -> Self {
        Self {
            firewall: Firewall::open().expect("a socket"),
            connection: Connection::open().expect("a socket"),
        }
    }

    /// Follows packets through chains that have this rule of another table's, expressions as the kernel writes them.
    pub fn journey(&mut self, rule: &[u8]) {
        firewall::fuzzing::journey(&mut self.firewall, rule);
    }

    /// Takes all elements out of a set of the table that is ours.
    pub fn take(&mut self, set: &str) -> Vec<Vec<u8>> {
        firewall::fuzzing::take(&mut self.connection, set)
    }
}

/// What NFLOG hands over; what comes out of it goes on to core.
pub fn nflog(datagram: &[u8]) {
    for said in wire::read(datagram) {
        if let Said::Packet { payload, .. } = said {
            _ = packet::parse(payload);
        }
    }
}

/// What the kernel says of connections.
pub fn conntrack(datagram: &[u8]) {
    for message in Messages(datagram) {
        conntrack::read(&message);
    }
}

/// What one-time doors read from files: their memory, their sequences, their secrets.
pub fn memory(content: &[u8], door: &Door) {
    if let Ok(next) = state::parse(content, door) {
        assert_eq!(state::render(door, next).as_bytes(), content);
    }
    let guarded = [PortRange {
        protocol: Protocol::Tcp,
        first: 22,
        last: 22,
    }];
    if let Ok(list) = List::parse(Path::new("list"), content, &guarded) {
        let sequences =
            (0..list.len()).map(|number| list.sequence(number).expect("it counts them"));
        let knocks: Vec<Port> = sequences.flatten().collect();
        assert!(
            knocks
                .iter()
                .all(|port| list.ports().contains(port) && !guarded[0].contains(*port))
        );
    }
    _ = (Secret::parse(content), base32::decode(content));
}
