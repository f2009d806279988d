//! Machines that others reach something behind: a router as OpenWrt's firewall4 makes it, and a host
//! as Docker does.
//!
//! ```text
//!   a router:  client, stranger --- wan router lan --- server 198.18.0.2, 2001:db8:1::2
//!                                              +------ workstation 198.18.0.3, 2001:db8:1::3
//!   a host:    client, stranger --- wan router docker0 --- server 172.17.0.2, 2001:db8:2::2
//! ```
//!
//! What comes to the router's [`WEB`] and [`VOICE`] is sent on to the server's [`INNER_WEB`] and
//! [`INNER_VOICE`].

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::agent::{Guard, Setup};
use crate::nft;
use crate::probe::Capture;
use crate::server::Service;
use crate::topology::{Family, Host, LAN, Topology};

/// The TCP port that strangers see.
pub const WEB: u16 = 8080;
/// The UDP port that strangers see.
pub const VOICE: u16 = 60_001;
/// The server's TCP port, which sends everything back.
pub const INNER_WEB: u16 = 80;
/// The server's UDP port, which sends every datagram back.
pub const INNER_VOICE: u16 = 4000;

/// What `fw4 print` prints: data of firewall4's defaults.
pub const FW4: &str = include_str!("../netns/fw4.nft");

/// A door to what is sent on, opened by TCP 7000, UDP 8001, TCP 9002.
pub const DOOR: &str = "
config door 'web'
	list guard 'tcp:8080'
	list guard 'udp:60001'
	option method 'sequence-separate'
	list open 'tcp:7000'
	list open 'udp:8001'
	list open 'tcp:9002'
	option window '10s'
	option grant '30s'
";
/// What opens [`DOOR`].
pub const OPEN: [&str; 3] = ["7000", "8001:udp", "9002"];

/// A machine that sends packets on, and who is there.
#[derive(Debug)]
pub struct World {
    /// The server's services.
    pub services: Vec<Service>,
    /// What the others want to reach.
    pub server: Host,
    /// Somebody on LAN, where there is a LAN.
    pub workstation: Option<Host>,
    /// The machine itself, the client and the stranger. Last, so that it is removed last.
    pub net: Topology,
}

impl World {
    /// A router that has no firewall, and whose hosts have addresses of their own.
    pub fn routed() -> Self {
        let (net, [server, workstation]) = router();
        for host in [&net.client, &net.stranger] {
            let route = "route add 198.18.0.0/24 via 192.0.2.1\n";
            host.namespace.ip_batch(route);
        }
        Self::new(net, server, Some(workstation))
    }

    /// A router with firewall4 and one `config redirect` for each port: whom it sends on is up to the
    /// guard, `mark` by `option mark`.
    pub fn fw4(guard: Guard) -> Self {
        let (net, [server, workstation]) = router();
        let namespace = &net.router.namespace;
        // As OpenWrt does, where a kernel shows bridged packets to IPv4's rules at all.
        let bridged = "/proc/sys/net/bridge/bridge-nf-call-iptables";
        let _ = namespace.enter(|| fs::write(bridged, "0"));
        nft::apply(namespace, &fw4(guard));
        Self::new(net, server, Some(workstation))
    }

    /// A host with a container that publishes both ports, with the rules and the listeners that
    /// Docker makes. Needs `iptables-nft-restore`.
    pub fn docker() -> Self {
        let net = Topology::new();
        let router = &net.router;
        router.namespace.ip_batch(
            "link add docker0 type bridge stp_state 0 mcast_snooping 0\n\
             address add 172.17.0.1/16 dev docker0\n\
             address add 2001:db8:2::1/64 dev docker0 nodad\n\
             link set docker0 up\n",
        );
        let server = Host::new(
            "container",
            Ipv4Addr::new(172, 17, 0, 2),
            Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2),
        );
        plug(router, &server, "docker0", ["172.17.0.1", "2001:db8:2::1"]);
        (router.namespace)
            .run_with_input("iptables-nft-restore", &[], DOCKER)
            .ok();
        let mut world = Self::new(net, server, None);
        // Its docker-proxy, which answers where no rule sends packets on: over IPv6.
        let router = &world.net.router.namespace;
        let proxies = [
            Service::tcp_echo(router, WEB),
            Service::udp_echo(router, VOICE),
        ];
        world.services.extend(proxies);
        world
    }

    fn new(net: Topology, server: Host, workstation: Option<Host>) -> Self {
        let router = &net.router.namespace;
        router.set_sysctl("net/ipv4/ip_forward", "1");
        router.set_sysctl("net/ipv6/conf/all/forwarding", "1");
        // An interface asks for nobody's address until it has made sure of its own.
        for family in Family::BOTH {
            Capture::new(&net.router).answers(&net.router, server.address(family));
        }
        let services = vec![
            Service::tcp_echo(&server.namespace, INNER_WEB),
            Service::udp_echo(&server.namespace, INNER_VOICE),
        ];
        Self {
            services,
            server,
            workstation,
            net,
        }
    }

    /// A configuration with these doors, beside the machine's own firewall.
    pub fn setup(&self, guard: Guard, doors: &str) -> Setup {
        Setup::beside_its_firewall(guard, doors)
    }

    /// Where strangers see both services.
    pub fn services_at(&self, family: Family) -> [SocketAddr; 2] {
        [WEB, VOICE].map(|port| self.net.router.port(family, port))
    }
}

/// A router with a LAN, whose addresses of IPv6 the world has a route to.
fn router() -> (Topology, [Host; 2]) {
    let net = Topology::new();
    net.router.namespace.ip_batch(&format!(
        "link add {LAN} type bridge stp_state 0 mcast_snooping 0\n\
         address add 198.18.0.1/24 dev {LAN}\n\
         address add 2001:db8:1::1/64 dev {LAN} nodad\n\
         link set {LAN} up\n"
    ));
    let hosts = [("server", 2), ("workstation", 3)].map(|(role, number)| {
        let host = Host::new(
            role,
            Ipv4Addr::new(198, 18, 0, number),
            Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, number.into()),
        );
        plug(&net.router, &host, LAN, ["198.18.0.1", "2001:db8:1::1"]);
        host
    });
    for host in [&net.client, &net.stranger] {
        let route = "route add 2001:db8:1::/64 via 2001:db8::1\n";
        host.namespace.ip_batch(route);
    }
    (net, hosts)
}

/// Puts a host onto a bridge of the router.
fn plug(router: &Host, host: &Host, bridge: &str, gateways: [&str; 2]) {
    let (name, [.., number]) = (host.namespace.name(), host.v4.octets());
    router.namespace.ip_batch(&format!(
        "link add {bridge}{number} type veth peer name eth0 netns {name}\n\
         link set {bridge}{number} master {bridge} up\n"
    ));
    host.attach("eth0");
    let [v4, v6] = gateways;
    host.namespace.ip_batch(&format!(
        "route add default via {v4}\nroute add default via {v6}\n"
    ));
}

/// What `fw4 print` prints where two sections `redirect` send the ports on, with `option mark` where
/// the guard is `mark`. Then firewall4's reflection, its hairpin, asks for the mark too, and sections
/// `redirect` and `nat` for LAN take its place.
pub fn fw4(guard: Guard) -> String {
    let mark = match guard {
        Guard::Mark => "meta mark and 0x10000000 == 0x10000000 ",
        Guard::Gate => "",
    };
    let ports = [
        ("tcp", WEB, INNER_WEB, "web"),
        ("udp", VOICE, INNER_VOICE, "voice"),
    ];
    let (mut from_wan, mut from_lan, mut to_lan) = (String::new(), String::new(), String::new());
    for (protocol, outer, inner, name) in ports {
        let to = format!("198.18.0.2:{inner}");
        from_wan += &format!(
            "\t\tmeta nfproto ipv4 {protocol} dport {outer} {mark}counter dnat {to} comment \"!fw4: {name}\"\n"
        );
        let reflected = format!("comment \"!fw4: {name} (reflection)\"\n");
        let (here, there) = (
            format!("ip saddr 198.18.0.0/24 ip daddr 192.0.2.1 {protocol} dport {outer}"),
            format!("ip saddr 198.18.0.0/24 ip daddr 198.18.0.2 {protocol} dport {inner}"),
        );
        from_lan += &format!("\t\t{here} {mark}dnat {to} {reflected}");
        to_lan += &format!("\t\t{there} {mark}snat 198.18.0.1 {reflected}");
        if guard == Guard::Mark {
            let name = format!("comment \"!fw4: {name} from LAN\"\n");
            from_lan += &format!(
                "\t\tip daddr 192.0.2.1 {protocol} dport {outer} counter dnat {to} {name}"
            );
            to_lan += &format!("\t\t{there} counter masquerade {name}");
        }
    }
    let chains = format!(
        "\tchain dstnat_lan {{\n{from_lan}\t}}\n\tchain dstnat_wan {{\n{from_wan}\t}}\n\
         \tchain srcnat_lan {{\n{to_lan}\t}}\n\n"
    );
    let redirections = "ct status dnat accept comment \"!fw4: Accept port redirections\"\n\t\t";
    let forwards = "ct status dnat accept comment \"!fw4: Accept port forwards\"\n\t\t";
    [
        ("\tchain dstnat {\n", chains, true),
        (
            "type nat hook prerouting priority dstnat; policy accept;\n",
            "\t\tiifname \"lan\" jump dstnat_lan comment \"!fw4: Handle lan IPv4/IPv6 dstnat traffic\"\n\
             \t\tiifname \"wan\" jump dstnat_wan comment \"!fw4: Handle wan IPv4/IPv6 dstnat traffic\"\n"
                .into(),
            false,
        ),
        (
            "type nat hook postrouting priority srcnat; policy accept;\n",
            "\t\toifname \"lan\" jump srcnat_lan comment \"!fw4: Handle lan IPv4/IPv6 srcnat traffic\"\n"
                .into(),
            false,
        ),
        ("jump reject_from_wan\n", redirections.into(), true),
        ("jump reject_to_wan\n", forwards.into(), true),
    ]
    .into_iter()
    .fold(FW4.into(), |text: String, (place, more, before)| {
        assert!(text.contains(place), "no {place} in {text}");
        let both = match before {
            true => format!("{more}{place}"),
            false => format!("{place}{more}"),
        };
        text.replacen(place, &both, 1)
    })
}

/// What Docker has `iptables` make for a container that publishes both ports.
const DOCKER: &str = "*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
-A DOCKER ! -i docker0 -p udp -m udp --dport 60001 -j DNAT --to-destination 172.17.0.2:4000
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p udp -m udp --dport 4000 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
";
