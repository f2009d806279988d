//! Connections that the kernel tracks without a packet of theirs (ctnetlink, IPCTNL_MSG_CT_NEW).

use std::fs;
use std::io::{self, ErrorKind};

use crate::netlink::codec::{attribute, message, nest};
use crate::sys::netlink::NetlinkSocket;

const NEW: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8;
/// Messages to a datagram.
const AT_ONCE: u32 = 200;

/// The most that the kernel tracks, in each namespace.
pub(crate) fn most() -> u32 {
    let text = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").unwrap();
    text.trim().parse().unwrap()
}

/// How many are tracked in this namespace.
pub(crate) fn count() -> u32 {
    let text = fs::read_to_string("/proc/thread-self/net/stat/nf_conntrack").unwrap();
    let row = text.lines().nth(1).unwrap().split(' ').next().unwrap();
    u32::from_str_radix(row, 16).unwrap()
}

/// Has so many flows tracked that a client began from different ports and addresses, beginning with this one, to a
/// port for UDP of a server.
pub(crate) fn track(count: u32, client: [u8; 4], server: [u8; 4], port: u16) {
    const PORTS: u32 = 60_000;
    let mut socket = NetlinkSocket::open().unwrap();
    let mut datagram = Vec::new();
    for number in 0..count {
        let client = (u32::from_be_bytes(client) + number / PORTS).to_be_bytes();
        let from = (1_024 + number % PORTS) as u16;
        let create = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        message(&mut datagram, NEW, create, 1, (2, 0), |to| {
            tuple(to, 1, (client, from), (server, port));
            tuple(to, 2, (server, port), (client, from));
            // CTA_TIMEOUT, in seconds; CTA_STATUS: confirmed.
            attribute(to, 7, &3_600_u32.to_be_bytes());
            attribute(to, 3, &8_u32.to_be_bytes());
        });
        if number % AT_ONCE == AT_ONCE - 1 || number == count - 1 {
            socket.send(&datagram).unwrap();
            datagram.clear();
        }
    }
    let mut buffer = [0; 8192];
    let refused = socket.receive(&mut buffer).map(<[u8]>::to_vec);
    assert_eq!(
        refused.map_err(|error: io::Error| error.kind()),
        Err(ErrorKind::WouldBlock)
    );
}

fn tuple(to: &mut Vec<u8>, kind: u16, source: ([u8; 4], u16), destination: ([u8; 4], u16)) {
    nest(to, kind, |to| {
        nest(to, 1, |to| {
            attribute(to, 1, &source.0);
            attribute(to, 2, &destination.0);
        });
        nest(to, 2, |to| {
            attribute(to, 1, &[17]);
            attribute(to, 2, &source.1.to_be_bytes());
            attribute(to, 3, &destination.1.to_be_bytes());
        });
    });
}
