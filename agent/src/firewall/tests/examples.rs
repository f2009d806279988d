//! Configurations that the tests of this folder share.

use heapless::{String, Vec};
use postern_core::code::{Algorithm, Code, Digits};
use postern_core::config::{
    Config, Fallback, Global, Guard, LogFrom, MAX_KERNEL_KNOCKS, OnCrash, Source,
};
use postern_core::door::{
    AtEnd, Cutoff, Door, EngineName, InterfaceSet, MAX_DECOYS, Method, OnExpiry, Order, Sequence,
};
pub(crate) use postern_core::knock::{Port, PortRange, Protocol, tcp, udp};
use postern_core::network::Network;
use postern_core::payload::{MAX_BYTES, Payload};
use postern_core::spa::{Allow, DEFAULT_PORT, Hmac, Terms};
use postern_core::time::Duration;

use crate::firewall::Entrance;

pub(crate) fn door(name: &str, guards: &[Port], open: &[Port], close: &[Port]) -> Door {
    let method = Method::Separate {
        open: Sequence::from_slice(open).unwrap(),
        close: Sequence::from_slice(close).unwrap(),
    };
    Door {
        jitter: Duration::from_millis(0),
        decoys: 0,
        ..Door::new(name, guards, method).unwrap()
    }
}

pub(crate) fn config(guard: Guard, interfaces: &[&str], doors: &[Door]) -> Config {
    Config {
        global: Global {
            source: Source::Nflog,
            guard,
            interfaces: interfaces
                .iter()
                .map(|name| String::try_from(*name).unwrap())
                .collect(),
            named: (0..interfaces.len()).map(InterfaceSet::only).collect(),
            promiscuous: false,
            exempt: Vec::new(),
            mark: 0x1000_0000,
            nflog_group: 5,
            log_from: LogFrom::Kernel,
            control: String::new(),
            state_dir: String::new(),
            fallback: Fallback::Auto,
            on_crash: OnCrash::Keep,
            enabled: true,
        },
        doors: Vec::from_slice(doors).unwrap(),
    }
}

/// One TCP door with three knocks.
pub(crate) fn ssh(guard: Guard) -> Config {
    let open = [tcp(7000), udp(8001), tcp(9002)];
    config(
        guard,
        &["wan"],
        &[door("ssh", &[tcp(22)], &open, &[tcp(9003), tcp(7004)])],
    )
}

/// Three doors: TCP, UDP, and both, on several interfaces.
pub(crate) fn three(guard: Guard) -> Config {
    config(
        guard,
        &["pppoe-wan", "eth1", "wan", "eth0.2", "abcdefghijklmno"],
        &[
            door(
                "ssh",
                &[tcp(22)],
                &[tcp(7000), udp(8001), tcp(9002)],
                &[tcp(9003)],
            ),
            door("wireguard", &[udp(51820)], &[udp(4000)], &[]),
            door(
                "cutoff4",
                &[udp(53), tcp(80), tcp(53)],
                &[tcp(4001), tcp(4002)],
                &[udp(4003)],
            ),
        ],
    )
}

/// A UDP door that is opened by one UDP knock: no TCP port at all.
pub(crate) fn udp_only(guard: Guard) -> Config {
    config(
        guard,
        &["wan"],
        &[door("input", &[udp(51820)], &[udp(4000)], &[])],
    )
}

pub(crate) fn terms() -> Terms {
    Terms {
        port: DEFAULT_PORT,
        key_file: "/etc/postern/ssh.key".try_into().unwrap(),
        hmac: Hmac::Sha256,
        allow: Allow::Named,
        max_age: Duration::from_secs(120),
        grant_max: Duration::from_secs(300),
        user: String::new(),
    }
}

/// Two doors that datagrams open, at one port, and one that is knocked at.
pub(crate) fn datagrams(guard: Guard, source: Source) -> Config {
    let mut doors = three(guard).doors;
    for door in doors.iter_mut().take(2) {
        door.method = Method::Spa(terms());
    }
    let mut config = config(guard, &["wan"], &doors);
    config.global.source = source;
    config
}

/// As many doors, ports and knocks as there can be, none of them twice.
pub(crate) fn largest(guard: Guard) -> Config {
    let mut next = 0;
    let mut ports = |count: usize| -> std::vec::Vec<Port> {
        (0..count)
            .map(|_| {
                next += 1;
                if next % 2 == 0 {
                    tcp(next * 7)
                } else {
                    udp(next * 7)
                }
            })
            .collect()
    };
    let doors: std::vec::Vec<Door> = (0..64)
        .map(|index| {
            door(
                &format!("a_door_with_a_long_nam{index:02}"),
                &ports(16),
                &ports(32),
                &ports(32),
            )
        })
        .collect();
    let interfaces: std::vec::Vec<std::string::String> =
        (0..16).map(|index| format!("interface-{index}")).collect();
    let interfaces: std::vec::Vec<&str> = interfaces.iter().map(|name| name.as_str()).collect();
    config(guard, &interfaces, &doors)
}

/// A door that a code opens, which begins at this port: two groups of three digits, or four.
pub(crate) fn code_door(
    name: &str,
    guards: &[Port],
    base: u16,
    digits: Digits,
    of: [Protocol; 2],
) -> Door {
    let code = Code {
        secret_file: String::try_from("/etc/postern/secret").unwrap(),
        algorithm: Algorithm::Sha1,
        digits,
        base,
        protocols: of,
        order: Order::Any,
    };
    let method = Method::Seed {
        code,
        look_ahead: 10,
        close: Sequence::new(),
    };
    Door {
        method,
        ..door(name, guards, &[], &[])
    }
}

/// Doors that codes open: ranges of ports, of both protocols, some of them guarded.
pub(crate) fn codes(guard: Guard) -> Config {
    use Protocol::{Tcp, Udp};
    let both = code_door("ssh", &[tcp(22)], 10_000, Digits::Six, [Tcp, Udp]);
    let inside = code_door(
        "inside",
        &[tcp(10_000), tcp(10_500), tcp(10_501), tcp(20_999)],
        20_000,
        Digits::Six,
        [Tcp, Tcp],
    );
    let long = code_door("long", &[udp(9_999)], 10_500, Digits::Eight, [Udp, Udp]);
    config(guard, &["wan"], &[both, inside, long])
}

fn one_code(name: &str, guards: &[Port], base: u16) -> Config {
    let of = [Protocol::Tcp, Protocol::Tcp];
    config(
        Guard::Gate,
        &["wan"],
        &[code_door(name, guards, base, Digits::Six, of)],
    )
}

fn with_door(guard: Guard, change: impl FnOnce(&mut Door)) -> Config {
    let mut config = ssh(guard);
    change(&mut config.doors[0]);
    config
}

/// The ssh door with decoys, its knocks heard by this source.
pub(crate) fn heard_by(guard: Guard, source: Source) -> Config {
    let mut config = with_door(guard, |door| door.decoys = 16);
    config.global.source = source;
    config
}

/// The ssh door, granting these parts of an address.
pub(crate) fn networks(guard: Guard, prefix4: u8, prefix6: u8) -> Config {
    with_door(guard, |door| {
        (door.grant_prefix4, door.grant_prefix6) = (prefix4, prefix6);
    })
}

fn with_payload(payload: Payload) -> Config {
    with_door(Guard::Gate, |door| door.payload = Some(payload))
}

fn list(guard: Guard) -> Config {
    with_door(guard, |door| {
        door.method = Method::List {
            file: String::try_from("/etc/postern/list").unwrap(),
            at_end: AtEnd::Stop,
            order: Order::Strict,
            close: Sequence::from_slice(&[udp(4_000)]).unwrap(),
        };
    })
}

fn clock() -> Config {
    let mut config = one_code("clock", &[tcp(22), udp(22)], 30_000);
    if let Method::Seed { code, .. } = config.doors[0].method.clone() {
        config.doors[0].method = Method::Clock {
            code,
            period: 30,
            skew: 1,
            close: Sequence::from_slice(&[tcp(30_999), tcp(31_000), tcp(29_999)]).unwrap(),
        };
    }
    config
}

fn same(steps: &[Port]) -> Config {
    with_door(Guard::Mark, |door| {
        door.method = Method::Same {
            steps: Sequence::from_slice(steps).unwrap(),
        };
    })
}

/// The ssh door, of an engine in the kernel.
pub(crate) fn in_kernel(guard: Guard, engine: EngineName) -> Config {
    with_door(guard, |door| door.engine = engine)
}

/// A door of a kernel engine whose knocks open it and close it again.
fn same_in_kernel(engine: EngineName, steps: &[Port]) -> Config {
    let mut config = same(steps);
    config.doors[0].engine = engine;
    config
}

/// What nobody would want: most knocks, and closing by the reverse of what opens.
fn longest_in_kernel(engine: EngineName) -> Config {
    with_door(Guard::Gate, |door| {
        let port = |number: u16| match number % 3 {
            0 => udp(number),
            _ => tcp(number),
        };
        let mut steps: Sequence = (1_000..1_032).map(port).collect();
        let open = steps.clone();
        steps.reverse();
        door.engine = engine;
        door.method = Method::Separate { open, close: steps };
        door.decoys = 32;
    })
}

/// Two ports several times, one of them as the first.
const REPEATED: &[Port] = &[
    tcp(4_000),
    udp(4_000),
    tcp(4_000),
    udp(4_000),
    tcp(4_001),
    udp(4_000),
];

/// Echo requests are knocks, and what is guarded; those of one door pass on.
fn echo(engine: EngineName) -> Config {
    let mut config = three(Guard::Gate);
    let echo = |number| Port {
        protocol: Protocol::Icmp,
        number,
    };
    let [ssh, wireguard, ..] = &mut *config.doors else {
        return config;
    };
    ssh.engine = engine;
    ssh.method = Method::Separate {
        open: Sequence::from_slice(&[echo(123), tcp(7000), echo(1452)]).unwrap(),
        close: Sequence::from_slice(&[tcp(9003), echo(0)]).unwrap(),
    };
    wireguard.passive = true;
    wireguard.method = Method::Separate {
        open: Sequence::from_slice(&[echo(99), udp(4000)]).unwrap(),
        close: Sequence::new(),
    };
    wireguard.guards.push(PortRange::ECHO).unwrap();
    config
}

/// Three doors, of which the knocks of the first pass on; the second has a cut-off.
fn passive(engine: EngineName) -> Config {
    let mut config = three(Guard::Gate);
    config.doors[0].passive = true;
    config.doors[0].engine = engine;
    config.doors[1].cutoff = Some(Cutoff {
        failures: 5,
        within: Duration::from_secs(600),
    });
    config
}

/// Doors of all engines that share ports, sources that can be cut off, networks.
pub(crate) fn together(guard: Guard) -> Config {
    let steps = [tcp(7_000), udp(8_001), tcp(6_002)];
    let engines = [EngineName::Chain, EngineName::Daemon, EngineName::Track];
    let doors: std::vec::Vec<Door> = (22..)
        .zip(engines)
        .map(|(guarded, engine)| Door {
            engine,
            decoys: 3,
            ..door(engine.name(), &[tcp(guarded)], &steps, &steps[1..])
        })
        .collect();
    let mut config = config(guard, &["wan"], &doors);
    config.doors[1].cutoff = Some(Cutoff {
        failures: 5,
        within: Duration::from_secs(600),
    });
    (config.doors[2].grant_prefix4, config.doors[2].grant_prefix6) = (24, 64);
    config
}

/// Doors of all engines that guard ports together: two of them everything, the third with others
/// of its own beside.
pub(crate) fn shared(guard: Guard) -> Config {
    let steps = [tcp(7_000), udp(8_001), tcp(6_002)];
    let guards: [&[Port]; 3] = [
        &[tcp(22), udp(53)],
        &[udp(53), tcp(22)],
        &[tcp(22), tcp(80), udp(51_820)],
    ];
    let engines = [EngineName::Daemon, EngineName::Chain, EngineName::Track];
    let doors: std::vec::Vec<Door> = (engines.into_iter().zip(guards))
        .map(|(engine, guards)| Door {
            engine,
            ..door(engine.name(), guards, &steps, &[])
        })
        .collect();
    config(guard, &["wan"], &doors)
}

/// As many doors as there can be, all of which guard one port; the last another one too.
pub(crate) fn crowded(guard: Guard) -> Config {
    let mut doors: std::vec::Vec<Door> = (0..64_u16)
        .map(|number| {
            let knocks = [tcp(7_000 + number), tcp(8_000 + number)];
            door(&format!("guest{number:02}"), &[tcp(22)], &knocks, &[])
        })
        .collect();
    doors[63].guards.push(udp(51_820).into()).unwrap();
    config(guard, &["wan"], &doors)
}

/// Ports of a protocol in one range.
pub(crate) const fn range(protocol: Protocol, first: u16, last: u16) -> PortRange {
    PortRange {
        protocol,
        first,
        last,
    }
}

pub(crate) fn guarding(guards: &[PortRange], door: Door) -> Door {
    let guards = Vec::from_slice(guards).unwrap();
    Door { guards, ..door }
}

/// A range without a knock in it, beside a port of its own.
pub(crate) fn mosh(guard: Guard) -> Config {
    let guards = [range(Protocol::Udp, 60_000, 61_000), tcp(22).into()];
    with_door(guard, |door| *door = guarding(&guards, door.clone()))
}

/// Everything is guarded, by two doors of two engines with decoys, but for the knocks of both and of a code;
/// one of which guards a port of the code too.
pub(crate) fn everything(guard: Guard) -> Config {
    let all = [
        range(Protocol::Tcp, 1, 65_535),
        range(Protocol::Udp, 1, 65_535),
        PortRange::ECHO,
    ];
    let mut config = ssh(guard);
    config.doors[0] = guarding(&all, config.doors[0].clone());
    config.doors[0].decoys = 4;
    let chain = Door {
        engine: EngineName::Chain,
        decoys: 2,
        ..door("chain", &[], &[tcp(7_000), udp(7_001)], &[])
    };
    let guards = [range(Protocol::Tcp, 1, 9_000), tcp(10_500).into()];
    config.doors.push(guarding(&guards, chain)).unwrap();
    let of = [Protocol::Tcp, Protocol::Udp];
    let code = code_door("code", &[udp(65_535)], 10_000, Digits::Six, of);
    config.doors.push(code).unwrap();
    config
}

/// Hosts behind the machine, which are guarded beside its own ports.
pub(crate) fn behind(guard: Guard) -> Config {
    let network = |text| Network::parse(text).unwrap();
    let mut config = ssh(guard);
    let host = Door {
        behind: Vec::from_slice(&[network("2001:db8:1::10")]).unwrap(),
        ..door("host", &[tcp(22)], &[tcp(7_100)], &[])
    };
    let guards = [
        tcp(22).into(),
        range(Protocol::Tcp, 8_000, 8_999),
        udp(53).into(),
        PortRange::ECHO,
    ];
    let networks = ["2001:db8:1::/56", "2001:db8:2::/61", "192.0.2.0/24"].map(network);
    let subnet = Door {
        behind: Vec::from_slice(&networks).unwrap(),
        ..door("subnet", &[], &[tcp(7_200)], &[])
    };
    config.doors.push(host).unwrap();
    config.doors.push(guarding(&guards, subnet)).unwrap();
    config
}

/// Doors that guard at some addresses, or on some interfaces, one port that a third one guards everywhere.
pub(crate) fn narrow(guard: Guard) -> Config {
    let mut config = three(guard);
    config.doors.truncate(0);
    let to = ["192.0.2.1", "2001:db8::1"].map(|text| Network::parse(text).unwrap());
    let mut interfaces = InterfaceSet::only(1);
    interfaces.insert(2);
    for (name, guards) in [("some", tcp(22)), ("here", tcp(22)), ("all", tcp(80))] {
        let mut door = door(name, &[guards], &[tcp(7_000)], &[]);
        if name != "all" {
            door.guards.push(tcp(80).into()).unwrap();
            door.interfaces = interfaces;
        }
        if name == "some" {
            door.to = Vec::from_slice(&to).unwrap();
        }
        config.doors.push(door).unwrap();
    }
    config
}

fn exempting() -> Config {
    let mut config = behind(Guard::Gate);
    for text in ["192.168.1.0/24", "10.0.0.0/9", "fd00::/8"] {
        let network = Network::parse(text).unwrap();
        config.global.exempt.push(network).unwrap();
    }
    config
}

fn cutting_all(mut config: Config) -> Config {
    for door in &mut config.doors {
        door.on_expiry = OnExpiry::Cut;
    }
    config
}

type Make = fn() -> Config;

/// A configuration, and the ports that it names by a file only.
///
/// A configuration is large: many of them at once would not fit a thread's stack.
#[derive(Clone)]
pub(crate) struct Example {
    pub(crate) name: &'static str,
    pub(crate) config: Make,
    pub(crate) listed: &'static [Port],
}

/// As many knocks as the kernel is asked to keep count of.
fn largest_in_kernel(engine: EngineName) -> Config {
    let mut config = largest(Guard::Gate);
    config.doors.truncate(MAX_KERNEL_KNOCKS / 64);
    for door in &mut config.doors {
        door.engine = engine;
        door.decoys = MAX_DECOYS;
    }
    config
}

/// Two of three doors cut: one of both protocols, and one of UDP.
pub(crate) fn cutting(guard: Guard) -> Config {
    let mut config = three(guard);
    for door in config.doors.iter_mut().skip(1) {
        door.on_expiry = OnExpiry::Cut;
    }
    config
}

/// The tables that are too large to be read by a person.
pub(crate) const LARGEST: [Example; 4] = [
    Example {
        name: "largest-gate",
        config: || largest(Guard::Gate),
        listed: &[],
    },
    Example {
        name: "largest-mark",
        config: || largest(Guard::Mark),
        listed: &[],
    },
    Example {
        name: "largest-chain",
        config: || largest_in_kernel(EngineName::Chain),
        listed: &[],
    },
    Example {
        name: "largest-track",
        config: || largest_in_kernel(EngineName::Track),
        listed: &[],
    },
];

/// Every kind of table that there can be.
pub(crate) fn all() -> std::vec::Vec<Example> {
    use EngineName::{Chain, Track};
    use Guard::{Gate, Mark};
    const fn listed(name: &'static str, config: Make, listed: &'static [Port]) -> Example {
        Example {
            name,
            config,
            listed,
        }
    }
    let alone = |(name, config)| listed(name, config, &[]);
    let with_doors: [(&'static str, Make); 82] = [
        ("gate", || ssh(Gate)),
        ("mark", || ssh(Mark)),
        ("three-doors-gate", || three(Gate)),
        ("three-doors-mark", || three(Mark)),
        ("udp-only-gate", || udp_only(Gate)),
        ("udp-only-mark", || udp_only(Mark)),
        ("single-same", || same(&[tcp(4_000)])),
        ("sequence-same", || {
            same(&[tcp(1), tcp(65_535), tcp(2), tcp(1)])
        }),
        ("codes-gate", || codes(Gate)),
        ("codes-mark", || codes(Mark)),
        ("code-from-port-0", || one_code("low", &[tcp(22)], 0)),
        ("code-from-port-1", || one_code("low", &[tcp(65_535)], 1)),
        ("code-to-the-last-port", || {
            one_code("high", &[tcp(22)], 64_536)
        }),
        ("code-around-guarded-ends", || {
            one_code("ends", &[tcp(5_000), tcp(5_999)], 5_000)
        }),
        ("code-beside-guarded-ports", || {
            one_code("beside", &[tcp(4_999), tcp(6_000), tcp(6_001)], 5_000)
        }),
        ("code-above-a-guarded-last-port", || {
            one_code("last", &[tcp(65_535)], 64_536)
        }),
        ("clock", clock),
        ("decoys-gate", || with_door(Gate, |door| door.decoys = 16)),
        ("decoys-mark", || with_door(Mark, |door| door.decoys = 32)),
        ("decoys-beside-a-code", || {
            let mut config = codes(Gate);
            let mut ssh = ssh(Gate);
            ssh.doors[0].name = String::try_from("shell").unwrap();
            ssh.doors[0].guards[0] = tcp(2_222).into();
            ssh.doors[0].decoys = 32;
            config.doors.push(ssh.doors[0].clone()).unwrap();
            config
        }),
        ("packet-gate", || heard_by(Gate, Source::Packet)),
        ("packet-mark", || heard_by(Mark, Source::Packet)),
        ("sockets-gate", || heard_by(Gate, Source::Sockets)),
        ("sockets-mark", || heard_by(Mark, Source::Sockets)),
        ("log-gate", || heard_by(Gate, Source::Log)),
        ("log-mark", || heard_by(Mark, Source::Log)),
        ("shared-gate", || shared(Gate)),
        ("shared-mark", || shared(Mark)),
        ("shared-cutting-gate", || cutting_all(shared(Gate))),
        ("shared-cutting-mark", || {
            let mut config = shared(Mark);
            config.doors[2].on_expiry = OnExpiry::Cut;
            config
        }),
        ("crowded", || crowded(Gate)),
        ("range-gate", || mosh(Gate)),
        ("range-mark", || mosh(Mark)),
        ("range-cutting", || cutting_all(mosh(Gate))),
        ("everything-gate", || everything(Gate)),
        ("everything-mark", || everything(Mark)),
        ("everything-cutting", || cutting_all(everything(Mark))),
        ("behind-gate", || behind(Gate)),
        ("behind-mark", || behind(Mark)),
        ("behind-cutting", || cutting_all(behind(Mark))),
        ("narrow-gate", || narrow(Gate)),
        ("narrow-mark", || narrow(Mark)),
        ("narrow-cutting", || cutting_all(narrow(Mark))),
        ("exempt", exempting),
        ("pinged", || {
            let mut config = shared(Gate);
            for door in config.doors.iter_mut().skip(1) {
                door.guards.push(PortRange::ECHO).unwrap();
            }
            config
        }),
        ("cutting-gate", || cutting(Gate)),
        ("cutting-mark", || cutting(Mark)),
        ("networks-gate", || networks(Gate, 24, 64)),
        ("networks-mark", || networks(Mark, 24, 64)),
        ("networks-of-ipv4-only", || networks(Gate, 23, 128)),
        ("networks-of-ipv6-only", || networks(Gate, 32, 56)),
        ("networks-of-odd-sizes", || networks(Gate, 1, 127)),
        ("payload-dns", || with_payload(Payload::Dns)),
        ("payload-ntp", || with_payload(Payload::Ntp)),
        ("payload-longest", || {
            with_payload(Payload::Bytes(Vec::from_slice(&[7; MAX_BYTES]).unwrap()))
        }),
        ("chain-gate", || in_kernel(Gate, Chain)),
        ("chain-mark", || in_kernel(Mark, Chain)),
        ("chain-single-same", || same_in_kernel(Chain, &[tcp(4_000)])),
        ("chain-single-separate", || {
            let mut config = udp_only(Gate);
            config.doors[0].engine = Chain;
            config
        }),
        ("chain-sequence-same", || {
            same_in_kernel(Chain, &[udp(4_000), tcp(4_000)])
        }),
        ("chain-longest", || longest_in_kernel(Chain)),
        ("chain-inside-a-code", || {
            let mut config = codes(Gate);
            let mut shell = in_kernel(Gate, Chain).doors[0].clone();
            shell.name = String::try_from("shell").unwrap();
            shell.guards[0] = tcp(2_222).into();
            shell.method = Method::Separate {
                open: Sequence::from_slice(&[tcp(10_001), udp(5), tcp(999)]).unwrap(),
                close: Sequence::new(),
            };
            config.doors.push(shell).unwrap();
            config
        }),
        ("track-gate", || in_kernel(Gate, Track)),
        ("track-mark", || in_kernel(Mark, Track)),
        ("track-single-same", || same_in_kernel(Track, &[udp(4_000)])),
        ("track-sequence-same", || {
            same_in_kernel(Track, &[udp(4_000), tcp(4_000), tcp(1), udp(65_535)])
        }),
        ("track-longest", || longest_in_kernel(Track)),
        ("chain-repeated-ports", || same_in_kernel(Chain, REPEATED)),
        ("track-repeated-ports", || same_in_kernel(Track, REPEATED)),
        ("echo-gate", || echo(EngineName::Daemon)),
        ("echo-chain", || echo(Chain)),
        ("echo-track", || echo(Track)),
        ("from-chain", || {
            let mut config = in_kernel(Gate, Chain);
            let networks = ["198.51.100.0/24", "2001:db8:1::/48", "192.0.2.7"];
            config.doors[0].from = networks
                .map(|text| Network::parse(text).unwrap())
                .into_iter()
                .collect();
            config
        }),
        ("passive-gate", || passive(EngineName::Daemon)),
        ("passive-chain", || passive(Chain)),
        ("passive-packet", || {
            let mut config = passive(EngineName::Daemon);
            config.global.source = Source::Packet;
            config
        }),
        ("datagrams-gate", || datagrams(Gate, Source::Nflog)),
        ("datagrams-mark", || datagrams(Mark, Source::Sockets)),
        ("datagrams-packet", || datagrams(Gate, Source::Packet)),
        ("engines-together", || together(Gate)),
        ("engines-together-mark", || together(Mark)),
        ("engines-beside-packets", || {
            let mut config = together(Gate);
            config.global.source = Source::Packet;
            config
        }),
    ];
    // A guarded port among them, the same port twice, and a port of a knock.
    const PORTS: &[Port] = &[tcp(5), udp(5), tcp(22), udp(6), tcp(5), udp(4_000), tcp(9)];
    const INSIDE: &[Port] = &[tcp(64_536), tcp(64_535), udp(7), tcp(65_535), tcp(60_000)];
    let with_lists = [
        listed("list-gate", || list(Gate), PORTS),
        listed("list-mark", || list(Mark), PORTS),
        listed("list-empty", || list(Gate), &[]),
        listed(
            "list-and-code",
            || one_code("both", &[tcp(22)], 64_536),
            INSIDE,
        ),
    ];
    with_doors
        .into_iter()
        .map(alone)
        .chain(with_lists)
        .collect()
}

/// The entrance of a door that grants single addresses.
pub(crate) const fn whole(door: &str) -> Entrance<'_> {
    Entrance {
        door,
        prefix4: 32,
        prefix6: 128,
        in_kernel: false,
    }
}
