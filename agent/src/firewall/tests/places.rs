//! At which hook the installed table judges real packets, by where they are sent: each once, and
//! none that is for this machine gets around it.
//!
//! The wires are those of [`packets`](super::packets). Another table, behind ours, counts what
//! passed.

use core::net::SocketAddr;
use core::time::Duration as Wait;
use std::net::UdpSocket;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{setsockopt, sockopt};
use postern_core::config::Guard;

use super::examples::{self, whole};
use super::kernel::{in_namespace, nft};
use super::packets::{MINUTE, bind, ip, neighbour};
use crate::firewall::Firewall;

/// A guarded port, and one that is not.
const GUARDED: u16 = 51_820;
const OPEN: u16 = 5_000;

/// Counts the packets to the guarded port that passed, and those that were judged.
const COUNTING: &str = "insert rule inet postern local udp dport 51820 counter
table inet passed {
	chain input {
		type filter hook input priority filter;
		udp dport 51820 counter
	}
	chain forward {
		type filter hook forward priority filter;
		udp dport 51820 counter
	}
}
";

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
    /// The number of the senders' link.
    link: u32,
    open: UdpSocket,
}

impl Wires {
    fn new() -> Self {
        let (v4, v6, link) = neighbour(|| {
            ip("addr add fe80::2/64 dev v1 nodad");
            ip("route add default via 10.0.0.1");
            ip("route add default via fd00::1");
            let (v4, v6) = (bind("10.0.0.2:1001"), bind("[fd00::2]:1001"));
            setsockopt(&v4, sockopt::Broadcast, &true).unwrap();
            (v4, v6, if_nametoindex("v1").unwrap())
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
        ip("neigh add 10.9.0.7 lladdr 02:00:00:00:00:07 dev lan");
        ip("neigh add fd09::7 lladdr 02:00:00:00:00:07 dev lan");
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
        Self { v4, v6, link, open }
    }

    /// What becomes of a packet to the guarded port.
    fn send(&self, to: &str) -> Fate {
        let before = fates();
        let (from, here) = match to.contains(':') {
            true => (&self.v6, "[fd00::1]"),
            false => (&self.v4, "10.0.0.1"),
        };
        let port = |at: &str, port: u16| -> SocketAddr { format!("{at}:{port}").parse().unwrap() };
        let scoped = to.replace("%v1", &format!("%{}", self.link));
        from.send_to(b"hello", port(&scoped, GUARDED)).expect(to);
        from.send_to(b"hello", port(here, OPEN)).unwrap();
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
            nft(&["-f", "-"], COUNTING).unwrap();
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
