//! The programs for the kernel, run by an interpreter of their own and by the kernel.

use core::ops::RangeInclusive;
use std::net::UdpSocket;
use std::os::fd::AsFd;

use postern_core::knock::{Port, Protocol};
use postern_core::packet::parse;

use super::RANGE_LIMITS;
use crate::source::filter::{MAX_RANGES, Wanted, arrived_on, program};
use crate::sys::raw::{self, EtherType, Step};

const FAMILIES: [EtherType; 2] = [EtherType::V4, EtherType::V6];
/// The number of an interface that is heard.
const HERE: u32 = 3;
const LENGTH: u16 = 177;

/// What the kernel knows of a packet beside its octets.
#[derive(Clone, Copy)]
struct Known {
    kind: u32,
    interface: u32,
}

const FOR_US: Known = Known {
    kind: 0,
    interface: HERE,
};

/// Runs a program as the kernel does (net/core/filter.c): how many octets it lets through.
fn run(program: &[Step], known: Known, packet: &[u8]) -> u32 {
    let (mut a, mut x, mut scratch) = (0_u32, 0_u32, [0_u32; 16]);
    let mut at = 0;
    loop {
        let Step { code, jt, jf, k } = program[at];
        at += 1;
        let load = |start: u32, size: usize| {
            let start = start as usize;
            let octets = packet.get(start..start + size)?;
            Some((octets.iter()).fold(0, |value, octet| value << 8 | u32::from(*octet)))
        };
        let loaded = match code {
            // ld [x] of what the kernel knows
            0x20 => match k.wrapping_sub(0xffff_f000) {
                4 => Some(known.kind),
                8 => Some(known.interface),
                other => panic!("unknown {other}"),
            },
            0x28 => load(k, 2),
            0x30 => load(k, 1),
            0x48 => load(x + k, 2),
            0x50 => load(x + k, 1),
            0xb1 => load(k, 1).map(|octet| (octet & 0xf) * 4),
            _ => Some(0),
        };
        // A load from beyond the packet ends the program.
        let Some(loaded) = loaded else { return 0 };
        let mut jump = |yes: bool| at += usize::from(if yes { jt } else { jf });
        match code {
            0x20 | 0x28 | 0x30 | 0x48 | 0x50 => a = loaded,
            0xb1 => x = loaded,
            0x01 => x = k,
            0x02 => scratch[k as usize] = a,
            0x61 => x = scratch[k as usize],
            0x04 => a = a.wrapping_add(k),
            0x0c => a = a.wrapping_add(x),
            0x14 => a = a.wrapping_sub(k),
            0x1c => a = a.wrapping_sub(x),
            0x54 => a &= k,
            0x64 => a <<= k,
            0x05 => at += k as usize,
            0x15 => jump(a == k),
            0x25 => jump(a > k),
            0x35 => jump(a >= k),
            0x45 => jump(a & k != 0),
            0x06 => return k,
            other => panic!("unknown code {other:#x}"),
        }
    }
}

fn wanted<'w>(tcp: &'w [RangeInclusive<u16>], udp: &'w [RangeInclusive<u16>]) -> Wanted<'w> {
    Wanted {
        interfaces: &[9, HERE, 12],
        for_others: false,
        tcp,
        udp,
        echo: &[],
        length: LENGTH,
    }
}

/// A segment of TCP, or a datagram of UDP.
pub(super) fn segment(protocol: Protocol, port: u16, flags: u8) -> Vec<u8> {
    let mut octets = [&[0xd4, 0x31], port.to_be_bytes().as_slice()].concat();
    octets.extend(match protocol {
        Protocol::Tcp => vec![0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, flags, 255, 255, 0, 0, 0, 0],
        Protocol::Udp | Protocol::Icmp => vec![0, 12, 0, 0, 1, 2, 3, 4],
    });
    octets
}

/// An IPv4 packet with so many words of options.
pub(super) fn v4(protocol: u8, options: u8, fragment: u16, segment: &[u8]) -> Vec<u8> {
    let header = 20 + 4 * usize::from(options);
    let mut packet = vec![0; header];
    packet[0] = 0x45 + options;
    packet[2..4].copy_from_slice(&((header + segment.len()) as u16).to_be_bytes());
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&[192, 0, 2, 1]);
    packet.extend(segment);
    packet
}

/// An IPv6 packet with these extension headers, each of so many units beyond the least.
pub(super) fn v6(protocol: u8, extensions: &[(u8, u8)], segment: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    for (index, (_, units)) in extensions.iter().enumerate() {
        let next = extensions.get(index + 1).map_or(protocol, |next| next.0);
        let length = (usize::from(*units) + 1) * 8;
        let begins_at = content.len();
        content.extend([next, *units, 0, 0]);
        content.resize(begins_at + length, 0);
    }
    content.extend(segment);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((content.len() as u16).to_be_bytes());
    packet.extend([extensions.first().map_or(protocol, |first| first.0), 64]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend(content);
    packet
}

/// Packets of every kind that has a destination port, with the family's program to run on them.
fn packets(protocol: Protocol, port: u16, flags: u8) -> Vec<(EtherType, Vec<u8>)> {
    let (number, segment) = (protocol.number(), segment(protocol, port, flags));
    let mut packets = Vec::new();
    for options in 0..=10 {
        packets.push((EtherType::V4, v4(number, options, 0x4000, &segment)));
    }
    let chains: [&[(u8, u8)]; 6] = [
        &[],
        &[(0, 0)],
        &[(60, 3)],
        &[(43, 2)],
        &[(0, 1), (60, 0), (43, 0), (60, 4), (60, 7)],
        &[(60, 0); 8],
    ];
    for chain in chains {
        packets.push((EtherType::V6, v6(number, chain, &segment)));
    }
    packets
}

#[test]
fn syns_and_datagrams_to_knock_ports_pass_and_nothing_else() {
    let wanted = wanted(&[1..=1, 7000..=7002, 65535..=65535], &[8001..=8001]);
    let programs = FAMILIES.map(|family| program(family, &wanted, MAX_RANGES));
    let is_wanted = |port: Port| {
        let ports = match port.protocol {
            Protocol::Tcp => wanted.tcp,
            Protocol::Udp => wanted.udp,
            Protocol::Icmp => &[],
        };
        ports.iter().any(|ports| ports.contains(&port.number))
    };
    let ports = [
        0, 1, 2, 6999, 7000, 7001, 7002, 7003, 8000, 8001, 8002, 65534, 65535,
    ];
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for (number, flags) in ports
            .iter()
            .flat_map(|port| (0..64).map(|flags| (*port, flags)))
        {
            for (family, packet) in packets(protocol, number, flags) {
                let program = &programs[usize::from(family == EtherType::V6)];
                let knock = parse(&packet).ok();
                let expected = knock.is_some_and(|knock| is_wanted(knock.port));
                let octets = run(program, FOR_US, &packet);
                assert_eq!(octets > 0, expected, "{number} {flags:#x} {packet:x?}");
                assert!(octets == 0 || octets == LENGTH.into());
            }
        }
    }
}

#[test]
fn echo_requests_of_these_lengths_pass_and_nothing_else() {
    let mut wanted = wanted(&[7000..=7000], &[]);
    wanted.echo = &[0..=0, 32..=32, 123..=125, 1452..=1452];
    let programs = FAMILIES.map(|family| program(family, &wanted, MAX_RANGES));
    for length in [0, 1, 31, 32, 33, 122, 123, 124, 125, 126, 1451, 1452, 1453] {
        for kind in [0, 3, 8, 9, 127, 128, 129] {
            for code in [0, 1] {
                let message = [&[kind, code, 0, 0, 9, 9, 0, 1][..], &vec![0; length]].concat();
                let mut packets = Vec::new();
                for protocol in [1, 58] {
                    for options in [0, 1, 10] {
                        packets.push((EtherType::V4, v4(protocol, options, 0x4000, &message)));
                    }
                    for chain in [&[][..], &[(60, 3)], &[(0, 1), (43, 4)], &[(51, 3)]] {
                        packets.push((EtherType::V6, v6(protocol, chain, &message)));
                    }
                }
                for (family, packet) in packets {
                    let program = &programs[usize::from(family == EtherType::V6)];
                    let is_wanted =
                        |port: Port| wanted.echo.iter().any(|range| range.contains(&port.number));
                    let expected = parse(&packet).is_ok_and(|knock| is_wanted(knock.port));
                    let passes = run(program, FOR_US, &packet) > 0;
                    assert_eq!(passes, expected, "{length} {kind} {code} {packet:x?}");
                }
            }
        }
    }
    let request = [&[8, 0, 0, 0, 9, 9, 0, 1][..], &[0; 123]].concat();
    for fragment in [0x2000, 0x0001] {
        assert_eq!(run(&programs[0], FOR_US, &v4(1, 0, fragment, &request)), 0);
    }
    // Shorter than its headers.
    let mut short = v4(1, 0, 0, &request);
    short[2..4].copy_from_slice(&[0, 27]);
    assert_eq!(run(&programs[0], FOR_US, &short), 0);
}

#[test]
fn only_packets_for_this_machine_from_the_named_interfaces_pass() {
    let mut wanted = wanted(&[7000..=7000], &[]);
    for (for_others, most) in [(false, 2), (true, 3)] {
        wanted.for_others = for_others;
        for (family, packet) in packets(Protocol::Tcp, 7000, 0x02) {
            let program = program(family, &wanted, MAX_RANGES);
            for (kind, interface) in (0..8).flat_map(|kind| (0..16).map(move |on| (kind, on))) {
                let passes = run(&program, Known { kind, interface }, &packet) > 0;
                let expected = kind <= most && wanted.interfaces.contains(&interface);
                assert_eq!(passes, expected, "{kind} {interface}");
            }
        }
    }
    wanted.interfaces = &[];
    let (family, packet) = &packets(Protocol::Tcp, 7000, 0x02)[0];
    assert_eq!(
        run(&program(*family, &wanted, MAX_RANGES), FOR_US, packet),
        0
    );
}

#[test]
fn whole_packets_from_the_named_interfaces_pass_whatever_they_are() {
    for interfaces in [&[][..], &[HERE], &[9, HERE, 12]] {
        let program = arrived_on(interfaces);
        for interface in 0..16 {
            let octets = run(&program, Known { kind: 0, interface }, &[]);
            let expected = if interfaces.contains(&interface) {
                u32::MAX
            } else {
                0
            };
            assert_eq!(octets, expected);
        }
    }
}

#[test]
fn fragments_and_other_protocols_do_not_pass() {
    let all = [0..=u16::MAX];
    let wanted = wanted(&all, &all);
    let [for_v4, for_v6] = FAMILIES.map(|family| program(family, &wanted, MAX_RANGES));
    let syn = segment(Protocol::Tcp, 7000, 0x02);
    for fragment in [0x2000, 0x2001, 0x0001, 0x1fff, 0x6000] {
        assert_eq!(run(&for_v4, FOR_US, &v4(6, 0, fragment, &syn)), 0);
    }
    assert_eq!(run(&for_v6, FOR_US, &v6(6, &[(44, 0)], &syn)), 0);
    assert_eq!(run(&for_v6, FOR_US, &v6(6, &[(60, 0), (44, 0)], &syn)), 0);
    assert_eq!(run(&for_v6, FOR_US, &v6(6, &[(60, 0); 9], &syn)), 0);
    for number in (0..=u8::MAX).filter(|number| ![1, 6, 17, 58].contains(number)) {
        assert_eq!(run(&for_v4, FOR_US, &v4(number, 0, 0, &syn)), 0, "{number}");
        // Zeros behind an extension header that is none are no TCP either.
        assert_eq!(
            run(&for_v6, FOR_US, &v6(number, &[], &[0; 20])),
            0,
            "{number}"
        );
    }
}

/// A program never holds back what core takes for a knock, whatever the octets.
#[test]
fn no_knock_is_held_back() {
    let all = [0..=u16::MAX];
    let mut wanted = wanted(&all, &all);
    wanted.echo = &all;
    let programs = FAMILIES.map(|family| program(family, &wanted, MAX_RANGES));
    let mut state = 1_u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize
    };
    let mut knocks = 0;
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for (family, packet) in packets(protocol, 7000, 0x02) {
            for _ in 0..2_000 {
                let mut packet = packet.clone();
                for _ in 0..random() % 4 {
                    let at = random() % packet.len();
                    packet[at] = random() as u8;
                }
                packet.truncate(packet.len() - random() % 3);
                // What the link layer says of the family is not the packet's to choose.
                packet[0] = packet[0] & 0x0f | if family == EtherType::V4 { 0x40 } else { 0x60 };
                let program = &programs[usize::from(family == EtherType::V6)];
                if parse(&packet).is_ok() {
                    knocks += 1;
                    assert!(run(program, FOR_US, &packet) > 0, "{packet:x?}");
                }
            }
        }
    }
    assert!(knocks > 10_000, "{knocks}");
}

/// As many ports as there can be, and more: single ones in clusters, and ranges.
fn many_ports() -> Vec<RangeInclusive<u16>> {
    let singles = (0..1_500_u16).map(|number| number * 7 + number / 30 * 400);
    let mut ports: Vec<RangeInclusive<u16>> = singles.map(|port| port..=port).collect();
    ports.push(40_000..=40_999);
    ports.push(60_000..=u16::MAX);
    ports
}

#[test]
fn many_ports_make_a_coarse_program_that_the_kernel_takes() {
    let ports = many_ports();
    let mut wanted = wanted(&ports, &ports);
    // All interfaces that there can be make the jumps to the end as long as they get.
    let interfaces: Vec<u32> = (100..115).chain([HERE]).collect();
    wanted.interfaces = &interfaces;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for family in FAMILIES {
        let passing = RANGE_LIMITS.map(|ranges| {
            let program = program(family, &wanted, ranges);
            raw::filter(socket.as_fd(), &program).unwrap();
            let passes = |number: &u16| {
                let datagram = segment(Protocol::Udp, *number, 0);
                let packet = match family {
                    EtherType::V4 => v4(17, 0, 0, &datagram),
                    EtherType::V6 => v6(17, &[], &datagram),
                };
                run(&program, FOR_US, &packet) > 0
            };
            (0..=u16::MAX).filter(passes).collect::<Vec<u16>>()
        });
        let exact: Vec<u16> = ports.iter().flat_map(Clone::clone).collect();
        for (passing, ranges) in passing.iter().zip(RANGE_LIMITS) {
            assert!(exact.iter().all(|port| passing.binary_search(port).is_ok()));
            let gaps = passing.windows(2).filter(|pair| pair[1] - pair[0] > 1);
            assert!(gaps.count() < ranges);
        }
        assert!(passing[0].len() < exact.len() * 5, "{}", passing[0].len());
        assert_eq!(passing[3].len(), 1 + usize::from(u16::MAX));
    }
}
