//! What real interfaces bring, each test in a network namespace of its own thread.
//!
//! ```text
//!   the test writes frames ---> wan (tap, or tun) ---> the source
//! ```

use std::process::Command;

use postern_core::config::Config;
use postern_core::packet::parse;

use super::tests::{segment, v4, v6};
use super::*;
use crate::sys::clock::boottime;
use crate::sys::poll::{PollFd, poll};
use crate::sys::tap::{Link, Tap, in_a_namespace, ip};
use crate::testing::eventually::eventually;
use crate::testing::skipping::skip_for_the_kernel;

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHERS: [u8; 6] = [2, 0, 0, 0, 0, 9];
const BROADCAST: [u8; 6] = [0xff; 6];

fn configuration(global: &str) -> Config {
    let text = format!(
        "config postern global\noption source packet\n{global}\nconfig door ssh\nlist guard 22\n\
         option method sequence-separate\nlist open tcp:7000\nlist open udp:8001\n\
         list open tcp:6002\noption decoys 0\n"
    );
    Config::parse(text.as_bytes(), |_| {}).unwrap()
}

fn ethernet(name: &str) -> Tap {
    let mut tap = None;
    eventually(|| {
        tap = Tap::new(name, Link::Ethernet).ok();
        tap.is_some()
    });
    ip(&format!("link set {name} address 02:00:00:00:00:01 up"));
    tap.unwrap()
}

fn start(config: &Config) -> PacketSource {
    *PacketSource::open(config, &[]).unwrap()
}

/// A knock of each family, at 7000 by TCP and at 8001 by UDP.
fn knocks() -> [(EtherType, Vec<u8>); 2] {
    let tcp = segment(Protocol::Tcp, 7000, 0x02);
    let udp = segment(Protocol::Udp, 8001, 0);
    [
        (EtherType::V4, v4(6, 0, 0, &tcp)),
        (EtherType::V6, v6(17, &[], &udp)),
    ]
}

/// An Ethernet frame, with these words between the addresses and the type: VLAN tags.
fn frame(to: [u8; 6], tags: &[u16], (family, packet): &(EtherType, Vec<u8>)) -> Vec<u8> {
    let mut frame = [to, [2, 0, 0, 0, 0, 2]].concat();
    for word in tags.iter().chain([&(*family as u16)]) {
        frame.extend(word.to_be_bytes());
    }
    frame.extend(packet);
    frame
}

/// The ports that were knocked on so far.
fn heard(source: &mut PacketSource) -> Vec<u16> {
    let mut ports = Vec::new();
    loop {
        let before = ports.len();
        let visitor = &mut |packet: &[u8]| {
            ports.extend(parse(packet).map(|knock| knock.port.number));
        };
        source.for_each(boottime(), visitor).unwrap();
        if ports.len() == before {
            return ports;
        }
    }
}

/// Waits for frames to arrive, until `enough` of what was heard.
fn wait_for(source: &mut PacketSource, enough: impl Fn(&[u16]) -> bool) -> Vec<u16> {
    let mut ports = heard(source);
    while !enough(&ports) {
        let timeout = Some(Duration::from_secs(5));
        let ready = poll(&mut [PollFd::readable(source.as_fd())], timeout).unwrap();
        assert_eq!(ready, 1, "only {ports:?} were heard");
        ports.extend(heard(source));
    }
    ports
}

/// Sends frames, and a knock of each family by which their end is known; which of them came.
fn exchange(tap: &Tap, source: &mut PacketSource, frames: &[Vec<u8>]) -> Vec<u16> {
    const LAST: u16 = 6002;
    let last = segment(Protocol::Tcp, LAST, 0x02);
    let ends = [
        (EtherType::V4, v4(6, 0, 0, &last)),
        (EtherType::V6, v6(6, &[], &last)),
    ];
    let ends = ends.map(|end| frame(OURS, &[], &end));
    for frame in frames.iter().chain(&ends) {
        tap.send(frame).unwrap();
    }
    let is_last = |port: &&u16| **port == LAST;
    let mut ports = wait_for(source, |ports| ports.iter().filter(is_last).count() == 2);
    ports.retain(|port| *port != LAST);
    ports
}

#[test]
fn knocks_of_both_families_are_heard_and_others_packets_only_at_request() {
    in_a_namespace(|| {
        let tap = ethernet("wan");
        let to = |address| knocks().map(|knock| frame(address, &[], &knock));
        let mut source = start(&configuration("list interface wan"));
        assert_eq!(exchange(&tap, &mut source, &to(OURS)), [7000, 8001]);
        assert_eq!(exchange(&tap, &mut source, &to(BROADCAST)), [7000, 8001]);
        assert_eq!(exchange(&tap, &mut source, &to(OTHERS)), []);
        drop(source);
        let promiscuous = "list interface wan\noption promiscuous 1";
        let mut source = start(&configuration(promiscuous));
        assert_eq!(exchange(&tap, &mut source, &to(OTHERS)), [7000, 8001]);
    });
}

fn promiscuity(name: &str) -> String {
    let shown = Command::new("ip")
        .args(["-d", "link", "show", name])
        .output();
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    let (_, rest) = shown.split_once("promiscuity ").unwrap();
    rest.split(' ').next().unwrap().to_owned()
}

#[test]
fn an_interface_is_promiscuous_at_request_only_and_no_longer_than_that() {
    in_a_namespace(|| {
        let _tap = ethernet("wan");
        let source = start(&configuration("list interface wan"));
        assert_eq!(promiscuity("wan"), "0");
        drop(source);
        let promiscuous = configuration("list interface wan\noption promiscuous 1");
        let source = start(&promiscuous);
        assert_eq!(promiscuity("wan"), "1");
        drop(source);
        eventually(|| promiscuity("wan") == "0");
        let mut source = start(&promiscuous);
        drop(_tap);
        let _tap = ethernet("wan");
        assert_eq!(heard(&mut source), []);
        assert_eq!(promiscuity("wan"), "1");
    });
}

#[test]
fn a_vlan_is_not_the_interface_that_carries_it() {
    in_a_namespace(|| {
        let tap = ethernet("wan");
        let mut source = start(&configuration("list interface wan"));
        let tagged = |tags: &[u16]| knocks().map(|knock| frame(OURS, tags, &knock));
        // A priority without a VLAN (IEEE 802.1Q, section 6.9) is on the interface itself.
        for tags in [&[0x8100, 0][..], &[0x8100, 0xe000]] {
            assert_eq!(exchange(&tap, &mut source, &tagged(tags)), [7000, 8001]);
        }
        for tags in [&[0x8100, 10][..], &[0x88a8, 10], &[0x8100, 10, 0x8100, 20]] {
            assert_eq!(exchange(&tap, &mut source, &tagged(tags)), [], "{tags:x?}");
        }
        let vlan = [
            "link", "add", "link", "wan", "name", "wan.10", "type", "vlan", "id", "10",
        ];
        if !Command::new("ip").args(vlan).status().unwrap().success() {
            skip_for_the_kernel("no VLAN devices (CONFIG_VLAN_8021Q)");
            return;
        }
        ip("link set wan.10 up");
        assert_eq!(heard(&mut source), []);
        assert_eq!(exchange(&tap, &mut source, &tagged(&[0x8100, 10])), []);
        let mut source = start(&configuration("list interface wan.10"));
        for knock in tagged(&[]).iter().chain(&tagged(&[0x8100, 10])) {
            tap.send(knock).unwrap();
        }
        assert_eq!(
            wait_for(&mut source, |ports| ports.len() == 2),
            [7000, 8001]
        );
    });
}

#[test]
fn a_link_without_frames_is_heard() {
    in_a_namespace(|| {
        let tun = Tap::new("wan", Link::Ip).unwrap();
        ip("link set wan up");
        let mut source = start(&configuration("list interface wan"));
        for (family, packet) in knocks() {
            let [high, low] = (family as u16).to_be_bytes();
            tun.send(&[&[0, 0, high, low], packet.as_slice()].concat())
                .unwrap();
        }
        assert_eq!(
            wait_for(&mut source, |ports| ports.len() == 2),
            [7000, 8001]
        );
    });
}

#[test]
fn an_interface_is_heard_wherever_it_goes() {
    in_a_namespace(|| {
        let mut source = start(&configuration("list interface other\nlist interface wan"));
        let mut tap = ethernet("wan");
        // It learns of the interface once it looks.
        assert_eq!(heard(&mut source), []);
        assert_eq!(exchange(&tap, &mut source, &[]), []);
        for _ in 0..3 {
            drop(tap);
            tap = ethernet("wan");
            assert_eq!(heard(&mut source), []);
            assert_eq!(exchange(&tap, &mut source, &[]), []);
        }
        ip("link set wan down");
        assert_eq!(heard(&mut source), []);
        ip("link set wan up");
        assert_eq!(exchange(&tap, &mut source, &[]), []);
        // By another name it is another interface.
        ip("link set wan down");
        ip("link set wan name lan");
        ip("link set lan up");
        assert_eq!(heard(&mut source), []);
        for knock in knocks() {
            tap.send(&frame(OURS, &[], &knock)).unwrap();
        }
        assert_eq!(heard(&mut source), []);
        ip("link set lan down");
        ip("link set lan name other");
        ip("link set other up");
        assert_eq!(heard(&mut source), []);
        assert_eq!(exchange(&tap, &mut source, &[]), []);
    });
}

#[test]
fn what_finds_no_room_is_counted_and_survived() {
    in_a_namespace(|| {
        let tap = ethernet("wan");
        let mut source = start(&configuration("list interface wan"));
        let [knock, _] = knocks().map(|knock| frame(OURS, &[], &knock));
        let sent = 30_000;
        for _ in 0..sent {
            tap.send(&knock).unwrap();
        }
        let came = heard(&mut source).len() as u64;
        let lost = source.losses();
        assert!(came > 1_000 && lost.packets > 0, "{came} {lost:?}");
        assert!(came + lost.packets <= sent);
        assert_eq!(source.losses(), lost, "they are not counted twice");
        assert_eq!(exchange(&tap, &mut source, &[]), []);
    });
}

#[test]
fn one_source_takes_the_place_of_another_and_hears_nothing_that_is_old() {
    in_a_namespace(|| {
        let tap = ethernet("wan");
        let config = configuration("list interface wan");
        let (first, mut second) = (start(&config), start(&config));
        let [knock, _] = knocks().map(|knock| frame(OURS, &[], &knock));
        tap.send(&knock).unwrap();
        drop(first);
        assert_eq!(wait_for(&mut second, |ports| !ports.is_empty()), [7000]);
        tap.send(&knock).unwrap();
        let mut third = start(&config);
        assert_eq!(heard(&mut third), []);
        assert_eq!(wait_for(&mut second, |ports| !ports.is_empty()), [7000]);
    });
}

#[test]
fn little_memory_makes_the_program_coarse() {
    in_a_namespace(|| {
        let limit = "/proc/sys/net/core/optmem_max";
        // What 32-bit machines have. Where it is not the namespace's own, it is not there.
        if std::fs::write(limit, "10240").is_err() {
            skip_for_the_kernel("optmem_max is everybody's");
            return;
        }
        let tap = ethernet("wan");
        let mut text = String::from("list interface wan");
        for door in 0..31 {
            text += &format!(
                "\nconfig door d{door}\nlist guard {}\noption method sequence-same\n\
                 option decoys 32",
                30_000 + door
            );
            for step in 0..32 {
                text += &format!("\nlist open tcp:{}", 1 + (step * 32 + door) * 28);
            }
        }
        let mut source = start(&configuration(&text));
        for _ in 0..2 {
            assert_eq!(exchange(&tap, &mut source, &[]), []);
            source.filter().unwrap();
        }
    });
}
