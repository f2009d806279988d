//! One table in place of another in the real kernel, packets or not.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::sync::atomic::{AtomicBool, Ordering};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, bind, connect, socket,
};
use postern_core::config::{Config, Guard};
use postern_core::door::{Door, EngineName};
use postern_core::time::Duration;

use super::examples::{self, Protocol, door, tcp, whole};
use super::kernel::{in_namespace, listing, nft, sources};
use crate::firewall::nft::batch::{Heritage, Ownership, Parts};
use crate::firewall::table::model::Table;
use crate::firewall::{Firewall, render};

const GRANTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const STRANGER: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn parts(firewall: &mut Firewall) -> Option<Parts> {
    let sets = firewall.sets().unwrap();
    let counters = firewall.connection.counters().unwrap();
    firewall.parts(sets, &counters).unwrap()
}

#[test]
fn any_table_takes_the_place_of_any_other_part_by_part() {
    const NAMES: [&str; 13] = [
        "gate",
        "mark",
        "three-doors-gate",
        "udp-only-mark",
        "codes-gate",
        "code-from-port-0",
        "decoys-beside-a-code",
        "list-and-code",
        "largest-gate",
        "chain-gate",
        "track-gate",
        "engines-together",
        "cutting-mark",
    ];
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        let examples = || {
            let all = examples::all().into_iter().chain(examples::LARGEST);
            all.filter(|example| NAMES.contains(&example.name))
        };
        assert_eq!(examples().count(), NAMES.len());
        for (old, new) in examples().flat_map(|old| examples().map(move |new| (old.clone(), new))) {
            firewall.install(&(old.config)(), old.listed).unwrap();
            let config = (new.config)();
            let old_parts = parts(&mut firewall);
            assert!(old_parts.is_some(), "{}", old.name);
            firewall
                .try_replace(
                    &Table::new(&config, new.listed),
                    &Heritage::default(),
                    None,
                    Ownership::default(),
                    old_parts.as_ref(),
                )
                .unwrap();
            let text = render(&config, new.listed);
            assert_eq!(listing(), text, "{} after {}", new.name, old.name);
        }
    });
}

#[test]
fn whatever_others_did_to_the_table_is_gone_after_a_replacement() {
    const OTHERS: &[&str] = &[
        "add counter inet postern hits",
        "add quota inet postern most { over 1 mbytes }",
        "add chain inet postern early { type filter hook prerouting priority 0; }",
        "add chain inet postern aside; add rule inet postern aside tcp dport { 1, 2 } drop",
        "add chain inet postern input { policy drop; }",
        "add set inet postern more { type inet_service; elements = { 1 } }",
        "add element inet postern tcp_knocks { 99 : accept }",
        "add table inet postern { flags dormant; }",
        "insert rule inet postern input accept",
        "delete table inet postern; table inet postern { comment \"mine\"; set s { type mark; }; }",
        "delete table inet postern; add table inet postern",
        "delete table inet postern; table inet postern { set s { type mark; }; chain input { }; }",
        "delete table inet postern; table inet postern { set s { type mark; }; chain input { \
            type filter hook input priority 5; }; }",
        "delete table inet postern; table inet postern { set s { type mark; }; chain input { \
            type filter hook output priority -10; }; }",
        "delete table inet postern; table inet postern { set s { type mark; }; chain input { \
            type filter hook input priority -10; policy accept; comment \"mine\"; }; }",
        "delete table inet postern; table inet postern { set input { type mark; }; }",
        "add table ip postern; add chain ip postern c; add table inet other; \
            add chain inet other input; add set inet other interfaces { type mark; }",
    ];
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        let config = examples::three(Guard::Gate);
        for others in OTHERS {
            firewall.install(&config, &[]).unwrap();
            nft(&["-f", "-"], others).expect(others);
            firewall.install(&config, &[]).unwrap();
            assert_eq!(listing(), render(&config, &[]), "{others}");
        }
    });
}

#[test]
fn a_table_with_a_stranger_in_it_is_not_taken_apart() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        firewall.install(&examples::ssh(Guard::Gate), &[]).unwrap();
        assert!(parts(&mut firewall).is_some());
        nft(
            &[
                "add",
                "quota",
                "inet",
                "postern",
                "most",
                "{ over 1 mbytes }",
            ],
            "",
        )
        .unwrap();
        assert!(parts(&mut firewall).is_none());
    });
}

/// On the loopback interface, where a SYN has been answered when the call that sends it
/// returns. The next version has other ports, doors, and kinds of maps.
fn version(number: u16) -> Config {
    let ssh = door("ssh", &[tcp(22)], &[tcp(7_000 + number)], &[]);
    let web = door("web", &[tcp(8_080)], &[tcp(7_000)], &[]);
    let of = |doors: &[Door]| examples::config(Guard::Gate, &["lo"], doors);
    match number % 6 {
        0 => of(&[ssh]),
        // Another door guards the port too, or all ports but for the knocks.
        4 => of(&[web, door("other", &[tcp(22)], &[tcp(7_001)], &[]), ssh]),
        5 => {
            let all = [examples::range(Protocol::Tcp, 1, u16::MAX)];
            of(&[ssh, examples::guarding(&all, web)])
        }
        2 => of(&[Door {
            engine: EngineName::Chain,
            ..ssh
        }]),
        1 => of(&[web, ssh]),
        _ => of(&examples::codes(Guard::Gate).doors),
    }
}

/// Sends one SYN, and leaves the rest to the kernel.
fn knock_at(port: u16, from: Ipv4Addr) {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::Tcp,
    )
    .unwrap();
    let address = |ip, port| SockaddrIn::from(SocketAddrV4::new(ip, port));
    bind(socket.as_raw_fd(), &address(from, 0)).unwrap();
    let _ = connect(socket.as_raw_fd(), &address(Ipv4Addr::LOCALHOST, port));
}

/// How many connections wait to be accepted.
fn passed(listener: &TcpListener) -> usize {
    core::iter::from_fn(|| listener.accept().ok()).count()
}

#[test]
fn nobody_passes_while_a_table_takes_the_place_of_another() {
    in_namespace(|| {
        let up = ["link", "set", "lo", "up"];
        assert!(Command::new("ip").args(up).status().unwrap().success());
        let listener = TcpListener::bind("127.0.0.1:22").unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut firewall = Firewall::open().unwrap();
        knock_at(22, STRANGER);
        assert_eq!(passed(&listener), 1, "the door is there without a guard");
        firewall.install(&version(1), &[]).unwrap();
        let hour = Duration::from_secs(3600);
        firewall.grant(whole("ssh"), GRANTED.into(), hour).unwrap();
        knock_at(22, GRANTED);
        assert_eq!(passed(&listener), 1, "whoever was granted passes");

        let done = AtomicBool::new(false);
        let (sent, through) = thread::scope(|scope| {
            let flood = scope.spawn(|| {
                let (mut sent, mut through) = (0_u32, 0);
                while !done.load(Ordering::Relaxed) {
                    knock_at(22, STRANGER);
                    sent += 1;
                    through += passed(&listener);
                }
                (sent, through)
            });
            for number in 0..300 {
                firewall.install(&version(number), &[]).unwrap();
            }
            done.store(true, Ordering::Relaxed);
            flood.join().unwrap()
        });
        println!("{sent} SYNs during 300 replacements");
        assert_eq!(through, 0, "of {sent} SYNs");
        assert_eq!(sources(&mut firewall, "ssh"), [GRANTED.to_string()]);
    });
}
