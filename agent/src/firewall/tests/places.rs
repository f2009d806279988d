//! At which hook the installed table judges real packets, by where they are sent: each once, and
//! none that is for this machine gets around it.
//!
//! The wires are those of [`packets`](super::packets). Another table, behind ours, counts what
//! passed.

use core::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use core::time::Duration as Wait;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto,
    setsockopt, socket, sockopt,
};
use postern_core::config::Guard;
use postern_core::door::{InterfaceSet, OnExpiry};

use super::examples::{self, PortRange, Protocol, range, udp, whole};
use super::kernel::{in_namespace, nft};
use super::packets::{MINUTE, bind, ip, neighbour};
use crate::firewall::Firewall;
use crate::network::Network;

/// A guarded port, and one that is not.
const GUARDED: u16 = 51_820;
const OPEN: u16 = 5_000;

const TO_GUARDED: &str = "udp dport 51820";

/// Counts such packets that passed, and those that were shown to doors for this machine.
fn count(what: &str) {
    let script = format!(
        "insert rule inet postern local {what} counter
        table inet passed {{
            chain input {{ type filter hook input priority filter; {what} counter; }}
            chain forward {{ type filter hook forward priority filter; {what} counter; }}
        }}\n"
    );
    nft(&["-f", "-"], &script).expect("nft takes the script");
}

/// What became of packets.
#[derive(Debug, PartialEq, Eq)]
struct Fate {
    /// How often the doors were asked.
    judged: u64,
    /// How many came through to this machine.
    came_in: u64,
    /// How many were forwarded.
    went_by: u64,
}

const REFUSED: Fate = fate(1, 0, 0);
const LET_IN: Fate = fate(1, 1, 0);

const fn fate(judged: u64, came_in: u64, went_by: u64) -> Fate {
    Fate {
        judged,
        came_in,
        went_by,
    }
}

/// The first counter of a chain.
fn counted(table: &str, chain: &str) -> u64 {
    let listing = nft(&["list", "chain", "inet", table, chain], "").expect("the chain is there");
    let (_, rest) = listing.split_once("packets ").expect("a counter");
    let number = rest.split(' ').next().unwrap_or_default();
    number.parse().expect("a number")
}

fn fates() -> Fate {
    Fate {
        judged: counted("postern", "local"),
        came_in: counted("passed", "input"),
        went_by: counted("passed", "forward"),
    }
}

/// Two senders, and what waits for a datagram that surely comes.
struct Wires {
    v4: UdpSocket,
    v6: UdpSocket,
    /// For echo requests of both families.
    pings: [OwnedFd; 2],
    /// The number of the senders' link.
    link: u32,
    open: UdpSocket,
}

impl Wires {
    fn new() -> Self {
        let (v4, v6, pings, link) = neighbour(|| {
            ip("addr add fe80::2/64 dev v1 nodad");
            ip("addr del fd00::3/64 dev v1");
            ip("route add default via 10.0.0.1");
            ip("route add default via fd00::1");
            let (v4, v6) = (bind("10.0.0.2:1001"), bind("[fd00::2]:1001"));
            setsockopt(&v4, sockopt::Broadcast, &true).unwrap();
            let pings = [
                (AddressFamily::Inet, SockProtocol::Icmp),
                (AddressFamily::Inet6, SockProtocol::IcmpV6),
            ];
            let pings = pings.map(|(family, protocol)| {
                socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).unwrap()
            });
            (v4, v6, pings, if_nametoindex("v1").unwrap())
        });
        for knob in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            std::fs::write(format!("/proc/sys/{knob}"), "1").unwrap();
        }
        ip("addr add fe80::1/64 dev wan nodad");
        // A second link, with another network behind it, and nobody there.
        ip("link add lan type veth peer name nobody");
        ip("addr add 10.9.0.1/24 dev lan");
        ip("addr add fd09::1/64 dev lan nodad");
        for link in ["lo", "lan", "nobody"] {
            ip(&format!("link set {link} up"));
        }
        for host in ["10.9.0.7", "10.9.0.8", "fd09::7", "fd09::8"] {
            ip(&format!(
                "neigh add {host} lladdr 02:00:00:00:00:07 dev lan"
            ));
        }
        // What the main tables have for others comes here nevertheless, as in a VRF.
        for (family, network) in [("-4", "198.51.100.0/24"), ("-6", "fd0b::/64")] {
            ip(&format!("{family} route add {network} dev lan"));
            ip(&format!("{family} rule add iif wan lookup 100"));
            ip(&format!(
                "{family} route add local {network} dev lo table 100"
            ));
        }
        let open = bind(&format!("[::]:{OPEN}"));
        open.set_read_timeout(Some(Wait::from_secs(5))).unwrap();
        Self {
            v4,
            v6,
            pings,
            link,
            open,
        }
    }

    /// What becomes of a packet to the guarded port.
    fn send(&self, to: &str) -> Fate {
        self.send_to(to, GUARDED)
    }

    fn send_to(&self, to: &str, number: u16) -> Fate {
        let before = fates();
        let (from, here) = match to.contains(':') {
            true => (&self.v6, "[fd00::1]"),
            false => (&self.v4, "10.0.0.1"),
        };
        let port = |at: &str, port: u16| -> SocketAddr { format!("{at}:{port}").parse().unwrap() };
        let scoped = to.replace("%v1", &format!("%{}", self.link));
        from.send_to(b"hello", port(&scoped, number)).expect(to);
        from.send_to(b"hello", port(here, OPEN)).unwrap();
        self.fate_since(&before)
    }

    /// What became of packets, now that the one after them has come.
    fn fate_since(&self, before: &Fate) -> Fate {
        self.open.recv(&mut [0; 16]).expect("the open port is open");
        let after = fates();
        Fate {
            judged: after.judged - before.judged,
            came_in: after.came_in - before.came_in,
            went_by: after.went_by - before.went_by,
        }
    }
}

/// Where a packet that a neighbour sends is this machine's, one way or another.
const OURS: [&str; 13] = [
    "10.0.0.1",
    "10.9.0.1",
    "10.0.0.255",
    "255.255.255.255",
    "224.0.0.1",
    "198.51.100.7",
    "[fd00::1]",
    "[fe80::1%v1]",
    "[fd09::1]",
    // The routers of a network, and all nodes.
    "[fd09::]",
    "[ff02::1%v1]",
    "[ff02::2%v1]",
    "[fd0b::7]",
];

#[test]
fn every_packet_is_judged_once_and_others_are_let_be() {
    for guard in [Guard::Gate, Guard::Mark] {
        in_namespace(move || {
            let wires = Wires::new();
            let mut firewall = Firewall::open().unwrap();
            firewall.install(&examples::udp_only(guard), &[]).unwrap();
            count(TO_GUARDED);
            // Behind guard mark the ordinary firewall would refuse it.
            let refused = || match guard {
                Guard::Gate => REFUSED,
                Guard::Mark => LET_IN,
            };
            for to in OURS {
                assert_eq!(wires.send(to), refused(), "{guard:?} {to}");
            }
            for to in ["10.9.0.7", "[fd09::7]"] {
                assert_eq!(wires.send(to), fate(0, 0, 1), "{guard:?} {to}");
            }
            for source in ["10.0.0.2", "fd00::2", "fe80::2"] {
                let source = source.parse().unwrap();
                firewall.grant(whole("input"), source, MINUTE).unwrap();
            }
            for to in OURS {
                assert_eq!(wires.send(to), LET_IN, "{guard:?} {to}");
            }
        });
    }
}

/// What the ordinary firewall does with ports that it forwards, at its usual priority.
const FORWARDING: &str = "table inet nat {
	chain dstnat {
		type nat hook prerouting priority dstnat;
		meta nfproto ipv4 udp dport 51820 dnat ip to 10.9.0.7
		meta nfproto ipv6 udp dport 51820 dnat ip6 to fd09::7
		udp dport 5353 redirect to :51820
		udp dport 5354 redirect to :5355
	}
}
";

const SOURCES: [&str; 2] = ["10.0.0.2", "fd00::2"];
const HERE: [&str; 2] = ["10.0.0.1", "[fd00::1]"];

fn grant(firewall: &mut Firewall, door: &str, source: &str) {
    let source = source.parse().unwrap();
    firewall.grant(whole(door), source, MINUTE).unwrap();
}

fn withdraw(firewall: &mut Firewall, door: &str, source: &str) {
    let source = source.parse().unwrap();
    assert!(firewall.withdraw(whole(door), source).unwrap());
}

#[test]
fn a_port_that_is_forwarded_is_judged_by_the_port_that_the_sender_sees() {
    in_namespace(|| {
        let wires = Wires::new();
        let mut firewall = Firewall::open().unwrap();
        let mut config = examples::udp_only(Guard::Gate);
        config.doors[0].guards.push(udp(5_354).into()).unwrap();
        firewall.install(&config, &[]).unwrap();
        nft(&["-f", "-"], FORWARDING).unwrap();
        count(TO_GUARDED);
        for (here, source) in HERE.into_iter().zip(SOURCES) {
            assert_eq!(wires.send(here), REFUSED, "{here}");
            // Another port, redirected to the guarded one, is not guarded, whoever sends.
            assert_eq!(wires.send_to(here, 5_353), fate(0, 1, 0), "{here}");
            grant(&mut firewall, "input", source);
            assert_eq!(wires.send(here), fate(1, 0, 1), "{here}");
            withdraw(&mut firewall, "input", source);
        }
    });
}

#[test]
fn hosts_behind_are_guarded_and_their_neighbours_are_not() {
    in_namespace(|| {
        let wires = Wires::new();
        let mut firewall = Firewall::open().unwrap();
        let mut config = examples::udp_only(Guard::Gate);
        for host in ["fd09::7", "10.9.0.7"] {
            config.doors[0].behind.push(network(host)).unwrap();
        }
        firewall.install(&config, &[]).unwrap();
        count(TO_GUARDED);
        for (host, source) in ["10.9.0.7", "[fd09::7]"].into_iter().zip(SOURCES) {
            assert_eq!(wires.send(host), fate(0, 0, 0), "{host}");
            assert_eq!(wires.send_to(host, 80), fate(0, 0, 0), "{host}");
            grant(&mut firewall, "input", source);
            assert_eq!(wires.send(host), fate(0, 0, 1), "{host}");
            withdraw(&mut firewall, "input", source);
        }
        for (to, passes) in [
            ("10.9.0.8", fate(0, 0, 1)),
            ("[fd09::8]", fate(0, 0, 1)),
            ("10.0.0.1", LET_IN),
            ("[fd09::1]", LET_IN),
        ] {
            assert_eq!(wires.send(to), passes, "{to}");
        }
    });
}

#[test]
fn a_range_is_guarded_but_for_the_knocks_in_it() {
    in_namespace(|| {
        let wires = Wires::new();
        let mut firewall = Firewall::open().unwrap();
        let mut config = examples::ssh(Guard::Gate);
        let all = range(Protocol::Udp, 6_000, 9_000);
        config.doors[0].guards.push(all).unwrap();
        firewall.install(&config, &[]).unwrap();
        count("udp dport 6000-9000");
        for (here, source) in HERE.into_iter().zip(SOURCES) {
            for port in [6_000, 8_000, 8_002, 9_000] {
                assert_eq!(wires.send_to(here, port), REFUSED, "{port}");
            }
            // A knock is heard, and gone.
            assert_eq!(wires.send_to(here, 8_001), fate(1, 0, 0));
            grant(&mut firewall, "ssh", source);
            for port in [6_001, 8_003, 8_999] {
                assert_eq!(wires.send_to(here, port), LET_IN, "{port}");
            }
            assert_eq!(wires.send_to(here, 8_001), fate(1, 0, 0));
            withdraw(&mut firewall, "ssh", source);
            assert_eq!(wires.send_to(here, 6_002), REFUSED);
        }
    });
}

#[test]
fn echo_requests_are_guarded() {
    in_namespace(|| {
        let wires = Wires::new();
        let [v4, v6] = &wires.pings;
        let mut firewall = Firewall::open().unwrap();
        let mut config = examples::ssh(Guard::Gate);
        config.doors[0].guards.push(PortRange::ECHO).unwrap();
        firewall.install(&config, &[]).unwrap();
        for (what, ping, kind, here, source) in [
            ("icmp", v4, 8, "10.0.0.1", "10.0.0.2"),
            ("icmpv6", v6, 128, "fd00::1", "fd00::2"),
        ] {
            count(&format!("{what} type echo-request"));
            let send = || {
                let before = fates();
                let mut echo = [kind, 0, 0, 0, 0, 1, 0, 1];
                let sum = !u16::from_be_bytes([kind, 0]) - 2;
                echo[2..4].copy_from_slice(&sum.to_be_bytes());
                let to: IpAddr = here.parse().unwrap();
                let sent = match to {
                    IpAddr::V4(to) => {
                        let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
                        sendto(ping.as_raw_fd(), &echo, &to, MsgFlags::empty())
                    }
                    IpAddr::V6(to) => {
                        let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, 0));
                        sendto(ping.as_raw_fd(), &echo, &to, MsgFlags::empty())
                    }
                };
                assert_eq!(sent, Ok(echo.len()));
                wires.v4.send_to(b"hello", "10.0.0.1:5000").unwrap();
                wires.fate_since(&before)
            };
            assert_eq!(send(), REFUSED, "{here}");
            grant(&mut firewall, "ssh", source);
            assert_eq!(send(), LET_IN, "{here}");
            withdraw(&mut firewall, "ssh", source);
            assert_eq!(send(), REFUSED, "{here}");
            nft(&["delete", "table", "inet", "passed"], "").unwrap();
            firewall.install(&config, &[]).unwrap();
        }
    });
}

#[test]
fn what_is_exempt_is_let_in_and_the_rest_is_not() {
    in_namespace(|| {
        let wires = Wires::new();
        let mut firewall = Firewall::open().unwrap();
        let mut config = examples::udp_only(Guard::Gate);
        config.global.exempt.push(network("10.0.0.0/30")).unwrap();
        firewall.install(&config, &[]).unwrap();
        nft(&["-f", "-"], "table inet none { }").unwrap();
        let passed = "table inet passed { chain input { type filter hook input priority filter; udp dport 51820 counter; }; }";
        nft(&["-f", "-"], passed).unwrap();
        for (to, passes) in [("10.0.0.1", 1), ("[fd00::1]", 1)] {
            let port = format!("{to}:{GUARDED}");
            let (from, here) = match to.contains(':') {
                true => (&wires.v6, "[fd00::1]:5000"),
                false => (&wires.v4, "10.0.0.1:5000"),
            };
            from.send_to(b"hello", &*port).unwrap();
            from.send_to(b"hello", here).unwrap();
            wires.open.recv(&mut [0; 16]).unwrap();
            assert_eq!(counted("passed", "input"), passes, "{to}");
        }
    });
}

#[test]
fn a_door_guards_where_it_is_told_to() {
    in_namespace(|| {
        let wires = Wires::new();
        let mut firewall = Firewall::open().unwrap();
        let mut config = examples::udp_only(Guard::Gate);
        // A flow that was let in once is none here that lives on.
        config.doors[0].on_expiry = OnExpiry::Cut;
        config.doors[0].to.push(network("10.9.0.1")).unwrap();
        config.doors[0].to.push(network("fd00::1")).unwrap();
        firewall.install(&config, &[]).unwrap();
        count(TO_GUARDED);
        for (to, becomes) in [
            ("10.9.0.1", REFUSED),
            ("[fd00::1]", REFUSED),
            ("10.0.0.1", LET_IN),
            ("[fd09::1]", LET_IN),
        ] {
            assert_eq!(wires.send(to), becomes, "{to}");
        }
        // On an interface on which nothing comes in.
        config.doors[0].to.clear();
        let other = heapless::String::try_from("lan").unwrap();
        config.global.interfaces.push(other).unwrap();
        config.global.named.push(InterfaceSet::only(1)).unwrap();
        config.doors[0].interfaces = InterfaceSet::only(1);
        firewall.install(&config, &[]).unwrap();
        nft(&["delete", "table", "inet", "passed"], "").unwrap();
        count(TO_GUARDED);
        assert_eq!(wires.send("10.0.0.1"), LET_IN);
        config.doors[0].interfaces = InterfaceSet::only(0);
        firewall.install(&config, &[]).unwrap();
        nft(&["delete", "table", "inet", "passed"], "").unwrap();
        count(TO_GUARDED);
        assert_eq!(wires.send("10.0.0.1"), REFUSED);
    });
}

#[test]
fn whom_one_door_lets_in_another_does_not_keep_out() {
    in_namespace(|| {
        let wires = Wires::new();
        let mut firewall = Firewall::open().unwrap();
        let mut config = examples::udp_only(Guard::Gate);
        let other = examples::door("other", &[udp(GUARDED)], &[udp(4_001)], &[]);
        config.doors.push(other).unwrap();
        for door in &mut config.doors {
            // A flow that was let in once is none here that lives on.
            door.on_expiry = OnExpiry::Cut;
        }
        firewall.install(&config, &[]).unwrap();
        count(TO_GUARDED);
        assert_eq!(wires.send("10.0.0.1"), REFUSED);
        for door in ["input", "other"] {
            grant(&mut firewall, door, "10.0.0.2");
            assert_eq!(wires.send("10.0.0.1"), LET_IN, "{door}");
            withdraw(&mut firewall, door, "10.0.0.2");
            assert_eq!(wires.send("10.0.0.1"), REFUSED, "{door}");
        }
        // A lock shuts the one out whom its door let in.
        grant(&mut firewall, "other", "10.0.0.2");
        firewall.lock("input").unwrap();
        assert_eq!(wires.send("10.0.0.1"), LET_IN);
        firewall.lock("other").unwrap();
        assert_eq!(wires.send("10.0.0.1"), REFUSED);
        grant(&mut firewall, "input", "10.0.0.2");
        assert_eq!(wires.send("10.0.0.1"), REFUSED);
        assert!(firewall.unlock("input").unwrap());
        assert_eq!(wires.send("10.0.0.1"), LET_IN);
    });
}

/// As of a host behind this machine, which has its packets sent under an address of its own.
#[test]
fn what_comes_back_to_a_port_of_a_range_that_cuts_is_let_in() {
    in_namespace(|| {
        let wires = Wires::new();
        ip("route add 10.0.0.2/32 dev wan src 10.9.0.1");
        let mut firewall = Firewall::open().unwrap();
        let mut config = examples::mosh(Guard::Gate);
        config.doors[0].on_expiry = OnExpiry::Cut;
        firewall.install(&config, &[]).unwrap();
        nft(
            &["-f", "-"],
            "table ip nat { chain out { type nat hook postrouting priority srcnat; \
                ip saddr 10.9.0.1 oifname \"wan\" snat to 10.0.0.1; }; }",
        )
        .unwrap();
        count("udp dport { 60500, 60501 }");
        let inside = bind("10.9.0.1:60500");
        inside.send_to(b"hello", "10.0.0.2:1001").unwrap();
        wires.v4.recv(&mut [0; 16]).unwrap();
        assert_eq!(wires.send_to("10.0.0.1", 60_500), LET_IN);
        assert_eq!(wires.send_to("10.0.0.1", 60_501), REFUSED);
    });
}

fn network(text: &str) -> Network {
    Network::parse(text).unwrap()
}
