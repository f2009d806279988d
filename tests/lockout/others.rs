//! What others do: other tools, other programs, other versions.

use std::io::Write as _;
use std::process::{Command, Stdio};

use postern_tests::agent::{FIREWALL, Guard, SSH_DOOR};
use postern_tests::nft;
use postern_tests::wait::{SOON, poll_until};

use super::stage::{LET_ME_IN, Stage, TABLE};

pub(crate) fn all_rules_flushed() {
    let stage = Stage::new(Guard::Mark, SSH_DOOR);
    let _agent = stage.start();
    let loss = stage.lose("nft flush ruleset, and the firewall started again (guard mark)");
    nft::apply(
        &stage.net.router.namespace,
        &format!("flush ruleset\n{FIREWALL}"),
    );
    let loss = loss.healed_by("agent: puts its table back");
    loss.ends_by_knocking();
}

pub(crate) fn all_rules_flushed_with_a_dead_agent() {
    let stage = Stage::new(Guard::Mark, SSH_DOOR);
    stage.start().kill();
    let loss = stage.lose("nft flush ruleset with the agent dead (guard mark)");
    nft::apply(
        &stage.net.router.namespace,
        &format!("flush ruleset\n{FIREWALL}"),
    );
    loss.is_felt();
    loss.at_console("apply").at_console(LET_ME_IN).ends();
}

pub(crate) fn our_table_deleted() {
    let stage = Stage::new(Guard::Mark, SSH_DOOR);
    let _agent = stage.start();
    let loss = stage.lose("nft delete table inet postern (guard mark)");
    nft::apply(&stage.net.router.namespace, "delete table inet postern");
    let loss = loss.healed_by("agent: puts its table back");
    loss.ends_by_knocking();
}

/// Whether by a rule or by what it does with the rest; the doctor names the latter.
const DROPS: [(&str, &str); 2] = [
    (
        "another tool's drop rule",
        "policy accept; tcp dport 22 drop",
    ),
    (
        "another tool's drop policy",
        "policy drop; tcp dport != 22 accept",
    ),
];

pub(crate) fn a_firewall_of_another_tool_that_drops() {
    for (way, rules) in DROPS {
        let stage = Stage::gate();
        let _agent = stage.start();
        let loss = stage.lose(way);
        nft::apply(
            &stage.net.router.namespace,
            &format!(
                "table inet other {{ chain input {{\ntype filter hook input priority 0; {rules}\n}}\n}}\n"
            ),
        );
        loss.is_felt();
        let said = stage.verb("doctor").stdout;
        assert!(said.contains("of table inet other drops"), "{said}");
        loss.in_shell("nft delete table inet other")
            .ends_by_knocking();
    }
}

const TAKEN: &str = "table inet postern { chain input {\n\
                     type filter hook input priority 0; tcp dport 22 drop\n}\n}\n";

pub(crate) fn our_tables_name_taken() {
    let stage = Stage::gate();
    let loss = stage.lose("the table's name taken by somebody who drops");
    nft::apply(&stage.net.router.namespace, TAKEN);
    loss.is_felt();
    let _agent = stage.start();
    loss.healed_by("agent: replaces it at its start")
        .ends_by_knocking();
}

pub(crate) fn our_tables_name_taken_by_a_living_owner() {
    let stage = Stage::gate();
    let router = &stage.net.router.namespace;
    let loss = stage.lose("the table's name owned by a program that drops");
    let mut nft = Command::new("nft");
    let mut owner = router.spawn(nft.arg("-i").stdin(Stdio::piped()).stdout(Stdio::null()));
    let input = owner.child().stdin.as_mut().expect("its standard input");
    let owned = "table inet postern { flags owner; chain input { \
                 type filter hook input priority 0; tcp dport 22 drop; }; }";
    writeln!(input, "{owned}").expect("a table");
    poll_until(SOON, "a table with an owner", || {
        nft::table(router, TABLE).is_some_and(|table| table.contains("drop"))
    });
    loss.is_felt();
    let said = stage.setup.run_to_its_end(&stage.net.router);
    assert_eq!(said.status, 1, "{said:?}");
    // The kernel takes the table away with its owner.
    let end = format!("kill -9 {}", owner.id());
    router.run("sh", &["-c", &end]).ok();
    let _agent = stage.start();
    let loss = loss.healed_by("console: kill that program, then agent: starts");
    loss.ends_by_knocking();
}

/// What an earlier version installed: a set the fewer, other chains.
const EARLIER: &str = include_str!("earlier.nft");

pub(crate) fn a_table_of_an_earlier_version() {
    let stage = Stage::gate();
    let router = &stage.net.router.namespace;
    let loss = stage.lose("an upgrade over the table of an earlier version");
    nft::apply(router, EARLIER);
    loss.is_felt();
    let _agent = stage.start();
    loss.healed_by("agent: replaces it at its start")
        .ends_by_knocking();
}

pub(crate) fn a_table_of_an_earlier_version_and_no_agent() {
    let stage = Stage::gate();
    let router = &stage.net.router.namespace;
    let loss = stage.lose("an upgrade whose agent does not start");
    nft::apply(router, EARLIER);
    loss.is_felt();
    loss.at_console(LET_ME_IN).ends();
    // A later start keeps what was granted by hand.
    let _agent = stage.start();
    assert!(stage.owner_is_let_in());
}

pub(crate) fn the_control_socket_deleted() {
    let stage = Stage::gate();
    let _agent = stage.start();
    let loss = stage.lose("the control socket deleted");
    std::fs::remove_file(stage.setup.path("control")).expect("delete a file");
    stage.expect_a_way_in();
    loss.at_console(LET_ME_IN).ends();
}

pub(crate) fn a_second_agent() {
    let stage = Stage::gate();
    let _agent = stage.start();
    let loss = stage.lose("a second agent started");
    let said = stage.setup.run_to_its_end(&stage.net.router);
    assert_eq!(said.status, 1, "{said:?}");
    loss.healed_by("agent: the first one goes on")
        .ends_by_knocking();
}
