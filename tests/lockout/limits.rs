//! What is full, and who is cut off.

use std::net::Ipv4Addr;
use std::time::Instant;

use postern_tests::agent::{Guard, SSH_DOOR};
use postern_tests::client;
use postern_tests::nft;
use postern_tests::sender::Sender;
use postern_tests::topology::Family;
use postern_tests::wait::{A_MOMENT, SOON, poll_until};

use super::stage::{LET_ME_IN, Stage, TABLE};

fn cut_off(options: &str) -> Stage {
    Stage::new(
        Guard::Gate,
        &format!("{SSH_DOOR}\toption jitter '0'\n{options}"),
    )
}

/// Knocks wrong until the kernel ignores the owner.
fn knock_wrong(stage: &Stage) {
    let owner = stage.net.client.v4.into();
    client::knock(
        &stage.net.client,
        stage.door().ip(),
        &["9002", "9002", "9002"],
    );
    poll_until(SOON, "the owner is cut off", || {
        nft::expiry(&stage.net.router.namespace, TABLE, owner).is_some()
    });
}

pub(crate) fn the_owner_cut_off_for_a_time() {
    let stage = cut_off("\toption cutoff '3 per 2s'\n");
    let _agent = stage.start();
    let loss = stage.lose("the owner's own address cut off for 2s");
    knock_wrong(&stage);
    loss.is_felt();
    loss.healed_by("kernel: ends the cut-off")
        .ends_by_knocking();
}

pub(crate) fn the_owner_cut_off_for_long() {
    let stage = cut_off("\toption cutoff '3 per 1h'\n");
    let _agent = stage.start();
    let loss = stage.lose("the owner's own address cut off for 1h");
    knock_wrong(&stage);
    loss.is_felt();
    loss.at_console(LET_ME_IN).ends();
}

/// Ended by a command of docs/recovery.md.
pub(crate) fn pardon_the_owner(command: &str) {
    let stage = cut_off("\toption cutoff '3 per 1h'\n");
    let _agent = stage.start();
    let loss = stage.lose("the owner's own address cut off for 1h, and pardoned");
    knock_wrong(&stage);
    loss.is_felt();
    loss.typed(command).ends_by_knocking();
}

/// Elements of strangers, so many that there is no room for one more.
fn fill(stage: &Stage, set: &str, size: u32) {
    let element = |number: u32| {
        let address = Ipv4Addr::from(0x0a00_0000 + number);
        format!("{address} timeout 1h")
    };
    let elements: Vec<String> = (0..size).map(element).collect();
    let script = format!(
        "add element inet postern {set} {{ {} }}\n",
        elements.join(", ")
    );
    nft::apply(&stage.net.router.namespace, &script);
}

/// Ended by a command of docs/recovery.md.
pub(crate) fn fill_the_grants(command: &str) {
    let stage = Stage::gate();
    let agent = stage.start();
    agent.hang();
    let loss = stage.lose("the door's grants full");
    fill(&stage, "grant4_ssh", 1024);
    agent.go_on();
    loss.is_felt();
    loss.typed(command).ends_by_knocking();
}

pub(crate) fn a_full_set_of_cut_offs() {
    let stage = cut_off("\toption cutoff '3 per 1h'\n");
    let _agent = stage.start();
    let loss = stage.lose("the cut-offs full");
    fill(&stage, "cutoff4", 4096);
    loss.healed_by("nobody: it keeps no owner outside")
        .ends_by_knocking();
}

/// Forged first knocks, until the kernel remembers no more of them.
pub(crate) fn a_full_set_of_attempts_inside_the_kernel() {
    let doors = SSH_DOOR.replace("window '10s'", "window '3s'");
    let stage = Stage::new(Guard::Gate, &format!("{doors}\toption engine 'chain'\n"));
    // The owner has not knocked before: who is remembered already needs no room.
    stage.verb("apply").ok();
    let sender = Sender::new(&stage.net.client.namespace);
    let first = stage.net.router.port(Family::V4, 7000);
    let loss = stage.lose("a door of engine chain flooded, its window 3s");
    let ends_at = Instant::now() + A_MOMENT;
    sender.flood(first, 20_000, || Instant::now() >= ends_at);
    loss.is_felt();
    loss.healed_by("kernel: forgets old attempts")
        .ends_by_knocking();
}
