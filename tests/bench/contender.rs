//! Those who are measured, each on a router of its own in the same topology.

use std::any::Any;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use postern_tests::agent::{Guard, Setup};
use postern_tests::namespace::Namespace;
use postern_tests::nft;
use postern_tests::process::Process;
use postern_tests::scratch::Scratch;
use postern_tests::sender::Sender;
use postern_tests::server::Service;
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::{SOON, poll_until};
use socket2::{Domain, Protocol, Socket, Type};

/// The knocks that open, all of them TCP.
pub(crate) const KNOCKS: [u16; 3] = [7000, 7001, 7002];
/// The guarded port.
const GUARDED: u16 = 22;

/// What has to live while a contender is measured.
type Running = Vec<Box<dyn Any + Send + Sync>>;

/// One who opens a port to those who knock.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) sender: Sender,
    /// Receives every TCP segment that comes to the client.
    pub(crate) receiver: Socket,
    /// The router's guarded port.
    pub(crate) guarded: SocketAddr,
    _running: Running,
    _service: Service,
    pub(crate) net: Topology,
}

impl Contender {
    /// Everyone who is measured under a flood, ours first.
    pub(crate) fn all() -> Vec<Self> {
        vec![
            Self::new("postern", start_postern),
            Self::new("knockd", start_knockd),
            Self::new("ruleset", start_ruleset),
        ]
    }

    /// Everyone who is measured under a flood, and our engines inside nftables.
    pub(crate) fn all_with_engines() -> Vec<Self> {
        let engines = [
            Self::new("chain", |net| apply_engine(net, "chain")),
            Self::new("track", |net| apply_engine(net, "track")),
        ];
        Self::all().into_iter().chain(engines).collect()
    }

    fn new(name: &'static str, start: fn(&Topology) -> Running) -> Self {
        let net = Topology::new();
        let (client, router) = (&net.client.namespace, &net.router.namespace);
        // The client owns a whole network, so that each round comes from an address of its own.
        client.ip_batch("route add local 198.19.0.0/16 dev lo\n");
        router.ip_batch("route add 198.19.0.0/16 via 192.0.2.2\n");
        let _service = Service::tcp(router, GUARDED);
        let _running = start(&net);
        let (sender, receiver) = (Sender::new(client), receiver(client));
        let guarded = net.router.port(Family::V4, GUARDED);
        Self {
            name,
            sender,
            receiver,
            guarded,
            _running,
            _service,
            net,
        }
    }

    /// One of the router's ports.
    pub(crate) fn port(&self, number: u16) -> SocketAddr {
        SocketAddr::new(self.guarded.ip(), number)
    }
}

/// The address from which the client plays a round.
pub(crate) fn source(round: u16) -> IpAddr {
    let [high, low] = round.to_be_bytes();
    Ipv4Addr::new(198, 19, high, low).into()
}

fn receiver(client: &Namespace) -> Socket {
    let open = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP));
    let socket = client.enter(open).expect("open a raw socket");
    socket.set_nonblocking(true).expect("do not block");
    socket
}

fn start_postern(net: &Topology) -> Running {
    let setup = set_up(net, "daemon");
    let process = setup.start(&net.router).into_process();
    vec![Box::new(process), Box::new(setup)]
}

/// A door that the kernel serves: nothing has to live.
fn apply_engine(net: &Topology, engine: &str) -> Running {
    set_up(net, engine).verb(&net.router, "apply", &[]).ok();
    Vec::new()
}

fn set_up(net: &Topology, engine: &str) -> Setup {
    let open: String = KNOCKS
        .map(|port| format!("\tlist open 'tcp:{port}'\n"))
        .concat();
    let door = format!(
        "config door 'ssh'\n\tlist guard 'tcp:{GUARDED}'\n\toption method 'sequence-separate'\n\
         \toption engine '{engine}'\n{open}\toption window '10s'\n\toption grant '10s'\n"
    );
    Setup::new(&net.router, Guard::Gate, &door)
}

/// Debian's knockd, which has nft open the port.
fn start_knockd(net: &Topology) -> Running {
    let router = &net.router.namespace;
    nft::apply(
        router,
        &format!(
            "table inet guard {{
                set open {{ type ipv4_addr; flags timeout; }}
                chain input {{
                    type filter hook input priority -10;
                    ct state established,related accept
                    tcp dport {GUARDED} ip saddr @open accept
                    tcp dport {{ {GUARDED}, {first}-{last} }} drop
                }}
            }}",
            first = KNOCKS[0],
            last = KNOCKS[2],
        ),
    );
    let scratch = Scratch::new();
    let sequence = KNOCKS.map(|port| port.to_string()).join(",");
    let config = scratch.write(
        "knockd.conf",
        &format!(
            "[options]\n\tLogFile = {log}\n[ssh]\n\tsequence = {sequence}\n\tseq_timeout = 10\n\
             \ttcpflags = syn\n\tcommand = {nft} add element inet guard open {{ %IP% timeout 10s }}\n",
            log = scratch.join("log").display(),
            nft = "/usr/sbin/nft",
        ),
    );
    let mut knockd = Command::new("knockd");
    knockd
        .args(["-i", "wan", "-c"])
        .arg(config)
        .stdin(Stdio::null());
    let process: Process = router.spawn(knockd.stdout(Stdio::null()).stderr(Stdio::null()));
    poll_until(SOON, "knockd listens", || {
        let sockets = || fs::read_to_string("/proc/thread-self/net/packet").unwrap_or_default();
        router.enter(sockets).lines().count() > 1
    });
    vec![Box::new(process), Box::new(scratch)]
}

/// A ruleset that does everything in the kernel, built as the nftables wiki's example of port
/// knocking is: a set of (source . next expected port) with timeouts of one second, as there.
fn start_ruleset(net: &Topology) -> Running {
    let [first, second, third] = KNOCKS;
    nft::apply(
        &net.router.namespace,
        &format!(
            "table inet portknock {{
                set clients {{ type ipv4_addr; flags timeout; }}
                set candidates {{ type ipv4_addr . inet_service; flags timeout; }}
                chain input {{
                    type filter hook input priority -10;
                    tcp dport {first} add @candidates {{ ip saddr . {second} timeout 1s }}
                    tcp dport {second} ip saddr . tcp dport @candidates add @candidates {{ ip saddr . {third} timeout 1s }}
                    tcp dport {third} ip saddr . tcp dport @candidates add @clients {{ ip saddr timeout 10s }}
                    tcp dport {GUARDED} ip saddr @clients counter accept
                    tcp dport {GUARDED} ct state established,related counter accept
                    tcp dport {{ {GUARDED}, {first}, {second}, {third} }} counter drop
                }}
            }}"
        ),
    );
    Vec::new()
}
