//! What becomes of the agent's process.

use std::fs;
use std::io::{Write as _, pipe};
use std::process::{Command, Stdio};

use postern_tests::agent::{SSH_DOOR, program};
use postern_tests::wait::{SOON, poll_until};

use super::stage::{LET_ME_IN, Stage};

pub(crate) fn a_killed_agent() {
    let stage = Stage::gate();
    let agent = stage.start();
    let loss = stage.lose("the agent killed, as by the kernel for want of memory");
    agent.kill();
    loss.is_felt();
    let _agent = stage.start();
    loss.healed_by("service manager: starts it again")
        .ends_by_knocking();
}

pub(crate) fn a_killed_agent_that_does_not_come_back() {
    let stage = Stage::gate();
    let agent = stage.start();
    let loss = stage.lose("the agent killed for good");
    agent.kill();
    loss.is_felt();
    loss.at_console(LET_ME_IN).ends();
}

/// Guard and process end together.
pub(crate) fn a_killed_agent_that_owns_its_guard() {
    let stage = Stage::gate();
    stage.edit("guard 'gate'\n", "guard 'gate'\n\toption on_crash 'open'\n");
    let agent = stage.start();
    stage.expect_a_way_in();
    let loss = stage.lose("the agent killed for good, on_crash 'open'");
    agent.kill();
    loss.healed_by("kernel: takes the guard away")
        .ends_for_everyone();
}

pub(crate) fn a_stopped_agent() {
    let stage = Stage::gate();
    let agent = stage.start();
    let loss = stage.lose("the agent stopped (SIGSTOP)");
    agent.hang();
    loss.is_felt();
    loss.at_console(LET_ME_IN).ends();
    stage.verb("close ssh").ok();
    // What was knocked meanwhile waits for it; an owner who knocks again is let in.
    let loss = stage.lose("the agent stopped, and going on (SIGCONT)");
    assert!(!stage.owner_is_let_in());
    agent.go_on();
    loss.healed_by("owner: knocks again").ends_by_knocking();
}

/// Sixty doors more, and not a page more than the agent has.
pub(crate) fn an_agent_out_of_memory() {
    let stage = Stage::gate();
    let mut agent = stage.start();
    stage.expect_a_way_in();
    let doors: String = (0..60)
        .map(|number| {
            SSH_DOOR
                .replace("'ssh'", &format!("'d{number}'"))
                .replace("tcp:22'", &format!("tcp:{}'", 3000 + number))
        })
        .collect();
    stage.setup.rewrite(&format!("{SSH_DOOR}{doors}"));
    let loss = stage.lose("the agent at its memory limit");
    let pid = agent.id().to_string();
    // Its user may, and root only with a capability that containers do not have.
    let limit = "user=$(sed -n 's/^Uid:.//; t word; b; :word; s/[^0-9].*//p' /proc/$1/status) && \
                 exec setpriv --reuid $user --regid $user --clear-groups prlimit --pid $1 --as=1";
    let limit = ["-c", limit, "sh", &pid];
    stage.net.router.namespace.run("sh", &limit).ok();
    agent.reload();
    let reloads = || agent.log().matches("configuration").count() > 0;
    poll_until(SOON, "it has taken note", || reloads() || has_died(&pid));
    if agent.has_ended() {
        loss.is_felt();
        stage.setup.rewrite(SSH_DOOR);
        let _agent = stage.start();
        loss.healed_by("service manager: starts it again")
            .ends_by_knocking();
    } else {
        loss.healed_by("agent: goes on with what it has")
            .ends_by_knocking();
    }
}

fn has_died(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.contains("State:") || status.contains("State:\tZ")
}

/// Nobody reads what it says: the pipe is full from the beginning.
pub(crate) fn a_log_that_nobody_reads() {
    let stage = Stage::gate();
    let (_reader, mut writer) = pipe().expect("a pipe");
    // The default size of a pipe (pipe(7)).
    writer.write_all(&[b'x'; 65_536]).expect("fill it");
    let loss = stage.lose("a log that nobody reads");
    let mut postern = Command::new(program());
    let said = Stdio::from(writer);
    let run = postern.args(["run", "--config"]).arg(stage.setup.config());
    let run = run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
    let _agent = stage.net.router.namespace.spawn(run);
    poll_until(SOON, "the guard", || !stage.owner_is_let_in());
    loss.healed_by("agent: does not wait for its log")
        .ends_by_knocking();
}

/// As where whoever read it has died.
pub(crate) fn a_log_whose_reader_is_gone() {
    let stage = Stage::gate();
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let loss = stage.lose("a log whose reader is gone");
    let mut postern = Command::new(program());
    let run = postern.args(["run", "--config"]).arg(stage.setup.config());
    let run = run
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(writer);
    let _agent = stage.net.router.namespace.spawn(run);
    poll_until(SOON, "the guard", || !stage.owner_is_let_in());
    loss.healed_by("agent: does without").ends_by_knocking();
}
