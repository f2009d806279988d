//! The table in the real kernel, each test in a network namespace of its own.
//!
//! A namespace belongs to one thread and is gone when the thread ends.

use core::net::{IpAddr, Ipv4Addr};
use std::io::Write;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use postern_core::config::Guard;

use postern_core::time::Duration;

use super::examples::{self, Example, whole};
use crate::firewall::nft::batch::{Heritage, Ownership};
use crate::firewall::table::model::{Content, MAX_GRANTS, Statement, Table, Verdict};
use crate::firewall::{Firewall, Refusal, Who, render};
use crate::network::{Family, Network};
use crate::testing::eventually::eventually;
use crate::testing::skipping::skip;

/// Runs a test in a fresh namespace; says so and skips where there can be none.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            skip(format_args!("no network namespace: {error}"));
        } else if nft(&["list", "ruleset"], "").is_none() {
            skip("nft or nf_tables is missing");
        } else {
            test();
        }
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// What nft prints; `None` where it fails.
pub(crate) fn nft(arguments: &[&str], input: &str) -> Option<String> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(input.as_bytes()).ok()?;
    let output = child.wait_with_output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).unwrap())
}

pub(crate) fn listing() -> String {
    nft(&["list", "table", "inet", "postern"], "").expect("the table is there")
}

fn for_each_example(test: fn(&Example)) {
    in_namespace(move || {
        for example in examples::all().into_iter().chain(examples::LARGEST) {
            println!("{}", example.name);
            test(&example);
            nft(&["flush", "ruleset"], "").unwrap();
        }
    });
}

#[test]
fn nft_lists_the_text_that_it_was_given() {
    for_each_example(|Example { config, listed, .. }| {
        let config = config();
        let text = render(&config, listed);
        nft(&["-f", "-"], &text).expect("nft takes the script");
        assert_eq!(listing(), text);
    });
}

#[test]
fn installing_makes_the_table_that_the_text_describes() {
    for_each_example(|Example { config, listed, .. }| {
        let config = config();
        Firewall::open().unwrap().install(&config, listed).unwrap();
        assert_eq!(listing(), render(&config, listed));
    });
}

/// What nft makes of every mask that there is.
#[test]
fn networks_of_every_size_are_written_as_nft_writes_them() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        for prefix in 1..=128_u8 {
            let config = examples::networks(Guard::Gate, prefix.min(32), prefix);
            firewall.install(&config, &[]).unwrap();
            assert_eq!(listing(), render(&config, &[]));
        }
    });
}

/// What nft says about expressions and elements, without the order of elements, which is a
/// hash table's, and without the handles of rules.
pub(crate) fn comparable(debug: Option<String>) -> Vec<String> {
    let mut lines: Vec<String> = debug
        .unwrap()
        .lines()
        .filter(|line| line.starts_with(' ') || line.starts_with('\t'))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[test]
fn installing_again_replaces_and_removing_twice_says_so() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        assert!(!firewall.installed().unwrap());
        assert!(!firewall.remove().unwrap());
        for example in [
            examples::three,
            examples::ssh,
            examples::largest,
            examples::ssh,
        ] {
            let config = example(Guard::Gate);
            firewall.install(&config, &[]).unwrap();
            assert_eq!(listing(), render(&config, &[]));
        }
        assert!(firewall.installed().unwrap());
        assert_eq!(firewall.doors().unwrap(), ["ssh"]);
        assert!(firewall.remove().unwrap());
        assert!(!firewall.remove().unwrap());
        assert!(!firewall.installed().unwrap());
    });
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn sources(firewall: &mut Firewall, door: &str) -> Vec<String> {
    let mut found: Vec<String> = firewall
        .grants()
        .unwrap()
        .into_iter()
        .filter(|grant| grant.door == door)
        .map(|grant| match grant.who {
            Who::Network(network) => network.to_string(),
            Who::Anyone { interface } => interface,
        })
        .collect();
    found.sort();
    found
}

#[test]
fn grants_are_listed_and_withdrawn() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        firewall
            .install(&examples::three(Guard::Gate), &[])
            .unwrap();
        let minute = Duration::from_secs(60);
        for source in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.2"] {
            firewall
                .grant(whole("ssh"), address(source), minute)
                .unwrap();
        }
        firewall
            .grant(whole("wireguard"), address("192.0.2.9"), minute)
            .unwrap();
        assert_eq!(
            sources(&mut firewall, "ssh"),
            ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
        );
        let remaining = firewall.grants().unwrap()[0].remaining.unwrap();
        assert!(
            remaining <= minute && remaining > Duration::from_secs(50),
            "{remaining:?}"
        );

        assert!(
            firewall
                .withdraw(whole("ssh"), address("::ffff:192.0.2.1"))
                .unwrap()
        );
        assert!(
            !firewall
                .withdraw(whole("ssh"), address("192.0.2.1"))
                .unwrap()
        );
        firewall.grant_anyone("ssh", minute).unwrap();
        firewall.grant_anyone("ssh", minute).unwrap();
        let anyone = sources(&mut firewall, "ssh");
        let expected = [
            "192.0.2.2",
            "2001:db8::1",
            "abcdefghijklmno",
            "eth0.2",
            "eth1",
            "pppoe-wan",
            "wan",
        ];
        assert_eq!(anyone, expected);
        firewall.withdraw_all("ssh").unwrap();
        firewall.withdraw_all("ssh").unwrap();
        assert_eq!(sources(&mut firewall, "ssh"), [""; 0]);
        assert_eq!(sources(&mut firewall, "wireguard"), ["192.0.2.9"]);
        assert_eq!(firewall.doors().unwrap(), ["ssh", "wireguard", "cutoff4"]);
    });
}

#[test]
fn the_kernel_lets_grants_expire_and_a_second_one_prolongs() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        firewall.install(&examples::ssh(Guard::Gate), &[]).unwrap();
        let (short, renewed) = (address("192.0.2.1"), address("192.0.2.2"));
        for source in [short, renewed] {
            firewall
                .grant(whole("ssh"), source, Duration::from_millis(300))
                .unwrap();
        }
        firewall
            .grant(whole("ssh"), renewed, Duration::from_secs(60))
            .unwrap();
        firewall.grant_anyone("ssh", Duration::default()).unwrap();
        eventually(|| sources(&mut firewall, "ssh") == ["192.0.2.2"]);
        firewall
            .grant(whole("ssh"), short, Duration::from_secs(60))
            .unwrap();
        assert_eq!(sources(&mut firewall, "ssh").len(), 2);
    });
}

#[test]
fn reinstalling_keeps_the_grants_of_doors_that_are_the_same() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        let mut config = examples::three(Guard::Gate);
        firewall.install(&config, &[]).unwrap();
        let (long, short) = (Duration::from_secs(3600), Duration::from_millis(400));
        firewall
            .grant(whole("ssh"), address("192.0.2.1"), long)
            .unwrap();
        firewall
            .grant(whole("ssh"), address("2001:db8::1"), short)
            .unwrap();
        firewall
            .grant(whole("wireguard"), address("192.0.2.1"), long)
            .unwrap();
        firewall.grant_anyone("cutoff4", long).unwrap();
        firewall.cut_off(address("192.0.2.66"), long).unwrap();
        firewall.cut_off(address("192.0.2.66"), long).unwrap();
        firewall.cut_off(address("2001:db8::66"), long).unwrap();
        for source in ["192.0.2.66", "2001:db8::"] {
            let cut_off = format!("elements = {{ {source} timeout 1h expires ");
            assert!(listing().contains(&cut_off), "{}", listing());
        }

        // One door guards another port, one lists its ports in another order.
        config.doors[1].guards[0] = examples::udp(51821).into();
        config.doors[2].guards.reverse();
        config.global.guard = Guard::Mark;
        firewall.install(&config, &[]).unwrap();
        assert_eq!(sources(&mut firewall, "ssh"), ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(sources(&mut firewall, "wireguard"), [""; 0]);
        assert_eq!(sources(&mut firewall, "cutoff4").len(), 5);
        assert!(!listing().contains("192.0.2.66"), "cut-offs are lifted");
        let remaining = firewall.grants().unwrap()[0].remaining.unwrap();
        assert!(
            remaining <= long && remaining > Duration::from_secs(3590),
            "{remaining:?}"
        );
        eventually(|| sources(&mut firewall, "ssh") == ["192.0.2.1"]);
    });
}

#[test]
fn a_full_set_takes_no_more_and_says_so() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        firewall.install(&examples::ssh(Guard::Gate), &[]).unwrap();
        let hour = Duration::from_secs(3600);
        let source = |number: u32| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + number));
        for number in 0..MAX_GRANTS {
            firewall.grant(whole("ssh"), source(number), hour).unwrap();
        }
        let refusal = firewall
            .grant(whole("ssh"), source(MAX_GRANTS), hour)
            .unwrap_err();
        assert!(
            matches!(&refusal, Refusal::Full(set) if set == "grant4_ssh"),
            "{refusal}"
        );
        assert_eq!(firewall.grants().unwrap().len(), MAX_GRANTS as usize);
        // The other family has room, a withdrawal makes some, and a new table holds them all.
        firewall
            .grant(whole("ssh"), address("2001:db8::1"), hour)
            .unwrap();
        assert!(firewall.withdraw(whole("ssh"), source(7)).unwrap());
        firewall
            .grant(whole("ssh"), source(MAX_GRANTS), hour)
            .unwrap();
        firewall.install(&examples::ssh(Guard::Gate), &[]).unwrap();
        assert_eq!(firewall.grants().unwrap().len(), MAX_GRANTS as usize + 1);
    });
}

#[test]
fn a_full_set_still_renews_the_grants_in_it() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        firewall.install(&examples::ssh(Guard::Gate), &[]).unwrap();
        let source = |number: u32| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + number));
        for number in 0..MAX_GRANTS {
            firewall
                .grant(whole("ssh"), source(number), Duration::from_secs(600))
                .unwrap();
        }
        firewall
            .grant(whole("ssh"), source(3), Duration::from_secs(3600))
            .unwrap();
        let renewed = firewall
            .grants()
            .unwrap()
            .into_iter()
            .find(|grant| grant.who == Who::Network(Network::of(source(3), 32)));
        assert!(renewed.unwrap().remaining > Some(Duration::from_secs(3000)));
    });
}

#[test]
fn what_is_not_there_is_named() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        let (source, minute) = (address("192.0.2.1"), Duration::from_secs(60));
        assert!(matches!(
            firewall.grant(whole("ssh"), source, minute),
            Err(Refusal::NotInstalled)
        ));
        assert!(matches!(
            firewall.grant_anyone("ssh", minute),
            Err(Refusal::NotInstalled)
        ));
        assert!(matches!(
            firewall.withdraw(whole("ssh"), source),
            Err(Refusal::NotInstalled)
        ));
        assert!(matches!(
            firewall.withdraw_all("ssh"),
            Err(Refusal::NotInstalled)
        ));
        assert!(matches!(
            firewall.cut_off(source, minute),
            Err(Refusal::NotInstalled)
        ));
        assert!(matches!(firewall.grants(), Err(Refusal::NotInstalled)));
        assert!(matches!(firewall.doors(), Err(Refusal::NotInstalled)));
        // Nor is another's table ours.
        nft(
            &["-f", "-"],
            "table inet other { set grant4_ssh { type ipv4_addr; }; }",
        )
        .unwrap();
        assert!(matches!(firewall.doors(), Err(Refusal::NotInstalled)));

        firewall.install(&examples::ssh(Guard::Gate), &[]).unwrap();
        for door in ["telnet", "", "a\0b", "ssh ", &"x".repeat(70_000)] {
            assert!(matches!(
                firewall.grant(whole(door), source, minute),
                Err(Refusal::UnknownDoor(_))
            ));
            assert!(matches!(
                firewall.grant_anyone(door, minute),
                Err(Refusal::UnknownDoor(_))
            ));
            assert!(matches!(
                firewall.withdraw(whole(door), source),
                Err(Refusal::UnknownDoor(_))
            ));
            assert!(matches!(
                firewall.withdraw_all(door),
                Err(Refusal::UnknownDoor(_))
            ));
        }
    });
}

#[test]
fn the_object_that_the_kernel_refuses_is_named_and_the_old_table_stays() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        let config = examples::three(Guard::Gate);
        firewall.install(&config, &[]).unwrap();
        let refusal = |firewall: &mut Firewall, spoil: &dyn Fn(&mut Table)| {
            let mut table = Table::new(&config, &[]);
            spoil(&mut table);
            let refusal = firewall.replace(&table, &[], &[]).unwrap_err().to_string();
            assert_eq!(listing(), render(&config, &[]));
            refusal
        };
        let lacking = "rule 2 of chain door_ssh: No such file or directory";
        let said = refusal(&mut firewall, &|table| {
            table.chains[3].rules[1][0] = Statement::SourceIn(Family::V4, "nowhere".to_owned());
        });
        assert!(said.starts_with(lacking), "{said}");
        let said = refusal(&mut firewall, &|table| {
            table.chains[3].rules[3][0] = Statement::Verdict(Verdict::Goto("nowhere".to_owned()));
        });
        assert!(
            said.starts_with("rule 4 of chain door_ssh: No such file"),
            "{said}"
        );
        let said = refusal(&mut firewall, &|table| {
            table.sets[0].content =
                Content::Interfaces((0..17).map(|n| format!("eth{n}")).collect());
        });
        assert_eq!(said, "set interfaces is full");
        let said = refusal(&mut firewall, &|table| table.chains[2].name.clear());
        assert!(
            said.starts_with("elements of set tcp_knocks: No such file"),
            "{said}"
        );
        let said = refusal(&mut firewall, &|table| {
            table.chains[2].name = "x".repeat(256)
        });
        assert!(said.contains("cannot be written"), "{said}");
        // A chain that goes to itself is found where packets would enter it.
        let said = refusal(&mut firewall, &|table| {
            let here = Verdict::Goto(table.chains[2].name.clone());
            table.chains[2].rules[0][1] = Statement::Verdict(here);
        });
        assert_eq!(said, "rule 1 of chain input: Too many links (os error 31)");
        firewall.install(&config, &[]).unwrap();
    });
}

#[test]
fn a_grant_that_someone_made_for_ever_is_kept_as_it_is() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        firewall.install(&examples::ssh(Guard::Gate), &[]).unwrap();
        nft(
            &[
                "add",
                "element",
                "inet",
                "postern",
                "grant4_ssh",
                "{ 192.0.2.1 }",
            ],
            "",
        )
        .unwrap();
        firewall.install(&examples::ssh(Guard::Gate), &[]).unwrap();
        assert_eq!(firewall.grants().unwrap()[0].remaining, None);
        firewall
            .grant(whole("ssh"), address("192.0.2.1"), Duration::from_secs(60))
            .unwrap();
        assert!(firewall.grants().unwrap()[0].remaining.is_some());
    });
}

#[test]
fn a_transaction_for_rules_that_have_changed_is_void() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        firewall.install(&examples::ssh(Guard::Gate), &[]).unwrap();
        let before = firewall.connection.generation().unwrap();
        firewall
            .grant(whole("ssh"), address("192.0.2.1"), Duration::from_secs(60))
            .unwrap();
        let table = Table::new(&examples::three(Guard::Gate), &[]);
        let (_, failure) = firewall
            .try_replace(
                &table,
                &Heritage::default(),
                Some(before),
                Ownership::default(),
                None,
            )
            .unwrap_err();
        assert_eq!(failure.number(), Some(libc::ERESTART));
        assert_eq!(sources(&mut firewall, "ssh"), ["192.0.2.1"]);
        let now = firewall.connection.generation().unwrap();
        assert!(
            firewall
                .try_replace(
                    &table,
                    &Heritage::default(),
                    Some(now),
                    Ownership::default(),
                    None
                )
                .is_ok()
        );
    });
}
