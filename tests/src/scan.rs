//! Scans of all ports, and whom they let in.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::agent::{Guard, Setup};
use crate::knocker::{FENCE, Knock, fence, list};
use crate::packet::Packet;
use crate::process::Process;
use crate::scenario::Approach;
use crate::sender::{Random, Sender};
use crate::topology::{Family, Topology};

/// The port of [`FENCE`], which a scan leaves alone.
const FENCE_PORT: u16 = 1998;

/// A door of the default configuration for this guarded port and these knocks, with more options.
pub fn door(guard: u16, knocks: &[u16], options: &str) -> String {
    let open: Vec<Knock> = knocks.iter().map(|port| Knock::Tcp(*port)).collect();
    let open = list("open", &open);
    format!(
        "config door 'd{guard}'\n\tlist guard 'tcp:{guard}'\n\toption method 'sequence-separate'\n{open}{options}"
    )
}

/// All ports in their order.
pub fn ascending() -> Vec<u16> {
    (1..=u16::MAX).collect()
}

/// All ports in an order without a pattern (Fisher and Yates).
pub fn shuffled(random: &mut Random) -> Vec<u16> {
    let mut ports = ascending();
    for last in (1..ports.len()).rev() {
        ports.swap(last, random.number() as usize % (last + 1));
    }
    ports
}

/// A router with doors, and somebody who scans it.
pub struct Scene {
    _agent: Option<Process>,
    /// How the router is set up.
    pub setup: Setup,
    /// The raw sockets of the client.
    pub sender: Sender,
    /// Where it plays.
    pub net: Topology,
    doors: Vec<u16>,
}

impl Scene {
    /// A router whose doors guard these ports, knocked at as [`door`] has it.
    pub fn new(approach: Approach, doors: &[(u16, &[u16])], options: &str) -> Self {
        let net = Topology::new();
        let text = doors
            .iter()
            .map(|(guard, knocks)| door(*guard, knocks, options));
        let setup = Setup::new(&net.router, Guard::Gate, "");
        setup.hear_by(&approach.options());
        setup.rewrite(&format!("{FENCE}{}", text.collect::<String>()));
        Self {
            _agent: approach.begin(&setup, &net.router),
            setup,
            sender: Sender::new(&net.client.namespace),
            net,
            doors: doors.iter().map(|(guard, _)| *guard).collect(),
        }
    }

    /// A SYN to each of these ports, as fast as they can be sent.
    pub fn scan(&self, from: IpAddr, ports: &[u16]) {
        for port in ports {
            self.hit(from, *port);
        }
    }

    /// A SYN to each of these ports, each from one of these sources.
    pub fn scan_from_many(&self, from: &[IpAddr], ports: &[u16]) {
        for (port, from) in ports.iter().zip(from.iter().cycle()) {
            self.hit(*from, *port);
        }
    }

    fn hit(&self, from: IpAddr, port: u16) {
        let family = match from {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        };
        let to = self.net.router.port(family, port);
        if port != FENCE_PORT {
            self.sender
                .send(&Packet::syn(SocketAddr::new(from, 40_000), to));
        }
    }

    /// The sets of those who were let in, as nft lists them, once all knocks so far are decided on.
    pub fn let_in(&self) -> Vec<String> {
        fence(&self.net, &self.sender);
        let router = &self.net.router.namespace;
        let listing = router
            .run("nft", &["list", "sets", "table", "inet", "postern"])
            .ok();
        let sets = listing.split("\n\tset ").skip(1).filter(|set| {
            let of_door = |door: &u16| {
                let name = format!("_d{door} ");
                set.split_once('{')
                    .is_some_and(|(before, _)| before.contains(&name))
            };
            let grants = ["grant", "knocked"]
                .iter()
                .any(|name| set.starts_with(name));
            grants && self.doors.iter().any(of_door) && set.contains("elements")
        });
        sets.map(str::to_owned).collect()
    }
}

/// Somebody who is not there, another one for each number.
pub fn stranger(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 1, high, low).into()
}
