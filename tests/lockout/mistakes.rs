//! What an owner does to himself: wrong configurations, trials, mistyped words.

use std::fs;

use postern_tests::agent::{Guard, SSH_DOOR};
use postern_tests::nft;
use postern_tests::wait::{SOON, poll_until};

use super::restart::bare_machine;
use super::stage::{LET_ME_IN, Stage, TABLE};

fn wrong_knocks() -> String {
    SSH_DOOR.replace("tcp:7000", "tcp:7001")
}

pub(crate) fn a_wrong_knock_port_on_trial() {
    let stage = Stage::gate();
    let _agent = stage.start();
    stage.expect_a_way_in();
    stage.setup.rewrite(&wrong_knocks());
    let loss = stage.lose("a wrong knock port, on trial for 2s");
    stage.verb("apply --confirm-within 2s").ok();
    loss.is_felt();
    let loss = loss.healed_by("kernel: the trial ends, agent: the configuration before it");
    loss.ends_by_knocking();
}

pub(crate) fn a_wrong_knock_port_for_good() {
    let stage = Stage::gate();
    let _agent = stage.start();
    stage.setup.rewrite(&wrong_knocks());
    let loss = stage.lose("a wrong knock port, for good");
    stage.verb("apply").ok();
    loss.is_felt();
    loss.at_console(LET_ME_IN).ends();
}

/// Marks go onto the packets of the named interfaces only, so that the firewall lets nobody in.
fn name_a_wrong_interface(stage: &Stage) {
    stage.edit("interface 'wan'", "interface 'wna'");
}

pub(crate) fn a_wrong_interface_on_trial() {
    let stage = Stage::new(Guard::Mark, SSH_DOOR);
    let _agent = stage.start();
    stage.expect_a_way_in();
    name_a_wrong_interface(&stage);
    let loss = stage.lose("a wrong interface, on trial for 2s");
    stage.verb("apply --confirm-within 2s").ok();
    loss.is_felt();
    let loss = loss.healed_by("agent: the trial ends, the configuration before it");
    loss.ends_by_knocking();
}

pub(crate) fn a_wrong_interface_for_good() {
    let stage = Stage::new(Guard::Mark, SSH_DOOR);
    let _agent = stage.start();
    name_a_wrong_interface(&stage);
    let loss = stage.lose("a wrong interface, for good");
    stage.verb("apply").ok();
    loss.is_felt();
    // A door that is open on no interface lets nobody in, and the doctor says why.
    let said = stage.verb("doctor").stdout;
    assert!(
        said.contains("interface-missing") && said.contains("wan"),
        "{said}"
    );
    name_the_right_one(&stage);
    loss.at_console("apply").ends_by_knocking();
}

fn name_the_right_one(stage: &Stage) {
    stage.edit("interface 'wna'", "interface 'wan'");
}

pub(crate) fn a_wrong_configuration_that_was_confirmed() {
    let stage = Stage::gate();
    let _agent = stage.start();
    stage.setup.rewrite(&wrong_knocks());
    let loss = stage.lose("a wrong knock port, confirmed on trial");
    stage.verb("apply --confirm-within 1h").ok();
    stage.verb("confirm --anyway").ok();
    loss.is_felt();
    loss.at_console(LET_ME_IN).ends();
}

pub(crate) fn a_trial_that_nobody_confirms_and_whose_agent_dies() {
    let stage = Stage::gate();
    let agent = stage.start();
    stage.setup.rewrite(&wrong_knocks());
    let loss = stage.lose("agent killed during a trial of 2s");
    stage.verb("apply --confirm-within 2s").ok();
    agent.kill();
    loss.is_felt();
    loss.healed_by("kernel: the trial ends").ends_for_everyone();
}

pub(crate) fn a_reboot_in_the_middle_of_a_trial() {
    let stage = Stage::gate();
    let agent = stage.start();
    stage.setup.rewrite(&wrong_knocks());
    let loss = stage.lose("a reboot in the middle of a trial");
    stage.verb("apply --confirm-within 1h").ok();
    loss.is_felt();
    agent.kill();
    // The kernel forgets, and the agent starts.
    nft::apply(&stage.net.router.namespace, "delete table inet postern");
    let _agent = stage.start();
    let loss = loss.healed_by("agent: starts with the configuration before the trial");
    loss.ends_by_knocking();
}

pub(crate) fn a_confirmed_configuration_that_is_damaged() {
    let stage = Stage::gate();
    let agent = stage.start();
    stage.setup.rewrite(&wrong_knocks());
    let loss = stage.lose("a reboot in the middle of a trial, the configuration before it damaged");
    stage.verb("apply --confirm-within 1h").ok();
    agent.kill();
    fs::write(stage.setup.path("state/confirmed.conf"), [0; 99]).expect("damage a file");
    loss.is_felt();
    let said = stage.setup.run_to_its_end(&stage.net.router);
    assert_eq!(said.status, 1, "{said:?}");
    loss.healed_by("agent: takes the guard away")
        .ends_for_everyone();
}

pub(crate) fn a_configuration_deleted_while_the_agent_runs() {
    let stage = Stage::gate();
    let mut agent = stage.start();
    let loss = stage.lose("the configuration deleted, and a reload");
    fs::remove_file(stage.setup.config()).expect("delete a file");
    agent.reload();
    agent.wait_for_line("postern: the running configuration stays");
    let loss = loss.healed_by("agent: keeps what it has");
    loss.ends_by_knocking();
}

pub(crate) fn a_configuration_deleted_before_a_start() {
    let stage = Stage::gate();
    let agent = stage.start();
    let loss = stage.lose("the configuration deleted, with its state_dir, and a restart");
    fs::remove_file(stage.setup.config()).expect("delete a file");
    agent.kill();
    loss.is_felt();
    // Away from the folder that an agent of this machine may remember something in.
    let said = bare_machine(&stage, "run");
    assert_eq!(said.status, 1, "{said:?}");
    loss.healed_by("agent: takes the guard away")
        .ends_for_everyone();
}

pub(crate) fn the_guard_taken_away_for_want_of_better() {
    let stage = Stage::gate();
    let agent = stage.start();
    let loss = stage.lose("the owner has forgotten his knocks");
    agent.hang();
    loss.is_felt();
    loss.at_console("remove").ends_for_everyone();
}

pub(crate) fn a_door_whose_name_is_mistyped() {
    let stage = Stage::gate();
    let agent = stage.start();
    let loss = stage.lose("the door's name mistyped at the console");
    agent.kill();
    loss.is_felt();
    let said = stage.verb("open shh --from 192.0.2.2");
    assert!(
        said.status == 1 && said.stderr.contains("there are: ssh"),
        "{said:?}"
    );
    loss.is_felt();
    loss.at_console(LET_ME_IN).ends();
}

/// The machine's own console and init are out of sight: PID 1 is a shell.
pub(crate) fn a_guard_with_no_other_way_in() {
    let stage = Stage::gate();
    stage.edit("\toption fallback 'none'\n", "");
    let loss = stage.lose("a guard without another way in");
    let (program, config) = (postern_tests::agent::program(), stage.setup.config());
    let empty = stage.setup.path("etc");
    fs::create_dir(&empty).expect("make a folder");
    let script = format!(
        "mount -t tmpfs none /run; mount --bind '{}' /etc; '{}' apply --config '{}'; exit $?",
        empty.display(),
        program.display(),
        config.display()
    );
    let words = [
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "--",
        "sh",
        "-c",
        &script,
    ];
    let said = stage.net.router.namespace.run("unshare", &words);
    assert!(
        said.status == 1 && said.stderr.contains("fallback-missing"),
        "{said:?}"
    );
    poll_until(SOON, "no guard", || {
        nft::table(&stage.net.router.namespace, TABLE).is_none()
    });
    loss.healed_by("postern apply: refuses").ends_for_everyone();
}
