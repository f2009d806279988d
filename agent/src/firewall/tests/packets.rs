//! Real packets against the installed table.
//!
//! ```text
//!   sender 10.0.0.2, fd00::2   v1 ----- wan  10.0.0.1, fd00::1 guarded
//!          10.0.0.3, fd00::3                 10.0.1.1, fd00:0:0:1::1
//!          10.0.1.2, fd00:0:0:1::2
//! ```
//!
//! Whether a packet was dropped shows when a packet that was sent after it has arrived.

use core::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use core::time::Duration as Wait;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::mpsc::channel;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, recv,
    sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use nix::unistd::gettid;
use postern_core::config::Guard;
use postern_core::packet;
use postern_core::payload::{MAX_BYTES, Payload};
use postern_core::time::Duration;

use super::examples::{self, whole};
use super::kernel::in_namespace;
use crate::firewall::Firewall;
use crate::firewall::table::delivery::LONGEST_SNAPLEN;
use crate::source::nflog::Nflog;
use crate::testing::eventually::eventually;

const GUARDED: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const SENDER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// Runs `ip` in the namespace of the thread.
pub(super) fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split(' '))
        .status()
        .expect("ip is there");
    assert!(status.success(), "ip {arguments}");
}

/// An IPv6 address would be of no use until nobody else has claimed it.
fn nodad(address: &str) -> &'static str {
    if address.contains(':') { " nodad" } else { "" }
}

/// Lets a neighbour of this namespace make its sockets, once there is a link between the two.
pub(super) fn neighbour<T: Send + 'static>(make: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = channel();
    let (connect, connected) = channel::<()>();
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        tell.send(gettid()).unwrap();
        connected.recv().unwrap();
        ip("addr add 10.0.0.2/24 dev v1");
        ip("addr add fd00::2/64 dev v1 nodad");
        for other in [
            "10.0.0.3/24",
            "10.0.1.2/24",
            "fd00::3/64",
            "fd00:0:0:1::2/64",
        ] {
            ip(&format!("addr add {other} dev v1{}", nodad(other)));
        }
        ip("link set v1 up");
        tell.send(gettid()).unwrap();
        connected.recv().unwrap();
        make()
    });
    ip(&format!(
        "link add wan type veth peer name v1 netns {}",
        told.recv().unwrap()
    ));
    ip("addr add 10.0.0.1/24 dev wan");
    ip("addr add fd00::1/64 dev wan nodad");
    for other in ["10.0.1.1/24", "fd00:0:0:1::1/64"] {
        ip(&format!("addr add {other} dev wan{}", nodad(other)));
    }
    ip("link set wan up");
    connect.send(()).unwrap();
    told.recv().unwrap();
    connect.send(()).unwrap();
    thread.join().unwrap()
}

/// A socket that sends packets of one's own making, and one that hears segments of TCP.
fn raw_sockets(family: AddressFamily) -> (OwnedFd, OwnedFd) {
    let raw = |protocol| socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).unwrap();
    let (out, heard) = (raw(SockProtocol::Raw), raw(SockProtocol::Tcp));
    setsockopt(&heard, sockopt::ReceiveTimeout, &TimeVal::new(5, 0)).unwrap();
    (out, heard)
}

/// Sends TCP segments in IPv6 packets of one's own making, and hears the answers.
struct Raw {
    out: OwnedFd,
    heard: OwnedFd,
}

impl Raw {
    fn open() -> Self {
        let (out, heard) = raw_sockets(AddressFamily::Inet6);
        Self { out, heard }
    }

    fn send(&self, next_header: u8, payload: &[u8]) {
        let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next_header, 64];
        packet.extend(SENDER.octets());
        packet.extend(GUARDED.octets());
        packet.extend(payload);
        let to = SockaddrIn6::from(SocketAddrV6::new(GUARDED, 0, 0, 0));
        assert_eq!(
            sendto(self.out.as_raw_fd(), &packet, &to, MsgFlags::empty()),
            Ok(packet.len())
        );
    }

    /// Sends a packet in two fragments, the first of which ends at `split`.
    fn send_split(&self, next_header: u8, payload: &[u8], split: usize, id: u8) {
        for (range, offset, more) in [(0..split, 0, 1), (split..payload.len(), split as u8, 0)] {
            let mut fragment = vec![next_header, 0, 0, offset | more, 0, 0, 0, id];
            fragment.extend(&payload[range]);
            self.send(44, &fragment);
        }
    }

    /// Which of the sender's ports were answered with SYN and ACK until `last` was.
    fn answered(&self, last: u16) -> Vec<u16> {
        let mut ports = Vec::new();
        let mut segment = [0; 1500];
        while !ports.contains(&last) {
            let length =
                recv(self.heard.as_raw_fd(), &mut segment, MsgFlags::empty()).expect("an answer");
            if length >= 20 && segment[13] & 0x12 == 0x12 {
                ports.push(u16::from_be_bytes([segment[2], segment[3]]));
            }
        }
        ports
    }
}

/// A TCP segment that opens a connection, with these flags.
fn opening(source_port: u16, port: u16, flags: u8) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(source_port.to_be_bytes());
    segment.extend(port.to_be_bytes());
    segment.extend([
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        8 << 4,
        flags,
        0xff,
        0xff,
        0,
        0,
        0,
        0,
    ]);
    segment.extend([2, 4, 5, 0xa0, 1, 1, 1, 1, 1, 1, 1, 1]);
    let sum = checksum(&segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// RFC 8200, section 8.1.
fn checksum(segment: &[u8]) -> u16 {
    sum_for(&SENDER.octets(), &GUARDED.octets(), segment)
}

fn sum_for(from: &[u8], to: &[u8], segment: &[u8]) -> u16 {
    let mut octets = [from, to].concat();
    octets.extend([0, 0, 0, segment.len() as u8, 0, 0, 0, 6]);
    octets.extend(segment);
    let sum: u32 = octets
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}

const SYN: u8 = 0x02;
const ECE_CWR: u8 = 0xc0;

/// Two destination options headers, the first of 16 octets, before a segment: its first
/// eight octets show neither the second header nor the ports.
fn behind_options(segment: &[u8]) -> Vec<u8> {
    let first = [60, 1, 0x1e, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let second = [6, 0, 0x1e, 4, 0, 0, 0, 0];
    [first.as_slice(), second.as_slice(), segment].concat()
}

#[test]
fn no_way_of_sending_a_syn_over_ipv6_passes_a_shut_gate() {
    in_namespace(|| {
        let raw = neighbour(Raw::open);
        let _guarded = TcpListener::bind("[::]:22").unwrap();
        let _open = TcpListener::bind("[::]:80").unwrap();
        let every_way = |base: u16| {
            raw.send(6, &opening(base, 22, SYN));
            raw.send(6, &opening(base + 1, 22, SYN | ECE_CWR));
            raw.send_split(6, &opening(base + 2, 22, SYN), 24, 1);
            raw.send_split(60, &behind_options(&opening(base + 3, 22, SYN)), 8, 2);
            raw.send_split(60, &behind_options(&opening(base + 4, 22, SYN)), 16, 3);
            raw.send_split(6, &opening(base + 5, 22, SYN), 8, 4);
            // What is not guarded passes, in one piece or two.
            raw.send_split(6, &opening(base + 8, 80, SYN), 24, 5);
            raw.send(6, &opening(base + 9, 80, SYN));
            raw.answered(base + 9)
        };
        // The packets are good: without a guard all are answered, but for one whose first
        // fragment ends inside the TCP header, which Linux itself drops.
        assert_eq!(every_way(1000), [1000, 1001, 1002, 1003, 1004, 1008, 1009]);
        let mut firewall = Firewall::open().unwrap();
        firewall.install(&examples::ssh(Guard::Gate), &[]).unwrap();
        assert_eq!(every_way(2000), [2008, 2009]);
        firewall.grant(whole("ssh"), SENDER.into(), MINUTE).unwrap();
        assert_eq!(every_way(3000), [3000, 3001, 3002, 3008, 3009]);
        firewall.withdraw(whole("ssh"), SENDER.into()).unwrap();
        firewall.grant_anyone("ssh", MINUTE).unwrap();
        assert_eq!(every_way(4000), [4000, 4001, 4002, 4008, 4009]);
        firewall.remove().unwrap();
        assert_eq!(every_way(5000).len(), 7);
    });
}

/// Sends TCP segments in fragments of IPv4 packets, and hears the answers.
struct Raw4 {
    out: OwnedFd,
    heard: OwnedFd,
}

impl Raw4 {
    fn open() -> Self {
        let (out, heard) = raw_sockets(AddressFamily::Inet);
        Self { out, heard }
    }

    /// Sends a SYN in fragments that end at these octets; the kernel fills in the header's sum.
    fn send(&self, source_port: u16, port: u16, ends: &[usize]) {
        let mut segment = opening(source_port, port, SYN);
        segment[16..18].fill(0);
        let sum = sum_for(&[10, 0, 0, 2], &[10, 0, 0, 1], &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut start = 0;
        for end in ends.iter().copied().chain([segment.len()]) {
            let more = if end < segment.len() { 0x20 } else { 0 };
            let id = source_port.to_be_bytes();
            let mut packet = vec![0x45, 0, 0, 0, id[0], id[1], more, start as u8 / 8];
            packet.extend([64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
            packet.extend(&segment[start..end]);
            let to = SockaddrIn::new(10, 0, 0, 1, 0);
            let sent = sendto(self.out.as_raw_fd(), &packet, &to, MsgFlags::empty());
            assert_eq!(sent, Ok(packet.len()));
            start = end;
        }
    }

    /// Which of the sender's ports were answered with SYN and ACK until `last` was.
    fn answered(&self, last: u16) -> Vec<u16> {
        let mut ports = Vec::new();
        let mut packet = [0; 1500];
        while !ports.contains(&last) {
            let length =
                recv(self.heard.as_raw_fd(), &mut packet, MsgFlags::empty()).expect("an answer");
            if length >= 40 && packet[20 + 13] & 0x12 == 0x12 {
                ports.push(u16::from_be_bytes([packet[22], packet[23]]));
            }
        }
        ports
    }
}

/// Ahead of the routing decision nobody has put fragments together. The first shows the ports at
/// least: it is of eight octets or more, or of none.
#[test]
fn no_fragment_of_a_syn_over_ipv4_passes_a_shut_gate() {
    in_namespace(|| {
        let raw = neighbour(Raw4::open);
        let _guarded = TcpListener::bind("0.0.0.0:22").unwrap();
        let _open = TcpListener::bind("0.0.0.0:80").unwrap();
        let every_way = |base: u16| {
            for (number, port) in (0..).zip([22, 80]) {
                for (way, ends) in (0..).zip([&[][..], &[8], &[16], &[24], &[8, 16, 24]]) {
                    raw.send(base + number * 10 + way, port, ends);
                }
            }
            raw.send(base + 20, 80, &[]);
            let mut answered = raw.answered(base + 20);
            for port in &mut answered {
                *port -= base;
            }
            answered
        };
        let to_the_open_port = [10, 11, 12, 13, 14, 20];
        let to_both = [0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 20];
        assert_eq!(every_way(1000), to_both);
        let mut firewall = Firewall::open().unwrap();
        // With a door for UDP, which has connection tracking put fragments together, and without.
        for config in [examples::ssh, examples::three] {
            let mut config = config(Guard::Gate);
            config.doors.truncate(2);
            firewall.install(&config, &[]).unwrap();
            assert_eq!(every_way(2000), to_the_open_port);
            let source = [10, 0, 0, 2].into();
            firewall.grant(whole("ssh"), source, MINUTE).unwrap();
            assert_eq!(every_way(3000), to_both);
            firewall.withdraw(whole("ssh"), source).unwrap();
        }
    });
}

#[test]
fn a_connection_outlives_its_grant() {
    in_namespace(|| {
        // The guard's side must be up before the neighbour connects.
        let listener = TcpListener::bind("0.0.0.0:22").unwrap();
        let mut firewall = Firewall::open().unwrap();
        firewall.install(&examples::ssh(Guard::Gate), &[]).unwrap();
        firewall
            .grant(whole("ssh"), [10, 0, 0, 2].into(), MINUTE)
            .unwrap();
        let connect = || {
            TcpStream::connect_timeout(&SocketAddr::from(([10, 0, 0, 1], 22)), Wait::from_secs(5))
        };
        let near = neighbour(connect).unwrap();
        let (far, _) = listener.accept().unwrap();
        firewall
            .withdraw(whole("ssh"), [10, 0, 0, 2].into())
            .unwrap();
        for (mut from, mut to) in [(&near, &far), (&far, &near)] {
            use std::io::{Read, Write};
            to.set_read_timeout(Some(Wait::from_secs(5))).unwrap();
            from.write_all(b"still here").unwrap();
            to.read_exact(&mut [0; 10]).unwrap();
        }
    });
}

/// Whether a datagram to a guarded port arrives, when one to an open port surely does.
fn arrives(from: &UdpSocket, guarded: &UdpSocket, open: &UdpSocket) -> bool {
    for to in [guarded, open] {
        from.send_to(b"hello", to.local_addr().unwrap()).unwrap();
    }
    open.recv(&mut [0; 16]).expect("the unguarded port is open");
    match guarded.recv(&mut [0; 16]) {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            false
        }
        Ok(_) => true,
    }
}

pub(super) fn bind(at: &str) -> UdpSocket {
    UdpSocket::bind(at).unwrap()
}

/// A socket that waits for what surely comes, and one that does not wait.
fn listen(guarded: &str, open: &str) -> [UdpSocket; 2] {
    let [guarded, open] = [guarded, open].map(bind);
    guarded.set_nonblocking(true).unwrap();
    open.set_read_timeout(Some(Wait::from_secs(5))).unwrap();
    [guarded, open]
}

#[test]
fn a_grant_to_a_network_lets_neighbours_in_and_nobody_else() {
    in_namespace(|| {
        let senders = neighbour(|| {
            let v4 = ["10.0.0.2:1001", "10.0.0.3:1001", "10.0.1.2:1001"];
            let v6 = ["[fd00::2]:1001", "[fd00::3]:1001", "[fd00:0:0:1::2]:1001"];
            [v4, v6].map(|addresses| addresses.map(bind))
        });
        let guards = [
            listen("10.0.0.1:51820", "10.0.0.1:5000"),
            listen("[fd00::1]:51820", "[fd00::1]:5000"),
        ];
        let mut firewall = Firewall::open().unwrap();
        let mut config = examples::udp_only(Guard::Gate);
        let door = &mut config.doors[0];
        (door.grant_prefix4, door.grant_prefix6) = (24, 64);
        firewall.install(&config, &[]).unwrap();
        for (senders, [guarded, open]) in senders.iter().zip(&guards) {
            let passed = || senders.each_ref().map(|from| arrives(from, guarded, open));
            assert_eq!(passed(), [false, false, false]);
            let source = senders[0].local_addr().unwrap().ip();
            firewall
                .grant_at_least(&config.doors[0], source, MINUTE)
                .unwrap();
            assert_eq!(passed(), [true, true, false]);
        }
    });
}

#[test]
fn a_knock_is_logged_with_as_much_as_its_door_asks_for() {
    in_namespace(|| {
        let from = neighbour(|| bind("[fd00::2]:1001"));
        let wanted = [0x5a; MAX_BYTES];
        let payload = Payload::Bytes(heapless::Vec::from_slice(&wanted).unwrap());
        let mut config = examples::ssh(Guard::Gate);
        let mut nflog = Nflog::open(5, LONGEST_SNAPLEN, 1 << 20).unwrap();
        let mut firewall = Firewall::open().unwrap();
        let mut logged = |octets: &[u8]| {
            from.send_to(octets, "[fd00::1]:8001").unwrap();
            let mut found = None;
            eventually(|| {
                let visitor = |packet: &[u8]| {
                    let knock = packet::parse(packet).unwrap();
                    found = Some((knock.payload.len(), payload.matches(knock.payload)));
                };
                nflog.for_each(visitor).unwrap().packets > 0
            });
            found.unwrap()
        };
        firewall.install(&config, &[]).unwrap();
        // Room for a TCP header, and for extension headers that were not needed.
        assert_eq!(logged(&[0x5a; 1000]), (124 - 48, false));
        config.doors[0].payload = Some(payload.clone());
        firewall.install(&config, &[]).unwrap();
        assert_eq!(logged(&wanted), (MAX_BYTES, true));
        assert_eq!(logged(&[0x5a; MAX_BYTES + 1]), (MAX_BYTES + 1, false));
        assert_eq!(logged(&[0x5a; 1000]), (177 - 48, false));
    });
}

#[test]
fn a_range_of_knocks_takes_its_ports_and_no_others() {
    in_namespace(|| {
        let from = neighbour(|| bind("10.0.0.2:1001"));
        let mut firewall = Firewall::open().unwrap();
        firewall
            .install(&examples::codes(Guard::Gate), &[examples::udp(5)])
            .unwrap();
        let [_, open] = listen("10.0.0.1:5999", "10.0.0.1:5000");
        for (port, passes) in [
            (4, true),
            (5, false),
            (9_998, true),
            (9_999, false),
            (10_000, false),
            (15_000, false),
            (20_499, false),
            (20_500, true),
            (65_535, true),
        ] {
            let [at, _] = listen(&format!("10.0.0.1:{port}"), "10.0.0.1:0");
            assert_eq!(arrives(&from, &at, &open), passes, "{port}");
        }
        // Granted, the guarded port beside the range opens, and the range does not.
        firewall
            .grant(whole("long"), [10, 0, 0, 2].into(), MINUTE)
            .unwrap();
        for (port, passes) in [(9_999, true), (10_000, false)] {
            let [at, _] = listen(&format!("10.0.0.1:{port}"), "10.0.0.1:0");
            assert_eq!(arrives(&from, &at, &open), passes, "{port}");
        }
    });
}

#[test]
fn a_udp_flow_outlives_its_grant_and_another_does_not_begin() {
    in_namespace(|| {
        let [first, second] = neighbour(move || [bind("10.0.0.2:1001"), bind("10.0.0.2:1002")]);
        let [guarded, open] = listen("10.0.0.1:51820", "10.0.0.1:5000");
        let arrives = |from: &UdpSocket| arrives(from, &guarded, &open);
        let mut firewall = Firewall::open().unwrap();
        firewall
            .install(&examples::udp_only(Guard::Gate), &[])
            .unwrap();
        assert!(!arrives(&first) && !arrives(&first));
        firewall
            .grant(whole("input"), [10, 0, 0, 2].into(), MINUTE)
            .unwrap();
        assert!(arrives(&first));
        firewall
            .withdraw(whole("input"), [10, 0, 0, 2].into())
            .unwrap();
        assert!(arrives(&first) && !arrives(&second));
        // The guarded host may begin a flow, and hears what comes back.
        guarded.send_to(b"hello", "10.0.0.2:1002").unwrap();
        assert!(arrives(&second));
    });
}
