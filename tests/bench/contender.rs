//! Those who are measured, each on a router of its own in the same topology.

use std::any::Any;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use postern_tests::agent::{Guard, Setup};
use postern_tests::fwknop::{self, Fwknop, Keys};
use postern_tests::namespace::Namespace;
use postern_tests::nft;
use postern_tests::packet::{Header, Packet};
use postern_tests::process::Process;
use postern_tests::scratch::Scratch;
use postern_tests::sender::Sender;
use postern_tests::server::Service;
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::{SOON, poll_until, try_poll};
use socket2::{Domain, Protocol, Socket, Type};

/// The knocks that open, all of them TCP; in order, as in the samples of knockd and of the wiki.
pub(crate) const KNOCKS: [u16; 3] = [7000, 7001, 7002];
/// Those of another door.
pub(crate) const OTHER: [u16; 3] = [7100, 7101, 7102];
/// Where Postern's door of codes is knocked at.
pub(crate) const CODES: [u16; 2] = [10_000, 10_999];
/// The guarded port.
pub(crate) const GUARDED: u16 = 22;
/// What the other doors guard.
const OTHERS_GUARDED: [u16; 2] = [8080, 8081];

/// What has to live while a contender is measured.
type Running = Vec<Box<dyn Any + Send + Sync>>;

/// How a contender was started.
#[derive(Default)]
struct Started {
    _running: Running,
    /// The process that hears knocks.
    daemon: Option<u32>,
    /// A port that no door names, and that shows scanners.
    decoy: Option<u16>,
    /// Its knock is one encrypted packet, made with these keys.
    owner: Option<Fwknop>,
}

impl Started {
    fn daemon(process: Process, others: impl Any + Send + Sync) -> Self {
        Self {
            daemon: Some(process.id()),
            _running: vec![Box::new(process), Box::new(others)],
            ..Self::default()
        }
    }
}

/// One who opens a port to those who knock.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) sender: Sender,
    /// The router's guarded port.
    pub(crate) guarded: SocketAddr,
    /// Receives every TCP segment that comes to the client.
    receiver: Socket,
    started: Started,
    /// How many addresses have knocked.
    sources: AtomicU16,
    _service: Service,
    pub(crate) net: Topology,
}

/// The names of those who are compared, in the order of the tables' columns.
pub(crate) const NAMES: [&str; 4] = ["postern", "knockd", "fwknopd", "ruleset"];

impl Contender {
    /// Everyone who is compared, ours first.
    pub(crate) fn all() -> Vec<Self> {
        let starts: [fn(&Topology) -> Started; 4] =
            [start_postern, start_knockd, start_fwknopd, start_ruleset];
        let named = NAMES.into_iter().zip(starts);
        named.map(|(name, start)| Self::new(name, start)).collect()
    }

    /// Everyone who is compared, and our engines inside nftables.
    pub(crate) fn all_with_engines() -> Vec<Self> {
        let engines = [
            Self::new("chain", |net| apply_engine(net, "chain")),
            Self::new("track", |net| apply_engine(net, "track")),
        ];
        Self::all().into_iter().chain(engines).collect()
    }

    /// Everyone who is compared, and a router without any guard.
    pub(crate) fn all_and_none() -> Vec<Self> {
        let none = Self::new("none", |_| Started::default());
        Self::all().into_iter().chain([none]).collect()
    }

    /// Those who open to datagrams.
    pub(crate) fn all_by_datagram() -> [Self; 2] {
        [
            Self::new("postern", start_postern_by_datagram),
            Self::new("fwknopd", start_fwknopd),
        ]
    }

    fn new(name: &'static str, start: fn(&Topology) -> Started) -> Self {
        let net = Topology::new();
        let (client, router) = (&net.client.namespace, &net.router.namespace);
        // The client owns a whole network, so that each attempt comes from an address of its own.
        client.ip_batch("route add local 198.19.0.0/16 dev lo\n");
        router.ip_batch("route add 198.19.0.0/16 via 192.0.2.2\n");
        let _service = Service::tcp(router, GUARDED);
        let started = start(&net);
        let (sender, receiver) = (Sender::new(client), receiver(client));
        let guarded = net.router.port(Family::V4, GUARDED);
        Self {
            name,
            sender,
            guarded,
            receiver,
            started,
            sources: AtomicU16::new(0),
            _service,
            net,
        }
    }

    /// One of the router's ports.
    pub(crate) fn port(&self, number: u16) -> SocketAddr {
        SocketAddr::new(self.guarded.ip(), number)
    }

    /// An address of the client's that has not knocked yet.
    pub(crate) fn fresh_source(&self) -> IpAddr {
        let number = self.sources.fetch_add(1, Ordering::Relaxed) + 1;
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(198, 19, high, low).into()
    }

    /// What lets this address in.
    pub(crate) fn knocks(&self, from: IpAddr) -> Vec<Packet> {
        let from = SocketAddr::new(from, 40_000);
        match &self.started.owner {
            None => KNOCKS
                .map(|port| Packet::syn(from, self.port(port)))
                .to_vec(),
            Some(owner) => {
                let payload = self.datagram(owner, from.ip());
                vec![Packet::udp(from, self.port(fwknop::PORT), &payload)]
            }
        }
    }

    /// What the client sends to have the guarded port opened to this address.
    fn datagram(&self, client: &Fwknop, from: IpAddr) -> Vec<u8> {
        let (whom, port) = (from.to_string(), format!("tcp/{}", self.guarded.port()));
        let arguments = ["--allow-ip", whom.as_str(), "--access", port.as_str()];
        client.packet(&self.net.client.namespace, self.guarded.ip(), &arguments)
    }

    /// Its first knock as somebody makes it who does not know the keys.
    pub(crate) fn first_knock(&self) -> Packet {
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
        match &self.started.owner {
            None => Packet::syn(nobody, self.port(KNOCKS[0])),
            Some(_) => {
                let stranger = Fwknop::new(Keys::base64([7, 8]));
                let payload = self.datagram(&stranger, nobody.ip());
                Packet::udp(nobody, self.port(fwknop::PORT), &payload)
            }
        }
    }

    /// Whether it opens to one packet.
    pub(crate) const fn takes_one_packet(&self) -> bool {
        self.started.owner.is_some()
    }

    /// One of its decoys, where it has them.
    pub(crate) const fn decoy(&self) -> Option<u16> {
        self.started.decoy
    }

    /// Whom the guarded port has taken connections from since this was asked last.
    pub(crate) fn let_in(&self) -> Vec<IpAddr> {
        let (mut packet, mut sources) = ([0; 128], Vec::new());
        while let Ok(length) = std::io::Read::read(&mut &self.receiver, &mut packet) {
            let header = packet.get(..length).and_then(Header::read);
            sources.extend(header.filter(Header::accepts).map(|header| header.to.ip()));
        }
        sources
    }

    /// The processor time that its daemon has used so far.
    pub(crate) fn processor_time(&self) -> Option<Duration> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.started.daemon?)).ok()?;
        // proc(5) has utime and stime in ticks of 10 ms only; this is their sum, where the kernel keeps it.
        let times = tasks.flatten().map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Some(Duration::from_nanos(times.sum::<Option<u64>>()?))
    }

    /// KiB of memory that its daemon has in use.
    pub(crate) fn resident(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.started.daemon?)).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        resident?.split_whitespace().next()?.parse().ok()
    }

    /// How many elements the sets of its ruleset hold.
    pub(crate) fn elements(&self) -> usize {
        let sets = self.net.router.namespace.run("nft", &["list", "sets"]).ok();
        sets.matches(" expires ").count()
    }

    /// Waits until its daemon has nothing left to do, but no longer than this.
    pub(crate) fn settle(&self, within: Duration) {
        let mut before = self.processor_time();
        let mut quiet_since = Instant::now();
        try_poll(within, || {
            let now = self.processor_time();
            let used = now
                .unwrap_or_default()
                .saturating_sub(before.unwrap_or_default());
            before = now;
            if used > Duration::from_millis(1) {
                quiet_since = Instant::now();
            }
            (now.is_none() || quiet_since.elapsed() > Duration::from_millis(200)).then_some(())
        });
    }
}

fn receiver(client: &Namespace) -> Socket {
    let open = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP));
    let socket = client.enter(open).expect("open a raw socket");
    socket.set_nonblocking(true).expect("do not block");
    socket
}

fn start_postern(net: &Topology) -> Started {
    let codes = format!(
        "config door 'phone'\n\tlist guard 'tcp:{}'\n\toption method 'one-time-seed'\n\
         \toption secret_file '@/phone.secret'\n\toption base '{}'\n",
        OTHERS_GUARDED[1], CODES[0]
    );
    let setup = set_up(net, "daemon", &codes);
    setup.verb(&net.router, "keygen", &["phone"]).ok();
    let process = setup.start(&net.router).into_process();
    let rules = setup.verb(&net.router, "render", &[]).ok();
    Started {
        decoy: Some(decoy(&rules).expect("a decoy")),
        ..Started::daemon(process, setup)
    }
}

fn start_postern_by_datagram(net: &Topology) -> Started {
    let door = format!(
        "config door 'ssh'\n\tlist guard 'tcp:{GUARDED}'\n\toption method 'spa'\n\
         \toption key_file '@/ssh.key'\n\toption grant '1h'\n"
    );
    let setup = Setup::new(&net.router, Guard::Gate, &door);
    let keys = Keys::base64([1, 2]);
    // Begins a memory of which nothing is used, other than none.
    setup.verb(&net.router, "keygen", &["ssh"]).ok();
    setup.write_private("ssh.key", &keys.file());
    let process = setup.start(&net.router).into_process();
    Started {
        owner: Some(Fwknop::new(keys)),
        ..Started::daemon(process, setup)
    }
}

/// A TCP port at which there is a decoy.
fn decoy(rules: &str) -> Option<u16> {
    let (_, map) = rules.split_once("map tcp_knocks")?;
    let (before, _) = map.split_once(" : goto decoy")?;
    let ports = before.rsplit([' ', '\t', '{', ',']).next()?;
    ports.split('-').next()?.parse().ok()
}

/// A door that the kernel serves: nothing has to live.
fn apply_engine(net: &Topology, engine: &str) -> Started {
    set_up(net, engine, "").verb(&net.router, "apply", &[]).ok();
    Started::default()
}

fn set_up(net: &Topology, engine: &str, more: &str) -> Setup {
    let door = |name, guarded, knocks: [u16; 3]| {
        let open = knocks.map(|port| format!("\tlist open 'tcp:{port}'\n"));
        format!(
            "config door '{name}'\n\tlist guard 'tcp:{guarded}'\n\toption method 'sequence-separate'\n\
             \toption engine '{engine}'\n{}\toption window '10s'\n\toption grant '1h'\n",
            open.concat()
        )
    };
    let (ssh, web) = (
        door("ssh", GUARDED, KNOCKS),
        door("web", OTHERS_GUARDED[0], OTHER),
    );
    Setup::new(&net.router, Guard::Gate, &format!("{ssh}{web}{more}"))
}

/// A set that commands put addresses into: what daemons drive that have no nftables of their own.
fn lay_gate(net: &Topology, more: &str) {
    nft::apply(
        &net.router.namespace,
        &format!(
            "table inet guard {{
                set open {{ type ipv4_addr; flags timeout; }}
                chain input {{
                    type filter hook input priority -10;
                    ct state established,related accept
                    tcp dport {GUARDED} ip saddr @open accept
                    tcp dport {{ {GUARDED}, {} }} drop
                    {more}
                }}
            }}",
            OTHERS_GUARDED[0]
        ),
    );
}

/// What opens a gate of [`lay_gate`] to an address that the daemon puts in.
fn opening(address: &str) -> String {
    format!("/usr/sbin/nft add element inet guard open {{ {address} timeout 1h }}")
}

/// Starts a daemon that listens by libpcap.
fn start_sniffer(net: &Topology, daemon: &mut Command) -> Process {
    let router = &net.router.namespace;
    let daemon = daemon.stdin(Stdio::null()).stdout(Stdio::null());
    let process = router.spawn(daemon.stderr(Stdio::null()));
    poll_until(SOON, "the daemon listens", || {
        let sockets = || fs::read_to_string("/proc/thread-self/net/packet").unwrap_or_default();
        router.enter(sockets).lines().count() > 1
    });
    process
}

/// Debian's knockd, which has nft open the port.
fn start_knockd(net: &Topology) -> Started {
    let [first, last, other_first, other_last] = [KNOCKS[0], KNOCKS[2], OTHER[0], OTHER[2]];
    lay_gate(
        net,
        &format!("tcp dport {{ {first}-{last}, {other_first}-{other_last} }} drop"),
    );
    let scratch = Scratch::new();
    let door = |name, knocks: [u16; 3], command: &str| {
        let sequence = knocks.map(|port| port.to_string()).join(",");
        format!(
            "[{name}]\n\tsequence = {sequence}\n\tseq_timeout = 10\n\ttcpflags = syn\n\tcommand = {command}\n"
        )
    };
    let config = scratch.write(
        "knockd.conf",
        &format!(
            "[options]\n\tLogFile = {}\n{}{}",
            scratch.join("log").display(),
            door("ssh", KNOCKS, &opening("%IP%")),
            door("web", OTHER, "/bin/true"),
        ),
    );
    let mut knockd = Command::new("knockd");
    let process = start_sniffer(net, knockd.args(["-i", "wan", "-c"]).arg(config));
    Started::daemon(process, scratch)
}

/// Debian's fwknopd, which has nft open the port: of itself it knows iptables only, whose modules a kernel may lack.
/// Everything else is as Debian has it.
fn start_fwknopd(net: &Topology) -> Started {
    lay_gate(net, &format!("udp dport {} drop", fwknop::PORT));
    let scratch = Scratch::new();
    let keys = Keys::base64([1, 2]);
    let access = scratch.write(
        "access.conf",
        &format!(
            "SOURCE ANY\n{}CMD_CYCLE_OPEN {}\nCMD_CYCLE_CLOSE NONE\n",
            keys.file(),
            opening("$IP"),
        ),
    );
    let own = scratch.path().display();
    let config = scratch.write(
        "fwknopd.conf",
        &format!(
            "PCAP_INTF wan;\nFWKNOP_RUN_DIR {own};\nFWKNOP_PID_FILE {own}/pid;\nDIGEST_FILE {own}/digests;\n"
        ),
    );
    let mut fwknopd = Command::new("fwknopd");
    fwknopd
        .arg("-f")
        .arg("-c")
        .arg(config)
        .arg("-a")
        .arg(access);
    Started {
        owner: Some(Fwknop::new(keys)),
        ..Started::daemon(start_sniffer(net, &mut fwknopd), scratch)
    }
}

/// A ruleset that does everything in the kernel, built as the nftables wiki's example of port
/// knocking is: a set of (source . next expected port) with timeouts of one second, as there.
fn start_ruleset(net: &Topology) -> Started {
    let sequence = |[first, second, third]: [u16; 3], clients| {
        format!(
            "tcp dport {first} add @candidates {{ ip saddr . {second} timeout 1s }}
            tcp dport {second} ip saddr . tcp dport @candidates add @candidates {{ ip saddr . {third} timeout 1s }}
            tcp dport {third} ip saddr . tcp dport @candidates add @{clients} {{ ip saddr timeout 1h }}"
        )
    };
    let all = [&KNOCKS[..], &OTHER, &[GUARDED, OTHERS_GUARDED[0]]].concat();
    let all: Vec<String> = all.iter().map(u16::to_string).collect();
    nft::apply(
        &net.router.namespace,
        &format!(
            "table inet portknock {{
                set clients {{ type ipv4_addr; flags timeout; }}
                set others {{ type ipv4_addr; flags timeout; }}
                set candidates {{ type ipv4_addr . inet_service; flags timeout; }}
                chain input {{
                    type filter hook input priority -10;
                    {}
                    {}
                    tcp dport {GUARDED} ip saddr @clients counter accept
                    tcp dport {GUARDED} ct state established,related counter accept
                    tcp dport {{ {} }} counter drop
                }}
            }}",
            sequence(KNOCKS, "clients"),
            sequence(OTHER, "others"),
            all.join(", "),
        ),
    );
    Started::default()
}
