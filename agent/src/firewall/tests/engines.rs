//! Knocks at doors of the kernel, on the loopback interface.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::sync::atomic::{AtomicU16, Ordering};
use std::io::{ErrorKind, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect,
    setsockopt, shutdown, socket, sockopt,
};
use nix::unistd::Pid;
use postern_core::config::{Config, Guard};
use postern_core::decoy;
use postern_core::door::{Door, EngineName, Method, Sequence};
use postern_core::knock::{Port, Protocol};
use postern_core::method::Effect;
use postern_core::time::Duration;

use super::examples::{self, tcp, udp};
use super::kernel::{address, in_namespace, nft, sources};
use crate::firewall::Firewall;
use crate::firewall::nft::connection::{ElementChange, Term};
use crate::firewall::nft::request::ElementKey;
use crate::firewall::progress::{Attempt, Counts};
use crate::firewall::table::delivery::LONGEST_SNAPLEN;
use crate::firewall::table::engines::MAX_ATTEMPTS;
use crate::firewall::table::model::{DECOYED_PER_DECOY, MAX_GRANTS};
use crate::firewall::table::names;
use crate::network::Family;
use crate::source::nflog::Nflog;
use crate::testing::eventually::eventually;

const ENGINES: [EngineName; 2] = [EngineName::Chain, EngineName::Track];
const OPEN: [Port; 4] = [tcp(7_000), udp(8_001), tcp(9_002), udp(6_003)];
const CLOSE: [Port; 3] = [tcp(9_003), tcp(7_004), udp(8_005)];
const HOUR: Duration = Duration::from_secs(3_600);

/// Somebody who knocks: one of the addresses of the loopback interface.
fn somebody(family: Family, number: u8) -> IpAddr {
    address(&match family {
        Family::V4 => format!("127.0.0.{number}"),
        Family::V6 => format!("fd00::{number}"),
    })
}

/// A guarded loopback interface.
struct Lab {
    firewall: Firewall,
    config: Config,
    listeners: [TcpListener; 2],
}

impl Lab {
    fn new(doors: &[Door]) -> Self {
        stay();
        let up: String = (2..10)
            .map(|number| format!("address add fd00::{number}/128 dev lo nodad\n"))
            .collect();
        ip(&format!("link set lo up\n{up}"));
        let all = (2..10).map(|number| somebody(Family::V6, number));
        all.for_each(|one| eventually(|| arrives(one)));
        let listen = |at: &str| {
            let listener = TcpListener::bind(at).unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        let mut lab = Self {
            firewall: Firewall::open().unwrap(),
            config: examples::config(Guard::Gate, &["lo"], doors),
            listeners: [listen("127.0.0.1:22"), listen("[::1]:22")],
        };
        lab.install();
        lab
    }

    fn install(&mut self) {
        self.firewall.install(&self.config, &[]).unwrap();
    }

    /// Whether the door lets this source in; asks by a connection.
    fn is_open_for(&self, source: IpAddr) -> bool {
        let _asking = send(source, fresh_port(), tcp(22));
        // SYN, SYN and ACK, ACK: each is answered when it is its turn.
        (0..3).for_each(|_| fence());
        let taken = |listener: &TcpListener| core::iter::from_fn(|| listener.accept().ok()).count();
        self.listeners.iter().map(taken).sum::<usize>() > 0
    }

    fn counts(&mut self) -> Counts {
        let mut counts = self.firewall.counts().unwrap().into_iter();
        let door = self.config.doors[0].name.as_str();
        counts.find(|(name, _)| name == door).unwrap().1
    }

    fn attempts(&mut self) -> Vec<Attempt> {
        self.firewall.attempts(&self.config.doors[0]).unwrap()
    }

    /// Waits until nobody's attempt lasts.
    fn pass_window(&mut self) {
        eventually(|| self.attempts().is_empty());
    }
}

fn ip(batch: &str) {
    let mut ip = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    ip.stdin
        .take()
        .unwrap()
        .write_all(batch.as_bytes())
        .unwrap();
    assert!(ip.wait().unwrap().success());
}

/// Waits until the rules have seen every packet so far: a processor takes them in their order.
fn fence() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(core::time::Duration::from_secs(5)))
        .unwrap();
    socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
    while let Err(error) = socket.recv(&mut [0; 1]) {
        assert_eq!(error.kind(), ErrorKind::Interrupted);
    }
}

/// Whether a packet to this address arrives, which takes a while for a new one of IPv6.
fn arrives(at: IpAddr) -> bool {
    let socket = UdpSocket::bind((at, 0)).unwrap();
    let sent = socket.send_to(b"x", socket.local_addr().unwrap());
    fence();
    socket.set_nonblocking(true).unwrap();
    sent.is_ok() && socket.recv(&mut [0; 1]).is_ok()
}

/// Has this thread stay on its processor, because another would take its packets by itself.
fn stay() {
    let mut here = CpuSet::new();
    here.set(sched_getcpu().unwrap()).unwrap();
    sched_setaffinity(Pid::from_raw(0), &here).unwrap();
}

/// Whether a service at this TCP port gets a connection.
fn is_answered(from: IpAddr, port: Port) -> bool {
    let listener = TcpListener::bind(("::", port.number)).unwrap();
    let _asking = send(from, fresh_port(), port);
    (0..3).for_each(|_| fence());
    listener.set_nonblocking(true).unwrap();
    listener.accept().is_ok()
}

/// A source port that was not used for long. The kernel's choice can be that of a knock before, which makes a knock a
/// repeated one.
fn fresh_port() -> u16 {
    static USED: AtomicU16 = AtomicU16::new(0);
    10_000 + USED.fetch_add(1, Ordering::Relaxed) % 20_000
}

/// Sends a SYN or a datagram from this source and port, and is done with it.
///
/// A program that another test starts just now has a copy of every socket until it is executed: one that were only
/// closed might send its SYN again, or keep its port.
fn send_once(from: IpAddr, source_port: u16, to: Port) {
    let socket = send(from, source_port, to);
    if to.protocol == Protocol::Tcp {
        // It may have been refused already.
        _ = shutdown(socket.as_raw_fd(), Shutdown::Both);
    }
}

/// Sends a SYN or a datagram from this source and port.
fn send(from: IpAddr, source_port: u16, to: Port) -> OwnedFd {
    let own = SocketAddr::new(from, source_port);
    let host = match from {
        IpAddr::V4(_) => "127.0.0.1",
        IpAddr::V6(_) => "::1",
    };
    let there = SocketAddr::new(address(host), to.number);
    match to.protocol {
        Protocol::Icmp => panic!("no echo requests from here"),
        Protocol::Udp => {
            let mut socket = None;
            eventually(|| {
                let bound = UdpSocket::bind(own).ok();
                bound.map(|bound| socket = Some(bound)).is_some()
            });
            let socket = socket.unwrap();
            socket.send_to(b"knock", there).unwrap();
            socket.into()
        }
        Protocol::Tcp => {
            let family = match from {
                IpAddr::V4(_) => AddressFamily::Inet,
                IpAddr::V6(_) => AddressFamily::Inet6,
            };
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let socket = socket(family, SockType::Stream, flags, SockProtocol::Tcp).unwrap();
            setsockopt(&socket, sockopt::ReuseAddr, &true).unwrap();
            bind(socket.as_raw_fd(), &SockaddrStorage::from(own)).unwrap();
            let outcome = connect(socket.as_raw_fd(), &SockaddrStorage::from(there));
            assert!(
                matches!(outcome, Ok(()) | Err(Errno::EINPROGRESS)),
                "{outcome:?}"
            );
            socket
        }
    }
}

/// The ports of logged packets, when there are so many.
fn hear(nflog: &mut Nflog, count: usize) -> Vec<u16> {
    let mut heard = Vec::new();
    eventually(|| {
        nflog
            .for_each(|packet| heard.push(destination(packet)))
            .unwrap();
        heard.len() >= count
    });
    heard
}

/// The port that a logged packet asks for.
fn destination(packet: &[u8]) -> u16 {
    let headers = if packet[0] >> 4 == 4 { 20 } else { 40 };
    u16::from_be_bytes([packet[headers + 2], packet[headers + 3]])
}

fn knock(from: IpAddr, ports: &[Port]) {
    for port in ports {
        send_once(from, fresh_port(), *port);
    }
    fence();
}

/// Knocks at the ports, from source ports of this number and those above it.
fn knock_from(from: IpAddr, source_port: u16, ports: &[Port]) {
    for (port, source_port) in ports.iter().zip(source_port..) {
        send_once(from, source_port, *port);
    }
    fence();
}

fn sequence(ports: &[Port]) -> Sequence {
    Sequence::from_slice(ports).unwrap()
}

fn door(engine: EngineName, method: Method) -> Door {
    Door {
        engine,
        method,
        ..examples::door("ssh", &[tcp(22)], &[], &[])
    }
}

fn separate(open: &[Port], close: &[Port]) -> Method {
    Method::Separate {
        open: sequence(open),
        close: sequence(close),
    }
}

fn ssh(engine: EngineName) -> Door {
    door(engine, separate(&OPEN, &CLOSE))
}

fn same(engine: EngineName, steps: &[Port]) -> Door {
    let steps = sequence(steps);
    door(engine, Method::Same { steps })
}

/// With each engine, and somebody of each family, in a namespace of its own.
fn with_each(make: fn(EngineName) -> Door, test: fn(&mut Lab, IpAddr, Family)) {
    for engine in ENGINES {
        in_namespace(move || {
            let mut lab = Lab::new(&[make(engine)]);
            for family in Family::BOTH {
                println!("{engine:?} {family:?}");
                test(&mut lab, somebody(family, 2), family);
            }
        });
    }
}

#[test]
fn every_method_opens_for_its_sender_and_closes_again() {
    let (tcps, udps) = (
        [tcp(7_000), tcp(9_000), tcp(8_000)],
        [udp(7_000), udp(9_000)],
    );
    let mixed = [udp(7_000), tcp(7_000), tcp(65_535), udp(1)];
    let separates: [(&[Port], &[Port]); 5] = [
        (&tcps[..1], &udps[..1]),
        (&udps[..1], &[]),
        (&tcps, &udps),
        (&udps, &mixed),
        (&mixed, &tcps[1..]),
    ];
    let sames: [&[Port]; 5] = [&tcps[..1], &udps[..1], &tcps, &udps, &mixed];
    let methods: Vec<Method> = (separates.iter())
        .map(|(open, close)| separate(open, close))
        .chain(sames.map(|steps| Method::Same {
            steps: sequence(steps),
        }))
        .collect();
    for engine in ENGINES {
        for method in methods.clone() {
            in_namespace(move || opens_and_closes(engine, &method));
        }
    }
}

fn opens_and_closes(engine: EngineName, method: &Method) {
    println!("{engine:?} {method:?}");
    let mut lab = Lab::new(&[door(engine, method.clone())]);
    let (open, close) = match method {
        Method::Same { steps } => (steps, steps),
        Method::Separate { open, close } => (open, close),
        other => panic!("{other:?}"),
    };
    for family in Family::BOTH {
        let [client, stranger] = [2, 3].map(|number| somebody(family, number));
        assert!(!lab.is_open_for(client));
        for round in 0..2 {
            knock(client, open);
            assert!(lab.is_open_for(client), "round {round}");
            assert!(!lab.is_open_for(stranger));
            assert_eq!(lab.attempts(), [], "a finished attempt is over");
            knock(client, close);
            assert_eq!(lab.is_open_for(client), close.is_empty());
        }
        knock(stranger, open);
        assert!(lab.is_open_for(stranger));
    }
    let closed = if close.is_empty() { 0 } else { 4 };
    let made = 6 * open.len() + closed * close.len();
    let counts = lab.counts();
    assert_eq!((counts.opened, counts.closed), (6, closed as u64));
    assert_eq!(counts.seen, made as u64);
    assert!(counts.matched >= counts.seen, "{counts:?}");
    assert_eq!(counts.no_room, 0);
}

#[test]
fn only_the_knocks_in_their_order_open() {
    with_each(ssh, |lab, client, _| {
        let [a, b, c, d] = OPEN;
        for wrong in [
            &[d][..],
            &[a, b, d],
            &[a, c, b, d],
            &[b, a, c, d],
            &[a, b, d, c],
            &[d, c, b, a],
            &[a, b, CLOSE[0], c, d],
            &[a, b, CLOSE[1], c, d],
            &[a, CLOSE[2], b, c, d],
        ] {
            knock(client, wrong);
            assert!(!lab.is_open_for(client), "{wrong:?}");
            // Whatever is left of it, nothing adds up with the next one.
            knock(client, &[CLOSE[1]]);
        }
        // A wrong knock does not stand in the way of right ones.
        knock(client, &[a, b, d, a, b, c, d]);
        assert!(lab.is_open_for(client));
        knock(client, &[CLOSE[0], CLOSE[2], CLOSE[1]]);
        assert!(lab.is_open_for(client), "closing has an order too");
        knock(client, &CLOSE);
        assert!(!lab.is_open_for(client));
    });
}

#[test]
fn nothing_is_left_of_an_older_attempt() {
    with_each(ssh, |lab, client, _| {
        let [a, b, c, d] = OPEN;
        // The marks of the second knock and the third are still there when another attempt begins.
        for broken in [
            &[a, b, c, CLOSE[1]][..],
            &[a, b, d],
            &[a, b, c, b, CLOSE[0], CLOSE[0]],
        ] {
            for rest in [&[a, d][..], &[a, c, d], &[a, b, d]] {
                knock(client, broken);
                knock(client, rest);
                assert!(!lab.is_open_for(client), "{broken:?} {rest:?}");
                knock(client, &[CLOSE[1]]);
            }
        }
    });
}

#[test]
fn repeated_knocks_do_no_harm() {
    with_each(ssh, |lab, client, _| {
        let [a, b, c, d] = OPEN;
        knock(client, &[a, a, b, a, b, b, c, a, c, b, d, d]);
        assert!(lab.is_open_for(client));
        assert_eq!(lab.counts().refused, 0);
        let [a, b, c] = CLOSE;
        knock(client, &[a, b, b, a, c, c]);
        assert!(!lab.is_open_for(client));
        assert_eq!(lab.counts().refused, 0);
    });
}

#[test]
fn knocks_of_two_sources_do_not_add_up() {
    with_each(ssh, |lab, client, family| {
        let stranger = somebody(family, 3);
        for port in OPEN.chunks(2) {
            knock(client, &port[..1]);
            knock(stranger, &port[1..]);
        }
        assert!(!lab.is_open_for(client) && !lab.is_open_for(stranger));
        // Attempts side by side do not disturb each other.
        knock(client, &[CLOSE[1]]);
        for port in OPEN {
            knock(client, &[port]);
            knock(stranger, &[port]);
            knock(somebody(family, 4), &[CLOSE[1]]);
        }
        assert!(lab.is_open_for(client) && lab.is_open_for(stranger));
    });
}

#[test]
fn the_window_is_from_the_first_knock_to_the_last() {
    let brief = |engine| Door {
        window: Duration::from_millis(400),
        ..ssh(engine)
    };
    with_each(brief, |lab, client, _| {
        let [a, b, c, d] = OPEN;
        knock(client, &[a]);
        eventually(|| lab.attempts()[0].remaining < Duration::from_millis(200));
        // Neither later knocks nor the first one again prolong it.
        knock(client, &[b, a, c]);
        let left = lab.attempts()[0].remaining;
        assert!(left < Duration::from_millis(200), "{left:?}");
        lab.pass_window();
        knock(client, &[d]);
        assert!(!lab.is_open_for(client));
        // What outlives the window is worth nothing in the next one.
        knock(client, &[a, c, d, a, d]);
        assert!(!lab.is_open_for(client));
        knock(client, &OPEN);
        assert!(lab.is_open_for(client));
    });
}

#[test]
fn who_has_come_how_far_can_be_read() {
    with_each(ssh, |lab, client, family| {
        let stranger = somebody(family, 3);
        knock(client, &OPEN[..3]);
        knock(stranger, &[CLOSE[0], OPEN[0], CLOSE[0]]);
        let mut attempts = lab.attempts();
        attempts.sort_by_key(|attempt| attempt.source);
        let [first, second] = &attempts[..] else {
            panic!("{attempts:?}")
        };
        for (attempt, source, effect, accepted, needed, next) in [
            (first, client, Effect::Open, 3, 4, OPEN[3]),
            (second, stranger, Effect::Close, 1, 3, CLOSE[1]),
        ] {
            let remaining = attempt.remaining;
            assert!(remaining > Duration::from_secs(5) && remaining <= Duration::from_secs(10));
            let expected = Attempt {
                source,
                effect,
                accepted,
                needed,
                next,
                remaining,
            };
            assert_eq!(attempt, &expected);
        }
        // An attempt that a wrong knock ended is none.
        knock(client, &[CLOSE[2]]);
        knock(stranger, &[OPEN[2]]);
        assert_eq!(lab.attempts(), []);
    });
}

/// The ports of all decoys of the first door.
fn decoys(config: &Config) -> Vec<Port> {
    let decoys = decoy::decoys(&config.doors[0], &config.doors);
    decoys.flat_map(|ports| ports.ports()).collect()
}

#[test]
fn a_hit_at_a_decoy_ends_an_attempt_and_whoever_is_there_answers() {
    let decoyed = |engine| Door {
        decoys: 8,
        ..ssh(engine)
    };
    with_each(decoyed, |lab, client, _| {
        let decoys = decoys(&lab.config);
        assert_eq!(decoys.len(), 64);
        let before = lab.counts();
        knock(client, &decoys);
        assert_eq!(lab.counts(), before, "there was no attempt to end");
        for decoy in &decoys {
            knock(client, &OPEN[..3]);
            knock(client, &[*decoy, OPEN[3]]);
            assert!(!lab.is_open_for(client), "{decoy:?}");
            assert_eq!(lab.attempts(), []);
        }
        assert_eq!(lab.counts().refused, before.refused + 64);
        // Also one that came before the attempt.
        knock(client, &OPEN);
        assert!(!lab.is_open_for(client));
        assert_eq!(lab.attempts(), []);
        assert_eq!(lab.counts().refused, before.refused + 65);
        // The packet goes on.
        let tcp = decoys
            .iter()
            .find(|decoy| decoy.protocol == Protocol::Tcp)
            .unwrap();
        assert!(is_answered(client, *tcp));
        assert!(lab.firewall.pardon(Some(client)).unwrap());
        knock(client, &OPEN);
        assert!(lab.is_open_for(client));
        // Whoever is in stays in, and may leave.
        knock(client, &decoys);
        assert!(lab.is_open_for(client));
        knock(client, &CLOSE);
        assert!(!lab.is_open_for(client));
        assert!(lab.firewall.pardon(Some(client)).unwrap());
    });
}

#[test]
fn a_hit_that_finds_no_room_is_counted_and_keeps_nobody_out() {
    let decoyed = |engine| Door {
        decoys: 1,
        ..ssh(engine)
    };
    with_each(decoyed, |lab, client, family| {
        let before = lab.firewall.unremembered().unwrap();
        let set = [names::decoyed(family)];
        // As many as forged packets would have put there.
        for batch in (0..DECOYED_PER_DECOY).collect::<Vec<_>>().chunks(64) {
            let changes: Vec<ElementChange<'_>> = batch
                .iter()
                .map(|number| {
                    let forged = match family {
                        Family::V4 => Ipv4Addr::from_bits(0x0a00_0000 + number).into(),
                        Family::V6 => Ipv6Addr::from_bits(u128::from(*number) << 64).into(),
                    };
                    ElementChange::Add(&set, ElementKey::Address(forged), Term::For(HOUR))
                })
                .collect();
            lab.firewall.connection.apply(&changes).unwrap();
        }
        let decoys = decoys(&lab.config);
        knock(client, &decoys);
        let missed = lab.firewall.unremembered().unwrap() - before;
        assert_eq!(missed, decoys.len() as u64);
        knock(client, &OPEN);
        assert!(lab.is_open_for(client));
        knock(client, &CLOSE);
    });
}

const A: Port = tcp(7_000);
const B: Port = tcp(8_000);
const C: Port = udp(7_000);

/// Ports several times, as the first and later, one right after the other and not.
const REPEATED: [&[Port]; 6] = [
    &[A, B, A],
    &[A, A],
    &[A, A, A, B],
    &[B, C, A, C],
    &[A, B, A, B],
    &[A, C, B, C, C, A, B],
];

#[test]
fn a_port_several_times_takes_as_many_knocks_and_none_sent_again() {
    for (engine, steps) in ENGINES
        .into_iter()
        .flat_map(|one| REPEATED.map(|steps| (one, steps)))
    {
        in_namespace(move || {
            println!("{engine:?} {steps:?}");
            let mut lab = Lab::new(&[door(engine, separate(steps, &[]))]);
            for family in Family::BOTH {
                let client = somebody(family, 2);
                for round in 1..3 {
                    let opened = lab.counts().opened;
                    for made in 1..=steps.len() {
                        assert_eq!(lab.counts().opened, opened, "{family:?} {round} {made}");
                        let first = 20_000 + 1_000 * round;
                        let to = &steps[..made];
                        knock_from(client, first + made as u16 - 1, &to[made - 1..]);
                        // Each so far, and in the wrong order too.
                        for (port, source_port) in to.iter().zip(first..first + 99).rev() {
                            knock_from(client, source_port, &[*port]);
                        }
                        knock_from(client, first, to);
                    }
                    assert_eq!(lab.counts().opened, opened + 1, "{family:?} {round}");
                }
                assert!(lab.is_open_for(client));
            }
            assert_eq!(lab.counts().no_room, 0);
        });
    }
}

/// What follows after what, as anyone would write it down.
struct Model {
    steps: &'static [Port],
    made: usize,
    accepted: Vec<(Port, u16)>,
}

impl Model {
    /// Whether a packet opens the door.
    fn opens(&mut self, packet: (Port, u16)) -> bool {
        let (port, _) = packet;
        let several = self.steps.iter().filter(|step| **step == port).count() > 1;
        if several && self.accepted.contains(&packet) {
            return false;
        }
        if self.steps[self.made] != port {
            if !self.steps[..self.made].contains(&port) {
                self.made = 0;
            }
            return false;
        }
        self.accepted.push(packet);
        self.made = (self.made + 1) % self.steps.len();
        self.made == 0
    }
}

#[test]
fn a_port_several_times_is_counted_as_a_model_counts() {
    for (engine, steps) in ENGINES
        .into_iter()
        .flat_map(|one| REPEATED.map(|steps| (one, steps)))
    {
        in_namespace(move || {
            println!("{engine:?} {steps:?}");
            // All knocks so far are known by their source ports.
            let patient = Door {
                window: HOUR,
                ..door(engine, separate(steps, &[tcp(1), B, A, C]))
            };
            let mut lab = Lab::new(&[patient]);
            let (mut opened, mut random) = (0, 0x5eed_u32);
            // What a rule took out of a set stays in its place until the kernel sweeps, once a second: somebody who
            // begins an attempt more than sixteen times meanwhile may find no room.
            for client in (2..14).map(|number| somebody(Family::V4, number)) {
                let (accepted, made) = (Vec::new(), 0);
                let mut model = Model {
                    steps,
                    made,
                    accepted,
                };
                let mut sent = Vec::new();
                for number in 0..25 {
                    random ^= random << 13;
                    random ^= random >> 17;
                    random ^= random << 5;
                    let chosen = (random >> 8) as usize;
                    let packet = match random % 8 {
                        0 if !sent.is_empty() => sent[chosen % sent.len()],
                        1 => ([A, B, C][chosen % 3], 10_000 + number),
                        _ => (steps[model.made], 10_000 + number),
                    };
                    sent.push(packet);
                    knock_from(client, packet.1, &[packet.0]);
                    opened += u64::from(model.opens(packet));
                    assert_eq!(lab.counts().opened, opened, "{number} {packet:?}");
                }
            }
            assert!(opened > 8);
        });
    }
}

#[test]
fn a_full_set_of_source_ports_keeps_nobody_out() {
    for engine in ENGINES {
        in_namespace(move || {
            let lab = Lab::new(&[door(engine, separate(&[A, B, A], &[]))]);
            fill("openat1v4_ssh", &[1, 2]);
            let client = somebody(Family::V4, 2);
            knock(client, &[A, B, A]);
            assert!(lab.is_open_for(client));
        });
    }
}

#[test]
fn what_is_not_a_knock_is_none() {
    with_each(ssh, |lab, client, _| {
        let [a, b, c, d] = OPEN;
        let other = |port: Port| match port.protocol {
            Protocol::Tcp => udp(port.number),
            Protocol::Udp | Protocol::Icmp => tcp(port.number),
        };
        let before = lab.counts();
        // Ports of the same numbers but of the other protocol, and ports that no door names.
        knock(
            client,
            &[a, other(b), b, tcp(443), c, other(c), other(a), udp(9), d],
        );
        assert!(lab.is_open_for(client));
        assert_eq!(lab.counts().seen - before.seen, 4);
        knock(client, &CLOSE);
    });
}

#[test]
fn a_repeated_last_knock_does_not_switch_back() {
    const STEPS: [&[Port]; 4] = [
        &[tcp(4_000)],
        &[udp(4_000)],
        &OPEN,
        &[tcp(2), udp(2), tcp(1)],
    ];
    for (engine, steps) in ENGINES
        .into_iter()
        .flat_map(|one| STEPS.map(|steps| (one, steps)))
    {
        in_namespace(move || {
            let mut lab = Lab::new(&[same(engine, steps)]);
            for family in Family::BOTH {
                println!("{engine:?} {steps:?} {family:?}");
                let client = somebody(family, 2);
                let switch = |source_port| knock_from(client, source_port, steps);
                switch(40_000);
                assert!(lab.is_open_for(client));
                // TCP sends all of them again, more than once.
                switch(40_000);
                switch(40_000);
                assert!(lab.is_open_for(client));
                assert_eq!(lab.attempts(), [], "what was repeated is no attempt");
                // Another's packet from the same port is another.
                let other = somebody(family, 3);
                knock_from(other, 40_000, steps);
                assert!(lab.is_open_for(other));
                switch(50_000);
                assert!(!lab.is_open_for(client) && lab.is_open_for(other));
                switch(50_000);
                assert!(!lab.is_open_for(client));
                switch(45_000);
                assert!(lab.is_open_for(client));
            }
        });
    }
}

/// How long the only grant lasts, in seconds, rounded up.
fn seconds(firewall: &mut Firewall) -> u64 {
    let grants = firewall.grants().unwrap();
    assert_eq!(grants.len(), 1, "{grants:?}");
    grants[0].remaining.unwrap().as_millis().div_ceil(1_000)
}

#[test]
fn a_knock_prolongs_a_grant_and_never_shortens_one_made_by_hand() {
    with_each(ssh, |lab, client, _| {
        let door = lab.config.doors[0].clone();
        knock(client, &OPEN);
        assert_eq!(seconds(&mut lab.firewall), 30);
        eventually(|| seconds(&mut lab.firewall) < 30);
        knock(client, &OPEN);
        assert_eq!(seconds(&mut lab.firewall), 30);
        lab.firewall.grant(&door, client, HOUR).unwrap();
        knock(client, &OPEN);
        assert!(seconds(&mut lab.firewall) > 3_590);
        // A person's word counts as it is.
        let entrance = lab.firewall.entrance("ssh").unwrap();
        assert_eq!(entrance, (&door).into());
        lab.firewall
            .grant(entrance, client, Duration::from_secs(5))
            .unwrap();
        assert!(seconds(&mut lab.firewall) <= 5);
        knock(client, &OPEN);
        assert_eq!(seconds(&mut lab.firewall), 30);
        assert!(lab.firewall.withdraw(&door, client).unwrap());
        assert!(!lab.firewall.withdraw(&door, client).unwrap());
        assert!(!lab.is_open_for(client));
    });
}

#[test]
fn closing_takes_back_what_was_granted_by_hand_too() {
    with_each(ssh, |lab, client, family| {
        let door = lab.config.doors[0].clone();
        lab.firewall.grant(&door, client, HOUR).unwrap();
        knock(client, &OPEN);
        knock(client, &CLOSE);
        assert!(!lab.is_open_for(client));
        assert_eq!(sources(&mut lab.firewall, "ssh"), [""; 0]);
        let all = [2, 3, 4].map(|number| somebody(family, number));
        for source in all {
            knock(source, &OPEN);
        }
        assert_eq!(sources(&mut lab.firewall, "ssh").len(), 3);
        lab.firewall.withdraw_all("ssh").unwrap();
        lab.firewall.withdraw_all("ssh").unwrap();
        assert!(!all.into_iter().any(|source| lab.is_open_for(source)));
    });
}

#[test]
fn what_was_opened_by_hand_is_switched_off_by_knocks() {
    with_each(
        |engine| same(engine, &OPEN),
        |lab, client, _| {
            let door = lab.config.doors[0].clone();
            lab.firewall.grant(&door, client, HOUR).unwrap();
            knock(client, &OPEN);
            assert!(!lab.is_open_for(client));
            knock(client, &OPEN);
            assert!(lab.is_open_for(client));
            knock(client, &OPEN);
            assert!(!lab.is_open_for(client));
        },
    );
}

#[test]
fn a_grant_is_for_the_network_and_ends_by_itself() {
    let wide = |engine| Door {
        grant_prefix4: 24,
        grant_prefix6: 64,
        grant: Duration::from_millis(400),
        ..same(engine, &OPEN)
    };
    with_each(wide, |lab, client, family| {
        let neighbour = somebody(family, 3);
        let network = match family {
            Family::V4 => "127.0.0.0/24",
            Family::V6 => "fd00::/64",
        };
        knock(client, &OPEN);
        assert_eq!(sources(&mut lab.firewall, "ssh"), [network]);
        assert!(lab.is_open_for(neighbour));
        // Knocks are one's own, what they open is everybody's.
        knock(neighbour, &OPEN);
        assert!(!lab.is_open_for(client));
        knock(neighbour, &OPEN);
        assert!(lab.is_open_for(client));
        eventually(|| !lab.is_open_for(client));
    });
}

/// Fills a set with sources that are nobody's, each with these ports.
fn fill(set: &str, ports: &[u16]) {
    let source = |number: u32| Ipv4Addr::from(0x0a00_0000 + number);
    let element = |number: u32| match ports {
        [] => format!("{} timeout 1h", source(number)),
        ports => {
            let of = |port: &u16| format!("{} . {port} timeout 1h", source(number));
            ports.iter().map(of).collect::<Vec<_>>().join(",")
        }
    };
    let elements: Vec<String> = (0..MAX_ATTEMPTS).map(element).collect();
    let script = format!(
        "add element inet postern {set} {{ {} }}",
        elements.join(",")
    );
    empty(set);
    // What rules deleted takes room until the kernel sweeps, once a second.
    eventually(|| accepts(&script));
}

/// Whether nft can carry the script out; it is not heard what keeps it from that.
fn accepts(script: &str) -> bool {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    nft.stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    nft.wait().unwrap().success()
}

fn empty(set: &str) {
    nft(&["flush", "set", "inet", "postern", set], "").unwrap();
}

#[test]
fn a_full_set_is_counted_and_nobody_else_is_let_in() {
    for engine in ENGINES {
        in_namespace(move || {
            let mut lab = Lab::new(&[ssh(engine)]);
            let client = somebody(Family::V4, 2);
            let sets: &[(&str, &[u16])] = match engine {
                EngineName::Track => &[
                    ("openfrom4_ssh", &[]),
                    ("openudp4_ssh", &[8_001, 6_003]),
                    ("opentcp4_ssh", &[9_002]),
                    ("knocked4_ssh", &[]),
                ],
                _ => &[
                    ("open1v4_ssh", &[]),
                    ("open2v4_ssh", &[]),
                    ("open3v4_ssh", &[]),
                    ("knocked4_ssh", &[]),
                ],
            };
            assert_eq!(MAX_GRANTS, MAX_ATTEMPTS);
            for (set, ports) in sets {
                println!("{engine:?} {set}");
                let before = lab.counts();
                fill(set, ports);
                knock(client, &OPEN);
                assert!(!lab.is_open_for(client));
                assert_eq!(lab.counts().opened, before.opened);
                assert!(lab.counts().no_room > before.no_room);
                // The other family has room.
                knock(somebody(Family::V6, 2), &OPEN);
                assert!(lab.is_open_for(somebody(Family::V6, 2)));
                empty(set);
                knock(client, &[CLOSE[1]]);
                knock(client, &OPEN);
                assert!(lab.is_open_for(client));
                knock(client, &CLOSE);
            }
        });
    }
}

#[test]
fn a_full_set_of_repeated_knocks_keeps_a_door_as_it_is() {
    for engine in ENGINES {
        in_namespace(move || {
            let mut lab = Lab::new(&[same(engine, &[tcp(4_000)])]);
            let client = somebody(Family::V4, 2);
            fill("repeated4_ssh", &[1]);
            knock(client, &[tcp(4_000)]);
            assert!(!lab.is_open_for(client));
            assert_eq!(lab.counts().no_room, 1);
            empty("repeated4_ssh");
            knock(client, &[tcp(4_000)]);
            assert!(lab.is_open_for(client));
        });
    }
}

/// Doors of both engines and of the agent share their ports.
fn together() -> Config {
    let mut config = examples::together(Guard::Gate);
    config.global.interfaces[0] = heapless::String::try_from("lo").unwrap();
    config
}

#[test]
fn doors_share_ports_each_by_itself() {
    in_namespace(|| {
        let mut nflog = Nflog::open(5, LONGEST_SNAPLEN, 1 << 20).unwrap();
        let mut lab = Lab::new(&[]);
        lab.config = together();
        lab.install();
        let steps = [tcp(7_000), udp(8_001), tcp(6_002)];
        for family in Family::BOTH {
            let client = somebody(family, 2);
            knock(client, &steps);
            let granted = |lab: &mut Lab, door| sources(&mut lab.firewall, door).len();
            assert_eq!(granted(&mut lab, "chain"), 1);
            assert_eq!(granted(&mut lab, "track"), 1);
            assert_eq!(granted(&mut lab, "daemon"), 0);
            // The agent hears what is for it, as well.
            assert_eq!(hear(&mut nflog, 3), steps.map(|port| port.number));
            knock(client, &steps[1..]);
            assert_eq!(granted(&mut lab, "chain") + granted(&mut lab, "track"), 0);
            assert_eq!(hear(&mut nflog, 2), [8_001, 6_002]);
            // Whom it cut off none of them hears.
            lab.firewall.cut_off(client, HOUR).unwrap();
            knock(client, &steps);
            assert_eq!(granted(&mut lab, "chain") + granted(&mut lab, "track"), 0);
            // Decoys only listen, whoever it is.
            let decoy = decoys(&lab.config)
                .into_iter()
                .find(|decoy| decoy.protocol == Protocol::Tcp)
                .unwrap();
            assert!(is_answered(client, decoy));
            nflog
                .for_each(|packet| panic!("{packet:?}"))
                .map(drop)
                .unwrap();
        }
    });
}

#[test]
fn the_agent_does_not_hear_knocks_that_the_kernel_counts() {
    in_namespace(|| {
        let mut nflog = Nflog::open(5, LONGEST_SNAPLEN, 1 << 20).unwrap();
        let others = Door {
            name: heapless::String::try_from("web").unwrap(),
            guards: heapless::Vec::from_slice(&[tcp(80).into()]).unwrap(),
            ..door(EngineName::Daemon, separate(&[tcp(7_100)], &[]))
        };
        let mut decoyed = ssh(EngineName::Chain);
        decoyed.decoys = 8;
        let lab = Lab::new(&[decoyed, others]);
        let client = somebody(Family::V4, 2);
        knock(client, &OPEN);
        assert!(lab.is_open_for(client));
        let decoys = decoys(&lab.config);
        knock(client, &decoys);
        knock(client, &[tcp(7_100)]);
        assert_eq!(hear(&mut nflog, 1), [7_100]);
    });
}

#[test]
fn reinstalling_keeps_what_knocks_opened_and_what_was_counted() {
    with_each(ssh, |lab, client, _| {
        knock(client, &OPEN);
        let before = lab.counts();
        assert!(before.opened > 0);
        lab.install();
        assert_eq!(lab.counts(), before);
        assert!(lab.is_open_for(client));
        // The engine can change under a grant.
        for engine in [EngineName::Daemon, EngineName::Chain, EngineName::Track] {
            let was_agents = !lab.config.doors[0].engine.is_in_kernel();
            lab.config.doors[0].engine = engine;
            lab.install();
            let kept = !was_agents && engine.is_in_kernel();
            assert!(!kept || lab.is_open_for(client), "{engine:?}");
            knock(client, &OPEN);
            assert_eq!(lab.is_open_for(client), engine.is_in_kernel());
        }
        lab.config.doors[0].guards[0] = tcp(2_222).into();
        lab.install();
        assert_eq!(sources(&mut lab.firewall, "ssh"), [""; 0]);
        *lab = Lab {
            firewall: Firewall::open().unwrap(),
            config: examples::config(Guard::Gate, &["lo"], &[ssh(EngineName::Chain)]),
            listeners: lab.listeners.each_ref().map(|one| one.try_clone().unwrap()),
        };
        lab.install();
    });
}

#[test]
fn no_kernel_door_no_counts() {
    in_namespace(|| {
        let mut lab = Lab::new(&[ssh(EngineName::Daemon)]);
        assert!(lab.firewall.counts().unwrap().is_empty());
        assert_eq!(lab.attempts(), []);
        // A door of the configuration that the installed table does not have.
        lab.config.doors[0] = ssh(EngineName::Track);
        assert_eq!(lab.attempts(), []);
    });
}
