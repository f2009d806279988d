//! The pages for readers: their commands are typed, their configurations checked, their links followed.

mod reader;
mod text;

use postern_tests::page::{self, Block};
use postern_tests::suite;
use postern_tests::suite::Suite;
use reader::*;
use text::*;

pub(crate) fn suite() -> Suite {
    suite![
        every_command_is_typed_by_somebody,
        every_verb_and_option_of_ours_is_there,
        every_configuration_is_right,
        the_first_door_of_the_readme needs "knock" "sshd" "ssh" "ssh-keygen",
        the_first_door_of_the_guide needs "knock" "sshd" "ssh" "ssh-keygen",
        a_code_from_a_phone needs "oathtool" "nc" "sshd" "ssh-keygen",
        a_list_from_its_first_line needs "knock" "sshd" "ssh-keygen",
        our_own_client needs "sshd" "ssh-keygen",
        a_day_with_it needs "knock" "sshd" "ssh-keygen",
        every_link_leads_somewhere,
        every_page_can_be_reached_and_leads_to_the_way_back_in,
        the_front_page_is_two_screens,
        every_line_fits,
        every_test_of_a_feature_is_there,
    ]
}

/// Sections whose commands are all typed, and who does it.
const TYPED: [(&str, &str, &str); 8] = [
    ("README.md", "The first door", "tests/pages"),
    ("docs/guide.md", "Your first door", "tests/pages"),
    ("docs/guide.md", "Knocking", "tests/pages"),
    ("docs/guide.md", "A day with it", "tests/pages"),
    ("docs/methods.md", "Lists", "tests/pages"),
    (
        "docs/recovery.md",
        "On any Linux machine",
        "tests/lockout/page.rs",
    ),
    (
        "docs/recovery.md",
        "On an OpenWrt router",
        "tests/openwrt/package.rs",
    ),
    (
        "openwrt/README.md",
        "The first door, in five minutes",
        "tests/openwrt/package.rs",
    ),
];

/// Commands of other sections, and why nobody types them.
const NOT_TYPED: [(&str, &str); 15] = [
    (
        "apt install ./target/debian/postern_*.deb",
        "it would change this machine: tests/packaging/deb.rs unpacks the package and runs its scripts",
    ),
    (
        "systemctl enable --now postern",
        "no systemd runs here: tests/packaging/deb.rs looks at the unit",
    ),
    (
        "cargo build --release -p postern",
        "make demo and make bench begin with it",
    ),
    (
        "install target/release/postern /usr/local/sbin/",
        "it would change this machine",
    ),
    (
        "postern --version",
        "tests/netns/verbs.rs types it: help_and_version_go_to_standard_output",
    ),
    (
        "cargo test --release -p postern-core --test engine scans -- --nocapture",
        "make test-core runs these tests, and more",
    ),
    (
        "ping -c 1 -s 123 router.example",
        "tests/netns/other_knocks.rs types it: pings_of_a_chosen_length_open_and_close",
    ),
    (
        "postern keygen guest --print --like ssh --until 7d",
        "tests/netns/people.rs types it: an_invitation_is_a_section_and_a_reload",
    ),
    ("opkg update", "it takes OpenWrt's package manager"),
    (
        "opkg install ./postern_0.1.0-r1_mips_24kc.ipk",
        "it takes OpenWrt's package manager: tests/openwrt/package.rs unpacks the package",
    ),
    (
        "apk add --allow-untrusted ./postern-0.1.0-r1_mips_24kc.apk",
        "it takes OpenWrt's package manager: tests/openwrt/package.rs installs one where there is apk",
    ),
    ("ubus call postern status", UBUS),
    (
        "ubus call postern open '{ \"door\": \"ssh\", \"from\": \"192.0.2.7\", \"for\": \"1h\" }'",
        UBUS,
    ),
    ("ubus call postern close '{ \"door\": \"ssh\" }'", UBUS),
    ("ubus call postern confirm '{ \"anyway\": true }'", UBUS),
];

const UBUS: &str = "it takes rpcd: tests/openwrt/package.rs calls the same methods of our script";

fn commands(text: &str) -> Vec<String> {
    let (blocks, _) = page::split(text);
    let commands = blocks.iter().flat_map(Block::commands);
    commands.map(str::to_owned).collect()
}

/// Whether it is a target of the Makefile: those are what the tests and the measurements are run by.
fn is_target(command: &str) -> bool {
    let makefile = page::text("Makefile");
    let mut words = command.split(' ');
    words.next() == Some("make")
        && words.next().is_some_and(|target| {
            makefile
                .lines()
                .any(|line| line.starts_with(&format!("{target}: ")))
        })
}

fn every_command_is_typed_by_somebody() {
    let mut others: Vec<String> = Vec::new();
    for page in page::all() {
        let mut left = commands(&page::text(&page));
        for (_, title, _) in TYPED.iter().filter(|(of, ..)| *of == page) {
            let typed = commands(&page::section(&page, title));
            assert!(!typed.is_empty(), "{page}: no command in {title}");
            for command in typed {
                let found = left.iter().position(|other| *other == command);
                left.remove(found.expect("a command of the page"));
            }
        }
        for command in left.into_iter().filter(|command| !is_target(command)) {
            assert!(
                NOT_TYPED.iter().any(|(known, _)| *known == command),
                "{page}: nobody types {command}"
            );
            others.push(command);
        }
    }
    for (command, why) in NOT_TYPED {
        let is_there = others.iter().any(|other| other == command);
        assert!(is_there, "no page has {command}, of which is said: {why}");
    }
    for (.., who) in TYPED {
        assert!(page::top().join(who).exists(), "there is no {who}");
    }
}
