//! What could lock an owner out is found, and refused where it is certain to.
//!
//! The servers, the listeners, the interfaces and the kernel are real.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use postern_tests::agent::{Guard, SSH_DOOR, Setup, program};
use postern_tests::process::run;
use postern_tests::server::{Service, Sshd};
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::{Family, Host, Topology};
use postern_tests::wait::SOON;
use postern_tests::{client, nft, probe, suite};

mod files;
mod machine;
mod tables;
mod ways_in;

use files::*;
use machine::*;
use tables::*;
use ways_in::*;

pub(crate) fn suite() -> Suite {
    suite![
        a_healthy_router needs "jq" "sshd" "ssh-keygen",
        nothing_is_changed needs "jq" "knock",
        sshd_that_takes_passwords needs "jq" "sshd" "ssh-keygen",
        dropbear_that_takes_passwords needs "jq" "dropbear" "dropbearkey",
        a_service_on_a_knock_port needs "jq",
        a_service_on_a_decoy needs "jq",
        knock_ports_that_queries_are_sent_from needs "jq",
        interfaces_that_guard_nothing needs "jq",
        files_that_others_can_read needs "jq",
        a_guard_with_no_other_way_in_is_refused needs "unshare",
        a_reload_that_would_lock_out_is_refused needs "unshare" "nc.openbsd",
        a_console_is_a_way_in needs "unshare",
        an_interface_that_is_not_guarded_is_a_way_in needs "unshare",
        sshd_elsewhere_is_known_by_its_name needs "sshd" "ssh-keygen",
        other_rules_of_the_firewall needs "jq",
        ports_that_other_tables_redirect needs "jq",
        ports_that_other_tables_take_away needs "jq",
        ways_around_a_guarded_port needs "jq",
        a_published_port_of_a_container needs "jq" "iptables-nft-restore",
        a_port_that_firewall4_forwards needs "jq",
        tables_that_change_while_the_agent_runs needs "jq",
        what_looks_like_taking_away_and_is_none needs "jq" "knock",
        knocks_that_are_not_heard needs "jq" "knock",
        only_one_firewall_of_two_asks_for_the_mark needs "jq" "knock" "iptables-nft" "ip6tables-nft",
        a_zone_of_the_firewall_that_is_missing needs "jq",
        firewalls_of_distributions needs "jq" "knock" "iptables-nft-restore",
        more_rules_than_are_looked_at needs "jq",
        rules_of_the_older_iptables needs "jq" "iptables-legacy",
        a_group_that_another_program_reads needs "jq",
        a_kernel_without_netfilter needs "jq" "strace",
        a_wrong_configuration needs "jq",
        a_configuration_that_is_not_in_force needs "jq",
        warnings_fail_only_if_they_are_to needs "jq" "unshare",
        whoever_may_not_ask_the_kernel_is_told needs "jq" "setpriv",
        a_configuration_that_root_alone_reads needs "jq" "setpriv",
        a_guard_that_nobody_hears_knocks_at needs "jq",
        a_table_that_somebody_owns needs "jq",
    ]
}

/// What `postern doctor --json` found: `SEVERITY ID TEXT` of each. Whatever it names stands on
/// its help page, and what it prints for people says the same.
#[track_caller]
fn doctor(setup: &Setup, router: &Host) -> Vec<String> {
    let json = setup.verb(router, "doctor", &["--json"]);
    let findings = findings(&json.stdout);
    let text = setup.verb(router, "doctor", &[]);
    let help = run(Command::new(program()).args(["doctor", "--help"]), "").ok();
    for finding in &findings {
        let [severity, id, what] = words(finding);
        assert!(help.contains(&format!("  {id} (")), "no {id} in {help}");
        let line = format!("{severity}: {id}: {what}\n");
        assert!(text.stdout.contains(&line), "no {line} in {text:?}");
    }
    let fatal = findings.iter().any(|finding| finding.starts_with("fatal "));
    assert_eq!(
        [json.status, text.status],
        [i32::from(fatal); 2],
        "{json:?}"
    );
    findings
}

#[track_caller]
fn findings(json: &str) -> Vec<String> {
    let each = r#".findings[] | "\(.severity) \(.id) \(.text)""#;
    let said = run(Command::new("jq").args(["-r", each]), json).ok();
    said.lines().map(str::to_owned).collect()
}

fn words(finding: &str) -> [&str; 3] {
    let mut words = finding.splitn(3, ' ');
    [(); 3].map(|()| words.next().unwrap_or_default())
}

/// What was found under this name.
fn texts<'f>(findings: &'f [String], id: &str) -> Vec<&'f str> {
    let words = findings.iter().map(|finding| words(finding));
    let of_it = words.filter(|[_, each, _]| *each == id);
    of_it.map(|[_, _, text]| text).collect()
}

#[track_caller]
fn expect(findings: &[String], id: &str, part: &str) {
    let texts = texts(findings, id);
    let [text] = texts.as_slice() else {
        panic!("{id}: {} in {findings:#?}", texts.len());
    };
    assert!(text.contains(part), "no {part} in {text}");
}

#[track_caller]
fn expect_no(findings: &[String], id: &str) {
    assert!(texts(findings, id).is_empty(), "{id} in {findings:#?}");
}

/// Changes what the configuration says.
fn edit(setup: &Setup, from: &str, to: &str) {
    let text = fs::read_to_string(setup.config()).expect("a configuration");
    assert!(text.contains(from), "no {from} in {text}");
    setup.rewrite_whole(&text.replace(from, to));
}

/// A router that guards its port 22 and is to be asked.
fn guarded() -> (Topology, Setup) {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    (net, setup)
}

const FALLBACK_NONE: &str = "\toption fallback 'none'\n";

fn make_private(setup: &Setup) {
    let private = Permissions::from_mode(0o600);
    fs::set_permissions(setup.config(), private).expect("make a file private");
}

fn a_healthy_router() {
    for guard in Guard::BOTH {
        in_case_of(guard, || {
            let net = Topology::new();
            let _sshd = Sshd::start(&net.router.namespace, 22);
            let setup = Setup::new(&net.router, guard, SSH_DOOR);
            make_private(&setup);
            // Whether the machine's own console is of use is not the router's affair.
            let is_bad = |finding: &&String| {
                let [severity, id, _] = words(finding);
                severity != "note" && id != "console-locked"
            };
            let bad = |findings: &[String]| -> Vec<String> {
                findings.iter().filter(is_bad).cloned().collect()
            };
            let before = doctor(&setup, &net.router);
            assert_eq!(bad(&before), [""; 0]);
            // An agent holds the group of its own source, and its socket.
            let _agent = setup.start(&net.router);
            assert_eq!(doctor(&setup, &net.router), before);
        });
    }
}

fn nothing_is_changed() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let rules = || nft::ruleset(&net.router.namespace);
    let before = rules();
    doctor(&setup, &net.router);
    assert_eq!(rules(), before);
    let _agent = setup.start(&net.router);
    let before = rules();
    let ssh = net.router.port(Family::V4, 22);
    client::knock(&net.client, ssh.ip(), &["7000", "8001:udp"]);
    doctor(&setup, &net.router);
    assert_eq!(rules(), before);
    // Nor does it come between the agent and its knocks.
    client::knock(&net.client, ssh.ip(), &["9002"]);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
}
