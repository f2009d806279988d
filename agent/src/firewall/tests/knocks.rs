//! What a knock does to the grants in the real kernel, and what that costs.

use core::net::Ipv4Addr;

use postern_core::config::Guard;
use postern_core::time::Duration;

use super::examples::{self, whole};
use super::kernel::{address, in_namespace, nft, sources};
use crate::firewall::table::model::MAX_GRANTS;
use crate::firewall::{Firewall, Refusal};
use crate::sys::costs::{allocations, netlink_calls};
use crate::testing::skipping::skip_for_the_kernel;

/// How long the only grant lasts, in seconds, rounded up; `None`: for ever.
fn seconds(firewall: &mut Firewall) -> Option<u64> {
    let grants = firewall.grants().unwrap();
    assert_eq!(grants.len(), 1);
    grants[0]
        .remaining
        .map(|remaining| remaining.as_millis().div_ceil(1000))
}

/// With a kernel that knows how to destroy elements, and as if it did not.
fn on_every_kernel(test: fn(&mut Firewall)) {
    for destroys in [true, false] {
        in_namespace(move || {
            let mut firewall = Firewall::open().unwrap();
            firewall.install(&examples::ssh(Guard::Gate), &[]).unwrap();
            firewall.connection.destroys = destroys;
            test(&mut firewall);
        });
    }
}

#[test]
fn a_knock_never_shortens_a_grant() {
    on_every_kernel(|firewall| {
        let secs = Duration::from_secs;
        for source in ["192.0.2.1", "2001:db8::1"].map(address) {
            for (lasting, expected) in [(60, 60), (30, 60), (60, 60), (90, 90), (1, 90)] {
                firewall
                    .grant_at_least(whole("ssh"), source, secs(lasting))
                    .unwrap();
                let left = seconds(firewall).unwrap();
                assert!(left == expected || left == expected - 1, "{left}");
            }
            // A person's word counts as it is.
            firewall.grant(whole("ssh"), source, secs(10)).unwrap();
            assert!(seconds(firewall).unwrap() <= 10);
            assert!(firewall.withdraw(whole("ssh"), source).unwrap());
            assert!(!firewall.withdraw(whole("ssh"), source).unwrap());
        }
    });
}

#[test]
fn a_knock_leaves_a_grant_for_ever_as_it_is() {
    on_every_kernel(|firewall| {
        let element = "add element inet postern grant4_ssh { 192.0.2.1 }";
        nft(&["-f", "-"], element).unwrap();
        firewall
            .grant_at_least(whole("ssh"), address("192.0.2.1"), Duration::from_secs(60))
            .unwrap();
        assert_eq!(seconds(firewall), None);
    });
}

#[test]
fn a_knock_at_a_door_that_is_gone_or_full_says_so() {
    on_every_kernel(|firewall| {
        let (source, minute) = (address("192.0.2.1"), Duration::from_secs(60));
        let refusal = firewall.grant_at_least(whole("telnet"), source, minute);
        assert!(matches!(refusal, Err(Refusal::UnknownDoor(_))));
        let element = |number: u32| Ipv4Addr::from(0x0a00_0000 + number).to_string();
        let elements: Vec<String> = (0..MAX_GRANTS).map(element).collect();
        let all = format!(
            "add element inet postern grant4_ssh {{ {} }}",
            elements.join(",")
        );
        nft(&["-f", "-"], &all).unwrap();
        let refusal = firewall.grant_at_least(whole("ssh"), source, minute);
        assert!(matches!(refusal, Err(Refusal::Full(set)) if set == "grant4_ssh"));
        firewall
            .grant_at_least(whole("ssh"), [10, 0, 0, 1].into(), minute)
            .unwrap();
        firewall.remove().unwrap();
        let refusal = firewall.grant_at_least(whole("ssh"), source, minute);
        assert!(matches!(refusal, Err(Refusal::NotInstalled)));
        let refusal = firewall.withdraw(whole("ssh"), source);
        assert!(matches!(refusal, Err(Refusal::NotInstalled)));
    });
}

/// What the agent does for a knock must not fail when memory is short.
#[test]
fn granting_takes_no_memory_and_withdrawing_neither() {
    on_every_kernel(|firewall| {
        let door = examples::ssh(Guard::Gate).doors[0].clone();
        let sources = ["192.0.2.1", "2001:db8::1"].map(address);
        let mut calls = |allowed: bool| {
            for source in sources {
                let before = allocations();
                for lasting in [3600, 1800, 7200] {
                    let lasting = Duration::from_secs(lasting);
                    firewall.grant_at_least(&door, source, lasting).unwrap();
                }
                assert!(firewall.withdraw(&door, source).unwrap());
                firewall.cut_off(source, Duration::from_secs(60)).unwrap();
                assert!(allowed || allocations() == before);
            }
        };
        assert!(allocations() > 0, "they are counted");
        // The first time may ask what the kernel can do.
        calls(true);
        calls(false);
    });
}

#[test]
fn a_first_grant_takes_two_system_calls() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        let config = examples::ssh(Guard::Gate);
        firewall.install(&config, &[]).unwrap();
        let (door, source) = (&config.doors[0], address("192.0.2.1"));
        let mut calls = |lasting: Option<u64>| {
            let before = netlink_calls();
            match lasting.map(Duration::from_secs) {
                Some(lasting) => firewall.grant_at_least(door, source, lasting).unwrap(),
                None => drop(firewall.withdraw(door, source).unwrap()),
            }
            (firewall.connection.destroys, netlink_calls() - before)
        };
        let first = calls(Some(30));
        if !first.0 {
            skip_for_the_kernel("it takes Linux 6.3");
            return;
        }
        let next = [Some(60), Some(30), None, None, Some(30)].map(|lasting| calls(lasting).1);
        assert_eq!((first.1, next), (2, [3, 5, 3, 2, 2]));
    });
}

#[test]
fn grants_of_networks_are_listed_withdrawn_and_kept_as_networks() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        let config = examples::networks(Guard::Gate, 24, 56);
        firewall.install(&config, &[]).unwrap();
        // The kernel's table tells the verbs what the agent has from its configuration.
        let entrance = firewall.entrance("ssh").unwrap();
        assert_eq!(entrance, (&config.doors[0]).into());
        assert!(matches!(
            firewall.entrance("telnet"),
            Err(Refusal::UnknownDoor(_))
        ));
        let hour = Duration::from_secs(3600);
        let knocks = ["192.0.2.7", "::ffff:192.0.2.8", "2001:db8:0:1ff::1"].map(address);
        for source in knocks {
            firewall.grant_at_least(entrance, source, hour).unwrap();
        }
        let networks = ["192.0.2.0/24", "2001:db8:0:100::/56"];
        assert_eq!(sources(&mut firewall, "ssh"), networks);
        firewall.install(&config, &[]).unwrap();
        assert_eq!(sources(&mut firewall, "ssh"), networks);
        let neighbour = address("2001:db8:0:123::9");
        assert!(firewall.withdraw(entrance, neighbour).unwrap());
        assert!(!firewall.withdraw(entrance, neighbour).unwrap());
        assert_eq!(sources(&mut firewall, "ssh"), networks[..1]);
        // What was granted to a network is not granted to its first address.
        let config = examples::networks(Guard::Gate, 25, 56);
        firewall.install(&config, &[]).unwrap();
        assert_eq!(sources(&mut firewall, "ssh"), [""; 0]);
    });
}
