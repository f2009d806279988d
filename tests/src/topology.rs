//! The network that the tests play in.
//!
//! ```text
//!   client               router               stranger
//!   192.0.2.2            192.0.2.1            192.0.2.3
//!   2001:db8::2          2001:db8::1          2001:db8::3
//!      eth0                 wan                  eth0
//!        |                   |                    |
//!   +----+-------------------+--------------------+----+
//!   |               wire: one Ethernet segment         |
//!   +--------------------------------------------------+
//!
//!   the router's other side, where a test asks for it:
//!   router lan 198.18.0.1, 2001:db8:1::1 --- eth0 198.18.0.2, 2001:db8:1::2 neighbour
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::namespace::Namespace;
use crate::probe::Capture;

/// The interface of the router that faces the client and the stranger.
pub const WAN: &str = "wan";
/// The interface of the router that faces its neighbour.
pub const LAN: &str = "lan";

/// A machine of its own, with an address of each family.
#[derive(Debug)]
pub struct Host {
    /// What runs on it, and what it can reach.
    pub namespace: Namespace,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Host {
    /// A machine that is plugged in nowhere.
    pub(crate) fn new(role: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Self {
        let namespace = Namespace::new(role);
        Self { namespace, v4, v6 }
    }

    /// A host on the segment.
    fn numbered(role: &str, number: u8) -> Self {
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into());
        Self::new(role, Ipv4Addr::new(192, 0, 2, number), v6)
    }

    /// Its address of the family.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }

    /// A port at its address of the family.
    pub fn port(&self, family: Family, number: u16) -> SocketAddr {
        SocketAddr::new(self.address(family), number)
    }

    /// Gives it one more address on `eth0`.
    pub fn add_address(&self, address: IpAddr) {
        let line = match address {
            IpAddr::V4(v4) => format!("address add {v4}/24 dev eth0\n"),
            IpAddr::V6(v6) => format!("address add {v6}/64 dev eth0 nodad\n"),
        };
        self.namespace.ip_batch(&line);
    }

    /// Gives the interface its addresses, and switches it on.
    pub(crate) fn attach(&self, interface: &str) {
        let (v4, v6) = (self.v4, self.v6);
        self.namespace.ip_batch(&format!(
            "address add {v4}/24 dev {interface}\n\
             address add {v6}/64 dev {interface} nodad\n\
             link set {interface} up\n"
        ));
    }
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// Two who want in, on one segment with whoever is plugged in besides.
#[derive(Debug)]
pub struct Segment {
    /// Knocks, and is let in.
    pub client: Host,
    /// Never knocks, and is never let in.
    pub stranger: Host,
    /// The segment itself. Last, so that it is removed last.
    pub wire: Namespace,
}

impl Segment {
    /// Lays the segment, and plugs the two in.
    #[expect(clippy::new_without_default, reason = "it acts: it is no plain value")]
    pub fn new() -> Self {
        let segment = Self {
            client: Host::numbered("client", 2),
            stranger: Host::numbered("stranger", 3),
            wire: Namespace::new("wire"),
        };
        // Without spanning tree and multicast snooping a bridge forwards from the first frame on.
        segment.wire.ip_batch(
            "link add segment type bridge stp_state 0 mcast_snooping 0\nlink set segment up\n",
        );
        for host in [&segment.client, &segment.stranger] {
            plug(&segment.wire, host, "eth0");
        }
        segment
    }

    /// Plugs in a machine that is none of this kernel's, by an interface of this name in
    /// [`Segment::wire`].
    pub fn add_tap(&self, name: &str) {
        self.wire.ip_batch(&format!(
            "tuntap add {name} mode tap\nlink set {name} master segment up\n"
        ));
    }

    /// Waits until the address answers to both.
    pub fn reach(&self, address: IpAddr) {
        reach([&self.client, &self.stranger], address);
    }
}

/// A router, and two who want in.
#[derive(Debug)]
pub struct Topology {
    /// Knocks, and is let in.
    pub client: Host,
    /// Never knocks, and is never let in.
    pub stranger: Host,
    /// Is guarded.
    pub router: Host,
    /// The segment between them. Last, so that it is removed last.
    pub wire: Namespace,
}

impl Topology {
    /// Lays the network; when this returns, its addresses answer.
    #[expect(clippy::new_without_default, reason = "it acts: it is no plain value")]
    pub fn new() -> Self {
        let Segment {
            client,
            stranger,
            wire,
        } = Segment::new();
        let router = Host::numbered("router", 1);
        plug(&wire, &router, WAN);
        let topology = Self {
            client,
            stranger,
            router,
            wire,
        };
        topology.settle();
        topology
    }

    /// A host behind the router's other interface, [`LAN`].
    pub fn add_neighbour(&self) -> Host {
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
        let neighbour = Host::new("neighbour", Ipv4Addr::new(198, 18, 0, 2), v6);
        let name = neighbour.namespace.name();
        self.router.namespace.ip_batch(&format!(
            "link add {LAN} type veth peer name eth0 netns {name}\n\
             address add 198.18.0.1/24 dev {LAN}\n\
             address add 2001:db8:1::1/64 dev {LAN} nodad\n\
             link set {LAN} up\n"
        ));
        neighbour.attach("eth0");
        neighbour
    }

    /// Takes the router's interface [`WAN`] away, and whoever is there with it.
    pub fn unplug_router(&self) {
        self.router
            .namespace
            .ip_batch(&format!("link delete {WAN}\n"));
    }

    /// Gives the router another interface of the name, with the addresses of the one before.
    pub fn plug_router(&self) {
        plug(&self.wire, &self.router, WAN);
        // The new one has another address on the segment.
        for host in [&self.client, &self.stranger] {
            host.namespace.ip_batch("neighbour flush dev eth0\n");
        }
        self.settle();
    }

    /// Waits until the router answers.
    pub fn settle(&self) {
        for family in Family::BOTH {
            reach([&self.client, &self.stranger], self.router.address(family));
        }
    }
}

/// Puts a host's interface onto the segment.
fn plug(wire: &Namespace, host: &Host, interface: &str) {
    let (name, [.., number]) = (host.namespace.name(), host.v4.octets());
    wire.ip_batch(&format!(
        "link add port{number} type veth peer name {interface} netns {name}\n\
         link set port{number} master segment up\n"
    ));
    host.attach(interface);
}

/// Waits until the address answers to the hosts.
///
/// An echo each way also fills the neighbour tables: until an address is resolved, the kernel
/// holds a burst of packets back, and drops some of it.
fn reach(hosts: [&Host; 2], address: IpAddr) {
    for host in hosts {
        Capture::new(host).answers(host, address);
    }
}
