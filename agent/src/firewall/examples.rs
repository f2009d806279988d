//! Configurations that the tests of this folder share.

use heapless::{String, Vec};
use postern_core::config::{Config, Global, Guard, Source};
use postern_core::door::{Door, Method, Sequence};
use postern_core::knock::{Port, Protocol};
use postern_core::time::Duration;

pub(super) fn tcp(number: u16) -> Port {
    Port {
        protocol: Protocol::Tcp,
        number,
    }
}

pub(super) fn udp(number: u16) -> Port {
    Port {
        protocol: Protocol::Udp,
        number,
    }
}

pub(super) fn door(name: &str, guards: &[Port], open: &[Port], close: &[Port]) -> Door {
    Door {
        name: String::try_from(name).unwrap(),
        guards: Vec::from_slice(guards).unwrap(),
        method: Method::Separate {
            open: Sequence::from_slice(open).unwrap(),
            close: Sequence::from_slice(close).unwrap(),
        },
        window: Duration::from_secs(10),
        grant: Duration::from_secs(30),
        payload: None,
        jitter: Duration::from_millis(0),
        grant_prefix4: 32,
        grant_prefix6: 128,
        decoys: 0,
        cutoff: None,
    }
}

pub(super) fn config(guard: Guard, interfaces: &[&str], doors: &[Door]) -> Config {
    Config {
        global: Global {
            source: Source::Nflog,
            guard,
            interfaces: interfaces
                .iter()
                .map(|name| String::try_from(*name).unwrap())
                .collect(),
            mark: 0x1000_0000,
            nflog_group: 5,
            control: String::new(),
            state_dir: String::new(),
        },
        doors: Vec::from_slice(doors).unwrap(),
    }
}

/// One TCP door with three knocks, as in the README.
pub(super) fn ssh(guard: Guard) -> Config {
    let open = [tcp(7000), udp(8001), tcp(9002)];
    config(
        guard,
        &["wan"],
        &[door("ssh", &[tcp(22)], &open, &[tcp(9003), tcp(7004)])],
    )
}

/// Three doors: TCP, UDP, and both, on several interfaces.
pub(super) fn three(guard: Guard) -> Config {
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
pub(super) fn udp_only(guard: Guard) -> Config {
    config(
        guard,
        &["wan"],
        &[door("input", &[udp(51820)], &[udp(4000)], &[])],
    )
}

/// As many doors, ports and knocks as there can be, none of them twice.
pub(super) fn largest(guard: Guard) -> Config {
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
