//! `apply`, killed at each system call by which it changes something, and failing at each write.

use postern_tests::agent::{SSH_DOOR, program};
use postern_tests::nft;
use postern_tests::process::Said;
use postern_tests::scratch::Scratch;
use postern_tests::strace::Strace;
use postern_tests::suite::in_case_of;

use super::stage::{LET_ME_IN, Stage, TABLE};

/// What changes a file or the kernel.
const CHANGES: [&str; 9] = [
    "write",
    "sendto",
    "sendmsg",
    "fsync",
    "fdatasync",
    "rename",
    "renameat2",
    "unlink",
    "mkdir",
];

/// Whether an agent could be killed there with effect: where it changes something, waits or hears of it.
/// What is read meanwhile, hundreds of files below /proc, is no step.
fn is_step(call: &str) -> bool {
    CHANGES.contains(&call) || ["accept4", "poll"].contains(&call)
}

/// The door by other knocks: whichever is in force when the agent dies, nobody hears them.
fn other_knocks() -> String {
    SSH_DOOR.replace("tcp:7000", "tcp:7300")
}

pub(crate) fn an_agent_killed_at_each_step_of_apply() {
    kill_at_each_step("apply", "the agent killed at a step of apply");
}

pub(crate) fn an_agent_killed_at_each_step_of_a_trial() {
    let way = "the agent killed at a step of apply --confirm-within";
    kill_at_each_step("apply --confirm-within 1h", way);
}

fn kill_at_each_step(apply: &str, way: &str) {
    let stage = Stage::gate();
    let agent = stage.start();
    stage.setup.rewrite(&other_knocks());
    let strace = Strace::counting(agent.id());
    stage.verb(apply).ok();
    let calls = strace.detach();
    agent.kill();
    let steps = calls.iter().filter(|(call, _)| is_step(call));
    let steps: Vec<(&str, usize)> = steps
        .flat_map(|(call, count)| (1..=*count).map(move |nth| (call.as_str(), nth)))
        .collect();
    assert!(steps.len() > 10, "{calls:?}");
    for step in steps {
        in_case_of(step, || die_at(&stage, apply, way, step));
    }
}

fn die_at(stage: &Stage, apply: &str, way: &str, (call, nth): (&str, usize)) {
    stage.setup.rewrite(SSH_DOOR);
    stage.verb("apply").ok();
    let mut agent = stage.start();
    stage.setup.rewrite(&other_knocks());
    let strace = Strace::killing_at(agent.id(), call, nth);
    let loss = stage.lose(way);
    stage.verb(apply);
    strace.detach();
    // It makes some calls one time more, or one time less.
    let _died = agent.has_ended();
    agent.kill();
    assert!(!stage.owner_is_let_in());
    assert!(nft::table(&stage.net.router.namespace, TABLE).is_some());
    loss.at_console(LET_ME_IN).ends();
    stage.verb("close ssh").ok();
}

/// Runs a verb under strace with these options.
fn traced(stage: &Stage, options: &[&str], verb: &str) -> Said {
    let (program, config) = (program(), stage.setup.config());
    let (program, config) = (program.to_string_lossy(), config.to_string_lossy());
    let words: Vec<&str> = verb.split(' ').collect();
    let quiet = ["-f", "-qq"];
    let run = [program.as_ref()];
    let arguments = [&quiet, options, &run, &words, &["--config", &config]].concat();
    stage.net.router.namespace.run("strace", &arguments)
}

/// How often the verb makes each of the calls that are asked for.
fn counted(stage: &Stage, wanted: &[&str], verb: &str) -> Vec<(String, usize)> {
    let scratch = Scratch::new();
    let log = scratch.join("calls").display().to_string();
    traced(stage, &["-o", &log], verb).ok();
    let text = std::fs::read_to_string(log).expect("a log");
    let count = |call: &str| text.matches(&format!(" {call}(")).count();
    wanted
        .iter()
        .map(|call| ((*call).to_string(), count(call)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// No agent runs: the verb tells the kernel by itself.
fn inject_at_each_change(wanted: &[&str], verb: &str, injected: &str, way: &str) {
    let stage = Stage::gate();
    stage.setup.rewrite(&other_knocks());
    let steps = counted(&stage, wanted, verb);
    assert!(!steps.is_empty());
    for (call, nth) in steps
        .iter()
        .flat_map(|(call, count)| (1..=*count).map(move |nth| (call, nth)))
    {
        in_case_of((call, nth), || {
            // Each time another file, so that there is something to write.
            stage.setup.rewrite(&format!("# {call} {nth}\n{SSH_DOOR}"));
            stage.verb("apply").ok();
            stage.setup.rewrite(&other_knocks());
            let loss = stage.lose(way);
            let inject = format!("inject={call}:{injected}:when={nth}");
            traced(&stage, &["-o", "/dev/null", "-e", &inject], verb);
            assert!(!stage.owner_is_let_in());
            loss.at_console(LET_ME_IN).ends();
            stage.verb("close ssh").ok();
        });
    }
}

pub(crate) fn an_apply_without_agent_killed_at_each_step() {
    let way = "postern apply killed at a step, no agent";
    inject_at_each_change(&CHANGES, "apply", "signal=KILL", way);
}

pub(crate) fn a_disk_full_at_each_write_of_apply() {
    let writes = [
        "write",
        "fsync",
        "fdatasync",
        "rename",
        "renameat2",
        "mkdir",
    ];
    let way = "the disk full at a write of postern apply";
    inject_at_each_change(&writes, "apply", "error=ENOSPC", way);
    let way = "the disk full at a write of apply --confirm-within";
    inject_at_each_change(&writes, "apply --confirm-within 1h", "error=ENOSPC", way);
}
